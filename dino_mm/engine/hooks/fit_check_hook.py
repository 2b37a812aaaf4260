"""Parts of a pretraining config that do not fit each other."""

from collections.abc import Iterator
from typing import TypeVar

import torch
from mmengine.hooks import Hook
from torch import nn

from dino_mm.datasets.transforms import DINOMultiCrop, LoadImage
from dino_mm.models.necks.pooling import last_output
from dino_mm.registry import HOOKS
from dino_mm.utils.wrappers import unwrap

from .ema_hook import EMAHook

T = TypeVar('T')


def transforms_of(dataset: object, kind: type[T]) -> Iterator[T]:
    """Transforms of one kind of a data set, also inside wrappers such as RepeatDataset."""
    for part in [*getattr(dataset, 'datasets', ()), getattr(dataset, 'dataset', None)]:
        if part is not None:
            yield from transforms_of(part, kind)
    for transform in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        if isinstance(transform, kind):
            yield transform


def first_convolution(backbone: nn.Module) -> nn.Conv2d | None:
    return next((m for m in backbone.modules() if isinstance(m, nn.Conv2d)), None)


def patch_size(backbone: nn.Module) -> tuple[int, int]:
    """Height and width of the patches that a backbone cuts images into; (1, 1) if it does not."""
    first = first_convolution(backbone)
    cuts = first is not None and first.kernel_size == first.stride
    return tuple(first.stride) if cuts else (1, 1)


@torch.no_grad()
def check_parts(network: nn.Module, key: str, size: tuple[int, int], channels: int = 3) -> None:
    """Sends two blank images through backbone, neck and head in evaluation mode.

    Neither weights, buffers, training flags nor the state of random numbers change.

    Args:
        network (nn.Module): With ``backbone``, ``neck`` and ``head``, which may be ``None``.
        key (str): Config key of the image size.
        size (tuple): Height and width of the images in pixels.
        channels (int): Of the images.

    Raises:
        ValueError: A part does not take what it is given; the message names its config key.
    """
    device = next(network.parameters()).device
    images = torch.zeros(2, channels, *size, device=device)
    training = {module: module.training for module in network.modules()}
    network.eval()
    part, given = 'backbone', f'images of {size[0]} x {size[1]} pixels ({key})'
    try:
        with torch.random.fork_rng([device] if device.type == 'cuda' else []):
            packs = getattr(network.backbone, 'packs_crops', False)
            output = network.backbone([images])[0] if packs else network.backbone(images)
            part, given = 'neck', f'outputs {tuple(last_output(output).shape)} of the backbone'
            features = network.neck(output)
            part, given = 'head', f'features {tuple(features.shape)} of backbone and neck'
            if network.head is not None:
                check_width(network.head, features.shape[-1])
                network.head(features)
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        name = type(getattr(network, part)).__name__
        mend = '. Change either, or let the backbone take any size (of timm: dynamic_img_size=True)'
        raise ValueError(
            f'model.{part} ({name}) does not take {given}: {error}'
            f'{mend if part == "backbone" else ""}'
        ) from error
    finally:
        for module, flag in training.items():
            module.training = flag


def check_channels(model: nn.Module, channels: int) -> None:
    """Compares the channels of images with those that preprocessor and backbone take.

    Raises:
        ValueError: They differ; the message has the key to set.
    """
    loaded = f'images have {channels} channels (LoadImage.channels)'
    first = first_convolution(model.student.backbone)
    if first is not None and first.in_channels != channels:
        raise ValueError(
            f'model.backbone.in_channels is {first.in_channels}, but {loaded}: set '
            f'model.backbone.in_channels={channels}'
        )
    mean = getattr(model.data_preprocessor, 'mean', None)
    if mean is not None and len(mean) != channels:
        raise ValueError(
            f'model.data_preprocessor.mean has {len(mean)} values, but {loaded}: set '
            f'model.data_preprocessor.mean and std to {channels} values each, for pixels in [0, 1]'
        )


def check_width(head: nn.Module, width: int) -> None:
    """Compares the width of features with what the first linear layer of a head takes.

    Raises:
        ValueError: They differ; the message has the value to set.
    """
    first = next((m for m in head.modules() if isinstance(m, nn.Linear)), None)
    if first is not None and first.in_features != width:
        raise ValueError(
            f'model.head.in_dim is {first.in_features}, but backbone and neck give {width}: set '
            f'model.head.in_dim={width}'
        )


def cut_pixels(key: str, size: tuple[int, int], patch: tuple[int, int]) -> str | None:
    """A warning of crops that are not made of whole patches, with the nearest sizes that are."""
    if all(edge % step == 0 for edge, step in zip(size, patch, strict=True)):
        return None
    below = [edge // step * step for edge, step in zip(size, patch, strict=True)]
    above = [-(-edge // step) * step for edge, step in zip(size, patch, strict=True)]
    nearest = [
        pair[0] if pair[0] == pair[1] else tuple(pair) for pair in (below, above) if all(pair)
    ]
    return (
        f'{key} is {size[0]} x {size[1]} pixels, not a multiple of the patches of model.backbone, '
        f'{patch[0]} x {patch[1]}: most backbones cut off the rest. Nearest multiples: '
        f'{" and ".join(map(str, nearest))}'
    )


@HOOKS.register_module()
class FitCheckHook(Hook):
    """Tells before the first iteration which parts of a pretraining config do not fit each other.

    One blank batch of each crop size passes through the student, see :func:`check_parts`.

    Raises:
        ValueError: Images, backbone, neck, head and crop sizes do not fit each other, or nothing would
            move the teacher.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        model = unwrap(runner.model)
        moves = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        # A model without such a teacher says so by the attribute.
        if getattr(model, 'has_ema_teacher', True) and not moves:
            raise ValueError(
                'no hook moves the teacher, which would stay as it was initialized: set '
                "default_hooks.ema=dict(type='dino_mm.EMAHook')"
            )
        dataset = runner.train_dataloader.dataset
        channels = next((load.channels for load in transforms_of(dataset, LoadImage)), 3)
        check_channels(model, channels)
        sizes: dict[tuple[int, int], str] = {}
        for crops in transforms_of(dataset, DINOMultiCrop):
            for key, size in crops.sizes.items():
                sizes.setdefault(size, f'DINOMultiCrop.{key}')
        for size, key in sizes.items():
            check_parts(model.student, key, size, channels)
            warning = cut_pixels(key, size, patch_size(model.student.backbone))
            if warning:
                runner.logger.warning(warning)
