"""Loss of DINO: cross-entropy between centered teacher and student outputs."""

import math

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.registry import MODELS
from dino_mm.utils.schedules import linear_warmup

from .chunked import LogitsLoss, PrototypesLoss, cache_chunk, cross_entropy_and_gradient


def teacher_probabilities(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    r"""Centered and sharpened targets :math:`softmax((t - c) / \tau_t)` in float32: (N, K)."""
    return torch.softmax((logits.float() - center) / temperature, dim=-1)


def dino_cross_entropy(student: Tensor, targets: Tensor, student_temp: float) -> Tensor:
    r"""Mean cross-entropy over all pairs of views but those of the same view.

    .. math::
        L = \frac{1}{P B} \sum_b \sum_{t \in G} \sum_{v \ne t}
            H(q_{t,b},\, softmax(s_{v,b} / \tau_s))

    with P the number of pairs. Since every target sums to one, the pairs of one student view v
    need a single log-sum-exp: :math:`n_v\,LSE(s_v) - \langle Q_v, s_v \rangle` with
    :math:`Q_v = \sum_{t \ne v} q_t` and :math:`n_v` its number of targets.

    Args:
        student (Tensor): (V, B, K) logits of all views, the global ones first.
        targets (Tensor): (G, B, K) teacher probabilities of the global views.
        student_temp (float): Student temperature.

    Returns:
        Tensor: Scalar in nats, float32.

    Source: ``DINOLoss.forward`` of the reference. :mod:`.chunked` is the same, faster.
    """
    num_views, batch, _ = student.shape
    num_global = targets.shape[0]
    scores = student.float() / student_temp
    pairs = num_global * (num_views - 1)
    counts = scores.new_full((num_views, 1), num_global)
    counts[:num_global] -= 1
    normalizer = (counts * scores.logsumexp(dim=-1)).sum()
    agreement = (targets.sum(0) * scores.sum(0)).sum()
    same_view = (targets * scores[:num_global]).sum()
    return (normalizer - agreement + same_view) / (pairs * batch)


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy in nats of probability rows (..., K): scalar."""
    return torch.special.entr(probabilities).sum(dim=-1).mean()


@MODELS.register_module()
class DINOLoss(BaseModule):
    """Loss with momentum centering and a teacher temperature warm-up (paper section 3.1).

    Args:
        out_dim (int): Number of prototypes K.
        student_temp (float): Student temperature.
        teacher_temp (float): Teacher temperature after warm-up.
        warmup_teacher_temp (float): Teacher temperature of the first epoch.
        warmup_teacher_temp_epochs (int): Length of the linear warm-up in epochs.
        center_momentum (float): Momentum of the center, updated after each loss with the mean
            teacher output over all ranks (one all-reduce).
        num_global (int): Global views, the ones the teacher sees.
        chunk_size (int, optional): Images whose loss and gradient are worked out at a time:
            by default few on a CPU, whose cache holds them, and all on a GPU. 0 leaves the
            gradient to autograd: the plain formula, slower and with several times the memory.
    """

    def __init__(
        self,
        out_dim: int,
        student_temp: float = 0.1,
        teacher_temp: float = 0.04,
        warmup_teacher_temp: float = 0.04,
        warmup_teacher_temp_epochs: int = 0,
        center_momentum: float = 0.9,
        num_global: int = 2,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        for key, value in dict(
            student_temp=student_temp,
            teacher_temp=teacher_temp,
            warmup_teacher_temp=warmup_teacher_temp,
        ).items():
            if value <= 0:
                raise ValueError(f'loss.{key} must be above 0, got {value}')
        self.student_temp = student_temp
        self.final_teacher_temp = teacher_temp
        self.warmup_teacher_temp = warmup_teacher_temp
        self.warmup_teacher_temp_epochs = warmup_teacher_temp_epochs
        self.center_momentum = center_momentum
        self.num_global, self.chunk_size = num_global, chunk_size
        #: What works out one chunk; :class:`dino_mm.engine.hooks.CompileHook` compiles it.
        self.kernel = cross_entropy_and_gradient
        self.register_buffer('center', torch.zeros(1, out_dim))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Sets the teacher temperature of this epoch."""
        self.teacher_temp = linear_warmup(
            epoch,
            self.warmup_teacher_temp,
            self.final_teacher_temp,
            self.warmup_teacher_temp_epochs,
        )

    def forward(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Loss and statistics; then moves the center.

        Args:
            student (Tensor): (V * B, K) logits, view by view, the global views first.
            teacher (Tensor): (G * B, K) logits of the global views.

        Returns:
            dict: ``loss``; ``teacher_entropy`` in nats, ln K when collapsed to uniform, 0 when
            collapsed to one prototype; ``teacher_student_kl`` = loss - entropy.
        """
        center, batch = self.center, len(teacher) // self.num_global
        student = student.view(-1, batch, student.shape[-1])
        by_view = teacher.view(self.num_global, batch, -1)
        with torch.autocast(student.device.type, enabled=False):
            if self.chunk_size == 0:
                targets = teacher_probabilities(by_view, center, self.teacher_temp)
                loss = dino_cross_entropy(student, targets, self.student_temp)
                teacher_entropy = entropy(targets)
            else:
                chunk = self.chunk_size or cache_chunk(student.device, batch)
                loss, teacher_entropy = LogitsLoss.apply(
                    student, by_view, center, self.temperatures, chunk, self.kernel
                )
        self.update_center(teacher.mean(dim=0, keepdim=True, dtype=torch.float32))
        return self._results(loss, teacher_entropy)

    def from_embeddings(
        self,
        student: Tensor,
        prototypes: Tensor,
        teacher: Tensor,
        teacher_prototypes: Tensor,
        chunk: int,
    ) -> dict[str, Tensor]:
        """What :meth:`forward` gives for ``student @ prototypes.T``, never holding all logits.

        Args:
            student (Tensor): (V * B, D) embeddings, view by view, the global views first.
            prototypes (Tensor): (K, D) weight of the student's last layer.
            teacher (Tensor): (G * B, D) embeddings of the global views.
            teacher_prototypes (Tensor): (K, D).
            chunk (int): Images whose logits exist at a time.
        """
        center, batch = self.center, len(teacher) // self.num_global
        device = student.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else student.dtype
        with torch.autocast(device, enabled=False):
            loss, teacher_entropy = PrototypesLoss.apply(
                student.view(-1, batch, student.shape[-1]),
                prototypes,
                teacher.view(self.num_global, batch, -1).to(dtype),
                teacher_prototypes,
                center,
                self.temperatures,
                chunk,
                self.kernel,
            )
            mean = teacher.mean(dim=0, keepdim=True, dtype=torch.float32)
            self.update_center(mean @ teacher_prototypes.float().T)
        return self._results(loss, teacher_entropy)

    @property
    def temperatures(self) -> tuple[float, float]:
        """Of student and teacher."""
        return self.student_temp, self.teacher_temp

    @staticmethod
    def _results(loss: Tensor, teacher_entropy: Tensor) -> dict[str, Tensor]:
        return dict(
            loss=loss,
            teacher_entropy=teacher_entropy,
            teacher_student_kl=loss.detach() - teacher_entropy,
        )

    @torch.no_grad()
    def update_center(self, mean: Tensor) -> None:
        r""":math:`c \leftarrow m c + (1 - m)\, \overline{t}`, the mean taken over all ranks.

        Args:
            mean (Tensor): (1, K) mean teacher output of this rank, float32.
        """
        all_reduce(mean)
        mean /= get_world_size()
        moved = self.center * self.center_momentum + mean * (1 - self.center_momentum)
        # A center with one NaN would poison every later step.
        self.center.copy_(torch.where(moved.isfinite().all(), moved, self.center))

    @property
    def max_entropy(self) -> float:
        """Entropy ln K of a teacher that no longer prefers any prototype."""
        return math.log(self.center.shape[-1])
