"""Lets PyTorch's CUDA build run on a machine without a GPU, without 2.6 GB of CUDA's own libraries.

    python tools/torch_without_cuda.py SITE_PACKAGES

PyPI has only the CUDA build for Linux. The loader wants each library that torch names, but it looks for a function only
when the function is called. So an empty library with the right name and the right symbol versions stands in for each
one. `torch.cuda.is_available()` is then False, and nothing calls these functions. The small packages
nvidia-cuda-runtime and nvidia-cuda-cupti must be there, because torch does call them.

The tool needs readelf, nm and a C compiler. It writes into SITE_PACKAGES/torch/lib, where torch's own libraries look.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

OF_CUDA = re.compile(r"lib(cu|nv|nccl)")
"""The names of libraries that the CUDA packages bring."""
FUNCTION_OF_CUDA = re.compile(r"(cu|nv|nccl|__cuda)")
VERSIONS = {"libnccl.so.2": "", "libnvshmem_host.so.3": "NVSHMEM"}
"""The symbol versions of the libraries that do not use their own names. NCCL has none."""
NO_DEVICE = 100
"""What each stand-in function returns: cudaErrorNoDevice."""


def main(site_packages: Path) -> None:
    """Writes the libraries that are missing."""
    if sys.platform != "linux":
        return  # there, PyPI has a build without CUDA
    folder = site_packages / "torch" / "lib"
    torch = sorted(folder.glob("lib*.so"))
    if not torch:
        sys.exit(f"{folder}: no torch here; install it first")
    there = {path.name for root in (folder, site_packages / "nvidia") for path in root.rglob("lib*.so*")}
    needed = {name for library in torch for name in _needed(library)}
    missing = sorted(name for name in needed if OF_CUDA.match(name) and name not in there)
    functions = _functions(torch)
    for name in missing:
        version = VERSIONS.get(name, name)
        _write(folder / name, version, sorted(functions.get(version, ())))


def _needed(library: Path) -> Iterator[str]:
    yield from re.findall(r"\(NEEDED\).*\[(.*)\]", _output("readelf", "--dynamic", str(library)))


def _functions(libraries: list[Path]) -> Mapping[str, set[str]]:
    """Returns symbol version -> the functions of CUDA that torch wants with it. The version may be empty."""
    found: dict[str, set[str]] = defaultdict(set)
    for library in libraries:
        for line in _output("nm", "--dynamic", "--undefined-only", str(library)).splitlines():
            name, _, version = line.split()[-1].partition("@")
            if FUNCTION_OF_CUDA.match(name):
                found[version.lstrip("@")].add(name)
    return found


def _write(target: Path, version: str, functions: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder, "stand_in.c"), Path(folder, "versions.map")
        source.write_text("".join(f"int {name}() {{ return {NO_DEVICE}; }}\n" for name in functions), encoding="utf-8")
        exported = f"global: {'; '.join(functions)};" if functions else ""
        script.write_text(f"{version} {{ {exported} }};\n", encoding="utf-8")
        options = [f"-Wl,--version-script={script}"] if version else []
        command = ["gcc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{target.name}", *options]
        subprocess.run([*command, "-o", str(target), str(source)], check=True)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
