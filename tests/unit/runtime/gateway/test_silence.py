"""Everything runs and fails once, at the most talkative level; then its words are searched."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.arrays import Image
from runtime.gateway.announcing import LatestReads
from runtime.gateway.events.json_lines import JsonLines, JsonLinesOptions
from runtime.gateway.events.mqtt import Mqtt, MqttOptions
from runtime.gateway.events.outbox import OutboxOptions
from runtime.gateway.events.publisher import Publisher
from runtime.gateway.events.webhook import Webhook, WebhookOptions
from runtime.gateway.finding import FindingOptions, Region
from runtime.gateway.pictures import PictureOptions, Pictures
from runtime.gateway.pipeline import Pipeline, PipelineOptions
from runtime.gateway.privacy import Privacy, PrivacyOptions
from runtime.regions import box_quads
from tests.engines import require
from tests.painted import PLATES, FakeCamera, blank, frame_of, paint, painted_reader

SECRETS = ("hunter2-broker", "hunter2-signature", "hunter2-bearer", "t0ken-in-url", "hunter2-hash")
BOX = (40, 60, 64, 32)


class Talkative:
    """A detector that names what it saw when it fails."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Image) -> Any:
        self.calls += 1
        if self.calls == 3:
            raise ValueError(f"cannot cope with {' '.join(PLATES)}")
        if self.calls == 5:
            return [" ".join(PLATES)]
        return [Region(quad) for quad in box_quads(np.asarray([[40, 60, 104, 92]], np.float32))]


class Blabbing:
    """A sink of the user's that puts the event into its error."""

    name = "own"

    def deliver(self, event_id: str, payload: bytes) -> None:
        raise RuntimeError(payload.decode())

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        raise RuntimeError("hunter2-broker")


def refused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sinks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setenv("HEADLIGHT_TEST_BROKER", SECRETS[0])
    (folder / "signature").write_text(SECRETS[1])
    (folder / "bearer").write_text(f"Bearer {SECRETS[2]}")
    nobody = refused_port()
    (folder / "folder.jsonl").mkdir()
    return [
        JsonLines(JsonLinesOptions(path=str(folder / "events.jsonl"))),
        JsonLines(JsonLinesOptions(path=str(folder / "folder.jsonl"), name="in the way")),
        Webhook(
            WebhookOptions(
                url=f"http://127.0.0.1:{nobody}/{SECRETS[3]}?key={SECRETS[3]}",
                secret_file=str(folder / "signature"),
                authorization_file=str(folder / "bearer"),
            )
        ),
        Mqtt(
            MqttOptions(
                host="127.0.0.1",
                port=nobody,
                username="gateway",
                password_variable="HEADLIGHT_TEST_BROKER",
            )
        ),
        Blabbing(),
    ]


@pytest.mark.parametrize("way", ["clear", "masked", "hashed"])
def test_no_text_and_no_secret_in_logs_and_status(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("paho")
    caplog.set_level(logging.DEBUG)
    (tmp_path / "key").write_text(SECRETS[4] * 2)
    (tmp_path / "pictures").write_text("a file where the folder should be")
    privacy = PrivacyOptions(text=way, key_file=str(tmp_path / "key") if way == "hashed" else "")
    camera, latest = FakeCamera(), LatestReads()
    for number in range(48):
        image = blank()
        paint(image, BOX, PLATES[4 + number // 12])
        camera.frames.append(frame_of(image, number))
    blocker = tmp_path / "outbox"
    blocker.write_text("a file where the folder should be")
    outbox = OutboxOptions(path=str(blocker / "events.sqlite"), max_rows=3, retry_s=0.01)
    publisher = Publisher(outbox, sinks(tmp_path, monkeypatch), retry_max_s=0.05)
    pictures = Pictures(PictureOptions(folder=str(tmp_path / "pictures")))
    pipeline = Pipeline(
        "gate",
        camera,
        painted_reader(),
        options=PipelineOptions(regions=FindingOptions()),
        emit=publisher.publish,
        privacy=Privacy(privacy),
        pictures=pictures,
        latest=latest,
        detector=Talkative(),
    )
    with publisher:
        pipeline.start()
        assert camera.emptied.wait(20)
        until(lambda: all(s.failing_since for s in publisher.status()[1:]))
        blocker.unlink()
        until(lambda: publisher.reason is None)
        assert pipeline.stop()
        statuses = [*publisher.status(), pipeline.status(), pictures.status()]
    said = caplog.text + repr(statuses) + repr(publisher) + repr(privacy)
    assert "ValueError" in said
    assert "unexpected RuntimeError" in said
    for secret in (*SECRETS, *PLATES[4:]):
        assert secret not in said
    # It was not silent because nothing happened.
    assert pipeline.status().events >= 4
    clear = [text for text in PLATES[4:] if text in (tmp_path / "events.jsonl").read_text()]
    assert bool(clear) == (way == "clear")
    if way != "clear":
        everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
        assert not [text for text in PLATES[4:] if text.encode() in everything]
        assert not [text for text in PLATES[4:] if text in repr(latest.read())]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)
