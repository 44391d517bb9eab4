"""What the outputs of a bare model mean: a row of scores per head, or steps of a CTC model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runtime.errors import ConfigError
from runtime.schema import Reading, Schema
from runtime.strict import StrictObject

__all__ = ["CtcDescription", "OutputDescription", "check_known", "parse_outputs"]

SCORES: Final = ("logits", "log-probabilities", "probabilities")
AXES: Final = ("TK", "KT")
CTC_AXES: Final = (*AXES, "TNK")


@dataclass(frozen=True, slots=True, kw_only=True)
class CtcDescription:
    """An output that spells a reading as a CTC path (Graves et al., ICML 2006).

    Raises:
        ConfigError: unknown axes, or a negative blank.
    """

    output: str | int
    """Its name or index."""
    blank: int
    """Index of CTC's blank among the classes of a step, >= 0."""
    axes: str = "TK"
    """``TK``: (N, steps, classes); ``KT``: (N, classes, steps); ``TNK``: (steps, N, classes)."""
    reading: str | None = None
    """The reading that it spells; the only one of the schema if not given."""

    def __post_init__(self) -> None:
        check_known("ctc.axes", self.axes, CTC_AXES)
        if self.blank < 0:
            raise ConfigError(
                f"outputs.ctc.blank is the index of the blank class, from 0; got {self.blank}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDescription:
    """Which output is which head.

    Raises:
        ConfigError: an unknown word, no output is named, or CTC without labels.
    """

    scores: str
    """``logits``, ``log-probabilities``, or ``probabilities`` where softmax or sigmoid is in the
    graph."""
    heads: Mapping[str, str | int] = field(default_factory=dict)
    """Head to its output's name or index."""
    rows: str | int | None = None
    """Output that holds all other heads, a row of scores each, in schema order."""
    axes: str = "TK"
    """Of ``rows``: ``TK``, heads then labels, or ``KT``."""
    ctc: CtcDescription | None = None
    labels: tuple[str, ...] = ()
    """What the scores of a row, or of a step without CTC's blank, stand for, in the model's order;
    none: each head's labels in schema order."""
    unanswered: tuple[str, ...] = ()
    """Heads that the model does not answer."""

    def __post_init__(self) -> None:
        check_known("scores", self.scores, SCORES)
        check_known("axes", self.axes, AXES)
        if not self.heads and self.rows is None and self.ctc is None:
            raise ConfigError(
                "outputs names no output; give [outputs.heads] (head = output), rows = OUTPUT "
                "where one output holds a row of scores per head, or [outputs.ctc]"
            )
        if self.rows is not None and self.ctc is not None:
            raise ConfigError("outputs has rows and ctc; a model spells its text in one way")
        if self.ctc is not None and not self.labels:
            raise ConfigError(
                "outputs.ctc needs outputs.labels: the characters of the model's classes in their "
                "order, without the blank"
            )
        if self.labels and self.rows is None and self.ctc is None:
            raise ConfigError("outputs.labels says what rows or ctc hold; there is neither")
        repeated = sorted({each for each in self.labels if self.labels.count(each) > 1})
        if repeated:
            raise ConfigError(f"outputs.labels has {repeated} twice; each class is one label")

    def spelled(self, schema: Schema) -> Sequence[str]:
        """Return the heads that ``rows`` or ``ctc`` answers, in schema order.

        Raises:
            ConfigError: heads are named that the schema has not, twice, or not at all, or the
                schema has no such reading.
        """
        names = [head.name for head in schema.heads]
        told = [*self.heads, *self.unanswered]
        read = () if self.ctc is None else _reading(self.ctc, schema).heads
        unknown = sorted({*told} - {*names})
        if unknown:
            raise ConfigError(
                f"outputs names the heads {unknown}, but schema {schema.name!r} has {names}"
            )
        twice = sorted({name for name in [*told, *read] if [*told, *read].count(name) > 1})
        if twice:
            raise ConfigError(f"outputs says twice where the heads {twice} are; say it once")
        left = [name for name in names if name not in told]
        if self.ctc is not None:
            left = [name for name in left if name not in read]
        if left and self.rows is None:
            raise ConfigError(
                f"outputs: no output is given for the heads {left}; name one each in "
                "[outputs.heads], or rows = OUTPUT where one output holds a row for each, or list "
                "in unanswered what the model does not answer"
            )
        if not left and self.rows is not None:
            raise ConfigError("outputs: every head has an output of its own; leave rows out")
        return [*read] if self.ctc is not None else left


def _reading(ctc: CtcDescription, schema: Schema) -> Reading:
    readings = {reading.name: reading for reading in schema.readings}
    if ctc.reading is None and len(readings) == 1:
        return schema.readings[0]
    if ctc.reading not in readings:
        raise ConfigError(
            f"outputs.ctc.reading is {ctc.reading!r}; schema {schema.name!r} has the readings "
            f"{[*readings]}: name the one that the model spells"
        )
    return readings[ctc.reading]


def parse_outputs(value: object) -> OutputDescription:
    """Read ``[outputs]``.

    Raises:
        ConfigError: unknown or wrong keys, or a contradiction.
    """
    given = dict(value) if isinstance(value, dict) else {}
    rows = given.pop("rows", None)  # a name or an index, which is no one type
    with StrictObject(given, "outputs", ConfigError) as item:
        heads = item.mapping("heads", default={})
        ctc = item.optional_mapping("ctc")
        return OutputDescription(
            scores=item.text("scores"),
            heads={name: _output(f"heads.{name}", each) for name, each in heads.items()},
            rows=None if rows is None else _output("rows", rows),
            axes=item.text("axes", default="TK"),
            ctc=None if ctc is None else _ctc(ctc),
            labels=item.texts("labels", default=()),
            unanswered=item.texts("unanswered", default=()),
        )


def _ctc(value: Mapping[str, Any]) -> CtcDescription:
    given = dict(value)
    output = given.pop("output", None)
    with StrictObject(given, "outputs.ctc", ConfigError) as item:
        return CtcDescription(
            output=_output("ctc.output", output),
            blank=item.integer("blank"),
            axes=item.text("axes", default="TK"),
            reading=item.optional_text("reading"),
        )


def _output(where: str, value: Any) -> str | int:
    if type(value) not in (str, int):
        raise ConfigError(f"outputs.{where} must be an output's name or index, got {value!r:.60}")
    found: str | int = value
    return found


def check_known(what: str, value: str, known: Collection[str]) -> None:
    """Fail unless ``value`` is one of the ``known`` words.

    Raises:
        ConfigError: it is not.
    """
    if value not in known:
        raise ConfigError(f"{what} {value!r} is unknown; use one of {', '.join(known)}")
