"""The access log, in the combined format that every reader of logs knows. Not by ``logging``, which costs more than an answer.

Always true: a line is written whole; a full file makes way for a new one, and a few old ones are kept; a disk that takes no
more lines keeps nobody from his answer.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from time import localtime, strftime, time

from mimeifs.dav.exchange import Answer, Call
from mimeifs.store.pages import Piece

MAX_BYTES = 8 << 20
OLD = 3
_ESCAPED = {ord('"'): '\\"', ord("\\"): "\\\\"}


class AccessLog:
    """The file; for many threads."""

    def __init__(self, file: Path, *, most: int = MAX_BYTES) -> None:
        self._file = file
        self._most = most
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def write(self, line: str) -> None:
        """Append a line."""
        data = f"{line}\n".encode(errors="replace")
        with self._lock:
            try:
                if self._size >= self._most:
                    self._turn()
                self._size += os.write(self._descriptor, data)
            except OSError:
                return

    def _turn(self) -> None:
        """Begin a new file."""
        for number in range(OLD - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{self._file}.{number}", f"{self._file}.{number + 1}")
        os.replace(self._file, f"{self._file}.1")
        os.close(self._descriptor)
        self._open()


class Entry:
    """One line, written when the answer has gone. ``address`` is whose request it is."""

    def __init__(self, log: AccessLog | None, call: Call, address: str) -> None:
        self.address = address
        self._log = log
        self._call = call
        self.user = ""

    def written(self, answer: Answer) -> Answer:
        """The answer, which writes the line: at once where all of it is there, else when the last of it has gone."""
        if isinstance(answer.body, bytes):
            self._write(answer.status, len(answer.body))
            return answer
        return Answer(answer.status, answer.headers, _Followed(answer.body, lambda sent: self._write(answer.status, sent)))

    def _write(self, status: int, sent: int) -> None:
        if self._log is None:
            return
        call = self._call
        referer, agent = call.headers.get("referer", "-"), call.headers.get("user-agent", "-")
        user, request = self.user or "-", f"{call.method} {call.target} {call.protocol}"
        if not _is_safe(f"{user}{request}{referer}{agent}"):
            user, request, referer, agent = map(_safe, (user, request, referer, agent))
        self._log.write(
            f'{self.address} - {user} [{_when(int(time()))}] "{request}" {status} {sent or "-"} "{referer}" "{agent}"'
        )


class _Followed(Iterator[Piece]):
    """A body that is counted while it goes."""

    def __init__(self, body: Iterator[Piece], done: Callable[[int], None]) -> None:
        self._body = body
        self._done: Callable[[int], None] | None = done
        self._sent = 0

    def __next__(self) -> Piece:
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


def _is_safe(text: str) -> bool:
    """Whether text stays between its quotes and on its line."""
    return text.isprintable() and '"' not in text and "\\" not in text


def _safe(text: str) -> str:
    """The same text, so that it does."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text.translate(_ESCAPED))
