"""The pipelining client: counts answers however they are cut, and stops at the first wrong one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.counter.http import encode_answer
from bench.pipeline import AnswerCounter, PipelineError, send_pipelined
from bench.processes import Child, free_port
from bench.replay import describe, measure_target
from bench.requests import increments
from bench.subjects import counter_command


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with Child(counter_command(port), tmp_path / "counter.out") as counter:
        counter.wait_until_listening(port)
        yield port


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50, 10_000])
def test_answers_are_counted_in_every_cut(step: int) -> None:
    stream = b"".join(encode_answer(200 if number % 3 else 404, b'{"value":1}') for number in range(30))
    counter = AnswerCounter()
    for start in range(0, len(stream), step):
        counter.feed(stream[start : start + step])
    assert (counter.answers, counter.successes) == (30, 20)


def test_requests_are_varied_and_the_same_for_the_same_seed() -> None:
    requests = increments(200, 10)
    assert requests == increments(200, 10)
    assert len(set(requests)) == 200
    assert len(increments(1, 1, forwarded=True)[0]) > len(increments(1, 1)[0])


@pytest.mark.parametrize("window", [2, 3, 100, 1024])
def test_all_are_answered(port: int, window: int) -> None:
    assert send_pipelined(port, increments(1000, 10), window) > 0


def test_an_answer_other_than_200_is_an_error(port: int) -> None:
    with pytest.raises(PipelineError, match="not 200"):
        send_pipelined(port, [b"GET /counters/none HTTP/1.1\r\nHost: h\r\n\r\n"], 2)


def test_a_connection_that_ends_early_is_an_error(port: int) -> None:
    last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    with pytest.raises(PipelineError, match="closed the connection after 1 of 2"):
        send_pipelined(port, [last, last], 2)


def test_the_target_alone(tmp_path: Path) -> None:
    speed = measure_target(500, 64, tmp_path)
    assert speed.seconds > 0
    assert "target alone" in describe(500, speed, None)
