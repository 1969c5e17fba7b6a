"""Calls of the model that come later, joined: what to do with a result that is not there yet.

Always true: nothing here waits; ``Later`` goes on to whoever carries the call through, with more to do then.
"""

from collections.abc import Callable
from typing import TypeVar

from mimeifs.api.services import Services
from mimeifs.model.versions import Later

A = TypeVar("A")
B = TypeVar("B")


def then(call: Callable[[], A], proceed: Callable[[A], B]) -> B:
    """``proceed`` with what ``call`` gives, now or later."""
    try:
        found = call()
    except Later as later:
        first = later.proceed
        raise Later(later.at, lambda taken: then(lambda: first(taken), proceed)) from None
    return proceed(found)


def stored(services: Services, call: Callable[[], A]) -> A:
    """What ``call`` gives once everything appended so far is in the store."""
    live = services.live
    if live.position >= live.journal.position:
        return call()
    raise Later(live.journal.position - 1, lambda _: call())
