"""One network is exported once in a process, and any other one anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import train.graph
from tests.slimming import SPEC, tiny_network
from train.graph import write_onnx
from train.graph_memory import GraphMemory, content_digest
from train.network import Network

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that torch's exporter wrote since the test began, each other bytes."""
    written: list[Path] = []

    def export(module: nn.Module, inputs: Any, path: Path, **options: Any) -> None:
        written.append(path)
        path.write_bytes(bytes([len(written)]))

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr(train.graph, "_written", GraphMemory())
    return written


def write(network: Network, path: Path, *, width: int = SPEC.width) -> bytes:
    images = torch.zeros((2, SPEC.height, width, 3), dtype=torch.uint8)
    write_onnx(network, images, path, "image", ["colour", "side"])
    return path.read_bytes()


def test_the_same_network_is_exported_once(tmp_path: Path, exports: list[Path]) -> None:
    assert write(tiny_network(), tmp_path / "a") == write(tiny_network(), tmp_path / "b")
    assert exports == [tmp_path / "a"]


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
    before = write(network, tmp_path / "a")
    change(network)
    assert write(network, tmp_path / "b") != before


def test_another_input_is_exported_anew(tmp_path: Path, exports: list[Path]) -> None:
    narrow = write(tiny_network(), tmp_path / "a")
    assert write(tiny_network(), tmp_path / "b", width=2 * SPEC.width) != narrow


def test_what_cannot_be_pickled_is_exported_every_time(tmp_path: Path, exports: list[Path]) -> None:
    network = tiny_network()
    network.backbone.note = lambda: None
    assert write(network, tmp_path / "a") != write(network, tmp_path / "b")


def test_tensors_count_by_content_type_and_shape() -> None:
    values = torch.arange(6.0)
    same = [values.clone(), torch.arange(12.0)[:6], values.requires_grad_()]
    assert {content_digest(each) for each in same} == {content_digest(values)}
    other = [values + 1, values.view(2, 3), values.to(torch.bfloat16), torch.tensor(0.0)]
    assert len({content_digest(each) for each in [values, *other]}) == 5


def test_the_longest_unused_goes_first() -> None:
    memory, made = GraphMemory(limit_bytes=10), list[str]()

    def recall(name: str, size: int = 4) -> bytes:
        def make() -> bytes:
            made.append(name)
            return name.encode() * size

        return memory.recall(make, name)

    assert [recall(name) for name in "abacba"] == [
        b"aaaa",
        b"bbbb",
        b"aaaa",
        b"cccc",
        b"bbbb",
        b"aaaa",
    ]
    assert made == ["a", "b", "c", "b", "a"]
    assert recall("d", 11) == recall("d", 11) == b"d" * 11
    assert made[5:] == ["d", "d"]
    assert recall("a") == b"aaaa"
    assert made[7:] == []
