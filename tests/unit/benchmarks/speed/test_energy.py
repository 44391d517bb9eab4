from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from benchmarks.budget import Limit, Outcome, judge
from benchmarks.device.energy import Energy
from benchmarks.noise import Noise
from benchmarks.report import to_json
from benchmarks.speed import open_subject
from benchmarks.speed.energy import EnergyFinding, EnergyRun, measure_energy

QUIET = Noise(0.0)


def _energy(watts: float, seconds: float = 1.0) -> Energy:
    return Energy(source="sensor", joules=watts * seconds, seconds=seconds, parts_j={})


class _Meter:
    """Tells one power after the other."""

    def __init__(self, *watts: float | str) -> None:
        self._watts = itertools.chain(watts, itertools.repeat(watts[-1]))
        self.running = 0

    def start(self) -> None:
        self.running += 1

    def stop(self) -> Energy | str:
        self.running -= 1
        found = next(self._watts)
        return found if isinstance(found, str) else _energy(found)


def _run(watts: float, samples: int = 100, seconds: float = 2.0) -> EnergyRun:
    return EnergyRun(energy=_energy(watts), samples=samples, seconds=seconds, noise=QUIET)


def test_idle_power_is_subtracted() -> None:
    run = _run(7.0)
    assert run.joules_per_sample(0.0) == pytest.approx(7.0 * 2 / 100)
    assert run.joules_per_sample(5.0) == pytest.approx(2.0 * 2 / 100)


def test_less_than_idle_is_not_known_rather_than_negative_or_zero() -> None:
    assert _run(4.0).joules_per_sample(5.0) is None
    finding = EnergyFinding(idle=_energy(5.0), runs={"engine": _run(4.0)})
    assert finding.rows()["energy of engine, mJ above idle"] == "-"
    assert [each.metric for each in finding.measurements()] == ["energy.idle_w"]
    told = finding.to_object()["energy"]["runs"]["engine"]
    assert told["joules_per_sample_above_idle"] is None
    assert told["joules_per_sample"] == pytest.approx(0.08)


def test_a_budget_can_limit_energy() -> None:
    finding = EnergyFinding(idle=_energy(5.0), runs={"read": _run(6.0)})
    limits = [Limit(metric="energy.read_mj", max=25.0), Limit(metric="energy.idle_w", max=4.0)]
    found = [verdict.outcome for verdict in judge(finding.measurements(), limits)]
    assert found == [Outcome.PASS, Outcome.FAIL]  # 20 mJ; 5 W


def test_without_a_meter_there_is_a_reason_and_no_number() -> None:
    finding = EnergyFinding(reason="no sensor")
    assert finding.rows() == {"energy": "not known: no sensor"}
    assert finding.measurements() == []
    assert finding.to_object() == {"energy": {"reason": "no sensor", "idle": None, "runs": None}}


@pytest.mark.parametrize("engine", ["onnx"], indirect=True)
def test_a_reader_is_measured_after_the_idle_device(tiny_artifact: Path) -> None:
    meter = _Meter(2.0, 5.0)
    with open_subject(tiny_artifact, threads=1, max_batch=4) as subject:
        found = measure_energy(subject, meter, batch=4, duration_s=0.05, idle_s=0.01)
        failing = measure_energy(subject, _Meter(2.0, "gone"), batch=1, duration_s=0.02, idle_s=0.0)
    assert meter.running == 0
    assert found.idle is not None
    assert found.idle.watts == 2.0
    assert set(found.runs) == {"engine", "read", "offline"}
    run = found.runs["offline"]
    assert run.samples % 4 == 0
    assert run.joules_per_sample(2.0) == pytest.approx(3.0 * run.seconds / run.samples)
    assert failing.reason == "gone"
    to_json(found.to_object())


@pytest.mark.parametrize("engine", ["onnx"], indirect=True)
def test_the_meter_stops_when_a_run_is_void(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = _Meter(2.0)

    def wrong(_query: object, _answer: object) -> None:
        raise ValueError("wrong")

    monkeypatch.setattr("benchmarks.speed.energy.check_answer", wrong)
    with (
        open_subject(tiny_artifact, threads=1, max_batch=1) as subject,
        pytest.raises(ValueError, match="wrong"),
    ):
        measure_energy(subject, meter, batch=1, duration_s=0.02, idle_s=0.0)
    assert meter.running == 0
