"""A program that works in a directory by a seed and counts its steps outside of it; run as a subprocess.

``python storming.py DIRECTORY NOTES SEED``: each step is one change by one system call, an ``fsync``, or a version. What
the directory holds after any number of steps follows from what it held before and from the seed alone, so that whoever kills
the program, or what it works on, knows the two states that are allowed: with the step under way, and without it. It ends
when a step fails. Nothing here knows of mimeifs but ``.mimei``.
"""

import errno
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

Tree = dict[str, bytearray | None]
"""Path to what a file holds, one object for all hard links of one file; None is a directory."""
Seen = dict[str, bytes | None]
"""The same as values, to be compared."""

MOST = 40
LARGEST = 60_000
PAGE = 4096
"""Where the kernel may divide a write (fuse(4)): a program that dies in it may leave the first part."""


class Step(NamedTuple):
    """One thing to do; ``what`` is a key of :data:`PERFORM`."""

    what: str
    path: str
    other: str = ""
    at: int = 0
    data: bytes = b""


def steps(draw: random.Random, tree: Tree, label: str) -> Iterator[Step]:
    """What to do, without end; whoever takes a step applies it to ``tree`` before the next."""
    for number in range(1 << 60):
        files = sorted(path for path, content in tree.items() if content is not None)
        directories = ["", *sorted(path for path, content in tree.items() if content is None)]
        fresh = _below(draw.choice(directories), f"n{number}")
        if fresh in tree:
            continue  # It was made by an earlier storm, which counted from 0 as well.
        kind = draw.choice(_KINDS)
        if kind == "version":
            yield Step("version", f"v{label}-{number}")
        elif kind == "mkdir" and len(directories) < 8:
            yield Step("mkdir", fresh)
        elif kind == "move" and len(directories) > 1:
            moved = draw.choice(directories[1:])
            if not fresh.startswith(moved + "/"):
                yield Step("rename", moved, fresh)
        elif kind == "rmdir":
            empty = [path for path in directories[1:] if not any(each.startswith(path + "/") for each in tree)]
            if empty:
                yield Step("rmdir", draw.choice(empty))
        elif not files or (kind in ("new", "replace") and len(tree) < MOST):
            yield from _write_new(draw, fresh, draw.choice(files) if kind == "replace" and files else "")
        else:
            yield from _change(draw, kind, files, fresh)


_KINDS = (
    *("new", "replace", "replace", "replace", "append", "append", "overwrite", "truncate", "unlink", "unlink"),
    *("rename", "link", "mkdir", "rmdir", "move", "fsync", "version"),
)


def _write_new(draw: random.Random, fresh: str, target: str) -> Iterator[Step]:
    """A new file written in one or two pieces; as a replacement it is then renamed over an old one, mostly without a sync."""
    yield Step("create", fresh)
    first, second = (draw.randbytes(draw.choice((1, 500, 5000, LARGEST))) for _ in range(2))
    yield Step("write", fresh, data=first)
    if draw.random() < 0.5:
        yield Step("write", fresh, at=len(first), data=second)
    if draw.random() < 0.3:
        yield Step("fsync", fresh)
    if target:
        yield Step("rename", fresh, target)


def _change(draw: random.Random, kind: str, files: list[str], fresh: str) -> Iterator[Step]:
    path, data = draw.choice(files), draw.randbytes(draw.choice((1, 100, 20_000)))
    if kind == "append":
        yield Step("append", path, data=data)
        if draw.random() < 0.5:
            yield Step("fsync", path)
    elif kind == "overwrite":
        yield Step("write", path, at=draw.randrange(80_000), data=data)
    elif kind == "truncate":
        yield Step("truncate", path, at=draw.randrange(80_000))
    elif kind == "rename":
        yield Step("rename", path, draw.choice([fresh, draw.choice(files)]))
    elif kind == "link":
        yield Step("link", path, fresh)
    elif kind == "fsync":
        yield Step("fsync", path)
    else:
        yield Step("unlink", path)


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def apply(tree: Tree, step: Step) -> None:
    """What a step makes of a tree."""
    content = tree.get(step.path)
    if step.what == "create":
        tree[step.path] = bytearray()
    elif step.what == "mkdir":
        tree[step.path] = None
    elif step.what in ("unlink", "rmdir"):
        del tree[step.path]
    elif step.what == "link":
        tree[step.other] = content
    elif step.what == "rename":
        _rename(tree, step.path, step.other)
    elif content is not None and step.what in ("write", "append"):
        at = len(content) if step.what == "append" else step.at
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(step.data)] = step.data
    elif content is not None and step.what == "truncate":
        content.extend(bytes(max(0, step.at - len(content))))
        del content[step.at :]


def cut_short(tree: Tree, step: Step) -> list[Step]:
    """The step under way as what may be there of it, if anything: all, or of a write what lies before the end of a page."""
    content = tree.get(step.path)
    if content is None or step.what not in ("write", "append"):
        return [step]
    at = len(content) if step.what == "append" else step.at
    ends = range(PAGE - at % PAGE, len(step.data), PAGE)
    return [step, *(step._replace(data=step.data[:end]) for end in ends)]


def _rename(tree: Tree, old: str, new: str) -> None:
    if tree[old] is not None and tree.get(new) is tree[old]:
        return  # Two names of one file: rename(2) does nothing.
    for path in [path for path in tree if path == old or path.startswith(old + "/")]:
        tree[new + path.removeprefix(old)] = tree.pop(path)


def _open(path: Path, flags: int, step: Step) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        if step.what == "fsync":
            os.fsync(fd)
        elif step.data:
            at = os.fstat(fd).st_size if step.what == "append" else step.at
            written = os.write(fd, step.data) if step.what == "append" else os.pwrite(fd, step.data, at)
            if written < len(step.data):
                os.pwrite(fd, step.data[written:], at + written)
    finally:
        os.close(fd)


PERFORM: dict[str, Callable[[Path, Step], None]] = {
    "create": lambda root, step: _open(root / step.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, step),
    "write": lambda root, step: _open(root / step.path, os.O_WRONLY, step),
    "append": lambda root, step: _open(root / step.path, os.O_WRONLY | os.O_APPEND, step),
    "truncate": lambda root, step: os.truncate(root / step.path, step.at),
    "fsync": lambda root, step: _open(root / step.path, os.O_RDONLY, step),
    "mkdir": lambda root, step: os.mkdir(root / step.path),
    "rmdir": lambda root, step: os.rmdir(root / step.path),
    "unlink": lambda root, step: os.unlink(root / step.path),
    "rename": lambda root, step: os.rename(root / step.path, root / step.other),
    "link": lambda root, step: os.link(root / step.path, root / step.other),
    "version": lambda root, step: os.mkdir(root / ".mimei" / f"@{step.path}"),
}


def scan(root: Path) -> Tree:
    """The tree that is there."""
    found: Tree = {}
    by_number: dict[int, bytearray] = {}
    for folder, directories, files in os.walk(root, onerror=_fail):
        at = Path(folder).relative_to(root)
        for name in directories:
            found[str(at / name)] = None
        for name in files:
            path = Path(folder) / name
            number = path.stat().st_ino
            if number not in by_number:
                by_number[number] = bytearray(path.read_bytes())
            found[str(at / name)] = by_number[number]
    return found


def _fail(error: OSError) -> None:
    raise error


def seen(tree: Tree) -> Seen:
    """The tree as values."""
    return {path: None if content is None else bytes(content) for path, content in tree.items()}


def storm(root: Path, notes: Path, seed: str) -> None:
    """Go on until a step fails."""
    tree = scan(root)
    done = os.open(notes, os.O_WRONLY | os.O_APPEND)
    os.write(done, b"b")  # The tree has been read: from here on steps count.
    for step in steps(random.Random(seed), tree, seed):
        PERFORM[step.what](root, step)
        os.write(done, b".")
        apply(tree, step)


if __name__ == "__main__":
    try:
        storm(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except OSError as error:
        sys.stdout.write(f"{errno.errorcode[error.errno or 0]}\n")  # In one piece, whenever this is killed.
