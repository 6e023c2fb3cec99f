"""A steady load: so many requests a second from so many clients, each waiting for its answer, for so many seconds."""

import asyncio
import time
from dataclasses import dataclass, field

ANSWER_TIMEOUT_S = 60.0


@dataclass
class SteadyLoad:
    """What the clients saw: acknowledged increments, answers other than 200, connections lost, and the longest wait."""

    acknowledged: int = 0
    failed: int = 0
    slowest_s: float = 0.0
    running: bool = field(default=True, repr=False)
    answer_timeout_s: float = ANSWER_TIMEOUT_S

    async def run(self, port: int, rate: float, clients: int) -> None:
        """Send until `running` is taken back.  A client that had to wait makes up for what it missed."""
        await asyncio.gather(*(self._client(port, number, clients / rate) for number in range(clients)))

    async def _client(self, port: int, number: int, every_s: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"POST /counters/k{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
        due_s = time.monotonic() + every_s * number / 50
        try:
            while self.running:
                due_s = max(due_s + every_s, time.monotonic() - 1.0)
                await asyncio.sleep(due_s - time.monotonic())
                began_s = time.monotonic()
                writer.write(request)
                async with asyncio.timeout(self.answer_timeout_s):
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length:")[1].split(b"\r")[0])
                    await reader.readexactly(length)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
                if head.startswith(b"HTTP/1.1 200 "):
                    self.acknowledged += 1
                else:
                    self.failed += 1
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.failed += 1
        finally:
            writer.close()
