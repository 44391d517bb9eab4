from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import ConfigError
from runtime.install import InstallConfig, install, main
from runtime.manifest import Manifest
from runtime.versions import Versions
from tests.artifacts import TinyNetwork
from tests.engines import require
from tests.signing import make_keys


def test_install_look_and_go_back(
    make_artifact: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("onnxruntime")
    store = str(tmp_path / "store")
    for version in (1, 2):
        folder = make_artifact(TinyNetwork(), version=version)
        assert main([store, str(folder)]) == 0
    versions = Versions(store)
    second, first = versions.names()
    assert versions.current == second
    assert main([store, "--rollback", "reads nothing"]) == 0
    assert versions.current == first
    capsys.readouterr()
    assert main([store]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{second}  rejected: reads nothing",
        f"{first}  current",
    ]
    assert main([store, str(folder)]) == 1
    assert "rejected before: reads nothing" in capsys.readouterr().err
    assert main([store, str(folder), "--again"]) == 0
    assert versions.current == second


def test_a_key_is_asked_for(
    make_artifact: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography")
    keys = make_keys(tmp_path)
    folder = make_artifact(TinyNetwork())
    assert main([str(tmp_path / "store"), str(folder), "--key", str(keys.public)]) == 1
    assert "nobody signed" in capsys.readouterr().err
    assert Versions(tmp_path / "store").names() == []


def test_words_of_a_stranger_do_not_reach_the_terminal(
    make_artifact: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("onnxruntime")
    folder = make_artifact(TinyNetwork())
    manifest = Manifest.load(folder)
    passport = {**manifest.passport, "requires_\x1b[2Jcard": "one"}
    text = replace(manifest, passport=passport).to_json()
    (folder / "artifact.json").write_text(text, encoding="utf-8")
    assert main([str(tmp_path / "store"), str(folder)]) == 1
    told = capsys.readouterr().err
    assert "?[2Jcard one" in told
    assert "\x1b" not in told


def test_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 1
    assert not (tmp_path / "nowhere").exists()
    assert main([str(tmp_path), "--rollback", "x"]) == 1
    with pytest.raises(ConfigError):
        InstallConfig(store=tmp_path, artifact=tmp_path, rollback="x")
    with pytest.raises(ConfigError):
        InstallConfig(store=tmp_path, artifact=tmp_path, minimum_version=-1)
    with pytest.raises(ConfigError, match="no store"):
        install(InstallConfig(store=tmp_path / "nowhere"))
