"""TLS on the listener: versions, ALPN, client certificates, certificates that are replaced, handshakes that hang."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from interceptor.address import Address
from interceptor.errors import ConfigurationError
from interceptor.limits import Limits
from interceptor.server_tls import TlsFiles
from tests.certificates import Authority
from tests.interceptor.fakes import get, ok, until
from tests.interceptor.running import Running, running
from tests.interceptor.target import Connection


async def ask(at: Running, context: ssl.SSLContext, request: bytes = get("/x", "Connection: close")) -> bytes:
    """Ask through TLS; return everything up to the end."""
    address = at.ambassador.listen_address
    assert isinstance(address, Address)
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port, ssl=context)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def test_requests_come_through_tls_and_the_application_is_told(authority: Authority, files: TlsFiles) -> None:
    heads: list[bytes] = []

    async def script(connection: Connection) -> None:
        heads.append(await connection.reader.readuntil(b"\r\n\r\n"))
        connection.write(ok(b"secret"))

    async with running(script, listen_tls=files) as at:
        assert (await ask(at, authority.client_context())).endswith(b"secret")
        assert b"X-Forwarded-Proto: https\r\n" in heads[0]
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in heads[0]


async def test_http_2_is_never_agreed_on(authority: Authority, files: TlsFiles) -> None:
    """RFC 7301, RFC 9113 §3.2."""
    async with running(listen_tls=files) as at:
        address = at.ambassador.listen_address
        assert isinstance(address, Address)
        context = authority.client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection("127.0.0.1", address.port, ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()


async def test_a_client_gets_no_second_handshake(authority: Authority, files: TlsFiles) -> None:
    """RFC 9325 §3.5; TLS 1.3 has none."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl (Debian: openssl) is the client that can ask for one")
    async with running(listen_tls=files) as at:
        address = at.ambassador.listen_address
        assert isinstance(address, Address)
        client = await asyncio.create_subprocess_exec(
            openssl, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{address.port}",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert client.stdin is not None
        assert client.stdout is not None
        said = await client.stdout.readuntil(b"Verify return code")
        assert b"TLSv1.2" in said
        # A line of this letter is its command for it.
        client.stdin.write(b"R\n")
        said, _ = await client.communicate()
        assert b"RENEGOTIATING" in said
        assert b"no renegotiation" in said
        assert (await ask(at, authority.client_context())).startswith(b"HTTP/1.1 200 ")


async def test_versions_before_1_2_are_refused(authority: Authority, files: TlsFiles) -> None:
    """RFC 8996."""
    async with running(listen_tls=files) as at:
        old = authority.client_context()
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ask(at, old)


async def test_plain_bytes_are_no_handshake(files: TlsFiles) -> None:
    async with running(listen_tls=files) as at:
        assert not (await at.send("/plain")).startswith(b"HTTP")
        await until(lambda: at.ambassador.counters.handshakes_failed["tls"] == 1)
        assert at.ambassador.listener.connections == 0


async def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(
    authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    asking = TlsFiles("--tls", files.certificate, files.key, authority.ca_file)
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    async with running(listen_tls=asking) as at:
        with_one = authority.client_context()
        with_one.load_cert_chain(*authority.sign("client"))
        assert (await ask(at, with_one)).endswith(b"/x")
        for certificate in (None, stranger.sign("client")):
            refused = authority.client_context()
            if certificate is not None:
                refused.load_cert_chain(*certificate)
            # With TLS 1.3 a client learns of it only when it reads.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert await ask(at, refused) == b""
        assert at.ambassador.counters.handshakes_failed["tls"] == 2
        assert at.target.asked == [["GET /x"]]


async def test_a_new_certificate_is_used_and_a_broken_one_is_not(authority: Authority, files: TlsFiles) -> None:
    async with running(listen_tls=files) as at:
        counters = at.ambassador.counters

        async def serial() -> int:
            address = at.ambassador.listen_address
            assert isinstance(address, Address)
            _, writer = await asyncio.open_connection("127.0.0.1", address.port, ssl=authority.client_context())
            shown = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
            writer.close()
            return int(shown, 16)

        first = await serial()
        good = files.key.read_bytes()
        files.key.write_bytes(b"half of a renewal")
        await until(lambda: counters.tls_reloads["failed"] == 1)
        assert await serial() == first
        files.key.write_bytes(good)
        await until(lambda: counters.tls_reloads["loaded"] == 1)
        authority.sign("server", "localhost", "127.0.0.1")
        await until(lambda: counters.tls_reloads["loaded"] == 2)
        assert await serial() != first


async def test_a_handshake_that_hangs_ends_and_does_not_hold_up_others(authority: Authority, files: TlsFiles) -> None:
    """Rules 6 and 7."""
    async with running(listen_tls=files, limits=Limits(handshake_timeout_s=0.2)) as at:
        address = at.ambassador.listen_address
        assert isinstance(address, Address)
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        assert (await ask(at, authority.client_context())).endswith(b"/x")
        assert await reader.read() == b""
        writer.close()
        await until(lambda: at.ambassador.counters.limits_reached["handshake_timeout_s"] == 1)
        assert at.ambassador.listener.connections == 0


async def test_connections_in_their_handshake_count(authority: Authority, files: TlsFiles) -> None:
    """Rule 7: connections_max."""
    async with running(listen_tls=files, limits=Limits(connections_max=2)) as at:
        address = at.ambassador.listen_address
        assert isinstance(address, Address)
        hanging = [await asyncio.open_connection("127.0.0.1", address.port) for _ in range(2)]
        await until(lambda: at.ambassador.listener.connections == 2)
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        assert await reader.read() == b""
        for _, each in (*hanging, (reader, writer)):
            each.close()
        assert at.ambassador.counters.limits_reached["connections_max"] == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda files: files.key.unlink(),
        lambda files: files.certificate.write_text("no certificate"),
        lambda files: files.key.write_bytes(b""),
    ],
)
async def test_a_pair_that_can_not_be_used_is_refused_at_the_start(
    files: TlsFiles, spoil: Callable[[TlsFiles], object]
) -> None:
    """Rule 8."""
    spoil(files)
    with pytest.raises(ConfigurationError, match=r"--tls-cert .* --tls-key"):
        async with running(listen_tls=files):
            pass


def test_half_a_pair_is_refused(files: TlsFiles) -> None:
    assert TlsFiles.from_options("--tls", None, None) is None
    for pair in ((files.certificate, None), (None, files.key)):
        with pytest.raises(ConfigurationError, match="--tls-cert and --tls-key"):
            TlsFiles.from_options("--tls", *pair)
