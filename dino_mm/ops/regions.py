"""Features of regions. input (N, C, H, W); rois (K, 5) with the image's index; output (K, C, h, w)."""

import torch
import torchvision.ops
from torch import Tensor

from .autograd import upcast, write_gradients

__all__ = ['roi_align_backward', 'roi_align_forward', 'roi_pool_backward', 'roi_pool_forward']


def _roi_align(input: Tensor, rois: Tensor, options: dict) -> Tensor:
    if options['pool_mode'] != 1:
        raise NotImplementedError(
            "mmcv operator 'roi_align' with pool_mode='max' has no answer in torchvision or "
            "PyTorch: use pool_mode='avg', or install mmcv with compiled operators"
        )
    input, rois = upcast(input, rois)
    return torchvision.ops.roi_align(
        input,
        rois.nan_to_num(0.0, posinf=0.0, neginf=0.0),  # diverged; torchvision crashes on them
        output_size=(options['aligned_height'], options['aligned_width']),
        spatial_scale=options['spatial_scale'],
        sampling_ratio=options['sampling_ratio'],
        aligned=options['aligned'],
    )


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **options
) -> None:
    """RoIAlign (arXiv 1703.06870): bilinear samples, averaged per bin."""
    output.copy_(_roi_align(input, rois, options))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **options,
) -> None:
    def align(input: Tensor) -> Tensor:
        return _roi_align(input, rois, options)

    # Linear in its input, which is not given: any of the right shape will do.
    write_gradients([grad_input], align, [grad_input], grad_output)


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """RoIPool (arXiv 1504.08083). argmax (K, C, h, w) is a position in H * W, -1 in empty bins."""
    pooled, positions = torch.ops.torchvision.roi_pool(
        *upcast(input, rois), spatial_scale, pooled_height, pooled_width
    )
    output.copy_(pooled)
    argmax.copy_(positions)


def roi_pool_backward(
    grad_output: Tensor, rois: Tensor, argmax: Tensor, grad_input: Tensor, **options
) -> None:
    images = rois[:, 0].long()[:, None, None]  # (K, 1, 1)
    channels = torch.arange(grad_input.shape[1], device=rois.device)[:, None]  # (C, 1)
    positions = argmax.flatten(2).long()  # (K, C, h * w)
    gradients = grad_output.flatten(2) * (positions >= 0)
    indices = (images, channels, positions.clamp(min=0))
    grad_input.flatten(2).index_put_(indices, gradients, accumulate=True)
