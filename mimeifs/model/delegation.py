"""Who may sign for whom: a user's key for itself, a device's key as far as a delegation lets it.

What this is not: the signature's own check; what comes in here was verified by ``records.decode``.

Always true: a right nobody gave is refused, and a number this program does not know gives no right it knows.
"""

from collections.abc import Iterable
from enum import IntEnum

from mimeifs.errors import ForbiddenError
from mimeifs.ids import KeyId, show_key
from mimeifs.model.records import Delegation, Signed


class Right(IntEnum):
    """What a user can let a device sign; the numbers are part of the record format."""

    VERSIONS = 1  # Version records of the user's MiMeis
    LABELS = 2  # Label records, the release included, and Ref records
    CREATE = 3  # Info records: new MiMeis in the user's name


def check_authority(signer: KeyId, author: KeyId, delegations: Iterable[Signed[Delegation]], right: Right, at_ns: int) -> None:
    """Return if ``signer`` may sign what needs ``right`` over the author's MiMeis, else raise ``ForbiddenError``.

    ``at_ns`` is the time the record itself gives. A delegation's beginning is not enforced: a device whose clock runs
    behind signs times before it, and no harm comes of that.
    """
    if signer == author:
        return
    granted = [signed.record for signed in delegations if (signed.record.user, signed.record.device) == (author, signer)]
    if any(right in one.rights and (one.not_after_ns is None or at_ns <= one.not_after_ns) for one in granted):
        return
    verb = "has run out or does not cover" if granted else "is missing for"
    raise ForbiddenError(
        f"device {show_key(signer)} may not sign for {show_key(author)}: the delegation {verb} {right.name.lower()};"
        " delegate to this device again with the user's key"
    )
