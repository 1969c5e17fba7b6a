"""The table from error classes to errnos is complete, and says what POSIX would."""

import errno

import pytest

from mimeifs import errors
from mimeifs.fuse.errors import ERRNO, errno_of

CLASSES = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MimeiError)}

EXAMPLES = [
    (errors.NotFoundError, errno.ENOENT),
    (errors.ExistsError, errno.EEXIST),
    (errors.ReadOnlyError, errno.EROFS),
    (errors.CrossTreeError, errno.EXDEV),
    (errors.NotEmptyError, errno.ENOTEMPTY),
    (errors.NameTooLongError, errno.ENAMETOOLONG),
    (errors.NoAttributeError, errno.ENODATA),
    (errors.CapacityError, errno.ENOSPC),
    (errors.IntegrityError, errno.EIO),
    (errors.MissingError, errno.EIO),
]


def test_every_error_class_has_a_row() -> None:
    assert ERRNO.keys() == CLASSES


def test_every_row_is_a_real_errno() -> None:
    assert all(number in errno.errorcode for number in ERRNO.values())


@pytest.mark.parametrize(("kind", "number"), EXAMPLES)
def test_errors_become_the_errno_posix_has_for_them(kind: type[errors.MimeiError], number: int) -> None:
    assert errno_of(kind("why")) == number


def test_a_class_below_a_row_takes_the_nearest_row() -> None:
    class Special(errors.LockedError):
        pass

    assert errno_of(Special("why")) == errno.EBUSY
