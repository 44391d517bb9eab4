"""What every exporter does around its engine, with engines that are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import export.artifact
import export.drafts
import export.proof
from benchmarks.labelled import read_labelled
from export.artifact import ExportConfig, Exporter, ExportSource, export_artifact
from export.parity import GateConfig
from export.probe import Probe, probe_logits
from runtime.arrays import Images, Logits
from runtime.errors import ConfigError, DataError, EngineError, ParityError
from runtime.manifest import Manifest
from runtime.reader import Reader
from runtime.scores import ACCEPT_NOTHING
from runtime.session import SessionOptions
from tests.slimming import SCHEMA, write_lamps
from train.checkpoint import load_checkpoint
from train.scoring import score

pytestmark = pytest.mark.usefixtures("one_thread")

Answer = Callable[[Images, Logits], Logits]


class ProbeSession:
    """Answers as the engine of a probe network."""

    description: Mapping[str, str] = {}

    def run(self, images: Images) -> Logits:
        return {
            name: np.repeat(values, len(images), axis=0)
            for name, values in probe_logits(SCHEMA).items()
        }

    def close(self) -> None:
        pass


class PretendedSession:
    """Runs the checkpoint in torch, and lets a test change the scores."""

    description: Mapping[str, str] = {"precision": "1 fp32, 2 int8", "fallback": "2 of 3 elsewhere"}

    def __init__(self, checkpoint: Path, change: Answer) -> None:
        self.network = load_checkpoint(checkpoint).build()
        self.change = change
        self.closed = False

    def run(self, images: Images) -> Logits:
        return self.change(images, score(self.network, images))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def export_it(
    lamps_checkpoint: Path, lamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Manifest]:
    """Export with an engine that answers as ``change`` says."""

    def export_it(change: Answer = lambda _, scores: scores, **more: Any) -> Manifest:
        sessions: list[PretendedSession] = []

        def open_session(
            folder: Path, manifest: object, options: SessionOptions
        ) -> PretendedSession:
            answer = change if options.threads == 1 else on_two_threads
            sessions.append(PretendedSession(lamps_checkpoint, answer))
            return sessions[-1]

        def write_graph(_: object, __: object, ___: object, path: Path) -> None:
            path.write_bytes(b"graph")

        def write_engine(source: ExportSource, folder: Path) -> Mapping[str, str]:
            assert source.graph.read_bytes() == b"graph"
            (folder / "model.bin").write_bytes(b"engine")
            return {"engine": "pretended 1.0"}

        monkeypatch.setattr(export.proof, "open_session", open_session)
        monkeypatch.setattr(export.artifact, "open_session", lambda *_: ProbeSession())
        monkeypatch.setattr(export.artifact, "write_graph", write_graph)
        probe = Probe(load_checkpoint(lamps_checkpoint).build(), b"graph")
        monkeypatch.setattr(export.artifact, "make_probe", lambda *_, **__: probe)
        settings = {
            "checkpoint": lamps_checkpoint,
            "validation": (lamps / "val",),
            "output": tmp_path / "out",
        }
        writer = more.pop("write_engine", write_engine)
        on_two_threads = more.pop("on_two_threads", change)
        config = ExportConfig(**(settings | more))
        try:
            exporter = Exporter(
                engine="onnx",
                engine_file="model.bin",
                write=writer,
                precisions=("fp32", "fp16", "int8"),
            )
            return export_artifact(config, exporter)
        finally:
            assert all(session.closed for session in sessions)

    return export_it


def test_a_proven_engine_becomes_an_artifact(
    export_it: Callable[..., Manifest], lamps_checkpoint: Path, tmp_path: Path
) -> None:
    manifest = export_it(version=7)
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == [
        "artifact.json", "golden.npz", "model.bin",
    ]  # fmt: skip
    assert Manifest.load(folder) == manifest
    manifest.check_files(folder)
    assert manifest.id.startswith("derived-fp32-onnx-")
    assert (manifest.version, manifest.precision, manifest.engine) == (7, "fp32", "onnx")
    assert manifest.parity["flips"] == 0
    assert manifest.parity["crops"] == 96
    assert manifest.parity["limits"] == {"flips": 0.001, "score_difference": 0.005}
    assert manifest.parity["own_differences"].keys() == {"batch", "threads"}
    assert manifest.passport["engine"] == "pretended 1.0"
    assert manifest.passport["source_sha256"] == sha256(b"graph").hexdigest()
    assert manifest.passport["computed_in"] == "1 fp32, 2 int8"
    assert manifest.passport["fallback"] == "2 of 3 elsewhere"
    assert (manifest.passport["precision"], manifest.passport["batch"]) == ("fp32", "any")
    assert manifest.passport["arch"]
    checkpoint = load_checkpoint(lamps_checkpoint)
    assert list(manifest.lineage) == ["fit", "export"]
    assert manifest.lineage["export"]["inputs"]["checkpoint"] == checkpoint.digest
    assert manifest.operating.answer_threshold is not None
    assert ": 96 crops, sha256 " in (manifest.operating.fitted_on or "")
    with np.load(folder / "golden.npz") as golden:
        assert golden["images"].shape == (16, 16, 32, 3)


@pytest.mark.parametrize("report", ["out/report", "out", ".", "out/../out/deep/report"])
def test_a_report_in_the_artifact_is_refused_before_the_work(
    export_it: Callable[..., Manifest], tmp_path: Path, report: str
) -> None:
    with pytest.raises(ConfigError, match="must be apart"):
        export_it(report=tmp_path / report, overwrite=True)
    assert not list(tmp_path.iterdir())


def test_the_version_grows_with_the_time(
    export_it: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.drafts.time, "time", lambda: 1_700_000_000.9)
    assert export_it().version == 1_700_000_000


def other_sides(_: Images, scores: Logits) -> Logits:
    return {**scores, "side": scores["side"][:, ::-1].copy()}


def test_an_engine_with_other_answers_leaves_nothing(
    export_it: Callable[..., Manifest], tmp_path: Path
) -> None:
    with pytest.raises(ParityError) as caught:
        export_it(other_sides)
    told = str(caught.value)
    assert "disagrees with its checkpoint on 96 of 96 crops" in told
    assert "crop 0 " in told
    assert "left" in told
    assert not list(tmp_path.iterdir())
    manifest = export_it(other_sides, gate=GateConfig(max_flips=1, max_score_difference=1))
    assert manifest.parity["flips"] == 96  # and the manifest says so
    assert len(manifest.parity["flipped"]) == 20


def test_scores_that_are_no_numbers_leave_nothing(
    export_it: Callable[..., Manifest], tmp_path: Path
) -> None:
    def broken(_: Images, scores: Logits) -> Logits:
        return {**scores, "colour": scores["colour"] * np.float32("nan")}

    loose = GateConfig(max_flips=1, max_score_difference=1)
    with pytest.raises((ParityError, EngineError)):
        export_it(broken, gate=loose)
    assert not list(tmp_path.iterdir())


def test_an_engine_whose_answers_depend_on_the_batch_leaves_nothing(
    export_it: Callable[..., Manifest], tmp_path: Path
) -> None:
    def mixed(_: Images, scores: Logits) -> Logits:
        centred = scores["side"] - scores["side"].mean(0)
        return {**scores, "side": scores["side"] if len(centred) == 1 else centred}

    with pytest.raises(ParityError, match=r"with a batch of 32 instead of 1, \d+ of 96 answers"):
        export_it(mixed)
    assert not list(tmp_path.iterdir())


def test_an_engine_that_answers_otherwise_the_second_time_leaves_nothing(
    export_it: Callable[..., Manifest], tmp_path: Path
) -> None:
    # 96 crops one by one, three batches, 96 crops again, the golden vectors; then their check.
    for right, told in (
        (99, "differ by .* from run to run; the engine is not deterministic"),
        (99 + 97, "differs from the golden vectors"),
    ):
        calls = 0

        def forgetful(images: Images, scores: Logits, right: int = right) -> Logits:
            nonlocal calls
            calls += 1
            return scores if calls <= right else other_sides(images, scores)

        with pytest.raises((ParityError, EngineError), match=told):
            export_it(forgetful, on_two_threads=lambda _, scores: scores)
        assert not list(tmp_path.iterdir())


def test_an_engine_that_answers_otherwise_on_two_threads_leaves_nothing(
    export_it: Callable[..., Manifest], tmp_path: Path
) -> None:
    with pytest.raises(ParityError, match=r"with two threads instead of one, 96 of 96 answers"):
        export_it(on_two_threads=other_sides)
    assert not list(tmp_path.iterdir())

    def rounded(_: Images, scores: Logits) -> Logits:
        return {name: values + np.float32(1e-4) * (values > 0) for name, values in scores.items()}

    manifest = export_it(on_two_threads=rounded)
    assert 0 < manifest.parity["own_differences"]["threads"] < 1e-4


def test_outputs_that_are_mixed_up_leave_nothing(
    export_it: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ParityError("mixed up")

    monkeypatch.setattr(export.artifact, "check_probe", refuse)
    with pytest.raises(ParityError, match="mixed up"):
        export_it()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("passes", [True, False])
def test_the_report_shows_every_flip_also_when_the_gate_fails(
    export_it: Callable[..., Manifest], tmp_path: Path, passes: bool
) -> None:
    gate = GateConfig(max_flips=1, max_score_difference=1) if passes else GateConfig()
    with nullcontext() if passes else pytest.raises(ParityError):
        export_it(other_sides, gate=gate, report=tmp_path / "report")
    assert (tmp_path / "out").exists() is passes
    told = json.loads((tmp_path / "report" / "gate.json").read_text(encoding="utf-8"))
    assert (told["passed"], told["flips"], told["crops"]) == (passes, 96, 96)
    assert (told["failure"] is None) is passes
    assert [flip["index"] for flip in told["flipped"]] == list(range(96))
    text = (tmp_path / "report" / "gate.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == 96
    assert ("The gate passed" in text) is passes


def test_a_report_is_not_written_over(export_it: Callable[..., Manifest], tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "precious").touch()
    with pytest.raises(ConfigError, match="exists and is not empty"):
        export_it(report=tmp_path / "report")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["precious"]
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_fitted_is_told_before_the_work(
    export_it: Callable[..., Manifest],
    lamps: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = read_labelled(lamps / "val", SCHEMA)
    lines = [
        f"{path}\t{text.split(',')[0]}\n" for path, text in zip(rows.paths, rows.texts, strict=True)
    ]
    (tmp_path / "colours.tsv").write_text("".join(lines), encoding="utf-8")
    manifest = export_it(validation=(tmp_path / "colours.tsv",))
    assert manifest.operating.answer_threshold == ACCEPT_NOTHING
    told = capsys.readouterr().err
    assert "note: no validation sample labels side" in told
    assert "note: no validation sample labels all heads" in told
    assert told.index("note: ") < told.index("gate passed")


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError, MemoryError])
def test_a_writer_that_fails_leaves_nothing(
    export_it: Callable[..., Manifest], tmp_path: Path, error: type[BaseException]
) -> None:
    def write_engine(_: Path, folder: Path) -> Mapping[str, str]:
        (folder / "half").write_bytes(b"half")
        raise error

    with pytest.raises(error):
        export_it(write_engine=write_engine)
    assert not list(tmp_path.iterdir())


def test_labels_of_another_task_are_refused(
    export_it: Callable[..., Manifest], tmp_path: Path
) -> None:
    folder = write_lamps(tmp_path / "other", 2, seed=0)
    (folder / "labels.tsv").write_text("0.png\t苏E8D2K3\n1.png\tred,left\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 of 2 rows cannot be used"):
        export_it(validation=(folder,))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert export_it(validation=(folder,), skip_bad=True).parity["crops"] == 1


def test_the_reader_does_not_take_it_for_a_real_engine(
    export_it: Callable[..., Manifest], tmp_path: Path
) -> None:
    export_it()
    with pytest.raises(EngineError):
        Reader.open(tmp_path / "out")


def test_half_precision_of_a_float_checkpoint(export_it: Callable[..., Manifest]) -> None:
    manifest = export_it(precision="fp16")
    assert manifest.precision == "fp16"
    assert manifest.id.startswith("derived-fp16-onnx-")


def test_a_precision_that_the_engine_has_not_is_refused(
    export_it: Callable[..., Manifest], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"builds engines in fp32, fp16, int8, asked for bf16"):
        export_it(precision="bf16")
    assert not list(tmp_path.iterdir())


def test_int8_decisions_cannot_become_another_precision(
    export_it: Callable[..., Manifest], lamps_checkpoint: Path, tmp_path: Path
) -> None:
    exporter = Exporter(engine="onnx", engine_file="x", write=lambda _, __: {})
    quantised = replace(load_checkpoint(lamps_checkpoint), quantised=True)
    config = ExportConfig(
        checkpoint=lamps_checkpoint, validation=(), output=tmp_path / "out", precision="fp32"
    )
    assert exporter.precision(replace(config, precision="auto"), quantised) == "int8"
    for wrong, told in (
        ({"batch": 0}, "--batch must be at least 1"),
        ({"precision_floor": 99.9}, r"--precision-floor must be in \(0, 1\], got 99.9"),
        ({"precision_floor": 0.0}, "--precision-floor must be in"),
        ({"version": -1}, "--version must be >= 0"),
    ):
        with pytest.raises(ConfigError, match=told):
            replace(config, **wrong)
    with pytest.raises(ConfigError, match="holds INT8 decisions, asked for --precision fp32"):
        exporter.precision(config, quantised)
