"""Makes releases: one version for everything, wheels and chart. docs/release.md explains how to make a release.

python tools/release.py version         copies the version from VERSION to every other place
python tools/release.py version --check reports files with another version, and writes nothing
python tools/release.py build FOLDER    checks the version, then builds wheels and chart into FOLDER and checks them
"""

from __future__ import annotations

import argparse
import email
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed import cache

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {
    "operator": "swarm-operator",
    "worker_image": "swarm-worker",
    "examples/provider": "dspy-swarm-provider",
}
CHART = "charts/dspy-swarm"
OWN = r'^version = "(.*)"$'
PLACES: Mapping[str, Sequence[str]] = {
    "operator/pyproject.toml": (OWN, r'^  "swarm-worker==(.*)",$'),
    "worker_image/pyproject.toml": (OWN,),
    "examples/provider/pyproject.toml": (OWN,),
    f"{CHART}/Chart.yaml": (r"^version: (.*)$", r"^appVersion: (.*)$"),
}
"""File -> patterns of the lines in this file that hold the version."""
TAG = re.compile(r"^( +tag:) dev$", re.MULTILINE)
"""Line with the tag of an image in values.yaml. The tag is `dev` in a checkout, and the version in a release."""


class ReleaseError(Exception):
    """A release of this tree is impossible. The message says why, and what to do."""


def version(root: Path = ROOT) -> str:
    """Returns the version of this tree."""
    return (root / "VERSION").read_text(encoding="utf-8").strip()


def copies(root: Path = ROOT) -> dict[Path, str]:
    """Returns the files that hold the version, each with its text for the current version.

    Raises:
        ReleaseError: a file lacks the line that holds the version.
    """
    made = {}
    for name, lines in PLACES.items():
        text = (root / name).read_text(encoding="utf-8")
        for line in lines:
            found = re.search(line, text, re.MULTILINE)
            if found is None:
                raise ReleaseError(f"{name}: no line matches {line}. Mend the file, or PLACES in tools/release.py")
            text = text[: found.start(1)] + version(root) + text[found.end(1) :]
        made[root / name] = text
    return made


def check(root: Path = ROOT) -> None:
    """Checks that every copy of the version equals VERSION, and that the changelog has a section for this version.

    Raises:
        ReleaseError: a copy differs, or the changelog has no such section.
    """
    stale = [path for path, text in copies(root).items() if path.read_text(encoding="utf-8") != text]
    if stale:
        names = ", ".join(str(path.relative_to(root)) for path in stale)
        raise ReleaseError(f"{names}: the version is not that of VERSION, {version(root)}. Run: make version")
    heading = re.compile(rf"^## \[?{re.escape(version(root))}\b", re.MULTILINE)
    if not heading.search((root / "CHANGELOG.md").read_text(encoding="utf-8")):
        raise ReleaseError(f"CHANGELOG.md: no section for this version. Write one that begins with: ## {version(root)}")


def wheels(folder: Path) -> None:
    """Builds every distribution's wheel, and checks its metadata.

    Raises:
        ReleaseError: a wheel has another name or version.
    """
    for place, name in DISTRIBUTIONS.items():
        before = set(folder.glob("*.whl"))
        _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT / place)
        (wheel,) = set(folder.glob("*.whl")) - before
        with zipfile.ZipFile(wheel) as archive:
            (metadata,) = [entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA")]
            said = email.message_from_bytes(archive.read(metadata))
        if (said["Name"], said["Version"]) != (name, version()):
            raise ReleaseError(f"{wheel.name} says that it is {said['Name']} {said['Version']}, not {name} {version()}")


def chart(folder: Path, helm: Path) -> None:
    """Packages the chart with the images of this version, and checks the images in the chart's rendered manifests.

    Raises:
        ReleaseError: helm fails, or an image of dspy-swarm has another tag.
    """
    staged = folder / "chart"
    shutil.copytree(ROOT / CHART, staged)
    values = staged / "values.yaml"
    values.write_text(TAG.sub(rf"\1 {version()}", values.read_text(encoding="utf-8")), encoding="utf-8")
    _run(helm, "lint", "--strict", staged)
    # A helm built from its Go module alone assumes a Kubernetes version that is too old for the chart.
    rendered = _run(helm, "template", "dspy-swarm", staged, "--kube-version", "1.33.0")
    images = set(re.findall(r"dspy-swarm/(?:operator|worker):[\w.-]+", rendered))
    wanted = {f"dspy-swarm/{name}:{version()}" for name in ("operator", "worker")}
    if images != wanted:
        raise ReleaseError(
            f"the chart names {sorted(images)}, not {sorted(wanted)}. Look at tag in {CHART}/values.yaml"
        )
    _run(helm, "package", staged, "--destination", folder)
    shutil.rmtree(staged)


def build(folder: Path) -> None:
    """Builds everything in a release except its images."""
    check()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wheels(folder)
    helm = shutil.which("helm") or next(cache.root().glob("helm-*/helm"), None)
    if helm:
        chart(folder, Path(helm))
    else:
        sys.stderr.write("The chart was not built: no helm here. Install it, or run `make cluster` once.\n")
    for made in sorted(folder.iterdir()):
        sys.stdout.write(f"{made}\n")


def _run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"{Path(command[0]).name} {' '.join(map(str, command[1:]))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Versions, wheels and chart of a release.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("version").add_argument("--check", action="store_true", help="write nothing")
    verbs.add_parser("build").add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    try:
        if given.verb == "build":
            build(given.folder.absolute())
        elif given.check:
            check()
        else:
            for path, text in copies().items():
                path.write_text(text, encoding="utf-8")
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
