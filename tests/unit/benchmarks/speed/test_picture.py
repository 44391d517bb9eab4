from __future__ import annotations

import numpy as np

from benchmarks.speed.picture import measure_pictures


def test_all_pictures_are_decoded_in_turn() -> None:
    seen: list[int] = []

    def decoder(number: int) -> object:
        return lambda: seen.append(number) or np.zeros((4, 4, 3), np.uint8)  # type: ignore[func-returns-value]

    found = measure_pictures([decoder(number) for number in range(3)], 0.02)  # type: ignore[misc]
    assert found.decode is not None
    assert seen[:7] == [0, 1, 2, 0, 1, 2, 0]
    assert found.measurements()[0].metric == "latency.picture_ms"
    assert "decode picture p50, ms" in found.rows()


def test_without_files_nothing_is_told_but_why() -> None:
    found = measure_pictures([], 1.0)
    assert found.measurements() == []
    assert found.rows() == {}
    assert found.to_object()["picture_decode"] is None
    assert "--data" in found.to_object()["no_picture_decode"]
