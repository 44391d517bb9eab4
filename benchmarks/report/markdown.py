"""The parts of a joined report as Markdown, for pull requests and for people without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from benchmarks.page import Banner, Block, Charts, Gallery, Paragraph, Section, Table, Terms

from .writing import markdown_table

__all__ = ["escaped", "markdown"]


def markdown(title: str, lead: Sequence[Block], sections: Sequence[Section]) -> str:
    """Return the whole report; pictures are in the page only."""
    lines = [f"# {escaped(title)}", ""]
    for block in lead:
        lines += [*_block(block), ""]
    for section in sections:
        lines += [f"## {escaped(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Banner):
        yield f"**{escaped(block.title)}**"
        yield ""
        yield from (f"- {escaped(line)}" for line in block.lines)
    elif isinstance(block, Paragraph):
        yield escaped(block.text)
    elif isinstance(block, Table):
        heading = block.folded or block.caption
        if heading:
            yield f"**{escaped(heading)}**"
            yield ""
        yield markdown_table(block.rows)
    elif isinstance(block, Terms):
        yield from (f"- **{escaped(word)}**: {escaped(t)}" for word, t in block.terms.items())
    elif isinstance(block, Charts):
        yield from (f"- {escaped(chart.caption)} (drawn in the page)" for chart in block.charts)
    elif isinstance(block, Gallery):
        yield from (f"- {escaped(item.title)}: {escaped(item.caption)}" for item in block.items)
