"""Conditional requests (RFC 9110, section 13): whether a request still fits the state that is there. Pure.

Entity tags come unquoted, ``W/`` in front of a weak one. ``If-Match`` takes a weak tag too where it is the same: here each
change gives another one, weak only because sealing gives the same bytes their strong tag; refusing it would leave clients
that must not overwrite others' changes with no way to write at all.
"""

from dataclasses import dataclass
from enum import Enum

from mimeifs.dav import dates


class Verdict(Enum):
    """What the conditions of a request come to."""

    GO = "go"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wishes:
    """The conditions of one request, as its headers say them."""

    match: str | None = None
    none_match: str | None = None
    modified_since: str | None = None
    unmodified_since: str | None = None

    @property
    def any(self) -> bool:
        """Whether there are conditions on the state at all."""
        return (self.match, self.none_match, self.modified_since, self.unmodified_since) != (None, None, None, None)


@dataclass(frozen=True, slots=True)
class State:
    """What is there: its entity tag, and when it was last modified."""

    etag: str
    modified_ns: int


def quoted(etag: str) -> str:
    """An entity tag as headers have it."""
    return f'W/"{etag[2:]}"' if etag.startswith("W/") else f'"{etag}"'


def tags(header: str) -> list[str] | None:
    """The unquoted tags of a list; None when it is none. ``*`` stands alone and is the caller's."""
    found: list[str] = []
    at, end = 0, len(header)
    while at < end:
        if header[at] in " \t,":
            at += 1
            continue
        weak = header.startswith("W/", at)
        at += 2 if weak else 0
        close = header.find('"', at + 1)
        if at >= end or header[at] != '"' or close < 0:
            return None
        found.append(("W/" if weak else "") + header[at + 1 : close])
        at = close + 1
    return found


def _weakly_among(etag: str, header: str) -> bool:
    bare = etag.removeprefix("W/")
    return any(tag.removeprefix("W/") == bare for tag in tags(header) or ())


def judge(wishes: Wishes, state: State | None, *, safe: bool) -> Verdict:
    """Evaluate in the order of RFC 9110, 13.2.2; ``state`` is None where nothing is, ``safe`` for GET and HEAD."""
    if wishes.match is not None:
        there = state is not None and (wishes.match.strip() == "*" or state.etag in (tags(wishes.match) or ()))
        if not there:
            return Verdict.FAILED
    elif wishes.unmodified_since is not None and state is not None:
        since = dates.parse(wishes.unmodified_since)
        if since is not None and state.modified_ns // dates.SECOND > since:
            return Verdict.FAILED
    if wishes.none_match is not None:
        there = state is not None and (wishes.none_match.strip() == "*" or _weakly_among(state.etag, wishes.none_match))
        if there:
            return Verdict.NOT_MODIFIED if safe else Verdict.FAILED
    elif wishes.modified_since is not None and safe and state is not None:
        since = dates.parse(wishes.modified_since)
        if since is not None and state.modified_ns // dates.SECOND <= since:
            return Verdict.NOT_MODIFIED
    return Verdict.GO
