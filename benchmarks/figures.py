"""One line of the table of speed and size: what was measured, what is to be reached, and whether it was.

A figure without a target is there to explain another one. Not here: ratios against the yardstick, which ``harness`` pairs round
by round.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum


class Aim(Enum):
    """On which side of the target the good values lie."""

    AT_MOST = "<="
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value in ``unit``; ``target`` None asks for nothing."""

    name: str
    value: float
    unit: str
    target: float | None = None
    aim: Aim = Aim.AT_MOST
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        if self.target is None:
            return True
        return self.value <= self.target if self.aim is Aim.AT_MOST else self.value >= self.target


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work: files of the large tree and of the huge one, MiB of the large file, rounds."""

    files: int
    huge: int
    large_mib: int
    rounds: int


FULL = Scale(100_000, 1_000_000, 1024, 9)
QUICK = Scale(10_000, 100_000, 128, 5)


def table(title: str, figures: Sequence[Figure]) -> str:
    """Aligned columns: what, value, target, met, note."""
    cells = [("what", "value", "target", "met", "note")]
    for figure in figures:
        asked = figure.target is not None
        target = f"{figure.aim.value} {figure.target:,g}" if asked else "-"
        met = ("yes" if figure.met else "NO") if asked else "-"
        cells.append((figure.name, f"{figure.value:,.2f} {figure.unit}".rstrip(), target, met, figure.note))
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = [" | ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:4], widths[1:]), row[4])).rstrip(" |") for row in cells]
    lines.insert(1, "-+-".join("-" * width for width in widths))
    return "\n".join((title, *lines))


def as_json(tables: Mapping[str, Sequence[Figure]], notes: Sequence[str]) -> str:
    """The same for programs: ``{"notes": [...], "tables": {title: [figure...]}}``."""
    rows = {
        title: [{**asdict(figure), "aim": figure.aim.value, "met": figure.met} for figure in group]
        for title, group in tables.items()
    }
    return json.dumps({"notes": list(notes), "tables": rows}, indent=1)
