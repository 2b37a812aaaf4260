"""What is compared on labeled images: a backbone, an untrained one, raw pixels."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from dino_mm.evaluation.backbone import FrozenBackbone
from dino_mm.evaluation.command import RANDOM, load_frozen_backbone
from dino_mm.utils.files import fingerprint

RAW_PIXELS = 'raw-pixels'


@dataclass
class Subject:
    """Something that turns uint8 images (B, 3, H, W) into features (B, P, C) of P parts.

    Attributes:
        kind: Its name in the table and in the names of files.
        embed: Computes the features of images.
        choices: Which parts a linear classifier may use, by the name of the choice.
        knn_part: The part that k-NN uses.
        key: Digest of what the features depend on, apart from the images.
        source: Where it comes from, for the report.
    """

    kind: str
    embed: Callable[[Tensor], Tensor]
    choices: dict[str, list[int]]
    knn_part: int
    key: str
    source: dict


def build_subjects(args: argparse.Namespace) -> list[Subject]:
    """What the command line compares: its checkpoint, and with ``--baselines`` two more."""
    names = [args.checkpoint]
    names += [name for name in (RANDOM, RAW_PIXELS) if args.baselines and name not in names]
    subjects = []
    for name in names:
        if name == RAW_PIXELS:
            subjects.append(raw_pixels(args.pixels))
        else:
            backbone = load_frozen_backbone(args, name)
            kind = 'untrained' if name == RANDOM else 'checkpoint'
            subjects.append(backbone_subject(kind, backbone, args.layers))
    return subjects


def backbone_subject(kind: str, backbone: FrozenBackbone, layers: Sequence[int]) -> Subject:
    """Class tokens and mean patch token of a vision transformer; pooled map of other networks.

    Raises:
        ValueError: The backbone has fewer layers.
    """
    most = max(layers)
    key = fingerprint(backbone.fingerprint, most)
    embed = partial(backbone.parts, layers=most)
    if not backbone.has_tokens:
        return Subject(kind, embed, {'pooled': [0]}, 0, key, backbone.source)
    depth = getattr(backbone.module, 'num_layers', most)
    if min(layers) < 1 or most > depth:
        raise ValueError(f'--layers {" ".join(map(str, layers))}: the backbone has {depth} layers')
    choices = {}
    for n in layers:
        last = list(range(most - n, most))
        choices[f'{n} layer{"s" * (n > 1)}'] = last
        choices[f'{n} layer{"s" * (n > 1)} + patches'] = [*last, most]
    return Subject(kind, embed, choices, most - 1, key, backbone.source)


def raw_pixels(size: int) -> Subject:
    """The pixels of images that are shrunk to at most ``size`` pixels per side."""

    def shrunk(images: Tensor) -> Tensor:
        images = images.float() / 255
        if max(images.shape[-2:]) > size:
            images = F.interpolate(images, (size, size), mode='area')
        return images.flatten(1)[:, None]

    source = dict(checkpoint=RAW_PIXELS, size=size)
    return Subject(RAW_PIXELS, shrunk, {'pixels': [0]}, 0, fingerprint(source), source)
