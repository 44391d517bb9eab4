"""Progress bars."""

from __future__ import annotations

import sys

import pytest

from train.progress import progress


def test_no_bar_where_nobody_watches(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress("training", 3) as bar:
        bar(1, "loss 1")
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("training", 3, 1) as bar:
        bar(2, "loss 0.5")
    told = capfd.readouterr()
    assert told.out == ""
    assert "training" in told.err
