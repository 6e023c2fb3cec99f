"""Which way a request goes: into the log or past it."""

from __future__ import annotations

import pytest

from interceptor.errors import ConfigurationError
from interceptor.routing import ADMIN_PATHS, Route, Router
from interceptor.wire.request import Request, RequestReader
from tests.interceptor.fakes import get


def request(method: str, target: str, *fields: str) -> Request:
    reader = RequestReader(32_768, 8_192, 128)
    reader.feed(get(target, *fields, method=method))
    read = reader.read_head()
    assert read is not None
    return read


def route(router: Router, method: str, target: str, *fields: str) -> Route:
    return router.route(request(method, target, *fields))


def test_by_default_everything_is_recorded() -> None:
    """The default is --record all: a wrong state is worse than a slow one."""
    router = Router(record_all=True, bypass=(), admin_same=False)
    assert router.records_all
    for method in ("GET", "HEAD", "OPTIONS", "TRACE", "POST", "DELETE", "FROB"):
        assert route(router, method, "/state") is Route.RECORD


@pytest.mark.parametrize("record_all", [True, False])
def test_an_upgrade_always_has_a_connection_of_its_own(record_all: bool) -> None:
    """RFC 9110 §7.8."""
    router = Router(record_all=record_all, bypass=(), admin_same=True)
    assert route(router, "GET", "/chat", "Connection: upgrade", "Upgrade: websocket") is Route.UPGRADE


@pytest.mark.parametrize(
    ("method", "way"),
    [("GET", Route.READ), ("HEAD", Route.READ), ("OPTIONS", Route.READ), ("TRACE", Route.READ),
     ("POST", Route.RECORD), ("PUT", Route.RECORD), ("DELETE", Route.RECORD), ("get", Route.RECORD),
     ("FROB", Route.RECORD)],
)  # fmt: skip
def test_record_unsafe_leaves_out_the_safe_methods_only(method: str, way: Route) -> None:
    """RFC 9110 §9.2.1; methods are case-sensitive (§9.1), and an unknown one is not safe."""
    assert route(Router(record_all=False, bypass=(), admin_same=False), method, "/") is way


@pytest.mark.parametrize(
    ("pattern", "method", "target", "matches"),
    [
        ("GET:/events/*", "GET", "/events/1?x=/other", True),
        ("GET:/events/*", "GET", "/events/a/b", True),
        ("GET:/events/*", "POST", "/events/1", False),
        ("GET:/events/*", "GET", "/events", False),
        ("GET:/events/*", "GET", "/api/events/1", False),
        ("GET:/events/*", "GET", "/other?x=/events/1", False),
        ("*:/stream", "DELETE", "/stream", True),
        ("*:/stream", "GET", "/stream2", False),
        ("*:/Stream", "GET", "/stream", False),
        ("get:/a", "GET", "/a", True),
        ("GET:*", "GET", "/anything", True),
        ("GET:/a.b", "GET", "/aXb", False),
        ("GET:/[ab]", "GET", "/b", True),
    ],
)
def test_bypass_matches_method_and_whole_path(pattern: str, method: str, target: str, matches: bool) -> None:
    router = Router(record_all=True, bypass=(pattern,), admin_same=False)
    assert route(router, method, target) is (Route.BYPASS if matches else Route.RECORD)


@pytest.mark.parametrize("text", ["/events", "GET", "GET:", ":/x", "GET:events", ""])
def test_a_bypass_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="METHOD:GLOB"):
        Router(record_all=True, bypass=(text,), admin_same=False)


def test_the_admin_on_the_same_port_shadows_its_paths_and_no_others() -> None:
    router = Router(record_all=True, bypass=("*:/*",), admin_same=True)
    for path in ADMIN_PATHS:
        assert route(router, "POST", path.decode() + "?state=Active") is Route.ADMIN
    assert route(router, "GET", "/state/of/things") is Route.BYPASS
    assert route(router, "GET", "/x?/state") is Route.BYPASS
