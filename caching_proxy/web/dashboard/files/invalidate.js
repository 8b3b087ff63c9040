// Invalidation by pattern or tag, with a preview of what would go.

import { Refused, get, post } from "./api.js";
import { $, count, el } from "./dom.js";

const SAMPLE = 100;
let dryRuns = false;

// What the proxy offers stands in its own description.
export async function init() {
  try {
    const document_ = await get("openapi.json");
    dryRuns = "dry_run" in (document_.components?.schemas?.Invalidation?.properties ?? {});
  } catch {
    dryRuns = false;
  }
}

export function invalidate(asked) {
  return post("../invalidate", asked);
}

function asked() {
  const what = $("invalidate-what").value.trim();
  const soft = $("invalidate-soft").checked ? { soft: true } : {};
  const tag = new FormData($("invalidate-form")).get("kind") === "tag";
  return tag ? { tags: [what], ...soft } : { pattern: what, ...soft };
}

async function sample(wish) {
  if (dryRuns) {
    const answer = await invalidate({ ...wish, dry_run: true });
    return [answer.wouldDelete, answer.sample ?? []];
  }
  if (wish.tags) throw new Refused(400, "this proxy cannot preview tags");
  const page = await get(`../keys?${new URLSearchParams({ match: wish.pattern, limit: String(SAMPLE) })}`);
  return [page.cursor ? null : page.keyCount, page.keys];
}

function tell(...nodes) {
  $("invalidate-result").replaceChildren(...nodes);
}

function failed(problem) {
  tell(el("p", { class: "error" }, problem instanceof Refused ? problem.message : "The proxy cannot be reached."));
}

export function listen() {
  $("invalidate-preview").addEventListener("click", async () => {
    if (!$("invalidate-form").reportValidity()) return;
    try {
      const [total, keys] = await sample(asked());
      const said = total === null ? `more than ${count(keys.length)} keys` : `${count(total)} keys`;
      const list = el("ul", { class: "sample mono break", tabindex: "0", "aria-label": "Keys" }, ...keys.map((key) => el("li", {}, key)));
      tell(el("p", {}, `This would invalidate ${said}.`), list);
    } catch (problem) {
      failed(problem);
    }
  });
  $("invalidate-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      tell(el("p", {}, (await invalidate(asked())).message));
    } catch (problem) {
      failed(problem);
    }
  });
}
