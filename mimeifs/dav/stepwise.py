"""Clients that save a document in several requests, so that versions leave its name as it was in the middle of them.

By their names, because nothing else tells them from a program that means each request by itself; see ``model/saving``. Pure.
"""

from mimeifs.dav.exchange import Exchange

CLIENTS = ("Microsoft-WebDAV-MiniRedir/", "Microsoft Office", "WebDAVFS/", "WebDAVLib/")
"""How the names begin of those of Windows, Office and macOS."""
EMPTY_S = 10
"""How long bytes are awaited after an upload without any."""
GONE_S = 2
"""How long a document may be away before another takes its name."""


def is_stepwise(exchange: Exchange) -> bool:
    """Whether a request may be one step of several."""
    return (exchange.header("user-agent") or "").startswith(CLIENTS)
