"""The table of the api: each class of error with its name on the wire and the exit code of a command that ends in it.

Always true: an error that crosses the wire arrives as the same class with the same message; a class the table lacks
travels as its nearest ancestor that has a row. Codes are documented in ``docs/reference/cli.md``.
"""

import errno
from typing import NamedTuple

from mimeifs import errors
from mimeifs.errors import LockHeldError, MimeiError, PeerError

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_EXISTS = 4
EXIT_FORBIDDEN = 5
EXIT_PASSPHRASE = 6
EXIT_CONFLICT = 7
EXIT_DAMAGED = 8
EXIT_NO_ROOM = 9
EXIT_FORMAT = 10
EXIT_PEER = 11
EXIT_UNFORESEEN = 70
EXIT_INTERRUPTED = 130


class Row(NamedTuple):
    """What stands for a class of error outside."""

    name: str
    exit_code: int


TABLE: dict[type[MimeiError], Row] = {
    errors.UsageError: Row("usage", EXIT_USAGE),
    errors.NotFoundError: Row("not-found", EXIT_NOT_FOUND),
    errors.ExistsError: Row("exists", EXIT_EXISTS),
    errors.ForbiddenError: Row("forbidden", EXIT_FORBIDDEN),
    errors.ReadOnlyError: Row("read-only", EXIT_FORBIDDEN),
    errors.NotPermittedError: Row("not-permitted", EXIT_FORBIDDEN),
    errors.NotADirError: Row("not-a-directory", EXIT_USAGE),
    errors.IsADirError: Row("is-a-directory", EXIT_USAGE),
    errors.NotEmptyError: Row("not-empty", EXIT_USAGE),
    errors.NameTooLongError: Row("name-too-long", EXIT_USAGE),
    errors.InvalidError: Row("invalid", EXIT_USAGE),
    errors.CrossTreeError: Row("cross-tree", EXIT_USAGE),
    errors.TooManyLinksError: Row("too-many-links", EXIT_USAGE),
    errors.TooLargeError: Row("too-large", EXIT_USAGE),
    errors.NoAttributeError: Row("no-attribute", EXIT_NOT_FOUND),
    errors.WrongPassphraseError: Row("wrong-passphrase", EXIT_PASSPHRASE),
    errors.UnknownFormatError: Row("unknown-format", EXIT_FORMAT),
    errors.UnsupportedError: Row("unsupported", EXIT_USAGE),
    errors.ConflictError: Row("conflict", EXIT_CONFLICT),
    errors.LockedError: Row("locked", EXIT_CONFLICT),
    errors.LockHeldError: Row("lock-held", EXIT_CONFLICT),
    errors.ChangedError: Row("changed", EXIT_CONFLICT),
    errors.IntegrityError: Row("damaged", EXIT_DAMAGED),
    errors.MissingError: Row("missing", EXIT_DAMAGED),
    errors.CapacityError: Row("no-room", EXIT_NO_ROOM),
    errors.PeerError: Row("peer", EXIT_PEER),
}

_FOR_ERRNO: dict[int, type[MimeiError]] = {
    errno.ENOENT: errors.NotFoundError,
    errno.ENOTDIR: errors.NotADirError,
    errno.EISDIR: errors.IsADirError,
    errno.ENAMETOOLONG: errors.NameTooLongError,
    errno.EEXIST: errors.ExistsError,
    errno.ELOOP: errors.InvalidError,
    errno.ENOTCONN: errors.NotFoundError,  # It is in a mount whose process is gone.
    errno.EACCES: errors.ForbiddenError,
    errno.EPERM: errors.ForbiddenError,
    errno.EROFS: errors.ForbiddenError,
    errno.ENOSPC: errors.CapacityError,
    errno.EDQUOT: errors.CapacityError,
}

UNFORESEEN = "unforeseen"
"""The name on the wire of anything that is no ``MimeiError``."""

_CLASSES = {row.name: kind for kind, row in TABLE.items()}


def row_of(error: MimeiError) -> Row:
    """The row for an error."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), Row("peer", EXIT_PEER))


def of_exit_code(code: int, message: str) -> MimeiError:
    """The error that a process which ended with that code met, the first of the table's where several have that code; a
    code that no class has becomes a ``PeerError``."""
    return next((kind for kind, row in TABLE.items() if row.exit_code == code), PeerError)(message)


def of_os_error(error: OSError) -> MimeiError | None:
    """What the system's refusal says to a person, with the file it is about; None for one that is nobody's mistake."""
    kind = _FOR_ERRNO.get(error.errno or 0)
    if kind is None:
        return None
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return kind(f"{where}{error.strerror}")


def from_wire(name: str, message: str, path: tuple[bytes, ...] = ()) -> MimeiError:
    """The error that crossed the wire; a name nobody here knows becomes a ``PeerError``. ``path`` is what is locked."""
    kind = _CLASSES.get(name, PeerError)
    return LockHeldError(message, path) if kind is LockHeldError else kind(message)
