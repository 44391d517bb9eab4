"""The processor cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["own_cores"]


def own_cores() -> Sequence[int]:
    """Return the numbers of the cores that this process may run on, ascending; one at least.

    ``taskset``, containers and schedulers give a process fewer than ``os.cpu_count()`` tells.
    """
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)
