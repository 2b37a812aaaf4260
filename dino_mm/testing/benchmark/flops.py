"""Floating-point operations of a training step, counted by formula; one multiply-add is two."""

import time

import torch


def stem_macs(size: int, patch: int, dim: int, stem: str = 'linear') -> tuple[int, int]:
    """Multiply-adds of one image's patch embeddings: of the first layer, and of the rest."""
    patches = (size // patch) ** 2
    if stem == 'linear':
        return patches * 3 * patch**2 * dim, 0
    found, inner = [], 3
    halvings = patch.bit_length() - 1
    for step in range(1, halvings + 1):
        outer = max(32, dim >> halvings - step) if step < halvings else dim
        found.append((size >> step) ** 2 * 9 * inner * outer)
        inner = outer
    return found[0], sum(found[1:]) + patches * dim**2


def vit_macs(
    size: int, patch: int, dim: int, depth: int, class_only: bool = False, stem: str = 'linear'
) -> tuple[int, int]:
    """Multiply-adds of one image's forward pass: of the layer on pixels, and of the rest.

    A block has :math:`12 C^2` per token in its linear layers and :math:`2 N^2 C` in attention. Of
    the tokens that nothing reads, ``class_only``, the last one makes queries, keys and values alone.
    """
    patches = (size // patch) ** 2
    tokens = patches + 1
    rest = depth * (tokens * 12 * dim**2 + 2 * tokens**2 * dim)
    if class_only:
        rest -= (tokens - 1) * (9 * dim**2 + 2 * tokens * dim)
    first, others = stem_macs(size, patch, dim, stem)
    return first, others + rest


def head_macs(dim: int, out_dim: int, hidden: int = 2048, bottleneck: int = 256) -> int:
    """Multiply-adds of the projection head on one vector."""
    return dim * hidden + hidden**2 + hidden * bottleneck + bottleneck * out_dim


def step_flops(
    sizes: list[int],
    patch: int,
    dim: int,
    depth: int,
    out_dim: int,
    class_only: bool = False,
    stem: str = 'linear',
    hidden: int = 2048,
    bottleneck: int = 256,
) -> int:
    """Operations per image: student forward and backward on all crops, teacher on two.

    Backward passes take twice the forward pass, but images need no gradient.

    Args:
        sizes (list[int]): Edge of each crop in pixels, the two global ones first.
        patch (int): Patch edge in pixels.
        dim (int): Embedding width.
        depth (int): Blocks.
        out_dim (int): Number of prototypes K.
        class_only (bool): Without what becomes of patch tokens in the last block.
        stem (str): ``'linear'`` or ``'conv'``.
        hidden (int): Width of the head's hidden layers.
        bottleneck (int): Width of its bottleneck.
    """
    macs = 0
    for index, size in enumerate(sizes):
        first, rest = vit_macs(size, patch, dim, depth, class_only, stem)
        rest += head_macs(dim, out_dim, hidden, bottleneck)
        macs += 2 * first + 3 * rest + (first + rest if index < 2 else 0)
    return 2 * macs


def matmul_peak(dtype: torch.dtype, device: str, seconds: float = 0.5) -> float:
    """Operations per second of the best square matrix product found on this machine."""
    cuda = torch.device(device).type == 'cuda'
    side = 8192 if cuda else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best, end = float('inf'), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ b
        if cuda:
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
