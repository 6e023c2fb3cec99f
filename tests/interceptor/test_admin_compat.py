"""The prototype's controllers: `GET /reproject`, form posts to `/state`, and any status but 200 is a failure."""

from __future__ import annotations

import pytest

from interceptor.address import Address
from interceptor.errors import ConfigurationError
from interceptor.settings import Settings
from tests.interceptor.running import Running, running


async def ask(at: Running, method: str, path: str, **headers: str) -> int:
    """Ask on the clients' port as a Go client does that posts an empty form."""
    if method == "POST":
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    url = f"http://{at.ambassador.listen_address}{path}"
    async with at.session.request(method, url, headers=headers) as answer:
        return answer.status


async def test_their_recovery_of_a_target_that_came_back_empty() -> None:
    """Rule 3: the new incarnation gets each event once, whoever drives."""
    async with running(admin_same=True, compat=True) as at:
        await at.send("/a", "/b")
        assert await ask(at, "POST", "/state?state=Caching") == 200
        at.target.restart()
        assert await ask(at, "GET", "/reproject") == 200
        assert await ask(at, "POST", "/state?state=Proxying") == 200
        await at.active()
        assert at.target.asked[-1] == ["GET /a", "GET /b"]


async def test_reproject_by_get_is_only_theirs_and_never_another_sites() -> None:
    async with running(admin_same=True, compat=True) as at:
        assert await ask(at, "GET", "/reproject", **{"Sec-Fetch-Site": "cross-site"}) == 403
        assert await ask(at, "POST", "/checkpoint") == 200
    async with running() as at:
        assert (await at.control("GET", "/reproject")).status == 405
        assert (await at.control("POST", "/checkpoint")).status == 201


async def test_each_takes_back_its_own_hold() -> None:
    """A controller that has come back must not let pass what an operator holds."""
    async with running() as at:
        await at.control("POST", "/state?state=Waiting")
        answer = await at.control("POST", "/state?state=Waiting&by=controller")
        assert answer.json["holds"] == ["controller", "operator"]
        answer = await at.control("POST", "/state?state=Active&by=controller")
        assert (answer.json["state"], answer.json["holds"]) == ("Waiting", ["operator"])
        assert (await at.control("POST", "/state?state=Active&by=me")).status == 400


def test_compat_needs_the_clients_port_and_no_token() -> None:
    target, anywhere = Address("127.0.0.1", 8000), Address("0.0.0.0", 8001)
    Settings(target, anywhere, None, "memory:", compat=True).check_admin()
    with pytest.raises(ConfigurationError, match="--admin same"):
        Settings(target, anywhere, Address("127.0.0.1", 8002), "memory:", compat=True).check_admin()
