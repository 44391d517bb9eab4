"""What a loss config refuses, and how it is written on a command line."""

from __future__ import annotations

from typing import Any

import pytest
import tyro

from runtime.errors import ConfigError
from train.losses import AsymmetricConfig, FocalConfig, HarmonyConfig, LossConfig

NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (LossConfig, {"smoothing": 1.0}, "smoothing must be"),
        (LossConfig, {"smoothing": NAN}, "smoothing must be"),
        (LossConfig, {"max_weight": 0.5}, "max_weight >= 1"),
        (LossConfig, {"choice": "asymmetric"}, "unknown losses"),
        (LossConfig, {"labels": "ce"}, "unknown losses"),
        (LossConfig, {"head_weights": {"a": -1.0}}, "weights must be >= 0"),
        (LossConfig, {"label_weights": {"a": NAN}}, "weights must be >= 0"),
        (LossConfig, {"pos_weights": {"a": float("inf")}}, "weights must be >= 0"),
        (LossConfig, {"pos_weight": -2.0}, "weights must be >= 0"),
        (FocalConfig, {"gamma": -0.1}, "need gamma >= 0"),
        (FocalConfig, {"alpha": 1.0}, "alpha in"),
        (HarmonyConfig, {"bins": 1}, "bins >= 2"),
        (HarmonyConfig, {"momentum": 1.0}, "momentum in"),
        (AsymmetricConfig, {"gamma_neg": NAN}, "gamma_neg and gamma_pos >= 0"),
        (AsymmetricConfig, {"clip": 1.0}, "clip in"),
    ],
)
def test_settings_that_cannot_train_are_refused(
    kind: type[Any], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**wrong)


def test_histograms_are_used_where_any_head_asks_for_them() -> None:
    assert not LossConfig(choice="focal", labels="asymmetric").uses_histograms()
    assert LossConfig(choice="ghm").uses_histograms()
    assert LossConfig(labels="ghm").uses_histograms()
    assert LossConfig(heads={"colour": "ghm"}).uses_histograms()


def test_the_command_line() -> None:
    words = (
        "--heads char_1=ghm char_2=focal --head-weights colour=0.5 --pos-weight data "
        "--pos-weights labels.a=b=3 --smoothing 0.1 --focal.gamma 1.5 --ghm.over all"
    )
    assert tyro.cli(LossConfig, args=words.split()) == LossConfig(
        heads={"char_1": "ghm", "char_2": "focal"},
        head_weights={"colour": 0.5},
        pos_weight="data",
        pos_weights={"labels.a=b": 3.0},
        smoothing=0.1,
        focal=FocalConfig(gamma=1.5),
        ghm=HarmonyConfig(over="all"),
    )
    assert tyro.cli(LossConfig, args=["--pos-weight", "2.5"]).pos_weight == 2.5


@pytest.mark.parametrize("wrong", ["colour", "=2", "colour=", "colour=x"])
def test_a_weight_that_is_no_assignment_is_wrong_usage(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        tyro.cli(LossConfig, args=["--head-weights", wrong])
    assert stop.value.code == 2
    assert "head-weights" in capsys.readouterr().err
