"""Layers of the vision transformer, on packed sequences of differently sized images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: One ``(batch, tokens)`` pair per packed group of equally sized images.
Shapes = list[tuple[int, int]]
#: Rows and columns of patches, one pair per packed group.
Grids = list[tuple[int, int]]


def class_tokens(x: Tensor, shapes: Shapes) -> Tensor:
    """The first token of each image of a packed sequence: (T, C) -> (sum of batches, C)."""
    groups = x.split([batch * tokens for batch, tokens in shapes])
    first = [x.view(*shape, -1)[:, 0] for x, shape in zip(groups, shapes, strict=True)]
    return torch.cat(first) if len(first) > 1 else first[0]


class DropPath(nn.Module):
    """Stochastic depth on packed tokens: drops the branch for whole images.

    Args:
        drop_prob (float): Probability of dropping; kept branches are scaled by ``1 / (1 - p)``.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.active = drop_prob > 0
        # As a tensor, so that compiled code serves blocks of every rate.
        self.register_buffer('keep', torch.tensor(1.0 - drop_prob), persistent=False)

    def forward(self, x: Tensor, shapes: Shapes) -> Tensor:
        if not (self.active and self.training):
            return x
        masks = [
            (torch.bernoulli(self.keep.expand(batch, 1)) / self.keep)
            .expand(batch, tokens)
            .reshape(-1, 1)
            for batch, tokens in shapes
        ]
        # 1 / keep in bfloat16 would shift the mean of what is kept.
        return (x * torch.cat(masks)).to(x.dtype)  # (T, C)


class PatchEmbed(nn.Module):
    """Cuts images into patches and projects each: (B, C, H, W) -> (B, C', h, w)."""

    def __init__(self, patch_size: int, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


def attention_map(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias): (B, heads, N, D) twice -> (B, heads, N, N)."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return (logits if bias is None else logits + bias).softmax(dim=-1)


#: What computes attention: by device, the formula, or PyTorch's fused kernel.
KERNELS = ('auto', 'explicit', 'fused')
#: Up to this many tokens the formula is faster than the fused bfloat16 kernel on a CPU.
EXPLICIT_TOKENS = 1024


def is_explicit_faster(q: Tensor) -> bool:
    """Whether the plain formula beats the fused kernel for queries (B, heads, N, D).

    On a CPU it does in training, where the fused backward pass is slow, and in bfloat16.
    """
    if q.device.type != 'cpu':
        return False
    half = q.dtype is torch.bfloat16 and q.shape[-2] <= EXPLICIT_TOKENS
    return half or torch.is_grad_enabled()


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, kernel: str = 'auto'
) -> Tensor:
    """Scaled dot-product attention, each (B, heads, N, D), by one of :data:`KERNELS`."""
    if kernel == 'explicit' or (kernel == 'auto' and is_explicit_faster(q)):
        return attention_map(q, k, bias) @ v
    return F.scaled_dot_product_attention(q, k, v, bias)


class Attention(nn.Module):
    """Multi-head self-attention within each image of a packed token sequence.

    ``grids`` matter to :class:`GridAttention` only.
    """

    #: One of :data:`KERNELS`.
    kernel = 'auto'
    #: Compute attention once more in the backward pass, to keep no probabilities until then.
    recompute = False

    def __init__(self, embed_dims: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, embed_dims * 3, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """:func:`attend` with this layer's settings."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(attend, q, k, v, bias, self.kernel, use_reentrant=False)
        return attend(q, k, v, bias, self.kernel)

    def heads(self, x: Tensor, shapes: Shapes) -> list[Tensor]:
        """Queries, keys and values per group, each (3, B, heads, N, head_dim)."""
        sizes = [batch * tokens for batch, tokens in shapes]
        return [
            part.view(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
            for part, (batch, tokens) in zip(self.qkv(x).split(sizes), shapes, strict=True)
        ]

    def forward(self, x: Tensor, shapes: Shapes, grids: Grids | None = None) -> Tensor:
        outs = [
            self.attend(*qkv).transpose(1, 2).reshape(-1, x.shape[-1])
            for qkv in self.heads(x, shapes)
        ]
        return self.proj(torch.cat(outs) if len(outs) > 1 else outs[0])  # (T, C)

    def class_token(self, x: Tensor, shapes: Shapes) -> Tensor:
        """What :meth:`forward` gives the class token of each image: (T, C) -> (sum of batches, C)."""
        width, head_dim = x.shape[-1], x.shape[-1] // self.num_heads
        weight_q, weight_kv = self.qkv.weight.split([width, 2 * width])
        bias_q, bias_kv = (
            (None, None) if self.qkv.bias is None else self.qkv.bias.split([width, 2 * width])
        )
        queries = F.linear(class_tokens(x, shapes), weight_q, bias_q)
        keys_values = F.linear(x, weight_kv, bias_kv)
        outs = []
        for q, kv, (batch, tokens) in zip(
            queries.split([batch for batch, _ in shapes]),
            keys_values.split([batch * tokens for batch, tokens in shapes]),
            shapes,
            strict=True,
        ):
            q = q.view(batch, 1, self.num_heads, head_dim).transpose(1, 2)
            k, v = kv.view(batch, tokens, 2, self.num_heads, head_dim).permute(2, 0, 3, 1, 4)
            outs.append(self.attend(q, k, v).reshape(batch, width))  # of (B, heads, 1, head_dim)
        return self.proj(torch.cat(outs) if len(outs) > 1 else outs[0])

    def maps(self, x: Tensor, shapes: Shapes, grids: Grids | None = None) -> list[Tensor]:
        """Attention probabilities per group, each (B, heads, N, N)."""
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
    """Pre-norm transformer block on packed tokens (T, C)."""

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
        self, x: Tensor, shapes: Shapes, grids: Grids | None = None, class_only: bool = False
    ) -> Tensor:
        """All tokens (T, C), or without the work for the others the class tokens (B, C)."""
        branch = self.norm1(x)
        if class_only:
            branch = self.attn.class_token(branch, shapes)
            x, shapes = class_tokens(x, shapes), [(batch, 1) for batch, _ in shapes]
        else:
            branch = self.attn(branch, shapes, grids)
        x = x + self.drop_path(self.ls1(branch), shapes)
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))), shapes)
