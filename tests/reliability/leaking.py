"""Reloads and reads for as long as told, and prints the process' memory after each reload.

``python -m tests.reliability.leaking RELOADS IMAGES KEEP FIRST SECOND``: with artifacts FIRST and
SECOND in turn; KEEP is how many bytes to leak on purpose with every reload.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from pathlib import Path

import numpy as np

from runtime import QueueOptions, Reader


def memory_kib() -> tuple[int, int]:
    """Return this process' proportional set size, all of it and its anonymous part."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    found = dict(re.findall(r"^(Pss|Pss_Anon):\s+(\d+) kB", text, re.MULTILINE))
    return int(found["Pss"]), int(found["Pss_Anon"])


def main(reloads: int, images: int, keep: int, *folders: str) -> None:
    random = np.random.default_rng(0)
    crops = [random.integers(0, 256, (20 + 4 * i, 60, 3), np.uint8) for i in range(8)]
    # Made before, so that the measurement does not grow itself.
    leaked, kib = [b""] * reloads, np.zeros((reloads, 2), int)
    queue = QueueOptions(capacity=16, lanes=2)
    with Reader.open(folders[0], max_batch=2, queue=queue, keep_scores=True) as reader:
        track = reader.track()
        for turn in range(reloads):
            reader.reload(folders[(turn + 1) % len(folders)], trial=False, minimum_version=0)
            track = reader.track()
            for start in range(0, images // reloads, len(crops)):
                if start % 3 == 0:
                    results = reader.read_many(crops)
                else:
                    results = [f.result(60) for f in [reader.submit(crop) for crop in crops]]
                track.add(results[0])  # type: ignore[arg-type]
            if keep:
                leaked[turn] = random.bytes(keep)
            gc.collect()
            kib[turn] = memory_kib()
        answered = reader.stats().answered
    print(json.dumps({"kib": kib.tolist(), "answered": answered}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *sys.argv[4:])
