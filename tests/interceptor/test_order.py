"""Order by choice: what an order is, how a key is found, how many lanes there are."""

from __future__ import annotations

import pytest

from interceptor.errors import ConfigurationError
from interceptor.order import LANES_DEFAULT, Key, Order, OrderKind
from tests.interceptor.fakes import get


def key_of(order: str) -> Key:
    key = Order.parse(order).key
    assert key is not None
    return key


def test_orders_without_a_key() -> None:
    assert Order.parse("total") == Order()
    assert Order.parse("arrival").kind is OrderKind.ARRIVAL


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected total, arrival, key:header:NAME"),
        ("Total", "expected total, arrival"),
        ("key", "expected total, arrival"),
        ("key:query:id", "expected total, arrival"),
        ("key:header:", "'' is not the name of a header field"),
        ("key:header:a b", "'a b' is not the name of a header field"),
        ("key:header:Content-Length", "says how a message is sent"),
        ("key:cookie:a=b", "'a=b' is not the name of a cookie"),
        ("key:path:", "begins with /"),
        ("key:path:rooms/{key}", "begins with /"),
        ("key:path:/rooms/*", "the segment {key} once"),
        ("key:path:/{key}/{key}", "the segment {key} once"),
        ("key:path:/room-{key}", "the segment {key} once"),
        ("key:path:/{id}/{key}", "'{id}' is neither text nor"),
        ("key:path:/**/{key}", "'**' is neither text nor"),
        ("key:path:/rooms/{key}?x", "the segment {key} once"),
        ("key:path:/rooms/{key}/a?x", "'a?x' is neither text nor"),
    ],
)
def test_what_is_no_order_is_refused_with_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--order ") as error:
        Order.parse(text)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        (("X-Room: 7",), b"7"),
        (("x-rOOM:\t 7 \t",), b"7"),
        (("X-Room: a b",), b"a b"),
        (("X-Room: 7", "A: b", "x-room: 8"), b"7, 8"),
        (("X-Rooms: 7",), None),
        (("A: X-Room: 7",), None),
        (("X-Room:",), None),
        ((), None),
    ],
)
def test_a_header_is_found_in_any_case_and_several_lines_are_one_value(
    fields: tuple[str, ...], key: bytes | None
) -> None:
    """RFC 9110 §5.1 to §5.3."""
    assert key_of("key:header:X-Room")(get("/", *fields)) == key


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        (("Cookie: sid=7",), b"7"),
        (("cookie: a=1; sid=7; b=2",), b"7"),
        (("Cookie: a=1;sid=7",), b"7"),
        (("Cookie: a=1", "Cookie: sid=7"), b"7"),
        (('Cookie: sid="7"',), b"7"),
        (('Cookie: sid="',), b'"'),
        (("Cookie: sid=a=b",), b"a=b"),
        (("Cookie: sid=7; sid=8",), b"7"),
        (("Cookie: SID=7",), None),
        (("Cookie: xsid=7; sidx=8",), None),
        (("Cookie: sid",), None),
        (("Cookie: sid=",), None),
        (("X: Cookie: sid=7",), None),
        ((), None),
    ],
)
def test_a_cookie_is_found_in_any_of_several_fields_with_or_without_quotes(
    fields: tuple[str, ...], key: bytes | None
) -> None:
    """RFC 6265 §4.1.1, §5.4."""
    assert key_of("key:cookie:sid")(get("/", *fields)) == key


@pytest.mark.parametrize(
    ("template", "path", "key"),
    [
        ("/rooms/{key}/*", "/rooms/7/messages", b"7"),
        ("/rooms/{key}/*", "/rooms/7/messages/3", b"7"),
        ("/rooms/{key}/*", "/rooms/7", b"7"),
        ("/rooms/{key}/*", "/rooms/7/?x=/rooms/8", b"7"),
        ("/rooms/{key}/*", "/rooms/", None),
        ("/rooms/{key}/*", "/rooms", None),
        ("/rooms/{key}/*", "/carts/7/x", None),
        ("/rooms/{key}", "/rooms/7?a", b"7"),
        ("/rooms/{key}", "/rooms/7/x", None),
        ("/*/{key}/*/b", "/any/7/thing/b", b"7"),
        ("/*/{key}/*/b", "/any/7/b", None),
        ("/{key}", "*", None),
        ("/rooms/{key}", "/ro%6Fms/%37", b"7"),
        ("/rooms/{key}", "/rooms/a%2Fb", b"a/b"),
        ("/gr%C3%BC%C3%9Fe/{key}", "/gr%c3%bc%c3%9fe/7", b"7"),
    ],
)
def test_a_path_is_matched_segment_by_segment(template: str, path: str, key: bytes | None) -> None:
    """Other spellings of the same path (RFC 3986 §6.2.2.2) have the same key; the query is left out."""
    assert key_of(f"key:path:{template}")(get(path)) == key


def test_the_number_of_lanes() -> None:
    keyed = Order.parse("key:header:a")
    assert (Order().lanes(None, 64), Order().lanes(1, 64)) == (1, 1)
    assert (keyed.lanes(None, 64), keyed.lanes(None, 3), keyed.lanes(5, 64)) == (LANES_DEFAULT, 3, 5)
    with pytest.raises(ConfigurationError, match="--lanes 2: --order total is one order down one lane"):
        Order().lanes(2, 64)
    with pytest.raises(ConfigurationError, match=r"--lanes 65: more than lanes_max \(64\)"):
        keyed.lanes(65, 64)
