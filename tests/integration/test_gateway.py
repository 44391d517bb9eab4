"""The whole gateway as a process: pictures in, events out, reload, signs of life, a clean end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import gateway_load
from runtime.versions import Versions
from tests.artifacts import TinyNetwork
from tests.gateway import ONE_CAMERA, ROOT, RunningGateway, require_gateway, write_pictures

CONFIG = (
    """
[model]
{model}
"""
    + ONE_CAMERA
    + """
[[json_lines]]
path = "events.jsonl"

[serve]
port = 0
"""
)


@pytest.fixture(autouse=True)
def _installed() -> None:
    require_gateway()


def write_config(folder: Path, model: str) -> Path:
    path = folder / "gateway.toml"
    pictures = write_pictures(folder / "pictures")
    path.write_text(CONFIG.format(model=model, pictures=pictures), encoding="utf-8")
    return path


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_one_artifact(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    config = write_config(tmp_path, f'artifact = "{make_artifact(TinyNetwork())}"')
    with RunningGateway(config, tmp_path) as gateway:
        gateway.wait_ready()
        assert get(f"{gateway.url}/v2/health/ready") is not None
        wait_for(lambda: json.loads(get(f"{gateway.url}/status.json"))["latest"] != [])
        status = json.loads(get(f"{gateway.url}/status.json"))
        assert [camera["state"] for camera in status["cameras"]] == ["running"]
        assert b"headlight_images_total" in get(f"{gateway.url}/metrics")
        assert gateway.listen(5, "WATCHDOG=1")
        assert gateway.end() == 0
        gateway.listen(0.5)
        assert "STOPPING=1" in gateway.heard
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert next(e["state"] for e in events if e["kind"] == "camera") == "running"
    readings = [e for e in events if e["kind"] == "reading"]
    assert readings
    assert len({e["id"] for e in events}) == len(events)
    assert all(e["artifact"]["id"] for e in readings)
    log = gateway.log.read_text(encoding="utf-8")
    assert not any(e["text"] in log for e in readings if e["text"])


def test_a_store_is_followed(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    store = tmp_path / "store"
    versions = Versions(store)
    first = versions.add(make_artifact(TinyNetwork(), version=1))
    versions.select(first)
    config = write_config(tmp_path, f'store = "{store}"\n[model.follow]\npoll_s = 0')
    with RunningGateway(config, tmp_path) as gateway:
        gateway.wait_ready()
        second = versions.add(make_artifact(TinyNetwork(seed=1), version=2))
        versions.select(second)
        gateway.send(signal.SIGHUP)

        def current() -> int:
            return int(json.loads(get(f"{gateway.url}/status.json"))["artifact"]["version"])

        wait_for(lambda: current() == 2)
        rows = json.loads(get(f"{gateway.url}/status.json"))["versions"]
        assert {row["name"]: row["current"] for row in rows} == {first: False, second: True}
        assert gateway.end() == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[model]\n", "give artifact (a folder) or store"),
        ('[model]\nartifact = "nowhere"\n', "nowhere"),
        ('[model]\nartifact = "a"\n[[camera]]\nurl = "x.mp4"\n', "camera[0]: Object missing"),
        ('[model]\nartifact = "a"\n[servce]\n', "did you mean serve?"),
    ],
)
def test_what_cannot_run_says_why(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "runtime.gateway.app", str(tmp_path / "gateway.toml")],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert complaint in done.stderr


def test_what_a_gateway_costs(
    make_artifact: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, f'artifact = "{make_artifact(TinyNetwork())}"')
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("events.jsonl", str(tmp_path / "events.jsonl")))
    with config.open("a", encoding="utf-8") as file:
        file.write(f'[outbox]\npath = "{tmp_path / "outbox.sqlite"}"\n')
    output = tmp_path / "found"
    argv = [str(config), "--minutes", "0.1", "--output", str(output)]
    assert gateway_load.main(argv) == 0
    found = json.loads((output / "gateway.json").read_text(encoding="utf-8"))
    (camera,) = found["cameras"]
    assert camera["camera"] == "gate"
    assert 30 <= camera["frames"] <= 90  # 6 s at 10 fps, on a machine that others use
    assert camera["reads"] > 0
    assert 0 < found["cores_used"] < 4
    assert 20 < found["pss_mb"]["start"] < 500
    assert found["exit_code"] == 0
    assert "vehicles told" in capsys.readouterr().out
