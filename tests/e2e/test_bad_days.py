"""Bad days: damaged bytes in the store, and a disk that is full. One read fails, or one write; everything else goes on."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimeifs.ids import parse_blob
from mimeifs.store.database import Table, open_database
from mimeifs.store.packs import IndexRow
from tests.fuse.system_calls import refused
from tests.serving import Served, serving

pytestmark = pytest.mark.mount

DISK = 300 << 20


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "s") as served:
        yield served


def flip(served: Served, digest: str, at: int) -> None:
    """Change one bit of a stored blob, while nobody serves; ``at`` is where in its stored bytes."""
    database = open_database(served.home / "store" / "index")
    raw = database.get(Table.BLOBS, parse_blob(digest))
    database.close()
    assert raw is not None
    row = IndexRow.decode(raw)
    (path,) = [path for path in (served.home / "store" / "packs").iterdir() if int(path.stem, 16) == row.pack]
    with path.open("r+b") as pack:
        pack.seek(row.offset + at % row.stored)
        byte = pack.read(1)[0]
        pack.seek(-1, os.SEEK_CUR)
        pack.write(bytes([byte ^ 0x40]))


def digest_of(path: Path) -> str:
    """The digest of what is in a version."""
    return os.getxattr(path, "user.mimei.digest").decode()


def test_a_damaged_file_gives_eio_for_itself_alone(served: Served) -> None:
    present = served.mimei("work")
    contents = {f"f{number}": os.urandom(30_000) for number in range(20)}
    for name, content in contents.items():
        (present / name).write_bytes(content)
    (present / ".mimei" / "@v").mkdir()
    version = present / ".mimei" / "@v"
    hurt = digest_of(version / "f7")
    assert served.end() == 0
    flip(served, hurt, 1000)
    served.start()
    for where in (version, present):
        with refused(errno.EIO):
            (where / "f7").read_bytes()
        assert {name: (where / name).read_bytes() for name in contents if name != "f7"} == {
            name: content for name, content in contents.items() if name != "f7"
        }
    (present / "f7").write_bytes(b"new content")
    assert (present / "f7").read_bytes() == b"new content"
    (present / ".mimei" / "@after").mkdir()
    assert (present / ".mimei" / "@after" / "f7").read_bytes() == b"new content"
    assert served.end() == 0
    assert "unforeseen" not in served.tail()
    found = served.command("check", check=False)
    assert found.returncode == 1
    assert hurt.encode() in found.stdout + found.stderr
    assert b"Traceback" not in found.stderr


def test_damage_in_a_large_file_costs_the_reads_that_need_it(served: Served) -> None:
    present = served.mimei("work")
    big = os.urandom(4 << 20)
    (present / "big").write_bytes(big)
    (present / ".mimei" / "@v").mkdir()
    assert served.end() == 0
    pack = max((served.home / "store" / "packs").iterdir())
    at = pack.read_bytes().index(big[3_000_000:3_000_032])
    with pack.open("r+b") as file:
        file.seek(at)
        file.write(b"damage")
    served.start()
    with (present / ".mimei" / "@v" / "big").open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 1 << 20, 0) == big[: 1 << 20]
        with refused(errno.EIO):
            os.pread(file.fileno(), 100, 3_000_000)
    (present / "big").unlink()
    assert served.end() == 0
    assert "unforeseen" not in served.tail()


def test_a_damaged_directory_costs_that_directory_alone(served: Served) -> None:
    present = served.mimei("work")
    for directory in ("sound", "hurt"):
        (present / directory).mkdir()
        for number in range(50):
            (present / directory / f"{directory}-{os.urandom(16).hex()}-{number}").write_text(str(number))
    (present / ".mimei" / "@v").mkdir()
    hurt = digest_of(present / ".mimei" / "@v" / "hurt")
    assert served.end() == 0
    flip(served, hurt, 40)
    served.start()
    for where in (present / ".mimei" / "@v", present):
        with refused(errno.EIO):
            os.listdir(where / "hurt")
        with refused(errno.EIO):
            (where / "hurt" / "anything").stat()
        assert len(os.listdir(where / "sound")) == 50
    (present / "new").write_text("works")
    (present / "sound" / "new").write_text("works")
    (present / ".mimei" / "@after").mkdir()
    assert (present / ".mimei" / "@after" / "sound" / "new").read_text() == "works"
    assert served.end() == 0
    assert "unforeseen" not in served.tail()


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "small", where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


def fill(directory: Path) -> list[Path]:
    """Write files until there is no room; those that were written whole."""
    written = []
    for number in range(2000):
        path = directory / f"filling{number}"
        if not succeeds(path):
            return written
        written.append(path)
    raise AssertionError("the disk does not get full")


def test_a_full_disk_meets_the_writer_and_not_the_store(tmp_path: Path, small_disk: Path) -> None:
    with serving(tmp_path / "s", home=small_disk / "home") as served:
        present = served.mimei("work")
        (present / "before").write_bytes(b"kept")
        (present / ".mimei" / "@before").mkdir()
        written = fill(present)
        assert len(written) > 10
        with refused(errno.ENOSPC):
            grow(present / "before")
        assert (present / "before").read_bytes().startswith(b"kept")
        sums = {path: path.read_bytes() for path in written[:3]}
        for path in written[3:]:
            path.unlink()
        os.rename(written[0], present / "renamed")
        fd = os.open(present, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        assert served.end() == 0
        assert not served.mounted
        served.command("check")
        served.start()
        assert (present / "renamed").read_bytes() == sums[written[0]]
        assert written[1].read_bytes() == sums[written[1]]
        assert not written[3].exists()
        assert (present / ".mimei" / "@before" / "before").read_bytes() == b"kept"
        assert served.end() == 0
        assert "unforeseen" not in served.tail()


def test_a_disk_that_another_fills_refuses_writes_until_there_is_room_again(tmp_path: Path, small_disk: Path) -> None:
    with serving(tmp_path / "s", home=small_disk / "home") as served:
        present = served.mimei("work")
        for number in range(10):
            (present / f"f{number}").write_bytes(os.urandom(1 << 20))
        stranger = small_disk / "stranger"
        with refused(errno.ENOSPC):
            grow(stranger)
        with refused(errno.ENOSPC):
            grow(present / "more")
        (present / "f1").unlink()
        assert (present / "f2").stat().st_size == 1 << 20
        stranger.unlink()
        served.until(lambda: succeeds(present / "again"), "there is room again")
        (present / ".mimei" / "@v").mkdir()
        assert (present / ".mimei" / "@v" / "again").stat().st_size == 1 << 20
        assert served.end() == 0
        assert "unforeseen" not in served.tail()
        served.command("check")


@pytest.mark.parametrize("ending", ["asked", "killed"])
def test_a_store_that_ended_full_opens_again_to_be_read_and_emptied(tmp_path: Path, small_disk: Path, ending: str) -> None:
    with serving(tmp_path / "s", home=small_disk / "home") as served:
        present = served.mimei("work")
        (present / "before").write_bytes(b"kept")
        (present / ".mimei" / "@before").mkdir()
        written = fill(present)
        kept = written[0].read_bytes()
        if ending == "asked":
            assert served.end() == 0
        else:
            os.sync()
            served.kill_everything()
        stranger = small_disk / "stranger"
        with refused(errno.ENOSPC):
            grow(stranger)
        os.truncate(stranger, stranger.stat().st_size - (2 << 20))
        assert b"work" in served.command("ls").stdout
        served.command("check")
        served.start()
        assert (present / "@before" / "before").read_bytes() == b"kept"
        assert written[0].read_bytes() == kept
        for path in written[1:]:
            path.unlink()
        stranger.unlink()
        served.until(lambda: succeeds(present / "again"), "there is room again")
        assert served.end() == 0
        served.command("check")
        assert "unforeseen" not in served.tail()


def grow(path: Path) -> None:
    """Append far more than the disk holds."""
    with path.open("ab", buffering=0) as file:
        for _ in range(2 * DISK >> 20):
            file.write(os.urandom(1 << 20))


def succeeds(path: Path) -> bool:
    """Whether a MiB can be written; it is for lack of room if not."""
    try:
        path.write_bytes(os.urandom(1 << 20))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def test_info_tells_which_versions_hold_a_damaged_blob(served: Served) -> None:
    present = served.mimei("work")
    (present / "f").write_bytes(os.urandom(30_000))
    for label, act in (
        ("with1", lambda: (present / "g").write_bytes(b"more")),
        ("with2", lambda: (present / "f").unlink()),
        ("without", lambda: None),
    ):
        (present / ".mimei" / f"@{label}").mkdir()
        act()
    hurt = digest_of(present / ".mimei" / "@with1" / "f")
    assert served.end() == 0
    flip(served, hurt, 5)
    served.start()
    answer = served.command("--json", "info", hurt, check=False)
    told = json.loads(answer.stdout)
    assert answer.returncode == 8
    assert "damaged" in told["damage"]
    assert [(holder["name"], holder["number"], holder["path"]) for holder in told["holders"]] == [
        ("work", 1, "f"),
        ("work", 2, "f"),
    ]
