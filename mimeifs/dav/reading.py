"""GET and HEAD of files: whole, in ranges, or not at all because the client has it (RFC 9110, sections 13 and 14)."""

import mimetypes
import secrets
from collections.abc import Iterator
from functools import lru_cache

from mimeifs.dav import conditions, dates, naming, preconditions, ranges
from mimeifs.dav.conditions import Verdict
from mimeifs.dav.exchange import Answer, Exchange, href
from mimeifs.dav.interface import Facts, Path, Piece, Reading, Small
from mimeifs.dav.status import Refusal
from mimeifs.errors import IntegrityError, IsADirError, NameTooLongError, NotADirError, NotFoundError, NotPermittedError

BLOCK = 1 << 20
SMALL = 64 << 10
"""Files up to so many bytes go out in one piece."""
OVERHEAD = 1024
"""What an answer that is kept costs beside its bytes."""
_DECIDING = {"range", "if", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"}
"""What makes an answer another one than that to everybody else."""
_SHORT = "a file is shorter than it says"
_TYPES = mimetypes.MimeTypes(())
_ACTIVE = ("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml")


def content_type(name: bytes) -> str:
    """What kind of file a name promises."""
    return _of_suffix(name[name.rfind(b".") :] if b"." in name else b"")


@lru_cache(1024)
def _of_suffix(suffix: bytes) -> str:
    kind, coding = _TYPES.guess_type("name" + suffix.decode(errors="replace").replace(":", "_"))
    return kind if kind and not coding else "application/octet-stream"


def get(exchange: Exchange) -> Answer:
    """A file's content; a collection's page is made elsewhere."""
    plain = _DECIDING.isdisjoint(exchange.headers)
    small = exchange.tree.small if plain else None
    if small is None:
        return _read(exchange, plain=plain)[0]
    known = small.get(exchange.path)
    if known is not None:
        return Answer(200, known.headers, known.body)
    moment = small.now()
    answer, facts = _read(exchange, plain=True, before=small.last(exchange.path))
    if isinstance(answer.body, bytes) and facts.ino and facts.content is not None:
        # Sealed, and no lock that ends by itself: as long as the tree stays, so does this.
        small.keep(exchange.path, Small(facts, answer.headers, answer.body), moment, len(answer.body) + OVERHEAD)
    return answer


def _read(exchange: Exchange, *, plain: bool, before: Small | None = None) -> tuple[Answer, Facts]:
    """``plain``: without a header that decides what is answered; ``before`` is what was answered then last."""
    reading = _open(exchange)
    if before is not None and before.facts == reading.facts:  # Of which the bytes' digest is one.
        reading.close()
        return Answer(200, before.headers, before.body), before.facts
    try:
        answer = _whole(reading) if plain else _as_wished(exchange, reading)
    except BaseException:
        reading.close()
        raise
    if isinstance(answer.body, bytes):
        reading.close()
    return answer, reading.facts


def head(exchange: Exchange) -> Answer:
    """What GET would say, without opening anything."""
    path, facts = naming.find(exchange.tree, exchange.path)
    if facts is None:
        raise missing(exchange.path)
    path, facts = naming.followed(exchange.tree, path, facts)
    if facts.kind == "dir":
        # Without a size, which GET does not say either.
        return Answer(200, [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-cache")], iter(()))
    _check_readable(path, facts)
    early = _unless_modified(exchange, facts)
    return early or Answer(200, [*_headers(facts), ("Content-Length", str(facts.size))])


def _open(exchange: Exchange) -> Reading:
    try:
        return exchange.tree.open(exchange.path)
    except (NotFoundError, NotADirError, IsADirError, NotPermittedError, NameTooLongError):
        path, facts = naming.find(exchange.tree, exchange.path)
        if facts is None:
            raise missing(exchange.path) from None
        path, facts = naming.followed(exchange.tree, path, facts)
        if facts.kind == "dir":
            raise IsADirError(f"{href(path, is_dir=True)} is a collection") from None
        _check_readable(path, facts)
        return exchange.tree.open(path)


def _check_readable(path: Path, facts: Facts) -> None:
    if facts.kind == "symlink":
        raise Refusal(403, f"{href(path, is_dir=False)} is a link that leads to nothing in this tree")
    if facts.kind != "file":
        raise Refusal(403, f"{href(path, is_dir=False)} is no file that can be read")


def missing(path: Path) -> Refusal:
    """The answer for what is not there."""
    return Refusal(404, f"there is no {href(path, is_dir=False)}")


def _headers(facts: Facts) -> list[tuple[str, str]]:
    found = [
        ("Content-Type", content_type(facts.name)),
        ("Last-Modified", dates.modified(facts.mtime_ns)),
        ("ETag", conditions.quoted(facts.etag)),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "private, max-age=31536000, immutable" if facts.immutable else "no-cache"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if found[0][1] in _ACTIVE:
        # A page kept in the tree must not act for the person who looks at it.
        found.append(("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"))
    return found


def _unless_modified(exchange: Exchange, facts: Facts) -> Answer | None:
    preconditions.judge_if(exchange, exchange.path)
    verdict = conditions.judge(preconditions.wishes(exchange), preconditions.state(facts), safe=True)
    if verdict is Verdict.FAILED:
        raise Refusal(412, "the resource is not in the state that the request asks for")
    kept = ("ETag", "Cache-Control", "Last-Modified")
    return Answer(304, [one for one in _headers(facts) if one[0] in kept]) if verdict is Verdict.NOT_MODIFIED else None


def _as_wished(exchange: Exchange, reading: Reading) -> Answer:
    facts = reading.facts
    early = _unless_modified(exchange, facts)
    if early is not None:
        return early
    wanted = exchange.header("range")
    if_range = exchange.header("if-range")
    if wanted is not None and (if_range is None or ranges.still_holds(if_range, facts.etag, facts.mtime_ns)):
        parts = ranges.parse(wanted, facts.size)
        if parts == []:
            told = (("Content-Range", f"bytes */{facts.size}"),)
            raise Refusal(416, f"the file has {facts.size} bytes, none of them in that range", headers=told)
        if parts is not None:
            return _partial(facts, reading, parts)
    return _whole(reading)


def _whole(reading: Reading) -> Answer:
    facts = reading.facts
    headers = [*_headers(facts), ("Content-Length", str(facts.size))]
    if facts.size > SMALL:
        return Answer(200, headers, _stream(reading, [ranges.Range(0, facts.size)]))
    data = reading.read(0, facts.size)
    if len(data) != facts.size:
        raise IntegrityError(_SHORT)
    return Answer(200, headers, bytes(data))


def _partial(facts: Facts, reading: Reading, parts: list[ranges.Range]) -> Answer:
    headers = _headers(facts)
    if len(parts) == 1:
        headers += [("Content-Range", parts[0].header(facts.size)), ("Content-Length", str(parts[0].size))]
        return Answer(206, headers, _stream(reading, parts))
    boundary = secrets.token_hex(16)
    kind = content_type(facts.name)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {part.header(facts.size)}\r\n\r\n".encode()
        for part in parts
    ]
    end = f"\r\n--{boundary}--\r\n".encode()
    size = sum(map(len, heads)) + sum(part.size for part in parts) + len(end)
    headers[0] = ("Content-Type", f"multipart/byteranges; boundary={boundary}")
    headers.append(("Content-Length", str(size)))
    return Answer(206, headers, _stream(reading, parts, heads, end))


def _stream(reading: Reading, parts: list[ranges.Range], heads: list[bytes] | None = None, end: bytes = b"") -> Iterator[Piece]:
    """The bytes of all parts; closes the file at the end, however it comes."""
    try:
        for index, part in enumerate(parts):
            if heads is not None:
                yield heads[index]
            at = part.start
            while at < part.end:
                data = reading.piece(at, min(BLOCK, part.end - at))
                if not data:
                    raise IntegrityError(_SHORT)
                yield data
                at += len(data)
        if end:
            yield end
    finally:
        reading.close()
