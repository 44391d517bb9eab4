"""The loss of distillation, against values worked out by hand and other formulas."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from compress.distill.distillation import (
    Distillation,
    DistillationConfig,
    open_distillation,
    soft_loss,
)
from runtime.errors import ConfigError
from runtime.schema import HeadKind
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network, write_checkpoint
from tests.training import NO_CHANGES, quick_loop
from train.data import Batch
from train.guidance import trained_modules
from train.losses import LossConfig, MultiHeadLoss, head_losses
from train.mixing import MixingConfig
from train.network import Network
from train.optim import OptimConfig, build_optimiser
from train.parallel import Ranks
from train.step import TrainingStep

CHOICE, LABELS = HeadKind.CHOICE, HeadKind.LABELS


def logits(seed: int, rows: int = 5, size: int = 4) -> Tensor:
    return 3 * torch.randn((rows, size), generator=torch.Generator().manual_seed(seed))


# ---- the divergence ---------------------------------------------------------------------------


def test_values_worked_out_by_hand() -> None:
    # Probabilities 3/4 and 1/4 against 1/2 and 1/2.
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros((1, 2))
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert soft_loss(CHOICE, student, [teacher], 1).item() == pytest.approx(expected)
    # At temperature 2 a logit of 2 ln 3 is what ln 3 is at 1, and the loss is four times as large.
    assert soft_loss(CHOICE, student, [2 * teacher], 2).item() == pytest.approx(4 * expected)
    # One label of two: yes with 3/4 against 1/2; the other is the same in both. The mean of both.
    both = torch.tensor([[math.log(3), 0.0]])
    assert soft_loss(LABELS, student, [both], 1).item() == pytest.approx(expected / 2)


@given(st.integers(0, 99), st.floats(0.5, 20))
def test_a_choice_head_against_torchs_divergence(seed: int, temperature: float) -> None:
    student, teacher = logits(seed), logits(seed + 100)
    own, wanted = (functional.log_softmax(z / temperature, 1) for z in (student, teacher))
    expected = functional.kl_div(own, wanted, reduction="batchmean", log_target=True)
    found = soft_loss(CHOICE, student, [teacher], temperature)
    assert found.item() == pytest.approx(temperature**2 * expected.item(), rel=1e-4, abs=1e-5)


@given(st.integers(0, 99), st.floats(0.5, 20))
def test_a_labels_head_is_cross_entropy_less_the_teachers_entropy(
    seed: int, temperature: float
) -> None:
    own, wanted = (torch.sigmoid(logits(s).double() / temperature) for s in (seed, seed + 100))
    cross = -(wanted * own.log() + (1 - wanted) * (1 - own).log())
    entropy = -(wanted * wanted.log() + (1 - wanted) * (1 - wanted).log())
    found = soft_loss(LABELS, logits(seed), [logits(seed + 100)], temperature)
    expected = temperature**2 * (cross - entropy).mean().item()
    assert found.item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", [CHOICE, LABELS])
def test_probabilities_of_several_teachers_are_averaged_not_logits(kind: HeadKind) -> None:
    teachers = [logits(1), logits(2), logits(3)]
    shares = [z.softmax(1) if kind is CHOICE else z.sigmoid() for z in teachers]
    mean = torch.stack(shares).mean(0)
    # Logits that have the mean probabilities.
    same = mean.log() if kind is CHOICE else torch.logit(mean)
    found = soft_loss(kind, logits(0), teachers, 1)
    assert found.item() == pytest.approx(soft_loss(kind, logits(0), [same], 1).item(), rel=1e-4)
    averaged = torch.stack(teachers).mean(0)
    other = soft_loss(kind, logits(0), [averaged], 1).item()
    assert other != pytest.approx(found.item(), rel=1e-3)


@pytest.mark.parametrize("kind", [CHOICE, LABELS])
def test_a_student_that_answers_the_same_has_nothing_to_learn(kind: HeadKind) -> None:
    student = logits(0).requires_grad_()
    loss = soft_loss(kind, student, [logits(0)], 3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


def test_at_a_high_temperature_gradients_are_differences_of_logits() -> None:
    """Equation 4 of the paper, times T^2: (z - v) / K for logits of mean 0, here over N rows."""
    student, teacher = (z - z.mean(1, keepdim=True) for z in (logits(0), logits(1)))
    student.requires_grad_()
    soft_loss(CHOICE, student, [teacher], 1000).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(
        student.grad, (student - teacher).detach() / 4 / 5, rtol=0.02, atol=1e-3
    )


def test_sure_teachers_give_finite_losses() -> None:
    sure = torch.tensor([[200.0, -200.0]])
    for kind in (CHOICE, LABELS):
        assert math.isfinite(soft_loss(kind, torch.zeros((1, 2)), [sure], 1).item())
    wrong = soft_loss(CHOICE, -sure, [sure], 1)
    assert wrong.item() == pytest.approx(400)


# ---- as a training's guidance -----------------------------------------------------------------


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("teachers")
    for seed in (1, 2):
        write_checkpoint(folder / str(seed), tiny_network(seed=seed), tiny_config())
    return folder / "1", folder / "2"


def opened(
    teachers: tuple[Path, ...], student: Network, loss: LossConfig | None = None, **more: Any
) -> Distillation:
    config = DistillationConfig(**more)
    return open_distillation(
        teachers, student, schema=SCHEMA, spec=SPEC, config=config, loss=loss or LossConfig()
    )


def step_loss(guidance: Distillation, student: Network, targets: Tensor, **loop: Any) -> float:
    settings = {"precision": "fp32", "augment": NO_CHANGES, "batch": len(targets), **loop}
    config = quick_loop(**settings)
    loss = MultiHeadLoss(SCHEMA, config.loss, shares=guidance.own_shares)
    optimiser = build_optimiser(trained_modules(student, guidance), config.optim)
    step = TrainingStep(student, optimiser, loss, config, Ranks(), guidance)
    return step(Batch(random_crops(len(targets)), {"colour": targets, "side": targets}), 0, 1e-3)


def softs(network: Network, teachers: tuple[Path, ...], temperature: float) -> dict[str, float]:
    from train.checkpoint import load_checkpoint

    network.train()
    images, answers = random_crops(4), []
    with torch.no_grad():
        own = network(images)
        answers = [load_checkpoint(folder).build()(images) for folder in teachers]
    return {
        name: soft_loss(CHOICE, own[name], [a[name] for a in answers], temperature).item()
        for name in own
    }


def test_missing_labels_leave_the_soft_part_alone(teachers: tuple[Path, ...]) -> None:
    student = tiny_network(width=8)
    soft = softs(tiny_network(width=8), teachers, 3)
    guidance = opened(teachers, student, temperature=3, weight=0.4)
    found = step_loss(guidance, student, torch.full((4,), -1))
    expected = 0.4 * (soft["colour"] + soft["side"])
    assert found == pytest.approx(expected, rel=1e-4)


def test_labels_add_what_alpha_leaves_of_the_own_loss(teachers: tuple[Path, ...]) -> None:
    targets = torch.tensor([0, 1, -1, -1])
    fresh = tiny_network(width=8).train()
    own = head_losses(SCHEMA, fresh(random_crops(4)), {"colour": targets, "side": targets})
    soft = {
        name: softs(tiny_network(width=8), teachers[:1], temperature)[name]
        for name, temperature in (("colour", 2), ("side", 5))
    }
    student = tiny_network(width=8)
    guidance = opened(
        teachers[:1],
        student,
        LossConfig(head_weights={"side": 3}),
        temperature=2,
        weight=0.25,
        temperatures={"side": 5},
        weights={"colour": 1},
    )
    loop = {"loss": LossConfig(head_weights={"side": 3})}
    found = step_loss(guidance, student, targets, **loop)
    expected = soft["colour"] + 3 * (0.25 * soft["side"] + 0.75 * own["side"].item())
    assert found == pytest.approx(expected, rel=1e-4)


def test_mixed_pictures_are_what_the_teacher_is_asked_about(teachers: tuple[Path, ...]) -> None:
    student = tiny_network(width=8)
    guidance = opened(teachers, student)
    plain = step_loss(guidance, tiny_network(width=8), torch.tensor([0, 1, 1, 0]))
    mixing = MixingConfig(mixup=1)
    mixed = step_loss(guidance, student, torch.tensor([0, 1, 1, 0]), mixing=mixing)
    assert math.isfinite(mixed)
    assert mixed != pytest.approx(plain)


def test_teachers_are_neither_trained_nor_kept_nor_switched(teachers: tuple[Path, ...]) -> None:
    student = tiny_network(width=8)
    guidance = opened(teachers, student, stages=1)
    assert not list(guidance.parameters())
    assert not guidance.state_dict()
    before = [{k: v.clone() for k, v in t.state_dict().items()} for t in guidance.teachers]
    guidance.train()
    step_loss(guidance, student, torch.tensor([0, 1, 1, 0]))
    for teacher, old in zip(guidance.teachers, before, strict=True):
        assert not teacher.training
        assert not teacher.network.training
        for name, value in teacher.state_dict().items():
            assert torch.equal(value, old[name]), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_projections_of_features_are_trained_with_the_student(
    teachers: tuple[Path, ...], precision: str
) -> None:
    student = tiny_network(width=8)
    guidance = opened(teachers, student, features=1, stages=1, weight=0)
    before = [parameter.clone() for parameter in guidance.parameters()]
    assert [tuple(p.shape) for p in before] == [(32, 16), (32,)] * 2
    unlabelled = torch.full((4,), -1)
    # RAdam gathers moments in its first steps and moves nothing.
    adam = OptimConfig(optimiser="adamw", warmup=0)
    first = step_loss(guidance, student, unlabelled, precision=precision, optim=adam)
    assert 0 < first < 3
    changed = [not torch.equal(a, b) for a, b in zip(before, guidance.parameters(), strict=True)]
    assert all(changed)


def test_the_identity_holds_teachers_and_settings(teachers: tuple[Path, ...]) -> None:
    one, two = (opened(t, tiny_network()) for t in (teachers, teachers[:1]))
    assert one.digests.keys() == {"teacher", "teacher2"}
    assert [*one.digests.values()] == one.identity["teachers"]
    assert one.identity != two.identity
    assert one.identity != opened(teachers, tiny_network(), temperature=9).identity


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": 0}, "temperatures must be > 0"),
        ({"temperature": math.nan}, "temperatures must be > 0"),
        ({"temperatures": {"side": math.inf}}, "temperatures must be > 0"),
        ({"weight": 1.1}, r"weights must be in \[0, 1\]"),
        ({"weights": {"side": math.nan}}, r"weights must be in \[0, 1\]"),
        ({"features": -1}, "features and stages must be >= 0"),
        ({"stages": math.inf}, "features and stages must be >= 0"),
    ],
)
def test_bad_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DistillationConfig(**wrong)


def test_heads_that_do_not_exist_are_refused(teachers: tuple[Path, ...]) -> None:
    with pytest.raises(
        ConfigError, match=r"distill: no heads \['hue'\]; the schema has \['colour'"
    ):
        opened(teachers, tiny_network(), temperatures={"hue": 2})
    with pytest.raises(ConfigError, match="at least one checkpoint folder with --teacher"):
        opened((), tiny_network())


def test_the_mean_over_rows_does_not_depend_on_parts(teachers: tuple[Path, ...]) -> None:
    student = tiny_network(width=8).eval()
    guidance = opened(teachers, student, features=1, stages=1)
    images = random_crops(6)
    _, whole = guidance(student, images)
    parts = [guidance(student, part)[1].item() for part in images.split(2)]
    assert np.mean(parts) == pytest.approx(whole.item(), rel=1e-5)
