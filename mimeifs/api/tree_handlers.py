"""What each request of the tree does.

As ``handlers``: plain functions over the model that may raise ``Cold`` or ``Later``. Always true: every class of
``tree_requests`` that is a request has one row in ``HANDLERS``.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from mimeifs.api import standing
from mimeifs.api import tree_requests as requests
from mimeifs.api.listing import versions_page
from mimeifs.api.requesting import Request
from mimeifs.api.services import Services
from mimeifs.api.waiting import stored, then
from mimeifs.errors import InvalidError, NotFoundError, TooLargeError
from mimeifs.ids import MimeiId, show_mimei
from mimeifs.model.inode import Inode
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import Who
from mimeifs.model.readings import Reading
from mimeifs.model.staging import StagedFile
from mimeifs.model.versions import VersionInfo
from mimeifs.model.views import MimeiDir, PresentDir
from mimeifs.store.storage import used


def begin(services: Services, _request: requests.Begin) -> requests.Begun:
    """Begin a session."""
    number = services.sessions.begin()
    services.begun.append(number)
    return requests.Begun(number)


def look(services: Services, request: requests.Look) -> requests.Looked:
    """What a path leads to."""
    return requests.Looked(services.resources.look(request.path, properties=request.properties))


def entries(services: Services, request: requests.Entries) -> requests.Listed:
    """A page of a directory."""
    found = services.resources.page(request.path, request.after, request.limit, properties=request.properties)
    return requests.Listed(found.entries, found.next, found.mark, found.loose)


def again(services: Services, request: requests.Again) -> requests.Listed:
    """What may have changed on pages that somebody has kept."""
    found = services.resources.again(request.path, request.mark, request.names, properties=request.properties)
    return requests.Listed(found.entries, found.next, found.mark, found.loose, found.gone)


def open_file(services: Services, request: requests.OpenFile) -> requests.Opened:
    """A file as it is now."""
    session = services.sessions.find(request.session)
    facts, file = services.resources.file(request.path)
    if not isinstance(file, LiveFile) or facts.content is not None:
        return requests.Opened(facts, 0, b"")
    if facts.size <= requests.SLICE:
        return requests.Opened(facts, 0, bytes(file.read(0, facts.size)))
    session.check_room()
    reading, number = Reading(file), services.sessions.number()
    session.readings[number] = reading
    return stored(services, lambda: requests.Opened(facts, number, b""))


def read_part(services: Services, request: requests.ReadPart) -> requests.ReadBytes:
    """A range of an opened file."""
    if request.offset < 0 or not 0 <= request.size <= requests.SLICE:
        raise InvalidError(f"a read is of at most {requests.SLICE} bytes, from 0 on")
    reading = services.sessions.find(request.session).reading(request.reading)
    return requests.ReadBytes(bytes(reading.read(request.offset, request.size)))


def close_reading(services: Services, request: requests.CloseReading) -> requests.Done:
    """An opened file is wanted no more."""
    session = services.sessions.find(request.session)
    session.reading(request.reading).close()
    del session.readings[request.reading]
    return requests.Done()


def space(services: Services, _request: requests.Space) -> requests.SpaceFound:
    """How much room there is."""
    live = services.live
    return requests.SpaceFound(used(live.database.path.parent), live.room.spare())


def versions_of(services: Services, request: requests.VersionsOf) -> requests.VersionsAt:
    """The versions of the MiMei that a place is in."""
    mimei, base, inside = services.resources.versions_at(request.path)
    found, after = versions_page(services, mimei, request.after)
    return requests.VersionsAt(show_mimei(mimei), base, inside, found, after)


def stage(services: Services, request: requests.Stage) -> requests.StagedAs:
    """Begin a file without a name."""
    session = services.sessions.find(request.session)
    session.check_room()
    staged, number = StagedFile(services.views.root.tree, request.size), services.sessions.number()
    session.staged[number] = staged
    return requests.StagedAs(number)


def write_staged(services: Services, request: requests.WriteStaged) -> requests.Done:
    """Append to a staged file."""
    if len(request.data) > requests.SLICE:
        raise TooLargeError(f"a write is of at most {requests.SLICE} bytes")
    services.sessions.find(request.session).staged_file(request.staged).write(request.offset, request.data)
    return requests.Done()


def discard(services: Services, request: requests.Discard) -> requests.Done:
    """A staged file is wanted no more."""
    session = services.sessions.find(request.session)
    session.staged_file(request.staged).discard()
    del session.staged[request.staged]
    return requests.Done()


def commit(services: Services, request: requests.Commit) -> requests.Looked:
    """A staged file takes its place."""
    session = services.sessions.find(request.session)
    staged = session.staged_file(request.staged)
    who = _who(request.uid, request.gid)
    facts = services.resources.place(staged, request.path, request.guard, who, request.mtime_ns, request.hold_s)
    del session.staged[request.staged]
    return requests.Looked(facts)


def _who(uid: int | None, gid: int | None) -> Who | None:
    """Whom what is made belongs to; None whoever the directory belongs to."""
    if uid is None or gid is None:
        return None
    if not (0 <= uid < 1 << 32 and 0 <= gid < 1 << 32):
        raise InvalidError("a user or group has a number below 2**32")
    return Who(uid, gid)


def make_directory(services: Services, request: requests.MakeDirectory) -> requests.Looked:
    """Make a directory."""
    return then(lambda: services.resources.mkdir(request.path, request.guard, _who(request.uid, request.gid)), requests.Looked)


def remove_tree(services: Services, request: requests.RemoveTree) -> requests.Done:
    """Remove a resource with all that is below."""
    services.resources.remove(request.path, request.guard, hold_s=request.hold_s)
    return requests.Done()


def move(services: Services, request: requests.Move) -> requests.Replaced:
    """Move a resource."""
    return then(
        lambda: services.resources.move(
            request.source, request.target, request.guard, overwrite=request.overwrite, hold_s=request.hold_s
        ),
        requests.Replaced,
    )


def copy(services: Services, request: requests.Copy) -> requests.Replaced:
    """Copy a resource; a whole version over its present is brought back, as a present cannot be replaced by another."""
    asked = _restore(services, request)
    if asked is not None:
        return then(lambda: services.transplant.restore(*asked), lambda _: requests.Replaced(True))
    return then(
        lambda: services.resources.copy(
            request.source,
            request.target,
            request.guard,
            _who(request.uid, request.gid),
            overwrite=request.overwrite,
            shallow=request.shallow,
        ),
        requests.Replaced,
    )


def _restore(services: Services, request: requests.Copy) -> tuple[MimeiId, VersionInfo] | None:
    """Which version is to become the present of its MiMei; None where something else is copied."""
    if not (request.source and request.target and request.overwrite) or request.shallow:
        return None
    resources = services.resources
    present = resources.spot(request.target)
    if not isinstance(present.node, PresentDir):
        return None
    version = resources.spot(request.source)
    above, mimei = version.parent, present.node.tree.mimei
    within = above.mimei if isinstance(above, MimeiDir) else above.tree.mimei if isinstance(above, PresentDir) else None
    if within != mimei or version.node is None or isinstance(version.node, Inode) or version.name[:1] != b"@":
        return None
    try:
        found = services.versions.find(mimei, version.name[1:].decode(errors="replace"))
    except (NotFoundError, InvalidError):
        return None  # It shows several versions, as ``@all`` does.
    resources.locked.check(present.steps, request.guard)
    resources.locked.check_below(present.steps[-1], request.guard)
    return mimei, found


def patch(services: Services, request: requests.Patch) -> requests.Looked:
    """Change properties and times."""
    facts = services.resources.patch(request.path, request.guard, request.properties, request.mtime_ns, request.birth_ns)
    return requests.Looked(facts)


def take_lock(services: Services, request: requests.TakeLock) -> requests.LockOf:
    """Take a lock."""
    lock, made = services.resources.lock(
        request.path,
        request.guard,
        owner=request.owner,
        exclusive=request.exclusive,
        infinite=request.infinite,
        timeout_s=request.timeout_s,
    )
    return requests.LockOf(lock, made)


def refresh_lock(services: Services, request: requests.RefreshLock) -> requests.LockOf:
    """Have a lock last longer."""
    return requests.LockOf(services.resources.refresh(request.path, request.token, request.timeout_s))


def return_lock(services: Services, request: requests.ReturnLock) -> requests.Done:
    """Give a lock back."""
    services.resources.unlock(request.path, request.token, request.user)
    return requests.Done()


def find_locks(services: Services, request: requests.FindLocks) -> requests.LocksFound:
    """The locks that cover a path."""
    return requests.LocksFound(tuple(services.resources.locks(request.path)))


HANDLERS: dict[type[Request[Any]], Callable[[Services, Any], msgspec.Struct]] = {
    requests.Begin: begin,
    requests.Look: look,
    requests.Entries: entries,
    requests.Again: again,
    requests.OpenFile: open_file,
    requests.ReadPart: read_part,
    requests.CloseReading: close_reading,
    requests.Space: space,
    requests.VersionsOf: versions_of,
    requests.StatesOf: standing.states,
    requests.StandingOf: standing.standing,
    requests.SyncTokenOf: standing.token,
    requests.ChangesSince: standing.changes,
    requests.Stage: stage,
    requests.WriteStaged: write_staged,
    requests.Discard: discard,
    requests.Commit: commit,
    requests.MakeDirectory: make_directory,
    requests.RemoveTree: remove_tree,
    requests.Move: move,
    requests.Copy: copy,
    requests.Patch: patch,
    requests.TakeLock: take_lock,
    requests.RefreshLock: refresh_lock,
    requests.ReturnLock: return_lock,
    requests.FindLocks: find_locks,
}
