"""Speed and size of every candidate, before anything is trained.

Each network is cut untrained, by the scales that it has now, quantised on a few crops, exported by
the real exporters with open gates, and timed. A training moves the choice of channels a little and
with it speed and size, so a limit counts as out of reach only beyond a margin.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.budget import Limit, judge
from benchmarks.labelled import LIST_FILE
from benchmarks.report import to_json
from compress.quantize.calibration import MINIMUM
from compress.quantize.decisions import Decisions
from compress.slim.pruning import ChannelChooser, PruningGoal, prune
from compress.slim.selection import Limits
from runtime.arrays import Images
from runtime.errors import ConfigError, HeadlightError
from runtime.scores import OperatingPoint
from runtime.staging import new_folder, write_text
from train.checkpoint import QUANTISED_FILE, Checkpoint, load_checkpoint, save_checkpoint
from train.network import Network, NetworkConfig, build
from train.progress import progress

from .config import SearchConfig
from .exports import OPEN_GATE, Exports
from .measuring import (
    Reference,
    facts_from_object,
    facts_to_object,
    fastest,
    quick_speed,
)
from .ranking import Record, hardware_limits, shortfall
from .space import Candidate, NetworkChoice, narrowed

__all__ = ["MARGIN", "known_records", "leave_out", "screen"]

MARGIN: Final = 0.1
"""A limit missed by less than this share may still be kept by the trained network."""
SCREENING_FILE: Final = "screening.json"


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all candidates are made from."""

    config: SearchConfig
    source: Checkpoint
    exports: Exports
    images: Tensor
    """A few validation crops (N, H, W, 3) uint8."""
    folder: Path
    """Of all that is made here; gone afterwards."""

    @property
    def crops(self) -> Path:
        """The few crops that calibration and gates run on."""
        return self.folder / "crops"

    def cut(self, network: NetworkChoice) -> Path:
        """Return the untrained checkpoint of a network, made if it is not there.

        Raises:
            ConfigError: its target is out of reach.
        """
        output = self.folder / network.name
        if network == NetworkChoice(1.0, 0.0):
            return self.source.folder
        if output.exists():
            return output
        if not network.target:
            settings = narrowed(self.source.network, network.width)
            torch.manual_seed(self.config.seed)
            fresh = build(self.source.schema, self.source.input, settings).eval()
            return self._write(output, fresh, settings)
        student = load_checkpoint(self.cut(network.student))
        whole = student.build()
        # By scales: scores that take measurements choose other channels, not other speeds.
        goal = PruningGoal(share=network.target, score="normalised", limits=Limits())
        chooser = ChannelChooser.of(whole, student, goal, curves=lambda *_: {})
        smaller = prune(whole, student, chooser.groups, chooser.choose(whole), [self.images])
        return self._write(output, smaller, student.network, slimmed=True)

    def artifact(self, candidate: Candidate) -> Path:
        """Return the untrained artifact of a candidate.

        Raises:
            HeadlightError: it cannot be made.
        """
        checkpoint = self.cut(candidate.network)
        output = self.folder / candidate.name
        if candidate.precision == "int8":
            checkpoint = self._quantised(checkpoint)
        self.exports.export(
            candidate.engine, checkpoint, output, validation=(self.crops,), options=OPEN_GATE
        )
        return output

    def _quantised(self, checkpoint: Path) -> Path:
        output = checkpoint.with_name(f"{checkpoint.name}-int8")
        if not output.exists():
            made = load_checkpoint(checkpoint)
            network, images = made.build(), self.images.numpy()
            decisions = Decisions.measure(network, made.schema, made.input, images)
            graph = decisions.graph(decisions.names).SerializeToString()
            slimmed = made.channels is not None
            self._write(output, network, made.network, slimmed=slimmed, graph=graph)
        return output

    def _write(
        self,
        output: Path,
        network: Network,
        settings: NetworkConfig,
        *,
        slimmed: bool = False,
        graph: bytes = b"",
    ) -> Path:
        save_checkpoint(
            output,
            network,
            schema=self.source.schema,
            spec=self.source.input,
            config=settings,
            slimmed=slimmed,
            operating=OperatingPoint(),
            metrics={},
            lineage={},
            extra_files={QUANTISED_FILE: graph} if graph else None,
        )
        return output


def known_records(config: SearchConfig) -> list[Record]:
    """Return what a screening of these candidates has found before, for a worker.

    Raises:
        ConfigError: they were not screened.
    """
    known = _read(config)
    missing = [candidate.name for candidate in config.candidates if candidate.name not in known]
    if missing:
        raise ConfigError(
            f"{config.run} has no speeds of {missing[:3]}: start the search itself first, then "
            "its workers, with the same options"
        )
    return [_record(candidate, known[candidate.name]) for candidate in config.candidates]


def _read(config: SearchConfig) -> dict[str, Any]:
    path = config.run / SCREENING_FILE
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def screen(
    config: SearchConfig, source: Checkpoint, reference: Reference, exports: Exports
) -> list[Record]:
    """Return a record with speed and size of every candidate; measured ones are kept in a file.

    Raises:
        HeadlightError: not a single candidate can be made.
    """
    known = _read(config)
    waiting = [each for each in config.candidates if each.name not in known]
    if waiting:
        folder = config.run / "screening"
        # What was cut short by an interruption is made anew: it takes seconds.
        shutil.rmtree(folder, ignore_errors=True)
        bench = _open(config, source, reference, exports, folder)
        with reference.timed() as query:
            reference_ms, _ = fastest(query)
        done_before = len(config.candidates) - len(waiting)
        with progress("screening", len(config.candidates), done_before) as bar:
            for done, candidate in enumerate(waiting, done_before):
                bar(done, candidate.name)
                known[candidate.name] = _measured(bench, candidate, reference_ms)
                write_text(config.run / SCREENING_FILE, to_json(known))
        shutil.rmtree(folder)
    records = known_records(config)
    if all(record.failure for record in records):
        raise HeadlightError(f"no candidate can be made; the first says: {records[0].failure}")
    return records


def _open(
    config: SearchConfig, source: Checkpoint, reference: Reference, exports: Exports, folder: Path
) -> _Bench:
    # Spread over the list: calibration wants more than one class, and lists may be sorted.
    index = np.linspace(0, len(reference.crops) - 1, MINIMUM).astype(np.int64)
    images = reference.crops.images_at(index)
    bench = _Bench(config, source, exports, torch.from_numpy(images), folder)
    _write_crops(bench.crops, images, [reference.crops.texts[int(row)] for row in index])
    return bench


def _measured(bench: _Bench, candidate: Candidate, reference_ms: float) -> Mapping[str, Any]:
    try:
        facts = quick_speed(bench.artifact(candidate), reference_ms, bench.config.engine_threads)
    except HeadlightError as error:
        return {"failure": str(error)}
    return {"facts": facts_to_object(facts)}


def _record(candidate: Candidate, found: Mapping[str, Any]) -> Record:
    if "failure" in found:
        return Record(candidate=candidate, failure=found["failure"])
    return Record(candidate=candidate, speed=facts_from_object(found["facts"]))


def leave_out(records: Sequence[Record], limits: Sequence[Limit]) -> list[Record]:
    """Return the candidates that may keep the limits, and note in the others which they miss."""
    for record in records:
        missed = {
            verdict.limit: missing
            for verdict in judge(record.speed, hardware_limits(limits))
            if verdict.measured is not None
            and not verdict.measured.noisy
            and not (missing := shortfall(verdict.limit, verdict.measured.value)) <= MARGIN
        }
        if missed and not record.failure:
            worst = max(missed, key=missed.__getitem__)
            record.failure = f"misses {worst} by {missed[worst]:.0%} before any training"
    return [record for record in records if not record.failure]


def _write_crops(folder: Path, images: Images, texts: Sequence[str]) -> None:
    """Write a labelled list of its own, for what reads lists."""
    with new_folder(folder) as staged:
        lines = []
        for number, (image, text) in enumerate(zip(images, texts, strict=True)):
            cv2.imwrite(str(staged / f"{number}.png"), image)
            lines.append(f"{number}.png\t{text}\n")
        write_text(staged / LIST_FILE, "".join(lines))
