"""Fixtures of the system tests: real processes on free loopback ports, ended by pid when the test is over."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.processes import free_port

sys.path.insert(0, str(Path(__file__).parent))  # for what all tests here share

from counting import counter_command
from criu_here import criu_options
from scripted import Script, ScriptedTarget
from support import Processes, RunningInterceptor, Server, start_interceptor_process
from targets import start_target_process


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes; they end with the test."""
    started = Processes(tmp_path)
    yield started
    started.end_all()


@pytest.fixture(scope="session")
def session_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts processes that several tests share."""
    started = Processes(tmp_path_factory.mktemp("processes"))
    yield started
    started.end_all()


@pytest.fixture
def start_interceptor(processes: Processes) -> Callable[..., RunningInterceptor]:
    """`start_interceptor(target, *options)`: an interceptor, Active, with a memory log unless --log is given."""

    def start(target: Server | str, *options: str, **settings: object) -> RunningInterceptor:
        return start_interceptor_process(processes, target, *options, **settings)  # type: ignore[arg-type]

    return start


@pytest.fixture
def start_target(processes: Processes) -> Callable[..., Server]:
    """`start_target(kind)`: one of the servers of `targets`, listening."""

    def start(kind: str, host: str = "127.0.0.1") -> Server:
        return start_target_process(processes, kind, host)

    return start


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedTarget]]:
    """`scripted(script)`: a target that does as the script says on each connection."""
    started: list[ScriptedTarget] = []

    def start(script: Script, host: str = "127.0.0.1") -> ScriptedTarget:
        started.append(ScriptedTarget(script, host))
        return started[-1]

    yield start
    for target in started:
        target.close()


@pytest.fixture
def criu_target() -> Server:
    """Where the target of `start_criu` listens."""
    return Server("127.0.0.1", free_port())


@pytest.fixture
def start_criu(processes: Processes, criu_target: Server, tmp_path: Path) -> Callable[..., RunningInterceptor]:
    """`start_criu(*options, command=…)`: an interceptor, its log in files, that supervises a target (the counter)."""

    def start(*options: str, command: list[str] | None = None) -> RunningInterceptor:
        return start_interceptor_process(
            processes, criu_target, "--log", f"file://{tmp_path}/log", *criu_options(), *options, "--",
            *(command or counter_command(criu_target.port)),
        )  # fmt: skip

    return start
