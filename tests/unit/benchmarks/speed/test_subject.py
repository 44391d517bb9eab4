from __future__ import annotations

import numpy as np

from benchmarks.speed.subject import describe_crops


def test_given_crops_are_told_by_their_pixels_and_an_artifacts_own_by_their_size() -> None:
    dark, light, large = (
        np.full((size, 20, 3), grey, np.uint8) for size, grey in ((8, 0), (8, 9), (9, 0))
    )
    given = [describe_crops(crops, own=False) for crops in ([dark], [light], [large], [dark])]
    assert given[0] == given[3]
    assert given[0] not in given[1:3]
    own = [describe_crops(crops, own=True) for crops in ([dark], [light, dark], [large])]
    assert own[0] == own[1] != own[2]
    assert own[0] not in given
