"""What changed in a directory since somebody last asked (RFC 6578), told by what it held then and what it holds now.

A *sync token* names what a directory held by the digests of its map and of the map of hard links, so it survives every restart,
is good for as long as these maps are in the store, and keeps nothing alive. Two of them are compared map by map, at the cost of
what differs. Of a present that changed since its maps were made these are made first, by the keeper and without a version,
which is :class:`Later`. The token of an answer that is told page by page also names what it leads to, and how far it has come.

Always true: a token names only what the changes told up to it lead to, so that none is missed, whatever happens meanwhile; what
changes while an answer is told may be told twice. What this node did not make for this directory is no token.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from mimeifs.codec import Reader, put_bytes, put_uint
from mimeifs.errors import IntegrityError, MimeiError, NotADirError, NotFoundError, UnsupportedError
from mimeifs.ids import ID_SIZE, BlobId
from mimeifs.model import resting
from mimeifs.model.differing import NOTHING, Held, differing
from mimeifs.model.entry import Kind
from mimeifs.model.live import Live
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.past import PastDir
from mimeifs.model.resource import TOKEN_SCHEME, Facts, Path
from mimeifs.model.resources import Resources
from mimeifs.model.views import RootDir
from mimeifs.store import prolly
from mimeifs.store.prolly import EMPTY_ROOT

T = TypeVar("T")
REMEMBERED = 1000
"""Of how many directories it is known at which position of the journal their maps were last made."""
_FORMAT = 1
_KEYED = 16
_NAME_MAX = 1024
_SINCE, _UNTIL, _DEEP = 1, 2, 4


@dataclass(frozen=True, slots=True)
class SyncToken:
    """``place`` is which directory; ``since`` what the client knows of it, None for nothing. While an answer is told, ``until``
    is what it leads to, ``after`` the path below the directory that was told last, ``deep`` whether all levels are told."""

    place: bytes
    since: Held | None
    until: Held | None = None
    after: Path = ()
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """A path below a directory: what is there now, None where it went. ``closed``: it shows another MiMei, whose own changes
    are told only where that is asked."""

    path: Path
    facts: Facts | None
    closed: bool


class Syncing:
    """Comparisons of the directories of one node with what they held."""

    def __init__(self, live: Live, resources: Resources) -> None:
        self._live = live
        self._resources = resources
        self._folded: OrderedDict[int, int] = OrderedDict()

    # Asking

    def token(self, path: Path) -> str:
        """The token of what a directory holds now. May be ``Later``; raises ``UnsupportedError`` where there are none."""
        place = self._place(path)
        return self._holds(path, lambda held: self.written(SyncToken(place, held)))

    def begin(self, path: Path, text: str, *, deep: bool) -> SyncToken | None:
        """What is to be told since a token, "" for all there is; None where the text is no token of this directory, or one
        whose maps are gone. May be ``Later``; raises ``UnsupportedError``."""
        place = self._place(path)
        known = self._read(text) if text else SyncToken(place, None)
        if known is None or known.place != place or not (self._kept(known.since) and self._kept(known.until)):
            return None
        if known.until is not None:
            return known if known.deep is deep else None
        return self._holds(path, lambda held: replace(known, until=held, deep=deep))

    def changes(self, path: Path, token: SyncToken, *, properties: bool) -> Iterator[Changed]:
        """What there is to tell of a token that was begun; raises ``IntegrityError``, ``NotFoundError`` where a map is gone."""
        found = differing(self._live.blobs, token.since or NOTHING, token.until or NOTHING, token.after, deep=token.deep)
        for below, _, entry in found:
            facts = None if entry is None else self._facts((*path, *below), properties=properties)
            yield Changed(below, facts, entry is not None and entry.kind is Kind.LINK)

    def _facts(self, path: Path, *, properties: bool) -> Facts | None:
        """What is at a path now; it may have gone since."""
        try:
            return self._resources.look(path, properties=properties)
        except (NotFoundError, NotADirError):
            return None

    def reached(self, token: SyncToken, last: Path | None) -> str:
        """The token to go on from once ``last`` was told, None for everything."""
        return self.written(SyncToken(token.place, token.until) if last is None else replace(token, after=last))

    # What a directory holds

    def _place(self, path: Path) -> bytes:
        """What tells directories apart: the MiMei and the path in it, whichever version is shown."""
        mimei, _, inside = self._resources.versions_at(path)
        out = bytearray(mimei)
        for name in inside:
            put_bytes(out, name)
        return self._live.keyed(b"sync place" + out)[:_KEYED]

    def _holds(self, path: Path, proceed: Callable[[Held], T]) -> T:
        node = self._resources.spot(path).found()
        if isinstance(node, PastDir):
            return proceed(Held(node.entry.root, node.origin.tree.links if node.entry.totals.links else EMPTY_ROOT))
        if not isinstance(node, LiveDir) or isinstance(node, RootDir):
            raise UnsupportedError("changes are told of directories of MiMeis; this is none")
        at = self._folded.get(node.ino)
        if resting.settled(node) or (at is not None and resting.quiet_since(node, at)):
            return proceed(_held(node))
        raise resting.fold(node, lambda folded: proceed(self._now(node, folded)))

    def _now(self, directory: LiveDir, at: int) -> Held:
        """What a directory holds, whose maps were just made."""
        self._folded[directory.ino] = at
        self._folded.move_to_end(directory.ino)
        if len(self._folded) > REMEMBERED:
            self._folded.popitem(last=False)
        return _held(directory)

    def _kept(self, held: Held | None) -> bool:
        """Whether the maps are in the store, as far as their roots tell."""
        roots = () if held is None else (held.root, held.links)
        try:
            for root in roots:
                if root != EMPTY_ROOT:
                    prolly.count(self._live.blobs, root)
        except (NotFoundError, IntegrityError):
            return False
        return True

    # Marks as text

    def written(self, token: SyncToken) -> str:
        """A token as clients keep it: a URI."""
        out = bytearray(token.place)
        put_uint(out, _FORMAT)
        put_uint(out, _SINCE * (token.since is not None) | _UNTIL * (token.until is not None) | _DEEP * token.deep)
        for held in (token.since, token.until):
            if held is not None:
                out += held.root
                put_bytes(out, b"" if held.links == EMPTY_ROOT else held.links)
        for name in token.after:
            put_bytes(out, name)
        return TOKEN_SCHEME + urlsafe_b64encode(self._seal(bytes(out)) + out).decode().rstrip("=")

    def _seal(self, data: bytes) -> bytes:
        """What nobody but this node can put in front of a token."""
        return self._live.keyed(b"sync token" + data)[:_KEYED]

    def _read(self, text: str) -> SyncToken | None:
        """Inverse of :meth:`written`; None for what this node did not write."""
        try:
            token = _decoded(Reader(urlsafe_b64decode(text.removeprefix(TOKEN_SCHEME).encode() + b"=="), _KEYED))
        except (binascii.Error, ValueError, MimeiError):
            return None
        # Written again it is the same, with what only this node can put in front, or it is none.
        return token if token is not None and self.written(token) == text else None


def _decoded(reader: Reader) -> SyncToken | None:
    place = reader.take(_KEYED)
    if reader.uint() != _FORMAT:
        return None
    flags = reader.uint()
    since, until = (_read_held(reader) if flags & flag else None for flag in (_SINCE, _UNTIL))
    after = list[bytes]()
    while reader.pos < reader.end:
        after.append(reader.field(_NAME_MAX))
    return SyncToken(place, since, until, tuple(after), bool(flags & _DEEP))


def _read_held(reader: Reader) -> Held:
    root = BlobId(reader.take(ID_SIZE))
    return Held(root, BlobId(reader.field(ID_SIZE) or EMPTY_ROOT))


def _held(directory: LiveDir) -> Held:
    directory.refresh()
    return Held(directory.base, resting.links_of(directory.tree) if directory.totals.links else EMPTY_ROOT)


__all__ = ["Changed", "SyncToken", "Syncing"]
