"""The node's tree for the process that serves WebDAV: a client of the node's socket, for many threads.

State comes over the socket; bytes that are sealed it reads from the packs by itself. Connections are made when needed and used
again; one more, made first, holds the session that uploads and open files belong to, so that they go with this process.

Always true: a call raises only errors of ``mimeifs.errors``; after a node has ended, ``PeerError`` until another one answers,
and what was open on the first is gone. A tree is made in the process that uses it, and not shared across a fork.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path as FilePath
from typing import Any, TypeVar

import msgspec

from mimeifs.api import tree_requests as requests
from mimeifs.api.client import Client, connect
from mimeifs.api.requesting import Request
from mimeifs.api.streaming import Stream
from mimeifs.api.tree_requests import SLICE
from mimeifs.dav.ahead import Ahead
from mimeifs.dav.interface import Small
from mimeifs.dav.known import Known, Listings
from mimeifs.dav.sealed import Sealed
from mimeifs.errors import MimeiError, PeerError
from mimeifs.model.resource import Facts, Guard, Lock, Path
from mimeifs.store.content import EMPTY
from mimeifs.store.interfaces import Buffer
from mimeifs.store.pages import Piece
from mimeifs.store.storage import Storage

R = TypeVar("R", bound=msgspec.Struct)
MAX_KNOWN = 4096
LISTING_CHARACTERS = 16 << 20
SMALL_BYTES = 8 << 20
CALLS = 32
STREAMS = 12
"""Connections in use at once; together well below what the node takes, so that commands find room."""
IDLE = 16
"""How many connections are kept for the next calls."""


class NodeTree:
    """The tree of the node that listens at ``socket`` over the store ``storage``; ``pulse`` tells whether it changes. What is
    made belongs to ``uid`` and ``gid``, or to whom its directory belongs."""

    def __init__(
        self,
        socket: FilePath,
        storage: Storage,
        pulse: Callable[[], int] | None = None,
        *,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        self._socket = socket
        self._owner = (uid, gid)
        self._lock = threading.Lock()
        self._idle: list[Client] = []
        self._calling = threading.BoundedSemaphore(CALLS)
        self._streaming = threading.BoundedSemaphore(STREAMS)
        self._streamed: set[Client] = set()
        self._lifeline: tuple[Client, int] | None = None
        self._sealed = Sealed(storage)
        self._opened = None if pulse is None else Known[Path, requests.Opened](pulse, most=MAX_KNOWN)
        self._ahead = Ahead()
        self.listings = None if pulse is None else Listings(pulse, room=LISTING_CHARACTERS)
        self.small = None if pulse is None else Known[Path, Small](pulse, most=MAX_KNOWN, room=SMALL_BYTES)

    # Connections

    def _connect(self) -> Client:
        client = connect(self._socket)
        if client is None:
            raise PeerError("no node answers: it is starting or has ended")
        return client

    @contextmanager
    def _connection(self) -> Iterator[Client]:
        with self._calling, self._one() as client:
            yield client

    @contextmanager
    def _one(self) -> Iterator[Client]:
        client = self._kept() or self._connect()
        try:
            yield client
        except PeerError:
            client.close()
            raise
        except MimeiError:
            self._give_back(client)
            raise
        except BaseException:
            client.close()
            raise
        self._give_back(client)

    def _kept(self) -> Client | None:
        """A connection that is open already."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                client = self._idle.pop()
            if client.lives():
                return client
            client.close()

    def _give_back(self, client: Client) -> None:
        with self._lock:
            if len(self._idle) < IDLE:
                self._idle.append(client)
                return
        client.close()

    def stream(self) -> Stream[Any] | None:
        """A connection for many requests in a row; None where there are too many already."""
        if not self._streaming.acquire(blocking=False):
            return None
        try:
            client = self._kept() or self._connect()
        except BaseException:
            self._streaming.release()
            raise
        with self._lock:
            self._streamed.add(client)
        return Stream(client, self._end_of_stream)

    def _end_of_stream(self, client: Client, *, is_clean: bool) -> None:
        self._streaming.release()
        with self._lock:
            self._streamed.discard(client)
        if is_clean:
            self._give_back(client)
        else:
            client.close()

    def call(self, request: Request[R]) -> R:
        """The node's reply."""
        with self._connection() as client:
            reply = client.call(request)
        return reply

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()

    def session(self) -> int:
        """The session that this process has on the node."""
        with self._lock:
            if self._lifeline is not None and self._lifeline[0].lives():
                return self._lifeline[1]
            if self._lifeline is not None:
                self._lifeline[0].close()
                self._lifeline = None
            client = self._connect()
            try:
                number = client.call(requests.Begin()).session
            except BaseException:
                client.close()
                raise
            self._lifeline = client, number
            return number

    def close(self) -> None:
        """Hang up, and let go of everything."""
        self._drop_idle()
        with self._lock:
            for client in self._streamed:
                client.close()
            self._streamed.clear()
            if self._lifeline is not None:
                self._lifeline[0].close()
                self._lifeline = None
        self._sealed.close()

    # Looking

    def look(self, path: Path, *, properties: bool = False) -> Facts:
        """What there is to say of a resource; raises ``NotFoundError``."""
        return self.call(requests.Look(path, properties)).facts

    def entries(
        self, path: Path, after: bytes = b"", limit: int = 500, *, properties: bool = False
    ) -> tuple[list[Facts], bytes]:
        """At most ``limit`` of what is in a directory, from just behind ``after``; and the name to go on behind, b"" at the
        end."""
        found: list[Facts] = []
        while True:
            page = self.call(requests.Entries(path, after, limit - len(found), properties))
            found += page.entries
            if not page.next or len(found) >= limit or properties:
                return found, page.next
            after = page.next

    def pages(self, path: Path, *, properties: bool = False) -> Iterator[requests.Listed]:
        """All that is in a directory; the node looks for the next page while one is looked at."""
        first = requests.Entries(path, properties=properties)
        request: requests.Entries | None = first
        stream: Stream[requests.Listed] | None = self.stream()
        if stream is None:
            while request is not None:
                page = self.call(request)
                request = _following(request, page)
                yield page
            return
        try:
            stream.send(first)
            while request is not None:
                page = stream.heard()
                request = _following(request, page)
                if request is not None:
                    stream.send(request)
                yield page
        finally:
            with suppress(MimeiError):  # It was raised already, or nobody wants to hear it.
                stream.end()

    def again(self, path: Path, mark: str, names: Sequence[bytes], *, properties: bool = False) -> requests.Listed:
        """What is loose in a directory, and what has changed since it had that mark; nothing and no mark where nobody knows."""
        return self.call(requests.Again(path, mark, tuple(names), properties))

    def open(self, path: Path) -> "Reading":
        """A file to be read, as it is now."""
        known = self._opened
        opened = None if known is None else known.get(path)
        if opened is not None:
            self._ahead.used(path[:-1])
            return Reading(self, self._sealed, 0, opened)
        moment = 0 if known is None else known.now()
        session = self.session()
        opened = self.call(requests.OpenFile(session, path))
        if known is not None and _lasts(opened.facts):
            known.keep(path, opened, moment)
            self._look_ahead(known, path, moment)
        return Reading(self, self._sealed, session, opened)

    def _look_ahead(self, known: Known[Path, requests.Opened], path: Path, moment: int) -> None:
        """Ask for what else is in a directory whose files are opened one after the other."""
        directory = path[:-1]
        wanted = self._ahead.missed(directory, path[-1], moment)
        if wanted is None:
            return
        with suppress(MimeiError):  # It is nobody's answer, and whoever opens one of them is told.
            page = self.call(requests.Entries(directory, *wanted))
            for facts in page.entries:
                if facts.kind == "file" and _lasts(facts):
                    known.keep((*directory, facts.name), requests.Opened(facts, 0, b""), moment)
            self._ahead.came(directory, moment, page.next)

    def space(self) -> tuple[int, int]:
        """Bytes used, and bytes that could still be written."""
        found = self.call(requests.Space())
        return found.used, found.available

    def versions(self, path: Path, after: bytes = b"") -> requests.VersionsAt:
        """A page of the versions of the MiMei that a place is in, and where the place is in each of them."""
        return self.call(requests.VersionsOf(path, after))

    def standing(self, path: Path) -> requests.Standing:
        """How a place stands among its states; raises ``NotFoundError`` in no MiMei."""
        return self.call(requests.StandingOf(path))

    def states(self, path: Path, after: bytes = b"", *, properties: bool = False) -> requests.StatesAt:
        """A page of a place's distinct states, oldest first."""
        return self.call(requests.StatesOf(path, after, properties))

    def sync_token(self, path: Path) -> str:
        """What names what a directory holds now; raises ``UnsupportedError``."""
        return self.call(requests.SyncTokenOf(path)).token

    def changes(self, path: Path, token: str, *, deep: bool, limit: int, properties: bool = False) -> requests.ChangesFound:
        """A page of what changed in a directory since a token; raises ``UnsupportedError``."""
        return self.call(requests.ChangesSince(path, token, deep, limit, properties))

    # Changing

    def stage(self, size: int | None) -> "Staged":
        """A file without a name, to be written from front to back; raises ``CapacityError`` where ``size`` bytes do not fit."""
        session = self.session()
        return Staged(self, session, self.call(requests.Stage(session, size)).staged)

    def commit(self, session: int, staged: int, path: Path, guard: Guard, mtime_ns: int | None, hold_s: int) -> Facts:
        """See ``Staged.commit``."""
        uid, gid = self._owner
        return self.call(requests.Commit(session, staged, path, guard, mtime_ns, uid, gid, hold_s)).facts

    def mkdir(self, path: Path, guard: Guard) -> Facts:
        """Make a directory; in the root a MiMei; ``@label`` among versions takes one."""
        uid, gid = self._owner
        return self.call(requests.MakeDirectory(path, guard, uid, gid)).facts

    def remove(self, path: Path, guard: Guard, *, hold_s: int = 0) -> None:
        """Remove a resource with all that is below; see ``move``."""
        self.call(requests.RemoveTree(path, guard, hold_s))

    def move(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, hold_s: int = 0) -> bool:
        """Move a resource; whether something was replaced. The guard's state is that of the source. A document that another
        will take the place of is in versions for ``hold_s``."""
        return self.call(requests.Move(source, target, overwrite, guard, hold_s)).replaced

    def copy(self, source: Path, target: Path, guard: Guard, *, overwrite: bool, shallow: bool = False) -> bool:
        """Copy a resource, a directory with all that is below unless ``shallow``; whether something was replaced."""
        uid, gid = self._owner
        return self.call(requests.Copy(source, target, overwrite, shallow, guard, uid, gid)).replaced

    def patch(
        self,
        path: Path,
        guard: Guard,
        *,
        properties: Mapping[str, bytes | None] | None = None,
        mtime_ns: int | None = None,
        birth_ns: int | None = None,
    ) -> Facts:
        """Set dead properties, or (None) remove them, and times."""
        return self.call(requests.Patch(path, guard, dict(properties or {}), mtime_ns, birth_ns)).facts

    # Locks

    def lock(
        self, path: Path, guard: Guard, *, owner: str, exclusive: bool, infinite: bool, timeout_s: int
    ) -> tuple[Lock, bool]:
        """Take a lock for the guard's user; whether the name was not there before."""
        found = self.call(requests.TakeLock(path, owner, exclusive, infinite, timeout_s, guard))
        return found.lock, found.made

    def refresh(self, path: Path, token: str, timeout_s: int) -> Lock:
        """Have a lock that covers the path last longer; raises ``NotFoundError``."""
        return self.call(requests.RefreshLock(path, token, timeout_s)).lock

    def unlock(self, path: Path, token: str, user: str) -> None:
        """Give a lock back; raises ``NotFoundError``, ``LockHeldError`` for another user's."""
        self.call(requests.ReturnLock(path, token, user))

    def locks(self, path: Path) -> list[Lock]:
        """The locks that cover a resource."""
        return list(self.call(requests.FindLocks(path)).locks)


def _lasts(facts: Facts) -> bool:
    """Whether a file is sealed, and no lock that ends by itself: as long as the tree stays, so does what was said of it."""
    return facts.content is not None and bool(facts.ino)


def _following(request: requests.Entries, page: requests.Listed) -> requests.Entries | None:
    """What to ask for behind a page; None behind the last."""
    return requests.Entries(request.path, page.next, request.limit, request.properties) if page.next else None


class Reading:
    """An open file: what it held when it was opened, whatever happens to it. For one thread at a time."""

    def __init__(self, tree: NodeTree, sealed: Sealed, session: int, opened: requests.Opened) -> None:
        self.facts = opened.facts
        self._tree = tree
        self._session = session
        self._number = opened.reading
        self._data = opened.data
        content = opened.facts.content
        self._read = None if content is None or content == EMPTY else sealed.reader(content)

    def read(self, offset: int, size: int) -> Buffer:
        """At most ``size`` bytes from ``offset``, none only at the end; good until this thread reads again."""
        if self._read is not None:
            return self._read.read(offset, size)
        if not self._number:
            return self._data[offset : offset + size]
        pieces: list[bytes] = []
        while size > 0:
            piece = self._tree.call(requests.ReadPart(self._session, self._number, offset, min(size, SLICE))).data
            if not piece:
                break
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def piece(self, offset: int, size: int) -> Piece:
        """The same for whoever sends it, once."""
        return self.read(offset, size) if self._read is None else self._read.piece(offset, size)

    def close(self) -> None:
        """It is wanted no more."""
        if self._read is not None:
            self._read.close()
        number, self._number = self._number, 0
        if number:
            with suppress(MimeiError):  # A node that is gone has closed it.
                self._tree.call(requests.CloseReading(self._session, number))


class Staged:
    """An upload. For one thread at a time."""

    def __init__(self, tree: NodeTree, session: int, number: int) -> None:
        self._tree = tree
        self._session = session
        self._number = number
        self._open = True
        self._stream: Stream[requests.Done] | None = None
        self.size = 0

    def write(self, data: Buffer) -> None:
        """Append, which may go on, without ``data``, after this returns; raises ``CapacityError``, now or later, where there is
        no room."""
        with memoryview(data) as view:
            for start in range(0, len(view), SLICE):
                with view[start : start + SLICE] as piece:
                    self._send(requests.WriteStaged(self._session, self._number, self.size, piece))
                    self.size += len(piece)

    def _send(self, request: requests.WriteStaged) -> None:
        if self._stream is None and self.size:  # What is one piece needs no stream.
            self._stream = self._tree.stream()
        if self._stream is None:
            self._tree.call(request)
        else:
            self._stream.send(request)

    def _settle(self) -> None:
        """Hear what became of everything that was sent."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.end()

    def discard(self) -> None:
        """It is wanted no more; nothing happens to one that was committed."""
        with suppress(MimeiError):  # It was refused already, or the node is gone.
            self._settle()
        if self._open:
            self._open = False
            with suppress(MimeiError):  # A node that is gone has dropped it.
                self._tree.call(requests.Discard(self._session, self._number))

    def commit(self, path: Path, guard: Guard, mtime_ns: int | None = None, hold_s: int = 0) -> Facts:
        """Take the place of what is at ``path``, whole and durably. What raises leaves it staged."""
        self._settle()
        facts = self._tree.commit(self._session, self._number, path, guard, mtime_ns, hold_s)
        self._open = False
        return facts
