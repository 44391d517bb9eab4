"""Training in INT8: from calibration to weights and steps that expect to be rounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import compress.quantize.cli
import compress.quantize.harm
import train.loop
from compress.distill.distillation import DistillationConfig
from compress.quantize.cli import QuantizeConfig, main, quantize
from compress.quantize.int8_speed import score_on
from compress.quantize.qat import QatConfig
from runtime.errors import ConfigError, ParityError
from runtime.schema import Head, HeadKind, Schema
from runtime.scores import OperatingPoint
from tests.slimming import SCHEMA, SPEC, tiny_config, tiny_network, write_checkpoint
from tests.training import NO_CHANGES, lamps_config, quick_loop
from train.augment import AugmentConfig
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.data import load_crops
from train.lineage import lineage_entry
from train.losses import LossConfig
from train.mixing import MixingConfig
from train.network import build
from train.sampling import SamplingConfig
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")


def options(source: Path, lamps: Path, output: Path, **changes: Any) -> QuantizeConfig:
    settings: dict[str, Any] = {
        "steps": 16,
        "data": (lamps / "train",),
        "batch": 16,
        "validate_every": 8,
        "lr": 3e-3,
        "augment": NO_CHANGES,
        "teacher": (source,),
        "distill": DistillationConfig(weight=0.1),
    }
    return QuantizeConfig(
        checkpoint=source,
        calibration=(lamps / "train",),
        validation=(lamps / "val",),
        output=output,
        samples=64,
        max_drop=1.0,
        max_flips=1.0,
        engine="onnxruntime",
        qat=QatConfig(**{**settings, **changes}),
    )


@pytest.fixture(scope="module")
def source(lamps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow network with BatchNorms that are anything but neutral; its answers are random."""
    folder = tmp_path_factory.mktemp("source") / "checkpoint"
    return write_checkpoint(folder, tiny_network(width=8), tiny_config(width=8)).folder


@pytest.fixture(scope="module")
def trained(source: Path, lamps: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return quantize(options(source, lamps, tmp_path_factory.mktemp("trained") / "int8"))


def test_the_network_learns_through_its_roundings(trained: Checkpoint, source: Path) -> None:
    report = trained.metrics["quantize"]
    losses = [row["validation_loss"] for row in report["history"]]
    assert len(losses) == 2
    assert losses[-1] < losses[0]
    assert not trained.folder.with_name("int8.run").exists()
    inputs = trained.lineage["quantize"]["inputs"]
    assert set(inputs) == {"checkpoint", "calibration", "data", "validation", "teacher"}
    assert inputs["teacher"] == load_checkpoint(source).digest
    # Its accuracies are those of its own INT8 network: the one before was random.
    drops = report["drops"]
    assert trained.metrics["exact"] == drops["exact"]["after"]
    assert trained.metrics["heads"] == {name: drops[name]["after"] for name in ("colour", "side")}


def test_graph_and_float_weights_are_one_network(trained: Checkpoint, lamps: Path) -> None:
    crops = load_crops([lamps / "val"], trained.schema, SPEC)
    expected = score(trained.build(), crops)
    found = score_on("onnxruntime", onnx.load(trained.graph), trained.schema, SPEC, crops)
    for name, logits in found.items():
        # Rounding apart: the INT8 graph does what the checkpoint's own weights do in float.
        assert np.corrcoef(logits.ravel(), expected[name].ravel())[0, 1] > 0.99
    assert trained.operating.fitted_on is not None


def test_each_network_is_judged_with_thresholds_of_its_own(lamps: Path, tmp_path: Path) -> None:
    head = Head(name="extras", kind=HeadKind.LABELS, labels=("red", "left"))
    schema = Schema(name="extras", heads=(head,))
    nothing = OperatingPoint(label_thresholds={"extras": (1.0, 1.0)})
    source = save_checkpoint(
        tmp_path / "source",
        build(schema, SPEC, tiny_config(width=8)),
        schema=schema,
        spec=SPEC,
        config=tiny_config(width=8),
        slimmed=False,
        operating=nothing,
        metrics={},
        lineage={},
    )
    none = 0
    for part in ("train", "val"):
        rows = (lamps / part / "labels.tsv").read_text(encoding="utf-8").splitlines()
        named = dict(row.split("\t") for row in rows)
        shown = {path: {*label.split(",")} & {*head.labels} for path, label in named.items()}
        text = [f"{lamps / part / path}\t{'|'.join(s) or '-'}\n" for path, s in shown.items()]
        (tmp_path / part).mkdir()
        (tmp_path / part / "labels.tsv").write_text("".join(text), encoding="utf-8")
        none = sum(not labels for labels in shown.values())
    changes = {"steps": 2, "teacher": ()}
    found = quantize(options(source.folder, tmp_path, tmp_path / "int8", **changes))
    # With its own thresholds the float network calls nothing, whatever suits the new one.
    assert found.operating.label_thresholds != nothing.label_thresholds
    assert found.metrics["quantize"]["drops"]["exact"]["before"] == none / 96


def test_an_interrupted_training_ends_with_the_same_decisions(
    trained: Checkpoint, source: Path, lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = train.loop.training_batches

    def stopped(*arguments: Any, **named: Any) -> Iterator[Any]:
        for number, batch in enumerate(batches(*arguments, **named)):
            if number == 10:
                raise KeyboardInterrupt
            yield batch

    config = options(source, lamps, tmp_path / "int8")
    with monkeypatch.context() as patch:
        patch.setattr(train.loop, "training_batches", stopped)
        patch.setattr(train.loop, "_SAVE_EVERY_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            quantize(config)
    assert (tmp_path / "int8.run").exists()
    assert not (tmp_path / "int8").exists()
    again = quantize(config)
    assert again.digest == trained.digest
    assert again.graph.read_bytes() == trained.graph.read_bytes()


def test_a_training_that_costs_too_much_says_so_and_is_kept(
    lamps_checkpoint: Path,
    lamps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ranked = "layers went back to float for what the training lost"
    monkeypatch.setattr(compress.quantize.harm, "rank_layers", lambda *_: pytest.fail(ranked))
    changes = {"steps": 4, "lr": 10.0, "teacher": ()}
    loose = options(lamps_checkpoint, lamps, tmp_path / "int8", **changes)
    with pytest.raises(ParityError, match=r"the training .* itself costs too much, .* exact loses"):
        quantize(replace(loose, max_drop=0.0))
    assert (tmp_path / "int8.run").exists()
    capsys.readouterr()
    quantize(loose)
    assert "going on after step 4" in capsys.readouterr().err
    assert not (tmp_path / "int8.run").exists()


def test_what_is_not_given_is_taken_from_the_training_of_the_checkpoint(
    lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = quick_loop(
        augment=AugmentConfig(flip=0.5, colour=0.125),
        mixing=MixingConfig(cutmix=1.0),
        loss=LossConfig(choice="focal"),
        sampling=SamplingConfig(balance=0.25),
    )
    lineage = {"fit": lineage_entry(lamps_config(lamps, tmp_path, loop=photos), {})}
    network = tiny_network(width=8)
    source = save_checkpoint(
        tmp_path / "source",
        network,
        schema=SCHEMA,
        spec=SPEC,
        config=tiny_config(width=8),
        slimmed=False,
        operating=OperatingPoint(),
        metrics={},
        lineage=lineage,
    ).folder
    seen: list[QuantizeConfig] = []
    monkeypatch.setattr(
        compress.quantize.cli,
        "quantize",
        lambda config: seen.append(config) or load_checkpoint(source),
    )
    words = f"{source} --calibration a --validation b --output c --max-drops side=0.5".split()
    qat = ["--qat-steps", "4", "--data", "d", "--qat.augment.colour", "0.25"]
    assert main(words) == main([*words, *qat]) == 0
    alone, trained = seen
    assert alone.qat == QatConfig()
    assert trained.qat == QatConfig(
        steps=4,
        data=(Path("d"),),
        augment=replace(photos.augment, colour=0.25),
        mixing=photos.mixing,
        loss=photos.loss,
        sampling=photos.sampling,
    )
    assert trained.qat.loop(0).mixing == photos.mixing
    assert trained.max_drops == {"side": 0.5}


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"steps": 5}])
def test_steps_need_data(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="needs steps >= 0 and, with steps, training lists"):
        QatConfig(**wrong)  # type: ignore[arg-type]


def test_the_flags_that_people_type(source: Path, lamps: Path) -> None:
    import tyro

    words: Sequence[str] = (
        f"{source} --calibration {lamps}/train --validation {lamps}/val --output x "
        f"--qat-steps 7 --data {lamps}/train --teacher {source} --max-drops side=0.5"
    ).split()
    config = tyro.cli(QuantizeConfig, args=words)
    assert (config.qat.steps, config.qat.teacher) == (7, (source,))
    assert config.max_drops == {"side": 0.5}
