"""Varied requests for the counter, the same for the same seed: as clients send them, or as a proxy passes them on."""

import random

_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "python-requests/2.32.3",
    "curl/8.8.0",
    "okhttp/4.12.0",
)
_ACCEPTS = ("*/*", "application/json", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
_FORWARDED = (
    "Via: 1.1 proxy\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: localhost\r\n"
)

BODY_BYTES_MAX = 300


def increments(count: int, counters: int, *, seed: int = 1, forwarded: bool = False) -> list[bytes]:
    """`count` POSTs to counters k0 … k(counters-1), each counter in turn; `forwarded` adds a proxy's fields."""
    draw = random.Random(seed)
    return [_increment(draw, number, counters, _FORWARDED if forwarded else "") for number in range(count)]


def _increment(draw: random.Random, number: int, counters: int, forwarded: str) -> bytes:
    body = "x" * draw.randint(0, BODY_BYTES_MAX)
    cookie = f"Cookie: session={draw.getrandbits(128):032x}; theme=dark\r\n" if draw.random() < 0.4 else ""
    head = (
        f"POST /counters/k{number % counters} HTTP/1.1\r\n"
        "Host: localhost\r\n"
        f"User-Agent: {draw.choice(_AGENTS)}\r\n"
        f"Accept: {draw.choice(_ACCEPTS)}\r\n"
        f"{cookie}"
        f"X-Request-Id: {draw.getrandbits(64):016x}-{number}\r\n"
        "Content-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{forwarded}\r\n"
    )
    return (head + body).encode()
