"""A node and its keeper in one process, on a disk that may fail: the steps of a storm as calls of the model.

The loops are those of the processes themselves, a turn at a time, so that what they do about a failing disk is what is seen.
What a step that returned has done must be there; one that raised must have changed nothing.
"""

import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import trio

from mimeifs.clock import ManualClock
from mimeifs.engine import LocalEngine
from mimeifs.errors import CapacityError, IntegrityError, MimeiError
from mimeifs.home import Home
from mimeifs.keeper import _Work
from mimeifs.messages import pair, receive_waiting
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from mimeifs.model.node import Change, Node
from mimeifs.model.versions import Later
from mimeifs.node import Node as Loop
from mimeifs.store.interfaces import Cold
from mimeifs.store.pace import Pace
from tests.e2e import storming
from tests.e2e.storming import Seen, Step, Tree
from tests.model.conftest import WHO, Local, Randomness, walk
from tests.store.failing import Faults


class Service:
    """Node and keeper of one home, and the oracle of the one MiMei in it."""

    def __init__(self, home: Home, faults: Faults) -> None:
        self.home = home
        self._faults = faults
        self.tree: Tree = {}
        self.versions: dict[str, Seen] = {}
        self.taken: set[str] = set()
        self.refused: list[str] = []
        self.local: Local | None = None
        self.start()

    # Starting and ending

    def start(self) -> None:
        """As ``mimei serve``: raises what keeps it from starting."""
        clock = ManualClock(time_ns=1_800_000_000 * 10**9)
        self.local = Local(self.home, clock, LocalEngine(self.home, clock, Randomness()))
        running = self.local.running
        to_keeper, end = pair()
        to_syncer, other = pair()
        self._ends = (to_keeper, end, to_syncer, other, *socket.socketpair())
        self.loop = Loop(running.engine, to_keeper, to_syncer)
        self.loop._sync_pace = Pace(lambda: 0)  # So quick that no syncer is asked.
        self.work = _Work(self.home, running.keeper, end, self._ends[-1])
        with self._faults.spared():
            mimeis = running.engine.mimeis
            self._mimei = next(mimei for mimei, row in mimeis.all() if row.name == "photos")

    @property
    def here(self) -> Local:
        """What runs."""
        assert self.local is not None, "it is not started"
        return self.local

    def kill(self) -> None:
        """Both processes die at once."""
        if self.local is not None:
            self.local.running.abandon()
            for end in self._ends:
                end.close()
            self.local = None

    def end(self) -> None:
        """Both end in order: the keeper finishes the journal."""
        self.work.finish()
        self.kill()

    def restart(self) -> None:
        """Die and start again; a start that the disk refuses is tried once more when the disk is well."""
        self.kill()
        try:
            self.start()
        except (MimeiError, OSError) as error:
            self.refused.append(repr(error))
            with self._faults.spared():
                self.start()

    # Working

    def turn(self) -> None:
        """Let the keeper do what there is, and the node hear of it."""
        self.loop._tell(urgent=True)
        self.work.turn()
        for message in receive_waiting(self._ends[0]):
            self.loop._take(message)

    def seal(self) -> None:
        """As after some quiet seconds."""
        self.turn()
        self.work._quiet = self.work._settled = -100
        self.turn()

    def carry(self, call: Callable[[], Any]) -> Any:
        """As the node does it. Gives up on a version when the keeper has no room; it may be there later."""
        blobs = self.here.engine.blobs
        while True:
            try:
                return call()
            except Cold as cold:
                blobs.fetch(blobs.want(cold.ids))
            except Later as later:
                at, proceed = later.at, later.proceed
                for _ in range(3):
                    if self.here.engine.live.position <= at:
                        self.turn()
                if self.here.engine.live.position <= at:
                    raise (IntegrityError if self.broken else CapacityError)("the version waits") from None
                call = lambda at=at, proceed=proceed: proceed(self.here.engine.taken(at))  # noqa: E731

    @property
    def broken(self) -> str:
        """Why nothing is taken any more."""
        return self.here.engine.journal.broken

    def step(self, step: Step) -> None:
        """Do it, in the oracle too; when it is refused nothing may have changed."""
        if step.what == "version":
            self.versions[step.path] = storming.seen(self.tree)
        try:
            self._perform(step)
        except MimeiError as error:
            self.refused.append(repr(error))
            assert self.seen() == storming.seen(self.tree), f"{step[:4]} was refused, yet not everything is as before"
        else:
            storming.apply(self.tree, step)
            if step.what == "version":
                self.taken.add(step.path)

    def _perform(self, step: Step) -> None:
        above, name = self._above(step.path)
        if step.what == "create":
            self.carry(lambda: above.create(name, 0o644, WHO))
        elif step.what == "mkdir":
            self.carry(lambda: above.mkdir(name, 0o755, WHO))
        elif step.what in ("unlink", "rmdir"):
            self.carry(lambda: above.unlink(name) if step.what == "unlink" else above.rmdir(name))
        elif step.what == "rename":
            target, new = self._above(step.other)
            self.carry(lambda: above.rename(name, target, new, 0))
        elif step.what == "version":
            self.carry(lambda: self.here.engine.versions.backup(self._mimei, label=step.path))
        elif step.what == "fsync":
            trio.run(self.loop.sync)
        else:
            self._change(step, self.carry(lambda: above.child(name)))

    def _change(self, step: Step, node: Node) -> None:
        assert isinstance(node, LiveFile)
        if step.what == "link":
            above, name = self._above(step.other)
            self.carry(lambda: above.link(name, node))
        elif step.what == "truncate":
            self.carry(lambda: node.set(Change(size=step.at)))
        else:
            at = node.size if step.what == "append" else step.at
            assert self.carry(lambda: node.write(at, step.data)) == len(step.data)

    def _above(self, path: str) -> tuple[LiveDir, bytes]:
        *parents, name = path.encode().split(b"/")
        at: Node = self.carry(lambda: self.here.engine.mimeis.tree(self._mimei).root)
        for parent in parents:
            at = self.carry(lambda at=at, parent=parent: at.lookup(parent))
        assert isinstance(at, LiveDir)
        return at, name

    # Looking

    def seen(self) -> Seen:
        """What the present shows, on a disk that is well for so long."""
        with self._faults.spared():
            return _values(self.carry(lambda: dict(walk(self.here.engine.mimeis.tree(self._mimei).root, b""))))

    def check(self) -> None:
        """Everything is what it must be, and the store without a fault; the disk is well."""
        assert self.seen() == storming.seen(self.tree)
        with self._faults.spared():
            engine = self.here.engine
            labels = engine.versions.labels(self._mimei)
            assert self.taken <= labels.keys()
            for label in labels:
                info = engine.versions.labelled(self._mimei, label)
                root = self.carry(lambda info=info: engine.views.shown_version(info, 1, b"test"))
                assert _values(self.carry(lambda root=root: dict(walk(root, b"")))) == self.versions[label], label
            self.turn()
            assert self.here.findings() == []


def _values(shown: dict[bytes, bytes]) -> Seen:
    return {path.decode(): None if content == b"/" else content for path, content in shown.items()}


def days(service: Service, draw: random.Random, count: int) -> Iterator[None]:
    """Steps, and between them what happens behind; yields after each."""
    steps = storming.steps(draw, service.tree, "v")
    for _ in range(count):
        act = draw.choice(("step",) * 8 + ("turn", "turn", "seal", "restart"))
        if service.broken or act == "restart":
            service.restart()
        elif act == "turn":
            service.turn()
        elif act == "seal":
            service.seal()
        else:
            service.step(next(steps))
        yield
