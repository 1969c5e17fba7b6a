"""The way from a command to the model: over the socket of the running node, or, when none runs, by opening the store.

Always true: the same handlers answer either way; a store is opened only while no node has it, and closed whatever
happens.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import msgspec

from mimeifs.api.client import Client, connect
from mimeifs.api.requests import Request
from mimeifs.cli.progress import meter
from mimeifs.errors import LockedError
from mimeifs.home import Home

if TYPE_CHECKING:
    from mimeifs.api.services import Services
    from mimeifs.engine import LocalEngine

R = TypeVar("R", bound=msgspec.Struct)
PATIENCE_SECONDS = 2.0
"""How long to wait for a command, or for a node that is starting or ending, that has the store."""
_PAUSE_SECONDS = 0.02


class Gate(Protocol):
    """Takes requests."""

    def call(self, request: Request[R]) -> R:
        """The reply; raises what the handler raises."""
        ...


class LocalGate:
    """A gate to the store itself."""

    def __init__(self, local: "LocalEngine", services: "Services") -> None:
        self.local = local
        self._services = services

    def call(self, request: Request[R]) -> R:
        """See ``Gate``."""
        from mimeifs.api.handlers import handle

        return cast("R", self.local.run(partial(handle, self._services, request)))


@contextmanager
def opened(home: Home) -> Iterator[Gate]:
    """A gate for the time of a block; raises what keeps it shut."""
    home.check()
    found = connect(home.socket) or _open(home)
    if isinstance(found, Client):
        try:
            yield found
        finally:
            found.close()
        return
    try:
        yield found
    except BaseException:
        found.local.abandon()
        raise
    found.local.close()


def _open(home: Home) -> LocalGate | Client:
    """The store itself, or the node that turns out to hold it. Raises ``LockedError``."""
    try:
        return _own(home)
    except LockedError:
        with meter("the store is in use: waiting for the command or node that has it", 0.0):
            return _wait(home)


def _own(home: Home) -> LocalGate:
    """The store itself. Raises ``LockedError``."""
    from mimeifs.api.services import services_of
    from mimeifs.clock import SystemClock, SystemRandomness
    from mimeifs.engine import LocalEngine
    from mimeifs.model.node import Who

    engine = LocalEngine(home, SystemClock(), SystemRandomness())
    return LocalGate(engine, services_of(engine.engine, Who(os.geteuid(), os.getegid())))


def _wait(home: Home) -> LocalGate | Client:
    """The store once it is free, or the node that has it. Raises ``LockedError`` when patience is at its end."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _own(home)
        except LockedError:
            client = connect(home.socket)
            if client is not None:
                return client
            if time.monotonic() > end:
                raise LockedError(
                    f"the store in {home.storage.root} is in use, but no node answers on {home.socket}: wait for the other"
                    " command or node to finish, or end it"
                ) from None
            time.sleep(_PAUSE_SECONDS)
