"""What our speed is held against is the published algorithm indeed."""

import numpy as np
import pytest
import torch

from dino_mm.testing.benchmark.plain_model import PlainDINO, PlainHead, PlainNetwork, PlainViT
from dino_mm.testing.parity_trajectory import TOLERANCES, Recording

from ...conftest import DATA


def network(config: dict) -> PlainNetwork:
    backbone = PlainViT(
        config['embed_dim'],
        config['depth'],
        config['num_heads'],
        config['patch_size'],
        config['global_size'],
        drop_path=0.0,
    )
    head = PlainHead(
        config['embed_dim'], config['hidden_dim'], config['bottleneck_dim'], config['out_dim']
    )
    return PlainNetwork(backbone, head)


def test_it_repeats_the_published_trajectory() -> None:
    recording = Recording(str(DATA / 'trajectory_vit.npz'))
    config = recording.config
    student, teacher = network(config), network(config)
    student.load_state_dict(recording.part('init'))
    plain = PlainDINO(student, teacher, config['out_dim'], config['clip_grad'])
    for iteration, loss in enumerate(recording['record/loss']):
        names = dict(lr='lr', weight_decay='wd', momentum='momentum', teacher_temp='teacher_temp')
        scheduled = {k: float(recording[f'record/{v}'][iteration]) for k, v in names.items()}
        frozen = iteration // config['iters_per_epoch'] < config['freeze_last_layer']
        found = plain.step(recording.crops(iteration), **scheduled, freeze_last_layer=frozen)
        assert found == pytest.approx(float(loss), rel=TOLERANCES['loss'][0])
        np.testing.assert_allclose(
            plain.center, recording['record/center'][iteration], atol=TOLERANCES['center'][0]
        )
    for name, value in recording.part('final_teacher').items():
        if not name.endswith('attn.qkv.bias'):  # keys' biases have no gradient but rounding
            found = teacher.state_dict()[name]
            torch.testing.assert_close(found, value, rtol=0, atol=TOLERANCES['weights'][0])
