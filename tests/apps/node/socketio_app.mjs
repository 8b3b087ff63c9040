// A Socket.IO server: echoes in capitals, acknowledges, sends binary, broadcasts.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer((req, res) => res.end("not here"));
const io = new Server(http, { cors: { origin: "*" } });
io.on("connection", (socket) => {
  socket.on("shout", (text, done) => done(text.toUpperCase()));
  socket.on("twice", (data, done) => done(Buffer.concat([data, data])));
  socket.on("everyone", (text) => io.emit("news", text));
});
http.listen(Number(process.argv[2]), "127.0.0.1");
