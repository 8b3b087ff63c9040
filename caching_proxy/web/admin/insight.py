"""What the cache does, for people and programs: statistics, events, explanations, the description of all endpoints."""

from __future__ import annotations

from importlib.resources import files
from math import inf

from caching_proxy.rules.own_prefix import PREFIX
from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer, RequestRefused, json_object, json_reply
from caching_proxy.web.admin.services import AdminResource, Insight
from caching_proxy.web.admin.why import asked

DOCUMENT = files("caching_proxy.web.admin").joinpath("openapi.json").read_bytes()


class OpenApiResource(AdminResource):
    """The description of every admin endpoint."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        return JsonAnswer(200, DOCUMENT)


class MovedResource(AdminResource):
    """The prefix without its slash: relative links of the page need it."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        where = PREFIX + b"/"
        return json_reply({"location": where.decode()}, 308, [(b"Location", where)])


class InsightResource(AdminResource):
    """What all that show the workings have in common."""

    guarded = True

    @property
    def insight(self) -> Insight:
        return self.services.insight


class StatsResource(InsightResource):
    """The statistics of now."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        return json_reply((await self.insight.look(inf, False)).stats)


class WhyResource(InsightResource):
    """What the cache would do with a request that is described, and why."""

    methods = (b"POST",)

    async def act(self, request: AdminRequest) -> JsonAnswer:
        question = asked(await json_object(request), request)
        return json_reply(await self.insight.why(question, request.client_ip))


class EventsResource(InsightResource):
    """Statistics once a second and what happens, as server-sent events."""

    async def act(self, request: AdminRequest) -> JsonAnswer:
        streams = self.insight.streams
        if not streams.room:
            raise RequestRefused(503, "too many watch already, or the proxy is stopping", [(b"Retry-After", b"5")])
        # proxies that buffer would keep events back: nginx is told not to
        return JsonAnswer(200, streams, b"text/event-stream", ((b"X-Accel-Buffering", b"no"),))
