from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.gateway.cameras.libav_log import LibavLog
from tests.engines import require


@pytest.fixture
def av() -> Any:
    require("av")
    import av

    return av


@pytest.fixture
def lines(av: Any) -> Iterator[LibavLog]:
    log = LibavLog(av)
    yield log
    log.close()


def test_lost_packets_are_counted_once(av: Any, lines: LibavLog) -> None:
    assert lines.take_losses() == 0
    av.logging.log(av.logging.WARNING, "rtsp", "max delay reached. need to consume packet\n")
    av.logging.log(av.logging.WARNING, "rtsp", "RTP: missed 3 packets\n")
    av.logging.log(av.logging.WARNING, "rtsp", "RTP: missed 3 packets\n")
    av.logging.log(av.logging.ERROR, "h264", "error while decoding MB 3 7\n")
    assert lines.take_losses() == 2
    assert lines.take_losses() == 0


def test_the_last_error_is_kept_until_it_is_asked_for(av: Any, lines: LibavLog) -> None:
    assert lines.last_error() == ""
    av.logging.log(av.logging.ERROR, "tcp", "first\n")
    av.logging.log(av.logging.ERROR, "rtsp", "method DESCRIBE failed:\n  454 " + "x" * 500)
    av.logging.log(av.logging.WARNING, "rtsp", "later\n")
    assert lines.last_error().startswith("method DESCRIBE failed: 454 xxx")
    assert len(lines.last_error()) == 120


def test_nothing_reaches_the_root_logger_or_the_terminal(
    av: Any, lines: LibavLog, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[logging.LogRecord] = []
    # Not caplog, which listens to loggers that do not hand on what they get, too.
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        av.logging.log(av.logging.ERROR, "rtsp", "rtsp://a:geheim@cam failed")
        words = [av.logging.ERROR, "rtsp", "rtsp://a:geheim@cam failed"]
        other = threading.Thread(target=av.logging.log, args=words)
        other.start()
        other.join()
    finally:
        logging.getLogger().removeHandler(handler)
    assert told == []
    assert capfd.readouterr() == ("", "")


def test_after_closing_nothing_more_is_taken_in(av: Any) -> None:
    log = LibavLog(av)
    log.close()
    log.close()
    av.logging.log(av.logging.WARNING, "rtsp", "RTP: missed 3 packets\n")
    assert log.take_losses() == 0


def test_a_level_that_the_process_chose_is_left_alone(
    av: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(av.logging, "get_level", lambda: av.logging.ERROR)
    monkeypatch.setattr(av.logging, "set_level", chosen.append)
    LibavLog(av).close()
    assert chosen == []
