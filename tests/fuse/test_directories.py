"""Listings on a real mount: large, changing, repeated and interrupted ones."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.system_calls import Listing

pytestmark = pytest.mark.mount

MANY = 5000


@pytest.fixture
def listing(present: Path) -> Iterator[Listing]:
    for number in range(300):
        (present / f"{number:04d}").touch()
    opened = Listing(present)
    yield opened
    opened.close()


def numbers(names: list[bytes]) -> list[int]:
    return [int(name) for name in names]


def test_five_thousand_entries_are_listed_once_each_live_and_sealed(present: Path) -> None:
    names = [f"{number:05d}-" + "n" * (number % 200) for number in range(MANY)]
    for name in names:
        os.close(os.open(present / name, os.O_CREAT | os.O_WRONLY))
    assert sorted(os.listdir(present)) == names
    (present / ".mimei" / "@v").mkdir()
    for where in (present, present / ".mimei" / "@v"):
        assert sorted(os.listdir(where)) == names
        listed = subprocess.run(["ls", "-lU", where], check=True, capture_output=True, text=True).stdout.splitlines()
        assert len(listed) == MANY + 1
    for name in names[::2]:
        os.unlink(present / name)
    assert sorted(os.listdir(present)) == names[1::2]
    assert len(os.listdir(present / ".mimei" / "@v")) == MANY


def test_listings_are_in_name_order(present: Path) -> None:
    for name in ("b", "c", "a"):
        (present / name).touch()
    opened = Listing(present)
    assert opened.rest() == [b"a", b"b", b"c"]
    opened.close()


def test_what_exists_throughout_appears_once_while_others_come_and_go(present: Path, listing: Listing) -> None:
    seen = [listing.next()]
    for number in range(0, 300, 3):
        (present / f"{number:04d}").unlink()
        (present / f"{number:04d}-new").touch()
    found = [name for name in (seen + listing.rest()) if name is not None and b"-" not in name]
    stayed = [number for number in range(300) if number % 3]
    assert len(found) == len(set(found))
    assert set(stayed) <= set(numbers(found))


def test_a_stream_goes_back_to_where_it_was(listing: Listing) -> None:
    for _ in range(100):
        listing.next()
    place = listing.tell()
    rest = listing.rest()
    assert len(rest) == 200
    listing.seek(place)
    assert listing.rest() == rest


def test_a_stream_goes_back_after_changes_and_shows_what_stayed_once(present: Path, listing: Listing) -> None:
    for _ in range(150):
        listing.next()
    place = listing.tell()
    before = listing.rest()
    for number in range(0, 300, 2):
        (present / f"{number:04d}").unlink()
    listing.seek(place)
    after = listing.rest()
    assert len(after) == len(set(after))
    assert {name for name in before if int(name) % 2} <= set(after)


def test_a_rewound_stream_shows_what_is_new(present: Path) -> None:
    (present / "a").touch()
    opened = Listing(present)
    start = opened.tell()
    assert opened.rest() == [b"a"]
    (present / "b").touch()
    opened.seek(start)
    opened.close()
    assert sorted(os.listdir(present)) == ["a", "b"]


def test_two_streams_do_not_disturb_each_other(present: Path, listing: Listing) -> None:
    other = Listing(present)
    pairs = [(listing.next(), other.next()) for _ in range(200)]
    assert all(one == two for one, two in pairs)
    listing.seek(0)
    assert len(other.rest()) == 100
    assert len(listing.rest()) == 300
    other.close()


def test_a_directory_emptied_while_it_is_listed_goes(present: Path) -> None:
    (present / "d").mkdir()
    for number in range(1500):
        (present / "d" / f"{number}-{'n' * 60}").touch()
    subprocess.run(["rm", "-r", present / "d"], check=True)
    assert os.listdir(present) == []


def test_a_version_is_listed_from_the_middle(present: Path) -> None:
    for number in range(500):
        (present / f"{number:04d}").touch()
    (present / ".mimei" / "@v").mkdir()
    opened = Listing(present / ".mimei" / "@v")
    for _ in range(250):
        opened.next()
    place, rest = opened.tell(), opened.rest()
    assert numbers(rest) == list(range(250, 500))
    opened.seek(place)
    assert opened.rest() == rest
    opened.close()


def test_every_listing_begins_with_the_dots(present: Path) -> None:
    (present / "d").mkdir()
    (present / "f").touch()
    (present / ".mimei" / "@v").mkdir()
    inside = present / ".mimei"
    for where in (present, present / "d", inside, inside / "@v", inside / "@v" / "d", inside / "@history", present.parent):
        opened = Listing(where)
        entries = list(iter(opened.entry, None))
        opened.seek(0)
        assert list(iter(opened.entry, None)) == entries
        opened.close()
        assert [name for name, _ in entries[:2]] == [b".", b".."]
        assert entries[0][1] == where.stat().st_ino
        assert sorted(os.fsdecode(name) for name, _ in entries[2:]) == sorted(os.listdir(where))


def test_a_version_is_listed_from_each_place_on(present: Path) -> None:
    for name in "abc":
        (present / name).touch()
    (present / ".mimei" / "@v").mkdir()
    opened = Listing(present / ".mimei" / "@v")
    names, places = [], []
    while entry := opened.entry():
        names.append(entry[0])
        places.append(opened.tell())
    for count, place in enumerate(places, 1):
        opened.seek(place)
        assert [name for name, _ in iter(opened.entry, None)] == names[count:]
    opened.close()


def test_a_listing_tells_types(present: Path) -> None:
    (present / "f").touch()
    (present / "d").mkdir()
    (present / "s").symlink_to("d")
    (present / ".mimei" / "@v").mkdir()
    for where in (present, present / ".mimei" / "@v"):
        kinds = {
            entry.name: (entry.is_file(follow_symlinks=False), entry.is_dir(follow_symlinks=False), entry.is_symlink())
            for entry in os.scandir(where)
        }
        assert kinds == {"f": (True, False, False), "d": (False, True, False), "s": (False, False, True)}


def test_files_made_by_another_process_are_seen_at_once(present: Path) -> None:
    assert not (present / "new").exists()
    subprocess.run([sys.executable, "-c", f"open({str(present / 'new')!r}, 'w').write('x')"], check=True)
    assert (present / "new").read_text() == "x"
    subprocess.run(["rm", present / "new"], check=True)
    assert not (present / "new").exists()
