"""Which network to train next: the only user of Optuna.

An Optuna trial is one candidate: the exact share after a short training and the latency are its
objectives, its shortfalls are constraints. The sampler is the multi-objective TPE (Ozaki et al.,
"Multiobjective Tree-Structured Parzen Estimator", JAIR 2022); what it proposes is moved to the
nearest candidate that was not tried, because the space is a grid and no training is done twice.

What was found lives in files, so the storage can be lost without losing a training; it tells
workers of each other and remembers how the search went.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from runtime.errors import ConfigError

from .space import Candidate

__all__ = ["Proposal", "Trials"]

JOURNAL_FILE: Final = "journal.log"
_FIRST: Final = 6
"""Candidates that must be known before TPE proposes; before, proposals spread out."""
_WORST: Final = 1e6
Axes = Mapping[str, BaseDistribution]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial that is under way."""

    candidate: Candidate
    trial: Trial


class Trials:
    """The record of all candidates that were tried, shared by all workers.

    Args:
        folder: Where the journal lies, if there is no ``storage``.
        storage: Optuna storage URL.
        space: All candidates. A search over another space is another study.
        seed: A proposal is a function of it and of the trials before.

    Raises:
        ConfigError: the storage cannot be opened.
    """

    def __init__(
        self, folder: Path, storage: str | None, space: Sequence[Candidate], seed: int
    ) -> None:
        optuna.logging.set_verbosity(logging.ERROR)
        self._axes = _axes(space)
        self._seed = seed
        names = " ".join(candidate.name for candidate in space)
        digest = hashlib.sha256(names.encode()).hexdigest()[:12]
        try:
            self._study = optuna.create_study(
                study_name=f"headlight-{digest}",
                storage=storage or _journal(folder / JOURNAL_FILE),
                directions=["maximize", "minimize"],
                load_if_exists=True,
            )
        except (optuna.exceptions.OptunaError, SQLAlchemyError, ImportError, OSError) as error:
            raise ConfigError(
                f"Optuna cannot open {storage or folder / JOURNAL_FILE}: {error}"
            ) from error

    def finished(self) -> list[Candidate]:
        """Return the candidates that were tried."""
        return [Candidate.of(trial.params) for trial in self._with(TrialState.COMPLETE)]

    def running(self) -> dict[int, Candidate]:
        """Return the trials that are under way, here or elsewhere, by number."""
        return {
            trial.number: Candidate.of(trial.params)
            for trial in self._with(TrialState.RUNNING)
            if trial.params.keys() == self._axes.keys()
        }

    def propose(self, waiting: Sequence[Candidate]) -> Proposal:
        """Start a trial.

        Args:
            waiting: What may be tried; not empty.
        """
        count = len(self._study.get_trials(deepcopy=False))
        tried = [*self.finished(), *self.running().values()]
        self._study.sampler = _UntriedSampler(waiting, tried, self._axes, self._seed + count)
        trial = self._study.ask(dict(self._axes))
        return Proposal(Candidate.of(trial.params), trial)

    def drop(self, number: int) -> None:
        """End a trial without a result."""
        self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def finish(
        self, proposal: Proposal, values: tuple[float, float], shortfalls: Mapping[str, float]
    ) -> None:
        """Record the result of a trial.

        Args:
            proposal: The trial.
            values: Exact share, latency in ms.
            shortfalls: By limit.
        """
        number = proposal.trial.number
        if self._study.get_trials(deepcopy=False)[number].state.is_finished():
            # Another worker took this one for dead: not every file system shares locks.
            self.add(proposal.candidate, values, shortfalls)
            return
        for name, value in _finite(shortfalls).items():
            proposal.trial.set_constraint(name, value)
        self._study.tell(proposal.trial, list(values))

    def add(
        self, candidate: Candidate, values: tuple[float, float], shortfalls: Mapping[str, float]
    ) -> None:
        """Record a result that came without a trial, as ``finish`` does."""
        self._study.add_trial(
            create_trial(
                values=list(values),
                params=candidate.params(),
                distributions=dict(self._axes),
                constraints=_finite(shortfalls),
            )
        )

    def _with(self, state: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(state,))


class _UntriedSampler(TPESampler):
    """TPE over the whole space, with its proposals moved to what is left to try."""

    def __init__(
        self, waiting: Sequence[Candidate], tried: Sequence[Candidate], axes: Axes, seed: int
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                n_startup_trials=_FIRST, multivariate=True, constant_liar=False, seed=seed
            )
        self._waiting, self._tried = waiting, tried
        self._free = {name: axis for name, axis in axes.items() if not axis.single()}

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """Return the axes that have more than one value."""
        return self._free

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the coordinates of a candidate that waits."""
        wanted = super().sample_relative(study, trial, search_space)
        if wanted:
            chosen = min(self._waiting, key=lambda c: _distance(c.params(), wanted, self._free))
        else:
            chosen = max(self._waiting, key=self._remoteness)
        params = chosen.params()
        return {name: params[name] for name in search_space}

    def _remoteness(self, candidate: Candidate) -> float:
        """Distance from what was tried; the first of several with the same is proposed."""
        here = candidate.params()
        away = (_distance(here, other.params(), self._free) for other in self._tried)
        return min(away, default=0.0)


def _distance(first: Mapping[str, Any], second: Mapping[str, Any], axes: Axes) -> float:
    """Sum over the axes, each of length 1; another precision or engine is 1 away."""
    total = 0.0
    for name, axis in axes.items():
        if isinstance(axis, FloatDistribution):
            total += abs(first[name] - second[name]) / (axis.high - axis.low)
        else:
            total += first[name] != second[name]
    return total


def _finite(shortfalls: Mapping[str, float]) -> dict[str, float]:
    """Databases hold no infinities."""
    return {name: min(value, _WORST) for name, value in shortfalls.items()}


def _axes(space: Sequence[Candidate]) -> Axes:
    columns: dict[str, list[Any]] = {}
    for candidate in space:
        for name, value in candidate.params().items():
            columns.setdefault(name, []).append(value)
    return {
        name: FloatDistribution(min(values), max(values))
        if isinstance(values[0], float)
        else CategoricalDistribution(tuple(dict.fromkeys(values)))
        for name, values in columns.items()
    }


def _journal(path: Path) -> BaseStorage:
    # A lock by O_EXCL holds on network file systems from NFSv3 on, where SQLite's do not, and one
    # whose owner died is taken over by its age. An absolute path, because workers may have other
    # working directories.
    whole = str(path.resolve())
    return JournalStorage(JournalFileBackend(whole, JournalFileOpenLock(whole)))
