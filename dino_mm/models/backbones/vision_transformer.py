"""The plain vision transformer of DINO, with the published parameter names."""

from collections.abc import Sequence
from functools import partial

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import Self

from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number
from dino_mm.utils.renamed import renamed_keys, renamed_value

from .layers import (
    KERNELS,
    STEMS,
    Attention,
    Block,
    is_untouched,
    join_groups,
    replace_masked,
    split_groups,
)
from .positions import INTERPOLATE_MODES, fit_pos_embed, interpolate_pos_embed
from .published import PublishedMethods
from .windows import GridAttention

#: Initial values of the linear layers' weights.
WEIGHT_INITS = dict(
    trunc_normal=partial(nn.init.trunc_normal_, std=0.02), xavier=nn.init.xavier_uniform_
)


@MODELS.register_module()
@renamed_keys(with_cp='activation_checkpointing')
class VisionTransformer(PublishedMethods, BaseModule):
    """Vision transformer of DINO (https://arxiv.org/abs/2104.14294, ``vision_transformer.py``).

    One class for pretraining and every downstream task. Parameters carry the published names, so
    the published DINO and DINOv2 files and timm's plain ViTs load strictly; position embeddings of
    another grid are resized wherever weights are loaded. Images of several sizes pass together as
    a list: layers that work token by token see one packed sequence, attention runs per size.

    For ``out_type='cls_token'`` the last block leaves out the work for tokens that nothing reads,
    unless one of its layers is hooked, wrapped or replaced (adapters, quantization).

    Args:
        arch (str | dict): ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, or a dict with
            ``embed_dims``, ``num_layers`` and ``num_heads``.
        img_size (int | tuple): Size (H, W) in pixels that the position embedding is made for.
            Any other input size is interpolated to.
        patch_size (int): Patch edge in pixels.
        in_channels (int): Image channels.
        stem (str): ``'linear'`` projects each patch at once, as published; ``'conv'`` is a
            :class:`ConvStem` of convolutions with batch norm, which learns more from few images.
        mlp_ratio (float): Hidden width of the MLP over the embedding width.
        qkv_bias (bool): Bias of the query, key and value projections.
        drop_path_rate (float): Stochastic depth of the last block, rising linearly from 0.
        out_type (str): What :meth:`forward` returns of each chosen layer: ``'cls_token'`` (B, C),
            ``'patch_tokens'`` (B, N, C), ``'avg_featmap'`` (B, C) mean patch token,
            ``'featmap'`` (B, C, h, w), or ``'raw'`` (B, 1 + R + N, C), R registers after the class
            token.
        out_indices (Sequence[int]): Layers to return, in order of depth; negative ones count from
            the end. Each is normalized by the final norm, as the reference does.
        interpolate_mode (str): See :func:`interpolate_pos_embed`.
        activation_checkpointing (bool | int | str): What to recompute in the backward pass to save
            memory: all blocks (``True``), the first so many, or ``'attn'``: attention alone, where
            it is computed by the formula.
        attention (str): ``'auto'`` chooses by device, ``'eager'`` is the formula, ``'sdpa'``
            :func:`torch.nn.functional.scaled_dot_product_attention`.
        weight_init (str): ``'trunc_normal'`` (std 0.02, published) or ``'xavier'``, which suits
            widths far below 384.
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
        use_mask_token (bool): Have a learned ``mask_token`` (1, C), which takes the place of masked
            patches (DINOv2); see :meth:`forward`.
        frozen_stages (int): What is not trained and stays in evaluation mode: nothing (-1), the
            embeddings (0: patches, tokens and positions), or these and the first so many blocks;
            with all blocks the final norm as well.
        norm_eval (bool): Known from backbones with batch norm, and without effect here: layer norm
            keeps no statistics. Use ``frozen_stages`` to keep weights as they are.

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
        stem: str = 'linear',
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        out_type: str = 'cls_token',
        out_indices: Sequence[int] = (-1,),
        interpolate_mode: str = 'reference',
        activation_checkpointing: bool | int | str = False,
        attention: str = 'auto',
        weight_init: str = 'trunc_normal',
        layer_scale: float = 0.0,
        num_registers: int = 0,
        window_size: int = 0,
        global_indices: Sequence[int] = (),
        rel_pos: bool = False,
        use_mask_token: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        arch = self._resolve_arch(arch)
        sides = img_size if isinstance(img_size, (list, tuple)) else (img_size, img_size)
        if len(sides) != 2:
            raise ValueError(f'backbone.img_size must be an edge or (height, width), got {sides}')
        check_number('backbone.patch_size', patch_size, whole=True, at_least=1)
        for side in sides:
            check_number('backbone.img_size', side, whole=True, at_least=patch_size)
        check_number('backbone.in_channels', in_channels, whole=True, at_least=1)
        if stem not in STEMS:
            raise ValueError(f'backbone.stem must be one of {list(STEMS)}, got {stem!r}')
        if stem == 'conv' and (patch_size < 2 or patch_size & (patch_size - 1)):
            raise ValueError(
                "backbone.stem='conv' halves the image several times: backbone.patch_size must be "
                f'2, 4, 8, 16 or another power of two, got {patch_size}'
            )
        check_number('backbone.mlp_ratio', mlp_ratio, above=0)
        check_number('backbone.drop_path_rate', drop_path_rate, at_least=0, below=1)
        check_number('backbone.layer_scale', layer_scale, at_least=0)
        check_number('backbone.num_registers', num_registers, whole=True, at_least=0)
        check_number('backbone.window_size', window_size, whole=True, at_least=0)
        if out_type not in self.out_types:
            raise ValueError(f'out_type must be one of {self.out_types}, got {out_type!r}')
        if interpolate_mode not in INTERPOLATE_MODES:
            raise ValueError(
                f'interpolate_mode must be one of {INTERPOLATE_MODES}, got {interpolate_mode!r}'
            )
        self.embed_dims, self.num_layers = arch['embed_dims'], arch['num_layers']
        # As DINOv2 and timm call them.
        self.embed_dim = self.num_features = self.embed_dims
        self.n_blocks = self.num_layers
        self.patch_size, self.out_type = patch_size, out_type
        self.out_indices = self._layer_indices(out_indices, 'out_indices')
        self.interpolate_mode = interpolate_mode
        #: Tokens before the first patch token: class token and registers.
        self.num_prefix_tokens = 1 + num_registers

        self.grid = tuple(side // patch_size for side in sides)
        self.patch_embed = STEMS[stem](patch_size, in_channels, self.embed_dims)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        self.pos_embed = nn.Parameter(
            torch.zeros(1, 1 + self.grid[0] * self.grid[1], self.embed_dims)
        )
        if num_registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, num_registers, self.embed_dims))
        if use_mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, self.embed_dims))
        windows = [window_size] * self.num_layers
        for i in self._layer_indices(global_indices, 'global_indices'):
            windows[i] = 0
        #: Whether blocks need to know how patches lie.
        self.needs_grids = any(windows) or rel_pos
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
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)
        self._set_kernel(attention, activation_checkpointing)
        self._initialize(weight_init)
        self._freeze(frozen_stages)

    def _resolve_arch(self, arch: str | dict) -> dict:
        if not isinstance(arch, dict):
            if arch not in self.arch_settings:
                known = list(self.arch_settings)
                raise ValueError(f'arch must be a dict or one of {known}: {arch!r}')
            return self.arch_settings[arch]
        keys = ('embed_dims', 'num_layers', 'num_heads')
        if missing := [key for key in keys if key not in arch]:
            raise ValueError(f'arch lacks {missing}')
        for key in keys:
            check_number(f'backbone.arch.{key}', arch[key], whole=True, at_least=1)
        if arch['embed_dims'] % arch['num_heads']:
            raise ValueError(
                f'backbone.arch.embed_dims must be a multiple of num_heads ({arch["num_heads"]}), '
                f'got {arch["embed_dims"]}'
            )
        return arch

    def _layer_index(self, index: int, argument: str) -> int:
        if not -self.num_layers <= index < self.num_layers:
            raise ValueError(f'{argument}: layer {index} of a ViT with {self.num_layers} layers')
        return index % self.num_layers

    def _layer_indices(self, indices: Sequence[int], argument: str) -> list[int]:
        found = [self._layer_index(i, argument) for i in indices]
        if len(set(found)) < len(found):
            raise ValueError(f'{argument}: a layer is named twice in {list(indices)}')
        return found

    def _attention(self, heads: int, qkv_bias: bool, window: int, rel_pos: bool) -> Attention:
        if not window and not rel_pos:
            return Attention(self.embed_dims, heads, qkv_bias)
        grid = ((window, window) if window else self.grid) if rel_pos else None
        return GridAttention(self.embed_dims, heads, qkv_bias, window, grid)

    def _set_kernel(self, attention: str, recompute: bool | int | str) -> None:
        attention = renamed_value('attention', attention, dict(explicit='eager', fused='sdpa'))
        if attention not in KERNELS:
            raise ValueError(f'attention must be one of {KERNELS}, got {attention!r}')
        for block in self.blocks:
            block.attn.kernel, block.attn.recompute = attention, recompute == 'attn'
        if recompute == 'attn' or isinstance(recompute, bool):
            recompute = self.num_layers if recompute is True else 0
        elif isinstance(recompute, str):
            raise ValueError(
                "activation_checkpointing must be a bool, a number of blocks or 'attn', got "
                f'{recompute!r}'
            )
        check_number('backbone.activation_checkpointing', recompute, whole=True, at_least=0)
        #: How many blocks, from the first, are recomputed.
        self.recomputed = recompute

    def _initialize(self, weight_init: str) -> None:
        if weight_init not in WEIGHT_INITS:
            raise ValueError(
                f'weight_init must be one of {list(WEIGHT_INITS)}, got {weight_init!r}'
            )
        # At construction rather than in init_weights(), which the Runner calls late and which
        # would overwrite weights loaded before it. The patch projection keeps PyTorch's default.
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        if self.num_prefix_tokens > 1:
            nn.init.normal_(self.register_tokens, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                WEIGHT_INITS[weight_init](module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _freeze(self, stages: int) -> None:
        key = 'backbone.frozen_stages'
        check_number(key, stages, whole=True, at_least=-1, at_most=self.num_layers)
        self.frozen_stages = stages
        if stages >= 0:
            for parameter in self.parameters(recurse=False):  # tokens and positions
                parameter.requires_grad = False
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train()

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        last = [self.norm] if self.frozen_stages == self.num_layers else []
        return [self.patch_embed, *self.blocks[: self.frozen_stages], *last]

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        # PyTorch calls this on every path that loads weights.
        key = f'{prefix}pos_embed'
        theirs, ours = state_dict.get(key), self.pos_embed
        if theirs is not None and theirs.shape != ours.shape and theirs.shape[2:] == ours.shape[2:]:
            state_dict[key] = fit_pos_embed(theirs, self.grid, self.interpolate_mode, key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def prepare_tokens(self, x: Tensor, masks: Tensor | None = None) -> Tensor:
        """Tokens with positions: (B, C, H, W) -> (B, 1 + R + h*w, C'), R registers.

        Args:
            x (Tensor): Images.
            masks (Tensor, optional): (B, h*w) bool, true where ``mask_token`` replaces a patch.
        """
        if min(x.shape[-2:]) < self.patch_size:
            raise ValueError(
                f'image of {tuple(x.shape[-2:])} is below one patch ({self.patch_size})'
            )
        x = self.patch_embed(x)
        grid = tuple(x.shape[-2:])
        x = x.flatten(2).transpose(1, 2)  # (B, h*w, C)
        if masks is not None:
            x = replace_masked(x, masks, getattr(self, 'mask_token', None))
        pos = interpolate_pos_embed(self.pos_embed[:, 1:], self.grid, grid, self.interpolate_mode)
        prefix = self.cls_token + self.pos_embed[:, :1]
        if self.num_prefix_tokens > 1:
            prefix = torch.cat([prefix, self.register_tokens], dim=1)
        return torch.cat([prefix.expand(x.shape[0], -1, -1), x + pos], dim=1)

    def _grid(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of whole patches."""
        return tuple(side // self.patch_size for side in image.shape[-2:])

    def _pack(
        self, images: list[Tensor], masks: Sequence[Tensor | None] | None = None
    ) -> tuple[Tensor, dict]:
        """Tokens of all images, and what blocks are told about them."""
        masks = [None] * len(images) if masks is None else masks
        tokens = [self.prepare_tokens(*pair) for pair in zip(images, masks, strict=True)]
        several = len(tokens) > 1
        told = dict(shapes=[tuple(t.shape[:2]) for t in tokens]) if several else {}
        x = join_groups(tokens, told.get('shapes'))
        if self.needs_grids:
            told['grids'] = [self._grid(image) for image in images]
        return x, told

    def _layers(
        self,
        images: list[Tensor],
        masks: Sequence[Tensor | None] | None,
        wanted: Sequence[int],
        class_only: bool = False,
        norm: bool = True,
    ) -> list[list[Tensor]]:
        """Tokens after each wanted layer, a list of (B, T, C) by image size; T may be 1 if
        ``class_only``."""
        x, told = self._pack(images, masks)
        shapes, outs = told.get('shapes'), []
        for i, block in enumerate(self.blocks):
            # Nothing reads what the last block makes of the other tokens.
            if class_only and i == self.num_layers - 1 and is_untouched(block, self.norm):
                told['class_only'] = True
                shapes = shapes and [(batch, 1) for batch, _ in shapes]
            if i < self.recomputed and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, **told)
            else:
                x = block(x, **told)
            if i in wanted:
                outs.append(split_groups(self.norm(x) if norm else x, shapes))
        return outs

    def forward(
        self,
        x: Tensor | list[Tensor],
        masks: Tensor | Sequence[Tensor | None] | None = None,
    ) -> tuple[Tensor, ...] | list[tuple[Tensor, ...]]:
        """Features of the chosen layers.

        Args:
            x (Tensor | list[Tensor]): (B, C, H, W), or several of them with sizes of their own.
            masks (Tensor | Sequence, optional): (B, h*w) bool, row by row: patches whose embedding
                ``mask_token`` replaces before positions are added. For a list one mask or ``None``
                per entry.

        Returns:
            tuple[Tensor, ...]: One entry per ``out_indices``; for a list, one tuple per entry.
        """
        images, masks = ([x], [masks]) if isinstance(x, Tensor) else (list(x), masks)
        layers = self._layers(images, masks, self.out_indices, self.out_type == 'cls_token')
        results = [
            tuple(self._format(tokens, self._grid(image), self.out_type) for tokens in group)
            for image, group in zip(images, zip(*layers, strict=True), strict=True)
        ]
        return results[0] if isinstance(x, Tensor) else results

    def _format(self, tokens: Tensor, grid: tuple[int, int], out_type: str) -> Tensor:
        if out_type == 'raw':
            return tokens
        if out_type == 'cls_token':
            return tokens[:, 0]
        patches = tokens[:, self.num_prefix_tokens :]
        if out_type == 'patch_tokens':
            return patches
        if out_type == 'avg_featmap':
            return patches.mean(dim=1)
        return patches.transpose(1, 2).reshape(tokens.shape[0], -1, *grid).contiguous()

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
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1, depths
        embeddings = ('patch_embed.', 'cls_token', 'pos_embed', 'register_tokens', 'mask_token')
        return 0 if name.startswith(embeddings) else depths - 1, depths
