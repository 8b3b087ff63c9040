"""The index of a key on Redis: one field of its hash that lists the variants, the oldest first.

``#`` holds the preamble of values, then for each variant a record: lengths of field, value and outline (4 bytes each,
big-endian), field, outline. A key that holds nothing but a plain variant has none. Scripts keep it in step with the
values, so both are always of one moment.
"""

from __future__ import annotations

from struct import Struct

from caching_proxy.interfaces import Unreadable
from caching_proxy.rules.codec import PREAMBLE

INDEX = b"#"

_RECORD = Struct("!III")

LUA = b"""\
local preamble = '%b'
local function record(name, value)
  local outline = ''
  if #value > 8 and string.sub(value, 1, 4) == preamble then
    outline = string.sub(value, 9, 8 + struct.unpack('>I4', value, 5))
  elseif string.sub(value, 1, 3) == string.sub(preamble, 1, 3) then
    outline = string.sub(value, 1, 4)
  end
  return {name, #value, struct.pack('>I4I4I4', #name, #value, #outline) .. name .. outline}
end
local function records(index, without)
  local found = {}
  if not index or string.sub(index, 1, 4) ~= preamble then return nil end
  local at = 5
  while at + 11 <= #index do
    local name, value, outline = struct.unpack('>I4I4I4', index, at)
    local stop = at + 12 + name + outline
    local field = string.sub(index, at + 12, at + 11 + name)
    if field ~= without then found[#found + 1] = {field, value, string.sub(index, at, stop - 1)} end
    at = stop
  end
  return found
end
local function written(found)
  local index = {preamble}
  for _, one in ipairs(found) do index[#index + 1] = one[3] end
  return table.concat(index)
end
""" % b"".join(b"\\%03d" % byte for byte in PREAMBLE)
"""What scripts do with an index: ``records`` in order, each ``{field, size, bytes}``; nil without a usable index."""


def outlines_in(index: bytes | None) -> dict[bytes, bytes]:
    """The outlines by field; empty without an index, or with one that another version of the program wrote.

    Raises :class:`Unreadable` for one that was damaged.
    """
    outlines: dict[bytes, bytes] = {}
    if not index or not index.startswith(PREAMBLE):
        return outlines
    at, end = len(PREAMBLE), len(index)
    while at + _RECORD.size <= end:
        name_size, _, outline_size = _RECORD.unpack_from(index, at)
        name_at = at + _RECORD.size
        outline_at = name_at + name_size
        at = outline_at + outline_size
        outlines[index[name_at:outline_at]] = index[outline_at:at]
    if at != end:
        raise Unreadable("an index whose lengths do not add up")
    return outlines
