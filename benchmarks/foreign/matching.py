"""Whether a graph is what its description says, and if not, what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from runtime.errors import ConfigError

from .description import COLOURS, Description, InputDescription
from .graphs import Graph, Tensor

__all__ = [
    "Source",
    "check_axes",
    "check_count",
    "check_input",
    "check_outputs",
    "guess_input",
    "output_index",
]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the scores of a head are."""

    output: int
    """Index of the output."""
    row: int | None = None
    """Row of that output; None where it holds this head only."""


def check_input(description: Description, graph: Graph) -> Tensor:
    """Return the graph's input.

    Raises:
        ConfigError: its name, type, layout or size is not what the description says, or there are
            several.
    """
    given = description.input
    if len(graph.inputs) != 1:
        raise ConfigError(
            f"{description.model}: a graph with one input is needed, it has "
            f"{len(graph.inputs)}: {_listed(graph.inputs)}"
        )
    (tensor,) = graph.inputs
    if tensor.name != given.name:
        raise ConfigError(
            f"{description.path}: input.name is {given.name!r}, but the graph's input is {tensor}"
        )
    if tensor.dtype != given.dtype:
        raise ConfigError(
            f"{description.path}: input.dtype is {given.dtype!r}, but the graph's input is {tensor}"
        )
    _check_shape(description, tensor)
    _check_scaling(description, tensor)
    return tensor


def _check_shape(description: Description, tensor: Tensor) -> None:
    given = description.input
    sizes = tensor.shape[1:]
    if len(sizes) == 3 and all(
        found in (None, wanted) for found, wanted in zip(sizes, given.shape, strict=True)
    ):
        return
    text = ", ".join(map(str, given.shape))
    raise ConfigError(
        f"{description.path}: {given.layout} of {given.channels} channels ({given.colour}) and "
        f"{given.height_width} px is (N, {text}), but the graph's input is {tensor}"
        f"{_hint(given, tensor)}"
    )


def _hint(given: InputDescription, tensor: Tensor) -> str:
    found = guess_input(tensor)
    if found is None:
        return "; pictures go into a graph as (N, height, width, channels) or NCHW"
    layout, channels, height, width = found
    wrong = []
    if layout != given.layout:
        wrong.append(f'layout = "{layout}"')
    if channels != given.channels:
        colours = [name for name, count in COLOURS.items() if count == channels]
        wrong.append(f"colour = one of {', '.join(colours)}")
    size = given.size
    if height not in (None, size.height) or width not in (None, size.width):
        wrong.append(f"height = {height}, width = {width}")
    return f"; did you mean {' and '.join(wrong)}?" if wrong else ""


def guess_input(tensor: Tensor) -> tuple[str, int, int | None, int | None] | None:
    """Return layout, channels, height and width of an input; None where it is no picture."""
    if len(tensor.shape) != 4:
        return None
    _, first, second, third = tensor.shape
    channels = set(COLOURS.values())
    if third in channels:
        return "NHWC", third, first, second
    if first in channels:
        return "NCHW", first, second, third
    return None


def _check_scaling(description: Description, tensor: Tensor) -> None:
    given = description.input
    pixels = (tensor.dtype, tensor.grid) in (
        ("uint8", None), ("uint8", (1.0, 0)), ("int8", (1.0, -128))
    )  # fmt: skip
    if pixels and given.normalised and tensor.grid is None:
        raise ConfigError(
            f"{description.path}: the graph takes pixels as they are ({tensor}); leave "
            "input.scale, mean and std out"
        )
    if tensor.dtype in ("uint8", "int8") and not pixels and not given.normalised:
        grid = "has no scale of its own" if tensor.grid is None else "means (q - {1}) * {0:g}"
        told = grid.format(*(tensor.grid or ()))
        raise ConfigError(
            f"{description.path}: the graph's input {tensor} {told}; say with input.scale, mean "
            "and std which values pixels become (scale = 1.0 if they stay 0 to 255)"
        )


def check_outputs(description: Description, graph: Graph) -> Mapping[str, Source]:
    """Return where the scores of heads are that lie in the order of their labels, by schema order.

    Others are in ``spelled``, or unanswered.

    Raises:
        ConfigError: an output is not there, or holds another number of scores than its head has
            labels.
    """
    outputs, found = description.outputs, dict[str, Source]()
    schema = description.schema
    rows = [] if outputs.labels else [schema.head(name) for name in outputs.spelled(schema)]
    for head in schema.heads:
        if head.name not in outputs.heads:
            continue
        index = output_index(description, graph, outputs.heads[head.name])
        check_count(description, graph.outputs[index], head.size, f"head {head.name!r}")
        found[head.name] = Source(index)
    if rows and outputs.rows is not None:
        index = output_index(description, graph, outputs.rows)
        sizes = {head.name: head.size for head in rows}
        if len(set(sizes.values())) > 1:
            raise ConfigError(
                f"{description.path}: outputs.rows needs heads with equally many labels, but they "
                f"have {sizes}"
            )
        what = f"{len(rows)} heads ({rows[0].name} ...) of {rows[0].size} labels"
        tensor = graph.outputs[index]
        check_count(description, tensor, len(rows) * rows[0].size, what)
        check_axes(description, tensor, len(rows), rows[0].size)
        found |= {head.name: Source(index, row) for row, head in enumerate(rows)}
    return {head.name: found[head.name] for head in schema.heads if head.name in found}


def output_index(description: Description, graph: Graph, wanted: str | int) -> int:
    """Return the index of an output that is told by its name or index.

    Raises:
        ConfigError: the graph has no such output.
    """
    names = [tensor.name for tensor in graph.outputs]
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return wanted
    if isinstance(wanted, str) and wanted in names:
        return names.index(wanted)
    raise ConfigError(
        f"{description.path}: the graph has no output {wanted!r}; it has {_listed(graph.outputs)}"
    )


def check_count(description: Description, tensor: Tensor, scores: int, what: str) -> None:
    """Fail unless an output has so many scores per sample, as far as the file tells.

    Raises:
        ConfigError: it has another number.
    """
    sizes = [size for size in tensor.shape[1:] if size is not None]
    if len(sizes) == len(tensor.shape) - 1 and prod(sizes) != scores:
        raise ConfigError(
            f"{description.path}: {what} need {scores} scores, but the output is {tensor}; its "
            "labels must be those that the model was trained with, in that order"
        )


def check_axes(description: Description, tensor: Tensor, heads: int, labels: int) -> None:
    """Fail if the rows of an output lie the other way round.

    Raises:
        ConfigError: they do.
    """
    sizes = tensor.shape[1:]
    wanted = (heads, labels) if description.outputs.axes == "TK" else (labels, heads)
    if len(sizes) == 2 and None not in sizes and sizes != wanted and sizes == wanted[::-1]:
        other = "KT" if description.outputs.axes == "TK" else "TK"
        raise ConfigError(
            f"{description.path}: outputs.axes {description.outputs.axes!r} means (N, "
            f'{wanted[0]}, {wanted[1]}), but the output is {tensor}; did you mean axes = "{other}"?'
        )


def _listed(tensors: Sequence[Tensor]) -> str:
    return "; ".join(map(str, tensors)) or "none"
