"""The published code itself, from a checkout, on any device."""

import contextlib
import io
from argparse import Namespace
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import Tensor, nn

from .harness import import_reference


@contextlib.contextmanager
def without_cluster(device: str) -> Iterator[None]:
    """Lets the published code run as one process and, where ``device`` says so, on a CPU.

    Nothing else is changed: collectives do nothing, and on a CPU so do ``.cuda()`` and
    ``torch.cuda.synchronize()``. What it prints is dropped.
    """
    with contextlib.ExitStack() as patches:
        for name, value in dict(all_reduce=lambda *_: None, get_world_size=lambda: 1).items():
            patches.enter_context(mock.patch.object(torch.distributed, name, value))
        if torch.device(device).type == 'cpu':
            patches.enter_context(mock.patch.object(Tensor, 'cuda', lambda self, **_: self))
            patches.enter_context(mock.patch.object(torch.cuda, 'synchronize', lambda: None))
        patches.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield


def published_loss(path: str, out_dim: int, views: int, device: str) -> Callable:
    """``main_dino.DINOLoss`` as a function of student and teacher logits."""
    module = import_reference(path, 'main_dino')
    criterion = module.DINOLoss(out_dim, views, 0.04, 0.04, 0, 1).to(device)

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        with without_cluster(device):
            return criterion(student, teacher, 0)

    return loss


class _Wrapped(nn.Module):
    """What ``DistributedDataParallel`` looks like to ``train_one_epoch``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, crops: list[Tensor]) -> Tensor:
        return self.module(crops)


def published_step(
    path: str, arch: str, patch_size: int, out_dim: int, crops: list[Tensor], half: bool
) -> Callable[[], None]:
    """One iteration of ``main_dino.train_one_epoch`` on given crops.

    Args:
        path (str): Checkout of the published code.
        arch (str): ``'tiny'``, ``'small'`` or ``'base'``.
        patch_size (int): Patch edge in pixels.
        out_dim (int): Number of prototypes K.
        crops (list[Tensor]): Each (B, 3, H, W), on the device of training.
        half (bool): Its float16 training, for GPUs.
    """
    main = import_reference(path, 'main_dino')
    device = str(crops[0].device)

    def network(**options) -> nn.Module:
        backbone = getattr(main.vits, f'vit_{arch}')(patch_size=patch_size, **options)
        head = main.DINOHead(backbone.embed_dim, out_dim)
        return main.utils.MultiCropWrapper(backbone, head).to(device)

    student, teacher = network(drop_path_rate=0.1), network()
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    criterion = main.DINOLoss(out_dim, len(crops), 0.04, 0.04, 0, 1).to(device)
    optimizer = torch.optim.AdamW(main.utils.get_params_groups(student))
    scaler = torch.amp.GradScaler('cuda') if half else None
    options = Namespace(epochs=1, clip_grad=3.0, freeze_last_layer=0)
    arguments = (_Wrapped(student), teacher, teacher, criterion, [(crops, None)], optimizer)
    schedules = ([5e-4], [0.04], [0.996])

    def step() -> None:
        with without_cluster(device):
            main.train_one_epoch(*arguments, *schedules, 0, scaler, options)

    return step
