"""The lists of the api: MiMeis and versions, a page at a time.

Always true: a page is found from where the one before
ended, whatever changed meanwhile; what exists throughout appears once. May raise ``Cold``.
"""

from collections.abc import Iterator

import msgspec

from mimeifs.api import finding, lines, requests
from mimeifs.api.services import Services
from mimeifs.ids import MimeiId, RecordId
from mimeifs.model.entry import Link, View
from mimeifs.model.versions import VersionInfo
from mimeifs.store.database import U64


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
    for name, _ in root.scan(after):
        special = root.child(name).special
        if isinstance(special, Link):
            yield name, special


def ls_all(services: Services, request: requests.ListAll) -> requests.Mimeis:
    """Every MiMei, in the order of IDs; one that is linked under the first name that shows it."""
    linked: dict[MimeiId, tuple[bytes, View]] = {}
    for name, link in root_links(services, b""):
        linked.setdefault(link.mimei, (name, link.view))
    root = services.views.root.tree.mimei
    known = sorted(services.mimeis.all(), key=lambda pair: pair[0])

    def rows() -> Iterator[tuple[MimeiId, requests.MimeiLine]]:
        for mimei, row in known:
            if mimei > request.after:
                name, view = linked.get(mimei, (row.name.encode(), None))
                line = lines.mimei_line(services, mimei, name, view)
                yield mimei, msgspec.structs.replace(line, view="root") if mimei == root else line

    found, more = lines.page(rows())
    return requests.Mimeis(tuple(line for _, line in found), found[-1][0] if more else b"")


def log(services: Services, request: requests.Log) -> requests.Versions:
    """Versions by number, highest first; those of one number by digest."""
    mimei = finding.find(services, request.name).mimei
    names = lines.names_of_versions(services, mimei)

    def rows() -> Iterator[tuple[VersionInfo, requests.VersionLine]]:
        for info, fork in versions_after(services, mimei, request.after):
            yield info, lines.version_line(info, names, fork)

    found, more = lines.page(rows())
    mark = U64.pack(found[-1][0].number) + found[-1][0].record if more else b""
    return requests.Versions(tuple(line for _, line in found), mark)


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
