"""Pages for a person's browser: a collection with its files, its versions as a timeline, and the history of one file.

What they can do is done by WebDAV itself, from a small script: upload (PUT), restore (COPY), new folders and versions (MKCOL).
Everything can be read without it. Rows are written as they come, so that a million of them need no memory.
"""

from collections.abc import Iterator
from html import escape
from importlib import resources

from mimeifs.dav import dates, naming, timeline, zipping
from mimeifs.dav.access import CHALLENGE
from mimeifs.dav.exchange import Answer, Exchange, Visitor, href
from mimeifs.dav.interface import Facts, Path
from mimeifs.dav.listening import PREFIX
from mimeifs.dav.paths import segment
from mimeifs.dav.status import Refusal
from mimeifs.dav.timeline import Timeline

STYLE, SCRIPT = (resources.files("mimeifs.dav").joinpath(name).read_text() for name in ("page.css", "page.js"))
PAGE = 500
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src 'self';"
_POLICY += " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def page(exchange: Exchange, path: Path, facts: Facts) -> Answer:
    """The page of a collection, or with ``?zip`` the collection itself."""
    if exchange.query == "zip":
        return _zip(exchange, path)
    if exchange.query == "login":
        return _login(exchange, path)
    if not exchange.ends_in_slash:
        query = f"?{exchange.query}" if exchange.query else ""
        return Answer(302, [("Location", href(path, is_dir=True) + query)])
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", _POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
    ]
    return Answer(200, headers, _pieces(_document(exchange, path, facts)))


def _login(exchange: Exchange, path: Path) -> Answer:
    """The page, to whoever gives a name: a browser asks for it only when it is asked."""
    if _is_nobody(exchange.visitor):
        raise Refusal(401, "give a user's name and an app password", headers=CHALLENGE)
    return Answer(302, [("Location", href(path, is_dir=True))])


def _is_nobody(visitor: Visitor) -> bool:
    """Whether a name would let somebody do more."""
    return not visitor.user and not visitor.may_write


def _zip(exchange: Exchange, path: Path) -> Answer:
    top = (path[-1].decode(errors="replace") if path else "mimei").lstrip("@") or "mimei"
    name = segment(f"{top}.zip".encode())
    headers = [("Content-Type", "application/zip"), ("Content-Disposition", f"attachment; filename*=UTF-8''{name}")]
    return Answer(200, headers, zipping.stream(exchange.tree, path, top))


def _pieces(lines: Iterator[str]) -> Iterator[bytes]:
    """Lines as pieces worth sending."""
    pending: list[str] = []
    size = 0
    for one in lines:
        pending.append(one)
        size += len(one)
        if size > 32 << 10:
            yield "".join(pending).encode(errors="replace")
            pending, size = [], 0
    yield "".join(pending).encode(errors="replace")


def _document(exchange: Exchange, path: Path, facts: Facts) -> Iterator[str]:
    may_write = facts.writable and exchange.visitor.may_write
    title = path[-1].decode(errors="replace") if path else "Home"
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f'<body data-here="{escape(href(path, is_dir=True))}" data-writable="{"yes" if may_write else "no"}">\n'
    )
    tools = _tools(path, exchange.visitor, may_write)
    yield f'<header><nav aria-label="Where you are">{_crumbs(path)}</nav>{tools}</header>\n<main>\n'
    place = timeline.find(exchange.tree, path)
    if place is not None and place.is_past:
        yield _past(place, exchange, path)
    yield f'<div class="columns"><section><h1>{escape(title)}</h1>\n'
    yield from _table(exchange, path, place)
    yield "</section>\n"
    yield from _timeline(exchange, place)
    yield f'</div><p id="said" role="status" aria-live="polite"></p></main><script>{SCRIPT}</script></body></html>\n'


def _crumbs(path: Path) -> str:
    links = [f'<a href="{PREFIX}/">Home</a>']
    for depth in range(1, len(path) + 1):
        name = escape(path[depth - 1].decode(errors="replace"))
        now = ' aria-current="page"' if depth == len(path) else ""
        links.append(f'<a href="{escape(href(path[:depth], is_dir=True))}"{now}>{name}</a>')
    return '<span aria-hidden="true"> / </span>'.join(links)


def _tools(path: Path, visitor: Visitor, may_write: bool) -> str:
    tools = '<a class="tool" href="?zip">Download all</a>' if path else ""
    if may_write:
        tools += '<button type="button" id="folder">New folder</button>'
        tools += '<label class="tool primary">Upload<input id="files" type="file" multiple></label>'
    if _is_nobody(visitor):
        tools += f'<a class="tool" href="{PREFIX}/?login">Log in</a>'
    return f'<div class="tools">{tools}</div>'


def _past(place: Timeline, exchange: Exchange, path: Path) -> str:
    """What stands above a version: that it is one, and the way back."""
    name, button = escape(place.here.decode(errors="replace")), ""
    if place.here == timeline.HISTORY:
        what = "all that it was"
    elif place.here == timeline.ALL:
        what = "every version"
    else:
        what = f"<strong>{name}</strong>, as it was"
        if exchange.visitor.may_write:
            here, to = (escape(href(one, is_dir=True)) for one in (path, place.present))
            button = f' <button type="button" data-restore="{here}" data-to="{to}">Restore all of it</button>'
    text = "Nothing here can change; <em>Restore</em> brings it back to the present."
    return f'<p class="past">This is {what}. {text}{button}</p>\n'


def _act(place: Timeline | None, name: bytes, address: str, facts: Facts, *, may_write: bool) -> str:
    """What can be done with a member of a collection."""
    if place is not None and place.is_past and may_write:
        # Below @history the path is the file's, and its members are what it was.
        target = place.present if place.here == timeline.HISTORY else (*place.present, name)
        to = escape(href(target, is_dir=False))
        return f'<button type="button" data-restore="{address}" data-to="{to}">Restore</button>'
    if facts.kind == "dir":
        return ""
    past = ""
    if place is not None and not place.is_past:
        past = f'<a class="act" href="{escape(href(place.history(name), is_dir=True))}">History</a> '
    return f'{past}<a class="act" href="{address}" download>Save</a>'


def _table(exchange: Exchange, path: Path, place: Timeline | None) -> Iterator[str]:
    yield (
        '<table><thead><tr><th scope="col">Name</th><th scope="col" class="n">Size</th><th scope="col" class="t">Changed</th>'
        '<th scope="col"><span class="unseen">Actions</span></th></tr></thead><tbody>\n'
    )
    if path:
        yield '<tr><td colspan="4"><a class="up" href="../">.. one up</a></td></tr>\n'
    any_row = False
    after = b""
    while True:
        found, after = exchange.tree.entries(path, after, PAGE)
        for one in found:
            shown = naming.followed(exchange.tree, (*path, one.name), one)[1] if one.kind == "symlink" else one
            yield _row(place, one.name, shown, may_write=exchange.visitor.may_write)
            any_row = True
        if not after:
            break
    yield "</tbody></table>\n"
    if not any_row:
        yield '<p class="empty">Nothing here yet.</p>\n'


def _row(place: Timeline | None, name: bytes, facts: Facts, *, may_write: bool) -> str:
    is_dir = facts.kind == "dir"
    text = escape(name.decode(errors="replace"))
    address = escape(segment(name) + ("/" if is_dir else ""))
    if b":" in name:
        address = "./" + address
    kind = "dir" if is_dir else "file"
    act = _act(place, name, address, facts, may_write=may_write)
    size = "" if is_dir else f'<data value="{facts.size}">{_size(facts.size)}</data>'
    return (
        f'<tr><td><a class="{kind}" href="{address}">{text}{"/" if is_dir else ""}</a></td><td class="n">{size}</td>'
        f'<td class="t">{_time(facts.mtime_ns)}</td><td class="a">{act}</td></tr>\n'
    )


def _time(at_ns: int) -> str:
    when = dates.created(at_ns)
    return f'<time datetime="{when}">{when[:10]} {when[11:16]}</time>'


def _size(count: int) -> str:
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < 9.95 else f"{value:.0f} {_UNITS[unit]}"


def _timeline(exchange: Exchange, place: Timeline | None) -> Iterator[str]:
    """The versions of the MiMei that this place is in, the newest first."""
    if place is None:
        return
    yield '<aside aria-labelledby="versions"><h2 id="versions">Versions</h2>\n<ol class="timeline">\n'
    now = "" if place.is_past else ' aria-current="true"'
    yield f'<li><a href="{escape(href(place.present, is_dir=True))}"{now}>present</a></li>\n'
    for one in place.versions:
        now = ' aria-current="true"' if place.shows(one) else ""
        name = timeline.name_of(one).decode()
        labels = "".join(f" <em>{escape(label)}</em>" for label in one.labels)
        memo = f"<small>{escape(one.memo)}</small>" if one.memo else ""
        address = escape(href(place.version(one), is_dir=True))
        yield f'<li><a href="{address}"{now}>{name}</a>{labels} {_time(one.time_ns)}{memo}</li>\n'
    if place.older:
        yield f'<li><a href="{escape(href((*place.base, timeline.ALL), is_dir=True))}">all</a></li>\n'
    yield "</ol>\n"
    if exchange.visitor.may_write:
        yield f'<button type="button" id="version" data-in="{escape(href(place.taken, is_dir=True))}">Take a version</button>\n'
    yield "</aside>\n"
