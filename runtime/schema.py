"""What a classifier answers: named heads, their labels, and readings that join heads to text.

A *choice* head names exactly one of K labels (softmax); a *labels* head any of K (sigmoid). A
*reading* is an ordered run of choice heads whose labels join to a text, for example a number
plate; its *blank* label stands for "no character here" and is dropped from the text. *Formats*
restrict which labels may stand together: one set of labels per position.

The order of heads is the order of the network's outputs and never changes after training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final
from unicodedata import category

from .errors import SchemaError
from .strict import StrictObject, parse_json

__all__ = ["INPUT_NAME", "Format", "Head", "HeadKind", "Reading", "Schema", "load_schema"]


INPUT_NAME: Final = "image"
"""Name of the graph's one input."""


class HeadKind(str, Enum):
    """How a head's scores become an answer."""

    CHOICE = "choice"
    """Exactly one of K labels: softmax, argmax."""
    LABELS = "labels"
    """Any of K labels: sigmoid and a threshold per label."""

    # StrEnum would do this, but JetPack 6 has Python 3.10.
    __str__ = str.__str__


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One output of the network.

    Raises:
        SchemaError: a name that cannot be an output's, fewer than two labels in a choice head, a
            repeated, empty or unprintable label, a weight or budget out of range.
    """

    name: str
    kind: HeadKind
    labels: tuple[str, ...]
    loss_weight: float = 1.0
    """Weight of the head's loss in training, > 0."""
    drop_budget: float = 0.003
    """Largest accuracy that compression may cost this head, as a share in [0, 1]."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name == INPUT_NAME:
            raise SchemaError(
                f"head name {self.name!r} is not an identifier or is {INPUT_NAME!r}, the input's "
                "name; use letters, digits and _ (it becomes the name of an engine output)"
            )
        least = 2 if self.kind is HeadKind.CHOICE else 1
        if len(self.labels) < least:
            raise SchemaError(
                f"head {self.name!r}: a {self.kind} head needs at least {least} labels, "
                f"got {len(self.labels)}"
            )
        repeated = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if repeated:
            raise SchemaError(f"head {self.name!r}: labels repeated: {repeated}")
        if any(not label or label != label.strip() or _unusable(label) for label in self.labels):
            raise SchemaError(
                f"head {self.name!r}: a label is empty, has outer spaces, or holds a comma or | "
                "(which separate labels in lists) or a control character"
            )
        if not 0 < self.loss_weight < float("inf") or not 0 <= self.drop_budget <= 1:
            raise SchemaError(
                f"head {self.name!r}: loss_weight must be > 0 and drop_budget in [0, 1], got "
                f"{self.loss_weight} and {self.drop_budget}"
            )

    @property
    def size(self) -> int:
        """Number of scores that the head puts out."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Format:
    """One allowed shape of a reading: the labels that each position may take."""

    name: str
    positions: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Choice heads that together spell one text."""

    name: str
    heads: tuple[str, ...]
    """Names of the choice heads, in reading order."""
    blank: str | None = None
    """The label that stands for "no character"; it adds nothing to the text."""
    formats: tuple[Format, ...] = ()
    """Allowed shapes; empty means that every combination may occur."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Characters of written texts to those that the labels have: US plates draw O and 0 alike."""

    def unified(self, text: str) -> str:
        """Return a written text in the characters that the labels have."""
        for written, meant in self.aliases:
            text = text.replace(written, meant)
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All heads and readings of one classifier.

    Raises:
        SchemaError: no head, repeated names, a reading over unknown or ``labels`` heads, a
            format whose length or labels do not fit its heads.
    """

    name: str
    heads: tuple[Head, ...]
    readings: tuple[Reading, ...] = ()
    _by_name: Mapping[str, Head] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {head.name: head for head in self.heads})
        if not self.heads:
            raise SchemaError(f"schema {self.name!r} has no heads")
        names = [head.name for head in self.heads] + [reading.name for reading in self.readings]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise SchemaError(f"schema {self.name!r}: names used twice: {repeated}")
        used: set[str] = set()
        for reading in self.readings:
            self._check_reading(reading)
            if used & set(reading.heads):
                raise SchemaError(f"reading {reading.name!r} shares heads with another reading")
            used |= set(reading.heads)

    def _check_reading(self, reading: Reading) -> None:
        if not reading.heads:
            raise SchemaError(f"reading {reading.name!r} has no heads")
        if len(set(reading.heads)) < len(reading.heads):
            raise SchemaError(f"reading {reading.name!r} uses a head twice: {reading.heads}")
        for name in reading.heads:
            if name not in self._by_name or self._by_name[name].kind is not HeadKind.CHOICE:
                raise SchemaError(
                    f"reading {reading.name!r}: {name!r} is not a choice head of this schema"
                )
        if reading.blank is not None and not any(
            reading.blank in self._by_name[name].labels for name in reading.heads
        ):
            raise SchemaError(
                f"reading {reading.name!r}: no head has the blank label {reading.blank!r}"
            )
        letters = "".join(label for name in reading.heads for label in self._by_name[name].labels)
        for written, meant in reading.aliases:
            if len(written) != 1 or written in letters or not meant or set(meant) - set(letters):
                raise SchemaError(
                    f"reading {reading.name!r}: the alias {written!r} -> {meant!r} must turn one "
                    "character that no label has into characters that labels have"
                )
        names = [allowed.name for allowed in reading.formats]
        if len(set(names)) < len(names):
            raise SchemaError(f"reading {reading.name!r}: two formats have the same name: {names}")
        for allowed in reading.formats:
            if len(allowed.positions) != len(reading.heads):
                raise SchemaError(
                    f"format {allowed.name!r} has {len(allowed.positions)} positions, reading "
                    f"{reading.name!r} has {len(reading.heads)} heads"
                )
            for name, labels in zip(reading.heads, allowed.positions, strict=True):
                unknown = [label for label in labels if label not in self._by_name[name].labels]
                if unknown or not labels:
                    raise SchemaError(
                        f"format {allowed.name!r}: head {name!r} cannot take {unknown or 'nothing'}"
                    )

    def head(self, name: str) -> Head:
        """Return the head called ``name``.

        Raises:
            SchemaError: there is none.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise SchemaError(
                f"schema {self.name!r} has no head {name!r}; it has {list(self._by_name)}"
            ) from None

    @property
    def free_heads(self) -> tuple[Head, ...]:
        """Heads that belong to no reading, in output order."""
        read = {name for reading in self.readings for name in reading.heads}
        return tuple(head for head in self.heads if head.name not in read)

    def to_object(self) -> dict[str, Any]:
        """Return plain JSON values; ``from_object`` is the inverse."""
        return {
            "name": self.name,
            "heads": [
                {
                    "name": head.name,
                    "kind": head.kind.value,
                    "labels": list(head.labels),
                    "loss_weight": head.loss_weight,
                    "drop_budget": head.drop_budget,
                }
                for head in self.heads
            ],
            "readings": [
                {
                    "name": reading.name,
                    "heads": list(reading.heads),
                    "blank": reading.blank,
                    "formats": {
                        allowed.name: [list(labels) for labels in allowed.positions]
                        for allowed in reading.formats
                    },
                    "aliases": dict(reading.aliases),
                }
                for reading in self.readings
            ],
        }

    @classmethod
    def from_object(cls, value: object) -> Schema:
        """Parse what ``to_object`` wrote, refusing unknown keys and wrong types.

        Raises:
            SchemaError: anything is missing, unknown, of the wrong type or contradictory.
        """
        with StrictObject(value, "schema", SchemaError) as top:
            name = top.text("name")
            heads = tuple(_head_from(item) for item in top.items("heads"))
            readings = tuple(_reading_from(item) for item in top.items("readings", default=()))
        return cls(name=name, heads=heads, readings=readings)


def _unusable(label: str) -> bool:
    # Control characters (Cc) drive terminals, lone surrogates (Cs) cannot be written as UTF-8.
    return any(letter in ",|" or category(letter) in ("Cc", "Cs") for letter in label)


def _head_from(value: object) -> Head:
    with StrictObject(value, "head", SchemaError) as item:
        kind = item.text("kind")
        known = [member.value for member in HeadKind]
        if kind not in known:
            raise SchemaError(f"head kind {kind!r} is unknown; use one of {known}")
        return Head(
            name=item.text("name"),
            kind=HeadKind(kind),
            labels=item.texts("labels"),
            loss_weight=item.number("loss_weight", default=1.0),
            drop_budget=item.number("drop_budget", default=0.003),
        )


def _reading_from(value: object) -> Reading:
    with StrictObject(value, "reading", SchemaError) as item:
        formats = item.mapping("formats", default={})
        return Reading(
            name=item.text("name"),
            heads=item.texts("heads"),
            blank=item.optional_text("blank"),
            formats=tuple(_format_from(name, positions) for name, positions in formats.items()),
            aliases=tuple(item.text_mapping("aliases", default={}).items()),
        )


def _format_from(name: str, positions: object) -> Format:
    if not isinstance(positions, list) or not all(
        isinstance(labels, list) and all(isinstance(label, str) for label in labels)
        for labels in positions
    ):
        raise SchemaError(f"format {name!r} must be a list of lists of labels, one per position")
    return Format(name, tuple(tuple(labels) for labels in positions))


def load_schema(source: str) -> Schema:
    """Return a built-in schema by name, or the one in a JSON file.

    Raises:
        SchemaError: neither a built-in name nor a readable, valid file.
    """
    from .builtin_schemas import BUILTIN  # after this module: it needs Head and Schema

    if source in BUILTIN:
        return BUILTIN[source]()
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SchemaError(
            f"schema {source!r} is neither built in ({', '.join(sorted(BUILTIN))}) nor a readable "
            f"file: {error.strerror or error}"
        ) from error
    except ValueError as error:
        raise SchemaError(f"schema file {path} is not UTF-8 text: {error}") from error
    value = parse_json(text, f"schema file {path}", SchemaError)
    try:
        return Schema.from_object(value)
    except SchemaError as error:
        raise SchemaError(f"schema file {path}: {error}") from error


LETTERS: Final[tuple[str, ...]] = tuple("ABCDEFGHJKLMNPQRSTUVWXYZ")
"""Letters of Chinese plates: no I, no O."""
DIGITS: Final[tuple[str, ...]] = tuple("0123456789")
