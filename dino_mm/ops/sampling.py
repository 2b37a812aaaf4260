"""Attention, convolution and upsampling at positions that the network chooses."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision.ops
from torch import Tensor

from .autograd import upcast, write_gradients

__all__ = [
    'carafe_backward',
    'carafe_forward',
    'carafe_naive_backward',
    'carafe_naive_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
]

#: Pixels, beyond any image and far from the integers' limit.
OUTSIDE = 1e6


def _ms_deform_attn(shapes: Tensor) -> Callable:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return lambda value, locations, weights: multi_scale_deformable_attn_pytorch(
        value, shapes, locations, weights
    )


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Multi-scale deformable attention (arXiv 2010.04159), by mmcv's own PyTorch form.

    Args:
        value (Tensor): (B, sum of h * w, heads, D).
        value_spatial_shapes (Tensor): (levels, 2), h and w.
        sampling_locations (Tensor): (B, Q, heads, levels, points, 2), x and y in [0, 1].
        attention_weights (Tensor): (B, Q, heads, levels, points).

    Returns:
        Tensor: (B, Q, heads * D).
    """
    attend = _ms_deform_attn(value_spatial_shapes)
    return attend(*upcast(value, sampling_locations, attention_weights)).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    *gradients: Tensor,
    im2col_step: int,
) -> None:
    """gradients: of value, sampling_locations and attention_weights."""
    inputs = [value, sampling_locations, attention_weights]
    write_gradients(gradients, _ms_deform_attn(value_spatial_shapes), inputs, grad_output)


def _fit(maps: Tensor, height: int, width: int) -> Tensor:
    """The start of larger maps, read as maps of the given size, as the compiled operator does.

    mmdet's DyHead hands over offsets of a larger level and is trained that way.
    """
    if maps.shape[2:] == (height, width):
        return maps
    return maps.flatten(1)[:, : maps.shape[1] * height * width].unflatten(1, (-1, height, width))


def _deform_conv(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Callable:
    """Convolution of input, offset, weight and, where given, mask and bias.

    torchvision reads the groups off the shapes.
    """

    def convolve(
        input: Tensor,
        offset: Tensor,
        weight: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        height, width = (
            (input.shape[2 + i] + 2 * padding[i] - dilation[i] * (weight.shape[2 + i] - 1) - 1)
            // stride[i]
            + 1
            for i in (0, 1)
        )
        # torchvision crashes on undefined positions; to mmcv they lie outside, as the infinite.
        offset = _fit(offset, height, width).nan_to_num(
            nan=OUTSIDE, posinf=OUTSIDE, neginf=-OUTSIDE
        )
        if mask is not None:
            mask = _fit(mask, height, width)
        return torchvision.ops.deform_conv2d(
            input, offset, weight, bias, stride, padding, dilation, mask
        )

    return convolve


def _version_1(options: dict) -> Callable:
    return _deform_conv(
        stride=(options['dH'], options['dW']),
        padding=(options['padH'], options['padW']),
        dilation=(options['dilationH'], options['dilationW']),
    )


def _version_2(options: dict) -> Callable:
    return _deform_conv(
        stride=(options['stride_h'], options['stride_w']),
        padding=(options['pad_h'], options['pad_w']),
        dilation=(options['dilation_h'], options['dilation_w']),
    )


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, *buffers: Tensor, **options
) -> None:
    """Deformable convolution (arXiv 1703.06211).

    Args:
        input (Tensor): (N, C, H, W).
        weight (Tensor): (O, C / groups, kh, kw).
        offset (Tensor): (N, offset groups * kh * kw * 2, h, w), y and x.
        output (Tensor): (N, O, h, w), filled.
    """
    output.copy_(_version_1(options)(*upcast(input, offset, weight)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    *buffers: Tensor,
    **options,
) -> None:
    gradients = [grad_input, grad_offset, torch.empty_like(weight)]
    write_gradients(gradients, _version_1(options), [input, offset, weight], grad_output)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    *buffers: Tensor,
    scale: float,
    **options,
) -> None:
    def convolve(weight: Tensor) -> Tensor:
        return _version_1(options)(*upcast(input, offset, weight))

    # Linear in the weight, which is not given: any of the right shape will do.
    gradient = torch.zeros_like(grad_weight)
    write_gradients([gradient], convolve, [gradient], grad_output)
    grad_weight.add_(gradient, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **options,
) -> None:
    """Version 2 (arXiv 1811.11168): with mask (N, offset groups * kh * kw, h, w) and bias (O,)."""
    inputs = [input, offset, weight, mask] + [bias] * with_bias
    output.copy_(_version_2(options)(*upcast(*inputs)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **options,
) -> None:
    inputs = [input, offset, weight, mask] + [bias] * with_bias
    gradients = [grad_input, grad_offset, grad_weight, grad_mask] + [grad_bias] * with_bias
    write_gradients(gradients, _version_2(options), inputs, grad_output)


def _carafe(kernel_size: int, group_size: int, scale_factor: int) -> Callable:
    def reassemble(features: Tensor, masks: Tensor) -> Tensor:
        n, _, h, w = features.shape
        patches = F.unfold(features, kernel_size, padding=kernel_size // 2)
        patches = patches.view(n, group_size, -1, kernel_size**2, h, w)
        masks = masks.view(n, group_size, -1, h, scale_factor, w, scale_factor)
        output = torch.einsum('ngckhw,ngkhiwj->ngchiwj', patches, masks)
        return output.reshape(n, -1, h * scale_factor, w * scale_factor)

    return reassemble


def carafe_naive_forward(features: Tensor, masks: Tensor, output: Tensor, **options) -> None:
    """Weighted sums of neighborhoods (CARAFE, arXiv 1905.02188).

    Args:
        features (Tensor): (N, C, h, w).
        masks (Tensor): (N, groups * k * k, s * h, s * w), the weights.
        output (Tensor): (N, C, s * h, s * w), filled.
    """
    output.copy_(_carafe(**options)(*upcast(features, masks)))


def carafe_naive_backward(
    top_grad: Tensor, features: Tensor, masks: Tensor, *gradients: Tensor, **options
) -> None:
    write_gradients(gradients, _carafe(**options), [features, masks], top_grad)


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    **options,
) -> None:
    rfeatures.copy_(features)  # the backward pass is given nothing else
    carafe_naive_forward(features, masks, output, **options)


def carafe_backward(
    top_grad: Tensor, rfeatures: Tensor, masks: Tensor, *buffers_and_gradients: Tensor, **options
) -> None:
    carafe_naive_backward(top_grad, rfeatures, masks, *buffers_and_gradients[-2:], **options)


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Patches of im (1, C, H, W) at M positions into col (C * kh * kw, M).

    With :func:`masked_col2im_forward` a convolution of stride 1 at some positions (guided
    anchoring, arXiv 1901.03278).
    """
    width = im.shape[3] + 2 * pad_w - kernel_w + 1
    patches = F.unfold(im, (kernel_h, kernel_w), padding=(pad_h, pad_w))[0]
    col.copy_(patches[:, mask_h_idx * width + mask_w_idx])


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, **options
) -> None:
    """Writes col (C, M) to M positions of im (1, C, H, W)."""
    im[0][:, mask_h_idx, mask_w_idx] = col
