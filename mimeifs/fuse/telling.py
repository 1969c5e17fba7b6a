"""Telling the kernel that what it knows of an entry or an inode may be wrong.

The kernel takes such news while it holds the directory, which a request that waits for us may hold too; so a thread of its own
tells them, one by one, and no handler waits for it. Always true: news are told in order; :meth:`Telling.told` returns when
the kernel has taken all that came before.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

import trio


class Telling:
    """The thread that tells, begun with the first news. ``notifier`` has the calls of pyfuse3."""

    def __init__(self, notifier: Any) -> None:
        self._notifier = notifier
        self._news: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._asked = 0
        self._done = 0

    def entry(self, parent: int, name: bytes) -> None:
        """Have the kernel forget what a name leads to."""
        self._tell(partial(self._notifier.invalidate_entry, parent, name))

    def attributes(self, ino: int) -> None:
        """Have the kernel forget the attributes of an inode."""
        self._tell(partial(self._notifier.invalidate_inode, ino, attr_only=True))

    def _tell(self, news: Callable[[], object]) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name="telling the kernel", daemon=True)
            self._thread.start()
        self._asked += 1
        self._news.put(news)

    def _work(self) -> None:
        while (news := self._news.get()) is not None:
            with suppress(OSError, trio.RunFinishedError):  # It did not know it, or the mount is gone.
                news()
            self._done += 1

    async def told(self) -> None:
        """Return when everything asked for so far is done."""
        if self._done == self._asked:
            return
        token, event = trio.lowlevel.current_trio_token(), trio.Event()
        self._tell(partial(token.run_sync_soon, event.set))
        await event.wait()

    def close(self) -> None:
        """End the thread; the mount must be gone, so that nothing it waits for is left."""
        if self._thread is not None:
            self._news.put(None)
            self._thread.join()
            self._thread = None
