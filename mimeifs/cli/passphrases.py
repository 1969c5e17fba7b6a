"""Where passphrases come from: a file, the environment, or a person at a terminal; never the command line itself, which
every user of the machine can read."""

import getpass
import os
import sys

from mimeifs.errors import InvalidError, WrongPassphraseError
from mimeifs.home import typed_path

VARIABLE = "MIMEI_PASSPHRASE"
NEW_VARIABLE = "MIMEI_NEW_PASSPHRASE"


def given(file: str | None, variable: str = VARIABLE) -> bytes | None:
    """The passphrase from a file (its first line) or the environment, None when neither is there."""
    if file is not None:
        lines = typed_path(file).read_bytes().splitlines()
        if not lines or not lines[0]:
            raise InvalidError(f"there is no passphrase in the first line of {file}")
        return lines[0]
    text = os.environ.get(variable)
    return os.fsencode(text) if text else None


def asked(prompt: str) -> bytes:
    """A passphrase typed by a person; raises ``WrongPassphraseError`` where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise WrongPassphraseError(
            f"a passphrase is needed and there is no terminal to ask on: use --passphrase-file or {VARIABLE}"
        )
    return getpass.getpass(prompt).encode()


def asked_twice(prompt: str) -> bytes:
    """A new passphrase typed twice."""
    first = asked(prompt)
    if asked("Again: ") != first:
        raise InvalidError("the two passphrases differ; nothing was changed")
    return first
