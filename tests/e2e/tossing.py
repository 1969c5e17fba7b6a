"""One file, changed in every way that programs have, beside a ``bytearray`` that says what it must hold.

Nothing here knows of mimeifs: a :class:`Tossed` works on any file system, and on one with versions is told how to take one.
Several descriptors and a shared map are open at once; what one writes, all others read. Places and sizes lie around the
edges of pages, of stored pieces and of the file.
"""

import mmap
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PAGE = 4096
LARGEST = 3 << 20
EDGES = (0, 1, PAGE - 1, PAGE, PAGE + 1, 64 << 10, (64 << 10) + 1, 128 << 10, 1 << 20, (1 << 20) + 1, 2 << 20)


class Tossed:
    """The file at ``path``, what it must hold, and what was done to it."""

    def __init__(self, path: Path, seed: int, *, direct: bool = True) -> None:
        self.path = path
        self.held = bytearray()
        self.steps: list[str] = []
        self._draw = random.Random(seed)
        self._direct = os.O_DIRECT if direct else 0
        self._map: mmap.mmap | None = None
        self._fds: list[int] = []
        path.touch()
        self._open()

    # What is done

    def step(self, *others: tuple[float, Callable[[], None]]) -> None:
        """One thing, by chance; ``others`` are weighed against some thirty of its own."""
        acts: list[tuple[float, Callable[[], None]]] = [
            (8, self._read),
            (8, self._write),
            (3, self._append),
            (3, self._cut),
            (2, self._read_direct),
            (2, self._write_direct),
            (3, self._write_map),
            (2, self._read_map),
            (1, self._remap),
            (1, self._sync),
            (1, self._doubt),
            (0.5, self._copy_within),
            (0.5, self.reopen),
            (0.2, self._check),
            (0.2, self._truncate_by_open),
            (0.2, self._replace),
            *others,
        ]
        weights = [weight for weight, _ in acts]
        ((_, act),) = self._draw.choices(acts, weights)
        act()

    def _place(self, most: int = LARGEST) -> int:
        """An offset: near an edge, near the end of the file, or anywhere."""
        near = self._draw.choice((*EDGES, len(self.held), len(self.held)))
        place = self._draw.choice((near, near + self._draw.randint(-9, 9), self._draw.randrange(LARGEST)))
        return max(0, min(place, most))

    def _size(self) -> int:
        return self._draw.choice((1, 7, PAGE, self._draw.randint(1, 2 * PAGE), self._draw.randint(1, 200_000)))

    def _fd(self) -> int:
        return self._draw.choice(self._fds[:2])

    def _bytes(self, size: int) -> bytes:
        """Noise, or one byte again and again, or zeros."""
        kind = self._draw.random()
        return self._draw.randbytes(size) if kind < 0.7 else bytes([self._draw.randrange(256) if kind < 0.9 else 0]) * size

    def _put(self, offset: int, data: bytes) -> None:
        if data and offset > len(self.held):
            self.held.extend(bytes(offset - len(self.held)))
        self.held[offset : offset + len(data)] = data

    def _read(self) -> None:
        offset, size = self._place(), self._size()
        self.steps.append(f"read {offset} {size}")
        self._same(os.pread(self._fd(), size, offset), offset, size)

    def _write(self) -> None:
        offset, data = self._place(), self._bytes(self._size())
        self.steps.append(f"write {offset} {len(data)}")
        assert os.pwrite(self._fd(), data, offset) == len(data)
        self._put(offset, data)

    def _append(self) -> None:
        data = self._bytes(self._size())
        if len(self.held) + len(data) > LARGEST:
            return
        self.steps.append(f"append {len(data)}")
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        assert os.write(fd, data) == len(data)
        os.close(fd)
        self.held += data

    def _cut(self) -> None:
        size = self._place()
        self.steps.append(f"truncate {size}")
        self._draw.choice((lambda: os.ftruncate(self._fd(), size), lambda: os.truncate(self.path, size)))()
        self.held = self.held[:size].ljust(size, b"\0")

    def _truncate_by_open(self) -> None:
        self.steps.append("open O_TRUNC")
        os.close(os.open(self.path, os.O_WRONLY | os.O_TRUNC))
        self.held = bytearray()

    def _replace(self) -> None:
        """Another file of the same bytes takes its place; who has the old one open goes on with that."""
        self.steps.append("replace")
        beside = self.path.with_name(f"{self.path.name}.new")
        beside.write_bytes(self.held)
        beside.rename(self.path)
        self.reopen()

    def _aligned(self) -> tuple[mmap.mmap, int, int]:
        size = self._draw.randint(1, 16) * PAGE
        return mmap.mmap(-1, size), self._place() // PAGE * PAGE, size

    def _read_direct(self) -> None:
        room, offset, size = self._aligned()
        self.steps.append(f"read O_DIRECT {offset} {size}")
        got = os.preadv(self._fds[2], [room], offset)
        self._same(room[:got], offset, size)

    def _write_direct(self) -> None:
        room, offset, size = self._aligned()
        self.steps.append(f"write O_DIRECT {offset} {size}")
        room[:] = self._bytes(size)
        assert os.pwritev(self._fds[2], [room], offset) == size
        self._put(offset, room[:])

    def _sync(self) -> None:
        self.steps.append("fsync")
        self._draw.choice((os.fsync, os.fdatasync))(self._fd())

    def _doubt(self) -> None:
        """Have the kernel forget what it may."""
        self.steps.append("fadvise DONTNEED")
        os.posix_fadvise(self._fd(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _copy_within(self) -> None:
        size = min(self._size(), len(self.held))
        source, target = self._place(len(self.held) - size), self._place()
        if source < target + size and target < source + size:
            return
        self.steps.append(f"copy {source} {target} {size}")
        done = 0
        while done < size:
            with suppress(OSError):
                done += os.copy_file_range(self._fd(), self._fds[1], size - done, source + done, target + done)
                continue
            done += os.pwrite(self._fds[1], os.pread(self._fds[0], size - done, source + done), target + done)
        self._put(target, bytes(self.held[source : source + size]))

    # The map, of the file as long as it was when it was made; only pages that the file still has are touched

    def _remap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        if self.held:
            self.steps.append(f"map {len(self.held)}")
            self._map = mmap.mmap(self._fds[0], len(self.held))

    def _mapped(self) -> tuple[int, int]:
        most = min(len(self._map), len(self.held)) if self._map is not None else 0
        offset = self._place(most)
        return offset, min(self._size(), most - offset)

    def _read_map(self) -> None:
        offset, size = self._mapped()
        if self._map is not None and size:
            self.steps.append(f"read map {offset} {size}")
            self._same(self._map[offset : offset + size], offset, size)

    def _write_map(self) -> None:
        offset, size = self._mapped()
        if self._map is not None and size:
            data = self._bytes(size)
            self.steps.append(f"write map {offset} {size}")
            self._map[offset : offset + size] = data
            self._put(offset, data)
            if self._draw.random() < 0.3:
                self.hand_over()

    # Opening, and comparing

    def _open(self) -> None:
        self._fds = [os.open(self.path, os.O_RDWR | flag) for flag in (0, 0, self._direct)]

    def hand_over(self) -> None:
        """msync(2): what was stored through the map is promised to nobody before."""
        if self._map is not None:
            self.steps.append("msync")
            self._map.flush()

    def close(self) -> None:
        """Have nothing open."""
        if self._map is not None:
            self._map.close()
            self._map = None
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def reopen(self) -> None:
        """Close everything and open it again."""
        self.steps.append("reopen")
        self.close()
        self._open()
        self._check()

    def _check(self) -> None:
        self.steps.append("check")
        assert os.fstat(self._fds[0]).st_size == self.path.stat().st_size == len(self.held)
        self._same(self.path.read_bytes(), 0, len(self.held) + 1)

    def _same(self, got: bytes, offset: int, size: int) -> None:
        wanted = bytes(self.held[offset : offset + size])
        if got != wanted:
            first = next((at for at, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
            raise AssertionError(
                f"differs at {offset + first}; {len(got)} bytes instead of {len(wanted)}, at {offset} of {len(self.held)}"
            )
