"""How results are shown and kept: tables, JSON, Markdown and JUnit, the same for all commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeAlias
from xml.etree import ElementTree

import numpy as np

from benchmarks.budget import Outcome, Verdict
from benchmarks.command import say
from runtime.staging import new_folder, write_text

__all__ = [
    "Report",
    "Rows",
    "headline",
    "junit",
    "markdown_table",
    "show_table",
    "to_json",
    "verdict_rows",
]

REPORT_VERSION: Final = 1
Rows: TypeAlias = Sequence[Mapping[str, str]]


def markdown_table(rows: Rows) -> str:
    """Return a Markdown table; columns are the keys in order of first appearance.

    Args:
        rows: Column name to text; a missing key leaves the cell empty.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        return ""
    grid = [columns] + [[row.get(column, "") for column in columns] for row in rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in grid]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(columns))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines) + "\n"


def headline(columns: Mapping[str, Mapping[str, str]]) -> Rows:
    """Turn one column per artifact into table rows: a metric per row.

    Args:
        columns: Artifact to metric to text; metrics keep the order of first appearance.
    """
    metrics = dict.fromkeys(metric for column in columns.values() for metric in column)
    return [
        {"metric": metric, **{name: column.get(metric, "") for name, column in columns.items()}}
        for metric in metrics
    ]


def show_table(title: str, rows: Rows) -> None:
    """Print a result to stdout: a drawn table on a terminal with rich, Markdown elsewhere."""
    if not rows:
        return
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass  # rich is a comfort of the bench extra
        else:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            table = Table(title=title, title_justify="left")
            for column in columns:
                table.add_column(column)
            for row in rows:
                # As Text: square brackets in labels are not markup.
                table.add_row(*(Text(row.get(column, "")) for column in columns))
            Console().print(table)
            return
    sys.stdout.write(f"## {title}\n\n{markdown_table(rows)}\n")


def to_json(value: object) -> str:
    """Return readable JSON: NaN and infinities become null, arrays lists, paths text.

    Raises:
        TypeError: something else that JSON does not know.
    """
    return json.dumps(_plain(value), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def verdict_rows(suites: Mapping[str, Sequence[Verdict]]) -> Rows:
    """Return table rows of all verdicts, by artifact."""
    return [
        {
            "artifact": name,
            "limit": str(verdict.limit),
            "measured": _measured(verdict),
            "verdict": str(verdict.outcome).upper(),
            "why": verdict.reason,
        }
        for name, verdicts in suites.items()
        for verdict in verdicts
    ]


def _measured(verdict: Verdict) -> str:
    if verdict.measured is None or verdict.measured.value is None:
        return "-"
    return f"{verdict.measured.value:.6g}"


def junit(suites: Mapping[str, Sequence[Verdict]]) -> str:
    """Return JUnit XML: a suite per artifact, a test case per limit.

    Inconclusive is an ``error`` so that no dashboard counts it as passed.
    """
    root = ElementTree.Element("testsuites", name="headlight budget")
    for name, verdicts in suites.items():
        outcomes = [verdict.outcome for verdict in verdicts]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(verdicts)),
            failures=str(outcomes.count(Outcome.FAIL)),
            errors=str(outcomes.count(Outcome.INCONCLUSIVE)),
        )
        for verdict in verdicts:
            case = ElementTree.SubElement(
                suite, "testcase", classname=name, name=str(verdict.limit)
            )
            if verdict.outcome is not Outcome.PASS:
                kind = "failure" if verdict.outcome is Outcome.FAIL else "error"
                ElementTree.SubElement(
                    case, kind, type=str(verdict.outcome), message=verdict.reason
                )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one command."""

    title: str
    tables: Mapping[str, Rows]
    """Heading to rows, in order."""
    data: Mapping[str, Any]
    """Everything measured, for ``result.json``."""
    lead: str = ""
    """What the tables show, for somebody who has never seen the command."""
    verdicts: Mapping[str, Sequence[Verdict]] = field(default_factory=dict)
    """Artifact to verdicts; empty without a budget."""
    details: Mapping[str, Rows] = field(default_factory=dict)
    """Heading to rows of tables that are written, but too long to be printed."""

    @property
    def all_tables(self) -> Mapping[str, Rows]:
        """The tables and, with a budget, that of the verdicts."""
        judged = {"Budget": verdict_rows(self.verdicts)} if self.verdicts else {}
        return {**self.tables, **judged}

    def show(self) -> None:
        """Print all tables to stdout."""
        for title, rows in self.all_tables.items():
            show_table(title, rows)

    def publish(
        self,
        output: Path | None,
        *,
        overwrite: bool,
        draw: Callable[[Path], Sequence[str] | Mapping[str, str]] | None = None,
        hint: str = "",
    ) -> None:
        """Print all tables and, where a folder is asked for, write it.

        Args:
            output: The folder to make; None writes nothing.
            overwrite: Replace an existing folder.
            draw: Draws into the folder that it is given and returns what ``write`` calls pictures.
            hint: What to do next, for the user.

        Raises:
            ConfigError: the folder exists and is not to be overwritten.
        """
        self.show()
        if output is None:
            return
        with new_folder(output, overwrite=overwrite) as folder:
            self.write(folder, draw(folder) if draw else ())
        say(f"wrote {output}" + (f"; {hint}" if hint else ""))

    def write(self, folder: Path, pictures: Sequence[str] | Mapping[str, str] = ()) -> None:
        """Write ``result.json``, ``report.md`` and, with a budget, ``junit.xml``.

        Title, tables and names of the pictures stand in ``result.json``, too, so that
        ``benchmarks.report`` can show what it does not know.

        Args:
            folder: An existing folder.
            pictures: File names inside ``folder`` to show in the Markdown, or these to what the
                pictures show.
        """
        shown = (
            pictures
            if isinstance(pictures, Mapping)
            else {name: Path(name).stem.replace("_", " ") for name in pictures}
        )
        verdicts = {
            name: [verdict.to_object() for verdict in verdicts]
            for name, verdicts in self.verdicts.items()
        }
        result = {
            "schema": REPORT_VERSION,
            "title": self.title,
            "lead": self.lead,
            **self.data,
            "verdicts": verdicts,
            "tables": self.tables,
            "pictures": shown,
        }
        write_text(folder / "result.json", to_json(result))
        parts = [f"# {self.title}\n", *([f"{self.lead}\n"] if self.lead else [])]
        tables = {**self.all_tables, **self.details}
        parts += [f"## {title}\n\n{markdown_table(rows)}" for title, rows in tables.items()]
        parts += [f"![{text}]({name})\n" for name, text in shown.items()]
        write_text(folder / "report.md", "\n".join(parts))
        if self.verdicts:
            write_text(folder / "junit.xml", junit(self.verdicts))
