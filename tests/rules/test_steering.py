"""Fields that steer a backend: who is believed, and that nothing of them is left to select a variant by."""

from __future__ import annotations

import pytest

from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.rules.steering import REMEMBERED, TABLE, Door, Steering

NAMES = sorted(name.replace(b"*", b"anything") for name in TABLE)
HOST: Field = (b"Host", b"shop.example")


def left(*pairs: Field, trusted: bool = False, method: bytes = b"GET", steering: Steering | None = None) -> list[bytes]:
    door = Door(Steering() if steering is None else steering)
    head = door.admitted(RequestHead(method, b"/", Fields((HOST, *pairs))), trusted)
    assert head.fields.pairs[0] == HOST
    return [name for name, _ in head.fields.pairs[1:]]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_table_goes_unless_a_trusted_proxy_sends_it(name: bytes) -> None:
    for spelling in (name, name.upper(), name.title()):
        assert left((spelling, b"x")) == []
        assert left((spelling, b"x"), trusted=True) == [spelling]
    for method in (b"GET", b"HEAD", b"POST"):
        assert left((name, b"x"), (b"Accept", b"*/*"), method=method) == [b"Accept"]


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("underscores", [False, True])
def test_no_proxy_writes_them_with_an_underscore(trusted: bool, underscores: bool) -> None:
    steering = Steering(underscores=underscores)
    spellings = [name.replace(b"-", b"_") for name in NAMES if b"-" in name]
    assert len(spellings) > 50
    for spelling in spellings:
        assert left((spelling, b"x"), trusted=trusted, steering=steering) == [], spelling


def test_names_with_an_underscore_pass_only_where_they_may() -> None:
    sent: tuple[Field, ...] = ((b"Accept_Language", b"de"), (b"x_id", b"1"), (b"Accept", b"*/*"))
    for trusted in (False, True):
        for method in (b"GET", b"POST"):
            assert left(*sent, trusted=trusted, method=method) == [b"Accept"]
            passing = left(*sent, trusted=trusted, method=method, steering=Steering(underscores=True))
            assert passing == [name for name, _ in sent]


@pytest.mark.parametrize(
    "name",
    [
        *(b"Accept", b"Accept-Language", b"Authorization", b"Cookie", b"If-None-Match", b"Range", b"User-Agent"),
        *(b"X-Requested-With", b"X-CSRF-Token", b"X-API-Key", b"Traceparent", b"X-Amz-Date", b"X-Amz-Security-Token"),
        *(b"X-Amz-Content-Sha256", b"X-Goog-Api-Key", b"RSC", b"Next-Router-Prefetch", b"Next-Action", b"CDN-Loop"),
        *(
            b"Destination",
            b"Depth",
            b"X-Request-ID",
            b"Via",
            b"Forwards",
            b"X-Forwardable",
            b"Origin",
            b"Sec-Fetch-Mode",
        ),
    ],
)
def test_ordinary_fields_pass_with_the_same_object(name: bytes) -> None:
    head = RequestHead(b"GET", b"/", Fields((HOST, (name, b"x"))))
    assert Door(Steering()).admitted(head, False) is head


def test_more_names_can_be_given() -> None:
    steering = Steering((b"x-shop-*", b"x-tenant"))
    sent: tuple[Field, ...] = ((b"X-Shop-Id", b"1"), (b"X-TENANT", b"1"), (b"X_Tenant", b"1"), (b"X-Tenants", b"1"))
    assert left(*sent, steering=steering) == [b"X-Tenants"]
    assert left(*sent, steering=steering, trusted=True) == [b"X-Shop-Id", b"X-TENANT", b"X-Tenants"]
    open_ = Steering((b"x-shop-*", b"x-tenant"), underscores=True)
    assert left(*sent, steering=open_) == [b"X-Tenants"]


def test_the_answer_is_remembered_for_each_sender() -> None:
    door, shared = Door(Steering()), Fields((HOST, (b"X-HTTP-Method", b"PUT"), (b"X-Host", b"a")))
    heads = [RequestHead(method, b"/", shared) for method in (b"GET", b"POST")]
    sizes = [[len(door.admitted(head, trusted).fields) for head in heads] for trusted in (False, True, False)]
    assert sizes == [[1, 1], [3, 3], [1, 1]]


def test_every_row_says_why() -> None:
    assert all(len(reason) > 15 and name == name.lower() for name, reason in TABLE.items())


def test_no_number_of_names_makes_it_forget_or_grow() -> None:
    door = Door(Steering())
    for number in range(3 * REMEMBERED):
        pairs = ((b"X-%d" % number, b"1"), (b"Remote-User", b"x"), (b"A" * number, b"1"))
        head = door.admitted(RequestHead(b"GET", b"/", Fields(pairs)), False)
        assert [name for name, _ in head.fields] == [pairs[0][0], pairs[2][0]]
    assert left((b"X-0", b"1"), (b"Remote-User", b"x")) == [b"X-0"]
