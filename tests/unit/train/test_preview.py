"""The sheet of augmented crops."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.slimming import SPEC
from tests.training import NO_CHANGES
from train import preview as module
from train.augment import PLATES, AugmentConfig, augment_batch
from train.preview import PreviewConfig, main, preview

ZOOM = 96 // SPEC.height
ACROSS, DOWN = SPEC.width * ZOOM + 6, SPEC.height * ZOOM + 26


def config(lamps: Path, output: Path, augment: AugmentConfig = PLATES) -> PreviewConfig:
    """Three crops in two versions each."""
    return PreviewConfig(
        data=(lamps / "val",),
        output=output,
        schema="derive:colour,side",
        imgsz=(SPEC.height, SPEC.width),
        augment=augment,
        count=3,
        versions=2,
    )


def tiles(path: Path) -> npt.NDArray[np.uint8]:
    """The crops of a sheet, (rows, columns, H, W, 3), without their enlargement."""
    sheet = cv2.imread(str(path))
    assert sheet is not None
    assert (sheet.shape[0] % DOWN, sheet.shape[1] % ACROSS) == (0, 0)
    cells = sheet.reshape(sheet.shape[0] // DOWN, DOWN, sheet.shape[1] // ACROSS, ACROSS, 3)
    enlarged = cells.transpose(0, 2, 1, 3, 4)[:, :, :-26, :-6]
    return enlarged[:, :, ::ZOOM, ::ZOOM].astype(np.uint8)


def test_a_sheet_shows_what_training_would_make_of_crops(lamps: Path, tmp_path: Path) -> None:
    preview(config(lamps, tmp_path / "sheet.png"))
    shown = tiles(tmp_path / "sheet.png")
    assert shown.shape == (3, 3, *SPEC.shape)
    crops = torch.from_numpy(shown[:, 0])
    for step in range(2):
        expected = augment_batch(crops, PLATES, seed=0, step=step, rows=(0, 3), batch=3)
        np.testing.assert_array_equal(shown[:, 1 + step], expected.numpy())


def test_without_changes_all_versions_are_the_crop(lamps: Path, tmp_path: Path) -> None:
    preview(config(lamps, tmp_path / "sheet.png", NO_CHANGES))
    shown = tiles(tmp_path / "sheet.png")
    np.testing.assert_array_equal(shown, shown[:, :1].repeat(3, 1))
    assert (shown[0, 0] != shown[1, 0]).any()


def test_the_label_stands_beneath_its_crop(lamps: Path, tmp_path: Path) -> None:
    preview(config(lamps, tmp_path / "sheet.png"))
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    captions = sheet.reshape(3, DOWN, -1, 3)[:, -26:]
    ink = (captions < 128).all(3).sum((1, 2))
    assert (ink > 20).all()


def test_without_a_font_chinese_labels_do_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("train.synth.fonts.FONT_ROOT", tmp_path)
    crops = np.zeros((1, 1, 48, 144, 3), np.uint8)
    assert module._drawn(crops, ["苏A12345"]).size == (294, 122)
    assert "without Chinese characters" in capsys.readouterr().err


def test_the_command_takes_the_flags_of_fit(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "sheet.png"
    options = ["--data", str(lamps / "val"), "--schema", "derive:colour,side", "--count", "2"]
    names = ("geometry", "colour", "light", "erase", "blur", "noise", "resolution", "jpeg", "crop")
    still = [text for name in names for text in (f"--loop.augment.{name}", "0")]
    command = [
        "clothing-two-heads",
        *options,
        *still,
        "--loop.augment.flip",
        "1",
        "--output",
        str(target),
    ]
    assert main([*command, "--imgsz", str(SPEC.height), str(SPEC.width), "--versions", "1"]) == 0
    assert "wrote" in capsys.readouterr().err
    shown = tiles(target)
    np.testing.assert_array_equal(shown[:, 1], shown[:, 0, :, ::-1])
    assert main(command) == 1
    assert "pass --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--output", "sheet.jpg"], 1, "is a PNG file"),
        (["--count", "0"], 1, "count and versions must be >= 1"),
        (["--loop.augment.blur", "2"], 1, "must lie in"),
        (["--data", "nowhere"], 1, "nowhere"),
        (["--versions", "many"], 2, "many"),
    ],
)
def test_what_cannot_be_shown_is_an_error(
    lamps: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    message: str,
) -> None:
    usual = ["--data", str(lamps / "val"), "--schema", "derive:colour,side"]
    output = ["--output", str(tmp_path / "sheet.png")]
    assert main(["clothing-two-heads", *usual, *output, *options]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
