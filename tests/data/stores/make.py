"""Makes a store to be kept for ever, and says what is in it: ``python -m tests.data.stores.make NAME``, once a format number.

The archive holds a home as a crash would leave it, with changes that were not yet replayed; ``NAME.json`` what every version,
and the present, must look like. A kept archive is never made again: later programs are held to what an earlier one wrote.
"""

import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from mimeifs.engine import LocalEngine
from mimeifs.errors import NoAttributeError
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.node import Change, Node
from tests.model.conftest import WHO, Local, Randomness, open_local

HERE = Path(__file__).parent
LEFT_OUT = ("ballast", ".spare", "socket", "lock")
"""What a home does without: room, and what only a running node has."""


def seen(node: Node, path: bytes) -> Iterator[tuple[str, list[object]]]:
    """Everything that can be said of what lies below a directory, times included."""
    for name, child in node.scan(b""):
        below = path + b"/" + name if path else name
        stat = child.stat()
        row: list[object] = [oct(stat.mode), stat.nlink, stat.uid, stat.gid, stat.mtime_ns, stat.rdev]
        kind = stat.mode & 0o170000
        if kind == 0o100000:
            handle = child.open(writing=False)
            row.append(blake3(bytes(handle.read(0, 1 << 30))).hexdigest())
            handle.close()
        elif kind == 0o120000:
            row.append(child.readlink().hex())
        row.append({each.hex(): blake3(_xattr(child, each)).hexdigest() for each in child.list_xattrs()})
        yield below.hex(), row
        if kind == 0o040000:
            yield from seen(child, below)


def _xattr(node: Node, name: bytes) -> bytes:
    try:
        return node.get_xattr(name)
    except NoAttributeError:
        return b""


def everything(local: Local) -> dict[str, dict[str, list[object]]]:
    """What each version of each MiMei and its present show, by "ID @number" and "ID @cur"."""
    found: dict[str, dict[str, list[object]]] = {}
    for mimei, _ in local.run(lambda: local.engine.mimeis.all()):
        present = local.present(mimei)
        found[f"{mimei.hex()} @cur"] = local.run(lambda present=present: dict(seen(present, b"")))
        for info in local.run(lambda mimei=mimei: list(local.engine.versions.newest_first(mimei))):
            past = local.past(info)
            found[f"{mimei.hex()} @{info.number}"] = local.run(lambda past=past: dict(seen(past, b"")))
    return found


def fill(local: Local) -> None:
    """A bit of everything."""
    photos = local.mimei(b"photos")
    local.put(photos, b"small", b"a small file")
    local.put(photos, b"empty", b"")
    local.put(photos, b"large", blake3(b"large").digest(200_000))
    local.put(photos, b"deep/er/text", b"text that shrinks " * 3000)
    local.put(photos, b"a name that is no text \xff\xfe", b"bytes")
    directory = local.run(lambda: photos.child(b"deep"))
    assert isinstance(directory, LiveDir)
    small = local.run(lambda: photos.child(b"small"))
    local.run(lambda: directory.link(b"hard", small))
    local.run(lambda: photos.symlink(b"soft", b"deep/er/text", WHO))
    local.run(lambda: photos.mknod(b"pipe", 0o010600, 0, WHO))
    local.run(lambda: photos.mknod(b"device", 0o020600, 259, WHO))
    local.run(lambda: small.set_xattr(b"user.short", b"value"))
    local.run(lambda: directory.set_xattr(b"user.long", bytes(range(256)) * 8))
    local.backup(photos.tree.mimei, label="first")
    for number in range(200):
        local.put(photos, b"many/file %03d" % number, b"%d" % number)
    local.run(lambda: small.set(Change(mode=0o4750, uid=7, gid=8, atime_ns=5, mtime_ns=-6)))
    local.backup(photos.tree.mimei)
    local.run(lambda: photos.unlink(b"empty"))
    large = local.run(lambda: photos.child(b"large"))
    local.run(lambda: large.write(100_000, b"in the middle"))
    local.backup(photos.tree.mimei, label="third")
    # From here on the journal has it and nothing else.
    local.running.attempt(lambda: large.write(10, b"after the last version"))
    local.running.attempt(lambda: photos.create(b"unreplayed", 0o644, WHO))


def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        local = open_local(Path(scratch))
        fill(local)
        local.running.abandon()
        archive = HERE / f"{name}.tar.xz"
        with tarfile.open(archive, "x:xz") as tar:
            tar.add(local.home.root, "home", filter=lambda row: None if row.name.endswith(LEFT_OUT) else row)
        local.running = LocalEngine(local.home, local.clock, Randomness())
        (HERE / f"{name}.json").write_text(json.dumps(everything(local), indent=0) + "\n")
        local.running.close()


if __name__ == "__main__":
    main(sys.argv[1])
