"""Listings that are kept: what is asked of the node before they go out again, and that they say what it says."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from mimeifs.api.tree_requests import Listed
from mimeifs.dav import properties
from mimeifs.dav.known import OVERHEAD, Listing, Listings
from mimeifs.dav.xml_in import Propfind
from mimeifs.model.resource import Facts, Path

KEY = ((b"d",), Propfind(), False)


def facts(name: bytes, etag: str = "t", ino: int = 7) -> Facts:
    return Facts(name, "file", 1, 0, 0, 0, ino, 0o644, etag, writable=True, immutable=False)


class Noting:
    """A tree of one directory in pages of two, with what was asked of it."""

    def __init__(self) -> None:
        self.count, self.asked = 1, list[Any]()
        self.listings: Listings = Listings(lambda: self.count, room=1 << 20)
        self.rows = {name: facts(name) for name in (b"a", b"b", b"c")}
        self.mark, self.loose = "m", tuple[bytes, ...]()
        self.told: tuple[bytes, ...] | None = None
        self.between = lambda: None

    def pages(self, _: Path, *, properties: bool) -> Iterator[Listed]:
        self.asked.append("pages")
        names = sorted(self.rows)
        for at in range(0, len(names), 2):
            shown = names[at : at + 2]
            loose = tuple(name for name in self.loose if name in shown or (not at and name not in self.rows))
            yield Listed(tuple(self.rows[name] for name in shown), shown[-1], self.mark, loose)
            self.between()

    def again(self, _: Path, mark: str, names: Sequence[bytes], *, properties: bool) -> Listed:
        self.asked.append(tuple(names))
        if mark != self.mark and self.told is None:
            return Listed((), b"")
        asked = dict.fromkeys((*names, *(self.told or ())))
        rows = tuple(self.rows[name] for name in asked if name in self.rows)
        loose = tuple(name for name in asked if name in self.loose)
        return Listed(rows, b"", self.mark, loose, tuple(asked.keys() - self.rows.keys() - set(loose)))

    def list(self) -> tuple[dict[str, str], list[Any]]:
        """Name to tag as a listing says them, and what was asked for it."""
        self.asked.clear()
        found: dict[str, str] = {}

        def write(shown: Facts, path: Path) -> str:
            return f"{path[-1].decode()}={shown.etag};"

        exchange: Any = SimpleNamespace(tree=self)
        kept = properties._kept(exchange, self.listings, KEY, False, write)
        texts = kept.rows.values() if kept is not None else properties._written(exchange, self.listings, KEY, False, write)
        for row in "".join(texts).split(";")[:-1]:
            name, _, etag = row.partition("=")
            assert name not in found
            found[name] = etag
        return found, list(self.asked)


ALL = {"a": "t", "b": "t", "c": "t"}


def test_nothing_is_asked_while_nothing_has_changed() -> None:
    tree = Noting()
    assert tree.list() == (ALL, ["pages"])
    assert tree.list() == (ALL, [])


def test_after_a_change_elsewhere_only_what_is_loose_is_asked_for() -> None:
    tree = Noting()
    tree.loose = (b"b", b"hidden")
    assert tree.list() == (ALL, ["pages"])
    tree.count += 1
    tree.rows[b"b"] = facts(b"b", "new")
    found, asked = tree.list()
    assert (found, [sorted(names) for names in asked]) == (ALL | {"b": "new"}, [[b"b", b"hidden"]])
    tree.count += 1
    tree.rows[b"hidden"] = facts(b"hidden", "shown")
    del tree.rows[b"b"]
    assert tree.list()[0] == {"a": "t", "c": "t", "hidden": "shown"}


def test_what_is_loose_no_more_is_not_asked_for_again() -> None:
    tree = Noting()
    tree.loose = (b"a", b"b")
    tree.list()
    tree.count, tree.loose, tree.rows[b"a"] = 2, (b"b",), facts(b"a", "sealed")
    assert tree.list() == (ALL | {"a": "sealed"}, [(b"a", b"b")])
    tree.count, tree.loose = 3, ()
    assert tree.list() == (ALL | {"a": "sealed"}, [(b"b",)])
    tree.count = 4
    assert tree.list() == (ALL | {"a": "sealed"}, [()])


def test_where_the_mark_has_moved_all_is_asked_for() -> None:
    tree = Noting()
    tree.list()
    tree.count, tree.mark, tree.rows[b"c"] = 2, "n", facts(b"c", "new")
    assert tree.list() == (ALL | {"c": "new"}, [(), "pages"])
    tree.count = 3
    assert tree.list() == (ALL | {"c": "new"}, [()])


def test_where_the_node_knows_what_has_changed_only_that_is_asked_for() -> None:
    tree = Noting()
    tree.loose = (b"b",)
    tree.list()
    tree.count, tree.mark, tree.told = 2, "n", (b"a", b"aa", b"c")
    tree.rows |= {b"a": facts(b"a", "new"), b"aa": facts(b"aa"), b"b": facts(b"b", "other")}
    del tree.rows[b"c"]
    found, asked = tree.list()
    assert (list(found.items()), asked) == ([("a", "new"), ("aa", "t"), ("b", "other")], [(b"b",)])
    tree.count, tree.mark, tree.told = 3, "o", (b"b",)
    tree.loose = ()
    del tree.rows[b"b"]
    assert tree.list() == ({"a": "new", "aa": "t"}, [(b"b",)])
    tree.count, tree.told = 4, None
    assert tree.list() == ({"a": "new", "aa": "t"}, [()])


def test_pages_of_several_marks_are_none_of_one_state() -> None:
    tree = Noting()

    def move() -> None:
        tree.count += 1
        tree.mark += "m"

    tree.between = move
    assert tree.list() == (ALL, ["pages"])
    tree.between = lambda: None
    assert tree.list() == (ALL, ["pages"])


def test_a_change_elsewhere_while_it_is_written_keeps_the_mark() -> None:
    tree = Noting()

    def change() -> None:
        tree.count += 1

    tree.between = change
    assert tree.list() == (ALL, ["pages"])
    assert tree.list() == (ALL, [()])


def test_without_a_mark_any_change_has_all_asked_for() -> None:
    tree = Noting()
    tree.mark = ""
    assert [tree.list()[1], tree.list()[1]] == [["pages"], []]
    tree.count += 1
    assert tree.list() == (ALL, ["pages"])


def test_a_lock_on_an_empty_name_is_not_kept() -> None:
    tree = Noting()
    tree.rows[b"b"] = facts(b"b", ino=0)
    assert [tree.list()[1], tree.list()[1]] == [["pages"], ["pages"]]


def test_too_much_that_is_loose_is_asked_for_with_the_rest() -> None:
    tree = Noting()
    names = [b"%04d" % number for number in range(properties.MAX_LOOSE + 1)]
    tree.rows = {name: facts(name) for name in names}
    tree.loose = tuple(tree.rows)
    tree.list()
    tree.count += 1
    assert tree.list()[1] == ["pages"]
    tree.loose = tree.loose[1:]
    tree.count += 1
    tree.list()
    tree.count += 1
    assert tree.list()[1] == [tree.loose]


def test_listings_stay_within_bounds_and_those_asked_for_last_stay() -> None:
    listings = Listings(lambda: 0, room=6 * OVERHEAD + 30)
    for number in range(5):
        listings.keep(number, Listing(0, "", {b"": "x" * 10}))
        assert listings.get(0) is not None
    assert [number for number in range(5) if listings.get(number) is not None] == [0, 3, 4]
    listings.keep(4, Listing(1, "", {b"": "y" * 10}))
    assert [number for number in range(5) if listings.get(number) is not None] == [0, 3, 4]
    listings.keep(5, Listing(0, "", {b"": "z" * 10_000}))
    assert [number for number in range(6) if listings.get(number) is not None] == []
