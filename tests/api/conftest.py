"""A store for the handlers, checked when the test is done."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from mimeifs.api.handlers import handle
from mimeifs.api.requests import Request
from mimeifs.api.services import Services, services_of
from mimeifs.clock import CountingRandomness, ManualClock
from mimeifs.engine import LocalEngine, create_home
from mimeifs.errors import NotFoundError
from mimeifs.home import Home
from mimeifs.model.checking import check
from mimeifs.model.node import Node, Who
from mimeifs.store.blobs import BlobReader, index_of

R = TypeVar("R", bound=msgspec.Struct)
WHO = Who(1000, 1000)


@dataclass(frozen=True)
class Store:
    """An opened store, its services, and a way to ask them."""

    local: LocalEngine
    services: Services

    def ask(self, request: Request[R]) -> R:
        return self.local.run(partial(handle, self.services, request))

    def do(self, call: Callable[[], object]) -> None:
        self.local.run(call)

    def write(self, directory: Node, name: bytes, data: bytes) -> None:
        """A file of that content, new or over the old one."""

        def put() -> None:
            try:
                file = directory.lookup(name)
            except NotFoundError:
                file = directory.create(name, 0o644, WHO)
            handle = file.open(writing=True)
            handle.write(0, data)
            handle.close()

        self.do(put)

    def present(self, name: bytes) -> Node:
        """The root directory of a present whose link shows it."""
        return self.local.attempt(lambda: self.services.views.root.lookup(name))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    create_home(made, ManualClock(), CountingRandomness(), None, WHO)
    return made


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    local = LocalEngine(home, ManualClock(), CountingRandomness(1000))
    yield Store(local, services_of(local.engine, WHO))
    local.settle()
    blobs = BlobReader(home.storage.packs, index_of(local.database), cache_bytes=1 << 20)
    findings = list(check(local.database, blobs, home.storage))
    blobs.close()
    local.close()
    assert findings == []
