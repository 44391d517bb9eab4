"""The threads that torch computes with."""

from __future__ import annotations

import torch

from runtime.errors import ConfigError

__all__ = ["use_threads"]


def use_threads(count: int) -> None:
    """Let torch compute with ``count`` threads; with one per core, as it starts with, where 0.

    Raises:
        ConfigError: a negative number.
    """
    if count < 0:
        raise ConfigError(f"--threads must be 0, for one per core, or more, got {count}")
    if count:
        torch.set_num_threads(count)
