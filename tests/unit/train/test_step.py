"""One step: parts of a batch, guidance, and what is refused."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from runtime.errors import ConfigError
from tests.slimming import SCHEMA, SPEC, random_crops
from tests.training import NO_CHANGES, quick_loop
from train.data import Batch
from train.guidance import Guidance, trained_modules
from train.losses import LossConfig, MultiHeadLoss, head_losses, total_loss
from train.mixing import MixingConfig
from train.network import Network
from train.optim import OptimConfig, build_optimiser
from train.parallel import Ranks
from train.step import TrainingStep

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
    ranks: Ranks | None = None, guidance: Guidance | None = None, **changes: Any
) -> TrainingStep:
    torch.manual_seed(0)
    network = cast("Network", Flat())
    config = quick_loop(**{"precision": "fp32", "augment": NO_CHANGES, **changes})
    shares = guidance.own_shares if guidance else {}
    loss = MultiHeadLoss(SCHEMA, config.loss, shares=shares)
    optimiser = build_optimiser(trained_modules(network, guidance), config.optim)
    return TrainingStep(network, optimiser, loss, config, ranks or Ranks(), guidance)


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


class Pull(Guidance):
    """Asks for a mean logit of ``scale`` on the left, and learns a shift of its own."""

    def __init__(self, own_shares: dict[str, float]) -> None:
        super().__init__()
        self.identity, self.own_shares = {}, own_shares
        self.shift = nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []

    def forward(self, network: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        self.seen.append(images)
        logits: dict[str, Tensor] = network(images)
        return logits, (logits["side"].mean() + self.shift - 3) ** 2


def test_guidance_sees_changed_pictures_and_is_averaged_over_parts() -> None:
    guidance = Pull({"colour": 0, "side": 0})
    step = step_of(guidance=guidance, accumulate=3)
    parts = [step.network(images)["side"].mean() for images in batch().images.split([5, 5, 6])]
    expected = sum(
        len_ / ROWS * (part.item() - 3) ** 2 for len_, part in zip((5, 5, 6), parts, strict=True)
    )
    assert step(batch(), 0, 0.01) == pytest.approx(expected, rel=1e-5)
    assert [len(images) for images in guidance.seen] == [5, 5, 6]
    assert torch.equal(torch.cat(guidance.seen), batch().images)


def test_guidance_stands_beside_the_share_of_the_own_loss_that_is_left() -> None:
    guidance = Pull({"colour": 0.25})
    step = step_of(guidance=guidance)
    logits = step.network(batch().images)
    own = head_losses(SCHEMA, logits, batch().targets)
    guided = (logits["side"].mean() - 3) ** 2
    expected = 0.25 * own["colour"] + own["side"] + guided
    assert step(batch(), 0, 0.01) == pytest.approx(expected.item(), rel=1e-5)


def test_parameters_of_the_guidance_are_trained_too() -> None:
    guidance = Pull({})
    step = step_of(guidance=guidance, optim=OptimConfig(optimiser="adamw", warmup=0))
    step(batch(), 0, 0.01)
    assert guidance.shift.item() == pytest.approx(0.01, rel=1e-3)  # Adam's first step is the rate


def test_guidance_sees_mixed_pictures() -> None:
    guidance = Pull({})
    step_of(guidance=guidance, mixing=MixingConfig(mixup=1))(batch(), 0, 0.01)
    assert not torch.equal(guidance.seen[0], batch().images)


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 16 is too small for 6 processes with 3"):
        step_of(Ranks(0, 6), accumulate=3)
    with pytest.raises(ConfigError, match="must be a multiple of 6 for 3 processes, got 16"):
        step_of(Ranks(0, 3), mixing=MixingConfig(cutmix=1))
