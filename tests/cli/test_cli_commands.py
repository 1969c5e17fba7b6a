"""Commands on a home that no node has: what they do, what they print, and how they fail."""

import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimeifs.cli import gate, main, of_mimeis, passphrases
from mimeifs.home import Home
from mimeifs.store.database import U32, Table, open_database
from mimeifs.store.storage import StoreLock
from tests.cli.conftest import Run, write


@pytest.fixture(scope="module")
def drafts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with a MiMei ``drafts`` that has one version, for commands that change nothing."""
    made = Home(tmp_path_factory.mktemp("mistakes") / "home")
    for words in (["init"], ["create", "drafts"], ["backup", "drafts"]):
        assert main(["--home", str(made.root), *words]) == 0
    yield made
    assert main(["--home", str(made.root), "check"]) == 0


# Homes


def test_init_makes_a_home_once(run: Run, home: Home) -> None:
    assert home.exists
    again = run("init")
    assert (again.code, again.out) == (4, "")
    assert "there is a store in" in again.err


def test_a_home_that_is_there_needs_no_passphrase_to_say_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(passphrases.VARIABLE, "right")
    assert run("init").code == 0
    monkeypatch.delenv(passphrases.VARIABLE)
    assert run("init").code == 4


def test_no_keys_are_made_where_others_can_write(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)
    done = run("init")
    assert (done.code, "chmod go-w" in done.err) == (5, True)
    assert list((tmp_path / "home").iterdir()) == []


def test_without_a_home_the_way_out_is_named(run: Run) -> None:
    done = run("ls")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "`mimei init` makes one" in done.err


def test_home_is_named_before_or_behind_the_command(run: Run, tmp_path: Path) -> None:
    assert run("--home", str(tmp_path / "a"), "init").code == 0
    assert run("ls", "--home", str(tmp_path / "a")).code == 0
    assert run("key", "show", "--home", str(tmp_path / "a")).code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_home_is_refused(run: Run, home: Home) -> None:
    os.chown(home.root, 12345, 12345)
    try:
        for words in (("ls",), ("init",), ("backup", "x"), ("check",)):
            done = run(*words)
            assert (done.code, "belongs to user 12345" in done.err) == (5, True)
    finally:
        os.chown(home.root, os.geteuid(), os.getegid())


def test_a_store_of_another_format_is_refused_by_both_numbers(run: Run, tmp_path: Path) -> None:
    run("init")
    database = open_database(Home(tmp_path / "home").storage.index)
    with database.write() as transaction:
        transaction.put(b"format", U32.pack(99), db=database.tables[Table.META])
    database.close()
    done = run("ls")
    assert (done.code, "has format 99, this program knows 1" in done.err) == (10, True)


def test_a_store_in_use_by_who_does_not_answer_is_told(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PATIENCE_SECONDS", 0.0)
    lock = StoreLock(home.storage)
    done = run("ls")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    watched = run("ls")
    lock.release()
    assert (done.code, done.err.startswith("mimei ls: "), "no node answers on" in done.err) == (7, True, True)
    assert (watched.code, watched.err.startswith("\rthe store is in use: waiting for ")) == (7, True)


@pytest.mark.parametrize("words", [("ls",), ("init",), ("mount",), ("check",)])
def test_a_home_without_its_devices_key_says_which_file_is_missing(run: Run, home: Home, words: tuple[str, ...]) -> None:
    aside = home.device_key.rename(home.root / "aside")
    done = run(*words)
    aside.rename(home.device_key)
    assert (done.code, f"the key file {home.device_key} is missing" in done.err) == (3, True)


@pytest.mark.parametrize("words", [("create", "drafts"), ("ls",), ("mount",)])
@pytest.mark.parametrize(
    ("place", "mode", "said"),
    [
        ("", 0o777, "chmod go-w"),
        ("keys/device.key", 0o644, "chmod 600"),
        ("keys/user.key", 0o644, "chmod 600"),
        ("keys/user.key", 0o610, "chmod 600"),
    ],
)
def test_what_others_could_change_or_read_is_refused(
    run: Run, home: Home, words: tuple[str, ...], place: str, mode: int, said: str
) -> None:
    before = (home.root / place).stat().st_mode
    (home.root / place).chmod(mode)
    done = run(*words)
    (home.root / place).chmod(before)
    assert (done.code, said in done.err) == (5, True)


def test_daily_work_does_not_need_the_users_key(run: Run, home: Home) -> None:
    home.user_key.rename(home.root / "aside")
    assert run("ls").code == 0


@pytest.mark.parametrize(("at", "byte", "code"), [(0, 0, 8), (8, 9, 10), (60, 0, 8)])
@pytest.mark.parametrize("which", ["user", "device"])
def test_a_key_file_that_makes_no_sense_is_named(run: Run, home: Home, which: str, at: int, byte: int, code: int) -> None:
    file = home.root / "keys" / f"{which}.key"
    sound = file.read_bytes()
    file.write_bytes(sound[:at] + bytes([byte]) + sound[at + 1 :])
    done = run("key", "show")
    file.write_bytes(sound)
    assert (done.code, done.err.startswith(f"mimei key: {file}: "), done.err.count("\n")) == (code, True, 1)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_home_that_is_no_directory_is_a_mistake(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    for command in ("ls", "init"):
        done = run("--home", str(tmp_path / place), command)
        assert (done.code, str(tmp_path / "file") in done.err, done.err.count("\n")) == (2, True, 1)


# Keys


def test_a_passphrase_seals_the_users_key(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("secret\nmore\n")
    assert run("init", "--passphrase-file", str(file)).code == 0
    assert run("key", "show", "--json").json["seal"] == "sealed"
    assert "(sealed)" in run("key", "show").out
    assert run("create", "a").code == 0


def test_a_wrong_passphrase_changes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(passphrases.VARIABLE, "right")
    assert run("init").code == 0
    monkeypatch.setenv(passphrases.VARIABLE, "wrong")
    monkeypatch.setenv(passphrases.NEW_VARIABLE, "new")
    done = run("key", "passphrase")
    assert (done.code, done.err.count("\n")) == (6, 1)
    monkeypatch.setenv(passphrases.VARIABLE, "right")
    assert run("key", "passphrase").code == 0
    monkeypatch.setenv(passphrases.VARIABLE, "new")
    monkeypatch.delenv(passphrases.NEW_VARIABLE)
    assert run("key", "passphrase", "--remove", "--json").json["seal"] == "plain"
    assert "(unsealed)" in run("key", "show").out


def test_a_passphrase_is_never_waited_for_without_a_terminal(run: Run, home: Home) -> None:
    done = run("key", "passphrase")
    assert (done.code, "no terminal" in done.err) == (6, True)


def test_an_old_key_needs_its_passphrase_before_anything_is_made(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Home(home.root.with_name("other"))
    monkeypatch.setenv(passphrases.VARIABLE, "right")
    assert run("init", "--home", str(elsewhere.root)).code == 0
    elsewhere.storage.root.rename(home.root.with_name("gone"))
    monkeypatch.setenv(passphrases.VARIABLE, "wrong")
    assert run("init", "--home", str(elsewhere.root)).code == 6
    assert not elsewhere.storage.root.exists()


# The main path


def test_a_life_of_versions(run: Run, home: Home) -> None:
    assert run("create", "drafts", "--view", "cur").code == 0
    write(home, b"drafts", b"book/one.txt", b"one")
    first = run("backup", "drafts", "-m", "the first", "--label", "start")
    assert first.out.startswith("@1 @last @start  ")
    assert "1 file, 3 B  the first" in first.out
    write(home, b"drafts", b"book/one.txt", b"one and more")
    write(home, b"drafts", b"two.txt", b"2")
    assert "drafts  tree  cur    @1+" in run("ls").out
    changes = run("diff", "drafts", "--json").json["changes"]
    assert [(line["path"], line["change"], line["new_size"]) for line in changes] == [
        ("book/one.txt", "changed", 12),
        ("two.txt", "added", 1),
    ]
    assert "3 B -> 12 B  book/one.txt" in run("diff", "drafts", "1").out
    assert run("restore", "drafts", "start", "book").code == 0
    assert run("diff", "drafts", "1").out.splitlines()[1:] == ["added   1 B   two.txt"]
    assert [line["number"] for line in run("log", "drafts", "--json").json["versions"]] == [2, 1]
    history = run("history", "drafts", "book/one.txt", "--json").json["versions"]
    assert [(line["version"]["number"], line["change"], line["size"]) for line in history] == [
        (2, "changed", 12),
        (1, "added", 3),
    ]
    assert run("history", "drafts", "book/one.txt", "--reindex", "--json").json["versions"] == history
    assert run("history", "drafts", "book/one.txt", "--json").json["versions"] == history
    assert (run("history", "drafts", "--reindex").code, run("history", "drafts").code) == (0, 2)
    assert run("check").code == 0


def test_a_version_is_published_and_labelled(run: Run, home: Home) -> None:
    run("create", "drafts")
    run("backup", "drafts")
    assert run("release", "drafts").code == 0
    assert run("label", "drafts", "good", "1").code == 0
    assert run("label", "drafts", "good").code == 0
    assert run("backup", "drafts", "--label", "good").code == 0
    write(home, b"drafts", b"@cur/a", b"x")
    assert run("backup", "drafts").code == 0
    taken = run("label", "drafts", "good")
    assert (taken.code, "--move" in taken.err) == (4, True)
    assert run("label", "drafts", "good", "@release", "--move").code == 0
    assert "release good" in " ".join(run("log", "drafts").out.split())
    assert run("label", "drafts", "good", "--drop").code == 0
    assert run("label", "drafts", "good", "1", "--drop").code == 2


def test_fork_split_ref_and_rm(run: Run, home: Home) -> None:
    run("create", "drafts", "--view", "cur")
    write(home, b"drafts", b"book/a", b"x")
    assert run("fork", "drafts", "copy").code == 0
    assert run("split", "drafts", "book").out.startswith("drafts/book  m")
    assert run("log", "drafts/book").code == 0
    assert run("ref", "add", "copy", "drafts", "--count", "2").code == 0
    assert run("ref", "rm", "copy", "drafts").code == 0
    assert [line["count"] for line in run("ref", "ls", "drafts", "--json").json["refs"]] == [1]
    often = run("ref", "rm", "copy", "drafts", "--count", "2")
    assert (often.code, often.err) == (2, "mimei ref: copy refers to drafts once, not 2 times\n")
    record = run("log", "drafts", "--json").json["versions"][0]["record"]
    assert "@1" in run("ref", "add", "copy", "drafts", record).out
    assert [(line["version"], line["record"]) for line in run("ref", "ls", "drafts", "--json").json["refs"]] == [
        ("", ""),
        ("1", record),
    ]
    assert run("rm", "copy").code == 0
    assert run("log", "copy").code == 3
    listed = run("ls", "--all")
    assert ("copy  (not in the root)" in listed.out, "mimei link" in listed.err) == (True, True)
    assert run("rm", "drafts/book").code == 0
    assert run("log", "drafts/book").code == 3


def test_a_mimei_is_linked_again_by_its_id(run: Run, home: Home) -> None:
    run("create", "drafts")
    run("backup", "drafts")
    gone = run("rm", "drafts", "--json").json["mimei"]
    made = run("link", gone, "again", "--view", "cur", "--json").json
    assert (made["name"], made["mimei"], made["view"]) == ("again", gone, "cur")
    assert [line["number"] for line in run("log", "again", "--json").json["versions"]] == [1]
    assert run("link", gone, "again").code == 4
    root = next(line for line in run("ls", "--all", "--json").json["mimeis"] if line["view"] == "root")
    assert run("link", root["mimei"], "loop").code == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("backup", "nope"), 3, "no MiMei nope"),
        (("info", "m" + "a" * 52), 3, "no MiMei m"),
        (("create", "a" * 256), 2, "at most 255 bytes"),
        (("create", "a/b"), 2, "not a name for a file: 'a/b' ("),
        (("create", "x.mmfs"), 2, "does not end in .mmfs"),
        (("link", "m" + "a" * 52, "x"), 3, "no MiMei"),
        (("ref", "ls", "nosuch"), 3, "no MiMei nosuch"),
        (("create", "drafts"), 4, "exists already"),
        (("label", "drafts", "@cur"), 2, "reserved"),
        (("label", "drafts", "1st"), 2, "start with a digit"),
        (("release", "drafts", "7"), 3, "no version @7"),
        (("restore", "drafts", "cur"), 2, "not a version"),
        (("restore", "drafts", "1", "no/such"), 3, "no/such"),
        (("restore", "drafts", "1", ""), 2, "PATH is empty"),
        (("diff", "drafts", "cur"), 2, "cur comes last"),
        (("diff", "drafts", "2026-13-45"), 2, "no such time"),
        (("history", "drafts", "a/../b"), 2, "not a name"),
        (("ref", "add", "drafts", "drafts", "--count", "0"), 2, "1 or more"),
        (("history", "drafts", "nope"), 3, "no version of drafts holds nope"),
        (("backup", "drafts", "-m", "\udcff"), 2, "not valid UTF-8: '\\xff'"),
        (("backup", "drafts", "-m", "x" * 100_000), 2, "the memo has 100000 bytes, at most 4096 fit"),
        (("backup", "drafts", "--label", "x" * 100_000), 2, "it has 100000 bytes, at most 250 fit"),
        (("backup", "drafts", "--label", "release"), 2, "reserved"),
        (("label", "drafts", "x" * 251), 2, "it has 251 bytes, at most 250 fit"),
        (("info", "b" + "a" * 52), 3, "no such blob is stored"),
        (("info", "b" + "a" * 51 + "b"), 3, "no such blob is stored"),
        (("info", "r" + "a" * 52), 3, "no such record is stored"),
        (("umount", "/nowhere/at/all"), 3, "no node of yours is mounted"),
        (("init", "--passphrase-file", "/nowhere/at/all"), 3, "/nowhere/at/all: No such file"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_a_mistake_costs_one_line(run: Run, drafts: Home, words: tuple[str, ...], code: int, said: str) -> None:
    done = run("--home", str(drafts.root), *words)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert said in done.err
    told = run("--home", str(drafts.root), *words, "--json")
    assert (told.code, told.out, json.loads(told.err)["exit_code"]) == (code, "", code)


# Output


def test_a_memo_cannot_speak_to_the_terminal(run: Run, home: Home) -> None:
    run("create", "drafts")
    run("backup", "drafts", "-m", "\x1b[2Jgone")
    for words in (("log", "drafts"), ("info", "drafts")):
        assert "\x1b" not in run(*words).out
    assert run("log", "drafts", "--json").json["versions"][0]["memo"] == "\x1b[2Jgone"


def test_a_name_of_odd_bytes_goes_in_and_comes_out(run: Run, home: Home) -> None:
    name = os.fsdecode(b"\xff\x1b")
    assert run("create", name).out.startswith("\\xff\\x1b  m")
    assert run("backup", name).code == 0
    assert run("ls", "--json").json["mimeis"][0]["name"] == name


def test_info_of_a_blob_says_who_needs_it(run: Run, home: Home) -> None:
    run("create", "drafts", "--view", "cur")
    write(home, b"drafts", b"deep/a", b"x" * 100)
    record = run("backup", "drafts", "--json").json["version"]["record"]
    facts = run("info", record, "--json").json
    assert (facts["kind"], facts["damage"], facts["holders"][0]["number"]) == ("record", "", 1)


def test_info_of_a_damaged_blob_says_so_by_its_exit_code(run: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    run("init")
    run("create", "drafts")
    record = run("backup", "drafts", "--json").json["version"]["record"]
    for pack in home.storage.packs.iterdir():
        pack.write_bytes(bytes(pack.stat().st_size))
    done = run("info", record, "--json")
    assert (done.code, done.json["damage"] != "") == (8, True)


def test_a_finding_says_which_mimei_version_and_path(run: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    run("init")
    mimei = run("create", "drafts", "--view", "cur", "--json").json["mimei"]
    content = bytes(range(100))  # Nothing to compress, so that it is found again.
    write(home, b"drafts", b"deep/a", content)
    run("backup", "drafts")
    for pack in home.storage.packs.iterdir():
        pack.write_bytes(pack.read_bytes().replace(content, content[::-1]))
    done = run("check", "--json")
    places = [(line["mimei"], line["version"], line["path"]) for line in done.json["findings"]]
    assert (done.code, (mimei, 1, "deep/a") in places) == (1, True), places
    told = run("check")
    stored, held = told.out.splitlines()[1:]
    assert stored.split()[:6] == ["damaged", "00000001.pack", "is", "damaged", "in", "00000001.pack"]
    assert all(row.count(done.json["findings"][0]["blob"]) == 1 for row in (stored, held))
    assert "`mimei info BLOB` names every version" in told.err


@pytest.mark.parametrize("place", ["packs", "journal", "index"])
def test_a_store_that_lacks_a_directory_is_damaged(run: Run, home: Home, place: str) -> None:
    aside = (home.storage.root / place).rename(home.root / "aside")
    for words in (("ls",), ("check",), ("mount",), ("init",)):
        done = run(*words)
        assert (done.code, f"{home.storage.root / place} is missing" in done.err) == (8, True)
    aside.rename(home.storage.root / place)


# rebuild


@pytest.fixture
def versioned(run: Run, home: Home) -> None:
    """A MiMei with a version is in the home."""
    run("create", "drafts", "--view", "cur")
    write(home, b"drafts", b"deep/a", bytes(range(100)))
    run("backup", "drafts", "-m", "one")


@pytest.mark.usefixtures("versioned")
def test_a_lost_index_is_made_again(run: Run, home: Home) -> None:
    assert (run("rebuild").code, "--force" in run("rebuild").err) == (7, True)
    log = run("log", "drafts", "--json").json
    shutil.rmtree(home.storage.index)
    assert (run("ls").code, "`mimei rebuild`" in run("ls").err) == (8, True)
    done = run("rebuild")
    assert done.code == 0
    assert done.out.splitlines() == [
        "made the index again from 1 pack: 5 blobs, 4 records",
        "2 MiMeis with 1 version; each present is what its newest version holds",
        "put into the root, since nothing showed them: drafts",
        f"the old index and journal are in {home.storage.root}/set-aside-1; remove them when you miss nothing",
    ]
    assert run("log", "drafts", "--json").json == log
    again = run("rebuild", "--force", "--json").json
    assert (again["mimeis"], again["versions"], again["placed"], again["damaged"]) == (2, 1, ["drafts"], [])


def test_a_rebuild_of_damaged_packs_says_what_is_lost(run: Run, tmp_path: Path) -> None:
    home, content = Home(tmp_path / "home"), bytes(range(100))
    run("init")
    run("create", "drafts", "--view", "cur")
    write(home, b"drafts", b"a", content)
    run("backup", "drafts")
    pack = home.storage.packs / "00000001.pack"
    pack.write_bytes(pack.read_bytes().replace(content, content[::-1]) + b"torn")
    done = run("rebuild", "--force")
    assert (done.code, "1 blob damaged; `mimei check`" in done.out, "nothing could be read in pack 1 at" in done.out) == (
        *(1, True, True),
    )
    assert run("check").code == 1


@pytest.mark.parametrize("seed", range(4))
def test_what_lmdb_would_die_of_is_told(run: Run, tmp_path: Path, seed: int) -> None:
    home, chance = Home(tmp_path / "home"), random.Random(seed)
    run("init")
    run("create", "drafts", "--view", "cur")
    for number in range(40):
        write(home, b"drafts", b"%d" % number * 50, b"x")
    run("backup", "drafts")
    with (home.storage.index / "data.mdb").open("r+b") as file:
        for page in chance.sample(range(2, file.seek(0, os.SEEK_END) // 4096), 8):
            file.seek(page * 4096)
            file.write(bytes(4096))
    assert run("check").code in (0, 8)
    if run("check").code:
        assert "`mimei rebuild`" in run("check").err
        assert (run("rebuild").code, run("check").code) == (0, 0)


def test_an_index_is_not_made_while_a_node_has_it(run: Run, home: Home) -> None:
    lock = StoreLock(home.storage)
    done = run("rebuild")
    lock.release()
    assert (done.code, "is in use" in done.err) == (7, True)


# What nobody foresaw


def test_something_unforeseen_costs_one_line_and_leaves_a_log(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("who would have thought")

    monkeypatch.setattr(of_mimeis.show, "name", broken)
    run("create", "drafts")
    done = run("ls")
    assert (done.code, done.err.count("\n")) == (70, 1)
    assert str(home.root / "log") in done.err
    assert "Traceback" in (home.root / "log").read_text()


def test_an_interrupt_is_no_traceback(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(gate, "opened", interrupted)
    done = run("ls")
    monkeypatch.undo()
    os.environ["MIMEI_HOME"] = str(home.root)
    assert (done.code, done.err) == (130, "interrupted\n")
