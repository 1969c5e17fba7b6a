"""REPORT (RFC 3253, section 3.6): each report to what answers it; and ``expand-property`` (section 3.8), properties of a
resource together with properties of those that it names."""

from time import time_ns

from mimeifs.dav import multistatus, naming, preconditions, versioned, xml_in
from mimeifs.dav.exchange import Answer, Exchange, href
from mimeifs.dav.interface import Facts, Path
from mimeifs.dav.live import Context
from mimeifs.dav.multistatus import element
from mimeifs.dav.properties import check_names, is_brief, writer
from mimeifs.dav.reading import missing
from mimeifs.dav.small_headers import Depth, depth
from mimeifs.dav.status import Refusal
from mimeifs.dav.syncing import sync_collection
from mimeifs.dav.versioning import version_tree
from mimeifs.dav.xml_in import Propfind
from mimeifs.dav.xml_reports import ExpandProperty, Expansion, Other, SyncCollection, VersionTree
from mimeifs.dav.xml_reports import report as report_in


def report(exchange: Exchange) -> Answer:
    """Tell what is asked for."""
    depth(exchange.header("depth"), Depth.ZERO, (Depth.ZERO,))
    asked = report_in(exchange.body.whole(xml_in.MAX_BODY))
    path, facts = naming.find(exchange.tree, exchange.path)
    if facts is None:
        raise missing(exchange.path)
    path, facts = naming.followed(exchange.tree, path, facts)
    preconditions.judge_if(exchange, path)
    match asked:
        case SyncCollection():
            return sync_collection(exchange, asked, path, facts)
        case ExpandProperty():
            return _expand_property(exchange, asked, path, facts)
        case VersionTree():
            context = Context(exchange.tree, time_ns())
            context.path = path
            if versioned.VERSION_TREE in versioned.reports(context):
                return version_tree(exchange, asked, path)
            raise Refusal(403, "no version has this yet", "supported-report")
        case Other(name):
            raise Refusal(403, f"{name[:200]} is no report that is known here", "supported-report")


def _expand_property(exchange: Exchange, report: ExpandProperty, path: Path, facts: Facts) -> Answer:
    check_names(report.count)
    row = _Expanding(exchange, path).row(path, _with_properties(exchange, path) or facts, report.expansions)
    return Answer(207, [("Content-Type", multistatus.CONTENT_TYPE)], b"".join(multistatus.document([row])))


def _with_properties(exchange: Exchange, path: Path) -> Facts | None:
    return naming.find(exchange.tree, path, properties=True)[1]


class _Expanding:
    """Rows in rows. How many there can be is bounded by the number of properties, since none names more than one resource."""

    def __init__(self, exchange: Exchange, found: Path) -> None:
        self._exchange = exchange
        self._found = found
        self._brief = is_brief(exchange)

    def row(self, path: Path, facts: Facts, expansions: tuple[Expansion, ...]) -> str:
        """A resource, with its properties expanded."""
        context = Context(self._exchange.tree, time_ns())
        context.lead(self._exchange.path, self._found)
        context.path = path
        inner = {each.name: each.inside for each in expansions if each.inside and each.name in versioned.LINKS}
        plain = Propfind(tuple(each.name for each in expansions if each.name not in inner))
        expanded = ""
        for name, inside in inner.items():
            found = versioned.linked(name, context)
            if found is not None:
                expanded += element(name, "".join(self._inside(there, inside) for there in found))
        return writer(plain, (), context, self._brief)(facts, path, expanded)

    def _inside(self, path: Path, expansions: tuple[Expansion, ...]) -> str:
        facts = _with_properties(self._exchange, path)
        return multistatus.failed(href(path, is_dir=False), 404) if facts is None else self.row(path, facts, expansions)
