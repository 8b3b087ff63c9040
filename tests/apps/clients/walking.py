"""What every Python client of the walks shares: reads ``{"base", "steps"}`` as JSON, prints the answers as JSON.

A step is ``{"method", "target"}`` with any of ``fields`` (a list of pairs), ``body`` (text), ``size`` (a body of so
many bytes), ``chunked`` (send it without saying its length) and ``take`` (name → pattern: what its group finds in the
answer's body is put for ``{name}`` in later steps). An answer is ``{"status", "fields", "body"}``, the body in base64
as the client gave it to its user. Cookies are kept from step to step, redirects are not followed.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Step(NamedTuple):
    method: str
    url: str
    fields: list[tuple[str, str]]
    body: bytes | None
    chunked: bool

    def parts(self) -> Iterable[bytes]:
        """The body in pieces, for those who do not say its length."""
        body = self.body or b""
        return (body[at : at + 1000] for at in range(0, len(body), 1000))


class Answer(NamedTuple):
    status: int
    fields: list[tuple[str, str]]
    body: bytes


def walk(send: Callable[[Step], Answer]) -> None:
    given = json.load(sys.stdin)
    taken: dict[str, str] = {}
    answers = []
    for each in given["steps"]:
        answer = send(_step(given["base"], each, taken))
        taken |= _taken(each, answer)
        answers.append({"status": answer.status, "fields": answer.fields, "body": _base64(answer.body)})
    json.dump(answers, sys.stdout)


def _step(base: str, each: dict[str, Any], taken: dict[str, str]) -> Step:
    fill = lambda text: re.sub(r"\{(\w+)\}", lambda found: taken.get(found[1], found[0]), text)  # noqa: E731
    body = b"x" * each["size"] if "size" in each else fill(each["body"]).encode() if "body" in each else None
    fields = [(name, fill(value)) for name, value in each.get("fields", ())]
    return Step(each["method"], base + fill(each["target"]), fields, body, each.get("chunked", False))


def _taken(each: dict[str, Any], answer: Answer) -> dict[str, str]:
    text = answer.body.decode("utf-8", "replace")
    found = {name: re.search(pattern, text) for name, pattern in each.get("take", {}).items()}
    return {name: match[1] for name, match in found.items() if match}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
