"""What the gate saw, for people: ``gate.html`` with every crop that flipped, and ``gate.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.page import Gallery, Paragraph, Section, Table, Thumbnail, page, thumbnail
from benchmarks.report import to_json
from runtime.manifest import Manifest
from runtime.staging import new_folder

from .parity import GateConfig, Parity
from .proof import Crops

__all__ = ["write_gate_report"]

_SHOWN: Final = 500
"""Pictures on the page; an engine with more flips is wrong altogether."""


def write_gate_report(
    target: Path,
    draft: Manifest,
    parity: Parity,
    crops: Crops,
    *,
    gate: GateConfig,
    failure: str | None,
    overwrite: bool,
) -> None:
    """Write the folder ``target``.

    Args:
        target: The folder to make.
        draft: Manifest of the engine that was judged.
        parity: How it compares with its checkpoint.
        crops: On which crops.
        gate: What was allowed.
        failure: Why the gate failed; None where it passed.
        overwrite: Replace an existing ``target``.

    Raises:
        ConfigError: ``target`` exists and is not to be overwritten.
        MissingExtraError: jinja2 is not installed.
    """
    flips_limit, score_limit = gate.limits(draft.precision)
    facts: Mapping[str, Any] = {
        "id": draft.id,
        "engine": draft.engine,
        "precision": draft.precision,
        "passed": failure is None,
        "failure": failure,
        "crops": parity.crops,
        "flips": len(parity.flipped),
        "flips_allowed": parity.allowed(flips_limit),
        "max_score_difference": parity.max_score_difference,
        "max_score_difference_allowed": score_limit,
        "passport": dict(draft.passport),
    }
    flipped = [dataclasses.asdict(flip) for flip in parity.flipped]
    with new_folder(target, overwrite=overwrite) as folder:
        text = _page(facts, parity, crops)
        (folder / "gate.html").write_text(text, encoding="utf-8")
        (folder / "gate.json").write_text(to_json({**facts, "flipped": flipped}), encoding="utf-8")


def _page(facts: Mapping[str, Any], parity: Parity, crops: Crops) -> str:
    rows = [{"what": key, "value": str(value)} for key, value in facts.items() if key != "passport"]
    passport = [{"key": key, "value": value} for key, value in facts["passport"].items()]
    verdict = "The gate passed." if facts["passed"] else f"The gate failed: {facts['failure']}"
    shown = f"{len(parity.flipped)} of {parity.crops} crops are answered otherwise than before."
    return page(
        f"Gate of {facts['id']}",
        [
            Section("Verdict", [Paragraph(verdict), Table(rows)]),
            Section("Crops that flipped", [Paragraph(shown), _gallery(parity, crops)]),
            Section("Passport", [Table(passport)]),
        ],
    )


def _gallery(parity: Parity, crops: Crops) -> Gallery:
    flips = parity.flipped[:_SHOWN]
    images = crops.images_at(np.array([flip.index for flip in flips], np.int64))
    return Gallery(
        [
            Thumbnail(
                jpeg=thumbnail(image),
                title=crops.texts[flip.index],
                caption=f"checkpoint: {flip.checkpoint}\nengine: {flip.engine}\n{flip.crop}",
            )
            for flip, image in zip(flips, images, strict=True)
        ]
    )
