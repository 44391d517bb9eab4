"""Slim as another library would: ``python -m compress.peers CHECKPOINT --pruner NAME ...``.

Everything around the choice of channels is as in ``compress.slim``, whose options it takes: the
sparsity training before, statistics measured anew, the training after. So what differs between two
results is the choice alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.command import run_command
from compress.inheritance import trained_as_before
from compress.slim.cli import slim
from compress.slim.config import SlimConfig
from compress.slim.pruning import PruningGoal
from runtime.errors import ConfigError
from train.checkpoint import Checkpoint
from train.network import Network

from .dependency_graph import cut_by

__all__ = ["PeerConfig", "main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig(SlimConfig):
    """Remove the channels that torch-pruning would, and train the network on."""

    pruner: Literal["bn-scale", "magnitude", "group-norm", "random"] = "group-norm"
    """``bn-scale``: by BatchNorm scales; ``magnitude``: by the L2 norm of a layer's filters;
    ``group-norm``: over all layers of a group, as in the DepGraph paper; ``random``."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one super() looks for.
        SlimConfig.__post_init__(self)
        if self.for_latency:
            raise ConfigError("torch-pruning cannot aim at a latency; give --target-macs")
        if self.score != "auto":
            raise ConfigError(
                f"--score {self.score} is a rule of compress.slim, here --pruner ranks channels; "
                "leave --score out"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        argv, PeerConfig, _work, prog="python -m compress.peers", defaults=trained_as_before
    )


def _work(config: PeerConfig) -> int:
    def cut(network: Network, source: Checkpoint, goal: PruningGoal) -> Network:
        return cut_by(config.pruner, network, source, goal)

    checkpoint = slim(config, cut)
    print(checkpoint.metrics["slim"]["verdict"])
    print(f"wrote {config.output}")
    return 0
