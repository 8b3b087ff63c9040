import { Readable } from "node:stream";
import { Agent, request } from "undici";
import { walk } from "./walking.mjs";

const dispatcher = new Agent({ connections: 1 });

await walk(async ({ method, url, fields, body, parts }) => {
  const headers = fields.flat();
  const sent = parts ? Readable.from(parts) : body;
  const answer = await request(url, { method, headers, body: sent, dispatcher, responseHeaders: "raw" });
  const raw = answer.headers.map(String);
  const pairs = raw.flatMap((name, at) => (at % 2 ? [] : [[name, raw[at + 1]]]));
  return { status: answer.statusCode, fields: pairs, body: Buffer.from(await answer.body.arrayBuffer()) };
});
await dispatcher.close();
