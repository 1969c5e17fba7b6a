"""POSIX access control lists: their bytes, and how they and the mode bits of an inode go together.

A list is kept as the extended attribute that Linux has for it (``linux/posix_acl_xattr.h``, version 2); rights are the
three bits of a mode. Everything here is values in, values out; who may do what is decided by the kernel.

Always true of what is stored: an access list says more than a mode can, and its owner, mask (or group) and other rights
are those of the mode. Rules: acl(5), and 1003.1e draft 17, sections 23.1.2 to 23.1.5.
"""

import struct
from enum import IntEnum

import msgspec

from mimeifs.errors import InvalidError

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
NAMES = frozenset((ACCESS, DEFAULT))

_HEAD = struct.Struct("<I")
_RULE = struct.Struct("<HHI")
_VERSION = 2
_ANYBODY = 0xFFFFFFFF


class Tag(IntEnum):
    """Whom a rule is about."""

    OWNER = 0x01
    USER = 0x02
    GROUP_OWNER = 0x04
    GROUP = 0x08
    MASK = 0x10
    OTHER = 0x20


_ONCE = (Tag.OWNER, Tag.GROUP_OWNER, Tag.MASK, Tag.OTHER)
_MODE_ONLY = (Tag.OWNER, Tag.GROUP_OWNER, Tag.OTHER)


class Rule(msgspec.Struct, frozen=True):
    """What one of them may do; ``who`` is the number of a named user or group, else all ones."""

    tag: Tag
    rights: int
    who: int = _ANYBODY


Acl = tuple[Rule, ...]
Xattrs = tuple[tuple[bytes, bytes], ...]


def decode(value: bytes) -> Acl:
    """The list in an attribute's value; raises ``InvalidError`` for anything that is none."""
    if len(value) < _HEAD.size or (len(value) - _HEAD.size) % _RULE.size or _HEAD.unpack_from(value)[0] != _VERSION:
        raise InvalidError("not an access control list of version 2")
    try:
        rules = tuple(Rule(Tag(tag), rights, who) for tag, rights, who in _RULE.iter_unpack(value[_HEAD.size :]))
    except ValueError:
        raise InvalidError("an access control list has a rule of an unknown kind") from None
    _check(rules)
    return rules


def _check(acl: Acl) -> None:
    """Raise unless the rules are in order, each tag that must be there is there once, and a mask where one is needed."""
    tags = [rule.tag for rule in acl]
    if not acl:
        return
    if tags != sorted(tags) or any(tags.count(tag) > 1 for tag in _ONCE) or any(tag not in tags for tag in _MODE_ONLY):
        raise InvalidError("an access control list has owner, group and other once each, and its rules in order")
    if any(rule.rights & ~0o7 for rule in acl):
        raise InvalidError("an access control list grants reading, writing and executing, nothing else")
    named = [rule for rule in acl if rule.tag in (Tag.USER, Tag.GROUP)]
    if named and Tag.MASK not in tags:
        raise InvalidError("an access control list with named users or groups has a mask")
    if any(rule.who == _ANYBODY for rule in named):
        raise InvalidError("an access control list names a user or group without a number")


def encode(acl: Acl) -> bytes:
    """The bytes of a list."""
    rules = (_RULE.pack(rule.tag, rule.rights, rule.who if rule.tag in (Tag.USER, Tag.GROUP) else _ANYBODY) for rule in acl)
    return _HEAD.pack(_VERSION) + b"".join(rules)


def says_more(acl: Acl) -> bool:
    """Whether a list says more than a mode can."""
    return any(rule.tag not in _MODE_ONLY for rule in acl)


def _group_class(acl: Acl) -> Tag:
    """The rule whose rights the group bits of the mode are."""
    return Tag.MASK if any(rule.tag is Tag.MASK for rule in acl) else Tag.GROUP_OWNER


def mode_of(acl: Acl) -> int:
    """The nine bits of the mode that go with an access list."""
    rights = {rule.tag: rule.rights for rule in acl if rule.tag in _ONCE}
    return rights[Tag.OWNER] << 6 | rights[_group_class(acl)] << 3 | rights[Tag.OTHER]


def with_mode(acl: Acl, mode: int) -> Acl:
    """The access list after chmod(2)."""
    bits = {Tag.OWNER: mode >> 6, _group_class(acl): mode >> 3, Tag.OTHER: mode}
    return tuple(Rule(rule.tag, bits[rule.tag] & 0o7, rule.who) if rule.tag in bits else rule for rule in acl)


def inherited(default: Acl, mode: int) -> Acl:
    """The access list of what is made with ``mode`` in a directory with that default list: never more than either grants."""
    return with_mode(default, mode & mode_of(default))


# Among the attributes of an inode


def found(xattrs: Xattrs, name: bytes) -> Acl:
    """The list of that name among attributes; empty where there is none."""
    return next((decode(value) for key, value in xattrs if key == name), ())


def replaced(xattrs: Xattrs, name: bytes, acl: Acl) -> Xattrs:
    """The attributes with another list of that name; an empty list, or an access list that is only a mode, is none."""
    others = [pair for pair in xattrs if pair[0] != name]
    kept = bool(acl) if name == DEFAULT else says_more(acl)
    return tuple(sorted([*others, (name, encode(acl))] if kept else others))


def changed_mode(xattrs: Xattrs, mode: int) -> Xattrs:
    """The attributes after chmod(2)."""
    access = found(xattrs, ACCESS)
    return replaced(xattrs, ACCESS, with_mode(access, mode)) if access else xattrs


def handed_down(above: Xattrs, mode: int, umask: int) -> tuple[int, Acl, Acl]:
    """For what is made with ``mode`` in a directory of attributes ``above``: mode, access and default list it begins with.

    The default list is for directories. The umask counts only where there is no default list.
    """
    default = found(above, DEFAULT)
    if not default:
        return mode & ~umask, (), ()
    access = inherited(default, mode)
    return mode & ~0o777 | mode_of(access), access, default
