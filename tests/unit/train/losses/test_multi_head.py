"""All heads together: masks, weights, parts of a batch, mixed samples and GHM's state."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax
from torch import Tensor

from benchmarks.labelled import Targets
from runtime.errors import ConfigError
from runtime.schema import Head, HeadKind, Schema
from train.losses import HarmonyConfig, LossConfig, MultiHeadLoss, Truth, head_losses, total_loss

SCHEMA = Schema(
    name="three",
    heads=(
        Head(name="one", kind=HeadKind.CHOICE, labels=("a", "b", "c")),
        Head(name="type", kind=HeadKind.CHOICE, labels=("d", "e"), loss_weight=2.0),
        Head(name="some", kind=HeadKind.LABELS, labels=("x", "y"), loss_weight=0.25),
    ),
)
ROWS = 12


def batch(seed: int = 0, rows: int = ROWS) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random logits and targets with missing labels."""
    random = np.random.default_rng(seed)
    logits = {
        h.name: torch.tensor(random.normal(0, 2, (rows, h.size)).astype("f4")) for h in SCHEMA.heads
    }
    targets = {
        "one": torch.tensor(random.integers(-1, 3, rows)),
        "type": torch.tensor(random.integers(-1, 2, rows)),
        "some": torch.tensor(random.integers(-1, 2, (rows, 2))),
    }
    return logits, targets


def whole(targets: Mapping[str, Tensor]) -> Truth:
    return Truth(targets, torch.ones(len(targets["one"])))


def loss_of(config: LossConfig, logits: Mapping[str, Tensor], *truths: Truth, **more: Any) -> float:
    loss = MultiHeadLoss(SCHEMA, config, **more)
    return float(loss(logits, truths, loss.counts(truths)))


CONFIGS = {
    "plain": LossConfig(),
    "smoothed": LossConfig(smoothing=0.1),
    "focal": LossConfig(choice="focal", labels="focal"),
    "asymmetric": LossConfig(labels="asymmetric"),
    "ghm": LossConfig(choice="ghm", labels="ghm"),
    "ghm, every class": LossConfig(choice="ghm", ghm=HarmonyConfig(elements="every")),
    "ghm, pooled": LossConfig(choice="ghm", labels="ghm", ghm=HarmonyConfig(over="all")),
    "ghm of one head": LossConfig(heads={"type": "ghm"}),
}


# ---- what the plain losses say -----------------------------------------------------------------


def test_by_default_it_is_what_validation_reports() -> None:
    logits, targets = batch()
    expected = total_loss(SCHEMA, head_losses(SCHEMA, logits, targets))
    assert loss_of(LossConfig(), logits, whole(targets)) == pytest.approx(expected.item())


def test_weights_of_heads_and_labels() -> None:
    logits = {"one": torch.zeros(1, 3), "type": torch.zeros(1, 2), "some": torch.zeros(1, 2)}
    targets = {
        "one": torch.tensor([0]), "type": torch.tensor([1]), "some": torch.tensor([[1, 0]]),
    }  # fmt: skip
    truth = whole(targets)
    assert loss_of(LossConfig(), logits, truth) == pytest.approx(log(3) + 2.25 * log(2))
    halved = LossConfig(head_weights={"type": 0.5, "one": 0})
    assert loss_of(halved, logits, truth) == pytest.approx(0.75 * log(2))
    alone = {"one": 0.0, "type": 0.0, "some": 1.0}
    for given, expected in (
        ({"label_weights": {"some.x": 3}}, (3 + 1) / 2),
        ({"pos_weight": 4.0}, (4 + 1) / 2),
        ({"pos_weight": 4.0, "pos_weights": {"some.x": 7, "some.y": 9}}, (7 + 1) / 2),
    ):
        config = LossConfig(head_weights=alone, **given)  # type: ignore[arg-type]
        assert loss_of(config, logits, truth) == pytest.approx(expected * log(2))


def test_weights_from_data() -> None:
    data = Targets(
        {"one": np.array([0, 0, 0, 1, 1, 2]), "type": np.array([0, 1, 0, 1, 0, 1])},
        {"some": np.array([[1, 1], [0, 1], [0, 0], [0, 1], [-1, -1], [-1, -1]], np.int8)},
    )
    logits, targets = batch()
    config = LossConfig(class_weights="data", pos_weight="data")
    found = loss_of(config, logits, whole(targets), targets=data)
    # N / (K n) of head one; head type is even. Negatives over positives: 3 / 1 and 1 / 3.
    known = targets["one"] >= 0
    by_class = torch.tensor([2 / 3, 1, 2])[targets["one"][known]]
    each = torch.nn.functional.cross_entropy(
        logits["one"][known], targets["one"][known], reduction="none"
    )
    plain = head_losses(SCHEMA, logits, targets)
    flags = targets["some"]
    some = torch.nn.functional.binary_cross_entropy_with_logits(
        logits["some"],
        flags.clamp(min=0).float(),
        pos_weight=torch.tensor([3, 1 / 3]),
        reduction="none",
    )[flags >= 0]
    expected = (each * by_class).mean() + 2 * plain["type"] + 0.25 * some.mean()
    assert found == pytest.approx(expected.item(), rel=1e-5)


# ---- masks, parts and mixtures -----------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_missing_labels_count_for_nothing(name: str) -> None:
    logits, targets = batch()
    expected = loss_of(CONFIGS[name], logits, whole(targets))
    more, _ = batch(seed=1)
    longer = {n: torch.cat([logits[n], more[n]]).requires_grad_() for n in logits}
    unknown = {n: torch.cat([t, torch.full_like(t, -1)]) for n, t in targets.items()}
    loss = MultiHeadLoss(SCHEMA, CONFIGS[name])
    found = loss(longer, [whole(unknown)], loss.counts([whole(unknown)]))
    found.backward()
    assert found.item() == pytest.approx(expected, rel=1e-5)
    for value in longer.values():
        assert value.grad is not None
        assert value.grad[ROWS:].abs().max() == 0
        assert value.grad[:ROWS].abs().max() > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_a_batch_without_any_label_costs_nothing(name: str) -> None:
    logits, targets = batch()
    nothing = whole({n: torch.full_like(t, -1) for n, t in targets.items()})
    assert loss_of(CONFIGS[name], logits, nothing) == 0


@pytest.mark.parametrize("name", [name for name in CONFIGS if "ghm" not in name])
def test_parts_of_a_batch_add_up(name: str) -> None:
    logits, targets = batch()
    loss = MultiHeadLoss(SCHEMA, CONFIGS[name])
    truth = whole(targets)
    counts = loss.counts([truth])
    parts = [
        loss({n: v[a:b] for n, v in logits.items()}, [truth.rows(a, b)], counts)
        for a, b in ((0, 2), (2, 7), (7, ROWS))
    ]
    assert sum(parts).item() == pytest.approx(loss_of(CONFIGS[name], logits, truth), rel=1e-5)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_lose_as_one(name: str) -> None:
    logits, targets = batch()
    truth, half = whole(targets), ROWS // 2
    # What the processes put in for others to add: first run to collect, second to use.
    sums: list[list[Tensor]] = [[], []]

    def run(rank: int, others: list[Tensor] | None) -> Tensor:
        seen = iter(others or [])

        def add(tensor: Tensor) -> Tensor:
            if others is None:
                sums[rank].append(tensor.clone())
                return tensor
            return tensor + next(seen)

        rows = slice(rank * half, (rank + 1) * half)
        loss = MultiHeadLoss(SCHEMA, CONFIGS[name], add=add)
        own = [truth.rows(rows.start, rows.stop)]
        return loss({n: v[rows] for n, v in logits.items()}, own, loss.counts(own))  # type: ignore[no-any-return]

    for rank in (0, 1):
        run(rank, None)
    together = run(0, sums[1]) + run(1, sums[0])
    assert together.item() == pytest.approx(loss_of(CONFIGS[name], logits, truth), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "ghm" not in name])
def test_mixed_samples_lose_their_shares_over_the_known_weight(name: str) -> None:
    logits, targets = batch()
    other = {n: t.flip(0) for n, t in targets.items()}
    share = torch.linspace(0, 1, ROWS)
    found = loss_of(CONFIGS[name], logits, Truth(targets, share), Truth(other, 1 - share))
    # Sample by sample, with plain truths of one row.
    expected = 0.0
    for head in SCHEMA.heads:
        only = {h.name: float(h is head) * h.loss_weight for h in SCHEMA.heads}
        config = LossConfig(**{**_fields(CONFIGS[name]), "head_weights": only})
        total, weight = 0.0, 0.0
        for truth, part in ((targets, share), (other, 1 - share)):
            for row in range(ROWS):
                one = {n: t[row : row + 1] for n, t in truth.items()}
                count = float((one[head.name] >= 0).sum() * part[row])
                scores = {n: v[row : row + 1] for n, v in logits.items()}
                total += count * loss_of(config, scores, whole(one))
                weight += count
        expected += total / weight
    assert found == pytest.approx(expected, rel=1e-4)


def _fields(config: LossConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_half_precision_logits_give_finite_gradients_in_half_precision() -> None:
    _, targets = batch()
    for config in CONFIGS.values():
        logits = {
            h.name: (100 * torch.randn(ROWS, h.size)).to(torch.bfloat16).requires_grad_()
            for h in SCHEMA.heads
        }
        loss = MultiHeadLoss(SCHEMA, config)
        value = loss(logits, [whole(targets)], loss.counts([whole(targets)]))
        value.backward()
        assert value.dtype == torch.float32
        for each in logits.values():
            assert each.grad is not None
            assert each.grad.dtype == torch.bfloat16
            assert torch.isfinite(each.grad).all()


# ---- GHM ---------------------------------------------------------------------------------------


def weigh(averages: np.ndarray, norms: np.ndarray, bins: int = 30) -> np.ndarray:
    """Weights of elements whose labels are all known; changes ``averages``."""
    places = np.minimum((norms * bins).astype(int), bins - 1)
    found = np.bincount(places.ravel(), minlength=bins)
    filled = found > 0
    moved = np.where(averages > 0, 0.75 * averages + 0.25 * found, found)
    averages[filled] = moved[filled]
    return norms.size / averages[places] / filled.sum()


@pytest.mark.parametrize("elements", ["true", "every"])
def test_harmonised_losses_follow_their_formula_over_several_steps(elements: str) -> None:
    config = LossConfig(
        choice="ghm", labels="ghm", ghm=HarmonyConfig(elements=elements),  # type: ignore[arg-type]
        head_weights={"one": 1, "type": 0, "some": 1},
    )  # fmt: skip
    loss = MultiHeadLoss(SCHEMA, config)
    one, some = np.zeros(30), np.zeros(30)
    for seed in range(4):
        logits, targets = batch(seed, rows=200)
        targets = {n: t.clamp(min=0) for n, t in targets.items()}
        truth = whole(targets)
        found = loss(logits, [truth], loss.counts([truth])).item()
        rows, label = np.arange(200), targets["one"].numpy()
        p = softmax(logits["one"].numpy().astype(float), 1)
        norms = np.abs(p - np.eye(3)[label])
        surprise = -log_softmax(logits["one"].numpy().astype(float), 1)[rows, label]
        if elements == "true":
            beta = weigh(one, norms[rows, label][:, None])[:, 0]
        else:
            beta = weigh(one, norms)[rows, label]
        q, y = expit(logits["some"].numpy().astype(float)), targets["some"].numpy()
        each = np.where(y == 1, -np.log(q), -np.log1p(-q))
        expected = (beta * surprise).mean() + (weigh(some, np.abs(q - y)) * each).mean()
        assert found == pytest.approx(expected, rel=1e-4)


def test_the_state_holds_the_averages_and_nothing_else() -> None:
    logits, targets = batch()
    truth = whole(targets)
    data = Targets(
        {"one": np.array([0]), "type": np.array([0])}, {"some": np.array([[0, 1]], np.int8)}
    )
    config = LossConfig(choice="ghm", class_weights="data", pos_weight=2.0)
    loss = MultiHeadLoss(SCHEMA, config, data)
    loss(logits, [truth], loss.counts([truth]))
    assert set(loss.state_dict()) == {"histograms.averages"}
    again = MultiHeadLoss(SCHEMA, config, data)
    again.load_state_dict(loss.state_dict())
    values = [each(logits, [truth], each.counts([truth])).item() for each in (loss, again)]
    assert values[0] == values[1]
    assert not MultiHeadLoss(SCHEMA, LossConfig()).state_dict()


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LossConfig(heads={"two": "ce"}), r"no heads \['two'\]; the schema has \['one', 'type'"),
        (LossConfig(head_weights={"two": 1}), r"no heads \['two'\]"),
        (LossConfig(label_weights={"some.z": 1}), r"no labels of labels heads \['some.z'\]"),
        (LossConfig(pos_weights={"one.a": 1}), r"the schema has \['some.x', 'some.y'\]"),
        (LossConfig(heads={"one": "bce"}), "'bce' does not fit head 'one'; choice heads take one"),
        (LossConfig(heads={"some": "ce"}), "'ce' does not fit head 'some'; labels heads take one"),
        (LossConfig(pos_weight="data"), "weights of head 'some' are to come from data"),
        (LossConfig(labels="focal", pos_weight=8.0), r"positive weights \['pos_weight'\] would do"),
        (LossConfig(labels="ghm", pos_weights={"some.x": 8}), r"\['some.x'\] would do nothing"),
        (LossConfig(class_weights="data"), "weights of head 'one' are to come from data"),
    ],
)
def test_a_loss_that_does_not_fit_the_schema_is_refused(config: LossConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MultiHeadLoss(SCHEMA, config)
