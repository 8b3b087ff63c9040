"""Endpoints for probes and scrapers, open to everybody: health, readiness, metrics."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
from twisted.internet.defer import TimeoutError

from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer, json_reply
from caching_proxy.web.admin.services import AdminResource, ReadyReport, Workers

READY_SECONDS = 5.0


class HealthResource(AdminResource):
    """The process serves."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        moment = datetime.fromtimestamp(self.services.clock.seconds(), UTC)
        timestamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return json_reply({"status": "ok", "timestamp": timestamp, **_shown(self.services.workers())})


class ReadyResource(AdminResource):
    """Whether to send requests here: 503 if not."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        try:
            report = await self.services.ready().addTimeout(READY_SECONDS, self.services.clock)
        except TimeoutError:
            report = ReadyReport(backend="no answer in time", store="unknown", breaker="unknown")
        body: dict[str, object] = {
            "status": report.status,
            "backend": report.backend,
            "store": report.store,
            "breaker": report.breaker,
            **_shown(report.workers),
        }
        if report.bus is not None:
            body |= {"bus": report.bus, "pendingInvalidations": report.pending}
        return json_reply(body, 200 if report.ready else 503)


def _shown(workers: Workers | None) -> dict[str, object]:
    return {} if workers is None else {"workers": attrs.asdict(workers)}


class MetricsResource(AdminResource):
    """Prometheus text, or OpenMetrics where the client asks for that."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        accept = request.head.fields.joined(b"accept")
        wanted = accept.decode("latin-1") if accept else None
        if self.services.scrape is None:
            content_type, body = self.services.metrics.render(wanted)
        else:
            content_type, body = await self.services.scrape(wanted)
        return JsonAnswer(200, body, content_type, ((b"Vary", b"Accept"),))
