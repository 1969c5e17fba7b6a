"""What a command is given by its surroundings: paths as people write them, and standard streams."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimeifs.cli import mounts
from mimeifs.errors import InvalidError
from tests.cli.conftest import Run

MIMEI = (sys.executable, "-m", "mimeifs")


def test_a_place_is_found_through_links(tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "mount").symlink_to("disk/mount")
    (tmp_path / "disk" / "mount").symlink_to(tmp_path / "disk" / "deep" / ".." / "there")
    assert mounts.place(str(tmp_path / "mount")) == tmp_path / "disk" / "there"


def test_links_that_lead_round_are_no_place(tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to("mount")
    with pytest.raises(InvalidError, match="too many symbolic links"):
        mounts.place(str(tmp_path / "mount"))


@pytest.mark.parametrize("command", [("mount",), ("serve", "--mount")])
@pytest.mark.parametrize("place", ["/", "{tmp}", "{tmp}/home", "{tmp}/home/../home", "{tmp}/link", "{tmp}/home/store/packs"])
def test_nothing_is_mounted_over_what_the_node_works_with(
    run: Run, tmp_path: Path, command: tuple[str, ...], place: str
) -> None:
    run("init")
    (tmp_path / "link").symlink_to("home")
    done = run(*command, place.format(tmp=tmp_path))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "choose another directory" in done.err


def test_a_refused_mount_makes_no_home(run: Run, tmp_path: Path) -> None:
    assert run("mount", str(tmp_path)).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("--home", "~nobody-of-that-name", "ls"), ("umount", "~nobody-of-that-name/x"), ("serve", "--mount", "")]
)
def test_a_path_that_means_nothing_is_a_usage_error(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.code, done.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("words", [("--home", "here", "ls"), ("mount", "here")])
def test_a_relative_path_where_the_directory_is_gone_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = run(*words)
    assert (done.code, "the directory you are in is gone" in done.err) == (3, True)


def test_a_home_whose_parts_are_no_directories_is_a_mistake_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "keys").touch()
    done = run("init")
    assert (done.code, done.err) == (4, f"mimei init: {tmp_path}/home/keys: File exists\n")


def test_a_home_behind_links_that_lead_round_is_a_mistake_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to("home")
    assert run("ls").code == 2


STREAMS = """
import os, sys
for number in (0, 1, 2):
    os.close(number)
sys.stdout = sys.stderr = None  # as the interpreter has them that was started so
from mimeifs.cli import main
code = main(sys.argv[2:])
with open(sys.argv[1], "w") as said:
    print(code, *(os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)), file=said)
"""


@pytest.mark.parametrize(("words", "code"), [(("version",), 0), (("nothing",), 2)])
def test_no_file_of_the_store_takes_the_place_of_a_closed_stream(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    subprocess.run([sys.executable, "-c", STREAMS, str(tmp_path / "said"), *words], check=True, timeout=60)
    assert (tmp_path / "said").read_text().split() == [str(code), os.devnull, os.devnull, os.devnull]


@pytest.mark.parametrize("words", [("ls",), ("nothing",), ("ls", "--json")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_error_that_cannot_be_written_has_its_exit_code_all_the_same(
    tmp_path: Path, words: tuple[str, ...], unbuffered: str
) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [*MIMEI, "--home", str(tmp_path), *words]
    known = subprocess.run(command, capture_output=True, check=False, timeout=60, env=environment)
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stderr=full, check=False, timeout=60, env=environment)
    assert (done.returncode, known.returncode > 1) == (known.returncode, True)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_want_of_room(tmp_path: Path, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*MIMEI, "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (9, 1), done.stderr


@pytest.mark.parametrize("wrong", [("--dav", "abc"), ("--dav", "0.0.0.0:4880"), ("-o", "nonsense"), ("--dav-cors", "x")])
def test_a_node_that_cannot_be_served_so_makes_nothing(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    home, mount = tmp_path / "home", tmp_path / "mount"
    done = subprocess.run(
        [*MIMEI, "--home", str(home), "serve", "--mount", str(mount), *wrong], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode > 1, done.stderr.count(b"\n")) == (True, 1), done.stderr
    assert list(tmp_path.iterdir()) == []
