from __future__ import annotations

import threading
import time
from datetime import datetime, timezone

from runtime.gateway.cameras.slot import Offer, Slot
from runtime.gateway.cameras.status import Tally
from tests.unit.runtime.gateway.cameras.scripted import ScriptedPicture


def offer(number: int) -> Offer:
    return Offer(ScriptedPicture(number), number, 0, datetime.now(timezone.utc))


def slot() -> Slot:
    return Slot(Tally("gate", "rtsp://cam", quiet_s=0))


def test_the_newest_is_taken_once() -> None:
    place = slot()
    place.put(offer(1))
    place.put(offer(2))
    taken = place.take(0)
    assert taken is not None
    assert taken.number == 2
    assert place.take(0) is None


def test_taking_waits_for_a_picture() -> None:
    place = slot()
    threading.Timer(0.05, place.put, [offer(3)]).start()
    taken = place.take(5)
    assert taken is not None
    assert taken.number == 3


def test_taking_ends_in_time() -> None:
    began_s = time.monotonic()
    assert slot().take(0.1) is None
    assert 0.1 <= time.monotonic() - began_s < 10


def test_closing_wakes_whoever_waits() -> None:
    place = slot()
    threading.Timer(0.05, place.close, kwargs={"drop": False}).start()
    began_s = time.monotonic()
    assert place.take(30) is None
    assert time.monotonic() - began_s < 15


def test_what_waits_can_be_taken_after_the_end_but_nothing_comes_in() -> None:
    place = slot()
    place.put(offer(1))
    place.close(drop=False)
    place.put(offer(2))
    taken = place.take(0)
    assert taken is not None
    assert taken.number == 1
    assert place.take(5) is None
    place.wait_empty()


def test_unless_it_is_dropped() -> None:
    place = slot()
    place.put(offer(1))
    place.close(drop=True)
    assert place.take(5) is None


def test_waiting_until_it_was_taken() -> None:
    place = slot()
    place.put(offer(1))
    waiter = threading.Thread(target=place.wait_empty)
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    place.take(0)
    waiter.join(5)
    assert not waiter.is_alive()
