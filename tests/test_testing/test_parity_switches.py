"""The published trajectories with every switch that is to change speed and memory only."""

import numpy as np
import pytest

from dino_mm.models import VisionTransformer
from dino_mm.testing import parity
from dino_mm.testing import parity_trajectory as trajectory
from dino_mm.testing.benchmark import step

from ..conftest import DATA

VIT = str(DATA / 'trajectory_vit.npz')
BATCH_NORM = str(DATA / 'trajectory_vit_bn_free_last_layer.npz')
SILENT = dict(checkpoint=None, logger=None)

#: Beside those that the benchmark turns on and off.
SWITCHES = {
    'loss_image_by_image': dict(loss=dict(chunk_size=1)),
    'logits_in_small_chunks': dict(model=dict(logit_chunk=3)),
    'one_block_recomputed': dict(backbone=dict(activation_checkpointing=1)),
    'scalars_deferred': dict(
        default_hooks=SILENT | dict(runtime_info=dict(type='DeferredRuntimeInfoHook'))
    ),
    **step.CHANGES,
    'compiled': dict(
        default_hooks=SILENT | dict(compile=dict(type='CompileHook', backend='aot_eager'))
    ),
}
#: What rounds to fewer digits is compared below; the recordings are in float32 anyway.
ROUGH = ('float32', 'bfloat16_teacher')


@pytest.mark.parametrize('switch', [name for name in SWITCHES if name not in ROUGH])
def test_equal_numbers(switch: str, monkeypatch) -> None:
    options = dict(SWITCHES[switch])
    if not options.pop('packed', True):
        monkeypatch.setattr(VisionTransformer, 'packs_crops', False)
    worst = trajectory.check_trajectory(VIT, **options)
    assert parity.beyond_tolerance(worst) == [], parity.format_table(worst)


def test_all_of_them_with_batch_norm_and_a_learned_scale() -> None:
    worst = trajectory.check_trajectory(
        BATCH_NORM,
        model=dict(logit_chunk=1),
        backbone=dict(attention='sdpa', activation_checkpointing=1),
        optimizer=dict(fused=True),
        default_hooks=SILENT | dict(runtime_info=dict(type='DeferredRuntimeInfoHook')),
    )
    assert parity.beyond_tolerance(worst) == [], parity.format_table(worst)


@pytest.mark.parametrize(
    'change',
    [
        dict(optim_wrapper=dict(dtype='bfloat16')),
        dict(optim_wrapper=dict(dtype='bfloat16'), model=dict(logit_chunk=2)),
        dict(optim_wrapper=dict(dtype='bfloat16'), model=dict(teacher_dtype='bfloat16')),
    ],
)
def test_bfloat16(change: dict) -> None:
    """Logits are cosines: rounded to 8 bits they are off by up to 2 ** -9, which the temperatures
    of teacher (0.04) and student (0.1) turn into 0.068 nats. Centers average such logits, and
    weights that drifted add about as much again."""
    # A bfloat16 teacher rounds up or down by chance.
    change = dict(randomness=dict(seed=3)) | change
    recording = trajectory.Recording(VIT)
    record = trajectory.trajectory_hook(trajectory.run_trajectory(recording, **change)).record
    bound = 2**-9 * (1 / recording.config['teacher_temp'] + 1 / 0.1)
    np.testing.assert_allclose(record['loss'], recording['record/loss'], rtol=0, atol=bound)
    np.testing.assert_allclose(record['center'], recording['record/center'], rtol=0, atol=2**-8)
    for ours, theirs in (('lr', 'lr'), ('weight_decay', 'wd'), ('momentum', 'momentum')):
        np.testing.assert_allclose(record[ours], recording[f'record/{theirs}'], rtol=1e-8)
