// Drives a Socket.IO server at argv[2] by the transports argv[3] (comma-separated) and prints what it was told as JSON.
import { io } from "socket.io-client";

const [url, names] = process.argv.slice(2);
const transports = names.split(",");
const options = { transports, reconnection: false, forceNew: true };
const [one, other] = [io(url, options), io(url, options)];
await Promise.all([one, other].map((socket) => new Promise((resolve, reject) => {
  socket.on("connect", resolve);
  socket.on("connect_error", reject);
})));
if (transports.length > 1 && one.io.engine.transport.name !== transports.at(-1)) await once(one.io.engine, "upgrade");
const heard = new Promise((resolve) => other.on("news", resolve));
const large = Buffer.alloc(300000, "ab");
one.emit("everyone", "it works");
const told = {
  transport: one.io.engine.transport.name,
  shout: await one.emitWithAck("shout", "hello"),
  twice: (await one.emitWithAck("twice", large)).equals(Buffer.concat([large, large])),
  news: await heard,
};
process.stdout.write(JSON.stringify(told));
one.close();
other.close();

function once(emitter, name) {
  return new Promise((resolve) => emitter.once(name, resolve));
}
