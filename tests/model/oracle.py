"""A POSIX tree in nested dictionaries: what the live tree must look like. Shares no code with the package."""

import copy
from dataclasses import dataclass, field

FILE, DIR, SYMLINK, FIFO = 0o100000, 0o040000, 0o120000, 0o010000


@dataclass(eq=False)
class Obj:
    """An inode; hard links are one object under several names."""

    type: int
    mode: int
    uid: int
    gid: int
    mtime: int
    ctime: int
    atime: int | None = None
    nlink: int = 1
    data: bytearray = field(default_factory=bytearray)
    target: bytes = b""
    xattrs: dict = field(default_factory=dict)
    children: dict = field(default_factory=dict)
    ino: int = 0

    @property
    def links(self):
        """st_nlink."""
        if self.type != DIR or not self.nlink:
            return self.nlink
        return 2 + sum(child.type == DIR for child in self.children.values())

    @property
    def size(self):
        """st_size."""
        return len(self.target) if self.type == SYMLINK else len(self.data)

    def facts(self):
        """What stat(2) says, without the inode number."""
        atime = self.mtime if self.atime is None else self.atime
        return (self.type | self.mode, self.links, self.uid, self.gid, self.size, atime, self.mtime, self.ctime)


def facts_of(stat):
    """The same of a node's Stat."""
    times = stat.atime_ns, stat.mtime_ns, stat.ctime_ns
    return (stat.mode, stat.nlink, stat.uid, stat.gid, stat.size, *times)


class Tree:
    """A root and what is done below it; every act happens at the moment ``now``."""

    def __init__(self, root):
        self.root = root

    def snapshot(self):
        return copy.deepcopy(self.root)

    def at(self, path):
        found = self.root
        for name in path:
            found = found.children[name]
        return found

    def paths(self, wanted=lambda obj: True):
        """Paths of what exists, depth first."""
        out = []

        def walk(obj, path):
            if wanted(obj):
                out.append(path)
            for name, child in sorted(obj.children.items()):
                walk(child, (*path, name))

        walk(self.root, ())
        return out

    def add(self, path, name, obj, now):
        parent = self.at(path)
        if parent.mode & 0o2000 and obj.nlink == 1:
            obj.gid = parent.gid
            if obj.type == DIR:
                obj.mode |= 0o2000
        parent.children[name] = obj
        parent.mtime = parent.ctime = now
        return obj

    def link(self, source, path, name, now):
        obj = self.at(source)
        obj.nlink += 1
        obj.ctime = now
        self.add(path, name, obj, now)

    def remove(self, path, name, now):
        parent = self.at(path)
        self.lose(parent.children.pop(name), now)
        parent.mtime = parent.ctime = now

    def lose(self, obj, now):
        obj.nlink = 0 if obj.type == DIR else obj.nlink - 1
        obj.ctime = now

    def replace(self, parent, name, obj, now):
        """Put a new inode in the place of an old one."""
        if name in parent.children:
            self.lose(parent.children[name], now)
        obj.ino = 0
        parent.children[name] = obj
        parent.mtime = parent.ctime = now

    def rename(self, path, name, to, new, now):
        source, target = self.at(path), self.at(to)
        obj, old = source.children[name], target.children.get(new)
        if obj is old:
            return
        if old is not None:
            self.lose(old, now)
        del source.children[name]
        target.children[new] = obj
        obj.ctime = source.mtime = source.ctime = target.mtime = target.ctime = now

    def exchange(self, path, name, to, new, now):
        source, target = self.at(path), self.at(to)
        one, two = source.children[name], target.children[new]
        if one is two:
            return
        source.children[name], target.children[new] = two, one
        for obj in (one, two, source, target):
            obj.ctime = now
        source.mtime = target.mtime = now


def write(obj, offset, data, now):
    if data:
        obj.data.extend(bytes(max(0, offset - len(obj.data))))
        obj.data[offset : offset + len(data)] = data
        obj.mtime = obj.ctime = now


def resize(obj, size, now):
    del obj.data[size:]
    obj.data.extend(bytes(size - len(obj.data)))
    obj.mtime = obj.ctime = now


def flat(root):
    """Everything there is to know of a tree but inode numbers, as one comparable value."""
    order = {}

    def walk(obj):
        identity = order.setdefault(id(obj), len(order))
        return (
            identity,
            obj.facts(),
            bytes(obj.data),
            obj.target,
            tuple(sorted(obj.xattrs.items())),
            tuple((name, walk(child)) for name, child in sorted(obj.children.items())),
        )

    return walk(root)
