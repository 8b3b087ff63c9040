import asyncio
from collections.abc import AsyncIterator

import aiohttp
import yarl
from walking import Answer, Step, walk


async def parts(step: Step) -> AsyncIterator[bytes]:
    for part in step.parts():
        yield part


async def exchange(session: aiohttp.ClientSession, step: Step) -> Answer:
    body = parts(step) if step.chunked else step.body
    url = yarl.URL(step.url, encoded=True)
    async with session.request(step.method, url, headers=step.fields, data=body, allow_redirects=False) as answer:
        return Answer(answer.status, list(answer.headers.items()), await answer.read())


with asyncio.Runner() as runner:

    async def opened() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))  # also for a bare address

    session = runner.run(opened())
    walk(lambda step: runner.run(exchange(session, step)))
    runner.run(session.close())
