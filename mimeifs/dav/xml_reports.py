"""Bodies of REPORT as values (RFC 3253, sections 3.7 and 3.8; RFC 6578, section 3.2). Pure; within the bounds of ``xml_in``."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from mimeifs.dav.status import Refusal
from mimeifs.dav.xml_in import DAV, Propfind, parse_any, property_name

_NAME = re.compile(r"[^\W\d][\w.-]*\Z")
_COUNT = re.compile(r"0*[1-9]\d{0,8}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class VersionTree:
    """The versions of a resource, with these properties."""

    asked: Propfind


@dataclass(frozen=True, slots=True)
class Expansion:
    """A property, and those to be told of each resource that it names."""

    name: str
    inside: tuple["Expansion", ...]


@dataclass(frozen=True, slots=True)
class ExpandProperty:
    """Properties of a resource, and of what these name; how many in all."""

    expansions: tuple[Expansion, ...]
    count: int


@dataclass(frozen=True, slots=True)
class SyncCollection:
    """What changed since ``token`` ("" for never), on all levels or in the collection alone; at most so many members."""

    token: str
    deep: bool
    limit: int | None
    asked: Propfind


@dataclass(frozen=True, slots=True)
class Other:
    """A report that nobody here knows."""

    name: str


Report = VersionTree | ExpandProperty | SyncCollection | Other


def report(body: bytes) -> Report:
    """The report that is asked for; raises ``Refusal`` (400, 413)."""
    root = parse_any(body)
    if root.tag == DAV + "version-tree":
        return VersionTree(_asked(root))
    if root.tag == DAV + "expand-property":
        return ExpandProperty(_expansions(root), sum(1 for _ in root.iter(DAV + "property")))
    if root.tag == DAV + "sync-collection":
        return _sync_collection(root)
    return Other(root.tag)


def _asked(root: ET.Element) -> Propfind:
    """The properties in a ``prop``; none where there is none."""
    found = root.findall(DAV + "prop")
    if len(found) > 1:
        raise Refusal(400, "a report has at most one prop")
    return Propfind(tuple(dict.fromkeys(property_name(child.tag) for prop in found for child in prop)))


def _expansions(element: ET.Element) -> tuple[Expansion, ...]:
    found: dict[str, Expansion] = {}
    for child in element.findall(DAV + "property"):
        local, space = child.get("name", ""), child.get("namespace", "DAV:")
        if not _NAME.match(local) or not space or "}" in space:
            raise Refusal(400, "a property to expand is named by its attribute name")
        name = f"{{{space}}}{local}"
        found[name] = Expansion(name, _expansions(child))
    return tuple(found.values())


def _sync_collection(root: ET.Element) -> SyncCollection:
    token, level = root.find(DAV + "sync-token"), root.findtext(DAV + "sync-level", "").strip()
    if token is None or level not in ("1", "infinite", "infinity"):
        raise Refusal(400, "a sync-collection has a sync-token, empty the first time, and a sync-level of 1 or infinite")
    limit = root.findtext(f"{DAV}limit/{DAV}nresults")
    if limit is not None and not _COUNT.match(limit.strip()):
        raise Refusal(400, "nresults is a number above 0")
    return SyncCollection((token.text or "").strip(), level != "1", None if limit is None else int(limit), _asked(root))
