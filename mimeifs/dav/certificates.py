"""A certificate for TLS: the one that is given, or one made on demand, signed by itself.

What is made is kept with its key in one file, the owner's alone, and made anew when it is about to end. A client that meets it
asks its person once whether to trust it; the fingerprint in the log says which one is right.
"""

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mimeifs.errors import ForbiddenError, InvalidError, NotFoundError

DAYS = 825
"""The longest that Apple's programs trust a certificate."""
_RENEW_DAYS = 30


def given(path: Path) -> Path:
    """The file, if it holds a certificate and its key; raises ``NotFoundError``, ``ForbiddenError``, ``InvalidError``."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"there is no certificate {path}") from None
    except OSError as error:
        raise ForbiddenError(f"the certificate {path} cannot be read: {error.strerror}") from None
    if b"-----BEGIN CERTIFICATE-----" not in data or b"PRIVATE KEY-----" not in data:
        raise InvalidError(f"{path} must hold both the certificate and its private key, as PEM: put one behind the other")
    return path


def made(path: Path, host: str) -> Path:
    """The certificate made for this home, a new one where there is none that will do."""
    if _still_good(path):
        return path
    key = ec.generate_private_key(ec.SECP256R1())
    name = socket.gethostname()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mimeifs on {name}"[:64])])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(_names(name, host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    _write(path, certificate, key)
    return path


def fingerprint(path: Path) -> str:
    """The SHA-256 of the first certificate in a file, as browsers show it."""
    found = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return found.fingerprint(hashes.SHA256()).hex(":").upper()


def _still_good(path: Path) -> bool:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (FileNotFoundError, ValueError, IndexError):
        return False
    return found.not_valid_after_utc > datetime.now(UTC) + timedelta(days=_RENEW_DAYS)


def _names(machine: str, host: str) -> list[x509.GeneralName]:
    texts = dict.fromkeys((machine, f"{machine}.local", "localhost", "127.0.0.1", "::1", host.strip("[]")))
    found: list[x509.GeneralName] = []
    for one in texts:
        try:
            address = ipaddress.ip_address(one)
        except ValueError:
            found.append(x509.DNSName(one))
        else:
            if not address.is_unspecified:
                found.append(x509.IPAddress(address))
    return found


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM) + private)
    os.rename(temporary, path)
