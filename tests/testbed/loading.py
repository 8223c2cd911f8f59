"""Loads images onto our own nodes, and copies only the layers that a node lacks.

kind copies whole images: for a worker image, half a gigabyte after every change of a line. The containerd in our own
node image accepts an archive without the layers that it already has. On other nodes, kind loads images in its own way.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testbed import cache, engine
from testbed.shell import CommandError, run

_CTR = ("ctr", "--namespace=k8s.io")
_OCI = "application/vnd.oci.image"
_TRIES = 3


def load(image: str, nodes: list[str]) -> None:
    """Load an image of our engine onto each of these nodes that lacks it."""
    wanted = engine.docker("image", "inspect", "--format", "{{.Id}}", image)
    lacking = [node for node in nodes if _image_id(node, image) != wanted]
    if not lacking:
        return
    with cache.scratch() as folder, ThreadPoolExecutor() as pool:
        saved = folder / "saved.tar"
        engine.docker("save", "--output", saved, image)
        list(pool.map(lambda node: _bring(node, image, saved, folder / f"{node}.tar"), lacking))


def _bring(node: str, image: str, saved: Path, archive: Path) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            return _complete(node, image, saved, archive)
        except CommandError:
            # While containerd removes another image, it may delete layers that it has just reported, so we try again.
            if not tries_left:
                raise


def _complete(node: str, image: str, saved: Path, archive: Path) -> None:
    present = engine.docker("exec", node, *_CTR, "content", "ls", "--quiet").split()
    repack(saved, archive, full_name(image), present)
    load = ("exec", "--interactive", node, *_CTR, "images", "import", "-")
    run(engine.CLIENT, *load, stdin=archive, env=engine.env())


def _image_id(node: str, image: str) -> str:
    try:
        status = json.loads(engine.docker("exec", node, "crictl", "inspecti", image))["status"]
    except CommandError:
        return ""
    return str(status["id"])


def full_name(image: str) -> str:
    """Return containerd's name of an image. It includes Docker's registry, which Docker leaves out."""
    return f"docker.io/{image}"


def repack(saved: Path, archive: Path, name: str, present: Container[str]) -> None:
    """Make an OCI archive from the output of `docker save`. Leave out the layers whose digests are in `present`."""
    with tarfile.open(saved) as source, tarfile.open(archive, "w") as target:
        entry = json.loads(_content(source, "manifest.json"))[0]
        config = _content(source, entry["Config"])
        layers = list(_layers(source, entry["Layers"], json.loads(config)["rootfs"]["diff_ids"]))
        for member, digest in layers:
            if digest not in present:
                blob = tarfile.TarInfo(_place(digest))
                blob.size = member.size
                target.addfile(blob, source.extractfile(member))
        manifest = _document(
            mediaType=f"{_OCI}.manifest.v1+json",
            config=_descriptor("config.v1+json", _digest(config), len(config)),
            layers=[_descriptor("layer.v1.tar", digest, member.size) for member, digest in layers],
        )
        reference = _descriptor("manifest.v1+json", _digest(manifest), len(manifest))
        reference["annotations"] = {"io.containerd.image.name": name}
        _add(target, _place(_digest(config)), config)
        _add(target, _place(_digest(manifest)), manifest)
        _add(target, "index.json", _document(manifests=[reference]))
        _add(target, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())


def _layers(source: tarfile.TarFile, names: list[str], digests: list[str]) -> Iterator[tuple[tarfile.TarInfo, str]]:
    for name, digest in zip(names, digests, strict=True):
        member = source.getmember(name)
        # `docker save` stores a layer of two images once. The second image has a link relative to its own folder.
        yield source.getmember(member.linkname.removeprefix("../")) if member.issym() else member, digest


def _content(source: tarfile.TarFile, name: str) -> bytes:
    file = source.extractfile(name)
    assert file is not None, f"{name} is no file"
    return file.read()


def _descriptor(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": f"{_OCI}.{kind}", "digest": digest, "size": size}


def _document(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(target: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    target.addfile(member, io.BytesIO(content))
