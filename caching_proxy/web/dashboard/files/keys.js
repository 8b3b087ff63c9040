// The key browser: a page of keys, what each holds, and getting rid of it.

import { Refused, get, post } from "./api.js";
import { $, bytes, count, duration, el, pairs, table } from "./dom.js";
import { invalidate } from "./invalidate.js";

const PAGE = 25;
const AT_ONCE = 4;
const MOST_SHOWN = 200_000; // characters of a body
let rows = [];
let cursor = null;
let match = "*";
let run = 0;

const GLOB = /[*?[\]\\]/;

// What was typed: a glob if it looks like one, else anywhere in the target.
function pattern() {
  const role = $("keys-role").value.trim() || "*";
  const text = $("keys-search").value.trim();
  const target = GLOB.test(text) ? text : `*${text}*`;
  return `cache:GET:${role}:${text ? target : "*"}`;
}

export function init() {
  $("keys-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  $("keys-more").addEventListener("click", more);
  $("entry-close").addEventListener("click", () => $("entry").close());
}

export async function search() {
  rows = [];
  cursor = null;
  match = pattern();
  await more();
}

async function more() {
  const mine = ++run;
  const query = new URLSearchParams({ match, limit: String(PAGE) });
  if (cursor !== null) query.set("cursor", cursor);
  try {
    const page = await get(`../keys?${query}`);
    if (mine !== run) return;
    cursor = page.cursor ?? null;
    rows.push(...page.keys.map((key) => ({ key, role: role(key), facts: null })));
    $("keys-roles").replaceChildren(...[...new Set(rows.map((row) => row.role))].map((name) => el("option", { value: name })));
    draw();
    await facts(mine);
  } catch (problem) {
    $("keys-count").textContent = said(problem);
  }
}

function said(problem) {
  return problem instanceof Refused ? problem.message : "The proxy cannot be reached.";
}

function role(key) {
  const found = /^cache:[^:]*:([^:/]+):/.exec(key);
  return found ? found[1] : "legacy";
}

// Expiry, size and variants of what is listed: a few requests at a time, without bodies.
async function facts(mine) {
  const wanted = rows.filter((row) => row.facts === null);
  const worker = async () => {
    for (let row = wanted.shift(); row && mine === run; row = wanted.shift()) {
      try {
        row.facts = (await post("../key", { key: row.key, body: false })).cacheEntry;
      } catch {
        row.facts = { gone: true };
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (mine === run) draw();
}

const known = (row, show) => (row.facts === null ? "…" : row.facts.gone ? "gone" : show(row.facts));

function draw() {
  const focused = document.activeElement?.dataset?.key;
  $("keys-count").textContent = `${count(rows.length)} keys${cursor === null ? "" : ", there are more"}`;
  $("keys-more").hidden = cursor === null;
  table($("keys"), [
    { title: "Key", head: true, long: true, cell: (row) => el("button", { type: "button", class: "link mono", "data-key": row.key, on: { click: () => show(row) } }, row.key) },
    { title: "Role", long: true, cell: (row) => row.role },
    { title: "Status", number: true, cell: (row) => known(row, (found) => found.status ?? "–") },
    { title: "Fresh for", number: true, cell: (row) => known(row, (found) => fresh(found.expiresIn)) },
    { title: "Size", number: true, cell: (row) => known(row, (found) => bytes(found.size)) },
    { title: "Variants", number: true, cell: (row) => known(row, (found) => count(found.variants?.length ?? 1)) },
  ], rows, "No key matches.");
  if (focused) [...$("keys").querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
}

function fresh(seconds) {
  return seconds === undefined ? "–" : seconds > 0 ? duration(seconds) : `stale by ${duration(-seconds)}`;
}

async function show(row) {
  let entry;
  try {
    entry = (await post("../key", { key: row.key })).cacheEntry;
  } catch (problem) {
    $("keys-count").textContent = said(problem);
    return;
  }
  const found = row.facts ?? {};
  $("entry-key").textContent = row.key;
  $("entry-status").textContent = "";
  pairs($("entry-facts"), [
    ["Status", entry.status], ["Role", row.role], ["Fresh for", fresh(found.expiresIn)], ["Size", bytes(found.size)],
    ["Body", entry.encoding === "base64" ? "not text, shown in base64" : "text"],
  ]);
  table($("entry-variants"), [
    { title: "Selected by", head: true, long: true, cell: (one) => selecting(one) },
    { title: "Status", number: true, cell: (one) => one.status },
    { title: "Fresh for", number: true, cell: (one) => fresh(one.expiresIn) },
    { title: "Size", number: true, cell: (one) => bytes(one.size) },
  ], found.variants ?? entry.variants ?? [], "One, for every request.");
  const fields = Object.entries(entry.headers).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  table($("entry-fields"), [
    { title: "Name", head: true, cell: ([name]) => name },
    { title: "Value", long: true, cell: ([, value]) => value },
  ], fields, "None.");
  const body = entry.body;
  $("entry-body").textContent = body.length > MOST_SHOWN ? `${body.slice(0, MOST_SHOWN)}\n… ${count(body.length - MOST_SHOWN)} more characters` : body;
  $("entry-invalidate").onclick = () => remove(row, false);
  $("entry-soft").onclick = () => remove(row, true);
  $("entry").showModal();
}

function selecting(variant) {
  const named = Object.entries(variant.selecting).map(([name, value]) => (value === null ? `no ${name}` : `${name}: ${value}`));
  if (variant.scope) named.push(`scope ${variant.scope}`);
  return named.join(", ") || "every request";
}

// A key taken by its letters: what a glob would read otherwise is escaped.
const literal = (key) => key.replace(/[*?[\]\\^-]/g, (one) => `\\${one}`);

async function remove(row, soft) {
  const status = $("entry-status");
  try {
    const answer = await invalidate({ pattern: literal(row.key), ...(soft ? { soft: true } : {}) });
    status.textContent = answer.message;
    if (!soft) {
      rows = rows.filter((one) => one !== row);
      draw();
    }
  } catch (problem) {
    status.textContent = said(problem);
  }
}
