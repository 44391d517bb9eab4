"""Single samples of an evaluation for ``result.json``: what they are, what was said, their picture.

A report that is made elsewhere, from the results of several devices, has no crops at hand. So the
first of each kind carry a small picture.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.assessment import Assessment
from benchmarks.crops.targets import Targets
from benchmarks.page import thumbnail

from .gallery import UNKNOWN, Crops, answers

__all__ = ["described", "flip_examples"]

SHOWN: Final = 24
"""Samples of a kind that carry a picture."""
_LISTED: Final = 200
_HEIGHT_PX: Final = 48


def described(
    found: Assessment, targets: Targets, crops: Crops, index: int, *, picture: bool
) -> Mapping[str, Any]:
    """Return row, path, truth, answer and confidence of a sample, in JSON.

    Args:
        found: What was measured.
        targets: The truths that it was measured on.
        crops: The pictures, in the order of the truths.
        index: Which sample.
        picture: Whether to add the picture, as JPEG in Base64.

    Raises:
        DataError: the picture vanished or changed since it was checked.
    """
    parts = {
        name: pair for name, pair in answers(found, targets, index).items() if pair[0] != UNKNOWN
    }
    wrong = {name: pair for name, pair in parts.items() if pair[0] != pair[1]} or parts
    return {
        "row": index,
        # File names that are no UTF-8 hold lone surrogates, which could not be written.
        "path": str(crops[index]).encode("utf-8", "replace").decode("utf-8"),
        "truth": _joined({name: truth for name, (truth, _) in wrong.items()}),
        "answer": _joined({name: answer for name, (_, answer) in wrong.items()}),
        "confidence": float(found.decoded.confidence[index]),
        "picture": _picture(crops, index) if picture else None,
    }


def flip_examples(
    before: Assessment,
    after: Assessment,
    targets: Targets,
    crops: Crops,
    where: Sequence[int],
) -> Sequence[Mapping[str, Any]]:
    """Return the samples that two artifacts answer differently, 200 at most.

    Args:
        before: The first artifact.
        after: The other.
        targets: The truths of both.
        crops: The pictures.
        where: Rows of the flips.

    Raises:
        DataError: a picture vanished or changed since it was checked.
    """
    examples = []
    for number, index in enumerate(where[:_LISTED]):
        old, new = (answers(each, targets, int(index)) for each in (before, after))
        names = [name for name in old if old[name][1] != new[name][1]]
        rights = [bool(each.metrics.exact_right[index]) for each in (before, after)]
        examples.append(
            {
                **described(after, targets, crops, int(index), picture=number < SHOWN),
                "truth": _joined({name: old[name][0] for name in names}),
                "before": _joined({name: old[name][1] for name in names}),
                "answer": _joined({name: new[name][1] for name in names}),
                "confidence_before": float(before.decoded.confidence[index]),
                "effect": _EFFECTS[rights[0], rights[1]],
            }
        )
    return examples


_EFFECTS: Final[Mapping[tuple[bool, bool], str]] = {
    (True, False): "lost",
    (False, True): "gained",
    (False, False): "wrong in both",
    (True, True): "right in both",
}


def _joined(parts: Mapping[str, str]) -> str:
    """One text: bare where there is but one part."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    return ", ".join(f"{name} {text}" for name, text in parts.items())


def _picture(crops: Crops, index: int) -> str:
    return b64encode(thumbnail(crops.read(index), height_px=_HEIGHT_PX)).decode("ascii")
