"""Checkpoints in: any layout, safely, with a report."""

from .files import CheckpointError, read_checkpoint
from .init_cfg import DINOCheckpoint
from .loader import LoadReport, load_backbone, load_into, load_state

__all__ = [
    'CheckpointError',
    'DINOCheckpoint',
    'LoadReport',
    'load_backbone',
    'load_into',
    'load_state',
    'read_checkpoint',
]
