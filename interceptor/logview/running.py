"""What the commands share: a loop, an end without a traceback, and messages that name the next command."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import click

from interceptor.logview.errors import LogViewError
from interceptor.shown_url import shown_url
from storage_backends.errors import LogDamagedError

T = TypeVar("T")

# What the shell reports of a program that SIGPIPE has ended.
BROKEN_PIPE_EXIT_CODE = 141
# Records come in blocks of thousands and form no cycles, so the collector would only look at them in vain.
GC_THRESHOLD = 200_000


class OutputGroup(click.Group):
    """A group whose commands write much: a reader that goes away, and characters that it can't show, are no errors."""

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The interpreter would complain once more when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(BROKEN_PIPE_EXIT_CODE)
        return result


def run(work: Coroutine[Any, Any, T], log_url: str) -> T:
    """Run to the end.  Raises LogViewError for a damaged log; what was found before it has been shown."""
    before = gc.get_threshold()
    gc.set_threshold(GC_THRESHOLD)
    try:
        return asyncio.run(work)
    except LogDamagedError as error:
        raise LogViewError(
            f"{error}. What is wrong altogether: interceptor log verify --log {shown_url(log_url)}"
        ) from error
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that takes (how much more is done, of how much) and draws that on a terminal's standard error."""
    with click.progressbar(length=0, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def advance(more: int, total: int) -> None:
            bar.length = total
            bar.update(more)

        yield advance
