from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ArtifactError, IntegrityError
from runtime.manifest import MANIFEST_FILE, PRECISIONS, FileRecord, Manifest
from runtime.preprocess import InputSpec
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA
from tests.strategies import JSON_VALUES, operating_points, schemas

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
FREE = st.dictionaries(TEXTS, JSON_VALUES, max_size=3)


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "id": "small-onnx-fp32-0000",
        "version": 1,
        "schema": SMALL_SCHEMA,
        "input": SMALL_INPUT,
        "engine": "onnx",
        "engine_file": "model.onnx",
        "precision": "fp32",
        "operating": OperatingPoint(),
        "golden_tolerance": 0.01,
        "files": {"model.onnx": FileRecord(3, "a" * 64), "golden.npz": FileRecord(4, "b" * 64)},
    }
    return Manifest(**{**values, **changes})


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    schema = draw(schemas())
    return manifest(
        id=draw(TEXTS),
        version=draw(st.integers(0, 10**6)),
        schema=schema,
        input=InputSpec(height=draw(st.integers(8, 99)), width=draw(st.integers(8, 99))),
        precision=draw(st.sampled_from(PRECISIONS)),
        operating=draw(operating_points(schema)),
        golden_tolerance=draw(st.floats(1e-6, 1)),
        passport=draw(st.dictionaries(TEXTS, TEXTS, max_size=3)),
        parity=draw(FREE),
        lineage=draw(FREE),
    )


@given(manifests())
def test_json_round_trip(value: Manifest) -> None:
    assert Manifest.from_json(value.to_json()) == value


def test_outputs_are_the_heads_in_order() -> None:
    assert manifest().outputs == ("first", "second", "third", "colour", "extras")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format_version=2), "format version 2"),
        (lambda m: m.update(format_version=True), "format version True"),
        (lambda m: m.update(format_version="1"), "format version '1'"),
        (lambda m: m.pop("format_version"), "format version None"),
        (lambda m: m.update(licence="MIT"), "unknown keys"),
        (lambda m: m.pop("parity"), "missing"),
        (lambda m: m.update(version=-1), "version must be"),
        (lambda m: m.update(version=1.0), "must be int"),
        (lambda m: m.update(golden_tolerance=0), "golden_tolerance"),
        (lambda m: m.update(precision="fp8"), "precision"),
        (lambda m: m.update(engine_file="../model.onnx"), "lists no file"),
        (lambda m: m["files"].pop("golden.npz"), "lists no file"),
        (lambda m: m["files"].update({"../x": m["files"]["golden.npz"]}), "plain name"),
        (lambda m: m["files"].update({"/etc/x": m["files"]["golden.npz"]}), "plain name"),
        (lambda m: m["files"].update({"a\\b": m["files"]["golden.npz"]}), "plain name"),
        (lambda m: m["files"].update({"": m["files"]["golden.npz"]}), "plain name"),
        (lambda m: m["files"].update({".x": m["files"]["golden.npz"]}), "plain name"),
        (lambda m: m["files"].update({"artifact.json": m["files"]["golden.npz"]}), "plain name"),
        (lambda m: m["files"]["golden.npz"].update(size_bytes="4"), "must be int"),
        (lambda m: m["files"]["golden.npz"].update(md5="0"), "unknown keys"),
        (lambda m: m["files"]["golden.npz"].update(sha256="0" * 63), "64 lower-case hex"),
        (lambda m: m["files"]["golden.npz"].update(sha256="A" * 64), "64 lower-case hex"),
        (lambda m: m["files"]["golden.npz"].update(size_bytes=-1), "size >= 0"),
        (lambda m: m["outputs"].reverse(), "do not match"),
        (lambda m: m["outputs"][0].update(size=99), "do not match"),
        (lambda m: m["outputs"][0].update(scores="probabilities"), "do not match"),
        (lambda m: m["schema"]["heads"][0].update(labels="car"), "must be list"),
        (lambda m: m["input"].update(dtype="float32"), "dtype"),
        (lambda m: m["operating"]["temperatures"].update(nope=1.0), "unknown heads"),
        (lambda m: m["operating"]["temperatures"].update(first=0), "temperature"),
        (lambda m: m["passport"].update(threads=1), "must be str"),
    ],
)
def test_refuses(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    value = json.loads(manifest().to_json())
    change(value)
    with pytest.raises(ArtifactError, match=message):
        Manifest.from_json(json.dumps(value))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format_version": 1}', '{"a":1,"a":2}'])
def test_refuses_what_is_no_manifest(text: str) -> None:
    with pytest.raises(ArtifactError):
        Manifest.from_json(text)


def test_a_key_given_twice_is_refused() -> None:
    text = manifest().to_json().replace('"version": 1,', '"version": 1, "version": 2,')
    with pytest.raises(ArtifactError, match="given twice"):
        Manifest.from_json(text)


def test_an_operating_point_of_another_schema() -> None:
    with pytest.raises(ArtifactError, match="unknown heads"):
        manifest(operating=OperatingPoint(temperatures={"nope": 1.0}))


@pytest.mark.parametrize("value", [float("nan"), Path("x")])
def test_only_json_can_be_written(value: object) -> None:
    with pytest.raises(ArtifactError, match="cannot be written"):
        manifest(lineage={"metric": value}).to_json()


@pytest.mark.parametrize("content", [None, b"\xff", b"{"])
def test_load_refuses(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(ArtifactError):
        Manifest.load(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"engine")
    (folder / "golden.npz").write_bytes(b"golden")
    return folder


def listed(folder: Path) -> Manifest:
    names = sorted({path.name for path in folder.iterdir()} - {MANIFEST_FILE})
    return manifest(files={name: FileRecord.of(folder / name) for name in names})


def test_check_files_accepts_what_was_listed(folder: Path) -> None:
    value = listed(folder)
    (folder / MANIFEST_FILE).write_text(value.to_json(), encoding="utf-8")
    Manifest.load(folder).check_files(folder)


def pipe(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"Engine"), "was changed"),
        (lambda f: (f / "model.onnx").write_bytes(b"engine+"), "was changed"),
        (lambda f: (f / "golden.npz").unlink(), r"missing \['golden.npz'\]"),
        (lambda f: (f / "extra").write_bytes(b""), r"not in the manifest \['extra'\]"),
        (lambda f: (f / "extra").mkdir(), "not in the manifest"),
        (lambda f: (f / ".hidden").write_bytes(b""), "not in the manifest"),
        (lambda f: (f / "model.onnx").rename(f / "model2.onnx"), "missing"),
        (link, "not a plain file"),
        (pipe, "not a plain file"),
        (lambda f: ((f / "model.onnx").unlink(), (f / "model.onnx").mkdir()), "not a plain file"),
    ],
)
def test_check_files_refuses(folder: Path, change: Callable[[Path], Any], message: str) -> None:
    value = listed(folder)
    change(folder)
    with pytest.raises(IntegrityError, match=message):
        value.check_files(folder)


def test_a_changed_manifest_is_refused_though_it_parses(folder: Path) -> None:
    text = listed(folder).to_json()
    path = folder / MANIFEST_FILE
    for changed in (text.replace("blue", "blux"), f"{text} ", text.replace("0.01", "0.02")):
        path.write_text(changed, encoding="utf-8")
        Manifest.from_json(changed)
        with pytest.raises(IntegrityError, match=r"artifact\.json was changed"):
            Manifest.load(folder)
    start = text.rindex(',\n "sha256"')
    path.write_text(text[:start] + "\n}", encoding="utf-8")  # as before there were seals
    assert Manifest.load(folder) == listed(folder)


def test_check_files_of_a_folder_that_is_gone(folder: Path) -> None:
    value = listed(folder)
    folder.rename(folder.parent / "moved")
    with pytest.raises(IntegrityError, match="cannot be read"):
        value.check_files(folder)
