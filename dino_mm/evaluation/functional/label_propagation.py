"""Labels that are carried from frame to frame by similar features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .finite import require_finite


def _neighbors(index: Tensor, width: int, cells: int, radius: int) -> Tensor:
    """Which cells lie in a square around each of some cells: (n,) -> (n, N) bool."""
    every = torch.arange(cells, device=index.device)
    rows = (index[:, None] // width - every // width).abs()
    columns = (index[:, None] % width - every % width).abs()
    return torch.maximum(rows, columns) <= radius


@torch.no_grad()
def propagate_labels(
    target: Tensor,
    context: Tensor,
    context_labels: Tensor,
    neighborhood: int = 12,
    topk: int = 5,
    temperature: float = 0.1,
    chunk_size: int = 256,
) -> Tensor:
    r"""Labels of a frame as weighted means of the labels of similar cells in other frames.

    Cell j of the context has the affinity :math:`\exp(\cos(t_i, c_j) / \tau)` to target cell i if
    it lies in i's neighborhood, else zero. The largest k over all context frames together, scaled
    so that their sum is one, are the weights of the labels. Cells that tie with the k-th also
    count.

    Args:
        target (Tensor): (N, D) features of the frame's N = h * w cells, row by row.
        context (Tensor): (F, N, D) features of frames with labels.
        context_labels (Tensor): (F, C, h, w).
        neighborhood (int): Size of the square in cells to each side; 0 for no limit.
        topk (int): k.
        temperature (float): Tau.
        chunk_size (int): Target cells at a time: bounds memory at ``chunk_size * F * N`` floats.

    Returns:
        Tensor: (C, h, w).

    Source: ``eval_video_segmentation.label_propagation`` of the reference, after
    https://arxiv.org/abs/2006.14613.
    """
    frames, classes, height, width = context_labels.shape
    cells = height * width
    if frames == 0 or context.shape[:2] != (frames, cells) or len(target) != cells:
        raise ValueError(
            f'{cells} cells of {frames} labeled frames, but context features '
            f'{tuple(context.shape)} and target features {tuple(target.shape)}: frames of one '
            'sequence must have one size'
        )
    require_finite(target, 'features of the target frame')
    require_finite(context.flatten(0, 1), 'features of the context')
    target = F.normalize(target, dim=-1)
    sources = F.normalize(context, dim=-1).flatten(0, 1)  # (F * N, D)
    labels = context_labels.flatten(2).transpose(1, 2).reshape(-1, classes)  # (F * N, C)
    propagated = []
    for index in torch.arange(cells, device=target.device).split(chunk_size):
        affinity = (target[index] @ sources.T / temperature).exp()  # (n, F * N)
        if neighborhood > 0:
            affinity *= _neighbors(index, width, cells, neighborhood).repeat(1, frames)
        least = affinity.topk(min(topk, affinity.shape[1]), dim=1).values[:, -1:]
        affinity[affinity < least] = 0
        propagated.append((affinity / affinity.sum(dim=1, keepdim=True)) @ labels)
    return torch.cat(propagated).T.reshape(classes, height, width)


def labels_to_mask(labels: Tensor, scale: int) -> Tensor:
    """Hard mask of soft labels: enlarged, each class stretched to [0, 1], then the largest.

    Args:
        labels (Tensor): (C, h, w), class 0 is the background.
        scale (int): Enlargement, the patch size.

    Returns:
        Tensor: (h * scale, w * scale) int64 classes; the background where all classes are flat.

    Source: ``eval_video_segmentation.norm_mask`` and its caller in the reference.
    """
    large = F.interpolate(labels[None], scale_factor=scale, mode='bilinear', align_corners=False)
    flat = large[0].flatten(1)
    low, high = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    stretched = (flat - low) / (high - low).clamp(min=torch.finfo(flat.dtype).tiny)
    return stretched.argmax(dim=0).view(large.shape[-2:])
