"""``python -m benchmarks dav``, or parts of it by ``python -m benchmarks.dav [PART...] [--quick] [--json]``: the network drive
beside Apache with mod_dav, in one run, on the same disk, over loopback.

Parts: ``large`` (a large file, up and down), ``parallel``, ``small`` (many small ones on one connection), ``listing``,
``crowd`` (connections that are idle or stall) and ``memory`` (of a listing). What is compared takes turns; the median of the
rounds' ratios counts, ours over theirs, in seconds. Everything read was read before and is sealed; where a row says so,
everything written is on the disk when the time is up.
"""

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from blake3 import blake3

from benchmarks import harness
from benchmarks.apache import Apache, program
from benchmarks.dav_client import Connection
from benchmarks.dav_watch import peak_while
from benchmarks.figures import FULL, QUICK, Figure, Scale, as_json, table
from benchmarks.planting import Shape, plant, plant_plain
from benchmarks.served import Served, served
from mimeifs.api.tree_requests import Look
from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.engine import create_home
from mimeifs.home import Home
from mimeifs.model.node import Who

MIB = 1 << 20
ENTRIES = 5000
GETS = 500
SETTLED_S = 60.0
"""By then what was written has been sealed."""
FIVE = b"""<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/>\
<D:getetag/><D:creationdate/></D:prop></D:propfind>"""
ALL = b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>'


class Side:
    """One of the two servers: where it listens, and what stands before the names of what is measured."""

    def __init__(self, address: tuple[str, int], prefix: str) -> None:
        self.address = address
        self.prefix = prefix

    def open(self) -> Connection:
        """A connection."""
        return Connection(self.address)


class Both:
    """The node with its drive, and Apache; None where it is not installed."""

    def __init__(self, node: Served, apache: Apache | None, scale: Scale) -> None:
        self.node = node
        self.apache = apache
        self.scale = scale
        self.ours = Side(_drive(node), "/webdav/work/")
        self.theirs = None if apache is None else Side(apache.address, "/")
        self.rounds = max(3, scale.rounds // 2)

    def sides(self) -> list[Side]:
        """Those that are there."""
        return [self.ours] if self.theirs is None else [self.ours, self.theirs]

    def settle(self, *names: str) -> None:
        """Wait until what was written is sealed, as every file is that was left alone for some seconds."""
        end = time.monotonic() + SETTLED_S
        for name in names:
            while self.node.client.call(Look((b"work", name.encode()))).facts.content is None and time.monotonic() < end:
                time.sleep(0.1)
        self.node.mounted.wait_quiet()

    def compare(self, name: str, act: Callable[[Side], float], target: float | None, note: str = "", rounds: int = 0) -> Figure:
        """Seconds of ours over seconds of theirs; without them, our seconds and no target."""
        seconds = harness.alternate({side.prefix: partial(act, side) for side in self.sides()}, rounds or self.rounds)
        ours = seconds[self.ours.prefix]
        mine = statistics.median(ours)
        if self.theirs is None:
            return Figure(name, mine * 1e3, "ms", note="there is no apache2 to compare with")
        theirs = seconds[self.theirs.prefix]
        ratios = [x / y for x, y in zip(ours, theirs, strict=True)]
        told = f"{mine * 1e3:,.1f} ms, Apache {statistics.median(theirs) * 1e3:,.1f}; {min(ratios):.2f} to {max(ratios):.2f}"
        return Figure(name, statistics.median(ratios), "of Apache's time", target, note=f"{told}{note and '; '}{note}")


def _drive(node: Served) -> tuple[str, int]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(OSError):
            text = node.home.drive_file.read_text()
            if text.endswith("\n"):
                host, _, port = text.split("/")[2].rpartition(":")
                return host, int(port)
        time.sleep(0.02)
    raise harness.NotMounted(f"the drive does not come: {node.mounted.log_tail()}")


@contextmanager
def both(scratch: Path, scale: Scale) -> Iterator[Both]:
    """A node with an empty MiMei ``work``, and Apache."""
    home = Home(scratch / "work")
    create_home(home, SystemClock(), SystemRandomness(), None, Who(0, 0))
    with served("work", home, scratch, "--dav", "127.0.0.1:0") as node:
        (node.point / "work").mkdir()
        if program() is None:
            yield Both(node, None, scale)
            return
        with Apache(scratch) as apache:
            yield Both(node, apache, scale)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _filled(side: Side, name: str, mib: int) -> None:
    """A file of so many MiB of which no chunk is like another."""
    with side.open() as connection:
        connection.socket.sendall(connection.head("PUT", side.prefix + name, f"Content-Length: {mib * MIB}"))
        for number in range(mib):
            connection.send(1, blake3(f"{name} {number}".encode()).digest(MIB))
        connection.answer((201, 204))


def _upload(side: Side, name: str, mib: int, seed: bytes) -> float:
    """Seconds for a PUT of so many MiB, which differ in a few bytes: making more of them would take the client's time."""
    with side.open() as connection:
        began = time.perf_counter()
        connection.socket.sendall(connection.head("PUT", side.prefix + name, f"Content-Length: {mib * MIB}"))
        for number in range(mib):
            connection.send(1, number.to_bytes(8, "little") + seed[8:])
        connection.answer((201, 204))
        return time.perf_counter() - began


def _download(side: Side, name: str) -> float:
    with side.open() as connection:
        return _timed(lambda: connection.ask("GET", side.prefix + name))


def large(scratch: Path, scale: Scale) -> list[Figure]:
    """A large file down and, half as large, up."""
    with both(scratch, scale) as systems:
        for side in systems.sides():
            _filled(side, "large", scale.large_mib)
        systems.settle("large")
        for side in systems.sides():
            _download(side, "large")
        down = systems.compare(f"GET of {scale.large_mib:,} MiB, warm", lambda side: _download(side, "large"), 1.3)
        half = scale.large_mib // 2
        up = systems.compare(
            f"PUT of {half:,} MiB, until it is on the disk",
            lambda side: _durable(systems, side, half),
            1.0,
            "durable before the answer; Apache's file by fsync after it",
            rounds=3,
        )
        bare = systems.compare(
            f"PUT of {half:,} MiB, until the answer", lambda side: _upload(side, "up", half, os.urandom(MIB)), 0, rounds=3
        )
        chunk = systems.compare("PUT of one chunk of 32 MiB", _one_chunk, 0, rounds=3)
        worst = Figure("PUT of one chunk of 32 MiB, the longest of 3", max(_one_chunk(systems.ours) for _ in range(3)), "s", 1)
        return [down, up, _untargeted(bare), _untargeted(chunk), worst]


def _untargeted(figure: Figure) -> Figure:
    return Figure(figure.name, figure.value, figure.unit, note=figure.note)


def _durable(systems: Both, side: Side, mib: int) -> float:
    spent = _upload(side, "up", mib, os.urandom(MIB))
    if side is not systems.ours and systems.apache is not None:
        file = os.open(systems.apache.files / "up", os.O_RDONLY)
        spent += _timed(lambda: os.fsync(file))
        os.close(file)
    os.sync()  # What either has not written yet is not to fall on the other's time.
    systems.node.mounted.wait_quiet()
    return spent


def _one_chunk(side: Side) -> float:
    data = os.urandom(MIB)
    with side.open() as connection:
        began = time.perf_counter()
        connection.socket.sendall(connection.head("PUT", side.prefix + "chunk", "Transfer-Encoding: chunked") + b"2000000\r\n")
        connection.send(32, data)
        connection.send(1, b"\r\n0\r\n\r\n")
        connection.answer((201, 204))
        return time.perf_counter() - began


def parallel(scratch: Path, scale: Scale) -> list[Figure]:
    """Four large files at once."""
    mib = scale.large_mib // 4
    with both(scratch, scale) as systems:
        for side in systems.sides():
            for number in range(4):
                _filled(side, f"part{number}", mib)
        systems.settle(*(f"part{number}" for number in range(4)))
        for side in systems.sides():
            _at_once(side)
        return [systems.compare(f"4 GETs of {mib:,} MiB at once, warm", _at_once, 2)]


def _at_once(side: Side) -> float:
    clients = [threading.Thread(target=_download, args=(side, f"part{number}")) for number in range(4)]
    began = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return time.perf_counter() - began


def small(scratch: Path, scale: Scale) -> list[Figure]:
    """500 small files on one connection, one after the other."""
    with both(scratch, scale) as systems:
        for side in systems.sides():
            with side.open() as connection:
                for number in range(GETS):
                    connection.ask("PUT", f"{side.prefix}f{number}", body=os.urandom(4096), expect=(201, 204))
        systems.settle(*(f"f{number}" for number in range(GETS)))
        for side in systems.sides():
            _one_by_one(side)
        rounds = 2 * systems.rounds
        return [
            systems.compare(f"{GETS} GETs of 4 KiB on one connection", _one_by_one, 1.5, rounds=rounds),
            systems.compare("the same just after a change elsewhere", _beside_a_change, None, rounds=rounds),
        ]


def _beside_a_change(side: Side) -> float:
    with side.open() as connection:
        connection.ask("PUT", f"{side.prefix}changed", body=b"x", expect=(201, 204))
    return _one_by_one(side)


def _one_by_one(side: Side) -> float:
    with side.open() as connection:
        began = time.perf_counter()
        for number in range(GETS):
            connection.ask("GET", f"{side.prefix}f{number}")
        return time.perf_counter() - began


def listing(scratch: Path, scale: Scale) -> list[Figure]:
    """PROPFIND of a directory of 5,000 files."""
    shape = Shape(1, ENTRIES, longest=200)
    home = Home(scratch / "listing")
    plant(home, shape)
    with served("listing", home, scratch, "--dav", "127.0.0.1:0") as node:
        if program() is None:
            return _listed(Both(node, None, scale))
        with Apache(scratch) as apache:
            plant_plain(apache.files, shape)
            apache.own()
            return _listed(Both(node, apache, scale))


def _listed(systems: Both) -> list[Figure]:
    systems.ours.prefix = "/webdav/big/"
    place, rows = "dir-0000/", []
    for name, asked in (("all properties", ALL), ("five named properties", FIVE)):
        sizes: dict[str, int] = {}

        def ask(side: Side, asked: bytes = asked, sizes: dict[str, int] = sizes) -> float:
            with side.open() as connection:
                began = time.perf_counter()
                sizes[side.prefix] = connection.ask("PROPFIND", side.prefix + place, "Depth: 1", body=asked, expect=(207,))
                return time.perf_counter() - began

        for side in systems.sides():
            ask(side)
        rows.append(systems.compare(f"PROPFIND of {ENTRIES:,} files, {name}", ask, 1))
        told = "; ".join(f"{sizes[side.prefix] / (ENTRIES + 1):.0f}" for side in systems.sides())
        mine = sizes[systems.ours.prefix] / (ENTRIES + 1)
        rows.append(Figure("  a row of it", mine, "bytes", 500, note=f"ours; Apache's: {told}"))
        for where, folder in (("elsewhere", ""), ("in it", place)):
            what = f"PROPFIND of {ENTRIES:,} files, {name}, after a change {where}"
            rows.append(systems.compare(what, _after_a_change(ask, folder), 1))
    return rows


def _after_a_change(ask: Callable[[Side], float], folder: str) -> Callable[[Side], float]:
    """The same just after a file was written in a folder."""

    def act(side: Side) -> float:
        with side.open() as connection:
            connection.ask("PUT", f"{side.prefix}{folder}note", body=os.urandom(100), expect=(201, 204))
        return ask(side)

    return act


def crowd(scratch: Path, scale: Scale) -> list[Figure]:
    """A small GET while others are idle, or have stalled in the middle of an upload."""
    with both(scratch, scale) as systems:
        side = systems.ours
        with side.open() as connection:
            connection.ask("PUT", f"{side.prefix}small", body=os.urandom(4096), expect=(201, 204))
        systems.settle("small")
        held = [side.open() for _ in range(250)]
        for number, stalled in enumerate(held[:50]):
            stalled.socket.sendall(stalled.head("PUT", f"{side.prefix}s{number}", "Content-Length: 100000000") + bytes(100_000))
        time.sleep(1)
        spent = sorted(_download(side, "small") * 1e3 for _ in range(100))
        for one in held:
            one.socket.close()
        note = f"a new connection each; the median {spent[50]:.1f}, the 99th of 100 {spent[98]:.1f}"
        return [Figure("a GET of 4 KiB beside 200 idle and 50 stalled, the longest of 100", spent[-1], "ms", 50, note=note)]


def memory(scratch: Path, scale: Scale) -> list[Figure]:
    """The anonymous memory of node and drive while a directory goes out, of a tree with all files in fifty directories, or in
    one. All were listed before, so that caches of bounded size are full."""
    peaks = []
    for directories in (50, 1):
        home = Home(scratch / f"listing{directories}")
        shape = Shape(directories, scale.huge // directories, longest=0)
        plant(home, shape)
        with served(f"listing{directories}", home, scratch, "--dav", "127.0.0.1:0") as node:
            side = Side(_drive(node), "/webdav/big/")

            def ask(number: int, side: Side = side, shape: Shape = shape) -> int:
                with side.open() as connection:
                    place = f"{side.prefix}{shape.directory(number)}/"
                    return connection.ask("PROPFIND", place, "Depth: 1", body=ALL, expect=(207,))

            for number in range(directories):
                ask(number)
            peaks.append((shape.each, peak_while([node.node(), node.processes()[-1]], partial(ask, 0))))
    rows = []
    for count, peak in peaks:
        note = f"node and drive: {', '.join(f'{one / MIB:.1f}' for one in peak.each)}; {peak.seconds:.1f} s"
        rows.append(Figure(f"anonymous memory at most, PROPFIND of {count:,}", sum(peak.each) / MIB, "MiB", note=note))
    more = (sum(peaks[1][1].each) - sum(peaks[0][1].each)) / MIB
    return [*rows, Figure("  more for fifty times as many", more, "MiB", 8)]


PARTS: dict[str, Callable[[Path, Scale], list[Figure]]] = {
    "large": large,
    "parallel": parallel,
    "small": small,
    "listing": listing,
    "crowd": crowd,
    "memory": memory,
}


def measure(scratch: Path, scale: Scale) -> list[Figure]:
    """All rows about the network drive."""
    rows = []
    for name, part in PARTS.items():
        place = scratch / name
        place.mkdir()
        rows += part(place, scale)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dav", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller files, fewer rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = harness.arguments_of(parser, PARTS)
    rows = []
    for name in arguments.parts:
        with harness.scratch_directory(arguments.scratch) as scratch:
            rows += PARTS[name](scratch, QUICK if arguments.quick else FULL)
    print(as_json({"the network drive": rows}, []) if arguments.json else table("the network drive", rows))
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
