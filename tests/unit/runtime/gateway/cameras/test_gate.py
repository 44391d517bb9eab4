from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.gateway.cameras.gate import DamageGate, GapCounter
from runtime.gateway.cameras.source import Arrival
from runtime.gateway.cameras.status import CameraStatus, Tally
from tests.unit.runtime.gateway.cameras.scripted import ScriptedPicture


def passed(
    arrivals: Iterable[Arrival], *, hold: bool = True, gaps: bool = True
) -> tuple[list[int], CameraStatus]:
    """Return the values of the pictures that passed, and what was counted."""
    tally = Tally("gate", "rtsp://cam", quiet_s=0)
    gate = DamageGate(tally, hold=hold, gaps=gaps)
    gate.restart()
    values = [
        picture.value
        for arrival in arrivals
        for picture in gate.usable(arrival)
        if isinstance(picture, ScriptedPicture)
    ]
    return values, tally.read()


def stream(text: str) -> list[Arrival]:
    """Return one arrival per letter, numbered from 0.

    K keyframe, p another picture, x a flagged one, X a flagged keyframe, ! a decoding error,
    - lost packets, space a missing time stamp.
    """
    arrivals = []
    for number, letter in enumerate(text):
        picture = ScriptedPicture(
            number, key=letter in "KX", corrupt=letter in "xX", time_s=number / 25
        )
        if letter in "KpxX":
            arrivals.append(Arrival([picture]))
        elif letter != " ":
            arrivals.append(Arrival(decode_errors=letter == "!", losses=letter == "-"))
    return arrivals


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Kppp", [0, 1, 2, 3]),
        ("ppKp", [2, 3]),
        ("KpxpKp", [0, 1, 4, 5]),
        ("KpXpKp", [0, 1, 4, 5]),
        ("Kp!pKp", [0, 1, 4, 5]),
        ("Kp-pKp", [0, 1, 4, 5]),
        ("Kp pKp", [0, 1, 4, 5]),
        ("Kp KpKp", [0, 1, 3, 4, 5, 6]),
        ("KpxKp", [0, 1, 3, 4]),
        ("xxxx", []),
    ],
)
def test_nothing_between_damage_and_the_next_keyframe(text: str, wanted: list[int]) -> None:
    assert passed(stream(text))[0] == wanted


def test_everything_is_counted() -> None:
    _, status = passed(stream("KpxpX!-  pKp"))
    # 2, 4 flagged; 3, 9 kept back; the gap before 9 is one, so are the lost packets and the two
    # pictures' worth of time that the error took.
    assert (status.corrupt, status.decode_errors, status.withheld) == (2, 1, 2)
    assert status.gaps == 2


def test_without_holding_only_flagged_ones_stay() -> None:
    assert passed(stream("ppxp!p-p p"), hold=False)[0] == [0, 1, 3, 5, 7, 9]


def test_gaps_may_be_ignored() -> None:
    values, status = passed(stream("Kp ppp"), gaps=False)
    assert values == [0, 1, 3, 4, 5]
    assert status.gaps == 0


def test_a_keyframe_that_came_with_an_error_is_not_trusted() -> None:
    arrival = Arrival([ScriptedPicture(1)], decode_errors=1)
    assert passed([Arrival([ScriptedPicture(0)]), arrival])[0] == [0]


def reordered(*steps: tuple[int, str] | str) -> list[int]:
    """Return the values that pass, of pictures shown in another order than they are sent.

    Each step is a place and one of K, P, B (waits for the next) and x, or ``! PLACE``: an error in
    the piece with that place, or ``- PLACE``: a loss.
    """
    arrivals = []
    for step in steps:
        if isinstance(step, str):
            sign, place = step.split()
            error = Arrival(decode_errors=sign == "!", losses=sign == "-", time_s=int(place) / 25)
            arrivals.append(error)
        else:
            value, kind = step
            picture = ScriptedPicture(
                value, key=kind == "K", waits=kind == "B", corrupt=kind == "x", time_s=value / 25
            )
            arrivals.append(Arrival([picture]))
    return passed(arrivals)[0]


def test_pictures_wait_for_the_one_they_are_built_on() -> None:
    assert reordered((0, "K"), (1, "B"), (2, "B"), (3, "P"), (4, "B")) == [0, 1, 2, 3]
    assert reordered((0, "K"), (1, "B"), (2, "B"), (3, "x"), (4, "K")) == [0, 4]
    # 3 is missing: 1 and 2 were built on it.
    assert reordered((0, "K"), (1, "B"), (2, "B"), (4, "B"), (6, "K")) == [0, 6]


def test_but_not_for_ever() -> None:
    shown = reordered((0, "K"), *[(n, "B") for n in range(1, 40)])
    assert shown == list(range(24))


def test_a_keyframe_from_before_an_error_ends_nothing() -> None:
    # 7 fails while 5, sent before it, is still in the decoder.
    assert reordered((4, "K"), "! 7", (5, "K"), (6, "P"), (8, "K"), (9, "P")) == [4, 8, 9]


def test_after_a_loss_the_piece_that_comes_next_is_not_trusted_either() -> None:
    def pieces(*kinds: str) -> list[int]:
        """Each piece gives its picture: K, P, with - where packets are missing, or is lost: x."""
        return passed(
            Arrival(
                [ScriptedPicture(place, key="K" in kind, time_s=place / 25)],
                losses="-" in kind,
                time_s=place / 25,
            )
            for place, kind in enumerate(kinds)
            if kind != "x"
        )[0]

    assert pieces("K", "P", "P-", "K", "P", "K") == [0, 1, 5]
    assert pieces("K", "P", "P-", "x", "K", "P", "K") == [0, 1, 6]


def test_a_stream_without_keyframes_is_trusted_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("runtime.gateway.cameras.gate.monotonic", lambda: now[0])
    gate = DamageGate(Tally("gate", "rtsp://cam", quiet_s=0), hold=True, gaps=True)
    gate.restart()
    picture = Arrival([ScriptedPicture(key=False)])
    assert list(gate.usable(picture)) == []
    now[0] += 10
    assert list(gate.usable(Arrival(decode_errors=1))) == []
    now[0] += 14
    assert not gate.trust(15.0)
    now[0] += 1
    assert gate.trust(15.0)
    assert len(list(gate.usable(picture))) == 1


@given(st.text("KpxX!-", max_size=60))
def test_no_damaged_or_orphaned_picture_ever_passes(text: str) -> None:
    values, status = passed(stream(text))
    for value in values:
        since = text[: value + 1].rindex("K")
        assert set(text[since : value + 1]) <= {"K", "p"}
    total = sum(letter in "KpxX" for letter in text)
    assert len(values) + status.corrupt + status.withheld == total


@given(st.floats(1, 60), st.lists(st.integers(1, 4), min_size=1, max_size=40))
def test_gaps_are_missing_time_stamps(fps: float, steps: list[int]) -> None:
    counter, time_s = GapCounter(), 0.0
    for _ in range(16):  # so that the rate is known
        counter.add(time_s)
        time_s += 1 / fps
    counter.add(time_s)
    for step in [*steps, 1]:
        # With many gaps their interval would become the usual one.
        for _ in range(16):
            time_s += 1 / fps
            assert not counter.add(time_s)
        time_s += step / fps
        assert counter.add(time_s) == (step > 1)


def test_a_new_connection_is_no_gap_but_keeps_the_rate() -> None:
    counter = GapCounter()
    assert not any(counter.add(n / 25) for n in range(10))
    counter.restart()
    assert not counter.add(100.0)
    assert counter.add(100.08)


def test_going_back_is_a_gap_and_no_time_is_none() -> None:
    counter = GapCounter()
    assert [counter.add(t) for t in (0.0, 0.04, None, 0.08, 0.04)] == [False] * 4 + [True]


def test_a_rate_that_changes_is_one_gap_until_it_is_usual() -> None:
    counter = GapCounter()
    times = [n / 25 for n in range(20)] + [19 / 25 + n / 10 for n in range(1, 30)]
    found = [counter.add(time) for time in times]
    assert not any(found[:20])
    assert 1 <= sum(found) <= 8
    assert not any(found[-20:])
