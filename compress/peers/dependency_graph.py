"""Networks made smaller by torch-pruning's own pruners.

Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import nn

from benchmarks.command import require_packages
from compress.slim.pruning import PruningGoal, smaller_network
from compress.slim.selection import Limits
from runtime.errors import ConfigError
from train.checkpoint import Checkpoint
from train.cost import CostModel
from train.network import Network, channel_plan

__all__ = ["PRUNERS", "cut_by"]

PRUNERS: Final = ("bn-scale", "magnitude", "group-norm", "random")
_STEPS: Final = 200


def cut_by(pruner: str, network: Network, source: Checkpoint, goal: PruningGoal) -> Network:
    """Return a smaller network, as ``pruner`` chooses, that reaches ``goal``.

    torch-pruning's own way to a cost (``progressive_pruning`` of its benchmarks): it removes
    channels in many small steps until enough of the cost is gone.

    Args:
        pruner: ``bn-scale``: BatchNorm scales, as network slimming; ``magnitude``: the L2 norm of a
            layer's filters; ``group-norm``: the L2 norm over all layers of a group, the paper's;
            ``random``.
        network: ``source``'s, or what earlier rounds have left of it; keeps its channels.
        source: Where its schema, input and config stand.
        goal: Its share is of what ``source`` costs, in parameters or MACs; its ``max_ratio`` counts
            from ``network``; its score is not looked at.

    Raises:
        ConfigError: an unknown pruner or cost, a share that the pruner does not reach, or layers
            that torch-pruning does not follow.
        MissingExtraError: torch-pruning is not installed.
    """
    of, limits = goal.of, goal.limits
    if pruner not in PRUNERS or of not in ("parameters", "macs"):
        raise ConfigError(
            f"pruner {pruner!r} of {of} is unknown; use one of {PRUNERS}, of parameters or macs"
        )
    model = CostModel.of(network, source.input)
    cost = model.macs if of == "macs" else model.parameters
    whole = cost(channel_plan(source.build()))
    cut = copy.deepcopy(network.eval())
    removed = 0.0
    for _ in _steps(pruner, cut, source, goal):
        removed = 1 - cost(channel_plan(cut)) / whole
        if removed >= goal.share:
            return _rebuilt(source, cut)
    raise ConfigError(
        f"pruner {pruner!r} removes {removed:.3f} of the {of} with --max-ratio "
        f"{limits.max_ratio} and --min-channels {limits.min_channels}, asked for {goal.share:.3f}; "
        "lower the target or loosen these limits"
    )


def _rebuilt(source: Checkpoint, cut: Network) -> Network:
    try:
        return smaller_network(source, cut)
    except (ConfigError, RuntimeError) as error:
        raise ConfigError(
            f"torch-pruning cut {source.folder} into what is no network of its kind any more: "
            f"{error}; use compress.slim, or another --network.pool"
        ) from error


def _steps(pruner: str, cut: Network, source: Checkpoint, goal: PruningGoal) -> Iterator[None]:
    """Prune ``cut`` in place, a little before every item."""
    require_packages("peers", "torch_pruning")
    import torch_pruning

    for parameter in cut.parameters():
        parameter.requires_grad_(True)  # its graph is traced through autograd
    with warnings.catch_warnings():
        # It says how it takes parameters outside layers; what comes of it is checked.
        warnings.filterwarnings("ignore", "Unwrapped parameters", UserWarning)
        work = torch_pruning.pruner.BasePruner(
            cut,
            torch.zeros((1, *source.input.shape), dtype=torch.uint8),
            importance=_importance(torch_pruning.pruner.importance, pruner),
            global_pruning=not goal.local,
            pruning_ratio=1.0,
            max_pruning_ratio=goal.limits.max_ratio,
            iterative_steps=_STEPS,
            round_to=goal.limits.round_to,
            ignored_layers=_answers(cut),
            output_transform=lambda answers: list(answers.values()),
        )
    for _ in range(_STEPS):
        try:
            _step(work, goal.limits)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ConfigError(
                f"torch-pruning does not follow the layers of {source.folder}: {error}; use "
                "compress.slim"
            ) from error
        yield


def _step(work: Any, limits: Limits) -> None:
    """Prune a little; what would leave too few channels stays, as torch-pruning has no such limit.

    Args:
        work: A ``BasePruner``.
        limits: Whose ``min_channels`` count.
    """
    for group in work.step(interactive=True):
        now = work.DG.get_out_channels(group[0].dep.target.module)
        if now - len(group[0].idxs) >= limits.min_channels:
            group.prune()


def _importance(kinds: Any, pruner: str) -> Any:
    if pruner == "bn-scale":
        return kinds.BNScaleImportance()
    if pruner == "magnitude":
        return kinds.MagnitudeImportance(p=2, group_reduction="first")
    if pruner == "group-norm":
        return kinds.GroupMagnitudeImportance(p=2)
    return kinds.RandomImportance()


def _answers(network: Network) -> list[nn.Module]:
    """Return the layers whose outputs are answers, or are shared by all positions."""
    return [layer for layer in network.heads.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
