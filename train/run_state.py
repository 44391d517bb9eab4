"""The state of an unfinished training on disk, and the best weights so far.

Two safetensors files in a folder of the run's own: no pickle, and each replaced in one step, so
that a training can be killed at any moment and go on from the last state.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from runtime.errors import CheckpointError, ConfigError

from .tensor_file import save_tensors

__all__ = ["RunState", "load_best", "restore_run", "save_best", "save_run"]

STATE_FILE: Final = "state.safetensors"
BEST_FILE: Final = "best.safetensors"
# What safetensors, json and torch raise on a file that is cut, changed or of another network.
_BROKEN: Final = (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError)


@dataclass(slots=True)
class RunState:
    """How far a training is, beside weights, moments and averages."""

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_step: int = -1
    best: tuple[float, float] = (-1.0, 0.0)
    """Exact and minus loss of the best validation."""
    loss_sum: float = 0.0
    """Training losses of the steps since the last validation."""
    loss_count: int = 0

    def add_step(self, loss: float, seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.seconds += seconds
        self.loss_sum += loss
        self.loss_count += 1

    def take_loss(self) -> float:
        """Return the mean loss since the last call."""
        mean = self.loss_sum / self.loss_count
        self.loss_sum, self.loss_count = 0.0, 0
        return mean

    def validations_since_best(self) -> int:
        """Return how many validations came after the best one."""
        return sum(row["step"] > self.best_step for row in self.history)


def save_run(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    state: RunState,
    fingerprint: str,
) -> None:
    """Write everything that the next step depends on.

    Args:
        folder: The run's folder.
        modules: Everything with a state dict, by name: the network, its average, the loss.
        optimiser: Moments.
        state: The rest.
        fingerprint: Of settings and data; only a run with the same one may go on from here.
    """
    tensors = {
        f"{kind}/{name}": value
        for kind, module in modules.items()
        for name, value in module.state_dict().items()
    }
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": value for name, value in slots.items()}
    record = {"fingerprint": fingerprint, "state": json.dumps(dataclasses.asdict(state))}
    _write(folder / STATE_FILE, tensors, record)


def restore_run(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    fingerprint: str,
) -> RunState:
    """Fill modules and optimiser from ``folder``; a fresh state where there is none.

    Raises:
        ConfigError: it holds a run with another fingerprint.
        CheckpointError: it cannot be read.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return RunState()
    try:
        with safe_open(path, "pt") as stored:
            metadata = stored.metadata()
        if metadata["fingerprint"] != fingerprint:
            raise ConfigError(
                f"{folder} holds an unfinished run of other settings or data; delete the folder "
                "to start anew, or choose another --output"
            )
        tensors = load_file(path)
        for kind, module in modules.items():
            module.load_state_dict(_below(tensors, kind))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimiser").items():
            index, _, slot = name.partition("/")
            slots.setdefault(int(index), {})[slot] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
        _lay_out_like_parameters(optimiser)
        saved = json.loads(metadata["state"])
        return RunState(**{**saved, "best": tuple(saved["best"])})
    except _BROKEN as error:
        raise CheckpointError(f"{path} cannot be read: {error}; delete {folder}") from error


def _lay_out_like_parameters(optimiser: torch.optim.Optimizer) -> None:
    """Give moments the memory order of their weights, which a file does not keep.

    torch's fused optimisers go through both in memory order and would mix up the channels.
    """
    for parameter, slots in optimiser.state.items():
        for name, value in slots.items():
            if value.shape == parameter.shape:
                slots[name] = torch.empty_like(parameter).copy_(value)


def _below(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    start = f"{kind}/"
    return {n.removeprefix(start): value for n, value in tensors.items() if n.startswith(start)}


def save_best(folder: Path, network: nn.Module) -> None:
    """Keep the weights of now as the best."""
    _write(folder / BEST_FILE, network.state_dict(), {})


def load_best(folder: Path, network: nn.Module) -> None:
    """Fill ``network`` with the best weights.

    Raises:
        CheckpointError: they cannot be read.
    """
    path = folder / BEST_FILE
    try:
        network.load_state_dict(load_file(path))
    except _BROKEN as error:
        raise CheckpointError(f"{path} cannot be read: {error}; delete {folder}") from error


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Replace ``path`` in one step."""
    temporary = path.with_name(f".{path.name}.partial")
    save_tensors(tensors, temporary, metadata)
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)
