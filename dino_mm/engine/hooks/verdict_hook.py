"""Says at every log whether the run learns, without labels."""

import math
from dataclasses import dataclass

import torch
from mmengine.dist import all_gather
from mmengine.hooks import Hook

from dino_mm.evaluation.functional import (
    effective_rank,
    mean_cosine,
    paired_cosine,
    self_retrieval,
)
from dino_mm.models.losses import CodingRateLoss
from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number
from dino_mm.utils.wrappers import unwrap

from .utils import is_logged

#: Parameters of the teacher that are watched: its smallest ones, at most so many.
WATCHED = 8
SLOWER = 'lower optim_wrapper.optimizer.lr'
CURE = "add model.objectives=dict(coding_rate=dict(type='CodingRateLoss'))"
#: What else helps where that is there already.
SECOND_CURE = f'{SLOWER}, or make param_scheduler.warmup longer'


@dataclass(frozen=True)
class Evidence:
    """What is known about a run at one iteration.

    Attributes:
        iteration: Iterations that the run has made.
        alike: Mean cosine between the vectors of different images.
        same: Mean cosine between two crops of one image.
        rank: Effective rank of the vectors.
        loss: Training loss.
        growth: Norm of the student's weights, relative to that at the start.
        low: What an objective says of a value at the lower end of its range, if it is there.
        high: The same for the upper end.
        spread: Whether an objective keeps the outputs apart already.
        still: Whether the teacher has not moved since the log before.
    """

    iteration: int
    alike: float
    same: float
    rank: float
    loss: float
    growth: float
    low: str | None = None
    high: str | None = None
    spread: bool = False
    still: bool = False


@HOOKS.register_module()
class VerdictHook(Hook):
    """Judges the vectors that the network makes of the present batch, wherever the logger writes.

    The log line ends with one verdict: ``learning``, ``plateau``, ``collapsed``, ``diverging`` or
    ``standing still`` (``starting`` at first), each with its reason and, where it is bad, with what
    to change. The values behind it are logged as ``effective_rank``, ``cosine_different`` and
    ``self_retrieval``, and beside them ``features_effective_rank`` and
    ``features_cosine_different`` of the backbone.

    The vectors are those of the bottleneck (of the backbone where the head has none), of the two
    global views, by the network that is exported. With several processes they are gathered.

    Args:
        plateau_cosine (float): Mean cosine between different images from which on the outputs
            count as too alike.
        plateau_rank (float): Effective rank below which they count as lying on a line.
        collapsed_cosine (float): Mean cosine from which on they count as constant.
        least_gap (float): Least excess of the cosine between two crops of one image over that
            between different images.
        margin (float): Distance of a value with limits (such as the teacher's entropy) to one of
            them, relative to its range, below which it counts as reached.
        diverging (float): Factor by which the norm of the student's weights may grow before the
            learning rate counts as too high.
        start (int): Iterations of a run before which it is too early for a verdict.
    """

    def __init__(
        self,
        plateau_cosine: float = 0.9,
        plateau_rank: float = 2.0,
        collapsed_cosine: float = 0.9999,
        least_gap: float = 0.02,
        margin: float = 0.002,
        diverging: float = 10.0,
        start: int = 20,
    ) -> None:
        check_number('VerdictHook.plateau_cosine', plateau_cosine, above=-1, at_most=1)
        check_number('VerdictHook.plateau_rank', plateau_rank, at_least=1)
        check_number('VerdictHook.collapsed_cosine', collapsed_cosine, above=-1, at_most=1)
        check_number('VerdictHook.least_gap', least_gap, at_least=0, below=2)
        check_number('VerdictHook.margin', margin, at_least=0, below=0.5)
        check_number('VerdictHook.diverging', diverging, above=1)
        self.plateau_cosine, self.plateau_rank = plateau_cosine, plateau_rank
        self.collapsed_cosine, self.least_gap = collapsed_cosine, least_gap
        check_number('VerdictHook.start', start, whole=True, at_least=0)
        self.margin, self.diverging, self.start = margin, diverging, start

    def verdict(self, evidence: Evidence) -> str:
        """One sentence of :class:`Evidence`."""
        e = evidence
        cure = SECOND_CURE if e.spread else CURE
        if not math.isfinite(e.loss):
            return f'diverging (the loss is {e.loss}: {SLOWER})'
        if not e.growth < self.diverging:  # NaN counts too
            return f'diverging (the weights have grown {e.growth:.0f}-fold: {SLOWER})'
        if e.iteration < self.start:
            return 'starting'
        if e.low:
            return f'collapsed ({e.low})'
        if e.alike > self.collapsed_cosine:
            return f'collapsed (the outputs of all images are the same: {cure})'
        if e.still:
            return (
                'standing still (the teacher does not move: lower momentum of EMAHook, which is 1 '
                'or rounds to it)'
            )
        if e.alike > self.plateau_cosine:
            return f'plateau (outputs of different images are {100 * e.alike:.0f} % alike: {cure})'
        if e.rank < self.plateau_rank:
            return f'plateau (the outputs of all images lie on a line: {cure})'
        if e.same - e.alike < self.least_gap:
            return (
                'plateau (two crops of one image are no more alike than different images: '
                f'{SLOWER}, or raise global_scale of DINOMultiCrop)'
            )
        if e.high:
            return f'collapsed ({e.high})'
        return (
            f'learning (two crops of one image are {100 * e.same:.0f} % alike, different images '
            f'{100 * e.alike:.0f} %)'
        )

    def before_train(self, runner) -> None:
        self.seen: list[torch.Tensor] = []  # parameters of the teacher at the log before
        self.judged_at = runner.iter
        self.limits = unwrap(runner.model).limits()
        objectives = unwrap(runner.model).objectives.values()
        self.spread = any(isinstance(part, CodingRateLoss) for part in objectives)
        self.first_norm = _norm(unwrap(runner.model).student)

    @torch.no_grad()
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        model = unwrap(runner.model)
        if not is_logged(runner, batch_idx) or not getattr(model, 'latest_views', None):
            return
        views = {
            name: [torch.cat(all_gather(view.contiguous())) for view in found]
            for name, found in model.latest_views.items()
        }
        features = views['features']
        # The first and the last are the same where there is one view.
        chosen = views.get('outputs', features)
        first, second = chosen[0], chosen[-1]
        rank, alike = effective_rank(first), mean_cosine(first)
        for name, value in dict(
            effective_rank=rank,
            cosine_different=alike,
            self_retrieval=self_retrieval(first, second),
            features_effective_rank=effective_rank(features[0]),
            features_cosine_different=mean_cosine(features[0]),
        ).items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        said = [
            (limits.reached(float(outputs[key]), self.margin), limits)
            for key, limits in self.limits.items()
        ]
        verdict = self.verdict(
            Evidence(
                iteration=runner.iter,
                alike=alike,
                same=paired_cosine(first, second),
                rank=rank,
                loss=float(outputs['loss']),
                growth=_norm(model.student) / self.first_norm,
                low=next((text for text, limits in said if text == limits.at_low), None),
                high=next((text for text, limits in said if text == limits.at_high), None),
                spread=self.spread,
                still=self._teacher_is_still(model, runner.iter),
            )
        )
        runner.message_hub.update_info('verdict', verdict)

    def _teacher_is_still(self, model, iteration: int) -> bool:
        """Whether no watched parameter of a moving teacher has changed since the log before."""
        if not model.has_ema_teacher or iteration == self.judged_at:
            return False
        self.judged_at = iteration
        moved = [
            (theirs, ours)
            for theirs, ours in zip(
                model.teacher.parameters(), model.student.parameters(), strict=True
            )
            if ours.requires_grad
        ]
        moved.sort(key=lambda pair: pair[0].numel())
        before, self.seen = self.seen, [theirs.clone() for theirs, _ in moved[:WATCHED]]
        same_as_student = all(theirs.equal(ours.to(theirs)) for theirs, ours in moved[:WATCHED])
        return bool(before) and not same_as_student and all(map(torch.equal, before, self.seen))


def _norm(network: torch.nn.Module) -> float:
    """Euclidean norm of all parameters together."""
    norms = torch._foreach_norm([p.detach() for p in network.parameters()])
    return float(torch.stack(norms).norm())
