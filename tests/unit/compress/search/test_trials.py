from __future__ import annotations

from pathlib import Path

import pytest

from compress.search.space import Candidate, NetworkChoice, candidates
from compress.search.trials import Trials
from runtime.errors import ConfigError

SPACE = candidates((0.5, 1.0), (0.5, 0.7, 0.9), ("int8", "fp32"), ("onnx", "openvino"))


def reached(candidate: Candidate) -> tuple[float, float]:
    """Exact share and latency: both fall with the size of a network."""
    size = candidate.network.width * (1 - candidate.network.target)
    return 0.8 + 0.3 * size, 0.1 + size


def explore(trials: Trials, networks: int) -> list[NetworkChoice]:
    """Try networks with all their variants, as the search does."""
    order: list[NetworkChoice] = []
    for _ in range(networks):
        tried = {candidate.network for candidate in trials.finished()}
        proposal = trials.propose([c for c in SPACE if c.network not in tried])
        network = proposal.candidate.network
        trials.finish(proposal, reached(proposal.candidate), {"accuracy.exact >= 0.9": -0.1})
        for other in SPACE:
            if other.network == network and other != proposal.candidate:
                trials.add(other, reached(other), {"accuracy.exact >= 0.9": 0.3})
        order.append(network)
    return order


def test_every_network_is_proposed_once_the_largest_first(tmp_path: Path) -> None:
    trials = Trials(tmp_path, None, SPACE, seed=0)
    order = explore(trials, 6)
    assert order[0] == NetworkChoice(1.0, 0.5)
    # Then the one that is farthest from it: its proposals spread before there is much to go by.
    assert order[1] == NetworkChoice(0.5, 0.9)
    assert len(set(order)) == 6
    assert sorted(trials.finished()) == sorted(SPACE)
    assert trials.running() == {}


def test_proposals_are_a_function_of_the_seed_also_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = explore(Trials(tmp_path / "whole", None, SPACE, seed=3), 5)
    parts = explore(Trials(tmp_path / "parts", None, SPACE, seed=3), 2)
    parts += explore(Trials(tmp_path / "parts", None, SPACE, seed=3), 3)
    assert parts == whole


def test_workers_see_what_others_do(tmp_path: Path) -> None:
    first, second = (Trials(tmp_path, None, SPACE, seed=0) for _ in range(2))
    proposal = first.propose(SPACE)
    assert second.running() == {proposal.trial.number: proposal.candidate}
    second.drop(proposal.trial.number)  # it took the first for dead
    assert first.running() == {}
    first.finish(proposal, reached(proposal.candidate), {})  # but it was not
    assert second.finished() == [proposal.candidate]


def test_another_space_is_another_study(tmp_path: Path) -> None:
    explore(Trials(tmp_path, None, SPACE, seed=0), 1)
    assert Trials(tmp_path, None, SPACE[:4], seed=0).finished() == []


def test_an_axis_with_one_value_is_no_choice(tmp_path: Path) -> None:
    space = candidates((1.0,), (0.5, 0.7), ("int8",), ("onnx",))
    trials = Trials(tmp_path, None, space, seed=0)
    for wanted in space:
        proposal = trials.propose([wanted])
        assert proposal.candidate == wanted
        trials.finish(proposal, reached(wanted), {"latency": float("inf")})
    assert trials.finished() == list(space)


def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sqlite:////nowhere/at/all\.db"):
        Trials(tmp_path, "sqlite:////nowhere/at/all.db", SPACE, seed=0)
