"""The audit as one HTML page for people: leakage first, then what else is wrong, then counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.page import (
    Block,
    Cell,
    Gallery,
    Matrix,
    Paragraph,
    Section,
    Table,
    Thumbnail,
    page,
    thumbnail,
)
from benchmarks.report import Rows
from runtime.arrays import Image

from .coverage import HeadCoverage
from .duplicates import KINDS, Duplicates
from .findings import Findings
from .label_issues import Suspect
from .pictures import HASH_BITS
from .sizes import SplitSizes
from .survey import Survey

__all__ = ["audit_page", "problem_rows"]

_PAIRS: Final = 40
_SUSPECTS: Final = 120
_EXPOSED: Final = 24
_ROWS: Final = 200
_TEXTS: Final = 50
_WIDE_PX: Final = 64
"""Height of the picture of a crop that is wide ..."""
_TALL_PX: Final = 112
"""... and of one that is not."""
_WIDE_ASPECT: Final = 2.0
_GAP_PX: Final = 6


def audit_page(findings: Findings, title: str) -> str:
    """Return the page.

    Raises:
        MissingExtraError: jinja2 is not installed.
        DataError: a picture vanished since it was measured.
    """
    sections = [
        _leakage(findings),
        _suspects(findings),
        _conflicts(findings),
        _bad_rows(findings.survey),
        _duplicates(findings),
        _labels(findings),
        _sizes(findings),
        _exposure(findings),
    ]
    survey = findings.survey
    counts = [f"{int(survey.of_split(name).sum())} {name}" for name in survey.splits]
    summary = [f"{len(survey)} usable crops: {', '.join(counts)}", *findings.notes]
    first = Section("Problems", [Table(problem_rows(findings))])
    shown = [section for section in sections if section.blocks]
    return page(title, [first, *shown], summary=summary)


def problem_rows(findings: Findings) -> Rows:
    """Return the table of problems and their numbers."""
    rows = [{"problem": name, "found": str(n)} for name, n in findings.problems.items()]
    return [*rows, {"problem": "(rare labels, not counted)", "found": str(findings.rare_labels)}]


def _leakage(findings: Findings) -> Section:
    leaks = findings.leaks
    blocks: list[Block] = []
    if len(findings.survey.splits) > 1:
        blocks.append(Table(findings.leak_rows(), "pairs of crops that show the same"))
    if len(leaks):
        blocks.append(_pairs(findings.survey, leaks))
    for item in findings.readings:
        if not item["crops"]:
            continue
        one, other = item["splits"]
        texts = ", ".join(item["texts"][:_TEXTS])
        more = " ..." if len(item["texts"]) > _TEXTS else ""
        blocks.append(
            Paragraph(
                f"Same {item['reading']}, not counted as leakage: {len(item['texts'])} texts of "
                f"{one} stand in {other} again, on {item['crops']} crops. {texts}{more}"
            )
        )
    return Section("Leakage between splits", blocks)


def _suspects(findings: Findings) -> Section:
    if findings.suspects is None:
        return Section("Labels probably wrong", [])
    found = findings.suspects
    likely = sum(item.likely for item in found)
    text = (
        f"The network contradicts the labels of {len(found)} crops; {likely} are probably wrong "
        "(●). The most doubtful stand first; look before you believe it."
    )
    blocks: list[Block] = [Paragraph(text)]
    if found:
        blocks.append(Gallery([_suspect(findings.survey, item) for item in found[:_SUSPECTS]]))
    return Section("Labels probably wrong", blocks)


def _suspect(survey: Survey, item: Suspect) -> Thumbnail:
    place = survey.rows[item.crop]
    return Thumbnail(
        jpeg=_picture([survey.paths.read(item.crop)]),
        title=f"{survey.texts[item.crop]} → {item.column}",
        caption=f"{'● ' if item.likely else ''}{item.head}: {item.given}, rather "
        f"{item.suggested} ({item.score:.2g})\n{place}",
    )


def _conflicts(findings: Findings) -> Section:
    pairs = findings.duplicates.take(findings.duplicates.conflicts)
    blocks = [_pairs(findings.survey, pairs)] if len(pairs) else []
    return Section("Duplicates with different labels", blocks)


def _bad_rows(survey: Survey) -> Section:
    rows = [
        {"split": row.split, "fault": row.fault, "row": row.text} for row in survey.bad_rows[:_ROWS]
    ]
    if not rows:
        return Section("Rows that cannot be used", [])
    shown = f"{len(rows)} of {len(survey.bad_rows)}; audit.json has all"
    return Section("Rows that cannot be used", [Table(rows, shown)])


def _duplicates(findings: Findings) -> Section:
    inside = findings.duplicates.take(~findings.duplicates.crosses)
    if not len(inside):
        return Section("Duplicates inside a split", [])
    split = findings.survey.split[inside.first]
    rows = [
        {"split": name, **{kind: str(int(((split == place) & (inside.kind == k)).sum()))
                           for k, kind in enumerate(KINDS)}}
        for place, name in enumerate(findings.survey.splits)
    ]  # fmt: skip
    return Section("Duplicates inside a split", [Table(rows), _pairs(findings.survey, inside)])


def _pairs(survey: Survey, pairs: Duplicates) -> Gallery:
    return Gallery([_pair(survey, pairs, place) for place in range(min(len(pairs), _PAIRS))])


def _pair(survey: Survey, pairs: Duplicates, place: int) -> Thumbnail:
    crops = (int(pairs.first[place]), int(pairs.second[place]))
    bits = f", {pairs.distance[place]} of {HASH_BITS} bits" if pairs.distance[place] else ""
    lines = [
        f"{survey.splits[survey.split[crop]]}: {survey.texts[crop]} ({survey.rows[crop]})"
        for crop in crops
    ]
    return Thumbnail(
        jpeg=_picture([survey.paths.read(crop) for crop in crops]),
        title=f"{KINDS[pairs.kind[place]]}{bits}",
        caption="\n".join(lines),
    )


def _picture(images: Sequence[Image]) -> bytes:
    """Return crops side by side as a JPEG."""
    widest = max(image.shape[1] / image.shape[0] for image in images)
    height = _WIDE_PX if widest >= _WIDE_ASPECT else _TALL_PX
    gap = np.full((height, _GAP_PX, 3), 255, np.uint8)
    parts: list[npt.NDArray[Any]] = []
    for image in images:
        width = max(1, round(image.shape[1] * height / image.shape[0]))
        parts += [gap, cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)]
    return thumbnail(np.hstack(parts[1:]), height_px=height)


def _labels(findings: Findings) -> Section:
    blocks: list[Block] = []
    for head in findings.coverage:
        blocks.append(_counts(head, findings.survey.splits))
        if head.rare:
            blocks.append(Paragraph(f"Rare in {findings.survey.splits[0]}:\n{_rare(head)}"))
    return Section("Labels of each head", blocks)


def _rare(head: HeadCoverage) -> str:
    reasons: dict[str, list[str]] = {}
    for item in head.rare:
        label = f"{item.label} ({item.count})" if item.count else item.label
        reasons.setdefault(item.reason, []).append(label)
    return "\n".join(f"{reason}: {', '.join(labels)}" for reason, labels in reasons.items())


def _counts(head: HeadCoverage, splits: Sequence[str]) -> Matrix:
    rare = {item.label for item in head.rare}
    most = np.maximum(head.counts.max(axis=1, initial=0), 1)

    def cell(row: int, column: int) -> Cell:
        count, wrong = int(head.counts[row, column]), row == 0 and head.labels[column] in rare
        return Cell(str(count), 0.4 if wrong else 0.6 * count / int(most[row]), wrong)

    cells = [
        [cell(row, column) for column in range(len(head.labels))] for row in range(len(splits))
    ]
    names = [f"{name} ({given})" for name, given in zip(splits, head.given, strict=True)]
    return Matrix(names, head.labels, cells, corner=head.head)


def _sizes(findings: Findings) -> Section:
    return Section("Sizes", [Table([row for item in findings.sizes for row in _size_rows(item)])])


def _size_rows(item: SplitSizes) -> Rows:
    rows = []
    for what, unit in (("height", " px"), ("width", " px"), ("aspect", "")):
        values = item.quantiles.get(what, {})
        rows.append(
            {"split": item.split, "of": what, **{k: f"{v:.4g}{unit}" for k, v in values.items()}}
        )
    if item.smaller is not None and item.squeezed is not None:
        rows[0]["smaller than the input"] = f"{item.smaller:.1%}"
        rows[2]["stretched more than twofold"] = f"{item.squeezed:.1%}"
    return rows


def _exposure(findings: Findings) -> Section:
    survey, kinds = findings.survey, findings.exposure
    shown: Mapping[str, npt.NDArray[np.int64]] = {k: v[:_EXPOSED] for k, v in kinds.items()}
    items = [
        Thumbnail(
            jpeg=_picture([survey.paths.read(int(crop))]),
            title=kind,
            caption=f"{survey.texts[int(crop)]}\n{survey.rows[int(crop)]}",
        )
        for kind, crops in shown.items()
        for crop in crops
    ]
    return Section("Pictures that show nothing", [Gallery(items)] if items else [])
