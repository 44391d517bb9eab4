from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from runtime.errors import SchemaError
from runtime.schema import Format, Head, HeadKind, Reading, Schema, load_schema
from tests.artifacts import SMALL_SCHEMA
from tests.strategies import schemas


@given(schemas())
def test_json_round_trip(schema: Schema) -> None:
    again = Schema.from_object(json.loads(json.dumps(schema.to_object())))
    assert again == schema
    assert hash(again) == hash(schema)


def small() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(SMALL_SCHEMA.to_object()))
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(heads=[]), "no heads"),
        (lambda s: s.update(extra=1), "unknown keys"),
        (lambda s: s["heads"][0].update(labels="car"), "must be list"),
        (lambda s: s["heads"][0].update(loss_weight=True), "must be int or float"),
        (lambda s: s["heads"][0].update(loss_weight=0), "loss_weight"),
        (lambda s: s["heads"][0].update(drop_budget=1.5), "drop_budget"),
        (lambda s: s["heads"][0].update(kind="softmax"), "unknown"),
        (lambda s: s["heads"][0].update(wieght=1), "unknown keys"),
        (lambda s: s["heads"][0].update(labels=["A"]), "at least 2"),
        (lambda s: s["heads"][0].update(labels=["A", "B", "京", "A"]), "repeated"),
        (lambda s: s["heads"][0].update(labels=["A", "B", "京", "x,y"]), "comma"),
        (lambda s: s["heads"][0].update(labels=["A", "B", "京", " x"]), "outer spaces"),
        (lambda s: s["heads"][0].update(labels=["A", "B", "京", ""]), "empty"),
        (lambda s: s["heads"][0].update(labels=["A", "B", "京", "\x1b[2J"]), "control"),
        (lambda s: s["heads"][0].update(labels=["A", "B", "京", "\ud800"]), "control"),
        (lambda s: s["heads"][0].update(name="image"), "input's name"),
        (lambda s: s["heads"][0].update(name="a b"), "identifier"),
        (lambda s: s["heads"][0].update(name="second"), "used twice"),
        (lambda s: s["readings"][0].update(name="colour"), "used twice"),
        (lambda s: s["readings"][0].update(heads=[], formats={}), "no heads"),
        (lambda s: s["readings"][0].update(heads=["first", "first", "third"]), "twice"),
        (lambda s: s["readings"][0].update(heads=["first", "second", "extras"]), "not a choice"),
        (lambda s: s["readings"][0].update(heads=["first", "second", "nope"]), "not a choice"),
        (lambda s: s["readings"][0].update(blank="-"), "blank"),
        (lambda s: s["readings"][0].update(aliases={"A": "B"}), "alias 'A' -> 'B'"),
        (lambda s: s["readings"][0].update(aliases={"x": "y"}), "alias 'x' -> 'y'"),
        (lambda s: s["readings"][0].update(aliases={"xy": "A"}), "one character"),
        (lambda s: s["readings"][0].update(aliases={"x": ""}), "alias 'x' -> ''"),
        (lambda s: s["readings"][0].update(aliases={"x": 1}), "must be str"),
        (lambda s: s["readings"][0]["formats"].update(x=[["A"]]), "1 positions"),
        (lambda s: s["readings"][0]["formats"].update(x=[["A"], ["A"], ["A"]]), "cannot take"),
        (lambda s: s["readings"][0]["formats"].update(x=[["A"], ["A"], []]), "nothing"),
        (lambda s: s["readings"][0]["formats"].update(x=["A", "A", "_"]), "list of lists"),
        (
            lambda s: s["readings"].append({"name": "other", "heads": ["first"]}),
            "shares heads",
        ),
    ],
)
def test_contradictions_are_refused(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    value = small()
    change(value)
    with pytest.raises(SchemaError, match=message):
        Schema.from_object(value)


def test_formats_need_different_names() -> None:
    head = Head(name="a", kind=HeadKind.CHOICE, labels=("0", "1"))
    twice = (Format("x", (("0",),)), Format("x", (("1",),)))
    with pytest.raises(SchemaError, match="same name"):
        Schema(name="s", heads=(head,), readings=(Reading(name="r", heads=("a",), formats=twice),))


def test_head_by_name() -> None:
    assert SMALL_SCHEMA.head("colour").labels == ("blue", "green")
    with pytest.raises(SchemaError, match="no head 'color'"):
        SMALL_SCHEMA.head("color")


def test_free_heads_are_those_of_no_reading() -> None:
    assert [head.name for head in SMALL_SCHEMA.free_heads] == ["colour", "extras"]


def test_load_schema_from_file(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(SMALL_SCHEMA.to_object()), encoding="utf-8")
    assert load_schema(str(path)) == SMALL_SCHEMA


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"{", b"[]", b'{"name": "a", "name": "b"}'])
def test_load_schema_refuses(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SchemaError, match=r"bad\.json"):
        load_schema(str(path))
