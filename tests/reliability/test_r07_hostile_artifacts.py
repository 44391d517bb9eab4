"""R7: artifacts that are mean: refused before an engine sees them, or at worst in the trial."""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.sign import sign_artifact
from runtime import EngineError, HeadlightError, Reader
from runtime.manifest import GOLDEN_FILE, MANIFEST_FILE, SIGNATURE_FILE, FileRecord, Manifest
from runtime.session import SessionOptions
from runtime.trial import trial_load
from tests.artifacts import TinyNetwork
from tests.engines import require
from tests.reliability.conftest import Count
from tests.signing import KeyPair, make_keys

pytestmark = pytest.mark.reliability

Change = Callable[[Path], Any]


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rewrite(folder: Path, **changes: Any) -> None:
    """Write the manifest anew, fitting the files as they are, with some fields changed."""
    manifest = Manifest.load(folder)
    names = [n for n in file_names(folder) if n not in (MANIFEST_FILE, SIGNATURE_FILE)]
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


def exchange_files(folder: Path) -> None:
    engine, golden, aside = engine_file(folder), folder / GOLDEN_FILE, folder.parent / "aside"
    engine.rename(aside)
    golden.rename(engine)
    aside.rename(golden)


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
    "engine missing": lambda f: engine_file(f).unlink(),
    "golden vectors missing": lambda f: (f / GOLDEN_FILE).unlink(),
    "engine renamed": lambda f: engine_file(f).rename(f / "other.onnx"),
    "files exchanged": exchange_files,
    "no manifest": lambda f: (f / MANIFEST_FILE).unlink(),
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


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("untouched_engines")
def test_a_hostile_artifact_is_refused_before_an_engine_sees_it(
    make_artifact: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: Count,
) -> None:
    require("onnxruntime")
    monkeypatch.chdir(tmp_path)
    refused: Counter[str] = Counter()
    for name, change in HOSTILE.items():
        folder = make_artifact(TinyNetwork())
        change(folder)
        refused[refusal(name, partial(Reader.open, folder))] += 1
    assert not (tmp_path / "unpickled").exists()
    assert not list(tmp_path.rglob("evil.npy"))
    assert refused.total() == len(HOSTILE) >= 30
    count("R7 hostile", kinds=len(HOSTILE), **refused)


def refusal(name: str, opening: Callable[[], object]) -> str:
    """Return the class of the error with which an artifact is refused, and print why it is."""
    try:
        opening()
    except HeadlightError as error:
        print(f"{name}: {type(error).__name__}: {error!s:.200}")
        return type(error).__name__
    pytest.fail(f"{name} was not refused")


# ---- where a key is trusted ---------------------------------------------------------------------


def lower_threshold(folder: Path, _: KeyPair) -> None:
    rewrite(folder, operating=replace(Manifest.load(folder).operating, answer_threshold=0.0))


def signed_by_a_stranger(folder: Path, stranger: KeyPair) -> None:
    (folder / SIGNATURE_FILE).unlink()
    sign_artifact(folder, stranger.key)


def strangers_key_in_the_bundle(folder: Path, stranger: KeyPair) -> None:
    """The stranger's signature, which claims to be of the key that is trusted."""
    path = folder / SIGNATURE_FILE
    hint = json.loads(path.read_text(encoding="utf-8"))["verificationMaterial"]
    signed_by_a_stranger(folder, stranger)
    bundle = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**bundle, "verificationMaterial": hint}), encoding="utf-8")


HOSTILE_SIGNED: dict[str, Callable[[Path, KeyPair], Any]] = {
    "not signed": lambda f, _: (f / SIGNATURE_FILE).unlink(),
    "empty signature": lambda f, _: (f / SIGNATURE_FILE).write_bytes(b""),
    "signature of a terabyte": lambda f, _: os.truncate(f / SIGNATURE_FILE, 1 << 40),
    "signed by a stranger": signed_by_a_stranger,
    "signed by a stranger who claims to be trusted": strangers_key_in_the_bundle,
    "threshold lowered after signing": lower_threshold,
    "engine changed after signing": lambda f, _: rewrite_bytes(engine_file(f)),
    "file added after signing": lambda f, _: (f / "more").touch(),
    "version older than the one in use": lambda *_: None,
}


def rewrite_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.usefixtures("untouched_engines")
def test_a_hostile_signature_is_refused_before_an_engine_sees_a_file(
    make_artifact: Callable[..., Path], tmp_path: Path, count: Count
) -> None:
    require("onnxruntime")
    require("cryptography")
    keys, stranger = make_keys(tmp_path), make_keys(tmp_path, "stranger")
    refused: Counter[str] = Counter()
    for name, change in HOSTILE_SIGNED.items():
        folder = make_artifact(TinyNetwork(), version=4)
        sign_artifact(folder, keys.key)
        with pytest.raises(AssertionError, match="the engine saw a file"):
            Reader.open(folder, verify=keys.public, minimum_version=4)
        change(folder, stranger)
        lowest = 5 if "older" in name else 4
        opening = partial(Reader.open, folder, verify=keys.public, minimum_version=lowest)
        refused[refusal(name, opening)] += 1
    assert refused.total() == len(HOSTILE_SIGNED)
    count("R7 hostile, signed", kinds=len(HOSTILE_SIGNED), **refused)


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


def test_a_hostile_graph_is_refused_in_the_trial(copied: Path, valid_artifact: Path) -> None:
    whole = engine_file(copied).read_bytes()
    for content in HOSTILE_GRAPHS.get(valid_artifact.name, []):
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
