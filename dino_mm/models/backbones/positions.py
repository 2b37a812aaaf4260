"""Position embeddings for other sizes than they were made for."""

import math

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

#: How :func:`interpolate_pos_embed` resizes.
INTERPOLATE_MODES = ('reference', 'exact', 'antialias')


def _resize(grid: Tensor, target: tuple[int, int], mode: str) -> Tensor:
    """(1, C, h, w) -> (1, C, h', w')."""
    if mode == 'reference':
        scale = tuple((t + 0.1) / s for t, s in zip(target, grid.shape[-2:], strict=True))
        return F.interpolate(grid, scale_factor=scale, mode='bicubic')
    return F.interpolate(grid, size=target, mode='bicubic', antialias=mode == 'antialias')


@torch.no_grad()
def _resize_matrix(source: int, target: int, mode: str, like: Tensor) -> Tensor:
    """What :func:`_resize` multiplies one axis by: (target, source)."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    places = torch.eye(source, dtype=dtype, device=like.device)
    return _resize(places[None, :, None], (1, target), mode)[0, :, 0].T


def _resize_by_products(grid: Tensor, target: tuple[int, int], mode: str) -> Tensor:
    """:func:`_resize` as two matrix products.

    On a GPU the backward pass of interpolation adds up in an order that changes from run to run.
    """
    rows, columns = (
        _resize_matrix(s, t, mode, grid) for s, t in zip(grid.shape[-2:], target, strict=True)
    )
    with torch.autocast(grid.device.type, enabled=False):
        return (rows @ grid.to(rows.dtype) @ columns.T).to(grid.dtype)


def interpolate_pos_embed(
    pos_embed: Tensor, source: tuple[int, int], target: tuple[int, int], mode: str = 'reference'
) -> Tensor:
    """Resizes a patch position embedding to another grid (bicubic).

    Under :func:`torch.use_deterministic_algorithms` the same is computed by matrix products, equal
    but for rounding.

    Args:
        pos_embed (Tensor): (1, h*w, C), row by row.
        source (tuple): Its grid (h, w).
        target (tuple): The wanted grid (h', w').
        mode (str): ``'reference'`` passes the published scale factors ``(h' + 0.1) / h``, which
            shift the sampling points a little (``interpolate_pos_encoding`` of the reference);
            ``'exact'`` asks for the size; ``'antialias'`` as well, and smooths where it shrinks
            (DINOv2 with registers, timm).

    Returns:
        Tensor: (1, h'*w', C).
    """
    if mode not in INTERPOLATE_MODES:
        raise ValueError(f'interpolate_mode must be one of {INTERPOLATE_MODES}, got {mode!r}')
    # torch.export traces sides that vary as SymInt, and a comparison would exclude this very grid.
    known = all(isinstance(side, int) for side in target)
    if known and source == target:
        return pos_embed
    grid = pos_embed.reshape(1, *source, -1).permute(0, 3, 1, 2)  # (1, C, h, w)
    # PyTorch 2.14 smooths along the rows only where a CPU makes grids of one column.
    wrong = known and mode == 'antialias' and target[1] == 1
    by_products = wrong or torch.are_deterministic_algorithms_enabled()
    resized = (_resize_by_products if by_products else _resize)(grid, target, mode)
    return resized.flatten(2).transpose(1, 2)


def fit_pos_embed(pos_embed: Tensor, target: tuple[int, int], mode: str, key: str) -> Tensor:
    """The position embedding of a checkpoint for another grid; the log tells.

    Args:
        pos_embed (Tensor): (1, 1 + h*w, C), the class token's first, of a square grid.
        target (tuple): The wanted grid (h', w').
        mode (str): See :func:`interpolate_pos_embed`.
        key (str): Its key in the checkpoint.

    Returns:
        Tensor: (1, 1 + h'*w', C).

    Raises:
        ValueError: The grid is not square.
    """
    first, patches = pos_embed.float().tensor_split([1], dim=1)
    side = math.isqrt(patches.shape[1])
    if side**2 != patches.shape[1]:
        raise ValueError(
            f'{key} of the checkpoint has 1 + {patches.shape[1]} entries, not one for the class '
            f'token and a square grid, and cannot be resized to {target[0]}x{target[1]}: build the '
            'backbone with the img_size=(height, width) of the checkpoint; images of any other '
            'size may pass through it'
        )
    print_log(f'{key}: resized from {side}x{side} to {target[0]}x{target[1]} patches', 'current')
    return torch.cat([first, interpolate_pos_embed(patches, (side, side), target, mode)], dim=1)


def resize_table(table: Tensor, length: int) -> Tensor:
    """A table of relative positions of another length, linearly: (L, D) -> (length, D)."""
    if len(table) == length:
        return table
    if not torch.are_deterministic_algorithms_enabled():
        return F.interpolate(table.T[None], size=length, mode='linear')[0].T
    places = torch.eye(len(table), dtype=table.dtype, device=table.device)
    weights = F.interpolate(places[None], size=length, mode='linear')[0]  # (L, length)
    with torch.autocast(table.device.type, enabled=False):
        return weights.T @ table
