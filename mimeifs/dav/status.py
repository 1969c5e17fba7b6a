"""The WebDAV surface's table: error class to HTTP status, and refusals as values.

A test fails when a class of :mod:`mimeifs.errors` has no row. The most specific row wins.
"""

from http import HTTPStatus
from xml.sax.saxutils import escape

from mimeifs import errors

STATUS: dict[type[errors.MimeiError], int] = {
    errors.MimeiError: 500,
    errors.UsageError: 400,
    errors.NotFoundError: 404,
    errors.ExistsError: 409,
    errors.ReadOnlyError: 405,
    errors.ForbiddenError: 403,
    errors.NotPermittedError: 403,
    errors.NotADirError: 409,
    errors.IsADirError: 405,
    errors.NotEmptyError: 409,
    errors.NameTooLongError: 414,
    errors.InvalidError: 400,
    errors.CrossTreeError: 403,
    errors.TooManyLinksError: 403,
    errors.TooLargeError: 413,
    errors.NoAttributeError: 404,
    errors.WrongPassphraseError: 403,
    errors.UnknownFormatError: 500,
    errors.UnsupportedError: 501,
    errors.ConflictError: 409,
    errors.LockedError: 503,
    errors.LockHeldError: 423,
    errors.ChangedError: 412,
    errors.IntegrityError: 500,
    errors.MissingError: 500,
    errors.CapacityError: 507,
    errors.PeerError: 503,
}

Headers = tuple[tuple[str, str], ...]


class Refusal(Exception):
    """An answer that is not the one wished for: its status, what to tell a person, the violated condition (an element of
    RFC 4918, section 16, without its namespace) with the address it is about, and further headers."""

    def __init__(self, status: int, message: str, condition: str = "", headers: Headers = (), place: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.condition = condition
        self.headers = headers
        self.place = place

    def body(self) -> tuple[str, bytes]:
        """Content type and content of the answer: for a program where there is a condition, for a person where not."""
        if not self.condition:
            return "text/plain; charset=utf-8", f"{self.message}\n".encode()
        about = f"<D:href>{escape(self.place)}</D:href>" if self.place else ""
        inside = f"<D:{self.condition}>{about}</D:{self.condition}>" if about else f"<D:{self.condition}/>"
        inside += f"<!-- {_comment(self.message)} -->"
        text = f'<?xml version="1.0" encoding="utf-8"?>\n<D:error xmlns:D="DAV:">{inside}</D:error>\n'
        return "application/xml; charset=utf-8", text.encode()


def _comment(message: str) -> str:
    """Words that cannot end a comment of XML."""
    return "".join(sign for sign in message if sign.isprintable()).replace("--", "- -").rstrip("-")


def status_of(error: errors.MimeiError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def line(status: int) -> str:
    """A status with its reason, as a status line has it."""
    return _LINES[status]


_LINES = {known.value: f"{known.value} {known.phrase}" for known in HTTPStatus}
