"""What each request does: plain functions from services and request to the reply, over the model.

What this is not: lists (``listing``), or transport. A handler may raise ``Cold`` or ``Later``, as calls of
the model do, and is then carried through by whoever called it. Always true: every request class has one row in
``HANDLERS``; a handler that raises any error has changed nothing.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from mimeifs.api import finding, lines, listing, referring, requests, tree_handlers
from mimeifs.api.services import Services
from mimeifs.api.waiting import stored, then
from mimeifs.errors import IntegrityError, InvalidError, NotFoundError
from mimeifs.ids import BlobId, MimeiId, RecordId, show_key, show_mimei, show_record
from mimeifs.model import records
from mimeifs.model.entry import Link, View
from mimeifs.model.names import RELEASE, check_label
from mimeifs.model.versions import VersionInfo
from mimeifs.store import operations
from mimeifs.store.database import Table

_VIEWS = {"all": View.ALL, "cur": View.CUR}


def handle(services: Services, request: requests.Request[Any]) -> msgspec.Struct:
    """The reply to any request."""
    return HANDLERS[type(request)](services, request)


# MiMeis


def create(services: Services, request: requests.Create) -> requests.Created:
    """Make a MiMei and link it."""
    finding.check_free(services, request.name)
    info = services.mimeis.info(
        _hint(request.name), request.kind, app_type=request.app_type, extension=request.extension, mark=request.mark
    )
    services.views.root.new_mimei(info, 0o755, services.who)
    return _link(services, request.name, Link(info.record.mimei_id, _VIEWS[request.view]))


def _hint(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""  # A hint is text; the link keeps the bytes.


def _link(services: Services, name: bytes, link: Link) -> requests.Created:
    """Show a MiMei in the root, and tell the kernel, which may know that there was nothing."""
    root = services.views.root
    root.place_link(name, link, services.who)
    services.live.invalidate(root.ino, name)
    return requests.Created(name, show_mimei(link.mimei), services.mimeis.row(link.mimei).kind, lines.VIEWS[link.view])


def remove(services: Services, request: requests.Remove) -> requests.Removed:
    """Drop a link."""
    path = request.name.strip(b"/")
    try:
        directory, name = finding.place(services, path)
        inode = directory.child(name)
    except NotFoundError:
        raise NotFoundError(f"no entry {finding.show(path)} in the root; `mimei ls` lists them") from None
    if not isinstance(inode.special, Link):
        raise InvalidError(f"{finding.show(path)} is no MiMei but an ordinary file or directory; remove it in the mount")
    directory.rmdir(name)
    services.live.invalidate(directory.ino, name)
    return requests.Removed(path, show_mimei(inode.special.mimei))


def link_mimei(services: Services, request: requests.LinkMimei) -> requests.Created:
    """Link a MiMei that is there."""
    finding.check_free(services, request.name)
    mimei = finding.find(services, request.mimei).mimei
    if mimei == services.views.root.tree.mimei:
        raise InvalidError("the root cannot be linked in itself")
    services.mimeis.tree(mimei)  # Raises where its present is not on this node: the link would lead nowhere.
    return _link(services, request.name, Link(mimei, _VIEWS[request.view]))


def info(services: Services, request: requests.Info) -> requests.MimeiFacts:
    """All there is to say of a MiMei."""
    found = finding.find(services, request.name)
    row = services.mimeis.row(found.mimei)
    return then(lambda: _record(services, row.info), lambda data: _facts(services, found, data))


def _facts(services: Services, found: finding.Found, data: bytes) -> requests.MimeiFacts:
    signed = records.decode_known(data)
    if not isinstance(signed.record, records.Info):
        raise IntegrityError(f"{show_record(signed.id)} is not the Info record it should be")
    about, labels = signed.record, services.versions.labels(found.mimei)
    last = services.versions.last(found.mimei)
    released = services.versions.labelled(found.mimei, RELEASE) if RELEASE in labels else None
    heads = services.live.database.scan(Table.HEADS, found.mimei)
    line = lines.mimei_line(services, found.mimei, found.name, found.view)
    return requests.MimeiFacts(
        **msgspec.structs.asdict(line),
        author=show_key(about.author),
        app_type=about.app_type,
        extension=about.extension,
        mark=about.mark.hex(),
        hint=about.name_hint,
        created_ns=about.created_ns,
        origin_mimei=show_mimei(about.origin[0]) if about.origin else "",
        origin_record=show_record(about.origin[1]) if about.origin else "",
        last=None if last is None else lines.one_version(services, last),
        release=None if released is None else lines.one_version(services, released),
        heads=tuple(show_record(RecordId(key[32:])) for key, _ in heads),
    )


def _record(services: Services, record: RecordId) -> bytes:
    """A record's bytes; one that the keeper has not stored yet comes later."""
    blobs, name = services.live.blobs, BlobId(record)
    try:
        return blobs.get(name)
    except NotFoundError:
        if services.live.position >= services.live.journal.position:
            raise
    return stored(services, lambda: blobs.get(name))


# Versions


def backup(services: Services, request: requests.Backup) -> requests.BackedUp:
    """Take a version."""
    mimei = finding.find(services, request.name).mimei
    before = services.versions.last(mimei)
    label = request.label.removeprefix("@")
    if label:
        check_label(label)
        named = services.versions.labels(mimei).get(label)
        if before is not None and named == before.record and not lines.is_changed(services, services.mimeis.row(mimei), before):
            label = ""  # It is there already, on the version that this will be.

    def taken(info: VersionInfo) -> requests.BackedUp:
        return requests.BackedUp(lines.one_version(services, info), before is None or before.record != info.record)

    return then(lambda: services.versions.backup(mimei, request.memo, label), taken)


def release(services: Services, request: requests.Release) -> requests.Versioned:
    """Publish a version."""
    mimei = finding.find(services, request.name).mimei
    found = finding.version(services, mimei, request.version)
    services.versions.release(mimei, found)
    return requests.Versioned(lines.one_version(services, found))


def label(services: Services, request: requests.Label) -> requests.Versioned:
    """Give a version a free label."""
    mimei = finding.find(services, request.name).mimei
    found, text = finding.version(services, mimei, request.version), request.label.removeprefix("@")
    if services.versions.labels(mimei).get(text) != found.record:
        services.versions.set_label(mimei, text, found)
    return requests.Versioned(lines.one_version(services, found))


def move_label(services: Services, request: requests.MoveLabel) -> requests.Versioned:
    """Give a version a label, wherever that was."""
    mimei, text = finding.find(services, request.name).mimei, request.label.removeprefix("@")
    check_label(text)
    found = finding.version(services, mimei, request.version)
    services.live.append(b"".join(services.versions.label_ops(mimei, text, found.record)))
    return requests.Versioned(lines.one_version(services, found))


def drop_label(services: Services, request: requests.DropLabel) -> requests.Versioned:
    """Drop a label or the release."""
    mimei, text = finding.find(services, request.name).mimei, request.label.removeprefix("@")
    if text != RELEASE:
        check_label(text)
    found = services.versions.labelled(mimei, text)
    services.versions.drop_label(mimei, text)
    return requests.Versioned(lines.one_version(services, found))


# Transplanting


def restore(services: Services, request: requests.Restore) -> requests.Restored:
    """Bring the present back to a version."""
    mimei = finding.find(services, request.name).mimei
    found = finding.version(services, mimei, request.version)
    before = services.versions.last(mimei)

    def restored(_at: int) -> requests.Restored:
        last = services.versions.last(mimei)
        saved = None if last is None or (before is not None and last.record == before.record) else last
        return requests.Restored(
            lines.one_version(services, found), None if saved is None else lines.one_version(services, saved)
        )

    return then(lambda: services.transplant.restore(mimei, found, request.path), restored)


def fork(services: Services, request: requests.Fork) -> requests.Created:
    """A new MiMei from a version of another, shown as that one is."""
    finding.check_free(services, request.new)
    found = finding.find(services, request.name)
    view = found.view if found.view in _VIEWS.values() else View.CUR

    def forked(mimei: MimeiId) -> requests.Created:
        reply = _link(services, request.new, Link(mimei, view or View.CUR))
        return stored(services, lambda: reply)

    def start(version: VersionInfo) -> requests.Created:
        return then(lambda: services.transplant.fork(found.mimei, version, _hint(request.new)), forked)

    if request.version.removeprefix("@") == finding.CUR:
        return then(lambda: services.versions.backup(found.mimei), start)
    return start(finding.version(services, found.mimei, request.version))


def split(services: Services, request: requests.Split) -> requests.Created:
    """Make a directory a MiMei."""
    found = finding.find(services, request.name)

    def made(mimei: MimeiId) -> requests.Created:
        place = found.name + b"/" + request.path
        return requests.Created(place, show_mimei(mimei), services.mimeis.row(mimei).kind, lines.VIEWS[View.CUR])

    return then(lambda: services.transplant.split(found.mimei, request.path, request.new), made)


# Waiting


def settle(services: Services, _request: requests.Settle) -> requests.Settled:
    """Everything appended so far in the store."""
    return stored(services, requests.Settled)


def reindex(services: Services, request: requests.Reindex) -> requests.Settled:
    """Have the index of a MiMei's histories made anew."""
    mimei = finding.find(services, request.name).mimei
    services.live.append(operations.clear(Table.HISTORY, mimei))
    return stored(services, requests.Settled)


HANDLERS: dict[type[requests.Request[Any]], Callable[[Services, Any], msgspec.Struct]] = {
    **tree_handlers.HANDLERS,
    requests.Create: create,
    requests.List: listing.ls,
    requests.ListAll: listing.ls_all,
    requests.Info: info,
    requests.Backup: backup,
    requests.Release: release,
    requests.Label: label,
    requests.MoveLabel: move_label,
    requests.DropLabel: drop_label,
    requests.Log: listing.log,
    requests.Remove: remove,
    requests.LinkMimei: link_mimei,
    requests.ChangeRef: referring.change_ref,
    requests.ListRefs: referring.list_refs,
    requests.Restore: restore,
    requests.Fork: fork,
    requests.Split: split,
    requests.Settle: settle,
    requests.Reindex: reindex,
}
