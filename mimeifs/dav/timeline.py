"""Where a place stands among the versions of its MiMei: which one it shows, which others there are, and where the present is.

A MiMei shown by its ``@`` names has them beside ``@cur``; one shown by its present has them in its unlisted ``.mimei``.
"""

from dataclasses import dataclass

from mimeifs.dav.interface import Facts, Path, Tree
from mimeifs.errors import MimeiError

LISTED = 500
PRESENT = b"@cur"
HISTORY = b"@history"
HIDDEN = b".mimei"


@dataclass(frozen=True, slots=True)
class Timeline:
    """``above`` is the directory of versions, ``rest`` the path inside one, ``here`` the name of the one that is shown, b"" for
    the present; ``versions`` begin with the newest."""

    above: Path
    rest: Path
    here: bytes
    versions: tuple[Facts, ...]

    @property
    def is_past(self) -> bool:
        """Whether a version is shown."""
        return self.here not in (b"", PRESENT)

    @property
    def present(self) -> Path:
        """The same place in the present."""
        return (*self.above[:-1], *self.rest) if self.above[-1:] == (HIDDEN,) else (*self.above, PRESENT, *self.rest)

    def history(self, name: bytes) -> Path:
        """Where what a file was is listed."""
        return (*self.above, HISTORY, *self.rest, name)


def find(tree: Tree, path: Path) -> Timeline | None:
    """Where a place stands; None where there are no versions."""
    for index, name in enumerate(path):
        if name.startswith(b"@"):
            return _read(tree, (path[:index], (*path[:index], HIDDEN)), path[index + 1 :], name)
    if path[-1:] == (HIDDEN,):
        return _read(tree, (path,), (), b"")
    for depth in range(len(path), 0, -1):
        found = _read(tree, (path[:depth], (*path[:depth], HIDDEN)), path[depth:], b"")
        if found is not None:
            # What stands beside @cur is a MiMei's directory itself, and has no place inside a version.
            return found if found.above[-1:] == (HIDDEN,) or depth == len(path) else None
    return None


def _read(tree: Tree, places: tuple[Path, ...], rest: Path, here: bytes) -> Timeline | None:
    for above in places:
        try:
            listed, _ = tree.entries(above, b"", LISTED)
        except MimeiError:
            continue
        versions = [one for one in listed if one.name.startswith(b"@")]
        if above[-1:] != (HIDDEN,) and all(one.name != PRESENT for one in versions):
            continue
        past = sorted((one for one in versions if one.name != PRESENT), key=lambda one: one.mtime_ns, reverse=True)
        return Timeline(above, rest, here, tuple(past))
    return None
