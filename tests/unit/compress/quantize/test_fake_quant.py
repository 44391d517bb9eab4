"""The network that is trained in INT8 computes what its Q/DQ graph computes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from compress.quantize.decisions import Decisions
from compress.quantize.fake_quant import FakeQuantised, StepQuantiser, WeightQuantiser
from compress.quantize.folding import fold_norms, unfold_norms
from runtime.arrays import Logits
from runtime.errors import EngineError, ParityError
from tests.slimming import SCHEMA, SPEC, random_crops
from train.int8.placement import Layer
from train.network import Network, NetworkConfig, build
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")


def random_network(config: NetworkConfig) -> Network:
    """A network whose statistics fit what it computes, as after a training."""
    torch.manual_seed(0)
    network = build(SCHEMA, SPEC, config)
    with torch.no_grad():
        for _ in range(20):
            network.train()(random_crops(32))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    for linear in network.heads.layers().values():
        nn.init.normal_(linear.weight)
    return network.eval()


@dataclass(frozen=True)
class Case:
    network: Network
    folded: Network
    pairs: dict[str, str]
    decisions: Decisions
    student: FakeQuantised


CONFIGS = {
    # A fused head, residual additions with and without a convolution in the shortcut.
    "resnet18": NetworkConfig(
        sizes={"width": 8, "last_width": 16, "blocks": (1, 1, 1, 2)}, pool="columns"
    ),
    # Hard-swish, squeeze-and-excite, depthwise, additions without a ReLU; heads with attention.
    "mobilenet": NetworkConfig(
        backbone="mobilenet_v3_small", sizes={"multiplier": 0.25}, pool="attention"
    ),
}


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def case(request: pytest.FixtureRequest, one_thread: None) -> Case:
    return case_of(random_network(CONFIGS[request.param]))


def case_of(network: Network) -> Case:
    folded, pairs = fold_norms(network, SPEC)
    decisions = Decisions.measure(folded, SCHEMA, SPEC, random_crops(64).numpy())
    student = FakeQuantised(folded, SPEC, decisions.layers, decisions.steps)
    return Case(network, folded, dict(pairs), decisions, student)


def graph_scores(decisions: Decisions, images: Tensor) -> Logits:
    """Scores of the Q/DQ graph by its own arithmetic: optimised, ORT rounds biases as well."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    graph = decisions.graph(decisions.names).SerializeToString()
    session = onnxruntime.InferenceSession(graph, settings)
    found = session.run(None, {"image": images.numpy()})
    return dict(zip([head.name for head in SCHEMA.heads], found, strict=True))


def test_torch_and_the_graph_agree(case: Case) -> None:
    check_agreement(case)


def check_agreement(case: Case) -> None:
    images = random_crops(40, seed=3)
    expected = graph_scores(case.decisions, images)
    plain = score(case.folded, images.numpy())
    with torch.no_grad():
        found = {name: logits.numpy() for name, logits in case.student(images).items()}
    for name, logits in expected.items():
        np.testing.assert_array_equal(found[name].argmax(1), logits.argmax(1))
        apart = np.abs(found[name] - logits).mean()
        rounding = np.abs(plain[name] - logits).mean()
        # Sums in another order turn a rounding over once in a while; a quantiser in another place,
        # or one missing, would be as large as rounding itself.
        assert apart < 0.1 * rounding
        assert rounding > 0


def test_folded_and_unfolded_networks_compute_the_same(case: Case) -> None:
    images = random_crops(4, seed=7).numpy()
    again = build(SCHEMA, SPEC, _config(case))
    unfold_norms(again, case.folded, case.pairs)
    expected = score(case.network, images)
    for network in (case.folded, again.eval()):
        for name, logits in score(network, images).items():
            np.testing.assert_allclose(logits, expected[name], atol=2e-4)
    assert len(case.pairs) == sum(isinstance(m, nn.BatchNorm2d) for m in case.network.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in case.folded.modules())


def _config(case: Case) -> NetworkConfig:
    return CONFIGS["mobilenet" if "backbone.tail.0" in case.pairs else "resnet18"]


def test_every_weight_and_every_step_is_trained(case: Case) -> None:
    student = case.student
    student.train()
    sum(logits.square().sum() for logits in student(random_crops(4)).values()).backward()  # type: ignore[union-attr]
    gradients = {name: value.grad for name, value in student.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    steps = [name for name in gradients if name.endswith(".change")]
    tensors = {
        tensor for layer in case.decisions.layers for tensor in (layer.input, layer.shortcut)
    }
    assert len(steps) == len(tensors - {""})
    student.zero_grad()


def test_training_mode_changes_nothing(case: Case) -> None:
    images = random_crops(3)
    with torch.no_grad():
        first = case.student.eval()(images)
        second = case.student.train()(images)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_one_crop_or_many(case: Case) -> None:
    images = random_crops(5)
    with torch.no_grad():
        whole, one = case.student(images), case.student(images[:1])
    for name, logits in one.items():
        torch.testing.assert_close(logits, whole[name][:1], atol=0.05, rtol=0)


def test_weights_and_steps_come_back(case: Case) -> None:
    student = case.student
    weights = {name: value.clone() for name, value in student.state_dict().items()}
    with torch.no_grad():
        for name, value in student.named_parameters():
            value.add_(0.25 if name.endswith(".change") else 0.01)
    folded, pairs = fold_norms(case.network, SPEC)
    student.write_back(folded)
    found = student.steps()
    student.load_state_dict(weights)
    before = dict(fold_norms(case.network, SPEC)[0].named_parameters())
    for name, value in folded.named_parameters():
        torch.testing.assert_close(value, before[name] + 0.01)
    factor = float(np.exp(0.25))
    steps = case.decisions.steps
    assert found == {name: pytest.approx(steps[name] * factor) for name in found}
    assert pairs == case.pairs


def test_a_layer_that_the_trace_has_not_is_named(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = torch.fx.symbolic_trace(nn.Identity())
    monkeypatch.setattr("compress.quantize.fake_quant._trace", lambda *_: empty)
    other = Layer(name="backbone.elsewhere", input="x", output="y")
    with pytest.raises(EngineError, match=r"has no layer backbone\.elsewhere"):
        FakeQuantised(case.folded, SPEC, [other], {"x": 1.0})


# ---- networks of the user's own ---------------------------------------------------------------


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU())


class OtherNorm(nn.BatchNorm2d):
    """As other libraries have them; it is not folded before the training."""


class Residual(nn.Module):
    """An addition with more than a convolution and its BatchNorm before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = block(3, 16), nn.Conv2d(16, 16, 3, 1, 1)
        self.behind = nn.Sequential(OtherNorm(16), nn.Dropout(0.1))
        self.last = block(16, 16)

    def forward(self, image: Tensor) -> Tensor:
        features = self.first(image)
        result: Tensor = self.last(self.behind(self.conv(features)) + features)
        return result


def test_the_shortcut_is_rounded_whatever_stands_before_the_addition() -> None:
    found = case_of(random_network(NetworkConfig(backbone=f"{__name__}:Residual", pool="global")))
    (layer,) = [layer for layer in found.decisions.layers if layer.addition]
    assert layer.name == "backbone.conv"
    check_agreement(found)


class Plain(nn.Module):
    """A BatchNorm without scales behind the first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16, affine=False), nn.ReLU())
        self.last = block(16, 16)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.last(self.first(image))
        return result


class Shared(nn.Module):
    """Two convolutions with one BatchNorm, and one with two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = block(3, 16)
        self.left, self.right = (nn.Conv2d(16, 16, 3, 1, 1) for _ in range(2))
        self.norm, self.both = nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.first(image)
        features = self.norm(self.left(features)).relu() + self.norm(self.right(features)).relu()
        for norm in self.norms:
            features = norm(self.both(features)).relu()
        return features


class Recurrent(nn.Module):
    """One block that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = block(3, 16), block(16, 16)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.again(self.again(self.first(image)))
        return result


@pytest.mark.parametrize(
    ("name", "folded", "layers"),
    [
        ("Plain", ["last.0"], ["first.0", "last.0"]),
        ("Shared", ["first.0"], ["first.0", "left", "right", "both", "both.2"]),
        ("Recurrent", ["again.0", "first.0"], ["first.0", "again.0", "again.0.2"]),
    ],
)
def test_norms_without_a_convolution_of_their_own_stay(
    name: str, folded: list[str], layers: list[str]
) -> None:
    config = NetworkConfig(backbone=f"{__name__}:{name}", pool="global")
    network, again = random_network(config), build(SCHEMA, SPEC, config)
    found = case_of(network)
    assert sorted(found.pairs) == [f"backbone.{layer}" for layer in folded]
    names = [f"backbone.{layer}" for layer in layers]
    assert [layer.name for layer in found.decisions.layers] == [*names, "heads.linear"]
    check_agreement(found)
    images = random_crops(4, seed=7).numpy()
    unfold_norms(again, found.folded, found.pairs)
    for head, logits in score(again.eval(), images).items():
        np.testing.assert_allclose(logits, score(network, images)[head], atol=2e-4)


class Branching(nn.Conv2d):
    """Does what its features say."""

    def __init__(self) -> None:
        super().__init__(3, 8, 3)

    def forward(self, image: Tensor) -> Tensor:
        features = super().forward(image)
        return features if features.mean() > 0 else -features


def test_a_network_that_cannot_be_traced_is_one_error() -> None:
    network = build(SCHEMA, SPEC, NetworkConfig(backbone=f"{__name__}:Branching", pool="global"))
    with pytest.raises(EngineError, match=r"Could not guard on .*test_fake_quant\.py, line \d+"):
        FakeQuantised(network.eval(), SPEC, [], {})


def test_an_addition_that_the_trace_does_not_have(case: Case) -> None:
    layer = Layer(name="heads.linear", input="x", output="y", addition="z", shortcut="x")
    with pytest.raises(EngineError, match=r"no residual addition behind heads\.linear, "):
        FakeQuantised(case.folded, SPEC, [layer], {"x": 1.0})


# ---- quantisers -------------------------------------------------------------------------------


def test_a_step_learns_to_fit_what_it_rounds() -> None:
    """Section 2.1: its gradient pulls the range to where the error of the output is least."""
    torch.manual_seed(0)
    values = torch.randn(64, 100)
    quantiser = StepQuantiser(0.5)  # a range of 64 standard deviations
    before = (quantiser(values) - values).square().mean().item()
    optimiser = torch.optim.Adam(quantiser.parameters(), lr=0.05)
    for _ in range(150):
        loss = (quantiser(values) - values).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert quantiser.step().item() < 0.1
    assert (quantiser(values) - values).square().mean().item() < before / 20


def test_values_round_to_even_and_end_at_the_range() -> None:
    values = torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, 200.0, -200.0]])
    assert StepQuantiser(1.0)(values).tolist() == [[0, 2, 2, 0, -2, 127, -128]]


def test_gradients_pass_a_rounding_and_end_at_the_range() -> None:
    values = torch.tensor([[0.4, 3.3, 300.0]], requires_grad=True)
    StepQuantiser(1.0)(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1, 1, 0]]


def test_weights_have_a_step_per_output_channel() -> None:
    weight = torch.tensor([[127.0, 1.4], [0.254, 0.003], [0.0, 0.0]], requires_grad=True)
    rounded = WeightQuantiser()(weight)
    torch.testing.assert_close(rounded, torch.tensor([[127.0, 1.0], [0.254, 0.004], [0.0, 0.0]]))
    rounded.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1, 1]] * 3


# ---- folding ----------------------------------------------------------------------------------


def test_an_output_that_is_read_past_its_norm_cannot_be_folded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = random_network(CONFIGS["resnet18"])
    block = network.backbone.get_submodule("stages.0.0")

    def peek(features: Tensor) -> Tensor:
        raw = block.conv1(features)
        return torch.relu(block.bn1(raw) + raw)

    monkeypatch.setattr(block, "forward", peek)
    monkeypatch.setattr(copy, "deepcopy", lambda value: value)
    with pytest.raises(ParityError, match="reads a convolution's output past its BatchNorm"):
        fold_norms(network, SPEC)
