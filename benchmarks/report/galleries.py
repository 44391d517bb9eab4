"""Crops to look at in a joined report: those whose answer changed, and those read wrongly."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.page import Block, Gallery, Paragraph, Table, Thumbnail

from .facts import CHANGED
from .joining import Joined
from .reading import Result

__all__ = ["changed_answers", "confident_mistakes", "new_answers"]

_SHOWN: Final = 24
"""Pictures of a kind, per list of crops."""


def changed_answers(joined: Joined) -> Iterator[Block]:
    """Yield what models answer otherwise than the first of their command line, crop by crop."""
    for data in joined.data:
        reference = joined.reference_on(data) or "the reference"
        rows, crops = [], _ByCrop()
        for model in joined.models:
            entry = model.accuracy.get(data.name) or {}
            if not entry.get("versus_first"):
                continue
            examples = entry.get("flip_examples") or []
            rows.append(_change_row(model.name, entry["versus_first"]["flips"], examples))
            for example in examples:
                crops.add(model.name, example)
        if not rows:
            continue
        yield Table(rows, f"Against {reference}, on {data.name}", wide=True)
        yield from _changes(crops, reference)


def new_answers(result: Result) -> Iterator[Block]:
    """Yield what NEW answers otherwise than OLD, of a result of ``benchmarks.compare``."""
    accuracy = result.value.get("accuracy")
    crops = _ByCrop()
    for example in (accuracy or {}).get("flip_examples") or []:
        crops.add(Path(str(result.options.get("new", "NEW"))).name, example)
    yield from _changes(crops, result.reference)


def _changes(crops: _ByCrop, reference: str) -> Iterator[Block]:
    yield from crops.gallery(
        lambda told: min(CHANGED.index(each["effect"]) for _, each in told),
        partial(_before, reference),
        lambda each: f", {each['effect']}",
    )


def _before(reference: str, example: Mapping[str, Any]) -> str:
    return f"{reference}: {example['before']} ({example['confidence_before']:.3f})"


def _change_row(
    model: str, flips: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]
) -> Mapping[str, str]:
    row = {"model": model, "changed answers": f"{flips['hits']} of {flips['total']}"}
    # Very many are not all listed, and then nobody knows what became of the others.
    if len(examples) == flips["hits"]:
        effects = [each["effect"] for each in examples]
        row |= {effect: str(effects.count(effect)) for effect in CHANGED}
    return row


def confident_mistakes(joined: Joined) -> Iterator[Block]:
    """Yield one picture per crop, with all models that were wrong and sure about it."""
    for data in joined.data:
        crops = _ByCrop()
        for model in joined.models:
            entry = model.accuracy.get(data.name) or {}
            for each in entry.get("confident_mistakes") or []:
                crops.add(model.name, each)
        if not crops.told:
            continue
        yield Paragraph(
            f"{len(crops.told)} crops of {data.name} were answered wrongly and accepted by one or "
            "more models; those that most models got wrong come first. A wrong label is often "
            "among them. The number in brackets is the confidence."
        )
        yield from crops.gallery(lambda told: -len(told))


_Told: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]
"""Models, and what each said of one crop."""


@dataclass(frozen=True, slots=True)
class _ByCrop:
    """What models said, by crop."""

    told: dict[str, list[tuple[str, Mapping[str, Any]]]] = field(default_factory=dict)

    def add(self, model: str, example: Mapping[str, Any]) -> None:
        self.told.setdefault(str(example["path"]), []).append((model, example))

    def gallery(
        self,
        rank: Callable[[_Told], int],
        first: Callable[[Mapping[str, Any]], str] | None = None,
        more: Callable[[Mapping[str, Any]], str] = lambda _: "",
    ) -> Iterator[Block]:
        """Yield the pictures that there are, the lowest rank first, then the surest."""
        ordered = sorted(
            self.told.values(), key=lambda told: (rank(told), -told[0][1]["confidence"])
        )
        items = []
        for told in ordered:
            shown = next((each for _, each in told if each.get("picture")), None)
            if shown is None:
                continue
            lines = [f"truth: {shown['truth']}", *([first(shown)] if first else [])]
            lines += [
                f"{model}: {each['answer']} ({each['confidence']:.3f}){more(each)}"
                for model, each in told
            ]
            title = f"{shown['truth']} read as {shown['answer']}"
            picture = b64decode(shown["picture"])
            items.append(Thumbnail(jpeg=picture, caption="\n".join(lines), title=title))
        if items:
            yield Gallery(items[:_SHOWN])
