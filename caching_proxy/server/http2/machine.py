"""The state machine of ``h2``, told what we offer, and kept from remembering more than a connection is worth."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, H2Connection
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream

from caching_proxy.server.http2.bounds import FRAME_BYTES
from caching_proxy.server.http2.fields import StaticEncoder

STREAMS = 100
STREAM_WINDOW = 128 * 1024
CONNECTION_WINDOW = 1024 * 1024
"""What a client may send ahead of whoever reads it, on one stream and on all."""

TABLE_BYTES = 4096


class Machine(H2Connection):
    """The state machine of ``h2`` with bounds of ours. Heads are judged by :mod:`.heads`, not here."""

    MAX_CLOSED_STREAMS = 1000

    def __init__(self, head_bytes: int) -> None:
        config = H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        super().__init__(config)
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.HEADER_TABLE_SIZE: TABLE_BYTES,
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: head_bytes,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
            },
        )
        self.encoder = StaticEncoder()
        self.max_inbound_frame_size = FRAME_BYTES
        self.decoder.max_header_list_size = 2 * head_bytes  # past ours there is an answer, past this there is none

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream._initialize_content_length = _left_to_streams  # type: ignore[method-assign]
        return stream

    def bound_table(self) -> None:
        """Whatever the client allows, our own memory of what was sent stays small."""
        if self.encoder.header_table_size > TABLE_BYTES:
            self.encoder.header_table_size = TABLE_BYTES


def _left_to_streams(headers: object) -> None:
    """Content of another length than said is a fault of its stream alone; ``h2`` would end the connection, on which
    a gateway may have brought requests of many."""
