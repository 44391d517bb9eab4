"""R14: what the service may do, judged by systemd itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import runtime.gateway
from tests.reliability.conftest import Count

UNIT = Path(runtime.gateway.__file__).parent / "service" / "headlight-gateway.service"
HIGHEST_EXPOSURE = 2.0
BARE = "[Service]\nExecStart=/bin/true\n"


def exposure(unit: Path) -> float:
    """Return systemd's measure of what a service could do to the machine, 0 to 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    return float(found.group(1))


@pytest.mark.reliability
def test_the_service_may_do_little(tmp_path: Path, count: Count) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    bare = tmp_path / "bare.service"
    bare.write_text(BARE, encoding="ascii")
    ours, others = exposure(UNIT), exposure(bare)
    count("R14 privileges", exposure=ours, bare_unit=others, allowed=HIGHEST_EXPOSURE)
    assert ours <= HIGHEST_EXPOSURE
    assert others > 9  # the measure tells a bare unit from ours


@pytest.mark.reliability
def test_the_unit_is_valid(tmp_path: Path, count: Count) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = UNIT.read_text(encoding="utf-8").replace("/opt/headlight/bin/python", "/bin/true")
    unit = tmp_path / UNIT.name
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if UNIT.stem in line]
    count("R14 unit", complaints=len(complaints))
    assert not complaints
