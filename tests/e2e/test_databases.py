"""Databases that keep themselves whole by syncs, on the mount: SQLite with a rollback journal, and LMDB with and without a map
that is written to. The program is killed, the node, or all at once, again and again; what was committed is there and sound.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e import databases
from tests.serving import PATIENCE, Served, serving

pytestmark = [pytest.mark.mount, pytest.mark.slow]

ROUNDS = 24
VICTIMS = ("program", "program", "node", "everything", "keeper", "syncer")
MAX_RESTARTS = 3


def promised(notes: Path) -> int:
    """The last transaction that the program was told is committed."""
    lines = notes.read_bytes().split() if notes.exists() else []
    return int(lines[-1]) if lines else 0


def check_copy(kind: str, version: Path, place: Path) -> int:
    """What a version holds of it, read from a copy as after a crash."""
    subprocess.run(["cp", "-r", "--no-preserve=all", str(version), str(place)], check=True, timeout=60)
    return databases.KINDS[kind][1](place)


def kill(served: Served, victim: str) -> None:
    """Kill it, and return when all is served again."""
    if victim == "everything":
        served.kill_everything()
        served.start()
    elif victim != "program":
        served.kill(victim)
        served.until(lambda: served.serves, "it serves again")


@pytest.mark.parametrize("kind", databases.KINDS)
def test_what_was_committed_survives_the_death_of_the_program_and_of_the_node(kind: str, tmp_path: Path) -> None:
    draw, deaths = random.Random(kind), 0
    notes = tmp_path / "notes"
    with serving(tmp_path / "s") as served:
        present = served.mimei("work")
        for number in range(ROUNDS):
            victim = draw.choice(VICTIMS) if deaths < MAX_RESTARTS else "everything"
            deaths = 0 if victim == "everything" else deaths + (victim != "program")
            moment, before = draw.uniform(0.05, 0.8), promised(notes)
            print(f"round {number}: {victim} after {moment:.3f} s, {before} transactions")
            program = subprocess.Popen(
                [sys.executable, databases.__file__, kind, str(present), str(notes)], stdout=subprocess.PIPE, text=True
            )
            try:
                served.until(lambda before=before: promised(notes) > before, "a transaction")
                time.sleep(moment)
                if number % 5 == 4:
                    (present / ".mimei" / f"@r{number}").mkdir()
                if victim == "program":
                    program.send_signal(signal.SIGKILL)
                kill(served, victim)
            finally:
                program.kill()
                program.communicate(timeout=PATIENCE)
            there = databases.KINDS[kind][1](present)
            assert promised(notes) <= there <= promised(notes) + 1
            if number % 5 == 4:
                assert before < check_copy(kind, present / ".mimei" / f"@r{number}", tmp_path / f"copy{number}") <= there
        assert served.end() == 0
        served.command("check")
        assert "unforeseen" not in served.log.read_text()
