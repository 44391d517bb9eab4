from __future__ import annotations

from pathlib import Path

import pytest

from compress.search.exports import CommandError, Exports


def test_an_exporter_that_refuses_says_why_and_its_log_stays(tmp_path: Path) -> None:
    output = tmp_path / "made" / "artifact"
    with Exports() as exports:
        for _ in range(2):  # its process outlives a failure
            with pytest.raises(CommandError, match=r"checkpoint\.json cannot be read") as caught:
                exports.export("onnx", tmp_path / "none", output, validation=[tmp_path / "list"])
    log = tmp_path / "made" / "artifact.log"
    assert str(log) in str(caught.value)
    assert "error: " in log.read_text(encoding="utf-8")
    assert not output.exists()
