"""The plain vision transformer of DINO, with the published parameter names."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from mmengine.model import BaseModule
from torch import Tensor, nn

from dino_mm.registry import MODELS

from .layers import KERNELS, Attention, Block, Grids, PatchEmbed, Shapes, class_tokens
from .windows import GridAttention


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
    # torch.export traces sides that vary as SymInt, and a comparison would exclude this very grid.
    if all(isinstance(side, int) for side in target) and source == target:
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
            normalized by the final norm, as the reference does.
        interpolate_mode (str): See :func:`interpolate_pos_embed`.
        with_cp (bool | int | str): What to recompute in the backward pass to save memory: all
            blocks (``True``), the first so many, or ``'attn'``: attention alone, where it is
            computed by the formula.
        attention (str): ``'auto'`` chooses by device, ``'explicit'`` is the formula, ``'fused'``
            :func:`torch.nn.functional.scaled_dot_product_attention`.
        weight_init (str): ``'trunc_normal'`` (std 0.02, published) or ``'xavier'``, which suits
            widths far below 384.
        pos_embed_std (float): Standard deviation of the initial position embedding.
        layer_scale (float): Initial value of a learned scale per channel at the end of each
            branch (DINOv2); 0 for none.
        num_registers (int): Learned tokens beside the class token (DINOv2 with registers,
            https://arxiv.org/abs/2309.16588); they carry no position and are no patch tokens.
        window_size (int): Edge in patches of the windows that attention is restricted to, for
            large images (ViTDet, https://arxiv.org/abs/2203.16527); 0 for global attention. See
            :class:`GridAttention` for what becomes of the class token.
        global_indices (Sequence[int]): Layers that keep global attention where ``window_size`` is
            given; negative ones count from the end.
        rel_pos (bool): Add decomposed relative positions to the attention logits, made for
            ``window_size`` or, in global layers, ``img_size``, and zero at first (ViTDet).

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
        with_cp: bool | int | str = False,
        attention: str = 'auto',
        weight_init: str = 'trunc_normal',
        pos_embed_std: float = 0.02,
        layer_scale: float = 0.0,
        num_registers: int = 0,
        window_size: int = 0,
        global_indices: Sequence[int] = (),
        rel_pos: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        arch = self._resolve_arch(arch)
        if out_type not in self.out_types:
            raise ValueError(f'out_type must be one of {self.out_types}, got {out_type!r}')
        self.embed_dims, self.num_layers = arch['embed_dims'], arch['num_layers']
        self.patch_size, self.out_type = patch_size, out_type
        self.out_indices = [self._layer_index(i, 'out_indices') for i in out_indices]
        self.interpolate_mode = interpolate_mode
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
        windows = [window_size] * self.num_layers
        for i in global_indices:
            windows[self._layer_index(i, 'global_indices')] = 0
        rates = torch.linspace(0, drop_path_rate, self.num_layers).tolist()
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dims,
                self._attention(arch['num_heads'], qkv_bias, window, rel_pos),
                mlp_ratio,
                rate,
                layer_scale,
            )
            for rate, window in zip(rates, windows, strict=True)
        )
        if attention not in KERNELS:
            raise ValueError(f'attention must be one of {KERNELS}, got {attention!r}')
        if isinstance(with_cp, str) and with_cp != 'attn':
            raise ValueError(f"with_cp must be a bool, a number of blocks or 'attn': {with_cp!r}")
        for block in self.blocks:
            block.attn.kernel, block.attn.recompute = attention, with_cp == 'attn'
        #: How many blocks, from the first, are recomputed.
        self.recomputed = self.num_layers if with_cp is True else 0
        if isinstance(with_cp, int) and not isinstance(with_cp, bool):
            self.recomputed = with_cp
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)
        self._initialize(weight_init, pos_embed_std)

    def _resolve_arch(self, arch: str | dict) -> dict:
        if isinstance(arch, dict):
            missing = {'embed_dims', 'num_layers', 'num_heads'} - set(arch)
            if missing:
                raise ValueError(f'arch lacks {sorted(missing)}')
            return arch
        if arch not in self.arch_settings:
            raise ValueError(f'arch must be a dict or one of {list(self.arch_settings)}: {arch!r}')
        return self.arch_settings[arch]

    def _layer_index(self, index: int, argument: str) -> int:
        if not -self.num_layers <= index < self.num_layers:
            raise ValueError(f'{argument}: layer {index} of a ViT with {self.num_layers} layers')
        return index % self.num_layers

    def _attention(self, heads: int, qkv_bias: bool, window: int, rel_pos: bool) -> Attention:
        if not window and not rel_pos:
            return Attention(self.embed_dims, heads, qkv_bias)
        grid = ((window, window) if window else self.grid) if rel_pos else None
        return GridAttention(self.embed_dims, heads, qkv_bias, window, grid)

    def _initialize(self, weight_init: str, pos_embed_std: float) -> None:
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

    def _grid(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of whole patches."""
        return tuple(side // self.patch_size for side in image.shape[-2:])

    def _pack(self, images: list[Tensor]) -> tuple[Tensor, Shapes, Grids]:
        tokens = [self.prepare_tokens(image) for image in images]
        shapes = [tuple(t.shape[:2]) for t in tokens]
        grids = [self._grid(image) for image in images]
        return torch.cat([t.flatten(0, 1) for t in tokens]), shapes, grids  # (T, C)

    def _run_blocks(
        self, images: list[Tensor], wanted: Sequence[int], class_only: bool = False
    ) -> tuple[list[Tensor], Shapes]:
        """Packed tokens, or class tokens alone, after each wanted layer, by the final norm."""
        x, shapes, grids = self._pack(images)
        outs = []
        for i, block in enumerate(self.blocks):
            # Nothing reads what the last block makes of the other tokens.
            last = class_only and i == self.num_layers - 1 and type(block.attn) is Attention
            inputs = x, shapes, grids, last
            if i < self.recomputed and self.training and torch.is_grad_enabled():
                x = torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False)
            else:
                x = block(*inputs)
            if i in wanted:
                outs.append(self.norm(class_tokens(x, shapes) if class_only and not last else x))
        return outs, shapes

    def forward(self, x: Tensor | list[Tensor]) -> tuple[Tensor, ...] | list[tuple[Tensor, ...]]:
        """Features of the chosen layers.

        Args:
            x (Tensor | list[Tensor]): (B, C, H, W), or several of them with sizes of their own.

        Returns:
            tuple[Tensor, ...]: One entry per ``out_indices``; for a list, one tuple per entry.
        """
        images = [x] if isinstance(x, Tensor) else list(x)
        class_only = self.out_type == 'cls_token'
        layers, shapes = self._run_blocks(images, self.out_indices, class_only)
        if class_only:
            layers = [layer.split([batch for batch, _ in shapes]) for layer in layers]
            results = list(zip(*layers, strict=True))
            return results[0] if isinstance(x, Tensor) else results
        sizes = [batch * tokens for batch, tokens in shapes]
        results = []
        for group in zip(*(layer.split(sizes) for layer in layers), strict=True):
            image, (batch, tokens) = images[len(results)], shapes[len(results)]
            grid = self._grid(image)
            results.append(tuple(self._format(t.view(batch, tokens, -1), grid) for t in group))
        return results[0] if isinstance(x, Tensor) else results

    def _format(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'raw':
            return tokens
        patches = tokens[:, self.num_prefix_tokens :]
        if self.out_type == 'patch_tokens':
            return patches
        if self.out_type == 'avg_featmap':
            return patches.mean(dim=1)
        return patches.transpose(1, 2).reshape(tokens.shape[0], -1, *grid).contiguous()

    def get_intermediate_layers(self, x: Tensor, n: int = 1) -> list[Tensor]:
        """Tokens of the last ``n`` layers, each normalized: a list of (B, 1 + R + N, C)."""
        wanted = range(self.num_layers - n, self.num_layers)
        layers, [(batch, tokens)] = self._run_blocks([x], wanted)
        return [layer.view(batch, tokens, -1) for layer in layers]

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise decay, in mmpretrain's convention.

        Args:
            param_name (str): Name as in the model that holds this backbone.
            prefix (str): What precedes this backbone's own names in it.

        Returns:
            tuple[int, int]: Depth (embeddings 0, block i is i + 1, the final norm last) and the
            number of depths, ``num_layers + 2``.
        """
        depths, name = self.num_layers + 2, param_name.removeprefix(prefix)
        if name.startswith(('patch_embed.', 'cls_token', 'pos_embed', 'register_tokens')):
            return 0, depths
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1, depths
        return depths - 1, depths

    def get_attention(self, x: Tensor, layer: int = -1) -> Tensor:
        """Attention probabilities of one layer: (B, C, H, W) -> (B, heads, T, T), T = 1 + R + N."""
        layer = self._layer_index(layer, 'layer')
        x, shapes, grids = self._pack([x])
        for block in self.blocks[:layer]:
            x = block(x, shapes, grids)
        block = self.blocks[layer]
        return block.attn.maps(block.norm1(x), shapes, grids)[0]
