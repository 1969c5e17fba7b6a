"""Bodies of PROPFIND, PROPPATCH and LOCK as values. Pure; expat from the standard library, with its doors shut.

A document type declaration is refused where it begins, so that no entity is ever declared; depth, number of elements and
the size of what is read are bounded. What a client stores is written out again with its namespaces, each value by itself.
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from xml.parsers import expat

from mimeifs.dav.status import Refusal

MAX_BODY = 1 << 20
MAX_DEPTH = 64
MAX_ELEMENTS = 20_000
MAX_PROPERTY = 64 << 10
DAV = "{DAV:}"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True, slots=True)
class Propfind:
    """Which properties are asked for. ``names`` None: all, and ``include`` besides; ``names_only``: no values."""

    names: tuple[str, ...] | None = None
    include: tuple[str, ...] = ()
    names_only: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One property to set (its element as XML, and its bare text) or, where ``xml`` is None, to remove."""

    name: str
    xml: bytes | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Lockinfo:
    """The lock asked for; ``owner`` is XML as it came."""

    exclusive: bool
    owner: str


def propfind(body: bytes) -> Propfind:
    """Of a PROPFIND; no body asks for everything (RFC 4918, 9.1)."""
    if not body.strip():
        return Propfind()
    root = parse(body, "propfind")
    kinds = [child for child in root if child.tag in (DAV + "allprop", DAV + "propname", DAV + "prop")]
    if len(kinds) != 1:
        raise Refusal(400, "a propfind asks for exactly one of allprop, propname and prop")
    kind = kinds[0]
    if kind.tag == DAV + "prop":
        return Propfind(tuple(dict.fromkeys(property_name(child.tag) for child in kind)))
    if kind.tag == DAV + "propname":
        return Propfind(names_only=True)
    included = root.find(DAV + "include")
    return Propfind(include=tuple(property_name(child.tag) for child in included) if included is not None else ())


def proppatch(body: bytes) -> tuple[Change, ...]:
    """Of a PROPPATCH, in the order in which it is to be done."""
    found: list[Change] = []
    for step in parse(body, "propertyupdate"):
        if step.tag not in (DAV + "set", DAV + "remove"):
            continue
        for prop in step.findall(DAV + "prop"):
            language = prop.get(_XML_LANG) or step.get(_XML_LANG)
            for child in prop:
                found.append(_change(child, language, removing=step.tag == DAV + "remove"))
    if not found:
        raise Refusal(400, "a propertyupdate sets or removes at least one property")
    return tuple(found)


def _change(child: ET.Element, language: str | None, *, removing: bool) -> Change:
    name = property_name(child.tag)
    if removing:
        return Change(name, None)
    if language and child.get(_XML_LANG) is None:
        child.set(_XML_LANG, language)
    child.tail = None
    xml = ET.tostring(child, encoding="utf-8")
    if len(xml) > MAX_PROPERTY:
        raise Refusal(413, f"a property has at most {MAX_PROPERTY} bytes")
    return Change(name, xml, "".join(child.itertext()))


def lockinfo(body: bytes) -> Lockinfo:
    """Of a LOCK that makes a new lock."""
    root = parse(body, "lockinfo")
    scope, kind, owner = (root.find(DAV + part) for part in ("lockscope", "locktype", "owner"))
    if scope is None or len(scope) != 1 or scope[0].tag not in (DAV + "exclusive", DAV + "shared"):
        raise Refusal(400, "a lock is exclusive or shared: its lockscope must say which")
    if kind is None or kind.find(DAV + "write") is None:
        raise Refusal(422, "there are write locks only")
    text = ""
    if owner is not None:
        owner.tail = None
        text = ET.tostring(owner, encoding="unicode")
        if len(text) > MAX_PROPERTY // 8:
            raise Refusal(413, f"the owner of a lock is described in at most {MAX_PROPERTY // 8} characters")
    return Lockinfo(scope[0].tag == DAV + "exclusive", text)


def property_name(tag: str) -> str:
    """A property's name as ``{namespace}name``, with empty braces where it has no namespace."""
    return tag if tag.startswith("{") else "{}" + tag


def root_name(body: bytes) -> str:
    """The tag of a document's root; raises ``Refusal`` (400)."""
    return parse_any(body).tag


def parse(body: bytes, root: str) -> ET.Element:
    """The root of a body, which has that name in ``DAV:``; raises ``Refusal`` (400, 413)."""
    found = parse_any(body)
    if found.tag != DAV + root:
        raise Refusal(400, f"the body must be a {root} of the namespace DAV:")
    return found


def parse_any(body: bytes) -> ET.Element:
    """The root of a body, whatever it is; raises ``Refusal`` (400, 413)."""
    return _Tree().parse(body)


class _Tree:
    """Events of expat as elements, within bounds."""

    def __init__(self) -> None:
        self._builder = ET.TreeBuilder()
        self._depth = 0
        self._count = 0
        parser = self._parser = expat.ParserCreate(None, "}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._builder.data
        parser.StartDoctypeDeclHandler = self._refuse_doctype

    def parse(self, body: bytes) -> ET.Element:
        if len(body) > MAX_BODY:
            raise Refusal(413, f"a body of XML has at most {MAX_BODY} bytes")
        try:
            self._parser.Parse(body, True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise Refusal(400, f"the body is no XML: {error}") from None
        return self._builder.close()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise Refusal(400, f"XML here is at most {MAX_DEPTH} deep and has at most {MAX_ELEMENTS} elements")
        self._builder.start(_tag(name), {_tag(key): value for key, value in attributes.items()})

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._builder.end(_tag(name))

    def _refuse_doctype(self, *_details: object) -> None:
        raise Refusal(400, "a body must not have a document type declaration")


def _tag(name: str) -> str:
    return "{" + name if "}" in name else name
