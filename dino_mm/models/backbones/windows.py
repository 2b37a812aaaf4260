"""Attention on a grid: within windows and with relative positions (ViTDet, arXiv 2203.16527)."""

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from .layers import Attention, Grids, Shapes, attention_map, join_groups, split_groups
from .positions import resize_table


def split_windows(x: Tensor, grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Cuts images into windows, each with a copy of the tokens that belong to no patch.

    Grids that are no multiple of the window are padded with zeros at the right and the bottom.

    Args:
        x (Tensor): (B, P + h * w, C): P prefix tokens (class token, registers), then the patches
            row by row.
        grid (tuple): (h, w).
        window (tuple): (a, b) tokens.

    Returns:
        Tensor: (B * n, P + a * b, C), the n windows of an image row by row.
    """
    (h, w), (a, b) = grid, window
    prefix, patches = x.split([x.shape[1] - h * w, h * w], dim=1)
    patches = F.pad(patches.unflatten(1, grid), (0, 0, 0, -w % b, 0, -h % a))
    patches = patches.unflatten(2, (-1, b)).unflatten(1, (-1, a)).transpose(2, 3)
    patches = patches.flatten(3, 4).flatten(1, 2)  # (B, n, a * b, C)
    prefix = prefix[:, None].expand(-1, patches.shape[1], -1, -1)
    return torch.cat([prefix, patches], dim=2).flatten(0, 1)


def merge_windows(x: Tensor, grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Undoes :func:`split_windows`; a prefix token becomes the mean of its copies.

    Args:
        x (Tensor): (B * n, P + a * b, C).
        grid (tuple): (h, w).
        window (tuple): (a, b).

    Returns:
        Tensor: (B, P + h * w, C).
    """
    (h, w), (a, b) = grid, window
    rows, columns = -(-h // a), -(-w // b)
    x = x.unflatten(0, (-1, rows * columns))
    prefix, patches = x.split([x.shape[2] - a * b, a * b], dim=2)
    patches = patches.unflatten(2, window).unflatten(1, (rows, columns)).transpose(2, 3)
    patches = patches.flatten(3, 4).flatten(1, 2)[:, :h, :w]  # (B, h, w, C)
    return torch.cat([prefix.mean(dim=1), patches.flatten(1, 2)], dim=1)


def relative_embeddings(table: Tensor, size: int) -> Tensor:
    """Embedding of every pair of places along one axis: (2 * L - 1, D) -> (size, size, D).

    Entry [i, j] belongs to the distance i - j. Tables of another length are resized linearly.
    """
    table = resize_table(table, 2 * size - 1)
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places + size - 1]


def relative_bias(q: Tensor, rows: Tensor, columns: Tensor, grid: tuple[int, int]) -> Tensor:
    """Decomposed relative positions: what they add to the attention logits.

    For a query at row i and column j and a key at (k, l): q . rows[i - k] + q . columns[j - l].
    Source: MViTv2 (arXiv 2112.01526), equation 3, as ViTDet uses it, with the query unscaled.

    Args:
        q (Tensor): (B, heads, P + h * w, D), P prefix tokens, which have no position.
        rows (Tensor): (2 * L - 1, D).
        columns (Tensor): (2 * L - 1, D).
        grid (tuple): (h, w).

    Returns:
        Tensor: (B, heads, P + h * w, P + h * w).
    """
    h, w = grid
    prefix = q.shape[2] - h * w
    patches = q[:, :, prefix:].unflatten(2, grid)  # (B, heads, h, w, D)
    vertical = torch.einsum('bnijd,ikd->bnijk', patches, relative_embeddings(rows, h))
    horizontal = torch.einsum('bnijd,jld->bnijl', patches, relative_embeddings(columns, w))
    bias = vertical[..., :, None] + horizontal[..., None, :]  # (B, heads, h, w, h, w)
    return F.pad(bias.flatten(4).flatten(2, 3), (prefix, 0, prefix, 0))


class GridAttention(Attention):
    """Self-attention within windows, with relative positions, or both.

    Prefix tokens (class token, registers) take part in every window and leave it as the mean of
    what the windows made of them, so that a window as large as the grid is global attention.

    Args:
        embed_dims (int): Width.
        num_heads (int): Heads.
        qkv_bias (bool): Bias of the query, key and value projections.
        window_size (int): Edge in tokens; 0 for global attention.
        rel_pos_grid (tuple | None): Grid that relative positions are made for, zero at first;
            ``None`` for none.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        qkv_bias: bool = True,
        window_size: int = 0,
        rel_pos_grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(embed_dims, num_heads, qkv_bias)
        self.window_size, self.rel_pos = window_size, rel_pos_grid is not None
        if self.rel_pos:
            rows, columns = rel_pos_grid
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * rows - 1, embed_dims // num_heads))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * columns - 1, embed_dims // num_heads))

    def window(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The window on a grid: no larger than it."""
        return tuple(min(self.window_size or side, side) for side in grid)

    def bias(self, q: Tensor, grid: tuple[int, int]) -> Tensor | None:
        return relative_bias(q, self.rel_pos_h, self.rel_pos_w, grid) if self.rel_pos else None

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        # PyTorch calls this on every path that loads weights.
        for name in ('rel_pos_h', 'rel_pos_w') if self.rel_pos else ():
            table, own = state_dict.get(prefix + name), getattr(self, name)
            if table is not None and table.shape[1:] == own.shape[1:] and len(table) != len(own):
                state_dict[prefix + name] = resize_table(table.float(), len(own))
                print_log(f'{prefix}{name}: resized from {len(table)} to {len(own)}', 'current')
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(
        self, x: Tensor, shapes: Shapes | None = None, grids: Grids | None = None
    ) -> Tensor:
        if grids is None:
            raise ValueError(
                'window attention and relative positions need the rows and columns of patches: '
                'call the block as block(x, grids=[(rows, columns)])'
            )
        outs = [
            self._attend_windows(group, grid)
            for group, grid in zip(split_groups(x, shapes), grids, strict=True)
        ]
        return self.proj(join_groups(outs, shapes))

    def _attend_windows(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        window = self.window(grid)
        q, k, v = self.heads(split_windows(x, grid, window))[0]
        x = self.attend(q, k, v, self.bias(q, window)).transpose(1, 2).flatten(2)
        return merge_windows(x, grid, window)  # (B, N, C)

    def maps(
        self, x: Tensor, shapes: Shapes | None = None, grids: Grids | None = None
    ) -> list[Tensor]:
        if any(self.window(grid) != tuple(grid) for grid in grids):
            raise ValueError(
                'a layer with window attention has no attention map of the whole image: choose '
                'one of global_indices'
            )
        return [
            attention_map(q, k, self.bias(q, grid))
            for (q, k, _), grid in zip(self.heads(x, shapes), grids, strict=True)
        ]
