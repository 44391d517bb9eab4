"""Networks of the user's own: found by name, built, trained like ours, and never without care."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runtime.errors import ConfigError, MissingExtraError
from tests.slimming import SCHEMA, SPEC, random_crops, write_checkpoint
from train.backbones.own import build_own, is_own
from train.checkpoint import load_checkpoint
from train.network import NetworkConfig, build

HERE = __name__


class Small(nn.Module):
    def __init__(self, width: int = 8, last_stride: tuple[int, int] = (4, 2)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, last_stride, 1)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.conv(image)
        return features


def pooled(width: int = 8) -> nn.Sequential:
    return nn.Sequential(Small(width), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def flat() -> nn.Sequential:
    return nn.Sequential(Small(), nn.Flatten(2))


def unannotated():  # type: ignore[no-untyped-def]
    return Small()


def lying() -> nn.Module:
    return 3  # type: ignore[return-value]


def failing() -> nn.Module:
    raise RuntimeError("mine")


called: list[str] = []


def harmful(command: str = "") -> int:
    called.append(command)
    return 0


def config(name: str, **changes: Any) -> NetworkConfig:
    return NetworkConfig(backbone=f"{HERE}:{name}", **changes)


@pytest.mark.parametrize("name", ["a:b", "a.b_2.c:D", "timm:resnet10t", "_a:_b"])
def test_names_of_ones_own_networks(name: str) -> None:
    assert is_own(name)


@pytest.mark.parametrize(
    "name", ["", "a", "a.b", ":b", "a:", "a:b:c", "a/b:c", "a:b()", "timm:a.b"]
)
def test_other_names_are_none(name: str) -> None:
    assert not is_own(name)
    with pytest.raises(ConfigError, match=r"unknown; use one of .* package.module:factory"):
        NetworkConfig(backbone=name)


def test_a_class_with_sizes_gets_heads_and_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    own = config("Small", sizes={"width": 12, "last_stride": (4, 4)})
    network = build(SCHEMA, SPEC, own).eval()
    assert network(random_crops(2))["colour"].shape == (2, 3)
    assert network.heads.layers()["colour"].in_features == 12 * 8
    write_checkpoint(tmp_path / "a", network, own)
    again = load_checkpoint(tmp_path / "a")
    assert again.network == own
    crops = random_crops(3)
    with torch.inference_mode():
        assert torch.equal(again.build()(crops)["side"], network(crops)["side"])


def test_a_function_that_pools_by_itself() -> None:
    network = build(SCHEMA, SPEC, config("pooled", sizes={"width": 5}, pool="global"))
    assert network.heads.layers()["side"].in_features == 5
    with pytest.raises(ConfigError, match=r"pool 'columns' needs a feature map .* \(N, 8\); use"):
        build(SCHEMA, SPEC, config("pooled"))


def test_what_is_no_feature_map_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a backbone must return a feature map .*\(1, 8, 64\)"):
        build(SCHEMA, SPEC, config("flat"))


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("nothing", {}, "must hold 'nothing', a subclass of torch.nn.Module or a function ann"),
        ("unannotated", {}, r"annotated to return one \(def unannotated"),
        ("harmful", {"command": "rm"}, "must hold 'harmful', a subclass"),
        ("called", {}, "must hold 'called', a subclass"),
        ("lying", {}, "must be an nn.Module, got int"),
        ("Small", {"depth": 2}, r"argument 'depth'; it takes \(width: 'int' = 8"),
    ],
)
def test_what_makes_no_network_is_not_called(
    name: str, sizes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_own(f"{HERE}:{name}", sizes)
    assert not called


def test_a_checkpoint_cannot_call_what_makes_no_network() -> None:
    with pytest.raises(ConfigError, match="network os:system"):
        build_own("os:system", {"command": "true"})


def test_ones_own_error_is_ones_own() -> None:
    with pytest.raises(RuntimeError, match="mine"):
        build_own(f"{HERE}:failing", {})


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'no.such' cannot be imported .* on PYTHONPATH"):
        build_own("no.such:thing", {})


def test_naming_a_network_imports_nothing() -> None:
    own = NetworkConfig(backbone="this:that", sizes={"a": 1})
    assert NetworkConfig.from_object(own.to_object()) == own
    assert "this" not in sys.modules


# ---- timm, which needs torchvision: a stand-in with its functions ------------------------------


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """timm's two functions that are used; returns what the network's function was called with."""
    calls: list[dict[str, Any]] = []

    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        calls.append({"pretrained": pretrained, **options})
        return Small(8 * options.get("scale", 1))

    package, models = ModuleType("timm"), ModuleType("timm.models")
    models.is_model = lambda name: name == "tiny"  # type: ignore[attr-defined]
    models.model_entrypoint = lambda name: entry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", package)
    monkeypatch.setitem(sys.modules, "timm.models", models)
    return calls


def test_a_network_of_timm_gives_features_and_loads_nothing(timm: list[dict[str, Any]]) -> None:
    own = NetworkConfig(backbone="timm:tiny", sizes={"scale": 2})
    assert build(SCHEMA, SPEC, own).heads.layers()["side"].in_features == 16 * 16
    assert timm == [{"pretrained": False, "num_classes": 0, "global_pool": "", "scale": 2}]


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("timm:huge", {}, "timm has no model 'huge'"),
        ("timm:tiny", {"pretrained": 1}, r"\['pretrained'\] cannot be given"),
    ],
)
def test_what_timm_is_not_asked_for(
    timm: list[dict[str, Any]], name: str, sizes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_own(name, sizes)
    assert not timm


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "timm.models", raising=False)
    with pytest.raises(MissingExtraError, match=r"timm cannot be imported .* `pip install timm`"):
        build_own("timm:tiny", {})
