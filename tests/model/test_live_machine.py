"""The live tree of a MiMei against plain nested dictionaries, with a keeper that lags, crashes, seals and takes versions."""

import copy
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mimeifs import errors
from mimeifs.clock import CountingRandomness, ManualClock
from mimeifs.engine import create_home
from mimeifs.home import Home
from mimeifs.model import keeper as keeper_module
from mimeifs.model.checking import check
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.node import RENAME_EXCHANGE, RENAME_NOREPLACE, Change, Who
from mimeifs.model.versions import Later
from mimeifs.store import journal, overlay
from mimeifs.store.blobs import BlobReader
from mimeifs.store.database import U64, Table
from mimeifs.store.packs import IndexRow
from tests.model import oracle
from tests.model.lagging import Lagging
from tests.model.oracle import DIR, FIFO, FILE, SYMLINK, Obj, Tree, facts_of, flat

SMALL_SEGMENT = 1 << 20
NAMES = [b"a", b"b", b"c", b"d", b"\xff\xfe", b"n" * 255]
SIZES = [0, 1, 7, 4096, 65535, 65536, 65537, 100_000, 300_000]
OFFSETS = [0, 1, 100, 4095, 65_000, 65_536, 200_000, 500_000]
WHO = Who(1000, 100)
names = st.sampled_from(NAMES)
contents = st.builds(lambda size, seed: random.Random(seed).randbytes(size), st.sampled_from(SIZES), st.integers(0, 9))


class Still(ManualClock):
    """Stands still until told to move, so that a whole call has one time."""

    def now_ns(self):
        return self.time_ns


@pytest.fixture(scope="session", autouse=True)
def template(tmp_path_factory):
    """A new home, made once and copied for each run."""
    path = tmp_path_factory.mktemp("template") / "home"
    with small_segments():
        create_home(Home(path), ManualClock(), CountingRandomness(), None, WHO)
    Machine.template = path


def small_segments():
    patch = pytest.MonkeyPatch()
    patch.setattr(journal, "SEGMENT_SIZE", SMALL_SEGMENT)
    patch.setattr(overlay, "SEGMENT_SIZE", SMALL_SEGMENT)
    patch.setattr(keeper_module, "SEGMENT_SIZE", SMALL_SEGMENT)
    patch.setattr(keeper_module, "START_POSITION", SMALL_SEGMENT + journal.HEADER_SIZE)
    patch.setattr(keeper_module, "BATCH_BYTES", 200_000)
    return Undo(patch)


class Undo:
    def __init__(self, patch):
        self.undo = patch.undo

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.undo()


class Machine(RuleBasedStateMachine):
    template: Path

    @initialize(planted=st.booleans())
    def begin(self, planted):
        self.small = small_segments()
        self.dir = Path(tempfile.mkdtemp(prefix="machine"))
        shutil.copytree(self.template, self.dir / "home")
        self.clock, self.randomness = Still(), CountingRandomness(1000)
        self.handles = []
        self.cuts = []
        self.versions = {}
        self.newest = 0
        self.positions = []
        self.open()
        self.tick()
        self.call(lambda: self.views.root.mkdir(b"m", 0o755, WHO))
        self.local.settle()
        now = self.clock.time_ns
        self.tree = Tree(Obj(DIR, 0o755, WHO.uid, WHO.gid, now, now))
        self.mimei = self.root.tree.mimei
        if planted:
            self.plant()

    def plant(self):
        """Three directories with a file each, one of them with a second name."""
        for path in ((), (b"a",), (b"a", b"b")):
            for kind, name in ((DIR, (path and b"b") or b"a"), (FILE, b"c")):
                node, obj = self.at(path), self.fresh(kind, 0o755)
                make = node.mkdir if kind == DIR else node.create
                made = self.call(lambda make=make, name=name: make(name, 0o755, WHO))
                self.tree.add(path, name, obj, obj.mtime)
                if kind == FILE:
                    self.call(lambda made=made: made.write(0, b"planted" * 20))
                    oracle.write(obj, 0, b"planted" * 20, obj.mtime)
        now = self.tick()
        self.at(()).link(b"d", self.at((b"a", b"c")))
        self.tree.link((b"a", b"c"), (), b"d", now)

    def open(self):
        self.local = Lagging(Home(self.dir / "home"), self.clock, self.randomness)
        self.positions = []

    def teardown(self):
        try:
            if hasattr(self, "tree"):
                self.check_tree()
                self.settle()
                self.check_tree()
                self.reopen()
                self.check_tree()
                self.check_versions()
                self.check_store()
        finally:
            if hasattr(self, "small"):
                self.small.undo()
                shutil.rmtree(self.dir)

    # What rules are made of

    @property
    def views(self):
        return self.local.engine.views

    @property
    def root(self):
        return self.views.root.lookup(b"m")

    def tick(self):
        self.clock.time_ns += 1_000_003
        return self.clock.time_ns

    def call(self, call):
        self.positions.append(self.local.end)
        return self.local.call(call)

    def at(self, path):
        node = self.call(lambda: self.root)
        for name in path:
            node = self.call(lambda name=name, node=node: node.lookup(name))
        return node

    def pick(self, data, wanted=lambda obj: True):
        """A path of the tree to something wanted; None when there is none."""
        paths = self.tree.paths(wanted)
        return data.draw(st.sampled_from(paths)) if paths else None

    def pick_dir(self, data):
        return self.pick(data, lambda obj: obj.type == DIR)

    def pick_named(self, data, wanted=lambda obj: True):
        path = self.pick(data, lambda obj: obj is not self.tree.root and wanted(obj))
        return (path[:-1], path[-1]) if path else (None, None)

    def refused(self, error, call):
        with pytest.raises(error):
            self.call(call)

    # Making

    def make(self, data, name, obj, call):
        path = self.pick_dir(data)
        node = self.at(path)
        if name in self.tree.at(path).children:
            self.refused(errors.ExistsError, lambda: call(node))
            return None
        made = self.call(lambda: call(node))
        self.tree.add(path, name, obj, obj.mtime)
        return made

    def fresh(self, kind, mode):
        now = self.tick()
        return Obj(kind, mode, WHO.uid, WHO.gid, now, now)

    @rule(data=st.data(), name=names, keep=st.booleans(), content=contents)
    def create(self, data, name, keep, content):
        obj = self.fresh(FILE, 0o640)
        node = self.make(data, name, obj, lambda at: at.create(name, 0o640, WHO))
        if node is not None:
            handle = node.open(writing=True)
            self.call(lambda: handle.write(0, content))
            oracle.write(obj, 0, content, self.clock.time_ns)
            if keep:
                self.handles.append((handle, obj))
            else:
                handle.close()

    @rule(data=st.data(), name=names, mode=st.sampled_from([0o755, 0o2775]))
    def mkdir(self, data, name, mode):
        self.make(data, name, self.fresh(DIR, mode), lambda at: at.mkdir(name, mode, WHO))

    @rule(data=st.data(), name=names, to=st.sampled_from([b"", b"x", b"../y" * 900]))
    def special(self, data, name, to):
        """A symbolic link, or a fifo where there is nothing to link to."""
        if not to:
            self.make(data, name, self.fresh(FIFO, 0o600), lambda at: at.mknod(name, FIFO | 0o600, 0, WHO))
            return
        obj = self.fresh(SYMLINK, 0o777)
        obj.target = to
        self.make(data, name, obj, lambda at: at.symlink(name, to, WHO))

    @rule(data=st.data(), name=names)
    def link(self, data, name):
        source = self.pick(data, lambda obj: obj.type != DIR)
        if source is None:
            return
        path = self.pick_dir(data)
        node, directory, now = self.at(source), self.at(path), self.tick()
        if name in self.tree.at(path).children:
            self.refused(errors.ExistsError, lambda: directory.link(name, node))
        else:
            self.call(lambda: directory.link(name, node))
            self.tree.link(source, path, name, now)

    # Bytes

    @rule(data=st.data())
    def open_file(self, data):
        path = self.pick(data, lambda obj: obj.type == FILE)
        if path is not None:
            node = self.at(path)
            self.handles.append((self.call(lambda: node.open(writing=True)), self.tree.at(path)))

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def close_file(self, data):
        handle, _ = self.handles.pop(data.draw(st.integers(0, len(self.handles) - 1)))
        self.call(handle.close)

    def some_handle(self, data):
        """An open file, or one opened for this occasion."""
        if self.handles and data.draw(st.booleans()):
            handle, obj = data.draw(st.sampled_from(self.handles))
            return handle, obj, lambda: None
        path = self.pick(data, lambda obj: obj.type == FILE)
        if path is None:
            return None, None, None
        node = self.at(path)
        handle = self.call(lambda: node.open(writing=True))
        return handle, self.tree.at(path), handle.close

    @rule(data=st.data(), content=contents, offset=st.one_of(st.sampled_from(OFFSETS), st.just("end"), st.just("gap")))
    def write(self, data, content, offset):
        handle, obj, done = self.some_handle(data)
        if handle is not None:
            offset = {"end": len(obj.data), "gap": len(obj.data) + 1000}.get(offset, offset)
            now = self.tick()
            assert self.call(lambda: handle.write(offset, content)) == len(content)
            oracle.write(obj, offset, content, now)
            done()

    @rule(data=st.data(), size=st.sampled_from([*SIZES, *OFFSETS]))
    def truncate(self, data, size):
        handle, obj, done = self.some_handle(data)
        if handle is not None:
            now = self.tick()
            self.call(lambda: handle.set(Change(size=size)))
            oracle.resize(obj, size, now)
            done()

    @rule(data=st.data(), offset=st.sampled_from(OFFSETS), size=st.sampled_from([1, 5000, 600_000]))
    def read(self, data, offset, size):
        handle, obj, done = self.some_handle(data)
        if handle is not None:
            assert self.call(lambda: handle.read(offset, size)) == bytes(obj.data[offset : offset + size])
            done()

    # Attributes

    @rule(data=st.data(), change=st.sampled_from(["mode", "owner", "times", "atime", "all"]))
    def set(self, data, change):
        path = self.pick(data)
        node, obj, now = self.at(path), self.tree.at(path), self.tick()
        wanted = {
            "mode": Change(mode=0o4711),
            "owner": Change(uid=5, gid=2**32 - 2),
            "times": Change(atime_ns=-5, mtime_ns=1_234_567_891),
            "atime": Change(atime_ns=now + 7),
            "all": Change(mode=0o600, uid=0, gid=0, atime_ns=1, mtime_ns=2),
        }[change]
        self.call(lambda: node.set(wanted))
        obj.ctime = now
        obj.mode = obj.mode if wanted.mode is None else wanted.mode
        obj.uid = obj.uid if wanted.uid is None else wanted.uid
        obj.gid = obj.gid if wanted.gid is None else wanted.gid
        obj.atime = obj.atime if wanted.atime_ns is None else wanted.atime_ns
        obj.mtime = obj.mtime if wanted.mtime_ns is None else wanted.mtime_ns

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def set_open(self, data):
        handle, obj = data.draw(st.sampled_from(self.handles))
        obj.ctime = self.tick()
        obj.mode = 0o444
        self.call(lambda: handle.set(Change(mode=0o444)))

    @rule(data=st.data(), name=st.sampled_from([b"user.a", b"user.b"]), size=st.sampled_from([0, 10, 900, 3000, 40_000]))
    def set_xattr(self, data, name, size):
        path = self.pick(data)
        node, obj, now = self.at(path), self.tree.at(path), self.tick()
        value = random.Random(size).randbytes(size)
        if size + sum(len(old) for key, old in obj.xattrs.items() if key != name) > 65_000:
            self.refused(errors.TooLargeError, lambda: node.set_xattr(name, value))
            return
        self.call(lambda: node.set_xattr(name, value))
        if obj.xattrs.get(name) != value:
            obj.xattrs[name] = value
            obj.ctime = now

    @rule(data=st.data())
    def remove_xattr(self, data):
        path = self.pick(data, lambda obj: obj.xattrs)
        if path is not None:
            node, obj, now = self.at(path), self.tree.at(path), self.tick()
            name = data.draw(st.sampled_from(sorted(obj.xattrs)))
            self.call(lambda: node.remove_xattr(name))
            del obj.xattrs[name]
            obj.ctime = now
            self.refused(errors.NoAttributeError, lambda: node.remove_xattr(name))

    # Names that go and move

    @rule(data=st.data())
    def unlink(self, data):
        path, name = self.pick_named(data)
        if path is None:
            return
        node, obj, now = self.at(path), self.tree.at((*path, name)), self.tick()
        if obj.type == DIR:
            self.refused(errors.IsADirError, lambda: node.unlink(name))
            return
        self.call(lambda: node.unlink(name))
        self.tree.remove(path, name, now)

    @rule(data=st.data())
    def rmdir(self, data):
        path, name = self.pick_named(data, lambda obj: obj.type == DIR)
        if path is None:
            return
        node, obj, now = self.at(path), self.tree.at((*path, name)), self.tick()
        if obj.children:
            self.refused(errors.NotEmptyError, lambda: node.rmdir(name))
            return
        gone = self.at((*path, name))
        self.call(lambda: node.rmdir(name))
        self.tree.remove(path, name, now)
        self.refused(errors.NotFoundError, lambda: gone.create(b"new", 0o600, WHO))

    @rule(data=st.data(), new=names, flags=st.sampled_from([0, 0, 0, RENAME_NOREPLACE]))
    def rename(self, data, new, flags):
        path, name = self.pick_named(data)
        if path is not None:
            self.move(path, name, self.pick_dir(data), new, flags)

    @rule(data=st.data())
    def exchange(self, data):
        path, name = self.pick_named(data)
        if path is not None:
            self.move(path, name, *self.pick_named(data), RENAME_EXCHANGE)

    def move(self, path, name, to, new, flags):
        source, target, now = self.at(path), self.at(to), self.tick()
        error = self.rename_error(path, name, to, new, flags)
        if error is not None:
            self.refused(error, lambda: source.rename(name, target, new, flags))
            return
        self.call(lambda: source.rename(name, target, new, flags))
        act = self.tree.exchange if flags == RENAME_EXCHANGE else self.tree.rename
        act(path, name, to, new, now)

    def rename_error(self, path, name, to, new, flags):
        obj, old = self.tree.at((*path, name)), self.tree.at(to).children.get(new)
        below = to[: len(path) + 1] == (*path, name)
        above = old is not None and path[: len(to) + 1] == (*to, new)
        if flags == RENAME_EXCHANGE:
            if old is None:
                return errors.NotFoundError
            return errors.InvalidError if obj is not old and (below or above) else None
        if old is not None and flags == RENAME_NOREPLACE:
            return errors.ExistsError
        if old is obj:
            return None
        if below:
            return errors.InvalidError
        if old is None:
            return None
        if (old.type == DIR) != (obj.type == DIR):
            return errors.IsADirError if old.type == DIR else errors.NotADirError
        return errors.NotEmptyError if old.children else None

    # Looking

    @rule(data=st.data(), after=st.one_of(st.just(b""), names, st.sampled_from([b"a0", b"m", b"z"])))
    def list(self, data, after):
        path = self.pick_dir(data)
        node = self.at(path)
        found = self.call(lambda: [name for name, _ in node.scan(after)])
        assert found == sorted(name for name in self.tree.at(path).children if name > after)

    @rule(data=st.data(), name=names)
    def look_up(self, data, name):
        path = self.pick_dir(data)
        node, obj = self.at(path), self.tree.at(path).children.get(name)
        if obj is None:
            self.refused(errors.NotFoundError, lambda: node.lookup(name))
        else:
            self.check_node(self.call(lambda: node.lookup(name)), obj)

    @rule()
    def check_tree(self):
        self.check_dir(self.call(lambda: self.root), self.tree.root)
        for handle, obj in self.handles:
            self.check_node(handle, obj)
        self.check_numbers()

    def check_dir(self, node, obj):
        self.check_node(node, obj)
        found = self.call(lambda: list(node.scan(b"")))
        assert [name for name, _ in found] == sorted(obj.children)
        for name, child in found:
            if obj.children[name].type == DIR:
                self.check_dir(child, obj.children[name])
            else:
                self.check_node(child, obj.children[name])

    def check_node(self, node, obj, numbered=True):
        stat = self.call(node.stat)
        assert facts_of(stat) == obj.facts()
        assert stat.ino == node.ino
        if numbered:
            obj.ino = obj.ino or stat.ino
            assert stat.ino == obj.ino
        if obj.type == FILE:
            handle = self.call(lambda: node.open(writing=False))
            assert self.call(lambda: handle.read(0, len(obj.data) + 10)) == bytes(obj.data)
            handle.close()
        if obj.type == SYMLINK:
            assert self.call(node.readlink) == obj.target
        found = self.call(node.list_xattrs)
        assert sorted(found) == sorted(obj.xattrs)
        for name, value in obj.xattrs.items():
            assert self.call(lambda name=name: node.get_xattr(name)) == value

    def check_numbers(self):
        living = {id(self.tree.at(path)): self.tree.at(path) for path in self.tree.paths()}
        living.update((id(obj), obj) for _, obj in self.handles)
        numbers = [obj.ino for obj in living.values()]
        assert len(set(numbers)) == len(numbers)

    # Versions

    @rule()
    def backup(self):
        self.tick()
        snapshot = self.tree.snapshot()
        try:
            info = self.local.call(lambda: self.only_now(lambda: self.local.engine.versions.backup(self.mimei)))
        except Asked as asked:
            self.cuts.append((asked.later, snapshot))
            return
        assert not self.cuts
        assert flat(snapshot) == flat(self.versions[info.number])
        assert info.number == self.newest

    def only_now(self, call):
        """As ``call``, but a version that comes later is for us to wait for."""
        try:
            return call()
        except Later as later:
            raise Asked(later) from None

    def finish_cuts(self):
        while self.cuts and self.cuts[0][0].at < self.local.engine.live.position:
            later, snapshot = self.cuts.pop(0)
            taken = self.local.engine.taken(later.at)
            if taken is None:
                # A keeper died before it told: what came of the cut, or of a later one, is found all the same.
                told = later.proceed(None)
                self.note_version(snapshot)
                assert told.number >= self.newest
                continue
            info = later.proceed(taken)
            if self.newest and flat(self.versions[self.newest]) == flat(snapshot):
                assert info.number == self.newest
            else:
                assert info.number == self.newest + 1
            self.newest = info.number
            self.versions[info.number] = snapshot

    def note_version(self, snapshot):
        """A version that nobody was told of."""
        if not self.newest or flat(snapshot) != flat(self.versions[self.newest]):
            self.newest += 1
            self.versions[self.newest] = snapshot
        assert self.local.engine.versions.last(self.mimei).number >= self.newest

    def check_versions(self):
        for number, snapshot in self.versions.items():
            self.check_version(number, snapshot)

    def check_version(self, number, snapshot):
        seen = {}

        def walk(node, obj):
            self.check_node(node, obj, numbered=False)
            assert seen.setdefault(node.ino, obj) is obj
            if obj.type == DIR:
                found = self.call(lambda: list(node.scan(b"")))
                assert [name for name, _ in found] == sorted(obj.children)
                for name, child in found:
                    walk(child, obj.children[name])

        inside = self.call(lambda: self.root.lookup(b".mimei"))
        walk(self.call(lambda: inside.lookup(b"@%d" % number)), snapshot)
        info = self.local.engine.versions.by_number(self.mimei, number)
        files = {id(obj): obj for obj in objects(snapshot) if obj.type == FILE}
        assert info.row.files == len(files)
        assert info.row.size == sum(len(obj.data) for obj in files.values())

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), whole=st.booleans())
    def restore(self, data, whole):
        """The present, or a file of it, becomes what a version has there."""
        self.backup()
        self.settle()
        number = data.draw(st.sampled_from(sorted(self.versions)))
        snapshot = Tree(copy.deepcopy(self.versions[number]))
        paths = snapshot.paths(lambda obj: obj.type != DIR and obj.nlink == 1)
        info = self.local.engine.versions.by_number(self.mimei, number)
        now = self.tick()
        if whole or not paths:
            if flat(snapshot.root) != flat(self.tree.root):
                self.call(lambda: self.local.engine.transplant.restore(self.mimei, info))
                self.replace_all(snapshot.root)
            return
        path = data.draw(st.sampled_from(paths))
        above = self.tree.root
        for name in path[:-1]:
            above = above.children.get(name)
            if above is None or above.type != DIR:
                return
        old = above.children.get(path[-1])
        if old is None or old.type != DIR:
            self.call(lambda: self.local.engine.transplant.restore(self.mimei, info, b"/".join(path)))
            self.tree.replace(above, path[-1], snapshot.at(path), now)

    def replace_all(self, root):
        """Open files keep their bytes and lose their names; a restored inode is another one than before."""
        for obj in objects(self.tree.root):
            obj.nlink = 0
        for obj in objects(root):
            obj.ino = self.tree.root.ino if obj is root else 0
        self.tree.root = root

    # The keeper

    @rule(act=st.sampled_from(["replay", "hear", "seal", "evict", "replace"]), share=st.floats(0, 1))
    def keeper(self, act, share):
        match act:
            case "replay":
                self.replay(share)
            case "hear":
                self.local.hear()
                self.finish_cuts()
            case "seal":
                position = self.local.keeper.position
                self.local.seal_idle(position - int(share * 10_000), 1 if share < 0.5 else 1 << 30)
            case "evict":
                self.evict()
            case "replace":
                self.local.replace_keeper()

    def replay(self, share):
        ahead = [at for at in [*self.positions, self.local.end] if at > self.local.keeper.position]
        if ahead:
            self.local.replay(ahead[int(share * (len(ahead) - 1))])

    @rule(act=st.sampled_from(["settle", "crash", "reopen"]))
    def end(self, act):
        getattr(self, act)()

    def settle(self):
        self.local.settle()
        self.finish_cuts()
        assert not self.cuts
        self.check_rows()

    def evict(self):
        """Let memory go of all that it need not keep."""
        nodes, tree = self.local.engine.live.nodes, self.call(lambda: self.root).tree
        before = -1
        while before != len(nodes):
            before = len(nodes)
            for node in [node for node in nodes.values() if getattr(node, "tree", None) is tree and node.nlink]:
                node.leave()

    def crash(self):
        """Both processes end; what was appended is there when they come back."""
        self.local.abandon()
        self.handles = []
        cuts, self.cuts = self.cuts, []
        self.open()
        for _, snapshot in cuts:
            self.note_version(snapshot)

    def reopen(self):
        self.settle()
        self.crash()

    def check_store(self):
        """The checker has nothing to say, but of files that are open without a name."""
        database, storage = self.local.keeper_database, self.local.engine.home.storage

        def lookup(digest):
            row = database.get(Table.BLOBS, digest)
            return None if row is None else IndexRow.decode(row)

        blobs = BlobReader(storage.packs, lookup, cache_bytes=1 << 20)
        assert list(check(database, blobs, storage)) == []
        blobs.close()

    def check_rows(self):
        """What the overlay always holds once everything is replayed and heard."""
        database = self.local.keeper_database
        counts = {}
        for key, value in database.scan(Table.EXTENTS, b""):
            assert database.get(Table.FILES, key[:8]) is not None
            address = U64.unpack(value[8:])[0]
            if not address >> 63:
                counts[address // SMALL_SEGMENT] = counts.get(address // SMALL_SEGMENT, 0) + 1
        stored = {U64.unpack(key)[0]: U64.unpack(value)[0] for key, value in database.scan(Table.SEGMENTS, b"")}
        assert {key: value for key, value in stored.items() if value} == counts
        present = set(journal.segments(self.local.engine.home.storage.journal)) - set(self.local.keeper._freed)
        assert present == {number for number in counts if number in present} | {self.local.end // SMALL_SEGMENT}
        assert set(counts) <= present
        exceptions = sorted(value for _, value in database.scan(Table.INODES, b""))
        assert exceptions == sorted(key for key, _ in database.scan(Table.TAKEN, b""))


def objects(root):
    yield root
    for child in root.children.values():
        yield from objects(child)


class Asked(Exception):
    def __init__(self, later):
        super().__init__()
        self.later = later


TestLive = Machine.TestCase
TestLive.settings = settings(
    max_examples=110, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
__all__ = ["LiveDir"]
