"""Freed memory stays with the process while it trains, and no longer."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

# A process of its own: what other tests have freed would serve here as well.
_CHILD = """
import json, resource, torch
from train.memory import kept_memory

def faults_of_a_step():
    counts = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(48 << 20, dtype=torch.uint8).fill_(1)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return counts[-1]

usual = faults_of_a_step()
with kept_memory():
    kept = faults_of_a_step()
print(json.dumps([usual, kept, faults_of_a_step()]))
"""


def test_a_block_that_was_freed_is_there_for_the_next_step() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], check=True, cwd=root, capture_output=True, text=True
    )
    usual, kept, after = json.loads(done.stdout)
    assert kept < usual / 20
    assert after > 10 * kept
