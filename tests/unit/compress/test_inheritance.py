"""Training settings taken over from a checkpoint's lineage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.inheritance import training_of
from tests.slimming import tiny_config, tiny_network, write_checkpoint
from train.checkpoint import Checkpoint
from train.lineage import plain
from train.loop_config import LoopConfig
from train.losses import FocalConfig, LossConfig
from train.recipes import RECIPES
from train.sampling import SamplingConfig


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("inheritance") / "base"
    return write_checkpoint(folder, tiny_network(), tiny_config())


def trained(base: Checkpoint, loop: Any) -> Checkpoint:
    return replace(base, lineage={"fit": {"config": {"loop": loop}}, "slim": {}})


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_comes_back(base: Checkpoint, recipe: str) -> None:
    loop = RECIPES[recipe][1].loop
    found = training_of(trained(base, plain(loop)))
    assert found == {
        "sampling": loop.sampling,
        "augment": loop.augment,
        "mixing": loop.mixing,
        "loss": loop.loss,
    }


def test_nested_settings_and_lists_come_back(base: Checkpoint) -> None:
    loss = LossConfig(choice="focal", heads={"side": "ghm"}, focal=FocalConfig(gamma=1.0))
    loop = LoopConfig(loss=loss, sampling=SamplingConfig(balance=0.5, heads=("colour", "side")))
    found = training_of(trained(base, plain(loop)))
    assert (found["loss"], found["sampling"]) == (loss, loop.sampling)


def test_the_last_training_counts(base: Checkpoint) -> None:
    """A student's own training, not that of the network that it started from."""
    loops = [plain(LoopConfig(sampling=SamplingConfig(balance=share))) for share in (0.2, 0.7)]
    steps = dict(zip(("fit", "distill"), loops, strict=True))
    lineage = {name: {"config": {"loop": loop}} for name, loop in steps.items()}
    child = replace(base, lineage={**lineage, "slim": {"config": {"seed": 1}}})
    assert training_of(child)["sampling"].balance == 0.7


@pytest.mark.parametrize("loop", [None, 5, []])
def test_without_a_training_nothing_is_taken_over(base: Checkpoint, loop: object) -> None:
    assert training_of(trained(base, loop)) == {}
    assert training_of(base) == {}


def test_the_words_of_another_version_are_told(
    base: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = {**plain(LoopConfig()), "augment": 0.7, "loss": {"smoothness": 1}}
    del loop["mixing"]
    assert set(training_of(trained(base, loop))) == {"sampling"}
    told = capsys.readouterr().err
    assert "the defaults count for augment, mixing, loss" in told


def test_values_out_of_range_are_not_taken_over(base: Checkpoint, tmp_path: Path) -> None:
    loop = plain(LoopConfig())
    loop["augment"]["flip"] = 3
    assert "augment" not in training_of(trained(base, loop))
