from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest

from runtime.errors import ConfigError
from runtime.gateway.events.event import Event, Seen, camera_event, reading_id, utc_text
from tests.painted import BEGIN

DOCUMENT = Path(__file__).parents[5] / "docs" / "events.md"
SEEN = Seen(
    text="苏A1234?",
    confidence=0.98765432,
    accepted=True,
    heads={"colour": {"labels": ["blue"], "confidence": 0.9, "accepted": True}},
    decided="stable",
    began=BEGIN,
    frames=5,
    quad=((1, 2), (3.14159, 2), (3, 4), (1, 4)),
    artifact={"id": "plates", "version": 3},
    latency_ms=12.3456,
)
READING = Event(
    id=reading_id("gate", BEGIN, 7, 0), kind="reading", camera="gate", time=BEGIN, seen=SEEN
)
CAMERA = camera_event("gate", "retrying", "connection refused", BEGIN)


def matches(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits a JSON schema of the few keywords that the document uses."""
    assert set(schema) <= {
        "$schema", "$id", "title", "description", "oneOf", "const", "enum", "type", "pattern",
        "minimum", "maximum", "minItems", "maxItems", "items", "required", "properties",
        "additionalProperties", "format",
    }, schema  # fmt: skip
    if "oneOf" in schema:
        return sum(matches(value, one) for one in schema["oneOf"]) == 1
    if "const" in schema:
        return bool(value == schema["const"])
    if "enum" in schema:
        return value in schema["enum"]
    names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    kinds: dict[str, Any] = {
        "string": str, "number": (int, float), "integer": int, "boolean": bool, "null": type(None),
        "array": list, "object": dict,
    }  # fmt: skip
    if not any(
        isinstance(value, kinds[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    ):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, int | float):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, list):
        fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return fits and all(matches(item, schema["items"]) for item in value)
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        if not set(schema.get("required", ())) <= set(value):
            return False
        for key, item in value.items():
            rule = known.get(key, others)
            if rule is False or (isinstance(rule, dict) and not matches(item, rule)):
                return False
    return True


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    (text,) = re.findall(r"```json schema\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    value: dict[str, Any] = json.loads(text)
    return value


@pytest.mark.parametrize("event", [READING, CAMERA], ids=["reading", "camera"])
def test_events_are_what_the_document_says(event: Event, schema: dict[str, Any]) -> None:
    line = event.to_json()
    assert b"\n" not in line
    value = json.loads(line)
    assert matches(value, schema)
    # The document knows every key, and misses none.
    for key in value:
        assert not matches({**value, key: object()}, schema), key
        assert not matches({k: v for k, v in value.items() if k != key}, schema), key
    assert not matches({**value, "more": 1}, schema)


def test_the_examples_of_the_document_fit_it(schema: dict[str, Any]) -> None:
    examples = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    assert len(examples) == 2
    assert all(matches(json.loads(example), schema) for example in examples)


def test_ids_are_stable_and_tell_tracks_apart() -> None:
    # By the letter of RFC 9562, so that others can work them out.
    name = "gate\0" + "2026-11-21T08:00:00.000000Z" + "\0007\0000"
    space = uuid5(NAMESPACE_URL, "headlight:events")
    assert READING.id == str(uuid5(space, name))
    assert UUID(READING.id).version == 5
    others = [
        reading_id("gate 2", BEGIN, 7, 0),
        reading_id("gate", BEGIN + timedelta(microseconds=1), 7, 0),
        reading_id("gate", BEGIN, 8, 0),
        reading_id("gate", BEGIN, 7, 1),
        CAMERA.id,
    ]
    assert len({READING.id, *others}) == 6


def test_times_are_utc_whatever_their_zone() -> None:
    there = BEGIN.astimezone(timezone(timedelta(hours=8)))
    assert utc_text(there) == utc_text(BEGIN) == "2026-11-21T08:00:00.000000Z"
    with pytest.raises(ConfigError, match="zone"):
        utc_text(datetime(2026, 11, 21))


def test_an_event_is_whole_or_none() -> None:
    with pytest.raises(ConfigError):
        Event(id="x", kind="reading", camera="gate", time=BEGIN)
    with pytest.raises(ConfigError):
        Event(id="x", kind="camera", camera="gate", time=BEGIN, seen=SEEN)
    with pytest.raises(ConfigError):
        Event(id="x", kind="other", camera="gate", time=BEGIN, seen=SEEN, state="running")
