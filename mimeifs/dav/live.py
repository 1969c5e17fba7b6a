"""Live properties: what a resource's facts say, as elements of XML (RFC 4918, section 15; RFC 4331; Microsoft's four times).

Every value is written here and nowhere else, so that headers and properties agree. Nothing here reads a file.
"""

from collections.abc import Callable
from functools import partial
from xml.sax.saxutils import escape

from mimeifs.dav import conditions, dates
from mimeifs.dav.exchange import href
from mimeifs.dav.interface import Facts, Lock, Path, Standing, Tree
from mimeifs.dav.paths import spellings
from mimeifs.dav.reading import content_type
from mimeifs.dav.xml_in import DAV
from mimeifs.errors import IntegrityError, NotADirError, NotFoundError, UnsupportedError
from mimeifs.store.content import ContentKind

WIN32 = "{urn:schemas-microsoft-com:}"
SUPPORTED_LOCK = "".join(
    f"<D:lockentry><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    for scope in ("exclusive", "shared")
)


class Context:
    """What properties need besides a resource's facts: its path, locks and space, asked for only where they are wished for."""

    def __init__(self, tree: Tree, now_ns: int) -> None:
        self._tree = tree
        self._now_ns = now_ns
        self._space: tuple[int, int] | None = None
        self._stood: tuple[Path, Standing | None] | None = None
        self.path: Path = ()
        self._linked: tuple[Path, Path] = (), ()

    def lead(self, asked: Path, found: Path) -> None:
        """What was asked for at one path was found at another: addresses begin as they were asked for where a link led there,
        and as names are written where these were only spelled otherwise."""
        if len(asked) != len(found) or any(name not in spellings(one) for one, name in zip(asked, found, strict=True)):
            self._linked = asked, found

    def address(self, path: Path, *, is_dir: bool) -> str:
        """Where the client finds what is at ``path``."""
        asked, found = self._linked
        return href((*asked, *path[len(found) :]) if path[: len(found)] == found else path, is_dir=is_dir)

    def locks(self) -> str:
        """The locks on the resource at hand."""
        return lock_discovery(self._tree.locks(self.path), self._now_ns)

    def space(self) -> tuple[int, int]:
        """Bytes used and available."""
        if self._space is None:
            self._space = self._tree.space()
        return self._space

    def standing(self) -> Standing | None:
        """How the resource at hand stands among its versions; None where there are none."""
        if self._stood is None or self._stood[0] != self.path:
            try:
                self.stands(self._tree.standing(self.path))
            except (NotFoundError, NotADirError, IntegrityError):
                self.stands(None)
        assert self._stood is not None
        return self._stood[1]

    def stands(self, standing: Standing | None) -> None:
        """It is known how the resource at hand stands."""
        self._stood = self.path, standing

    def sync_token(self) -> str | None:
        """What names what the collection at hand holds; None where nothing does."""
        try:
            return self._tree.sync_token(self.path)
        except (NotFoundError, UnsupportedError):
            return None


Value = Callable[[Facts, Context], str | None]


def text(value: str) -> str:
    """Text in XML; what XML cannot hold (controls) becomes the sign for it."""
    if not value.isprintable():
        value = "".join("\ufffd" if _excluded(sign) else sign for sign in value)
    return escape(value, {"\r": "&#13;"})


def _excluded(sign: str) -> bool:
    return (sign < " " and sign not in "\t\n\r") or "\ud800" <= sign <= "\udfff" or sign in "\ufffe\uffff"


def _display_name(facts: Facts, _: Context) -> str:
    return text(facts.name.decode(errors="replace"))


def _length(facts: Facts, _: Context) -> str | None:
    return None if facts.kind == "dir" else str(facts.size)


def _type(facts: Facts, _: Context) -> str | None:
    return None if facts.kind == "dir" else content_type(facts.name)


def _resource_type(facts: Facts, _: Context) -> str:
    return "<D:collection/>" if facts.kind == "dir" else ""


def _win32(when: Callable[[Facts], int], facts: Facts, _: Context) -> str:
    return dates.modified(when(facts))


CHECKSUMS = "{http://owncloud.org/ns}checksums"
_KEPT = '<checksums xmlns="http://owncloud.org/ns" of="{etag}"><checksum>{checksum}</checksum></checksums>'


def kept_checksum(checksum: str, etag: str) -> bytes:
    """A verified digest as it is kept among the dead properties: with the tag of the content that it is of."""
    return _KEPT.format(etag=escape(etag), checksum=escape(checksum)).encode()


def _checksums(facts: Facts, _: Context) -> str | None:
    """The digest that was kept, if the file is still what it is of, else the one that names its bytes. Nothing is computed."""
    kept = facts.properties.get(CHECKSUMS, b"").decode()
    _before, found, rest = kept.partition(f' of="{escape(facts.etag)}"><checksum>')
    if found:
        return f"<x:checksum>{rest.partition('<')[0]}</x:checksum>"
    content = facts.content
    if content is None or content.kind is not ContentKind.BLOB:
        return None
    return f"<x:checksum>BLAKE3:{content.digest.hex()}</x:checksum>"


DISPLAY_NAME = DAV + "displayname"
LAST_ACCESS = WIN32 + "Win32LastAccessTime"
ATTRIBUTES = WIN32 + "Win32FileAttributes"
KEPT = frozenset((DISPLAY_NAME, LAST_ACCESS, ATTRIBUTES))
"""Properties that have a value of their own and keep, among the dead ones, another that was set."""

LIVE: dict[str, Value] = {
    DAV + "creationdate": lambda facts, _: dates.created(facts.birth_ns),
    DISPLAY_NAME: _display_name,
    DAV + "getcontentlength": _length,
    DAV + "getcontenttype": _type,
    DAV + "getetag": lambda facts, _: text(conditions.quoted(facts.etag)),
    DAV + "getlastmodified": lambda facts, _: dates.modified(facts.mtime_ns),
    DAV + "resourcetype": _resource_type,
    DAV + "supportedlock": lambda facts, _: SUPPORTED_LOCK if facts.writable else "",
    DAV + "lockdiscovery": lambda facts, context: context.locks() if facts.writable else "",
    DAV + "quota-available-bytes": lambda facts, context: str(context.space()[1]) if facts.kind == "dir" else None,
    DAV + "quota-used-bytes": lambda facts, context: str(context.space()[0]) if facts.kind == "dir" else None,
    "{http://apache.org/dav/props/}executable": lambda f, _: ("T" if f.mode & 0o100 else "F") if f.kind == "file" else None,
    CHECKSUMS: _checksums,
    WIN32 + "Win32CreationTime": partial(_win32, lambda facts: facts.birth_ns),
    WIN32 + "Win32LastModifiedTime": partial(_win32, lambda facts: facts.mtime_ns),
    LAST_ACCESS: partial(_win32, lambda facts: facts.mtime_ns),
    ATTRIBUTES: lambda facts, _: "00000010" if facts.kind == "dir" else "00000020",
}

ALL = tuple(
    DAV + n for n in ("resourcetype", "getcontentlength", "getlastmodified", "getetag", "creationdate", "getcontenttype")
)
"""What everybody gets who asks for all. The display name is the last name of the address and quotas are asked for by name
(RFC 4331, 3); the two about locks go with a single resource only, so that rows of a listing stay short."""

ALL_OF_ONE = (*ALL, DISPLAY_NAME, DAV + "supportedlock", DAV + "lockdiscovery")


def lock_discovery(locks: list[Lock], now_ns: int) -> str:
    """The content of ``lockdiscovery``."""
    return "".join(_active(lock, now_ns) for lock in locks)


def _active(lock: Lock, now_ns: int) -> str:
    scope = "exclusive" if lock.exclusive else "shared"
    depth = "infinity" if lock.infinite else "0"
    seconds = max((lock.expires_ns - now_ns) // dates.SECOND, 0)
    return (
        f"<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope><D:depth>{depth}</D:depth>"
        f"{lock.owner}<D:timeout>Second-{seconds}</D:timeout>"
        f"<D:locktoken><D:href>{text(lock.token)}</D:href></D:locktoken>"
        f"<D:lockroot><D:href>{text(href(lock.path, is_dir=False))}</D:href></D:lockroot></D:activelock>"
    )
