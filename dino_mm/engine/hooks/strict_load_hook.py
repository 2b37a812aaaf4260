"""Refuses checkpoints that do not fit."""

from mmengine.hooks import Hook

from dino_mm.registry import HOOKS
from dino_mm.utils.wrappers import unwrap


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Compares keys and shapes before ``load_from`` or ``--resume`` takes a checkpoint over.

    MMEngine would load what fits and leave the rest at random.

    Raises:
        ValueError: Something is missing, left over or of another shape.
    """

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        theirs = checkpoint.get('state_dict', checkpoint)
        ours = unwrap(runner.model).state_dict()
        theirs = {key.removeprefix('module.'): value for key, value in theirs.items()}
        shapes = [
            f'{key} {tuple(theirs[key].shape)}, here {tuple(value.shape)}'
            for key, value in ours.items()
            if key in theirs and theirs[key].shape != value.shape
        ]
        problems = {
            'missing': sorted(ours.keys() - theirs.keys()),
            'left over': sorted(theirs.keys() - ours.keys()),
            'other shape': shapes,
        }
        if not any(problems.values()):
            return
        parts = [
            f'{len(names)} {kind} ({", ".join(names[:3])}{", ..." if len(names) > 3 else ""})'
            for kind, names in problems.items()
            if names
        ]
        raise ValueError(
            f'checkpoint {runner._load_from or "to resume from"} does not fit this config: '
            f'{"; ".join(parts)}. Use the config it was trained with; for a bare backbone set '
            "model.backbone.init_cfg=dict(type='DINOCheckpoint', checkpoint=FILE)"
        )
