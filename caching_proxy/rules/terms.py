"""What holds for one target: the operator's settings, changed by the rule for its path.

A rule decides nothing by itself. It comes to a :class:`CachePolicy` and a :class:`KeyPolicy` of its own, which go where
those of the settings go, and to who may share what is stored.
"""

from __future__ import annotations

import enum

import attrs

from caching_proxy.rules.key import KeyPolicy, build_key, target_of
from caching_proxy.rules.outcome import Bypass, Detour
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.role import ANONYMOUS, OPAQUE, by_credentials


class Share(enum.Enum):
    """Who may be answered with what was fetched for somebody."""

    ROLE = "role"  # who has the same roles: what holds without a rule
    EVERYONE = "everyone"  # all, with credentials or without
    TOKEN = "token"  # who sends the very same credentials
    NONE = "none"  # nobody: never stored


@attrs.frozen(slots=True, eq=False)
class Terms:
    """``bypass`` is why the cache is passed by, None if it is not; ``collapse``: concurrent misses share one fetch."""

    policy: CachePolicy
    keys: KeyPolicy
    share: Share = Share.ROLE
    collapse: bool = True
    bypass: Bypass | None = None

    def closed(self, target: bytes) -> Bypass | Detour | None:
        """Why nothing is stored for ``target``, None where something may be."""
        return Detour.OWN_NAME if self.keys.reserves(target) else self.bypass

    def target(self, target: bytes, host: bytes = b"") -> bytes:
        """``target`` as it stands in keys."""
        return target_of(target, self.keys, host)

    def key(self, role: bytes, target: bytes, host: bytes = b"") -> bytes:
        """The key for what ``role`` sees at ``target``."""
        return build_key(role, target_of(target, self.keys, host))


def shared_role(share: Share, role: bytes, established: bool, credentials: list[bytes]) -> bytes:
    """The identifier in the key of a request whose own is ``role``.

    ``established``: the role stands for its ``credentials``, which are the values of Authorization.
    """
    if share is Share.EVERYONE:
        return ANONYMOUS.identifier
    if share is Share.TOKEN and credentials:
        return by_credentials(role if established else OPAQUE.label.encode(), b"\n".join(credentials))
    return role
