"""Marks of directories, so that whoever kept what was said of the names in one can ask whether it is still so.

A mark moves with every frame of the journal that changes the directory or anything below it, and never comes back. Some rows
change without such a frame: a file that was written gets the tag of its content when the keeper has sealed it, a directory that
of its map, a hard link follows its other names, and what a link leads to is elsewhere. Those rows are *loose*: named beside the
mark, and to be asked for again. Every other row is that of a sealed file with one name, or of what a version holds for ever.
Where a mark has moved, the directory may still know which names are the reason.

Always true: of two states of a directory that differ in a name, or in a row that is not loose, no two have the same mark.
"""

from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.locking import Locks
from mimeifs.model.node import Node
from mimeifs.model.past import PastDir, PastLeaf
from mimeifs.model.resource import Facts
from mimeifs.model.views import RootDir


def mark_of(directory: Node, locks: Locks) -> str:
    """The mark of a directory as it is now; "" where nothing could move it: names that only views show come and go by
    themselves, as locked empty ones do."""
    if isinstance(directory, PastDir):
        return f"{directory.entry.root.hex()}-{directory.origin.tree.links.hex()}"
    if not isinstance(directory, LiveDir) or isinstance(directory, RootDir) or locks.names_in(directory):
        return ""
    live = directory.tree.live
    live.watched = True
    directory.stirred = directory.stirred or live.journal.position
    if not directory.noted_from:
        directory.noted, directory.noted_from = {}, directory.stirred
    return f"{directory.ino:x}-{directory.stirred:x}"


def changed_since(directory: Node, mark: str) -> list[bytes] | None:
    """The names in a directory that have come or gone since it had a mark, or at which something has changed, unless it is
    loose and the change was below or elsewhere. None where nobody knows."""
    if not isinstance(directory, LiveDir) or not directory.noted_from:
        return None
    number, _, digits = mark.partition("-")
    try:
        since = int(digits, 16)
    except ValueError:
        return None
    if number != f"{directory.ino:x}" or since < directory.noted_from:
        return None
    return [name for name, at in directory.noted.items() if at >= since]


def is_loose(directory: Node, child: Node | None, facts: Facts) -> bool:
    """Whether the row of what is in a directory may change though its mark stays."""
    if isinstance(child, LiveFile):
        return bool(child.link_id) or facts.content is None
    if isinstance(child, PastDir):
        return not isinstance(directory, PastDir) or child.origin.record != directory.origin.record
    return not isinstance(child, PastLeaf)
