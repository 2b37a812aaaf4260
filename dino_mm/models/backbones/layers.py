"""Layers of the vision transformer, on images of one size or of several.

Tokens of equally sized images are (B, N, C), as everywhere. Those of several sizes are packed into
one sequence (T, C), and then ``shapes`` tells what belongs together.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: One ``(batch, tokens)`` pair per packed group of equally sized images.
Shapes = list[tuple[int, int]]
#: Rows and columns of patches, one pair per packed group.
Grids = list[tuple[int, int]]


def split_groups(x: Tensor, shapes: Shapes | None) -> list[Tensor]:
    """Tokens image size by image size, each (B, N, C)."""
    if shapes is None:
        return [x]
    groups = x.split([batch * tokens for batch, tokens in shapes])
    return [group.view(*shape, -1) for group, shape in zip(groups, shapes, strict=True)]


def join_groups(groups: list[Tensor], shapes: Shapes | None) -> Tensor:
    """Undoes :func:`split_groups`."""
    if shapes is None:
        return groups[0]
    return torch.cat([group.flatten(0, 1) for group in groups])  # (T, C)


class DropPath(nn.Module):
    """Stochastic depth: drops the branch for whole images.

    Args:
        drop_prob (float): Probability of dropping; kept branches are scaled by ``1 / (1 - p)``.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.active = drop_prob > 0
        # As a tensor, so that compiled code serves blocks of every rate.
        self.register_buffer('keep', torch.tensor(1.0 - drop_prob), persistent=False)

    def forward(self, x: Tensor, shapes: Shapes | None = None) -> Tensor:
        if not (self.active and self.training):
            return x
        masks = [
            (torch.bernoulli(self.keep.expand(batch, 1, 1)) / self.keep).expand(batch, tokens, 1)
            for batch, tokens in shapes or [x.shape[:2]]
        ]
        # 1 / keep in bfloat16 would shift the mean of what is kept.
        return (x * join_groups(masks, shapes)).to(x.dtype)


class PatchEmbed(nn.Module):
    """Cuts images into patches and projects each: (B, C, H, W) -> (B, C', h, w)."""

    def __init__(self, patch_size: int, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class ConvStem(nn.Module):
    """Patch embeddings by convolutions: (B, C, H, W) -> (B, C', h, w), with patches of 2^n pixels.

    n convolutions of 3x3 with stride 2, each with batch norm and GELU, then a projection. Learns
    edges and colors from far fewer images than one projection of whole patches
    (https://arxiv.org/abs/2106.14881).
    """

    def __init__(self, patch_size: int, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        halvings = patch_size.bit_length() - 1
        widths = [max(32, embed_dims >> left) for left in range(halvings - 1, 0, -1)]
        widths = [in_channels, *widths, embed_dims]
        self.patch_size = patch_size
        self.stem = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(outer),
                    nn.GELU(),
                )
                for inner, outer in pairwise(widths)
            )
        )
        self.proj = nn.Conv2d(embed_dims, embed_dims, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = (side // self.patch_size * self.patch_size for side in x.shape[-2:])
        x = x[..., :height, :width].contiguous(memory_format=torch.channels_last)
        return self.proj(self.stem(x))  # whole patches only


#: What makes patch embeddings.
STEMS = dict(linear=PatchEmbed, conv=ConvStem)


def replace_masked(x: Tensor, masks: Tensor, mask_token: Tensor | None) -> Tensor:
    """Patch embeddings (B, N, C) with those of masked patches replaced.

    Args:
        x (Tensor): (B, N, C).
        masks (Tensor): (B, N) bool.
        mask_token (Tensor | None): (1, C).
    """
    if mask_token is None:
        raise ValueError('masks need a backbone with use_mask_token=True')
    if masks.shape != x.shape[:2] or masks.dtype is not torch.bool:
        raise ValueError(
            f'masks must be bool of shape {tuple(x.shape[:2])}, one entry per patch, got '
            f'{masks.dtype} of shape {tuple(masks.shape)}'
        )
    return torch.where(masks[..., None], mask_token.to(x.dtype), x)


def attention_map(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias): (B, heads, N, D) twice -> (B, heads, N, N)."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return (logits if bias is None else logits + bias).softmax(dim=-1)


#: What computes attention: by device, the formula, or PyTorch's fused kernel.
KERNELS = ('auto', 'eager', 'sdpa')
#: Up to this many tokens the formula is faster than the fused bfloat16 kernel on a CPU.
EAGER_TOKENS = 1024


def is_eager(q: Tensor, kernel: str) -> bool:
    """Whether one of :data:`KERNELS` means the formula for queries (B, heads, N, D).

    On a CPU it is faster in training, where the fused backward pass is slow, and in bfloat16.
    """
    if kernel != 'auto':
        return kernel == 'eager'
    if q.device.type != 'cpu':
        return False
    half = q.dtype is torch.bfloat16 and q.shape[-2] <= EAGER_TOKENS
    return half or torch.is_grad_enabled()


def eager_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention by the formula."""
    return attention_map(q, k, bias) @ v


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    kernel: str = 'auto',
    recompute: bool = False,
) -> Tensor:
    """Scaled dot-product attention, each (B, heads, N, D), by one of :data:`KERNELS`.

    The formula can be computed once more in the backward pass, to keep no probabilities until
    then; the fused kernel keeps none anyway.
    """
    if not is_eager(q, kernel):
        return F.scaled_dot_product_attention(q, k, v, bias)
    if recompute and torch.is_grad_enabled():
        return checkpoint(eager_attention, q, k, v, bias, use_reentrant=False)
    return eager_attention(q, k, v, bias)


class Attention(nn.Module):
    """Multi-head self-attention within each image.

    ``grids`` matter to :class:`GridAttention` only.
    """

    #: One of :data:`KERNELS`.
    kernel = 'auto'
    #: See :func:`attend`.
    recompute = False

    def __init__(self, embed_dims: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, embed_dims * 3, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """:func:`attend` with this layer's settings."""
        return attend(q, k, v, bias, self.kernel, self.recompute)

    def heads(self, x: Tensor, shapes: Shapes | None = None) -> list[Tensor]:
        """Queries, keys and values image size by image size, each (3, B, heads, N, head_dim)."""
        return [
            group.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
            for group in split_groups(self.qkv(x), shapes)
        ]

    def forward(
        self,
        x: Tensor,
        shapes: Shapes | None = None,
        grids: Grids | None = None,
        class_only: bool = False,
    ) -> Tensor:
        """All tokens, or of each image what becomes of the class token alone."""
        outs = []
        for q, k, v in self.heads(x, shapes):
            queries = q[:, :, :1] if class_only else q
            outs.append(self.attend(queries, k, v).transpose(1, 2).flatten(2))
        return self.proj(join_groups(outs, shapes))

    def maps(
        self, x: Tensor, shapes: Shapes | None = None, grids: Grids | None = None
    ) -> list[Tensor]:
        """Attention probabilities image size by image size, each (B, heads, N, N)."""
        return [attention_map(q, k) for q, k, _ in self.heads(x, shapes)]


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned scale per channel (https://arxiv.org/abs/2103.17239)."""

    def __init__(self, embed_dims: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((embed_dims,), float(init_value)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block on tokens (B, N, C), or on packed ones (T, C)."""

    def __init__(
        self,
        embed_dims: int,
        attn: Attention,
        mlp_ratio: float,
        drop_path: float,
        layer_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = attn
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))
        self.ls1 = LayerScale(embed_dims, layer_scale) if layer_scale else nn.Identity()
        self.ls2 = LayerScale(embed_dims, layer_scale) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Tensor,
        shapes: Shapes | None = None,
        grids: Grids | None = None,
        class_only: bool = False,
    ) -> Tensor:
        """All tokens, or without the work for the others the first of each image.

        Args:
            x (Tensor): (B, N, C), or packed (T, C).
            shapes (list, optional): Batch and number of tokens of each packed image size.
            grids (list, optional): Rows and columns of patches of each image size, which windows
                and relative positions need.
            class_only (bool): Return class tokens alone: (B, 1, C), or packed (sum of batches, C).
        """
        # What replaces the attention need not know of more than this call asks for.
        told = dict(shapes=shapes, grids=grids, class_only=class_only)
        branch = self.attn(self.norm1(x), **{k: v for k, v in told.items() if v})
        if class_only:
            x = join_groups([group[:, :1] for group in split_groups(x, shapes)], shapes)
            shapes = shapes and [(batch, 1) for batch, _ in shapes]
        x = x + self.drop_path(self.ls1(branch), shapes)
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))), shapes)


#: What a :class:`Block` is built of; of these only the attention lets tokens see each other.
OWN_LAYERS = {
    *(Block, Attention, Mlp, LayerScale, DropPath),
    *(nn.LayerNorm, nn.Linear, nn.GELU, nn.Identity),
}


def is_replaced(module: nn.Module) -> bool:
    """Whether somebody gave a layer another ``forward`` than its class has.

    One that computes the same, such as its compiled form, says so by ``is_same = True``.
    """
    forward = vars(module).get('forward')
    return forward is not None and not getattr(forward, 'is_same', False)


def is_untouched(*modules: nn.Module) -> bool:
    """Whether all layers of modules are our own, and nobody hooks, wraps or replaces one.

    Anything else may look at all tokens, so none may be left out.
    """
    return all(
        type(part) in OWN_LAYERS
        and not is_replaced(part)
        and not (part._forward_hooks or part._forward_pre_hooks)
        and not (part._backward_hooks or part._backward_pre_hooks)
        for module in modules
        for part in module.modules()
    )
