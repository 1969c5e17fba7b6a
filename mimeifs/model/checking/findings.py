"""What a check says: findings, and how far it has come. Values only; nothing is read here."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from mimeifs.ids import BlobId, MimeiId


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


class Where(str):
    """A place in a person's words that also says, as far as known, which MiMei, version and path it is."""

    __slots__ = ("mimei", "path", "version")

    mimei: MimeiId | None
    version: int | None
    path: bytes | None

    def __new__(cls, text: str, mimei: MimeiId | None, version: int | None = None, path: bytes | None = None) -> "Where":
        """A place with its parts."""
        made = super().__new__(cls, text)
        made.mimei, made.version, made.path = mimei, version, path
        return made


def below(where: str, path: bytes) -> str:
    """The place of a path below another place."""
    text = f"{where}, {show_path(path)}"
    if not isinstance(where, Where):
        return text
    return Where(text, where.mimei, where.version, where.path + b"/" + path if where.path and path else where.path or path)


def reworded(text: str, where: str) -> str:
    """Other words for a place."""
    return Where(text, where.mimei, where.version, where.path) if isinstance(where, Where) else text


def show_path(path: bytes) -> str:
    """A path for people; bytes that are no UTF-8 show as escapes."""
    return "/" + path.decode(errors="backslashreplace")
