"""What a study trains: variants of one training, each for several seeds.

A plan is a TOML file::

    title = "Chinese plates"
    show = ["accuracy.exact", "accuracy.recall_at_precision"]
    prepare = [["train.synth", "cn-plate", "-n", "20000", "-o", "{output}/synth"]]
    train = ["cn-plate", "--data", "{data}/train.tsv", "{output}/synth", "--validation",
             "{data}/val.tsv"]

    [tests]
    "val" = "{data}/val.tsv"

    [variants]
    base = []
    focal = ["--loop.loss.choice", "focal"]

    [variants.slim]
    start = "base"
    command = ["compress.slim", "{start}", "--data", "{data}/train.tsv", "--target", "0.7"]

A variant that is a list adds its flags to ``train``; a table runs a command of its own, with
``start`` on another variant's checkpoint of the same seed. Commands of ``prepare`` run first, every
time: they must see for themselves what is there already. ``{data}``, ``{output}``, ``{seed}`` and
``{start}`` are filled in; the study itself adds ``--output`` and, where nothing is started from,
``--loop.seed``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ConfigError
from runtime.strict import StrictObject

__all__ = ["Plan", "Run", "read_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One setting."""

    name: str
    start: str | None
    """Variant whose checkpoint the command starts from."""
    command: tuple[str, ...]
    """Module and arguments, not yet filled in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training: a variant with a seed."""

    variant: str
    seed: int
    module: str
    arguments: tuple[str, ...]
    planned: tuple[str, ...]
    """Module and arguments as the plan has them, wherever data and output are."""
    output: Path
    """Checkpoint folder that it makes."""
    start: Path | None
    """Checkpoint folder that must be there first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A study as its file says."""

    title: str
    show: tuple[str, ...]
    """Metrics of the table, by the names that budgets use."""
    prepare: tuple[tuple[str, ...], ...]
    """Commands to run before, not yet filled in."""
    tests: Mapping[str, str]
    """Name of a list to its path, not yet filled in."""
    variants: tuple[Variant, ...]

    def runs(self, data: Path, output: Path, seeds: Sequence[int]) -> list[Run]:
        """Return all trainings, a variant's start before itself, all variants of a seed together.

        Args:
            data: Fills in ``{data}``.
            output: Folder of the checkpoints, ``VARIANT-sSEED``.
            seeds: One training per variant and seed.
        """
        return [
            self._run(variant, seed, data, output) for seed in seeds for variant in self.variants
        ]

    def _run(self, variant: Variant, seed: int, data: Path, output: Path) -> Run:
        folder = output / f"{variant.name}-s{seed}"
        start = output / f"{variant.start}-s{seed}" if variant.start else None
        known = {"data": data, "output": output, "seed": seed, "start": start}
        module, *arguments = [fill(part, known) for part in variant.command]
        if start is None:
            arguments += ["--loop.seed", str(seed)]
        return Run(
            variant=variant.name,
            seed=seed,
            module=module,
            arguments=(*arguments, "--output", str(folder)),
            planned=variant.command,
            output=folder,
            start=start,
        )


def fill(text: str, known: Mapping[str, object]) -> str:
    """Return ``text`` with ``{name}`` replaced for every known name."""
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def read_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises:
        ConfigError: it cannot be read, has unknown or missing keys, no variant, or a variant that
            starts from one that does not stand before it.
    """
    import tomllib

    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    with StrictObject(value, str(path), ConfigError) as item:
        train = item.texts("train")
        named = item.mapping("variants")
        plan = Plan(
            title=item.text("title"),
            show=item.texts("show"),
            prepare=tuple(_command(path, words) for words in item.items("prepare", default=())),
            tests=item.text_mapping("tests"),
            variants=tuple(_variant(path, name, named, train) for name in named),
        )
    if not plan.variants or not plan.tests:
        raise ConfigError(f"{path}: name at least one variant and one test list")
    return plan


def _command(path: Path, words: object) -> tuple[str, ...]:
    with StrictObject({"words": words}, f"{path}: prepare", ConfigError) as item:
        return item.texts("words")


def _variant(path: Path, name: str, named: Mapping[str, object], train: tuple[str, ...]) -> Variant:
    where = f"{path}: variants.{name}"
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{where}: use letters, digits, - and _ (it becomes a folder's name)")
    value = named[name]
    if isinstance(value, list):
        with StrictObject({"flags": value}, where, ConfigError) as item:
            return Variant(
                name=name, start=None, command=("train.fit", *train, *item.texts("flags"))
            )
    with StrictObject(value, where, ConfigError) as item:
        start, command = item.optional_text("start"), item.texts("command")
        variant = Variant(name=name, start=start, command=command)
    before = list(named)[: list(named).index(name)]
    if (start is not None and start not in before) or not command:
        raise ConfigError(
            f"{where}: needs a command, and start must name a variant above it ({before}), got "
            f"{start!r}"
        )
    return variant
