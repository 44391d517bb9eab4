from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import environment as module
from benchmarks.environment import device, environment
from benchmarks.report import to_json


def test_environment_is_json_and_names_what_matters() -> None:
    found = environment()
    assert found["packages"]["numpy"] == np.__version__
    assert found["device"]["cores"] >= 1
    assert found["device"]["arch"]
    to_json(found)


def test_only_telling_flags_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: First\nflags\t: fpu avx512_vnni sse\n\nmodel name\t: Second\n")
    texts = {Path("/proc/cpuinfo"): info.read_text()}
    monkeypatch.setattr(module, "_text", lambda path: texts.get(path, ""))
    found = device()
    assert (found["cpu"], found["flags"], found["soc"]) == ("First", ["avx512_vnni"], "")


def test_unreadable_system_files_leave_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_text", lambda _path: "")
    assert environment()["governor"] is None
    assert device()["flags"] == []
