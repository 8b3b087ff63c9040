import { Agent } from "node:http";
import { Readable } from "node:stream";
import axios from "axios";
import { walk } from "./walking.mjs";

const httpAgent = new Agent({ keepAlive: true });

await walk(async ({ method, url, fields, body, parts }) => {
  const headers = {};
  for (const [name, value] of fields) headers[name] = headers[name] ? [headers[name], value].flat() : value;
  const answer = await axios.request({
    method, url, headers, httpAgent,
    data: parts ? Readable.from(parts) : body,
    maxRedirects: 0, maxBodyLength: Infinity, proxy: false,
    responseType: "arraybuffer", transformResponse: [], validateStatus: () => true,
  });
  const raw = answer.request.res.rawHeaders;
  const pairs = raw.flatMap((name, at) => (at % 2 ? [] : [[name, raw[at + 1]]]));
  return { status: answer.status, fields: pairs, body: Buffer.from(answer.data) };
});
httpAgent.destroy();
