from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from benchmarks.foreign.opening import open_foreign
from examples.peers import train_lprnet
from examples.peers.lprnet import INPUT, LPRNet, Vocabulary
from examples.peers.lprnet_files import as_input, write_files
from examples.peers.lprnet_steps import LprnetConfig, LprnetTraining, learning_rate
from runtime.errors import ConfigError
from runtime.schema import load_schema
from runtime.session import SessionOptions
from tests.engines import require
from train.data import Batch, load_crops, training_batches
from train.sampling import SamplingConfig

TEXTS = ["苏E8D2K3", "粤AD12345", "沪AMS087", "浙D911SY", "湘E269JY", "皖A12345"]


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plates")
    random = np.random.default_rng(0)
    for number, _ in enumerate(TEXTS):
        picture = random.integers(0, 256, (30, 100, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    rows = [f"{number}.png\t{text},blue\n" for number, text in enumerate(TEXTS)]
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def config(plates: Path, tmp_path: Path) -> Callable[..., LprnetConfig]:
    def make(**changes: Any) -> LprnetConfig:
        given = {"data": (plates,), "validation": (plates,), "output": tmp_path / "lprnet"}
        return LprnetConfig(**(given | {"steps": 4, "batch": 3, "validate_every": 2} | changes))

    return make


def first_batch(plates: Path) -> Batch:
    crops = load_crops([plates], load_schema("cn-plate"), INPUT)
    return next(training_batches(crops, SamplingConfig(), batch=3, seed=0, start=0))


def test_the_rate_drops_as_in_the_paper(config: Callable[..., LprnetConfig]) -> None:
    whole = config(steps=250_000)
    rates = [learning_rate(step, whole) for step in (0, 99_999, 100_000, 199_999, 200_000)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


@pytest.mark.parametrize("changes", [{"batch": 0}, {"lr": 0.0}, {"gradient_noise": -1.0}])
def test_settings_out_of_range_are_refused(
    config: Callable[..., LprnetConfig], changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        config(**changes)


def test_crops_become_red_green_blue_in_0_to_1() -> None:
    images = torch.zeros(1, 24, 94, 3, dtype=torch.uint8)
    images[..., 0] = 255  # blue
    taken = as_input(images)
    assert taken.shape == (1, 3, 24, 94)
    assert taken.amax(dim=(0, 2, 3)).tolist() == [0, 0, 1]


@pytest.mark.parametrize("augment", ["paper", "headlight"])
def test_a_step_depends_on_seed_and_number_alone(
    plates: Path, config: Callable[..., LprnetConfig], augment: str
) -> None:
    batch, vocabulary = first_batch(plates), Vocabulary.of(load_schema("cn-plate"))

    def loss(number: int) -> float:
        training = LprnetTraining.fresh(config(augment=augment), vocabulary)
        torch.rand(number + 1)  # what others drew before does not matter
        return training.step(batch, number)

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)


def test_a_network_that_knows_the_plates_validates_at_1(
    plates: Path, config: Callable[..., LprnetConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = load_schema("cn-plate")
    vocabulary, crops = Vocabulary.of(schema), load_crops([plates], schema, INPUT)
    training = LprnetTraining.fresh(config(), vocabulary)
    targets = [torch.from_numpy(crops.targets.choices[name]) for name in vocabulary.heads]
    classes, lengths = vocabulary.sequences(targets)
    logits = torch.zeros(len(TEXTS), 88, len(vocabulary))
    logits[:, :, vocabulary.blank] = 20.0
    for row, (known, length) in enumerate(zip(classes, lengths, strict=True)):
        places = 2 * torch.arange(int(length))  # blanks between, for repeated characters
        logits[row, places, known[:length]] = 40.0
    monkeypatch.setattr(type(training.network), "forward", lambda _, images: logits)
    exact, loss = training.validate(crops)
    assert exact == 1
    assert loss < 0.1
    logits[0, 80, 3] = 40.0  # one character too many
    assert training.validate(crops)[0] == pytest.approx(5 / 6)


def test_a_killed_training_ends_as_an_uninterrupted_one(
    config: Callable[..., LprnetConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package)
    ended: list[dict[str, torch.Tensor]] = []

    def keep(network: LPRNet, *_: object, record: Mapping[str, Any]) -> None:
        assert [row["step"] for row in record["history"]] == [2, 4]
        ended.append({name: value.clone() for name, value in network.state_dict().items()})

    monkeypatch.setattr(train_lprnet, "_SAVE_EVERY", 1)
    monkeypatch.setattr(train_lprnet, "write_files", keep)
    train_lprnet.train(config(output=tmp_path / "whole"))
    step = LprnetTraining.step

    def dying(self: LprnetTraining, batch: Batch, number: int) -> float:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(LprnetTraining, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        train_lprnet.train(config())
    monkeypatch.setattr(LprnetTraining, "step", step)
    with pytest.raises(ConfigError, match="other settings"):
        train_lprnet.train(config(lr=1e-4))
    train_lprnet.train(config())
    expected, found = ended
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not (tmp_path / "lprnet.run").exists()


def test_benchmarks_read_what_is_written(plates: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package)
    schema = load_schema("cn-plate")
    vocabulary, crops = Vocabulary.of(schema), load_crops([plates], schema, INPUT)
    torch.manual_seed(0)
    network = LPRNet(len(vocabulary)).eval()
    with torch.no_grad():
        network.answer.bias[vocabulary.labels.index("苏")] = 20.0  # the text of every picture
    write_files(network, schema, vocabulary, crops, tmp_path / "out", record={"steps": 0})
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "lprnet.onnx", "lprnet.toml", "training.json", "weights.safetensors"
    }  # fmt: skip
    _, session = open_foreign(tmp_path / "out" / "lprnet.toml", SessionOptions())
    try:
        answers = session.run(crops.images_at(np.arange(2)))
    finally:
        session.close()
    said = {name: schema.head(name).labels[answers[name][1].argmax()] for name in answers}
    assert (said["char_1"], said["char_8"]) == ("苏", "_")
    assert np.ptp(answers["colour"]) == 0  # not answered: all alike
    record = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert len(record["classes"]) == 75
