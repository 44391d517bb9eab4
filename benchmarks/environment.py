"""What a measurement was made on, so that two numbers are compared only if they may be."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from runtime.cores import own_cores

from .device.state import power_mode, read_state

__all__ = ["TELLING_FLAGS", "device", "environment"]

PACKAGES: Final = (
    "headlight",
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "ai-edge-litert",
    "torch",
)
TELLING_FLAGS: Final = frozenset(
    {
        "avx2",
        "avx512f",
        "avx512_bf16",
        "avx512_vnni",
        "avx_vnni",
        "amx_bf16",
        "amx_int8",
        "asimddp",
        "bf16",
        "i8mm",
        "sve",
    }
)
"""CPU features that decide which kernels an engine picks, above all for INT8."""
_CPUFREQ: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_DEVICE_TREE: Final = Path("/proc/device-tree/compatible")


def device() -> Mapping[str, str | int | Sequence[str]]:
    """Return what does not change between runs: architecture, CPU, cores, flags, SoC.

    These are the keys that a budget's ``match`` may name. ``soc`` is empty where there is no
    device tree; ``cpu`` falls back to what the platform module knows.
    """
    info = _text(Path("/proc/cpuinfo"))
    # From the end, so that what all cores repeat is that of the first one.
    lines = [line.partition(":") for line in reversed(info.splitlines())]
    fields = {key.strip(): value.strip() for key, _, value in lines}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return {
        "arch": platform.machine(),
        "cpu": fields.get("model name") or platform.processor() or "unknown",
        "cores": len(own_cores()),
        "flags": sorted(TELLING_FLAGS.intersection(flags)),
        "soc": _text(_DEVICE_TREE).replace("\0", " ").strip(),
    }


def environment() -> Mapping[str, Any]:
    """Return the device, and what may change: its state, system, packages, git commit.

    Everything is JSON; what cannot be read is null.
    """
    return {
        "device": device(),
        "governor": _text(_CPUFREQ).strip() or None,
        "load_average": list(os.getloadavg()),
        "power_mode": power_mode(),
        "state": read_state().to_object(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "git_commit": _git_commit(),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the source that runs, with ``-dirty`` if it was changed; None when installed."""
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return None  # an installed wheel may lie inside some other project's repository
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
