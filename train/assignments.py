"""Options of the form ``--option NAME=VALUE NAME=VALUE``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

__all__ = ["NamedNumbers", "NamedTexts"]


def _parse(words: list[str], value: Callable[[str], Any]) -> dict[str, Any]:
    # The last "=" parts them: labels may hold one, values never do.
    pairs = [word.rpartition("=") for word in words]
    wrong = [
        word for word, (name, _, text) in zip(words, pairs, strict=True) if not name or not text
    ]
    if wrong:
        raise ValueError(f"expected NAME=VALUE, got {wrong}")
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"a name is given twice in {words}")
    return {name: value(text) for name, _, text in pairs}


def _spec(metavar: str, kind: type) -> PrimitiveConstructorSpec[Mapping[str, Any]]:
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[NAME={metavar} ...]",
        instance_from_str=lambda words: _parse(words, kind),
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=lambda value: [f"{name}={entry}" for name, entry in value.items()],
    )


NamedNumbers = Annotated[Mapping[str, float], _spec("NUMBER", float)]
"""``colour=0.5 char_1=2``."""
NamedTexts = Annotated[Mapping[str, str], _spec("TEXT", str)]
"""``colour=focal char_1=ghm``."""
