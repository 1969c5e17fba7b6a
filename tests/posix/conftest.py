"""Two stages: the disk, whose file system is the oracle, and a MiMei on a mount that the tables of a module share.

Not one mount for all: a daemon of the tests does not live long enough for that on a slow machine.
"""

import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.posix.differing import DIFFERENT
from tests.posix.stage import ANN, AS_ROOT, BOB, Person, Player, Row, Step, act, lay
from tests.serving import Served, serving

OPTIONS = ("-o", "allow_other") if AS_ROOT else ()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), options=OPTIONS) as served:
        yield served
        assert served.end() == 0
        assert "unforeseen" not in served.tail()


@pytest.fixture(scope="module")
def present(served: Served) -> Path:
    """The directory of one present for all rows."""
    made = served.mimei("present")
    made.chmod(0o755)
    return made


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the disk's own file system; the rows need one that keeps all that Linux has."""
    made = tmp_path_factory.mktemp("disk")
    kind = subprocess.run(["stat", "-f", "-c", "%T", made], check=True, capture_output=True, text=True).stdout.strip()
    if kind != "ext2/ext3":
        pytest.skip(f"the oracle is ext4, and the temporary folder is on {kind}")
    return made


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture(scope="module")
def players() -> Iterator[dict[Person | None, Player]]:
    made = {who: Player(who) for who in ((None, ANN, BOB) if AS_ROOT else (None,))}
    yield made
    for player in made.values():
        player.end()


Agree = Callable[[Row], None]


def _play(players: dict[Person | None, Player], played: Row, disk: Path, stage: Path, prepared: Step) -> None:
    if played.who not in players:
        pytest.skip("only root becomes somebody else")
    player = players[played.who]
    try:
        lay(played, stage)
    except PermissionError:
        if AS_ROOT:
            raise
        pytest.skip("only root can prepare it")
    prepared()
    found = act(played, stage, player)
    if played.name in DIFFERENT:
        assert found.results == DIFFERENT[played.name].results
        return
    lay(played, disk)
    wanted = act(played, disk, player)
    assert found.results == wanted.results
    assert found.changes == wanted.changes
    assert found.after == wanted.after


@pytest.fixture
def agree(disk: Path, present: Path, numbers: Iterator[int], players: dict[Person | None, Player]) -> Agree:
    """Play a row on both stages; both must come to the same."""

    def play(played: Row) -> None:
        name = f"{next(numbers)}"
        _play(players, played, disk / name, present / name, lambda: None)

    return play


@pytest.fixture
def agree_after_a_version(disk: Path, present: Path, numbers: Iterator[int], players: dict[Person | None, Player]) -> Agree:
    """As :func:`agree`, of objects that a version holds and the present has in no row of its own."""

    def play(played: Row) -> None:
        name = f"{next(numbers)}"
        _play(players, played, disk / name, present / name, (present / ".mimei" / f"@v{name}").mkdir)

    return play
