"""A model card per model: what it reads, how right and how fast it is, where it fails, its making.

After Mitchell et al., Model Cards for Model Reporting (FAT* 2019), with what can be filled in from
measurements; what nobody measured is said to be unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from benchmarks.foreign import ForeignManifest
from runtime.schema import Schema

from .facts import (
    CHANGED,
    disturbances,
    exact,
    head_intervals,
    percentile_ms,
    samples_per_s,
    share_text,
)
from .joining import Joined, Model
from .lineage import lineage_lines
from .markdown import escaped
from .words import all_judged
from .writing import Rows, markdown_table

__all__ = ["card", "card_name"]

_LABELS_SHOWN: Final = 60
_FAILURES: Final = 20


def card_name(model: Model) -> str:
    """Return a file name for a model's card."""
    return (re.sub(r"[^\w.-]+", "_", model.name).strip("._") or "model") + ".md"


def card(model: Model, joined: Joined) -> str:
    """Return the card as Markdown."""
    parts = [
        ("What it is", _identity(model)),
        ("What it reads", _reads(model)),
        ("How right it is", _accuracy(model, joined)),
        ("When it accepts an answer", _operating(model, joined)),
        ("How fast it is", _latency(model, joined)),
        ("Limits that it was held to", _limits(model, joined)),
        ("Where it is known to fail", _failures(model, joined)),
        ("How it was made", lineage_lines(model)),
        ("What is not known", _unknown(model)),
    ]
    lines = [f"# Model card: {escaped(model.name)}", ""]
    for title, part in parts:
        told = list(part)
        if told:
            lines += [f"## {title}", "", *told, ""]
    return "\n".join(lines).rstrip() + "\n"


def _identity(model: Model) -> Iterator[str]:
    about = model.about
    yield f"- id: `{model.id}`"
    manifest = model.manifest
    engine = manifest.engine if manifest else about.get("engine", "unknown")
    precision = manifest.precision if manifest else about.get("precision", "unknown")
    kind = "bare model" if _bare(model) else "artifact"
    yield f"- {kind} for the engine {engine}, precision {precision}"
    if manifest is not None and not _bare(model):
        yield f"- version {manifest.version}"
    if isinstance(manifest, ForeignManifest):
        yield f"- its input, made outside the graph: {manifest.description.input}"
    if model.engine_mb is not None:
        yield f"- engine: {model.engine_mb:.2f} MB"
    files: Mapping[str, Any] = about.get("files") or {}
    if manifest is not None:
        files = {
            n: {"sha256": f.sha256, "size_bytes": f.size_bytes} for n, f in manifest.files.items()
        }
    for name, record in files.items():
        size = f"{record['size_bytes']:,} bytes"
        yield f"- file {escaped(name)}: {size}, sha256 `{record['sha256']}`"


def _bare(model: Model) -> bool:
    return isinstance(model.manifest, ForeignManifest) or bool(model.about.get("bare_model"))


def _reads(model: Model) -> Iterator[str]:
    about = model.about
    spec = model.manifest.input.to_object() if model.manifest else about.get("input")
    if spec:
        yield (
            f"- Pictures cropped to one object; they are brought to {spec['height']} x "
            f"{spec['width']} px (height x width) by {spec['resize']}."
        )
    if model.manifest is not None:
        yield from _schema(model.manifest.schema)
    elif about.get("heads"):
        heads = ", ".join(f"{name} ({size} labels)" for name, size in about["heads"].items())
        yield f"- Heads of schema {escaped(str(about.get('schema')))}: {escaped(heads)}"


def _schema(schema: Schema) -> Iterator[str]:
    for reading in schema.readings:
        formats = ", ".join(each.name for each in reading.formats) or "any"
        yield (
            f"- Reading {escaped(reading.name)}: a text of up to {len(reading.heads)} characters; "
            f"formats: {escaped(formats)}"
        )
    yield ""
    rows = []
    for head in schema.heads:
        labels = " ".join(head.labels)
        cut = labels if len(labels) <= _LABELS_SHOWN else labels[: _LABELS_SHOWN - 3] + "..."
        rows.append(
            {
                "head": head.name,
                "says": "one of" if head.kind == "choice" else "any of",
                "labels": str(head.size),
                "which": cut,
            }
        )
    yield markdown_table(rows)


def _accuracy(model: Model, joined: Joined) -> Iterator[str]:
    for data in joined.data:
        entry = model.accuracy.get(data.name)
        if entry is None:
            continue
        yield f"On {escaped(data.origin)}:"
        yield ""
        rows = [
            {"what": "exact: right in every part", "share": share_text(exact(model, data.name))}
        ]
        recall = entry.get("recall_at_precision")
        if recall:
            for name, told in (
                ("recall", "accepted and right"),
                ("precision", "right of accepted"),
            ):
                share = recall[name]
                if share["value"] is not None:
                    interval = f"{share['value']:.2%} ({share['low']:.1%} to {share['high']:.1%})"
                    rows.append({"what": told, "share": interval})
        rows += [
            {"what": f"head {name}", "share": share_text(each)}
            for name, each in head_intervals(model, data.name).items()
        ]
        yield markdown_table(rows)
        error = entry["reliability"]["expected_calibration_error"]
        if error is not None:
            yield f"Confidences are off by {error:.2%} on average (expected calibration error)."
            yield ""


def _operating(model: Model, joined: Joined) -> Iterator[str]:
    points = [("the artifact", model.manifest.operating.to_object())] if model.manifest else []
    points += [
        (f"the run on {data.name}", model.accuracy[data.name]["operating"])
        for data in joined.data
        if data.name in model.accuracy
    ]
    told = list[tuple[str, str]]()
    for source, point in points:
        threshold = point["answer_threshold"]
        if threshold is None:
            text = "never fitted: every answer is accepted"
        else:
            floor, fitted = point["precision_floor"], point["fitted_on"]
            text = f"at a confidence of {threshold:.4f} or more"
            text += f", for a precision of {floor:g}" if floor is not None else ""
            text += f", fitted on {fitted}" if fitted else ""
        if text not in [known for _, known in told]:
            told.append((source, text))
    yield from (f"- {escaped(source)}: {escaped(text)}" for source, text in told)


def _latency(model: Model, joined: Joined) -> Iterator[str]:
    rows: Rows = [
        _device_row(device.name, model.latency[device.name])
        for device in joined.devices
        if device.name in model.latency
    ]
    if rows:
        yield markdown_table(rows)
        yield "Milliseconds; *read* is from a cropped picture in memory to its decoded answer."


def _device_row(device: str, entry: Mapping[str, Any]) -> Mapping[str, str]:
    row = {"device": device}
    for of in ("read", "engine", "cold_start"):
        for stat in ("p50", "p99"):
            value = percentile_ms(entry, of, stat)
            if value is not None:
                row[f"{of.replace('_', ' ')} {stat}"] = f"{value:.3f}"
    rate = samples_per_s(entry)
    if rate is not None:
        row["crops/s"] = f"{rate[0]:.5g} (batch {rate[1]})"
    memory = (entry.get("cold_start") or {}).get("pss_mb")
    if memory is not None:
        row["memory, MB"] = f"{memory:.1f}"
    row["disturbed"] = "; ".join(disturbances(entry)) or "no"
    return row


def _limits(model: Model, joined: Joined) -> Iterator[str]:
    for judged in all_judged(joined):
        if judged.model == model.name:
            yield f"- **{judged.outcome}**: {escaped(judged.sentence.partition(': ')[2])}"


def _failures(model: Model, joined: Joined) -> Iterator[str]:
    for data in joined.data:
        entry = model.accuracy.get(data.name) or {}
        wrong: Sequence[Mapping[str, Any]] = entry.get("confident_mistakes") or []
        if wrong:
            yield f"Wrong and accepted on {escaped(data.name)}, {len(wrong)} in all:"
            yield ""
        for each in wrong[:_FAILURES]:
            truth, answer = each.get("truth", "?"), each.get("answer", "?")
            sure = f"confidence {each['confidence']:.3f}"
            yield f"- {escaped(truth)} read as {escaped(answer)} ({sure})"
        if wrong:
            yield ""
        examples = entry.get("flip_examples") or []
        counts = [f"{sum(e['effect'] == kind for e in examples)} {kind}" for kind in CHANGED]
        if examples:
            yield f"Against the reference, changed answers: {', '.join(counts)}."
            yield ""


def _unknown(model: Model) -> Iterator[str]:
    if not model.accuracy:
        yield "- How right it is: no result of benchmarks.accuracy was given."
    else:
        yield (
            "- How right it is on other pictures than those above: other cameras, light, regions "
            "and seasons."
        )
    if not model.latency:
        yield "- How fast it is: no result of benchmarks.latency was given."
    if _bare(model):
        yield "- How it was made: a bare model does not tell."
    elif model.manifest is None:
        yield "- How it was made: name the artifact's folder among the results to have it told."
