"""Reads the files of a commit without a checkout, so no hook, filter or attribute of the repository has an effect."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from swarm_git.command import Git
from swarm_git.errors import invalid, not_found
from swarm_wire.snapshots import MOST_BYTES, MOST_FILES

MOST_CHARACTERS = 1024
"""Longest path of a file."""
LFS: Final = b"version https://git-lfs.github.com/spec/v1\n"
"""The beginning of the file that git has in place of a file that LFS stores."""
LFS_BYTES = 1024
"""Largest size of such a file."""
EXECUTABLE, SYMLINK, SUBMODULE, FOLDER = "100755", "120000", "160000", "040000"
NAMED = 5
"""A message names so many files."""


@dataclass(frozen=True)
class Entry:
    """One file of a commit.

    Attributes:
        path: path below the source's folder.
        mode: git's mode.
        blob: id of the content.
        size: size in bytes; 0 for a submodule, or if it is not asked for.
    """

    path: str
    mode: str
    blob: str
    size: int


@dataclass(frozen=True)
class Files:
    """The files of a commit, sorted by path, and what is left out of them, as sentences for people."""

    entries: list[Entry]
    notes: list[str]


def files_of(git: Git, commit: str, path: str | None) -> Files:
    """Returns the files in a folder of a commit. Raises GitError if they are too many, too large, or badly named."""
    folder = folder_of(git, commit, path)
    found = list(_listed(git, folder, "-l"))
    seen: dict[str, str] = {}
    for entry in found:
        if problem := _problem(entry.path, seen):
            raise invalid(
                git.place,
                f"{git.place.url} has the file {entry.path[:MOST_CHARACTERS]!a}, {problem}. Rename it, or name another "
                f"folder in {git.place.field}.path",
            )
    plain = [entry for entry in found if entry.mode not in (SYMLINK, SUBMODULE)]
    links = [entry.path for entry in found if entry.mode == SYMLINK]
    followed, lost = _followed(git, f"{commit}:{path}/" if path else f"{commit}:", links)
    files = sorted([*plain, *followed], key=lambda entry: entry.path)
    _check_sizes(git, files)
    notes = [
        *_note([entry.path for entry in found if entry.mode == SUBMODULE], "Submodules are not fetched"),
        *_note(lost, "Symbolic links to anything but a file of the repository are left out"),
    ]
    return Files(files, notes)


def blobs_of(git: Git, folder: str) -> list[str]:
    """Returns the ids of all blobs below a tree, which need not be there. Raises GitError if they are too many."""
    found = (entry for entry in _listed(git, folder) if entry.mode != SUBMODULE)
    return list(dict.fromkeys(entry.blob for entry in found))


def contents(git: Git, entries: Iterable[Entry]) -> dict[str, bytes]:
    """Returns the content of each entry by the blob's id."""
    wanted = list(dict.fromkeys(entry.blob for entry in entries))
    out = git.run("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in wanted).encode())
    found, start = {}, 0
    for blob in wanted:
        end = out.index(b"\n", start)
        size = int(out[start:end].split()[2])
        found[blob] = out[end + 1 : end + 1 + size]
        start = end + size + 2
    return found


def without_pointers(files: Files, content: dict[str, bytes]) -> Files:
    """Returns the files without those that LFS stores elsewhere."""
    pointers = {
        entry.path for entry in files.entries if entry.size <= LFS_BYTES and content[entry.blob].startswith(LFS)
    }
    kept = [entry for entry in files.entries if entry.path not in pointers]
    return Files(kept, [*files.notes, *_note(sorted(pointers), "Files of Git LFS are not fetched")])


def folder_of(git: Git, commit: str, path: str | None) -> str:
    """Returns the id of the folder's tree. Raises GitError if there is no such folder."""
    tree = git.text("rev-parse", "--verify", f"{commit}^{{tree}}")
    done: list[str] = []
    for name in path.split("/") if path else ():
        entries = [_entry(part) for part in git.parts("ls-tree", "-z", tree)]
        same = [entry for entry in entries if entry.path == name]
        where = "/".join(done) or "the repository"
        if not same:
            there = _shown(sorted(entry.path for entry in entries), most=4 * NAMED)
            raise not_found(
                git.place,
                f"{git.place.url} has no folder {path}: {where} has {there or 'no files'}. Correct "
                f"{git.place.field}.path",
            )
        if same[0].mode != FOLDER:
            kind = {SYMLINK: "a symbolic link", SUBMODULE: "a submodule"}.get(same[0].mode, "a file")
            done.append(name)
            raise not_found(
                git.place,
                f"{'/'.join(done)} in {git.place.url} is {kind}, not a folder. Name a folder in {git.place.field}.path",
            )
        done.append(name)
        tree = same[0].blob
    return tree


def _listed(git: Git, tree: str, *options: str) -> Iterator[Entry]:
    """Yields all entries below a tree. It stops early, because a tree of a few bytes can have billions of files."""
    folders: Counter[str] = Counter()
    number = 0
    for number, part in enumerate(git.parts("ls-tree", "-r", "-z", *options, tree), 1):
        entry = _entry(part)
        folders[entry.path.partition("/")[0]] += 1
        if number > MOST_FILES:
            largest = ", ".join(f"{name} ({count:,})" for name, count in folders.most_common(NAMED))
            raise invalid(
                git.place, f"{git.place.url} has more than {MOST_FILES:,} files: {largest}, ... {_advice(git)}"
            )
        yield entry
    if number == 0:
        raise invalid(git.place, f"{git.place.url} has no files there. {_advice(git)}")


def _entry(part: bytes) -> Entry:
    """Reads one line of ls-tree: mode, type, id, with -l the size, a tab, and the path."""
    meta, _, path = part.decode(errors="surrogateescape").partition("\t")
    mode, _, blob, *size = meta.split()
    return Entry(path, mode, blob, int(size[0]) if size and size[0] != "-" else 0)


def _problem(path: str, seen: dict[str, str]) -> str | None:
    """Returns why a path is refused; None if it is not. `seen` collects all files, and the folders of these files."""
    names = path.split("/")
    if len(path) > MOST_CHARACTERS:
        return f"whose name has more than {MOST_CHARACTERS:,} characters"
    if not path.isprintable() or "\\" in path:
        return "whose name has characters that are not printable, or a backslash"
    # Kubernetes and our own readers skip names that begin with two dots.
    if any(name in ("", ".") or name.startswith("..") or name.lower() == ".git" for name in names):
        return "whose name may lead out of its folder"
    folders = ["/".join(names[:end]) for end in range(1, len(names))]
    if path in seen or any(seen.setdefault(folder, FOLDER) != FOLDER for folder in folders):
        return "which is there twice"
    seen[path] = "file"
    return None


def _followed(git: Git, start: str, links: list[str]) -> tuple[list[Entry], list[str]]:
    """Returns the files to which symbolic links lead within the repository, and the links that lead to no file."""
    if not links:
        return [], []
    told = "".join(f"{start}{link}\n" for link in links).encode()
    out = git.run("cat-file", "--batch-check", "--follow-symlinks", stdin=told)
    found, lost, left = [], [], out
    for link in links:
        line, _, left = left.partition(b"\n")
        words = line.split()
        if len(words) == 3 and words[1] == b"blob":
            found.append(Entry(link, "100644", words[0].decode(), int(words[2])))
            continue
        lost.append(link)
        # "symlink SIZE" and the like, and then SIZE bytes and a line end.
        if len(words) == 2 and words[0] in (b"symlink", b"dangling", b"loop", b"notdir"):
            left = left[int(words[1]) + 1 :]
    return found, lost


def _check_sizes(git: Git, files: list[Entry]) -> None:
    total = sum(entry.size for entry in files)
    if total > MOST_BYTES:
        raise invalid(
            git.place,
            f"the files of {git.place.url} have {total / 2**20:.1f} MiB, more than {MOST_BYTES // 2**20} MiB. The "
            f"largest: {largest(files)}. {_advice(git)}",
        )


def largest(files: list[Entry]) -> str:
    """Returns the largest files with their sizes, for people."""
    ordered = sorted(files, key=lambda entry: (-entry.size, entry.path))[:NAMED]
    return ", ".join(f"{entry.path} ({entry.size / 2**20:.1f} MiB)" for entry in ordered)


def _advice(git: Git) -> str:
    return f"Name a smaller folder in {git.place.field}.path"


def _note(paths: list[str], what: str) -> list[str]:
    return [f"{what}: {_shown(paths)}."] if paths else []


def _shown(paths: list[str], most: int = NAMED) -> str:
    more = f" and {len(paths) - most:,} more" if len(paths) > most else ""
    return ", ".join(path if path.isprintable() else ascii(path) for path in paths[:most]) + more
