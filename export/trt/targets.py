"""Which rules of ``train.readiness`` hold for a version of TensorRT; imports nothing of train."""

from __future__ import annotations

from typing import Final

__all__ = ["is_older", "target_of"]

_KNOWN: Final[tuple[str, ...]] = ("11.4", "10.16", "10.13", "10.3", "8.6")


def target_of(version: str) -> str | None:
    """Return the newest rules that a TensorRT of ``version`` keeps; None where all are newer."""
    return next((target for target in _KNOWN if not is_older(version, target)), None)


def is_older(version: str, target: str) -> bool:
    """Whether a TensorRT is older than what ``target`` says, both as in ``10.3.0.26``."""
    here, wanted = ([int(part) for part in text.split(".")[:2]] for text in (version, target))
    return here < wanted
