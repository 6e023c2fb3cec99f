"""Clients see through the interceptor what they see directly: curl, requests, httpx, aiohttp, Go, Node, wrk."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
from support import Processes, Server, start_interceptor_process
from targets import go_binary, runtime, start_target_process

PROGRAMS = Path(__file__).parent / "clients"
SERVERS = ["uvicorn", "hypercorn", "gunicorn-sync", "gunicorn-gthread", "flask", "node", "go"]
NOT_COMPARED = {"date", "connection", "keep-alive", "transfer-encoding"}
BINARY = bytes(range(256)) * 40


@dataclass
class Seen:
    """What a client makes of an answer."""

    status: int
    fields: list[tuple[str, str]]
    content: bytes


@dataclass
class Ask:
    """What a client is asked to do."""

    method: str
    target: str
    body: bytes | None = None
    in_chunks: bool = False


CASES = {
    "get": Ask("GET", "/echo?a=1&a=2&b=%20"),
    "head": Ask("HEAD", "/echo"),
    "post": Ask("POST", "/echo", b"some text"),
    "put binary": Ask("PUT", "/echo", BINARY),
    "post empty": Ask("POST", "/echo", b""),
    "post large": Ask("POST", "/echo", BINARY * 200),
    "post in chunks": Ask("POST", "/echo", BINARY, in_chunks=True),
    "delete": Ask("DELETE", "/echo"),
    "options": Ask("OPTIONS", "/echo"),
    "fields": Ask("GET", "/fields"),
    "gzip": Ask("GET", "/gzip"),
    "204": Ask("GET", "/status/204"),
    "304": Ask("GET", "/status/304"),
    "stream": Ask("GET", "/stream/1000000"),
    "large": Ask("GET", "/bytes/10000000"),
}


def pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 4_096):
        yield body[at : at + 4_096]


def by_requests(url: str, asks: list[Ask]) -> list[Seen]:
    seen = []
    with requests.Session() as session:
        for ask in asks:
            body = pieces(ask.body) if ask.in_chunks and ask.body else ask.body
            answer = session.request(ask.method, url + ask.target, data=body, timeout=20)
            seen.append(Seen(answer.status_code, list(answer.raw.headers.items()), answer.content))
    return seen


def by_httpx(url: str, asks: list[Ask]) -> list[Seen]:
    seen = []
    with httpx.Client(timeout=20) as client:
        for ask in asks:
            body = pieces(ask.body) if ask.in_chunks and ask.body else ask.body
            answer = client.request(ask.method, url + ask.target, content=body)
            fields = [(name.decode(), value.decode()) for name, value in answer.headers.raw]
            seen.append(Seen(answer.status_code, fields, answer.content))
    return seen


def by_aiohttp(url: str, asks: list[Ask]) -> list[Seen]:
    async def ask_all() -> list[Seen]:
        async with aiohttp.ClientSession() as session:
            return [await ask_one(session, ask) for ask in asks]

    async def ask_one(session: aiohttp.ClientSession, ask: Ask) -> Seen:
        async def in_pieces() -> object:
            for piece in pieces(ask.body or b""):
                yield piece

        # aiohttp warns of large bytes.
        body = in_pieces() if ask.in_chunks else ask.body if ask.body is None else io.BytesIO(ask.body)
        async with session.request(ask.method, url + ask.target, data=body) as answer:
            fields = [(name.decode(), value.decode()) for name, value in answer.raw_headers]
            return Seen(answer.status, fields, await answer.read())

    return asyncio.run(ask_all())


def by_curl(url: str, asks: list[Ask]) -> list[Seen]:
    return [_curl(url, ask) for ask in asks]


def _curl(url: str, ask: Ask) -> Seen:
    command = ["curl", "-sS", "--max-time", "20", "-i", "-X", ask.method, url + ask.target]
    if ask.method == "HEAD":
        command[command.index("-X") : command.index("-X") + 2] = ["--head"]
    if ask.body is not None:
        # curl expects a 100 by itself for large contents.
        command += ["--data-binary", "@-", "-H", "Content-Type: application/octet-stream"]
    if ask.in_chunks:
        command += ["-H", "Transfer-Encoding: chunked"]
    output = subprocess.run(command, input=ask.body or b"", capture_output=True, check=True, timeout=30).stdout
    while True:
        head, _, output = output.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        if not line.split(" ")[1].startswith("1"):
            break
    return Seen(int(line.split(" ")[1]), [(n, v.strip()) for n, _, v in (f.partition(":") for f in fields)], output)


def by_go(url: str, asks: list[Ask]) -> list[Seen]:
    return _by_program([str(go_binary(PROGRAMS / "go_client.go")), url], asks)


def by_node(url: str, asks: list[Ask]) -> list[Seen]:
    return _by_program([runtime("node"), str(PROGRAMS / "node_client.js"), url], asks)


def _by_program(command: list[str], asks: list[Ask]) -> list[Seen]:
    """Have a program ask; it shows a digest instead of the content."""
    described = [
        {**vars(ask), "body": None if ask.body is None else base64.b64encode(ask.body).decode()} for ask in asks
    ]
    data = json.dumps(described).encode()
    output = subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout
    return [
        Seen(each["status"], [tuple(field) for field in each["fields"]], each["content"].encode())
        for each in json.loads(output)
    ]


CLIENTS: dict[str, Callable[[str, list[Ask]], list[Seen]]] = {
    "curl": by_curl,
    "requests": by_requests,
    "httpx": by_httpx,
    "aiohttp": by_aiohttp,
    "go": by_go,
    "node": by_node,
}


@pytest.fixture(scope="module", params=SERVERS)
def sides(request: pytest.FixtureRequest, session_processes: Processes) -> tuple[Server, Server]:
    target = start_target_process(session_processes, request.param)
    return target, start_interceptor_process(session_processes, target)


def comparable(seen: Seen) -> Seen:
    seen.fields = [(name, value) for name, value in seen.fields if name.lower() not in NOT_COMPARED]
    return seen


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_see_the_same(sides: tuple[Server, Server], client: str) -> None:
    if client == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    direct, through = (CLIENTS[client](server.url, list(CASES.values())) for server in sides)
    for name, one, other in zip(CASES, direct, through, strict=True):
        assert comparable(one) == comparable(other), name


def test_clients_at_the_same_time(sides: tuple[Server, Server]) -> None:
    asks = [Ask("POST", f"/echo?{n}", b"%d" % n) for n in range(25)]
    with ThreadPoolExecutor(8) as pool:
        for seen in pool.map(lambda _: by_requests(sides[1].url, asks), range(8)):
            assert [json.loads(each.content)["target"] for each in seen] == [ask.target for ask in asks]


@pytest.mark.parametrize("script", [None, "pipelining"])
def test_wrk(session_processes: Processes, tmp_path: Path, script: str | None) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    target = start_target_process(session_processes, "uvicorn")
    interceptor = start_interceptor_process(session_processes, target)
    command = ["wrk", "-t1", "-c16", "-d1s", f"{interceptor.url}/bytes/100"]
    if script is not None:
        (tmp_path / "pipelining.lua").write_text(
            'init = function(args) local r = {} for i = 1, 16 do r[i] = wrk.format("POST", "/" .. i, nil, "x") end '
            "req = table.concat(r) end\nrequest = function() return req end\n"
        )
        command[-1:-1] = ["-s", str(tmp_path / "pipelining.lua")]
    output = subprocess.run(command, capture_output=True, check=True, timeout=30, text=True).stdout
    assert "Socket errors" not in output
    assert "Non-2xx" not in output
    count = re.search(r"(\d+) requests in", output)
    assert count is not None
    assert int(count.group(1)) > 100
