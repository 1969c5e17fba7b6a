"""A home directory: where a person's node keeps its keys, its store and its socket.

``keys/user.key`` (may be sealed with a passphrase; needed only to delegate), ``keys/device.key`` (never sealed:
automatic versions must not wait), ``store/`` (see :mod:`mimeifs.store.storage`), ``socket`` (where the running node
takes commands), ``mount`` (its mount point), ``drive`` (the address of its network drive).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from mimeifs.clock import Randomness
from mimeifs.errors import ForbiddenError, IntegrityError, InvalidError, NotFoundError
from mimeifs.model.identity import (
    KeyKind,
    SigningKey,
    check_key_file,
    encode_key_file,
    new_key,
    open_key_file,
    write_key_file,
)
from mimeifs.store.storage import Storage, check_owner

DEFAULT = "~/.local/share/mimei"


@dataclass(frozen=True, slots=True)
class Home:
    """Paths inside one home directory; ``store`` is the name of its store's directory, another one while it is being made."""

    root: Path
    store: str = "store"

    @property
    def storage(self) -> Storage:
        """The store."""
        return Storage(self.root / self.store)

    @property
    def user_key(self) -> Path:
        """The author's key."""
        return self.root / "keys" / "user.key"

    @property
    def device_key(self) -> Path:
        """This device's key."""
        return self.root / "keys" / "device.key"

    @property
    def socket(self) -> Path:
        """Where a running node listens."""
        return self.root / "socket"

    @property
    def mount_file(self) -> Path:
        """Says where the running node is mounted."""
        return self.root / "mount"

    @property
    def drive_file(self) -> Path:
        """Says where the running node's network drive is."""
        return self.root / "drive"

    @property
    def access_log(self) -> Path:
        """A line for each request to the network drive."""
        return self.root / "access.log"

    @property
    def accounts_file(self) -> Path:
        """App passwords."""
        return self.root / "keys" / "passwords"

    @property
    def certificate_file(self) -> Path:
        """The certificate that was made for the network drive, with its key."""
        return self.root / "keys" / "drive.pem"

    @property
    def exists(self) -> bool:
        """Whether a store was made here, and the key to work on it is there."""
        return self.begun and self.device_key.exists()

    @property
    def begun(self) -> bool:
        """Whether a store was made here; it may have lost its index."""
        return self.storage.index.exists() or self.storage.packs.exists()

    def check(self) -> None:
        """Raise unless this is a home of this user, which nobody else can change, with a store and its key in it, and no key
        that others have access to."""
        self.check_place()
        if not self.begun:
            raise NotFoundError(f"no store in {self.root}; `mimei init` makes one")
        if not self.device_key.exists():
            raise NotFoundError(
                f"the key file {self.device_key} is missing, without which the store in {self.root} cannot be used: put it back"
            )
        if not self.storage.packs.is_dir():
            raise IntegrityError(
                f"the store is damaged: {self.storage.packs} is missing; put it back, or restore the home from a backup"
            )
        for place in (self.storage.index, self.storage.journal):
            if not place.is_dir():
                raise IntegrityError(
                    f"the store is damaged: {place} is missing; put it back, or have `mimei rebuild` make a new one"
                )
        check_key_file(self.device_key)
        if self.user_key.exists():  # It may be kept elsewhere: daily work does not need it.
            check_key_file(self.user_key)

    def check_place(self) -> None:
        """Raise unless the directory is there, this user's, and nobody else can change it."""
        check_owner(self.root)
        if self.root.stat().st_mode & 0o022:
            raise ForbiddenError(f"others can write to the home {self.root}: run: chmod go-w {self.root}")

    def device(self) -> SigningKey:
        """The device's key."""
        return open_key_file(self.device_key, None)

    def user(self, passphrase: bytes | None) -> SigningKey:
        """The user's key; raises ``WrongPassphraseError``."""
        return open_key_file(self.user_key, passphrase)

    def make_keys(self, randomness: Randomness, passphrase: bytes | None) -> tuple[SigningKey, SigningKey]:
        """Make the user's and the device's key where they are missing, and return both."""
        self.user_key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.user_key.exists():
            write_key_file(self.user_key, encode_key_file(new_key(KeyKind.USER, randomness), passphrase, randomness))
        if not self.device_key.exists():
            write_key_file(self.device_key, encode_key_file(new_key(KeyKind.DEVICE, randomness), None, randomness))
        return self.user(passphrase), self.device()


def home_from(argument: str | None) -> Home:
    """The home named on the command line, else by ``MIMEI_HOME``, else the default; raises as :func:`typed_path`."""
    return Home(typed_path(argument or os.environ.get("MIMEI_HOME") or DEFAULT))


def typed_path(argument: str) -> Path:
    """A path as a person wrote it, made absolute; raises ``InvalidError``, ``NotFoundError``."""
    if not argument:
        raise InvalidError("an empty path; name a file or directory")
    try:
        return Path(argument).expanduser().absolute()
    except RuntimeError:
        raise InvalidError(f"no home directory is known for {argument!r}; write the path in full") from None
    except FileNotFoundError:
        raise NotFoundError("the directory you are in is gone: go to another, or write the path in full") from None
