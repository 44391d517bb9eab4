"""The parts of a joined report, for the page and for Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from benchmarks.page import (
    Banner,
    Block,
    Chart,
    Charts,
    Paragraph,
    Picture,
    Section,
    Table,
    Terms,
)

from .charts import draw_heads, draw_histograms, draw_pareto, draw_runs
from .facts import (
    disturbances,
    exact,
    head_intervals,
    pareto,
    percentile_ms,
    samples_per_s,
    share_text,
)
from .galleries import changed_answers, confident_mistakes, new_answers
from .joining import Joined, Model
from .machines import device_rows
from .reading import ACCURACY, COMPARE, LATENCY
from .words import all_judged, by_model, quantity, summarise

__all__ = ["sections", "verdict"]

_TIMED: Final[Mapping[str, str]] = {
    "read": "time to read a crop, one at a time",
    "engine": "time of the engine call, one crop at a time",
    "camera": "time from a camera's frame to its answer",
    "server": "time from a query's arrival to its answer",
}
_HEADINGS: Final[Mapping[str, str]] = {
    COMPARE: "New against old",
    "benchmarks.overhead": "What the runtime adds to its engine",
    "benchmarks.roofline": "How close to the physical limit",
    "benchmarks.scaling": "How cost grows",
    "benchmarks.serving": "HTTP servers compared",
    "benchmarks.peers.benchmark_app": "Our timings beside OpenVINO's own tool",
    "benchmarks.self_check": "Can verdicts on this machine be trusted?",
    "train.evaluate": "Evaluation of a checkpoint",
}
_TERMS: Final[Mapping[str, str]] = {
    "model": "An artifact folder or a bare model file, as one engine runs it.",
    "exact": "Share of crops whose answer is right in every part that the label gives; of a "
    "reading the whole text counts. In brackets the 95 % interval (Wilson): with so many crops the "
    "true share may be anywhere in it.",
    "read, p50 and p99": "Milliseconds from a cropped picture in memory to its decoded answer, "
    "resize and decoding included: half of the queries take at most p50, 99 % at most p99. '-': "
    "too few queries to tell.",
    "reference": "The first model of a command line; changed answers and speedups are against it.",
    "disturbed": "Other processes, heat or the power supply had a part in the timings; they are "
    "worse than they need to be, and a limit that is missed then counts as inconclusive.",
    "pass, fail, inconclusive": "A limit passes only where the data prove that it is kept, at the "
    "stated confidence; it fails where they prove that it is broken; else the answer is "
    "inconclusive: measure longer, on more data, or on a quiet machine.",
}


def sections(joined: Joined) -> Sequence[Section]:
    """Return all parts that there is something to say in."""
    parts = [
        Section("At a glance", [*_glance(joined)]),
        Section("Accuracy against latency", [*_pareto(joined)]),
        Section("Limits", [*_limits(joined)]),
        Section("Accuracy by head", [*_heads(joined)]),
        Section("Changed answers", [*changed_answers(joined)]),
        Section("Confident mistakes", [*confident_mistakes(joined)]),
        Section("Latency", [*_latency(joined)]),
        Section("Devices", [*_devices(joined)]),
        *_others(joined),
        Section("Words", [Terms(_TERMS)]),
    ]
    return [part for part in parts if part.blocks]


def verdict(joined: Joined) -> Iterator[Block]:
    """Yield what stands first: the verdict over all limits, and by model."""
    summary = summarise(joined)
    yield Banner(summary.outcome, summary.title, summary.lines)
    rows = by_model(joined)
    if len(rows) > 1:
        yield Table(rows, "How many limits each model passed, failed, or left open")
    counts = {
        "model": len(joined.models), "list of crops": len(joined.data),
        "device": len(joined.devices), "result": len(joined.results),
    }  # fmt: skip
    told = [f"{n} {what if n == 1 else _plural(what)}" for what, n in counts.items() if n]
    yield Paragraph(f"This report joins {', '.join(told)}. Words are explained at its end.")


def _plural(what: str) -> str:
    return "lists of crops" if what == "list of crops" else f"{what}s"


def _glance(joined: Joined) -> Iterator[Block]:
    """One table; of several devices each has its own, or no window would be wide enough."""
    rows = {model.name: _accuracy_row(model, joined) for model in joined.models}
    timed = {
        device.name: {
            model.name: _speed_row(model.latency[device.name])
            for model in joined.models
            if device.name in model.latency
        }
        for device in joined.devices
    }
    timed = {name: found for name, found in timed.items() if found}
    if len(timed) == 1:
        for name, row in next(iter(timed.values())).items():
            rows[name] |= row
        timed = {}
    known = [{"model": name, **row} for name, row in rows.items() if row]
    if known:
        yield Table(known, wide=True)
    for device, found in timed.items():
        yield Table([{"model": name, **row} for name, row in found.items()], device, wide=True)


def _accuracy_row(model: Model, joined: Joined) -> dict[str, str]:
    row = {
        f"exact, {data.name}": share_text(exact(model, data.name))
        for data in joined.data
        if any(data.name in each.accuracy for each in joined.models)
    }
    if model.engine_mb is not None:
        row["engine, MB"] = f"{model.engine_mb:.2f}"
    return row


def _speed_row(entry: Mapping[str, Any]) -> dict[str, str]:
    values = {stat: percentile_ms(entry, "read", stat) for stat in ("p50", "p99")}
    row = {f"read {s}, ms": "-" if v is None else f"{v:.3f}" for s, v in values.items()}
    rate = samples_per_s(entry)
    if rate is not None:
        row[f"crops/s, batch {rate[1]}"] = f"{rate[0]:.5g}"
    return {**row, "disturbed": "yes" if disturbances(entry) else "no"}


def _pareto(joined: Joined) -> Iterator[Block]:
    charts = []
    for data in joined.data:
        for device in joined.devices:
            points = pareto(joined, data.name, device.name)
            if not points:
                continue
            drawn = draw_pareto(
                points,
                latency="median time to read a crop",
                accuracy="share of exact answers",
            )
            best = ", ".join(point.name for point in points if point.best)
            text = (
                f"Exact answers on {data.name} over the time to read a crop on {device.name}. "
                "Up and to the left is better; bars are 95 % intervals, larger marks larger "
                f"engines. No other model is both faster and more accurate than: {best}."
            )
            charts.append(Chart(drawn, text))
    if charts:
        yield Charts(charts)
    elif joined.models:
        yield Paragraph(
            "To be drawn, the same models must be judged (benchmarks.accuracy) and timed "
            "(benchmarks.latency); no model was both."
        )


def _limits(joined: Joined) -> Iterator[Block]:
    rows = []
    for judged in all_judged(joined):
        what, unit, allowed = judged.words
        value, device = judged.verdict.get("value"), joined.device_of(judged.result)
        bounds = [quantity(each, unit) for each in judged.verdict.get("bounds") or ()]
        rows.append(
            {
                "model": judged.model,
                "verdict": judged.outcome.upper(),
                "what": what,
                "asked for": allowed.removeprefix("asked for: "),
                "measured": "-" if value is None else quantity(value, unit),
                "surely between": " and ".join(bounds) or "-",
                "confidence": f"{judged.verdict.get('confidence', 0.95):.0%}" if bounds else "-",
                "samples": str(judged.verdict.get("samples", "-")),
                "remark": judged.remark,
                **({"device": device.name if device else "-"} if len(joined.devices) > 1 else {}),
            }
        )
    if rows:
        yield Table(rows, wide=True)


def _heads(joined: Joined) -> Iterator[Block]:
    charts, tables = [], []
    for data in joined.data:
        found = {model.name: head_intervals(model, data.name) for model in joined.models}
        found = {name: heads for name, heads in found.items() if heads}
        if not found:
            continue
        text = f"Right answers of every head on {data.name}; bars are 95 % intervals."
        charts.append(Chart(draw_heads(found), text))
        names = list(dict.fromkeys(head for heads in found.values() for head in heads))
        rows = [
            {"head": head, **{m: share_text(heads.get(head)) for m, heads in found.items()}}
            for head in names
        ]
        tables.append(Table(rows, data.name, folded=f"The same in numbers, {data.name}"))
    if charts:
        yield Charts(charts)
        yield from tables


def _latency(joined: Joined) -> Iterator[Block]:
    charts = []
    for device in joined.devices:
        timed = {m.name: m.latency[device.name] for m in joined.models if device.name in m.latency}
        for kind, what in _TIMED.items():
            entries = {name: entry[kind] for name, entry in timed.items() if entry.get(kind)}
            bins = {n: e["histogram"] for n, e in entries.items() if _counts(e)}
            if bins:
                text = f"How long queries took on {device.name}: {what}."
                charts.append(Chart(draw_histograms(bins, of=what.partition(",")[0]), text))
            runs = {n: e["over_time_ms"] for n, e in entries.items() if _counts(e)}
            if runs:
                text = (
                    f"The course of the run on {device.name}: {what}. A line that rises or jumps "
                    "means heat, clocks or other processes."
                )
                charts.append(Chart(draw_runs(runs, of=what.partition(",")[0]), text))
    if charts:
        yield Charts(charts)
    for result in joined.of(LATENCY):
        place = joined.device_of(result)
        for title, rows in result.tables.items():
            where = f" on {place.name}" if place else ""
            yield Table(rows, folded=f"All numbers: {title}{where}", wide=True)
        yield from _pictures(result.pictures, skip=("latency",))


def _counts(entry: Mapping[str, Any]) -> bool:
    return bool((entry.get("histogram") or {}).get("counts"))


def _devices(joined: Joined) -> Iterator[Block]:
    disturbed = [
        {"model": model.name, "device": device.name, "disturbed by": "; ".join(reasons)}
        for device in joined.devices
        for model in joined.models
        if (reasons := disturbances(model.latency.get(device.name, {})))
    ]
    if disturbed:
        yield Table(disturbed, "Timings in doubt", wide=True)
    rows = device_rows(joined)
    if rows:
        yield Table(rows, folded="All that is known of the devices", wide=True)


def _others(joined: Joined) -> Iterator[Section]:
    """Results of other commands, with the tables that they printed."""
    for result in joined.results:
        if result.command in (ACCURACY, LATENCY):
            continue
        device = joined.device_of(result)
        blocks: list[Block] = [Paragraph(result.lead)]
        blocks += [
            Table(rows, "" if title == result.title else title, wide=True)
            for title, rows in result.tables.items()
            if rows
        ]
        blocks += _pictures(result.pictures)
        if result.command == COMPARE:
            blocks += new_answers(result)
        if len(blocks) == 1:
            blocks.append(Paragraph(f"{result.path} holds no tables: an older version wrote it."))
        where = f" ({device.name})" if device and len(joined.devices) > 1 else ""
        yield Section(f"{_HEADINGS.get(result.command, result.command)}{where}", blocks)


def _pictures(pictures: Mapping[Any, str], skip: Sequence[str] = ()) -> Iterator[Block]:
    for path, text in pictures.items():
        if path.suffix == ".png" and path.stem not in skip:
            yield Picture(path.read_bytes(), text)
