"""One key in configs of every scope."""

import importlib.util
import subprocess
import sys
import uuid

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from dino_mm.checkpoint import CheckpointError

from .conftest import ARCH, tokens

TYPE = 'dino_mm.VisionTransformer'


@pytest.fixture
def checkpoint(vit, tmp_path) -> str:
    state = {f'teacher.backbone.{key}': value for key, value in vit.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'run.pth')
    return str(tmp_path / 'run.pth')


def config(checkpoint: str, **changes) -> dict:
    init_cfg = dict(type='dino_mm.DINOCheckpoint', checkpoint=checkpoint)
    return dict(type=TYPE, arch=ARCH, img_size=32, patch_size=8, init_cfg=init_cfg) | changes


@pytest.mark.parametrize('scope', ['dino_mm', 'mmpretrain', 'mmseg', 'mmengine'])
def test_every_scope(scope, checkpoint, vit, image):
    with DefaultScope.overwrite_default_scope(scope):
        backbone = MODELS.build(config(checkpoint))
        assert not torch.equal(backbone.pos_embed, vit.pos_embed)
        backbone.init_weights()
    assert torch.equal(tokens(backbone.eval(), image), tokens(vit, image))


def test_bare_name_in_our_own_configs(checkpoint, vit):
    with DefaultScope.overwrite_default_scope('dino_mm'):
        backbone = MODELS.build(
            config(checkpoint, init_cfg=dict(type='DINOCheckpoint', checkpoint=checkpoint))
        )
        backbone.init_weights()
    assert torch.equal(backbone.pos_embed, vit.pos_embed)


def test_mmdet_scope(checkpoint):
    if importlib.util.find_spec('mmdet') is None:
        pytest.skip('mmdetection is not installed')
    # in a process of its own: without compiled operators mmdet needs stand-ins, which stay
    code = f"""
import torch
import dino_mm.ops
from mmengine.registry import MODELS, DefaultScope
with DefaultScope.overwrite_default_scope('mmdet'):
    backbone = MODELS.build({config(checkpoint)})
    backbone.init_weights()
state = torch.load({checkpoint!r}, weights_only=True)['state_dict']
assert torch.equal(backbone.pos_embed, state['teacher.backbone.pos_embed'])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_parts_with_an_initialization_of_their_own_keep_what_was_loaded(checkpoint, vit, image):
    backbone = MODELS.build(
        config(
            checkpoint,
            type='mmpretrain.VisionTransformer',
            arch=dict(ARCH, feedforward_channels=512),
            out_type='raw',
        )
    )
    backbone.init_weights()
    backbone.eval()
    with torch.no_grad():
        assert torch.allclose(backbone(image)[0], tokens(vit, image), atol=1e-5)


def test_pretraining_goes_on_from_a_checkpoint(checkpoint, vit, toy_model):
    toy_model['backbone'] = config(checkpoint)
    toy_model['head']['in_dim'] = ARCH['embed_dims']
    model = MODELS.build(dict(toy_model, type='dino_mm.DINO', _scope_='dino_mm'))
    model.init_weights()
    assert torch.equal(model.student.backbone.pos_embed, vit.pos_embed)
    assert torch.equal(model.teacher.backbone.pos_embed, vit.pos_embed)


def test_other_input_channels(checkpoint, vit):
    gray = config(checkpoint, in_channels=1)
    with pytest.raises(CheckpointError, match='Pass adapt_channels=True'):
        MODELS.build(gray).init_weights()
    gray['init_cfg']['adapt_channels'] = True
    backbone = MODELS.build(gray)
    backbone.init_weights()
    expected = vit.patch_embed.proj.weight.sum(dim=1, keepdim=True)
    assert torch.allclose(backbone.patch_embed.proj.weight, expected)


def test_a_checkpoint_that_does_not_fit_is_an_error(checkpoint, tmp_path):
    name = uuid.uuid4().hex
    torch.save(dict(other=torch.ones(2)), tmp_path / f'{name}.pth')
    with pytest.raises(CheckpointError, match=name):
        MODELS.build(config(str(tmp_path / f'{name}.pth'))).init_weights()
    deeper = config(checkpoint, arch=dict(ARCH, num_layers=3))
    with pytest.raises(CheckpointError, match='left as they were'):
        MODELS.build(deeper).init_weights()
    deeper['init_cfg']['strict'] = False
    MODELS.build(deeper).init_weights()
