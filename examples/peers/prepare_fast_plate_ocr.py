"""Write what fast-plate-ocr trains from: ``python -m examples.peers.prepare_fast_plate_ocr ...``.

Our lists become its annotations (train.csv, val.csv), a schema becomes its plate config
(plates.yaml), and a description says how ``benchmarks`` reads the ONNX file that it exports
(fast-plate-ocr.toml). It needs nothing of fast-plate-ocr, which lives in an environment of its own.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tyro

from benchmarks.command import run_command, say
from benchmarks.labelled import LabelledCrops, read_labelled
from runtime.builtin_schemas import BUILTIN
from runtime.errors import ConfigError, DataError
from runtime.schema import Reading, Schema
from runtime.staging import new_folder, write_text

__all__ = ["PrepareConfig", "main", "prepare"]

HEIGHT: Final = 64
WIDTH: Final = 128
"""Of its config/default_latin_plate_config.yaml."""
PAD: Final = "_"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareConfig:
    """Write annotations, plate config and description for fast-plate-ocr.

    Raises:
        ConfigError: a schema that is not built in, or repeats that do not fit the data.
    """

    data: tuple[Path, ...] = tyro.MISSING
    """Training lists, tables or trees."""
    validation: tuple[Path, ...] = tyro.MISSING
    """Validation data of the same kinds."""
    output: Path = tyro.MISSING
    """Folder to make."""
    schema: str = "cn-plate"
    """Built-in schema with one reading; its other heads are left out."""
    repeats: tuple[int, ...] = ()
    """How often train.csv holds the rows of each of --data; once where not given."""

    def __post_init__(self) -> None:
        if self.schema not in BUILTIN:
            raise ConfigError(f"schema must be one of {[*BUILTIN]}, got {self.schema!r}")
        if self.repeats and (len(self.repeats) != len(self.data) or min(self.repeats) < 1):
            raise ConfigError(
                f"expected one repeat >= 1 for each of the {len(self.data)} sources, got "
                f"{list(self.repeats)}"
            )


def prepare(config: PrepareConfig) -> Path:
    """Write the folder.

    Returns:
        ``config.output``.

    Raises:
        DataError: data that cannot be read, or pictures that are not files of their own.
        ConfigError: the output is taken.
    """
    schema = BUILTIN[config.schema]()
    reading = schema.readings[0]
    repeats = config.repeats or (1,) * len(config.data)
    with new_folder(config.output) as staged:
        for name, sources, counts in (
            ("train.csv", config.data, repeats),
            ("val.csv", config.validation, (1,) * len(config.validation)),
        ):
            rows: list[tuple[str, str]] = []
            for source, count in zip(sources, counts, strict=True):
                crops = read_labelled(source, schema)
                rows += _rows(crops, reading, config.output) * count
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([("image_path", "plate_text"), *rows])
            write_text(staged / name, text.getvalue())
            say(f"{name}: {len(rows)} rows")
        alphabet = _alphabet(schema, reading)
        write_text(staged / "plates.yaml", _plates(alphabet, len(reading.heads)))
        write_text(staged / "fast-plate-ocr.toml", _description(schema, reading, alphabet))
    return config.output


def _rows(crops: LabelledCrops, reading: Reading, folder: Path) -> list[tuple[str, str]]:
    """Return (path relative to ``folder``, text) of the crops whose text has a slot a character.

    Raises:
        DataError: crops are in shards, or are regions of pictures.
    """
    if crops.paths.spans is not None or crops.paths.boxes is not None:
        raise DataError(f"{crops.source}: fast-plate-ocr reads picture files only; unpack them")
    start = folder.absolute().parent.resolve() / folder.name
    # Where the reading is the schema's first field of the label column.
    texts = [reading.unified(text.partition(",")[0]) for text in crops.texts]
    rows = [
        (os.path.relpath(Path(path).absolute(), start), text)
        for path, text in zip(crops.paths, texts, strict=True)
        if 0 < len(text) <= len(reading.heads)
    ]
    if left_out := len(texts) - len(rows):
        say(f"{crops.source}: left out {left_out} texts, longer than {len(reading.heads)}")
    return rows


def _alphabet(schema: Schema, reading: Reading) -> str:
    """Return every character that a label of the reading is, then the pad."""
    labels = [label for name in reading.heads for label in schema.head(name).labels]
    single = [label for label in labels if len(label) == 1 and label != reading.blank]
    return "".join(dict.fromkeys(single)) + PAD


def _plates(alphabet: str, slots: int) -> str:
    """Return the plate config: its default one with our alphabet and number of slots."""
    return f"""\
max_plate_slots: {slots}
alphabet: {json.dumps(alphabet, ensure_ascii=False)}
pad_char: "{PAD}"
img_height: {HEIGHT}
img_width: {WIDTH}
keep_aspect_ratio: false
interpolation: linear
image_color_mode: rgb
"""


def _description(schema: Schema, reading: Reading, alphabet: str) -> str:
    """Return the description of best.onnx, as its exporter writes it (docs/foreign-models.md)."""
    labels = [reading.blank if letter == PAD else letter for letter in alphabet]
    others = [head.name for head in schema.heads if head.name not in reading.heads]
    return f"""\
# fast-plate-ocr (github.com/ankandrew/fast-plate-ocr), trained on the lists in train.csv.
format = 1
engine = "onnx"
file = "best.onnx"
schema = "{schema.name}"
precision = "fp32"

[input]
name = "input"
layout = "NHWC"
dtype = "uint8"
colour = "RGB"
height = {HEIGHT}
width = {WIDTH}
resize = "stretch"

[outputs]
scores = "probabilities"
rows = "plate"
axes = "TK"
labels = {json.dumps(labels, ensure_ascii=False)}
unanswered = {json.dumps(others)}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    prog = "python -m examples.peers.prepare_fast_plate_ocr"
    return run_command(argv, PrepareConfig, _work, prog=prog)


def _work(config: PrepareConfig) -> int:
    print(f"wrote {prepare(config)}; next: examples/peers/README.md, fast-plate-ocr")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
