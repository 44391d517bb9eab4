"""A caller's thresholds instead of those that were fitted for an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .errors import ConfigError, SchemaError
from .schema import HeadKind, Schema
from .scores import OperatingPoint

__all__ = ["Thresholds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What to accept; whatever is not named stays as it was fitted, temperatures always do."""

    answer: float | None = None
    """Joint confidence from which a whole answer is accepted, in [0, 2]; above 1 none is."""
    heads: Mapping[str, float] = field(default_factory=dict)
    """Choice head to the probability from which its label is trusted."""
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Labels head to label to the probability from which it holds."""

    def applied(self, operating: OperatingPoint, schema: Schema) -> OperatingPoint:
        """Return ``operating`` with these thresholds; it then promises no precision.

        Raises:
            ConfigError: an unknown head or label, a head of the other kind, or a value that is no
                number in [0, 2].
        """
        label_thresholds = dict(operating.label_thresholds)
        for name, wanted in self.labels.items():
            try:
                head = schema.head(name)
            except SchemaError as error:
                raise ConfigError(f"thresholds: {error}") from error
            unknown = sorted(set(wanted) - set(head.labels))
            if unknown or head.kind is not HeadKind.LABELS:
                raise ConfigError(
                    f"thresholds: head {name!r} is a {head.kind} head with {list(head.labels)}; "
                    f"got thresholds for {sorted(wanted)}"
                )
            fitted = dict(zip(head.labels, operating.thresholds_of(head).tolist(), strict=True))
            label_thresholds[name] = tuple({**fitted, **wanted}.values())
        changed = replace(
            operating,
            choice_thresholds={**operating.choice_thresholds, **self.heads},
            label_thresholds=label_thresholds,
            answer_threshold=operating.answer_threshold if self.answer is None else self.answer,
            precision_floor=None,
            fitted_on=None,
        )
        changed.check_schema(schema)
        return changed
