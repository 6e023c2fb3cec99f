"""Who reaches control: neither pages of other sites, nor rebound names, nor the network without a token."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from interceptor.address import Address, UnixAddress
from interceptor.errors import ConfigurationError
from interceptor.server_tls import TlsFiles
from interceptor.settings import Settings
from interceptor.shown_url import shown_url
from tests.certificates import Authority
from tests.interceptor.running import Answer, Running, running

POST = "/state?state=Waiting"


async def post(at: Running, **headers: str) -> Answer:
    return await at.control("POST", POST, **{name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://evil.example"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("token", [None, "s3cret"])
async def test_no_page_of_another_site_changes_anything(headers: dict[str, str], token: str | None) -> None:
    """Fetch standard; W3C Fetch Metadata."""
    async with running(admin_token=token) as at:
        answer = await post(at, Authorization=f"Bearer {token}", **headers)
        assert answer.status == 403
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert at.ambassador.machine.state.public == "Active"


async def test_our_own_pages_and_commands_are_let_through() -> None:
    async with running() as at:
        for headers in ({}, {"Origin": f"http://{at.admin.address}", "Sec_Fetch_Site": "same-origin"},
                        {"Sec_Fetch_Site": "none"}):  # fmt: skip
            assert (await post(at, **headers)).status == 200
        await at.control("POST", "/state?state=Active")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8002", "127.0.0.1.evil.example", "", "[::1", "x@[::1"])
async def test_a_rebound_name_is_refused_without_a_token(host: str) -> None:
    """RFC 9110 §7.4, §15.5.20."""
    async with running() as at:
        for method, path in (("GET", "/state"), ("GET", "/metrics"), ("POST", POST)):
            answer = await at.control(method, path, Host=host)
            assert answer.status in (400, 421)
        assert (await at.control("GET", "/readyz", Host="pod.example")).status == 200


@pytest.mark.parametrize("host", ["localhost:8002", "127.0.0.1", "[::1]:8002", "10.1.2.3:8002"])
async def test_addresses_can_not_be_rebound(host: str) -> None:
    async with running() as at:
        assert (await at.control("GET", "/state", Host=host)).status == 200


async def test_with_a_token_any_name_will_do() -> None:
    async with running(admin_token="s3cret") as at:
        assert (await at.control("GET", "/state", Host="pod.example", Authorization="Bearer s3cret")).status == 200
        assert (await at.control("GET", "/state", Host="pod.example")).status == 401


@pytest.mark.parametrize("path", ["/state?state=Waiting", "/checkpoint", "/reproject"])
async def test_nothing_is_changed_but_by_post(path: str) -> None:
    """RFC 9110 §9.2.1."""
    async with running() as at:
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            await at.control(method, path, **{"X-HTTP-Method-Override": "POST"})
        assert at.ambassador.machine.state.public == "Active"
        assert (await at.control("GET", "/checkpoint")).json == []


@pytest.mark.parametrize("admin", ["0.0.0.0", "::", "0", ""])
def test_control_from_elsewhere_asks_for_a_token(admin: str) -> None:
    """Rule 8: refused at the start."""
    target, loopback, elsewhere = Address("127.0.0.1", 1), Address("127.0.0.1", 2), Address(admin, 3)
    for refused in (Settings(target, loopback, elsewhere, "memory:"), Settings(target, elsewhere, None, "memory:")):
        with pytest.raises(ConfigurationError, match="--admin-token-file"):
            refused.check_admin()
    Settings(target, elsewhere, elsewhere, "memory:", admin_token="s3cret").check_admin()
    Settings(target, elsewhere, loopback, "memory:").check_admin()
    Settings(target, UnixAddress("/run/x"), None, "memory:").check_admin()


async def test_control_through_tls_by_choice(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = TlsFiles("--admin-tls", *authority.sign("admin", "127.0.0.1"))
    async with running(admin_tls=files) as at, aiohttp.ClientSession() as session:
        url = f"https://{at.admin.address}/state"
        async with session.get(url, ssl=authority.client_context()) as answer:
            assert answer.status == 200
            assert (await answer.json())["state"] == "Active"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:pa:ss@host/db?log_name=x", "postgresql://user:***@host/db?log_name=x"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("postgresql://host/db?user=u&password=p%26q&x=1", "postgresql://host/db?user=u&password=***&x=1"),
        ("postgresql://host/db?sslpassword=p", "postgresql://host/db?sslpassword=***"),
        ("postgresql://:p@host/db", "postgresql://:***@host/db"),
        ("file:///var/lib/log", "file:///var/lib/log"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_a_password_among_the_arguments_is_warned_of_and_a_file_is_not(tmp_path: Path) -> None:
    """Nothing of our own output shows it."""
    url = "postgresql://u:hunter2@127.0.0.1:1/db"
    (tmp_path / "url").write_text(url)
    common = [sys.executable, "-m", "interceptor", "run", "--target", "http://127.0.0.1:1", "--retain", "x"]
    for log, warned in ((["--log", url], True), (["--log-url-file", str(tmp_path / "url")], False)):
        done = subprocess.run([*common, *log], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert ("--log-url-file" in done.stderr) == warned
        assert "hunter2" not in done.stderr + done.stdout
