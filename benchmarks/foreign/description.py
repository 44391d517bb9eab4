"""What a bare model leaves unsaid: its input, its outputs, and the heads that they are.

The format is specified in docs/foreign-models.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.budget_file import read_toml
from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from runtime.schema import Schema, load_schema
from runtime.strict import StrictObject

from .graph_opening import ENGINES
from .outputs import OutputDescription, check_known, parse_outputs

__all__ = [
    "ENGINES_BY_SUFFIX",
    "FORMAT",
    "Description",
    "InputDescription",
    "find_description",
    "read_description",
]

FORMAT: Final = 1
ENGINES_BY_SUFFIX: Final[Mapping[str, str]] = {
    ".onnx": "onnx", ".xml": "openvino", ".tflite": "tflite", ".engine": "trt", ".plan": "trt",
    ".pt2": "torch",
}  # fmt: skip
_SUFFIXES: Final = (".toml", ".json")
LAYOUTS: Final = ("NHWC", "NCHW")
DTYPES: Final = ("uint8", "int8", "float32", "float16")
COLOURS: Final[Mapping[str, int]] = {"BGR": 3, "RGB": 3, "GREY": 1}
"""Colour order to number of channels."""
_LEAST_STD: Final = 1e-6
_MOST_SCALE: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDescription:
    """The one input of a graph, and how pixels become what it wants.

    The graph gets ``(pixel * scale - mean) / std``, pixels in 0 to 255, channels in the order of
    ``colour``.

    Raises:
        ConfigError: an unknown word, a size below 8 px, or numbers that do not fit the channels.
    """

    name: str
    layout: str
    """``NHWC`` or ``NCHW``."""
    dtype: str
    """As the graph has it: ``uint8``, ``int8``, ``float32`` or ``float16``."""
    colour: str
    """``BGR``, ``RGB`` or ``GREY``."""
    size: InputSpec
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    """One for all channels, or one per channel."""
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_known("layout", self.layout, LAYOUTS)
        check_known("dtype", self.dtype, DTYPES)
        check_known("colour", self.colour, COLOURS)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, self.channels):
                raise ConfigError(
                    f"input.{name} has {len(values)} numbers, but colour {self.colour!r} has "
                    f"{self.channels} channels; give one number, or one per channel"
                )
        if self.std is not None and not min(self.std) > _LEAST_STD:
            raise ConfigError(f"input.std must be above {_LEAST_STD}, got {list(self.std)}")
        if self.scale is not None and not 0 < abs(self.scale) <= _MOST_SCALE:
            raise ConfigError(f"input.scale must be up to {_MOST_SCALE:g}, got {self.scale}")

    @property
    def channels(self) -> int:
        """1 or 3."""
        return COLOURS[self.colour]

    @property
    def normalised(self) -> bool:
        """Whether the description says that pixels are scaled."""
        return any(given is not None for given in (self.scale, self.mean, self.std))

    @property
    def height_width(self) -> str:
        """The size for messages."""
        return f"{self.size.height}x{self.size.width}"

    def __str__(self) -> str:
        return f"{self.dtype} {self.layout} {self.colour}" + (
            f", (pixel * {1.0 if self.scale is None else self.scale:g} - {_brief(self.mean, 0)}) / "
            f"{_brief(self.std, 1)}"
            if self.normalised
            else ""
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one sample as the graph should have it."""
        height, width = self.size.height, self.size.width
        if self.layout == "NCHW":
            return self.channels, height, width
        return height, width, self.channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A bare model and what it means.

    Raises:
        ConfigError: an engine that nothing here runs, or outputs for heads that the schema lacks.
    """

    path: Path
    """Of the description itself."""
    engine: str
    """One of ``graphs.ENGINES``."""
    model: Path
    schema: Schema
    input: InputDescription
    outputs: OutputDescription
    precision: str = "not told"
    """What to call it in tables."""
    compile: bool = False
    """Whether torch compiles the program (``torch.compile``) rather than interpreting it."""

    def __post_init__(self) -> None:
        check_known("engine", self.engine, ENGINES)
        if self.compile and self.engine != "torch":
            raise ConfigError(
                f"compile = true is for the engine torch, this is {self.engine!r}; leave it out"
            )
        self.outputs.spelled(self.schema)  # fails where heads are missing or told twice


def find_description(path: Path) -> Path | None:
    """Return the description that ``path`` is, or that lies beside the bare model that it is.

    Returns:
        None where ``path`` is a folder or is not there.

    Raises:
        ConfigError: a file that is neither.
    """
    if not path.is_file():
        return None
    if path.suffix in _SUFFIXES:
        return path
    beside = [path.with_suffix(suffix) for suffix in _SUFFIXES]
    found = [each for each in beside if each.is_file()]
    if found:
        return found[0]
    if path.suffix not in ENGINES_BY_SUFFIX:
        raise ConfigError(
            f"{path} is neither an artifact folder, nor a description (.toml, .json), nor a model "
            f"({', '.join(ENGINES_BY_SUFFIX)})"
        )
    raise ConfigError(
        f"{path} is a bare model: nothing says which colours and scale its input wants and what "
        f"its outputs mean. Draft a description beside it and complete it: python -m "
        f"benchmarks.foreign {path} --schema SCHEMA > {beside[0]}"
    )


def read_description(path: Path) -> Description:
    """Read a description.

    Raises:
        ConfigError: it cannot be read, has unknown or wrong keys, or contradicts itself.
        SchemaError: its schema cannot be read.
        MissingExtraError: it is TOML and this Python has no parser for it.
    """
    try:
        with StrictObject(read_toml(path), str(path), ConfigError) as top:
            if top.integer("format") != FORMAT:
                raise ConfigError(f"format must be {FORMAT}")
            return Description(
                path=path,
                engine=top.text("engine"),
                model=path.parent / top.text("file"),
                schema=_schema(top.text("schema"), path.parent),
                input=_input(top.mapping("input")),
                outputs=parse_outputs(top.mapping("outputs")),
                precision=top.text("precision", default="not told"),
                compile=top.flag("compile", default=False),
            )
    except ConfigError as error:
        prefix = "" if str(error).startswith(str(path)) else f"{path}: "
        raise type(error)(f"{prefix}{error}") from error


def _schema(source: str, folder: Path) -> Schema:
    """A built-in name, or a file beside the description."""
    beside = folder / source
    return load_schema(str(beside) if beside.is_file() else source)


def _input(value: object) -> InputDescription:
    with StrictObject(value, "input", ConfigError) as item:
        size = InputSpec(
            height=item.integer("height"),
            width=item.integer("width"),
            resize=item.text("resize", default="stretch"),
        )
        return InputDescription(
            name=item.text("name"),
            layout=item.text("layout"),
            dtype=item.text("dtype"),
            colour=item.text("colour"),
            size=size,
            scale=item.optional_number("scale"),
            mean=item.numbers("mean") if item.items("mean", default=[]) else None,
            std=item.numbers("std") if item.items("std", default=[]) else None,
        )


def _brief(values: tuple[float, ...] | None, default: int) -> str:
    return ", ".join(f"{value:g}" for value in values) if values else str(default)
