"""The access log, in the combined format that every reader of logs knows."""

import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from time import localtime, strftime, time

from mimeifs.dav.exchange import Answer, Call
from mimeifs.store.interfaces import Buffer

log = logging.getLogger("mimeifs.dav.access")

_ESCAPED = {ord('"'): '\\"', ord("\\"): "\\\\"}


class Entry:
    """One line, written when the answer has gone."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.user = ""

    def written(self, answer: Answer) -> Answer:
        """The answer, which writes the line: at once where all of it is there, else when the last of it has gone."""
        if isinstance(answer.body, bytes):
            self._write(answer.status, len(answer.body))
            return answer
        return Answer(answer.status, answer.headers, _Followed(answer.body, lambda sent: self._write(answer.status, sent)))

    def _write(self, status: int, sent: int) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        call = self._call
        referer, agent = call.headers.get("referer", "-"), call.headers.get("user-agent", "-")
        request = f"{call.method} {call.target} {call.protocol}"
        log.info(
            f'{call.address} - {_safe(self.user) or "-"} [{_when(int(time()))}] "{_safe(request)}" {status} {sent or "-"}'  # noqa: G004
            f' "{_safe(referer)}" "{_safe(agent)}"'
        )


class _Followed(Iterator[Buffer]):
    """A body that is counted while it goes."""

    def __init__(self, body: Iterator[Buffer], done: Callable[[int], None]) -> None:
        self._body = body
        self._done: Callable[[int], None] | None = done
        self._sent = 0

    def __next__(self) -> Buffer:
        piece = next(self._body)
        self._sent += len(piece)
        return piece

    def close(self) -> None:
        """No more of it goes."""
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
        done, self._done = self._done, None
        if done is not None:
            done(self._sent)


@lru_cache(2)
def _when(second: int) -> str:
    return strftime("%d/%b/%Y:%H:%M:%S %z", localtime(second))


def _safe(text: str) -> str:
    """Text that stays between its quotes and on its line."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text.translate(_ESCAPED))
