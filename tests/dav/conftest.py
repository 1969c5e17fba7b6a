"""A served tree for each test."""

from collections.abc import Iterator

import pytest

from tests.dav.serving import Serving, serving


@pytest.fixture
def served() -> Iterator[Serving]:
    with serving() as found:
        yield found
