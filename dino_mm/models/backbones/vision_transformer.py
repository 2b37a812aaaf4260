"""The plain vision transformer of DINO, with the published parameter names."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from mmengine.model import BaseModule
from torch import Tensor, nn

from dino_mm.registry import MODELS

#: One ``(batch, tokens)`` pair per packed group of equally sized images.
Shapes = list[tuple[int, int]]


class DropPath(nn.Module):
    """Stochastic depth on packed tokens: drops the branch for whole images.

    Args:
        drop_prob (float): Probability of dropping; kept branches are scaled by ``1 / (1 - p)``.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor, shapes: Shapes) -> Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1.0 - self.drop_prob
        masks = [
            x.new_empty(batch, 1).bernoulli_(keep).div_(keep).expand(batch, tokens).reshape(-1, 1)
            for batch, tokens in shapes
        ]
        return x * torch.cat(masks)  # (T, C)


class PatchEmbed(nn.Module):
    """Cuts images into patches and projects each: (B, C, H, W) -> (B, C', h, w)."""

    def __init__(self, patch_size: int, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, each (B, heads, N, D), by the faster kernel of the device.

    The fused CPU kernel's backward pass is slower than the plain formula.
    """
    if q.device.type == 'cpu' and torch.is_grad_enabled():
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Multi-head self-attention within each image of a packed token sequence."""

    def __init__(self, embed_dims: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, embed_dims * 3, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def heads(self, x: Tensor, shapes: Shapes) -> list[Tensor]:
        """Queries, keys and values per group, each (3, B, heads, N, head_dim)."""
        sizes = [batch * tokens for batch, tokens in shapes]
        return [
            part.view(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
            for part, (batch, tokens) in zip(self.qkv(x).split(sizes), shapes, strict=True)
        ]

    def forward(self, x: Tensor, shapes: Shapes) -> Tensor:
        outs = [
            attend(*qkv).transpose(1, 2).reshape(-1, x.shape[-1]) for qkv in self.heads(x, shapes)
        ]
        return self.proj(torch.cat(outs) if len(outs) > 1 else outs[0])  # (T, C)

    def maps(self, x: Tensor, shapes: Shapes) -> list[Tensor]:
        """Attention probabilities per group, each (B, heads, N, N)."""
        out = []
        for q, k, _ in self.heads(x, shapes):
            out.append((q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1))
        return out


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
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path: float,
        layer_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = Attention(embed_dims, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))
        self.ls1 = LayerScale(embed_dims, layer_scale) if layer_scale else nn.Identity()
        self.ls2 = LayerScale(embed_dims, layer_scale) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, shapes: Shapes) -> Tensor:
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), shapes)), shapes)
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))), shapes)


def interpolate_pos_embed(
    pos_embed: Tensor, source: tuple[int, int], target: tuple[int, int], mode: str = 'reference'
) -> Tensor:
    """Resizes a patch position embedding to another grid (bicubic).

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
    if source == target:
        return pos_embed
    grid = pos_embed.reshape(1, *source, -1).permute(0, 3, 1, 2)  # (1, C, h, w)
    if mode == 'reference':
        scale = tuple((t + 0.1) / s for t, s in zip(target, source, strict=True))
        grid = F.interpolate(grid, scale_factor=scale, mode='bicubic')
    elif mode in ('exact', 'antialias'):
        grid = F.interpolate(grid, size=target, mode='bicubic', antialias=mode == 'antialias')
    else:
        raise ValueError(
            f"interpolate_mode must be 'reference', 'exact' or 'antialias', got {mode!r}"
        )
    return grid.flatten(2).transpose(1, 2)


@MODELS.register_module()
class VisionTransformer(BaseModule):
    """Vision transformer of DINO (https://arxiv.org/abs/2104.14294, ``vision_transformer.py``).

    One class for pretraining and every downstream task. Parameters carry the published names, so
    the published DINO and DINOv2 files and timm's plain ViTs load strictly. Images of several
    sizes pass together as a list: layers that work token by token see one packed sequence,
    attention runs per size.

    Args:
        arch (str | dict): ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, or a dict with
            ``embed_dims``, ``num_layers`` and ``num_heads``.
        img_size (int | tuple): Size (H, W) in pixels that the position embedding is made for.
            Any other input size is interpolated to.
        patch_size (int): Patch edge in pixels.
        in_channels (int): Image channels.
        mlp_ratio (float): Hidden width of the MLP over the embedding width.
        qkv_bias (bool): Bias of the query, key and value projections.
        drop_path_rate (float): Stochastic depth of the last block, rising linearly from 0.
        out_type (str): What :meth:`forward` returns of each chosen layer: ``'cls_token'`` (B, C),
            ``'patch_tokens'`` (B, N, C), ``'avg_featmap'`` (B, C) mean patch token,
            ``'featmap'`` (B, C, h, w), or ``'raw'`` (B, 1 + R + N, C), R registers after the class
            token.
        out_indices (Sequence[int]): Layers to return; negative ones count from the end. Each is
            normalised by the final norm, as the reference does.
        interpolate_mode (str): See :func:`interpolate_pos_embed`.
        with_cp (bool): Recompute blocks in the backward pass to save memory.
        weight_init (str): ``'trunc_normal'`` (std 0.02, published) or ``'xavier'``, which suits
            widths far below 384.
        pos_embed_std (float): Standard deviation of the initial position embedding.
        layer_scale (float): Initial value of a learned scale per channel at the end of each
            branch (DINOv2); 0 for none.
        num_registers (int): Learned tokens beside the class token (DINOv2 with registers,
            https://arxiv.org/abs/2309.16588); they carry no position and are no patch tokens.

    Example:
        >>> model = VisionTransformer('tiny', out_type='featmap', out_indices=(5, 11))
        >>> [tuple(f.shape) for f in model(torch.zeros(2, 3, 224, 96))]
        [(2, 192, 14, 6), (2, 192, 14, 6)]
    """

    arch_settings = {
        'tiny': dict(embed_dims=192, num_layers=12, num_heads=3),
        'small': dict(embed_dims=384, num_layers=12, num_heads=6),
        'base': dict(embed_dims=768, num_layers=12, num_heads=12),
        'large': dict(embed_dims=1024, num_layers=24, num_heads=16),
    }
    out_types = ('cls_token', 'patch_tokens', 'avg_featmap', 'featmap', 'raw')
    #: :meth:`forward` takes a list of differently sized batches.
    packs_crops = True

    def __init__(
        self,
        arch: str | dict = 'small',
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        out_type: str = 'cls_token',
        out_indices: Sequence[int] = (-1,),
        interpolate_mode: str = 'reference',
        with_cp: bool = False,
        weight_init: str = 'trunc_normal',
        pos_embed_std: float = 0.02,
        layer_scale: float = 0.0,
        num_registers: int = 0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        arch = self._resolve_arch(arch)
        if out_type not in self.out_types:
            raise ValueError(f'out_type must be one of {self.out_types}, got {out_type!r}')
        self.embed_dims, self.num_layers = arch['embed_dims'], arch['num_layers']
        self.patch_size, self.out_type = patch_size, out_type
        self.out_indices = [self._layer_index(i) for i in out_indices]
        self.interpolate_mode, self.with_cp = interpolate_mode, with_cp
        #: Tokens before the first patch token: class token and registers.
        self.num_prefix_tokens = 1 + num_registers

        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid = (height // patch_size, width // patch_size)
        self.patch_embed = PatchEmbed(patch_size, in_channels, self.embed_dims)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        self.pos_embed = nn.Parameter(
            torch.zeros(1, 1 + self.grid[0] * self.grid[1], self.embed_dims)
        )
        if num_registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, num_registers, self.embed_dims))
        rates = torch.linspace(0, drop_path_rate, self.num_layers).tolist()
        self.blocks = nn.ModuleList(
            Block(self.embed_dims, arch['num_heads'], mlp_ratio, qkv_bias, rate, layer_scale)
            for rate in rates
        )
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)
        self._initialise(weight_init, pos_embed_std)

    def _resolve_arch(self, arch: str | dict) -> dict:
        if isinstance(arch, dict):
            missing = {'embed_dims', 'num_layers', 'num_heads'} - set(arch)
            if missing:
                raise ValueError(f'arch lacks {sorted(missing)}')
            return arch
        if arch not in self.arch_settings:
            raise ValueError(f'arch must be a dict or one of {list(self.arch_settings)}: {arch!r}')
        return self.arch_settings[arch]

    def _layer_index(self, index: int) -> int:
        if not -self.num_layers <= index < self.num_layers:
            raise ValueError(f'out_indices: layer {index} of a ViT with {self.num_layers} layers')
        return index % self.num_layers

    def _initialise(self, weight_init: str, pos_embed_std: float) -> None:
        # At construction rather than in init_weights(), which the Runner calls late and which
        # would overwrite weights loaded before it. The patch projection keeps PyTorch's default.
        nn.init.trunc_normal_(self.pos_embed, std=pos_embed_std)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        if self.num_prefix_tokens > 1:
            nn.init.normal_(self.register_tokens, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if weight_init == 'xavier':
                    nn.init.xavier_uniform_(module.weight)
                elif weight_init == 'trunc_normal':
                    nn.init.trunc_normal_(module.weight, std=0.02)
                else:
                    raise ValueError(f"weight_init: 'trunc_normal' or 'xavier', not {weight_init}")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def prepare_tokens(self, x: Tensor) -> Tensor:
        """Tokens with positions: (B, C, H, W) -> (B, 1 + R + h*w, C'), R registers."""
        if min(x.shape[-2:]) < self.patch_size:
            raise ValueError(
                f'image of {tuple(x.shape[-2:])} is below one patch ({self.patch_size})'
            )
        x = self.patch_embed(x)
        grid = tuple(x.shape[-2:])
        x = x.flatten(2).transpose(1, 2)  # (B, h*w, C)
        pos = interpolate_pos_embed(self.pos_embed[:, 1:], self.grid, grid, self.interpolate_mode)
        prefix = self.cls_token + self.pos_embed[:, :1]
        if self.num_prefix_tokens > 1:
            prefix = torch.cat([prefix, self.register_tokens], dim=1)
        return torch.cat([prefix.expand(x.shape[0], -1, -1), x + pos], dim=1)

    def _pack(self, images: list[Tensor]) -> tuple[Tensor, Shapes]:
        tokens = [self.prepare_tokens(image) for image in images]
        shapes = [tuple(t.shape[:2]) for t in tokens]
        return torch.cat([t.flatten(0, 1) for t in tokens]), shapes  # (T, C)

    def _run_blocks(
        self, images: list[Tensor], wanted: Sequence[int]
    ) -> tuple[list[Tensor], Shapes]:
        """Packed tokens after each wanted layer, normalised by the final norm."""
        x, shapes = self._pack(images)
        outs = []
        for i, block in enumerate(self.blocks):
            if self.with_cp and self.training and torch.is_grad_enabled():
                x = torch.utils.checkpoint.checkpoint(block, x, shapes, use_reentrant=False)
            else:
                x = block(x, shapes)
            if i in wanted:
                outs.append(self.norm(x))
        return outs, shapes

    def forward(self, x: Tensor | list[Tensor]) -> tuple[Tensor, ...] | list[tuple[Tensor, ...]]:
        """Features of the chosen layers.

        Args:
            x (Tensor | list[Tensor]): (B, C, H, W), or several of them with sizes of their own.

        Returns:
            tuple[Tensor, ...]: One entry per ``out_indices``; for a list, one tuple per entry.
        """
        images = [x] if isinstance(x, Tensor) else list(x)
        layers, shapes = self._run_blocks(images, self.out_indices)
        sizes = [batch * tokens for batch, tokens in shapes]
        results = []
        for group in zip(*(layer.split(sizes) for layer in layers), strict=True):
            image, (batch, tokens) = images[len(results)], shapes[len(results)]
            grid = tuple(side // self.patch_size for side in image.shape[-2:])
            results.append(tuple(self._format(t.view(batch, tokens, -1), grid) for t in group))
        return results[0] if isinstance(x, Tensor) else results

    def _format(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'raw':
            return tokens
        if self.out_type == 'cls_token':
            return tokens[:, 0]
        patches = tokens[:, self.num_prefix_tokens :]
        if self.out_type == 'patch_tokens':
            return patches
        if self.out_type == 'avg_featmap':
            return patches.mean(dim=1)
        return patches.transpose(1, 2).reshape(tokens.shape[0], -1, *grid).contiguous()

    def get_intermediate_layers(self, x: Tensor, n: int = 1) -> list[Tensor]:
        """Tokens of the last ``n`` layers, each normalised: a list of (B, 1 + R + N, C)."""
        wanted = range(self.num_layers - n, self.num_layers)
        layers, [(batch, tokens)] = self._run_blocks([x], wanted)
        return [layer.view(batch, tokens, -1) for layer in layers]

    def get_attention(self, x: Tensor, layer: int = -1) -> Tensor:
        """Attention probabilities of one layer: (B, C, H, W) -> (B, heads, T, T), T = 1 + R + N."""
        layer = self._layer_index(layer)
        x, shapes = self._pack([x])
        for block in self.blocks[:layer]:
            x = block(x, shapes)
        block = self.blocks[layer]
        return block.attn.maps(block.norm1(x), shapes)[0]
