"""The ``headlight`` command lists every command there is, and no other."""

from __future__ import annotations

from pathlib import Path

from runtime.commands import COMMANDS

ROOT = Path(__file__).parents[3]


def test_every_module_that_runs_is_listed() -> None:
    found = set()
    for package in ("runtime", "benchmarks", "train", "compress", "export"):
        for path in (ROOT / package).rglob("*.py"):
            if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"):
                found.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    named = {name.removesuffix(".__main__") for name in found} - {"runtime.commands"}
    assert named == set(COMMANDS)
