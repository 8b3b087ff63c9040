"""A request as it goes out to the backend: its lines, ready to send."""

from __future__ import annotations

from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.http.values import transient

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


@transient(slots=True, eq=False)
class OutgoingRequest:
    """A request as it goes out, but for ``Connection`` and the framing of its body, which the sender adds.

    ``lines`` are its field lines, each ended by CRLF; there must be ``count`` of them, or a line break strayed in.
    """

    method: bytes
    target: bytes
    lines: bytes
    count: int

    @classmethod
    def of(cls, head: RequestHead) -> OutgoingRequest:
        """``head`` with its fields as they are, less those that would frame a body."""
        fields = head.fields
        if not _FRAMING.isdisjoint(fields.index):
            fields = fields.without(_FRAMING)
        return cls(head.method, head.target, fields.encoded(), len(fields))

    @property
    def head(self) -> RequestHead:
        return RequestHead(self.method, self.target, Fields.decoded(self.lines))
