"""How an artifact was made, step by step, from what its manifest says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .joining import Model
from .markdown import escaped

__all__ = ["lineage_lines"]

_TOLD: Final[Sequence[tuple[str, ...]]] = (
    ("network", "backbone"), ("network", "pool"), ("loop", "steps"), ("loop", "batch"),
    ("loop", "seed"), ("seed",), ("optim", "optimiser"), ("optim", "lr"), ("target",),
    ("target_macs",), ("speedup",), ("latency_ms",), ("sparse_steps",), ("tune_steps",),
    ("samples",), ("max_drop",), ("qat", "steps"), ("precision",),
)  # fmt: skip
"""Settings that a reader of a card asks for; the manifest has all."""


def lineage_lines(model: Model) -> Iterator[str]:
    """Return Markdown: a line per step with settings, the digests of its data, and its tools."""
    if model.manifest is None or not model.manifest.lineage:
        return
    for number, (step, facts) in enumerate(model.manifest.lineage.items(), start=1):
        if not isinstance(facts, dict):
            yield f"{number}. **{escaped(step)}**: {escaped(str(facts))}"
            continue
        config = facts.get("config") if isinstance(facts.get("config"), dict) else {}
        told = ", ".join(f"{escaped(name)} {escaped(value)}" for name, value in _settings(config))
        yield f"{number}. **{escaped(step)}**" + (f": {told}" if told else "")
        yield from _inputs(facts.get("inputs"), config)
        yield from _tools(facts.get("environment"))
    yield ""
    if model.manifest.parity:
        parity = model.manifest.parity
        yield (
            f"The export gate compared {parity.get('crops', '?')} crops with the checkpoint: "
            f"{parity.get('flips', '?')} answers differ."
        )


def _settings(config: Any) -> Iterator[tuple[str, str]]:
    for path in _TOLD:
        value = config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value not in (None, "", 0, {}):
            yield " ".join(path), str(value)


def _inputs(inputs: object, config: Any) -> Iterator[str]:
    if not isinstance(inputs, dict):
        return
    for name, digest in inputs.items():
        source = config.get(name) if isinstance(config, dict) else None
        names = source if isinstance(source, list) else [source] if source else []
        told = ", ".join("/".join(str(each).rstrip("/").split("/")[-2:]) for each in names)
        yield f"   - {escaped(name)}: {escaped(told) + ', ' if told else ''}sha256 `{digest}`"


def _tools(environment: object) -> Iterator[str]:
    if not isinstance(environment, dict):
        return
    packages: Mapping[str, Any] = environment.get("packages") or {}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    commit = environment.get("git_commit")
    text = versions + (f", commit {commit}" if commit else "")
    if text:
        yield f"   - with {escaped(text)}"
