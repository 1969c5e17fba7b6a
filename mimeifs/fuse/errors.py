"""The FUSE surface's table: error class to errno.

A test fails when a class of :mod:`mimeifs.errors` has no row. The most specific row wins.
"""

import errno

from mimeifs import errors

ERRNO: dict[type[errors.MimeiError], int] = {
    errors.MimeiError: errno.EIO,
    errors.UsageError: errno.EINVAL,
    errors.NotFoundError: errno.ENOENT,
    errors.ExistsError: errno.EEXIST,
    errors.ReadOnlyError: errno.EROFS,
    errors.ForbiddenError: errno.EACCES,
    errors.NotPermittedError: errno.EPERM,
    errors.NotADirError: errno.ENOTDIR,
    errors.IsADirError: errno.EISDIR,
    errors.NotEmptyError: errno.ENOTEMPTY,
    errors.NameTooLongError: errno.ENAMETOOLONG,
    errors.InvalidError: errno.EINVAL,
    errors.CrossTreeError: errno.EXDEV,
    errors.TooManyLinksError: errno.EMLINK,
    errors.TooLargeError: errno.EFBIG,
    errors.NoAttributeError: errno.ENODATA,
    errors.WrongPassphraseError: errno.EACCES,
    errors.UnknownFormatError: errno.EIO,
    errors.UnsupportedError: errno.EOPNOTSUPP,
    errors.ConflictError: errno.EAGAIN,
    errors.LockedError: errno.EBUSY,
    errors.LockHeldError: errno.EBUSY,
    errors.ChangedError: errno.EAGAIN,
    errors.IntegrityError: errno.EIO,
    errors.MissingError: errno.EIO,
    errors.CapacityError: errno.ENOSPC,
    errors.PeerError: errno.EIO,
}


def errno_of(error: errors.MimeiError) -> int:
    """The errno of an error."""
    return next(ERRNO[kind] for kind in type(error).__mro__ if kind in ERRNO)
