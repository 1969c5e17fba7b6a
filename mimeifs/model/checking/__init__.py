"""The checker: reads everything a store holds and says what does not fit; it changes nothing.

:func:`check` yields findings, none for a sound store; :func:`holders` says which versions need a blob. Both read one
moment of the database, which must not be renewed meanwhile, and a blob source that waits for its disk. Damage is a
finding, never an exception: one bad blob does not keep the rest from being looked at.
"""

from mimeifs.model.checking.findings import Depth, Fault, Finding, Progress, Report, Where, silent
from mimeifs.model.checking.holders import Holder, holders
from mimeifs.model.checking.running import check

__all__ = ["Depth", "Fault", "Finding", "Holder", "Progress", "Report", "Where", "check", "holders", "silent"]
