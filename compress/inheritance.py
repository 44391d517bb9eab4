"""What a later step takes over from the training of the checkpoint that it starts from.

A network of photos that was trained with flips and CutMix has to be trained on with them; the
defaults of a command know nothing of that, but the checkpoint's lineage does.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

from benchmarks.command import say
from runtime.errors import CheckpointError, ConfigError
from train.augment import AugmentConfig
from train.checkpoint import Checkpoint, load_checkpoint
from train.losses import LossConfig
from train.mixing import MixingConfig
from train.recorded import from_plain
from train.sampling import SamplingConfig

__all__ = ["trained_as_before", "training_of"]


class StartsFromCheckpoint(Protocol):
    """A config dataclass that names the checkpoint to go on from."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def checkpoint(self) -> Path:
        """Its folder."""


ConfigT = TypeVar("ConfigT", bound=StartsFromCheckpoint)
_PARTS: Final[Mapping[str, type]] = {
    "sampling": SamplingConfig,
    "augment": AugmentConfig,
    "mixing": MixingConfig,
    "loss": LossConfig,
}


def training_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return sampling, augmentation, mixing and loss of the last training.

    Fields of ``LoopConfig`` by name, of the lineage's last ``fit`` or ``distill``. What it does not
    hold, or holds in the words of another version, is left out.
    """
    loops = [_loop(entry) for entry in checkpoint.lineage.values()]
    loop = next((loop for loop in reversed(loops) if loop is not None), None)
    if loop is None:
        return {}
    found = dict[str, Any]()
    for name, kind in _PARTS.items():
        with suppress(CheckpointError, ConfigError):
            found[name] = from_plain(kind, loop.get(name), name)
    foreign = [name for name in _PARTS if name not in found]
    if foreign:
        say(
            f"{checkpoint.folder}: its lineage says in another version's words how it was trained; "
            f"the defaults count for {', '.join(foreign)}"
        )
    return found


def trained_as_before(config: ConfigT, below: str = "") -> ConfigT:
    """Return ``config`` with the augmentation, mixing, sampling and loss of its ``checkpoint``.

    Args:
        config: What a command line says.
        below: The option below which those of the training stand, where they are not at the top.
    """
    trained = training_of(load_checkpoint(config.checkpoint))
    if below:
        trained = {below: replace(getattr(config, below), **trained)}
    return replace(config, **trained)


def _loop(entry: object) -> Mapping[str, Any] | None:
    """Return the loop that a step's record holds: steps that have one are trainings."""
    for key in ("config", "loop"):
        entry = entry.get(key) if isinstance(entry, Mapping) else None
    return entry if isinstance(entry, Mapping) else None
