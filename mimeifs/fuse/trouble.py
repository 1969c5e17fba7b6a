"""What goes wrong in a handler: an errno for the caller, and a line in the log where whoever runs the node is to know of it.

Always true: nothing ends the mount; the same trouble again and again fills no disk with what is said of it.
"""

import errno
import logging
from time import monotonic

from pyfuse3 import FUSEError

from mimeifs.errors import MimeiError
from mimeifs.fuse.errors import errno_of

log = logging.getLogger(__name__)

QUIET_SECONDS = 1.0
"""How long a message is not logged again."""


class Trouble:
    """What was logged last."""

    def __init__(self) -> None:
        self._last = "", 0.0

    def explained(self, error: MimeiError) -> FUSEError:
        """What the caller hears of an error; damage and lack of room are also logged."""
        number = errno_of(error)
        if number in (errno.EIO, errno.ENOSPC) and self._is_news(str(error)):
            log.warning("%s", error)
        return FUSEError(number)

    def unforeseen(self, what: str, error: Exception) -> FUSEError:
        """An error nobody foresaw: logged once with its cause, EIO for the caller; the mount goes on."""
        if self._is_news(f"{what}: {error!r}"):
            log.error("unforeseen error in %s", what, exc_info=error)
        return FUSEError(errno.EIO)

    def _is_news(self, message: str) -> bool:
        """Whether to log a message: not if the one before was the same and hardly a moment ago, since a program may try again
        and again."""
        before, now = self._last, monotonic()
        if message == before[0] and now - before[1] < QUIET_SECONDS:
            return False
        self._last = message, now
        return True
