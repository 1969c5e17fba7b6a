"""Real work of real programs in a directory, a stage at a time: what a person's day leaves in a file system.

Nothing here knows of mimeifs; each function works in any directory. What a program says when it fails is in the error.
"""

import os
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path

SOME = ("asyncio", "collections", "email", "encodings", "importlib", "json", "logging", "unittest")
STDLIB = Path(sysconfig.get_path("stdlib"))

GIT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": f"{who.lower()}@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}

READER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30)
seen = 0
while seen < int(sys.argv[2]):
    count, total = database.execute("select count(*), coalesce(sum(value), 0) from rows").fetchone()
    assert total == count * (count - 1) // 2 and count % 10 == 0 and count >= seen, (count, total, seen)
    seen = count
"""

MAKEFILE = """
OBJECTS = main.o greet.o
greeting: $(OBJECTS)
\t$(CC) -o $@ $(OBJECTS)
%.o: %.c greet.h
\t$(CC) -O1 -c $<
libgreet.a: greet.o
\tar rcs $@ $^
clean:
\trm -f greeting *.o *.a
"""


def run(*words: object, at: Path) -> str:
    """Run a program; its output. Raises ``AssertionError`` with what it said when it fails."""
    done = subprocess.run(
        [str(word) for word in words], cwd=at, env=GIT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def whole_library() -> tuple[str, ...]:
    """All there is in the standard library; what was installed into it is not part of it."""
    return tuple(sorted(name for name in os.listdir(STDLIB) if name not in ("site-packages", "dist-packages")))


def copy_library(at: Path, *, names: tuple[str, ...]) -> int:
    """Copy parts of the standard library in; how many files."""
    (at / "lib").mkdir()
    run("cp", "-a", *(STDLIB / name for name in names), at / "lib", at=at)
    return sum(len(files) for _, _, files in os.walk(at / "lib"))


def make_repository(at: Path) -> None:
    """A git repository with some history, to clone from."""
    run("git", "init", "-q", "-b", "main", at, at=at.parent)
    for number in range(5):
        (at / f"file{number}.txt").write_text(f"{number}\n" * 1000)
        (at / "notes.txt").write_text(f"version {number}\n")
        run("git", "add", ".", at=at)
        run("git", "commit", "-q", "-m", f"commit {number}", at=at)
    run("git", "branch", "side", "HEAD~2", at=at)


def clone(source: Path, at: Path) -> None:
    """Clone it without hard links, as over a network."""
    run("git", "clone", "-q", "--no-local", source, at / "clone", at=at)


def commit(at: Path) -> None:
    """Edit, commit, branch, rebase, repack, and have git check itself."""
    repository = at / "clone"
    (repository / "notes.txt").write_text("edited here\n")
    run("git", "mv", "file1.txt", "renamed.txt", at=repository)
    run("git", "commit", "-q", "-a", "-m", "here", at=repository)
    run("git", "checkout", "-q", "-b", "topic", "origin/side", at=repository)
    (repository / "topic.txt").write_text("topic\n")
    run("git", "add", ".", at=repository)
    run("git", "commit", "-q", "-m", "topic", at=repository)
    run("git", "rebase", "-q", "main", at=repository)
    run("git", "gc", "-q", at=repository)
    run("git", "fsck", "--strict", at=repository)
    assert run("git", "status", "--porcelain", at=repository) == ""
    assert run("git", "log", "--format=%s", "-2", at=repository) == "topic\nhere\n"


def fill_database(at: Path, *, first: int, count: int) -> None:
    """Insert rows ``first`` to ``count`` ten in a transaction, in WAL mode, while two other processes read."""
    path = at / "work.db"
    database = sqlite3.connect(path, timeout=30)
    assert database.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    database.execute("create table if not exists rows (value integer primary key, text text)")
    database.commit()
    readers = [subprocess.Popen([sys.executable, "-c", READER, path, str(count)]) for _ in range(2)]
    try:
        for start in range(first, count, 10):
            with database:
                database.executemany("insert into rows values (?, ?)", [(start + step, "x" * 200) for step in range(10)])
        assert [reader.wait(60) for reader in readers] == [0, 0]
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


def count_rows(path: Path) -> int:
    """Rows of a copy of the database, which must be sound."""
    database = sqlite3.connect(path)
    try:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        return int(database.execute("select count(*) from rows").fetchone()[0])
    finally:
        database.close()


def build(at: Path) -> None:
    """Build a C program twice, the second time only what changed, and run it."""
    source = at / "program"
    source.mkdir()
    (source / "greet.h").write_text("const char *greet(void);\n")
    (source / "greet.c").write_text('#include "greet.h"\nconst char *greet(void) { return "hello"; }\n')
    (source / "main.c").write_text('#include <stdio.h>\n#include "greet.h"\nint main(void) { return puts(greet()) < 0; }\n')
    (source / "Makefile").write_text(MAKEFILE)
    run("make", "-j2", "greeting", "libgreet.a", at=source)
    assert run(source / "greeting", at=source) == "hello\n"
    assert "up to date" in run("make", "greeting", at=source)
    (source / "greet.c").write_text('#include "greet.h"\nconst char *greet(void) { return "goodbye"; }\n')
    made = run("make", "greeting", at=source)
    assert "greet.c" in made
    assert "main.c" not in made
    assert run(source / "greeting", at=source) == "goodbye\n"


def furnish(at: Path) -> None:
    """One of everything: hard links, symbolic links, attributes, fifos, sparse files, odd names, exact times."""
    odd = at / "odd"
    odd.mkdir()
    raw = os.fsencode(odd) + b"/"
    for name in (b"n" * 255, b"\xff\xfe not utf-8", b"new\nline", b" ", b"-rf", b"caf\xc3\xa9", b"@odd"):
        with open(raw + name, "wb") as file:
            file.write(name)
    (odd / "first").write_bytes(b"linked " * 1000)
    for name in ("second", "third"):
        os.link(odd / "first", odd / name)
    (odd / "relative").symlink_to("first")
    (odd / "broken").symlink_to("/nowhere/at all")
    os.mkfifo(odd / "pipe", 0o640)
    run("setfattr", "-n", "user.comment", "-v", "kept", odd / "first", at=at)
    for number in range(20):
        os.setxattr(odd / "second", f"user.{number}", bytes([number]) * 100)
    os.setxattr(odd, "user.directory", b"\0\xff")
    with (odd / "sparse").open("wb") as sparse:
        sparse.seek(30 << 20)
        sparse.write(b"end")
        sparse.truncate(50 << 20)
    (odd / "large").write_bytes(os.urandom(1 << 20) * 3 + b"tail")
    (odd / "empty").touch()
    (odd / "closed").mkdir(0o500)
    (odd / "sticky").mkdir()
    (odd / "sticky").chmod(0o3777)
    (odd / "runnable").write_text("#!/bin/sh\nexit 7\n")
    (odd / "runnable").chmod(0o4755)
    if os.geteuid() == 0:
        os.chown(odd / "empty", 1234, 5678)
        os.mknod(odd / "device", 0o020600, os.makedev(1, 3))
    for number, name in enumerate(("first", "relative", "pipe", "large", "closed")):
        os.utime(odd / name, ns=(1, 1_600_000_000_123_456_789 + number), follow_symlinks=False)


def change(at: Path) -> None:
    """Edit in place, append, cut, rename, exchange kinds, unlink, remove whole directories."""
    odd = at / "odd"
    with (odd / "large").open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"in the middle")
        file.truncate(2_500_000)
    with (odd / "third").open("ab") as file:
        file.write(b"appended through the third name")
    (odd / "second").unlink()
    (odd / "first").rename(at / "moved-out")
    (odd / "broken").unlink()
    (odd / "broken").mkdir()
    (odd / "broken" / "now a directory").touch()
    (odd / "empty").unlink()
    (odd / "empty").symlink_to("large")
    os.removexattr(odd / "third", "user.3")
    os.setxattr(odd / "third", "user.4", b"changed")
    with (odd / "sparse").open("r+b") as sparse:
        sparse.seek(10 << 20)
        sparse.write(b"another island")
    (odd / "runnable").chmod(0o644)
    run("rm", "-rf", at / "lib" / "json", at=at)
    (at / "lib" / "email").rename(at / "lib" / "post")
    (at / "lib" / "post" / "new.py").write_text("pass\n")
    run("cp", "-a", at / "lib" / "logging", at / "lib" / "logging2", at=at)
    run("sed", "-i", "s/import/IMPORT/", at / "lib" / "logging" / "__init__.py", at=at)


def clear(at: Path) -> None:
    """Delete nearly all there is, and start something small."""
    run("make", "clean", at=at / "program")
    run("rm", "-rf", at / "lib", at / "clone", at / "odd" / "sparse", at=at)
    (at / "small").write_text("start\n")
