"""The ``If`` header (RFC 4918, section 10.4): parsed in one pass, without recursion, and evaluated. Pure.

    If: <http://host/a> (<urn:uuid:1> ["tag"]) (Not <DAV:no-lock>)

Lists are alternatives, the conditions in a list must all hold. A list without a resource in front is about the request's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mimeifs.dav.status import Refusal

MAX_CONDITIONS = 1000
MAX_RESOURCES = 32


@dataclass(frozen=True, slots=True)
class Condition:
    """A state token (a URI) or an entity tag (unquoted) that must, or with ``negated`` must not, match."""

    value: str
    is_tag: bool
    negated: bool


@dataclass(frozen=True, slots=True)
class List:
    """Conditions that must hold together; ``resource`` is None for the request's own."""

    resource: str | None
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What a resource is like: its entity tag (None where nothing is) and the tokens of the locks that cover it."""

    etag: str | None
    tokens: frozenset[str]


def parse(header: str) -> tuple[List, ...]:
    """All lists of the header; raises ``Refusal`` (400)."""
    return _Parser(header).run()


def tokens(lists: tuple[List, ...]) -> tuple[str, ...]:
    """The lock tokens that were submitted (RFC 4918, 6.4: whatever list they stand in)."""
    found = [c.value for one in lists for c in one.conditions if not c.is_tag and not c.negated]
    return tuple(dict.fromkeys(found))


def holds(lists: tuple[List, ...], look: Callable[[str | None], State]) -> bool:
    """Whether any list holds; ``look`` tells the state of a resource and is asked once for each."""
    states: dict[str | None, State] = {}
    for one in lists:
        if one.resource not in states:
            states[one.resource] = look(one.resource)
        if all(_matches(condition, states[one.resource]) for condition in one.conditions):
            return True
    return False


def _matches(condition: Condition, state: State) -> bool:
    if condition.is_tag:
        there = state.etag is not None and state.etag.removeprefix("W/") == condition.value.removeprefix("W/")
    else:
        there = condition.value in state.tokens
    return there is not condition.negated


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._count = 0

    def run(self) -> tuple[List, ...]:
        found: list[List] = []
        resource: str | None = None
        resources = 0
        tagged = self._peek() == "<"
        while sign := self._peek():
            if sign == "<" and tagged:
                resource = self._until("<", ">")
                resources += 1
                if self._peek() != "(" or resources > MAX_RESOURCES:
                    raise self._bad()
            elif sign == "(":
                found.append(List(resource, self._list()))
            else:
                raise self._bad()
        if not found:
            raise self._bad()
        return tuple(found)

    def _list(self) -> tuple[Condition, ...]:
        self._at += 1
        found: list[Condition] = []
        while (sign := self._peek()) != ")":
            negated = self._text[self._at : self._at + 3].lower() == "not"
            if negated:
                self._at += 3
                sign = self._peek()
            if sign == "<":
                found.append(Condition(self._until("<", ">"), False, negated))
            elif sign == "[":
                found.append(Condition(self._tag(), True, negated))
            else:
                raise self._bad()
            self._count += 1
            if self._count > MAX_CONDITIONS:
                raise Refusal(400, f"the If header has more than {MAX_CONDITIONS} conditions")
        self._at += 1
        if not found:
            raise self._bad()
        return tuple(found)

    def _tag(self) -> str:
        text = self._until("[", "]").strip()
        weak = text.startswith("W/")
        bare = text[2:] if weak else text
        if len(bare) < 2 or bare[0] != '"' or bare[-1] != '"':
            raise self._bad()
        return ("W/" if weak else "") + bare[1:-1]

    def _until(self, opening: str, closing: str) -> str:
        end = self._text.find(closing, self._at + 1)
        if end < 0 or self._text[self._at] != opening or end == self._at + 1:
            raise self._bad()
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return inside

    def _peek(self) -> str:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _bad(self) -> Refusal:
        return Refusal(400, f"the If header makes no sense at its character {self._at + 1}")
