from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import EngineError, EngineUnavailableError
from runtime.manifest import FileRecord, Manifest
from runtime.passport import check_passport, fallback, precisions_text, rebuild_command
from runtime.scores import OperatingPoint
from runtime.session import OPENERS, SessionOptions, host_facts, open_session
from tests.artifacts import SMALL_INPUT, SMALL_SCHEMA
from tests.engines import ENGINES, require

RECORD = FileRecord(1, "0" * 64)
CONFIG = {
    "checkpoint": "runs/best one",
    "validation": ["a/val.tsv", "b/val.tsv"],
    "precision": "fp16",
    "decisions": "shared",
    "batch": 8,
}
MANIFEST = Manifest(
    id="plates-fp16-trt-1234",
    version=1,
    schema=SMALL_SCHEMA,
    input=SMALL_INPUT,
    engine="trt",
    engine_file="model.engine",
    precision="fp16",
    operating=OperatingPoint(),
    golden_tolerance=0.01,
    files={"model.engine": RECORD, "golden.npz": RECORD},
    passport={
        "engine": "tensorrt 10.3.0.26",
        "requires_tensorrt": "10.3.0.26",
        "requires_compute_capability": "8.7",
    },
    lineage={"export": {"config": CONFIG}},
)
HOST = {"tensorrt": "10.3.0.26", "compute_capability": "8.7", "gpu": "Orin"}


def test_the_host_that_it_was_built_for() -> None:
    check_passport(MANIFEST, HOST)
    check_passport(replace(MANIFEST, passport={"engine": "onnxruntime 1.0"}), {})


def test_another_host_is_told_what_differs_and_how_to_build_there() -> None:
    with pytest.raises(EngineError) as caught:
        check_passport(MANIFEST, {**HOST, "tensorrt": "10.4.0.26"})
    assert str(caught.value) == (
        "plates-fp16-trt-1234: the trt engine runs only with tensorrt 10.3.0.26 (this host: "
        "10.4.0.26); build it here: python -m export.trt 'runs/best one' --validation a/val.tsv "
        "b/val.tsv --precision fp16 --batch 8 --output NEW"
    )
    with pytest.raises(EngineError, match=r"compute_capability 8\.7 \(this host: none\)"):
        check_passport(MANIFEST, {})


@pytest.mark.parametrize(
    "lineage",
    [
        {},
        {"export": None},
        {"export": {"config": [1]}},
        {"export": {"config": {"checkpoint": 1.5, "validation": "ab", "batch": True}}},
        {"export": {"config": {"checkpoint": "a\x1b[2J", "validation": ["\n"], "batch": {}}}},
    ],
)
def test_the_lineage_of_others_is_no_command(lineage: dict[str, Any]) -> None:
    command = rebuild_command(replace(MANIFEST, engine="rtx", lineage=lineage))
    assert command == ("python -m export.trt --rtx CHECKPOINT --validation LIST --output NEW")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"dla": 0, "opt_level": 0, "workspace_mb": 256},
            "--workspace-mb 256 --opt-level 0 --dla 0",
        ),
        ({"profile": [4, 8, 64], "target": "10.3"}, "--profile 4 8 64"),
        ({"profile": [1, 8, 32], "workspace_mb": 1024, "skip_bad": False, "calibration": []}, ""),
        (
            {"gate": {"max_flips": 0.011, "max_score_difference": None}, "precision_floor": 0.99},
            "--gate.max-flips 0.011 --precision-floor 0.99",
        ),
        ({"io": "uint8", "calibration": ["a b", "c"]}, "--io uint8 --calibration 'a b' c"),
        ({"skip_bad": True, "overwrite": True, "report": "r", "version": 7}, "--skip-bad"),
        ({"gate": [1], "profile": [1, None, 2], "calibration": ["\x1b"], "skip_bad": 1.5e3}, ""),
    ],
)
def test_what_made_the_engine_makes_it_again(options: dict[str, Any], words: str) -> None:
    lineage = {"export": {"config": {"checkpoint": "C", "validation": ["L"], **options}}}
    command = rebuild_command(replace(MANIFEST, lineage=lineage))
    middle = f"{words} " if words else ""
    assert command == f"python -m export.trt C --validation L {middle}--output NEW"


def test_the_engine_does_not_see_a_file_for_another_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from runtime import session

    def opened(*_: object) -> session.Session:
        raise AssertionError("opened")

    monkeypatch.setattr(session, "OPENERS", {"trt": opened})
    monkeypatch.setattr(session, "host_facts", lambda engine: {**HOST, "gpu": engine})
    with pytest.raises(AssertionError, match="opened"):
        open_session(tmp_path, MANIFEST, SessionOptions())
    monkeypatch.setattr(session, "host_facts", lambda _: {})
    with pytest.raises(EngineError, match="build it here"):
        open_session(tmp_path, MANIFEST, SessionOptions())


@pytest.mark.parametrize("engine", sorted(OPENERS))
def test_every_engine_tells_facts_of_its_host(engine: str) -> None:
    try:
        facts = host_facts(engine)
    except EngineUnavailableError:
        return
    assert facts
    assert all(type(word) is str for pair in facts.items() for word in pair)
    if engine in ENGINES:
        require(ENGINES[engine])
        assert any(value[0].isdigit() for value in facts.values())


def test_precisions_in_words() -> None:
    assert precisions_text({"fp32": 23}) == "fp32"
    assert precisions_text({"int8": 22, "fp32": 1}) == "1 fp32, 22 int8"
    assert precisions_text({}) == "unknown"


@pytest.mark.parametrize(
    ("precision", "decided", "layers", "told"),
    [
        ("fp32", None, {"fp32": 5}, ""),
        ("fp32", None, {}, ""),
        ("fp32", None, {"bf16": 4, "fp32": 1}, "4 of 5 layers run in bf16, not fp32"),
        ("fp16", None, {"fp32": 5}, "5 of 5 layers run in fp32, not fp16"),
        ("bf16", None, {"bf16": 5}, ""),
        ("int8", "4", {"int8": 4, "fp32": 1}, ""),
        ("int8", "4", {"int8": 1, "fp32": 4}, "3 of 4 quantised layers run in float"),
        ("int8", "4", {"fp32": 5}, "4 of 4 quantised layers run in float"),
        ("int8", "4", {}, ""),
        ("int8", None, {"fp32": 5}, ""),
        ("int8", "9" * 5000, {"fp32": 5}, ""),
        ("int8", "-4", {"fp32": 5}, ""),
        ("int8", "4", {"int8": 4, "bf16": 1}, "1 of 5 layers run in bf16, not int8"),
        (
            "int8",
            "4",
            {"int8": 3, "bf16": 1},
            "1 of 4 quantised layers run in float; 1 of 4 layers run in bf16, not int8",
        ),
    ],
)
def test_fallbacks_in_words(
    precision: str, decided: str | None, layers: dict[str, int], told: str
) -> None:
    passport = {} if decided is None else {"quantised_layers": decided}
    assert fallback(precision, passport, layers) == told
