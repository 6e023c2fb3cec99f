"""The program `criu` (https://criu.org), called for what it can do: say whether it works here, dump, restore.

It freezes a tree of processes, writes their memory and what they have open into a directory of images, and makes the
same processes from such images, with the same process ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from interceptor.checkpoint.criu_work import name_of_ours, work_directory, write_script
from interceptor.checkpoint.errors import EngineUnusableError
from interceptor.checkpoint.program import Program

VERSION_MIN = (4, 0)
_CHECK_TIMEOUT_S = 20.0
_LOG_NAME, _PID_NAME = "criu.log", "pid"
_VERSION = re.compile(r"Version:\s*(\d+)\.(\d+)(?:\.\d+)?")
_ERROR_LINE = re.compile(r"(?:\([\d.]+\)\s*)?(?:\d+:\s*)?Error \([^)]*\):\s*(.*)")
# Of every run where RLIMIT_NOFILE can't be raised; it does without.
_HARMLESS = ("rlimit: Can't setup",)
_SHOWN_ERRORS_MAX = 3
_INSTALL = "install criu 4 or newer (`make criu` does on Debian), and name it by --criu-binary"

# Connections belong to their moment: the lane and the clients make new ones.  Control groups stay as they are.
_BOTH = ("--tcp-close", "--file-locks", "--manage-cgroups=ignore", "-v1", "--log-file", _LOG_NAME)
_DUMP = ("--leave-running", "--skip-in-flight", "--ext-unix-sk", "--network-lock", "skip", "--ghost-limit", "256M")
# As our own child, so that we see it die and it dies with us.
_RESTORE = ("--restore-sibling", "--restore-detached")
# When we were killed meanwhile nobody would kill what it makes: PR_SET_PDEATHSIG comes into force between post-restore,
# where a failure makes criu end all processes, and pre-resume, where none does.
_IF_WE_ARE_GONE = """[ -p {ours} ] && exit 0
[ "$CRTOOLS_SCRIPT_ACTION" = pre-resume ] && kill -9 "$CRTOOLS_INIT_PID" "-$CRTOOLS_INIT_PID"
exit 1
"""


class CriuFailedError(Exception):
    """It has ended with an error; the message is its own."""


class Criu:
    """One installed criu."""

    def __init__(self, binary: str) -> None:
        self.binary = binary
        self.version = ""

    async def probe(self) -> None:
        """Check that it is there, new enough, and works on this machine.  Raises EngineUnusableError."""
        path = shutil.which(self.binary)
        if path is None:
            raise EngineUnusableError(f"--checkpoint-engine criu: there is no program {self.binary}; {_INSTALL}")
        self.binary = path
        said = (await self._ask("--version"))[1]
        found = _VERSION.search(said)
        if found is None:
            raise EngineUnusableError(f"--criu-binary {path}: it says no version, so it is not criu; {_INSTALL}")
        self.version = found[0].partition(":")[2].strip()
        if (int(found[1]), int(found[2])) < VERSION_MIN:
            raise EngineUnusableError(f"--criu-binary {path}: version {self.version} is too old; {_INSTALL}")
        code, said = await self._ask("check")
        if code != 0:
            raise EngineUnusableError(f"--checkpoint-engine criu: `{path} check` says: {_errors(said) or said.strip()}")

    def start_dump(self, pid: int, images: Path, work: str, options: Sequence[str]) -> Program:
        """Begin to write the tree of processes below and with `pid` into `images`; they go on as they were.

        `work` is a directory for what is no image.  Raises OSError.
        """
        return self._start("dump", ["--tree", str(pid), *_DUMP, *options], images, work, ())

    async def restore(self, images: Path, inherited: Mapping[str, int]) -> int:
        """Make the processes of `images` as our children; return the id of the first.

        inherited: descriptors of ours for what was open, by the name that /proc/PID/fd showed for it.
        Raises CriuFailedError and OSError; what was made by then has to be ended by the caller.
        """
        options = [*_RESTORE, "--pidfile", _PID_NAME]
        for name, fd in inherited.items():
            options += ["--inherit-fd", f"fd[{fd}]:{name}"]
        with work_directory() as work, _pipe_of_ours() as ours:
            options += write_script(work, _IF_WE_ARE_GONE.format(ours=ours))
            process = self._start("restore", options, images, work, tuple(inherited.values()))
            await self.finish(process, work)
            return int(_content(work, _PID_NAME))

    async def finish(self, process: Program, work: str) -> None:
        """Wait for its end; when cancelled, it is killed.  Raises CriuFailedError."""
        try:
            code = await process.wait()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if code != 0:
            raise CriuFailedError(_errors(_content(work, _LOG_NAME)) or f"criu has ended with {code} and says nothing")

    def _start(
        self, action: str, options: Sequence[str], images: Path, work: str, pass_fds: tuple[int, ...]
    ) -> Program:
        command = [self.binary, action, "--images-dir", str(images), "--work-dir", work, *_BOTH, *options]
        return Program(command, pass_fds=pass_fds)

    async def _ask(self, question: str) -> tuple[int, str]:
        """Return its exit code and all that it says.  Raises EngineUnusableError."""
        with tempfile.TemporaryFile() as said:
            try:
                program = Program([self.binary, question], output=said.fileno())
            except OSError as error:
                raise EngineUnusableError(f"--criu-binary {self.binary}: {error.strerror}; {_INSTALL}") from error
            try:
                async with asyncio.timeout(_CHECK_TIMEOUT_S):
                    code = await program.wait()
            except TimeoutError:
                raise EngineUnusableError(f"--criu-binary {self.binary} {question}: no answer") from None
            finally:
                program.kill()
                await program.wait()
            said.seek(0)
            return code, said.read().decode(errors="replace")


@contextlib.contextmanager
def _pipe_of_ours() -> Iterator[str]:
    """Where a pipe is found as long as we live."""
    ends = os.pipe()
    try:
        yield name_of_ours(ends[0])
    finally:
        for fd in ends:
            os.close(fd)


def _content(directory: str, name: str) -> str:
    path = Path(directory, name)
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def process_ids(images: Path) -> tuple[list[int], list[int]]:
    """Return the process ids that images need, and the thread ids, the former among them."""
    threads = sorted(int(path.stem.partition("-")[2]) for path in images.glob("core-*.img"))
    processes = sorted(int(path.stem.partition("-")[2]) for path in images.glob("mm-*.img"))
    return processes, threads


def _errors(text: str) -> str:
    """Return the first errors in what it has said: the first is the cause, the last only that it has failed."""
    found = [match[1].strip() for line in text.splitlines() if (match := _ERROR_LINE.search(line))]
    return "; ".join([line for line in found if not line.startswith(_HARMLESS)][:_SHOWN_ERRORS_MAX])
