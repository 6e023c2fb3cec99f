"""One child process: started so that it dies with us, signalled by group, reaped completely.

The child leads a session of its own, so a terminal's Ctrl-C reaches us alone and we decide; everything that it
starts is in its group unless it leaves on purpose. Linux kills it when we die (PR_SET_PDEATHSIG), even by SIGKILL,
for it would serve clients whom nobody records. That signal is tied to the thread that forks: start children from the
main thread. It reaches the child alone, not what the child has started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from interceptor.target.errors import TargetStartError
from interceptor.target.incarnation import process_identity
from interceptor.target.prctl import prctl
from interceptor.target.process_group import group_exists, live_members

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Spawning:
    """How children are started, beside their command: descriptors for their output (None: ours), and what is called
    between fork and exec, which must not import, allocate much or take locks.
    """

    stdout: int | None = None
    stderr: int | None = None
    before_exec: Callable[[], None] | None = None


class ChildProcess:
    """A child of ours that leads a group. `pidfd` becomes readable when it dies; then call reap(), once."""

    __slots__ = ("_members", "_wait", "identity", "pid", "pidfd")

    def __init__(self, pid: int, wait: Callable[[], int]) -> None:
        """wait: reaps it and returns its exit code, -n for signal n.  Raises OSError; it is dead then."""
        self._wait = wait
        self._members: list[int] | None = None
        self.pid = pid
        try:
            self.identity = process_identity(pid)
            self.pidfd = os.pidfd_open(pid)
        except OSError:
            # Out of descriptors, most likely: a child whose death nobody would notice must not live.
            self.signal_group(signal.SIGKILL)
            wait()
            raise

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        spawning: Spawning | None = None,
    ) -> ChildProcess:
        """Start the command. Raises TargetStartError if it cannot be executed."""
        process = _spawn(command, env, cwd, spawning or Spawning())
        try:
            return cls(process.pid, process.wait)
        except OSError as error:
            raise _start_error(command, cwd, error) from error

    @classmethod
    def adopt(cls, pid: int) -> ChildProcess:
        """Take over a child that somebody else has made for us. Raises OSError."""
        return cls(pid, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def send_signal(self, number: int) -> None:
        """Signal the child alone; what it has started is its own to tell. Nothing happens if it is dead."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def signal_group(self, number: int) -> None:
        """Signal the child and everything in its group. Only before reap(): afterwards the number may be another's.

        Raises PermissionError if every process of the group belongs to another user.
        """
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    def reap(self) -> int:
        """Kill what is left of the group, reap the child, and return its exit code, -n for signal n."""
        # While the child is a zombie its number is taken, so the group that is killed here is surely ours.
        with contextlib.suppress(PermissionError):  # the group may have taken another user's identity
            self.signal_group(signal.SIGKILL)
        returncode = self._wait()
        os.close(self.pidfd)
        return returncode

    def group_is_gone(self) -> bool:
        """After reap(): whether nothing of the group lives any more. Reaps what has become our own child."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG)[0] != 0:
                continue
        if not group_exists(self.pid):
            return True
        # Nobody can join any more, since all are being killed: one search through /proc is enough.
        self._members = live_members(self.pid, self._members)
        return not self._members


def _spawn(
    command: Sequence[str], env: Mapping[str, str] | None, cwd: str | None, spawning: Spawning
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=spawning.stdout,
            stderr=spawning.stderr,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with(os.getpid(), spawning.before_exec),
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise _start_error(command, cwd, error) from error


def die_with(parent_pid: int, then: Callable[[], None] | None = None) -> Callable[[], None]:
    """Return what a child is to call between fork and exec to be killed when the thread that has forked it ends."""

    def between_fork_and_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG", signal.SIGKILL)
        # The parent may have died before the request to be told of it.
        if os.getppid() != parent_pid:
            os.kill(os.getpid(), signal.SIGKILL)
        if then is not None:
            then()

    return between_fork_and_exec


def _start_error(command: Sequence[str], cwd: str | None, error: Exception) -> TargetStartError:
    where = " ".join(command)
    if isinstance(error, FileNotFoundError) and cwd is not None and error.filename == cwd:
        return TargetStartError(where, f"the working directory {cwd} does not exist", "Create or correct it")
    if isinstance(error, FileNotFoundError):
        return TargetStartError(where, "command not found", "Check the command after -- and PATH")
    if isinstance(error, PermissionError):
        return TargetStartError(where, "not executable", "Check the file's mode and its owner")
    return TargetStartError(where, f"could not be started ({error})", "Run the command by hand to see why")
