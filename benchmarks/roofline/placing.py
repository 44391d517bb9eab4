"""Where an engine stands below the roof: what its call needs at least, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import say
from benchmarks.noise import Noise, quietest
from benchmarks.scenarios import Latency, Turns, single_stream
from benchmarks.scoring import load_manifest
from benchmarks.speed import ON_GPU, open_subject
from runtime.errors import ConfigError, EngineError

from .ceilings import Ceilings
from .layers import Layer, read_layers, working_set_bytes

__all__ = ["Placed", "graph_for", "place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One artifact at one batch, below the roof."""

    name: str
    batch: int
    layers: Sequence[Layer]
    call_s: float
    """Median time of a call."""
    noise: Noise
    ceilings: Ceilings

    @property
    def macs(self) -> int:
        """Of a call."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Of a call."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def bytes_per_s(self) -> float:
        """Rate of the level of memory that the working set fits into."""
        return self.ceilings.bandwidth(working_set_bytes(self.layers)).bytes_per_s

    @property
    def arithmetic_s(self) -> float:
        """Least time of a call's arithmetic."""
        return sum(self._arithmetic_s(layer) for layer in self.layers)

    @property
    def memory_s(self) -> float:
        """Least time of a call's bytes."""
        return self.bytes / self.bytes_per_s

    @property
    def share(self) -> float:
        """Least time of a call over its time."""
        return max(self.arithmetic_s, self.memory_s) / self.call_s

    @property
    def share_by_layer(self) -> float:
        """The same with the least time of every layer, one after the other."""
        least = (
            max(self._arithmetic_s(layer), layer.bytes / self.bytes_per_s) for layer in self.layers
        )
        return sum(least) / self.call_s

    def _arithmetic_s(self, layer: Layer) -> float:
        return layer.macs / self.ceilings.macs_per_s(layer.precision)

    def row(self) -> Mapping[str, str]:
        """Return a table row, per sample."""
        bound = "arithmetic" if self.arithmetic_s >= self.memory_s else "memory"
        limit_s = max(self.arithmetic_s, self.memory_s)
        return {
            "artifact": self.name,
            "batch": str(self.batch),
            "MMAC": f"{self.macs / self.batch / 1e6:.1f}",
            "MB moved": f"{self.bytes / self.batch / 1e6:.3f}",
            "MAC/byte": f"{self.macs / self.bytes:.1f}",
            "ms": f"{self.call_s / self.batch * 1e3:.4f}",
            "limit, ms": f"{limit_s / self.batch * 1e3:.4f} ({bound})",
            "GMAC/s": f"{self.macs / self.call_s / 1e9:.1f}",
            "share of limit": f"{self.share:.1%}",
            "layer by layer": f"{self.share_by_layer:.1%}",
            "disturbed": f"{self.noise.other_cores or 0:.2f} cores" if self.noise.noisy else "",
        }

    def to_object(self) -> Mapping[str, Any]:
        """Return everything for a report."""
        return {
            "artifact": self.name,
            "batch": self.batch,
            "macs": self.macs,
            "bytes": self.bytes,
            "working_set_bytes": working_set_bytes(self.layers),
            "memory_level": self.ceilings.bandwidth(working_set_bytes(self.layers)).level,
            "call_s": self.call_s,
            "arithmetic_s": self.arithmetic_s,
            "memory_s": self.memory_s,
            "share": self.share,
            "share_by_layer": self.share_by_layer,
            "layers": [{**asdict(layer), "bytes": layer.bytes} for layer in self.layers],
            **self.noise.to_object(),
        }


def graph_for(folder: Path, others: Sequence[Path]) -> Path:
    """Return the artifact in whose graph the layers of ``folder`` are counted.

    Args:
        folder: The artifact.
        others: Artifacts that may have the same graph in a form that can be read.

    Raises:
        ConfigError: the engine does not run on the CPU, or has no graph.
        EngineError: OpenVINO cannot read the graph, and none of the others is the same.
    """
    manifest = load_manifest(folder)
    if manifest.engine in ON_GPU:
        raise ConfigError(
            f"{folder} runs on a GPU, and these are the limits of the CPU; leave it out"
        )
    try:
        read_layers(folder, manifest, 1)
    except (ConfigError, EngineError):
        own = _origin(folder)
        for other in others:
            if other != folder and own is not None and _origin(other) == own:
                say(f"note: layers of {folder} are counted in {other}, of the same checkpoint")
                return other
        raise
    return folder


def _origin(folder: Path) -> tuple[str, str] | None:
    """Return the checkpoint's digest and the precision of an artifact; None where unknown."""
    manifest = load_manifest(folder)
    exported: Mapping[str, Any] = manifest.lineage.get("export", {})
    digest = exported.get("inputs", {}).get("checkpoint")
    return None if digest is None else (str(digest), manifest.precision)


def place(
    name: str,
    folder: Path,
    ceilings: Ceilings,
    *,
    graph: Path,
    batches: Sequence[int],
    duration_s: float,
    tries: int,
) -> Sequence[Placed]:
    """Measure an artifact at some batches.

    Args:
        name: Of the artifact.
        folder: The artifact.
        ceilings: The limits, with as many threads as the engine is to have.
        graph: The artifact in whose graph its layers are counted.
        batches: Samples of a call.
        duration_s: Least time per batch.
        tries: Measure again, at most this often, while others keep the machine busy.

    Raises:
        EngineError: the engine cannot be loaded, or answered wrongly.
    """
    manifest, found = load_manifest(graph), []
    with open_subject(folder, threads=ceilings.threads, max_batch=max(batches)) as subject:
        for batch in batches:
            turns = Turns(subject.engine(batch))
            stream = partial(single_stream, turns, min_queries=11, min_duration_s=duration_s)
            measured: Latency = quietest(stream, tries=tries)
            found.append(
                Placed(
                    name=name,
                    batch=batch,
                    layers=read_layers(graph, manifest, batch),
                    call_s=(measured.percentile_ms(0.5) or float("nan")) / 1e3,
                    noise=measured.noise,
                    ceilings=ceilings,
                )
            )
    return found
