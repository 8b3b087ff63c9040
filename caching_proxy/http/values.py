"""``transient``: the decorator of classes whose objects are made anew for every request and never changed.

The type checker sees ``attrs.frozen``. At run time it is ``attrs.define``: enforcing what mypy has proved would triple
the cost of making an object. Objects that outlive a request, or serve as keys, stay ``attrs.frozen``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as transient
else:
    from attrs import define as transient

__all__ = ["transient"]
