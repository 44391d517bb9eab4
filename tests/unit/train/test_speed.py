"""``train.speed``: both loops train, and the comparison says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from train.speed import main

pytestmark = pytest.mark.usefixtures("one_thread")


def test_both_loops_are_timed(
    lamps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "speed.json"
    options = ["--steps", "1", "--blocks", "2", "--batch", "4", "--workers", "0", "--threads", "1"]
    sources = ["--data", str(lamps / "train"), "--schema", "derive:colour,side"]
    assert main(["clothing-two-heads", *sources, *options, "--output", str(target)]) == 0
    told = capsys.readouterr()
    assert "| plain loop, samples/s | train.fit, samples/s | ratio |" in told.out
    assert told.err.count("turn ") == 2
    found = json.loads(target.read_text(encoding="utf-8"))
    assert found["plain_samples_s"] > 0
    assert found["samples_s"] > 0
    assert 0 < found["ratio"] < 100
    assert 0 <= found["loader_share"] < 1
    assert 0 < found["augment_share"] < 1
    assert found["environment"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(("boats",), "recipe 'boats' is unknown"), (("tiny", "--steps", "0"), "must be >= 1")],
)
def test_wrong_options_are_refused(
    lamps: Path, wrong: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*wrong, "--data", str(lamps / "train")]) == 1
    assert message in capsys.readouterr().err
