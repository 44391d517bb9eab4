from __future__ import annotations

from pathlib import Path

from benchmarks.device.rails import Rails, find_rails, whole_device

from .trees import ORIN, XEON, plant


def test_rails_of_a_jetson(tmp_path: Path) -> None:
    found = find_rails(plant(tmp_path, ORIN))
    assert isinstance(found, Rails)
    # mV x mA; neither unused channels nor sums of shunt voltages are rails.
    assert found.read() == {"VDD_IN": 5.016, "VDD_CPU_GPU_CV": 2.0}


def test_a_rail_that_vanishes_is_left_out(tmp_path: Path) -> None:
    found = find_rails(plant(tmp_path, ORIN))
    assert isinstance(found, Rails)
    (tmp_path / "sys/class/hwmon/hwmon2/curr1_input").unlink()
    assert found.read() == {"VDD_CPU_GPU_CV": 2.0}


def test_why_there_are_no_rails(tmp_path: Path) -> None:
    assert find_rails(tmp_path) == "no INA3221 sensor"
    assert find_rails(plant(tmp_path, XEON)) == "no INA3221 sensor"
    label = {key: text for key, text in ORIN.items() if "_input" not in key}
    assert find_rails(plant(tmp_path, label)) == "the INA3221 sensors cannot be read"


def test_the_input_rail_is_the_whole_module() -> None:
    assert whole_device(["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]) == ["VDD_IN"]  # Orin Nano, NX
    assert whole_device(["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"]) == ["POM_5V_IN"]  # Nano


def test_without_an_input_rail_all_count_once() -> None:
    xavier = ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]
    assert whole_device(xavier) == xavier
    orin = ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "NC", "VDDQ_VDD2_1V8AO"]
    assert whole_device(orin) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert whole_device([]) == []
