"""Several results as one: the models, the data and the devices that they are about.

A model is known by its id, which holds the digest of its engine, so the same file on two devices is
one model. A device is known by what does not change between runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runtime.manifest import Manifest

from .reading import ACCURACY, LATENCY, Result

__all__ = ["DataSet", "Device", "Joined", "Model", "join"]

_ORIGIN: Final = re.compile(r"(?P<source>.*), (?P<samples>\d+) samples, sha256 (?P<digest>\w+)")


@dataclass(slots=True)
class Device:
    """A machine and what was measured on it."""

    name: str
    facts: Mapping[str, Any]
    """Architecture, processor, cores: what ``benchmarks.environment.device`` returns."""
    results: list[Result] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DataSet:
    """Labelled crops that models were judged on."""

    name: str
    """Short: folder, file and how many."""
    origin: str
    """As the result has it, with the digest."""

    def holds(self, result: Result) -> bool:
        """Whether a result is on these crops."""
        return _digest(self.origin) == _digest(_origin(result)) != ""


@dataclass(slots=True, kw_only=True)
class Model:
    """An artifact or a bare model, and all that is known of it."""

    name: str
    id: str
    about: Mapping[str, Any]
    """What ``benchmarks.scoring.model_facts`` returned; empty from older results."""
    accuracy: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of the data to the entry of ``benchmarks.accuracy``."""
    latency: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of the device to the entry of ``benchmarks.latency``."""
    names: set[str] = field(default_factory=set)
    """What the results call it."""
    manifest: Manifest | None = None
    """Where the artifact itself is at hand."""

    @property
    def engine_mb(self) -> float | None:
        """Size of graph and weights, 10^6 bytes; None where nobody measured."""
        sizes = [entry["engine_mb"] for entry in self.latency.values() if "engine_mb" in entry]
        return float(sizes[0]) if sizes else None


@dataclass(slots=True)
class Joined:
    """All results."""

    results: Sequence[Result]
    devices: list[Device] = field(default_factory=list)
    data: list[DataSet] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)

    def of(self, command: str) -> Sequence[Result]:
        """Return the results of one command."""
        return [result for result in self.results if result.command == command]

    def reference_on(self, data: DataSet) -> str:
        """Return the name of the model that others were compared with on ``data``."""
        found = [result.reference for result in self.of(ACCURACY) if data.holds(result)]
        names = {name: model.name for model in self.models for name in model.names}
        return names.get(found[-1], "") if found else ""

    def device_of(self, result: Result) -> Device | None:
        """Return the device of a result; None where it does not say."""
        return next((device for device in self.devices if result in device.results), None)


def join(results: Sequence[Result], manifests: Mapping[Path, Manifest]) -> Joined:
    """Join results.

    Args:
        results: In order; of two that measured the same, the later one counts.
        manifests: Artifacts that are at hand, by their folders.
    """
    joined = Joined(results)
    for result in results:
        device = _device(joined, result)
        data = _data(joined, result)
        if result.command not in (ACCURACY, LATENCY):
            continue
        seen: list[Model] = []
        for name, entry in result.artifacts.items():
            model = _model(joined, name, entry, seen)
            seen.append(model)
            if result.command == ACCURACY and data is not None:
                model.accuracy[data.name] = entry
            elif result.command == LATENCY and device is not None:
                model.latency[device.name] = entry
    for folder, manifest in manifests.items():
        found = _model(joined, folder.resolve().name, {"id": manifest.id}, [])
        found.manifest = manifest
    _name_apart(joined.models)
    return joined


def _device(joined: Joined, result: Result) -> Device | None:
    facts = result.device
    if not facts:
        return None
    for device in joined.devices:
        if device.facts == facts:
            device.results.append(result)
            return device
    name = _device_name(facts)
    same = sum(device.name.partition(" #")[0] == name for device in joined.devices)
    device = Device(f"{name} #{same + 1}" if same else name, facts, [result])
    joined.devices.append(device)
    return device


def _device_name(facts: Mapping[str, Any]) -> str:
    # A device tree says "vendor,board vendor,soc", the general last.
    chips = str(facts.get("soc") or "").split()
    chip = chips[-1].rpartition(",")[2] if chips else str(facts.get("cpu") or "unknown")
    cores = facts.get("cores")
    return f"{chip}, {cores} core{'s' if cores != 1 else ''}, {facts.get('arch', '?')}"


def _data(joined: Joined, result: Result) -> DataSet | None:
    origin = _origin(result)
    if not origin:
        return None
    for known in joined.data:
        if known.holds(result):
            return known
    parts = _ORIGIN.fullmatch(origin)
    name = origin
    if parts is not None:
        source = "/".join(Path(parts["source"]).parts[-2:])
        name = f"{source} ({parts['samples']} crops)"
    found = DataSet(name, origin)
    joined.data.append(found)
    return found


def _origin(result: Result) -> str:
    told = result.value.get("data")
    return str(told.get("origin", "")) if isinstance(told, dict) else ""


def _digest(origin: str) -> str:
    return origin.rpartition(", sha256 ")[2]


def _model(joined: Joined, name: str, entry: Mapping[str, Any], others: Sequence[Model]) -> Model:
    """Return the model of an entry; it is none of ``others``, which are in the same result."""
    identity = str(entry.get("id") or name)
    same = [known for known in joined.models if known.id == identity and known not in others]
    # Copies of one engine may have been measured under several names; each stays itself.
    for known in sorted(same, key=lambda known: name not in known.names):
        known.names.add(name)
        known.about = known.about or entry.get("about") or {}
        return known
    found = Model(name=name, id=identity, about=entry.get("about") or {}, names={name})
    joined.models.append(found)
    return found


def _name_apart(models: Sequence[Model]) -> None:
    """Give models that share a name the ends of their ids, where the digests are."""
    names = [model.name for model in models]
    for model in models:
        if names.count(model.name) > 1:
            model.name = f"{model.name} ({model.id.rpartition('-')[2]})"
