"""Who is there: four ways to name the target's current incarnation behind one interface.

- by its listening socket, wherever the port is in our network namespace (the default);
- by its process, where we started it;
- by a boot id that it reports (see `boot_id`), for remote targets that have one;
- by the ordered connection alone, where neither can be seen (remote targets) or the listening socket
  outlives the workers that hold the state (prefork servers).
"""

from __future__ import annotations

from typing import Protocol

from interceptor.target.incarnation import connection_identity, inode_of, listener_identity
from interceptor.target.whereabouts import Listening


class DeathDetector(Protocol):
    """Names the incarnation that is there now."""

    @property
    def awaits_connection(self) -> bool:
        """True where look() cannot tell that a target is up again and only connecting to it does."""

    async def ask(self) -> bool:
        """Make sure that what `look` says was so after this call began; false if nobody tells.  Returns at once
        where a look is at the thing itself."""

    def look(self) -> str | None:
        """Identity of the current incarnation, None if there is none. Cheap: never waits.

        Raises ListenerUnreadableError if it cannot be known.
        """

    def connection_lost(self) -> None:
        """The owner of the ordered connection reports each loss of it here, before judging it."""

    def close(self) -> None:
        """Give descriptors back."""


class ListenerDetector:
    """The incarnation is the socket that listens at the target's address."""

    awaits_connection = False

    def __init__(self, listening: Listening, known: str | None = None) -> None:
        """known: the identity recorded before a restart of our own; matters only among several listeners."""
        self._listening = listening
        self._inode = inode_of(known) if known is not None else None
        self._identity = known if self._inode is not None else None

    async def ask(self) -> bool:
        """See DeathDetector."""
        return True

    def look(self) -> str | None:
        """See DeathDetector."""
        inode = self._listening.inode(self._inode)
        if inode is None:
            return None
        if inode != self._inode:
            self._inode = inode
            self._identity = listener_identity(inode)
        return self._identity

    def connection_lost(self) -> None:
        """Says nothing: servers close connections for reasons of their own."""

    def close(self) -> None:
        """See DeathDetector."""
        self._listening.close()


class SupervisedProcess(Protocol):
    """What SupervisedDetector needs of a supervisor."""

    @property
    def identity(self) -> str | None:
        """Identity of the running child process, None if none runs or it has been condemned."""


class SupervisedDetector:
    """The incarnation is our child process, together with the socket that listens if the port is local.

    The socket is part of it because a child may itself start the application anew (a shell loop, a process manager):
    the process is the same and the memory gone. A child that listened once and no longer does keeps its identity: its
    memory is there as long as it runs, and only the end of the process settles the matter.
    """

    awaits_connection = False

    def __init__(self, supervisor: SupervisedProcess, listening: Listening | None = None) -> None:
        """listening: where the child listens, if that is local; then it is there only once it listens."""
        self._supervisor = supervisor
        self._listening = listening
        self._process: str | None = None
        self._inode: int | None = None

    async def ask(self) -> bool:
        """See DeathDetector."""
        return True

    def look(self) -> str | None:
        """See DeathDetector."""
        process = self._supervisor.identity
        if process != self._process:
            self._process = process
            self._inode = None
        if process is None or self._listening is None:
            return process
        inode = self._listening.inode(self._inode)
        if inode is not None:
            self._inode = inode
        return f"{process}:{self._inode}" if self._inode is not None else None

    def connection_lost(self) -> None:
        """Says nothing: servers close connections for reasons of their own."""

    def close(self) -> None:
        """See DeathDetector. The supervisor is its owner's to stop."""
        if self._listening is not None:
            self._listening.close()


class ConnectionDetector:
    """Every loss of the ordered connection is a death."""

    awaits_connection = True

    def __init__(self) -> None:
        self._identity = connection_identity()

    async def ask(self) -> bool:
        """See DeathDetector."""
        return True

    def look(self) -> str:
        """See DeathDetector; there is always one, though it may not be reachable yet."""
        return self._identity

    def connection_lost(self) -> None:
        """Whoever answers next is another incarnation."""
        self._identity = connection_identity()

    def close(self) -> None:
        """Nothing is held."""
