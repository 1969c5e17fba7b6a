"""A program that writes to a mount and notes, outside of it, what fsync has promised; run as a subprocess.

``python promising.py DIRECTORY NOTES FIRST``: each round makes a file by way of a temporary one, appends a line, removes
an old file and sometimes takes a version, with an fsync after each, and only then notes it. It ends when the mount fails.
:func:`kept` says what is missing of what was promised. Nothing here knows of mimeifs but ``.mimei``.
"""

import os
import sys
from pathlib import Path

KEEP = 5
VERSION_EVERY = 8
WORDS = ("file", "line", "going", "gone", "version")


def content(number: int) -> bytes:
    """What file ``number`` holds; every seventh is large."""
    return b"%d\n" % number * (40_000 if number % 7 == 0 else 50)


def line(number: int) -> bytes:
    """Line ``number`` of the log, all of one length."""
    return b"%08d\n" % number


def _synced(path: Path, flags: int, data: bytes) -> None:
    fd = os.open(path, flags, 0o644)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write(directory: Path, notes: Path, first: int) -> None:
    """Go on until an ``OSError``."""
    with notes.open("a", buffering=1) as promised:
        number = first
        while True:
            temporary = directory / "temporary"
            _synced(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, content(number))
            temporary.rename(directory / f"f{number}")
            _sync_directory(directory)
            promised.write(f"file {number}\n")
            _synced(directory / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, line(number))
            promised.write(f"line {number}\n")
            if number - first >= KEEP:
                promised.write(f"going {number - KEEP}\n")
                (directory / f"f{number - KEEP}").unlink()
                _sync_directory(directory)
                promised.write(f"gone {number - KEEP}\n")
            if number % VERSION_EVERY == 0:
                (directory / ".mimei" / f"@v{number}").mkdir()
                promised.write(f"version {number}\n")
            number += 1


def kept(directory: Path, notes: Path) -> list[str]:
    """What was promised and is not so, in words."""
    wanted = [words.split() for words in notes.read_text().splitlines()]
    numbers = {word: [int(number) for what, number in wanted if what == word] for word in WORDS}
    wrong = []
    present = set(os.listdir(directory))
    for number in set(numbers["file"]) - set(numbers["going"]):
        if f"f{number}" not in present or (directory / f"f{number}").read_bytes() != content(number):
            wrong.append(f"file {number}")
    wrong += [f"gone {number}" for number in numbers["gone"] if f"f{number}" in present]
    log = (directory / "log").read_bytes()
    wrong += [f"line {number}" for number in numbers["line"] if line(number) not in log]
    for number in numbers["version"]:
        version = directory / ".mimei" / f"@v{number}"
        if (version / f"f{number}").read_bytes() != content(number) or line(number) not in (version / "log").read_bytes():
            wrong.append(f"version {number}")
    return wrong


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    except OSError as error:
        print(error)
