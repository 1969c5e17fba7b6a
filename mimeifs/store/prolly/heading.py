"""The head of a map: the rows in front of a key, for the price of the path to it.

What this is not: deleting rows in general (``editing.py``), which pays for each of them. Always true: the result is the root
that ``build`` would give for the rows that stay. A cut depends only on the rows in front of it, so every node left of the path
stays, and a node on the path keeps its front rows and ends there, as the last of its level does.
"""

from bisect import bisect_left

from mimeifs.ids import BlobId
from mimeifs.store.interfaces import BlobSink, BlobSource
from mimeifs.store.prolly.node import EMPTY_NODE, Node, child_value, decode, decode_child, encode, node_rows


def cut_off(source: BlobSource, sink: BlobSink, root: BlobId, key: bytes) -> BlobId:
    """The map ``root`` without ``key`` and all keys behind it."""
    top = decode(source, root)
    if not top.keys or top.keys[-1] < key:
        return root
    head = _head(source, sink, top, key)
    if head is None:
        return sink.put(EMPTY_NODE)
    while head.level and len(head.keys) == 1:
        head = decode_child(source, head.level, head.keys[0], head.values[0])
    return sink.put(encode(head))


def _head(source: BlobSource, sink: BlobSink, node: Node, key: bytes) -> Node | None:
    """What stays of a node whose last key is not less than ``key``; the nodes below are stored, this one is not."""
    stay = bisect_left(node.keys, key)
    keys, values = node.keys[:stay], node.values[:stay]
    if node.level:
        child = decode_child(source, node.level, node.keys[stay], node.values[stay])
        below = _head(source, sink, child, key)
        if below is not None:
            keys.append(below.keys[-1])
            values.append(child_value(sink.put(encode(below)), node_rows(below)))
    return Node(node.level, keys, values) if keys else None
