"""Loss of DINO: cross-entropy between centered teacher and student outputs."""

import math

import torch
from mmengine.model import BaseModule
from torch import Tensor

from dino_mm.models.outputs import NetworkOutputs
from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number
from dino_mm.utils.limits import Limits
from dino_mm.utils.progress import Length, Progress, parse_length
from dino_mm.utils.renamed import keep_state_key
from dino_mm.utils.schedules import linear_warmup

from .centering import MovingCenter, SinkhornTargets
from .fused import LogitsLoss, PrototypesLoss, cache_chunk, cross_entropy_and_gradient


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

    Source: ``DINOLoss.forward`` of the reference. :mod:`.fused` is the same, faster.
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
    """Cross-entropy of student views to centered, sharpened teacher views (paper section 3.1).

    Args:
        out_dim (int): Number of prototypes K.
        student_temp (float): Student temperature.
        teacher_temp (float): Teacher temperature after warm-up.
        warmup_teacher_temp (float): Teacher temperature at the start.
        warmup_teacher_temp_epochs (int | str): Length of the linear warm-up: a number of epochs,
            or a text such as ``'500 steps'`` or ``'10%'`` of the run.
        center_momentum (float): Momentum of the center, which is updated after each loss with the
            mean teacher output over all processes (one all-reduce).
        chunk_size (int, optional): Images whose loss and gradient are worked out at a time:
            by default few on a CPU, whose cache holds them, and all on a GPU. 0 leaves the
            gradient to autograd: the plain formula, slower and with several times the memory.
        targets (dict, optional): What makes targets of teacher logits: :class:`MovingCenter` by
            default, as published, or ``dict(type='SinkhornTargets')``.
    """

    def __init__(
        self,
        out_dim: int,
        student_temp: float = 0.1,
        teacher_temp: float = 0.04,
        warmup_teacher_temp: float = 0.04,
        warmup_teacher_temp_epochs: int | str = 0,
        center_momentum: float = 0.9,
        chunk_size: int | None = None,
        targets: dict | None = None,
    ) -> None:
        super().__init__()
        temperatures = dict(
            student_temp=student_temp,
            teacher_temp=teacher_temp,
            warmup_teacher_temp=warmup_teacher_temp,
        )
        for key, value in temperatures.items():
            check_number(f'loss.{key}', value, above=0)
        check_number('loss.out_dim', out_dim, whole=True, at_least=2)
        check_number('loss.chunk_size', chunk_size, whole=True, optional=True, at_least=0)
        self.student_temp = student_temp
        self.warmup_teacher_temp, self.final_teacher_temp = warmup_teacher_temp, teacher_temp
        self.warmup = parse_length(
            'model.loss.warmup_teacher_temp_epochs', warmup_teacher_temp_epochs
        )
        #: Teacher temperature of the present step.
        self.teacher_temp = warmup_teacher_temp if self.warmup.value else teacher_temp
        self.chunk_size = chunk_size
        #: Images whose logits exist at a time, where the networks leave logits to the loss.
        self.logit_chunk: int | None = None
        #: What works out one chunk. It can be compiled.
        self.kernel = cross_entropy_and_gradient
        self.out_dim = out_dim
        if targets is None:
            self.targets = MovingCenter(out_dim, center_momentum)
            keep_state_key(self, 'targets.center', 'center')
        else:
            self.targets = MODELS.build(dict(targets, out_dim=out_dim))

    @property
    def center(self) -> Tensor:
        """The moving center (1, K)."""
        return self.targets.center

    def lengths(self) -> list[Length]:
        """Lengths that have to fit into the run."""
        return [self.warmup]

    def set_progress(self, progress: Progress) -> None:
        """Sets the teacher temperature of the present step."""
        position, length = progress.position(self.warmup)
        self.teacher_temp = linear_warmup(
            position, self.warmup_teacher_temp, self.final_teacher_temp, length
        )

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs) -> dict[str, Tensor]:
        """Loss and statistics; then moves the center.

        Args:
            student (NetworkOutputs): Logits (V * B, K) of all views, the global ones first.
            teacher (NetworkOutputs): Logits (G * B, K) of the global views.

        Returns:
            dict: ``loss``; ``teacher_entropy`` in nats, ln K when collapsed to uniform, 0 when
            collapsed to one prototype; ``teacher_student_kl`` = loss - entropy.
        """
        if student.logits is None:
            loss, teacher_entropy, mean = self._from_prototypes(student, teacher)
        else:
            loss, teacher_entropy = self._from_logits(
                student.by_view(student.logits), teacher.by_view(teacher.logits)
            )
            mean = teacher.logits.mean(dim=0, keepdim=True, dtype=torch.float32)
        self.targets.update(mean)
        return dict(
            loss=loss,
            teacher_entropy=teacher_entropy,
            teacher_student_kl=loss.detach() - teacher_entropy,
        )

    def scores(self, teacher: Tensor) -> Tensor:
        """Teacher logits (..., K) to scores, whose softmax are the targets."""
        return self.targets(teacher, self.teacher_temp)

    def _from_logits(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and entropy of logits (V, B, K) and (G, B, K)."""
        with torch.autocast(student.device.type, enabled=False):
            self.targets.prepare(teacher, self.teacher_temp)
            if self.chunk_size == 0:
                q = self.scores(teacher).softmax(dim=-1)
                return dino_cross_entropy(student, q, self.student_temp), entropy(q)
            chunk = self.chunk_size or cache_chunk(student.device, student.shape[1])
            return LogitsLoss.apply(
                student, teacher, self.scores, self.student_temp, chunk, self.kernel
            )

    def _from_prototypes(
        self, student: NetworkOutputs, teacher: NetworkOutputs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, entropy and mean teacher logits (1, K), never holding all logits."""
        if isinstance(self.targets, SinkhornTargets):
            raise ValueError(
                'SinkhornTargets need the logits of the whole batch: remove model.logit_chunk'
            )
        device = student.bottleneck.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else student.bottleneck.dtype
        with torch.autocast(device, enabled=False):
            loss, teacher_entropy = PrototypesLoss.apply(
                student.by_view(student.bottleneck),
                student.prototypes,
                teacher.by_view(teacher.bottleneck).to(dtype),
                teacher.prototypes,
                self.scores,
                self.student_temp,
                self.logit_chunk,
                self.kernel,
            )
            mean = teacher.bottleneck.mean(dim=0, keepdim=True, dtype=torch.float32)
            return loss, teacher_entropy, mean @ teacher.prototypes.float().T

    def compile(self, **options) -> None:
        """Compiles what works out one chunk, in place."""
        self.kernel = torch.compile(cross_entropy_and_gradient, **options)

    def limits(self) -> dict[str, Limits]:
        """Logged values by which a collapse shows: the entropy of the targets lies in (0, ln K)."""
        return dict(
            teacher_entropy=Limits(
                title='teacher entropy (nats)',
                low=0.0,
                high=math.log(self.out_dim),
                low_label='0: collapsed to one prototype',
                high_label='ln K: collapsed to uniform',
                at_low='The teacher answers every image with one prototype (entropy 0). If it stays '
                'so, raise loss.teacher_temp, or lower loss.center_momentum.',
                at_high='The teacher prefers no prototype any more (entropy ln K). If it stays so, '
                'lower loss.teacher_temp or the learning rate, or lengthen the warm-ups.',
            )
        )
