"""What can be read of an index that may be damaged.

LMDB trusts its pages: what is wrong in one may end the process that reads it. So a process of its own looks, and says what it
found; how it ends is part of the answer. What this is not: mending. Always true: nothing is changed, and what only keeps the
index from being read (rights, descriptors, memory) is raised and never taken for damage.
"""

import faulthandler
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

import lmdb
import msgspec

from mimeifs.errors import IntegrityError
from mimeifs.store.database import DAMAGE, START_BYTES, Table, read_through

_WHOLE, _FAILED = b"\nwhole", b"\nfailed: "
"""What stands behind the rows: META holds the store's secret, which is to be in no message."""
_DAMAGED, _OTHER = 3, 4
"""How the process ends that looks."""


class Salvaged(msgspec.Struct, frozen=True):
    """What could be read of an index that may be damaged: its META, and whether every row of every table can be read."""

    meta: dict[bytes, bytes]
    whole: bool


def salvage(path: Path, *, shared: bool = False) -> Salvaged:
    """Look at an index in a process of its own, which damage may end (SIGBUS, SIGSEGV, SIGABRT); it is only read. ``shared``:
    others may write meanwhile. Raises ``OSError`` and ``IntegrityError`` for what keeps it from being looked at."""
    with suppress(FileNotFoundError, NotADirectoryError), open(path / "data.mdb", "rb") as file:
        file.read(1)
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = _OTHER
        try:
            os.close(reading)
            _tell_what_is_there(path, writing, shared=shared)
            code = 0
        except (*DAMAGE, lmdb.NotFoundError, FileNotFoundError, NotADirectoryError):
            code = _DAMAGED
        except BaseException as error:  # noqa: BLE001  # It is the parent's to raise.
            os.write(writing, _FAILED + str(error).encode(errors="replace"))
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        data = told.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, _DAMAGED, -signal.SIGBUS, -signal.SIGSEGV, -signal.SIGABRT):
        reason = data.rpartition(_FAILED)[2].decode(errors="replace") if _FAILED in data else f"ended with {code}"
        raise IntegrityError(f"the index in {path} cannot be looked at ({reason})")
    try:
        return Salvaged(msgspec.msgpack.decode(data.removesuffix(_WHOLE), type=dict[bytes, bytes]), data.endswith(_WHOLE))
    except msgspec.MsgspecError:
        return Salvaged({}, whole=False)


def _tell_what_is_there(path: Path, fd: int, *, shared: bool) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # LMDB says there what it dies of.
    size = os.stat(path / "data.mdb").st_size
    if not size:
        raise FileNotFoundError(path)  # LMDB would begin a new one.
    env = lmdb.open(
        str(path), readonly=True, lock=shared, create=False, map_size=max(size, START_BYTES), max_dbs=len(Table) + 4
    )
    with env.begin() as transaction:
        meta = env.open_db(b"meta", txn=transaction, create=False)
        os.write(fd, msgspec.msgpack.encode(dict(transaction.cursor(db=meta))))
        read_through(env, transaction)
    os.write(fd, _WHOLE)
