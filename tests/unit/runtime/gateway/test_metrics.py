from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from runtime.gateway.metrics import HttpMetrics, make_registry
from runtime.statistics import Durations
from tests.serving import CAMERA, PIPELINE, SINK, STARTED, FakeView, ask, jpeg, serving

ROOT = Path(__file__).parents[4]
HOSTILE = 'gate "1"\n\\ <script>'
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(registry: CollectorRegistry) -> Samples:
    """Parse with the client's own parser, which is not its writer."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_the_readers_counts_are_those_of_its_statistics() -> None:
    view = FakeView()
    image = np.full((20, 40, 3), 80, np.uint8)
    for _ in range(3):
        view.reader.read(image)
    view.reader.read_many([image, np.zeros((1, 1, 3), np.uint8)])
    stats, found = view.reader.stats(), samples(make_registry(view))
    assert value(found, "headlight_images_total", outcome="answered") == stats.answered == 4
    assert value(found, "headlight_images_total", outcome="bad_images") == 1
    outcomes = [v for (name, _), v in found.items() if name == "headlight_images_total"]
    assert sum(outcomes) == stats.images
    assert value(found, "headlight_engine_calls_total", batch="1") == stats.engine_calls == 4
    assert value(found, "headlight_accepted_images_total") == stats.accepted
    p99 = value(found, "headlight_read_latency_seconds", quantile="0.99")
    assert p99 == stats.latency.p99_ns / 1e9
    assert value(found, "headlight_read_latency_seconds_count") == 4
    step = value(found, "headlight_step_seconds_total", step="engine")
    assert step == stats.engine_ns / 1e9
    assert value(found, "headlight_start_time_seconds") == STARTED.timestamp()
    assert value(found, "headlight_health", state="ready") == 1
    assert value(found, "headlight_health", state="failed") == 0
    view.reader.close()
    assert value(samples(make_registry(view)), "headlight_health", state="failed") == 1


def test_cameras_and_sinks_have_their_names() -> None:
    since = datetime.now(timezone.utc) - timedelta(seconds=60)
    view = FakeView(
        camera_rows=[CAMERA, replace(CAMERA, name=HOSTILE, state="stalled", age_s=None)],
        pipeline_rows=[
            replace(PIPELINE, latency=Durations(21, 10**6, 2 * 10**6, 3 * 10**6, 10**7))
        ],
        sink_rows=[SINK, replace(SINK, name="webhook", waiting=7, failing_since=since)],
    )
    found = samples(make_registry(view))
    view.reader.close()
    assert value(found, "headlight_camera_fps", camera="gate") == 15
    assert value(found, "headlight_camera_frames_total", camera=HOSTILE) == 900
    assert value(found, "headlight_camera_skipped_frames_total", camera="gate") == 30
    assert value(found, "headlight_camera_state", camera=HOSTILE, state="stalled") == 1
    assert value(found, "headlight_camera_frame_age_seconds", camera="gate") == CAMERA.age_s
    assert ("headlight_camera_frame_age_seconds", frozenset({("camera", HOSTILE)})) not in found
    assert value(found, "headlight_camera_events_total", camera="gate") == 21
    p99 = value(found, "headlight_event_latency_seconds", camera="gate", quantile="0.99")
    assert p99 == 0.003
    assert value(found, "headlight_sink_waiting_events", sink="webhook") == 7
    assert value(found, "headlight_sink_failing_seconds", sink="mqtt") == 0
    assert 60 <= value(found, "headlight_sink_failing_seconds", sink="webhook") < 90


def test_requests_are_counted_by_endpoint_and_status() -> None:
    view = FakeView()
    with serving(view) as server:
        ask(server, "GET", "/v2")
        ask(server, "POST", "/v1/read", jpeg())
        ask(server, "POST", "/v1/read", b"x")
        ask(server, "GET", "/not/there")
        text = ask(server, "GET", "/metrics")[2].decode()
    requests = "headlight_http_requests_total"
    assert f'{requests}{{endpoint="read",status="200"}} 1.0' in text
    assert f'{requests}{{endpoint="read",status="400"}} 1.0' in text
    assert f'{requests}{{endpoint="none",status="404"}} 1.0' in text
    assert 'headlight_http_request_duration_seconds_count{endpoint="server"} 1.0' in text
    # Paths come from outside: they must not become labels.
    assert "/not/there" not in text


def test_the_documented_table_is_what_there_is() -> None:
    view = FakeView()
    registry = make_registry(view)
    HttpMetrics(registry).count("read", 200, 0.1)
    view.reader.read(np.full((20, 40, 3), 80, np.uint8))
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        if family.name.startswith("headlight") and not family.name.endswith("_created")
    }
    view.reader.close()
    page = (ROOT / "docs" / "gateway-http.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(headlight_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", page, re.MULTILINE)
    assert {name for name, *_ in rows} == {*families}
    for name, kind, labels, text in rows:
        family = families[name]
        assert (kind, text) == (family.type, family.documentation), name
        known = {label for sample in family.samples for label in sample.labels} - {"quantile", "le"}
        assert {*re.findall(r"\w+", labels)} == known, name
