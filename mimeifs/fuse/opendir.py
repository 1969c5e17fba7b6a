"""An open directory: what its cookies (telldir(3)) stand for.

A cookie is the place of a name among all that this open directory has delivered, from 1 on, behind the two dots; a listing
goes on with what then follows that name. So a place leads to the same name however often and in whatever order the directory
is sought, while names come and go. Versions never change: their cookies are ranks. Always true: names keep their places until
they are forgotten; those in order come first, which is all of them as long as nobody goes back.
"""

from bisect import bisect_left
from collections.abc import Iterator

from mimeifs.model.node import Node

PastRow = tuple[int, bytes, Node]
"""Rank, name and node of an entry of a version."""
MOST_STRAYS = 10_000
"""So many names out of order are remembered before a listing from the start forgets all."""


class OpenDir:
    """An open directory; ``past`` is where a listing of a version goes on."""

    __slots__ = ("_strays", "names", "node", "past")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.names: list[bytes] = []
        """The names delivered, by their places."""
        self._strays: dict[bytes, int] = {}
        """Places of those that stand behind a greater one."""
        self.past: tuple[int, Iterator[PastRow], PastRow] | None = None

    def start(self) -> None:
        """A listing begins. Where much has come and gone meanwhile, places from before rewinddir(3) are worth nothing."""
        if len(self._strays) > MOST_STRAYS:
            self.names, self._strays = [], {}

    def place(self, name: bytes) -> int:
        """The place of a name, from 1 on; one that was not delivered comes behind all others."""
        names, strays = self.names, self._strays
        if not strays and (not names or names[-1] < name):
            return len(names) + 1
        index = bisect_left(names, name, 0, len(names) - len(strays))
        if index < len(names) - len(strays) and names[index] == name:
            return index + 1
        return strays.get(name, len(names) + 1)

    def delivered(self, name: bytes, place: int) -> None:
        """The kernel has been given the name with its place."""
        if place > len(self.names):
            if self._strays or (self.names and self.names[-1] > name):
                self._strays[name] = place
            self.names.append(name)
