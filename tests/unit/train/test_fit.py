"""``train.fit`` through its command line: what it writes, and what it refuses before it trains."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import train.fit
import train.loop
from benchmarks.labelled import read_labelled
from benchmarks.metrics import evaluate
from runtime.decode import decode
from runtime.errors import CheckpointError, ConfigError, MissingExtraError
from tests.slimming import SCHEMA, SPEC
from tests.training import lamps_config, quick_loop, write_schema
from train.checkpoint import load_checkpoint
from train.data import load_crops
from train.fit import fit, main
from train.network import NetworkConfig
from train.optim import OptimConfig
from train.recipes import RECIPES
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")


def arguments(lamps: Path, output: Path, *more: str) -> list[str]:
    return [
        "tiny",
        *("--data", str(lamps / "train"), "--validation", str(lamps / "val")),
        *("--output", str(output), "--schema", "derive:colour,side", "--imgsz", "16", "32"),
        *("--network.sizes", "width=8", "last_width=16"),
        *("--loop.steps", "6", "--loop.batch", "8", "--loop.validate-every", "3"),
        *("--loop.optim.warmup", "2", "--threads", "1", *more),
    ]


def test_a_training_learns_and_writes_a_whole_checkpoint(
    lamps_checkpoint: Path, lamps: Path
) -> None:
    checkpoint = load_checkpoint(lamps_checkpoint)
    assert checkpoint.metrics["exact"] >= 0.95
    assert [row["step"] for row in checkpoint.metrics["history"]] == [40, 80]
    assert (checkpoint.input, checkpoint.channels) == (SPEC, None)
    assert [head.labels for head in checkpoint.schema.heads] == [
        head.labels for head in SCHEMA.heads
    ]
    assert (lamps_checkpoint / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not lamps_checkpoint.with_name("checkpoint.run").exists()
    lineage = checkpoint.lineage["fit"]
    assert lineage["config"]["loop"]["steps"] == 80
    assert lineage["config"]["data"] == [str(lamps / "train")]
    crops = load_crops([lamps / "val"], checkpoint.schema, SPEC)
    assert lineage["inputs"]["validation"] == crops.digest
    own = read_labelled(lamps / "val", checkpoint.schema).short_digest
    assert crops.origin == f"{lamps / 'val'}: 96 crops, sha256 {own}"
    assert checkpoint.operating.fitted_on == crops.origin
    # The figures are those of the weights in the folder.
    logits = score(checkpoint.build(), crops)
    metrics = evaluate(SCHEMA, decode(SCHEMA, logits, checkpoint.operating), crops.targets)
    assert metrics.exact.value == pytest.approx(checkpoint.metrics["exact"])


def test_the_command_line(lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(lamps, tmp_path / "out")) == 0
    told = capsys.readouterr()
    first, last = told.out.splitlines()
    assert first.startswith("validation exact 0.")
    assert last == (
        f"wrote {tmp_path / 'out'}; next: python -m compress.slim {tmp_path / 'out'} --help"
    )
    assert "256 training crops, 96 validation crops" in told.err
    assert "step 6: loss" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    config = load_checkpoint(tmp_path / "out").lineage["fit"]["config"]
    assert config["network"]["sizes"]["width"] == 8
    assert config["network"]["pool"] == RECIPES["tiny"][1].network.pool


def test_the_same_call_gives_the_same_bits_and_ctrl_c_changes_nothing(
    lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(lamps, tmp_path / "whole")) == 0
    original, calls = train.loop.learning_rate, 0

    def interrupting(*values: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*values)

    monkeypatch.setattr(train.loop, "learning_rate", interrupting)
    capsys.readouterr()
    assert main(arguments(lamps, tmp_path / "parts")) == 1
    assert "error: interrupted" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.run", "whole"]
    assert main(arguments(lamps, tmp_path / "parts", "--loop.seed", "5")) == 1
    assert "holds an unfinished run of other settings" in capsys.readouterr().err
    assert main(arguments(lamps, tmp_path / "parts")) == 0
    assert "going on after step 4" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
    whole, parts = (load_file(tmp_path / n / "weights.safetensors") for n in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_losses_optimiser_and_the_rest_are_options(lamps: Path, tmp_path: Path) -> None:
    options = (
        "--loop.loss.choice focal --loop.loss.heads colour=ghm --loop.loss.head-weights side=0.5 "
        "--loop.loss.class-weights data --loop.optim.optimiser sgd --loop.optim.schedule step "
        "--loop.ema 0.9 --loop.mixing.mixup 0.2 --loop.mixing.cutmix 1 --loop.patience 3"
    )
    assert main(arguments(lamps, tmp_path / "out", *options.split())) == 0
    loop = load_checkpoint(tmp_path / "out").lineage["fit"]["config"]["loop"]
    assert loop["loss"]["heads"] == {"colour": "ghm"}
    assert loop["loss"]["head_weights"] == {"side": 0.5}
    assert (loop["optim"]["optimiser"], loop["mixing"]["cutmix"]) == ("sgd", 1)


# ---- starting from a checkpoint ---------------------------------------------------------------


def test_training_goes_on_from_a_checkpoint(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path
) -> None:
    loop = quick_loop(2, optim=OptimConfig(lr=1e-9, final_lr=1e-9, warmup=0))
    config = lamps_config(lamps, tmp_path / "out", init=lamps_checkpoint, loop=loop)
    checkpoint = fit(config)
    start = load_checkpoint(lamps_checkpoint)
    assert checkpoint.metrics["exact"] >= start.metrics["exact"] - 0.05
    assert checkpoint.network == start.network
    assert list(checkpoint.lineage) == ["fit", "fit2"]
    assert checkpoint.lineage["fit"] == start.lineage["fit"]
    assert checkpoint.lineage["fit2"]["inputs"]["init"] == start.digest


def test_a_start_keeps_its_network_whatever_is_asked_for(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = NetworkConfig(backbone="mobilenet_v3_small", pool="attention")
    config = lamps_config(lamps, tmp_path / "out", init=lamps_checkpoint, loop=quick_loop(1))
    checkpoint = fit(replace(config, network=asked))
    start = load_checkpoint(lamps_checkpoint)
    assert checkpoint.network == start.network
    recorded = checkpoint.lineage["fit2"]["config"]["network"]
    assert recorded == start.lineage["fit"]["config"]["network"]
    assert "the network is that of" in capsys.readouterr().err


def test_a_start_of_another_schema_or_size_is_refused(
    lamps: Path, lamps_checkpoint: Path, tmp_path: Path
) -> None:
    schema = str(write_schema(tmp_path / "schema.json"))
    with pytest.raises(CheckpointError, match="was trained for the schema 'derived'"):
        fit(lamps_config(lamps, tmp_path / "out", init=lamps_checkpoint, schema=schema))
    # Heads over columns look at as many places as the input is wide.
    message = r"was trained for 16x32 px, asked for 16x64; pass --imgsz 16 32"
    with pytest.raises(ConfigError, match=message):
        fit(lamps_config(lamps, tmp_path / "out", init=lamps_checkpoint, imgsz=(16, 64)))
    assert [path.name for path in tmp_path.iterdir()] == ["schema.json"]


# ---- what fails before anything is trained ----------------------------------------------------


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test when it comes to training."""

    def no(*_: object, **__: object) -> None:
        pytest.fail("trained")

    monkeypatch.setattr(train.fit, "run_training", no)


@pytest.mark.usefixtures("untrained")
def test_an_existing_output_is_kept(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").touch()
    assert main(arguments(lamps, tmp_path)) == 1
    told = capsys.readouterr().err
    assert told == (
        f"error: {tmp_path} exists and is not empty; choose another output or pass --overwrite\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--schema", "us-plates"), "schema 'us-plates' is neither built in"),
        (("--schema", "derive:colour"), "all 352 labels have more than 1 parts"),
        (("--schema", "us-plate"), "256 of 256 rows cannot be used"),
        (("--data", "nowhere"), "nowhere: cannot be read"),
        (("--repeats", "1", "2"), "expected one repeat >= 1 for each of the 1 sources"),
        (("--imgsz", "4", "32"), "input size must be at least 8x8 px"),
        (("--resize", "crop"), "resize rule 'crop' is unknown"),
        (("--loop.steps", "0"), "steps, batch and validate_every must be >= 1"),
        (("--loop.augment.blur", "2"), "augmentation strengths must lie in [0, 1]"),
        (("--loop.optim.lr", "nan"), "need 0 < final_lr <= lr"),
        (("--rank-timeout-s", "0"), "need rank_timeout_s > 0"),
        (("--network.sizes", "width=4"), "width must be a whole number >= 8, got 4"),
        (("--network.sizes", "depth=4"), "it has no size 'depth'. Its sizes and their defaults: "),
        (("--network", "vgg"), "backbone 'vgg' is unknown"),
        (("--init", "nowhere"), "cannot be read"),
        (("--threads", "-1"), "--threads must be 0"),
        (("--loop.seed", "-1"), "seed must be in [0, 2**63)"),
    ],
)
def test_bad_options_and_data_fail_with_one_error(
    lamps: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    message: str,
) -> None:
    assert main(arguments(lamps, tmp_path / "out", *more)) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untrained")
def test_an_empty_list_and_a_truncated_picture_are_one_error(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "data"
    place.mkdir()
    path = place / "labels.tsv"
    path.write_text("\n", encoding="utf-8")
    options = ("--schema", str(write_schema(place / "schema.json")), "--data", str(path))
    assert main(arguments(lamps, tmp_path / "out", *options)) == 1
    told = capsys.readouterr().err
    assert told == f"error: {path}: no samples; expected lines of path<TAB>label\n"
    cv2.imwrite(str(place / "a.jpg"), np.zeros((40, 60, 3), np.uint8))
    (place / "a.jpg").write_bytes((place / "a.jpg").read_bytes()[:-60])
    path.write_text("a.jpg\tred,left\n", encoding="utf-8")
    assert main(arguments(lamps, tmp_path / "out", *options)) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {path}: 1 of 1 rows cannot be used")
    assert f"{path}:1: {place / 'a.jpg'}: the picture is cut short" in told
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.usefixtures("untrained")
def test_no_data_is_one_error(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = arguments(lamps, tmp_path / "out", "--schema", "us-plate")
    options[2:3] = []
    assert main(options) == 1
    assert capsys.readouterr().err.startswith("error: no labelled lists or trees were given")


@pytest.mark.usefixtures("untrained")
def test_missing_options_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny"]) == 2
    assert main(["huge"]) == 2
    assert main([]) == 2


@pytest.mark.usefixtures("untrained")
def test_without_matplotlib_it_fails_before_the_training_not_after(
    lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        fit(lamps_config(lamps, tmp_path / "out"))


# ---- trees of photographs ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree ``black_jeans/...``: tall or wide things in two colours."""
    folder = tmp_path_factory.mktemp("clothes")
    random = np.random.default_rng(0)
    for colour, level in (("black", 30), ("blue", 200)):
        for garment, (height, width) in (("jeans", (24, 8)), ("shirt", (10, 24))):
            place = folder / f"{colour}_{garment}"
            place.mkdir()
            for index in range(24):
                image = random.integers(100, 140, (32, 32, 3)).astype(np.uint8)
                top, left = random.integers(0, 32 - height), random.integers(0, 32 - width)
                image[top : top + height, left : left + width] = (level, 30, 30)
                cv2.imwrite(str(place / f"{index}.png"), image)
    return folder


@pytest.mark.parametrize("rule", ["derive:labels", "derive:colour,garment"])
def test_attributes_of_photographs_from_a_tree(clothes: Path, tmp_path: Path, rule: str) -> None:
    options = [
        "clothing-two-heads",
        *("--data", str(clothes), "--validation", str(clothes), "--schema", rule),
        *("--output", str(tmp_path / "out"), "--imgsz", "32", "32", "--threads", "1"),
        *("--network.sizes", "width=8", "last_width=16"),
        *("--loop.steps", "60", "--loop.batch", "16", "--loop.optim.warmup", "5"),
        *("--loop.optim.lr", "0.01", "--loop.augment.geometry", "0", "--loop.augment.colour", "0"),
    ]
    assert main(options) == 0
    checkpoint = load_checkpoint(tmp_path / "out")
    names = [head.name for head in checkpoint.schema.heads]
    assert names == (["labels"] if rule == "derive:labels" else ["colour", "garment"])
    assert checkpoint.network.pool == "global"
    assert checkpoint.metrics["exact"] >= 0.6  # guessing is right in a quarter
    json.dumps(checkpoint.metrics, allow_nan=False)
