"""What can't be opened is refused in one clear sentence, which never shows a password."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import asyncpg
import pytest

from storage_backends import open_log
from storage_backends.conformance import events, read_all, synced
from storage_backends.errors import LogConfigurationError, LogError, LogFailedError, LogUnavailableError
from storage_backends.postgres.address import parse_url
from storage_backends.postgres.session import open_session
from tests.storage_backends.test_postgres_server import Server, opened, server  # noqa: F401

SECRET = "s3cret-w0rd"


async def start(url: str) -> None:
    async with opened(url):
        pass


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            f"postgresql://ann:{SECRET}@db:5432/shop?log_name=cart",
            "postgresql://ann@db:5432/shop?application_name=interceptor%20log%20cart"
            "&target_session_attrs=read-write&log_name=cart&schema=interceptor",
        ),
        (
            f"postgres://h1:1,h2:2/d?password={SECRET}&sslpassword={SECRET}&application_name=a&target_session_attrs=any",
            "postgresql://h1:1,h2:2/d?application_name=a&target_session_attrs=any&log_name=default&schema=interceptor",
        ),
    ],
)
def test_the_password_is_kept_out_of_sight(url: str, shown: str) -> None:
    log = open_log(url)
    assert log.url == shown
    address = parse_url(url)
    assert SECRET in address.dsns[0]
    assert SECRET not in f"{address!r} {address.place} {address.shown}"


@pytest.mark.parametrize(
    "parameters",
    [
        "log_name=",
        "log_name=" + "x" * 201,
        "log_name=a%00b",
        "schema=",
        "schema=pg_mine",
        "schema=" + "x" * 64,
        "commit_timeout_s=0",
        "commit_timeout_s=soon",
        "connect_timeout=-1",
        "channel_binding=require",
        "nonsense",
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused(parameters: str) -> None:
    with pytest.raises(LogConfigurationError) as caught:
        open_log(f"postgresql://ann:{SECRET}@db/shop?{parameters}")
    assert SECRET not in str(caught.value)


def test_a_password_with_a_hash_is_not_cut_off_silently() -> None:
    with pytest.raises(LogConfigurationError, match="%23"):
        open_log("postgresql://ann:a#b@db/shop")


def test_parameters_of_libpq_pass_through_and_those_without_use_are_left_out() -> None:
    dsn = parse_url("postgresql:///d?host=/run/pg&sslmode=verify-full&keepalives=1&connect_timeout=3&log_name=x").dsns[
        0
    ]
    assert "host=%2Frun%2Fpg" in dsn or "host=/run/pg" in dsn
    assert "sslmode=verify-full" in dsn
    assert "keepalives" not in dsn
    assert "connect_timeout" not in dsn
    assert "log_name" not in dsn


@pytest.mark.parametrize(
    ("where", "hosts"),
    [
        ("ann:pw@a:1,b,[::1]:3/d?", ["ann:pw@a:1/d?", "ann:pw@b/d?", "ann:pw@[::1]:3/d?"]),
        ("/d?host=a,b&port=1,2&", ["/d?host=a&port=1&", "/d?host=b&port=2&"]),
        ("/d?host=a,b&port=1&", ["/d?host=a&port=1&", "/d?host=b&port=1&"]),
        ("/d?host=/run/pg&", ["/d?host=/run/pg&"]),
        ("a,b/d?target_session_attrs=prefer-standby&", ["a,b/d?target_session_attrs=prefer-standby&"]),
    ],
)
def test_each_host_of_the_url_is_asked_by_itself(where: str, hosts: list[str]) -> None:
    dsns = [unquote(dsn) for dsn in parse_url(f"postgresql://{where}log_name=x").dsns]
    assert [dsn.partition("application_name=")[0] for dsn in dsns] == [f"postgresql://{host}" for host in hosts]


def test_logs_of_other_names_and_schemas_have_other_locks() -> None:
    urls = ("postgresql:///d?log_name=a", "postgresql:///d?log_name=b", "postgresql:///d?log_name=a&schema=s")
    assert len({parse_url(url).lock_key for url in urls}) == 3


async def test_a_log_that_is_not_started_says_so() -> None:
    log = open_log("postgresql:///d")
    with pytest.raises(LogFailedError, match="not started"):
        log.append(events(1, 1))
    log.close()


@pytest.fixture
async def ann(server: Server) -> AsyncIterator[str]:  # noqa: F811
    """A user with a password and few rights; yields the part of a URL behind the password."""
    rules = server.directory / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all ann scram-sha-256\nlocal all shut reject\n" + before)
    server.reload()
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(f"DROP ROLE IF EXISTS ann; CREATE ROLE ann LOGIN PASSWORD '{SECRET}'")
    yield server.url().partition("@")[2]
    await connection.execute("DROP OWNED BY ann CASCADE; DROP ROLE ann")
    await connection.close()
    rules.write_text(before)
    server.reload()


async def refused(url: str, kind: type[LogError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        await start(url)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert SECRET not in text
    assert "\n" not in text
    assert caught.value.__cause__ is None


async def test_a_wrong_password(ann: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await refused(f"postgresql://ann:wrong@{ann}", LogConfigurationError, "password", "PGPASSWORD", "~/.pgpass")
    monkeypatch.setenv("PGPASSWORD", "wrong")
    await refused(f"postgresql://ann@{ann}", LogConfigurationError, "password")


async def test_the_password_may_come_from_the_environment_or_a_file(
    ann: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = f"postgresql://ann@{ann}&schema=anns"
    await grant("GRANT CREATE ON DATABASE postgres TO ann", elsewhere)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    await start(elsewhere)
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:ann:{SECRET}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    await start(elsewhere)


async def grant(sql: str, url: str) -> None:
    connection = await asyncpg.connect(parse_url(url.replace("ann@", "postgres@")).dsns[0])
    await connection.execute(sql)
    await connection.close()


async def test_a_user_without_rights(ann: str) -> None:
    await refused(f"postgresql://ann:{SECRET}@{ann}&schema=nobodys", LogConfigurationError, "right", "GRANT")


async def test_a_user_who_may_only_read_and_write_can_use_a_schema_that_is_there(
    server: Server,  # noqa: F811
    ann: str,
) -> None:
    await start(server.url(schema="prepared"))
    await grant(
        "GRANT USAGE ON SCHEMA prepared TO ann; GRANT ALL ON ALL TABLES IN SCHEMA prepared TO ann;"
        " GRANT ALL ON ALL SEQUENCES IN SCHEMA prepared TO ann",
        f"postgresql://ann@{ann}",
    )
    async with opened(f"postgresql://ann:{SECRET}@{ann}&schema=prepared") as log:
        log.append(events(1, 2))
        assert await synced(log) is None
        assert await read_all(log.reader(1)) == events(1, 2)


async def test_a_user_who_is_not_let_in(ann: str) -> None:
    await refused(f"postgresql://shut:{SECRET}@{ann}", LogConfigurationError, "pg_hba.conf")


async def test_a_database_that_does_not_exist(server: Server) -> None:  # noqa: F811
    url = server.url().replace("/postgres?", "/nowhere?")
    await refused(url, LogConfigurationError, "does not exist", "CREATE DATABASE")


async def test_a_parameter_that_the_server_does_not_know(server: Server) -> None:  # noqa: F811
    await refused(server.url(colour="red"), LogConfigurationError, "parameter", "colour")


async def test_a_server_that_takes_no_writes(server: Server) -> None:  # noqa: F811
    url = server.url(default_transaction_read_only="on", connect_timeout="1")
    await refused(url, LogUnavailableError, "standby", "primary")


async def test_an_unknown_host() -> None:
    await refused(f"postgresql://a:{SECRET}@no-such-host.invalid/d", LogConfigurationError, "host's name is unknown")


async def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        await refused(f"postgresql://a:{SECRET}@127.0.0.1:{port}/d", LogUnavailableError, "nothing listens", str(port))


async def test_no_socket_in_the_directory(tmp_path: Path) -> None:
    await refused(f"postgresql://a@/d?host={tmp_path}", LogUnavailableError, "socket", str(tmp_path))


async def test_a_server_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://a:{SECRET}@127.0.0.1:{port}/d?sslmode=disable&connect_timeout=0.2"
        await refused(url, LogUnavailableError, "no answer in time")


async def test_no_tls_where_it_is_demanded(server: Server) -> None:  # noqa: F811
    async def deny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")
        await reader.read()
        writer.close()
        ended.set()

    ended = asyncio.Event()
    listener = await asyncio.start_server(deny, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = f"postgresql://a:{SECRET}@127.0.0.1:{port}/d?sslmode=require"
    await refused(url, LogUnavailableError, "SSL")
    await ended.wait()
    listener.close()
    await listener.wait_closed()


async def test_tls_with_a_verified_certificate(server: Server, tmp_path: Path) -> None:  # noqa: F811
    """The wheel's server speaks no TLS, so a proxy in front of it does."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
        f" -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
    )
    maker = await asyncio.create_subprocess_exec(*command.split(), stderr=asyncio.subprocess.DEVNULL)
    assert await maker.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    tasks: set[asyncio.Task[None]] = set()

    async def encrypted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        far_reader, far_writer = await asyncio.open_unix_connection(server.socket_path)
        await asyncio.gather(copied(reader, far_writer), copied(far_reader, writer))

    async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.transport.abort()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(encrypted(reader, writer)))

    listener = await asyncio.start_server(accepted, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    base = f"postgresql://postgres@localhost:{port}/postgres?log_name=tls&sslmode=verify-full"
    async with opened(f"{base}&sslrootcert={certificate}") as log:
        log.append(events(1, 3))
        assert await synced(log) is None
        assert await read_all(log.reader(1)) == events(1, 3)
    elsewhere = base.replace("@localhost", "@127.0.0.1")
    await refused(f"{elsewhere}&sslrootcert={certificate}", LogConfigurationError, "TLS", "sslmode")
    listener.close()
    await listener.wait_closed()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_pooler_is_refused_in_transaction_mode_only(server: Server, mode: str) -> None:  # noqa: F811
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        directory = Path(name)
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\npostgres = host={server.socket_path.parent} user=postgres\n[pgbouncer]\nauth_type = any\n"
            f"unix_socket_dir = {directory}\nlisten_port = 5432\npool_mode = {mode}\nlogfile = {directory}/log\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        user = "pgserver" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        shutil.chown(directory, user)
        pooler = await asyncio.create_subprocess_exec(
            program, "-q", *(["-u", user] if os.geteuid() == 0 else []), str(directory / "pgbouncer.ini"), stderr=-3
        )
        try:
            while not (directory / ".s.PGSQL.5432").exists():
                await asyncio.sleep(0)
                assert pooler.returncode is None, (directory / "log").read_text()
            url = server.url_through(directory, server.url())
            if mode == "transaction":
                await refused(url, LogConfigurationError, "pool_mode = session")
            else:
                async with opened(url) as log:
                    log.append(events(1, 3))
                    assert await synced(log) is None
                    assert await read_all(log.reader(1)) == events(1, 3)
        finally:
            pooler.terminate()
            await pooler.wait()


async def test_no_timeout_of_the_role_ends_the_writers_session(server: Server) -> None:  # noqa: F811
    """Rule 8: an idle log must not lose its lock to another writer."""
    names = ("idle_session_timeout", "statement_timeout", "lock_timeout")
    session = await open_session(parse_url(server.url(**dict.fromkeys(names, "7s"))))
    try:
        assert [await session.fetchval(f"SHOW {name}") for name in names] == ["0", "0", "0"]
    finally:
        await session.close()
