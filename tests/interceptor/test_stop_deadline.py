"""A stop that hangs in a system call ends all the same (rule 6: nobody waits for ever)."""

from __future__ import annotations

import subprocess
import sys
import threading

from interceptor.limits import Limits
from interceptor.stop_deadline import EXIT_STATUS, SLACK_S, ended_after, longest_stop_s

HANGS = """
import logging, threading
from interceptor.stop_deadline import ended_after
logging.basicConfig()
with ended_after(0.01):
    threading.Lock().acquire() and threading.Event().wait()
print("went on")
"""


def test_what_takes_longer_ends_the_process_and_says_so() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (EXIT_STATUS, "")
    assert "a disk does not answer" in done.stderr


def test_what_ends_in_time_is_left_alone() -> None:
    before = set(threading.enumerate())
    with ended_after(3600.0):
        (watch,) = set(threading.enumerate()) - before
    watch.join(10.0)
    assert not watch.is_alive()


def test_each_part_of_a_stop_may_take_its_own_time() -> None:
    limits = Limits(shutdown_delay_s=1.0, drain_timeout_s=10.0, target_stop_grace_s=100.0, checkpoint_timeout_s=1000.0)
    assert longest_stop_s(limits, with_checkpoint=False) == 121.0 + SLACK_S
    stored_s = limits.checkpoint_store_timeout_s
    assert longest_stop_s(limits, with_checkpoint=True) == 1121.0 + stored_s + SLACK_S
