"""Join results of several commands and devices into one report.

RESULTS are folders (or their ``result.json``) that ``benchmarks.accuracy``, ``latency``,
``compare``, ``self_check`` and others wrote with ``--output``, on this machine or elsewhere, or
folders of several of these.
Artifact folders and descriptions of bare models may be named as well: their model cards then tell
what they were made from.

Writes one HTML page without any other file, Markdown, JSON (docs/report.schema.json) and a model
card per model.

Exit codes: 0 every limit in the results was kept, or there was none; 1 error or a limit broken,
2 usage, 3 inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from benchmarks.arguments import OUTPUT, POSITIONAL
from benchmarks.budget import Outcome
from benchmarks.command import run_command, say
from benchmarks.figures import check_matplotlib
from benchmarks.page import check_jinja, page
from benchmarks.scoring import is_model, load_manifest
from runtime.errors import ConfigError
from runtime.manifest import Manifest
from runtime.staging import check_free, new_folder, write_text

from .cards import card, card_name
from .document import document
from .joining import Joined, join
from .markdown import markdown
from .reading import find_results, read_result
from .sections import sections, verdict
from .words import summarise
from .writing import to_json

__all__ = ["JoinConfig", "join_results", "main"]

PROG: Final = "python -m benchmarks.report"
PAGE: Final = "report.html"
_EXIT_CODES: Final[Mapping[str, int]] = {str(Outcome.FAIL): 1, str(Outcome.INCONCLUSIVE): 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinConfig:
    """Join results of several commands and devices into one report."""

    results: Annotated[tuple[Path, ...], POSITIONAL]
    """Results, and artifacts whose model cards are to tell what they were made from."""
    output: Annotated[Path, OUTPUT]
    """New folder for report.html, report.md, report.json and cards/."""
    title: str = "Benchmarks"
    """Heading of the report."""
    overwrite: bool = False
    """Replace the output folder."""


def join_results(config: JoinConfig) -> int:
    """Run the command.

    Returns:
        The exit code.

    Raises:
        HeadlightError: anything that a user can mend.
    """
    if not config.results:
        raise ConfigError("name at least one result, as written with --output")
    check_free(config.output, overwrite=config.overwrite)
    check_matplotlib()
    check_jinja()
    models = [path for path in config.results if is_model(path)]
    manifests: dict[Path, Manifest] = {path: load_manifest(path) for path in models}
    named = [path for path in config.results if path not in manifests]
    results = [read_result(file) for path in named for file in find_results(path)]
    joined = join(results, manifests)
    with new_folder(config.output, overwrite=config.overwrite) as folder:
        _write(folder, joined, config.title)
    summary = summarise(joined)
    say("\n".join([summary.title, *summary.lines]))
    say(f"wrote {config.output}; look at {config.output / PAGE}")
    return _EXIT_CODES.get(summary.outcome, 0)


def _write(folder: Path, joined: Joined, title: str) -> None:
    lead, parts = [*verdict(joined)], sections(joined)
    write_text(folder / PAGE, page(title, parts, lead=lead))
    write_text(folder / "report.md", markdown(title, lead, parts))
    write_text(folder / "report.json", to_json(document(title, joined)))
    if joined.models:
        (folder / "cards").mkdir()
    for model in joined.models:
        write_text(folder / "cards" / card_name(model), card(model, joined))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and join; return the exit code."""
    return run_command(argv, JoinConfig, join_results, prog=PROG)
