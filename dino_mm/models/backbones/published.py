"""Methods by the names that code written for published DINO models calls."""

from collections.abc import Sequence
from numbers import Integral

from torch import Tensor

from dino_mm.utils.checks import check_number


class PublishedMethods:
    """What DINO's and DINOv2's ``VisionTransformer`` offer beside :meth:`forward`.

    A mixin of :class:`VisionTransformer`, of whose layers it returns tokens and attention.
    """

    def prepare_tokens_with_masks(self, x: Tensor, masks: Tensor | None = None) -> Tensor:
        """DINOv2's name of :meth:`prepare_tokens`."""
        return self.prepare_tokens(x, masks)

    def get_attention(self, x: Tensor, layer: int = -1) -> Tensor:
        """Attention probabilities of one layer: (B, C, H, W) -> (B, heads, T, T), T = 1 + R + N."""
        layer = self._layer_index(layer, 'layer')
        x, told = self._pack([x])
        for block in self.blocks[:layer]:
            x = block(x, **told)
        block = self.blocks[layer]
        return block.attn.maps(block.norm1(x), **told)[0]

    def get_last_selfattention(self, x: Tensor) -> Tensor:
        """:meth:`get_attention` of the last layer: (B, C, H, W) -> (B, heads, T, T)."""
        return self.get_attention(x)

    def get_intermediate_layers(
        self,
        x: Tensor,
        n: int | Sequence[int] = 1,
        reshape: bool = False,
        return_class_token: bool = False,
        norm: bool = True,
    ) -> list[Tensor] | tuple[Tensor, ...] | tuple[tuple[Tensor, Tensor], ...]:
        """Tokens of several layers, in order of depth.

        Without ``reshape`` and ``return_class_token`` all tokens are returned, as DINO does,
        whatever ``n`` is; with either of them patch tokens and class token are, as DINOv2 does.

        Args:
            x (Tensor): (B, C, H, W).
            n (int | Sequence[int]): So many layers from the last, or which ones; negative ones
                count from the end.
            reshape (bool): Patch tokens as maps (B, C, h, w).
            return_class_token (bool): The class token (B, C) with the patch tokens.
            norm (bool): Apply the final norm to each layer.

        Returns:
            list | tuple: A list of (B, 1 + R + N, C), R registers; or a tuple of patch tokens
            (B, N, C) or maps, or of pairs of these and class tokens.
        """
        if isinstance(n, Integral):
            check_number('n', n, whole=True, at_least=1, at_most=self.num_layers)
            wanted = range(self.num_layers - n, self.num_layers)
        else:
            wanted = self._layer_indices(n, 'n')
        layers = [tokens for (tokens,) in self._layers([x], None, wanted, norm=norm)]
        if not reshape and not return_class_token:
            return layers
        out_type = 'featmap' if reshape else 'patch_tokens'
        patches = tuple(self._format(tokens, self._grid(x), out_type) for tokens in layers)
        if not return_class_token:
            return patches
        return tuple(zip(patches, (tokens[:, 0] for tokens in layers), strict=True))

    def forward_features(
        self,
        x: Tensor | list[Tensor],
        masks: Tensor | Sequence[Tensor | None] | None = None,
    ) -> dict[str, Tensor | None] | list[dict[str, Tensor | None]]:
        """All tokens of the last layer by the names of DINOv2.

        Args:
            x (Tensor | list[Tensor]): As :meth:`forward` takes it.
            masks (Tensor | Sequence, optional): As :meth:`forward` takes them.

        Returns:
            dict: ``x_norm_clstoken`` (B, C), ``x_norm_regtokens`` (B, R, C), ``x_norm_patchtokens``
            (B, N, C), ``x_prenorm`` (B, 1 + R + N, C) before the final norm, and ``masks``; for a
            list, one such dict per entry.
        """
        images, masks = ([x], [masks]) if isinstance(x, Tensor) else (list(x), masks)
        masks = [None] * len(images) if masks is None else masks
        (last,) = self._layers(images, masks, [self.num_layers - 1], norm=False)
        results = [self._by_name(tokens, mask) for tokens, mask in zip(last, masks, strict=True)]
        return results[0] if isinstance(x, Tensor) else results

    def _by_name(self, tokens: Tensor, mask: Tensor | None) -> dict[str, Tensor | None]:
        normalized = self.norm(tokens)
        return dict(
            x_norm_clstoken=normalized[:, 0],
            x_norm_regtokens=normalized[:, 1 : self.num_prefix_tokens],
            x_norm_patchtokens=normalized[:, self.num_prefix_tokens :],
            x_prenorm=tokens,
            masks=mask,
        )
