// Talking to the proxy. The token lives in this module's memory and goes into one request header, nowhere else.

let token = null;

export function setToken(value) {
  token = value;
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers(more) {
  const made = new Headers(more);
  if (token !== null) made.set("Authorization", `Bearer ${token}`);
  return made;
}

const OPTIONS = { cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer" };

async function checked(response) {
  if (response.ok) return response;
  let message = `the proxy answered ${response.status}`;
  try {
    message = (await response.json()).error ?? message;
  } catch {
    // not JSON: the status has to do
  }
  throw new Refused(response.status, message);
}

// A token may hold characters that a header cannot: then it is the wrong one.
async function send(path, init) {
  let request;
  try {
    request = new Request(new URL(path, document.baseURI), { ...OPTIONS, ...init, headers: headers(init.headers) });
  } catch {
    throw new Refused(401, "this cannot be a token");
  }
  return checked(await fetch(request));
}

export async function get(path) {
  return (await send(path, {})).json();
}

export async function post(path, value) {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
  return (await send(path, init)).json();
}

// Server-sent events by fetch, since EventSource cannot send a token. Resolves when the stream ends.
export async function events(path, onOpen, onEvent, signal) {
  const response = await send(path, { signal, headers: { Accept: "text/event-stream" } });
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let name = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data.push(line.slice(6));
      }
      if (data.length) onEvent(name, JSON.parse(data.join("\n")));
    }
  }
}
