"""From prepared images to answers: one engine call, decoded, counted and watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from .arrays import Image, Images, Logits
from .drafting import Draft, Drafter
from .errors import EngineError, HeadlightError, ImageError
from .health import Vitals
from .manifest import Manifest
from .results import Result, Timings
from .scores import OperatingPoint
from .session import Session
from .statistics import Counters

__all__ = ["Answerer", "Answers"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one engine call said."""

    outcomes: Sequence[Draft | EngineError]
    """One per image, in order."""
    logits: Logits | None
    """Head name to (N, K), if results carry scores."""
    engine_ns: int
    decode_ns: int

    def result(
        self, row: int, *, prepare_ns: int, queue_ns: int = 0, tag: object = None
    ) -> Result | EngineError:
        """Return what became of one image of the batch."""
        outcome = self.outcomes[row]
        if isinstance(outcome, EngineError):
            return outcome
        scores = None
        if self.logits is not None:
            # A copy, because a view would keep the scores of the whole batch.
            scores = {name: part[row].copy() for name, part in self.logits.items()}
        timings = Timings(prepare_ns, self.engine_ns, self.decode_ns, queue_ns)
        return outcome(timings, tag, scores)


class Answerer:
    """A session with its decoder, counters and vitals; any thread may call.

    Args:
        manifest: Of the artifact.
        session: Its engine.
        operating: Temperatures and thresholds to decode with.
        keep_scores: Whether results carry the engine's scores.
        counters: Go on counting in these.
    """

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        operating: OperatingPoint,
        *,
        keep_scores: bool = False,
        counters: Counters | None = None,
    ) -> None:
        self.session = session
        self._keep_scores = keep_scores
        self.counters = counters or Counters()
        self.vitals = Vitals()
        self._drafter = Drafter(manifest.schema, operating, manifest.name)

    def answer(self, batch: Sequence[Image]) -> Answers:
        """Call the engine once.

        Args:
            batch: At least one image at the network's input size.
        """
        # A view of the one image, or a copy of many; engines do not write into their input.
        images = batch[0][None] if len(batch) == 1 else np.stack(batch)
        began = perf_counter_ns()
        self.vitals.begin()
        scored: Logits | EngineError
        try:
            scored = self.session.run(images)
        except EngineError as error:
            scored = error
        finally:
            self.vitals.end()
        scored_at = perf_counter_ns()
        outcomes = self._decode(scored, len(batch))
        decoded_at = perf_counter_ns()
        engine_ns, decode_ns = scored_at - began, decoded_at - scored_at
        first = outcomes[0]
        failed = isinstance(first, EngineError) and all(
            isinstance(outcome, EngineError) for outcome in outcomes
        )
        self.vitals.judge_call(first if failed and isinstance(first, EngineError) else None)
        self.counters.count_call(len(batch), engine_ns, decode_ns)
        kept = None if isinstance(scored, EngineError) or not self._keep_scores else scored
        return Answers(outcomes, kept, engine_ns, decode_ns)

    def read(
        self, prepared: Sequence[Image | ImageError], began_ns: int
    ) -> list[Result | HeadlightError]:
        """Answer prepared images by one engine call, and count them.

        Args:
            prepared: Images at the network's input size, or why there is none.
            began_ns: ``perf_counter_ns`` from before the first was prepared.
        """
        if len(prepared) == 1 and not isinstance(prepared[0], ImageError):
            return [self._read_one(prepared[0], began_ns)]
        batch = [image for image in prepared if not isinstance(image, ImageError)]
        if len(batch) < len(prepared):
            self.counters.count("bad_images", len(prepared) - len(batch))
        if not batch:
            return [image for image in prepared if isinstance(image, ImageError)]
        prepare_ns = perf_counter_ns() - began_ns
        said = self.answer(batch)
        rows = iter(range(len(batch)))
        answers = [
            image
            if isinstance(image, ImageError)
            else said.result(next(rows), prepare_ns=prepare_ns)
            for image in prepared
        ]
        results = [answer for answer in answers if isinstance(answer, Result)]
        if len(results) < len(batch):
            self.counters.count("engine_failures", len(batch) - len(results))
        self.counters.count_answers(
            [perf_counter_ns() - began_ns] * len(results),
            accepted=sum(result.accepted for result in results),
            prepare_ns=prepare_ns,
        )
        return [*answers]

    def _read_one(self, image: Image, began_ns: int) -> Result | EngineError:
        """Answer one prepared image, without the lists that a batch takes."""
        prepare_ns = perf_counter_ns() - began_ns
        answer = self.answer((image,)).result(0, prepare_ns=prepare_ns)
        if isinstance(answer, EngineError):
            self.counters.count("engine_failures")
        else:
            latency_ns = perf_counter_ns() - began_ns
            self.counters.count_answers(
                (latency_ns,), accepted=int(answer.accepted), prepare_ns=prepare_ns
            )
        return answer

    def warm_up(self, images: Images) -> None:
        """Run a batch of zeros or of anything, without counting it.

        Raises:
            EngineError: the engine failed.
        """
        self._drafter(self.session.run(images))

    def _decode(self, scored: Logits | EngineError, count: int) -> list[Draft | EngineError]:
        """Return ``count`` drafts or errors."""
        if isinstance(scored, EngineError):
            return [scored] * count
        try:
            return [*self._drafter(scored)]
        except EngineError as error:
            if count == 1:
                return [error]
        # NaN may come from one image only (float16 overflows); the others keep their answers.
        rows = ({name: s[i : i + 1] for name, s in scored.items()} for i in range(count))
        return [outcome for row in rows for outcome in self._decode(row, 1)]
