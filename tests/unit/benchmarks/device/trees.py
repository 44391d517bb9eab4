"""Folders that look like ``/sys`` and ``/proc`` of some devices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["ORIN", "RAPL", "XEON", "plant"]

ORIN: Final[Mapping[str, str]] = {
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1510400",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "729600",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1510400",
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000",
    "sys/class/devfreq/15340000.vic/cur_freq": "115200000",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "52968",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
    "sys/class/thermal/thermal_zone1/temp": "-256000",
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": "3",
    "sys/class/thermal/cooling_device1/type": "cpu-throttle-alert",
    "sys/class/thermal/cooling_device1/cur_state": "0",
    "sys/class/hwmon/hwmon1/name": "soctherm_oc",
    "sys/class/hwmon/hwmon1/oc1_event_cnt": "0",
    "sys/class/hwmon/hwmon1/oc3_event_cnt": "2",
    "sys/class/hwmon/hwmon2/name": "ina3221",
    "sys/class/hwmon/hwmon2/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon2/in1_input": "5016",
    "sys/class/hwmon/hwmon2/curr1_input": "1000",
    "sys/class/hwmon/hwmon2/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon2/in2_input": "5000",
    "sys/class/hwmon/hwmon2/curr2_input": "400",
    "sys/class/hwmon/hwmon2/in3_label": "NC",
    "sys/class/hwmon/hwmon2/in4_label": "sum of shunt voltages",
    "proc/loadavg": "0.50 0.40 0.30 1/200 999",
    "proc/stat": "cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 1 2 3",
    "proc/vmstat": "pgpgin 5\npswpin 12\npswpout 3",
    "proc/meminfo": "MemTotal: 8000 kB\nMemAvailable:    1000 kB",
}
"""A Jetson Orin Nano, with the names that its kernel gives."""
XEON: Final[Mapping[str, str]] = {
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2600000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "2600000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2600000",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "4",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "9",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "1",
    "sys/class/hwmon/hwmon0/name": "coretemp",
    "sys/class/hwmon/hwmon0/temp1_input": "61000",
    "sys/class/hwmon/hwmon0/temp1_label": "Package id 0",
    "sys/class/thermal/cooling_device0/type": "intel_powerclamp",
    "sys/class/thermal/cooling_device0/cur_state": "-1",
    "sys/class/thermal/cooling_device1/type": "TCC Offset",
    "sys/class/thermal/cooling_device1/cur_state": "10",
}
RAPL: Final[Mapping[str, str]] = {
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": "900000",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "1000000",
    "sys/class/powercap/intel-rapl:0:0/name": "core",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "100000",
    "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": "1000000",
    "sys/class/powercap/intel-rapl:0:1/name": "dram",
    "sys/class/powercap/intel-rapl:0:1/energy_uj": "200000",
    "sys/class/powercap/intel-rapl:0:1/max_energy_range_uj": "1000000",
    "sys/class/powercap/intel-rapl:1/name": "psys",
    "sys/class/powercap/intel-rapl:1/energy_uj": "5",
}


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below ``root``; return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root
