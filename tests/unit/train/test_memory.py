"""Freed memory stays with the process while it trains, and no longer."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from train.memory import kept_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

_PAGES = (48 << 20) // resource.getpagesize()


def faults_of_a_step() -> int:
    """Page faults for a block of 48 MiB that was there, and freed, before."""
    counts = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(_PAGES * resource.getpagesize(), dtype=torch.uint8).fill_(1)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return counts[-1]


def test_a_block_that_was_freed_is_there_for_the_next_step() -> None:
    usual = faults_of_a_step()
    with kept_memory():
        kept = faults_of_a_step()
    after = faults_of_a_step()
    assert kept < _PAGES / 20
    assert min(usual, after) > kept
