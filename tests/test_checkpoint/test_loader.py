"""Choosing the network, resizing, and the report."""

import argparse

import pytest
import torch
from mmengine.registry import MODELS

from dino_mm.checkpoint import CheckpointError, load_backbone, load_into, load_state
from dino_mm.checkpoint.export import export_backbone
from dino_mm.checkpoint.infer import read_config
from dino_mm.models import VisionTransformer

from .conftest import ARCH, randomize, tokens


def pair(vit) -> tuple[dict, dict]:
    """State of the ViT, and another one."""
    state = vit.state_dict()
    return state, {key: value + 1 for key, value in state.items()}


def with_prefix(state, prefix):
    return {prefix + key: value for key, value in state.items()}


@pytest.fixture
def work_dir_file(vit, tmp_path):
    teacher, student = pair(vit)
    state = with_prefix(teacher, 'teacher.backbone.') | with_prefix(student, 'student.backbone.')
    state |= {'teacher.head.mlp.0.weight': torch.ones(1), 'criterion.center': torch.ones(1)}
    torch.save(dict(state_dict=state, meta=dict(epoch=3)), tmp_path / 'epoch_3.pth')
    return tmp_path / 'epoch_3.pth'


@pytest.fixture
def published_full_file(vit, tmp_path):
    teacher, student = pair(vit)
    content = dict(
        student=with_prefix(student, 'module.backbone.') | {'module.head.last': torch.ones(1)},
        teacher=with_prefix(teacher, 'backbone.') | {'head.last_layer.weight_g': torch.ones(1)},
        optimizer=dict(state={}),
        epoch=100,
        args=argparse.Namespace(arch='vit_small'),
        dino_loss=dict(center=torch.zeros(1, 8)),
    )
    torch.save(content, tmp_path / 'full.pth')
    return tmp_path / 'full.pth'


@pytest.mark.parametrize('file', ['work_dir_file', 'published_full_file'])
def test_teacher_by_default_student_on_request(file, vit, request):
    path = request.getfixturevalue(file)
    teacher, student = pair(vit)
    for network, expected in ((None, teacher), ('teacher', teacher), ('student', student)):
        found = load_state(path, **(dict(network=network) if network else {}))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_single_network_is_no_student(vit, tmp_path):
    torch.save(vit.state_dict(), tmp_path / 'plain.pth')
    with pytest.raises(CheckpointError, match='holds no student'):
        load_state(tmp_path / 'plain.pth', 'student')
    with pytest.raises(ValueError, match="'teacher' or 'student'"):
        load_state(tmp_path / 'plain.pth', 'both')


def test_checkpoint_of_a_run(make_runner):
    hooks = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1)}
    runner = make_runner(train_cfg=dict(max_epochs=1), **hooks)
    runner.train()
    path = f'{runner.work_dir}/epoch_1.pth'
    teacher, student = runner.model.teacher.backbone, runner.model.student.backbone
    assert not torch.equal(teacher.pos_embed, student.pos_embed)
    # three heads of eight channels: only the stored config tells
    loaded = load_backbone(path)
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(tokens(loaded, image), tokens(teacher, image))
    assert loaded.blocks[0].attn.num_heads == 3
    assert torch.equal(load_backbone(path, network='student').pos_embed, student.pos_embed)


def test_the_stored_config_is_read_not_run(tmp_path):
    trace = tmp_path / 'trace'
    text = (
        f'a = __import__("os").system("touch {trace}")\n'
        'model = dict(backbone=dict(type="X", sizes=(1, -2)), other={"k": [None, True]})\n'
        'computed = dict(a=len("abc"))\n'
    )
    assert read_config(text) == dict(
        model=dict(backbone=dict(type='X', sizes=(1, -2)), other=dict(k=[None, True]))
    )
    assert not trace.exists()
    assert read_config('not python at all: (') == {}


def test_position_embedding_is_resized_once_as_at_each_forward(vit, work_dir_file):
    larger = VisionTransformer(ARCH, img_size=(48, 24), patch_size=8)
    report = load_into(larger, work_dir_file)
    assert report.resized == ['pos_embed 4x4 -> 6x3']
    image = torch.randn(1, 3, 48, 24)
    assert torch.allclose(tokens(larger, image), tokens(vit, image), atol=1e-5)
    assert 'pos_embed 4x4 -> 6x3' in str(report) and 'head.mlp.0.weight' in str(report)


def test_grid_that_is_not_square(tmp_path):
    vit = randomize(VisionTransformer(ARCH, img_size=(16, 64), patch_size=8))
    torch.save(vit.state_dict(), tmp_path / 'wide.pth')
    # 2 x 8 patches could also be 4 x 4, and are taken for it
    assert load_backbone(tmp_path / 'wide.pth').grid == (4, 4)
    image = torch.randn(1, 3, 16, 64)
    given = load_backbone(tmp_path / 'wide.pth', dict(img_size=(16, 64)))
    assert torch.equal(tokens(given, image), tokens(vit, image))
    other = VisionTransformer(ARCH, img_size=(16, 40), patch_size=8)
    torch.save(other.state_dict(), tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match='img_size'):
        load_backbone(tmp_path / 'odd.pth')


def test_arguments_change_what_is_known(vit, image, work_dir_file):
    loaded = load_backbone(work_dir_file, dict(out_type='featmap', out_indices=(0, 1)))
    assert [tuple(out.shape) for out in loaded(image)] == [(2, 128, 4, 4)] * 2


def test_whole_config(vit, image, work_dir_file):
    config = dict(type='VisionTransformer', arch=ARCH, img_size=32, patch_size=8)
    assert torch.equal(tokens(load_backbone(work_dir_file, config), image), tokens(vit, image))


def test_unknowable_heads_are_asked_for(tmp_path):
    narrow = dict(embed_dims=24, num_layers=1, num_heads=3)
    vit = randomize(VisionTransformer(narrow, img_size=16, patch_size=8))
    torch.save(vit.state_dict(), tmp_path / 'narrow.pth')
    with pytest.raises(CheckpointError, match='narrow.pth: how many heads.*num_heads='):
        load_backbone(tmp_path / 'narrow.pth')
    image = torch.randn(1, 3, 16, 16)
    loaded = load_backbone(tmp_path / 'narrow.pth', dict(arch=narrow))
    assert torch.equal(tokens(loaded, image), tokens(vit, image))


def test_nothing_fits(work_dir_file):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    for strict in (True, False):
        with pytest.raises(CheckpointError, match='nothing of it fits Sequential.*cls_token.*0.we'):
            load_into(module, work_dir_file, strict=strict)


@pytest.mark.parametrize('strict', [True, False])
def test_other_shapes_are_errors_and_leave_the_module_alone(strict, work_dir_file):
    finer = VisionTransformer(ARCH, img_size=32, patch_size=16)
    before = finer.norm.weight.clone()
    with pytest.raises(CheckpointError, match='patch_embed.proj.weight .*8, 8.* for .*16, 16'):
        load_into(finer, work_dir_file, strict=strict)
    assert torch.equal(finer.norm.weight, before)


def test_too_few_and_too_many_keys(vit, work_dir_file):
    deeper = VisionTransformer(dict(ARCH, num_layers=3), img_size=32, patch_size=8)
    with pytest.raises(CheckpointError, match='12 left as they were: blocks.2.norm1.weight'):
        load_into(deeper, work_dir_file)
    report = load_into(deeper, work_dir_file, strict=False)
    assert len(report.missing) == 12 and not report.unexpected
    assert torch.equal(deeper.blocks[1].mlp.fc1.weight, vit.blocks[1].mlp.fc1.weight)

    shallower = VisionTransformer(dict(ARCH, num_layers=1), img_size=32, patch_size=8)
    with pytest.raises(CheckpointError, match='12 without a place: blocks.1.norm1.weight'):
        load_into(shallower, work_dir_file)
    assert len(load_into(shallower, work_dir_file, strict=False).unexpected) == 12


def test_less_than_half_of_a_module_is_refused_even_if_not_strict(vit, tmp_path):
    state, before = vit.state_dict(), vit.norm.weight.clone()
    other = VisionTransformer(ARCH, img_size=32, patch_size=8)
    for count, fits in ((2, False), (14, False), (15, True)):
        torch.save({key: state[key] for key in list(state)[-count:]}, tmp_path / 'part.pth')
        if fits:
            assert len(load_into(other, tmp_path / 'part.pth', strict=False).matched) == count
            continue
        with pytest.raises(CheckpointError, match=f'{count} of 30 tensors.* less than half'):
            load_into(other, tmp_path / 'part.pth', strict=False)
        assert not torch.equal(other.norm.weight, before)


@pytest.mark.parametrize('channels', [1, 2, 4, 6])
def test_other_input_channels_on_demand(channels, vit, work_dir_file):
    with pytest.raises(CheckpointError, match='128, 3, 8, 8.* Pass adapt_channels=True'):
        load_backbone(work_dir_file, dict(in_channels=channels))
    loaded = load_backbone(work_dir_file, dict(in_channels=channels), adapt_channels=True)
    gray = torch.randn(2, 1, 32, 32)
    # of images whose channels are equal: all of them count the same where they are repeated whole
    if channels in (1, 6):
        expected = tokens(vit, gray.expand(-1, 3, -1, -1))
        found = tokens(loaded, gray.expand(-1, channels, -1, -1))
        assert torch.allclose(found, expected, atol=1e-4)
    else:
        weight = loaded.patch_embed.proj.weight
        again = [i % 3 for i in range(channels)]
        assert torch.allclose(weight, vit.patch_embed.proj.weight[:, again] * 3 / channels)
    report = load_into(loaded, work_dir_file, adapt_channels=True)
    assert report.adapted == [f'patch_embed.proj.weight 3 -> {channels}']
    assert f'adapted to the input channels: {report.adapted[0]}' in str(report)


@pytest.mark.parametrize(
    'config',
    [
        dict(type='mmpretrain.VisionTransformer', arch=dict(ARCH, feedforward_channels=512))
        | dict(img_size=32, patch_size=8),
        dict(type='mmpretrain.ResNet', depth=18),
        dict(type='mmpretrain.XCiT', patch_size=8, embed_dims=32, depth=1, cls_attn_layers=1)
        | dict(num_heads=4, mlp_ratio=4),
    ],
)
def test_other_input_channels_of_every_family(config, tmp_path):
    rgb, gray = MODELS.build(config), MODELS.build(dict(config, in_channels=1))
    torch.save(randomize(rgb).state_dict(), tmp_path / 'rgb.pth')
    load_into(gray, tmp_path / 'rgb.pth', adapt_channels=True)
    gray.eval()
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected, found = rgb(image.expand(-1, 3, -1, -1))[-1], gray(image)[-1]
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4)
    torch.save(gray.state_dict(), tmp_path / 'gray.pth')
    load_backbone(tmp_path / 'gray.pth')  # the number of channels is told by the tensors


def test_stored_grid_of_as_many_patches_is_resized(tmp_path):
    vit = randomize(VisionTransformer(ARCH, img_size=(16, 64), patch_size=8))
    export_backbone(vit, tmp_path / 'wide.pth')
    square = VisionTransformer(ARCH, img_size=32, patch_size=8)
    assert load_into(square, tmp_path / 'wide.pth').resized == ['pos_embed 2x8 -> 4x4']
    image = torch.randn(1, 3, 32, 32)
    assert torch.allclose(tokens(square, image), tokens(vit, image), atol=1e-5)


def test_files_without_weights(tmp_path):
    torch.save(dict(meta=dict(a=1), state_dict={}), tmp_path / 'empty.pth')
    with pytest.raises(CheckpointError, match='holds no weights: its entries are meta, state_dict'):
        load_state(tmp_path / 'empty.pth')
