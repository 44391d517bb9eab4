"""A checkpoint as a PyTorch program, measured like any bare model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.foreign import open_foreign
from benchmarks.foreign.graph_torch import TorchGraph
from export.torch import main
from runtime.errors import ConfigError, EngineError, MissingExtraError
from runtime.schema import Schema
from runtime.session import SessionOptions
from tests.artifacts import random_images
from tests.slimming import SCHEMA, SPEC, tiny_config, tiny_network, write_checkpoint
from train.network import Network, NetworkConfig, build

IMAGES = random_images(3, SPEC)


@pytest.fixture(scope="module")
def network() -> Network:
    return tiny_network(width=8)


@pytest.fixture(scope="module")
def exported(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    write_checkpoint(folder / "checkpoint", network, tiny_config(width=8))
    assert main([str(folder / "checkpoint"), "--output", str(folder / "out")]) == 0
    return folder / "out"


def logits(network: Network) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        return {name: each.numpy() for name, each in network(torch.from_numpy(IMAGES)).items()}


def test_the_program_scores_as_the_checkpoint(exported: Path, network: Network) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "model.pt2", "out-eager.json", "out-compiled.json", "schema.json"
    }  # fmt: skip
    manifest, session = open_foreign(exported / "out-eager.json", SessionOptions(threads=1))
    assert manifest.schema == SCHEMA
    assert manifest.precision == "fp32"
    for count in (3, 1):
        found = session.run(IMAGES[:count])
        for name, expected in logits(network).items():
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], expected[:count], atol=1e-4)
    assert session.description["engine"] == "torch, eager"
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(IMAGES)


def test_threads_are_those_that_are_asked_for(exported: Path) -> None:
    before = torch.get_num_threads()
    try:
        graph = TorchGraph(exported / "model.pt2", SessionOptions(threads=2))
        torch.set_num_threads(1)
        graph.run(IMAGES)
        assert torch.get_num_threads() == 2
        assert graph.facts["threads"] == "2"
    finally:
        torch.set_num_threads(before)


def test_answers_are_the_callers_own(exported: Path) -> None:
    graph = TorchGraph(exported / "model.pt2", SessionOptions())
    first = graph.run(IMAGES)
    kept = [each.copy() for each in first]
    for each in graph.run(IMAGES[::-1].copy()):
        each[:] = 0
    for each, expected in zip(first, kept, strict=True):
        np.testing.assert_array_equal(each, expected)


def test_compiled_programs_are_made_for_one_for_the_usual_batch_and_for_any(
    exported: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[bool, dict[str, bool]]] = []

    def compile_it(
        program: object, *, backend: str, dynamic: bool, options: dict[str, bool]
    ) -> object:
        assert backend == "inductor"
        made.append((dynamic, options))
        return program

    monkeypatch.setattr(torch, "compile", compile_it)
    _, session = open_foreign(exported / "out-compiled.json", SessionOptions(batch=2))
    for count in (1, 2, 3, 2, 1):
        found = session.run(IMAGES[:count])
        for name, expected in logits(network).items():
            np.testing.assert_allclose(found[name], expected[:count], atol=1e-4)
    assert made == [(dynamic, {"freezing": True}) for dynamic in (False, False, True)]
    assert session.description["engine"] == "torch, inductor"


def test_a_program_that_cannot_be_compiled_says_what_to_do(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_it(*_: object, **__: object) -> object:
        def fail(*_: object) -> object:
            raise RuntimeError("no C++ compiler\nand more")

        return fail

    monkeypatch.setattr(torch, "compile", compile_it)
    with pytest.raises(EngineError, match=r"no C\+\+ compiler; compile = false runs it without"):
        open_foreign(exported / "out-compiled.json", SessionOptions())


def test_half_precision_is_in_the_program(network: Network, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint", network, tiny_config(width=8))
    out = tmp_path / "out"
    assert main([str(tmp_path / "checkpoint"), "-o", str(out), "--precision", "bf16"]) == 0
    manifest, session = open_foreign(out / "out-eager.json", SessionOptions())
    assert manifest.precision == "bf16"
    differences = []
    for name, expected in logits(network).items():
        found = session.run(IMAGES)[name]
        assert found.dtype == np.float32
        differences.append(np.abs(found - expected).max() / np.abs(expected).max())
    assert 1e-5 < max(differences) < 0.05


class Branching(nn.Conv2d):
    """Does what its features say: no program can."""

    def __init__(self) -> None:
        super().__init__(3, 8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = super().forward(image)
        return features if features.mean() > 0 else -features


def test_a_network_that_torch_cannot_export_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = NetworkConfig(backbone=f"{__name__}:Branching", pool="global")
    write_checkpoint(tmp_path / "a", build(SCHEMA, SPEC, config).eval(), config)
    assert main([str(tmp_path / "a"), "--output", str(tmp_path / "out")]) == 1
    assert "error: torch cannot write the network as a graph: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_torch_compiles(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "copy")
    path = tmp_path / "copy" / "out-compiled.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**value, "engine": "onnx"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="compile = true is for the engine torch"):
        open_foreign(path, SessionOptions())


def test_what_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"no program")
    with pytest.raises(EngineError, match="torch cannot load"):
        TorchGraph(tmp_path / "model.pt2", SessionOptions())


def test_without_torch(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[train\]"):
        TorchGraph(exported / "model.pt2", SessionOptions())


def test_a_quantised_checkpoint_and_a_folder_that_is_taken(
    exported: Path, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = exported.parent / "checkpoint"
    assert main([str(checkpoint), "--output", str(exported)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    from train.checkpoint import QUANTISED_FILE, save_checkpoint

    loaded = write_checkpoint(tmp_path / "float", network, tiny_config(width=8))
    save_checkpoint(
        tmp_path / "int8", network, schema=SCHEMA, spec=SPEC, config=loaded.network, slimmed=False,
        operating=loaded.operating, metrics={}, lineage={}, extra_files={QUANTISED_FILE: b"graph"},
    )  # fmt: skip
    assert main([str(tmp_path / "int8"), "--output", str(tmp_path / "out")]) == 1
    assert "float checkpoint that it was quantised from" in capsys.readouterr().err
    assert isinstance(loaded.schema, Schema)
