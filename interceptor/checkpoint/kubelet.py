"""The engine `kubelet`: the container runtime of the node checkpoints the target's container (CRIU) by the kubelet.

It comes after the drain and after every connection to the target was closed, so that it succeeds under load.  Giving
the state back is the cluster's business: a Pod is made from the checkpoint's image (`interceptor checkpoint
build-image`) and told so by `--restored-checkpoint`.  Unless the operator says by `--kubelet-restore` that this works
in his cluster, these checkpoints count as holding no state: a recovery replays, and nothing is trimmed behind them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path

from interceptor.address import TargetAddress
from interceptor.checkpoint.artefacts import Draft
from interceptor.checkpoint.blackout import FREEZE, Blackout
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.engine import Captured, EngineContext, Finish
from interceptor.checkpoint.errors import (
    ArtefactDamagedError,
    CheckpointError,
    EngineUnusableError,
    RestoreRefusedError,
)
from interceptor.checkpoint.kubelet_archive import check_archive
from interceptor.checkpoint.kubelet_client import KubeletClient
from interceptor.checkpoint.sealing import PIECE_BYTES
from interceptor.target.open_connections import OpenConnections, open_connections_to
from storage_backends.backend import Fact

logger = logging.getLogger(__name__)

CLOSE = "close"
"""The blackout's phase in which the target closes its side of the connections."""

CLOSE_POLL_S = 0.002


def open_kubelet_engine(context: EngineContext) -> KubeletEngine:
    """Return it.  Raises EngineUnusableError."""
    return KubeletEngine(context)


class KubeletEngine:
    """Implements CheckpointEngine."""

    name = "kubelet"
    starts_target = False
    needs_connections_closed = True

    def __init__(self, context: EngineContext) -> None:
        self._options = context.options.kubelet.completed()
        self._limits = context.limits
        self._counters = context.counters
        self._artefacts = context.artefacts
        self._connections = open_connections_to(context.target)
        self._client = KubeletClient(
            self._options, context.limits.connect_timeout_s, context.limits.checkpoint_timeout_s
        )

    @property
    def holds_state(self) -> bool:
        return self._options.restore

    async def probe(self) -> None:
        """Check the files.  Whether the kubelet serves us is seen at the first checkpoint: it may be away now."""
        await asyncio.to_thread(self._client.check)

    def prepared(self, draft: Draft) -> AbstractAsyncContextManager[None]:
        """Nothing can be done before."""
        return nullcontext()

    async def checkpoint(self, draft: Draft, blackout: Blackout) -> Finish:
        """Ask the kubelet.  Raises CheckpointError."""
        if self._connections is not None:
            blackout.begin(CLOSE)
            await self._wait_for_close(self._connections)
            blackout.begin(FREEZE)
        try:
            archive = await self._client.checkpoint()
        except EngineUnusableError as error:
            raise CheckpointError(str(error)) from error
        detail: dict[str, Fact] = {
            "node": str(self._options.address), "container": self._client.container, "archive": archive,
        }  # fmt: skip

        async def finish() -> Captured:
            if self._options.archive_dir is not None:
                await asyncio.to_thread(self._take_over, self._options.archive_dir / Path(archive).name, draft)
            return Captured(detail={**detail, "sealed": self._artefacts.encrypts})

        return finish

    async def restore(self, checkpoint: Checkpoint, target: TargetAddress) -> None:
        """An incarnation that runs already can't be given it."""
        raise RestoreRefusedError(
            f"this incarnation was not made from its image: start the Pod from it, with --restored-checkpoint "
            f"{checkpoint.id}"
        )

    async def discard(self, checkpoint: Checkpoint) -> None:
        """What we took over is in the artefact; the kubelet has no way to remove an archive."""

    async def close(self) -> None:
        """Nothing is held."""

    def describe(self) -> dict[str, Fact]:
        return {
            "kubelet": str(self._options.address),
            "container": self._client.container,
            "restore": self._options.restore,
            "retries": self._client.retries_total,
        }

    async def _wait_for_close(self, connections: OpenConnections) -> None:
        """Wait until the target has closed its side too.  After the limit the runtime decides whether it can."""
        try:
            async with asyncio.timeout(self._limits.target_close_timeout_s):
                while connections.count():  # noqa: ASYNC110 - the kernel has no event for it
                    await asyncio.sleep(CLOSE_POLL_S)
        except TimeoutError:
            self._counters.limits_reached["target_close_timeout_s"] += 1
            logger.warning(
                "%d connections to the target are still open after %g s (target_close_timeout_s): its checkpoint may "
                "fail", connections.count(), self._limits.target_close_timeout_s,
            )  # fmt: skip

    def _take_over(self, archive: Path, draft: Draft) -> None:
        """Make the archive our artefact, and remove it from the node, as nobody else would.  Raises CheckpointError."""
        try:
            check_archive(archive)
            writer = self._artefacts.writer(draft)
            try:
                with archive.open("rb") as source:
                    while piece := source.read(PIECE_BYTES):
                        writer.write(piece)
                writer.finish()
            except BaseException:
                writer.close()
                raise
        except ArtefactDamagedError as error:
            raise CheckpointError(str(error)) from error
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{archive} is missing: does --kubelet-archive-dir show the node's /var/lib/kubelet/checkpoints?"
            ) from error
        with suppress(OSError):
            archive.unlink()
