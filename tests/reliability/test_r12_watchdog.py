"""R12: a gateway that hangs gives no more signs of life, and ends in time when it is told to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.artifacts import TinyNetwork
from tests.engines import require
from tests.gateway import RunningGateway, require_gateway, write_pictures
from tests.reliability.conftest import Count

PROGRAM = (str(Path(__file__).with_name("hanging_gateway.py")),)
WATCHDOG_S = 1.0
PATIENCE_S = 20.0
"""Of the gateway; in short runs 1."""

CONFIG = """
[model]
artifact = "{artifact}"
[[camera]]
name = "gate"
url = "{pictures}"
fps = 10
loop = true
[serve]
port = 0
"""


def silence_s(gateway: RunningGateway, longest_s: float) -> float:
    """Return how long after now the last sign of life came, once two were missed."""
    began = last = time.monotonic()
    while time.monotonic() - began < longest_s:
        gateway.heard.clear()
        if gateway.listen(2 * WATCHDOG_S, "WATCHDOG=1"):
            last = time.monotonic()
        else:
            return last - began
    pytest.fail(f"signs of life for {longest_s} s after it hung")


@pytest.mark.reliability
@pytest.mark.parametrize("how", ["engine", "process"])
def test_watchdog(
    make_artifact: Callable[..., Path], tmp_path: Path, full: bool, count: Count, how: str
) -> None:
    require("onnxruntime")
    require_gateway()
    config = tmp_path / "gateway.toml"
    pictures = write_pictures(tmp_path / "pictures")
    text = CONFIG.format(artifact=make_artifact(TinyNetwork()), pictures=pictures)
    config.write_text(text, encoding="utf-8")
    patience_s = PATIENCE_S if full else 1.0
    with RunningGateway(
        config,
        tmp_path,
        program=PROGRAM,
        watchdog_s=WATCHDOG_S,
        environment={"HEADLIGHT_PATIENCE_S": str(patience_s)},
    ) as gateway:
        gateway.wait_ready()
        assert gateway.listen(2 * WATCHDOG_S, "WATCHDOG=1")
        if how == "engine":
            (tmp_path / "hang").touch()
        else:
            gateway.send(signal.SIGSTOP)
        last_s = silence_s(gateway, patience_s + 60)
        told = [message for message in gateway.heard if message.startswith("STATUS=ailing")]
        gateway.send(signal.SIGCONT)
        ended_s: float | None = None
        if full:  # waits for threads that will not come back
            began = time.monotonic()
            gateway.end()
            ended_s = round(time.monotonic() - began, 1)
    count(
        "R12 watchdog",
        hang=how,
        patience_s=patience_s,
        last_sign_after_s=round(last_s, 1),
        ended_after_sigterm_s=ended_s,
    )
    if how == "engine":
        assert last_s <= patience_s + WATCHDOG_S + 1
        assert told
    else:
        assert last_s <= WATCHDOG_S
    assert ended_s is None or ended_s < 20  # TimeoutStopSec of the unit
