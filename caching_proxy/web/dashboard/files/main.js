// Signing in, the stream of events, and who listens to what.

import { Refused, events, get, setToken } from "./api.js";
import * as board from "./board.js";
import { $ } from "./dom.js";
import * as invalidate from "./invalidate.js";
import * as keys from "./keys.js";
import * as why from "./why.js";

let watching = null;
let signedIn = false;

function connection(state, text) {
  $("lamp").className = `lamp ${state}`;
  if ($("connection").textContent !== text) $("connection").textContent = text;
}

function say(text) {
  $("message").hidden = !text;
  $("message").textContent = text;
}

function askForToken(problem) {
  stop();
  signedIn = false;
  setToken(null);
  $("board").hidden = true;
  $("sign-out").hidden = true;
  $("sign-in").hidden = false;
  $("sign-in-error").textContent = problem;
  connection("", "Not signed in");
  $("token").focus();
}

function stop() {
  watching?.abort();
  watching = null;
}

const pause = (seconds) => new Promise((resume) => setTimeout(resume, seconds * 1000));

async function watch() {
  const mine = (watching = new AbortController());
  let wait = 1;
  while (mine === watching) {
    try {
      board.reset();
      await events("events", () => {
        wait = 1;
        say("");
        connection("on", "Live");
      }, (name, data) => (name === "stats" ? board.showStats(data) : board.showEvent(name, data, why.explain)), mine.signal);
      connection("off", "The stream ended, connecting again");
    } catch (problem) {
      if (mine !== watching) return;
      if (problem instanceof Refused && [401, 403].includes(problem.status)) return askForToken(problem.message);
      connection("off", "Not reachable, trying again");
      if (problem instanceof Refused) say(problem.message);
    }
    await pause(wait);
    wait = Math.min(wait * 2, 10);
  }
}

async function open(withToken) {
  try {
    board.showStats(await get("stats"));
  } catch (problem) {
    // without a token the first answer says whether one is needed, or how to enable all this
    const asked = problem instanceof Refused && problem.status === 401 && !withToken;
    return askForToken(asked ? "" : problem instanceof Refused ? problem.message : "The proxy cannot be reached.");
  }
  signedIn = true;
  $("sign-in").hidden = true;
  $("board").hidden = false;
  $("sign-out").hidden = !withToken;
  board.showLists(why.explain);
  if (withToken) $("content").focus({ preventScroll: true });
  invalidate.init();
  watch();
}

$("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = $("token");
  setToken(field.value);
  field.value = "";
  open(true);
});
$("sign-out").addEventListener("click", () => askForToken(""));
addEventListener("pagehide", () => {
  stop();
  if (signedIn) setToken(null);
});
addEventListener("pageshow", (event) => {
  if (event.persisted) askForToken("");
});
keys.init();
invalidate.listen();
why.listen();
open(false);
