"""The kinds of steps that a chain is made of, and how each is repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from compress.inheritance import training_of
from runtime.errors import CheckpointError
from train.checkpoint import Checkpoint
from train.recipes import RECIPES
from train.recorded import from_plain, option_words, values_of

__all__ = ["STEPS", "Step", "StepKind", "read_steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind:
    """A command that makes a checkpoint."""

    module: str
    """What ``python -m`` runs."""
    config: type[Any]
    """Its options; ``output`` and ``overwrite`` are among them."""
    work: Callable[[Any], Checkpoint]
    start: str
    """The option that names the checkpoint to start from; its digest has the same name."""
    words: Callable[[Any, Checkpoint], list[str]]
    """Options, and the checkpoint that the chain ends in, to the words of the command line."""
    earlier: Mapping[str, Any] = field(default_factory=dict)
    """What options did that a record does not have, since it is older than they are."""
    nested: str = ""
    """The option below which training data and teachers stand, where they are not at the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry of a lineage."""

    name: str
    """``fit``, ``slim2`` and the like; also the folder that it is repeated in."""
    kind: StepKind
    config: Any
    inputs: Mapping[str, str]
    """Digest by name of everything that was read."""
    environment: Mapping[str, Any]

    @property
    def start(self) -> Path | None:
        """The checkpoint that it started from, where it was; None for random weights."""
        start: Path | None = getattr(self.config, self.kind.start)
        return start

    @property
    def training(self) -> Any:
        """The options of its training: where data and teachers stand."""
        return getattr(self.config, self.kind.nested) if self.kind.nested else self.config

    @property
    def teachers(self) -> tuple[Path, ...]:
        """Checkpoints of its teachers, where they were."""
        teachers: tuple[Path, ...] = getattr(self.training, "teacher", ())
        return teachers

    def changed(self, *, teachers: tuple[Path, ...] = (), **options: Any) -> Any:
        """Return the options with other places."""
        training = replace(self.training, teacher=teachers) if teachers else self.training
        if self.kind.nested:
            return replace(self.config, **{self.kind.nested: training, **options})
        return replace(training, **options)


def read_steps(checkpoint: Checkpoint) -> list[Step]:
    """Return the steps of a checkpoint's lineage, first to last.

    Raises:
        CheckpointError: a step of an unknown command, or a record that cannot be read.
        ConfigError: options that the command refuses.
    """
    return [_read(checkpoint.folder, name, entry) for name, entry in checkpoint.lineage.items()]


def _read(folder: Path, name: str, entry: object) -> Step:
    command, where = name.rstrip("0123456789"), f"{folder}: step {name!r}"
    if command not in STEPS:
        raise CheckpointError(f"{where} is of a command that cannot be repeated; {[*STEPS]} can")
    if not isinstance(entry, Mapping) or not {"config", "inputs"} <= entry.keys():
        raise CheckpointError(f"{where} has no record of its options and inputs")
    kind, given = STEPS[command](), entry["config"]
    if isinstance(given, Mapping):
        given = {**kind.earlier, **given}
    return Step(
        name=name,
        kind=kind,
        config=from_plain(kind.config, given, f"{where}, config"),
        inputs=_digests(entry["inputs"], where),
        environment=entry.get("environment", {}),
    )


def _digests(value: object, where: str) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise CheckpointError(f"{where}: inputs must be digests by name")
    return value


# Each imports its command only when a chain has it: INT8 needs packages that others do not.
def _fit() -> StepKind:
    from train.config import FitConfig
    from train.fit import fit

    def words(config: Any, _: Checkpoint) -> list[str]:
        return _shortest(config, {name: recipe for name, (_, recipe) in RECIPES.items()})

    return StepKind(module="train.fit", config=FitConfig, work=fit, start="init", words=words)


def _distill() -> StepKind:
    from compress.distill.cli import DistillConfig, checkpoint_options, distill, recipe_options

    def words(config: Any, checkpoint: Checkpoint) -> list[str]:
        if config.init is None:
            return _shortest(config, {name: recipe_options(name) for name in RECIPES})
        base = checkpoint_options(training_of(checkpoint))
        return option_words(replace(base, **values_of(config)), values_of(base))

    return StepKind(
        module="compress.distill", config=DistillConfig, work=distill, start="init", words=words
    )


def _slim() -> StepKind:
    from compress.slim.cli import slim
    from compress.slim.config import SlimConfig

    def words(config: Any, checkpoint: Checkpoint) -> list[str]:
        return option_words(config, training_of(checkpoint))

    return StepKind(
        module="compress.slim", config=SlimConfig, work=slim, start="checkpoint", words=words
    )


def _quantize() -> StepKind:
    from compress.quantize.cli import QuantizeConfig, quantize
    from compress.quantize.qat import QatConfig

    def words(config: Any, checkpoint: Checkpoint) -> list[str]:
        # Without a training the command takes nothing over.
        trained = training_of(checkpoint) if config.qat.steps else {}
        return option_words(config, {"qat": QatConfig(**trained)})

    return StepKind(
        module="compress.quantize",
        config=QuantizeConfig,
        work=quantize,
        start="checkpoint",
        words=words,
        earlier={"max_flips": 1.0},
        nested="qat",
    )


def _shortest(config: Any, recipes: Mapping[str, Any]) -> list[str]:
    """Return the recipe and the options that say the same with the fewest words."""
    lines = [[name, *option_words(config, values_of(recipe))] for name, recipe in recipes.items()]
    return min(lines, key=len)


STEPS: Final[Mapping[str, Callable[[], StepKind]]] = {
    "fit": _fit,
    "slim": _slim,
    "distill": _distill,
    "quantize": _quantize,
}
"""Name of a lineage's entry, without its number, to its kind."""
