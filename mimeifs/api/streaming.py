"""Requests that follow each other on a connection without waiting for each reply.

Always true: replies are heard in turn, and none is left when a stream ends well; what is raised ends it, connection and all.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from mimeifs.api.client import Client
from mimeifs.api.requesting import Request

R = TypeVar("R", bound=msgspec.Struct)
AHEAD = 4
"""Requests that are on their way at once."""


class Stream(Generic[R]):
    """Requests whose replies are of one kind. ``ended`` takes the connection back, and hears whether it is of further use."""

    def __init__(self, client: Client, ended: Callable[..., None]) -> None:
        self._client = client
        self._ended = ended
        self._unheard: deque[Request[R]] = deque()
        self._open = True

    def send(self, request: Request[R]) -> None:
        """Send one more; raises what became of an earlier one."""
        try:
            self._hear(AHEAD - 1)
            self._client.post(request)
        except BaseException:
            self._end(is_clean=False)
            raise
        self._unheard.append(request)

    def heard(self) -> R:
        """The reply to the first request that has none yet."""
        try:
            return self._client.heard(self._unheard.popleft())
        except BaseException:
            self._end(is_clean=False)
            raise

    def end(self) -> None:
        """Hear all that is still to be heard; raises what became of it."""
        try:
            if self._open:
                self._hear(0)
        except BaseException:
            self._end(is_clean=False)
            raise
        self._end(is_clean=True)

    def _hear(self, most: int) -> None:
        while len(self._unheard) > most:
            self._client.heard(self._unheard.popleft())

    def _end(self, *, is_clean: bool) -> None:
        if self._open:
            self._open = False
            self._ended(self._client, is_clean=is_clean)
