// What both clients on node share; the protocol is that of ../clients/walking.py.
import { CookieJar } from "tough-cookie";

const fill = (text, taken) => text.replace(/\{(\w+)\}/g, (whole, name) => taken[name] ?? whole);

function* parts(body) {
  for (let at = 0; at < body.length; at += 1000) yield body.subarray(at, at + 1000);
}

const bodyOf = (step, taken) =>
  "size" in step ? Buffer.alloc(step.size, "x") : "body" in step ? Buffer.from(fill(step.body, taken)) : undefined;

/** send({method, url, fields, body, parts}) gives {status, fields, body}. */
export async function walk(send) {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const { base, steps } = JSON.parse(Buffer.concat(chunks));
  const jar = new CookieJar();
  const taken = {};
  const answers = [];
  for (const step of steps) {
    const url = base + fill(step.target, taken);
    const fields = (step.fields ?? []).map(([name, value]) => [name, fill(value, taken)]);
    const cookie = jar.getCookieStringSync(url);
    if (cookie && !fields.some(([name]) => name.toLowerCase() === "cookie")) fields.push(["Cookie", cookie]);
    const body = bodyOf(step, taken);
    const answer = await send({ method: step.method, url, fields, body, parts: step.chunked ? parts(body) : null });
    for (const [name, value] of answer.fields)
      if (name.toLowerCase() === "set-cookie") jar.setCookieSync(value, url, { ignoreError: true });
    for (const [name, pattern] of Object.entries(step.take ?? {})) {
      const found = answer.body.toString().match(new RegExp(pattern));
      if (found) taken[name] = found[1];
    }
    answers.push({ ...answer, body: answer.body.toString("base64") });
  }
  process.stdout.write(JSON.stringify(answers));
}
