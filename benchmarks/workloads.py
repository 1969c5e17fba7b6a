"""What ordinary programs do on a mounted file system, each piece of it as one number: operations or MiB a second.

Each workload is a function of a fresh directory. What it reads or takes away is written before, by another one, and at rest
when it begins; inside the time taken there are bare ``os`` calls, or a program that everybody has. Not here: who runs them,
and where. The order of :data:`WORKLOADS` is that of the table, and the targets are in it.
"""

import io
import os
import random
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import harness

MIB = 1 << 20
STAMP_EVERY = 1 << 16
PIECE = 4096
SMALL = b"\xa5" * PIECE
CLIENTS = 4
DIRECTORIES = 20
"""How many directories the files of a tree are in."""
SPARSER = 8
"""A file that is used in random order is that much smaller than the large one."""
REPLACING = 4
"""Files replaced or appended to with an fsync each, of all appends: one in so many."""
AGAIN = 10
"""How often what the kernel has cached is asked for."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work: the large file in MiB, the number of small files, of appends (all clients together)."""

    large_mib: int
    files: int
    appends: int


def nothing(place: Path, sizes: Sizes) -> None:
    """No preparation."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A measurement: how its result is counted, the least ratio we accept, the work itself, and what must be there before.

    Between preparing and measuring everybody is left alone until he has done his late work.
    """

    name: str
    unit: str
    target: float
    run: Callable[[Path, Sizes], float]
    prepare: Callable[[Path, Sizes], None] = nothing


# One large file


def write_large(place: Path, sizes: Sizes) -> None:
    """The large file."""
    _write_large(place / "large", bytearray(os.urandom(MIB)), sizes.large_mib)


def write_scattered(place: Path, sizes: Sizes) -> None:
    """The file that is used in random order."""
    _write_large(place / "large", bytearray(os.urandom(MIB)), max(1, sizes.large_mib // SPARSER))


def sequential_write(place: Path, sizes: Sizes) -> float:
    """MiB/s of writing one large file of unique bytes in blocks of 1 MiB, fsync included."""
    block = bytearray(os.urandom(MIB))
    began = time.perf_counter()
    _write_large(place / "large", block, sizes.large_mib)
    return sizes.large_mib / (time.perf_counter() - began)


def sequential_read_cold(place: Path, sizes: Sizes) -> float:
    """MiB/s of reading one large file that is not in the page cache."""
    harness.drop_caches()
    buffers = [bytearray(MIB)]
    began = time.perf_counter()
    descriptor = os.open(place / "large", os.O_RDONLY)
    total = 0
    while count := os.readv(descriptor, buffers):
        total += count
    os.close(descriptor)
    spent = time.perf_counter() - began
    if total != sizes.large_mib * MIB:
        raise AssertionError(f"read {total} bytes of {sizes.large_mib} MiB")
    return sizes.large_mib / spent


def random_read(place: Path, sizes: Sizes) -> float:
    """Reads of 4 KiB a second, anywhere in a file of which the mount's page cache has nothing; below it, what is there is."""
    descriptor = os.open(place / "large", os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    offsets = list(_offsets(descriptor, sizes.appends))
    buffers = [bytearray(PIECE)]
    began = time.perf_counter()
    for offset in offsets:
        os.preadv(descriptor, buffers, offset)
    spent = time.perf_counter() - began
    os.close(descriptor)
    return sizes.appends / spent


def random_write(place: Path, sizes: Sizes) -> float:
    """Writes of 4 KiB a second, anywhere in a file."""
    descriptor = os.open(place / "large", os.O_WRONLY)
    offsets = list(_offsets(descriptor, sizes.appends))
    began = time.perf_counter()
    for offset in offsets:
        os.pwrite(descriptor, SMALL, offset)
    spent = time.perf_counter() - began
    os.close(descriptor)
    return sizes.appends / spent


def append(place: Path, sizes: Sizes) -> float:
    """Appends of 4 KiB a second to one file."""
    descriptor = os.open(place / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    began = time.perf_counter()
    for _ in range(sizes.appends):
        os.write(descriptor, SMALL)
    spent = time.perf_counter() - began
    os.close(descriptor)
    return sizes.appends / spent


def append_fsync(place: Path, sizes: Sizes) -> float:
    """Appends of 4 KiB a second to one file, an fsync after each."""
    began = time.perf_counter()
    _append(place / "journal", sizes.appends)
    return sizes.appends / (time.perf_counter() - began)


def append_fsync_clients(place: Path, sizes: Sizes) -> float:
    """The same by four processes at once, a file each; appends a second of all together."""
    each = sizes.appends // CLIENTS
    wait_end, start_end = os.pipe()
    children = []
    for number in range(CLIENTS):
        child = os.fork()
        if child == 0:
            os.close(start_end)
            os.read(wait_end, 1)
            _append(place / f"journal{number}", each)
            os._exit(0)
        children.append(child)
    began = time.perf_counter()
    os.close(start_end)
    failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
    spent = time.perf_counter() - began
    os.close(wait_end)
    if failed:
        raise AssertionError(f"{len(failed)} of {CLIENTS} clients failed")
    return each * CLIENTS / spent


def replace(place: Path, sizes: Sizes) -> float:
    """Times a second that a document of 4 KiB is saved: written beside itself, fsynced and renamed over the old one."""
    document, new = str(place / "document"), str(place / "document.new")
    times = max(1, sizes.appends // REPLACING)
    began = time.perf_counter()
    for _ in range(times):
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, SMALL)
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(new, document)
    return times / (time.perf_counter() - began)


# Many small files


def write_files(place: Path, sizes: Sizes) -> None:
    """Small files side by side."""
    _create(_names(place, sizes.files))


def write_tree(place: Path, sizes: Sizes) -> None:
    """The same files in directories."""
    names = _tree(place / "tree", sizes.files)
    for directory in sorted({os.path.dirname(name) for name in names}):
        os.makedirs(directory)
    _create(names)


def create_small(place: Path, sizes: Sizes) -> float:
    """Files a second, each created, given 4 KiB and closed."""
    names = _names(place, sizes.files)
    began = time.perf_counter()
    _create(names)
    return sizes.files / (time.perf_counter() - began)


def untar(place: Path, sizes: Sizes) -> float:
    """Files a second that tar unpacks from an archive in memory."""
    with os.fdopen(os.memfd_create("archive"), "w+b") as archive:
        with tarfile.open(fileobj=archive, mode="w") as packed:
            for name in _tree(Path("tree"), sizes.files):
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = PIECE, 0o644, 1_700_000_000
                packed.addfile(member, io.BytesIO(SMALL))
        archive.flush()
        archive.seek(0)
        began = time.perf_counter()
        subprocess.run(("tar", "-x", "-C", str(place)), stdin=archive, check=True)
        return sizes.files / (time.perf_counter() - began)


def copy_tree(place: Path, sizes: Sizes) -> float:
    """Files a second of ``cp -r``, the source as its writer left it."""
    return _run_on_tree(("cp", "-r", str(place / "tree"), str(place / "copy")), sizes)


def stat_cold(place: Path, sizes: Sizes) -> float:
    """Files a second whose attributes are asked for after the kernel forgot them."""
    names = _names(place, sizes.files)
    _forget()
    began = time.perf_counter()
    for name in names:
        os.stat(name)
    return sizes.files / (time.perf_counter() - began)


def scandir_stat(place: Path, sizes: Sizes) -> float:
    """Files a second of a directory listed with the attributes of each, the kernel knowing none."""
    _forget()
    began = time.perf_counter()
    with os.scandir(place) as entries:
        found = sum(entry.stat().st_size == PIECE for entry in entries)
    spent = time.perf_counter() - began
    if found != sizes.files:
        raise AssertionError(f"listed {found} of {sizes.files} files")
    return sizes.files / spent


def find_stat(place: Path, sizes: Sizes) -> float:
    """Files a second of ``find`` that looks at sizes, the kernel knowing none."""
    _forget()
    return _run_on_tree(("find", str(place / "tree"), "-size", "+1000000"), sizes)


def open_read_small(place: Path, sizes: Sizes) -> float:
    """Files of 4 KiB a second, each opened, read and closed, as their writer left them."""
    return _read_all(_names(place, sizes.files))


def read_tree_cold(place: Path, sizes: Sizes) -> float:
    """The same of a tree, in the order of its names, after the kernel forgot it and its bytes."""
    _forget()
    return _read_all(_tree(place / "tree", sizes.files))


def rename_small(place: Path, sizes: Sizes) -> float:
    """Files a second that get another name in their directory."""
    names = _names(place, sizes.files)
    began = time.perf_counter()
    for name in names:
        os.rename(name, name + "-")
    return sizes.files / (time.perf_counter() - began)


def unlink_small(place: Path, sizes: Sizes) -> float:
    """Files a second that are removed."""
    names = _names(place, sizes.files)
    began = time.perf_counter()
    for name in names:
        os.unlink(name)
    return sizes.files / (time.perf_counter() - began)


def remove_tree(place: Path, sizes: Sizes) -> float:
    """Files a second of ``rm -r``."""
    return _run_on_tree(("rm", "-r", str(place / "tree")), sizes)


def write_version(place: Path, sizes: Sizes) -> None:
    """The tree, and a version of it where there are versions."""
    write_tree(place, sizes)
    if (place / ".mimei").is_dir():
        (place / ".mimei" / "@first").mkdir()


def cached(place: Path, sizes: Sizes) -> float:
    """Files a second whose attributes and bytes are asked for when the kernel has both, in a version where there are any."""
    inside = place / ".mimei" / "@1"
    names = _tree((inside if inside.is_dir() else place) / "tree", min(sizes.files, 500))
    _read_all(names)
    opened = [(name, os.open(name, os.O_RDONLY)) for name in names]
    buffers = [bytearray(PIECE)]
    began = time.perf_counter()
    for _ in range(AGAIN):
        for name, descriptor in opened:
            os.stat(name)
            os.preadv(descriptor, buffers, 0)
    spent = time.perf_counter() - began
    for _, descriptor in opened:
        os.close(descriptor)
    return AGAIN * len(names) / spent


WORKLOADS = (
    Workload("sequential write + fsync", "MiB/s", 1.0, sequential_write),
    Workload("sequential read, cold", "MiB/s", 1.0, sequential_read_cold, write_large),
    Workload("random read 4 KiB", "/s", 0.9, random_read, write_scattered),
    Workload("random write 4 KiB", "/s", 0.8, random_write, write_scattered),
    Workload("append 4 KiB", "/s", 1.5, append),
    Workload("append 4 KiB + fsync", "/s", 0.5, append_fsync),
    Workload("append 4 KiB + fsync, 4 clients", "/s", 0.7, append_fsync_clients),
    Workload("replace by write, fsync, rename", "/s", 0.6, replace),
    Workload("create + write 4 KiB + close", "/s", 1.2, create_small),
    Workload("untar", "/s", 1.2, untar),
    Workload("cp -r", "/s", 1.2, copy_tree, write_tree),
    Workload("stat, cold", "/s", 0.9, stat_cold, write_files),
    Workload("scandir with stat, cold", "/s", 0.6, scandir_stat, write_files),
    Workload("find with stat, cold", "/s", 0.9, find_stat, write_tree),
    Workload("open + read 4 KiB + close", "/s", 1.5, open_read_small, write_files),
    Workload("whole tree read, cold", "/s", 1.3, read_tree_cold, write_tree),
    Workload("rename", "/s", 1.2, rename_small, write_files),
    Workload("unlink", "/s", 1.5, unlink_small, write_files),
    Workload("rm -r", "/s", 1.2, remove_tree, write_tree),
    Workload("cached by the kernel, in a version", "/s", 0.95, cached, write_version),
)


def _names(place: Path, count: int) -> list[str]:
    return [f"{place}/{number:06d}" for number in range(count)]


def _tree(place: Path, count: int) -> list[str]:
    each = -(-count // DIRECTORIES)
    return [f"{place}/d{number // each:02d}/{number % each:06d}" for number in range(count)]


def _create(names: Sequence[str]) -> None:
    for name in names:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, SMALL)
        os.close(descriptor)


def _read_all(names: Sequence[str]) -> float:
    """Files a second that are opened, read and closed."""
    began = time.perf_counter()
    for name in names:
        descriptor = os.open(name, os.O_RDONLY)
        os.read(descriptor, PIECE)
        os.close(descriptor)
    return len(names) / (time.perf_counter() - began)


def _run_on_tree(command: Sequence[str], sizes: Sizes) -> float:
    """Files a second of a program that looks at the whole tree once."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return sizes.files / (time.perf_counter() - began)


def _forget() -> None:
    """Empty the kernel's caches. Dropping names sends as many forgets; they belong to the dropping."""
    harness.drop_caches()
    time.sleep(0.3)


def _offsets(descriptor: int, count: int) -> Iterator[int]:
    draw, pieces = random.Random(count), os.fstat(descriptor).st_size // PIECE
    return (draw.randrange(pieces) * PIECE for _ in range(count))


def _append(name: Path, count: int) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for _ in range(count):
        os.write(descriptor, SMALL)
        os.fsync(descriptor)
    os.close(descriptor)


def _write_large(name: Path, block: bytearray, mib: int) -> None:
    """Stamp every 64 KiB, so that no chunk of the file is like another and none can be stored once for two."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for number in range(mib):
        stamp = number.to_bytes(8, "little")
        for offset in range(0, MIB, STAMP_EVERY):
            block[offset : offset + 8] = stamp
        if os.write(descriptor, block) != MIB:
            raise AssertionError("a short write")
    os.fsync(descriptor)
    os.close(descriptor)
