"""Properties of versions, as RFC 3253 (DeltaV) has them; and, asked of anything, which methods, reports and properties it has.

How the two match. A version is a distinct state of one path, under the address that it has in the first version of the MiMei
that holds it, which never shows anything else. What is in the present is *checked in* while it is known to be what that version
has, and *checked out* from it by being changed; it is checked in again when a version of its MiMei is taken, so
``auto-version`` is ``checkout``. Nothing here takes a version.
"""

from collections.abc import Callable
from xml.sax.saxutils import quoteattr

from mimeifs.api.tree_requests import VersionLine
from mimeifs.dav.exchange import href
from mimeifs.dav.interface import Facts, Path, Standing
from mimeifs.dav.live import Context, Value, text
from mimeifs.dav.multistatus import empty_element
from mimeifs.dav.readonly import allowed
from mimeifs.dav.xml_in import DAV

VERSION_TREE, EXPAND_PROPERTY, SYNC_COLLECTION = (DAV + name for name in ("version-tree", "expand-property", "sync-collection"))
SYNC_TOKEN = DAV + "sync-token"
SUPPORTED = DAV + "supported-live-property-set"
Links = Callable[[Standing], list[Path] | None]


def version_path(standing: Standing, name: str) -> Path:
    """Where a place is in a version."""
    return (*standing.base, b"@" + name.encode(), *standing.inside)


def _here(standing: Standing) -> list[Path]:
    return [] if standing.here is None else [version_path(standing, standing.here.name)]


def _checked_in(standing: Standing) -> list[Path] | None:
    return _here(standing) if not standing.past and standing.same else None


def _checked_out(standing: Standing) -> list[Path] | None:
    return _here(standing) if not standing.past and standing.here is not None and not standing.same else None


def _predecessors(standing: Standing) -> list[Path] | None:
    if not standing.past:
        return _checked_out(standing)
    return None if standing.here is None else [version_path(standing, name) for name in (standing.before,) if name]


def _successors(standing: Standing) -> list[Path] | None:
    if not standing.past or standing.here is None:
        return None
    return [version_path(standing, name) for name in (standing.after,) if name]


LINKS: dict[str, Links] = {
    DAV + "checked-in": _checked_in,
    DAV + "checked-out": _checked_out,
    DAV + "predecessor-set": _predecessors,
    DAV + "successor-set": _successors,
}
"""Properties that name other resources."""


def linked(name: str, context: Context) -> list[Path] | None:
    """The resources that a property of the one at hand names; None where it has no such property."""
    standing = context.standing()
    return None if standing is None else LINKS[name](standing)


def _linking(name: str) -> Value:
    def value(facts: Facts, context: Context) -> str | None:
        found = linked(name, context)
        if found is None:
            return None
        return "".join(f"<D:href>{text(href(path, is_dir=facts.kind == 'dir'))}</D:href>" for path in found)

    return value


def _of_version(say: Callable[[VersionLine], str | None]) -> Value:
    """A property that versions alone have."""

    def value(_: Facts, context: Context) -> str | None:
        standing = context.standing()
        return say(standing.here) if standing is not None and standing.past and standing.here is not None else None

    return value


def _auto_version(_: Facts, context: Context) -> str | None:
    standing = context.standing()
    return "<D:checkout/>" if standing is not None and not standing.past and standing.here is not None else None


def _methods(facts: Facts, _: Context) -> str:
    return "".join(f"<D:supported-method name={quoteattr(name)}/>" for name in allowed(facts).split(", "))


def reports(context: Context) -> list[str]:
    """The reports that the resource at hand answers."""
    standing = context.standing()
    found = [EXPAND_PROPERTY]
    if standing is not None and standing.here is not None:
        found.append(VERSION_TREE)
    if standing is not None and standing.tracked:
        found.append(SYNC_COLLECTION)
    return found


def _reports(_: Facts, context: Context) -> str:
    names = map(empty_element, reports(context))
    return "".join(f"<D:supported-report><D:report>{name}</D:report></D:supported-report>" for name in names)


def supported(live: dict[str, Value]) -> Value:
    """The property that says which of ``live`` a resource has."""

    def has(name: str, facts: Facts, context: Context) -> bool:
        if name == SYNC_TOKEN:  # To say which it is may take long.
            return SYNC_COLLECTION in reports(context)
        return name == SUPPORTED or live[name](facts, context) is not None

    def value(facts: Facts, context: Context) -> str:
        found = [empty_element(name) for name in live if has(name, facts, context)]
        return "".join(f"<D:supported-live-property><D:prop>{name}</D:prop></D:supported-live-property>" for name in found)

    return value


def _label(name: str) -> str:
    return f"<D:label-name>{text(name)}</D:label-name>"


def _sync_token(facts: Facts, context: Context) -> str | None:
    return context.sync_token() if facts.kind == "dir" else None


VERSIONED: dict[str, Value] = {
    **{name: _linking(name) for name in LINKS},
    DAV + "auto-version": _auto_version,
    DAV + "version-name": _of_version(lambda version: text(version.name)),
    DAV + "creator-displayname": _of_version(lambda version: text(version.writer)),
    DAV + "comment": _of_version(lambda version: text(version.memo) or None),
    DAV + "label-name-set": _of_version(lambda version: "".join(map(_label, version.labels))),
    SYNC_TOKEN: _sync_token,
    DAV + "supported-method-set": _methods,
    DAV + "supported-report-set": _reports,
}
