"""From what people type to what is meant: MiMeis by name, path or ID, and versions by what follows an ``@``.

Always true: an entry of the root goes before an ID; nothing here changes anything. May raise ``Cold``.
"""

import os
from dataclasses import dataclass

from mimeifs.api.services import Services
from mimeifs.errors import ExistsError, InvalidError, MimeiError, NotADirError, NotFoundError
from mimeifs.ids import MimeiId, RecordId, parse_mimei
from mimeifs.model import state
from mimeifs.model.entry import Kind, Link, View
from mimeifs.model.inode import Inode
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.mmfs import SUFFIX
from mimeifs.model.node import check_name
from mimeifs.model.versions import VersionInfo
from mimeifs.store.database import Table

CUR = "cur"
_FORK_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Found:
    """A MiMei as it was named; ``view`` is None where it was found by its ID."""

    mimei: MimeiId
    name: bytes
    view: View | None


def show(name: bytes) -> str:
    """A name as messages print it."""
    return os.fsdecode(name).encode(errors="backslashreplace").decode()


def find(services: Services, name: bytes) -> Found:
    """The MiMei of that name, path or ID; raises ``NotFoundError``, or ``InvalidError`` for what is no MiMei."""
    path = name.strip(b"/")
    if not path:
        raise InvalidError("an empty name; `mimei ls` lists the MiMeis")
    try:
        inode = _walk(services, path)
    except NotFoundError:
        return _by_id(services, path)
    if not isinstance(inode.special, Link):
        raise InvalidError(f"{show(name)} is no MiMei but an ordinary file or directory; `mimei ls` lists the MiMeis")
    return Found(inode.special.mimei, path, inode.special.view)


def _walk(services: Services, path: bytes) -> Inode:
    """The entry at a path that leads through presents."""
    directory, last = place(services, path)
    return directory.child(last)


def place(services: Services, path: bytes) -> tuple[LiveDir, bytes]:
    """The directory that holds the entry at a path through presents, and the entry's name."""
    *folders, last = path.split(b"/")
    directory: LiveDir = services.views.root
    for folder in folders:
        inode = directory.child(folder)
        if isinstance(inode.special, Link) and inode.kind is Kind.LINK:
            inode = services.mimeis.tree(inode.special.mimei).root
        if not isinstance(inode, LiveDir):
            raise NotADirError(f"{show(path)}: {show(folder)} is not a directory")
        directory = inode
    return directory, last


def _by_id(services: Services, text: bytes) -> Found:
    try:
        mimei = parse_mimei(text.decode())
    except (MimeiError, UnicodeDecodeError):
        raise NotFoundError(f"no MiMei {show(text)}; `mimei ls` lists them, `ls --all` those without a link too") from None
    return Found(mimei, services.mimeis.row(mimei).name.encode(), None)


def check_free(services: Services, name: bytes) -> None:
    """Raise unless a MiMei may be linked in the root under this name: ``InvalidError``, ``ExistsError``."""
    check_name(name)
    if name[:1] == b"@":
        raise InvalidError(f"a MiMei's name does not start with '@': {show(name)}")
    if name.endswith(SUFFIX):
        raise InvalidError(f"a MiMei's name does not end in {SUFFIX.decode()}, which is for files that place one: {show(name)}")
    try:
        services.views.root.child(name)
    except NotFoundError:
        return
    raise ExistsError(f"{show(name)} exists already in the root; choose another name")


def version(services: Services, mimei: MimeiId, text: str) -> VersionInfo:
    """The version named as after an ``@``, with or without it; raises ``NotFoundError``, ``InvalidError``."""
    plain = text.removeprefix("@")
    if plain == CUR:
        raise InvalidError("cur is the present, not a version; `mimei backup` takes a version of it")
    return services.versions.find(mimei, plain)


def namesakes(services: Services, mimei: MimeiId, number: int) -> list[VersionInfo]:
    """Every version of one number; more than one only after a fork."""
    prefix = state.version_key(mimei, number, RecordId(b""))
    rows = services.live.database.scan(Table.VERSIONS, prefix)
    return [VersionInfo(mimei, number, state.split_version(key)[1], state.decode_version(value)) for key, value in rows]


def fork_mark(info: VersionInfo, others: list[VersionInfo]) -> str:
    """The hex digits that tell a version from its namesakes, "" when it has none."""
    mine = info.record.hex()
    rivals = [other.record.hex() for other in others if other.record != info.record]
    if not rivals:
        return ""
    digits = _FORK_DIGITS
    while any(rival.startswith(mine[:digits]) for rival in rivals):
        digits += 1
    return mine[:digits]
