"""What MiMeis say of a path: ``user.mimei.*`` attributes, computed, never stored and never listed.

``id`` the MiMei, ``version`` its number or ``cur``, ``record`` the version's signed record, ``writer`` the device key
that signed it, ``digest`` the content (a directory: its map), where it is sealed.
"""

from mimeifs.errors import NoAttributeError
from mimeifs.ids import show_blob, show_key, show_mimei, show_record
from mimeifs.model.inode import Inode
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import Node
from mimeifs.model.past import Origin, PastDir, PastLeaf
from mimeifs.model.views import MimeiDir

PREFIX = b"user.mimei."


def fact(node: Node, name: bytes) -> bytes:
    """The value of one ``user.mimei.*`` attribute; raises ``NoAttributeError``."""
    try:
        return facts(node)[name.removeprefix(PREFIX).decode()].encode()
    except (KeyError, UnicodeDecodeError):
        raise NoAttributeError("no such attribute") from None


def facts(node: Node) -> dict[str, str]:
    """Every fact of a node, by name without the prefix."""
    if isinstance(node, PastDir):
        return {**_of_version(node.origin), "digest": show_blob(node.entry.root)}
    if isinstance(node, PastLeaf):
        digest = {"digest": show_blob(node.entry.content.digest)} if node.entry.content.size else {}
        return {**_of_version(node.origin), **digest}
    if isinstance(node, MimeiDir):
        return {"id": show_mimei(node.mimei)}
    if isinstance(node, Inode):
        return {"id": show_mimei(node.tree.mimei), "version": "cur", **_sealed(node)}
    return {}


def _of_version(origin: Origin) -> dict[str, str]:
    return {
        "id": show_mimei(origin.mimei),
        "version": str(origin.number),
        "record": show_record(origin.record),
        "writer": show_key(origin.writer),
    }


def _sealed(node: Inode) -> dict[str, str]:
    if isinstance(node, LiveFile):
        node.refresh()
        return {"digest": show_blob(node.base.digest)} if not node.number and node.size else {}
    if isinstance(node, LiveDir) and not node.number:
        return {"digest": show_blob(node.base)}
    return {}
