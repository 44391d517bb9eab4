"""The deployed graph: what stands in the file, and that it computes what torch does."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import train.graph
from runtime.arrays import Logits
from runtime.errors import EngineError, MissingExtraError
from runtime.schema import Head, HeadKind, Schema
from runtime.session import SessionOptions
from runtime.session_onnx import OnnxSession
from tests.slimming import SCHEMA, SPEC, random_crops, tiny_config, tiny_network
from train.graph import OPSET, write_graph
from train.graph_memory import GraphMemory
from train.network import NetworkConfig, build
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Written:
    """A graph, and what was printed while it was written."""

    path: Path
    printed: str


@pytest.fixture(scope="module")
def written(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Written:
    path = tmp_path_factory.mktemp("graph") / "float.onnx"
    talk = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(talk),
        contextlib.redirect_stderr(talk),
    ):
        patch.setattr(train.graph, "_written", GraphMemory())  # or nothing is exported
        write_graph(tiny_network(), SCHEMA, SPEC, path)
    return Written(path, talk.getvalue())


def test_opset_names_types_and_a_free_batch(written: Written) -> None:
    model = onnx.load(written.path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    (image,) = model.graph.input
    shape = [size.dim_param or size.dim_value for size in image.type.tensor_type.shape.dim]
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert shape == ["batch", 16, 32, 3]
    outputs = {
        output.name: [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim]
        for output in model.graph.output
    }
    assert outputs == {"colour": ["batch", 3], "side": ["batch", 2]}
    assert [path.name for path in written.path.parent.iterdir()] == ["float.onnx"]


def test_nothing_is_printed_and_the_log_level_stays(written: Written) -> None:
    assert written.printed == ""
    assert logging.getLogger("torch.onnx").level == logging.NOTSET


def test_normalisations_are_folded_and_heads_are_one_layer(written: Written) -> None:
    kinds = [node.op_type for node in onnx.load(written.path).graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 20
    assert kinds.count("Gemm") + kinds.count("MatMul") == 1


def test_layers_are_called_as_in_the_checkpoint_and_no_path_of_this_machine_is_told(
    written: Written,
) -> None:
    model = onnx.load(written.path)
    modules = dict(tiny_network().named_modules())
    layers = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 21
    assert set(layers) <= set(modules)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert "backbone.stages.0.0/Add" in names
    assert str(Path.cwd()).encode() not in written.path.read_bytes()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_graph_computes_what_torch_does(written: Written, count: int) -> None:
    images = random_crops(count).numpy()
    session = OnnxSession(written.path, SCHEMA, SPEC, SessionOptions())
    compare(session.run(images), score(tiny_network(), images))


def compare(found: Logits, expected: Logits) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-4 * scale)


def test_sets_of_labels_global_pooling_and_names_that_torch_uses_itself(tmp_path: Path) -> None:
    schema = Schema(
        name="photo",
        heads=(
            Head(name="type", kind=HeadKind.LABELS, labels=("a", "b", "c")),
            Head(name="keys", kind=HeadKind.CHOICE, labels=("a", "b")),
        ),
    )
    torch.manual_seed(1)
    network = build(schema, SPEC, tiny_config("global")).eval()
    write_graph(network, schema, SPEC, tmp_path / "a.onnx")
    session = OnnxSession(tmp_path / "a.onnx", schema, SPEC, SessionOptions())
    images = random_crops(2).numpy()
    compare(session.run(images), score(network, images))


# ---- what torch might write instead -----------------------------------------------------------


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    *,
    opset: int = OPSET,
    swap: bool = False,
    foreign: bool = False,
) -> None:
    """Make torch's exporter write a small graph of ours."""
    outputs = [("colour", 3), ("side", 2)]
    if swap:
        outputs.reverse()
    sizes = np.array([n for _, n in outputs], np.int64)
    wide = np.zeros((16 * 32 * 3, 5), np.float32)
    kind, domain = ("Secret", "com.example") if foreign else ("Relu", "")
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "wide"], ["flat"]),
        helper.make_node(kind, ["flat"], ["scores"], domain=domain),
        helper.make_node("Split", ["scores", "sizes"], [name for name, _ in outputs], axis=1),
    ]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["batch", 16, 32, 3])
    infos = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])
        for name, size in outputs
    ]
    values = {"sizes": sizes, "wide": wide}
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "pretended", [image], infos, constants)
    domains = [helper.make_opsetid("", opset)]
    domains += [helper.make_opsetid("com.example", 1)] if foreign else []
    model = helper.make_model(graph, opset_imports=domains)

    def export(network: object, inputs: object, path: Path, **options: object) -> None:
        onnx.save(model, path)

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr(train.graph, "_written", GraphMemory())


def test_a_graph_as_asked_for_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    write_graph(tiny_network(), SCHEMA, SPEC, tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opset": 18}, "asked for opset 20 and outputs .*, torch wrote opset 18"),
        ({"swap": True}, r"outputs \['colour', 'side'\], torch wrote .*\['side', 'colour'\]"),
        ({"foreign": True}, r"the operators \['Secret'\] are not standard"),
    ],
)
def test_any_other_graph_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    pretend(monkeypatch, **change)
    with pytest.raises(EngineError, match=message):
        write_graph(tiny_network(), SCHEMA, SPEC, tmp_path / "a.onnx")


class LateNorms(nn.Module):
    """BatchNorms that no convolution stands before: on the input and behind an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)
        self.last = nn.BatchNorm2d(3, eps=0.1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.first(image)
        normed: Tensor = self.last(self.conv(features) + features)
        return normed.relu()


def test_normalisations_that_cannot_fold_are_a_product_and_a_sum(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(backbone=f"{__name__}:LateNorms")
    network = build(SCHEMA, SPEC, config).eval()
    for name in ("first", "last"):
        norm = network.get_submodule(f"backbone.{name}")
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.01, 2.0)
    write_graph(network, SCHEMA, SPEC, tmp_path / "a.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert (kinds.count("Mul"), kinds.count("BatchNormalization")) == (2, 0)
    session = OnnxSession(tmp_path / "a.onnx", SCHEMA, SPEC, SessionOptions())
    images = random_crops(3).numpy()
    compare(session.run(images), score(network, images))


class Branching(nn.Module):
    """Does what its features say: no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.conv(image)
        return features if features.mean() > 0 else -features


class Special(nn.Conv2d):
    """Ends with a function that no engine has."""

    def __init__(self) -> None:
        super().__init__(3, 3, 3)

    def forward(self, image: Tensor) -> Tensor:
        return torch.special.bessel_j0(super().forward(image))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "Branching",
            r"a graph: Could not guard on .* \(.*test_graph\.py, line \d+\); let it not ",
        ),
        (
            "Special",
            r"a graph: No ONNX function found for .*bessel_j0.*use operators that ONNX has",
        ),
    ],
)
def test_what_torch_cannot_export_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    network = build(SCHEMA, SPEC, NetworkConfig(backbone=f"{__name__}:{name}", pool="global"))
    with pytest.raises(EngineError, match=reason) as caught:
        write_graph(network.eval(), SCHEMA, SPEC, tmp_path / "a.onnx")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_packages_of_the_exporter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*pip install 'headlight\[export\]'"):
        write_graph(tiny_network(), SCHEMA, SPEC, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
