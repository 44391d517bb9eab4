"""How a text is spelled by the positions of a reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from runtime.errors import DataError
from runtime.schema import Reading, Schema

__all__ = ["encode_reading"]


def encode_reading(schema: Schema, reading: Reading, text: str) -> Mapping[str, int]:
    """Return the label index of every position that spells ``text``, after its aliases.

    Raises:
        DataError: no spelling fits the positions' labels and, where given, a format.
    """
    text = reading.unified(text)
    positions: Sequence[Sequence[Sequence[str]]] = [f.positions for f in reading.formats] or [
        [schema.head(name).labels for name in reading.heads]
    ]
    for allowed in positions:
        spelled = _spell(tuple(map(_longest_first, allowed)), reading.blank, text)
        if spelled is not None:
            return {
                name: schema.head(name).labels.index(label)
                for name, label in zip(reading.heads, spelled, strict=True)
            }
    shapes = ", ".join(item.name for item in reading.formats) or "its positions"
    known = {letter for name in reading.heads for letter in "".join(schema.head(name).labels)}
    strange = f"; no label has {' '.join(sorted(set(text) - known))}" if set(text) - known else ""
    raise DataError(f"{text!r} does not fit the reading {reading.name!r} (tried {shapes}){strange}")


@lru_cache(maxsize=1024)
def _longest_first(labels: Sequence[str]) -> Sequence[str]:
    """So that "WJ" wins over a label "W"."""
    return sorted(labels, key=len, reverse=True)


def _spell(
    allowed: Sequence[Sequence[str]], blank: str | None, text: str
) -> tuple[str, ...] | None:
    if not allowed:
        return None if text else ()
    for label in allowed[0]:
        letters = "" if label == blank else label  # the blank consumes nothing
        if text.startswith(letters):
            rest = _spell(allowed[1:], blank, text[len(letters) :])
            if rest is not None:
                return (label, *rest)
    return None
