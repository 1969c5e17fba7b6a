"""What the web half of this surface asks of the tree, as one interface; :mod:`mimeifs.dav.tree` is it over the node's socket.

Paths are tuples of names, as stored, from the root. Everything is synchronous and may be called from many threads; what
cannot be done raises a ``MimeiError`` and has changed nothing. Atomicity, durability and what a name means are the tree's
matter; URLs, headers and XML are none of it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from mimeifs.api.tree_requests import ChangesFound, Listed, Standing, StatesAt, VersionsAt
from mimeifs.dav.known import Known, Listings
from mimeifs.model.resource import Facts, Guard, Lock, Path
from mimeifs.store.interfaces import Buffer
from mimeifs.store.pages import Piece

__all__ = [
    "ChangesFound",
    "Facts",
    "Guard",
    "Listed",
    "Lock",
    "Path",
    "Piece",
    "Reading",
    "Small",
    "Staged",
    "Standing",
    "StatesAt",
    "Tree",
    "VersionsAt",
]


class Small(NamedTuple):
    """What is answered to whoever asks for a small file."""

    facts: Facts
    headers: list[tuple[str, str]]
    body: bytes


class Reading(Protocol):
    """An open resource, which shows the same bytes whatever happens to its name."""

    @property
    def facts(self) -> Facts:
        """As it was opened."""

    def read(self, offset: int, size: int) -> Buffer:
        """At most so many bytes, none only at the end; good until this thread reads again."""

    def piece(self, offset: int, size: int) -> Piece:
        """The same for whoever sends it, once."""

    def close(self) -> None:
        """Let it go."""


class Staged(Protocol):
    """An upload on its way, which nobody sees until it is committed."""

    def write(self, data: Buffer) -> None:
        """Take in the next bytes, which are the caller's again when it returns."""

    def discard(self) -> None:
        """Forget it."""

    def commit(self, path: Path, guard: Guard, mtime_ns: int | None = None, hold_s: int = 0) -> Facts:
        """Become what is at ``path``, durably and at once; without bytes, these are awaited for ``hold_s``."""


class Tree(Protocol):
    """The node's tree."""

    @property
    def listings(self) -> Listings | None:
        """What was written of directories; None where nobody can tell whether it is still so."""

    @property
    def small(self) -> Known[Path, Small] | None:
        """What is said of small sealed files, and their bytes, for as long as the tree stays as it is; None where nobody can
        tell."""

    def look(self, path: Path, *, properties: bool = False) -> Facts:
        """What is there."""

    def entries(
        self, path: Path, after: bytes = b"", limit: int = 500, *, properties: bool = False
    ) -> tuple[list[Facts], bytes]:
        """A page of a directory, in the order of names, and after which name the next begins: b"" on the last."""

    def pages(self, path: Path, *, properties: bool = False) -> Iterator[Listed]:
        """All that is in a directory, page by page."""

    def again(self, path: Path, mark: str, names: Sequence[bytes], *, properties: bool = False) -> Listed:
        """What is loose in a directory, and what has changed since it had that mark; nothing and no mark where nobody knows."""

    def open(self, path: Path) -> Reading:
        """Open a file to read."""

    def stage(self, size: int | None) -> Staged:
        """Begin an upload; ``CapacityError`` at once where ``size`` is known and too much."""

    def mkdir(self, path: Path, guard: Guard) -> Facts:
        """Make a directory, or where the name says so a version."""

    def remove(self, path: Path, guard: Guard, *, hold_s: int = 0) -> None:
        """Take it and all below away; see ``move``."""

    def move(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, hold_s: int = 0) -> bool:
        """Rename; whether something was replaced. A document that another will replace stays in versions for ``hold_s``."""

    def copy(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, shallow: bool = False) -> bool:
        """Copy, a directory with all below unless ``shallow``; whether something was replaced."""

    def patch(
        self,
        path: Path,
        guard: Guard,
        *,
        properties: dict[str, bytes | None] | None = None,
        mtime_ns: int | None = None,
        birth_ns: int | None = None,
    ) -> Facts:
        """Change properties (None removes one) and times together."""

    def lock(
        self, path: Path, guard: Guard, *, owner: str, exclusive: bool, infinite: bool, timeout_s: int
    ) -> tuple[Lock, bool]:
        """Lock; whether an empty resource was made for it."""

    def refresh(self, path: Path, token: str, timeout_s: int) -> Lock:
        """Let a lock last from now."""

    def unlock(self, path: Path, token: str, user: str) -> None:
        """End a lock."""

    def locks(self, path: Path) -> list[Lock]:
        """Those that cover ``path``."""

    def versions(self, path: Path, after: bytes = b"") -> VersionsAt:
        """A page of the versions of the MiMei that a place is in, and where the place is in each."""

    def standing(self, path: Path) -> Standing:
        """How a place stands among its states; raises ``NotFoundError`` in no MiMei."""

    def states(self, path: Path, after: bytes = b"", *, properties: bool = False) -> StatesAt:
        """A page of a place's distinct states, oldest first."""

    def sync_token(self, path: Path) -> str:
        """What names what a directory holds now; raises ``UnsupportedError``."""

    def changes(self, path: Path, token: str, *, deep: bool, limit: int, properties: bool = False) -> ChangesFound:
        """A page of what changed in a directory since a token; raises ``UnsupportedError``."""

    def space(self) -> tuple[int, int]:
        """Bytes used and bytes available."""
