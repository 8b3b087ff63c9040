"""What tests of several workers look at: the processes, and who answered."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from pathlib import Path

from support.proxy_process import ProxyProcess, Response, wait_for


def worker_pids(proxy: ProxyProcess) -> list[int]:
    """The workers that there are, in order of their start."""
    children = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children")
    return sorted(map(int, children.read_text().split())) if children.exists() else []


def serving(proxy: ProxyProcess) -> int:
    """How many workers have said so far that they serve."""
    return sum(" serves" in str(line["msg"]) for line in proxy.log_lines_so_far())


def wait_for_workers(proxy: ProxyProcess, count: int) -> list[int]:
    """Wait until ``count`` workers have begun to serve since the start of the proxy; those that there are."""
    wait_for(lambda: serving(proxy) >= count, f"{count} workers to serve")
    return worker_pids(proxy)


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def listeners(port: int) -> int:
    """Sockets that listen on an IPv4 port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


def owner(proxy: ProxyProcess, connection: socket.socket, pids: list[int]) -> int | None:
    """Which of ``pids`` holds the other end of ``connection``; None while nobody has accepted it."""
    ours = "{:08X}:{:04X}".format(int.from_bytes(socket.inet_aton("127.0.0.1"), "little"), connection.getsockname()[1])
    theirs = f":{proxy.port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(theirs) and fields[2] == ours:
            for pid in pids:
                if fields[9] != "0" and _has(pid, f"socket:[{fields[9]}]"):
                    return pid
    return None


def _has(pid: int, name: str) -> bool:
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(link) == name:
                    return True
    return False


class Line(http.client.HTTPConnection):
    """A connection that is kept to one worker."""

    def ask(self, method: str, target: str, body: bytes | None = None, **fields: str) -> Response:
        self.request(method, target, body, {name.replace("_", "-"): value for name, value in fields.items()})
        answer = self.getresponse()
        return Response(answer.status, answer.getheaders(), answer.read())


def lines(proxy: ProxyProcess, pids: list[int]) -> dict[int, Line]:
    """A connection to each of the workers; the kernel deals them out, so as many are made as that takes."""
    found: dict[int, Line] = {}
    for _ in range(500):
        line = Line("127.0.0.1", proxy.port, timeout=20)
        assert line.ask("GET", "/health").status == 200
        pid = owner(proxy, line.sock, pids)
        if pid is None or pid in found:
            line.close()
        else:
            found[pid] = line
        if len(found) == len(pids):
            return {pid: found[pid] for pid in pids}
    raise AssertionError(f"no connection reached {set(pids) - set(found)}")
