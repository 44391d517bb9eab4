from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from export.repository.cli import main


def test_writes_and_says_what_is_next(
    make: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    artifacts = [str(make("plates")), str(make("clothes", version=7))]
    assert main([*artifacts, "--for", "triton", "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "plates (version 1), clothes (version 7)" in said
    assert f"--model-repository {output}" in said
    assert {path.name for path in output.iterdir()} == {"plates", "clothes"}


def test_an_existing_output_is_replaced_only_on_demand(
    make: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command = [str(make("plates")), "--for", "triton", "--output", str(output)]
    assert main(command) == 0
    (output / "mark").touch()
    assert main(command) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (output / "mark").exists()
    assert main([*command, "--overwrite"]) == 0
    assert not (output / "mark").exists()


def test_a_failure_leaves_nothing(
    make: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(make("plates")), "--for", "ovms", "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "export.openvino" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"plates"}


@pytest.mark.parametrize("option", ["--max-batch", "--instances", "--threads"])
def test_options_out_of_range(make: Callable[..., Path], tmp_path: Path, option: str) -> None:
    command = [str(make("plates")), "--for", "triton", "--output", str(tmp_path / "out")]
    assert main([*command, option, "0"]) in (1, 2)
    assert not (tmp_path / "out").exists()
