"""One daemon for the tables of FUSE behaviour; each test gets a MiMei of its own."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.serving import Served, serving

_numbers = count(1)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served
        assert served.end() == 0
        assert "unforeseen" not in served.tail()


@pytest.fixture
def present(served: Served) -> Iterator[Path]:
    """The directory of a new MiMei's present."""
    before = served.log.stat().st_size
    yield served.mimei(f"t{next(_numbers)}")
    said = served.log.read_bytes()[before:]
    assert b"unforeseen" not in said, said.decode()
