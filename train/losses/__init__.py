"""Losses per head: plain ones for validation, and those that a training may choose from."""

from .config import AsymmetricConfig, FocalConfig, HarmonyConfig, LossConfig
from .multi_head import MultiHeadLoss, Truth
from .plain import head_losses, total_loss

__all__ = [
    "AsymmetricConfig",
    "FocalConfig",
    "HarmonyConfig",
    "LossConfig",
    "MultiHeadLoss",
    "Truth",
    "head_losses",
    "total_loss",
]
