"""What handlers work on: the model's services, and on whose behalf.

Always true: the same services answer a command over the socket and one that opened the store itself.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from mimeifs.api.sessions import Sessions
from mimeifs.model.live import Live
from mimeifs.model.mimeis import Mimeis
from mimeifs.model.node import Who
from mimeifs.model.references import References
from mimeifs.model.resources import Resources
from mimeifs.model.syncing import Syncing
from mimeifs.model.transplant import Transplant
from mimeifs.model.versions import Versions
from mimeifs.model.views import Views


class Model(Protocol):
    """What an engine has."""

    @property
    def live(self) -> Live:
        """The present."""
        ...

    @property
    def mimeis(self) -> Mimeis:
        """The MiMeis."""
        ...

    @property
    def versions(self) -> Versions:
        """Their versions."""
        ...

    @property
    def views(self) -> Views:
        """The tree that people see."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """The model, as one caller may use it."""

    live: Live
    mimeis: Mimeis
    versions: Versions
    views: Views
    references: References
    transplant: Transplant
    resources: Resources
    syncing: Syncing
    sessions: Sessions
    begun: list[int]
    """The sessions that this caller began."""
    who: Who

    def by(self, who: Who) -> "Services":
        """The same for another caller."""
        return replace(self, who=who, begun=[])

    def leave(self) -> None:
        """The caller is gone."""
        for session in self.begun:
            self.sessions.end(session)


def services_of(model: Model, who: Who) -> Services:
    """The services of an engine."""
    live, mimeis, versions = model.live, model.mimeis, model.versions
    references = References(live, mimeis, versions)
    transplant, resources = Transplant(live, mimeis, versions), Resources(mimeis, model.views)
    syncing = Syncing(live, resources)
    return Services(live, mimeis, versions, model.views, references, transplant, resources, syncing, Sessions(), [], who)
