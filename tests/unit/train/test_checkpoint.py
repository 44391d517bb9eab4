"""Checkpoints: what comes back is what was saved, and nothing is trusted unchecked."""

from __future__ import annotations

import json
import pickletools
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch

from runtime.builtin_schemas import us_plate
from runtime.errors import CheckpointError, ConfigError
from runtime.scores import OperatingPoint
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network, write_checkpoint
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.network import Channels, NetworkConfig, build, channel_plan
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[3]
POINT = OperatingPoint(
    temperatures={"colour": 1.25},
    choice_thresholds={"side": 0.1},
    answer_threshold=0.9,
    precision_floor=0.99,
    fitted_on="lamps",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid checkpoint; do not change it."""
    return write_checkpoint(
        tmp_path_factory.mktemp("saved") / "base", tiny_network(), tiny_config()
    ).folder


@pytest.fixture
def changeable(saved: Path, tmp_path: Path) -> Path:
    return Path(copytree(saved, tmp_path / "copy"))


def save(target: Path, **changes: Any) -> Checkpoint:
    settings = {
        "schema": SCHEMA,
        "spec": SPEC,
        "config": tiny_config(),
        "slimmed": False,
        "operating": POINT,
        "metrics": {"exact": 0.5},
        "lineage": {"fit": {"config": {"seed": 1}}},
    } | changes
    return save_checkpoint(target, settings.pop("network", tiny_network()), **settings)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "checkpoint.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


# ---- round trips ------------------------------------------------------------------------------


def test_everything_comes_back(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "a" / "b", extra_files={"notes.txt": b"hello"})
    assert checkpoint == load_checkpoint(tmp_path / "a" / "b")
    assert (checkpoint.schema, checkpoint.input) == (SCHEMA, SPEC)
    assert checkpoint.network == tiny_config()
    assert checkpoint.channels is None
    assert checkpoint.operating == POINT
    assert checkpoint.metrics == {"exact": 0.5}
    assert checkpoint.lineage == {"fit": {"config": {"seed": 1}}}
    assert not checkpoint.quantised
    assert (tmp_path / "a" / "b" / "notes.txt").read_bytes() == b"hello"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


_CHILD = """
import sys
from pathlib import Path
import numpy, torch
from tests.slimming import random_crops
from train.checkpoint import load_checkpoint
from train.scoring import score
torch.set_num_threads(1)
network = load_checkpoint(Path(sys.argv[1])).build()
assert not network.training
numpy.savez(sys.argv[2], **score(network, random_crops(8).numpy()))
"""


@pytest.mark.parametrize("slimmed", [False, True])
def test_a_fresh_process_gives_the_same_bits(tmp_path: Path, slimmed: bool) -> None:
    network = tiny_network()
    if slimmed:
        plan = {
            name: Channels(inputs, outputs // 2 if name.endswith("conv1") else outputs)
            for name, (inputs, outputs, _) in channel_plan(network).items()
        }
        # The inner channels of every block: its second convolution reads what the first gives.
        for name in plan:
            if name.endswith("bn1"):
                plan[name] = Channels(plan[name].inputs // 2, plan[name].inputs // 2)
            if name.endswith("conv2"):
                plan[name] = Channels(plan[name].inputs // 2, plan[name].outputs)
        torch.manual_seed(4)
        network = build(SCHEMA, SPEC, tiny_config(), plan).eval()
    checkpoint = save(tmp_path / "checkpoint", network=network, slimmed=slimmed)
    assert checkpoint.channels == (channel_plan(network) if slimmed else None)
    command = [sys.executable, "-c", _CHILD, str(checkpoint.folder), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, cwd=ROOT)
    with np.load(tmp_path / "out.npz") as fresh:
        for head, values in score(network, random_crops(8).numpy()).items():
            np.testing.assert_array_equal(fresh[head], values)


def test_figures_that_are_no_numbers_are_written_as_null(tmp_path: Path) -> None:
    # A head without a label in the validation data has no accuracy, and JSON has no NaN.
    checkpoint = save(tmp_path / "a", metrics={"heads": {"colour": float("nan")}, "exact": 1.0})
    text = (tmp_path / "a" / "checkpoint.json").read_text(encoding="utf-8")

    def refuse(name: str) -> object:
        raise AssertionError(name)

    json.loads(text, parse_constant=refuse)
    assert checkpoint.metrics == {"heads": {"colour": None}, "exact": 1.0}


def test_older_checkpoints_with_nan_are_still_read(changeable: Path) -> None:
    edit(changeable, lambda value: value.update(metrics={"exact": float("nan")}))
    assert np.isnan(load_checkpoint(changeable).metrics["exact"])


def test_no_pickle_is_in_the_folder(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [
        "checkpoint.json",
        "weights.safetensors",
    ]
    for path in saved.iterdir():
        assert not zipfile.is_zipfile(path)
        with pytest.raises(Exception, match=r"."):
            list(pickletools.genops(path.read_bytes()))


# ---- checkpoints of Headlight 0.1 and networks of the user's own --------------------------------


def test_checkpoints_of_headlight_0_1_are_still_read(tmp_path: Path) -> None:
    """It had one backbone, whose sizes stood under its name, and no groups in channel plans."""
    network = tiny_network()
    folder = save(tmp_path / "a", network=network, slimmed=True).folder

    def older(value: dict[str, Any]) -> None:
        sizes = value["network"].pop("sizes")
        known = ("width", "last_width", "stem_stride", "last_stride")
        value["network"]["resnet18"] = {name: sizes[name] for name in known}
        value["channels"] = {name: plan[:2] for name, plan in value["channels"].items()}

    edit(folder, older)
    checkpoint = load_checkpoint(folder)
    assert checkpoint.network == tiny_config()
    assert checkpoint.channels == channel_plan(network)
    for head, values in score(checkpoint.build(), random_crops(4).numpy()).items():
        np.testing.assert_array_equal(values, score(network, random_crops(4).numpy())[head])


def test_a_network_of_ones_own_that_is_not_here_is_named(changeable: Path) -> None:
    change = {"backbone": "gone.networks:small", "sizes": {"width": 8}}
    edit(changeable, lambda value: value["network"].update(change))
    checkpoint = load_checkpoint(changeable)  # what it says can be read without running anything
    assert checkpoint.network == NetworkConfig(backbone="gone.networks:small", sizes={"width": 8})
    with pytest.raises(
        CheckpointError, match=r"the module 'gone.networks' cannot be imported"
    ) as e:
        checkpoint.build()
    assert str(changeable) in str(e.value)


# ---- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_changed_byte_of_the_weights_is_found(changeable: Path, place: int) -> None:
    path = changeable / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"weights.safetensors was changed: expected sha256"):
        load_checkpoint(changeable)


def test_weights_that_are_missing_or_cut_are_found(changeable: Path) -> None:
    path = changeable / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="was changed"):
        load_checkpoint(changeable)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        load_checkpoint(changeable)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format_version=2), "format version 2 is not 1"),
        (lambda v: v.update(format_version=True), "key 'format_version' must be int"),
        (lambda v: v.pop("format_version"), "format version None is not 1"),
        (lambda v: v.update(extra=1), r"unknown keys \['extra'\]"),
        (lambda v: v.pop("operating"), "key 'operating' is missing"),
        (lambda v: v.update(lineage=[]), "key 'lineage' must be dict"),
        (lambda v: v["network"].update(depth=3), r"unknown keys \['depth'\]"),
        (lambda v: v["network"]["sizes"].pop("width"), r"sizes \['width'\] are missing"),
        (lambda v: v["network"]["sizes"].update(width="8"), "width must be a whole number"),
        (lambda v: v["network"]["sizes"].update(width=True), "size 'width' must be a number"),
        (lambda v: v["network"].update(pool="max"), "pool must be one of"),
        (lambda v: v["input"].update(colour_order="RGB"), "colour_order must be 'BGR'"),
        (lambda v: v["schema"]["heads"].clear(), "has no heads"),
        (lambda v: v["operating"]["temperatures"].update(colour=0), "must be positive"),
        (lambda v: v["operating"]["temperatures"].update(shape=1), r"unknown heads \['shape'\]"),
        (lambda v: v.update(channels={"a": [1]}), r"channels\['a'\] must be \[inputs, out"),
        (lambda v: v.update(weights_sha256=1), "key 'weights_sha256' must be str"),
        (lambda v: v.update(quantised_sha256="0" * 64), "int8.onnx cannot be read"),
    ],
)
def test_a_description_that_is_not_ours_is_refused(
    changeable: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(changeable, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(changeable)
    assert str(changeable) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_folder_that_is_no_checkpoint(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "checkpoint.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint.json"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["network"]["sizes"].update(width=24), "does not fit its channel plan"),
        (lambda v: v["network"].update(pool="global"), "does not fit its channel plan"),
        (lambda v: v["schema"]["heads"][0]["labels"].append("x"), "does not fit its channel plan"),
        (lambda v: v.update(channels={}), "channel plan does not fit the network"),
    ],
)
def test_weights_of_another_network_are_refused(
    changeable: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(changeable, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(changeable).build()


def test_another_schema_is_refused(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    checkpoint.require_schema(SCHEMA)
    with pytest.raises(CheckpointError, match=r"trained for the schema 'lamps' \(2 heads\), asked"):
        checkpoint.require_schema(us_plate())


def test_a_float_checkpoint_has_no_int8_graph(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no INT8 decisions; run `python -m compress"):
        _ = load_checkpoint(saved).graph


def test_a_changed_int8_graph_is_found(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "a", extra_files={"int8.onnx": b"decisions"})
    assert checkpoint.quantised
    assert checkpoint.graph.read_bytes() == b"decisions"
    checkpoint.graph.write_bytes(b"Decisions")
    with pytest.raises(CheckpointError, match=r"int8.onnx was changed"):
        load_checkpoint(tmp_path / "a")


# ---- writing ----------------------------------------------------------------------------------


def test_an_existing_output_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "precious").touch()
    with pytest.raises(ConfigError, match="exists and is not empty"):
        save(tmp_path / "a")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "precious"]
    save(tmp_path / "a", overwrite=True)
    assert not (tmp_path / "a" / "precious").exists()


@pytest.mark.parametrize(
    "wrong", [{"extra_files": {"x": Path("nowhere")}}, {"metrics": {"exact": object()}}]
)
def test_a_failure_leaves_nothing(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises((OSError, TypeError)):
        save(tmp_path / "a", **wrong)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.checkpoint.file_digest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "a")
    assert not list(tmp_path.iterdir())
