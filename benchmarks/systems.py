"""What scenarios time of an artifact: its engine alone, or a whole reader.

Both are told the crops beforehand, answer them once without a clock, and hold every answer of the
timed run against that.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, TypeAlias

import numpy as np

from runtime.arrays import Image, Images, Logits
from runtime.decode import Decoder
from runtime.errors import ConfigError, EngineError, HeadlightError
from runtime.manifest import Manifest
from runtime.reader import Reader
from runtime.results import Result, Timings
from runtime.session import Session

from .compare import flips

__all__ = ["EngineSystem", "ReaderSystem"]

_BATCHES: Final = 4
Read: TypeAlias = Result | HeadlightError


class EngineSystem:
    """Engine calls of ``batch`` samples, input ready: "crop" i is the i-th batch of crops.

    Args:
        session: The loaded engine.
        manifest: Of its artifact.
        images: (N, height, width, 3) uint8 at the network's input size, N >= 1.
        batch: Samples of a call, at least 1; images repeat as often as needed.
    """

    def __init__(
        self, session: Session, manifest: Manifest, images: Images, *, batch: int = 1
    ) -> None:
        self._session = session
        self._decoder = Decoder(manifest.schema, manifest.operating)
        starts = range(len(images) if batch == 1 else min(len(images), _BATCHES))
        self._batches = [
            images[[(start + place) % len(images) for place in range(batch)]] for start in starts
        ]
        self._expected: list[Logits] = [session.run(each) for each in self._batches]

    @property
    def crops(self) -> int:
        """Number of batches."""
        return len(self._batches)

    def answer(self, samples: Sequence[int]) -> Logits:
        """Score one batch."""
        (which,) = samples
        return self._session.run(self._batches[which])

    def check(self, samples: Sequence[int], answers: Logits) -> Timings | None:
        """Compare the decoded answers with those of the untimed pass.

        Raises:
            EngineError: one differs.
        """
        (which,) = samples
        expected = self._expected[which]
        # Decoding is dear, and engines mostly repeat themselves to the bit.
        if all(np.array_equal(answers[name], scores) for name, scores in expected.items()):
            return None
        changed = flips(self._decoder(expected), self._decoder(answers)).where
        if len(changed):
            raise EngineError(
                f"the engine answered crop {changed[0]} of batch {which} otherwise within the "
                "timed run than before it; the run is void"
            )
        return None


class ReaderSystem:
    """A reader's answers to crops as a camera's detector cuts them: checked, resized, decoded.

    Crops whose answer depends on those that they are batched with are left out: their scores lie
    so close together that either answer is as good, and neither proves a fault.

    Args:
        reader: Open as long as this is used.
        crops: (H, W, 3) uint8 each.

    Raises:
        EngineError: a crop cannot be read.
        ConfigError: no crop is left.
    """

    def __init__(self, reader: Reader, crops: Sequence[Image]) -> None:
        self._reader = reader
        alone = [_answer(reader.read(crop)) for crop in crops]
        together = [_answer(read) for read in reader.read_many(crops)]
        kept = [i for i, answer in enumerate(alone) if answer == together[i]]
        if not kept:
            raise ConfigError(
                f"none of {len(crops)} crops is answered alone as in a batch; nothing to time"
            )
        self.unsteady = len(crops) - len(kept)
        """Crops that were left out."""
        self._crops = [crops[i] for i in kept]
        self._expected = [alone[i] for i in kept]

    @property
    def crops(self) -> int:
        """Number of crops."""
        return len(self._crops)

    def answer(self, samples: Sequence[int]) -> list[Read]:
        """Read some crops."""
        if len(samples) == 1:
            return [self._reader.read(self._crops[samples[0]])]
        return self._reader.read_many([self._crops[sample] for sample in samples])

    def check(self, samples: Sequence[int], answers: Sequence[Read]) -> Timings | None:
        """Compare the decoded answers with those of the untimed pass.

        Raises:
            EngineError: one differs, or is an error.
        """
        for sample, answer in zip(samples, answers, strict=True):
            if _answer(answer) != self._expected[sample]:
                raise EngineError(
                    f"the reader answered crop {sample} otherwise within the timed run than "
                    f"before it: {_answer(answer)}, not {self._expected[sample]}; the run is void"
                )
        first = answers[0]
        return first.timings_ns if isinstance(first, Result) else None


def _answer(read: Read) -> Hashable:
    """Return what a reader answered, without confidences and times."""
    if isinstance(read, HeadlightError):
        raise EngineError(f"a crop that is to be timed cannot be read: {read}") from read
    texts = [reading.raw_text for reading in read.readings.values()]
    return (*texts, *(head.labels for head in read.heads.values()))
