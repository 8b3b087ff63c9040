"""What is counted and timed of the backend's answers."""

from __future__ import annotations

from support.upstream_net import Net

from caching_proxy.app.instruments import BackendMeter
from caching_proxy.interfaces import UpstreamTimeout
from caching_proxy.telemetry.metrics import Metrics


def test_answers_are_counted_by_class_and_timed_from_the_asking() -> None:
    net, metrics = Net(max_connections=1), Metrics()
    net.upstream.observer = BackendMeter(metrics, net.clock)
    net.fetch()
    net.fetch()  # waits for the first
    net.clock.advance(2)
    net.answer()
    net.clock.advance(3)
    net.answer(0, b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n")
    net.clock.advance(10)  # the body is not what is timed
    net.peers[0].send(b"12345")
    net.pump()
    seconds = metrics.histogram("backend_request_duration_seconds")
    assert (seconds.sum, sum(seconds.counts)) == (2 + 5, 2)
    classes = [metrics.counter("backend_requests_total", name).value for name in ("1xx", "2xx", "4xx")]
    assert classes == [0, 1, 1]
    net.settle()


def test_a_request_without_an_answer_is_counted_by_kind_and_not_timed() -> None:
    net, metrics = Net(), Metrics()
    net.upstream.observer = BackendMeter(metrics, net.clock)
    net.refuse = UpstreamTimeout("too long")
    net.fetch()
    assert metrics.counter("backend_errors_total", "timeout").value == 1
    assert sum(metrics.histogram("backend_request_duration_seconds").counts) == 0
    net.settle()
