"""The output of a restorable target: every byte arrives in order, and a reader who has gone stops nobody."""

from __future__ import annotations

import os

from interceptor.target.output_relay import OutputRelay

CONTENT = bytes(range(256)) * 2000


def test_everything_arrives_in_order_before_the_end() -> None:
    """What a target wrote last, before it died, is passed on by `close`."""
    read_fd, into_fd = os.pipe()
    relay = OutputRelay(into_fd)
    assert os.readlink(f"/proc/self/fd/{relay.write_fd}") == relay.name
    received = bytearray()
    for begin in range(0, len(CONTENT), 4096):
        piece = CONTENT[begin : begin + 4096]
        os.write(relay.write_fd, piece)
        while len(received) < begin:
            received += os.read(read_fd, 65536)
    relay.close()
    os.close(into_fd)
    while piece := os.read(read_fd, 65536):
        received += piece
    os.close(read_fd)
    assert received == CONTENT


def test_without_a_reader_the_target_goes_on() -> None:
    """Far more than a pipe holds is written, and nothing waits for the reader that has gone."""
    read_fd, into_fd = os.pipe()
    os.close(read_fd)
    relay = OutputRelay(into_fd)
    sent = 0
    while sent < len(CONTENT):
        sent += os.write(relay.write_fd, CONTENT[sent : sent + 65536])
    relay.close()
    os.close(into_fd)
    assert sent == len(CONTENT)
