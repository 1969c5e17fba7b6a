"""From the path a client sent to the one that exists: other normal forms of a name, and symbolic links.

The path as it came is tried first and is nearly always the one. Only where it leads nowhere is it walked name by name.
"""

from mimeifs.dav.interface import Facts, Path, Tree
from mimeifs.dav.paths import spellings, to_make
from mimeifs.errors import NameTooLongError, NotADirError, NotFoundError

MAX_LINKS = 16


def find(tree: Tree, path: Path, *, properties: bool = False) -> tuple[Path, Facts | None]:
    """The path under which it is there, and its facts, None where nothing is; the last name's link is not followed."""
    try:
        return path, tree.look(path, properties=properties)
    except (NotFoundError, NotADirError, NameTooLongError):
        return _walk(tree, path, properties)


def followed(tree: Tree, path: Path, facts: Facts) -> tuple[Path, Facts]:
    """What a symbolic link leads to inside the tree; itself where that is nothing."""
    at, now = path, facts
    for _ in range(MAX_LINKS):
        if now.kind != "symlink":
            return at, now
        there = _target(at[:-1], now.target)
        if there is None:
            break
        at, found = find(tree, there)
        if found is None:
            break
        now = found
    return path, facts


def to_create(tree: Tree, path: Path) -> tuple[Path, Facts | None]:
    """Where something is to be made: what is there if it exists, else its NFC name in the parent that exists."""
    at, facts = find(tree, path)
    if facts is not None or not path:
        return at, facts
    return (*at[:-1], to_make(at[-1])), None


def _walk(tree: Tree, path: Path, properties: bool) -> tuple[Path, Facts | None]:
    """Name by name; where a name is missing, the rest stays as it was sent."""
    at: Path = ()
    facts: Facts | None = None
    links = 0
    for index, name in enumerate(path):
        facts = _spelled(tree, at, name)
        if facts is None:
            return (*at, *path[index:]), None
        at = (*at, facts.name)
        while facts.kind == "symlink" and index + 1 < len(path):
            there = _target(at[:-1], facts.target)
            links += 1
            if there is None or links > MAX_LINKS:
                return path, None
            at, target = _plain(tree, there)
            if target is None:
                return path, None
            facts = target
        if facts.kind != "dir" and index + 1 < len(path):
            return path, None
    if properties and facts is not None:
        facts = tree.look(at, properties=True)
    return at, facts


def _spelled(tree: Tree, parent: Path, name: bytes) -> Facts | None:
    for spelling in spellings(name):
        _, facts = _plain(tree, (*parent, spelling))
        if facts is not None:
            return facts
    return None


def _plain(tree: Tree, path: Path) -> tuple[Path, Facts | None]:
    try:
        return path, tree.look(path)
    except (NotFoundError, NotADirError):
        return path, None
    except NameTooLongError:
        if path[-1].isascii():
            raise
        return path, None  # Another form of it may be short enough: taken apart, a Korean name is three times as long.


def _target(parent: Path, target: bytes) -> Path | None:
    """Where a link in ``parent`` leads; None when that is outside the tree."""
    if not target or target.startswith(b"/"):
        return None
    at = list(parent)
    for name in target.split(b"/"):
        if name == b"..":
            if not at:
                return None
            at.pop()
        elif name not in (b"", b"."):
            at.append(name)
    return tuple(at)
