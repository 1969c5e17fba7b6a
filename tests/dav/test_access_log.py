"""The access log: whole lines, in files that make way for each other."""

from pathlib import Path

from mimeifs.dav.access_log import OLD, AccessLog


def test_old_lines_go_in_the_end(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log", most=10)
    for number in range(20):
        log.write(f"line {number}")
    kept = [(tmp_path / name).read_text() for name in ("log", *(f"log.{number}" for number in range(1, OLD + 1)))]
    assert "".join(reversed(kept)).split("\n")[-5:] == ["line 16", "line 17", "line 18", "line 19", ""]
    assert len(list(tmp_path.iterdir())) == OLD + 1
