"""Which results are about the same model, data and device."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.facts import disturbances, pareto
from benchmarks.report.joining import join
from benchmarks.report.machines import device_rows
from benchmarks.report.reading import Result, find_results, read_result
from runtime.errors import DataError

EPYC = {"cpu": "AMD EPYC", "cores": 2, "arch": "x86_64", "soc": ""}
ORIN = {"cpu": "ARMv8", "cores": 6, "arch": "aarch64", "soc": "nvidia,board nvidia,tegra234"}


def result(command: str, artifacts: dict[str, Any], device: Any = EPYC, **more: Any) -> Result:
    value = {
        "command": f"benchmarks.{command}",
        "environment": {"device": device, "governor": None, "state": {"load": [1.0], "ticks": 3}},
        "artifacts": artifacts,
        **more,
    }
    return Result(Path(f"{command}.json"), deepcopy(value))


def right(identity: str, value: float) -> dict[str, Any]:
    share = {"value": value, "low": value - 0.1, "high": min(1.0, value + 0.1)}
    return {"id": identity, "metrics": {"samples": 10, "exact": share, "heads": {"a": {}}}}


def fast(identity: str, p50: float | None, mb: float = 1.0) -> dict[str, Any]:
    return {"id": identity, "read": {"percentiles_ms": {"p50": p50}}, "engine_mb": mb}


ON = {"origin": "/far/away/test.tsv, 10 samples, sha256 abc"}


def test_one_id_is_one_model_on_all_devices_and_the_later_result_counts() -> None:
    joined = join(
        [
            result("accuracy", {"m": right("id-1", 0.9)}, data=ON),
            result("latency", {"m": fast("id-1", 2.0)}),
            result("latency", {"m": fast("id-1", 3.0)}),
            result("latency", {"renamed": fast("id-1", 9.0)}, ORIN),
        ],
        {},
    )
    (model,) = joined.models
    assert [device.name for device in joined.devices] == [
        "AMD EPYC, 2 cores, x86_64", "tegra234, 6 cores, aarch64"
    ]  # fmt: skip
    assert [e["read"]["percentiles_ms"]["p50"] for e in model.latency.values()] == [3.0, 9.0]
    assert model.names == {"m", "renamed"}
    assert [data.name for data in joined.data] == ["away/test.tsv (10 crops)"]
    assert [len(device.results) for device in joined.devices] == [3, 1]


def test_copies_of_one_engine_in_one_result_stay_apart() -> None:
    two = {"a": fast("same-1", 1.0), "b": fast("same-1", 2.0)}
    turned = {"b": fast("same-1", 4.0), "a": fast("same-1", 3.0)}
    joined = join([result("latency", two), result("latency", turned, ORIN)], {})
    found = {m.name: [e["read"]["percentiles_ms"]["p50"] for e in m.latency.values()]
             for m in joined.models}  # fmt: skip
    assert found == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_models_and_devices_of_one_name_are_told_apart() -> None:
    other = EPYC | {"flags": ["avx512_vnni"]}
    joined = join(
        [
            result("latency", {"m": fast("x-aaa", 1.0)}),
            result("latency", {"m": fast("x-bbb", 2.0)}, other),
        ],
        {},
    )
    assert [model.name for model in joined.models] == ["m (aaa)", "m (bbb)"]
    assert joined.devices[1].name == "AMD EPYC, 2 cores, x86_64 #2"


def test_data_are_the_same_by_their_digest_not_their_path() -> None:
    elsewhere = {"origin": "/here/test.tsv, 10 samples, sha256 abc"}
    joined = join(
        [
            result("accuracy", {"m": right("1", 0.9)}, data=ON),
            result("accuracy", {"n": right("2", 0.8)}, ORIN, data=elsewhere),
        ],
        {},
    )
    assert len(joined.data) == 1
    assert joined.reference_on(joined.data[0]) == "n"


def test_the_front_is_what_none_beats() -> None:
    accuracy = {"a": right("1", 0.9), "b": right("2", 0.8), "c": right("3", 0.7)}
    timed = {"a": fast("1", 3.0, 9), "b": fast("2", 1.0), "c": fast("3", 2.0)}
    joined = join([result("accuracy", accuracy, data=ON), result("latency", timed)], {})
    points = pareto(joined, joined.data[0].name, joined.devices[0].name)
    assert {p.name: (p.latency_ms, p.engine_mb, p.best) for p in points} == {
        "a": (3.0, 9.0, True), "b": (1.0, 1.0, True), "c": (2.0, 1.0, False)
    }  # fmt: skip
    unknown = join(
        [result("accuracy", accuracy, data=ON), result("latency", {"a": fast("1", None)})], {}
    )
    assert not pareto(unknown, unknown.data[0].name, unknown.devices[0].name)


def test_disturbances_are_those_told_or_the_noisy_parts() -> None:
    assert disturbances({"disturbed": []}) == []
    assert disturbances({"disturbed": ["hot"], "read": {"noisy": True}}) == ["hot"]
    assert disturbances({"read": {"noisy": True}, "x": {"noisy": False}}) == [
        "other processes disturbed: read"
    ]


def test_devices_are_told_in_a_column_each_without_what_is_empty() -> None:
    joined = join([result("latency", {}), result("latency", {}, ORIN)], {})
    rows = {row[""]: row for row in device_rows(joined)}
    assert rows["cpu"]["tegra234, 6 cores, aarch64"] == "ARMv8"
    assert rows["soc"]["AMD EPYC, 2 cores, x86_64"] == "-"
    assert rows["state: load"]["AMD EPYC, 2 cores, x86_64"] == "1"
    assert not {"governor", "state: ticks"} & set(rows)


def test_pictures_are_only_those_beside_the_result(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"s")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    named = {"a.png": "A", "gone.png": "G", "../secret.png": "S", str(tmp_path / "secret.png"): "S"}
    value = {"command": "benchmarks.x", "pictures": named}
    (folder / "result.json").write_text(json.dumps(value), encoding="utf-8")
    assert read_result(folder).pictures == {folder / "a.png": "A"}


def test_a_folder_of_results_stands_for_all_of_them(tmp_path: Path) -> None:
    for name in ("kit/latency", "kit/accuracy", "one"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").write_text("{}", encoding="utf-8")
    files = [tmp_path / "kit" / name / "result.json" for name in ("accuracy", "latency")]
    assert find_results(tmp_path / "kit") == files
    assert find_results(tmp_path / "one") == [tmp_path / "one"]
    assert find_results(tmp_path / "absent") == [tmp_path / "absent"]


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    for text, told in (("[", "not JSON"), ("[1]", r"but \[1\]"), ('{"command": 3}', "command")):
        (tmp_path / "result.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=told):
            read_result(tmp_path)
    (tmp_path / "result.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match="cannot be read"):
        read_result(tmp_path / "result.json")
