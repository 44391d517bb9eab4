"""Following channels through a network: which layers put a channel out, and which read it.

The network runs once on a blank crop. Every value carries a label that says which channel it came
from: a convolution puts out fresh labels; operations that move values (split, concatenation,
reshaping) are done to the labels as well; operations on pairs of values (an addition) tie the
labels that meet. So any network that runs can be followed, its code need not be readable. What an
operation of another kind touches is *pinned*: those channels stay whole.

torch-pruning (1.6) does this from autograd's graph, but takes an operation that it does not know
for an elementwise one, and does not tie the inputs of a grouped convolution to its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["Labels", "Trace", "trace_channels"]

Labels = npt.NDArray[np.int64]
"""One label per channel; -1 where a value comes from no channel."""

_POINTWISE: Final = frozenset({"hardswish", "_to_copy"})
"""Those that torch itself does not tag as such."""
_BATCH_NORMS: Final = frozenset(
    {"native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training"}
)
_MOVES: Final = frozenset(
    {
        *("view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "unsqueeze"),
        *("squeeze", "slice", "select", "split", "split_with_sizes", "unbind", "cat", "stack"),
        *("flip", "roll", "index_select", "alias", "detach", "lift_fresh"),
    }
)
_PER_CHANNEL: Final = frozenset(
    {
        *("max_pool2d_with_indices", "avg_pool2d", "adaptive_max_pool2d", "constant_pad_nd"),
        *("_adaptive_avg_pool2d", "reflection_pad2d", "replication_pad2d"),
        *("upsample_nearest2d", "upsample_bilinear2d"),
    }
)
_REDUCTIONS: Final = frozenset({"mean", "sum", "amax", "amin"})


@dataclass(frozen=True, slots=True)
class Trace:
    """Where every label was seen; labels that are tied are the same number."""

    outputs: Mapping[str, Labels]
    """Convolution or linear layer to the labels that it puts out."""
    norms: Mapping[str, Labels]
    """BatchNorm to the labels that it normalises."""
    inputs: Mapping[str, Labels]
    """Convolution or linear layer to the labels that it reads."""
    whole_groups: Mapping[str, int]
    """Grouped convolution whose groups leave as a whole, to the inputs of each group."""
    features: Labels
    """Labels of the feature map's channels."""
    pinned: Mapping[int, str]
    """Labels that have to stay, to the reason."""


def trace_channels(network: nn.Module, forward: Callable[[Tensor], Tensor], image: Tensor) -> Trace:
    """Follow all channels of ``network`` through ``forward``.

    Args:
        network: In evaluation mode. Only ``nn.Conv2d``, ``nn.BatchNorm2d`` and ``nn.Linear``
            themselves can lose channels: a subclass may do more than its parent.
        forward: Image to feature map (1, C, h, w) or (1, C), through ``network``.
        image: One crop.
    """
    follower = _Follower(network)
    with torch.no_grad(), follower:
        features = forward(image)
    return follower.finish(features)


@dataclass(slots=True)
class _Ties:
    """Labels, which of them are tied, and which have to stay."""

    count: int = 0
    pairs: list[Tensor] = field(default_factory=list)
    """Each (2, n); a partner of -1 pins."""
    reasons: dict[int, str] = field(default_factory=dict)

    def fresh(self, number: int) -> Tensor:
        self.count += number
        return torch.arange(self.count - number, self.count)

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Tie labels of the same shape, one by one."""
        codes = (first.flatten() + 1) * (self.count + 1) + second.flatten() + 1
        codes = torch.from_numpy(np.unique(codes.numpy()))
        self.pairs.append(torch.stack([codes // (self.count + 1), codes % (self.count + 1)]) - 1)

    def pin(self, labels: Tensor, reason: str) -> None:
        self.reasons.update(dict.fromkeys(np.unique(labels[labels >= 0].numpy()).tolist(), reason))

    def resolve(self) -> tuple[Labels, dict[int, str]]:
        """Return label to the smallest label that it is tied to, and the pinned ones of those."""
        parent = list(range(self.count))

        def root(label: int) -> int:
            while parent[label] != label:
                parent[label] = label = parent[parent[label]]
            return label

        for first, second in torch.cat([torch.empty((2, 0)).long(), *self.pairs], 1).T.tolist():
            if min(first, second) < 0:
                self.reasons.setdefault(max(first, second), "it is joined with values of no layer")
                continue
            low, high = sorted((root(first), root(second)))
            parent[high] = low
        self.reasons.pop(-1, None)
        pinned = {root(label): reason for label, reason in self.reasons.items()}
        return np.array([root(label) for label in range(self.count)], np.int64), pinned


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries labels along while a network runs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._layers: dict[int, str] = {}
        self._owners: dict[int, str] = {}
        for name, layer in network.named_modules():
            for parameter in layer.parameters(recurse=False):
                self._owners[id(parameter)] = f"{name} ({type(layer).__name__})"
            if type(layer) in (nn.Conv2d, nn.Linear):
                self._layers[id(layer.weight)] = name
            elif type(layer) is nn.BatchNorm2d and layer.running_mean is not None:
                self._layers[id(layer.running_mean)] = name
        self._ties = _Ties()
        self._labels: dict[int, Tensor] = {}
        self._alive: list[Any] = []  # an id is one's own only while one lives
        self._seen: dict[str, dict[str, Tensor]] = {"outputs": {}, "norms": {}, "inputs": {}}
        self._whole_groups: dict[str, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and label what it returns."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self._alive.append(result)
        self._follow(func, args, kwargs, result)
        return result

    def finish(self, features: Tensor) -> Trace:
        """Return what was seen, with ties resolved."""
        kept = self._channels(features)
        roots, pinned = self._ties.resolve()

        def resolved(labels: Tensor) -> Labels:
            found = labels.numpy()
            return np.where(found < 0, -1, roots[found]) if len(roots) else found

        seen = {
            role: {name: resolved(labels) for name, labels in layers.items()}
            for role, layers in self._seen.items()
        }
        return Trace(
            **seen, whole_groups=self._whole_groups, features=resolved(kept), pinned=pinned
        )

    # ---- rules --------------------------------------------------------------------------------

    def _follow(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        name = func.overloadpacket.__name__.rstrip("_")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "t" and id(args[0]) in self._layers:  # how linear layers read their weights
            self._layers[id(result)] = self._layers[id(args[0])]
        elif name == "convolution" and id(args[1]) in self._layers and not args[6]:
            self._convolution(self._layers[id(args[1])], args, result)
        elif name in _BATCH_NORMS and id(args[3]) in self._layers:
            labels = self._channels(args[0])
            self._note("norms", self._layers[id(args[3])], labels)
            self._label(result[0], _spread(labels, result[0]))
        elif name in ("addmm", "mm") and id(args[-1]) in self._layers:
            self._linear(self._layers[id(args[-1])], args[-2], result)
        elif not any(id(tensor) in self._labels for tensor in tensors):
            return
        elif torch.Tag.pointwise in func.tags or name in _POINTWISE:
            self._pointwise(tensors, result)
        elif name in _MOVES:
            moved = func(*tree_map(self._of, args), **kwargs)
            for tensor, labels in zip(tree_leaves(result), tree_leaves(moved), strict=True):
                self._label(tensor, labels)
        elif name in _PER_CHANNEL:
            output = tree_leaves(result)[0]
            self._label(output, _spread(self._channels(args[0]), output))
        elif name in _REDUCTIONS:
            self._label(result, self._reduced(args[0], [*args[1:2]], result))
        else:
            owners = [self._owners[id(t)] for t in tensors if id(t) in self._owners]
            what = " of ".join([str(func), *owners[:1]])
            for tensor in tensors:
                self._ties.pin(self._of(tensor), f"{what} cannot be followed")

    def _convolution(self, name: str, args: tuple[Any, ...], result: Tensor) -> None:
        groups, inputs = args[8], self._channels(args[0])
        rows = inputs.view(groups, -1)
        outputs = result.shape[1] // groups
        if 1 < groups >= rows.shape[1]:
            # Many small groups, depthwise ones above all: a group leaves with all its channels.
            self._ties.tie(rows[:, :1].expand_as(rows), rows)
            labels = rows[:, 0].repeat_interleave(outputs)
            self._whole_groups[name] = rows.shape[1]
        else:
            # One, or few large ones: all lose as many channels, those of the same place.
            self._ties.tie(rows[:1].expand_as(rows), rows)
            labels = self._ties.fresh(outputs).repeat(groups)
        self._note("inputs", name, inputs)
        self._note("outputs", name, labels)
        self._label(result, _spread(labels, result))

    def _linear(self, name: str, inputs: Tensor, result: Tensor) -> None:
        self._note("inputs", name, self._merged(self._of(inputs), [0])[0])
        labels = self._ties.fresh(result.shape[1])
        self._note("outputs", name, labels)
        self._label(result, labels.expand(result.shape))

    def _pointwise(self, tensors: Sequence[Tensor], result: Tensor) -> None:
        known = [tensor for tensor in tensors if id(tensor) in self._labels]
        first = max(known, key=Tensor.numel)
        labels = self._of(first).expand(result.shape)
        varies = [_varies(labels, dim) for dim in range(result.ndim)]
        for other in tensors:
            if other is first:
                continue
            offset = result.ndim - other.ndim
            spans = [d >= offset and other.shape[d - offset] > 1 for d in range(result.ndim)]
            if id(other) not in self._labels:
                # A single number for all channels is no matter; one for each has to stay.
                if any(a and b for a, b in zip(spans, varies, strict=True)):
                    self._ties.pin(labels, "it is joined with values of no layer")
            elif not any(b and not a for a, b in zip(spans, varies, strict=True)):
                self._ties.tie(labels, self._of(other).expand(result.shape))
        self._label(result, labels)

    def _reduced(self, tensor: Tensor, dims: Sequence[Any], result: Tensor) -> Tensor:
        over = [*range(tensor.ndim)] if not dims or dims[0] is None else dims[0]
        return self._merged(self._of(tensor), [over] if isinstance(over, int) else over).reshape(
            result.shape
        )

    # ---- labels -------------------------------------------------------------------------------

    def _of(self, value: Any) -> Any:
        """Return the labels of a tensor, -1 where it has none; anything else as it is."""
        if not isinstance(value, Tensor):
            return value
        return self._labels.get(id(value), torch.full(value.shape, -1))

    def _label(self, tensor: Tensor, labels: Tensor) -> None:
        self._labels[id(tensor)] = labels.contiguous()

    def _channels(self, tensor: Tensor) -> Tensor:
        """Return one label per channel of (1, C, ...)."""
        labels = self._of(tensor)
        return self._merged(labels, [d for d in range(labels.ndim) if d != 1]).flatten()

    def _merged(self, labels: Tensor, dims: Sequence[int]) -> Tensor:
        """Return the labels that hold all along ``dims``, kept as 1; pin those that do not."""
        if not dims:
            return labels
        low, high = labels.amin([*dims], keepdim=True), labels.amax([*dims], keepdim=True)
        mixed = low != high
        if bool(mixed.any()):
            self._ties.pin(labels[mixed.expand_as(labels)], "its values are mixed with others'")
        return torch.where(mixed, -1, low)

    def _note(self, role: str, name: str, labels: Tensor) -> None:
        # A layer that is used twice ties what it sees.
        earlier = self._seen[role].setdefault(name, labels)
        if earlier is not labels:
            self._ties.tie(earlier, labels)


def _spread(labels: Tensor, over: Tensor) -> Tensor:
    """Return one label per channel as labels of all values of ``over``, (1, C, ...)."""
    return labels.view(1, -1, *[1] * (over.ndim - 2)).expand(over.shape)


def _varies(labels: Tensor, dim: int) -> bool:
    return bool((labels.amin(dim) != labels.amax(dim)).any())
