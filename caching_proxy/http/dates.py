"""HTTP dates: the three forms of RFC 9110 §5.6.7, and nothing else.

Library parsers guess at anything that resembles a date; a cache must not, because every deviation in ``Expires``
means *already expired*. No locale, no local time zone.
"""

from __future__ import annotations

import datetime
import re
from functools import lru_cache

_SECONDS_A_DAY = 86400
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_LATEST = (datetime.date.max.toordinal() - _EPOCH + 1) * _SECONDS_A_DAY - 1
_EARLIEST = (datetime.date.min.toordinal() - _EPOCH) * _SECONDS_A_DAY
_WEEKDAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_NUMBER = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}

_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH = rb"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_TIME = rb"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"  # 60: a leap second

IMF_LENGTH = 29
"""Bytes of the preferred form, and of no other: those have 24 or 30 and more."""

_IMF = re.compile(_DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" gmt", re.IGNORECASE)
_RFC850 = re.compile(
    _LONG_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + rb" gmt", re.IGNORECASE
)
_ASCTIME = re.compile(
    _DAY + rb" " + _MONTH + rb" (?P<day>[0-9]{2}| [0-9]) " + _TIME + rb" (?P<year>[0-9]{4})", re.IGNORECASE
)


def parse_date(value: bytes, now: float) -> int | None:
    """The POSIX second that ``value`` names, or None if it is no HTTP date.

    The weekday must be one but need not fit the date. ``now`` decides the century of two-digit years only.
    """
    if len(value) == IMF_LENGTH:
        return preferred_date(value)
    found = _RFC850.fullmatch(value)
    if found is not None:
        return _two_digit_year(found, now)
    found = _ASCTIME.fullmatch(value)
    return None if found is None else _timestamp(found, int(found["year"]))


@lru_cache(256)  # all responses of a second carry the same Date
def preferred_date(value: bytes) -> int | None:
    """:func:`parse_date` of what has the preferred form, or at least its length."""
    found = _IMF.fullmatch(value)
    return None if found is None else _timestamp(found, int(found["year"]))


def format_date(timestamp: float) -> bytes:
    """``timestamp`` in the preferred form, fractions of a second dropped; years outside 1–9999 are clamped."""
    days, second = divmod(int(min(max(timestamp, _EARLIEST), _LATEST) // 1), _SECONDS_A_DAY)
    date = datetime.date.fromordinal(_EPOCH + days)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _WEEKDAYS[date.weekday()],
        date.day,
        _MONTHS[date.month - 1],
        date.year,
        hour,
        minute,
        second,
    )


def _timestamp(found: re.Match[bytes], year: int) -> int | None:
    try:
        date = datetime.date(year, _MONTH_NUMBER[found["month"].lower()], int(found["day"]))
    except ValueError:  # 30 February, year 0
        return None
    days = date.toordinal() - _EPOCH
    return days * _SECONDS_A_DAY + int(found["hour"]) * 3600 + int(found["minute"]) * 60 + int(found["second"])


def _two_digit_year(found: re.Match[bytes], now: float) -> int | None:
    """The latest date with these two digits that is at most 50 years, to the day, ahead (RFC 9110 §5.6.7)."""
    days = int(min(max(now, 0), _LATEST)) // _SECONDS_A_DAY
    today = datetime.date.fromordinal(_EPOCH + days)
    year = today.year - today.year % 100 + 100 + int(found["year"])
    while year > today.year + 50:
        year -= 100
    if year == today.year + 50:
        month, day = _MONTH_NUMBER[found["month"].lower()], int(found["day"])
        if (month, day) > (today.month, today.day):
            year -= 100
    return _timestamp(found, year)
