"""rename(2) and renameat2(2): every kind of source over every kind of target."""

from itertools import product

import pytest

from tests.posix.calls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renaming, rows_named
from tests.posix.conftest import Agree
from tests.posix.stage import ANN, BOB, row

pytestmark = pytest.mark.mount

KINDS = ("f", "hard", "g", "s", "sd", "broken", "p", "d", "full", "missing")
FLAGS = {"rename": 0, "rename without replacing": RENAME_NOREPLACE, "exchange": RENAME_EXCHANGE}

EVERY_KIND = [
    row(f"{how} {source} to {target}", renaming(source, target, flags))
    for (how, flags), source, target in product(FLAGS.items(), KINDS, KINDS)
]


@pytest.mark.parametrize(**rows_named(EVERY_KIND))
def test_every_kind_over_every_kind(played, agree: Agree) -> None:
    agree(played)
