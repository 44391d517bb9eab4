"""The search itself: screen, explore, confirm, conclude."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from benchmarks.budget import Limit
from benchmarks.budget_file import read_budget, read_load
from benchmarks.command import say
from benchmarks.environment import device
from benchmarks.figures import check_matplotlib
from benchmarks.report import to_json
from benchmarks.speed import Loads
from runtime.errors import ConfigError
from runtime.staging import check_free, write_text
from train.checkpoint import Checkpoint, load_checkpoint
from train.data import CropSet, load_crops
from train.lineage import plain
from train.threads import use_threads

from .chain import FULL, PROXY, Chain
from .config import SearchConfig
from .confirming import Confirmer
from .exploring import Explorer
from .exports import Exports
from .measuring import (
    Reference,
    check_limits,
    check_measurable,
    measure,
    measure_accuracy,
    race,
)
from .ranking import Record
from .reporting import Found, conclude, write_result
from .screening import known_records, leave_out, screen
from .space import narrowed
from .trials import Trials

__all__ = ["search"]

IDENTITY_FILE: Final = "search.json"
_MAY_CHANGE: Final = frozenset(
    {
        *("budget", "output", "widths", "targets", "precisions", "engines", "prefer", "trials"),
        *("confirm", "timeout_minutes", "duration", "worker", "storage", "threads", "cache_mb"),
        *("overwrite", "checkpoint"),
    }
)
"""Options under which what was trained before stays what it is."""


def search(config: SearchConfig) -> Found | None:
    """Search as ``config`` says and write the output folder; None for a worker.

    Raises:
        HeadlightError: bad options, budget or data, or a run of other settings.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    source = _open(config)
    limits = read_budget(config.budget, device())
    if not config.worker:  # which measures accuracies alone
        check_measurable(limits, config.engines)
    crops = load_crops(config.validation, source.schema, source.input, skip_bad=config.skip_bad)
    _check_run(config, source, crops)
    reference = Reference.of(source, crops)
    check_limits(limits, reference)
    with Exports() as exports:
        short, full = (Chain(config, source, effort, exports) for effort in (PROXY, FULL))
        if config.worker:
            records = known_records(config)
        else:
            records = screen(config, source, reference, exports)
        left = leave_out(records, limits)
        say(f"{len(left)} of {len(records)} candidates may keep the budget on this machine")
        trials = Trials(config.run, config.storage, config.candidates, config.seed)
        accuracy = partial(measure_accuracy, reference=reference, threads=config.engine_threads)
        Explorer(short, accuracy, limits, left, trials).explore()
        if config.worker:
            return None
        _confirmer(full, reference, limits, left).confirm()
        found = conclude(full, reference, records, limits)
        write_result(full, reference, records, limits, found)
    return found


def _confirmer(
    chain: Chain, reference: Reference, limits: Sequence[Limit], records: Sequence[Record]
) -> Confirmer:
    config = chain.config
    threads = config.engine_threads
    return Confirmer(
        maker=chain,
        measure=partial(
            measure,
            reference=reference,
            limits=limits,
            loads=Loads.of(read_load(config.budget)),
            threads=threads,
            duration_s=config.duration,
        ),
        race=partial(race, reference=reference, threads=threads),
        limits=limits,
        records=records,
    )


def _open(config: SearchConfig) -> Checkpoint:
    """Check, before any work, all that can be checked, and set torch's threads."""
    check_matplotlib()
    if not config.worker:
        check_free(config.output, overwrite=config.overwrite)
    source = load_checkpoint(config.checkpoint)
    if source.quantised:
        raise ConfigError(
            f"{config.checkpoint} is quantised; search from the float checkpoint that it came from"
        )
    for width in config.widths:
        narrowed(source.network, width)
    use_threads(config.threads)
    return source


def _check_run(config: SearchConfig, source: Checkpoint, validation: CropSet) -> None:
    """Fail when the run's folder holds trials that this search would have trained otherwise.

    Raises:
        ConfigError: it does.
        DataError: training or calibration crops cannot be read.
    """
    settings = {name: value for name, value in plain(config).items() if name not in _MAY_CHANGE}
    digests = _digests(config, source, validation)
    # Through JSON, as what is read from the file was.
    identity = json.loads(to_json({"checkpoint": source.digest, "crops": digests, **settings}))
    path = config.run / IDENTITY_FILE
    config.run.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_text(path, to_json(identity))
        return
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "crops" not in known:
        raise ConfigError(
            f"{config.run} holds trials of an earlier version, which did not note by which crops "
            "they were made; delete the folder to start anew, or choose another --output"
        )
    crops = _differing(known.pop("crops"), identity.pop("crops"))
    other = [*_differing(known, identity), *(f"the crops of --{name}" for name in crops)]
    if other:
        raise ConfigError(
            f"{config.run} holds trials of other settings ({', '.join(other)}); give the same "
            "ones, delete the folder to start anew, or choose another --output"
        )


def _digests(config: SearchConfig, source: Checkpoint, validation: CropSet) -> dict[str, str]:
    """Return the digests of all crops by option: what lies at a path may change."""
    read = partial(
        load_crops, schema=source.schema, spec=source.input, skip_bad=config.skip_bad, cache_mb=0
    )
    found = {"data": read(config.data).digest, "validation": validation.digest}
    if config.calibration:  # without INT8 none is needed
        found["calibration"] = read(config.calibration).digest
    return found


def _differing(known: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*known, *now} if known.get(name) != now.get(name))
