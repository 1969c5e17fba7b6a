"""The lists of the api: MiMeis and versions, a page at a time.

Always true: a page is found from where the one before
ended, whatever changed meanwhile; what exists throughout appears once. May raise ``Cold``.
"""

from collections.abc import Iterator

import msgspec

from mimeifs.api import finding, lines, requests
from mimeifs.api.services import Services
from mimeifs.api.waiting import stored
from mimeifs.ids import MimeiId, RecordId
from mimeifs.model import state
from mimeifs.model.entry import Link
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.versions import VersionInfo
from mimeifs.store.database import U64, Table


def ls(services: Services, request: requests.List) -> requests.Mimeis:
    """The MiMeis linked in the root, in name order."""

    def rows() -> Iterator[requests.MimeiLine]:
        for name, link in root_links(services, request.after):
            yield lines.mimei_line(services, link.mimei, name, link.view)

    found, more = lines.page(rows())
    return requests.Mimeis(found, found[-1].name if more else b"")


def root_links(services: Services, after: bytes) -> Iterator[tuple[bytes, Link]]:
    """The links of the root behind a name."""
    root = services.views.root
    # What is shown for files that name a MiMei is no link, and would have to be looked for from the start.
    for name, _ in LiveDir.scan(root, after):
        special = root.child(name).special
        if isinstance(special, Link):
            yield name, special


def ls_all(services: Services, request: requests.ListAll) -> requests.Mimeis:
    """Every MiMei, in the order of IDs."""
    return stored(services, lambda: _ls_all(services, request.after))


def _ls_all(services: Services, after: bytes) -> requests.Mimeis:
    root = services.views.root.tree.mimei

    def rows() -> Iterator[tuple[bytes, requests.MimeiLine]]:
        for key, value in services.live.database.scan(Table.MIMEIS, b"", after):
            line = lines.mimei_line(services, MimeiId(key), state.decode_mimei(value).name.encode(), None)
            yield key, msgspec.structs.replace(line, view="root") if key == root else line

    found, more = lines.page(rows())
    return requests.Mimeis(tuple(line for _, line in found), found[-1][0] if more else b"")


def log(services: Services, request: requests.Log) -> requests.Versions:
    """Versions by number, highest first; those of one number by digest."""
    found, after = versions_page(services, finding.find(services, request.name).mimei, request.after)
    return requests.Versions(found, after)


def versions_page(services: Services, mimei: MimeiId, after: bytes) -> tuple[tuple[requests.VersionLine, ...], bytes]:
    """A page of versions, and the name to go on behind."""
    names = lines.names_of_versions(services, mimei)

    def rows() -> Iterator[tuple[VersionInfo, requests.VersionLine]]:
        for info, fork in versions_after(services, mimei, after):
            yield info, lines.version_line(info, names, fork)

    found, more = lines.page(rows())
    mark = U64.pack(found[-1][0].number) + found[-1][0].record if more else b""
    return tuple(line for _, line in found), mark


def versions_after(services: Services, mimei: MimeiId, after: bytes) -> Iterator[tuple[VersionInfo, str]]:
    """Versions with what tells each from its namesakes, from behind the one whose number and record are ``after``."""
    last = services.versions.last(mimei)
    if last is None:
        return
    first, passed = (U64.unpack_from(after)[0], RecordId(after[U64.size :])) if len(after) >= U64.size else (last.number, b"")
    for number in range(min(first, last.number), 0, -1):
        # Numbers have next to no gaps, so that counting down finds them.
        group = finding.namesakes(services, mimei, number)
        for info in group:
            if number != first or info.record > passed:
                yield info, finding.fork_mark(info, group)
