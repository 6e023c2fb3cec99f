"""`python -m bench.counter --port 8000`: run the example application until SIGTERM or SIGINT."""

import argparse
import asyncio
import gc
import signal

import uvloop

from bench.counter.application import Application
from bench.counter.server import listen
from bench.counter.state import Counters


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.counter", description="Named counters over HTTP, in memory.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free port (default: 8000)")
    parser.add_argument("--journal", action="store_true", help="remember the ids given by ?op=ID, see GET /journal")
    parser.add_argument("--start-delay-ms", type=int, default=0, help="wait before listening, as a slow start would")
    parser.add_argument("--memory-mb", type=int, default=0, help="so much more state, which every increment changes")
    return parser.parse_args()


async def serve(arguments: argparse.Namespace) -> None:
    """Listen until a signal asks for the end."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await asyncio.sleep(arguments.start_delay_ms / 1000)
    counters = Counters(journal=arguments.journal, memory_bytes=arguments.memory_mb * 1_000_000)
    server = await listen(Application(counters), arguments.host, arguments.port)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"counter listening on http://{host}:{port}", flush=True)
    # What is alive now lives as long as the process: the collector need never look at it again.
    gc.collect()
    gc.freeze()
    await stopped.wait()
    server.close()


def main() -> None:
    uvloop.run(serve(parse_arguments()))


if __name__ == "__main__":
    main()
