"""A target whose handler waits: `python -m bench.slow_target --port P --handler-ms N`.

One request at a time on each connection, any number of connections, as an asyncio server with a slow handler does.
"""

import argparse
import asyncio

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def serve(port: int, handler_s: float) -> None:
    """Serve until the process ends."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(handler_s)
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--handler-ms", type=float, default=10.0)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.handler_ms / 1000))
