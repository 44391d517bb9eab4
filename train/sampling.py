"""In which order, and how often, an epoch shows the samples: a pure function of (seed, epoch).

Rare classes can be shown more often by repeat factor sampling (Gupta et al., "LVIS: A Dataset for
Large Vocabulary Instance Segmentation", CVPR 2019, section 5.1 and appendix): a class c that a
share f(c) of the samples have gets the factor r(c) = max(1, (t / f(c))^p), a sample the largest
factor of its classes, and an epoch shows the sample that often on average. There p is 1/2 and t a
constant; here p is ``balance`` and t the share of the head's most frequent class, so that 0 leaves
the data as they are and 1 shows all classes of a head equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.labelled import Targets
from runtime.errors import ConfigError

__all__ = ["EpochOrders", "SamplingConfig", "repeat_factors"]

_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """How often samples of rare classes are shown.

    Raises:
        ConfigError: ``balance`` outside [0, 1] or ``max_repeats`` below 1.
    """

    balance: float = 0.0
    """0 shows the data as they are, 1 every class of a head equally often, 0.5 lies between as in
    LVIS. With several heads a sample follows its rarest class."""
    heads: tuple[str, ...] = ()
    """Heads whose classes count; all where not given. A labels head's classes are its labels."""
    max_repeats: float = 20.0
    """No sample is shown more often than this in an epoch, however rare its classes."""

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= 1 or not 1 <= self.max_repeats < float("inf"):
            raise ConfigError(
                f"balance must lie in [0, 1] and max_repeats be >= 1, got {self.balance} and "
                f"{self.max_repeats}"
            )


def repeat_factors(
    targets: Targets, order: npt.NDArray[np.int64], config: SamplingConfig
) -> npt.NDArray[np.float64]:
    """Return how often each sample is to be shown for every time that it stands in ``order``.

    Args:
        targets: Classes of N samples; missing ones ask for nothing.
        order: Samples of a plain epoch; class frequencies are counted over it.
        config: Strength, heads and limit.

    Returns:
        (N,) factors >= 1.

    Raises:
        ConfigError: a head of ``config`` does not exist.
    """
    known = [*targets.choices, *targets.labels]
    unknown = sorted(set(config.heads) - set(known))
    if unknown:
        raise ConfigError(f"sampling heads {unknown} are not in the schema; it has {known}")
    shown = np.bincount(order, minlength=_count(targets)).astype(np.float64)
    factors = np.ones(len(shown))
    for name in config.heads or known:
        if name in targets.choices:
            index = targets.choices[name]
            given = np.flatnonzero(index >= 0)
            of_class = _class_factors(
                np.bincount(index[given], shown[given]).astype(np.float64), config
            )
            factors[given] = np.maximum(factors[given], of_class[index[given]])
        else:
            columns = [np.flatnonzero(column == 1) for column in targets.labels[name].T]
            sums = np.array([float(shown[samples].sum()) for samples in columns])
            for samples, factor in zip(columns, _class_factors(sums, config), strict=True):
                factors[samples] = np.maximum(factors[samples], factor)
    return factors


def _class_factors(
    counts: npt.NDArray[np.float64], config: SamplingConfig
) -> npt.NDArray[np.float64]:
    """(K,) factors of a head's classes; 1 for those that do not occur."""
    rarity = np.ones_like(counts)
    np.divide(counts.max(initial=1), counts, out=rarity, where=counts > 0)
    factors: npt.NDArray[np.float64] = np.clip(rarity**config.balance, 1, config.max_repeats)
    return factors


def _count(targets: Targets) -> int:
    columns: Sequence[npt.NDArray[np.integer]] = [
        *targets.choices.values(),
        *targets.labels.values(),
    ]
    return len(columns[0])


class EpochOrders:
    """The endless sequence of samples: one shuffled epoch after the other, all of one length.

    Args:
        targets: Classes of the samples.
        order: Samples of a plain epoch, repeats included.
        config: How often rare classes are shown.
        seed: Of all epochs.

    Raises:
        ConfigError: a head of ``config`` does not exist.
    """

    def __init__(
        self,
        targets: Targets,
        order: npt.NDArray[np.int64],
        config: SamplingConfig,
        *,
        seed: int,
    ) -> None:
        self._order, self._seed = order, seed
        self._latest: dict[int, npt.NDArray[np.int64]] = {}
        self._whole = np.ones(len(order), np.int64)
        self._rest = np.zeros(len(order))
        if config.balance:
            factors = repeat_factors(targets, order, config)[order]
            # Stretched by less than a sample, so that every epoch has the same length; what adding
            # up leaves over must not count as one.
            stretched = np.ceil(factors.sum() - _ROUNDING) / factors.sum()
            factors = np.maximum(factors * stretched, 1)
            self._whole = np.floor(factors).astype(np.int64)
            self._rest = factors - self._whole
        self._drawn = round(self._rest.sum())
        self.size = int(self._whole.sum()) + self._drawn
        """Samples of an epoch."""

    def samples(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Return the samples at the places ``start`` to ``stop`` of the sequence."""
        places = np.arange(start, stop)
        index = np.empty(len(places), np.int64)
        for epoch in np.unique(places // self.size):
            inside = places // self.size == epoch
            index[inside] = self.epoch(int(epoch))[places[inside] % self.size]
        return index

    def epoch(self, number: int) -> npt.NDArray[np.int64]:
        """Return the samples of an epoch, shuffled: (size,)."""
        if number not in self._latest:
            # A batch may lie across two epochs; older ones are not needed again.
            self._latest = {n: kept for n, kept in self._latest.items() if n == number - 1}
            self._latest[number] = self._shuffled(np.random.default_rng((self._seed, number)))
        return self._latest[number]

    def _shuffled(self, random: np.random.Generator) -> npt.NDArray[np.int64]:
        if not self._drawn:
            return random.permutation(np.repeat(self._order, self._whole))
        # Systematic sampling: of the remainders, laid end to end in random order, those that a
        # comb of step 1 hits are shown once more. So each has its chance, and their number is
        # always the same.
        entries = random.permutation(len(self._order))
        ends = np.cumsum(self._rest[entries])
        ends *= self._drawn / ends[-1]
        marks = np.floor(ends + random.random()).astype(np.int64)
        marks[-1] = self._drawn
        copies = self._whole[entries] + np.diff(marks, prepend=0)
        return random.permutation(np.repeat(self._order[entries], copies))
