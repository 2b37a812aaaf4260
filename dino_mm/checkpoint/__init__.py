"""Reads checkpoints of any layout safely, and reports what was loaded."""

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
