from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from export.sign import main
from runtime.errors import IntegrityError
from runtime.manifest import Manifest
from runtime.trust import verify_artifact
from tests.artifacts import TinyNetwork, write_artifact
from tests.signing import KeyPair, make_keys


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path)


@pytest.fixture
def artifact(network: TinyNetwork, tmp_path: Path) -> Path:
    write_artifact(tmp_path / "plates", network)
    return tmp_path / "plates"


def test_what_is_signed_verifies(artifact: Path, keys: KeyPair) -> None:
    before = Manifest.load(artifact)
    assert main([str(artifact), "--key", str(keys.private)]) == 0
    assert verify_artifact(artifact, keys.public) == before


def test_a_signature_is_replaced_only_on_demand(artifact: Path, keys: KeyPair) -> None:
    command = [str(artifact), "--key", str(keys.private)]
    assert main(command) == 0
    first = (artifact / "model.sig").read_bytes()
    assert main(command) == 1
    assert (artifact / "model.sig").read_bytes() == first
    assert main([*command, "--overwrite"]) == 0
    verify_artifact(artifact, keys.public)


def test_a_changed_artifact_is_not_signed(
    artifact: Path, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    (artifact / "golden.npz").write_bytes(b"x")
    assert main([str(artifact), "--key", str(keys.private)]) == 1
    assert "was changed" in capsys.readouterr().err
    assert not (artifact / "model.sig").exists()


def test_keys_with_a_password(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = make_keys(tmp_path, "locked", password=b"secret")
    command = [str(artifact), "--key", str(keys.private)]
    assert main(command) == 1
    assert "--password-file" in capsys.readouterr().err
    (tmp_path / "password").write_bytes(b"secret\n")
    assert main([*command, "--password-file", str(tmp_path / "password")]) == 0
    verify_artifact(artifact, keys.public)


def test_a_public_key_cannot_sign(
    artifact: Path, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(artifact), "--key", str(keys.public)]) == 1
    assert "openssl genpkey" in capsys.readouterr().err


class TestReference:
    """The OpenSSF's own tool reads ours, and we read what it writes.

    Its dependencies do not fit beside ours, so it is wanted on PATH, from an environment of its
    own: ``pipx install model-signing && pipx inject model-signing pyOpenSSL``.
    """

    @pytest.fixture
    def tool(self) -> Callable[..., int]:
        found = shutil.which("model_signing")
        if found is None:
            pytest.skip("the model_signing command is not on PATH")

        def run(*words: object) -> int:
            return subprocess.run([found, *map(str, words)], capture_output=True).returncode

        return run

    def test_reads_ours(self, artifact: Path, keys: KeyPair, tool: Callable[..., int]) -> None:
        assert main([str(artifact), "--key", str(keys.private)]) == 0
        moved = artifact.rename(artifact.with_name("moved"))
        signature = moved / "model.sig"
        check = ["verify", "key", "--signature", signature, "--public_key", keys.public, moved]
        assert tool(*check) == 0
        (moved / "extra.bin").write_bytes(b"x")
        assert tool(*check) != 0

    def test_is_read(self, artifact: Path, keys: KeyPair, tool: Callable[..., int]) -> None:
        signature = artifact / "model.sig"
        make = ["sign", "key", "--signature", signature, "--private_key", keys.private, artifact]
        assert tool(*make) == 0
        verify_artifact(artifact, keys.public)
        (artifact / "golden.npz").write_bytes(b"x")
        with pytest.raises(IntegrityError):
            verify_artifact(artifact, keys.public)
