"""What Prometheus reads of a gateway: its reader, cameras and sinks, and the HTTP server itself.

Values are taken from the parts' own counters when somebody asks, so that counting twice cannot
disagree. Names end in their unit, and ``_total`` if they only grow; the table in
docs/gateway-http.md has all of them. They follow Triton's ``nv_inference_*`` (reader) and
Frigate's ``frigate_*`` (cameras) where those have the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from runtime.health import FAILED, OVERLOADED, READY
from runtime.statistics import Durations, Stats

if TYPE_CHECKING:
    from runtime.gateway.serve.view import GatewayView

__all__ = ["GatewayCollector", "HttpMetrics", "make_registry"]

_NS: Final = 1e9
_OUTCOMES: Final = (
    "answered", "bad_images", "engine_failures", "dropped", "expired", "cancelled",
)  # fmt: skip
_QUANTILES: Final = (("0.5", "p50_ns"), ("0.9", "p90_ns"), ("0.99", "p99_ns"), ("1", "max_ns"))
_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class HttpMetrics:
    """Counts what the HTTP server answered.

    Args:
        registry: Where it is read.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "headlight_http_requests",
            "HTTP requests that were answered.",
            ("endpoint", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "headlight_http_request_duration_seconds",
            "From a request's headers to the begin of its answer.",
            ("endpoint",),
            buckets=_BUCKETS_S,
            registry=registry,
        )

    def count(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)


@dataclass(frozen=True, slots=True)
class _Row:
    """A metric with one value per camera or sink."""

    name: str
    text: str
    field: str
    """Of the status."""
    counts: bool = False

    def family(self, label: str, statuses: Sequence[Any]) -> Metric:
        kind = CounterMetricFamily if self.counts else GaugeMetricFamily
        family = kind(self.name, self.text, labels=[label])
        for status in statuses:
            value = getattr(status, self.field)
            if value is not None:
                family.add_metric([getattr(status, label, None) or status.name], float(value))
        return family


_CAMERAS: Final = (
    _Row("headlight_camera_fps", "Frames per second, over the last seconds.", "fps"),
    _Row("headlight_camera_frames_total", "Frames that came whole.", "frames", counts=True),
    _Row(
        "headlight_camera_skipped_frames_total",
        "Whole frames that were not looked at, because a newer one came.",
        "skipped",
        counts=True,
    ),
    _Row(
        "headlight_camera_corrupt_frames_total",
        "Frames that the decoder flagged as damaged, and that were not looked at.",
        "corrupt",
        counts=True,
    ),
    _Row(
        "headlight_camera_withheld_frames_total",
        "Frames that were not looked at because of an error before them.",
        "withheld",
        counts=True,
    ),
    _Row(
        "headlight_camera_decode_errors_total",
        "Data that gave no frame.",
        "decode_errors",
        counts=True,
    ),
    _Row("headlight_camera_gaps_total", "Holes in the frames' times.", "gaps", counts=True),
    _Row(
        "headlight_camera_reconnects_total",
        "Times that the stream was opened again.",
        "reconnects",
        counts=True,
    ),
    _Row("headlight_camera_frame_age_seconds", "Age of the last frame.", "age_s"),
)
_PIPELINES: Final = (
    _Row("headlight_camera_regions_total", "Regions that were found.", "regions", counts=True),
    _Row("headlight_camera_reads_total", "Regions that were read.", "reads", counts=True),
    _Row("headlight_camera_tracks", "Vehicles that are followed now.", "tracks"),
    _Row("headlight_camera_events_total", "Vehicles that were told of.", "events", counts=True),
    _Row(
        "headlight_camera_accepted_events_total",
        "Those of them whose answer was sure enough.",
        "accepted",
        counts=True,
    ),
    _Row(
        "headlight_camera_read_errors_total",
        "Regions that could not be read.",
        "read_errors",
        counts=True,
    ),
    _Row(
        "headlight_camera_find_errors_total",
        "Calls of the detector that failed, and regions of it that were none.",
        "find_errors",
        counts=True,
    ),
    _Row(
        "headlight_camera_busy_seconds",
        "For how long the frame at hand has been worked on.",
        "busy_s",
    ),
)
_SINKS: Final = (
    _Row("headlight_sink_waiting_events", "Events on disk that wait for the sink.", "waiting"),
    _Row("headlight_sink_delivered_total", "Events that the sink took.", "delivered", counts=True),
    _Row(
        "headlight_sink_dropped_total",
        "Events that went before the sink had taken them, because too many waited.",
        "dropped",
        counts=True,
    ),
    _Row("headlight_sink_rejected_total", "Events that the sink refused.", "rejected", counts=True),
)


class GatewayCollector(Collector):
    """Reads a gateway whenever Prometheus asks.

    Args:
        view: The gateway.
    """

    def __init__(self, view: GatewayView) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics."""
        yield GaugeMetricFamily(
            "headlight_start_time_seconds",
            "When the gateway started, seconds since 1970.",
            self._view.started.timestamp(),
        )
        yield from self._artifact()
        yield from _reader(self._view.reader.stats())
        yield from self._cameras()
        yield from self._sinks()

    def _artifact(self) -> Iterable[Metric]:
        reader = self._view.reader
        manifest, engine = reader.info, reader.engine
        info = {
            "id": manifest.id,
            "version": str(manifest.version),
            "engine": engine.get("engine", manifest.engine),
            "precision": engine.get("precision", manifest.precision),
            "device": engine.get("device", ""),
        }
        family = GaugeMetricFamily(
            "headlight_artifact_info", "1, for the artifact that serves.", labels=[*info]
        )
        family.add_metric([*info.values()], 1)
        yield family
        health = reader.health()
        yield _states(
            "headlight_health",
            "1 for the state that the reader is in.",
            [],
            [],
            health.state,
            _HEALTHS,
        )

    def _cameras(self) -> Iterable[Metric]:
        cameras = self._view.cameras()
        state = GaugeMetricFamily(
            "headlight_camera_state", "1 for the state it is in.", labels=["camera", "state"]
        )
        for camera in cameras:
            state.add_metric([camera.name, str(camera.state)], 1)
        yield state
        for row in _CAMERAS:
            yield row.family("camera", cameras)
        pipelines = self._view.pipelines()
        for row in _PIPELINES:
            yield row.family("camera", pipelines)
        latency = SummaryMetricFamily(
            "headlight_event_latency_seconds", "From a frame's arrival to the event it decided."
        )
        for pipeline in pipelines:
            _add_durations(latency, pipeline.latency, {"camera": pipeline.camera})
        yield latency

    def _sinks(self) -> Iterable[Metric]:
        sinks = self._view.sinks()
        for row in _SINKS:
            yield row.family("sink", sinks)
        failing = GaugeMetricFamily(
            "headlight_sink_failing_seconds",
            "For how long nothing could be delivered; 0 where the last delivery worked.",
            labels=["sink"],
        )
        now = datetime.now(timezone.utc)
        for sink in sinks:
            since = sink.failing_since
            failing.add_metric([sink.name], 0.0 if since is None else (now - since).total_seconds())
        yield failing


_HEALTHS: Final = (READY, OVERLOADED, FAILED)


def _states(
    name: str,
    text: str,
    labels: Sequence[str],
    values: Sequence[str],
    now: str,
    all_: Sequence[str],
) -> Metric:
    """Return a family with 1 for the state that holds and 0 for the others."""
    family = GaugeMetricFamily(name, text, labels=[*labels, "state"])
    for state in all_:
        family.add_metric([*values, state], float(state == now))
    return family


def _reader(stats: Stats) -> Iterable[Metric]:
    images = CounterMetricFamily(
        "headlight_images", "Images that were done with.", labels=["outcome"]
    )
    for outcome in _OUTCOMES:
        images.add_metric([outcome], getattr(stats, outcome))
    yield images
    yield CounterMetricFamily(
        "headlight_accepted_images", "Answers that were sure enough.", stats.accepted
    )
    calls = CounterMetricFamily(
        "headlight_engine_calls", "Calls of the engine, by images per call.", labels=["batch"]
    )
    for batch, count in stats.batch_sizes.items():
        calls.add_metric([str(batch)], count)
    yield calls
    steps = CounterMetricFamily(
        "headlight_step_seconds", "Time spent, all images together.", labels=["step"]
    )
    for step in ("prepare", "engine", "decode"):
        steps.add_metric([step], getattr(stats, f"{step}_ns") / _NS)
    yield steps
    yield GaugeMetricFamily("headlight_queue_waiting", "Images that wait.", stats.waiting)
    yield GaugeMetricFamily(
        "headlight_queue_deepest", "Most images that ever waited at a time.", stats.deepest
    )
    yield _summary("headlight_read_latency_seconds", "From image to answer.", stats.latency)
    yield _summary("headlight_engine_latency_seconds", "Of a call of the engine.", stats.engine)
    yield _summary("headlight_queue_latency_seconds", "From queue to engine.", stats.queue)


def _summary(name: str, text: str, durations: Durations) -> Metric:
    """Return percentiles since the reader was opened; upper bounds, at most 12.5 % too large."""
    family = SummaryMetricFamily(name, text)
    _add_durations(family, durations, {})
    return family


def _add_durations(family: Metric, durations: Durations, labels: Mapping[str, str]) -> None:
    for quantile, attribute in _QUANTILES:
        seconds = getattr(durations, attribute) / _NS
        family.add_sample(family.name, {**labels, "quantile": quantile}, seconds)
    family.add_sample(f"{family.name}_count", dict(labels), durations.count)


def make_registry(view: GatewayView) -> CollectorRegistry:
    """Return a registry of its own with the gateway's metrics and those of the process."""
    registry = CollectorRegistry()
    registry.register(GatewayCollector(view))
    ProcessCollector(registry=registry)
    return registry
