"""The access log, in the combined format that every reader of logs knows."""

import logging
from collections.abc import Iterator
from time import localtime, strftime
from typing import Any

log = logging.getLogger("mimeifs.dav.access")

_ESCAPED = {ord('"'): '\\"', ord("\\"): "\\\\"}


class Entry:
    """One line, written when the answer has gone."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self.user = ""
        self.status = 0
        self.sent = 0

    def followed(self, body: Iterator[bytes]) -> Iterator[bytes]:
        """The body, counted."""
        try:
            for piece in body:
                self.sent += len(piece)
                yield piece
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
            if log.isEnabledFor(logging.INFO):
                log.info("%s", self._line())

    def _line(self) -> str:
        environ = self._environ
        when = strftime("%d/%b/%Y:%H:%M:%S %z", localtime())
        request = f"{environ['REQUEST_METHOD']} {environ['mimeifs.target']} {environ['SERVER_PROTOCOL']}"
        referer, agent = environ.get("HTTP_REFERER", "-"), environ.get("HTTP_USER_AGENT", "-")
        return (
            f'{environ["REMOTE_ADDR"]} - {_safe(self.user) or "-"} [{when}] "{_safe(request)}" {self.status} {self.sent or "-"}'
            f' "{_safe(referer)}" "{_safe(agent)}"'
        )


def _safe(text: str) -> str:
    """Text that stays between its quotes and on its line."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text.translate(_ESCAPED))
