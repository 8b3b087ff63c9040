"""What people build with FastAPI: models, forms and uploads, streams, events, a WebSocket, cookies, gzip, redirects."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, File, Form, Request, Response, UploadFile, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BaseModel

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=500)
app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["*"], allow_credentials=True)
items: dict[int, str] = {}
gate = asyncio.Event()


class Item(BaseModel):
    name: str


@app.get("/items/")
def listed() -> dict[int, str]:
    return items


@app.get("/items/{number}")
def one(number: int, response: Response) -> dict[str, str | None]:
    response.headers["Cache-Control"] = "max-age=60"
    return {"name": items.get(number)}


@app.put("/items/{number}", status_code=201)
def put(number: int, item: Item) -> Item:
    items[number] = item.name
    return item


@app.delete("/items/{number}", status_code=204)
def delete(number: int) -> None:
    items.pop(number, None)


@app.post("/upload")
async def upload(file: UploadFile = File(), note: str = Form()) -> dict[str, object]:  # noqa: B008
    data = await file.read()
    return {"name": file.filename, "size": len(data), "note": note, "sha": hashlib.sha256(data).hexdigest()}


@app.post("/hash")
async def hashed(request: Request) -> dict[str, object]:
    digest, size = hashlib.sha256(), 0
    async for part in request.stream():
        digest.update(part)
        size += len(part)
    return {"size": size, "sha": digest.hexdigest()}


@app.get("/large")
def large() -> dict[str, str]:
    return {"text": "lorem ipsum " * 500}


@app.get("/stream")
def stream() -> StreamingResponse:
    return StreamingResponse((f"line {n}\n" for n in range(2000)), media_type="text/plain")


@app.get("/events")
async def events() -> StreamingResponse:
    """The second event waits until somebody has posted to ``/go``."""

    async def told() -> AsyncIterator[str]:
        yield "data: first\n\n"
        await gate.wait()
        gate.clear()
        yield "data: second\n\n"

    return StreamingResponse(told(), media_type="text/event-stream")


@app.post("/go", status_code=204)
async def go() -> None:
    gate.set()


@app.get("/login")
def login(response: Response) -> dict[str, str]:
    response.set_cookie("sid", "s3cret", httponly=True)
    response.set_cookie("theme", "dark", max_age=600)
    return {"hello": "you"}


@app.get("/me")
def me(request: Request) -> dict[str, str]:
    return dict(sorted(request.cookies.items()))


@app.get("/old")
def old(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("listed"))


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept(subprotocol="echo")
    async for text in socket.iter_text():
        await socket.send_text(text.upper())
