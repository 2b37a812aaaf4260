"""The backbone is found in whatever it is wrapped, and the report says which one was taken."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dino_mm.checkpoint import CheckpointError, load_backbone, load_into, load_state
from dino_mm.checkpoint.layouts import from_mmpretrain_xcit, to_mmpretrain, to_timm
from dino_mm.models import VisionTransformer

from .conftest import randomize
from .test_layouts import HUGGING_FACE, to_hugging_face

NARROW = dict(embed_dims=8, num_layers=2, num_heads=1)
#: Names before the keys end with a dot; the others are entries of a dict.
WRAPPERS = [
    *('module.', '_orig_mod.', '_fsdp_wrapped_module.', '0.', 'model.', 'backbone.', 'encoder.'),
    *('student_backbone.', 'teacher_backbone.', 'base_encoder.', 'momentum_encoder.'),
    *('timm_model.', 'vit.', 'image_encoder.', 'state_dict', 'model', 'teacher', 'student'),
    *('model_ema', 'state_dict_ema', 'ema', 'model_state_dict'),
]


def wrap(state: dict, *wrappers: str) -> dict:
    """A state with wrappers around it, the first innermost."""
    for name in wrappers:
        inside = {f'{name}{key}': value for key, value in state.items()}
        state = inside if name.endswith('.') else {name: state}
    return state


def equal(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[key], expected[key]) for key in expected
    )


@pytest.fixture(scope='module')
def layouts() -> dict[str, dict]:
    """A state of every layout."""
    vit = randomize(VisionTransformer(NARROW, 16, 8)).state_dict()
    registers = randomize(VisionTransformer(NARROW, 16, 8, num_registers=2)).state_dict()
    xcit = dict(type='mmpretrain.XCiT', patch_size=8, embed_dims=8, depth=1, num_heads=1)
    xcit = MODELS.build(dict(xcit, cls_attn_layers=1, mlp_ratio=2)).state_dict()
    resnet = MODELS.build(dict(type='mmpretrain.ResNet', depth=18)).state_dict()
    return {
        'published ViT': vit,
        'registers': registers,
        'timm ViT': to_timm(registers),
        'distilled DeiT': vit
        | dict(dist_token=torch.ones(1, 1, 8), pos_embed=torch.randn(1, 2 + 4, 8)),
        'mmpretrain ViT': to_mmpretrain(vit),
        'Hugging Face ViT': to_hugging_face(vit, *HUGGING_FACE['version 4']),
        'mmpretrain XCiT': xcit,
        'published XCiT': from_mmpretrain_xcit(xcit),
        'ResNet': {key: value.flatten()[:1] for key, value in resnet.items()},
    }


LAYOUT_NAMES = (
    *('published ViT', 'registers', 'timm ViT', 'distilled DeiT', 'mmpretrain ViT'),
    *('Hugging Face ViT', 'mmpretrain XCiT', 'published XCiT', 'ResNet'),
)


@pytest.fixture
def state_of(monkeypatch):
    """Loads what a file with a content would give; writing it takes too long for so many."""
    contents = {}
    monkeypatch.setattr('dino_mm.checkpoint.weights.read_checkpoint', contents.__getitem__)

    def load(content: dict) -> dict:
        contents['file.pth'] = content
        return load_state('file.pth')

    return load


@pytest.mark.parametrize('layout', LAYOUT_NAMES)
def test_any_two_wrappers(layout, layouts, state_of):
    state = layouts[layout]
    expected = state_of(state)
    assert len(expected) > 20
    # all the pairs for one layout, and each wrapper inside and outside for the others
    pairs = itertools.product(WRAPPERS, repeat=2)
    if layout != 'published ViT':
        pairs = zip(WRAPPERS, WRAPPERS[5:] + WRAPPERS[:5], strict=True)
    for wrappers in pairs:
        assert equal(state_of(wrap(state, *wrappers)), expected), wrappers


def test_wrappers_in_the_middle_of_names(vit, tmp_path):
    state = {key.replace('.attn.', '.attn._orig_mod.'): v for key, v in vit.state_dict().items()}
    torch.save(state, tmp_path / 'compiled.pth')
    assert equal(load_state(tmp_path / 'compiled.pth'), vit.state_dict())


PAIRS = [  # trained, averaged
    (['student_backbone.'], ['teacher_backbone.']),
    (['base_encoder.', 'module.'], ['momentum_encoder.', 'module.']),
    (['encoder_q.', 'module.', 'state_dict'], ['encoder_k.', 'module.', 'state_dict']),
    (['backbone.', 'state_dict'], ['0.', 'module.', 'momentum_encoder.', 'state_dict']),
    (['backbone.', 'online_net.'], ['backbone.', 'target_net.']),
    (['state_dict'], ['state_dict_ema']),
    (['model'], ['module.', 'ema']),
    (['module.', 'model'], ['model_ema']),
    (['student'], ['teacher']),
    (['model.', 'state_dict'], ['averaged_model.', 'state_dict']),
]


@pytest.mark.parametrize(('trained', 'averaged'), PAIRS)
def test_the_averaged_set_is_the_teacher_and_the_report_says_so(trained, averaged, tmp_path):
    module = randomize(VisionTransformer(NARROW, 16, 8))
    ours = {key: value.clone() for key, value in module.state_dict().items()}
    other = {key: value + 1 for key, value in ours.items()}
    content, path = wrap(other, *trained), tmp_path / 'two.pth'
    for key, value in wrap(ours, *averaged).items():
        content[key] = content[key] | value if key in content else value
    torch.save(content, path)
    assert equal(load_state(path), ours)
    assert equal(load_state(path, 'teacher'), ours)
    assert equal(load_state(path, 'student'), other)
    where = ['.'.join(name.strip('.') for name in reversed(names)) for names in (averaged, trained)]
    report = str(load_into(module, path))
    assert f'two.pth [teacher] (published ViT) into VisionTransformer: 30 of 30 tensors loaded from {where[0]}' in report  # fmt: skip
    assert f"not taken: {where[1]} (network='student' or --network student takes it)" in report
    report = str(load_into(module, path, 'student'))
    assert '[student]' in report and f'loaded from {where[1]}' in report
    assert f"not taken: {where[0]} (network='teacher'" in report


def test_a_set_that_is_said_to_be_the_student_is_no_teacher(vit, tmp_path):
    torch.save(wrap(vit.state_dict(), 'student_backbone.'), tmp_path / 'file.pth')
    assert '[student]' in load_into(vit, tmp_path / 'file.pth').source
    with pytest.raises(CheckpointError, match=r'no teacher, only student: .*--network student'):
        load_state(tmp_path / 'file.pth', 'teacher')
    torch.save(wrap(vit.state_dict(), 'model_ema'), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match="no student, only teacher: pass network='teacher'"):
        load_state(tmp_path / 'file.pth', 'student')


def test_the_average_of_pytorch_loads_without_its_counter(vit, tmp_path):
    average = AveragedModel(vit)
    average.update_parameters(vit)
    torch.save(average.state_dict(), tmp_path / 'average.pth')
    assert equal(load_state(tmp_path / 'average.pth'), vit.state_dict())
    assert load_into(vit, tmp_path / 'average.pth').aside == ['n_averaged']


def test_mmengine_writes_the_average_in_place_of_the_weights(tmp_path):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = randomize(VisionTransformer(NARROW, 16, 8))

    hook, runner = EMAHook(momentum=0.5), SimpleNamespace(model=Model(), iter=0)
    hook.before_run(runner)
    trained = runner.model.backbone.norm.weight.detach().clone()
    hook.ema_model.module.backbone.norm.weight.data.add_(1)
    checkpoint = dict(state_dict=runner.model.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    assert torch.equal(load_state(tmp_path / 'epoch_1.pth')['norm.weight'], trained + 1)
    assert torch.equal(load_state(tmp_path / 'epoch_1.pth', 'student')['norm.weight'], trained)


def test_a_dict_inside_itself_ends(vit, tmp_path):
    content = dict(vit.state_dict())
    content = dict(other=dict(model=content), model=content)
    content['other']['loop'] = content
    torch.save(content, tmp_path / 'loop.pth')
    assert equal(load_state(tmp_path / 'loop.pth'), vit.state_dict())


def test_heads_beside_the_backbone_are_set_aside(vit, tmp_path):
    state = wrap(vit.state_dict(), 'backbone.') | {'head.fc.weight': torch.ones(1)}
    content = dict(model=state, optimizer=dict(state={0: dict(exp_avg=torch.ones(1))}))
    torch.save(content, tmp_path / 'file.pth')
    assert load_into(vit, tmp_path / 'file.pth').aside == ['head.fc.weight']


@pytest.mark.parametrize('wrappers', [['backbone.', 'teacher.', 'state_dict'], ['model.'], []])
def test_backbones_that_are_not_known_load_into_a_twin(wrappers, tmp_path):
    config = dict(type='mmpretrain.SwinTransformer', img_size=32, window_size=2)
    config['arch'] = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1])
    swin, twin = (MODELS.build(config) for _ in range(2))
    torch.save(wrap(randomize(swin).state_dict(), *wrappers), tmp_path / 'swin.pth')
    load_into(twin, tmp_path / 'swin.pth')
    assert equal(twin.state_dict(), swin.state_dict())
    assert type(load_backbone(tmp_path / 'swin.pth', config)) is type(swin)
