"""How far to look ahead in a directory whose files are opened one after the other, so that the node is asked less often.

A client that copies a folder opens every file in it; one question to the node says as much about a hundred of them. So the
second file of a directory that is asked for while the tree stays as it is brings a page of what else is there, the next one
a longer page, and so on from where the last page ended. Always true: of a directory, no more than ``WASTE`` rows are asked for
while the tree stays as it is, and two for each question that was spared; the directories kept in mind are bounded; may be used
from many threads.
"""

import threading
from collections import OrderedDict

from mimeifs.model.resource import Path

FIRST = 16
MOST = 128
WASTE = 4096
DIRECTORIES = 64


class _Course:
    """How it went in one directory since ``moment``."""

    __slots__ = ("after", "asked", "moment", "rows", "used")

    def __init__(self, moment: int, after: bytes) -> None:
        self.moment = moment
        self.after: bytes | None = after
        """Behind which name to go on; None once the end was reached."""
        self.rows = FIRST
        self.asked = 0
        self.used = 0


class Ahead:
    """What has been asked for ahead, by directory."""

    def __init__(self) -> None:
        self._courses: OrderedDict[Path, _Course] = OrderedDict()
        self._lock = threading.Lock()

    def used(self, directory: Path) -> None:
        """A file was opened of which the node did not have to be asked."""
        course = self._courses.get(directory)
        if course is not None:
            course.used += 1

    def missed(self, directory: Path, name: bytes, moment: int) -> tuple[bytes, int] | None:
        """The node had to be asked for a file, after ``moment``: behind which name, and how many rows, to ask for besides."""
        with self._lock:
            course = self._courses.get(directory)
            if course is None or course.moment != moment:
                self._courses[directory] = _Course(moment, name)
                self._courses.move_to_end(directory)
                if len(self._courses) > DIRECTORIES:
                    self._courses.popitem(last=False)
                return None
            if course.after is None or course.asked + course.rows > 2 * course.used + WASTE:
                return None
            wanted = course.after, course.rows
            course.asked += course.rows
            course.rows = min(2 * course.rows, MOST)
            return wanted

    def came(self, directory: Path, moment: int, following: bytes) -> None:
        """The page has come; ``following`` is the name to go on behind, b"" at the end."""
        with self._lock:
            course = self._courses.get(directory)
            if course is not None and course.moment == moment:
                course.after = following or None
