"""The error tree: every failure a caller can meet, sorted by whose fault it is.

What this is not: a place for control flow. Each class answers one question, "what should the person do now?", and every
surface (FUSE, command line, WebDAV...) owns one table from these classes to its own codes; a test shows each table
complete.

Messages are written for the person at the other end: they name the thing, and say what to do.
"""


class MimeiError(Exception):
    """Root of the tree. Never raised itself."""


class UsageError(MimeiError):
    """The caller asked for something that cannot be done; nothing was changed."""


class NotFoundError(UsageError):
    """No such name, MiMei, version or blob."""


class ExistsError(UsageError):
    """The name is already taken."""


class ReadOnlyError(UsageError):
    """Versions, and mounts made read-only, cannot be written."""


class ForbiddenError(UsageError):
    """The caller may not do this (permission, ownership)."""


class NotPermittedError(UsageError):
    """The object does not allow this to anybody (a file MiMei holds one file, a blank holds nothing)."""


class NotADirError(UsageError):
    """A directory was needed."""


class IsADirError(UsageError):
    """Something other than a directory was needed."""


class NotEmptyError(UsageError):
    """The directory still has entries."""


class NameTooLongError(UsageError):
    """A name over 255 bytes, a path or link target over 4095."""


class InvalidError(UsageError):
    """A malformed argument: a bad name, label, ID, offset or flag."""


class CrossTreeError(UsageError):
    """A rename or hard link across MiMeis or versions."""


class TooManyLinksError(UsageError):
    """A file cannot have more hard links."""


class TooLargeError(UsageError):
    """A file, attribute or request over its limit."""


class NoAttributeError(UsageError):
    """No such extended attribute."""


class WrongPassphraseError(UsageError):
    """A key file did not open with the passphrase given."""


class UnknownFormatError(UsageError):
    """Stored or sent data in a format this program does not know."""


class UnsupportedError(UsageError):
    """The operation does not exist here."""


class ConflictError(MimeiError):
    """Somebody else holds or changed it: try again."""


class LockedError(ConflictError):
    """Another process has the store open."""


class LockHeldError(ConflictError):
    """A lock covers it whose token was not given; ``path`` leads from the node's root to what is locked."""

    def __init__(self, message: str, path: tuple[bytes, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class ChangedError(ConflictError):
    """It is no longer in the state that the caller decided upon."""


class IntegrityError(MimeiError):
    """Stored data is damaged: what was read does not match its digest or its format."""


class MissingError(IntegrityError):
    """Stored data is damaged: something that is referred to, as a blob by a tree, is not in the store."""


class CapacityError(MimeiError):
    """No room: disk, quota or credit."""


class PeerError(MimeiError):
    """Another process or node failed to answer as agreed."""
