"""The checker finds nothing in a sound store, and what is wrong in others."""

from tests.model.conftest import WHO, Local


def test_a_fresh_home_is_sound(local: Local) -> None:
    assert local.findings() == []


def test_a_used_store_is_sound_at_every_step(local: Local) -> None:
    photos = local.mimei()
    local.put(photos, b"a", b"hello")
    local.put(photos, b"sub/big", bytes(range(256)) * 2000)
    assert local.findings() == []
    local.backup(photos.tree.mimei, "one")
    assert local.findings() == []
    a = local.run(lambda: photos.child(b"a"))
    sub = local.run(lambda: photos.child(b"sub"))
    local.run(lambda: sub.link(b"b", a))
    local.run(lambda: photos.symlink(b"s", b"target", WHO))
    assert local.findings() == []
    local.backup(photos.tree.mimei)
    local.run(lambda: a.write(2, b"XX"))
    local.run(lambda: photos.rename(b"sub", photos, b"moved", 0))
    local.run(lambda: photos.unlink(b"a"))
    assert local.findings() == []
    local.backup(photos.tree.mimei)
    assert local.findings() == []
