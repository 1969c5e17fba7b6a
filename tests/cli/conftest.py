"""Commands run in this process, on a home that is checked when the test is done."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mimeifs.cli import main
from mimeifs.clock import SystemClock, SystemRandomness
from mimeifs.engine import LocalEngine
from mimeifs.errors import NotFoundError
from mimeifs.home import Home
from mimeifs.model.node import Node, Who


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """``mimei WORDS`` on the home ``tmp_path / "home"``."""
    monkeypatch.setenv("MIMEI_HOME", str(tmp_path / "home"))
    for name in ("MIMEI_PASSPHRASE", "MIMEI_NEW_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)

    def command(*words: str) -> Done:
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return command


@pytest.fixture
def home(tmp_path: Path, run: Run) -> Iterator[Home]:
    assert run("init").code == 0
    yield Home(tmp_path / "home")
    checked = run("check", "--json")
    assert (checked.code, checked.json) == (0, {"findings": []})


@contextmanager
def present(home: Home, name: bytes) -> Iterator[Node]:
    """The present of a MiMei, to be changed without a mount."""
    local = LocalEngine(home, SystemClock(), SystemRandomness())
    try:
        yield local.engine.views.root.lookup(name)
    finally:
        local.close()


def write(home: Home, name: bytes, path: bytes, data: bytes) -> None:
    """A file of that content in a MiMei, below directories that are made."""
    who = Who(0, 0)
    with present(home, name) as at:
        *folders, last = path.split(b"/")
        for folder in folders:
            at = _child(at, folder) or at.mkdir(folder, 0o755, who)
        handle = (_child(at, last) or at.create(last, 0o644, who)).open(writing=True)
        handle.write(0, data)
        handle.close()


def _child(directory: Node, name: bytes) -> Node | None:
    try:
        return directory.lookup(name)
    except NotFoundError:
        return None
