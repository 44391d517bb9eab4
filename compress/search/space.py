"""What is searched: slimming target x backbone width x precision x engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from runtime.errors import ConfigError
from train.backbones.sizes import Size
from train.network import NetworkConfig

__all__ = ["PRECISIONS", "Candidate", "NetworkChoice", "candidates", "narrowed"]

PRECISIONS: Final = ("int8", "fp32")
"""What ``compress`` can decide and every exporter writes."""
_ROUND_TO: Final = 8
_WIDTHS: Final = ("width", "widths", "last_width", "groups")


@dataclass(frozen=True, slots=True, order=True)
class NetworkChoice:
    """What has to be trained: one training serves all its precisions and engines."""

    width: float
    """Share of the backbone's widths, in (0, 1]; below 1 a fresh student is distilled."""
    target: float
    """Share of that network's parameters to slim away, in [0, 1); 0 slims nothing."""

    @property
    def name(self) -> str:
        """A folder's name."""
        return f"w{self.width:g}-t{self.target:g}"

    @property
    def student(self) -> NetworkChoice:
        """The network that is slimmed to become this one."""
        return replace(self, target=0.0)


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """One artifact that could be made."""

    network: NetworkChoice
    precision: str
    engine: str

    @property
    def name(self) -> str:
        """Unique among all candidates."""
        return f"{self.network.name}-{self.variant}"

    @property
    def variant(self) -> str:
        """Unique among the candidates of one network."""
        return f"{self.precision}-{self.engine}"

    def params(self) -> dict[str, float | str]:
        """Return the coordinates by name."""
        return {
            "width": self.network.width,
            "target": self.network.target,
            "precision": self.precision,
            "engine": self.engine,
        }

    @classmethod
    def of(cls, params: Mapping[str, float | str]) -> Candidate:
        """Return the candidate with these coordinates; the inverse of ``params``."""
        network = NetworkChoice(float(params["width"]), float(params["target"]))
        return cls(network, str(params["precision"]), str(params["engine"]))


def candidates(
    widths: Sequence[float],
    targets: Sequence[float],
    precisions: Sequence[str],
    engines: Sequence[str],
) -> tuple[Candidate, ...]:
    """Return all combinations in a fixed order: wide before narrow, whole before slimmed.

    Raises:
        ConfigError: an axis is empty, holds a value twice, or one out of range.
    """
    axes = {"widths": widths, "targets": targets, "precisions": precisions, "engines": engines}
    for name, values in axes.items():
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"--{name} needs values, none of them twice, got {list(values)}")
    if not all(0 < width <= 1 for width in widths):
        raise ConfigError(f"--widths are shares in (0, 1], got {list(widths)}")
    if not all(0 <= target < 1 for target in targets):
        raise ConfigError(f"--targets are shares in [0, 1), got {list(targets)}")
    if not set(precisions) <= set(PRECISIONS):
        raise ConfigError(f"--precisions must be of {PRECISIONS}, got {list(precisions)}")
    return tuple(
        Candidate(NetworkChoice(width, target), precision, engine)
        for width, target, precision, engine in product(
            sorted(widths, reverse=True), sorted(targets), precisions, engines
        )
    )


def narrowed(config: NetworkConfig, width: float) -> NetworkConfig:
    """Return the config of the same architecture with ``width`` times its channels.

    A backbone with a multiplier of widths takes it there, as its paper does; of others all widths
    are scaled and rounded to multiples of 8.

    Raises:
        ConfigError: the backbone has no sizes that are known to be widths.
    """
    if width == 1:
        return config
    sizes = dict(config.sizes)
    multiplier = sizes.get("multiplier")
    if isinstance(multiplier, int | float):
        return replace(config, sizes={**sizes, "multiplier": multiplier * width})
    scaled = {n: _scaled(size, width) for n, size in sizes.items() if n in _WIDTHS}
    if not scaled:
        raise ConfigError(
            f"backbone {config.backbone!r} has no size that a width could scale (it has "
            f"{sorted(sizes)}); search with --widths 1"
        )
    return replace(config, sizes={**sizes, **scaled})


def _scaled(size: Size, width: float) -> Size:
    if isinstance(size, tuple):
        return tuple(_rounded(value * width) for value in size)
    return _rounded(float(size) * width)


def _rounded(value: float) -> int:
    return max(_ROUND_TO, round(value / _ROUND_TO) * _ROUND_TO)
