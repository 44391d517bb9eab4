"""Short trainings: which of the networks that are fast enough hold their accuracy.

Any number of workers may do them, in folders that they share. A worker holds a lock on the network
that it trains, which the system takes back when the worker dies, however it dies.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.budget import Limit, Measurement
from benchmarks.command import say
from benchmarks.report import to_json
from runtime.errors import ParityError
from runtime.staging import write_text

from .config import SearchConfig
from .exports import CommandError
from .measuring import facts_from_object, facts_to_object, to_facts
from .ranking import Ranking, Record, shortfalls
from .space import Candidate, NetworkChoice
from .trials import Proposal, Trials

__all__ = ["Explorer", "Maker", "claimed"]

RESULT_FILE: Final = "result.json"
_PAUSE_S: Final = 5.0


class Maker(Protocol):
    """Makes candidates; ``chain.Chain`` does it by training."""

    @property
    def config(self) -> SearchConfig:
        """What is searched."""

    def folder(self, network: NetworkChoice) -> Path:
        """Return where all that is made of a network lies."""

    def checkpoint(self, network: NetworkChoice) -> Path:
        """Return the trained checkpoint of a network, made if it is not there."""

    def artifact(self, candidate: Candidate) -> Path:
        """Return the artifact of a candidate, made if it is not there.

        Raises:
            ParityError: INT8 loses more than is allowed.
            CommandError: the exporter refused.
        """


@dataclass(frozen=True, slots=True)
class Explorer:
    """One worker."""

    maker: Maker
    measure: Callable[[Path], Sequence[Measurement]]
    """Artifact folder to its accuracy."""
    limits: Sequence[Limit]
    records: Sequence[Record]
    """Those that were not left out; filled in as results come."""
    trials: Trials

    def explore(self) -> None:
        """Train until enough networks are known or none is left, then wait for other workers.

        Raises:
            HeadlightError: a training cannot be done.
            KeyboardInterrupt: interrupted; the same call goes on.
        """
        config = self.maker.config
        minutes = config.timeout_minutes
        end = time.monotonic() + (inf if minutes is None else 60 * minutes)
        self._forget_the_dead()
        while True:
            self.learn()
            under_way = {candidate.network for candidate in self.trials.running().values()}
            open_ = [record for record in self.records if not (record.accuracy or record.failure)]
            networks = {record.candidate.network for record in self.records}
            known = networks - {record.candidate.network for record in open_}
            busy = known | under_way
            left = [record for record in open_ if record.candidate.network not in busy]
            more = bool(left) and len(busy) < config.trials and time.monotonic() < end
            if more and self._try(left):
                continue
            if not more and (config.worker or not under_way - known):
                return
            time.sleep(_PAUSE_S)
            self._forget_the_dead()

    def learn(self) -> None:
        """Take over all results that are there, also those of other workers."""
        for network in {record.candidate.network for record in self.records}:
            self._take(network, self._found(network))
        finished = set(self.trials.finished())
        for record in self.records:
            if record.accuracy and record.candidate not in finished:
                self.trials.add(record.candidate, *self._result(record))

    def _waiting(self, left: Sequence[Record]) -> list[Candidate]:
        """What of ``left`` may be tried, the largest first.

        That is trainings that were interrupted, else what is fast and small enough as far as a busy
        machine can tell, else all.
        """
        begun = [r for r in left if self.maker.folder(r.candidate.network).exists()]
        ranking = Ranking(limits=self.limits, prefer=self.maker.config.prefer)
        in_reach = [record for record in left if not ranking.out_of_reach(record)]
        return [record.candidate for record in begun or in_reach or left]

    @contextmanager
    def _proposed(self, left: Sequence[Record]) -> Iterator[Proposal | None]:
        """Start a trial and hold its network; None where other workers hold all of ``left``.

        Everything that may be proposed is held meanwhile: a network can be taken without a trial
        of its own, as a student that another one's trial distils, and a proposal that cannot be
        followed would be a failed trial, again and again.
        """
        with ExitStack() as stack:
            networks = {record.candidate.network for record in left}
            locks = {network: stack.enter_context(ExitStack()) for network in networks}
            free = {n for n, lock in locks.items() if lock.enter_context(self._claimed(n))}
            waiting = self._waiting([r for r in left if r.candidate.network in free])
            proposal = self.trials.propose(waiting) if waiting else None
            for network, lock in locks.items():
                if proposal is None or network != proposal.candidate.network:
                    lock.close()
            yield proposal

    @contextmanager
    def _claimed(self, network: NetworkChoice) -> Iterator[bool]:
        """Hold a network that is to be trained; yields whether it was to be had."""
        wanted = {r.candidate.precision for r in self.records if r.candidate.network == network}
        with claimed(self.maker.folder(network)) as mine:
            # Its result may have come since results were last taken over.
            yield mine and not wanted <= self._found(network).keys()

    def _try(self, left: Sequence[Record]) -> bool:
        """Train one of ``left`` shortly; false where other workers hold them all."""
        with self._proposed(left) as proposal:
            if proposal is None:
                return False
            network = proposal.candidate.network
            say(f"short training of {network.name}")
            began = time.monotonic()
            self._make_student(network)
            variants = self._prove(network)
            result = {"variants": variants, "seconds": time.monotonic() - began}
            write_text(self.maker.folder(network) / RESULT_FILE, to_json(result))
            self._take(network, variants)
            record = next(r for r in self.records if r.candidate == proposal.candidate)
            # As long as the network is held: a trial under way that nobody holds is a dead one.
            if record.accuracy:
                self.trials.finish(proposal, *self._result(record))
            else:
                self.trials.drop(proposal.trial.number)
        return True

    def _make_student(self, network: NetworkChoice) -> None:
        """Let no two workers distil the same student: the second waits until it is there."""
        student = network.student
        if student != network:
            with claimed(self.maker.folder(student), wait=True):
                self.maker.checkpoint(student)

    def _prove(self, network: NetworkChoice) -> dict[str, Any]:
        """Return accuracy by precision; one engine speaks for all, the decisions are the same.

        A search of a tighter budget or of fewer precisions may have found some of it before.
        """
        found = self._found(network)
        for record in self.records:
            candidate = record.candidate
            if candidate.network != network or "facts" in found.get(candidate.precision, {}):
                continue
            try:
                folder = self.maker.artifact(candidate)
            except (ParityError, CommandError) as error:
                found[candidate.precision] = {"failure": str(error)}
                continue
            facts = to_facts(self.measure(folder))
            found[candidate.precision] = {"facts": facts_to_object(facts)}
        return found

    def _found(self, network: NetworkChoice) -> dict[str, Any]:
        """Return what the network's result on disk says by precision; empty where there is none."""
        path = self.maker.folder(network) / RESULT_FILE
        if not path.exists():
            return {}
        variants: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["variants"]
        return variants

    def _take(self, network: NetworkChoice, variants: Mapping[str, Any]) -> None:
        for record in self.records:
            if record.candidate.network == network:
                found = variants.get(record.candidate.precision, {})
                record.accuracy = facts_from_object(found.get("facts", ()))
                record.failure = found.get("failure", "")

    def _result(self, record: Record) -> tuple[tuple[float, float], dict[str, float]]:
        exact, latency = record.value("accuracy.exact"), record.latency_ms
        assert exact is not None  # every schema has heads
        assert latency is not None  # it was screened
        missing = shortfalls(self.limits, record.values())
        return (exact, latency), {str(limit): value for limit, value in missing.items()}

    def _forget_the_dead(self) -> None:
        """End the trials of workers that are gone: nobody holds their networks."""
        for number, candidate in self.trials.running().items():
            with claimed(self.maker.folder(candidate.network)) as mine:
                # It may have been finished since it was listed.
                if mine and number in self.trials.running():
                    self.trials.drop(number)


@contextmanager
def claimed(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a folder's lock; yields whether it was to be had.

    The lock is the open file's, so it ends with the process, on network file systems too (Linux
    passes ``flock`` on to NFS as a byte-range lock).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
