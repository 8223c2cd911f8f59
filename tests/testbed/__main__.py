"""The command line of the testbed: PYTHONPATH=tests python -m testbed VERB."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import sys

from testbed import cache, clusters, engine, images, machine
from testbed.machine import NoWayError, Way
from testbed.shell import CommandError


def doctor(arguments: argparse.Namespace) -> None:
    """Say what the testbed has found on this machine, and how it would make a cluster here."""
    facts = machine.look(arguments.context)
    for name, value in dataclasses.asdict(facts).items():
        print(f"{name:<12}{value}")
    print(f"{'cache':<12}{cache.root()}")
    print(f"{'way':<12}{machine.choose(facts).value}")


def announce(arguments: argparse.Namespace) -> None:
    """Say in one line what the cluster tests will install and make; install and make nothing."""
    print(machine.announcement(machine.look(arguments.context), engine.missing_packages()))


def up(arguments: argparse.Namespace) -> None:
    """Make the cluster unless it exists and works; print the path of its kubeconfig."""
    print(clusters.up(clusters.prepare(arguments.context), arguments.name, arguments.nodes).kubeconfig)


def kubeconfig(arguments: argparse.Namespace) -> None:
    """Print the path of the running cluster's kubeconfig."""
    print(clusters.running(clusters.prepare(arguments.context), arguments.name).kubeconfig)


def show_tools(arguments: argparse.Namespace) -> None:
    """Build kubectl, helm and kind if they are missing; print the lines that put them on a shell's PATH."""
    setup = clusters.prepare(arguments.context)
    for name, value in setup.engine.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f'export PATH={shlex.quote(str(setup.programs))}:"$PATH"')


def build(arguments: argparse.Namespace) -> None:
    """Build the named images of the project, or all, if something in them has changed; print their tags."""
    setup = clusters.prepare(arguments.context)
    print("\n".join(images.build(setup, arguments.images, arguments.tag)))


def load(arguments: argparse.Namespace) -> None:
    """Build the named images of the project, or all, if they have changed; load them onto the nodes that lack them."""
    cluster = clusters.running(clusters.prepare(arguments.context), arguments.name)
    if cluster.setup.way is not Way.CONTEXT:
        images.build(cluster.setup, arguments.images, arguments.tag)
    cluster.load(*(images.tag_of(name, arguments.tag) for name in arguments.images or images.recipes()))


def down(arguments: argparse.Namespace) -> None:
    """Delete the cluster; keep everything that was built."""
    clusters.down(clusters.prepare(arguments.context), arguments.name)


def clean(arguments: argparse.Namespace) -> None:
    """Delete the cluster, and our Docker engine with its data; with --all, also delete everything that was built."""
    if engine.home().exists():
        engine.remove()
    elif machine.choose(machine.look(arguments.context)) is Way.KIND:
        clusters.down(clusters.prepare(), arguments.name)
    shutil.rmtree(clusters.kubeconfigs(), ignore_errors=True)
    if arguments.all:
        shutil.rmtree(cache.root())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the verbs and their options."""
    top = argparse.ArgumentParser(prog="python -m testbed", description="A Kubernetes cluster for tests.")
    top.add_argument("--context", help="use this kubeconfig context's cluster ($DSPY_SWARM_CONTEXT)")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    for name, verb in {
        "doctor": doctor,
        "announce": announce,
        "up": up,
        "kubeconfig": kubeconfig,
        "tools": show_tools,
        "images": build,
        "load": load,
        "down": down,
        "clean": clean,
    }.items():
        sub = verbs.add_parser(name, help=verb.__doc__, description=verb.__doc__)
        sub.set_defaults(verb=verb)
        if verb in (up, kubeconfig, load, down, clean):
            sub.add_argument("--name", default=clusters.DEFAULT_NAME, help="the cluster's name")
        if verb is up:
            sub.add_argument("--nodes", type=int, default=1, help="how many nodes a new cluster gets")
        if verb in (build, load):
            sub.add_argument("images", nargs="*", metavar="IMAGE", choices=[*images.recipes(), []])
            sub.add_argument("--tag", default="dev", help="the images' tag")
        if verb is clean:
            sub.add_argument("--all", action="store_true", help="remove everything built, too")
    return top


def main() -> int:
    """Run one verb. The message about a failure says what the user can do."""
    arguments = parser().parse_args()
    try:
        with cache.lock():
            arguments.verb(arguments)
    except (NoWayError, CommandError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
