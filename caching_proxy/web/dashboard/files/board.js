// The live part: figures, charts and tables, redrawn with each event.

import { Chart } from "./charts.js";
import { $, bytes, clock, count, duration, el, pairs, percent, rate, table } from "./dom.js";

const KEPT = 50;
const lists = { uncached: [], invalidation: [] };
let charts = null;
let last = null;

export function reset() {
  last = null;
  lists.uncached.length = lists.invalidation.length = 0;
}

function figure(name, value, more) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value, el("small", {}, more)));
}

function ratio(now, before) {
  const hits = now.hits - before.hits, all = hits + now.misses - before.misses;
  return all > 0 ? (hits / all) * 100 : null;
}

const FROM_CACHE = ["HOT_HIT", "HIT", "STALE"];

function cached(byStatus) {
  return FROM_CACHE.reduce((sum, status) => sum + (byStatus[status] ?? 0), 0);
}

function draw(stats) {
  charts ??= {
    rate: new Chart("rate", "Requests a second", ["all", "from cache"], rate),
    hits: new Chart("hits", "Hit ratio", ["all tiers", "hot", "burst", "store"], (value) => `${Math.round(value)} %`, 100),
    latency: new Chart("latency", "Latency", ["p50", "p90", "p99"], (value) => (value >= 10 ? Math.round(value) : Number(value.toPrecision(2))).toString()),
  };
  if (last !== null && stats.requests.total < last.requests.total) last = null; // it was started anew
  if (last !== null) {
    const seconds = Math.max(stats.time - last.time, 0.001);
    const served = cached(stats.requests.byStatus) - cached(last.requests.byStatus);
    charts.rate.add(stats.time, [(stats.requests.total - last.requests.total) / seconds, served / seconds]);
    const tiers = ["hot", "burst", "store"].map((name) => ratio(stats.tiers[name], last.tiers[name]));
    const all = stats.requests.windowHitRatio;
    charts.hits.add(stats.time, [all === null ? null : all * 100, ...tiers]);
    const latency = stats.latencySeconds;
    charts.latency.add(stats.time, [latency.p50, latency.p90, latency.p99].map((one) => (one === null ? null : one * 1000)));
  }
  last = stats;
}

export function showStats(stats) {
  const { requests, latencySeconds: latency, savedBackendSeconds: saved, store, tiers } = stats;
  $("release").textContent = `Version ${stats.version}, up ${duration(stats.uptimeSeconds)}`;
  $("figures").replaceChildren(
    figure("Requests a second", rate(requests.perSecond), `${count(requests.total)} since the start`),
    figure("Hit ratio", percent(requests.windowHitRatio), `${percent(requests.hitRatio)} since the start`),
    figure("Median latency", duration(latency.p50), `p99 ${duration(latency.p99)}`),
    figure("Backend time saved", duration(saved.total), `${count(saved.answersFromCache)} answers from cache`),
    figure("Memory", bytes(stats.memory.residentBytes), `${bytes(tiers.hot.bytes + tiers.burst.bytes)} in the tiers`),
    figure("Breaker", store.breaker, `${count(store.breakerTrips)} trips`),
  );
  draw(stats);
  const bounded = [["Hot", tiers.hot], ["Burst", tiers.burst], ["Store", tiers.store]];
  table($("tiers"), [
    { title: "Tier", head: true, cell: ([name]) => name },
    { title: "Hit ratio", number: true, cell: ([, tier]) => percent(tier.hitRatio) },
    { title: "Hits", number: true, cell: ([, tier]) => count(tier.hits) },
    { title: "Misses", number: true, cell: ([, tier]) => count(tier.misses) },
    { title: "Entries", number: true, cell: ([, tier]) => (tier.entries === undefined ? "–" : `${count(tier.entries)} of ${count(tier.maxEntries)}`) },
    { title: "Size", number: true, cell: ([, tier]) => (tier.bytes === undefined ? "–" : `${bytes(tier.bytes)} of ${bytes(tier.maxBytes)}`) },
  ], bounded, "");
  pairs($("store"), [
    ["Store", store.kind],
    ["Breaker", `${store.breaker}, ${count(store.breakerTrips)} trips`],
    ["Connection pool", store.pool === null ? "none" : `${store.pool.size} open, ${store.pool.inUse} in use, ${store.pool.waiting} waiting`],
    ["Failed writes", count(tiers.store.failedWrites)],
    ["Backend answers", count(stats.backend.answered)],
    ["Backend time to the head", duration(stats.backend.meanSeconds)],
    ["Collapsed requests", count(stats.collapsedRequests)],
  ]);
  for (const [id, rows, name] of [["paths", stats.topPaths, "path"], ["roles", stats.topRoles, "role"]]) {
    table($(id), [
      { title: name === "path" ? "Path" : "Role", head: true, long: true, cell: (row) => row[name] },
      { title: "Requests", number: true, cell: (row) => count(row.requests) },
      { title: "Hit ratio", number: true, cell: (row) => percent(row.hitRatio) },
    ], rows, "No requests yet.");
  }
}

// onExplain(method, path) is called for the button beside an uncached request.
export function showEvent(name, data, onExplain) {
  const list = lists[name];
  if (!list) return;
  list.unshift(data);
  list.length = Math.min(list.length, KEPT);
  showLists(onExplain);
}

let waiting = false;

export function showLists(onExplain) {
  if (waiting) return; // many at once are drawn once
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    // what has the focus is not drawn anew under the user's hands
    if (!$("uncached").contains(document.activeElement)) uncached(onExplain);
    invalidations();
  });
}

function uncached(onExplain) {
  table($("uncached"), [
    { title: "Time", cell: (row) => clock(row.time) },
    { title: "Request", head: true, long: true, cell: (row) => el("button", { type: "button", class: "link", title: "Explain this request", on: { click: () => onExplain(row.method, row.path) } }, `${row.method} ${row.path}`) },
    { title: "Status", cell: (row) => `${row.cacheStatus} ${row.status}` },
    { title: "Role", cell: (row) => row.role },
    { title: "Reason", long: true, cell: (row) => `${row.reason.text} (${row.reason.rule}, ${row.reason.rfc})` },
  ], lists.uncached, "None so far.");
}

function invalidations() {
  table($("invalidations"), [
    { title: "Time", cell: (row) => clock(row.time) },
    { title: "What", head: true, long: true, cell: (row) => (row.soft ? `${row.what} (soft)` : row.what) },
    { title: "Keys", number: true, cell: (row) => (row.count !== null ? count(row.count) : row.who === "another proxy" ? "–" : "waits") },
    { title: "Who", long: true, cell: (row) => row.who },
  ], lists.invalidation, "None so far.");
}
