from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from export.sign import sign_artifact
from runtime import Reader, session
from runtime.errors import (
    ArtifactError,
    ConfigError,
    HeadlightError,
    IntegrityError,
    SignatureError,
)
from runtime.manifest import FileRecord, Manifest
from runtime.signature import write_bundle, write_statement
from runtime.trust import load_manifest, verify_artifact
from runtime.verify import main
from tests.artifacts import TinyNetwork, random_images, write_artifact
from tests.engines import require
from tests.signing import KeyPair, make_keys

VERSION = 1
"""Of the artifacts that tests write."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signed(keys: KeyPair, network: TinyNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed") / "plates"
    write_artifact(folder, network)
    sign_artifact(folder, keys.key)
    return folder


@pytest.fixture
def copy(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "copied under another name"))


def _rewrite(folder: Path, **changes: object) -> None:
    """Change the manifest so that it still parses and fits the files."""
    manifest = replace(Manifest.load(folder), **changes)  # type: ignore[arg-type]
    (folder / "artifact.json").write_text(manifest.to_json(), encoding="utf-8")


def _change_engine(folder: Path) -> None:
    path = folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _change_engine_and_manifest(folder: Path) -> None:
    _change_engine(folder)
    files = Manifest.load(folder).files
    record = FileRecord.of(folder / "model.onnx")
    _rewrite(folder, files={**files, "model.onnx": record})


def _rename(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "other.onnx")


def _rename_in_the_manifest_too(folder: Path) -> None:
    _rename(folder)
    files = dict(Manifest.load(folder).files)
    files["other.onnx"] = files.pop("model.onnx")
    _rewrite(folder, files=files, engine_file="other.onnx")


def _add_with_manifest(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"x")
    files = Manifest.load(folder).files
    _rewrite(folder, files={**files, "extra.bin": FileRecord.of(folder / "extra.bin")})


HARM: dict[str, tuple[Callable[[Path], object], type[HeadlightError]]] = {
    "signature removed": (lambda f: (f / "model.sig").unlink(), SignatureError),
    "engine changed": (_change_engine, IntegrityError),
    "engine and manifest changed": (_change_engine_and_manifest, SignatureError),
    "threshold changed": (lambda f: _rewrite(f, golden_tolerance=1.0), SignatureError),
    "version raised": (lambda f: _rewrite(f, version=VERSION + 9), SignatureError),
    "golden vectors removed": (lambda f: (f / "golden.npz").unlink(), IntegrityError),
    "manifest removed": (lambda f: (f / "artifact.json").unlink(), ArtifactError),
    "file added": (lambda f: (f / "extra.bin").write_bytes(b"x"), IntegrityError),
    "file added, manifest fits": (_add_with_manifest, SignatureError),
    "file renamed": (_rename, IntegrityError),
    "file renamed, manifest fits": (_rename_in_the_manifest_too, SignatureError),
    "manifest no text": (lambda f: (f / "artifact.json").write_bytes(b"\xff"), ArtifactError),
}


@pytest.mark.parametrize(("harm", "error"), HARM.values(), ids=HARM)
def test_harm_is_refused_before_an_engine_sees_a_file(
    copy: Path,
    keys: KeyPair,
    harm: Callable[[Path], object],
    error: type[HeadlightError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("an engine was opened")

    monkeypatch.setattr(session, "OPENERS", dict.fromkeys(session.OPENERS, opened))
    harm(copy)
    with pytest.raises(error) as caught:
        Reader.open(copy, verify=keys.public)
    assert type(caught.value) is error


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to(path.rename(path.parent.parent / path.name))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_pipe, "not a plain file"),
        (_link, "cannot be read"),
        (lambda path: os.truncate(path, 1 << 40), "more than"),
    ],
    ids=["pipe", "link", "a terabyte"],
)
@pytest.mark.parametrize("name", ["artifact.json", "model.sig"])
def test_what_is_no_plain_file_of_usual_size_is_not_read_with_a_key_either(
    copy: Path, keys: KeyPair, name: str, harm: Callable[[Path], object], told: str
) -> None:
    harm(copy / name)
    with pytest.raises((ArtifactError, SignatureError), match=told):
        verify_artifact(copy, keys.public)


def test_a_whole_artifact_is_read(copy: Path, keys: KeyPair) -> None:
    require("onnxruntime")
    with Reader.open(copy, verify=keys.public, minimum_version=VERSION) as reader:
        assert reader.read(random_images(1)[0]).heads
    assert verify_artifact(copy, keys.public) == Manifest.load(copy)


def test_without_a_key_signatures_are_not_looked_at(copy: Path) -> None:
    require("onnxruntime")
    (copy / "model.sig").write_text("no signature")
    Reader.open(copy).close()


def test_an_older_version_is_refused_with_and_without_a_key(copy: Path, keys: KeyPair) -> None:
    with pytest.raises(ArtifactError, match="older than 2"):
        Reader.open(copy, verify=keys.public, minimum_version=VERSION + 1)
    with pytest.raises(ArtifactError, match="older than 2"):
        Reader.open(copy, minimum_version=VERSION + 1)
    assert load_manifest(copy, minimum_version=VERSION).version == VERSION


def test_another_key_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="made with the key"):
        Reader.open(copy, verify=make_keys(tmp_path).public)


def test_a_signature_of_another_artifact_is_refused(
    copy: Path, keys: KeyPair, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_artifact(other, TinyNetwork(seed=1))
    sign_artifact(other, keys.key)
    shutil.copy(other / "model.sig", copy / "model.sig")
    with pytest.raises(SignatureError, match=r"artifact\.json was changed after"):
        verify_artifact(copy, keys.public)


def test_a_signature_over_a_part_is_refused(copy: Path, keys: KeyPair) -> None:
    """Whoever signs by other tools might leave the engine out; the rest alone is worth nothing."""
    digest = FileRecord.of(copy / "artifact.json").sha256
    payload = write_statement("part", {"artifact.json": digest})
    from runtime.signature import pre_authentication, signing_algorithm

    public = keys.key.public_key()
    signature = keys.key.sign(pre_authentication(payload), signing_algorithm(public))
    (copy / "model.sig").write_text(write_bundle(payload, signature, public))
    with pytest.raises(SignatureError, match=r"disagree about \['golden.npz', 'model.onnx'\]"):
        verify_artifact(copy, keys.public)


def test_a_folder_of_the_signatures_name_is_refused(copy: Path) -> None:
    (copy / "model.sig").unlink()
    (copy / "model.sig").mkdir()
    with pytest.raises(IntegrityError, match=r"not in the manifest \['model.sig'\]"):
        Manifest.load(copy).check_files(copy)


def test_no_manifest_may_list_the_signature(copy: Path) -> None:
    value = json.loads((copy / "artifact.json").read_text(encoding="utf-8"))
    value["files"]["model.sig"] = value["files"]["golden.npz"]
    with pytest.raises(ArtifactError, match="plain name"):
        Manifest.from_json(json.dumps(value))


def test_command(copy: Path, keys: KeyPair, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(copy), "--key", str(keys.public)]) == 0
    assert "version 1, 3 files match" in capsys.readouterr().out
    options = [str(copy), "--key", str(keys.public), "--minimum-version", "2"]
    assert main(options) == 1
    assert "older than 2" in capsys.readouterr().err
    assert main([*options[:-1], "-1"]) == 1
    with pytest.raises(ConfigError):
        load_manifest(copy, key=keys.private)


def test_the_command_runs_as_a_module_without_a_warning(copy: Path, keys: KeyPair) -> None:
    words = ["-W", "error", "-m", "runtime.verify", str(copy), "--key", str(keys.public)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_words_of_a_stranger_do_not_reach_the_terminal(
    copy: Path, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = json.loads((copy / "model.sig").read_text(encoding="utf-8"))
    bundle["verificationMaterial"]["publicKey"]["hint"] = "\x1b[2J\x1b[Hok"
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
    (copy / "model.sig").write_text(json.dumps(bundle), encoding="utf-8")
    assert main([str(copy), "--key", str(keys.public)]) == 1
    told = capsys.readouterr().err
    assert "?[2J?[H" in told
    assert "\x1b" not in told
