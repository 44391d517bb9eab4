"""The plans of our own studies: every command in them is one that its program takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError
from tests.engines import require
from train.study_plan import fill, read_plan

STUDIES = sorted((Path(__file__).parents[2] / "docs" / "studies").rglob("*.toml"))


def main_of(module: str) -> Callable[[Sequence[str]], int]:
    found = importlib.import_module(module)
    if not hasattr(found, "main"):
        found = importlib.import_module(f"{module}.cli")
    main: Callable[[Sequence[str]], int] = found.main
    return main


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_command_is_understood(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require("tyro")
    import tyro

    understand = tyro.cli

    def understood(*arguments: Any, **options: Any) -> None:
        understand(*arguments, **options)
        raise ConfigError("understood")

    monkeypatch.setattr(tyro, "cli", understood)
    plan = read_plan(path)
    known = {"output": tmp_path, "data": tmp_path}
    commands = [[fill(word, known) for word in words] for words in plan.prepare]
    runs = plan.runs(tmp_path, tmp_path, [0])
    commands += [[run.module, *run.arguments] for run in runs]
    for module, *arguments in commands:
        code = main_of(module)(arguments)
        assert code == 1, (module, arguments, capsys.readouterr())
        assert "understood" in capsys.readouterr().err
