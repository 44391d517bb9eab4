"""R6: files that were damaged: all are refused unseen; past that check, none ends the process.

A fast run takes 40 mutants of every file, a full one 500.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from runtime import HeadlightError, Reader
from runtime.manifest import MANIFEST_FILE
from runtime.session import SessionOptions
from runtime.trial import trial_load
from tests.reliability.conftest import Count
from tests.reliability.mutants import load_mutants, mutate, write_mutant

pytestmark = pytest.mark.reliability


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("untouched_engines")
def test_a_damaged_file_is_refused_before_an_engine_sees_it(
    valid_artifact: Path, tmp_path: Path, count: Count, full: bool
) -> None:
    mutants = 500 if full else 40
    for name in file_names(valid_artifact):
        refused = 0
        for seed in range(mutants):
            mutant = write_mutant(valid_artifact, tmp_path / "mutant", name, seed, listed=False)
            with pytest.raises(HeadlightError):
                Reader.open(mutant)
            refused += 1
        count(
            f"R6 {valid_artifact.name} {name}",
            mutants=mutants,
            refused_before_an_engine_saw_them=refused,
        )
        assert refused == mutants


@pytest.mark.timeout(1800)
def test_a_damaged_file_that_is_listed_ends_no_process(
    valid_artifact: Path, tmp_path: Path, count: Count, full: bool
) -> None:
    mutants = 500 if full else 40
    for name in file_names(valid_artifact):
        if name == MANIFEST_FILE:
            continue
        ends = load_mutants(valid_artifact, tmp_path, name, mutants)
        count(f"R6 {valid_artifact.name} {name}, listed", mutants=mutants, **Counter(ends))
        assert set(ends) <= {"refused", "ran", "crashed", "hung"}
        # Those that end a process, and a few others, again as a caller would meet them.
        fatal = [seed for seed, end in enumerate(ends) if end in ("crashed", "hung")]
        for seed in [*fatal[:20], 0]:
            mutant = write_mutant(valid_artifact, tmp_path / "mutant", name, seed, listed=True)
            if ends[seed] == "ran":
                Reader.open(mutant, trial=True).close()
                continue
            with pytest.raises(HeadlightError):
                trial_load(mutant, SessionOptions(), timeout_s=60)


def test_mutants_differ_from_their_source_and_repeat() -> None:
    data = bytes(range(256))
    assert all(mutate(data, seed) != data for seed in range(200))
    assert [mutate(data, seed) for seed in range(50)] == [mutate(data, seed) for seed in range(50)]
