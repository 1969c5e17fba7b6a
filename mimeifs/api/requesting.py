"""What every request over the node's socket is."""

from typing import Generic, TypeVar

import msgspec

R = TypeVar("R")


class Request(msgspec.Struct, Generic[R], frozen=True, forbid_unknown_fields=True):
    """A request whose reply is an ``R``."""
