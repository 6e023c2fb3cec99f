"""What the application remembers: counters by name, how many increments were applied, and, if asked for, which."""

import hashlib
import json

# Far apart, so that the changes touch many pages.
_STRIDE_BYTES = 1_000_003


class Counters:
    """Named integers. Everything here is lost with the process; that is the point of the example."""

    __slots__ = ("_memory", "_values", "applied", "journal")

    def __init__(self, *, journal: bool = False, memory_bytes: int = 0) -> None:
        """Start empty. With `journal` the id of every applied operation is kept, in order, without a limit.

        memory_bytes: so much more state, in which every increment changes eight bytes.
        """
        self._memory = bytearray(memory_bytes)
        self._values: dict[str, int] = {}
        self.applied = 0
        self.journal: list[str] | None = [] if journal else None

    def add(self, name: str, amount: int, operation_id: str | None = None) -> int:
        """Add `amount` to a counter, which starts at 0, and return its new value."""
        value = self._values[name] = self._values.get(name, 0) + amount
        self.applied += 1
        if self._memory:
            at = self.applied * _STRIDE_BYTES % (len(self._memory) - 8)
            self._memory[at : at + 8] = self.applied.to_bytes(8, "little")
        if operation_id is not None and self.journal is not None:
            self.journal.append(operation_id)
        return value

    def get(self, name: str) -> int | None:
        """The counter's value, or None where there is no such counter."""
        return self._values.get(name)

    def remove(self, name: str) -> int | None:
        """Forget a counter and return its last value, or None where there was no such counter."""
        return self._values.pop(name, None)

    def values(self) -> dict[str, int]:
        """Every counter, sorted by name."""
        return dict(sorted(self._values.items()))

    def summary(self) -> dict[str, object]:
        """The whole state in four fields; two states with the same digest hold the same counters."""
        return {
            "counters": len(self._values),
            "total": sum(self._values.values()),
            "requests": self.applied,
            "digest": self.digest(),
        }

    def digest(self) -> str:
        """SHA-256, in hexadecimal, over one `name=value` line for each counter, sorted by name."""
        lines = "".join(f"{name}={value}\n" for name, value in self.values().items())
        digest = hashlib.sha256(lines.encode())
        digest.update(self._memory)
        return digest.hexdigest()

    def snapshot(self) -> bytes:
        """Everything: a line of JSON, then the memory as it is."""
        state = {"values": self._values, "applied": self.applied, "journal": self.journal}
        return json.dumps(state).encode() + b"\n" + self._memory

    def restore(self, snapshot: bytes) -> None:
        """Take the state that a snapshot holds, in the place of what is there. Raises ValueError, and keeps that."""
        line, newline, memory = snapshot.partition(b"\n")
        state = json.loads(line)
        if not newline or not isinstance(state, dict) or not {"values", "applied", "journal"} <= state.keys():
            raise ValueError("this is no snapshot")
        self._values, self.applied, self.journal = state["values"], state["applied"], state["journal"]
        self._memory = bytearray(memory)
