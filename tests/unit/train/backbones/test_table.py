"""``python -m train.backbones``: one page about backbones."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from torch import nn

from train.backbones import BACKBONES
from train.backbones.__main__ import main

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ("--imgsz", "16", "32", "--schema", "us-plate")


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU())


def other() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU())


def test_costs_and_sizes_of_all_backbones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-latency"]) == 0
    page = capsys.readouterr().out
    costs, sizes = page.split("## Sizes")
    for name in BACKBONES:
        assert f"| {name} " in costs
        assert f"| {name} " in sizes
    # The known 2,223,872 parameters and 927,008; 9 columns.
    assert re.search(r"\| mobilenet_v2 +\| 2,223,872 .*\| 1280 x 2 x 9 ", costs)
    assert re.search(r"\| mobilenet_v3_small +\| 927,008 .*\| 576 x 2 x 9 ", costs)
    assert "width=64 last_width=512 blocks=2,2,2,2" in sizes
    assert "ms" not in costs.splitlines()[4]
    assert "`python -m train.backbones --no-latency` on 20" in costs


def test_latency_in_every_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "page.md"
    name = f"{__name__}:small"
    options = ["--rounds", "5", "--output", str(target), "--pool", "global", *SMALL]
    assert main([name, *options]) == 0
    told = capsys.readouterr()
    assert target.read_text(encoding="utf-8") == told.out
    assert f"wrote {target}" in told.err
    header, _, row = told.out.splitlines()[4:7]
    cells = dict(
        zip(map(str.strip, header.split("|")), map(str.strip, row.split("|")), strict=True)
    )
    assert cells["backbone"] == name
    assert all(
        float(cells[f"{engine}, ms"]) > 0 for engine in ("torch", "ONNX Runtime", "OpenVINO")
    )
    assert f"`python -m train.backbones {name} --imgsz 16 32 --schema us-plate" in told.out
    assert "one thread, FP32, batch 1, median of 5 turns" in told.out


def test_without_engines_torch_alone_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main([f"{__name__}:small", f"{__name__}:other", "--rounds", "5", *SMALL]) == 0
    told = capsys.readouterr()
    assert "torch only: package 'onnxscript' is not installed" in told.err
    assert "ONNX Runtime, ms" not in told.out


def test_an_unknown_backbone_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vgg", "--no-latency"]) == 1
    assert capsys.readouterr().err.startswith("error: backbone 'vgg' is unknown; use one of")
