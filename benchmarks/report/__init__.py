"""How results are shown and kept, and how several become one report.

``writing`` is what every command writes its result with, which is all that importing this package
brings; the rest is the command ``python -m benchmarks.report RESULTS...`` (see ``cli``).
"""

from __future__ import annotations

from .writing import (
    Report,
    Rows,
    headline,
    junit,
    markdown_table,
    show_table,
    to_json,
    verdict_rows,
)

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
