"""A dump in two steps: criu is started and examines the kernel while requests pass; then it freezes the processes.

The first step takes as long as the second for a small process, and longer where /run is not in memory, since criu keeps
there what it has found out.  Before it touches the processes criu runs an action script, and that one waits for us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from interceptor.checkpoint.criu_command import Criu
from interceptor.checkpoint.criu_work import name_of_ours, work_directory, write_script
from interceptor.checkpoint.program import Program

# When we are killed meanwhile, the pipes end: so does the script, and criu, which has touched nobody yet.
_SCRIPT = """[ "$CRTOOLS_SCRIPT_ACTION" = pre-dump ] || exit 0
echo ready > {ready} && read -r word < {go} && [ "$word" = go ]
"""
_LEAVE_TIMEOUT_S = 1.0


class PreparedDump:
    """Use it with `async with`; `run` once in it.  What was not run by its end is dropped; no process was touched."""

    def __init__(self, criu: Criu, pid: int, images: Path) -> None:
        """images: an empty directory."""
        self.pid = pid
        self._criu = criu
        self._images = images
        self._stack = contextlib.ExitStack()
        self._work = ""
        self._go_fd = -1
        self._process: Program | None = None

    async def __aenter__(self) -> PreparedDump:
        """Raises OSError.  Where criu does not get so far, `run` says why."""
        try:
            await self._begin()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def run(self) -> None:
        """Freeze, dump, and let go on.  Raises CriuFailedError and OSError; when cancelled, the processes go on too."""
        assert self._process is not None
        os.write(self._go_fd, b"go\n")
        await self._criu.finish(self._process, self._work)

    async def _begin(self) -> None:
        self._work = self._stack.enter_context(work_directory())
        ready_fd, ready_write_fd = self._pipe()
        go_read_fd, self._go_fd = self._pipe()
        text = _SCRIPT.format(ready=name_of_ours(ready_write_fd), go=name_of_ours(go_read_fd))
        script = write_script(self._work, text)
        self._process = self._criu.start_dump(self.pid, self._images, self._work, script)
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(ready_fd, ready.set)
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(ready.wait()), asyncio.ensure_future(self._process.wait())
        ]  # fmt: skip
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(ready_fd)
            for each in waits:
                each.cancel()

    async def _end(self) -> None:
        process = self._process
        if process is not None and not process.ended:
            with contextlib.suppress(TimeoutError):
                # So that it ends its script itself.
                os.write(self._go_fd, b"no\n")
                await asyncio.wait_for(process.wait(), _LEAVE_TIMEOUT_S)
            if not process.ended:
                process.kill()
                await process.wait()
        self._stack.close()

    def _pipe(self) -> tuple[int, int]:
        """Return its ends for reading and writing; they are closed in the end."""
        ends = os.pipe()
        for fd in ends:
            self._stack.callback(os.close, fd)
        return ends
