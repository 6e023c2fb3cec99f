"""One call of the kubelet: `POST /checkpoint/NAMESPACE/POD/CONTAINER`, and what its answers mean.

Kubernetes, "Kubelet Checkpoint API" (beta and on by default since 1.30).  The certificate of the kubelet is always
verified.  Token and certificates are read for each call, since the cluster renews them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import ssl
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs
from yarl import URL

from interceptor.checkpoint.errors import CheckpointError, EngineUnusableError
from interceptor.checkpoint.kubelet_options import KubeletOptions

logger = logging.getLogger(__name__)

ANSWER_BYTES_MAX = 64 * 1024
SHOWN_CHARACTERS = 600
ATTEMPTS_MAX = 4
RETRY_S = 0.1

# The two failures that go away by themselves, as CRIU names them: a connection that somebody was just opening or
# closing (opencontainers/runc#1521), and processes that did not freeze in time (checkpoint-restore/criu#423,
# opencontainers/runc#4486).  The last is all that runc says to containerd, whatever CRIU's reason.
_TRANSIENT = ("In-flight connection", "Timeout reached. Try to interrupt", "criu failed: type NOTIFY errno 0")


class KubeletClient:
    """Asks one kubelet for checkpoints of one container."""

    def __init__(self, options: KubeletOptions, connect_timeout_s: float, checkpoint_timeout_s: float) -> None:
        self._options = options
        self._connect_timeout_s = connect_timeout_s
        # The kubelet counts whole seconds, and takes 0 for its own default.
        self._timeout_s = max(1, math.ceil(checkpoint_timeout_s))
        self.container = f"{options.namespace}/{options.pod}/{options.container}"
        self._where = f"the kubelet at {options.address}"
        self.retries_total = 0

    def check(self) -> None:
        """Read what authenticates us, and throw it away.  Raises EngineUnusableError."""
        self._context()
        self._headers()

    async def checkpoint(self) -> str:
        """Return the archive's path on the node.  Raises CheckpointError."""
        for attempt in range(1, ATTEMPTS_MAX):
            try:
                return await self._once()
            except _TransientError as error:
                self.retries_total += 1
                logger.info("%s; once more (attempt %d of %d)", error, attempt + 1, ATTEMPTS_MAX)
            await asyncio.sleep(RETRY_S * attempt)
        return await self._once()

    async def _once(self) -> str:
        context = await asyncio.to_thread(self._context)
        headers = await asyncio.to_thread(self._headers)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(
                    self._url(), headers=headers, ssl=context, server_hostname=self._options.server_name,
                    allow_redirects=False,
                ) as response,
            ):  # fmt: skip
                body = await response.content.read(ANSWER_BYTES_MAX)
                return self._judge(response.status, body.decode(errors="replace").strip())
        except aiohttp.ClientConnectorCertificateError as error:
            raise CheckpointError(
                f"{self._where} shows a certificate that is not trusted ({error.certificate_error}): give its CA by "
                "--kubelet-ca-file, and the name in it by --kubelet-server-name"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise CheckpointError(
                f"{self._where} can't be asked for a checkpoint ({error or type(error).__name__}): check "
                "--kubelet-node, and that no network policy is in the way"
            ) from error

    def _judge(self, status: int, body: str) -> str:
        """Return the archive's path, or raise what the answer means."""
        said = body[:SHOWN_CHARACTERS] or "(nothing)"
        if status == HTTPStatus.OK:
            return self._archive(body)
        if status == HTTPStatus.UNAUTHORIZED:
            raise CheckpointError(
                f"{self._where} does not know us (401): is the token or certificate of this cluster, and does the "
                "kubelet take tokens (authentication.webhook.enabled)?"
            )
        if status == HTTPStatus.FORBIDDEN:
            raise CheckpointError(
                f"{self._where} does not allow it (403: {said}): grant `create` on `nodes/checkpoint` to this service "
                "account by a ClusterRole"
            )
        if status == HTTPStatus.NOT_FOUND and "does not exist" in body:
            raise CheckpointError(
                f"{self._where} has no container {self.container} (404: {said}): check --kubelet-namespace, "
                "--kubelet-pod and --kubelet-container"
            )
        if status == HTTPStatus.NOT_FOUND:
            raise CheckpointError(
                f"{self._where} has no checkpoints (404): turn the feature gate ContainerCheckpoint on (it is since "
                "Kubernetes 1.30)"
            )
        if status == HTTPStatus.INTERNAL_SERVER_ERROR and any(words in body for words in _TRANSIENT):
            raise _TransientError(
                f"the container runtime behind {self._where} could not checkpoint {self.container}: {said}. Is "
                "somebody else connected to the application? All but our connections must be closed, or the node's "
                "/etc/criu/runc.conf must say tcp-close and skip-in-flight"
            )
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise CheckpointError(
                f"the container runtime behind {self._where} could not checkpoint {self.container}: {said}. It needs "
                "CRIU on the node, and containerd 2.1 or CRI-O 1.25 or newer"
            )
        raise CheckpointError(f"{self._where} answered {status}: {said}")

    def _archive(self, body: str) -> str:
        try:
            items = json.loads(body)["items"]
            (path,) = items
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self._where} answered 200 without one archive: {body[:SHOWN_CHARACTERS]}"
            ) from error
        if not isinstance(path, str) or not path.startswith("/"):
            raise CheckpointError(f"{self._where} answered 200 and names no path: {path!r}")
        return path

    def _url(self) -> URL:
        options, address = self._options, self._options.address
        path = f"/checkpoint/{options.namespace}/{options.pod}/{options.container}"
        return URL.build(
            scheme="https", host=address.host, port=address.port, path=path, query={"timeout": str(self._timeout_s)}
        )

    def _context(self) -> ssl.SSLContext:
        options = self._options
        try:
            context = ssl.create_default_context(cafile=options.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "it holds no PEM certificate"
            raise EngineUnusableError(f"--kubelet-ca-file {options.ca_file}: {reason}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if options.client_cert is not None:
            try:
                context.load_cert_chain(options.client_cert, options.client_key)
            except (OSError, ssl.SSLError) as error:
                reason = error.strerror or str(error)
                raise EngineUnusableError(
                    f"--kubelet-client-cert {options.client_cert}, --kubelet-client-key {options.client_key}: {reason}"
                ) from error
        return context

    def _headers(self) -> dict[str, str]:
        file = self._options.token_file
        if file is None:
            return {}
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no token"
            raise EngineUnusableError(f"--kubelet-token-file {file}: {reason}") from error
        if not token or any(character.isspace() for character in token):
            raise EngineUnusableError(f"--kubelet-token-file {file}: it is no token")
        return {hdrs.AUTHORIZATION: f"Bearer {token}"}


class _TransientError(CheckpointError):
    """A failure that may not come again."""
