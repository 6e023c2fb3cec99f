"""What the application remembers: counters by name, how many increments were applied, and, if asked for, which."""

import hashlib


class Counters:
    """Named integers. Everything here is lost with the process; that is the point of the example."""

    __slots__ = ("_values", "applied", "journal")

    def __init__(self, *, journal: bool = False) -> None:
        """Start empty. With `journal` the id of every applied operation is kept, in order, without a limit."""
        self._values: dict[str, int] = {}
        self.applied = 0
        self.journal: list[str] | None = [] if journal else None

    def add(self, name: str, amount: int, operation_id: str | None = None) -> int:
        """Add `amount` to a counter, which starts at 0, and return its new value."""
        value = self._values[name] = self._values.get(name, 0) + amount
        self.applied += 1
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
        return hashlib.sha256(lines.encode()).hexdigest()
