"""``python -m benchmarks.scale [PART...] [--tenth] [--scratch DIRECTORY]``: whether costs stay flat where there is very much.

Parts: ``directory`` (1,000,000 entries in one), ``tree`` (5,000,000 files), ``versions`` (10,000 of one MiMei), ``sparse`` (a
file of 100 GiB) and ``open`` (10,000 open files); without any, all of them. Each measures the same with little and with much,
and memory at the end. No targets: what was measured is in docs/reference/performance.md. ``--tenth`` does a tenth of it.
"""

import argparse
import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import harness, versions
from benchmarks.figures import Figure, table
from benchmarks.planting import Shape, plant
from benchmarks.served import Served, served
from mimeifs.api.requests import Backup, Log
from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.engine import create_home
from mimeifs.home import Home
from mimeifs.model.node import Who

MIB = 1 << 20
SOME = 2000
"""How often something small is done to know what it costs."""


def _each(act: Callable[[int], object], count: int = SOME, first: int = 0) -> float:
    """Microseconds for one of ``count`` calls."""
    began = time.perf_counter()
    for number in range(first, first + count):
        act(number)
    return (time.perf_counter() - began) / count * 1e6


def _new(home: Home) -> Home:
    create_home(home, SystemClock(), SystemRandomness(), None, Who(0, 0))
    return home


def _memory(node: Served) -> Figure:
    node.mounted.wait_quiet()
    return Figure("  anonymous memory of all processes", node.anonymous() / MIB, "MiB")


def _touch(name: str) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def directory(scratch: Path, part: int) -> list[Figure]:
    """A directory of 1,000,000 entries beside one of a thousandth."""
    return [*_directory(scratch, 1000 // part), *_directory(scratch, 1_000_000 // part)]


def _directory(scratch: Path, entries: int) -> list[Figure]:
    home = Home(scratch / f"directory{entries}")
    plant(home, Shape(1, entries, longest=0))
    with served(f"directory{entries}", home, scratch) as node:
        place, draw = node.point / "big" / "dir-0000", random.Random(1)
        names = [f"{place}/file-{draw.randrange(entries):06d}.txt" for _ in range(SOME)]
        figures = [
            Figure(f"look up, of {entries:,} in the directory", _each(lambda at: os.stat(names[at])), "us"),
            Figure("  make a file in it", _each(lambda at: _touch(f"{place}/new{at}")), "us"),
            Figure("  remove it", _each(lambda at: os.unlink(f"{place}/new{at}")), "us"),
        ]
        began = time.perf_counter()
        found = sum(1 for _ in os.scandir(place))
        figures.append(Figure("  list it, for each name", (time.perf_counter() - began) / found * 1e6, "us"))
        figures.append(Figure("  backup then", versions.timed(lambda: node.client.call(Backup(b"big"))) * 1e3, "ms"))
        return [*figures, _memory(node)]


def tree(scratch: Path, part: int) -> list[Figure]:
    """A version of 5,000,000 files in as many thousands, beside one of a hundredth."""
    return [*_tree(scratch, 50_000 // part), *_tree(scratch, 5_000_000 // part)]


def _tree(scratch: Path, files: int) -> list[Figure]:
    home, shape = Home(scratch / f"tree{files}"), Shape(files // 1000 or 1, 1000, longest=0)
    plant(home, shape)
    with served(f"tree{files}", home, scratch) as node:
        draw, taken = random.Random(2), []
        for _ in range(5):
            versions.change(node.point / "big", shape, draw)
            taken.append(versions.timed(lambda: node.client.call(Backup(b"big"))))
        inside = node.point / "big" / ".mimei" / "@1" / shape.directory(shape.directories // 2)
        return [
            Figure(f"backup of 100 changes, of {files:,} files", sorted(taken)[2] * 1e3, "ms"),
            Figure("  list a directory of an old version", versions.timed(lambda: os.listdir(inside)) * 1e3, "ms"),
            _memory(node),
        ]


def many_versions(scratch: Path, part: int) -> list[Figure]:
    """10,000 versions of one MiMei."""
    total = 10_000 // part
    with served("versions", _new(Home(scratch / "versions")), scratch) as node:
        place = node.point / "work"
        place.mkdir()

        def take(number: int) -> None:
            (place / f"f{number % 100}").write_bytes(b"%d" % number)
            node.client.call(Backup(b"work"))

        first = _each(take, 100)
        _each(take, total - 200, 100)
        last = _each(take, 100, total - 100)
        inside = place / ".mimei"
        draw = random.Random(3)
        numbers = [draw.randrange(1, total) for _ in range(200)]
        return [
            Figure("a change and its backup, the first hundred", first / 1e3, "ms"),
            Figure(f"  the last hundred of {total:,}", last / 1e3, "ms"),
            Figure("  a page of the log", _each(lambda _: node.client.call(Log(b"work")), 20) / 1e3, "ms"),
            Figure("  open @N and read a file in it", _each(lambda at: _opened(inside / f"@{numbers[at]}"), 200) / 1e3, "ms"),
            Figure("  list @all", versions.timed(lambda: os.listdir(inside / "@all")) * 1e3, "ms"),
            _memory(node),
        ]


def _opened(version: Path) -> bytes:
    return (version / "f0").read_bytes()


def sparse(scratch: Path, part: int) -> list[Figure]:
    """Random writes of 4 KiB into a file of 100 GiB that is all hole."""
    size, draw, data = (100 << 30) // part, random.Random(4), os.urandom(4096)
    with served("sparse", _new(Home(scratch / "sparse")), scratch) as node:
        (node.point / "work").mkdir()
        descriptor = os.open(node.point / "work" / "file", os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(descriptor, size)
        places = [draw.randrange(size // 4096) * 4096 for _ in range(10 * SOME)]
        figures = [
            Figure(f"write 4 KiB anywhere in {size >> 30} GiB", _each(lambda at: os.pwrite(descriptor, data, places[at])), "us")
        ]
        _each(lambda at: os.pwrite(descriptor, data, places[at]), 8 * SOME, SOME)
        last = _each(lambda at: os.pwrite(descriptor, data, places[at]), SOME, 9 * SOME)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        figures.append(Figure(f"  the last {SOME:,} of {10 * SOME:,}", last, "us"))
        figures.append(Figure("  backup then", versions.timed(lambda: node.client.call(Backup(b"work"))), "s"))
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if any(os.pread(descriptor, 4096, place) != data for place in places[:100]):
            raise AssertionError("what was written is not there")
        figures.append(Figure("  read 4 KiB there", _each(lambda at: os.pread(descriptor, 4096, places[-at]), 500), "us"))
        figures += [Figure("  stored", node.stored() / MIB, "MiB"), _memory(node)]
        os.close(descriptor)
    return figures


def opened(scratch: Path, part: int) -> list[Figure]:
    """10,000 open files."""
    total = 10_000 // part
    resource.setrlimit(resource.RLIMIT_NOFILE, (total + 1000, max(total + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    with served("open", _new(Home(scratch / "open")), scratch) as node:
        place, held = node.point / "work", []
        place.mkdir()

        def hold(number: int) -> None:
            held.append(os.open(place / f"f{number}", os.O_RDWR | os.O_CREAT, 0o644))

        figures = [Figure("open a new file, the first tenth", _each(hold, total // 10), "us")]
        _each(hold, total - 2 * (total // 10), total // 10)
        figures.append(Figure(f"  the last tenth of {total:,}", _each(hold, total // 10, total - total // 10), "us"))
        figures.append(Figure("  write 4 KiB into each", _each(lambda at: os.pwrite(held[at], bytes(4096), 0), total), "us"))
        figures += [
            Figure("  backup then", versions.timed(lambda: node.client.call(Backup(b"work"))) * 1e3, "ms"),
            _memory(node),
        ]
        for descriptor in held:
            os.close(descriptor)
    return figures


PARTS: dict[str, Callable[[Path, int], list[Figure]]] = {
    "directory": directory,
    "tree": tree,
    "versions": many_versions,
    "sparse": sparse,
    "open": opened,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tenth", action="store_true", help="a tenth of everything")
    arguments = harness.arguments_of(parser, PARTS)
    for name in arguments.parts:
        with harness.scratch_directory(arguments.scratch) as scratch:
            print(table(name, PARTS[name](scratch, 10 if arguments.tenth else 1)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
