"""An outside author's backend: installed in a package of its own, found by its entry point, run through the suite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import storage_backends

MODULE = '''
from storage_backends.backend import LogBackend
from storage_backends.memory import MemoryLog
from storage_backends.options import LogOptions


class MineLog(MemoryLog):
    """A log of its own kind; it can be used once it was started."""

    async def start(self) -> None:
        self.started = True


def open_mine(url: str, options: LogOptions) -> LogBackend:
    return MineLog(url, options)
'''

TESTS = """
from pathlib import Path

from storage_backends import LogBackend, open_log
from storage_backends.conformance import LogConformance


class TestMine(LogConformance):
    survives_close = False

    def open(self, place: Path) -> LogBackend:
        return open_log(f"mine:{place}")


async def test_it_is_mine_and_started(tmp_path: Path) -> None:
    log = await TestMine()._opened(tmp_path)
    assert type(log).__name__ == "MineLog"
    assert log.started
"""


def test_an_outside_author_adds_a_scheme_and_runs_the_suite_alone(tmp_path: Path) -> None:
    (tmp_path / "mine_log.py").write_text(MODULE)
    (tmp_path / "test_mine.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    info = tmp_path / "mine_log-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-log\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[interceptor.storage_backends]\nmine = mine_log:open_mine\n")
    paths = [str(tmp_path), str(Path(storage_backends.__file__).parents[1])]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
