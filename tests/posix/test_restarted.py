"""Every row once more, of objects that the node has forgotten: laid out, the node ended and started, and only then played."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.posix.differing import DIFFERENT
from tests.posix.stage import Person, Player, Row, act, lay
from tests.posix.test_different import every_row
from tests.serving import Served

pytestmark = [pytest.mark.mount, pytest.mark.slow]


@pytest.mark.parametrize("versioned", [False, True], ids=["as it was left", "after a version"])
def test_every_row_after_a_restart(versioned: bool, served: Served, disk: Path, players: dict[Person | None, Player]) -> None:
    rows = [one for one in every_row() if one.who in players and one.name not in DIFFERENT]
    present, disk = served.mimei(f"restarted{versioned}"), disk / f"{versioned}"
    present.chmod(0o755)
    disk.mkdir()
    for number, played in enumerate(rows):
        lay(played, disk / f"{number}")
        lay(played, present / f"{number}")
    if versioned:
        (present / ".mimei" / "@v").mkdir()
    assert served.end() == 0
    served.start()
    assert list(_differing(rows, disk, present, players)) == []


def _differing(
    rows: list[Row], disk: Path, present: Path, players: dict[Person | None, Player]
) -> Iterator[tuple[object, ...]]:
    for number, played in enumerate(rows):
        player = players[played.who]
        wanted, found = act(played, disk / f"{number}", player), act(played, present / f"{number}", player)
        if wanted != found:
            yield played.name, wanted, found
