"""Reading a store in the command's own process, as of one moment: everybody may read, so a running node is not held up.

What this is not: a way to change anything. Always true: the moment holds everything that was done before it was taken; the
database is not renewed while it lasts.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from mimeifs.api.requests import Settle
from mimeifs.api.services import Services, services_of
from mimeifs.cli import gate
from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.engine import local_to_ns
from mimeifs.errors import ReadOnlyError
from mimeifs.home import Home
from mimeifs.ids import BlobId, KeyId
from mimeifs.model.live import Live
from mimeifs.model.mimeis import Mimeis, Signer
from mimeifs.model.node import Who
from mimeifs.model.versions import Versions
from mimeifs.model.views import Views
from mimeifs.store.blobs import BlobReader, index_of
from mimeifs.store.database import U64, Database, open_database
from mimeifs.store.interfaces import Buffer
from mimeifs.store.journal import frame_key
from mimeifs.store.journalreader import JournalReader

_CACHE_BYTES = 32 << 20


class Stillness:
    """The end of a journal that nobody appends to."""

    def __init__(self, position: int) -> None:
        self.position = position

    def append(self, *_pieces: Buffer, behind: int = 0) -> int:
        """See ``Appender``."""
        raise ReadOnlyError("this command only reads")


@dataclass(frozen=True, slots=True)
class _Model:
    """What services are made of."""

    live: Live
    mimeis: Mimeis
    versions: Versions
    views: Views


class PatientReader(BlobReader):
    """Blobs for somebody who can wait, and so needs nothing read ahead."""

    def ahead(self, ids: Iterable[BlobId]) -> None:
        """See ``ViewSource``."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A store as of one moment. ``shared`` says that a node may be writing on meanwhile."""

    home: Home
    database: Database
    blobs: PatientReader
    journal: JournalReader
    shared: bool

    def services(self) -> Services:
        """The model on it, for calls that change nothing; they never raise ``Cold``."""
        key, author, position = (self.database.meta(name) for name in (b"inode key", b"author", b"position"))
        still = Stillness(U64.unpack(position)[0])
        live = Live(self.database, still, self.journal, self.blobs, SystemClock(), key)
        mimeis = Mimeis(live, Signer(KeyId(author), self.home.device()), SystemRandomness())
        versions = Versions(mimeis, local_to_ns)
        return services_of(_Model(live, mimeis, versions, Views(live, mimeis, versions, key)), Who(0, 0))


@contextmanager
def moment(home: Home) -> Iterator[Moment]:
    """The store as it is now; one that no node has is locked meanwhile."""
    with gate.opened(home) as way, ExitStack() as open_things:
        way.call(Settle())
        if isinstance(way, gate.LocalGate):
            database = way.local.database
        else:
            database = open_database(home.storage.index)
            open_things.callback(database.close)

        blobs = PatientReader(home.storage.packs, index_of(database), cache_bytes=_CACHE_BYTES)
        open_things.callback(blobs.close)
        journal = JournalReader(home.storage.journal, frame_key(database.meta(b"inode key")))
        open_things.callback(journal.close)
        yield Moment(home, database, blobs, journal, not isinstance(way, gate.LocalGate))
