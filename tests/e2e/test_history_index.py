"""A node that has nothing else to do makes the index of histories anew."""

from pathlib import Path

import pytest

from mimeifs.home import Home
from mimeifs.store.database import Table, open_database
from tests.serving import serving

pytestmark = pytest.mark.mount


def test_an_idle_node_fills_the_index(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as served:
        present = served.mimei("work")
        for number in range(3):
            (present / "f").write_bytes(b"%d" % number)
            served.command("backup", "work")
        names = sorted(path.name for path in (present / ".mimei" / "@history" / "f").iterdir())
        assert names == ["00001", "00002", "00003"]
        assert served.command("history", "work", "f", "--reindex").stdout.count(b"\n") == 4
        database = open_database(Home(served.home).storage.index)

        def filled() -> bool:
            database.renew()
            return next(database.scan(Table.HISTORY, b""), None) is not None

        served.until(filled, "the index is made")
        database.close()
        assert sorted(path.name for path in (present / ".mimei" / "@history" / "f").iterdir()) == names
        assert served.end() == 0
