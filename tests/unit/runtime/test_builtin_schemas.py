from __future__ import annotations

import re

import pytest

from runtime.builtin_schemas import BUILTIN
from runtime.schema import Schema, load_schema


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_loads_by_its_own_name_and_survives_json(name: str) -> None:
    schema = load_schema(name)
    assert schema.name == name
    assert Schema.from_object(schema.to_object()) == schema


def fits(schema: Schema, text: tuple[str, ...]) -> set[str]:
    (reading,) = schema.readings
    return {
        allowed.name
        for allowed in reading.formats
        if all(label in labels for label, labels in zip(text, allowed.positions, strict=True))
    }


@pytest.mark.parametrize(
    ("text", "formats"),
    [
        ("京 A 1 2 3 4 5 _", {"civil"}),
        ("粤 B A 1 2 3 4 5", {"energy-small"}),
        ("粤 B 1 2 3 4 5 F", {"energy-large"}),
        ("沪 C 1 2 3 4 学 _", {"suffix"}),
        ("粤 Z 1 2 3 4 港 _", {"suffix"}),
        ("使 0 1 4 0 0 1 _", {"embassy"}),
        ("军 K 1 2 3 4 5 _", {"military"}),
        ("WJ 1 2 3 4 5 6 7", {"armed-police"}),
        ("京 1 1 2 3 4 5 _", set()),
        ("京 A 1 2 3 4 学 1", set()),
    ],
)
def test_chinese_plates_fit_one_format(text: str, formats: set[str]) -> None:
    assert fits(load_schema("cn-plate"), tuple(text.split())) == formats


@pytest.mark.parametrize("name", ["us-plate", "latin-plate"])
def test_latin_texts_have_one_encoding(name: str) -> None:
    schema = load_schema(name)
    length = len(schema.heads)
    text = (*"AB12", *["_"] * (length - 4))
    assert fits(schema, text) == {"length-4"}
    assert fits(schema, ("A", "_", "B", *["_"] * (length - 3))) == set()


def test_chinese_alphabet_has_no_i_or_o() -> None:
    labels = {label for head in load_schema("cn-plate").heads[:8] for label in head.labels}
    assert not re.search("[IO]", "".join(labels))
