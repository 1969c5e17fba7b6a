"""What a check says: findings, and how far it has come. Values only; nothing is read here."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from mimeifs.ids import BlobId


class Depth(Enum):
    """How much is read."""

    QUICK = "quick"
    """Rows, records and the maps of every tree; that contents are there, but not their bytes."""
    FULL = "full"
    """Every stored byte as well."""


class Fault(Enum):
    """What is wrong."""

    DAMAGED = "damaged"
    """Stored bytes do not match their digest, signature or format."""
    MISSING = "missing"
    """Something that is referred to is not there."""
    ORPHAN = "orphan"
    """Something is there that nothing refers to."""
    WRONG = "wrong"
    """Two things that must agree do not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit: what kind, where, in a person's words, and the blob concerned if there is one."""

    fault: Fault
    where: str
    problem: str
    blob: BlobId | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a check has come: what it looks at now, how much of that is done, and how much there is."""

    stage: str
    done: int
    total: int


Report = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Nobody wants to know."""


def show_path(path: bytes) -> str:
    """A path for people; bytes that are no UTF-8 show as escapes."""
    return "/" + path.decode(errors="backslashreplace")
