"""Self-distillation with no labels."""

from collections.abc import Iterator

from torch import Tensor, nn

from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number

from .network import build_part
from .self_distillation import NUM_GLOBAL, SelfDistillation


@MODELS.register_module()
class DINO(SelfDistillation):
    """DINO (https://arxiv.org/abs/2104.14294, algorithm 1).

    Student and teacher are separate copies of one network, equal at the start. The student
    learns by gradient; :class:`dino_mm.engine.hooks.EMAHook` moves the teacher after each
    optimizer step. As in the reference the teacher stays in training mode (its batch norms use
    batch statistics) and has no stochastic depth. :meth:`SelfDistillation.loss` is algorithm 1.

    Args:
        backbone (dict): Backbone config; its ``drop_path_rate`` concerns the student only.
        head (dict): :class:`DINOHead` config.
        loss (dict): :class:`DINOLoss` config; ``out_dim`` is the head's.
        neck (dict, optional): :class:`ClassToken` (the default) or :class:`GlobalAveragePool`.
        data_preprocessor (dict, optional): :class:`MultiCropDataPreprocessor` config.
        logit_chunk (int, optional): Images whose logits exist at a time, last layer and loss
            being one operation then; by default those of the whole batch. Saves memory.
        teacher_dtype (str, optional): See :class:`SelfDistillation`.
        objectives (dict, optional): Objectives beside the loss of DINO, by name; see
            :class:`SelfDistillation`.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        loss: dict,
        neck: dict | None = None,
        data_preprocessor: dict | None = None,
        logit_chunk: int | None = None,
        teacher_dtype: str | None = None,
        objectives: dict[str, dict] | None = None,
    ) -> None:
        super().__init__(
            backbone,
            objectives or {},
            neck=neck,
            head=head,
            teacher='ema',
            teacher_dtype=teacher_dtype,
            data_preprocessor=data_preprocessor,
        )
        check_number('model.logit_chunk', logit_chunk, whole=True, optional=True, at_least=1)
        self.criterion = build_part('loss', dict(loss, out_dim=self.student.head.out_dim))
        self.criterion.logit_chunk = logit_chunk
        self.student.whole_logits = self.teacher.whole_logits = logit_chunk is None

    def named_objectives(self) -> Iterator[tuple[str, float, nn.Module]]:
        yield 'dino', 1.0, self.criterion
        yield from super().named_objectives()

    def check_crops(self, crops: list[Tensor] | Tensor) -> None:
        super().check_crops(crops)
        if len(crops) < NUM_GLOBAL:
            raise ValueError(
                f'DINO compares at least {NUM_GLOBAL} crops, but the batch holds {len(crops)}: '
                'check `global_crops` and `local_crops` of DINOMultiCrop'
            )
