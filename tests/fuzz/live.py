"""Mutations of the hostile cases against a live listener: `python -m tests.fuzz.live SECONDS [SEED]`.

The interceptor and the application behind it are real processes.  Ends with an error if the interceptor dies, answers
500, lets a connection wait without end, or grows.
"""

from __future__ import annotations

import random
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))

from asking import statuses_of
from framing_cases import FRAMING
from head_cases import HEADS
from recording import RecordingTarget
from support import Processes, RunningInterceptor, start_interceptor_process

SEEDS = [case.data for case in [*FRAMING, *HEADS]]
HANG_S = 10.0
WARM_UP_CASES = 3_000
# Recorded events are kept in memory on purpose, up to the bound of the ring; a leak of what is refused shows beyond.
GROWTH_KIB_MAX = 32 * 1024
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0", b"5", b"-", b"0x", b"\xff", b"chunked",
    b"0\r\n\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Host: b\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"HTTP/1.0", b"HEAD ", b"OPTIONS * ",
]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """Return one to three of the cases in a row, with up to four places changed."""
    data = b"".join(chance.choices(SEEDS, k=chance.choice([1, 1, 2, 3])))
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        cut = chance.choice([0, 0, 1, 2, 10])
        data = data[:at] + chance.choice([b"", *PIECES]) + data[at + cut :]
    return data


def ask(proxy: RunningInterceptor, data: bytes, chance: random.Random) -> tuple[int, ...]:
    """Send in up to four pieces, end the sending side, and read to the end.  Raises TimeoutError if there is none."""
    received = []
    with socket.create_connection((proxy.host, proxy.port), timeout=HANG_S) as connection:
        try:
            for _ in range(chance.choice([0, 0, 1, 3])):
                at = chance.randrange(len(data) + 1)
                connection.sendall(data[:at])
                data = data[at:]
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                received.append(piece)
        except TimeoutError:
            raise
        except OSError:
            pass  # refused, and closed on us while we were sending
    return statuses_of(b"".join(received), data.startswith(b"HEAD "))


def resident_kib(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def attack(proxy: RunningInterceptor, seconds: float, seed: int) -> int:
    """Return how many cases were sent.  Raises AssertionError."""
    chance = random.Random(seed)
    assert proxy.process is not None
    ends_s = time.monotonic() + seconds
    cases = warm_kib = 0
    while time.monotonic() < ends_s:
        data = mutated(chance)
        try:
            statuses = ask(proxy, data, chance)
        except TimeoutError:
            raise AssertionError(f"no end after {HANG_S:g} s: {data!r}") from None
        assert 500 not in statuses, data
        assert proxy.process.poll() is None, data
        cases += 1
        if cases == WARM_UP_CASES:
            warm_kib = resident_kib(proxy.process.pid)
    if warm_kib:
        grown_kib = resident_kib(proxy.process.pid) - warm_kib
        assert grown_kib < GROWTH_KIB_MAX, f"grew by {grown_kib} KiB over {cases - WARM_UP_CASES} cases"
        print(f"memory: {warm_kib} KiB after {WARM_UP_CASES} cases, {grown_kib:+d} KiB since")
    return cases


def main(seconds: float, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        processes, target = Processes(Path(directory)), RecordingTarget()
        try:
            proxy = start_interceptor_process(processes, target, "--log", f"file://{directory}/log")
            half = attack(proxy, seconds / 2, seed)
            bypassing = start_interceptor_process(processes, target, "--bypass", "*:/*")
            print(f"{half} cases recorded, {attack(bypassing, seconds / 2, seed + 1)} bypassed: nothing found")
        finally:
            processes.end_all()
            target.close()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
