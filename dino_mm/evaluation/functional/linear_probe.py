"""Linear classifiers on frozen features, many at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from .finite import require_finite


@dataclass
class LinearHeads:
    """L linear classifiers that use the same features, one for each learning rate.

    Attributes:
        parts: Which parts of the features (N, P, C) they use.
        weight: (L, D, K), D features in all those parts.
        bias: (L, 1, K).
    """

    parts: list[int]
    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """(B, P, C) to (L, B, K)."""
        x = features[:, self.parts].flatten(1)
        return torch.baddbmm(self.bias, x.expand(len(self.weight), -1, -1), self.weight)


def _new_heads(
    parts: Sequence[int], channels: int, lrs: int, classes: int, generator: torch.Generator
) -> LinearHeads:
    # All learning rates begin with the same weights.
    weight = 0.01 * torch.randn(len(parts) * channels, classes, generator=generator)
    return LinearHeads(list(parts), weight.repeat(lrs, 1, 1), torch.zeros(lrs, 1, classes))


def fit_linear_heads(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    choices: Mapping[str, Sequence[int]],
    lrs: Sequence[float],
    epochs: int = 100,
    batch_size: int = 256,
    seed: int = 0,
    device: torch.device | str | None = None,
    title: str | None = None,
    chosen: Tensor | None = None,
) -> dict[str, LinearHeads]:
    r"""Trains a head for every choice of features and every learning rate, all at once.

    SGD with momentum 0.9 and no weight decay, weights drawn from N(0, 0.01), a learning rate that
    falls to 0 by a cosine of the epoch, as ``eval_linear.py`` of the reference, but on features
    that are computed once and so without augmentation. The heads share no weights, so the
    gradient of :math:`\sum_l \eta_l L_l` is each head's own, scaled by its learning rate:
    one optimizer with rate 1 trains each head as an optimizer of its own with rate
    :math:`\eta_l` would.

    Args:
        features (Tensor): (N, P, C), P parts such as class tokens of several layers.
        labels (Tensor): (N,) classes.
        num_classes (int): K.
        choices (Mapping): Name of a choice and the parts it concatenates.
        lrs (Sequence[float]): Learning rates for 256 images, scaled to ``batch_size``.
        epochs (int): Passes over the features.
        batch_size (int): Features at a time.
        seed (int): Seed of weights and order.
        device (torch.device, optional): Where to compute; by default where the features lie.
        title (str, optional): Shows a progress bar with this title.
        chosen (Tensor, optional): (M,) places of the samples to train on; by default all samples.
            Their features are not copied.

    Returns:
        dict: Heads of each choice.

    Raises:
        ValueError: Features are not finite. One such image would make every head diverge.
    """
    require_finite(features, 'features')
    generator = torch.Generator().manual_seed(seed)
    device = features.device if device is None else torch.device(device)
    chosen = torch.arange(len(features)) if chosen is None else chosen
    heads = {
        name: _new_heads(parts, features.shape[2], len(lrs), num_classes, generator)
        for name, parts in choices.items()
    }
    for head in heads.values():
        head.weight = head.weight.to(device).requires_grad_()
        head.bias = head.bias.to(device).requires_grad_()
    rates = torch.tensor(lrs, device=device) * batch_size / 256  # (L,)
    weights = [tensor for head in heads.values() for tensor in (head.weight, head.bias)]
    optimizer = torch.optim.SGD(weights, lr=1.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in tqdm(range(epochs), title, mininterval=1, disable=title is None):
        order = chosen[torch.randperm(len(chosen), generator=generator)]
        for index in order.split(batch_size):
            batch, wanted = features[index].to(device).float(), labels[index].to(device)
            loss = sum(
                rates @ _cross_entropy(head.logits(batch), wanted) for head in heads.values()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    for head in heads.values():
        head.weight, head.bias = head.weight.detach(), head.bias.detach()
    return heads


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch for each head: (L, B, K) to (L,)."""
    loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction='none')
    return loss.view(logits.shape[:2]).mean(dim=1)


@torch.no_grad()
def linear_accuracy(
    heads: LinearHeads, features: Tensor, labels: Tensor, n: int = 1, batch_size: int = 4096
) -> Tensor:
    """Top-n accuracy of each head (L,) in percent; heads that diverged have no right answer.

    Args:
        heads (LinearHeads): L classifiers.
        features (Tensor): (N, P, C).
        labels (Tensor): (N,) classes.
        n (int): Answers that count, clipped to the number of classes.
        batch_size (int): Features at a time.

    Raises:
        ValueError: Features are not finite.
    """
    require_finite(features, 'features')
    hits = torch.zeros(len(heads.weight))
    for batch, wanted in zip(features.split(batch_size), labels.split(batch_size), strict=True):
        logits = heads.logits(batch.to(heads.weight))
        best = logits.topk(min(n, logits.shape[-1]), dim=-1).indices  # (L, B, n)
        right = (best == wanted.to(best)[:, None]).any(dim=-1) & logits.isfinite().all(dim=-1)
        hits += right.sum(dim=1).cpu()
    return 100 * hits / len(labels)
