from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError, MissingExtraError, SignatureError
from runtime.signature import (
    import_cryptography,
    load_public_key,
    pre_authentication,
    read_signature,
    signing_algorithm,
    write_bundle,
    write_statement,
)
from tests.signing import KeyPair, make_keys

DIGESTS = {"b.bin": "0" * 64, "artifact.json": "ab" * 32}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys"))


def sign(folder: Path, keys: KeyPair, payload: bytes) -> dict[str, Any]:
    """Write ``model.sig`` for any payload and return it parsed."""
    public = keys.key.public_key()
    signature = keys.key.sign(pre_authentication(payload), signing_algorithm(public))
    text = write_bundle(payload, signature, public)
    (folder / "model.sig").write_text(text)
    value: dict[str, Any] = json.loads(text)
    return value


def read(folder: Path, keys: KeyPair) -> Mapping[str, str]:
    return read_signature(folder, load_public_key(keys.public))


def test_pre_authentication_is_that_of_the_dsse_specification() -> None:
    # protocol.md: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body, lengths as ASCII decimals
    kind = "application/vnd.in-toto+json"
    assert pre_authentication(b"hi\xff") == f"DSSEv1 {len(kind)} {kind} 3 ".encode() + b"hi\xff"


def test_statement_names_the_folder_by_the_hash_of_its_digests() -> None:
    value = json.loads(write_statement("plates", DIGESTS))
    in_order = bytes.fromhex(DIGESTS["artifact.json"] + DIGESTS["b.bin"])
    expected = {"name": "plates", "digest": {"sha256": hashlib.sha256(in_order).hexdigest()}}
    assert value["subject"] == [expected]


CURVE_NAME = attrgetter("name")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=CURVE_NAME)
def test_every_curve_of_the_standard_round_trips(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    keys = make_keys(tmp_path, curve=curve)
    sign(tmp_path, keys, write_statement("plates", DIGESTS))
    assert read(tmp_path, keys) == DIGESTS


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=CURVE_NAME)
def test_hash_is_as_long_as_the_curve(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).public_key()
    expected = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}[curve.key_size]
    assert isinstance(signing_algorithm(key).algorithm, expected)


def test_another_key_is_named(tmp_path: Path, keys: KeyPair) -> None:
    other = make_keys(tmp_path, "other")
    sign(tmp_path, other, write_statement("plates", DIGESTS))
    with pytest.raises(SignatureError, match=r"made with the key [0-9a-f]{12}"):
        read(tmp_path, keys)


def test_a_foreign_signature_under_our_hint_is_refused(tmp_path: Path, keys: KeyPair) -> None:
    other = make_keys(tmp_path, "other")
    payload = write_statement("plates", DIGESTS)
    signature = other.key.sign(pre_authentication(payload), ec.ECDSA(hashes.SHA256()))
    (tmp_path / "model.sig").write_text(write_bundle(payload, signature, keys.key.public_key()))
    with pytest.raises(SignatureError, match="only claims"):
        read(tmp_path, keys)


def test_no_signature(tmp_path: Path, keys: KeyPair) -> None:
    with pytest.raises(SignatureError, match="nobody signed"):
        read(tmp_path, keys)


def test_a_link_is_no_signature(tmp_path: Path, keys: KeyPair) -> None:
    (tmp_path / "elsewhere").mkdir()
    sign(tmp_path / "elsewhere", keys, write_statement("plates", DIGESTS))
    (tmp_path / "model.sig").symlink_to(tmp_path / "elsewhere" / "model.sig")
    with pytest.raises(SignatureError, match="cannot be read"):
        read(tmp_path, keys)


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("mediaType", to="application/x"), "mediaType"),
        (_set("dsseEnvelope", "payloadType", to="text/plain"), "payloadType"),
        (_set("dsseEnvelope", "signatures", to=[]), "one signature"),
        (_set("dsseEnvelope", "signatures", 0, "sig", to="!!"), "base64"),
        (_set("dsseEnvelope", "signatures", 0, "sig", to="é"), "base64"),
        (_set("dsseEnvelope", "signatures", 0, "sig", to=""), "changed"),
        (_set("dsseEnvelope", "payload", to=base64.b64encode(b"{}").decode()), "changed"),
        (_set("dsseEnvelope", "payload", to=7), "str"),
        (_set("verificationMaterial", to={}), "publicKey"),
    ],
)  # fmt: skip
def test_a_changed_bundle_is_refused(
    tmp_path: Path, keys: KeyPair, change: Callable[[Any], None], reason: str
) -> None:
    value = sign(tmp_path, keys, write_statement("plates", DIGESTS))
    change(value)
    (tmp_path / "model.sig").write_text(json.dumps(value))
    with pytest.raises(SignatureError, match=reason):
        read(tmp_path, keys)


@pytest.mark.parametrize(
    "change",
    [
        _set("_type", to="https://in-toto.io/Statement/v0"),
        _set("predicateType", to="https://slsa.dev/provenance/v1"),
        _set("predicate", "serialization", "method", to="shards"),
        _set("predicate", "serialization", "hash_type", to="blake3"),
        _set("predicate", "resources", 0, "algorithm", to="sha512"),
        _set("predicate", "resources", 1, "name", to="artifact.json"),
        _set("predicate", "resources", to="all"),
    ],
)
def test_another_signed_statement_is_refused(
    tmp_path: Path, keys: KeyPair, change: Callable[[Any], None]
) -> None:
    value = json.loads(write_statement("plates", DIGESTS))
    change(value)
    sign(tmp_path, keys, json.dumps(value).encode())
    with pytest.raises(SignatureError):
        read(tmp_path, keys)


def test_signed_bytes_that_are_no_text_are_refused(tmp_path: Path, keys: KeyPair) -> None:
    sign(tmp_path, keys, b"\xff")
    with pytest.raises(SignatureError, match="UTF-8"):
        read(tmp_path, keys)


@pytest.fixture(scope="module")
def signed(keys: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A signature file. Made once: signatures differ from time to time, also in length."""
    folder = tmp_path_factory.mktemp("signed")
    sign(folder, keys, write_statement("plates", DIGESTS))
    return (folder / "model.sig").read_bytes()


@given(data=st.data())
def test_no_changed_byte_gets_through(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, keys: KeyPair, signed: bytes
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    content = bytearray(signed)
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    (folder / "model.sig").write_bytes(content)
    try:
        found = read(folder, keys)
    except SignatureError:
        return
    assert found == DIGESTS  # a byte of the key's hint or of white space may change


def test_a_huge_file_is_refused_unread(tmp_path: Path, keys: KeyPair) -> None:
    with (tmp_path / "model.sig").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(SignatureError, match="more than"):
        read(tmp_path, keys)


def test_keys_that_cannot_verify_are_refused(tmp_path: Path, keys: KeyPair) -> None:
    with pytest.raises(ConfigError, match="pubout"):
        load_public_key(keys.private)
    with pytest.raises(ConfigError, match="pubout"):
        load_public_key(tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match="Ed25519"):
        signing_algorithm(ed25519.Ed25519PrivateKey.generate().public_key())
    with pytest.raises(ConfigError, match="secp256k1"):
        load_public_key(make_keys(tmp_path, curve=ec.SECP256K1()).public)


def test_without_cryptography_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ec", None)
    with pytest.raises(MissingExtraError, match=r"headlight\[verify\]"):
        import_cryptography()


def test_importing_needs_no_cryptography() -> None:
    program = "import sys, runtime, runtime.verify; assert 'cryptography' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_reads_what_the_reference_tool_wrote() -> None:
    """``openssf/`` holds what model-signing 1.1.1 wrote about a folder of two small files."""
    folder = Path(__file__).with_name("openssf")
    assert read_signature(folder, load_public_key(folder / "public.pem")) == {
        "a.txt": hashlib.sha256(b"a\n").hexdigest(),
        "artifact.json": hashlib.sha256(b"b\n").hexdigest(),
    }
