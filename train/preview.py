"""See what training will see: ``python -m train.preview cn-plate --data A --output sheet.png``.

One row per crop: as the network gets it, then versions as a training with the same options would
change it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import torch
import tyro
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from benchmarks.command import run_command, say
from runtime.arrays import Images
from runtime.errors import ConfigError
from runtime.preprocess import InputSpec
from runtime.staging import write_bytes

from .augment import AugmentConfig, augment_batch
from .data import load_crops
from .labels import resolve_schema
from .recipes import RECIPES
from .synth.fonts import find_fonts

__all__ = ["PreviewConfig", "main", "preview"]

_GAP_PX: Final = 6
_CAPTION_PX: Final = 20
_TILE_PX: Final = 96
"""Crops are enlarged by a whole number to about this height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewConfig:
    """Draw a sheet of labelled crops as a training sees them.

    Raises:
        ConfigError: a count below 1, or an output that is not to be a PNG file.
    """

    data: tuple[Path, ...] = tyro.MISSING
    """Training lists or trees, as for ``train.fit``."""
    output: Path = tyro.MISSING
    """PNG file to write."""
    schema: str = tyro.MISSING
    """Built-in schema, JSON file, or derive:labels / derive:colour,garment from the labels."""
    imgsz: tuple[int, int] = (48, 144)
    """Height and width of the input, px."""
    resize: str = "stretch"
    """``stretch`` or ``letterbox``."""
    augment: Annotated[AugmentConfig, tyro.conf.arg(name="loop.augment")] = field(
        default_factory=AugmentConfig
    )
    count: int = 12
    """Crops to show, drawn at random."""
    versions: int = 8
    """Changed versions of each."""
    seed: int = 0
    """Which crops, and what becomes of them."""
    skip_bad: bool = False
    """Leave bad rows out instead of failing."""
    overwrite: bool = False
    """Replace an existing OUTPUT."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.versions < 1 or self.seed < 0:
            raise ConfigError(
                "count and versions must be >= 1 and seed >= 0, got "
                f"{self.count}, {self.versions} and {self.seed}"
            )


def preview(config: PreviewConfig) -> None:
    """Draw the sheet and write it.

    Raises:
        HeadlightError: bad options or data, or ``config.output`` cannot be written.
    """
    if config.output.suffix.lower() != ".png":
        raise ConfigError(f"{config.output}: the sheet is a PNG file; name it *.png")
    if config.output.exists() and not config.overwrite:
        raise ConfigError(f"{config.output} exists; choose another output or pass --overwrite")
    images, texts = _chosen(config)
    versions = [images, *(_changed(images, config, step) for step in range(config.versions))]
    sheet = _drawn(np.stack(versions, 1), texts)
    stream = io.BytesIO()
    sheet.save(stream, format="png")
    try:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(config.output, stream.getvalue())
    except OSError as error:
        raise ConfigError(f"{config.output} cannot be written: {error}") from error


def _chosen(config: PreviewConfig) -> tuple[Images, list[str]]:
    schema = resolve_schema(config.schema, config.data)
    spec = InputSpec(height=config.imgsz[0], width=config.imgsz[1], resize=config.resize)
    # The pictures that are not shown are read all the same: a training would fail on a bad one.
    crops = load_crops(config.data, schema, spec, skip_bad=config.skip_bad, cache_mb=0)
    random = np.random.default_rng(config.seed)
    shown = np.sort(random.choice(len(crops), min(config.count, len(crops)), replace=False))
    return crops.images_at(shown), [crops.texts[index] for index in shown]


def _changed(images: Images, config: PreviewConfig, step: int) -> Images:
    count = len(images)
    changed = augment_batch(
        torch.from_numpy(images),
        config.augment,
        seed=config.seed,
        step=step,
        rows=(0, count),
        batch=count,
    )
    return changed.numpy()


def _drawn(versions: npt.NDArray[np.uint8], texts: Sequence[str]) -> PillowImage.Image:
    """Return the sheet of (rows, columns, H, W, 3) crops, the text of a row beneath its first."""
    rows, columns, height, width = versions.shape[:4]
    zoom = max(1, _TILE_PX // height)
    across, down = width * zoom + _GAP_PX, height * zoom + _CAPTION_PX + _GAP_PX
    tiles = versions[..., ::-1].repeat(zoom, 2).repeat(zoom, 3)
    canvas = np.full((rows, columns, down, across, 3), 255, np.uint8)
    canvas[:, :, : height * zoom, : width * zoom] = tiles
    joined = canvas.transpose(0, 2, 1, 3, 4).reshape(rows * down, columns * across, 3)
    sheet = PillowImage.fromarray(joined)
    pencil, font = ImageDraw.Draw(sheet), _font(texts)
    for row, text in enumerate(texts):
        pencil.text((2, row * down + height * zoom + 1), text, fill="black", font=font)
    return sheet


def _font(texts: Sequence[str]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    size_px = _CAPTION_PX - 5
    if "".join(texts).isascii():
        return ImageFont.load_default(size_px)
    try:
        return ImageFont.truetype(find_fonts(needs_cjk=True).cjk[0], size_px)
    except ConfigError as error:
        say(f"labels are drawn without Chinese characters: {error}")
        return ImageFont.load_default(size_px)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, _command_type(), _work, prog="python -m train.preview")


def _command_type() -> Any:
    shown = {
        name: PreviewConfig(
            schema=recipe.schema,
            imgsz=recipe.imgsz,
            resize=recipe.resize,
            augment=recipe.loop.augment,
        )
        for name, (_, recipe) in RECIPES.items()
    }
    return tyro.extras.subcommand_type_from_defaults(
        shown, {name: description for name, (description, _) in RECIPES.items()}
    )


def _work(config: PreviewConfig) -> int:
    preview(config)
    say(f"wrote {config.output}; next: python -m train.fit RECIPE --help")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
