"""Where the time goes: a flame graph of the interceptor under load, drawn by py-spy.

Without `native` the hot path is read from source, so that each Python function is a frame. With it the compiled path is
sampled as it runs, and frames are those of C.
"""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.cost import create_counters
from bench.load import run_load
from bench.processes import Child, ProcessError, free_port
from bench.subjects import Running, counter_command, interceptor_command

SAMPLES_PER_S = 500
_ATTACH_S = 2
_GRACE_S = 60


def draw_flame(log: str, durability: str, mode: str, seconds: int, directory: Path, output: Path) -> None:
    """Sample for so many seconds; `mode` is `source` or `native`. Raises ProcessError, LoadError or OSError."""
    target_port, port = free_port(), free_port()
    log_url = "memory://" if log == "memory" else f"file://{directory}/log"
    command = interceptor_command(target_port, port, free_port(), log_url, durability)
    if mode == "source":
        command = ["env", "INTERCEPTOR_COMPILED=0", *command]
    with ExitStack() as stack:
        target = stack.enter_context(Child(counter_command(target_port), directory / "target.out"))
        target.wait_until_listening(target_port)
        proxy = stack.enter_context(Child(command, directory / "proxy.out"))
        proxy.wait_until_listening(port)
        create_counters(Running("interceptor", port, target_port, proxy, target))
        run_load(port, connections=50, seconds=1, seed=1)
        _record(proxy.pid, mode, port, seconds, output)


def _record(pid: int, mode: str, port: int, seconds: int, output: Path) -> None:
    program = str(Path(sys.executable).with_name("py-spy"))
    command = [program, "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(SAMPLES_PER_S)]
    # Only who holds the interpreter: threads that wait are no part of the path.
    command += ["--gil", "--function"]
    command += ["--format", "flamegraph", "--output", str(output), *(["--native"] if mode == "native" else [])]
    try:
        sampler = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise ProcessError(f"py-spy can't be started ({error}): python -m pip install py-spy") from error
    with sampler:
        try:
            # Longer than the samples: a sampler that attaches late must not see an idle loop.
            run_load(port, connections=50, seconds=seconds + _ATTACH_S, seed=2)
            _, said = sampler.communicate(timeout=_GRACE_S)
        except BaseException:
            sampler.kill()
            raise
    if sampler.returncode != 0 or not output.exists():
        raise ProcessError(f"py-spy ended with {sampler.returncode}: {said.strip()[-500:]}")
