from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compress.search.exploring
from benchmarks.budget import Limit, Measurement
from compress.search.config import SearchConfig
from compress.search.exploring import Explorer, claimed
from compress.search.measuring import fact
from compress.search.ranking import Record
from compress.search.space import Candidate, NetworkChoice
from compress.search.trials import Trials

from .cases import EXACT, LATENCY, FakeMaker, record


def accuracy(folder: Path) -> list[Measurement]:
    """A larger share removed or fewer bits lose more."""
    target = float(folder.parent.name.split("-t")[1])
    exact = 1 - 0.1 * target - 0.01 * folder.name.startswith("int8")
    return [fact("accuracy.exact", exact, stat="mean")]


def records_of(config: SearchConfig) -> list[Record]:
    return [
        record(
            candidate.network.target,
            width=candidate.network.width,
            ms=1 - candidate.network.target,
            precision=candidate.precision,
            engine=candidate.engine,
        )
        for candidate in config.candidates
    ]


def explorer(
    config: SearchConfig, maker: FakeMaker, limits: Sequence[Limit] = (EXACT,)
) -> Explorer:
    config.run.mkdir(parents=True, exist_ok=True)
    trials = Trials(config.run, None, config.candidates, config.seed)
    return Explorer(maker, accuracy, limits, records_of(config), trials)


def test_a_network_is_trained_once_for_all_its_variants(config: SearchConfig) -> None:
    worker = explorer(config, FakeMaker(config))
    worker.explore()
    # The students of all three targets are the whole checkpoint, which a real maker trains not.
    assert sorted(worker.maker.made) == ["w1-t0", "w1-t0.2", "w1-t0.5", "w1-t0.8"]  # type: ignore[attr-defined]
    found = {r.candidate.name: r.value("accuracy.exact") for r in worker.records}
    assert found["w1-t0.8-int8-onnx"] == found["w1-t0.8-int8-openvino"] == pytest.approx(0.91)
    assert found["w1-t0.2-fp32-onnx"] == pytest.approx(0.98)
    assert sorted(worker.trials.finished()) == sorted(config.candidates)


def test_as_many_networks_are_trained_as_asked_for_and_more_later(config: SearchConfig) -> None:
    fewer = replace(config, trials=2)
    explorer(fewer, FakeMaker(fewer)).explore()
    known = len([*(config.run / "proxies").glob("*/result.json")])
    assert known == 2
    maker = FakeMaker(config)
    worker = explorer(config, maker)
    worker.explore()
    assert len(maker.made) == 1
    assert all(r.accuracy for r in worker.records)


def test_a_further_precision_is_added_to_what_is_trained(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = replace(config, precisions=("int8",))
    explorer(fewer, FakeMaker(fewer)).explore()
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("there is work, and no other worker"))
    maker = FakeMaker(config)
    worker = explorer(config, maker)
    worker.explore()
    assert maker.made == []
    assert all(record.accuracy for record in worker.records)
    # No candidate is tried twice for it.
    assert sorted(worker.trials.finished()) == sorted(config.candidates)
    for path in (config.run / "proxies").glob("*/result.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["variants"].keys() == {"int8", "fp32"}


def test_a_looser_budget_adds_what_was_left_out(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = explorer(config, FakeMaker(config))
    small = [record for record in first.records if record.candidate.precision == "int8"]
    replace(first, records=small).explore()
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("there is work, and no other worker"))
    maker = FakeMaker(replace(config, trials=2))
    worker = explorer(config, maker)
    worker.explore()
    assert maker.made == []
    # As many networks as are asked for; the third keeps what is known of it.
    proven = [record.candidate for record in worker.records if record.accuracy]
    assert len({each.network for each in proven if each.precision == "fp32"}) == 2
    assert len({each.network for each in proven}) == 3


def test_what_a_busy_machine_found_too_slow_is_trained_last(config: SearchConfig) -> None:
    maker = FakeMaker(config)
    worker = explorer(config, maker, (EXACT, LATENCY))
    worker.explore()
    # 0.2 ms keep the limit of 0.3; 0.5 and 0.8 ms do not, and had a quiet machine said so, they
    # were not here.
    assert maker.made[:2] == ["w1-t0", "w1-t0.8"]
    assert len(maker.made) == 4


def test_no_time_left_is_no_training(config: SearchConfig) -> None:
    hurried = replace(config, timeout_minutes=0.0)
    maker = FakeMaker(hurried)
    explorer(hurried, maker).explore()
    assert maker.made == []


def test_an_interrupted_training_is_gone_on_with_first(config: SearchConfig) -> None:
    def interrupt(network: NetworkChoice) -> None:
        if network.target == 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explorer(config, FakeMaker(config, before=interrupt)).explore()
    again = FakeMaker(config)
    worker = explorer(config, again)
    assert len(worker.trials.running()) == 1
    worker.explore()
    assert again.made == ["w1-t0.8", "w1-t0.5"]
    assert worker.trials.running() == {}


def test_what_cannot_be_made_is_no_end_of_the_search(config: SearchConfig) -> None:
    broken = [f"w1-t{target}-int8-{engine}" for target in (0.2, 0.5) for engine in config.engines]
    maker = FakeMaker(config, broken=[*broken, "w1-t0.8-int8-onnx"])
    worker = explorer(config, maker)
    worker.explore()
    failures = {r.candidate.name: r.failure for r in worker.records if r.failure}
    assert failures.keys() == set(broken)
    assert "is broken" in failures["w1-t0.2-int8-onnx"]
    # One engine that works speaks for both: only the final export has to work in each.
    assert next(r for r in worker.records if r.candidate.name == "w1-t0.8-int8-onnx").accuracy


def test_two_workers_share_the_work_and_both_know_all(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compress.search.exploring, "_PAUSE_S", 0.01)
    helper_config = replace(config, worker=True)
    started, go_on = threading.Event(), threading.Event()

    def slowly(network: NetworkChoice) -> None:
        if network.target:
            started.set()
            go_on.wait(20)

    helper = explorer(helper_config, FakeMaker(helper_config, before=slowly))
    thread = threading.Thread(target=helper.explore)
    thread.start()
    assert started.wait(20)
    maker = FakeMaker(config, before=lambda network: go_on.set())
    worker = explorer(config, maker)
    worker.explore()
    thread.join(20)
    assert not thread.is_alive()
    both = [*maker.made, *helper.maker.made]  # type: ignore[attr-defined]
    assert sorted(both) == ["w1-t0", "w1-t0.2", "w1-t0.5", "w1-t0.8"]
    assert all(r.accuracy for r in worker.records)


def test_a_student_that_another_worker_distils_is_not_tried(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compress.search.exploring, "_PAUSE_S", 0.01)
    dropped: list[int] = []
    monkeypatch.setattr(Trials, "drop", lambda _, number: dropped.append(number))
    narrow = replace(config, widths=(0.5,), targets=(0.0, 0.5), worker=True)
    started, go_on = threading.Event(), threading.Event()

    def slowly(network: NetworkChoice) -> None:
        if network.target == 0:
            started.set()
            go_on.wait(20)

    first = FakeMaker(narrow, before=slowly)
    # Begun: this one is tried first, and its student, which has no trial yet, is distilled for it.
    first.folder(NetworkChoice(0.5, 0.5)).mkdir(parents=True)
    thread = threading.Thread(target=explorer(narrow, first).explore)
    thread.start()
    assert started.wait(20)
    second = FakeMaker(narrow)
    threading.Timer(0.3, go_on.set).start()
    explorer(narrow, second).explore()
    thread.join(20)
    assert not thread.is_alive()
    assert [*first.made, *second.made] == ["w0.5-t0", "w0.5-t0.5"]
    assert dropped == []


@pytest.mark.parametrize(("way", "broken"), [("finish", False), ("drop", True)])
def test_a_trial_ends_while_its_network_is_held(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch, way: str, broken: bool
) -> None:
    # Others end a trial under way whose network nobody holds.
    narrow = replace(config, targets=(0.2,), trials=1)
    maker = FakeMaker(narrow, broken=[c.name for c in narrow.candidates] if broken else ())
    end, held = getattr(Trials, way), []

    def ended(trials: Trials, *given: Any) -> None:
        with claimed(maker.folder(NetworkChoice(1, 0.2))) as free:
            held.append(not free)
        end(trials, *given)

    monkeypatch.setattr(Trials, way, ended)
    explorer(narrow, maker).explore()
    assert held == [True]


def test_a_trial_that_was_finished_since_it_was_listed_is_not_dead(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = explorer(config, FakeMaker(config))
    proposal = worker.trials.propose(config.candidates)
    listed = Trials.running

    def finished_meanwhile(trials: Trials) -> dict[int, Candidate]:
        found = listed(trials)
        if found:
            trials.finish(proposal, (1.0, 1.0), {})
        return found

    monkeypatch.setattr(Trials, "running", finished_meanwhile)
    monkeypatch.setattr(Trials, "drop", lambda *_: pytest.fail("it was finished"))
    worker._forget_the_dead()
    assert worker.trials.finished() == [proposal.candidate]


def test_a_claim_is_one_holders_until_it_ends(tmp_path: Path) -> None:
    with claimed(tmp_path / "network") as first:
        assert first
        with claimed(tmp_path / "network") as second:
            assert not second
    with claimed(tmp_path / "network") as third:
        assert third


def test_results_are_plain_json(config: SearchConfig) -> None:
    one = replace(config, trials=1)
    explorer(one, FakeMaker(one)).explore()
    (path,) = (config.run / "proxies").glob("*/result.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["variants"]["int8"]["facts"][0]["metric"] == "accuracy.exact"
