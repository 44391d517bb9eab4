"""Time that passes only when a query says so: no test waits, none depends on the machine."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.noise import Noise
from runtime.errors import EngineError
from runtime.results import Timings

QUIET = Noise(0.0)


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def perf_counter(self) -> float:
        return self.now_ns / 1e9

    def sleep(self, seconds: float) -> None:
        self.spend(seconds)

    def spend(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class Fixed:
    """A system that takes a fixed time per call and another per sample, and answers twice the
    number of the crop; ``wrong_at`` calls from the first on it errs."""

    def __init__(
        self,
        clock: Clock,
        *,
        call_s: float,
        sample_s: float = 0.0,
        crops: int = 5,
        wrong_at: int | None = None,
    ) -> None:
        self.crops = crops
        self.calls: list[list[int]] = []
        self._clock, self._call_s, self._sample_s = clock, call_s, sample_s
        self._wrong_at = wrong_at

    def answer(self, samples: Sequence[int]) -> list[int]:
        self._clock.spend(self._call_s + self._sample_s * len(samples))
        self.calls.append([*samples])
        wrong = len(self.calls) == self._wrong_at
        return [2 * sample + wrong for sample in samples]

    def check(self, samples: Sequence[int], answers: Sequence[int]) -> Timings | None:
        if [2 * sample for sample in samples] != answers:
            raise EngineError("wrong; the run is void")
        return Timings(1, 2, 3)
