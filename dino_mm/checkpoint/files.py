"""Reads checkpoint files without running what they hold."""

import argparse
import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch

#: The published files, by the names of the reference's ``hubconf.py``.
PUBLISHED = {
    name: f'https://dl.fbaipublicfiles.com/dino/{file}_pretrain/{file}_pretrain.pth'
    for name, file in {
        'dino_vits16': 'dino_deitsmall16',
        'dino_vits8': 'dino_deitsmall8',
        'dino_vitb16': 'dino_vitbase16',
        'dino_vitb8': 'dino_vitbase8',
        'dino_resnet50': 'dino_resnet50',
        'dino_xcit_small_12_p16': 'dino_xcit_small_12_p16',
        'dino_xcit_small_12_p8': 'dino_xcit_small_12_p8',
        'dino_xcit_medium_24_p16': 'dino_xcit_medium_24_p16',
        'dino_xcit_medium_24_p8': 'dino_xcit_medium_24_p8',
    }.items()
}


class Log:
    """Stands in for MMEngine's HistoryBuffer, which would take its methods from the file."""

    def __setstate__(self, state: dict) -> None:
        #: The logged values, oldest first.
        self.values = state.get('_log_history')


def _nothing(*args) -> None:
    """Stands in for ``getattr``, by which HistoryBuffers name their methods."""


#: What files may name beside tensors and plain types; none of it runs code of the file. The
#: published full files hold the options of their run in a Namespace, MMEngine's hold their logs
#: in HistoryBuffers of NumPy arrays. NumPy 1 and 2 name the same functions differently.
SAFE_GLOBALS = [
    argparse.Namespace,
    (Log, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_nothing, 'builtins.getattr'),
    (_nothing, '__builtin__.getattr'),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4', '?')),
    *(
        (value.__reduce__()[0], f'numpy.{core}.multiarray.{name}')
        for value, name in ((np.zeros(1), '_reconstruct'), (np.float64(0), 'scalar'))
        for core in ('core', '_core')
    ),
]


class CheckpointError(ValueError):
    """A checkpoint that cannot be used as asked; the message names the file and the mend."""


def read_checkpoint(checkpoint: str | os.PathLike) -> Mapping[str, Any]:
    """Returns what a checkpoint file holds, on the CPU, in tensors and plain types.

    Args:
        checkpoint (str): A file (PyTorch or ``.safetensors``), an http(s) address, or a name of
            :data:`PUBLISHED`.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is broken, is not a checkpoint, or could run code when loaded.
    """
    checkpoint = os.path.expanduser(os.fspath(checkpoint))
    url = PUBLISHED.get(checkpoint, checkpoint)
    if url.startswith(('http://', 'https://')):
        path = _download(url)
    elif os.path.isfile(checkpoint):
        path = checkpoint
    else:
        raise FileNotFoundError(
            f'{checkpoint}: no such checkpoint file; the published files go by {list(PUBLISHED)}'
        )
    content = _read_safetensors(path) if path.endswith('.safetensors') else _read_torch(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f'{path} holds a {type(content).__name__} and no dict of weights: save '
            '`model.state_dict()` instead of the model'
        )
    return content


def _download(url: str) -> str:
    """Returns the file of an address in PyTorch's hub folder, after downloading it if needed."""
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    name = Path(urlparse(url).path).name
    if url not in PUBLISHED.values():  # every Hugging Face repository has a `model.safetensors`
        name = f'{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}'
    path = folder / name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as error:
            raise CheckpointError(
                f'{url} cannot be downloaded ({error}): fetch it on a machine with a network and '
                'pass the file'
            ) from error
    return str(path)


def _read_safetensors(path: str) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(f'{path}: reading it needs `pip install safetensors`') from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f'{path} is no safetensors file or is cut short: {error}') from error


def _read_torch(path: str) -> Any:
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        needs = _unsafe_global(error)
        if needs is None:
            raise CheckpointError(
                f'{path} is no PyTorch checkpoint, or one that safe loading does not read: write its '
                'weights with `torch.save(model.state_dict(), ...)`'
            ) from error
        raise CheckpointError(
            f'{path} names {needs}: loading it could run any code, so it is refused. If you trust '
            'where it comes from, convert it there, once, to weights alone:\n'
            f"  python -c \"import torch; c = torch.load('{path}', weights_only=False); "
            "torch.save({k: c[k] for k in ('state_dict', 'model', 'student', 'teacher') if k in c} "
            "or c, 'weights.pth')\"\n"
            'and pass weights.pth (a pickled module must be saved as its state_dict()).'
        ) from error
    except PermissionError:
        raise
    except (RuntimeError, OSError, EOFError, LookupError, AttributeError, ValueError) as error:
        # what PyTorch and pickle raise on files that are cut short or of another kind
        raise CheckpointError(
            f'{path} is no PyTorch checkpoint or is cut short ({os.path.getsize(path)} bytes): '
            f'copy it again ({str(error).splitlines()[0] if str(error) else type(error).__name__})'
        ) from error


def _unsafe_global(error: pickle.UnpicklingError) -> str | None:
    """Returns the function or class that PyTorch's message names as not allowed."""
    words = str(error).split('GLOBAL ')
    return words[1].split()[0] if len(words) > 1 else None
