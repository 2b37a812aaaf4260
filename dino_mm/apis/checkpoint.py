"""Loads checkpoints of any layout; see :mod:`dino_mm.checkpoint`."""

from dino_mm.checkpoint import (
    CheckpointError,
    DINOCheckpoint,
    LoadReport,
    load_backbone,
    load_into,
    load_state,
)

__all__ = [
    'CheckpointError',
    'DINOCheckpoint',
    'LoadReport',
    'load_backbone',
    'load_into',
    'load_state',
]
