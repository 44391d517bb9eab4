"""The report of an evaluation: HTML with pictures, Markdown and JSON; of a checkpoint or artifacts.

One implementation for ``train.evaluate`` and ``benchmarks.accuracy``. Pictures of crops are read
from disk only for those that are shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.assessment import Assessment
from benchmarks.crops.targets import Targets
from benchmarks.figures import check_matplotlib, draw_reliability, draw_risk_coverage
from benchmarks.metrics import ChoiceMetrics
from benchmarks.page import Block, Paragraph, Picture, Section, Table, check_jinja, page
from benchmarks.report import Report
from runtime.staging import write_text

from .examples import SHOWN, described
from .gallery import Crops, confident_mistakes, gallery, least_likely
from .tables import confusion_matrix, confusion_rows, head_rows, label_rows

__all__ = ["PAGE", "Evaluated", "check_report_packages", "mistakes", "write_evaluation"]

PAGE: Final = "report.html"
_SHOWN: Final = 36
"""Crops in a gallery."""
_LISTED: Final = 1000
"""Confident mistakes listed in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One network on one list."""

    name: str
    """What to call it in the report, of several each by its own name."""
    found: Assessment
    targets: Targets
    crops: Crops
    """N pictures, in the order of the truths."""


def check_report_packages() -> None:
    """Fail early when a report cannot be made.

    Raises:
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    check_matplotlib()
    check_jinja()


def mistakes(entry: Evaluated) -> Sequence[Mapping[str, Any]]:
    """Return the wrong answers that were accepted, the most confident first, for a JSON report."""
    indices = confident_mistakes(entry.found)[:_LISTED].tolist()
    return [
        described(entry.found, entry.targets, entry.crops, index, picture=number < SHOWN)
        for number, index in enumerate(indices)
    ]


def write_evaluation(folder: Path, report: Report, entries: Sequence[Evaluated]) -> None:
    """Write ``report.html``, ``report.md``, ``result.json`` and the drawings.

    Args:
        folder: An existing folder.
        report: Headline tables and all numbers.
        entries: What was evaluated, in order.

    Raises:
        DataError: a picture vanished or changed since it was checked.
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    pictures: list[str] = []
    details = dict(report.details)
    headline = [Table(rows) for rows in report.all_tables.values()]
    sections = [Section("Results", [Paragraph(_HEADLINE), *headline])]
    for number, entry in enumerate(entries):
        prefix = f"{entry.name}: " if len(entries) > 1 else ""
        drawn = _draw(folder, entry, f"{number}_" if len(entries) > 1 else "")
        pictures += drawn
        sections += _sections(folder, entry, drawn, prefix)
        details[f"{prefix}heads and positions"] = head_rows(entry.found, entry.targets)
        details[f"{prefix}top confusions"] = confusion_rows(entry.found)
    replace(report, details=details).write(folder, pictures)
    write_text(folder / PAGE, page(report.title, sections))


def _draw(folder: Path, entry: Evaluated, prefix: str) -> Sequence[str]:
    stem = prefix + re.sub(r"\W+", "_", entry.name).strip("_")
    names = [f"{stem}_risk_coverage.png", f"{stem}_reliability.png"]
    found = entry.found
    draw_risk_coverage(folder / names[0], found.risk, "answers", found.accepted)
    draw_reliability(folder / names[1], found.reliability, "answers")
    return names


_HEADLINE: Final = (
    "Brackets hold 95 % intervals (Wilson). Exact: every head that the label gives is right; a "
    "reading counts as its whole text. recall@precision: accepted and right, over all, at the "
    "threshold that kept this precision on validation. threshold refitted: the interval of that "
    "recall when validation and test samples are drawn anew and the threshold is fitted anew "
    "(bootstrap). precision on validation: what the validation samples can prove."
)
_TEXTS: Final = {
    "confidence": "Risk over coverage: were only this share of the answers accepted, the most "
    "confident ones, this share of them would be wrong. The area under the curve (AURC) is 0 at "
    "best. Reliability: how often answers of a confidence are right; on the dashed line "
    "confidence means what it says.",
    "mistakes": "Wrong answers that were accepted, the most confident first. A wrong label is "
    "often among them.",
    "likely": "Crops whose label has a probability below 0.9, the lowest first.",
    "heads": "What is below a head's threshold prints '?'. 'above it' is the share of known "
    "positions that print their label.",
    "confusions": "What was taken for what most often, over all choice heads.",
}


def _sections(
    folder: Path, entry: Evaluated, drawn: Sequence[str], prefix: str
) -> Sequence[Section]:
    found, targets, crops = entry.found, entry.targets, entry.crops
    wrong, unlikely = confident_mistakes(found).tolist(), least_likely(found).tolist()
    pictures = [Picture((folder / name).read_bytes(), _named(name)) for name in drawn]
    confused = confusion_rows(found)
    return [
        Section(f"{prefix}Confidence", [Paragraph(_TEXTS["confidence"]), *pictures]),
        Section(
            f"{prefix}Confident mistakes",
            [
                Paragraph(
                    f"{_TEXTS['mistakes']} {len(wrong)} in all, {_some(wrong)} shown; "
                    f"{_threshold(found)}."
                ),
                gallery(found, targets, crops, wrong[:_SHOWN]),
            ],
        ),
        Section(
            f"{prefix}Least likely truths",
            [
                Paragraph(f"{_TEXTS['likely']} {len(unlikely)} in all, {_some(unlikely)} shown."),
                gallery(found, targets, crops, unlikely[:_SHOWN]),
            ],
        ),
        Section(
            f"{prefix}Heads and positions",
            [Paragraph(_TEXTS["heads"]), Table(head_rows(found, targets))],
        ),
        Section(
            f"{prefix}Top confusions",
            [
                Paragraph(_TEXTS["confusions"] if confused else "Nothing was confused."),
                Table(confused),
            ],
        ),
        *_head_sections(found, prefix),
    ]


def _head_sections(found: Assessment, prefix: str) -> Sequence[Section]:
    sections = []
    for head in found.schema.heads:
        metrics = found.metrics.heads[head.name]
        if not metrics.accuracy.total:
            continue
        blocks: list[Block] = [Paragraph(f"Accuracy {metrics.accuracy}; labels that occur.")]
        matrix = confusion_matrix(head, metrics) if isinstance(metrics, ChoiceMetrics) else None
        if matrix is not None:
            blocks.append(matrix)
        blocks.append(Table(label_rows(head, metrics, found.operating.thresholds_of(head))))
        sections.append(Section(f"{prefix}Head {head.name}", blocks))
    return sections


def _some(index: Sequence[int]) -> int:
    return min(len(index), _SHOWN)


def _threshold(found: Assessment) -> str:
    threshold = found.operating.answer_threshold
    return "no threshold was fitted" if threshold is None else f"threshold {threshold:.4f}"


def _named(name: str) -> str:
    return "Risk over coverage" if name.endswith("risk_coverage.png") else "Reliability"
