"""The engine `criu`: images of the memory of a target that we supervise; the application need not know of them.

The restored target is our child again, with its process ids, listening socket, files and workers: it is watched,
stopped and killed with us as if we had started it.  For that it is started a little otherwise: its
output goes through pipes of ours (`target.output_relay`), and the kernel refuses it io_uring
(`target.without_io_uring`).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

from interceptor.address import TargetAddress
from interceptor.checkpoint.artefacts import DIRECTORY_MODE, Draft
from interceptor.checkpoint.blackout import Blackout
from interceptor.checkpoint.checkpoint import Checkpoint
from interceptor.checkpoint.criu_command import Criu, CriuFailedError, process_ids
from interceptor.checkpoint.criu_dump import PreparedDump
from interceptor.checkpoint.criu_work import remove_left_ones
from interceptor.checkpoint.engine import Captured, EngineContext, Finish
from interceptor.checkpoint.errors import CheckpointError, EngineUnusableError, RestoreRefusedError
from interceptor.checkpoint.packing import in_thread, pack, unpack
from interceptor.target.child_process import Spawning
from interceptor.target.output_relay import OutputRelay
from interceptor.target.subreaper import become_subreaper, end_holders, end_left_children, name_of
from interceptor.target.supervisor import Supervisor
from interceptor.target.without_io_uring import refuse_io_uring
from storage_backends.backend import Fact

_STDOUT_FD, _STDERR_FD = 1, 2
_CAP_SYS_ADMIN = 21


def open_criu_engine(context: EngineContext) -> CriuEngine:
    """Return it.  Raises EngineUnusableError where we don't start the target."""
    if context.supervisor is None:
        raise EngineUnusableError(
            "--checkpoint-engine criu: it keeps a target that we start ourselves; give its COMMAND after --, or choose "
            "--checkpoint-engine http"
        )
    if context.artefacts.encrypts:
        raise EngineUnusableError(
            "--checkpoint-engine criu: images of the memory would not be encrypted; leave out --log-key-file and "
            "encrypt the disk, or choose --checkpoint-engine http"
        )
    return CriuEngine(context, context.supervisor)


class CriuEngine:
    """Implements CheckpointEngine."""

    name = "criu"
    holds_state = True
    starts_target = True
    needs_connections_closed = True

    def __init__(self, context: EngineContext, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._artefacts = context.artefacts
        self._limits = context.limits
        self._counters = context.counters
        self._criu = Criu(context.options.criu_binary)
        self._compression = context.options.compression
        self._relays: dict[str, OutputRelay] = {}
        self._dump: PreparedDump | None = None

    async def probe(self) -> None:
        """Check the program and our rights, and say how the target is to be started."""
        if not _has_capability(_CAP_SYS_ADMIN):
            raise EngineUnusableError(
                "--checkpoint-engine criu: this process has no CAP_SYS_ADMIN, without which the kernel shows nobody's "
                "memory and gives nobody a chosen process id; run it as root, or choose --checkpoint-engine http"
            )
        await self._criu.probe()
        await asyncio.to_thread(remove_left_ones)
        become_subreaper()
        self._relays = {"stdout": OutputRelay(_STDOUT_FD), "stderr": OutputRelay(_STDERR_FD)}
        self._supervisor.spawning = Spawning(
            self._relays["stdout"].write_fd, self._relays["stderr"].write_fd, refuse_io_uring()
        )

    @contextlib.asynccontextmanager
    async def prepared(self, draft: Draft) -> AsyncIterator[None]:
        """Start criu, which waits until `checkpoint`."""
        await asyncio.to_thread(draft.path.mkdir, DIRECTORY_MODE)
        async with PreparedDump(self._criu, self._pid(), draft.path) as dump:
            self._dump = dump
            try:
                yield
            finally:
                self._dump = None

    async def checkpoint(self, draft: Draft, blackout: Blackout) -> Finish:
        """Dump the tree of processes into the draft, a directory.  Raises CheckpointError and OSError."""
        dump, pid = self._dump, self._pid()
        if dump is None or dump.pid != pid:
            raise CheckpointError("the target was replaced while its dump was prepared")
        try:
            await dump.run()
        except CriuFailedError as error:
            raise CheckpointError(f"criu can't dump process {pid}: {error}") from error
        output: dict[str, Fact] = {name: relay.name for name, relay in self._relays.items()}

        async def finish() -> Captured:
            size_bytes, count = await asyncio.to_thread(_measure, draft.path)
            if size_bytes > self._limits.checkpoint_bytes_max:
                self._counters.limits_reached["checkpoint_bytes_max"] += 1
                raise CheckpointError(
                    f"the images have {size_bytes} bytes, more than {self._limits.checkpoint_bytes_max} "
                    "(checkpoint_bytes_max)"
                )
            if self._compression == "zstd":
                await in_thread(partial(pack, draft.path))
            return Captured(
                detail={
                    "criu": self._criu.version, "pid": pid, "processes": count, "output": output,
                    "compression": self._compression, "uncompressed_bytes": size_bytes,
                }
            )  # fmt: skip

        return finish

    async def restore(self, checkpoint: Checkpoint, target: TargetAddress) -> None:
        """Make the processes from the images, as the supervisor's child."""
        threads: list[int] = []
        try:
            async with self._images(checkpoint) as images:
                threads = (await asyncio.to_thread(process_ids, images))[1]
                await asyncio.to_thread(end_holders, threads)
                self._refuse_taken(threads)
                pid = await self._make(images, self._inherited(checkpoint))
            self._adopt(pid)
        except BaseException:
            await asyncio.to_thread(end_holders, threads)
            raise

    async def _make(self, images: Path, inherited: Mapping[str, int]) -> int:
        """Return the process id of the first.  Raises RestoreRefusedError; some may be there then."""
        try:
            async with asyncio.timeout(self._limits.restore_timeout_s):
                return await self._criu.restore(images, inherited)
        except TimeoutError:
            self._counters.limits_reached["restore_timeout_s"] += 1
            raise RestoreRefusedError(f"criu restore took longer than {self._limits.restore_timeout_s:g} s") from None
        except (CriuFailedError, OSError, ValueError) as error:
            raise RestoreRefusedError(f"criu can't restore it: {error}") from error

    def _adopt(self, pid: int) -> None:
        try:
            self._supervisor.adopt(pid)
        except OSError as error:
            raise RestoreRefusedError(f"what criu has restored can't be watched: {error}") from error

    async def discard(self, checkpoint: Checkpoint) -> None:
        """Everything is in the artefact."""

    async def close(self) -> None:
        """The target has ended: so does what it has started in sessions of their own.  Pass on what it has written."""
        await asyncio.to_thread(end_left_children)
        for relay in self._relays.values():
            await asyncio.to_thread(relay.close)

    def describe(self) -> dict[str, Fact]:
        return {"criu": self._criu.version, "binary": self._criu.binary}

    def _pid(self) -> int:
        pid = self._supervisor.pid
        if pid is None:
            raise CheckpointError("the target does not run: there is nothing to checkpoint")
        return pid

    @contextlib.asynccontextmanager
    async def _images(self, checkpoint: Checkpoint) -> AsyncIterator[Path]:
        """Where criu can read them: the artefact, or what is made of it for the time of a restore."""
        stored = self._artefacts.path(checkpoint)
        if checkpoint.detail.get("compression") != "zstd":
            yield stored
            return
        images = self._artefacts.scratch(checkpoint)
        try:
            try:
                await in_thread(partial(unpack, stored, images))
            except (OSError, ValueError) as error:
                raise RestoreRefusedError(f"its images can't be decompressed: {error}") from error
            yield images
        finally:
            await asyncio.to_thread(shutil.rmtree, images, ignore_errors=True)

    def _inherited(self, checkpoint: Checkpoint) -> dict[str, int]:
        """Return what the images call our pipes, and the descriptors that they are today."""
        output = checkpoint.detail.get("output")
        names = output if isinstance(output, dict) else {}
        return {str(names[name]): relay.write_fd for name, relay in self._relays.items() if name in names}

    def _refuse_taken(self, threads: list[int]) -> None:
        for each in threads:
            if Path(f"/proc/{each}").exists():
                raise RestoreRefusedError(f"it needs the process id {each}, which {name_of(each)} has now")


def _measure(images: Path) -> tuple[int, int]:
    """Return bytes and number of processes."""
    return sum(each.stat().st_size for each in images.iterdir()), len(process_ids(images)[0])


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)
