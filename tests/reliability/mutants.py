"""Damaged copies of artifacts, and a child process that loads many of them.

``load_mutants`` starts a process that loads one damaged artifact after another as ``Reader.open``
does, with a manifest rewritten to fit, so that nothing but the engine stands in the way. Where the
process dies it notes the mutant and starts again behind it: 500 mutants in a minute, not in an
hour as with a process each.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime import HeadlightError, Reader
from runtime.manifest import MANIFEST_FILE, FileRecord, Manifest
from runtime.trial import MEMORY_BYTES, limit_process

__all__ = ["load_mutants", "mutate", "write_mutant"]

_HUNG_S = 60.0


def mutate(data: bytes, seed: int) -> bytes:
    """Return ``data`` with one damage: a bit, some bytes, a piece lost, doubled, moved or added."""
    random = np.random.default_rng(seed)
    place = int(random.integers(0, len(data)))
    size = int(random.integers(1, 1 + min(64, len(data))))
    piece = data[place : place + size]
    noise = random.bytes(size)
    damaged = (
        data[:place] + bytes([data[place] ^ 1 << int(random.integers(8))]) + data[place + 1 :],
        data[:place] + noise[:1] + data[place + 1 :],
        data[:place] + noise + data[place + size :],
        data[:place] + data[place + size :],
        data[:place] + noise + data[place:],
        data[:place] + piece + data[place:],
        data[:place],
        data[:place] + bytes(len(piece)) + data[place + size :],
        data[:place] + b"\xff" * len(piece) + data[place + size :],
        data + noise,
    )[seed % 10]
    return damaged if damaged != data else data + b"\0"


def write_mutant(source: Path, target: Path, name: str, seed: int, *, listed: bool) -> Path:
    """Copy an artifact with its file ``name`` damaged.

    Args:
        source: The artifact.
        target: The folder to make; replaced if it exists.
        name: Which file.
        seed: Of the damage.
        listed: Write a manifest that fits the damage.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    path = target / name
    path.write_bytes(mutate(path.read_bytes(), seed))
    if listed and name != MANIFEST_FILE:
        manifest = Manifest.load(source)
        files = {**manifest.files, name: FileRecord.of(path)}
        text = replace(manifest, files=files).to_json()
        (target / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return target


def load_mutants(source: Path, scratch: Path, name: str, count: int) -> list[str]:
    """Return how each mutant ended: ``refused``, ``ran``, ``crashed``, ``hung`` or ``other``.

    Args:
        source: The artifact whose file ``name`` is damaged.
        scratch: A folder to work in.
        name: Which file.
        count: Mutants of seeds 0 to ``count`` - 1.
    """
    ends: list[str] = []
    while len(ends) < count:
        ends += _load_until_death(source, scratch, name, len(ends), count)
    return ends


def _load_until_death(
    source: Path, scratch: Path, name: str, first: int, count: int
) -> Iterator[str]:
    words = [
        sys.executable,
        "-m",
        __name__,
        str(source),
        str(scratch),
        name,
        str(first),
        str(count),
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        stream = child.stdout
        assert stream is not None

        def read() -> None:
            for line in stream:
                lines.put(line)
            lines.put("")

        reader = threading.Thread(target=read)
        reader.start()
        done = first
        try:
            while done < count:
                line = lines.get(timeout=_HUNG_S)
                yield json.loads(line) if line else "crashed"
                done += 1
                if not line:
                    break
        except queue.Empty:
            yield "hung"
        finally:
            child.kill()
            reader.join()


def _main(source: Path, scratch: Path, name: str, first: int, count: int) -> None:
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # engines print to stdout
    limit_process(MEMORY_BYTES)
    for seed in range(first, count):
        folder = write_mutant(source, scratch / "mutant", name, seed, listed=True)
        try:
            Reader.open(folder).close()
            end = "ran"
        except HeadlightError:
            end = "refused"
        except Exception as error:  # noqa: BLE001
            end = f"other: {type(error).__name__}: {error}"
        print(json.dumps(end), file=result, flush=True)
    result.flush()
    os._exit(0)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4], *map(int, sys.argv[4:]))
