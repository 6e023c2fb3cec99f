"""What the application answers: a method, a target and a body in; a status and a JSON body out.

    POST   /counters/NAME[?op=ID]   add 1, or the body where that is a decimal integer
    GET    /counters/NAME           read
    DELETE /counters/NAME           remove
    GET    /[?full=1]               the whole state: count, total, increments applied, digest [, every counter]
    GET    /snapshot                everything, as bytes
    PUT    /snapshot                take what such a snapshot holds
    GET    /journal                 the ids of the applied increments in order, where a journal is kept

A NAME is one path segment, taken as it is written (RFC 3986 `pchar`, nothing decoded), so it needs no escaping
in JSON and can't break the lines that the digest covers.
"""

import json
import re

from bench.counter.state import Counters

_COUNTER = re.compile(rb"/counters/([\w.~%!$&'()*+,;=:@-]+)(?:\?(.*))?")
_INTEGER = re.compile(rb"[+-]?[0-9]{1,18}")
_INTEGER_BYTES_MAX = 19

Answer = tuple[int, bytes]


class Application:
    """The routes above over one set of counters."""

    __slots__ = ("_counters",)

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def answer(self, method: bytes, target: bytes, body: bytes) -> Answer:
        """Apply a request and say what to answer. HEAD is answered as GET."""
        match = _COUNTER.fullmatch(target)
        if match is None:
            return self._answer_about_all(method, target, body)
        raw_name, query = match.groups()
        name = raw_name.decode("ascii")
        if method == b"POST":
            amount = int(body) if len(body) <= _INTEGER_BYTES_MAX and _INTEGER.fullmatch(body) else 1
            value = self._counters.add(name, amount, _parameter(query, b"op") if query else None)
            return 200, b'{"name":"%b","value":%d}' % (raw_name, value)
        if method in (b"GET", b"HEAD"):
            return _counter(name, self._counters.get(name))
        if method == b"DELETE":
            return _counter(name, self._counters.remove(name))
        return _problem(405, "method not allowed")

    def _answer_about_all(self, method: bytes, target: bytes, body: bytes) -> Answer:
        path, _, query = target.partition(b"?")
        if path == b"/snapshot":
            return self._answer_about_snapshot(method, body)
        journal = self._counters.journal
        if path != b"/" and (path != b"/journal" or journal is None):
            return _problem(404, "not found")
        if method not in (b"GET", b"HEAD"):
            return _problem(405, "method not allowed")
        if path == b"/journal":
            return 200, _json(journal)
        state = self._counters.summary()
        if _parameter(query, b"full") == "1":
            state["values"] = self._counters.values()
        return 200, _json(state)

    def _answer_about_snapshot(self, method: bytes, body: bytes) -> Answer:
        if method in (b"GET", b"HEAD"):
            return 200, self._counters.snapshot()
        if method != b"PUT":
            return _problem(405, "method not allowed")
        try:
            self._counters.restore(body)
        except ValueError:
            return _problem(400, "this is no snapshot")
        return 200, _json({"restored": len(body)})


def _counter(name: str, value: int | None) -> Answer:
    if value is None:
        return _problem(404, "no such counter")
    return 200, _json({"name": name, "value": value})


def _problem(status: int, reason: str) -> Answer:
    return status, _json({"error": reason})


def _parameter(query: bytes, name: bytes) -> str | None:
    """A parameter's value as it is written in the query, or None."""
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name:
            return value.decode("ascii")
    return None


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
