"""An index with bytes of some pages changed: it is refused with the way out, or what needs them fails and all else goes on.

LMDB has no checksums, so what is changed may also be taken for another row; nothing here asks whether contents are right:
that is what digests are for, above.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounts import leftovers
from tests.serving import PATIENCE, Served, serving

pytestmark = [pytest.mark.mount, pytest.mark.slow, pytest.mark.timeout(1200)]

PAGE = 4096
SEEDS = 60
FIRST_DATA = 2
"""The first two pages say which tree is the newest; where one is not right, LMDB takes the other."""
STEPS = (
    "ls -la {at}; find {at} | wc -l",
    "cat {at}/notes/file-* {at}/more/file-*",
    "cat {at}/notes/.mimei/@1/file-*; ls -l {at}/notes/.mimei",
    "echo new > {at}/notes/new; echo more >> {at}/more/file-7",
    "mv {at}/notes/file-9 {at}/notes/moved; rm {at}/more/file-11",
    "mkdir {at}/notes/.mimei/@now; mkdir {at}/more/.mimei/@now",
    "sleep 5; ls {at}",
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with two MiMeis, versions, and changes since."""
    with serving(tmp_path_factory.mktemp("sound")) as served:
        for name in ("notes", "more"):
            present = served.mimei(name)
            (present / "below").mkdir()
            for number in range(300):
                (present / f"file-{number}").write_text(f"{number}\n" * 50)
            os.link(present / "file-1", present / "below" / "hard")
            served.command("backup", name)
            for number in range(0, 300, 2):
                (present / f"file-{number}").write_text(f"new {number}\n" * 50)
            (present / ".mimei" / "@label").mkdir()
            for number in range(0, 300, 3):
                (present / f"file-{number}").write_text(f"newer {number}\n" * 50)
        assert served.end() == 0
        yield served.home


def spoil(index: Path, draw: random.Random) -> str:
    """Change some pages; how."""
    data = bytearray(index.read_bytes())
    used = [at for at in range(FIRST_DATA * PAGE, len(data), PAGE) if any(data[at : at + PAGE])]
    kind = draw.choice(("noise", "zeros", "header", "bytes", "bytes"))
    pages = draw.sample(used, draw.choice((1, 2, 4)))
    for at in pages:
        if kind == "noise":
            data[at : at + PAGE] = draw.randbytes(PAGE)
        elif kind == "zeros":
            data[at : at + PAGE] = bytes(PAGE)
        elif kind == "header":
            data[at + 8 : at + 40] = draw.randbytes(32)
        else:
            for _ in range(8):
                data[at + draw.randrange(PAGE)] = draw.randrange(256)
    index.write_bytes(data)
    return f"{kind} in pages {[at // PAGE for at in pages]}"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_damaged_fails_and_the_mount_stays(sound: Path, tmp_path: Path, seed: int) -> None:
    home = tmp_path / "home"
    shutil.copytree(sound, home)
    how = spoil(home / "store" / "index" / "data.mdb", random.Random(seed))
    served = Served(tmp_path / "s", home=home)
    try:
        served.begin()
        served.until(lambda: served.mounted or not served.group(), "it serves or ends")
        if not served.mounted:
            assert served.ended() == 8, how
            assert "`mimei rebuild`" in served.tail(), how
        else:
            for step in STEPS:
                command = ("timeout", "20", "sh", "-c", step.format(at=served.mount))
                done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
                assert done.returncode != 124, (how, step)
            assert served.serves, how
            assert served.end() == 0, how
        assert "unforeseen" not in served.log.read_text(errors="replace"), (how, served.tail())
    finally:
        served.clean()
    assert not leftovers(served.mount)
