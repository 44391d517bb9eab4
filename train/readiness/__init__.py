"""Will NVIDIA's TensorRT read an ONNX graph as it is meant; needs no TensorRT and no GPU.

``findings`` names the rules and the versions, ``support`` what each version has; ``scopes`` tells
tensors of one name apart, ``sound`` refuses what is no graph and ``inference`` finds types;
``view`` finds the ways through a graph; ``operators``, ``quantisers`` and ``placement`` hold the
rules; ``check_readiness`` runs them all.
"""

from .findings import TARGETS, Finding, Target
from .rules import check_readiness, require_ready

__all__ = ["TARGETS", "Finding", "Target", "check_readiness", "require_ready"]
