"""Sessions: what a client has open on the node, uploads and readings, until the connection goes that began it.

Always true: a number names one thing for ever; whatever ends a connection, what its sessions hold is closed.
"""

from dataclasses import dataclass, field

from mimeifs.errors import CapacityError, NotFoundError
from mimeifs.model.readings import Reading
from mimeifs.model.staging import StagedFile

MAX_OPEN = 1024
"""How many uploads and readings one session may have open."""


@dataclass(slots=True)
class Session:
    """What one client has open."""

    staged: dict[int, StagedFile] = field(default_factory=dict)
    readings: dict[int, Reading] = field(default_factory=dict)

    def check_room(self) -> None:
        """Raise where it has too much open."""
        if len(self.staged) + len(self.readings) >= MAX_OPEN:
            raise CapacityError(f"this client has {MAX_OPEN} uploads and files open already")

    def staged_file(self, number: int) -> StagedFile:
        """An upload; raises ``NotFoundError``."""
        try:
            return self.staged[number]
        except KeyError:
            raise NotFoundError("no such upload: it was committed or discarded, or the node began anew") from None

    def reading(self, number: int) -> Reading:
        """An opened file; raises ``NotFoundError``."""
        try:
            return self.readings[number]
        except KeyError:
            raise NotFoundError("no such open file: it was closed, or the node began anew") from None

    def close(self) -> None:
        """Let go of everything."""
        for staged in self.staged.values():
            staged.discard()
        for reading in self.readings.values():
            reading.close()
        self.staged.clear()
        self.readings.clear()


class Sessions:
    """The sessions of one node."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._next = 1

    def number(self) -> int:
        """A number that was never used."""
        self._next += 1
        return self._next

    def begin(self) -> int:
        """A new session."""
        number = self.number()
        self._sessions[number] = Session()
        return number

    def find(self, number: int) -> Session:
        """A session; raises ``NotFoundError``."""
        try:
            return self._sessions[number]
        except KeyError:
            raise NotFoundError("no such session: the connection that began it is gone") from None

    def end(self, number: int) -> None:
        """Close what a session holds."""
        session = self._sessions.pop(number, None)
        if session is not None:
            session.close()
