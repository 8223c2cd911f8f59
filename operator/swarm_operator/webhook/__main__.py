"""`python -m swarm_operator.webhook` receives webhooks. SWARM_WEBHOOK_KEYS is a folder whose files hold the keys."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from swarm_operator.cluster.client import RestKube
from swarm_operator.settings import Settings
from swarm_operator.webhook.server import Receiver
from swarm_operator.webhook.signatures import LEAST_KEY

PORT = 9000
FOLDER = "/swarm/webhook"


def read_keys(folder: Path) -> list[bytes]:
    """Returns the keys in a folder. Short ones are left out, since others could guess them."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    return [key for key in (path.read_bytes().strip() for path in files) if len(key) >= LEAST_KEY]


async def _serve(folder: Path, port: int) -> None:
    kube = await RestKube.connect(Settings())
    # A Secret that is renewed changes the files, so each request reads them.
    receiver = Receiver(kube, lambda: read_keys(folder), kube.clock)
    runner = web.AppRunner(
        receiver.application(),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=3,
        lingering_time=1,  # how long the rest of a refused body is read
    )
    await runner.setup()
    ended = asyncio.Event()
    # The process is the first of its container, so without a handler it would ignore SIGTERM.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    try:
        await web.TCPSite(runner, port=port).start()
        await ended.wait()
    finally:
        await runner.cleanup()
        await kube.close()


def main() -> int:
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    folder = Path(os.environ.get("SWARM_WEBHOOK_KEYS") or FOLDER)
    if not folder.is_dir() or not read_keys(folder):
        sys.stderr.write(f"{folder}: there is no key of at least {LEAST_KEY} characters. Put one into the Secret.\n")
        return 2
    asyncio.run(_serve(folder, int(os.environ.get("SWARM_WEBHOOK_PORT") or PORT)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
