"""Distances between features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compress.distill.hints import PooledHint, StageHint, outputs_of, stage_names
from compress.distill.teachers import Teacher
from runtime.errors import ConfigError
from runtime.schema import Schema
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network, write_checkpoint
from train.backbones import BACKBONES
from train.checkpoint import load_checkpoint
from train.network import NetworkConfig, build


def teacher_of(folder: Path, pool: str = "columns", schema: Schema = SCHEMA) -> Teacher:
    return Teacher(
        write_checkpoint(folder / pool, tiny_network(pool), tiny_config(pool)), schema, SPEC
    )


# ---- what the heads look at -------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["columns", "attention", "global"])
def test_a_student_with_the_same_features_has_nothing_to_learn(tmp_path: Path, pool: str) -> None:
    teacher = teacher_of(tmp_path, pool)
    hint = PooledHint(load_checkpoint(tmp_path / pool).build(), teacher)
    pooled = teacher.network.heads.pool(teacher.network.features(random_crops(3)))
    assert not list(hint.parameters())
    assert hint(pooled, pooled).item() == pytest.approx(0, abs=1e-6)
    # Neither does one whose features are a multiple: heads see directions.
    assert hint(7 * pooled, pooled).item() == pytest.approx(0, abs=1e-6)
    assert hint(-pooled, pooled).item() == pytest.approx(2, abs=1e-6)


def test_columns_are_compared_place_by_place(tmp_path: Path) -> None:
    """Of 2 columns with 32 channels one agrees and one is orthogonal: (0 + 1) / 2."""
    hint = PooledHint(tiny_network(), teacher_of(tmp_path))
    own, wanted = torch.zeros((1, 32, 2)), torch.zeros((1, 32, 2))
    own[0, 0] = 1
    wanted[0, 0, 0] = wanted[0, 1, 1] = 1
    assert hint(own.flatten(1), wanted.flatten(1)).item() == pytest.approx(0.5)


def test_a_narrower_student_learns_a_projection(tmp_path: Path) -> None:
    hint = PooledHint(tiny_network(width=8), teacher_of(tmp_path))
    assert [tuple(p.shape) for p in hint.parameters()] == [(32, 16), (32,)]


def test_attention_compares_the_vectors_of_the_same_heads(tmp_path: Path) -> None:
    only_side = Schema(name="sides", heads=SCHEMA.heads[1:])
    student = build(only_side, SPEC, tiny_config("attention"))
    hint = PooledHint(student, teacher_of(tmp_path, "attention", only_side))
    wanted = torch.randn((2, 2, 32))  # heads colour and side
    assert hint(wanted[:, 1:], wanted).item() == pytest.approx(0, abs=1e-6)
    assert hint(wanted[:, :1], wanted).item() > 0.1


def test_other_pools_or_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="student's pool is average of 1, the teacher's columns"):
        PooledHint(tiny_network("global"), teacher_of(tmp_path))


# ---- stages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_stages_of_every_backbone_shrink(backbone: str) -> None:
    network = build(SCHEMA, SPEC, NetworkConfig(backbone=backbone))
    names = stage_names(network, SPEC)
    with outputs_of(network, names) as found, torch.no_grad():
        network.eval()(random_crops(1))
    sizes = [tuple(found[name].shape[2:]) for name in names]
    areas = [height * width for height, width in sizes]
    assert areas == sorted(set(areas), reverse=True)
    # 16x32 px: halved five times, the last time in height alone; a map of one place says nothing.
    assert len(sizes) >= 3
    assert sizes[-1] == (1, 2)
    assert all(module.training is False for module in network.modules())


def test_hooks_are_taken_off_again() -> None:
    network = tiny_network()
    names = stage_names(network, SPEC)
    with pytest.raises(RuntimeError), outputs_of(network, names):
        raise RuntimeError
    assert not any(module._forward_hooks for module in network.modules())


def test_layers_that_do_not_run_are_one_error() -> None:
    network = tiny_network()
    message = r"the network ran no layers \['(absent|heads.linear)'\]; leave --distill.features"
    for name in ("absent", "heads.linear"):
        with pytest.raises(ConfigError, match=message), outputs_of(network, [name]):
            network(random_crops(1))


def test_energy_maps_of_any_width_are_compared_by_where_they_are_bright() -> None:
    hint = StageHint(["b"], ["y"])
    bright = torch.zeros((1, 5, 2, 2))
    bright[0, :, 0, 0] = 2.0
    elsewhere = torch.zeros((1, 3, 2, 2))
    elsewhere[0, 1, 1, 1] = -1.0
    assert hint({"b": bright}, {"y": bright[:, :2] * 9}).item() == pytest.approx(0, abs=1e-6)
    assert hint({"b": bright}, {"y": elsewhere}).item() == pytest.approx(1)
    # Half of the energy in each of two places: the cosine is 1 / sqrt 2.
    both = bright[:, :3] / 2 + elsewhere
    expected = 1 - 0.5**0.5
    assert hint({"b": bright}, {"y": _even(both)}).item() == pytest.approx(expected)


def _even(features: torch.Tensor) -> torch.Tensor:
    """Give every place that has energy the same."""
    energy = features.square().mean(1, keepdim=True)
    return features / energy.sqrt().where(energy > 0, torch.ones(()))


def test_maps_of_other_sizes_are_brought_to_the_coarser_one() -> None:
    hint = StageHint(["a"], ["x"])
    fine = torch.ones((1, 2, 4, 8))
    fine[..., 4:] = 0
    coarse = torch.ones((1, 7, 2, 2))
    coarse[..., 1:] = 0
    assert hint({"a": fine}, {"x": coarse}).item() == pytest.approx(0, abs=1e-6)


def test_stages_are_paired_from_the_last() -> None:
    hint = StageHint(["a", "b", "c"], ["y", "z"])
    assert (hint.student, hint.teacher) == (["b", "c"], ["y", "z"])
    with pytest.raises(ConfigError, match=r"--distill.stages needs feature maps"):
        StageHint(["a"], [])


def test_features_that_are_no_map_have_no_stages() -> None:
    network = tiny_network("global")
    network.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert stage_names(network, SPEC) == []
