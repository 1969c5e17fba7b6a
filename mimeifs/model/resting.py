"""A directory whose map says all that it holds: whether that is so, and having the keeper make it so.

What rests is named by a digest, whatever it holds. The keeper folds what is below a directory as for a version but without one;
the present goes on being what it was, and the tree is still changed since its newest version.

Always true: nothing here waits. A fold is :class:`Later`, and what a directory's base says afterwards is what it held at that
moment of the journal or at a later one.
"""

from collections.abc import Callable
from typing import TypeVar

from mimeifs.errors import ConflictError
from mimeifs.ids import BlobId
from mimeifs.model import state
from mimeifs.model.live import LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.orders import CallKind, FoldRequest, Taken
from mimeifs.model.versions import Later
from mimeifs.store import operations
from mimeifs.store.database import Table

T = TypeVar("T")


def settled(directory: LiveDir) -> bool:
    """Whether its map says all, as far as is known without having it made; it is up to date then."""
    tree = directory.tree
    directory.refresh()
    unchanged = not tree.dirty and tree.cut_at < tree.live.position
    return unchanged or not (directory.number or directory.totals.links)


def quiet_since(directory: LiveDir, at: int) -> bool:
    """Whether nothing below a directory has changed behind the fold at ``at``; False where nobody has listened since."""
    if not 0 < directory.stirred <= at:
        return False
    return not directory.totals.links or directory.tree.linked_stirred <= at


def links_of(tree: LiveTree) -> BlobId:
    """The link map of a tree, as its newest fold has it."""
    row = tree.live.small_row(Table.TREES, state.tree_key(tree.number))
    return state.decode_tree(row or b"").links


def fold(directory: LiveDir, proceed: Callable[[int], T]) -> Later:
    """Have the keeper make the maps of what is below a directory. What is to be raised ends with ``proceed`` of the position of
    the fold, or with ``ConflictError`` where it could not be done."""
    tree, live = directory.tree, directory.tree.live
    live.watched = True
    tree.release()
    directory.stirred = directory.stirred or live.journal.position
    request = FoldRequest(tree.number, tree.mimei, directory.number)
    at = live.append(operations.call(CallKind.FOLD, state.encode(request)))
    tree.cut_at = at
    directory.handles += 1  # It stays in memory, to hear of changes below.
    held = [directory]

    def told(taken: Taken | None) -> T:
        while held:
            held.pop().handles -= 1
        if taken is not None and taken.error:
            raise ConflictError(f"its maps could not be made: {taken.error}")
        if live.position <= at:
            raise ConflictError("its maps could not be made: the keeper does not go on")
        return proceed(at)

    return Later(at, told)
