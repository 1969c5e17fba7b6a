"""What tests of the store share."""

from pathlib import Path

import pytest

from tests.store.packing import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)
