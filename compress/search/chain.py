"""How a candidate is made: the commands of this package, one after the other, as by hand.

``distill -> slim -> quantize -> export``, each reading the folder of the one before. What is there
already is not made again, and an interrupted training goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.compare import INT8_FLIPS
from compress.distill.cli import DistillConfig, distill
from compress.quantize.cli import QuantizeConfig, quantize
from compress.quantize.qat import QatConfig
from compress.slim.cli import SlimConfig, slim
from runtime.errors import ParityError
from train.checkpoint import Checkpoint
from train.loop_config import LoopConfig
from train.optim import OptimConfig

from .config import SearchConfig
from .exports import OPEN_GATE, Exports
from .space import Candidate, NetworkChoice, narrowed

__all__ = ["FULL", "PROXY", "Chain", "Effort"]

_VALIDATE_EVERY: Final = 250


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work goes into a network."""

    name: str
    """The folder of all that is made with it."""
    final: bool
    """Whether all steps are trained and all gates must be passed."""


PROXY: Final = Effort("proxies", final=False)
FULL: Final = Effort("full", final=True)


@dataclass(frozen=True, slots=True)
class Chain:
    """Makes candidates with one effort."""

    config: SearchConfig
    source: Checkpoint
    effort: Effort
    exports: Exports
    refused: dict[NetworkChoice, str] = field(default_factory=dict)
    """Networks whose INT8 loses too much, and what it said."""

    def folder(self, network: NetworkChoice) -> Path:
        """Where all that is made of a network lies."""
        return self.config.run / self.effort.name / network.name

    def checkpoint(self, network: NetworkChoice) -> Path:
        """Return the trained float checkpoint of a network, made if it is not there."""
        if network == NetworkChoice(1.0, 0.0):
            return self.source.folder
        output = self.folder(network) / "float"
        if not output.exists():
            with _quietly():
                if network.target:
                    self._slim(network, output)
                else:
                    self._teach(network, output)
        return output

    def quantised(self, network: NetworkChoice) -> Path:
        """Return the INT8 checkpoint of a network, made if it is not there.

        Raises:
            ParityError: INT8 loses more than is allowed.
        """
        if network in self.refused:  # every engine would quantise it anew, to the same end
            raise ParityError(self.refused[network])
        config, output = self.config, self.folder(network) / "int8"
        if not output.exists():
            settings = QuantizeConfig(
                checkpoint=self.checkpoint(network),
                calibration=config.calibration,
                validation=config.validation,
                output=output,
                samples=config.samples,
                max_drop=config.max_drop if self.effort.final else 1.0,
                max_flips=self._max_flips(),
                qat=self._qat(),
                seed=config.seed,
                threads=config.threads,
                skip_bad=config.skip_bad,
            )
            try:
                with _quietly():
                    quantize(settings)
            except ParityError as error:
                self.refused[network] = str(error)
                raise
        return output

    def artifact(self, candidate: Candidate) -> Path:
        """Return the artifact of a candidate, made if it is not there.

        Raises:
            ParityError: INT8 loses more than is allowed.
            CommandError: the exporter refused.
        """
        network, config = candidate.network, self.config
        output = self.folder(network) / candidate.variant
        if not output.exists():
            int8 = candidate.precision == "int8"
            self.exports.export(
                candidate.engine,
                self.quantised(network) if int8 else self.checkpoint(network),
                output,
                validation=config.validation,
                options=[*self._gate(), *(["--skip-bad"] if config.skip_bad else [])],
            )
        return output

    def _qat(self) -> QatConfig:
        config = self.config
        if not (self.effort.final and config.qat_steps):
            return QatConfig()
        return QatConfig(
            steps=config.qat_steps,
            data=config.data,
            repeats=config.repeats,
            batch=config.batch,
            teacher=(self.source.folder,),
            distill=config.distill,
            sampling=config.sampling,
            augment=config.augment,
            mixing=config.mixing,
            loss=config.loss,
            cache_mb=config.cache_mb,
        )

    def _max_flips(self) -> float:
        if not self.effort.final:
            return 1.0
        flips = self.config.max_flips
        return INT8_FLIPS if flips is None else flips

    def _gate(self) -> tuple[str, ...]:
        if not self.effort.final:
            return OPEN_GATE
        flips = self.config.max_flips
        return () if flips is None else ("--gate.max-flips", str(flips))

    def _slim(self, network: NetworkChoice, output: Path) -> None:
        config = self.config
        slim(
            SlimConfig(
                checkpoint=self.checkpoint(network.student),
                data=config.data,
                validation=config.validation,
                output=output,
                repeats=config.repeats,
                target=network.target,
                sparse_steps=self._steps(config.sparse_steps),
                tune_steps=self._steps(config.tune_steps),
                teacher=(self.source.folder,),
                distill=config.distill,
                lr=config.lr,
                batch=config.batch,
                seed=config.seed,
                precision=config.precision,
                sampling=config.sampling,
                augment=config.augment,
                mixing=config.mixing,
                loss=config.loss,
                threads=config.threads,
                cache_mb=config.cache_mb,
                skip_bad=config.skip_bad,
            )
        )

    def _teach(self, network: NetworkChoice, output: Path) -> None:
        """Train a fresh, narrower student."""
        config, source = self.config, self.source
        distill(
            DistillConfig(
                teacher=(source.folder,),
                data=config.data,
                validation=config.validation,
                output=output,
                repeats=config.repeats,
                imgsz=(source.input.height, source.input.width),
                resize=source.input.resize,
                network=narrowed(source.network, network.width),
                loop=self._loop(config.student_steps),
                distill=config.distill,
                threads=config.threads,
                cache_mb=config.cache_mb,
                skip_bad=config.skip_bad,
            )
        )

    def _loop(self, full_steps: int) -> LoopConfig:
        config, steps = self.config, self._steps(full_steps)
        rates = OptimConfig(lr=config.lr, final_lr=config.lr / 100, warmup=min(100, steps // 10))
        return LoopConfig(
            steps=steps,
            batch=config.batch,
            validate_every=_VALIDATE_EVERY,
            seed=config.seed,
            precision=config.precision,
            optim=rates,
            sampling=config.sampling,
            augment=config.augment,
            mixing=config.mixing,
            loss=config.loss,
        )

    def _steps(self, full: int) -> int:
        return full if self.effort.final or not full else max(1, round(full * self.config.proxy))


@contextmanager
def _quietly() -> Iterator[None]:
    """What the steps print as their results is talk here."""
    with redirect_stdout(sys.stderr):
        yield
