"""Turns a full file of the published code into one that our configs go on from."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from dino_mm.checkpoint.files import CheckpointError, read_checkpoint
from dino_mm.checkpoint.layouts import State, layout_of, to_mmpretrain_xcit
from dino_mm.checkpoint.weights import NETWORKS, TRANSPARENT
from dino_mm.utils.files import plain, save_atomically


def model_state(content: Mapping[str, Any], source: str) -> State:
    """Student, teacher and center by the names of :class:`dino_mm.models.DINO`.

    Args:
        content (Mapping): ``student`` and ``teacher`` with backbone and head, and ``dino_loss`` with
            the center, as ``main_dino.py`` saves them.
        source (str): Name of the file, for messages.

    Raises:
        CheckpointError: One of them is missing.
    """
    state: State = {}
    for network in NETWORKS:
        tensors = {
            TRANSPARENT.sub('', key).removeprefix('module.'): value
            for key, value in (content.get(network) or {}).items()
        }
        backbone = {
            key.removeprefix('backbone.'): value
            for key, value in tensors.items()
            if key.startswith('backbone.')
        }
        head = {k: v for k, v in tensors.items() if k.startswith('head.')}
        if not backbone or not head:
            raise CheckpointError(
                f'{source} holds no {network} with backbone and head: a full file of the published '
                'code is wanted, such as dino_deitsmall16_pretrain_full_checkpoint.pth. Of a '
                "backbone alone start by model.backbone.init_cfg=dict(type='DINOCheckpoint', "
                'checkpoint=FILE)'
            )
        layout = layout_of(backbone)
        if layout is not None and layout.family == 'xcit':
            backbone = to_mmpretrain_xcit(backbone)
        state |= {f'{network}.backbone.{key}': value for key, value in backbone.items()}
        state |= {f'{network}.{key}': value for key, value in head.items()}
    center = (content.get('dino_loss') or {}).get('center')
    if not isinstance(center, Tensor):
        raise CheckpointError(f"{source} holds no center: its entry 'dino_loss' is missing")
    return state | {'criterion.center': center}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description='Make a full training file of the published code fit for load_from.'
    )
    parser.add_argument('checkpoint', help='full file, such as .._pretrain_full_checkpoint.pth')
    parser.add_argument('out', help='file to write')
    args = parser.parse_args(arguments)
    content = read_checkpoint(args.checkpoint)
    state = model_state(content, args.checkpoint)
    options = content.get('args')
    meta = dict(source=args.checkpoint, published_epoch=content.get('epoch'))
    meta['args'] = vars(options) if options else {}
    save_atomically(dict(state_dict=state, meta=plain(meta)), args.out)
    prototypes = state['student.head.last_layer.weight_v'].shape[0]
    print(
        f'{args.out}: {len(state)} tensors, {prototypes} prototypes. Go on with --cfg-options '
        f'load_from={args.out}'
    )
