"""The states of one place among the versions of its MiMei, and what changed in a directory, as replies.

Always true: a page of states begins where the one before ended; a page of changes leads to its token and no further. May raise
``Cold`` or ``Later``.
"""

from collections.abc import Iterator
from itertools import accumulate, islice

from mimeifs.api import finding, lines
from mimeifs.api import tree_requests as requests
from mimeifs.api.lines import Names
from mimeifs.api.services import Services
from mimeifs.api.waiting import then
from mimeifs.errors import IntegrityError, NotFoundError
from mimeifs.ids import MimeiId
from mimeifs.model import resting
from mimeifs.model.comparing import is_still
from mimeifs.model.describing import PAGE_BYTES
from mimeifs.model.entry import Entry, Kind
from mimeifs.model.inode import Inode
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.node import Node
from mimeifs.model.past import PastDir, PastLeaf
from mimeifs.model.path_history import PathHistory
from mimeifs.model.resource import Facts
from mimeifs.model.syncing import SyncToken
from mimeifs.model.versions import VersionInfo
from mimeifs.model.views import RootDir
from mimeifs.store.database import U64


def states(services: Services, request: requests.StatesOf) -> requests.StatesAt:
    """What a place was, oldest first."""
    mimei, base, inside = services.resources.versions_at(request.path)
    names = lines.names_of_versions(services, mimei)
    number = U64.unpack_from(request.after)[0] if len(request.after) >= U64.size else 0

    def rows() -> Iterator[tuple[bytes, requests.State]]:
        for moment in _history(services).onward(mimei, b"/".join(inside), number):
            place = U64.pack(moment.version.number) + moment.version.record
            if moment.entry is None or moment.entry.kind is Kind.LINK or place <= request.after:
                continue
            line = _line(services, moment.version, names)
            facts = services.resources.look((*base, _name(line), *inside), properties=request.properties)
            yield place, requests.State(line, facts)

    found, more = lines.page(rows())
    count = _that_fit([state.facts for _, state in found])
    following = found[count - 1][0] if more or count < len(found) else b""
    return requests.StatesAt(base, inside, tuple(state for _, state in found[:count]), following)


def _that_fit(rows: list[Facts | None]) -> int:
    """How many rows go into one reply, with their properties; one in any case."""
    sizes = (0 if facts is None else sum(len(key) + len(value) for key, value in facts.properties.items()) for facts in rows)
    return max(sum(1 for size in accumulate(sizes) if size <= PAGE_BYTES), min(len(rows), 1))


def _history(services: Services) -> PathHistory:
    return PathHistory(services.live, services.versions)


def _line(services: Services, info: VersionInfo, names: Names) -> requests.VersionLine:
    return lines.version_line(info, names, _fork(services, info))


def _fork(services: Services, info: VersionInfo) -> str:
    return finding.fork_mark(info, finding.namesakes(services, info.mimei, info.number))


def _name(line: requests.VersionLine) -> bytes:
    return b"@" + line.name.encode()


def standing(services: Services, request: requests.StandingOf) -> requests.Standing:
    """How a place stands among its states."""
    mimei, base, inside = services.resources.versions_at(request.path)
    node = services.resources.spot(request.path).found()
    tracked = isinstance(node, PastDir | LiveDir) and not isinstance(node, RootDir)
    shown = _shown(services, mimei, node)
    if shown is None and not isinstance(node, Inode):
        return requests.Standing(base, inside, None, "", "", False, False, tracked)
    found = _history(services).standing(mimei, b"/".join(inside), shown)
    if found is None or found.here.entry is None or found.here.entry.kind is Kind.LINK:
        return requests.Standing(base, inside, None, "", "", shown is not None, False, tracked)
    here = _line(services, found.here.version, lines.names_of_versions(services, mimei))
    before, after = (_named(services, info) for info in (found.before, found.after))
    same = isinstance(node, Inode) and _same(node, found.here.entry)
    return requests.Standing(base, inside, here, before, after, shown is not None, same, tracked)


def _named(services: Services, info: VersionInfo | None) -> str:
    return "" if info is None else requests.version_name(info.number, _fork(services, info))


def _shown(services: Services, mimei: MimeiId, node: Node) -> VersionInfo | None:
    """The version of the MiMei that a node belongs to; None for one of the present, and for one of another MiMei."""
    if not isinstance(node, PastDir | PastLeaf) or node.origin.mimei != mimei:
        return None
    return services.versions.by_number(mimei, node.origin.number, node.origin.record.hex())


def _same(node: Inode, entry: Entry) -> bool:
    """Whether a node of the present is known to be what a version has; nothing is read to find out."""
    if isinstance(node, LiveDir) and not resting.settled(node):
        return False
    return is_still(node, entry)


# Changes


def token(services: Services, request: requests.SyncTokenOf) -> requests.SyncTokenIs:
    """What a directory holds now."""
    return then(lambda: services.syncing.token(request.path), requests.SyncTokenIs)


def changes(services: Services, request: requests.ChangesSince) -> requests.ChangesFound:
    """What changed in a directory."""
    return then(
        lambda: services.syncing.begin(request.path, request.token, deep=request.deep),
        lambda begun: _changes(services, request, begun),
    )


_NOT_KNOWN = requests.ChangesFound((), "", more=False, known=False)


def _changes(services: Services, request: requests.ChangesSince, begun: SyncToken | None) -> requests.ChangesFound:
    if begun is None:
        return _NOT_KNOWN
    limit = max(request.limit, 1)
    rows = services.syncing.changes(request.path, begun, properties=request.properties)
    try:
        found, more = lines.page(islice(rows, limit + 1))
    except (IntegrityError, NotFoundError):
        if begun.since is None:
            raise
        return _NOT_KNOWN  # A part of what the token names is not there any more.
    count = min(_that_fit([row.facts for row in found]), limit)
    more = more or count < len(found)
    told = tuple(requests.ChangedLine(row.path, row.facts, row.closed) for row in found[:count])
    return requests.ChangesFound(told, services.syncing.reached(begun, told[-1].path if more else None), more)
