"""The code keeps the rules of ARCHITECTURE.md, and the checker would see it if it did not."""

from pathlib import Path

import pytest

from tests.architecture import FLOORS, MAX_FUNCTION_LINES, MAX_LINES, Source, check, sources

ROOT = Path(__file__).parent.parent
LONG_FUNCTION = "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES

BAD = [
    ("mimeifs.ids", "from mimeifs.store import packs", "from a floor above"),
    ("mimeifs.store.packs", "import mimeifs.model.tree", "from a floor above"),
    ("mimeifs.store.packs", "def f():\n    from mimeifs.model import tree", "from a floor above"),
    ("mimeifs.model.tree", "from mimeifs import fuse", "from a floor above"),
    ("mimeifs.model.tree", "from ..node import start", "from a floor above"),
    ("mimeifs.fuse.loop", "from mimeifs.cli import main", "from a floor above"),
    ("mimeifs.fuse.loop", "from mimeifs.dav import server", "another surface"),
    ("mimeifs.model.tree", "import lmdb", "belongs in mimeifs.store"),
    ("mimeifs.node", "from lmdb import Environment", "belongs in mimeifs.store"),
    ("mimeifs.node", "import pyfuse3", "belongs in mimeifs.fuse"),
    ("mimeifs.net.http", "import wsgidav.server", "belongs in mimeifs.dav"),
    ("mimeifs.cli", "from cheroot import wsgi", "belongs in mimeifs.dav"),
    ("mimeifs.model.records", "import nacl.signing", "belongs in mimeifs.model.identity"),
    ("mimeifs.store.packs", "import trio", "uses trio below the surfaces"),
    ("mimeifs.model.tree", "async def f(): ...", "waits below the surfaces"),
    ("mimeifs.model.tree", "import time", "uses time below the surfaces"),
    ("mimeifs.store.packs", "from time import monotonic", "uses time.monotonic below the surfaces"),
    ("mimeifs.store.packs", "import os as o\no.environ['A']", "uses os.environ below the surfaces"),
    ("mimeifs.ids", "from os import urandom", "uses os.urandom below the surfaces"),
    ("mimeifs.model.tree", "import random", "uses random below the surfaces"),
    ("mimeifs.model.tree", "import secrets", "uses secrets below the surfaces"),
    ("mimeifs.model.tree", "from datetime import datetime as d\nd.now()", "uses datetime.datetime.now below the surfaces"),
    ("mimeifs.model.tree", "import datetime\ndatetime.date.today()", "uses datetime.date.today below the surfaces"),
    ("mimeifs.model.tree", "import os\nos.open('x', 0)", "files belong in mimeifs.store"),
    ("mimeifs.model.tree", "from pathlib import Path", "files belong in mimeifs.store"),
    ("mimeifs.cli", LONG_FUNCTION, f"f has {MAX_FUNCTION_LINES + 1} lines"),
    ("mimeifs.cli", "x = 1\n" * MAX_LINES, f"{MAX_LINES + 1} lines, over"),
    ("mimeifs.model.helpers", "", "says nothing about what is in it"),
]

GOOD = [
    ("mimeifs.ids", "from mimeifs.codec import put_bytes"),
    ("mimeifs.store.packs", "import os, lmdb\nfrom mimeifs.errors import MimeiError\nos.open('x', 0)"),
    ("mimeifs.store.prolly.read", "from .node import Node\nfrom mimeifs.store import interfaces"),
    ("mimeifs.model.tree", "import os\nfrom mimeifs import store\nos.fsencode('x')"),
    ("mimeifs.model.identity", "import os\nimport nacl.signing\nos.open('x', 0)"),
    ("mimeifs.model.times", "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)"),
    ("mimeifs.fuse.loop", "import time, trio, pyfuse3\nfrom mimeifs.model import tree"),
    ("mimeifs.cli", "from mimeifs import fuse, __version__\nfrom mimeifs.node import start"),
    ("mimeifs.clock", "import os, time"),
]


@pytest.mark.parametrize("source", [pytest.param(source, id=source.module) for source in sources(ROOT)])
def test_module_keeps_the_rules(source: Source) -> None:
    assert check(source) == []


@pytest.mark.parametrize(("module", "body", "finding"), BAD)
def test_checker_sees_the_breach(module: str, body: str, finding: str) -> None:
    findings = check(Source(module, f'"""Docstring."""\n{body}'))
    assert len(findings) == 1 or finding.startswith("uses")
    assert any(finding in line for line in findings)


@pytest.mark.parametrize(("module", "body"), GOOD)
def test_checker_allows_what_the_rules_allow(module: str, body: str) -> None:
    assert check(Source(module, f'"""Docstring."""\n{body}')) == []


def test_checker_asks_for_a_docstring() -> None:
    assert check(Source("mimeifs.cli", "x = 1")) == ["mimeifs.cli: has no docstring"]


def test_relative_imports_of_a_folder_start_in_it() -> None:
    face = Source("mimeifs.fuse", '"""Docstring."""\nfrom .loop import run\nfrom ..dav import server', is_package=True)
    assert check(face) == ["mimeifs.fuse:3: imports mimeifs.dav.server, another surface"]


def test_the_walk_finds_the_whole_package() -> None:
    assert {source.module for source in sources(ROOT)} >= {"mimeifs", "mimeifs.ids", "mimeifs.store", "mimeifs.model"}
    assert {room for room in FLOORS if (ROOT / "mimeifs" / f"{room}.py").exists()} == {"errors", "codec", "ids", "clock"}
