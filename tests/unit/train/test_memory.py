"""Freed memory stays with the process while it trains, and no longer."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

# A process of its own: what other tests have freed would serve here as well. The step with the
# fewest faults counts: a small object that lands in the freed block moves the next block elsewhere.
_CHILD = """
import json, resource, torch
from pathlib import Path
from train.memory import kept_memory

def faults_of_a_step():
    counts = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(48 << 20, dtype=torch.uint8).fill_(1)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(counts)

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

usual = faults_of_a_step()
with kept_memory():
    kept = faults_of_a_step()
    held = resident_pages()
print(json.dumps([usual, kept, held - resident_pages()]))
"""


def test_a_block_that_was_freed_is_there_for_the_next_step() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], check=True, cwd=root, capture_output=True, text=True
    )
    usual, kept, handed_back = json.loads(done.stdout)
    assert kept < usual / 20
    assert handed_back > 0.9 * usual
