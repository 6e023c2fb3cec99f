"""The floor keeps its order when clients leave with requests on the way."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.pipeline import send_pipelined
from bench.requests import increments
from bench.subjects import start_subject


@pytest.mark.parametrize("shape", ["floor", "tunnel"])
def test_clients_that_leave_before_their_answers_do_not_disturb_the_others(shape: str, tmp_path: Path) -> None:
    requests = increments(100, 10)
    with ExitStack() as stack:
        subject = start_subject(shape, tmp_path / shape, stack)
        for request in requests:
            with socket.create_connection(("127.0.0.1", subject.port)) as leaving:
                leaving.sendall(request)
        assert send_pipelined(subject.port, requests, window=1) > 0
