"""One network is exported once in a process, and any other one anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import train.graph
from runtime.preprocess import InputSpec
from tests.slimming import SCHEMA, SPEC, tiny_config, tiny_network
from train.graph import write_graph
from train.graph_memory import GraphMemory, content_digest
from train.network import Network, build

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that torch's exporter wrote since the test began."""
    written: list[Path] = []
    real = torch.onnx.export

    def export(module: nn.Module, inputs: Any, path: Path, **options: Any) -> object:
        written.append(path)
        return real(module, inputs, path, **options)

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr(train.graph, "_written", GraphMemory())
    return written


def test_the_same_network_is_exported_once(tmp_path: Path, exports: list[Path]) -> None:
    for name in ("a", "b"):
        write_graph(tiny_network(), SCHEMA, SPEC, tmp_path / name)
    assert exports == [tmp_path / "a"]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def heavier(network: Network) -> None:
    with torch.no_grad():
        next(network.parameters())[0, 0, 0, 0] += 1e-3


def more_careful(network: Network) -> None:
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    norm.eps *= 2


@pytest.mark.parametrize("change", [heavier, more_careful])
def test_a_changed_network_is_exported_anew(
    tmp_path: Path, exports: list[Path], change: Callable[[Network], None]
) -> None:
    network = tiny_network()
    write_graph(network, SCHEMA, SPEC, tmp_path / "a")
    change(network)
    write_graph(network, SCHEMA, SPEC, tmp_path / "b")
    assert len(exports) == 2
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_another_input_is_exported_anew(tmp_path: Path, exports: list[Path]) -> None:
    for name, width in (("a", SPEC.width), ("b", 2 * SPEC.width)):
        spec = InputSpec(height=SPEC.height, width=width)
        write_graph(build(SCHEMA, spec, tiny_config()).eval(), SCHEMA, spec, tmp_path / name)
    assert len(exports) == 2


def test_what_cannot_be_pickled_is_exported_every_time(tmp_path: Path, exports: list[Path]) -> None:
    network = tiny_network()
    network.backbone.note = lambda: None
    for name in ("a", "b"):
        write_graph(network, SCHEMA, SPEC, tmp_path / name)
    assert len(exports) == 2


def test_tensors_count_by_content_type_and_shape() -> None:
    values = torch.arange(6.0)
    same = [values.clone(), torch.arange(12.0)[:6], values.requires_grad_()]
    assert {content_digest(each) for each in same} == {content_digest(values)}
    other = [values + 1, values.view(2, 3), values.to(torch.bfloat16), torch.tensor(0.0)]
    assert len({content_digest(each) for each in [values, *other]}) == 5


def test_the_longest_unused_goes_first() -> None:
    memory = GraphMemory(limit_bytes=10)
    memory.put("a", b"1234")
    memory.put("b", b"5678")
    assert memory.get("a") == b"1234"
    memory.put("c", b"90ab")
    assert [memory.get(name) for name in "abc"] == [b"1234", None, b"90ab"]
    memory.put("d", bytes(11))
    assert [memory.get(name) for name in "acd"] == [b"1234", b"90ab", None]
