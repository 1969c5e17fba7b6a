"""Counted references between MiMeis, as requests.

Always true: the reply to a change is what the holder's references to that target are after it.
"""

from mimeifs.api import finding, lines, requests
from mimeifs.api.services import Services
from mimeifs.errors import InvalidError, MimeiError, NotFoundError
from mimeifs.ids import MimeiId, RecordId, parse_mimei, parse_record, show_mimei, show_record
from mimeifs.model.names import show_number
from mimeifs.model.references import Held


def change_ref(services: Services, request: requests.ChangeRef) -> requests.Refs:
    """Add or delete references."""
    holder, target = finding.find(services, request.holder).mimei, _target(services, request.target)
    version = _version(services, target, request.version) if request.version else None
    if request.count > 0:
        services.references.add(holder, target, version, request.count)
    else:
        services.references.delete(holder, target, version, -request.count)
    held = [held for held in services.references.get(target) if (held.holder, held.version) == (holder, version)]
    return requests.Refs(tuple(_line(services, target, one) for one in held), b"")


def list_refs(services: Services, request: requests.ListRefs) -> requests.Refs:
    """Who refers to a MiMei."""
    target = _target(services, request.name)
    behind = [held for held in services.references.get(target) if _mark(held) > request.after]
    found, more = lines.page((_mark(held), _line(services, target, held)) for held in behind)
    return requests.Refs(tuple(line for _, line in found), found[-1][0] if more else b"")


def _mark(held: Held) -> bytes:
    return held.holder + (held.version or b"")


def _target(services: Services, name: bytes) -> MimeiId:
    """A MiMei that may be on another node, where it is named by its ID."""
    try:
        return finding.find(services, name).mimei
    except NotFoundError:
        try:
            return parse_mimei(name.decode())
        except (MimeiError, UnicodeDecodeError):
            pass
        raise


def _version(services: Services, target: MimeiId, text: str) -> RecordId:
    """A version by its name, or by its record where the MiMei is on another node."""
    try:
        return parse_record(text)
    except InvalidError:
        return finding.version(services, target, text).record


def _line(services: Services, target: MimeiId, held: Held) -> requests.RefLine:
    return requests.RefLine(
        show_mimei(held.holder),
        _name(services, held.holder),
        show_mimei(target),
        _name(services, target),
        show_record(held.version) if held.version else "",
        held.count,
        _number(services, target, held.version) if held.version else "",
    )


def _number(services: Services, target: MimeiId, record: RecordId) -> str:
    """A version's number as people type it; "" where it is on another node."""
    try:
        info = services.versions.by_record(target, record)
    except NotFoundError:
        return ""
    return show_number(info.number, finding.fork_mark(info, finding.namesakes(services, target, info.number)))


def _name(services: Services, mimei: MimeiId) -> bytes:
    try:
        return services.mimeis.row(mimei).name.encode()
    except NotFoundError:
        return show_mimei(mimei).encode()
