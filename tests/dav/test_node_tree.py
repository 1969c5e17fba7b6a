"""The tree over a real node's socket, beside its mount: both see each other at once, and what was promised outlives a kill."""

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mimeifs.api.tree_requests import SLICE, WriteStaged
from mimeifs.dav import tree
from mimeifs.dav.tree import NodeTree
from mimeifs.errors import ChangedError, LockHeldError, MimeiError, NotFoundError, PeerError
from mimeifs.home import Home
from mimeifs.model.resource import NO_GUARD, Guard
from tests.serving import Served, serving

pytestmark = pytest.mark.mount
BIG = os.urandom(1 << 20)


class Beside:
    """A served home, and its tree over the socket."""

    def __init__(self, served: Served) -> None:
        self.served = served
        home = Home(served.home)
        self.tree = NodeTree(home.socket, home.storage)

    def put(self, name: bytes, data: bytes, guard: Guard = NO_GUARD) -> str:
        staged = self.tree.stage(len(data))
        try:
            staged.write(data)
            return staged.commit((b"photos", name), guard).etag
        finally:
            staged.discard()

    def get(self, name: bytes) -> bytes:
        reading = self.tree.open((b"photos", name))
        try:
            return reading.read(0, reading.facts.size + 1)
        finally:
            reading.close()

    @property
    def photos(self) -> Path:
        return self.served.mount / "photos"

    def wait(self) -> None:
        """Return when the node answers."""
        self.served.until(self._answers, "the node answers")

    def _answers(self) -> bool:
        try:
            self.tree.space()
        except PeerError:
            return False
        return True


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    with serving(tmp_path_factory.mktemp("beside") / "s") as served:
        made = Beside(served)
        made.wait()
        yield made
        made.tree.close()
        assert served.end() == 0
        served.command("check")


@pytest.fixture
def beside(running: Beside) -> Iterator[Beside]:
    """With an empty MiMei, which goes afterwards."""
    running.tree.mkdir((b"photos",), NO_GUARD)
    yield running
    running.photos.rmdir()


def test_one_file_by_turns_is_always_seen_right_on_both_sides(beside: Beside) -> None:
    beside.put(b"a", b"0")
    path = beside.photos / "a"
    held = os.open(path, os.O_RDWR)
    for turn in range(1, 20):
        data = b"%d" % turn * (1 + 40_000 * (turn % 3))
        before = path.read_bytes()
        if turn % 2:
            beside.put(b"a", data)
        else:
            path.write_bytes(data)
        assert path.read_bytes() == data != before
        assert path.stat().st_size == len(data)
        assert beside.get(b"a") == data
    assert os.pread(held, 10, 0) == b"0"
    os.write(held, b"lost")
    os.close(held)
    assert beside.get(b"a") == path.read_bytes() == data


def test_names_times_and_directories_are_seen_at_once(beside: Beside) -> None:
    assert os.listdir(beside.photos) == []
    before = beside.photos.stat()
    beside.put(b"new", b"1")
    assert os.listdir(beside.photos) == ["new"]
    assert beside.photos.stat().st_mtime_ns > before.st_mtime_ns
    beside.tree.mkdir((b"photos", b"d"), NO_GUARD)
    assert beside.photos.stat().st_nlink == before.st_nlink + 1
    beside.tree.patch((b"photos", b"new"), NO_GUARD, mtime_ns=5)
    assert (beside.photos / "new").stat().st_mtime_ns == 5
    beside.tree.move((b"photos", b"new"), (b"photos", b"d", b"moved"), NO_GUARD, overwrite=False)
    assert (os.listdir(beside.photos), os.listdir(beside.photos / "d")) == (["d"], ["moved"])
    os.link(beside.photos / "d" / "moved", beside.photos / "hard")
    assert (beside.photos / "hard").stat().st_nlink == 2
    beside.tree.remove((b"photos", b"d"), NO_GUARD)
    assert (os.listdir(beside.photos), (beside.photos / "hard").stat().st_nlink) == (["hard"], 1)


def test_properties_are_in_no_list_and_taken_by_no_mount(beside: Beside) -> None:
    beside.put(b"a", BIG)
    beside.tree.patch((b"photos", b"a"), NO_GUARD, properties={"{n}p": b"1"})
    assert os.listxattr(beside.photos / "a") == []
    with pytest.raises(OSError, match="not supported"):
        os.setxattr(beside.photos / "a", "mimei.properties", b"")
    assert beside.tree.look((b"photos", b"a"), properties=True).properties == {"{n}p": b"1"}


def test_an_open_file_keeps_its_bytes_whatever_happens_to_it(beside: Beside) -> None:
    path = beside.photos / "a"
    path.write_bytes(BIG)
    reading = beside.tree.open((b"photos", b"a"))
    assert reading.facts.content is None
    path.write_bytes(b"other")
    beside.served.command("backup", "photos")
    path.unlink()
    assert reading.read(0, len(BIG) + 1) == BIG
    reading.close()
    beside.put(b"b", BIG)
    beside.served.command("backup", "photos")
    reading = beside.tree.open((b"photos", b"b"))
    assert reading.facts.content is not None
    beside.tree.remove((b"photos", b"b"), NO_GUARD)
    assert reading.read(100, 1000) == BIG[100:1100]


def test_what_was_answered_is_there_after_a_kill_and_an_upload_under_way_is_not(beside: Beside) -> None:
    tag = beside.put(b"a", BIG)
    beside.tree.patch((b"photos", b"a"), NO_GUARD, properties={"{n}p": b"1"})
    lock, _ = beside.tree.lock(
        (b"photos", b"a"), Guard(user="ann"), owner="<o/>", exclusive=True, infinite=False, timeout_s=600
    )
    staged = beside.tree.stage(None)
    staged.write(BIG)
    beside.served.kill_everything()
    beside.served.start()
    beside.wait()
    facts = beside.tree.look((b"photos", b"a"), properties=True)
    assert (facts.etag, facts.properties) == (tag, {"{n}p": b"1"})
    assert (beside.photos / "a").read_bytes() == BIG
    assert [found.token for found in beside.tree.locks((b"photos", b"a"))] == [lock.token]
    with pytest.raises(LockHeldError) as held:
        beside.put(b"a", b"2")
    assert held.value.path == (b"photos", b"a")
    with pytest.raises((NotFoundError, PeerError)):
        staged.write(b"more")
    assert os.listdir(beside.photos) == ["a"]


def test_an_upload_goes_with_the_client_that_began_it(beside: Beside) -> None:
    other = NodeTree(Home(beside.served.home).socket, Home(beside.served.home).storage)
    staged = other.stage(None)
    staged.write(BIG)
    other.close()

    def gone() -> bool:
        try:
            beside.tree.call(WriteStaged(staged._session, staged._number, 0, b"x"))
        except MimeiError as error:
            return isinstance(error, NotFoundError)
        return False

    beside.served.until(gone, "the node has noticed that the client hung up")


def test_of_many_who_decided_upon_the_same_state_one_gets_through(beside: Beside) -> None:
    beside.put(b"a", b"0")
    for turn in range(5):
        seen = beside.tree.look((b"photos", b"a")).etag
        with ThreadPoolExecutor(8) as pool:
            datas = [b"by %d in turn %d" % (number, turn) for number in range(8)]
            done = [pool.submit(beside.put, b"a", data, Guard(etag=seen)) for data in datas]
        won = [data for data, each in zip(datas, done, strict=True) if each.exception() is None]
        assert {type(each.exception()) for each in done} == {type(None), ChangedError}
        assert len(won) == 1
        assert beside.get(b"a") == (beside.photos / "a").read_bytes() == won[0]


def test_an_upload_is_done_with_what_it_was_given(beside: Beside) -> None:
    """Whoever uploads receives what comes next into the same memory."""
    place, sent = bytearray(SLICE + 1000), b""
    staged = beside.tree.stage(None)
    for turn in range(12):
        place[:] = bytes([turn]) * len(place)
        staged.write(memoryview(place)[turn:])
        sent += bytes(place[turn:])
    staged.commit((b"photos", b"a"), NO_GUARD)
    assert (beside.photos / "a").read_bytes() == sent
    os.unlink(beside.photos / "a")


def test_pages_of_a_directory_join_without_gap_or_double(beside: Beside) -> None:
    for number in range(600):
        (beside.photos / f"{number:04}").touch()
    whole, after = beside.tree.entries((b"photos",), limit=10_000)
    assert ([facts.name for facts in whole], after) == ([b"%04d" % number for number in range(600)], b"")
    found, after = beside.tree.entries((b"photos",), limit=299)
    rest, end = beside.tree.entries((b"photos",), after, limit=301)
    assert (found + rest, end) == (whole, b"")
    assert [facts for page in beside.tree.pages((b"photos",)) for facts in page.entries] == whole


def test_pages_that_nobody_looks_at_hold_no_connection(beside: Beside) -> None:
    for number in range(300):
        (beside.photos / f"{number:04}").touch()
    held = [beside.tree.pages((b"photos",)) for _ in range(tree.STREAMS + 1)]  # One more than may ask ahead.
    for pages in held:
        assert next(pages).entries[0].name == b"0000"
    assert beside.tree.stream() is None
    for pages in held[::2]:
        pages.close()
    counts = [sum(len(page.entries) for page in pages) for pages in held]
    assert counts == [0 if index % 2 == 0 else 172 for index in range(len(held))]
    with pytest.raises(NotFoundError):
        next(beside.tree.pages((b"photos", b"none")))
    for _ in range(tree.STREAMS):
        assert sum(len(page.entries) for page in beside.tree.pages((b"photos",))) == 300
    streams = [beside.tree.stream() for _ in range(tree.STREAMS)]
    assert None not in streams
    for stream in streams:
        if stream is not None:
            stream.end()


def test_room_is_told_and_a_size_that_cannot_be_is_refused_at_once(beside: Beside) -> None:
    used, available = beside.tree.space()
    assert used > 0
    assert available > 0
    with pytest.raises(MimeiError):
        beside.tree.stage(1 << 43)
    with pytest.raises(MimeiError):
        beside.tree.stage(-1)


def test_a_tree_is_copied_moved_and_its_versions_told(beside: Beside) -> None:
    beside.tree.mkdir((b"photos", b"d"), NO_GUARD)
    (beside.photos / "d" / "x").write_bytes(BIG)
    assert beside.tree.copy((b"photos", b"d"), (b"photos", b"e"), NO_GUARD, overwrite=False) is False
    assert (beside.photos / "e" / "x").read_bytes() == BIG
    assert beside.tree.copy((b"photos",), (b"more",), NO_GUARD, overwrite=False) is False
    assert (beside.served.mount / "more" / "e" / "x").read_bytes() == BIG
    assert beside.tree.move((b"photos", b"e"), (b"more", b"f"), NO_GUARD, overwrite=False) is False
    assert (sorted(os.listdir(beside.photos)), sorted(os.listdir(beside.served.mount / "more"))) == (["d"], ["d", "e", "f"])
    beside.served.command("backup", "photos")
    found = beside.tree.versions((b"photos", b"d", b"x"))
    assert [line.number for line in found.versions] == [1]
    assert beside.tree.look((*found.base, b"@1", *found.inside)).size == len(BIG)


def test_a_directory_that_is_replaced_is_never_seen_without_its_files(beside: Beside) -> None:
    """The kernel may look below the old one until it has heard of the new one; it is sent back to look again."""
    folder = beside.photos / "d"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}").write_bytes(b"%d" % number)
    for label in ("@a", "@b"):
        (beside.photos / ".mimei" / label).mkdir()
    copying = ThreadPoolExecutor(1).submit(_copied, beside, 150)
    looked, missing = 0, 0
    while not copying.done():
        for number in range(50):
            looked += 1
            try:
                os.close(os.open(folder / f"{number}", os.O_RDONLY))
            except OSError:
                missing += 1
    copying.result()
    assert looked
    assert not missing, f"{missing} of {looked} files could not be opened"
    shutil.rmtree(folder)


def _copied(beside: Beside, times: int) -> None:
    for turn in range(times):
        label = b"@b" if turn % 2 else b"@a"
        beside.tree.copy((b"photos", b".mimei", label, b"d"), (b"photos", b"d"), NO_GUARD, overwrite=True)
        time.sleep(0.005)  # Whoever is sent back twice in a row hears of it.
