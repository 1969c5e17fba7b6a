"""Prolly maps: sorted maps of bytes to bytes whose root is decided by their content alone.

A map is named by the blob of its root node. Not here: where blobs are kept, what keys and values mean, caching of bytes.

Always true: the same rows give the same root, whatever the history; nothing is changed in place; bytes from a source are
hostile until checked, so that a damaged node raises ``IntegrityError`` and nothing else. What the source itself raises
(absent, ``Cold``) passes through.
Format page: ``docs/format/prolly.md``.
"""

from mimeifs.store.prolly.comparing import Change, diff
from mimeifs.store.prolly.editing import apply
from mimeifs.store.prolly.heading import cut_off
from mimeifs.store.prolly.merging import Resolve, merge
from mimeifs.store.prolly.node import EMPTY_NODE, EMPTY_ROOT, MAX_KEY, MAX_VALUE
from mimeifs.store.prolly.reading import at, count, find, floor, get
from mimeifs.store.prolly.scanning import nodes, scan, scan_back, scan_from
from mimeifs.store.prolly.writing import build

__all__ = [
    "EMPTY_NODE",
    "EMPTY_ROOT",
    "MAX_KEY",
    "MAX_VALUE",
    "Change",
    "Resolve",
    "apply",
    "at",
    "build",
    "count",
    "cut_off",
    "diff",
    "find",
    "floor",
    "get",
    "merge",
    "nodes",
    "scan",
    "scan_back",
    "scan_from",
]
