"""A served tree for each test, and one running node for all that need no other."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.dav.desks import Folder, driven
from tests.dav.serving import Serving, serving
from tests.serving import Served

_NUMBERS = count(1)


@pytest.fixture
def served() -> Iterator[Serving]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """A node with a drive, and the drive's address; its store is checked at the end."""
    with driven(tmp_path_factory.mktemp("drive")) as found:
        yield found
        served = found[0]
        assert served.end() == 0
        served.command("check")


@pytest.fixture
def folder(drive: tuple[Served, str], request: pytest.FixtureRequest) -> Folder:
    """A MiMei of its own for a test that needs one."""
    return Folder(*drive, f"{request.node.originalname}-{next(_NUMBERS)}")
