"""What vectors of a batch tell about a representation, without labels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def effective_rank(x: Tensor) -> float:
    r"""How many directions the vectors of different images fill.

    .. math::
        \exp\left(-\sum_k p_k \ln p_k\right), \qquad p_k = \sigma_k / \sum_j \sigma_j

    with the singular values :math:`\sigma` of the centered rows. 1 where all rows lie on a line,
    at most min(n - 1, d), and NaN where a value is not finite.

    Args:
        x (Tensor): (n, d).

    Source: RankMe (arXiv 2210.02885, equation 1), of centered rows, since a common offset tells
    nothing about images.
    """
    x = x.float()
    if not x.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(x - x.mean(dim=0))
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return float(torch.special.entr(shares).sum().exp())


def mean_cosine(x: Tensor) -> float:
    """Mean cosine between the vectors (n, d) of different images: 1 where all are alike."""
    z = F.normalize(x.float(), dim=-1)
    count = len(z)
    return float((z.sum(dim=0).square().sum() - z.square().sum()) / max(count * (count - 1), 1))


def paired_cosine(a: Tensor, b: Tensor) -> float:
    """Mean cosine between two crops of one image, vectors (n, d) twice, row by row."""
    return float(F.cosine_similarity(a.float(), b.float(), dim=-1).mean())


def self_retrieval(a: Tensor, b: Tensor) -> float:
    """Share of images, in percent, that are found by another crop of themselves.

    A crop (row of ``a``) is compared with a second crop of every image (rows of ``b``, centered
    like those of ``a``); it is found where its own is the most similar. By chance 100 / n.

    Args:
        a (Tensor): (n, d), one crop of each image.
        b (Tensor): (n, d), another crop of the same images.
    """
    a, b = a.float(), b.float()
    mean = torch.cat([a, b]).mean(dim=0)
    similarity = F.normalize(a - mean, dim=-1) @ F.normalize(b - mean, dim=-1).T
    own = similarity.diagonal()
    # Strictly above all others: where everything is alike nothing is found.
    others = similarity - torch.diag(torch.full_like(own, torch.inf))
    return 100 * float((own > others.amax(dim=1)).float().mean())
