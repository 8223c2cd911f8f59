"""`python -m swarm_limiter` serves until it gets SIGTERM or SIGINT."""

import argparse
import asyncio
import signal
import sys

from swarm_limiter.server import Limiter

PORT = 7070


async def serve(host: str, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await Limiter().serve(host, port)
    print(f"listening on {host}:{port}", flush=True)  # noqa: T201
    await ended.wait()
    # The open connections end here. The pods ask again as soon as another limiter runs.
    server.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="swarm_limiter", description="Says whose turn it is to ask a provider.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
    given = parser.parse_args(arguments)
    asyncio.run(serve(given.host, given.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
