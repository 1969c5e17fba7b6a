"""Where a place stands among the versions of its MiMei: which one it shows, which others there are, and where the present is.

A MiMei shown by its ``@`` names has the present in ``@cur``; one shown by its present has the names unlisted, and takes
versions in ``.mimei``.
"""

from dataclasses import dataclass

from mimeifs.api.tree_requests import VersionLine
from mimeifs.dav.interface import Path, Tree
from mimeifs.errors import MimeiError

PRESENT = b"@cur"
HISTORY = b"@history"
HIDDEN = b".mimei"
ALL = b"@all"
SHOWN = 128
"""How many versions a timeline has; there may be ``older`` ones."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """``base`` is where versions are found by name, ``inside`` the path in one; ``here`` is the one that is shown, b"" for the
    present, which is at ``present``; versions are ``taken`` in a directory, and begin with the newest."""

    base: Path
    inside: Path
    here: bytes
    present: Path
    taken: Path
    versions: tuple[VersionLine, ...]
    older: bool

    @property
    def is_past(self) -> bool:
        """Whether a version is shown, or several."""
        return self.here not in (b"", PRESENT)

    def version(self, line: VersionLine) -> Path:
        """The same place in a version."""
        return (*self.base, name_of(line), *self.inside)

    def shows(self, line: VersionLine) -> bool:
        """Whether that version is the one that is shown."""
        return self.here == name_of(line) or self.here[1:].decode(errors="replace") in line.labels

    def history(self, name: bytes) -> Path:
        """Where what a file was is listed."""
        return (*self.base, HISTORY, *self.inside, name)


def name_of(line: VersionLine) -> bytes:
    """The name of a version among the others."""
    return b"@" + line.name.encode()


def find(tree: Tree, path: Path) -> Timeline | None:
    """Where a place stands; None where there are no versions."""
    try:
        found = tree.versions(path)
        base, inside, versions = found.base, found.inside, found.versions
        while found.next and len(versions) < SHOWN:  # How many come at once is a matter of how quick the node is just now.
            found = tree.versions(path, found.next)
            versions += found.versions
    except MimeiError:
        return None
    if not base:
        return None
    versions, older = versions[:SHOWN], bool(found.next) or len(versions) > SHOWN
    here = path[len(base)] if len(path) > len(base) and path[len(base)].startswith(b"@") else b""
    if here and path[len(base) + 1 :] != inside:
        here = b""  # An entry of the present that begins with the sign.
    if base[-1:] == (HIDDEN,):
        return Timeline(base, inside, here, (*base[:-1], *inside), base, versions, older)
    try:
        tree.look((*base, PRESENT))
    except MimeiError:
        return Timeline(base, inside, here, (*base, *inside), (*base, HIDDEN), versions, older)
    return Timeline(base, inside, here, (*base, PRESENT, *inside), base, versions, older)
