"""Model values as the lines of replies, and the paging of lists.

Always true: a page ends after ``MAX_ROWS`` rows or ``SLICE_SECONDS`` of work, whichever is first, but has at least one row
if there is any; a page that needs bytes from a disk after its first row ends there.
"""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from mimeifs.api import finding
from mimeifs.api.requests import MimeiLine, VersionLine
from mimeifs.api.services import Services
from mimeifs.ids import MimeiId, RecordId, show_key, show_mimei, show_record
from mimeifs.model import state
from mimeifs.model.entry import View
from mimeifs.model.versions import VersionInfo
from mimeifs.store.database import Table
from mimeifs.store.interfaces import Cold

T = TypeVar("T")
MAX_ROWS = 128
SLICE_SECONDS = 0.0015
VIEWS = {View.ALL: "all", View.CUR: "cur", View.VERSION: "version"}
"""Words for views."""


def page(rows: Iterable[T]) -> tuple[tuple[T, ...], bool]:
    """The first rows, as many as one page takes, and whether there may be more."""
    found: list[T] = []
    end = time.perf_counter() + SLICE_SECONDS
    iterator: Iterator[T] = iter(rows)
    while len(found) < MAX_ROWS and (not found or time.perf_counter() < end):
        try:
            found.append(next(iterator))
        except StopIteration:
            return tuple(found), False
        except Cold:
            if found:
                break
            raise
    return tuple(found), True


Names = dict[RecordId, tuple[str, ...]]


def names_of_versions(services: Services, mimei: MimeiId) -> Names:
    """Labels of each version that has any, ``last`` and ``release`` among them."""
    names: dict[RecordId, list[str]] = {}
    last = services.versions.last(mimei)
    if last is not None:
        names[last.record] = ["last"]
    for label, record in sorted(services.versions.labels(mimei).items(), key=lambda pair: (pair[0] != "release", pair[0])):
        names.setdefault(record, []).append(label)
    return {record: tuple(labels) for record, labels in names.items()}


def version_line(info: VersionInfo, names: Names, fork: str) -> VersionLine:
    """A version as a line."""
    row = info.row
    return VersionLine(
        info.number,
        fork,
        show_record(info.record),
        row.time_ns,
        show_key(row.writer),
        row.files,
        row.size,
        row.memo,
        names.get(info.record, ()),
        tuple(show_record(parent) for parent in row.parents),
    )


def one_version(services: Services, info: VersionInfo) -> VersionLine:
    """A single version as a line."""
    fork = finding.fork_mark(info, finding.namesakes(services, info.mimei, info.number))
    return version_line(info, names_of_versions(services, info.mimei), fork)


def is_changed(services: Services, row: state.MimeiRow, last: VersionInfo | None) -> bool:
    """Whether a backup would take a version; does not bring the present into memory."""
    if last is None or not row.tree:
        return bool(row.tree)
    tree = services.live.trees.get(row.tree)
    if tree is not None:
        return tree.dirty
    return next(services.live.database.scan(Table.CHANGED, state.tree_key(row.tree)), None) is not None


def mimei_line(services: Services, mimei: MimeiId, name: bytes, view: View | None) -> MimeiLine:
    """A MiMei as a line."""
    row, last = services.mimeis.row(mimei), services.versions.last(mimei)
    number, time_ns, files, size = 0, row.created_ns, 0, 0
    if last is not None:
        number, time_ns, files, size = last.number, last.row.time_ns, last.row.files, last.row.size
    shown = "" if view is None else VIEWS[view]
    return MimeiLine(
        name, show_mimei(mimei), row.kind, shown, number, time_ns, files, size, changed=is_changed(services, row, last)
    )
