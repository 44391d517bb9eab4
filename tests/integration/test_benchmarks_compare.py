"""``benchmarks.compare`` and ``self_check`` on tiny artifacts, through their ``main``."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from benchmarks import accuracy, latency, self_check
from benchmarks.compare import cli
from runtime.decode import decode
from runtime.scores import OperatingPoint
from tests.artifacts import SMALL_SCHEMA, TinyNetwork, random_images, write_artifact
from tests.engines import require

CROPS = 2000
LOST = 20


def answers(network: TinyNetwork, images: np.ndarray) -> list[str]:
    decoded = decode(SMALL_SCHEMA, network.logits(images), OperatingPoint())
    colours, extras = SMALL_SCHEMA.head("colour").labels, SMALL_SCHEMA.head("extras").labels
    return [
        f"{text},{colours[colour]},{'|'.join(np.array(extras)[on]) or '-'}"
        for text, colour, on in zip(
            decoded.readings["code"].raw_texts,
            decoded.choices["colour"],
            decoded.labels["extras"],
            strict=True,
        )
    ]


def worse(network: TinyNetwork, images: np.ndarray, lost: int) -> TinyNetwork:
    """The network with another bias of one head, so that it answers ``lost`` crops otherwise."""
    right = answers(network, images)
    least, most = 0.0, 20.0
    changed = TinyNetwork(scale=3.0)
    head = sum(h.size for h in SMALL_SCHEMA.heads[:3])  # the first label of ``colour``
    for _ in range(60):
        shift = (least + most) / 2
        changed.bias = network.bias.copy()
        changed.bias[head] += np.float32(shift)
        flipped = sum(a != b for a, b in zip(right, answers(changed, images), strict=True))
        if flipped == lost:
            return changed
        least, most = (shift, most) if flipped < lost else (least, shift)
    raise AssertionError(f"no bias loses exactly {lost} answers")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("tyro", "onnxruntime"):
        require(package)
    folder = tmp_path_factory.mktemp("compare")
    network, images = TinyNetwork(scale=3.0), random_images(CROPS, seed=1)
    write_artifact(folder / "old", network)
    write_artifact(folder / "worse", worse(network, images, LOST))
    (folder / "test").mkdir()
    lines = []
    for number, (image, answer) in enumerate(zip(images, answers(network, images), strict=True)):
        cv2.imwrite(str(folder / "test" / f"{number}.bmp"), image)
        lines.append(f"{number}.bmp\t{answer}\n")
    (folder / "test" / "labels.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def outcomes(out: Path) -> dict[str, str]:
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    (verdicts,) = result["verdicts"].values()
    return {verdict["limit"]: verdict["outcome"] for verdict in verdicts}


def test_a_planted_loss_of_a_point_is_found(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = ("--data", place / "test", "--only", "accuracy")
    assert run(place / "old", place / "worse", *data, "--output", out) == 1
    assert outcomes(out) == {"versus.exact_drop <= 0.005": "fail"}
    found = json.loads((out / "result.json").read_text(encoding="utf-8"))["accuracy"]
    assert found["exact"]["drop"] == LOST / CROPS
    assert found["flips"]["hits"] == LOST
    suite = ElementTree.fromstring((out / "junit.xml").read_text(encoding="utf-8"))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    # No loss passes, and so does a gain.
    assert run(place / "old", place / "old", *data) == 0
    assert run(place / "worse", place / "old", *data) == 0


def test_too_few_crops_never_pass(place: Path) -> None:
    few = place / "test" / "few.tsv"
    lines = (place / "test" / "labels.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    few.write_text("".join(lines[:200]), encoding="utf-8")
    assert run(place / "old", place / "worse", "--data", few, "--only", "accuracy") in (1, 3)
    assert run(place / "old", place / "old", "--data", few, "--only", "accuracy") == 3


def test_speed_is_judged_and_answers_are_not_forgotten(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, short = tmp_path / "out", ("--rounds", 5, "--max-slowdown", 5)
    code = run(place / "old", place / "worse", *short, "--output", out)
    found = outcomes(out)
    assert [*found.values()] == ["pass", "pass", "inconclusive"]
    assert code == 3
    printed = capsys.readouterr()
    assert "engine: OLD against itself" in printed.out
    assert "pass --data, or --only speed" in printed.out
    assert run(place / "old", place / "worse", *short, "--only", "speed") == 0


def test_a_slower_engine_fails(place: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    spec = TinyNetwork().spec
    larger = type(spec)(height=8 * spec.height, width=8 * spec.width)
    write_artifact(slow, TinyNetwork(spec=larger))
    assert run(place / "old", slow, "--rounds", 5, "--only", "speed") == 1


def test_results_of_earlier_runs(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old", "worse"):
        words = [str(place / name), "--data", str(place / "test"), "--output", str(tmp_path / name)]
        assert accuracy.main(words) == 0
    assert run(tmp_path / "old", tmp_path / "worse") == 1
    assert run(tmp_path / "old" / "result.json", tmp_path / "old") == 0
    quick = ["--duration", "0.1", "--cold-starts", "0", "--tries", "1"]
    words = [str(place / "old"), "--output", str(tmp_path / "timed"), *quick]
    assert latency.main([*words, "--scenario", "single-stream"]) == 0
    # What is equal to itself passes unless other processes disturbed the run.
    assert run(tmp_path / "timed", tmp_path / "timed", "--max-slowdown", 9) in (0, 3)
    capsys.readouterr()
    assert run(tmp_path / "timed", tmp_path / "old") == 1
    assert run(tmp_path / "timed", tmp_path / "timed", "--only", "accuracy") == 1
    assert run(tmp_path / "timed", place / "old") == 1
    assert run(tmp_path / "timed", tmp_path / "timed", "--data", place / "test") == 1
    told = capsys.readouterr().err.splitlines()
    reasons = ("like with like", "nothing of accuracy", "the other is none", "--data is for")
    assert all(reason in line for reason, line in zip(reasons, told, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        ("--max-slowdown", 0),
        ("--max-drop", 1),
        ("--rounds", 4),
        ("--threads", 0),
        ("--confidence", 1),
        ("--only", "speed", "--data", "x"),
    ],
)
def test_impossible_options_are_refused(
    place: Path, wrong: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place / "old", place / "worse", *wrong) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_changed_artifact_is_not_compared(place: Path, tmp_path: Path) -> None:
    broken = Path(copytree(place / "old", tmp_path / "broken"))
    (broken / "model.onnx").write_bytes(b"")
    assert run(place / "old", broken, "--only", "speed") == 1


def test_self_check_in_short(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--runs", "2", "--rounds", "12", "--slowdown", "2.0", "--output", str(out)]
    self_check.main([str(place / "old"), *options])
    found = json.loads((out / "result.json").read_text(encoding="utf-8"))["planted"]
    equal, slowed, kept, lost = found
    assert equal["fail"] == "0"
    assert slowed["fail"] == "2"
    assert kept["fail"] == "0"
    assert lost["pass"] == "0"
    assert int(lost["fail"]) > 0
    assert "| slower by 200%" in capsys.readouterr().out
    assert self_check.main([str(place / "old"), "--slowdown", "0.01"]) == 1
