"""One step: parts of a batch, replaced losses, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from runtime.errors import ConfigError
from tests.slimming import SCHEMA, SPEC, random_crops
from tests.training import NO_CHANGES, quick_loop
from train.data import Batch
from train.losses import LossConfig, MultiHeadLoss, head_losses, total_loss
from train.mixing import MixingConfig
from train.network import Network
from train.optim import build_optimiser
from train.parallel import Ranks
from train.step import LossFunction, TrainingStep

ROWS = 16


class Flat(nn.Module):
    """A network without BatchNorm: a linear layer per head on the pixels."""

    def __init__(self) -> None:
        super().__init__()
        pixels = SPEC.height * SPEC.width * 3
        self.heads = nn.ModuleDict({h.name: nn.Linear(pixels, h.size) for h in SCHEMA.heads})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        flat = images.flatten(1).float() / 255
        return {name: layer(flat) for name, layer in self.heads.items()}


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(
        random_crops(ROWS),
        {
            head.name: torch.randint(-1, head.size, (ROWS,), generator=generator)
            for head in SCHEMA.heads
        },
    )


def step_of(
    ranks: Ranks | None = None, replacement: LossFunction | None = None, **changes: Any
) -> TrainingStep:
    torch.manual_seed(0)
    network = cast("Network", Flat())
    config = quick_loop(**{"precision": "fp32", "augment": NO_CHANGES, **changes})
    loss = MultiHeadLoss(SCHEMA, config.loss)
    optimiser = build_optimiser(network, config.optim)
    return TrainingStep(network, optimiser, loss, config, ranks or Ranks(), replacement)


def weights_after(step: TrainingStep, steps: int = 3) -> Tensor:
    for number in range(steps):
        step(batch(), number, 0.01)
    return torch.cat([parameter.flatten() for parameter in step.network.parameters()])


@pytest.mark.parametrize("parts", [2, 3, 16])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": LossConfig(choice="focal", smoothing=0.1)},
        {"mixing": MixingConfig(mixup=1, cutmix=1)},
    ],
)
def test_a_step_in_parts_is_a_step(parts: int, changes: dict[str, Any]) -> None:
    whole = step_of(**changes)
    accumulated = step_of(**changes, accumulate=parts)
    assert accumulated(batch(), 0, 0.01) == pytest.approx(whole(batch(), 0, 0.01), rel=1e-5)
    torch.testing.assert_close(weights_after(accumulated), weights_after(whole))


def test_the_mean_is_over_the_known_labels_of_the_whole_batch() -> None:
    """Not over those of each part, which know different numbers."""
    step = step_of(accumulate=4)
    samples = batch()
    expected = total_loss(
        SCHEMA, head_losses(SCHEMA, step.network(samples.images), samples.targets)
    )
    assert step(samples, 0, 0.01) == pytest.approx(expected.item(), rel=1e-6)


def test_a_replaced_loss_sees_changed_pictures_and_is_averaged_over_parts() -> None:
    seen: list[Tensor] = []

    def replacement(given: Batch, logits: Mapping[str, Tensor]) -> Tensor:
        seen.append(given.images)
        assert len(given.targets["side"]) == len(given.images)
        return logits["side"].mean()

    step = step_of(replacement=replacement, accumulate=3)
    expected = step.network(batch().images)["side"].mean().item()
    assert step(batch(), 0, 0.01) == pytest.approx(expected, rel=1e-5)
    assert [len(images) for images in seen] == [5, 5, 6]
    assert torch.equal(torch.cat(seen), batch().images)


def test_what_cannot_be_shared_or_mixed_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixup and cutmix need the heads' own losses"):
        step_of(mixing=MixingConfig(mixup=1), replacement=lambda _, logits: logits["side"].sum())
    with pytest.raises(ConfigError, match="a batch of 16 is too small for 6 processes with 3"):
        step_of(Ranks(0, 6), accumulate=3)
    with pytest.raises(ConfigError, match="must be a multiple of 6 for 3 processes, got 16"):
        step_of(Ranks(0, 3), mixing=MixingConfig(cutmix=1))
