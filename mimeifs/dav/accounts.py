"""App passwords: a file of who may use the drive, one line for each device, and what is kept of its password.

Always true: a password is drawn here, shown once and kept only as its Argon2id; the file is its owner's alone and is
replaced whole. A password begins with the name of its line, so that checking one costs one guess.
"""

import base64
import os
from pathlib import Path

import msgspec

from mimeifs.clock import Randomness
from mimeifs.errors import ExistsError, ForbiddenError, IntegrityError, InvalidError, NotFoundError, UnknownFormatError
from mimeifs.model.identity import SealCost, password_fits, password_hash
from mimeifs.store import disk

FORMAT = 1
"""The number of the file's format: ``docs/format/passwords.md``."""

COST = SealCost(passes=2, memory_kib=19 << 10)
"""What OWASP asks for at least; passwords drawn here have a hundred bits, so that none is guessed at any cost."""

_GROUPS = 5


class Account(msgspec.Struct, frozen=True):
    """One app password."""

    name: str
    """Begins the password, and names it where it is taken away."""
    user: str
    label: str
    kept: str
    made_ns: int
    read_only: bool = False


class _Head(msgspec.Struct, frozen=True):
    format: int


class _File(msgspec.Struct, frozen=True):
    format: int
    accounts: tuple[Account, ...]


class Accounts:
    """The file, and who is in it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def stamp(self) -> tuple[int, int]:
        """Changes with the file."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

    def all(self) -> tuple[Account, ...]:
        """Everybody; raises ``ForbiddenError`` where others have access to the file, ``IntegrityError``,
        ``UnknownFormatError``."""
        try:
            with open(self._path, "rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise ForbiddenError(f"others have access to the passwords in {self._path}: run: chmod 600 {self._path}")
                data = file.read()
            number = msgspec.json.decode(data, type=_Head).format
            if number != FORMAT:
                raise UnknownFormatError(f"{self._path} has format {number}, this program knows {FORMAT}")
            return msgspec.json.decode(data, type=_File).accounts
        except FileNotFoundError:
            return ()
        except msgspec.DecodeError as error:
            raise IntegrityError(f"{self._path} is damaged: {error}; remove it and make new passwords") from error

    def add(self, user: str, label: str, randomness: Randomness, now_ns: int, *, read_only: bool) -> tuple[Account, str]:
        """Draw a password for a user's device; the account, and the password, which nobody can show again."""
        if not user or any(sign in user for sign in ":/\\\"'") or not user.isprintable() or len(user) > 64:
            raise InvalidError("a user's name has 1 to 64 printable signs, without : / \\ and quotes")
        if not label.isprintable() or len(label) > 100:
            raise InvalidError("a label is one line of at most 100 signs")
        everybody = self.all()
        drawn = base64.b32encode(randomness.draw(20)).decode().lower()
        groups = [drawn[at : at + 5] for at in range(0, 5 * (_GROUPS + 1), 5)]
        if any(one.name == groups[0] for one in everybody):
            raise ExistsError("that name was drawn before; try again")
        password = "-".join(groups)
        kept = password_hash(password.encode(), randomness, COST)
        account = Account(groups[0], user, label, kept, now_ns, read_only)
        self._write((*everybody, account))
        return account, password

    def remove(self, name: str) -> Account:
        """Take a password away; raises ``NotFoundError``."""
        everybody = self.all()
        for account in everybody:
            if account.name == name:
                self._write(tuple(one for one in everybody if one is not account))
                return account
        raise NotFoundError(f"there is no app password {name}; `mimei password ls` lists them")

    def check(self, password: str, user: str | None) -> Account | None:
        """Whose password it is, None when it is nobody's or, where ``user`` is given, another's."""
        name = password.partition("-")[0]
        for account in self.all():
            if account.name == name and (user is None or account.user == user):
                return account if password_fits(password.encode(), account.kept) else None
        return None

    def _write(self, everybody: tuple[Account, ...]) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(FORMAT, everybody)), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self._path)
        disk.sync_directory(self._path.parent)
