"""What programs see when `mimei restore` replaces a present, or a part of it, under their hands."""

import errno
import mmap
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuse.system_calls import refused
from tests.serving import Served

pytestmark = pytest.mark.mount
BIG = 300_000


@pytest.fixture
def changed(served: Served, present: Path) -> Path:
    """A present with version 1, which says old everywhere, and all changed since."""
    for name in ("f", "d/f", "d/e/f"):
        (present / name).parent.mkdir(exist_ok=True)
        (present / name).write_bytes(b"old " + name.encode() * BIG)
    os.setxattr(present, "user.mark", b"old")
    served.command("backup", present.name)
    for name in ("f", "d/f", "d/e/f"):
        (present / name).write_bytes(b"new " + name.encode() * BIG)
    (present / "d" / "later").write_bytes(b"came later")
    return present


@pytest.fixture(params=["", "d"], ids=["whole", "path"])
def restore(request: pytest.FixtureRequest, served: Served, changed: Path) -> Callable[[], None]:
    """Brings version 1 back, all of it or the directory ``d``."""
    path = [request.param] if request.param else []
    return lambda: served.command("restore", changed.name, "1", *path) and None


def begins(path: Path) -> bytes:
    return path.read_bytes()[:8]


def test_a_name_shows_the_version_at_once(changed: Path, restore: Callable[[], None]) -> None:
    seen = os.stat(changed / "d" / "f"), begins(changed / "d" / "f")
    restore()
    assert begins(changed / "d" / "f") == b"old d/fd"
    assert begins(changed / "d" / "e" / "f") == b"old d/e/"
    assert sorted(os.listdir(changed / "d")) == ["e", "f"]
    assert seen[1] == b"new d/fd"
    assert os.stat(changed / "d" / "f").st_ino != seen[0].st_ino


def test_an_open_file_keeps_what_it_held_and_can_be_written(changed: Path, restore: Callable[[], None]) -> None:
    with (changed / "d" / "f").open("r+b") as file:
        restore()
        assert file.read(8) == b"new d/fd"
        file.seek(0)
        file.write(b"mine")
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        assert file.read(8) == b"mined/fd"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert begins(changed / "d" / "f") == b"old d/fd"


def test_a_file_mapped_and_closed_keeps_what_it_held(changed: Path, restore: Callable[[], None]) -> None:
    with (changed / "d" / "f").open("rb") as file:
        seen = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    restore()
    assert seen[:8] == b"new d/fd"
    assert seen[-6:] == b"d/fd/f"
    seen.close()


def test_dirty_pages_of_a_shared_map_stay_with_the_replaced_file(changed: Path, restore: Callable[[], None]) -> None:
    with (changed / "d" / "f").open("r+b") as file:
        written = mmap.mmap(file.fileno(), 0)
    written[:4] = b"mine"
    restore()
    written[8:12] = b"more"
    assert written[:12] == b"mined/fdmore"
    written.flush()
    assert begins(changed / "d" / "f") == b"old d/fd"
    assert written[:12] == b"mined/fdmore"
    written.close()
    assert begins(changed / "d" / "f") == b"old d/fd"


def test_a_file_that_was_found_is_not_emptied(changed: Path, restore: Callable[[], None]) -> None:
    found = os.open(changed / "d" / "f", os.O_PATH)
    later = os.open(changed / "d" / "later", os.O_PATH)
    restore()
    for descriptor, holds in ((found, b"new d/fd"), (later, b"came later")):
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            assert file.read(len(holds)) == holds
        os.close(descriptor)


def test_an_open_directory_goes_on_without_an_error(changed: Path, restore: Callable[[], None]) -> None:
    for number in range(3000):
        (changed / "d" / f"{number:04}").touch()
    with os.scandir(changed / "d") as listing:
        begun = [next(listing).name for _ in range(10)]
        restore()
        rest = [entry.name for entry in listing]
    assert len(set(begun + rest)) == len(begun + rest)
    assert sorted(os.listdir(changed / "d")) == ["e", "f"]


def test_a_replaced_directory_is_empty_for_who_stands_in_it(changed: Path, restore: Callable[[], None]) -> None:
    script = "echo; read go; ls -A . && echo listed; (: >new) 2>/dev/null || echo refused; cd ../d && cat f | head -c 8"
    shell = subprocess.Popen(["sh", "-c", script], cwd=changed / "d", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    assert shell.stdout.readline() == "\n"
    restore()
    said, _ = shell.communicate("go\n", timeout=30)
    assert said.splitlines()[:2] == ["listed", "refused"]
    assert not (changed / "d" / "new").exists()


def test_the_root_of_a_present_stays_what_it_is_for_who_holds_it(served: Served, changed: Path) -> None:
    held = os.open(changed, os.O_RDONLY | os.O_DIRECTORY)
    (changed / "new").mkdir()
    assert sorted(os.listdir(held)) == ["d", "f", "new"]
    served.command("restore", changed.name, "1")
    assert sorted(os.listdir(held)) == ["d", "f"]
    assert os.stat("f", dir_fd=held).st_ino == os.stat(changed / "f").st_ino
    os.close(held)


def test_the_attributes_of_the_root_are_those_of_the_version(served: Served, present: Path) -> None:
    present.chmod(0o750)
    served.command("backup", present.name)
    before = os.stat(present).st_mtime_ns
    present.chmod(0o701)
    os.utime(present, ns=(5, 5))
    assert os.stat(present).st_mode & 0o777 == 0o701
    served.command("restore", present.name, "1")
    assert os.stat(present).st_mode & 0o777 == 0o750
    assert os.stat(present).st_mtime_ns == before


def test_what_remains_of_a_hard_link_counts_its_names(served: Served, changed: Path) -> None:
    os.link(changed / "d" / "f", changed / "other")
    with (changed / "other").open("rb") as file:
        assert os.stat(changed / "other").st_nlink == 2
        served.command("restore", changed.name, "1", "d/f")
        assert os.stat(changed / "other").st_nlink == 1
        assert os.fstat(file.fileno()).st_nlink == 1
        served.command("restore", changed.name, "1")
        assert os.fstat(file.fileno()).st_nlink == 0
        assert file.read(8) == b"new d/fd"


def test_what_remains_of_a_hard_link_below_a_directory_counts_its_names(served: Served, changed: Path) -> None:
    os.link(changed / "d" / "f", changed / "other")
    assert os.stat(changed / "other").st_nlink == 2
    served.command("restore", changed.name, "1", "d")
    assert os.stat(changed / "other").st_nlink == 1
    assert begins(changed / "other") == b"new d/fd"


def test_the_directory_above_shows_its_new_times_and_links(served: Served, changed: Path) -> None:
    (changed / "d" / "e" / "f").unlink()
    (changed / "d" / "e").rmdir()
    before = os.stat(changed / "d")
    served.command("restore", changed.name, "1", "d/e")
    after = os.stat(changed / "d")
    assert after.st_nlink == before.st_nlink + 1
    assert after.st_mtime_ns > before.st_mtime_ns
    with refused(errno.ENOTEMPTY):
        (changed / "d" / "e").rmdir()


def test_while_others_read_each_sees_one_or_the_other(served: Served, changed: Path) -> None:
    """Who reads by name again and again while versions come back never sees a file that is neither."""
    served.command("backup", changed.name)
    reader = "import sys\nwhile True:\n data = open(sys.argv[1], 'rb').read()\n print(data[:4], len(data), flush=True)\n"
    process = subprocess.Popen(
        ["python3", "-c", reader, str(changed / "d" / "f")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for number in (1, 2) * 4:
        served.command("restore", changed.name, str(number), "d/f")
    process.terminate()
    said, _ = process.communicate(timeout=30)
    assert set(said.splitlines()[:-1]) == {f"{word!r} {4 + 3 * BIG}" for word in (b"old ", b"new ")}
