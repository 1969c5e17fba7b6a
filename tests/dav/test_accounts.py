"""The file of app passwords, against its page and against hostile bytes."""

import json
import re
from pathlib import Path

import pytest
from nacl.pwhash import argon2id

from mimeifs.clock import SystemRandomness
from mimeifs.dav.accounts import COST, Account, Accounts
from mimeifs.errors import ForbiddenError, IntegrityError, UnknownFormatError

PAGE = (Path(__file__).parents[2] / "docs" / "format" / "passwords.md").read_text()
PASSWORD = "aaaaa-bbbbb-ccccc-ddddd-eeeee-fffff"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the page's worked example."""
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found
    file = tmp_path / "passwords"
    file.touch(mode=0o600)
    file.write_text(found[1])
    return file


def test_the_worked_example_of_the_format_page_opens(path: Path) -> None:
    account = Accounts(path).check(PASSWORD, "ada")
    assert isinstance(account, Account)
    assert (account.name, account.label, account.made_ns, account.read_only) == ("aaaaa", "phone", 1795424098838604663, False)
    assert Accounts(path).check(PASSWORD, "eve") is None
    assert Accounts(path).check(PASSWORD[:-1] + "g", "ada") is None


def test_the_file_is_written_as_the_page_says(path: Path) -> None:
    before = path.read_text()
    _, password = Accounts(path).add("eve", "", SystemRandomness(), 7, read_only=True)
    document = json.loads(path.read_text())
    kind, passes, memory_kib, salt, digest = document["accounts"][1].pop("kept").split("$")
    drawn = argon2id.kdf(32, password.encode(), bytes.fromhex(salt), opslimit=int(passes), memlimit=int(memory_kib) << 10)
    assert (kind, int(passes), int(memory_kib), digest) == ("argon2id", COST.passes, COST.memory_kib, drawn.hex())
    assert document["accounts"][1] == {"name": password[:5], "user": "eve", "label": "", "made_ns": 7, "read_only": True}
    Accounts(path).remove(password[:5])
    assert path.read_text() == before


def test_a_later_format_is_refused_by_its_number_and_left_alone(path: Path) -> None:
    later = '{"format": 2, "accounts": {"ada": "something else"}}'
    path.write_text(later)
    with pytest.raises(UnknownFormatError, match="has format 2, this program knows 1"):
        Accounts(path).add("eve", "", SystemRandomness(), 7, read_only=False)
    assert path.read_text() == later


@pytest.mark.parametrize("data", ["", "{}", "[]", '{"format": "1", "accounts": []}', '{"format": 1, "accounts": [{}]}', "\xff"])
def test_what_is_no_such_file_is_damage(path: Path, data: str) -> None:
    path.write_bytes(data.encode("latin-1"))
    with pytest.raises(IntegrityError, match="remove it and make new passwords"):
        Accounts(path).all()


@pytest.mark.parametrize("kept", ["", "argon2id$2$19456$00$00", "argon2id$99$19456$" + "00" * 16 + "$00", "plain$2$19456$$"])
def test_what_is_no_kept_password_is_damage(path: Path, kept: str) -> None:
    document = json.loads(path.read_text())
    document["accounts"][0]["kept"] = kept
    path.write_text(json.dumps(document))
    with pytest.raises(IntegrityError):
        Accounts(path).check(PASSWORD, "ada")


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    path.chmod(0o640)
    with pytest.raises(ForbiddenError, match="chmod 600"):
        Accounts(path).all()
