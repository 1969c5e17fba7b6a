"""Any sequence of changes by paths, versions, crashes and writes in place, against a plain dictionary of paths."""

import tempfile
from pathlib import Path as FilePath
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mimeifs.errors import ExistsError, ForbiddenError, IsADirError, NotADirError, NotFoundError
from mimeifs.model.live_dir import LiveDir
from mimeifs.model.live_file import LiveFile
from tests.model.conftest import open_local
from tests.model.tree_of_paths import Tree, at

NAMES = st.sampled_from(["a", "b", "c"])
TOPS = st.sampled_from(["one", "two"])
PATHS = st.builds(lambda top, names: "/".join(["", top, *names]), TOPS, st.lists(NAMES, min_size=1, max_size=3))
DATA = st.sampled_from([b"", b"x", b"y" * 70_000, b"z" * 3])
REFUSALS = (ExistsError, ForbiddenError, IsADirError, NotADirError, NotFoundError)
State = dict[str, bytes | None]


def below(state: State, path: str) -> State:
    return {key: value for key, value in state.items() if key == path or key.startswith(path + "/")}


class Machine(RuleBasedStateMachine):
    """The oracle: paths to bytes, or None for a directory."""

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.local = open_local(FilePath(self._folder.name))
        self.tree = Tree(self.local)
        self.state: State = {}
        for top in ("/one", "/two"):
            self.tree.mkdir(top)
            self.state[top] = None
        self.versions: dict[str, State] = {}

    def _above(self, path: str) -> bool:
        return self.state.get(path.rpartition("/")[0], b"") is None

    @rule(path=PATHS, data=DATA)
    def put(self, path: str, data: bytes) -> None:
        if self._above(path) and self.state.get(path, b"") is not None:
            self.tree.put(path, data)
            self.state[path] = data
        else:
            self._refused(lambda: self.tree.put(path, data))

    @rule(path=PATHS)
    def mkdir(self, path: str) -> None:
        if self._above(path) and path not in self.state:
            self.tree.mkdir(path)
            self.state[path] = None
        else:
            self._refused(lambda: self.tree.mkdir(path))

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        if path in self.state:
            self.tree.remove(path)
            for key in below(self.state, path):
                del self.state[key]
        else:
            self._refused(lambda: self.tree.remove(path))

    @rule(source=PATHS, goal=PATHS, overwrite=st.booleans(), moves=st.booleans())
    def relocate(self, source: str, goal: str, overwrite: bool, moves: bool) -> None:
        act = self.tree.move if moves else self.tree.copy
        apart = not (source + "/").startswith(goal + "/") and not (goal + "/").startswith(source + "/")
        if not (apart and source in self.state and self._above(goal) and (overwrite or goal not in self.state)):
            self._refused(lambda: act(source, goal, overwrite=overwrite))
            return
        assert act(source, goal, overwrite=overwrite) is (goal in self.state)
        coming = {goal + key.removeprefix(source): value for key, value in below(self.state, source).items()}
        for key in [*below(self.state, goal), *(below(self.state, source) if moves else ())]:
            del self.state[key]
        self.state.update(coming)

    @rule(path=PATHS)
    def write_in_place(self, path: str) -> None:
        if self.state.get(path) is None:
            return
        _, file = self.local.run(lambda: self.tree.resources.file(at(path)))
        assert isinstance(file, LiveFile)
        self.local.running.attempt(lambda: file.write(0, b"W"))
        self.state[path] = b"W" + (self.state[path] or b"")[1:]

    @rule(path=PATHS, other=PATHS)
    def link(self, path: str, other: str) -> None:
        """A second name that is taken away again: its inode stays in the link map."""
        same = path.split("/")[1] == other.split("/")[1]
        if self.state.get(path) is None or other in self.state or not self._above(other) or not same:
            return
        _, file = self.local.run(lambda: self.tree.resources.file(at(path)))
        parent = self.local.run(lambda: self.tree.resources._walk(at(other)).parent)
        assert isinstance(parent, LiveDir)
        assert isinstance(file, LiveFile)
        self.local.run(lambda: parent.link(at(other)[-1], file))
        self.tree.remove(other)

    @rule(top=TOPS)
    def version(self, top: str) -> None:
        node = self.local.run(lambda: self.tree.resources._walk((top.encode(),)).node)
        assert isinstance(node, LiveDir)
        number = self.local.backup(node.tree.mimei).number
        self.versions[f"/{top}/@{number}"] = {
            key.removeprefix(f"/{top}"): value for key, value in below(self.state, f"/{top}").items()
        }

    @rule()
    def crash(self) -> None:
        self.local.crash()
        self.tree = Tree(self.local)

    def _refused(self, act: Any) -> None:
        try:
            act()
        except REFUSALS:
            return
        raise AssertionError("it should have been refused")

    def _seen(self, path: str) -> State:
        facts = self.tree.look(path)
        if facts.kind != "dir":
            return {path: self.tree.read(path)}
        found: State = {path: None}
        for name in self.tree.names(path):
            found |= self._seen(f"{path}/{name.decode()}")
        return found

    @invariant()
    @precondition(lambda self: hasattr(self, "state"))
    def the_tree_is_what_it_should_be(self) -> None:
        assert self._seen("/one") | self._seen("/two") == self.state

    def teardown(self) -> None:
        if not hasattr(self, "state"):
            return
        for path, expected in self.versions.items():
            assert {key.removeprefix(path): value for key, value in self._seen(path).items()} == expected
        assert self.local.findings() == []
        self.local.crash()
        assert self.local.findings() == []
        self.local.running.close()
        self._folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
