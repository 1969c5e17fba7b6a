"""Whatever goes wrong inside a handler, the caller gets EIO, the log says why once, and the mount goes on."""

import errno
import inspect
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pyfuse3
import pytest
import trio
from pyfuse3 import EntryAttributes, FUSEError, RequestContext

from mimeifs.fuse.attributes import AS_STORED
from mimeifs.fuse.operations import Operations
from mimeifs.model.past import PAST_BIT
from mimeifs.store.interfaces import Cold
from tests.model.conftest import Local, local, open_local

__all__ = ["local"]

CALLER = RequestContext()
ATTRIBUTES = EntryAttributes()

REQUESTS: dict[str, tuple[object, ...]] = {
    "create": (2, b"name", 0o644, 0, CALLER),
    "fsync": (1, True),
    "fsyncdir": (1, True),
    "getattr": (2, CALLER),
    "getxattr": (2, b"user.a", CALLER),
    "link": (2, 3, b"name", CALLER),
    "listxattr": (2, CALLER),
    "lookup": (2, b"name", CALLER),
    "mkdir": (2, b"name", 0o755, CALLER),
    "mknod": (2, b"name", 0o100644, 0, CALLER),
    "open": (2, 0, CALLER),
    "opendir": (2, CALLER),
    "read": (1, 0, 10),
    "readdir": (1, 0, None),
    "readlink": (2, CALLER),
    "release": (1,),
    "releasedir": (1,),
    "removexattr": (2, b"user.a", CALLER),
    "rename": (2, b"name", 3, b"other", 0, CALLER),
    "rmdir": (2, b"name", CALLER),
    "setattr": (2, ATTRIBUTES, None, None, CALLER),
    "setxattr": (2, b"user.a", b"value", CALLER),
    "statfs": (CALLER,),
    "symlink": (2, b"name", b"target", CALLER),
    "unlink": (2, b"name", CALLER),
    "write": (1, 0, b"data"),
}
"""Each request that is answered, with arguments that lead to the model."""

REFUSED = {"access", "flush", "poll"}
"""What pyfuse3 answers by itself: there is none."""

UNFORESEEN = (
    RuntimeError("a mistake"),
    OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    MemoryError(),
    RecursionError("too deep"),
    AssertionError(),
)


class Failing:
    """Stands for the model, and for what waits on its behalf: whatever is asked of it raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error

    def __getitem__(self, key: object) -> Any:
        raise self._error

    def __delitem__(self, key: object) -> Any:
        raise self._error


def operations(local: Local, rim: object) -> Operations:
    """Handlers without a mount."""
    engine = local.engine
    root = local.run(lambda: engine.views.root)
    return Operations(engine.live, engine.views.past, root, rim, xattrs=True, showing=AS_STORED)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A store that no request reaches."""
    made = open_local(tmp_path_factory.mktemp("untouched"))
    yield made
    made.running.close()


@pytest.fixture
def failing(untouched: Local, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Operations]:
    """Handlers over a model that fails."""

    def make(error: Exception) -> Operations:
        made, broken = operations(untouched, Failing(error)), Failing(error)
        for name in ("_live", "_past", "_handles"):
            monkeypatch.setattr(made, name, broken)
        return made

    return make


def test_the_table_holds_every_request_there_is() -> None:
    there = {name for name, value in vars(pyfuse3.Operations).items() if inspect.iscoroutinefunction(value)}
    assert there == REQUESTS.keys() | REFUSED | {"forget"}


@pytest.mark.parametrize("error", UNFORESEEN, ids=repr)
@pytest.mark.parametrize("request_name", REQUESTS)
async def test_an_unforeseen_error_is_eio_and_logged_once_with_its_cause(
    request_name: str, error: Exception, failing: Callable[[Exception], Operations], caplog: pytest.LogCaptureFixture
) -> None:
    handlers = failing(error)
    for _ in range(3):
        with pytest.raises(FUSEError) as told:
            await getattr(handlers, request_name)(*REQUESTS[request_name])
        assert told.value.errno == errno.EIO
    (said,) = caplog.records
    assert said.levelno == logging.ERROR
    assert said.exc_info is not None
    assert said.exc_info[1] is error


@pytest.mark.parametrize("ino", [2, PAST_BIT | 2])
async def test_what_goes_wrong_while_something_is_forgotten_is_logged_and_leaves_the_others_to_be_forgotten(
    ino: int, local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    photos = local.mimei()
    handlers = operations(local, None)
    handlers._live.nodes[photos.ino], photos.lookups = photos, 5
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(handlers, "_past", Failing(RuntimeError("a mistake")))
        patched.setitem(handlers._live.nodes, 2, Failing(RuntimeError("a mistake")))
        await handlers.forget([(ino, 1), (photos.ino, 3)])
    assert photos.lookups == 2
    assert [record.message for record in caplog.records] == ["unforeseen error in forget"]


async def test_others_have_their_turn_while_the_kernel_forgets_much(local: Local) -> None:
    handlers = operations(local, None)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await handlers.forget([(ino, 1) for ino in range(2, 65_000)])
        nursery.cancel_scope.cancel()
    assert turns >= 100


async def test_what_goes_wrong_while_a_request_waits_is_eio_as_well(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    class Rim:
        async def carry(self, call: Callable[[], object]) -> object:
            raise RuntimeError("a mistake")

    handlers = operations(local, Rim())
    handlers._live.nodes[2] = Failing(Cold(()))
    try:
        with pytest.raises(FUSEError) as told:
            await handlers.lookup(2, b"name", CALLER)
    finally:
        del handlers._live.nodes[2]
    assert told.value.errno == errno.EIO
    assert [record.message for record in caplog.records] == ["unforeseen error in a waiting request"]


async def test_a_listing_that_fails_behind_its_first_entry_gives_what_came_before(
    local: Local, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photos, replied = local.mimei(), []
    local.put(photos, b"a", b"")

    def scan(after: bytes) -> object:
        if not after:
            yield b"a", photos.child(b"a")
        raise RuntimeError("a mistake")

    def reply(_token: object, name: bytes, _attributes: object, _next: int) -> bool:
        replied.append(name)
        return True

    monkeypatch.setattr(type(photos), "scan", lambda _self, after: scan(after))
    monkeypatch.setattr(pyfuse3, "readdir_reply", reply)
    handlers = operations(local, None)
    handlers._live.nodes[photos.ino] = photos
    opened = await handlers.opendir(photos.ino, CALLER)
    await handlers.readdir(opened, 0, None)
    assert replied == [b".", b"..", b"a"]
    with pytest.raises(FUSEError) as told:
        await handlers.readdir(opened, 3, None)
    assert told.value.errno == errno.EIO
    assert [record.message for record in caplog.records] == ["unforeseen error in readdir"]
    monkeypatch.undo()
