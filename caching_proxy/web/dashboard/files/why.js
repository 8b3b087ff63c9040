// Asks the proxy what it would do with a request, and why.

import { Refused, post } from "./api.js";
import { $, bytes, duration, el, pairs } from "./dom.js";

export function explain(method, url) {
  $("why-method").value = method;
  $("why-url").value = url;
  $("why-headers").value = "";
  $("why-form").requestSubmit();
  $("why-url").focus();
}

function fields() {
  const found = {};
  for (const line of $("why-headers").value.split("\n")) {
    if (!line.trim()) continue;
    const at = line.indexOf(":");
    const name = (at < 0 ? line : line.slice(0, at)).trim();
    (found[name] ??= []).push(at < 0 ? "" : line.slice(at + 1).trim());
  }
  return found;
}

function tier(held) {
  if (held === null) return "nothing";
  const kept = `${held.variants} ${held.variants === 1 ? "variant" : "variants"}`;
  if (held.trouble) return `trouble: ${held.trouble}`;
  return held.variant === null ? `${kept}, none for this request` : `${kept}, ${bytes(held.variant.size)}, fresh for ${duration(held.variant.expiresIn)}`;
}

function show(told) {
  const facts = el("dl", { class: "pairs" });
  const fresh = told.freshness;
  pairs(facts, [
    ["Identity", `${told.identity.role ?? "none"}: ${told.identity.how}`],
    ["Key", el("code", { class: "break" }, told.key ?? "none")],
    ["Hot tier", tier(told.tiers.hot)], ["Burst tier", tier(told.tiers.burst)], ["Store", tier(told.tiers.store)],
    ["Freshness", fresh === null ? "nothing stored" : `lifetime ${duration(fresh.lifetime)} less age ${duration(fresh.age)} leaves ${duration(fresh.expiresIn)}`],
  ]);
  const reasons = told.reasons.map((one) => el("li", {}, `${one.text} (${one.rule}, ${one.rfc})`));
  const advice = told.advice.map((one) => el("li", {}, one));
  $("why-result").replaceChildren(
    el("p", { class: "verdict" }, told.verdict), el("ul", { class: "reasons" }, ...reasons), facts,
    ...(advice.length ? [el("h3", {}, "To have it cached"), el("ul", { class: "reasons" }, ...advice)] : []));
}

export function listen() {
  $("why-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      show(await post("why", { method: $("why-method").value.trim() || "GET", url: $("why-url").value.trim(), headers: fields() }));
    } catch (problem) {
      $("why-result").replaceChildren(el("p", { class: "error" }, problem instanceof Refused ? problem.message : "The proxy cannot be reached."));
    }
  });
}
