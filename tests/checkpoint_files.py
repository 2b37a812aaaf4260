"""Checkpoint files as runs write them, in small."""

from pathlib import Path

import torch


def write_checkpoint(path: Path, iteration: int) -> Path:
    """A checkpoint with some weights, saved after an iteration."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = torch.arange(10_000, dtype=torch.float32)
    torch.save(dict(meta=dict(iter=iteration), state_dict=dict(weights=weights)), path)
    return path
