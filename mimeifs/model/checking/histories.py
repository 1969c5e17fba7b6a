"""The index of histories: whether its runs are well formed, and name every version that changed a path.

Naming more than differs is allowed. What is noted as a whole is not looked into. Versions that no run holds are none of its
business, nor are damaged trees, which ``trees`` reports.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mimeifs.errors import MimeiError
from mimeifs.ids import ID_SIZE, MimeiId, show_mimei
from mimeifs.model import path_index, state
from mimeifs.model.changed_paths import Subdir, changed_links, differing
from mimeifs.model.checking.findings import Fault, Finding, Progress, Report, Where
from mimeifs.model.entry import TreeRoot, decode_tree
from mimeifs.store.database import U32, U64, Database, Table
from mimeifs.store.interfaces import BlobSource

_KEY_SIZE = ID_SIZE + 17
_MISSED = "the index of histories does not know that it changed this path; `mimei history NAME --reindex` has it made anew"


@dataclass(frozen=True, slots=True)
class Histories:
    """Checks the index of every MiMei."""

    database: Database
    blobs: BlobSource
    report: Report

    def run(self) -> Iterator[Finding]:
        """All findings; none where the index is of another format, which nobody reads."""
        if self.database.get(Table.META, path_index.FORMAT_KEY) != U32.pack(path_index.FORMAT):
            return
        mimeis = sorted({key[:ID_SIZE] for key, _ in self.database.scan(Table.HISTORY, b"")})
        for done, mimei in enumerate(mimeis):
            self.report(Progress("histories", done, len(mimeis)))
            yield from self._check(MimeiId(mimei))
        self.report(Progress("histories", len(mimeis), len(mimeis)))

    def _check(self, mimei: MimeiId) -> Iterator[Finding]:
        noted: dict[int, set[bytes]] = {}
        end = -1
        for key, data in self.database.scan(Table.HISTORY, mimei):
            problem = _form(key, data, end)
            if problem:
                yield Finding(Fault.WRONG, Where(_named(mimei), mimei), problem)
                return
            run = path_index.run_of(key)
            end = run.last
            noted.update((number, set()) for number in range(run.first, run.last + 1))
            for pair in path_index.pairs(data):
                noted[U64.unpack_from(pair, 8)[0]].add(pair[:8])
        yield from self._compare(mimei, noted)

    def _compare(self, mimei: MimeiId, noted: dict[int, set[bytes]]) -> Iterator[Finding]:
        versions = [
            (state.split_version(key)[0], state.decode_version(value))
            for key, value in self.database.scan(Table.VERSIONS, mimei)
        ]
        for number in sorted(noted.keys() - {number for number, _ in versions}):
            where = Where(f"version {number} of {_named(mimei)}", mimei, number)
            yield Finding(Fault.ORPHAN, where, "the index of histories knows a version that is not here")
        rows = [None, *(row for _, row in versions)]
        for (number, row), before in zip(versions, rows, strict=False):
            if number in noted:
                try:
                    old = None if before is None else decode_tree(self.blobs.get(before.root))
                    missed = next(self._missed(old, decode_tree(self.blobs.get(row.root)), noted[number]), None)
                except MimeiError:
                    continue
                if missed is not None:
                    where = Where(f"version {number} of {_named(mimei)}", mimei, number, missed)
                    yield Finding(Fault.WRONG, where, _MISSED)

    def _missed(self, before: TreeRoot | None, after: TreeRoot, noted: set[bytes]) -> Iterator[bytes]:
        """Paths that differ and under none of whose digests that is noted."""
        if path_index.whole(b"") in noted:
            return
        if before is None:
            yield b""
            return
        if any(path_index.linked(link) not in noted for link in changed_links(self.blobs, before, after)):
            yield b""
        waiting = [(b"", Subdir(b"", before.entry.root, after.entry.root, 0))]
        while waiting:
            path, at = waiting.pop()
            if path_index.whole(path) in noted:
                continue
            changes = differing(self.blobs, at.before, at.after)
            if changes is None:
                yield path
                continue
            above = path + b"/" if path else b""
            yield from (above + name for name in changes.names if path_index.own(above + name) not in noted)
            waiting += [(above + subdir.name, subdir) for subdir in changes.subdirs]


def _form(key: bytes, data: bytes, end: int) -> str:
    """What is wrong with the form of a run that must come behind number ``end``, or ""."""
    if len(key) != _KEY_SIZE:
        return "the index of histories has a row whose key is none"
    run, rows = path_index.run_of(key), path_index.pairs(data)
    if not end < run.first <= run.last:
        return f"the index of histories has runs that overlap at version {run.first}"
    if rows != sorted(set(rows)) or len(data) % 16:
        return f"the run of versions {run.first} to {run.last} in the index of histories is not in order"
    if any(not run.first <= U64.unpack_from(row, 8)[0] <= run.last for row in rows):
        return f"the run of versions {run.first} to {run.last} in the index of histories names others"
    return ""


def _named(mimei: MimeiId) -> str:
    return f"MiMei {show_mimei(mimei)}"
