"""Descriptors and scores for finding manipulated copies of images."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .finite import require_finite
from .retrieval import average_precision


def gem_pool(tokens: Tensor, power: float = 4.0, floor: float = 1e-6) -> Tensor:
    r"""Generalized mean :math:`(\frac{1}{N} \sum_i \max(x_i, \epsilon)^p)^{1/p}` over tokens.

    Args:
        tokens (Tensor): (B, N, C).
        power (float): p.
        floor (float): Epsilon.

    Returns:
        Tensor: (B, C).
    """
    return tokens.clamp(min=floor).pow(power).mean(dim=1).pow(1.0 / power)


def copy_descriptor(tokens: Tensor, num_patches: int, power: float = 4.0) -> Tensor:
    """Class token beside the GeM-pooled patch tokens (paper section 4.2.1).

    Args:
        tokens (Tensor): (B, 1 + N, C) of the last layer, normalized; register tokens may stand
            between.
        num_patches (int): N, the number of patch tokens, which are the last tokens.
        power (float): Exponent of the pooling.

    Returns:
        Tensor: (B, 2 * C).

    Source: ``eval_copy_detection.extract_features`` of the reference.
    """
    return torch.cat([tokens[:, 0], gem_pool(tokens[:, -num_patches:], power)], dim=1)


def learn_whitening(
    features: Tensor, power: float = 0.5, floor: float = 1e-5
) -> tuple[Tensor, Tensor]:
    r"""Whitening :math:`x \mapsto \Lambda^{-p} V^\top (x - \mu)` from the spectrum of features.

    :math:`V \Lambda V^\top` is :math:`\frac{1}{N} \sum_i x_i x_i^\top`, which the reference does
    not center although it subtracts the mean when it applies the map. Eigenvalues are kept above
    ``floor`` times the largest.

    Args:
        features (Tensor): (N, D).
        power (float): p; one half whitens fully.
        floor (float): Smallest eigenvalue, relative.

    Returns:
        tuple[Tensor, Tensor]: Mean (D,) and projection (D, D), for :func:`whiten`.

    Raises:
        ValueError: No features, or some that are not finite.

    Source: ``utils.PCA`` and ``eval_copy_detection.py`` of the reference.
    """
    if len(features) == 0:
        raise ValueError('whitening is learned from features, but there are none')
    require_finite(features, 'features that teach the whitening')
    spectrum = features.double().cpu().numpy()
    values, vectors = np.linalg.eigh(spectrum.T @ spectrum / len(features))
    values = values.clip(min=floor * values.max())
    projection = (vectors * values**-power).T[::-1]  # the largest first
    return features.mean(dim=0), torch.from_numpy(projection.copy()).to(features)


def whiten(features: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
    """Applies :func:`learn_whitening` to features (N, D)."""
    return (features - mean) @ projection.T


def copy_detection_aps(
    similarities: Tensor, positives: Sequence[Sequence[int]], depth: int = 20
) -> list[float]:
    """Average precision of each query among its nearest database images.

    Args:
        similarities (Tensor): (queries, database).
        positives (Sequence[Sequence[int]]): Database indices per query, at least one each.
        depth (int): How many neighbors count; fewer if the database is smaller.

    Source: ``eval_copy_detection.CopydaysDataset.eval_result`` of the reference.
    """
    if len(similarities) != len(positives) or len(positives) == 0:
        raise ValueError(f'{len(similarities)} queries, positives of {len(positives)}')
    nearest = similarities.topk(min(depth, similarities.shape[1]), dim=1).indices.cpu().numpy()
    aps = []
    for found, wanted in zip(nearest, positives, strict=True):
        aps.append(average_precision(np.flatnonzero(np.isin(found, wanted)), len(wanted)))
    return aps
