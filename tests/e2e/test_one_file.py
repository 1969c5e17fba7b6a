"""One file changed in every way at once, with versions and restores between: it and each version hold what they must.

The same steps on the disk's own file system show that the oracle is right.
"""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.tossing import Tossed
from tests.serving import Served, serving

pytestmark = [pytest.mark.mount, pytest.mark.timeout(900)]

MOUNTS = {"through": (), "writeback": ("-o", "writeback")}
_numbers = count(1)


class Versioned:
    """A file in a MiMei, its versions, and what each must hold."""

    def __init__(self, served: Served, present: Path, seed: int) -> None:
        self._served = served
        self._present = present
        self._seed = seed
        self._taken: dict[str, bytes] = {}
        self.file = Tossed(present / "f", seed)

    def toss(self, steps: int) -> None:
        """That many steps, then look at everything."""
        try:
            for _ in range(steps):
                self.file.step((0.4, self._take), (0.1, self._restore), (0.05, self._rest), (0.1, self._look))
            self.file.reopen()
            for label in self._taken:
                self._compare(label)
        except (AssertionError, OSError) as error:
            raise AssertionError(f"seed {self._seed}: {error} after: {'; '.join(self.file.steps[-60:])}") from error
        finally:
            self.file.close()

    def _take(self) -> None:
        if not self._served.options:  # With writeback the kernel is asked for everything.
            self.file.hand_over()
        label = f"v{len(self._taken)}"
        self.file.steps.append(f"version {label}")
        (self._present / ".mimei" / f"@{label}").mkdir()
        self._taken[label] = bytes(self.file.held)

    def _compare(self, label: str) -> None:
        self.file.steps.append(f"compare {label}")
        assert (self._present / ".mimei" / f"@{label}" / "f").read_bytes() == self._taken[label], label

    def _look(self) -> None:
        if self._taken:
            self._compare(list(self._taken)[len(self.file.steps) % len(self._taken)])

    def _restore(self) -> None:
        """What is open then has no name any more."""
        if self._taken:
            label = list(self._taken)[len(self.file.steps) % len(self._taken)]
            self.file.steps.append(f"restore {label}")
            self.file.close()
            self._served.command("restore", self._present.name, label, "f")
            self.file.held = bytearray(self._taken[label])
            self.file.reopen()

    def _rest(self) -> None:
        """Long enough to be sealed."""
        self.file.steps.append("rest")
        time.sleep(5)


@pytest.fixture(scope="module", params=list(MOUNTS))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("one"), options=MOUNTS[request.param], life=880) as served:
        yield served
        assert served.end() == 0
        assert "unforeseen" not in served.tail()
        served.command("check")


@pytest.mark.parametrize("seed", range(3))
def test_the_file_and_its_versions_hold_what_was_written(served: Served, seed: int) -> None:
    number = next(_numbers)
    Versioned(served, served.mimei(f"m{number}"), seed).toss(250)


@pytest.mark.slow
def test_a_hundred_files(served: Served) -> None:
    for seed in range(100, 200):
        Versioned(served, served.mimei(f"m{next(_numbers)}"), seed).toss(250)


@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_is_right_about_the_disk(tmp_path: Path, seed: int) -> None:
    file = Tossed(tmp_path / "f", seed)
    for _ in range(600):
        file.step()
    file.reopen()
    file.close()
