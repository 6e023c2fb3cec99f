"""A server that speaks TLS, unlike the wheel's: that of Debian's package `postgresql`, with our certificates."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage_backends.conformance import events, read_all, synced
from storage_backends.errors import LogConfigurationError
from tests.storage_backends.replicated_servers import ReplicatedServer, give_away, server_user
from tests.storage_backends.test_postgres_opening import SECRET, refused
from tests.storage_backends.test_postgres_server import opened


class Authority:
    """Who signs certificates."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._begun(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def signed(self, directory: Path) -> None:
        """Write key and certificate of a server at `localhost` there."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
        certificate = (
            self._begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        (directory / "server.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (directory / "server.crt").write_bytes(pem(certificate))

    def _begun(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def made_server(place: Path, authority: Authority) -> ReplicatedServer:
    """Make the directory of a server that takes passwords, and over TCP only with TLS.  Skips the test without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("Debian's package postgresql is not installed, and the wheel's server speaks no TLS")
    give_away(place)
    directory = place / "data"
    command = [str(found[-1]), "-D", str(directory), "-A", "trust", "-U", "postgres", "-N"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60, user=server_user(), cwd="/")
    authority.signed(directory)
    for name in ("server.key", "server.crt"):
        give_away(directory / name)
    (directory / "server.key").chmod(0o600)
    (directory / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
    server = ReplicatedServer(found[-1].parent, directory, {"fsync": "off", "ssl": "on"})
    server.dsn = f"postgresql://postgres@/postgres?host={directory}&port={server.port}"
    return server


@pytest.fixture
async def tls_server(tmp_path: Path) -> AsyncIterator[ReplicatedServer]:
    """The server, started; its authority's certificate is in `ca.pem`, that of another one in `other.pem`."""
    authority = Authority("ours")
    (tmp_path / "ca.pem").write_bytes(pem(authority.certificate))
    (tmp_path / "other.pem").write_bytes(pem(Authority("another").certificate))
    place = Path(tempfile.mkdtemp(prefix="pg-tls-"))
    try:
        server = await asyncio.to_thread(made_server, place, authority)
        try:
            await server.start()
            await server.fetch(f"ALTER ROLE postgres PASSWORD '{SECRET}'")
            yield server
        finally:
            server.end()
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def test_a_server_is_verified_or_refused_in_a_sentence(tls_server: ReplicatedServer, tmp_path: Path) -> None:
    def url(host: str, authority: str, password: str = SECRET) -> str:
        verified = f"sslmode=verify-full&sslrootcert={tmp_path}/{authority}"
        return f"postgresql://postgres:{password}@{host}:{tls_server.port}/postgres?log_name=tls&{verified}"

    async with opened(url("localhost", "ca.pem")) as log:
        log.append(events(1, 3))
        assert await synced(log) is None
        assert await read_all(log.reader(1)) == events(1, 3)
        (ended,) = await tls_server.fetch("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                          " WHERE application_name LIKE 'interceptor%'")  # fmt: skip
        assert ended[0], "each of its sessions is encrypted"
    await refused(url("localhost", "other.pem"), LogConfigurationError, "TLS failed", "sslrootcert")
    await refused(url("127.0.0.1", "ca.pem"), LogConfigurationError, "TLS failed", "sslmode")
    await refused(url("localhost", "none.pem"), LogConfigurationError, "none.pem")
    await refused(url("localhost", "ca.pem", SECRET + "x"), LogConfigurationError, "the password is wrong")
    plain = f"postgresql://postgres:{SECRET}@127.0.0.1:{tls_server.port}/postgres?sslmode=disable"
    await refused(plain, LogConfigurationError, "does not let this user in", "sslmode")
