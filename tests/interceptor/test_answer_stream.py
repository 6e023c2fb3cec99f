"""An answer on its way to a slow client: memory, then a file, then it is cut (rules 6 and 7); half an answer."""

from __future__ import annotations

import pytest

from interceptor.answer_budget import AnswerBudget
from interceptor.answer_stream import AnswerStream
from interceptor.counters import Counters
from interceptor.exchange import Exchange
from interceptor.limits import Limits
from tests.interceptor.fakes import FakeClient, answer_of

CHUNKED = b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"


class Rig:
    def __init__(self, memory: int = 100, spool: int = 1_000, *, http11: bool = True, released: bool = True) -> None:
        self.client = FakeClient()
        self.counters = Counters()
        self.exchange = Exchange(
            self.client, self.counters, http11=http11, keep_alive=True, is_head_request=False  # type: ignore[arg-type]
        )  # fmt: skip
        self.client.exchanges.append(self.exchange)
        self.stream = self.exchange.stream = AnswerStream(self.exchange, memory, spool, AnswerBudget(Limits()))
        if released:
            self.stream.release()

    @property
    def content(self) -> bytes:
        return self.client.output.partition(b"\r\n\r\n")[2]


def test_a_client_that_reads_gets_every_piece_at_once() -> None:
    """RFC 9112 §7.1."""
    rig = Rig()
    rig.stream.begin(answer_of(CHUNKED))
    assert not rig.stream.put(b"one")
    assert rig.content == b"3\r\none\r\n"
    rig.stream.end(b"X-Sum: 1\r\n")
    assert rig.content == b"3\r\none\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert rig.client.finishes == 1


def test_the_last_chunk_leaves_with_the_piece_before_it() -> None:
    """RFC 9112 §9.3: who has read the content has met the end of the message, and may use its connection again."""
    rig = Rig()
    rig.stream.begin(answer_of(CHUNKED))
    rig.stream.put(b"one")
    assert not rig.stream.put(b"two", last=True)
    rig.stream.end(b"X-Sum: 1\r\n")
    assert rig.client.written[1:] == [b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\nX-Sum: 1\r\n\r\n"]
    assert rig.client.finishes == 1


def test_an_answer_with_a_length_is_passed_on_as_it_is() -> None:
    rig = Rig()
    rig.stream.begin(answer_of(LENGTH))
    for piece in (b"abc", b"", b"def"):
        rig.stream.put(piece)
    rig.stream.end()
    assert rig.client.output == LENGTH + b"abcdef"


def test_to_http_1_0_the_end_of_the_connection_frames_it() -> None:
    """RFC 9112 §6.1, §6.3: no Transfer-Encoding to HTTP/1.0."""
    rig = Rig(http11=False)
    rig.stream.begin(answer_of(CHUNKED))
    rig.stream.put(b"one")
    rig.stream.end()
    assert rig.content == b"one"
    assert b"Transfer-Encoding" not in rig.client.output
    assert b"Connection: close" in rig.client.output
    assert not rig.exchange.keep_alive


def test_nothing_leaves_before_the_release_or_before_those_in_front() -> None:
    """Rule 2; RFC 9112 §9.3.2: answers leave in the order of the requests."""
    rig = Rig(released=False)
    rig.client.exchanges.insert(0, object())
    rig.stream.begin(answer_of(LENGTH))
    rig.stream.put(b"abcdef")
    rig.stream.release()
    assert rig.client.output == b""
    assert not rig.stream.touched
    rig.client.exchanges.pop(0)
    rig.stream.pump()
    rig.stream.end()
    assert rig.client.output == LENGTH + b"abcdef"


def test_what_does_not_fit_in_memory_waits_in_a_file_and_leaves_in_order() -> None:
    """answer_memory_bytes_max."""
    rig = Rig(memory=100, spool=10_000)
    rig.client.write_blocked = True
    rig.stream.begin(answer_of(LENGTH))
    pieces = [bytes([65 + number]) * 40 for number in range(20)]
    assert all(rig.stream.put(piece) for piece in pieces)
    assert rig.client.output == b""
    assert rig.counters.spooled_bytes > 0
    assert rig.counters.limits_reached["answer_memory_bytes_max"] == 1
    rig.client.write_blocked = False
    rig.stream.pump()
    assert rig.content == b"".join(pieces)
    assert not rig.stream.congested
    rig.stream.put(b"behind")
    rig.stream.end()
    assert rig.content == b"".join(pieces) + b"behind"
    assert rig.client.finishes == 1


def test_the_order_holds_while_the_file_is_read_and_written_in_turns() -> None:
    rig = Rig(memory=100, spool=10_000)
    rig.stream.begin(answer_of(LENGTH))
    expected = b""
    for number in range(50):
        rig.client.write_blocked = number % 7 != 0
        piece = bytes([48 + number]) * 45
        expected += piece
        rig.stream.put(piece)
        rig.stream.pump()
    rig.client.write_blocked = False
    rig.stream.pump()
    assert rig.content == expected


def test_a_full_file_cuts_the_client() -> None:
    """answer_spool_bytes_max (rule 7): a defined answer when it is full."""
    rig = Rig(memory=100, spool=200)
    rig.client.write_blocked = True
    rig.stream.begin(answer_of(LENGTH))
    for _ in range(10):
        rig.stream.put(b"x" * 50)
    assert rig.client.aborted
    assert rig.counters.limits_reached["answer_spool_bytes_max"] == 1
    assert rig.counters.spooled_bytes <= 200
    rig.stream.end()
    assert rig.client.finishes == 0


def test_no_room_for_the_file_is_a_full_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", no_room)
    rig = Rig(memory=100)
    rig.client.write_blocked = True
    rig.stream.begin(answer_of(LENGTH))
    for _ in range(4):
        rig.stream.put(b"x" * 50)
    assert rig.client.aborted


def test_half_an_answer_goes_on_where_it_broke_off_if_it_begins_the_same_again() -> None:
    """The next incarnation answers the same event from its beginning; Date is ignored."""
    rig = Rig()
    rig.stream.begin(answer_of(CHUNKED))
    rig.stream.put(b"abc")
    rig.stream.put(b"de")
    rig.stream.interrupt()
    rig.stream.begin(answer_of(CHUNKED.replace(b"Jan 2024", b"Feb 2025")))
    rig.stream.put(b"abcd")
    rig.stream.put(b"efg")
    rig.stream.end()
    assert not rig.client.aborted
    assert rig.content == b"3\r\nabc\r\n2\r\nde\r\n2\r\nfg\r\n0\r\n\r\n"
    assert rig.client.finishes == 1


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        pytest.param(CHUNKED, [b"abX", b"de", b"fg"], id="other content"),
        pytest.param(CHUNKED, [b"ab"], id="shorter"),
        pytest.param(CHUNKED.replace(b"200 OK", b"500 No"), [b"abcdefg"], id="another status"),
        pytest.param(CHUNKED.replace(b"\r\n\r\n", b"\r\nETag: 2\r\n\r\n"), [b"abcdefg"], id="another field"),
    ],
)
def test_half_an_answer_is_cut_never_patched_together(head: bytes, pieces: list[bytes]) -> None:
    """Rule 8."""
    rig = Rig()
    rig.stream.begin(answer_of(CHUNKED))
    rig.stream.put(b"abcde")
    before = rig.client.output
    rig.stream.interrupt()
    rig.stream.begin(answer_of(head))
    for piece in pieces:
        rig.stream.put(piece)
    rig.stream.end()
    assert rig.client.aborted
    assert rig.client.output == before


def test_an_answer_may_break_off_twice() -> None:
    rig = Rig()
    rig.stream.begin(answer_of(CHUNKED))
    rig.stream.put(b"abcd")
    for beginning in (b"ab", b"abc"):
        rig.stream.interrupt()
        rig.stream.begin(answer_of(CHUNKED))
        rig.stream.put(beginning)
    rig.stream.put(b"def")
    rig.stream.end()
    assert rig.content == b"4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"


def test_an_interim_answer_is_not_written_into_half_an_answer() -> None:
    """RFC 9110 §15.2: the next incarnation sends its 103 again, when the final head has left already."""
    rig = Rig()
    early_hints = answer_of(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    rig.stream.put_interim(early_hints.head)
    rig.stream.begin(answer_of(CHUNKED))
    rig.stream.put(b"abc")
    rig.stream.interrupt()
    rig.stream.put_interim(early_hints.head)
    rig.stream.begin(answer_of(CHUNKED))
    rig.stream.put(b"abcd")
    rig.stream.end()
    assert rig.client.output.count(b"103 Early Hints") == 1
    assert rig.client.output.endswith(b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")


def test_a_client_that_went_away_costs_nothing_more() -> None:
    rig = Rig(memory=10)
    rig.client.write_blocked = True
    rig.stream.begin(answer_of(LENGTH))
    rig.exchange.client_gone()
    for _ in range(10):
        assert not rig.stream.put(b"x" * 50)
    assert rig.counters.spooled_bytes == 0
    rig.stream.end()
    assert rig.client.output == b""
