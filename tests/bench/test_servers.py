"""What the comparison reads of the servers that it measures."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from bench.servers import Server, resident


@pytest.mark.slow
def test_a_child_that_ended_has_no_memory_and_spoils_nothing() -> None:
    ends = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    server = Server("ends", 0, ends)
    family = [psutil.Process(), *server.family()]
    assert resident(family) > resident(family[:1]) > 0
    ends.communicate(b"\n")
    assert resident(family[1:]) == 0
