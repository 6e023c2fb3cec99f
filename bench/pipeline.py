"""A pipelining client: many prepared requests over one connection, a bounded number of them unanswered."""

import socket
import time
from collections.abc import Sequence

RECEIVE_BYTES = 256 * 1024
ANSWER_TIMEOUT_S = 60.0
# Servers close a connection after so many requests; the interceptor after 100,000.
REQUESTS_PER_CONNECTION = 50_000

_HEAD_END = b"\r\n\r\n"
_STATUS_LINE_OK = b"HTTP/1.1 200 "


class PipelineError(Exception):
    """The connection was lost, fell silent, or carried an answer other than 200."""


class AnswerCounter:
    """Counts answers in a byte stream without parsing them: bodies are JSON, so no body holds a line break."""

    __slots__ = ("_rest", "answers", "successes")

    def __init__(self) -> None:
        self.answers = 0
        self.successes = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        data = self._rest + data
        # Whole heads only: what is behind the last blank line is counted when its own end has come.
        cut = data.rfind(_HEAD_END) + len(_HEAD_END)
        if cut < len(_HEAD_END):
            self._rest = data
            return
        self.answers += data.count(_HEAD_END, 0, cut)
        self.successes += data.count(_STATUS_LINE_OK, 0, cut)
        self._rest = data[cut:]


def send_pipelined(port: int, requests: Sequence[bytes], window: int) -> float:
    """Send the requests to 127.0.0.1:port in order, up to `window` unanswered, and return the seconds it took.

    Raises PipelineError unless each one is answered with 200; OSError where the connection fails.
    """
    starts = range(0, len(requests), REQUESTS_PER_CONNECTION)
    return sum(_send(port, requests[start : start + REQUESTS_PER_CONNECTION], window) for start in starts)


def _send(port: int, requests: Sequence[bytes], window: int) -> float:
    counter = AnswerCounter()
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = 0
        while counter.answers < len(requests):
            # Half a window at once: many requests in one write, and the server is never left without work.
            if sent < len(requests) and sent - counter.answers <= window // 2:
                upto = min(counter.answers + window, len(requests))
                connection.sendall(b"".join(requests[sent:upto]))
                sent = upto
            data = connection.recv(RECEIVE_BYTES)
            if not data:
                raise PipelineError(f"port {port} closed the connection after {counter.answers} of {sent} answers")
            counter.feed(data)
            if counter.successes != counter.answers:
                raise PipelineError(f"an answer before number {counter.answers + 1} was not 200: {data[:200]!r}")
    return time.perf_counter() - started
