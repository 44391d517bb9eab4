"""Whole artifacts: opened, read with, tampered with, shown."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime import ArtifactError, EngineError, IntegrityError, Reader, Result, session
from runtime.decode import decode
from runtime.manifest import Manifest
from runtime.preprocess import fit_many
from runtime.schema import load_schema
from runtime.scores import ACCEPT_NOTHING, OperatingPoint
from runtime.show import main
from tests.artifacts import TinyNetwork, random_images, write_artifact

CROPS = [
    np.random.default_rng(seed).integers(0, 256, (10 + 7 * seed, 60 - 5 * seed, 3), np.uint8)
    for seed in range(5)
]


def test_reads_what_numpy_computes(tiny_artifact: Path, network: TinyNetwork) -> None:
    expected = decode(
        network.schema, network.logits(fit_many(CROPS, network.spec)), OperatingPoint()
    )
    with Reader.open(tiny_artifact) as reader:
        single = [reader.read(crop) for crop in CROPS]
        many = reader.read_many(CROPS)
    for row, (one, other) in enumerate(zip(single, many, strict=True)):
        assert isinstance(other, Result)
        assert one.text == other.text == expected.readings["code"].texts[row]
        assert one.confidence == pytest.approx(float(expected.confidence[row]), abs=1e-4)
        assert other.confidence == pytest.approx(one.confidence, abs=1e-4)


def test_chinese_plates(engine: str, make_artifact: Callable[..., Path]) -> None:
    folder = make_artifact(TinyNetwork(load_schema("cn-plate")), engine=engine)
    with Reader.open(str(folder)) as reader:
        result = reader.read(CROPS[0])
        assert result.text is not None
        assert set(result.heads) == {*(f"char_{i}" for i in range(1, 9)), "colour", "layers"}


def test_two_threads_share_a_reader(tiny_artifact: Path) -> None:
    with Reader.open(tiny_artifact, threads=2) as reader:
        serial = [(r.text, r.confidence) for r in map(reader.read, CROPS)]
        found: dict[int, list[Any]] = {0: [], 1: []}

        def work(slot: int) -> None:
            for _ in range(30):
                found[slot].append([(r.text, r.confidence) for r in map(reader.read, CROPS)])

        workers = [threading.Thread(target=work, args=(slot,)) for slot in found]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=60)
        assert found == {0: [serial] * 30, 1: [serial] * 30}
        assert reader.stats().answered == 5 + 300


@pytest.fixture
def untouched_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test when any engine is asked to load anything."""

    def touched(*_: object) -> session.Session:
        raise AssertionError("the engine saw a file that was not verified")

    monkeypatch.setattr(session, "OPENERS", dict.fromkeys(session.OPENERS, touched))


@pytest.fixture
def copied(tiny_artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_artifact, tmp_path / "artifact"))


@pytest.mark.usefixtures("untouched_engines")
def test_a_changed_byte_in_any_file_is_found_before_the_engine_loads(copied: Path) -> None:
    files = sorted(path for path in copied.iterdir() if path.name != "artifact.json")
    assert len(files) >= 2
    for path in files:
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[place] ^= 1
            path.write_bytes(changed)
            with pytest.raises(IntegrityError, match=path.name):
                Reader.open(copied)
        path.write_bytes(content)


@pytest.mark.usefixtures("untouched_engines")
@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "extra.txt").write_text("x"),
        lambda f: (f / "golden.npz").unlink(),
        lambda f: ((f / "golden.npz").rename(f.parent / "g"),
                   (f / "golden.npz").symlink_to(f.parent / "g")),
        lambda f: (f / "artifact.json").unlink(),
        lambda f: (f / "artifact.json").write_text("{}"),
        lambda f: shutil.rmtree(f),
    ],
)  # fmt: skip
def test_other_tampering_is_found_before_the_engine_loads(
    copied: Path, change: Callable[[Path], Any]
) -> None:
    change(copied)
    with pytest.raises(ArtifactError):
        Reader.open(copied)


def test_golden_vectors_of_another_network_refuse_the_load(
    engine: str, tmp_path: Path, network: TinyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TinyNetwork(seed=1)
    monkeypatch.setattr(network, "logits", other.logits)
    write_artifact(tmp_path / "a", network, engine=engine)
    with pytest.raises(EngineError, match="golden vectors"):
        Reader.open(tmp_path / "a")
    Reader.open(tmp_path / "a", check_golden=False).close()


def test_show(tiny_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "crop.png"
    picture.write_bytes(cv2.imencode(".png", random_images(1)[0])[1].tobytes())
    assert main([str(tiny_artifact), "--image", str(picture)]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].startswith("artifact   small-")
    assert any(line.startswith("golden") and "3 samples match" in line for line in lines)
    with Reader.open(tiny_artifact) as reader:
        result = reader.read(random_images(1)[0])
    assert lines[-1].split("\t")[:3] == [str(picture), result.text, f"{result.confidence:.4f}"]
    assert shown.err == ""


def test_show_tells_that_nothing_is_accepted(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.load(copied)
    point = replace(manifest.operating, answer_threshold=ACCEPT_NOTHING, precision_floor=0.999)
    (copied / "artifact.json").write_text(
        replace(manifest, operating=point).to_json(), encoding="utf-8"
    )
    assert main([str(copied)]) == 0
    assert "accepts no answer: no confidence was enough for precision >= 0.999" in (
        capsys.readouterr().out
    )


def test_show_keeps_a_strangers_words_from_the_terminal(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.load(copied)
    passport = {**manifest.passport, "requires_\x1b[2Jcard": "one"}
    (copied / "artifact.json").write_text(
        replace(manifest, passport=passport).to_json(), encoding="utf-8"
    )
    assert main([str(copied)]) == 1
    told = capsys.readouterr()
    assert "?[2Jcard one" in told.err
    assert "\x1b" not in told.err + told.out


def test_show_reports_bad_pictures(
    tiny_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_artifact), "--image", str(tmp_path / "none.png")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_show_refuses_broken_artifacts(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (copied / "golden.npz").open("ab") as file:
        file.write(b"x")
    assert main([str(copied)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: " in shown.err
    assert "was changed" in shown.err


def test_show_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_show_keeps_control_characters_from_the_terminal(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "artifact.json"
    hostile = replace(Manifest.load(copied), id="\x1b[2J")
    path.write_text(hostile.to_json(), encoding="utf-8")
    assert main([str(copied)]) == 0
    assert "\x1b" not in capsys.readouterr().out
