"""``.mmfs`` files: small JSON files in the node's root that place a MiMei, or one version of it, beside them.

``notes.mmfs`` holding ``{"mimei": "m...", "version": "7"}`` makes a directory ``notes`` appear. ``version`` is written
as after an ``@``; ``cur`` is the present, and without it the directory of all versions is shown. Unknown fields are
ignored, so that others may add theirs; anything malformed raises ``InvalidError`` with what is wrong.
"""

import msgspec

from mimeifs.errors import InvalidError
from mimeifs.ids import MimeiId, parse_mimei

SUFFIX = b".mmfs"
MAX_BYTES = 65536


class Mmfs(msgspec.Struct, frozen=True):
    """What a ``.mmfs`` file says."""

    mimei: MimeiId
    version: str


class _Written(msgspec.Struct):
    mimei: str
    version: str = ""


def parse_mmfs(data: bytes) -> Mmfs:
    """The placement that a ``.mmfs`` file of these bytes describes; raises ``InvalidError``."""
    try:
        written = msgspec.json.decode(data, type=_Written)
    except msgspec.MsgspecError as error:
        raise InvalidError(f'not a .mmfs file ({error}); it holds {{"mimei": "m...", "version": "last"}}') from error
    return Mmfs(parse_mimei(written.mimei), written.version.removeprefix("@"))


def stem_of(name: bytes) -> bytes | None:
    """The name of the directory that a file of this name makes appear, if it is a ``.mmfs`` file."""
    return name[: -len(SUFFIX)] if name.endswith(SUFFIX) and len(name) > len(SUFFIX) else None
