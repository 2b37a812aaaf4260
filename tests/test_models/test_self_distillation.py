"""Three other methods from the same parts, each by config and two small modules of its own."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from torch import Tensor, nn
from torch.utils.data import IterableDataset, get_worker_info

from dino_mm.models import NetworkOutputs
from dino_mm.registry import DATASETS, MODELS, TRANSFORMS

WIDTH = 24


@MODELS.register_module()
class Predictor(nn.Sequential):
    """From one view's vector to the other's."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


@MODELS.register_module()
class NegativeCosine(nn.Module):
    """Each global view predicts the other, whose gradient is stopped; there is no teacher."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.predictor = MODELS.build(dict(type='Predictor', width=width))

    def forward(self, student: NetworkOutputs, teacher: None) -> dict[str, Tensor]:
        assert teacher is None
        first, second = student.by_view(student.bottleneck)[:2]
        pairs = (self.predictor(first), second), (self.predictor(second), first)
        loss = -sum(F.cosine_similarity(p, z.detach()).mean() for p, z in pairs) / 2
        return dict(loss=loss, agreement=-loss.detach())


@MODELS.register_module()
class Widen(nn.Linear):
    """From the student's width to the teacher's."""


@MODELS.register_module()
class Imitate(nn.Module):
    """The student's class token is to be that of a larger, frozen teacher."""

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        self.widen = MODELS.build(dict(type='Widen', in_features=widths[0], out_features=widths[1]))

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs) -> dict[str, Tensor]:
        views = student.by_view(self.widen(student.class_tokens))[:2]
        return dict(loss=F.mse_loss(views, teacher.by_view(teacher.class_tokens)))


@TRANSFORMS.register_module()
class MaskPatches(BaseTransform):
    """Every second patch of the global crops is hidden from the student."""

    def transform(self, results: dict) -> dict:
        mask = torch.arange(16) % 2 == 0
        return results | dict(masks=[mask, ~mask])


@MODELS.register_module()
class MaskedPatches(nn.Module):
    """The student's hidden patches are to be what the teacher makes of the visible ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.predictor = MODELS.build(dict(type='Predictor', width=width))

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs) -> dict[str, Tensor]:
        losses = [
            F.mse_loss(self.predictor(ours)[mask], theirs[mask])
            for ours, theirs, mask in zip(
                student.patch_tokens, teacher.patch_tokens, student.data['masks'], strict=False
            )
        ]
        return dict(loss=torch.stack(losses).mean())


@DATASETS.register_module()
class Stream(IterableDataset):
    """Images without an end, of a number of their own each; it has no length."""

    def __init__(self, pipeline: list) -> None:
        self.pipeline = Compose(pipeline)

    def __iter__(self):
        assert get_worker_info() is None
        generator = torch.Generator().manual_seed(0)
        while True:
            image = torch.randint(0, 256, (3, 48, 40), generator=generator, dtype=torch.uint8)
            yield self.pipeline(dict(img=image))


def head(out_dim: int = 32) -> dict:
    return dict(type='DINOHead', in_dim=WIDTH, out_dim=out_dim, hidden_dim=16, bottleneck_dim=8)


def backbone(**changes) -> dict:
    arch = dict(embed_dims=WIDTH, num_layers=2, num_heads=3)
    return dict(type='VisionTransformer', arch=arch, img_size=32, patch_size=8) | changes


METHODS = {
    'no teacher': dict(
        backbone=backbone(),
        head=head(),
        teacher=None,
        objectives=dict(cosine=dict(type='NegativeCosine', width=8)),
    ),
    'frozen larger teacher': dict(
        backbone=backbone(),
        teacher=dict(
            backbone=backbone(arch=dict(embed_dims=48, num_layers=3, num_heads=4), patch_size=16)
        ),
        objectives=dict(imitate=dict(type='Imitate', widths=(WIDTH, 48), weight=0.5)),
    ),
    'masked patches': dict(
        backbone=backbone(out_type='raw', use_mask_token=True),
        objectives=dict(patches=dict(type='MaskedPatches', width=WIDTH)),
    ),
}


def changes_of(method: str, loop: str) -> dict:
    """What the method and the loop change of the toy run."""
    transforms = [dict(type='LoadImage', as_tensor=True)]
    transforms += [
        dict(type='DINOMultiCrop', global_size=32, local_size=16, num_local=2, backend='opencv')
    ]
    masked = [dict(type='MaskPatches')] if method == 'masked patches' else []
    changes = {
        'model': dict(_delete_=True, type='SelfDistillation', **copy.deepcopy(METHODS[method])),
        'train_dataloader.dataset.pipeline': transforms + masked,
        'default_hooks.freeze_last_layer': dict(type='FreezeLastLayerHook', epochs='50%'),
        'default_hooks.monitor': dict(type='MonitorHook'),
        'default_hooks.logger': dict(type='LoggerHook', interval=1),
        'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1),
        'param_scheduler.warmup': '1 step',
    }
    if method != 'masked patches':
        changes['default_hooks.ema'] = None
    if loop == 'epochs':
        return changes | {'train_dataloader.dataset.indices': 8, 'train_cfg.max_epochs': 1}
    changes['default_hooks.checkpoint'] |= dict(by_epoch=False)
    changes['train_cfg'] = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2)
    if loop == 'infinite sampler':
        changes['train_dataloader.sampler'] = dict(type='InfiniteSampler', shuffle=True)
        return changes | {'log_processor': dict(by_epoch=False)}
    changes['train_cfg'] |= dict(type='StreamTrainLoop', epoch_length=5)
    changes['train_dataloader.sampler'] = None
    changes['train_dataloader.dataset'] = dict(
        _delete_=True, type='Stream', pipeline=transforms[1:] + masked
    )
    del changes['train_dataloader.dataset.pipeline']
    return changes | {'log_processor': dict(by_epoch=False)}


@pytest.mark.parametrize('loop', ['epochs', 'infinite sampler', 'stream'])
@pytest.mark.parametrize('method', METHODS)
def test_a_method_of_ones_own_trains_and_resumes(make_runner, tmp_path, method, loop) -> None:
    whole = make_runner(**changes_of(method, loop), work_dir=str(tmp_path / 'whole'))
    before = copy.deepcopy(whole.model.state_dict())
    whole.train()
    after = whole.model.state_dict()
    moved = {key for key, value in after.items() if not value.equal(before[key])}
    assert any(key.startswith('student.backbone.blocks.0') for key in moved)
    assert any(key.startswith('objectives.') for key in moved)
    teaches = {key for key in moved if key.startswith('teacher.')}
    assert bool(teaches) is (method == 'masked patches')
    assert whole.message_hub.get_scalar('train/loss').current() != 0

    stop = make_runner(**changes_of(method, loop), work_dir=str(tmp_path / 'stopped'))
    step = stop.model.train_step

    def interrupted(*args, **kwargs):
        if stop.iter == 1:
            meta = dict(epoch=stop.epoch, iter=1)
            stop.save_checkpoint(stop.work_dir, 'at_1.pth', meta=meta, by_epoch=False)
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    stop.model.train_step = interrupted
    with pytest.raises(KeyboardInterrupt):
        stop.train()
    resumed = make_runner(
        **changes_of(method, loop), resume=True, load_from=str(tmp_path / 'stopped' / 'at_1.pth')
    )
    resumed.train()
    assert resumed.iter == 2
    if loop == 'infinite sampler':  # MMEngine skips images there without drawing their crops
        return
    for key, value in resumed.model.state_dict().items():
        assert value.equal(after[key]), key


def test_several_objectives_are_weighted_and_logged_by_name(toy_model) -> None:
    extra = dict(type='Imitate', widths=(WIDTH, WIDTH), weight=0.25)
    torch.manual_seed(0)
    model = MODELS.build(toy_model | dict(objectives=dict(near=extra)))
    crops = [torch.randn(2, 3, size, size) for size in (32, 32, 16)]
    student, teacher = model.student(crops), model.teacher(crops[:2])
    near = model.objectives['near'](student, teacher)['loss']
    dino = model.criterion(student, teacher)['loss']
    model.criterion.center.zero_()
    found = model(crops, mode='loss')
    torch.testing.assert_close(found['loss_near'], 0.25 * near)
    torch.testing.assert_close(found['loss_dino'], dino)
    assert 'loss' not in found and 'teacher_entropy' in found
    total, logged = model.parse_losses(found)
    torch.testing.assert_close(total, dino + 0.25 * near)
    torch.testing.assert_close(logged['loss'], total)


@pytest.mark.parametrize('teacher', ['momentum', 3])
def test_an_unknown_teacher_is_refused(teacher) -> None:
    with pytest.raises(ValueError, match=r"model\.teacher must be 'ema'"):
        MODELS.build(
            dict(type='SelfDistillation', backbone=backbone(), objectives={}, teacher=teacher)
        )


def test_a_frozen_teacher_stays_in_evaluation_mode() -> None:
    model = MODELS.build(dict(type='SelfDistillation', **METHODS['frozen larger teacher'])).train()
    assert model.student.training and not model.teacher.training
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_an_average_of_no_teacher_is_refused(make_runner) -> None:
    changes = changes_of('no teacher', 'epochs') | {'default_hooks.ema': dict(type='EMAHook')}
    with pytest.raises(ValueError, match="model.teacher='ema'"):
        make_runner(**changes).train()


def test_masks_need_a_backbone_that_masks(toy_model) -> None:
    toy_model['backbone'] = dict(type='mmpretrain.ResNet', depth=18)
    toy_model['neck'] = dict(type='GlobalAveragePool')
    toy_model['head']['in_dim'] = 512
    model = MODELS.build(toy_model)
    with pytest.raises(ValueError, match='ResNet cannot mask patches'):
        model([torch.randn(2, 3, 32, 32)] * 2, mode='loss', masks=[torch.ones(2, 16).bool()] * 2)
