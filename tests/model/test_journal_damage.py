"""What the disk damages of bytes that are still in the journal goes into no version, is given to nobody, and is named; the
``local`` store checks without a finding at the end of each test."""

import logging
import random
from collections.abc import Callable

import pytest

from mimeifs.errors import IntegrityError, NotFoundError
from mimeifs.model.checking import Fault
from mimeifs.model.live_dir import LiveDir
from mimeifs.store.content import SINGLE_LIMIT
from mimeifs.store.journal import segment_path, segments
from tests.model.conftest import Local

SMALL, LARGE = 3000, SINGLE_LIMIT + 200_000


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def damage(local: Local, data: bytes) -> None:
    """Change a byte of ``data`` where it lies in the journal."""
    found = 0
    for number in segments(local.home.storage.journal):
        path = segment_path(local.home.storage.journal, number)
        at = path.read_bytes().find(data)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + len(data) // 2)
                file.write(bytes([data[len(data) // 2] ^ 0x10]))
            found += 1
    assert found == 1


def seal(local: Local) -> None:
    """What the keeper does with files that rest."""
    local.running.settle()
    local.engine.heard(local.running.keeper.seal_idle(local.engine.journal.position, 1 << 40))


def contents(local: Local, top: LiveDir, path: bytes) -> bytes:
    def whole() -> bytes:
        directory, name = local.above(top, path)
        return bytes(directory.child(name).open(writing=False).read(0, 1 << 30))

    return local.run(whole)


def removed(local: Local, top: LiveDir) -> None:
    directory, name = local.above(top, b"below/hurt")
    local.run(lambda: directory.unlink(name))


def overwritten(local: Local, top: LiveDir) -> None:
    local.put(top, b"below/hurt", b"new")


def one_byte(local: Local, top: LiveDir) -> None:
    directory, name = local.above(top, b"below/hurt")
    node = local.run(lambda: directory.child(name))
    local.run(lambda: node.write(1, b"x"))


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("again", [False, True], ids=["at once", "after a start"])
@pytest.mark.parametrize("mend", [removed, overwritten])
def test_damaged_bytes_go_into_no_version_until_they_are_gone(
    local: Local, size: int, again: bool, mend: Callable[[Local, LiveDir], None]
) -> None:
    top = local.mimei()
    mimei = top.tree.mimei
    local.put(top, b"whole", noise(500))
    local.put(top, b"below/hurt", noise(size))
    damage(local, noise(size))
    if again:
        local.crash()
        top = local.present(mimei)
    with pytest.raises(IntegrityError, match=f"'below/hurt': bytes 0 to {size - 1:,} of what was written to it"):
        local.backup(mimei)
    assert local.engine.versions.last(mimei) is None
    assert contents(local, top, b"whole") == noise(500)
    with pytest.raises(IntegrityError, match="damaged"):
        contents(local, top, b"below/hurt")
    (finding,) = local.findings()
    assert finding.fault is Fault.DAMAGED
    assert finding.where.endswith("/below/hurt")
    mend(local, top)
    assert b"whole" in local.tree(local.past(local.backup(mimei)))


def test_who_reads_after_a_start_gets_nothing_damaged_before_anybody_else_has_looked(local: Local) -> None:
    top = local.mimei()
    local.put(top, b"hurt", noise(SMALL))
    local.put(top, b"next", noise(SMALL + 1))
    damage(local, noise(SMALL))
    local.crash()
    top = local.present(top.tree.mimei)
    with pytest.raises(IntegrityError, match="damaged"):
        contents(local, top, b"hurt")
    assert contents(local, top, b"next") == noise(SMALL + 1)
    local.run(lambda: top.unlink(b"hurt"))


def test_a_damaged_file_holds_up_no_other_and_is_told(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    top = local.mimei()
    for name in (b"a", b"hurt", b"z"):
        local.put(top, name, name + noise(SMALL))
    damage(local, b"hurt" + noise(SMALL))
    seal(local)
    (told,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "`mimei check`" in told.getMessage()
    with pytest.raises(IntegrityError, match="damaged"):  # Though this process wrote it.
        contents(local, top, b"hurt")
    assert contents(local, top, b"z") == b"z" + noise(SMALL)
    caplog.clear()
    seal(local)
    assert not caplog.records
    local.put(top, b"hurt", b"mended")
    seal(local)
    assert not caplog.records
    assert contents(local, top, b"hurt") == b"mended"


def test_a_write_over_a_part_does_not_mend_the_rest(local: Local) -> None:
    top = local.mimei()
    local.put(top, b"below/hurt", noise(SMALL))
    damage(local, noise(SMALL))
    one_byte(local, top)
    with pytest.raises(IntegrityError, match=r"bytes 0 to 0, and others, of"):
        local.backup(top.tree.mimei)
    overwritten(local, top)
    local.backup(top.tree.mimei)


def test_what_a_version_has_is_restored_once_it_is_gone(local: Local) -> None:
    top = local.mimei()
    local.put(top, b"below/hurt", b"old")
    version = local.backup(top.tree.mimei)
    local.put(top, b"below/hurt", noise(LARGE))
    damage(local, noise(LARGE))
    with pytest.raises(IntegrityError):
        local.backup(top.tree.mimei)
    with pytest.raises(IntegrityError, match="remove it and restore"):  # It keeps what it is about to replace.
        local.run(lambda: local.engine.transplant.restore(top.tree.mimei, version, b"below/hurt"))
    removed(local, top)
    local.run(lambda: local.engine.transplant.restore(top.tree.mimei, version, b"below/hurt"))
    assert contents(local, top, b"below/hurt") == b"old"
    local.backup(top.tree.mimei)


def test_a_file_with_several_names_is_named_by_one_of_them(local: Local) -> None:
    top = local.mimei()
    node = local.put(top, b"below/hurt", noise(SMALL))
    local.run(lambda: top.link(b"other", node))
    damage(local, noise(SMALL))
    with pytest.raises(IntegrityError, match="a file with several names: bytes 0"):
        local.backup(top.tree.mimei)
    (finding,) = local.findings()
    assert finding.where.endswith(("/other", "/below/hurt"))
    for path in (b"below/hurt", b"other"):
        directory, name = local.above(top, path)
        local.run(lambda directory=directory, name=name: directory.unlink(name))
    with pytest.raises(NotFoundError):
        local.run(lambda: top.child(b"other"))
    local.backup(top.tree.mimei)
