"""Endpoints for probes and scrapers, open to everybody: health, readiness, metrics."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.internet.defer import TimeoutError

from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer, json_reply
from caching_proxy.web.admin.services import AdminResource, ReadyReport

READY_SECONDS = 5.0


class HealthResource(AdminResource):
    """The process serves."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        moment = datetime.fromtimestamp(self.services.clock.seconds(), UTC)
        timestamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json_reply({"status": "ok", "timestamp": timestamp})


class ReadyResource(AdminResource):
    """Whether to send requests here: 503 if not."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        try:
            report = await self.services.ready().addTimeout(READY_SECONDS, self.services.clock)
        except TimeoutError:
            report = ReadyReport(backend="no answer in time", store="unknown", breaker="unknown")
        body = {
            "status": report.status,
            "backend": report.backend,
            "store": report.store,
            "breaker": report.breaker,
        }
        return json_reply(body, 200 if report.ready else 503)


class MetricsResource(AdminResource):
    """Prometheus text, or OpenMetrics for who asks for it."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        accept = request.head.fields.joined(b"accept")
        content_type, body = self.services.metrics.render(accept.decode("latin-1") if accept else None)
        return JsonAnswer(200, body, content_type, ((b"Vary", b"Accept"),))
