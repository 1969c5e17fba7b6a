"""Access control lists: their bytes, what is refused, and how they and modes follow each other."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimeifs.errors import ForbiddenError, InvalidError
from mimeifs.model import acl
from mimeifs.model.acl import ACCESS, DEFAULT, Rule, Tag
from mimeifs.model.node import Change, Who
from tests.model.conftest import WHO

BYTES = bytes.fromhex(
    "02000000"
    "01000700ffffffff"  # user::rwx
    "02000500e8030000"  # user:1000:r-x
    "04000400ffffffff"  # group::r--
    "08000700d0070000"  # group:2000:rwx
    "10000500ffffffff"  # mask::r-x
    "20000000ffffffff"  # other::---
)
RULES = (
    Rule(Tag.OWNER, 7),
    Rule(Tag.USER, 5, 1000),
    Rule(Tag.GROUP_OWNER, 4),
    Rule(Tag.GROUP, 7, 2000),
    Rule(Tag.MASK, 5),
    Rule(Tag.OTHER, 0),
)


def value(*rules: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *rule) for rule in rules)


ANY = 0xFFFFFFFF
OWNER, GROUP, OTHER = (1, 7, ANY), (4, 5, ANY), (0x20, 5, ANY)
MINIMAL = value(OWNER, GROUP, OTHER)
rights = st.integers(0, 7)


@st.composite
def lists(draw):
    """Any valid list."""
    users = [Rule(Tag.USER, draw(rights), who) for who in draw(st.lists(st.integers(0, 99), max_size=3))]
    groups = [Rule(Tag.GROUP, draw(rights), who) for who in draw(st.lists(st.integers(0, 99), max_size=3))]
    mask = [Rule(Tag.MASK, draw(rights))] if users or groups or draw(st.booleans()) else []
    first, middle, last = Rule(Tag.OWNER, draw(rights)), Rule(Tag.GROUP_OWNER, draw(rights)), Rule(Tag.OTHER, draw(rights))
    return (first, *users, middle, *groups, *mask, last)


def test_a_list_is_the_bytes_that_linux_has_for_it() -> None:
    assert acl.decode(BYTES) == RULES
    assert acl.encode(RULES) == BYTES
    assert acl.decode(value()) == ()


@given(lists())
def test_every_valid_list_comes_back_from_its_bytes(rules) -> None:
    assert acl.decode(acl.encode(rules)) == rules


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\2\0\0",
        b"\1" + MINIMAL[1:],
        MINIMAL[:-1],
        MINIMAL + b"\0",
        value(OWNER, GROUP),
        value(GROUP, OTHER),
        value(OWNER, OTHER),
        value(OWNER, OTHER, GROUP),
        value(OWNER, OWNER, GROUP, OTHER),
        value(OWNER, GROUP, (0x10, 7, ANY), (0x10, 7, ANY), OTHER),
        value(OWNER, (2, 7, 5), GROUP, OTHER),
        value(OWNER, GROUP, (8, 7, 5), OTHER),
        value(OWNER, (2, 7, ANY), GROUP, (0x10, 7, ANY), OTHER),
        value((1, 8, ANY), GROUP, OTHER),
        value(OWNER, GROUP, (0x40, 7, ANY), OTHER),
        value(OWNER, (3, 7, 5), GROUP, (0x10, 7, ANY), OTHER),
    ],
)
def test_what_is_no_list_is_refused(bad: bytes) -> None:
    with pytest.raises(InvalidError):
        acl.decode(bad)


@given(lists())
def test_hostile_bytes_are_a_list_or_are_refused(rules) -> None:
    data = bytearray(acl.encode(rules))
    for index in range(len(data)):
        changed = bytes([*data[:index], data[index] ^ 0x41, *data[index + 1 :]])
        try:
            assert acl.encode(acl.decode(changed))[: len(changed)]
        except InvalidError:
            continue


# Lists and modes


def test_the_group_bits_of_the_mode_are_the_mask_where_there_is_one() -> None:
    assert acl.mode_of(RULES) == 0o750
    assert acl.mode_of(acl.decode(MINIMAL)) == 0o755


def test_only_the_three_classes_say_no_more_than_a_mode() -> None:
    assert not acl.says_more(acl.decode(MINIMAL))
    assert acl.says_more(RULES)
    assert acl.says_more((Rule(Tag.OWNER, 7), Rule(Tag.GROUP_OWNER, 5), Rule(Tag.MASK, 5), Rule(Tag.OTHER, 5)))


@given(lists(), st.integers(0, 0o7777))
def test_after_a_chmod_the_list_goes_with_the_mode_and_named_ones_keep_their_rights(rules, mode: int) -> None:
    after = acl.with_mode(rules, mode)
    assert acl.mode_of(after) == mode & 0o777
    named = (Tag.USER, Tag.GROUP) if acl.says_more(rules) else ()
    assert [rule for rule in after if rule.tag in named] == [rule for rule in rules if rule.tag in named]


@given(lists(), st.integers(0, 0o7777), st.integers(0, 0o777))
def test_what_is_made_grants_what_both_mode_and_default_list_grant(default, mode: int, umask: int) -> None:
    begun, access, below = acl.handed_down(((DEFAULT, acl.encode(default)),), mode, umask)
    assert begun == mode & ~0o777 | mode & acl.mode_of(default)
    assert acl.mode_of(access) == begun & 0o777
    assert below == default
    assert [rule.who for rule in access] == [rule.who for rule in default]


@given(st.integers(0, 0o7777), st.integers(0, 0o777))
def test_without_a_default_list_the_umask_counts(mode: int, umask: int) -> None:
    assert acl.handed_down(((ACCESS, BYTES), (b"user.a", b"")), mode, umask) == (mode & ~umask, (), ())


def test_an_access_list_that_is_a_mode_is_not_kept_a_default_one_is() -> None:
    minimal = acl.decode(MINIMAL)
    assert acl.replaced(((ACCESS, BYTES), (b"user.a", b"1")), ACCESS, minimal) == ((b"user.a", b"1"),)
    assert acl.replaced((), DEFAULT, minimal) == ((DEFAULT, MINIMAL),)
    assert acl.replaced(((DEFAULT, BYTES),), DEFAULT, ()) == ()


# On inodes


def test_setting_a_list_sets_the_mode_and_changing_the_mode_changes_the_list(local) -> None:
    node = local.put(local.mimei(), b"f", b"x")
    node.set(Change(mode=0o4600))
    node.set_xattr(ACCESS, BYTES)
    assert node.mode == 0o4750
    node.set(Change(mode=0o604))
    assert acl.found(node.xattrs, ACCESS) == acl.with_mode(RULES, 0o604)
    node.remove_xattr(ACCESS)
    assert (node.mode, node.list_xattrs()) == (0o604, [])


def test_a_list_that_is_a_mode_only_sets_the_mode(local) -> None:
    node = local.put(local.mimei(), b"f", b"x")
    node.set_xattr(ACCESS, BYTES)
    node.set_xattr(ACCESS, MINIMAL)
    assert (node.mode, node.list_xattrs()) == (0o755, [])


def test_a_bad_list_and_one_where_none_may_be_change_nothing(local) -> None:
    top = local.mimei()
    node = local.put(top, b"f", b"x")
    link = top.symlink(b"s", b"f", WHO)
    before = node.mode, node.ctime_ns
    with pytest.raises(InvalidError):
        node.set_xattr(ACCESS, MINIMAL[:-1])
    with pytest.raises(ForbiddenError):
        node.set_xattr(DEFAULT, BYTES)
    with pytest.raises(ForbiddenError):
        link.set_xattr(ACCESS, BYTES)
    assert (node.mode, node.ctime_ns, node.list_xattrs(), link.list_xattrs()) == (*before, [], [])


def test_what_is_made_below_a_default_list_inherits_it_also_after_a_version_and_a_crash(local) -> None:
    top = local.mimei()
    top.set_xattr(DEFAULT, BYTES)
    top.set_xattr(b"user.large", b"x" * 2000)  # Large enough for a blob of its own.
    local.backup(top.tree.mimei)
    local.crash()
    top = local.present(top.tree.mimei)
    who = Who(1, 1, 0o077)
    made = local.run(lambda: top.create(b"f", 0o666, who))
    below = local.run(lambda: top.mkdir(b"d", 0o777, who))
    link = local.run(lambda: top.symlink(b"s", b"f", who))
    assert (made.mode, made.list_xattrs()) == (0o640, [ACCESS])
    assert (below.mode, below.list_xattrs()) == (0o750, [ACCESS, DEFAULT])
    assert (link.mode, link.list_xattrs()) == (0o777, [])
    assert below.get_xattr(DEFAULT) == BYTES
    past = local.past(local.backup(top.tree.mimei))
    assert local.run(lambda: past.lookup(b"f").get_xattr(ACCESS)) == made.get_xattr(ACCESS)


def test_a_new_mimei_inherits_from_the_root_it_is_made_in(local) -> None:
    root = local.engine.views.root
    root.set_xattr(DEFAULT, BYTES)
    top = local.mimei(b"shared")
    assert top.get_xattr(DEFAULT) == BYTES
    assert top.mode == 0o750
    mimei = top.tree.mimei
    local.crash()
    assert local.run(lambda: local.present(mimei).get_xattr(DEFAULT)) == BYTES
