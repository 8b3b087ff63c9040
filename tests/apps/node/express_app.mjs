// What people build with Express: sessions, cookies, ETags, compression, files with ranges, redirects, trailers, 103.
import { writeFileSync } from "node:fs";
import compression from "compression";
import cookieParser from "cookie-parser";
import express from "express";
import session from "express-session";

const app = express();
app.set("trust proxy", "loopback");
app.use(cookieParser("of-a-test"));
app.get("/public", compression(), (req, res) => res.set("Cache-Control", "public, max-age=60").send("text ".repeat(1000)));
app.use(session({ secret: "of-a-test", resave: false, saveUninitialized: false }));
writeFileSync("movie.bin", Buffer.alloc(100000, "0123456789"));

app.get("/json", (req, res) => res.json({ some: ["thing", 1, null], "ünï": "cödé" }));
app.get("/movie", (req, res) => res.sendFile("movie.bin", { root: ".", maxAge: "1h" }));
app.get("/download", (req, res) => res.download("movie.bin", "a film.bin", { root: "." }));
app.get("/moved", (req, res) => res.redirect(301, "/json"));
app.get("/elsewhere", (req, res) => res.redirect(`${req.protocol}://${req.get("host")}/json?x=1`));
app.get("/signed", (req, res) => res.cookie("a", "1", { signed: true }).cookie("b", "2; 3", { path: "/" }).end());
app.get("/cookies", (req, res) => res.json([req.cookies, req.signedCookies]));
app.get("/visits", (req, res) => res.json((req.session.visits = (req.session.visits ?? 0) + 1)));
app.post("/form", express.urlencoded({ extended: true }), (req, res) => res.status(201).location("/json").json(req.body));
app.post("/json", express.json({ limit: "10mb" }), (req, res) => res.json(req.body));
app.put("/length", express.raw({ limit: "50mb", type: () => true }), (req, res) => res.json(req.body.length ?? 0));
app.get("/trailers", (req, res) => {
  res.set("Trailer", "X-Sum").write("some ");
  res.addTrailers({ "X-Sum": "42" });
  res.end("text");
});
app.get("/hints", (req, res) => {
  res.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
  res.send("hinted");
});
app.options("/json", (req, res) => res.set("Allow", "GET, HEAD, POST").sendStatus(204));
app.get("/fails", () => { throw Object.assign(new Error("on purpose"), { status: 503, expose: false }); });

app.listen(Number(process.argv[2]), "127.0.0.1");
