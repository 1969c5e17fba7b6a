"""The tree that people see: the node's root, the directories of MiMeis, and what names with an ``@`` lead to.

Everything here is virtual: made when asked for, from links, versions and labels, and registered only while the kernel
knows it. A present is shown at one place; where a second link leads to it, that link shows as a symbolic link to the first.

Listed in a MiMei's directory: ``@cur``, ``@last``, ``@release``, labels and the newest 32 numbers; every number, fork,
moment, and ``@all`` resolve. A plain name made there is a blank: it holds nothing, lives in memory, and becomes a
version when renamed to ``@label``.
"""

from collections.abc import Iterator
from contextlib import suppress
from heapq import merge

from mimeifs.errors import (
    CrossTreeError,
    ExistsError,
    IntegrityError,
    InvalidError,
    MimeiError,
    NotFoundError,
    NotPermittedError,
)
from mimeifs.ids import MimeiId
from mimeifs.model import live_moves
from mimeifs.model.entry import Entry, Kind, Link, View
from mimeifs.model.inode import Inode
from mimeifs.model.live import Live, LiveTree
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.mimeis import Mimeis
from mimeifs.model.mmfs import MAX_BYTES, SUFFIX, parse_mmfs, stem_of
from mimeifs.model.names import RELEASE, check_label, show_gmt
from mimeifs.model.node import Node, Who, check_name
from mimeifs.model.past import Past, PastDir
from mimeifs.model.past_paths import HistoryDir
from mimeifs.model.records import Info, Signed
from mimeifs.model.versions import Later, VersionInfo, Versions
from mimeifs.model.virtual import AbsentDir, PlaceLink, UpLink, VirtualDir

LISTED_NUMBERS = 32
INSIDE = b".mimei"
MOMENTS = b"@gmt-all"
LITTER = frozenset(
    (
        b"System Volume Information",
        b"$RECYCLE.BIN",
        b"RECYCLER",
        b"lost+found",
        b"Network Trash Folder",
        b"Temporary Items",
        b"TheVolumeSettingsFolder",
        b"@eaDir",
        b"#recycle",
    )
)


class Views:
    """Makes virtual nodes for one node's tree."""

    def __init__(self, live: Live, mimeis: Mimeis, versions: Versions, key: bytes) -> None:
        self.live = live
        self.mimeis = mimeis
        self.versions = versions
        self.past = Past(live.blobs, key, self._link_in_past)
        self.blanks: dict[tuple[MimeiId, bytes], int] = {}
        self._shown: dict[MimeiId, Inode] = {}
        mimeis.make_root = self._make_root
        live.resolve_link = self.resolve

    @property
    def root(self) -> "RootDir":
        """The node's root directory."""
        root = self.mimeis.tree(MimeiId(self.live.database.meta(b"root"))).root
        if not isinstance(root, RootDir):
            raise RuntimeError("the root's directory is of another kind")
        return root

    def _make_root(self, tree: LiveTree, ino: int, entry: Entry) -> LiveDir:
        kind = RootDir if ino == 1 else PresentDir
        return kind(self, tree, ino, entry)

    def resolve(self, inode: Inode) -> Node:
        """The node that a link to a MiMei shows where ``inode`` is."""
        link = inode.special
        if not isinstance(link, Link):
            raise InvalidError("not a link to a MiMei")
        if link.view is View.ALL:
            return self.virtual(MimeiDir(self, link.mimei, inode.ino, inode))
        if link.view is View.VERSION:
            return self.shown_version(self.versions.find(link.mimei, link.version), inode.ino, b"")
        otherwise = PlaceLink(inode.ino, self, inode, len(self.parts_to(inode)) - 1)
        try:
            return self.present(link.mimei, inode, otherwise)
        except NotFoundError as error:
            return self.virtual(AbsentDir(self, inode.ino, inode, str(error)))

    def present(self, mimei: MimeiId, link: Inode, otherwise: PlaceLink) -> Node:
        """The root of a present, if ``link`` is where it is shown; ``otherwise`` leads to where it is. Raises ``NotFoundError``
        where the present is not on this node."""
        first = self._shown.get(mimei)
        if first is not None and first is not link and first.nlink and isinstance(first.special, Link):
            otherwise.first = first
            return self.virtual(otherwise)
        root = self.mimeis.tree(mimei).root
        self._shown[mimei] = link
        if isinstance(root, PresentDir):
            root.link_inode = link
        return root

    def shown(self, mimei: MimeiId) -> Inode | None:
        """The link at which a present is shown, if there is one."""
        first = self._shown.get(mimei)
        return first if first is not None and first.nlink else None

    def parts_to(self, inode: Inode) -> list[bytes]:
        """Names from the node's root to a live inode; a link stands for the present it shows. Raises ``NotFoundError``."""
        root, own = inode.tree.root, inode.path()
        parts = own.split(b"/") if own else []
        if isinstance(root, RootDir):
            return parts
        link = root.link_inode if isinstance(root, PresentDir) else None
        if link is None or not isinstance(link.special, Link):
            raise NotFoundError("the MiMei is linked nowhere")
        inside = [b"@cur"] if link.special.view is View.ALL else []
        return [*self.parts_to(link), *inside, *parts]

    def _link_in_past(self, directory: PastDir, name: bytes, link: Link) -> Node | None:
        """In a version, a link shows the version that was newest when that version was taken; None where there was none, or
        the MiMei is not on this node."""
        try:
            if link.view is View.VERSION:
                info = self.versions.find(link.mimei, link.version)
            else:
                info = self.versions.at_time(link.mimei, directory.origin.time_ns)
        except NotFoundError:
            return None
        return self.shown_version(info, directory.ino, name)

    def shown_version(self, info: VersionInfo, place: int, name: bytes) -> PastDir:
        """A version's root directory, at that place."""
        where = place.to_bytes(8, "big") + name + info.record
        return self.past.root(self.versions.origin(info), info.root, where)

    def virtual(self, made: Node) -> Node:
        """The node of that number that is known already, else this one."""
        known = self.live.nodes.get(made.ino)
        return known if known is not None and type(known) is type(made) else made


class MimeiDir(VirtualDir):
    """The directory of a MiMei: its present, versions and labels."""

    __slots__ = ("mimei",)

    volatile = True
    """Entries change when versions are taken, so the kernel must ask each time."""

    def __init__(self, views: Views, mimei: MimeiId, ino: int, anchor: Inode) -> None:
        super().__init__(views, ino, anchor)
        self.mimei = mimei

    def lookup(self, name: bytes) -> Node:
        """See ``Node``."""
        if (self.mimei, name) in self.views.blanks:
            return self.views.virtual(BlankDir(self.views, self.child_ino(name), self.anchor))
        if name[:1] != b"@":
            raise NotFoundError("no such file or directory")
        try:
            return self.at_name(name)
        except InvalidError as error:
            raise NotFoundError(str(error)) from None

    def at_name(self, name: bytes) -> Node:
        """What a name with an ``@`` leads to."""
        if name == b"@cur":
            return self._cur()
        if name == b"@all":
            return self.views.virtual(AllDir(self.views, self.mimei, self.child_ino(name), self.anchor))
        if name == MOMENTS:
            return self.views.virtual(MomentsDir(self.views, self.mimei, self.child_ino(name), self.anchor))
        if name == b"@history":
            return self.views.virtual(HistoryDir(self.views, self.child_ino(name), self.anchor, self.mimei, b""))
        info = self.views.versions.find(self.mimei, _text(name[1:]))
        return self.views.shown_version(info, self.ino, name)

    def steady(self, name: bytes) -> bool:
        """See ``Node``: versions never change, labels do."""
        return name[1:].isdigit()

    def _cur(self) -> Node:
        views, anchor = self.views, self.anchor
        if anchor.kind is not Kind.LINK:
            return views.mimeis.tree(self.mimei).root
        return views.present(self.mimei, anchor, PlaceLink(self.child_ino(b"@cur"), views, anchor, len(views.parts_to(anchor))))

    def names(self) -> list[bytes]:
        """What is listed, in name order."""
        views, mimei = self.views, self.mimei
        names = {b"@cur"}
        names.update(b"@" + label.encode() for label in views.versions.labels(mimei))
        numbers: list[bytes] = []
        for info in views.versions.newest_first(mimei):
            if len(numbers) == LISTED_NUMBERS:
                break
            numbers.append(b"@%d" % info.number)
        if numbers:
            names.update([b"@last", *numbers])
        names.update(name for owner, name in views.blanks if owner == mimei)
        return sorted(names)

    def scan(self, after: bytes) -> Iterator[tuple[bytes, Node]]:
        """See ``Node``."""
        for name in self.names():
            if name > after:
                try:
                    yield name, self.lookup(name)
                except MimeiError:
                    continue  # A label whose version is not on this node is not listed.

    # Acts

    def mkdir(self, name: bytes, mode: int, who: Who) -> Node:
        """``@label`` takes a version; a plain name is a blank."""
        check_name(name)
        if name[:1] == b"@":
            self._take(_new_label(name))
            return self.at_name(name)
        if (self.mimei, name) in self.views.blanks:
            raise ExistsError("the name exists already")
        self.views.blanks[self.mimei, name] = self.child_ino(name)
        self.views.live.beat()
        return self.lookup(name)

    def _take(self, label: str) -> None:
        check_label(label)
        try:
            self.views.versions.backup(self.mimei, label=label)
        except Later as later:
            proceed, name = later.proceed, b"@" + label.encode()
            raise Later(later.at, lambda taken: (proceed(taken), self.at_name(name))[1]) from None

    def _become(self, blank: bytes, label: str) -> None:
        """Turn a blank into a version; it stays a blank when that is refused."""
        try:
            self._take(label)
        except Later:
            self._drop(blank)
            raise
        self._drop(blank)

    def _drop(self, blank: bytes) -> bool:
        """Let a blank go; whether it was there."""
        self.views.live.beat()
        return self.views.blanks.pop((self.mimei, blank), None) is not None

    def rmdir(self, name: bytes) -> None:
        """Drop a label, never its version; or a blank."""
        if self._drop(name):
            return
        if name[:1] != b"@":
            raise NotFoundError("no such file or directory")
        self._check_label(name)
        self.views.versions.drop_label(self.mimei, _text(name[1:]))

    def rename(self, name: bytes, target: Node, new_name: bytes, flags: int) -> None:
        """Rename a label, or turn a blank into a version or another blank."""
        check_name(new_name)
        if not isinstance(target, MimeiDir) or target.mimei != self.mimei or flags & ~1:
            raise CrossTreeError("versions cannot be moved; copy out of them")
        if (self.mimei, name) in self.views.blanks:
            if new_name[:1] == b"@":
                self._become(name, _text(new_name[1:]))
            else:
                self.views.blanks[self.mimei, new_name] = self.views.blanks.pop((self.mimei, name))
                self.views.live.beat()
            return
        if name[:1] != b"@" or new_name[:1] != b"@":
            raise NotPermittedError("a label keeps its @")
        self._check_label(name)
        self.views.versions.move_label(self.mimei, _text(name[1:]), _new_label(new_name))

    def _check_label(self, name: bytes) -> None:
        """Raise unless ``name`` is that of a label or of ``@release``, which alone can be moved and dropped."""
        label = _text(name[1:])
        if label != RELEASE:
            try:
                check_label(label)
            except MimeiError:
                raise NotPermittedError("versions are for ever; only labels and @release can be renamed or dropped") from None


class InsideDir(MimeiDir):
    """``.mimei`` inside a present: the same directory, with ``@cur`` as a link back up."""

    __slots__ = ()

    @property
    def mode(self) -> int:
        """See ``VirtualDir``: who may write in the present may take versions of it, its owner in any case."""
        return self.anchor.mode & 0o1777 | 0o700

    def _cur(self) -> Node:
        return self.views.virtual(UpLink(self.child_ino(b"@cur"), self.views, self.anchor, 0))


class AllDir(MimeiDir):
    """``@all``: every version by number, however many."""

    __slots__ = ()

    def names(self) -> list[bytes]:
        """Every number, in name order."""
        return sorted({b"@%d" % info.number for info in self.views.versions.newest_first(self.mimei)})

    def mkdir(self, name: bytes, mode: int, who: Who) -> Node:
        """See ``Node``."""
        raise self._refusal()

    def rename(self, name: bytes, target: Node, new_name: bytes, flags: int) -> None:
        """See ``Node``."""
        raise self._refusal()

    def rmdir(self, name: bytes) -> None:
        """See ``Node``."""
        raise NotPermittedError("versions are for ever")


class MomentsDir(AllDir):
    """``@gmt-all``: every version by the second it was taken in, as Samba looks for them; the last of each second."""

    __slots__ = ()

    def names(self) -> list[bytes]:
        """Every moment, oldest first."""
        times = {info.row.time_ns for info in self.views.versions.newest_first(self.mimei)}
        return sorted({b"@" + show_gmt(time_ns).encode() for time_ns in times})


class BlankDir(VirtualDir):
    """What a file manager's New Folder makes in a MiMei's directory: holds nothing, becomes a version when renamed."""

    __slots__ = ()

    def lookup(self, name: bytes) -> Node:
        """See ``Node``."""
        raise NotFoundError("no such file or directory")

    def scan(self, after: bytes) -> Iterator[tuple[bytes, Node]]:
        """See ``Node``."""
        return iter(())

    def _refusal(self) -> Exception:
        return NotPermittedError("rename this folder to @label to take a version; it can hold nothing")


class PresentDir(LiveDir):
    """The root directory of a present: its own entries, and behind them the versions."""

    __slots__ = ("link_inode", "views")

    def __init__(self, views: Views, tree: LiveTree, ino: int, entry: Entry) -> None:
        super().__init__(tree, ino, entry)
        self.views = views
        self.link_inode: Inode | None = None

    def succeed(self, old: LiveDir) -> None:
        """See ``LiveDir``."""
        super().succeed(old)
        if isinstance(old, PresentDir):
            self.link_inode = old.link_inode

    def above(self) -> LiveDir | None:
        """See ``Inode``."""
        return None if self.link_inode is None else self.link_inode.parent

    def steady(self, name: bytes) -> bool:
        """See ``Node``: only what it has no entry for is asked about, its versions."""
        return name == INSIDE or (name[:1] == b"@" and name[1:].isdigit())

    def lookup(self, name: bytes) -> Node:
        """See ``Node``; an entry of its own goes before an ``@`` name."""
        try:
            return super().lookup(name)
        except (NotFoundError, IntegrityError):
            # Where damage hides the present, its versions are what is left.
            if name == INSIDE:
                return self._inside()
            if name[:1] == b"@" and name != b"@cur" and len(name) > 1:
                return self._at_name(name)
            raise

    def rmdir(self, name: bytes) -> None:
        """See ``Node``."""
        try:
            super().rmdir(name)
        except NotFoundError:
            self._refuse_view(name)
            raise

    def rename(self, name: bytes, target: Node, new_name: bytes, flags: int) -> None:
        """See ``Node``."""
        try:
            super().rename(name, target, new_name, flags)
        except NotFoundError:
            self._refuse_view(name)
            raise

    def _refuse_view(self, name: bytes) -> None:
        """Raise for a name that is no entry here but shows something all the same."""
        with suppress(NotFoundError):
            self.lookup(name)
            if name in self.children:
                return
            raise NotPermittedError("this shows versions and is no entry here; labels are kept in .mimei")

    def _inside(self) -> Node:
        live = self.tree.live
        return self.views.virtual(InsideDir(self.views, self.tree.mimei, live.natural_ino(self.ino, b"\0" + INSIDE), self))

    def _at_name(self, name: bytes) -> Node:
        return InsideDir(self.views, self.tree.mimei, self.ino, self).lookup(name)


class RootDir(PresentDir):
    """The root of the node: plain files, directories that are MiMeis, and what ``.mmfs`` files place here."""

    __slots__ = ()

    def lookup(self, name: bytes) -> Node:
        """See ``Node``; a real entry goes before one that a ``.mmfs`` file places."""
        try:
            return super().lookup(name)
        except NotFoundError:
            return self._placed(name)

    def scan(self, after: bytes) -> Iterator[tuple[bytes, Node]]:
        """See ``Node``."""
        stems = [stem for name, _ in super().scan(b"") if (stem := stem_of(name)) is not None and stem > after]
        real = super().scan(after)
        yield from merge(real, self._all_placed(sorted(stems)), key=lambda row: row[0])

    def _all_placed(self, stems: list[bytes]) -> Iterator[tuple[bytes, Node]]:
        for stem in stems:
            try:
                self.child(stem)
            except NotFoundError:
                with suppress(MimeiError):
                    yield stem, self._placed(stem)

    def _placed(self, name: bytes) -> Node:
        """What ``name.mmfs`` places here; raises ``NotFoundError``."""
        file = self.child((name + SUFFIX)[:255])
        if not isinstance(file, LiveFile) or file.name != name + SUFFIX:
            raise NotFoundError("no such file or directory")
        views, ino = self.views, self.tree.live.natural_ino(self.ino, b"\0" + file.name)
        try:
            said = parse_mmfs(bytes(file.read(0, MAX_BYTES)))
        except InvalidError as error:
            raise NotFoundError(f"{file.name.decode(errors='replace')}: {error}") from error
        views.mimeis.row(said.mimei)
        if not said.version:
            return views.virtual(MimeiDir(views, said.mimei, ino, file))
        if said.version == "cur":
            first = views.shown(said.mimei)
            if first is None:
                return views.mimeis.tree(said.mimei).root
            return views.virtual(PlaceLink(ino, views, first, 0))
        return views.shown_version(views.versions.find(said.mimei, said.version), ino, b"")

    def mkdir(self, name: bytes, mode: int, who: Who) -> Node:
        """A new tree MiMei linked here with its present showing; dot-names and desktop litter are plain directories."""
        if self.is_plain(name):
            return super().mkdir(name, mode, who)
        self.check_new(name, Kind.LINK)
        info = self.views.mimeis.info(name.decode(errors="replace"), "tree")
        self.new_mimei(info, mode, who)
        return self.place_link(name, Link(info.record.mimei_id, View.CUR), who)

    def is_plain(self, name: bytes) -> bool:
        """Whether a directory of that name is here what it is elsewhere, and no MiMei."""
        return name[:1] in (b".", b"@") or name in LITTER

    def new_mimei(self, info: Signed[Info], mode: int, who: Who) -> None:
        """Make a MiMei whose root begins as a directory made here with ``mode`` would; it is linked nowhere yet."""
        mode, xattrs = self.begins_with(Kind.DIRECTORY, mode & 0o7777, who.umask)
        tree = self.views.mimeis.create(info, who)
        tree.root.mode, tree.root.xattrs = mode, xattrs
        tree.root.commit(tree.root.row())

    def place_link(self, name: bytes, link: Link, who: Who) -> Node:
        """Put a link to a MiMei here; raises ``ExistsError``."""
        now = self.tree.live.now_ns()
        inode = self.place(name, Entry(Kind.LINK, 0o755, who.uid, who.gid, now, now, link=link))
        return self.views.resolve(inode)

    def drop_link(self, name: bytes, inode: Inode) -> None:
        """Remove a link to a MiMei, whatever it holds."""
        live_moves.remove(self, name, inode)


def _new_label(name: bytes) -> str:
    """The label in a name that is to be made; raises ``InvalidError``."""
    try:
        return name[1:].decode()
    except UnicodeDecodeError:
        raise InvalidError("a label is valid UTF-8") from None


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise NotFoundError("no such file or directory") from None
