"""Backbone, neck and head as one network."""

import inspect
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.models.heads.dino_head import Projection
from dino_mm.models.outputs import NetworkOutputs
from dino_mm.registry import MODELS


def class_of(cfg: dict) -> type:
    """The class that a config names, which may be a bare name of the default scope."""
    with MODELS.switch_scope_and_registry(None) as registry:
        return registry.get(cfg['type'])


def build_part(key: str, cfg: dict) -> BaseModule:
    """Builds one part of the model; an unknown config key is named with the ones there are."""
    try:
        return MODELS.build(cfg)
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        accepted = ', '.join(inspect.signature(class_of(cfg)).parameters)
        raise TypeError(f'model.{key}: {error}. {cfg["type"]} takes: {accepted}') from error


def join(crops: list[Tensor]) -> Tensor:
    """Crops of one size as one batch: (B, C, h, w) each -> (V * B, C, h, w).

    Nothing is copied if they lie one after the other in memory, as the data preprocessor leaves
    them.
    """
    first, end = crops[0], crops[0].storage_offset()
    if len(crops) == 1:
        return first
    adjacent = not any(crop.requires_grad for crop in crops)
    for crop in crops:
        same = crop.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        adjacent &= same and crop.is_contiguous() and crop.storage_offset() == end
        end += crop.numel()
    if not adjacent:
        return torch.cat(crops)
    shape = sum(len(crop) for crop in crops), *first.shape[1:]
    return first.as_strided(shape, first.stride(), first.storage_offset())


def join_masks(masks: list[Tensor | None]) -> Tensor | None:
    """Masks (B, N) of the crops of one batch as (V * B, N); crops without one have no masked patch."""
    known = next((mask for mask in masks if mask is not None), None)
    if known is None:
        return None
    return torch.cat([torch.zeros_like(known) if mask is None else mask for mask in masks])


def patches_of(output: Any, prefix_tokens: int) -> Tensor | None:
    """Patch tokens (B, N, C) of a backbone's last output; ``None`` if it has none."""
    while isinstance(output, (tuple, list)):
        output = output[-1]
    if output.ndim == 4:  # a map (B, C, h, w)
        return output.flatten(2).transpose(1, 2)
    return output[:, prefix_tokens:] if output.ndim == 3 else None


class DINONetwork(BaseModule):
    """Backbone, neck and head. Student and teacher are one of these each.

    Args:
        backbone (dict): Any registered backbone. One with ``packs_crops = True`` receives all
            sizes in one call, others one call per size.
        neck (dict): Turns what the backbone returns into (B, C).
        head (dict, optional): Projection head, :class:`DINOHead` or any module that returns
            logits.
    """

    #: Whether the head works out the logits of the whole batch. Otherwise the objective does so,
    #: in parts, from bottleneck and prototypes.
    whole_logits = True

    def __init__(self, backbone: dict, neck: dict, head: dict | None = None) -> None:
        super().__init__()
        self.backbone = build_part('backbone', backbone)
        self.neck = build_part('neck', neck)
        self.head = None if head is None else build_part('head', head)

    def forward(
        self,
        crops: list[Tensor],
        data: Mapping[str, Any] | None = None,
        masks: list[Tensor | None] | None = None,
        project: bool = True,
    ) -> NetworkOutputs:
        """All that the network makes of a list of crops.

        Args:
            crops (list[Tensor]): V normalized crops, each (B, C, h, w), those of one size together.
            data (Mapping, optional): Whatever else the batch holds; passed on to the objectives.
            masks (list[Tensor | None], optional): Of each crop (B, N), true where the backbone
                sees its mask token instead of a patch. The last crops may have none.
            project (bool): Whether the head takes part.
        """
        groups = [list(same) for _, same in groupby(crops, key=lambda crop: crop.shape[-2:])]
        outputs = self._run_backbone(groups, masks)
        outs = NetworkOutputs(len(crops[0]), data=data or {})
        outs.class_tokens = torch.cat([self.neck(output) for output in outputs])
        prefix = getattr(self.backbone, 'num_prefix_tokens', 0)
        patches = [patches_of(output, prefix) for output in outputs]
        if patches[0] is not None:
            outs.patch_tokens = [
                part
                for joined, group in zip(patches, groups, strict=True)
                for part in joined.split([len(crop) for crop in group])
            ]
        if project and self.head is not None:
            found = self.head(outs.class_tokens, *([] if self.whole_logits else [False]))
            found = found if isinstance(found, Projection) else Projection(found)
            outs.logits, outs.bottleneck, outs.prototypes = found
        return outs

    def _run_backbone(
        self, groups: list[list[Tensor]], masks: list[Tensor | None] | None
    ) -> list[Any]:
        """The backbone's output for each group of equally sized crops."""
        joined = [join(group) for group in groups]
        options: dict[str, Any] = {}
        if masks is not None:
            rest = [*masks, *[None] * (sum(map(len, groups)) - len(masks))]
            options['masks'] = [join_masks([rest.pop(0) for _ in group]) for group in groups]
        if getattr(self.backbone, 'packs_crops', False):
            return self.backbone(joined, **options)
        if options:
            raise ValueError(
                f'model.backbone: {type(self.backbone).__name__} cannot mask patches; take '
                "VisionTransformer with use_mask_token=True, or leave out the batch's `masks`"
            )
        return [self.backbone(batch) for batch in joined]
