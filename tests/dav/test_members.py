"""Rows of members by template are those that would have been written one property at a time."""

from hypothesis import given
from hypothesis import strategies as st

from mimeifs.dav import live, members, properties
from mimeifs.dav.live import Context
from mimeifs.dav.xml_in import DAV, Propfind
from mimeifs.model.resource import Facts
from tests.dav.memory_tree import MemoryTree

TIMES = st.integers(-(10**18), 10**19)
NAMES = st.one_of(
    st.binary(min_size=1, max_size=20), st.text(min_size=1, max_size=9).map(lambda name: name.encode(errors="replace"))
)
FACTS = st.builds(
    Facts,
    NAMES,
    st.sampled_from(["dir", "file", "symlink", "other"]),
    st.integers(0, 1 << 50),
    TIMES,
    TIMES,
    TIMES,
    st.integers(1, 1 << 62),
    st.just(0o644),
    st.sampled_from(["empty", "W/1-2", "abc-_"]),
    st.booleans(),
    st.booleans(),
    properties=st.sampled_from([{}, {}, {"{a:}b": b'<b xmlns="a:">1</b>'}]),
)
ASKED = st.one_of(
    st.just(Propfind()),
    st.lists(st.sampled_from(sorted(members.QUICK)), unique=True).map(lambda names: Propfind(tuple(names))),
)


@given(facts=FACTS, name=NAMES, asked=ASKED, brief=st.booleans())
def test_rows_are_the_same(facts: Facts, name: bytes, asked: Propfind, brief: bool) -> None:
    context, parent = Context(MemoryTree(), 0), (b"a&b", b"%s")
    slow = properties._writer(asked, live.ALL, context, brief)
    quick = members.writer(asked, parent, context, brief, slow)
    assert members.is_quick(asked)
    assert quick(facts, (*parent, name)) == slow(facts, (*parent, name))


def test_what_facts_do_not_say_is_left_to_others() -> None:
    assert not members.is_quick(Propfind((DAV + "getetag", DAV + "lockdiscovery")))
    assert not members.is_quick(Propfind((DAV + "quota-used-bytes",)))
    assert not members.is_quick(Propfind(names_only=True))
    assert not members.is_quick(Propfind(include=(DAV + "supportedlock",)))
