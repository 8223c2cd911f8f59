"""`python -m simulated_provider` starts the provider and prints the URL on which it listens."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from simulated_provider.faults import FaultError, Faults
from simulated_provider.knowledge import Corpus, KnowledgeError, read
from simulated_provider.server import Provider, Settings

KEYS_VARIABLE = "SIMULATED_PROVIDER_API_KEYS"
_SWITCHES = {
    "varied": "equal requests that name a temperature above 0, but no seed, get different answers, in a fixed order",
    "random": "answers differ each time",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT. Returns 2 if an option is invalid."""
    options = _parser().parse_args(arguments)
    try:
        faults = Faults.of({field.name: getattr(options, field.name) for field in dataclasses.fields(Faults)})
        corpus = read(options.knowledge) if options.knowledge else Corpus()
    except (FaultError, KnowledgeError, OSError) as error:
        print(f"simulated_provider: {error}", file=sys.stderr)
        return 2
    keys = frozenset([*options.api_key, *filter(None, os.environ.get(KEYS_VARIABLE, "").split(","))])
    models = {**Settings().models, **dict(options.model)}
    settings = Settings(options.seed, models, corpus, keys)
    try:
        asyncio.run(_serve(settings, faults, options))
    except OSError as error:
        print(f"simulated_provider: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings, faults: Faults, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log = options.request_log.open("a", encoding="utf-8") if options.request_log else None
    runner = web.AppRunner(
        Provider(settings, faults, log).app(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=1024).start()
        host, port = runner.addresses[0][:2]
        print(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()
        if log:
            log.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulated_provider", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another provider (default: %(default)s)")
    parser.add_argument("--knowledge", type=Path, metavar="FILE", help="JSON lines of label(s) and text(s) or phrases")
    parser.add_argument(
        "--model",
        type=_model,
        action="append",
        default=[],
        metavar="NAME=CAPABILITY",
        help="a model, capability 0 .. 1; may be repeated (always there: "
        + ", ".join(f"{name}={value}" for name, value in Settings().models.items())
        + ")",
    )
    parser.add_argument(
        "--api-key",
        action="append",
        default=[],
        metavar="KEY",
        help=f"ask for this key; may be repeated, or be in ${KEYS_VARIABLE}, separated by commas",
    )
    parser.add_argument("--request-log", type=Path, metavar="FILE", help="append a JSON line for every request")
    rules = parser.add_argument_group("faults (also PUT /admin/faults)")
    for field in dataclasses.fields(Faults):
        option = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            rules.add_argument(option, action="store_true", help=_SWITCHES[field.name])
        else:
            rules.add_argument(option, type=type(field.default), default=field.default, help="default: %(default)r")
    return parser


def _model(text: str) -> tuple[str, float]:
    name, _, capability = text.rpartition("=")
    try:
        value = float(capability)
    except ValueError:
        value = -1.0
    if not name or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=CAPABILITY, with a capability between 0 and 1")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
