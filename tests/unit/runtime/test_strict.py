from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from runtime.errors import ConfigError
from runtime.strict import StrictObject, parse_json
from tests.strategies import JSON_VALUES


def read(value: object) -> StrictObject:
    return StrictObject(value, "thing", ConfigError)


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda o: o.texts("k"), "car"),  # tuple("car") would be three labels
        (lambda o: o.integer("k"), True),
        (lambda o: o.integer("k"), 1.0),
        (lambda o: o.number("k"), False),
        (lambda o: o.number("k"), "1"),
        (lambda o: o.number("k"), 10**400),
        (lambda o: o.optional_number("k"), float("inf")),
        (lambda o: o.numbers("k"), [0.5, float("nan")]),
        (lambda o: o.numbers("k"), [0.5, True]),
        (lambda o: o.integers("k"), [1, 2.0]),
        (lambda o: o.texts("k"), ["a", 1]),
        (lambda o: o.text("k"), None),
        (lambda o: o.optional_text("k"), 1),
        (lambda o: o.flag("k"), 1),
        (lambda o: o.items("k"), {"a": 1}),
        (lambda o: o.mapping("k"), [1]),
        (lambda o: o.text_mapping("k"), {"a": 1}),
    ],
)
def test_wrong_type_is_refused(call: Callable[[StrictObject], Any], value: object) -> None:
    with pytest.raises(ConfigError, match=r"'k'|'a'"):
        call(read({"k": value}))


def test_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="key 'k' is missing"):
        read({}).text("k")


def test_unread_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown keys \['sparsty'\]"):  # noqa: SIM117
        with read({"sparsity": 1, "sparsty": 2}) as item:
            item.number("sparsity")


def test_unread_key_does_not_hide_the_first_error() -> None:
    with pytest.raises(ZeroDivisionError), read({"unread": 1}):
        raise ZeroDivisionError


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_not_an_object(value: object) -> None:
    with pytest.raises(ConfigError, match="expected a JSON object"):
        read(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "given twice"),
        ('{"b": [{"a": 1, "a": 2}]}', "given twice"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_parse_json_refuses(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_json(text, "thing", ConfigError)


@given(JSON_VALUES)
def test_parse_json_reads_what_json_writes(value: object) -> None:
    assert parse_json(json.dumps(value), "thing", ConfigError) == value
