"""News for the kernel: told in order, waited for, and no trouble where the kernel knows nothing."""

import trio

from mimeifs.fuse.telling import Telling


class Kernel:
    """Notes what it is told; knows nothing of inode 9."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        if parent == 9:
            raise FileNotFoundError
        self.heard.append((parent, name))

    def invalidate_inode(self, ino: int, *, attr_only: bool) -> None:
        assert attr_only
        self.heard.append(ino)


def test_news_are_told_in_order_before_the_wait_ends() -> None:
    kernel = Kernel()
    telling = Telling(kernel)

    async def main() -> None:
        telling.entry(1, b"a")
        telling.entry(9, b"unknown")
        telling.attributes(7)
        await telling.told()
        assert kernel.heard == [(1, b"a"), 7]
        await telling.told()

    trio.run(main)
    telling.close()
    assert kernel.heard == [(1, b"a"), 7]


def test_nothing_to_tell_needs_no_thread() -> None:
    telling = Telling(Kernel())
    trio.run(telling.told)
    telling.close()
