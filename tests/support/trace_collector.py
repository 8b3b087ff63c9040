"""A collector of traces that takes OTLP over HTTP, decodes what it is sent, and can be told to refuse."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.proxy_process import wait_for


class Collector:
    """``spans`` are those received, as OTLP's messages; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.batches = 0
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
                collector.batches += 1
                if collector.status == 200 and self.path == "/v1/traces":
                    collector._take(ExportTraceServiceRequest.FromString(data))
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            found = attributes(resource.resource)
            self.services.add(str(found["service.name"]))
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def wait_for(self, count: int) -> list[Any]:
        """The spans, as soon as there are so many."""
        wait_for(lambda: len(self.spans) >= count, f"{count} spans, not {[span.name for span in self.spans]}")
        return list(self.spans)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attributes(of: Any) -> dict[str, object]:
    """The attributes of a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}
