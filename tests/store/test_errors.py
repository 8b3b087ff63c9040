"""Error replies → what they mean for us; texts as Redis 6.2 and 7.0 send them."""

from __future__ import annotations

import pytest

from caching_proxy.interfaces import StoreError, Unreadable
from caching_proxy.store.redis.errors import CommandRefused, Forbidden, ReadOnly, Redirected, Sick, TryAgain, from_reply


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LOADING Redis is loading the dataset in memory", Sick),
        ("READONLY You can't write against a read only replica.", ReadOnly),
        ("OOM command not allowed when used memory > 'maxmemory'.", Sick),
        ("OOM command not allowed when used memory > 'maxmemory'. script: 5f, on @user_script:17.", Sick),
        ("ERR Error running script (call to f_5f): @user_script:17: @user_script: 17: -OOM command not allowed", Sick),
        ("ERR Error running script (call to f_5f): @user_script:1: -READONLY You can't write", ReadOnly),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Sick),
        ("MISCONF Redis is configured to save RDB snapshots", Sick),
        ("BUSY Redis is busy running a script.", Sick),
        ("CLUSTERDOWN The cluster is down", Sick),
        ("CLUSTERDOWN Hash slot not served", Sick),
        ("TRYAGAIN Multiple keys request during rehashing of slot", TryAgain),
        ("MOVED 3999 127.0.0.1:6381", Redirected),
        ("ASK 3999 127.0.0.1:6381", Redirected),
        ("ASK me", CommandRefused),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Unreadable),
        ("NOAUTH Authentication required.", CommandRefused),
        ("NOPERM this user has no permissions to run the 'eval' command", Forbidden),
        ("ERR ACL failure in script: User u has no permissions to run the 'hset' command", Forbidden),
        ("ERR Error running script (call to f_5f): @user_script:1: -NOPERM The user executing the script", Forbidden),
        ("ERR unknown command 'FOO', with args beginning with: 'LOADING' ", CommandRefused),
        ("ERR a LOADING word in the middle", CommandRefused),
        ("", CommandRefused),
    ],
)
def test_kinds(text: str, kind: type[StoreError]) -> None:
    error = from_reply(Exception(text))
    assert type(error) is kind
    assert str(error) == text
