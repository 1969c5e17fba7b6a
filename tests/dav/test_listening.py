"""Where the drive listens, what that asks for, and the certificate it makes."""

import ssl
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimeifs.clock import SystemRandomness
from mimeifs.dav import certificates
from mimeifs.dav.access import Gate
from mimeifs.dav.accounts import Accounts
from mimeifs.dav.http import Adapter, Server
from mimeifs.dav.listening import DriveOptions, parse_address
from mimeifs.dav.origins import Origins
from mimeifs.dav.surface import Site, Surface
from mimeifs.errors import ForbiddenError, IntegrityError, InvalidError, NotFoundError
from tests.dav.memory_tree import MemoryTree
from tests.dav.serving import PATIENCE, Client


@pytest.mark.parametrize(
    ("text", "found"),
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:0", ("::1", 0)), ("nas.local:65535", ("nas.local", 65535))],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert parse_address(text) == found


@pytest.mark.parametrize("text", ["", "4880", ":4880", "host:", "host:x", "host:65536", "::1:80", "host:-1"])
def test_addresses_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_address(text)


@pytest.mark.parametrize(
    ("options", "login", "tls"),
    [
        (DriveOptions(), False, False),
        (DriveOptions("::1"), False, False),
        (DriveOptions("localhost"), False, False),
        (DriveOptions(login=True), True, False),
        (DriveOptions(anonymous=True), True, False),
        (DriveOptions(public=frozenset({"drive.example"})), True, False),
        (DriveOptions("0.0.0.0"), True, True),
        (DriveOptions("192.0.2.1"), True, True),
        (DriveOptions("nas.local"), True, True),
        (DriveOptions("::"), True, True),
    ],
)
def test_who_is_asked_for_a_name(options: DriveOptions, login: bool, tls: bool) -> None:
    assert (options.asks_for_login, options.secure) == (login, tls)


def test_nobody_is_let_in_where_nobody_could_say_a_name(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "passwords")
    DriveOptions().check(accounts)
    with pytest.raises(ForbiddenError, match="mimei password add"):
        DriveOptions("0.0.0.0").check(accounts)
    with pytest.raises(ForbiddenError, match=r"^--dav-login asks for a login"):
        DriveOptions(login=True).check(accounts)
    with pytest.raises(ForbiddenError, match=r"^--dav-public, by which others come"):
        DriveOptions(public=frozenset(("nas",))).check(accounts)
    accounts.add("ada", "", SystemRandomness(), 0, read_only=False)
    DriveOptions("0.0.0.0").check(accounts)
    DriveOptions(login=True).check(accounts)


def test_passwords_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    accounts = Accounts(path)
    _, password = accounts.add("ada", "phone", SystemRandomness(), 0, read_only=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert password.encode() not in path.read_bytes()
    path.chmod(0o644)
    with pytest.raises(ForbiddenError):
        accounts.all()
    path.chmod(0o600)
    path.write_bytes(b"{")
    with pytest.raises(IntegrityError):
        accounts.all()


def test_a_certificate_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "drive.pem"
    certificates.made(path, "0.0.0.0")
    first = certificates.fingerprint(path)
    assert certificates.fingerprint(certificates.made(path, "0.0.0.0")) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert certificates.given(path) == path
    with pytest.raises(NotFoundError):
        certificates.given(tmp_path / "none")
    (tmp_path / "half").write_text("-----BEGIN CERTIFICATE-----")
    with pytest.raises(InvalidError):
        certificates.given(tmp_path / "half")


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Server, ssl.SSLContext]]:
    """A server that speaks TLS, and what trusts it."""
    path = certificates.made(tmp_path / "drive.pem", "127.0.0.1")
    server = Server(("127.0.0.1", 0), Surface(Site(MemoryTree(), Gate(None), Origins())), threads=2)
    server.ssl_adapter = Adapter(str(path), str(path))
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server, ssl.create_default_context(cafile=str(path))
    finally:
        server.stop()
        thread.join(PATIENCE)


def greeted(server: Server, trusting: ssl.SSLContext) -> Client:
    client = Client(server.bind_addr)
    client.socket = trusting.wrap_socket(client.socket, server_hostname="localhost")
    client._file = client.socket.makefile("rb")
    return client


def test_a_handshake_that_stalls_holds_nobody(secure: tuple[Server, ssl.SSLContext]) -> None:
    stalled = [Client(secure[0].bind_addr) for _ in range(5)]
    for client in stalled:
        client.send(b"\x16\x03")
    with greeted(*secure) as client:
        assert client.ask("PUT", "/webdav/x", body=b"1").status == 201
        assert client.ask("GET", "/webdav/x").body == b"1"
    for one in stalled:
        one.close()


def test_much_goes_over_tls(secure: tuple[Server, ssl.SSLContext]) -> None:
    data = bytes(range(256)) * (1 << 14)
    with greeted(*secure) as client:
        assert client.ask("PUT", "/webdav/x", body=data).status == 201
        assert client.ask("GET", "/webdav/x").body == data


def test_plain_http_where_tls_is_spoken_is_told_so(secure: tuple[Server, ssl.SSLContext]) -> None:
    with Client(secure[0].bind_addr) as client:
        reply = client.ask("GET", "/webdav/")
        assert reply.status == 400
        assert b"https://" in reply.body
        assert client.ended()
