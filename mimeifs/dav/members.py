"""Rows of a collection's members where only what facts say is asked for, as most clients do: one template for all of them.

Always true: a row is to the byte what ``properties`` would have written, which every other wish is left to.
"""

import re
from collections.abc import Callable

from mimeifs.dav import live
from mimeifs.dav.interface import Facts, Path
from mimeifs.dav.live import LIVE, Context, text
from mimeifs.dav.multistatus import element, empty_element, row
from mimeifs.dav.paths import segment
from mimeifs.dav.xml_in import DAV, Propfind

QUICK = frozenset((*live.ALL, DAV + "displayname"))
"""What facts alone decide, which stays as long as they do."""
_PLAIN = re.compile(rb"[A-Za-z0-9._~-]+\Z")
_HERE = "here"
_RESOURCE_TYPE = DAV + "resourcetype"
_OF_FILES = (DAV + "getcontentlength", DAV + "getcontenttype")

Write = Callable[[Facts, Path], str]


def is_quick(asked: Propfind) -> bool:
    """Whether rows can be written here."""
    return not asked.names_only and (QUICK.issuperset(asked.names) if asked.names is not None else not asked.include)


def writer(asked: Propfind, parent: Path, context: Context, brief: bool, other: Write) -> Write:
    """How rows of the members of ``parent`` are written; those with properties of their own by ``other``."""
    complete = asked.names is None
    names = live.ALL if asked.names is None else asked.names
    prefix = text(context.address(parent, is_dir=True))
    of_files, of_directories = (_template(names, is_dir, quiet=complete or brief) for is_dir in (False, True))
    values = [LIVE[name] for name in names if name != _RESOURCE_TYPE]
    fewer = [LIVE[name] for name in names if name != _RESOURCE_TYPE and name not in _OF_FILES]

    def write(facts: Facts, path: Path) -> str:
        if facts.properties:
            return other(facts, path)
        raw = path[-1]
        name = raw.decode("ascii") if _PLAIN.match(raw) else text(segment(raw))
        if facts.kind == "dir":
            return of_directories % (f"{prefix}{name}/", *[value(facts, context) for value in fewer])
        return of_files % (prefix + name, *[value(facts, context) for value in values])

    return write


def _template(names: tuple[str, ...], is_dir: bool, *, quiet: bool) -> str:
    """A row with a place for the address, and one for each property of ``names`` that such a resource has."""
    found, absent = [], []
    for name in names:
        if name == _RESOURCE_TYPE:
            found.append(element(name, "<D:collection/>") if is_dir else empty_element(name))
        elif is_dir and name in _OF_FILES:
            absent.append(empty_element(name))
        else:
            found.append(element(name, "%s"))
    made = row(_HERE, ((200, "".join(found)), (404, "" if quiet else "".join(absent))))
    return made.replace(f"<D:href>{_HERE}</D:href>", "<D:href>%s</D:href>")
