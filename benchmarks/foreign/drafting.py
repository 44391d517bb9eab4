"""A first description of a bare model: what its file tells, and marks where a person must say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod
from pathlib import Path

from runtime.errors import ConfigError
from runtime.schema import Schema

from .description import COLOURS, FORMAT
from .graphs import Graph, Tensor
from .matching import guess_input

__all__ = ["draft"]

_ASK = "# TODO:"


def draft(model: Path, engine: str, graph: Graph, schema: Schema, source: str) -> str:
    """Return a description in TOML; what cannot be read from the file is marked TODO.

    Args:
        model: The file.
        engine: What opened it.
        graph: The loaded model.
        schema: Its heads.
        source: What to write for ``schema``: a built-in name or a file.

    Raises:
        ConfigError: the graph has no input that takes pictures.
    """
    if len(graph.inputs) != 1:
        found = "; ".join(map(str, graph.inputs))
        raise ConfigError(f"{model}: a graph with one input is needed, it has: {found}")
    lines = [
        f"# {model.name}: {_listed(graph.inputs)} -> {_listed(graph.outputs)}",
        f"format = {FORMAT}",
        f"engine = {_text(engine)}",
        f"file = {_text(model.name)}",
        f"schema = {_text(source)}",
        *_input(model, graph.inputs[0]),
        *_outputs(graph.outputs, schema),
    ]
    return "\n".join(lines) + "\n"


def _input(model: Path, tensor: Tensor) -> Sequence[str]:
    guess = guess_input(tensor)
    if guess is None:
        raise ConfigError(
            f"{model}: the input must be a picture, (N, height, width, channels) or (N, channels, "
            f"height, width) of 1 or 3 channels; it is {tensor}"
        )
    layout, channels, height, width = guess
    colour = next(name for name, count in COLOURS.items() if count == channels)
    lines = [
        "",
        "[input]",
        f"name = {_text(tensor.name)}",
        f"layout = {_text(layout)}",
        f"dtype = {_text(tensor.dtype)}",
        f"colour = {_text(colour)}" + (f"  {_ASK} BGR or RGB?" if channels > 1 else ""),
        _size("height", height),
        _size("width", width),
        f'resize = "stretch"  {_ASK} stretch, or letterbox (grey borders)?',
    ]
    if tensor.dtype != "uint8" or tensor.grid not in (None, (1.0, 0)):
        grid = "" if tensor.grid is None else f" (an integer q means (q - {tensor.grid[1]}) * "
        grid += "" if tensor.grid is None else f"{tensor.grid[0]:g})"
        lines += [
            f"{_ASK} the graph gets (pixel * scale - mean) / std, pixel in 0 to 255{grid}",
            "scale = 0.00392156862745098",
            "mean = [0.0]",
            "std = [1.0]",
        ]
    return lines


def _size(name: str, value: int | None) -> str:
    return f"{name} = {value}" if value else f"{name} = 0  {_ASK} the file leaves it open"


def _outputs(tensors: Sequence[Tensor], schema: Schema) -> Sequence[str]:
    lines = ["", "[outputs]", f'scores = "logits"  {_ASK} or probabilities, after softmax?']
    by_name = {tensor.name: tensor for tensor in tensors}
    named = {head.name: by_name[head.name] for head in schema.heads if head.name in by_name}
    sizes = [head.size for head in schema.heads]
    if len(named) < len(sizes) and len(tensors) == len(sizes):
        named = dict(zip([head.name for head in schema.heads], tensors, strict=True))
        lines += [f"{_ASK} outputs in the order of the heads; are they?"]
    if len(named) == len(sizes):
        lines += ["", "[outputs.heads]"]
        return lines + [f"{head} = {_text(tensor.name)}" for head, tensor in named.items()]
    for tensor in tensors:
        if prod(size or 0 for size in tensor.shape[1:]) == sum(sizes) and len(set(sizes)) == 1:
            axes = (
                "KT"
                if tensor.shape[1:] == (sizes[0], len(sizes)) != (len(sizes), sizes[0])
                else "TK"
            )
            return [*lines, f"rows = {_text(tensor.name)}", f"axes = {_text(axes)}"]
    wanted = ", ".join(f"{head.name} ({head.size})" for head in schema.heads)
    return [
        *lines,
        f"{_ASK} which output is which head of schema {schema.name!r}? {wanted}",
        f"{_ASK} either [outputs.heads] with a line head = OUTPUT each, or rows = OUTPUT of all,",
        "# or [outputs.ctc]; also labels in another order, heads without output: see",
        "# docs/foreign-models.md",
    ]


def _listed(tensors: Sequence[Tensor]) -> str:
    return "; ".join(map(str, tensors))


def _text(value: str) -> str:
    # TOML's basic strings are JSON's.
    return json.dumps(value, ensure_ascii=False)
