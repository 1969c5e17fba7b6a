"""Previous versions as Windows sees them: Debian's Samba over the mount, as the how-to page sets it up, asked by smbclient."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving import Served, serving

pytestmark = [pytest.mark.mount, pytest.mark.slow]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "share-with-windows.md"
PATIENCE = 20.0
GLOBAL = """[global]
server role = standalone server
smb ports = {port}
interfaces = 127.0.0.1/8
bind interfaces only = yes
map to guest = bad user
guest account = root
disable spoolss = yes
load printers = no
log file = {folder}/log
pid directory = {folder}
lock directory = {folder}
state directory = {folder}
cache directory = {folder}
private dir = {folder}
ncalrpc dir = {folder}/ncalrpc
"""
GUEST = "guest ok = yes\nforce user = root\n"

Client = Callable[..., str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "s") as served:
        yield served


@pytest.fixture
def client(served: Served, tmp_path: Path) -> Iterator[Client]:
    """Runs smbclient on the share of the page, or on one of the whole node."""
    if shutil.which("smbd") is None or shutil.which("smbclient") is None:
        pytest.skip("needs Debian's samba and smbclient")
    if os.geteuid():
        pytest.skip("needs root, as smbd does")
    stanza = re.search(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert stanza is not None
    photos = stanza[1].replace("/mnt/mimei", str(served.mount)) + GUEST
    node = photos.replace("[photos]", "[node]").replace(f"{served.mount}/photos", str(served.mount))
    folder, port = tmp_path / "samba", free_port()
    folder.mkdir()
    settings = folder / "smb.conf"
    settings.write_text(GLOBAL.format(port=port, folder=folder) + photos + node)
    with (folder / "out").open("wb") as out:
        smbd = subprocess.Popen(
            ["smbd", "-F", "--no-process-group", "-s", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # It ends its whole process group.
        )
    try:
        wait_for(port)

        def run(share: str, commands: str) -> str:
            words = ["smbclient", f"//127.0.0.1/{share}", "-p", str(port), "-N", "-s", str(settings), "-c", commands]
            done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
            return done.stdout + done.stderr

        yield run
    finally:
        smbd.terminate()
        smbd.wait(PATIENCE)


def wait_for(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("smbd does not listen")


def take(served: Served, label: str) -> None:
    """Take a version in a second of its own."""
    (served.mount / "photos" / ".mimei" / f"@{label}").mkdir()
    time.sleep(1.1)


def moments(said: str) -> list[str]:
    """Those under which the file was found; smbclient names the others, too."""
    return re.findall(r"^(@GMT-\S+)\ncreate_time", said, re.MULTILINE)


@pytest.mark.parametrize(("share", "above"), [("photos", ""), ("node", "photos/")])
def test_every_version_is_a_previous_version_of_what_it_holds(served: Served, client: Client, share: str, above: str) -> None:
    photos = served.mimei("photos")
    (photos / "letter.txt").write_text("one")
    take(served, "first")
    (photos / "letter.txt").write_text("two")
    (photos / "deep").mkdir()
    (photos / "deep" / "late.txt").write_text("late")
    take(served, "second")
    (photos / "letter.txt").write_text("three")
    newest, oldest = moments(client(share, f"allinfo {above}letter.txt"))
    assert newest > oldest
    assert moments(client(share, f"allinfo {above}deep/late.txt")) == [newest]
    target = served.folder / "got"
    for moment, text in ((oldest, "one"), (newest, "two")):
        client(share, f"get {above}{moment}/letter.txt {target}")
        assert target.read_text() == text
    client(share, f"get {above}letter.txt {target}")
    assert target.read_text() == "three"


def test_a_previous_version_cannot_be_written(served: Served, client: Client) -> None:
    photos = served.mimei("photos")
    (photos / "letter.txt").write_text("one")
    take(served, "first")
    (moment,) = moments(client("photos", "allinfo letter.txt"))
    source = served.folder / "new"
    source.write_text("forged")
    assert "WRITE_PROTECTED" in client("photos", f"put {source} {moment}/letter.txt")
    assert "WRITE_PROTECTED" in client("photos", f"del {moment}/letter.txt")
    assert (photos / "@1" / "letter.txt").read_text() == "one"


def test_what_is_written_through_samba_is_in_the_present(served: Served, client: Client) -> None:
    photos = served.mimei("photos")
    source = served.folder / "new"
    source.write_text("hello")
    client("photos", f"mkdir sub; put {source} sub/new.txt")
    assert (photos / "sub" / "new.txt").read_text() == "hello"
