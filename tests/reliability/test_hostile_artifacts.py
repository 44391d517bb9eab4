"""Artifacts that are damaged or mean: none reaches an engine unnoticed, none ends the process.

Forty mutants of every file are tried; HEADLIGHT_MUTANTS=500 tries as many as are promised, in some
minutes: ``HEADLIGHT_MUTANTS=500 pytest -s tests/reliability/test_hostile_artifacts.py``.
"""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from runtime import EngineError, HeadlightError, Reader, session
from runtime.golden import write_golden
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, FileRecord, Manifest
from runtime.scores import OperatingPoint
from runtime.session import SessionOptions
from runtime.trial import trial_load
from tests.artifacts import TinyNetwork, write_artifact
from tests.engines import ENGINES, require
from tests.reliability.mutants import load_mutants, mutate, write_mutant

MUTANTS = int(os.environ.get("HEADLIGHT_MUTANTS", "40"))
Change = Callable[[Path], Any]


@pytest.fixture(scope="module", params=[*ENGINES, "tflite"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid artifact of every engine; do not change it, copy it."""
    engine = str(request.param)
    folder = tmp_path_factory.mktemp("valid") / engine
    if engine == "tflite":
        write_tflite_artifact(folder)
    else:
        require(ENGINES[engine])
        write_artifact(folder, TinyNetwork(), engine=engine)
    return folder


def write_tflite_artifact(folder: Path) -> None:
    """As ``write_artifact``, of a network in torch, which the converter reads."""
    require("litert_torch")
    from export.tflite.converting import convert
    from tests.slimming import SCHEMA, SPEC, random_crops, tiny_network
    from train.scoring import score

    network = tiny_network(width=8)
    folder.mkdir()
    content = convert(network, SCHEMA, SPEC, batch=1, integer=False).inlined()
    (folder / "model.tflite").write_bytes(content)
    images = random_crops(3).numpy()
    write_golden(folder / GOLDEN_FILE, images, score(network, images))
    manifest = Manifest(
        id="lamps-fp32-tflite-test",
        version=1,
        schema=SCHEMA,
        input=SPEC,
        engine="tflite",
        engine_file="model.tflite",
        precision="fp32",
        operating=OperatingPoint(),
        golden_tolerance=0.01,
        files={path.name: FileRecord.of(path) for path in folder.iterdir()},
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


@pytest.fixture
def untouched_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test when any engine is asked to load anything."""

    def touched(*_: object) -> session.Session:
        raise AssertionError("the engine saw a file that was not verified")

    monkeypatch.setattr(session, "OPENERS", dict.fromkeys(session.OPENERS, touched))


@pytest.fixture
def copied(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "artifact"))


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- damage -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched_engines")
def test_a_damaged_file_is_refused_before_an_engine_sees_it(artifact: Path, tmp_path: Path) -> None:
    for name in file_names(artifact):
        refused = 0
        for seed in range(MUTANTS):
            mutant = write_mutant(artifact, tmp_path / "mutant", name, seed, listed=False)
            with pytest.raises(HeadlightError):
                Reader.open(mutant)
            refused += 1
        print(f"{artifact.name} {name}: {refused} of {MUTANTS} refused before an engine saw them")
        assert refused == MUTANTS


@pytest.mark.timeout(1800)
def test_a_damaged_file_that_is_listed_ends_no_process(artifact: Path, tmp_path: Path) -> None:
    for name in file_names(artifact):
        if name == MANIFEST_FILE:
            continue
        ends = load_mutants(artifact, tmp_path, name, MUTANTS)
        print(f"{artifact.name} {name}, listed: {dict(Counter(ends))} of {MUTANTS} mutants")
        assert set(ends) <= {"refused", "ran", "crashed", "hung"}
        # Those that end a process, and a few others, again as a caller would meet them.
        fatal = [seed for seed, end in enumerate(ends) if end in ("crashed", "hung")]
        for seed in [*fatal[:20], 0]:
            mutant = write_mutant(artifact, tmp_path / "mutant", name, seed, listed=True)
            if ends[seed] == "ran":
                Reader.open(mutant, trial=True).close()
                continue
            with pytest.raises(HeadlightError):
                trial_load(mutant, SessionOptions(), timeout_s=60)


def test_mutants_differ_from_their_source_and_repeat() -> None:
    data = bytes(range(256))
    assert all(mutate(data, seed) != data for seed in range(200))
    assert [mutate(data, seed) for seed in range(50)] == [mutate(data, seed) for seed in range(50)]


# ---- malice -----------------------------------------------------------------------------------


def rewrite(folder: Path, **changes: Any) -> None:
    """Write the manifest anew, fitting the files as they are, with some fields changed."""
    manifest = Manifest.load(folder)
    names = [name for name in file_names(folder) if name != MANIFEST_FILE]
    files = {name: FileRecord.of(folder / name) for name in names}
    text = replace(manifest, **{"files": files, **changes}).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def edit(old: str, new: str) -> Change:
    """Replace a text in the manifest, leaving out its seal as an older writer would."""

    def change(folder: Path) -> None:
        path = folder / MANIFEST_FILE
        text = path.read_text(encoding="utf-8")
        start = text.rindex(',\n "sha256"')
        text = text[:start] + "\n}\n"
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def engine_file(folder: Path) -> Path:
    return folder / Manifest.load(folder).engine_file


def link_engine(folder: Path) -> None:
    outside = folder.parent / "outside"
    path = engine_file(folder)
    path.rename(outside)
    path.symlink_to(outside)


def pipe_engine(folder: Path) -> None:
    path = engine_file(folder)
    path.unlink()
    os.mkfifo(path)


def socket_engine(folder: Path) -> None:
    path = engine_file(folder)
    path.unlink()
    place = Path.cwd()
    os.chdir(folder)  # the path of a socket may be no longer than 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(place)


def folder_engine(folder: Path) -> None:
    path = engine_file(folder)
    path.unlink()
    path.mkdir()


def huge_engine(folder: Path) -> None:
    with engine_file(folder).open("r+b") as stream:
        stream.truncate(1 << 40)  # of which the disk holds a few kB


def pipe_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    os.mkfifo(folder / MANIFEST_FILE)


def endless_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    (folder / MANIFEST_FILE).symlink_to("/dev/zero")


def huge_manifest(folder: Path) -> None:
    with (folder / MANIFEST_FILE).open("r+b") as stream:
        stream.truncate(1 << 40)


def deep_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE).write_text("[" * 1_000_000, encoding="utf-8")


def pickled_golden(folder: Path) -> None:
    arrays = np.empty(1, object)
    arrays[0] = Evil()
    np.savez(folder / GOLDEN_FILE, images=arrays)
    rewrite(folder)


def pickle_golden(folder: Path) -> None:
    (folder / GOLDEN_FILE).write_bytes(pickle.dumps(Evil()))
    rewrite(folder)


class Evil:
    """Would leave a file behind, were it unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("unpickled",))


def bomb_golden(folder: Path) -> None:
    with zipfile.ZipFile(folder / GOLDEN_FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(300 << 20))
    rewrite(folder)


def header(text: str, claimed: int) -> bytes:
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", claimed) + text.encode()


def absurd_golden(folder: Path) -> None:
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 16, 32, 3)}\n"
    with zipfile.ZipFile(folder / GOLDEN_FILE, "w") as archive:
        archive.writestr("images.npy", header(text, len(text)))
    rewrite(folder)


def giant_header_golden(folder: Path) -> None:
    with zipfile.ZipFile(folder / GOLDEN_FILE, "w") as archive:
        archive.writestr("images.npy", header("{" * 100, 0xFFFFFFFF))
    rewrite(folder)


def climbing_golden(folder: Path) -> None:
    with zipfile.ZipFile(folder / GOLDEN_FILE, "a") as archive:
        archive.writestr("../../evil.npy", b"evil")
    rewrite(folder)


def foreign_host(folder: Path) -> None:
    rewrite(folder, passport={"requires_flux_capacitor": "1.21 GW"})


RECORD = f'{{"size_bytes": 1, "sha256": "{"0" * 64}"}},'
HOSTILE: dict[str, Change] = {
    "path out of the folder": edit('"files": {', '"files": {"../x": ' + RECORD),
    "absolute path": edit('"files": {', '"files": {"/etc/passwd": ' + RECORD),
    "path of a parent": edit('"files": {', '"files": {"..": ' + RECORD),
    "engine file outside": edit('"engine_file": "model', '"engine_file": "../model'),
    "link in place of the engine": link_engine,
    "pipe in place of the engine": pipe_engine,
    "socket in place of the engine": socket_engine,
    "folder in place of the engine": folder_engine,
    "engine of a terabyte": huge_engine,
    "more files": lambda f: (f / "sitecustomize.py").write_text("1/0", encoding="utf-8"),
    "hidden file": lambda f: (f / ".pth").write_text("import os", encoding="utf-8"),
    "pipe in place of the manifest": pipe_manifest,
    "manifest without end": endless_manifest,
    "manifest of a terabyte": huge_manifest,
    "manifest of a million brackets": deep_manifest,
    "manifest no text": lambda f: (f / MANIFEST_FILE).write_bytes(b"\xff\xfe{}"),
    "key given twice": edit('"version": 1,', '"version": 1, "version": 2,'),
    "NaN": edit('"golden_tolerance": 0.01', '"golden_tolerance": NaN'),
    "infinity": edit('"golden_tolerance": 0.01', '"golden_tolerance": 1e999'),
    "number of a million digits": edit('"version": 1,', f'"version": {"9" * 1_000_000},'),
    "negative size": edit('"size_bytes": ', '"size_bytes": -'),
    "true as a number": edit('"version": 1,', '"version": true,'),
    "engine that is a module": edit('"engine": "', '"engine": "os.'),
    "engine of another host": foreign_host,
    "pickle among the golden vectors": pickled_golden,
    "pickle in place of the golden vectors": pickle_golden,
    "golden vectors that unpack to 300 MB": bomb_golden,
    "golden vectors of a petabyte": absurd_golden,
    "golden vectors with a header of 4 GB": giant_header_golden,
    "golden vectors that climb": climbing_golden,
}
"""Refused with nothing but the runtime's own code."""


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("untouched_engines")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_artifact_is_refused_before_an_engine_sees_it(
    make_artifact: Callable[..., Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("onnxruntime")
    folder = make_artifact(TinyNetwork())
    HOSTILE[name](folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeadlightError):
        Reader.open(folder)
    assert not (tmp_path / "unpickled").exists()
    assert not list(tmp_path.rglob("evil.npy"))


def test_how_many_hostile_artifacts_there_are() -> None:
    print(f"{len(HOSTILE)} kinds of hostile artifact refused before an engine saw them")
    assert len(HOSTILE) >= 20


# ---- what only an engine can see --------------------------------------------------------------


def external_data(folder: Path) -> bytes:
    """An ONNX graph whose kernel lies in a file outside of the artifact."""
    model = onnx.load(engine_file(folder))
    kernel = next(array for array in model.graph.initializer if array.name == "kernel")
    (folder.parent / "kernel.bin").write_bytes(kernel.raw_data)
    kernel.ClearField("raw_data")
    kernel.data_location = onnx.TensorProto.EXTERNAL
    place = kernel.external_data.add()
    place.key, place.value = "location", "../kernel.bin"
    return model.SerializeToString()


def huge_tensor(folder: Path, elements: int = 1 << 38) -> bytes:
    """An ONNX graph that makes a tensor, by default of a terabyte, out of one number."""
    model = onnx.load(engine_file(folder))
    graph = model.graph
    bias = next(array for array in graph.initializer if array.name == "bias")
    size = onnx.numpy_helper.from_array(np.array([elements], np.int64), "huge_size")
    graph.initializer.append(size)
    made = [
        onnx.helper.make_node("ConstantOfShape", ["huge_size"], ["huge"]),
        onnx.helper.make_node("ReduceMax", ["huge"], ["zero"], keepdims=0),
        onnx.helper.make_node("Add", [bias.name, "zero"], ["same_bias"]),
    ]
    gemm = next(node for node in graph.node if node.op_type == "Gemm")
    gemm.input[2] = "same_bias"
    for node in reversed(made):
        graph.node.insert(0, node)
    return model.SerializeToString()


def entities(folder: Path) -> bytes:
    lines = ['<!DOCTYPE net [<!ENTITY a0 "ha">']
    lines += [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)]
    text = engine_file(folder).read_text(encoding="utf-8")
    start, rest = text.split("?>", 1)
    return f"{start}?>{''.join(lines)}]>{rest}".encode()


HOSTILE_GRAPHS: dict[str, list[Callable[[Path], bytes]]] = {
    "onnx": [external_data, huge_tensor],
    "openvino": [entities],
}


def test_a_hostile_graph_is_refused_in_the_trial(copied: Path, artifact: Path) -> None:
    whole = engine_file(copied).read_bytes()
    for content in HOSTILE_GRAPHS.get(artifact.name, []):
        engine_file(copied).write_bytes(whole)
        engine_file(copied).write_bytes(content(copied))
        rewrite(copied)
        with pytest.raises(EngineError):
            Reader.open(copied, trial=True)


def test_a_graph_that_fills_the_memory_is_refused_in_the_trial(
    make_artifact: Callable[..., Path], network: TinyNetwork
) -> None:
    require("onnxruntime")
    folder = make_artifact(network)
    engine_file(folder).write_bytes(huge_tensor(folder, (1 << 29) // 4))
    rewrite(folder)
    trial_load(folder, SessionOptions())  # there are 512 MiB
    with pytest.raises(EngineError, match="allocate"):
        trial_load(folder, SessionOptions(), memory_bytes=1 << 29)


def test_golden_vectors_of_another_network_are_refused_in_the_trial(copied: Path) -> None:
    with np.load(copied / GOLDEN_FILE) as file:
        arrays = {name: file[name] for name in file.files}
    others = {name: -values if name != "images" else values for name, values in arrays.items()}
    np.savez(copied / GOLDEN_FILE, **others)
    rewrite(copied)
    with pytest.raises(EngineError, match="differs from the golden vectors"):
        trial_load(copied, SessionOptions())
