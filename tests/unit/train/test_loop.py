"""The loop: an interrupted run ends like an uninterrupted one, and bad runs are refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import train.loop
from runtime.errors import CheckpointError, ConfigError
from tests.slimming import SCHEMA, SPEC, tiny_config, write_checkpoint
from tests.training import quick_loop
from train.data import CropSet, load_crops
from train.guidance import Guidance
from train.loop import LoopConfig, TrainingResult, run_training
from train.losses import LossConfig
from train.mixing import MixingConfig
from train.network import Network, NetworkConfig, build
from train.optim import OptimConfig
from train.step import uses_bf16

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 8
"""Validations after steps 4 and 8."""


@pytest.fixture(scope="module")
def crops(lamps: Path) -> CropSet:
    return load_crops([lamps / "train"], SCHEMA, SPEC)


@pytest.fixture(scope="module")
def validation(lamps: Path) -> CropSet:
    return load_crops([lamps / "val"], SCHEMA, SPEC)


Train = Callable[..., tuple[Network, TrainingResult]]


@pytest.fixture
def train_it(crops: CropSet, validation: CropSet, tmp_path: Path) -> Train:
    """Train a fresh network of seed 0 in ``tmp_path / folder``."""

    def train_it(
        folder: str = "run", config: LoopConfig | None = None, **more: Any
    ) -> tuple[Network, TrainingResult]:
        torch.manual_seed(0)
        network = build(SCHEMA, SPEC, more.pop("network", tiny_config()))
        identity = more.pop("identity", {"network": "tiny"})
        result = run_training(
            network,
            SCHEMA,
            more.pop("crops", crops),
            validation,
            config or quick_loop(STEPS),
            tmp_path / folder,
            identity=identity,
            **more,
        )
        return network, result

    return train_it


class Offset(Guidance):
    """Takes the heads' own losses away and gives each step a loss of its number's choice."""

    def __init__(self, value: Callable[[int], float], name: str = "offset") -> None:
        super().__init__()
        self.identity, self.own_shares = {"name": name}, {"colour": 0.0, "side": 0.0}
        self.value, self.steps = value, 0
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(
        self, network: torch.nn.Module, images: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        logits: dict[str, torch.Tensor] = network(images)
        self.steps += 1
        return logits, 0 * self.weight + self.value(self.steps - 1)


def stop_after(step: int, how: Callable[[], None]) -> Callable[[Network, float], None]:
    calls = 0

    def after_step(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == step:
            how()

    return after_step


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def press_ctrl_c_twice() -> None:
    press_ctrl_c()
    press_ctrl_c()


def without_times(history: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def same_weights(first: Network, second: Network) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(
    one_thread: None,
    crops: CropSet,
    validation: CropSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Network, TrainingResult]:
    """The uninterrupted run that all others must equal."""
    torch.manual_seed(0)
    network = build(SCHEMA, SPEC, tiny_config())
    folder = tmp_path_factory.mktemp("whole")
    config = quick_loop(STEPS)
    identity = {"network": "tiny"}
    return network, run_training(
        network, SCHEMA, crops, validation, config, folder, identity=identity
    )


# ---- a run ------------------------------------------------------------------------------------


def test_a_run_tells_what_it_did(whole: tuple[Network, TrainingResult]) -> None:
    network, result = whole
    assert [row["step"] for row in result.history] == [4, 8]
    assert result.history[-1]["lr"] == pytest.approx(5e-5)
    assert set(result.history[0]) == {
        "step", "seconds", "lr", "loss", "validation_loss", "exact", "heads",
    }  # fmt: skip
    assert set(result.history[0]["heads"]) == {"colour", "side"}
    assert result.best_step in (4, 8)
    assert set(result.evaluation.logits) == {"colour", "side"}
    assert next(network.parameters()).device.type == "cpu"


def test_the_loss_of_a_row_is_the_mean_of_its_steps(train_it: Train) -> None:
    guidance, config = Offset(lambda step: float(step)), quick_loop(7, validate_every=3)
    _, result = train_it(config=config, guidance=guidance)
    losses = [float(step) for step in range(7)]
    rows = [losses[0:3], losses[3:6], losses[6:7]]
    means = [sum(row) / len(row) for row in rows]
    assert [row["loss"] for row in result.history] == pytest.approx(means, rel=1e-12)


def test_the_best_weights_are_kept_or_the_last(
    train_it: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    original = train.loop.evaluate_network

    def worse_and_worse(network: Network, *more: Any) -> Any:
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return replace(original(network, *more), exact=1.0 - len(seen) / 10)

    monkeypatch.setattr(train.loop, "evaluate_network", worse_and_worse)
    best, result = train_it("best")
    assert result.best_step == 4
    assert all(torch.equal(v, seen[0][k]) for k, v in best.state_dict().items())
    seen.clear()
    last, result = train_it("last", keep="last")
    assert result.best_step == 8
    assert all(torch.equal(v, seen[1][k]) for k, v in last.state_dict().items())


def test_hooks_see_every_step_and_add_to_every_row(train_it: Train) -> None:
    rates: list[float] = []
    _, result = train_it(
        after_step=lambda _, rate: rates.append(rate), observe=lambda _: {"seen": len(rates)}
    )
    assert len(rates) == STEPS
    assert [row["seen"] for row in result.history] == [4, 8]


# ---- going on after an interruption -----------------------------------------------------------


@pytest.mark.parametrize("how", [press_ctrl_c, terminate])
@pytest.mark.parametrize("step", [1, 4, 6])
def test_an_interrupted_run_ends_with_the_same_bits(
    train_it: Train,
    whole: tuple[Network, TrainingResult],
    tmp_path: Path,
    step: int,
    how: Callable[[], None],
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_it(after_step=stop_after(step, how))
    assert (tmp_path / "run" / "state.safetensors").exists()
    later: list[None] = []
    network, result = train_it(after_step=lambda *_: later.append(None))
    assert len(later) == STEPS - step  # it did not start anew
    assert same_weights(network, whole[0])
    assert result.best_step == whole[1].best_step
    assert without_times(result.history) == without_times(whole[1].history)
    for name, logits in whole[1].evaluation.logits.items():
        assert (result.evaluation.logits[name] == logits).all()


def test_a_run_interrupted_again_and_again_ends_with_the_same_bits(
    train_it: Train, whole: tuple[Network, TrainingResult]
) -> None:
    for _ in range(STEPS - 1):
        with pytest.raises(KeyboardInterrupt):
            train_it(after_step=stop_after(1, press_ctrl_c))
    network, result = train_it()
    assert same_weights(network, whole[0])
    assert without_times(result.history) == without_times(whole[1].history)


class Tied(nn.Module):
    """One block under two names."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.first, self.blocks = nn.Conv2d(3, 8, 3, 2, 1), nn.ModuleList([block, block])

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.first(image)
        for block in self.blocks:
            features = block(features)
        return features


def test_a_block_under_two_names_is_saved_and_goes_on(train_it: Train, tmp_path: Path) -> None:
    tied = NetworkConfig(backbone=f"{__name__}:Tied", pool="global")
    config = quick_loop(STEPS, ema=0.5)
    network, _ = train_it("whole", config, network=tied)
    with pytest.raises(KeyboardInterrupt):
        train_it(config=config, network=tied, after_step=stop_after(3, press_ctrl_c))
    again, _ = train_it(config=config, network=tied)
    assert same_weights(again, network)
    assert same_weights(write_checkpoint(tmp_path / "tied", again, tied).build(), network)


def kill_at_once() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [press_ctrl_c_twice, kill_at_once])
def test_a_run_killed_at_once_goes_on_from_its_last_state(
    train_it: Train,
    whole: tuple[Network, TrainingResult],
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[], None],
) -> None:
    monkeypatch.setattr(train.loop, "_SAVE_EVERY_S", 0.0)  # save after every step
    with pytest.raises(KeyboardInterrupt):
        train_it(after_step=stop_after(6, how))
    later: list[None] = []
    network, result = train_it(after_step=lambda *_: later.append(None))
    assert len(later) == STEPS - 5
    assert same_weights(network, whole[0])
    assert without_times(result.history) == without_times(whole[1].history)


def test_a_finished_run_only_gives_its_result_again(
    train_it: Train, whole: tuple[Network, TrainingResult]
) -> None:
    train_it()
    network, result = train_it(after_step=stop_after(1, kill_at_once))
    assert same_weights(network, whole[0])
    assert without_times(result.history) == without_times(whole[1].history)


def test_signals_are_as_before_afterwards(train_it: Train) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train_it(config=quick_loop(1))
    with pytest.raises(KeyboardInterrupt):
        train_it("other", after_step=stop_after(1, press_ctrl_c))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# ---- what is refused --------------------------------------------------------------------------


@pytest.fixture
def unfinished(train_it: Train, tmp_path: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        train_it(after_step=stop_after(2, press_ctrl_c))
    return tmp_path / "run"


def test_a_run_of_other_settings_is_refused(
    unfinished: Path, train_it: Train, crops: CropSet
) -> None:
    message = rf"{unfinished} holds an unfinished run of other settings or data; delete the folder"
    others: list[dict[str, Any]] = [
        {"config": quick_loop(STEPS + 1)},
        {"config": quick_loop(STEPS, seed=1)},
        {"identity": {"network": "large"}},
        {"crops": replace_digest(crops)},
    ]
    for other in others:
        with pytest.raises(ConfigError, match=message):
            train_it(**other)
    train_it()


def replace_digest(crops: CropSet) -> CropSet:
    return replace(crops, digest="other")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:100],
        lambda data: b"",
        lambda data: b"\xff" * 64,
        lambda data: data.replace(b'"state"', b'"stale"'),
        lambda data: data.replace(b"network/heads", b"network/tails"),
        lambda data: data.replace(b'\\"step\\":', b'\\"stop\\":'),
        lambda data: data.replace(b"__metadata__", b"__metaxxxx__"),
    ],
)
def test_a_state_that_cannot_be_read_is_refused(
    unfinished: Path, train_it: Train, spoil: Callable[[bytes], bytes]
) -> None:
    path = unfinished / "state.safetensors"
    spoilt = spoil(path.read_bytes())
    assert spoilt != path.read_bytes()
    path.write_bytes(spoilt)
    with pytest.raises(CheckpointError, match=rf"(?s)cannot be read: .*; delete {unfinished}"):
        train_it()


def test_a_state_without_its_best_weights_is_refused(train_it: Train, tmp_path: Path) -> None:
    train_it()
    (tmp_path / "run" / "best.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"best.safetensors cannot be read: .*; delete "):
        train_it()


def test_states_of_before_the_loss_was_kept_are_still_read(
    unfinished: Path, train_it: Train
) -> None:
    path = unfinished / "state.safetensors"
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as stored:
        metadata = stored.metadata()
    state = json.loads(metadata["state"])
    kept = ("step", "seconds", "history", "best_step", "best")
    metadata["state"] = json.dumps({name: state[name] for name in kept})
    save_file(load_file(path), path, metadata)
    assert len(train_it()[1].history) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(
    train_it: Train, tmp_path: Path, value: float
) -> None:
    with pytest.raises(ConfigError, match=r"the loss became (nan|inf|-inf); lower --loop.optim.lr"):
        train_it(guidance=Offset(lambda _: value))
    assert not list(tmp_path.iterdir())  # no step was done: nothing to go on from


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"validate_every": 0},
        {"precision": "fp16"},
        {"accumulate": 0},
        {"accumulate": 65},
        {"patience": -1},
        {"ema": 1.0},
        {"ema": float("nan")},
        {"accumulate": 2, "loss": LossConfig(choice="ghm")},
    ],
)
def test_settings_that_cannot_train_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"must be"):
        LoopConfig(**wrong)


def test_precision() -> None:
    assert uses_bf16("bf16")
    assert not uses_bf16("fp32")
    assert isinstance(uses_bf16("auto"), bool)


WITH_STATE: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16"},
    "ema": {"ema": 0.9},
    "ghm": {"loss": LossConfig(choice="ghm")},
    "mixed": {"mixing": MixingConfig(mixup=0.4, cutmix=1.0), "accumulate": 3},
    "adamw": {"optim": OptimConfig(optimiser="adamw", schedule="step", warmup=1)},
    "sgd": {"optim": OptimConfig(optimiser="sgd", schedule="constant", warmup=1)},
}


@pytest.mark.parametrize("name", WITH_STATE)
def test_all_that_a_step_depends_on_is_resumed(train_it: Train, name: str) -> None:
    config = quick_loop(4, **WITH_STATE[name])
    network, result = train_it("whole", config)
    with pytest.raises(KeyboardInterrupt):
        train_it("parts", config, after_step=stop_after(3, press_ctrl_c))
    resumed, again = train_it("parts", config)
    assert same_weights(resumed, network)
    assert without_times(again.history) == without_times(result.history)


# ---- averages, early ends ---------------------------------------------------------------------


def test_the_average_of_weights_is_validated_and_kept(train_it: Train) -> None:
    """With a hook that changes weights after the step, as slimming does."""
    live: list[dict[str, torch.Tensor]] = []
    seen: list[torch.Tensor] = []
    names = {"backbone.stem.1.weight"}

    def shrink(network: Network, _: float) -> None:
        with torch.no_grad():
            for name in names:
                network.get_parameter(name).mul_(0.5)
        live.append({k: v.clone() for k, v in network.state_dict().items()})

    def observe(network: Network) -> dict[str, Any]:
        seen.append(network.get_parameter("backbone.stem.1.weight").clone())
        return {}

    torch.manual_seed(0)
    average = build(SCHEMA, SPEC, tiny_config()).state_dict()
    config = quick_loop(STEPS, ema=0.5)
    network, _ = train_it(config=config, after_step=shrink, observe=observe, keep="last")
    for step, weights in enumerate(live, start=1):
        stays = min(0.5, (1 + step) / (10 + step))
        for name, value in weights.items():
            if value.is_floating_point():
                average[name] = stays * average[name] + (1 - stays) * value
            else:
                average[name] = value
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-6)
    assert torch.equal(seen[-1], network.get_parameter("backbone.stem.1.weight"))
    assert not same_weights_as(network, live[-1])


def same_weights_as(network: Network, state: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_run_ends_early_when_it_no_longer_gets_better(
    train_it: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Best at the third validation; the fifth is the second in a row that is not better.
    found = iter([0.2, 0.1, 0.6, 0.6, 0.5, *[0.9] * 9])
    original = train.loop.evaluate_network

    def scripted(network: Network, *more: Any) -> Any:
        return replace(original(network, *more), exact=next(found), loss=1.0)

    monkeypatch.setattr(train.loop, "evaluate_network", scripted)
    config = quick_loop(STEPS, validate_every=1, patience=2)
    _, result = train_it(config=config)
    assert [row["step"] for row in result.history] == [1, 2, 3, 4, 5]
    assert result.best_step == 3
    # The same command again finds it finished.
    _, again = train_it(config=config, after_step=stop_after(1, kill_at_once))
    assert again.history == result.history
