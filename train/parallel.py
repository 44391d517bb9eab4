"""One training in several processes: ``torchrun --nproc-per-node 2 -m train.fit ...``.

Every process (rank) computes its rows of the same batch; sums over all ranks make losses, BatchNorm
statistics, gradients and GHM's histograms those of the whole batch, so that any number of ranks
trains the same network within rounding. Rank 0 alone validates, writes and talks. All ranks need to
see the same folders: one machine, or a shared file system.

A rank that dies takes the job with it: sums over all ranks then fail at once where they run over
sockets (gloo), torchrun ends the other ranks in any case, and one that hangs is given up after a
time limit. The run's state stays, and the same command goes on from it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from runtime.errors import ConfigError, HeadlightError

__all__ = ["Ranks", "current_ranks", "joined_ranks"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of a training, seen from one of them; every call is made by all of them."""

    rank: int = 0
    """Place of this one."""
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the one that validates, writes and talks."""
        return self.rank == 0

    def rows(self, batch: int) -> tuple[int, int]:
        """Return which rows of a batch are this rank's: the first, and the one after the last."""
        return self.rank * batch // self.count, (self.rank + 1) * batch // self.count

    def add(self, tensor: Tensor) -> Tensor:
        """Sum ``tensor`` over all ranks, in place, and return it.

        Raises:
            HeadlightError: another rank ended or did not answer.
        """
        if self.count > 1:
            self._ask(distributed.all_reduce, tensor)
        return tensor

    def total(self, value: float) -> float:
        """Return the sum of all ranks' values; of flags: how many are set."""
        if self.count == 1:
            return value
        return self.add(torch.tensor(value, dtype=torch.float64, device=_device())).item()

    def add_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over all ranks."""
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if self.count == 1 or not gradients:
            return
        # One sum of 30 MB costs less than 80 small ones.
        whole = self.add(torch.cat([gradient.flatten() for gradient in gradients]))
        sums = torch.split(whole, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, sums, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def share_weights(self, network: nn.Module) -> None:
        """Give every rank the weights and buffers of rank 0: machines may draw others."""
        for value in network.state_dict().values() if self.count > 1 else ():
            given = value.contiguous()
            self._ask(distributed.broadcast, given, 0)
            value.copy_(given)

    def require_agreement(self, what: str, folder: Path) -> None:
        """Fail unless all ranks are about to do the same.

        Raises:
            ConfigError: ``what`` differs between ranks.
        """
        if self.count == 1:
            return
        digest = hashlib.sha256(what.encode()).digest()
        own = torch.tensor(list(digest), dtype=torch.float64, device=_device())
        if not torch.equal(self.add(own.clone()), own * self.count):
            raise ConfigError(
                f"the {self.count} processes see different settings, data, or states in {folder}; "
                "start all with the same command, and on a file system that all of them share"
            )

    def wait(self) -> None:
        """Return once all ranks have come here."""
        self.total(0.0)

    def _ask(self, collective: Callable[..., object], *values: object, **options: object) -> None:
        try:
            collective(*values, **options)
        except RuntimeError as error:  # what torch raises for every trouble with another process
            raise HeadlightError(
                f"process {self.rank} of {self.count}: another process ended or did not answer "
                f"({str(error).splitlines()[0]}); see its own messages, then start the same "
                "command again: it goes on from the last saved state"
            ) from error


def current_ranks() -> Ranks:
    """Return the ranks that ``joined_ranks`` joined, or those of a process alone.

    Raises:
        ConfigError: torchrun started a command that runs in one process only.
    """
    if distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    if _asked_for() > 1:
        raise ConfigError(
            f"torchrun started {_asked_for()} processes of a command that runs in one; start it "
            "with python -m, or use torchrun with train.fit"
        )
    return Ranks()


@contextmanager
def joined_ranks(timeout_s: float) -> Iterator[Ranks]:
    """Join the processes that torchrun started; one alone needs nothing and changes nothing.

    All but rank 0 are silent inside; their errors are not.

    Args:
        timeout_s: How long a process waits for another one, s. Rank 0 lets the others wait while
            it validates.

    Raises:
        ConfigError: more processes on this machine than GPUs, where it has any.
        HeadlightError: the others do not come.
    """
    count = _asked_for()
    if count == 1:
        yield Ranks()
        return
    ranks = Ranks(int(os.environ["RANK"]), count)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        _take_gpu()
    limit = timedelta(seconds=timeout_s)
    ranks._ask(distributed.init_process_group, backend, timeout=limit)
    try:
        with _silence(unless=ranks.main):
            yield ranks
    finally:
        distributed.destroy_process_group()


def _asked_for() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _take_gpu() -> None:
    place, here = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if place >= here:
        raise ConfigError(f"this machine has {here} GPUs; use --nproc-per-node {here} or less")
    torch.cuda.set_device(place)


def _device() -> torch.device:
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


@contextmanager
def _silence(*, unless: bool) -> Iterator[None]:
    if unless:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
