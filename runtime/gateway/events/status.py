"""How one sink is doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["SinkStatus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """Counts since the start of the gateway."""

    name: str
    waiting: int
    """Events that it has not taken."""
    delivered: int
    dropped: int
    """Oldest events that went before it had taken them, because too many waited."""
    rejected: int
    """Events that it refused for good."""
    failing_since: datetime | None = None
    """When it stopped taking events, UTC; None while all is well."""
    last_error: str | None = None
    """Why it last failed; without credentials. It stays after the sink has recovered."""
