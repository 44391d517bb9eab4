"""Lines of several versions, as people have posted them from their devices.

- JetPack 4.2, AGX Xavier: martinkersner/gtop, pull request 7
- JetPack 4.x, TX2: FindHao/tx-utils, issue 3
- JetPack 5 or 6, AGX Orin: GDWR/jetson_exporter, issue 14
- JetPack 6, Orin Nano: rbonghi/jetson_stats, issue 624
- JetPack 7.2, AGX Orin: rbonghi/jetson_stats, pull request 894 (which leaves out what follows the
  temperatures; the rails stand as on JetPack 6)
- JetPack 4, Nano: put together from the table in NVIDIA's Jetson Linux guide, appendix
  "tegrastats Utility" (release 32.5); a core that is off, and the rails that only this board has
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.device.energy import Energy
from benchmarks.device.tegrastats import Tegrastats, parse_line

XAVIER = (
    "RAM 14700/15692MB (lfb 3x2MB) SWAP 898/8192MB (cached 23MB) CPU [0%@1190,0%@1190,0%@1190,"
    "0%@1190,0%@1190,0%@1190,0%@1190,0%@1190] EMC_FREQ 0% GR3D_FREQ 0% AO@30C GPU@30.5C Tboard@31C "
    "Tdiode@32C AUX@30.5C CPU@31.5C thermal@30.8C PMIC@100C GPU 463/463 CPU 618/618 SOC 2936/2936 "
    "CV 0/0 VDDRQ 309/309 SYS5V 3306/3306"
)
TX2 = (
    "RAM 2020/7852MB (lfb 1164x4MB) CPU [9%@345,21%@345,25%@345,3%@345,1%@345,1%@345] EMC_FREQ 0% "
    "GR3D_FREQ 0% PLL@42.5C MCPU@42.5C PMIC@100C Tboard@40C GPU@41C BCPU@42.5C thermal@41.9C "
    "Tdiode@41.25C VDD_SYS_GPU 153/158 VDD_SYS_SOC 536/547 VDD_4V0_WIFI 633/527 VDD_IN 3140/3208 "
    "VDD_SYS_CPU 536/590 VDD_SYS_DDR 557/601"
)
AGX_ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,"
    "0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729] "
    "EMC_FREQ 0%@2133 "
    "GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CV0@-256C CPU@44.562C Tboard@32C SOC2@40.093C "
    "Tdiode@33C SOC0@41.093C CV1@-256C GPU@-256C tj@44.343C SOC1@41.25C CV2@-256C VDD_GPU_SOC "
    "2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW VDDQ_VDD2_1V8AO "
    "301mW/301mW NC 0mW/0mW"
)
ORIN_NANO = (
    "05-15-2025 18:30:28 RAM 6982/7620MB (lfb 5x1MB) SWAP 2640/16384MB (cached 202MB) CPU "
    "[97%@1984,"
    "95%@1984,95%@1984,91%@1984,88%@1984,93%@247] EMC_FREQ 18%@3199 GR3D_FREQ 84%@[713] NVENC "
    "1%@115 NVDEC 40%@115 NVJPG off NVJPG1 off VIC 31%@115 OFA off NVDLA0 off PVA0_FREQ "
    "off APE 174 "
    "cv0@63.031C cpu@65.562C soc2@64.156C soc0@63.031C cv1@62.937C gpu@63.5C tj@65.562C "
    "soc1@64.718C "
    "cv2@60.875C VDD_IN 17946mW/15710mW VDD_CPU_GPU_CV 8896mW/7585mW VDD_SOC 3923mW/3515mW"
)
JETPACK_7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 0%@[1300,1300] NVENC0 off NVDEC0 off APE 174 cpu@52.968C/52.968C"
)
NANO = (
    "RAM 1903/3964MB (lfb 11x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU "
    "[25%@1479,off,10%@1479,off] EMC_FREQ 4%@1600 GR3D_FREQ 99%@921 APE 25 PLL@33C CPU@35.5C "
    "PMIC@100C GPU@34C AO@43.5C thermal@34.75C POM_5V_IN 2862/2821 POM_5V_GPU 40/40 POM_5V_CPU "
    "725/684"
)
ALL = {
    "JetPack 4 AGX Xavier": XAVIER,
    "JetPack 4 TX2": TX2,
    "JetPack 4 Nano": NANO,
    "JetPack 6 AGX Orin": AGX_ORIN,
    "JetPack 6 Orin Nano": ORIN_NANO,
    "JetPack 7 AGX Orin": JETPACK_7,
}


@pytest.mark.parametrize(
    ("line", "power"),
    [
        (
            XAVIER,
            {"GPU": 0.463, "CPU": 0.618, "SOC": 2.936, "CV": 0, "VDDRQ": 0.309, "SYS5V": 3.306},
        ),
        (
            TX2,
            {
                "VDD_SYS_GPU": 0.153,
                "VDD_SYS_SOC": 0.536,
                "VDD_4V0_WIFI": 0.633,
                "VDD_IN": 3.14,
                "VDD_SYS_CPU": 0.536,
                "VDD_SYS_DDR": 0.557,
            },
        ),
        (NANO, {"POM_5V_IN": 2.862, "POM_5V_GPU": 0.04, "POM_5V_CPU": 0.725}),
        (
            AGX_ORIN,
            {
                "VDD_GPU_SOC": 2.34,
                "VDD_CPU_CV": 0.39,
                "VIN_SYS_5V0": 4.025,
                "VDDQ_VDD2_1V8AO": 0.301,
            },
        ),
        (ORIN_NANO, {"VDD_IN": 17.946, "VDD_CPU_GPU_CV": 8.896, "VDD_SOC": 3.923}),
        (JETPACK_7, {}),
    ],
    ids=["xavier", "tx2", "nano", "agx orin", "orin nano", "jetpack 7"],
)
def test_rails_of_all_versions(line: str, power: Mapping[str, float]) -> None:
    # The first number is the power just now, the second an average; both in mW.
    assert parse_line(line).power_w == pytest.approx(power)


@pytest.mark.parametrize(
    ("line", "load", "mhz"),
    [
        (XAVIER, 0.0, None),
        (NANO, 0.99, 921),
        (AGX_ORIN, 0.0, 0),
        (ORIN_NANO, 0.84, 713),
        (JETPACK_7, 0.0, 1300),
    ],
)
def test_load_and_clock_of_the_gpu(line: str, load: float, mhz: int | None) -> None:
    found = parse_line(line)
    assert (found.gpu_load, found.gpu_mhz) == (load, mhz)


def test_temperatures() -> None:
    assert parse_line(JETPACK_7).temperatures_c == {"cpu": 52.968}
    assert parse_line(ORIN_NANO).temperatures_c["tj"] == 65.562
    assert set(parse_line(AGX_ORIN).temperatures_c) == {
        "CPU", "Tboard", "SOC2", "Tdiode", "SOC0", "tj", "SOC1"
    }  # parts that are off show -256  # fmt: skip
    assert "PMIC" not in parse_line(XAVIER).temperatures_c  # always 100


def test_cores_that_are_off_have_no_load() -> None:
    found = parse_line(NANO)
    assert found.cpu_load == [0.25, None, 0.10, None]
    assert found.cpu_mhz == [1479, 1479]
    assert (found.ram_mb, found.ram_total_mb, found.swap_mb) == (1903, 3964, 0)
    assert found.memory_load == 0.04


def test_a_line_of_something_else_tells_nothing() -> None:
    found = parse_line("tegrastats: command not found")
    assert found.ram_mb is found.gpu_load is found.memory_load is None
    assert [len(each) for each in (found.power_w, found.temperatures_c, found.cpu_load)] == [
        0,
        0,
        0,
    ]


def _program(folder: Path, line: str) -> Path:
    program = folder / "tegrastats"
    code = f"import time\nwhile True:\n    print({line!r}, flush=True)\n    time.sleep(0.02)\n"
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    return program


def test_the_energy_of_a_running_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path, ORIN_NANO)
    monkeypatch.setenv("PATH", str(tmp_path))
    meter = Tegrastats.find()
    assert meter is not None
    meter.start()
    time.sleep(0.6)
    found = meter.stop()
    assert isinstance(found, Energy)
    assert found.watts == pytest.approx(17.946)
    assert found.source == "tegrastats: VDD_IN"


def test_a_program_that_cannot_run_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Tegrastats.find() is None
    meter = Tegrastats([str(tmp_path / "missing")])
    meter.start()
    assert "cannot be started" in str(meter.stop())


@pytest.mark.parametrize("line", ALL.values(), ids=ALL)
def test_every_version_tells_its_memory(line: str) -> None:
    assert (parse_line(line).ram_mb or 0) > 0
