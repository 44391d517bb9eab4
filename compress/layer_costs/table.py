"""Measured costs of single layers in one engine on one device, and costs in between.

A table is a JSON file. It knows for every *shape* of layer (kind, kernel, stride, size of the map)
the milliseconds at some numbers of input and output channels; between these it interpolates. So
what a network costs with any numbers of channels is known without building it (as in Yang et al.,
"NetAdapt", ECCV 2018, section 3.3). A table that was measured elsewhere, on a Jetson for example,
is read like one that was measured here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.report import to_json
from runtime.errors import ConfigError
from runtime.staging import write_text
from runtime.strict import StrictObject, parse_json

__all__ = ["CostTable", "LayerShape", "PointGrid", "TableFit"]

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """All that a layer's cost depends on beside its channels."""

    kind: str
    """``conv`` or ``linear``."""
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    """Above and left of the map; then below and right, where that is not the same."""
    dilation: tuple[int, int] = (1, 1)
    height: int = 1
    """Of the input, px."""
    width: int = 1
    groups: int = 1
    """Of a convolution that keeps all its groups."""
    per_group: tuple[int, int] = (0, 0)
    """Inputs and outputs of each group where whole groups go, (1, 1) for a depthwise convolution:
    then the outputs follow from the inputs. (0, 0) for any other layer."""

    def __str__(self) -> str:
        if self.kind == "linear":
            return "linear"
        text = f"{self.kernel[0]}x{self.kernel[1]} on {self.height}x{self.width}"
        return f"{text} /{self.stride[0]},{self.stride[1]}" + (" grouped" if self.tied else "")

    @property
    def tied(self) -> bool:
        """Whether the number of outputs follows from that of the inputs."""
        return self.per_group != (0, 0)

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_object(cls, value: object) -> LayerShape:
        """Parse what ``to_object`` wrote.

        Raises:
            ConfigError: missing or unknown keys, or values of another type.
        """
        with StrictObject(value, "layer shape", ConfigError) as item:
            return cls(
                kind=item.text("kind"),
                kernel=_pair(item, "kernel"),
                stride=_pair(item, "stride"),
                padding=_padding(item),
                dilation=_pair(item, "dilation"),
                height=item.integer("height"),
                width=item.integer("width"),
                groups=item.integer("groups"),
                per_group=_pair(item, "per_group"),
            )


def _pair(item: StrictObject, key: str) -> tuple[int, int]:
    values = item.integers(key)
    if len(values) != 2:
        raise ConfigError(f"layer shape: key {key!r} must hold two numbers, got {list(values)}")
    return values[0], values[1]


def _padding(item: StrictObject) -> tuple[int, ...]:
    values = item.integers("padding")
    if len(values) not in (2, 4):
        raise ConfigError(
            f"layer shape: key 'padding' must hold two or four numbers, got {list(values)}"
        )
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class PointGrid:
    """Milliseconds at all pairs of some input and output counts.

    Raises:
        ConfigError: counts that do not rise, or not one time for each pair.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    """Empty where the outputs follow from the inputs."""
    ms: tuple[tuple[float, ...], ...]
    """A row for each of ``inputs``."""

    def __post_init__(self) -> None:
        columns = len(self.outputs) or 1
        rising = all(list(axis) == sorted(set(axis)) for axis in (self.inputs, self.outputs))
        whole = len(self.ms) == len(self.inputs) and all(len(row) == columns for row in self.ms)
        if not (self.inputs and rising and whole):
            raise ConfigError(
                f"layer costs: {len(self.inputs)} inputs and {columns} outputs, each rising, need "
                f"as many rows and columns of ms, got {[len(row) for row in self.ms]}"
            )

    def at(self, inputs: int, outputs: int) -> float:
        """Return the interpolated milliseconds.

        Below the smallest count that was measured a layer costs what it costs there: engines
        compute whole blocks of channels. Above the largest one its line goes on.
        """
        row, share = _between(self.inputs, inputs)
        lower = self._in_row(row, outputs)
        return lower if not share else lower + share * (self._in_row(row + 1, outputs) - lower)

    def _in_row(self, row: int, outputs: int) -> float:
        values = self.ms[row]
        if not self.outputs:
            return values[0]
        column, share = _between(self.outputs, outputs)
        lower = values[column]
        return lower if not share else lower + share * (values[column + 1] - lower)


def _between(axis: Sequence[int], count: int) -> tuple[int, float]:
    """Return the index of the point before ``count``, and how far it is to the next one."""
    if count <= axis[0] or len(axis) == 1:
        return 0, 0.0
    place = min(bisect_right(axis, count) - 1, len(axis) - 2)
    return place, (count - axis[place]) / (axis[place + 1] - axis[place])


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFit:
    """How the costs of layers add up to that of a network, fitted on whole networks."""

    checkpoint: str
    """SHA-256 of the weights of the checkpoint that was measured at several widths."""
    fixed_ms: float
    """What a call costs whatever the widths are."""
    factor: float
    """On the sum over the layers."""
    ms_per_weight: float
    """For a million weights: layers are timed with theirs in the cache, a network may not be."""
    ms_per_value: float
    """For a million values put out: activations, additions and pooling stand in no table."""
    error: float
    """Mean relative error over the networks that it was fitted on."""
    measured_ms: float
    """Latency of the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """Costs of layers, and where they were measured."""

    engine: str
    environment: Mapping[str, Any]
    """``benchmarks.environment.environment`` of the device, with versions of the engine."""
    layers: Mapping[LayerShape, PointGrid]
    threads: int = 1
    precision: str = "fp32"
    fit: TableFit | None = None
    """None: costs are simply added up."""

    def cost_ms(self, shape: LayerShape, inputs: int, outputs: int) -> float:
        """Return what a layer costs.

        Raises:
            ConfigError: the table has no layer of this shape.
        """
        if shape not in self.layers:
            raise ConfigError(
                f"the layer costs hold no layer of the shape {shape.to_object()}; measure them for "
                "this checkpoint: python -m compress.layer_costs CHECKPOINT"
            )
        return self.layers[shape].at(inputs, outputs)

    def write(self, path: Path) -> None:
        """Write the JSON file, in one piece."""
        layers = [
            {"shape": shape.to_object(), **asdict(grid)} for shape, grid in self.layers.items()
        ]
        value = {
            "format_version": FORMAT_VERSION,
            "engine": self.engine,
            "threads": self.threads,
            "precision": self.precision,
            "environment": dict(self.environment),
            "fit": self.fit and asdict(self.fit),
            "layers": layers,
        }
        write_text(path, to_json(value))

    @classmethod
    def read(cls, path: Path) -> CostTable:
        """Read a file that ``write`` wrote.

        Raises:
            ConfigError: it cannot be read, or is no table.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path} cannot be read ({error}); expected layer costs as "
                "`python -m compress.layer_costs` writes them"
            ) from error
        with StrictObject(parse_json(text, str(path), ConfigError), str(path), ConfigError) as item:
            version = item.integer("format_version")
            if version != FORMAT_VERSION:
                raise ConfigError(f"{path}: format version {version} is not {FORMAT_VERSION}")
            fit = item.optional_mapping("fit")
            return cls(
                engine=item.text("engine"),
                threads=item.integer("threads"),
                precision=item.text("precision"),
                environment=item.mapping("environment"),
                fit=None if fit is None else _fit(fit),
                layers=dict(_grid(entry) for entry in item.items("layers")),
            )


def _grid(value: object) -> tuple[LayerShape, PointGrid]:
    with StrictObject(value, "layer costs", ConfigError) as item:
        grid = PointGrid(
            inputs=item.integers("inputs"),
            outputs=item.integers("outputs"),
            ms=tuple(_row(row) for row in item.items("ms")),
        )
        return LayerShape.from_object(item.mapping("shape")), grid


def _row(value: object) -> tuple[float, ...]:
    with StrictObject({"ms": value}, "layer costs", ConfigError) as item:
        return item.numbers("ms")


def _fit(value: object) -> TableFit:
    with StrictObject(value, "layer costs: fit", ConfigError) as item:
        return TableFit(
            checkpoint=item.text("checkpoint"),
            fixed_ms=item.number("fixed_ms"),
            factor=item.number("factor"),
            ms_per_weight=item.number("ms_per_weight"),
            ms_per_value=item.number("ms_per_value"),
            error=item.number("error"),
            measured_ms=item.number("measured_ms"),
        )
