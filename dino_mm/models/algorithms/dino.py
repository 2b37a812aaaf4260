"""Self-distillation with no labels."""

import inspect
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby

import torch
from mmengine.model import BaseModel, BaseModule
from torch import Tensor

from dino_mm.registry import MODELS


def build_part(key: str, cfg: dict) -> BaseModule:
    """Builds one part of the model; an unknown config key is named with the ones there are."""
    try:
        return MODELS.build(cfg)
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        accepted = ', '.join(inspect.signature(MODELS.get(cfg['type'])).parameters)
        raise TypeError(f'model.{key}: {error}. {cfg["type"]} takes: {accepted}') from error


def without_stochastic_depth(backbone: dict) -> dict:
    """A backbone's config with ``drop_path_rate=0`` where it takes one: not all default to 0."""
    takes = inspect.signature(MODELS.get(backbone['type'])).parameters
    still = {'drop_path_rate': 0.0} if {'drop_path_rate'} & {*takes, *backbone} else {}
    return dict(backbone, **still)


def join_equal_sizes(crops: list[Tensor]) -> list[Tensor]:
    """Neighboring crops of one size as one batch; what stands alone is not copied."""
    groups = [list(same) for _, same in groupby(crops, key=lambda crop: crop.shape[-2:])]
    return [same[0] if len(same) == 1 else torch.cat(same) for same in groups]


def first_images(batches: list[Tensor], count: int) -> list[Tensor]:
    """Views of the first ``count`` images."""
    first = []
    for batch in batches:
        first.append(batch[:count])
        count -= len(first[-1])
        if count == 0:
            break
    return first


class DINONetwork(BaseModule):
    """Backbone, neck and head: a list of crops to logits. Student and teacher are one of these.

    Args:
        backbone (dict): Any registered backbone. One with ``packs_crops = True`` receives all
            sizes in one call, others one call per size.
        neck (dict): Turns what the backbone returns into (B, C).
        head (dict): Projection head.
    """

    def __init__(self, backbone: dict, neck: dict, head: dict) -> None:
        super().__init__()
        self.backbone = build_part('backbone', backbone)
        self.neck = build_part('neck', neck)
        self.head = build_part('head', head)

    def embed(self, crops: list[Tensor]) -> Tensor:
        """Backbone features of all crops, crop by crop: (sum of batches, C)."""
        groups = join_equal_sizes(crops)
        if getattr(self.backbone, 'packs_crops', False):
            outs = self.backbone(groups)
        else:
            outs = [self.backbone(group) for group in groups]
        return torch.cat([self.neck(out) for out in outs])

    def project(self, crops: list[Tensor]) -> Tensor:
        """What the head's last layer sees of all crops, crop by crop: (sum of batches, D)."""
        return self.head.embed(self.embed(crops))

    def forward(self, crops: list[Tensor]) -> Tensor:
        """Logits of all crops, crop by crop: (sum of batches, K)."""
        return self.head(self.embed(crops))


@MODELS.register_module()
class DINO(BaseModel):
    """DINO (https://arxiv.org/abs/2104.14294, algorithm 1).

    Student and teacher are separate copies of one network, equal at the start. The student
    learns by gradient; :class:`dino_mm.engine.hooks.EMAHook` moves the teacher after each
    optimizer step. As in the reference the teacher stays in training mode (its batch norms use
    batch statistics) and has no stochastic depth.

    Args:
        backbone (dict): Backbone config; its ``drop_path_rate`` concerns the student only.
        head (dict): :class:`DINOHead` config.
        loss (dict): :class:`DINOLoss` config; ``out_dim`` is the head's.
        neck (dict): :class:`ClassToken` or :class:`GlobalAveragePool`.
        data_preprocessor (dict, optional): :class:`MultiCropDataPreprocessor` config.
        logit_chunk (int, optional): Images whose logits exist at a time, last layer and loss
            being one operation then; by default those of the whole batch. Saves memory.
        teacher_dtype (str, optional): ``'bfloat16'`` keeps the teacher's matrices in half the
            memory; the moving average is rounded at random, without which it would stand still.
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
    ) -> None:
        preprocessor = dict(type='dino_mm.MultiCropDataPreprocessor') | (data_preprocessor or {})
        super().__init__(MODELS.build(preprocessor))
        neck = neck or dict(type='dino_mm.ClassToken')
        self.student = DINONetwork(backbone, neck, head)
        self.teacher = DINONetwork(without_stochastic_depth(backbone), neck, head)
        self.criterion = build_part('loss', dict(loss, out_dim=self.student.head.out_dim))
        self.logit_chunk = logit_chunk
        self.teacher.requires_grad_(False)
        if teacher_dtype not in (None, 'bfloat16'):
            raise ValueError(f"model.teacher_dtype must be None or 'bfloat16': {teacher_dtype!r}")
        self.half_teacher = teacher_dtype is not None
        if self.half_teacher:
            for parameter in self.teacher.parameters():
                if parameter.ndim in (2, 4):  # of linear layers and convolutions
                    parameter.data = parameter.data.bfloat16()
        self.copy_student_to_teacher()

    def init_weights(self) -> None:
        """Initializes the student (``init_cfg`` of its parts) and copies it to the teacher."""
        self.student.init_weights()
        self.copy_student_to_teacher()

    def copy_student_to_teacher(self) -> None:
        self.teacher.load_state_dict(self.student.state_dict())

    def set_epoch(self, epoch: int) -> None:
        """Tells epoch-wise schedules (teacher temperature) where training is."""
        self.criterion.set_epoch(epoch)

    def forward(
        self, inputs: list[Tensor] | Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | Tensor | list:
        """Dispatches like every MMEngine model.

        Args:
            inputs (list[Tensor] | Tensor): Normalized crops, each (B, C, h, w), the global ones
                first; for ``'tensor'`` and ``'predict'`` a single batch (B, C, H, W).
            data_samples (list, optional): Labels, for ``'predict'``.
            mode (str): ``'loss'`` returns the losses, ``'tensor'`` the teacher's features (B, C),
                ``'predict'`` the data samples with ``features`` (C,) attached.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'tensor':
            return self.extract_feat(inputs)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode must be 'loss', 'tensor' or 'predict', got {mode!r}")

    def loss(self, crops: list[Tensor]) -> dict[str, Tensor]:
        """Algorithm 1 of the paper, without the updates of student and teacher."""
        num_global = self.criterion.num_global
        self._check_crops(crops, num_global)
        batches = join_equal_sizes(crops)
        global_crops = first_images(batches, num_global * len(crops[0]))
        if self.logit_chunk:
            with torch.no_grad(), self.teacher_precision(crops[0].device):
                teacher = self.teacher.project(global_crops)  # (G * B, D)
                teacher_prototypes = self.teacher.head.last_layer.weight  # (K, D)
            student = self.student.project(batches)  # (V * B, D)
            prototypes = self.student.head.last_layer.weight
            return self.criterion.from_embeddings(
                student, prototypes, teacher, teacher_prototypes, self.logit_chunk
            )
        with torch.no_grad(), self.teacher_precision(crops[0].device):
            teacher = self.teacher(global_crops)  # (G * B, K)
        student = self.student(batches)  # (V * B, K)
        return self.criterion(student, teacher)

    @staticmethod
    def _check_crops(crops: list[Tensor] | Tensor, num_global: int) -> None:
        found = len(crops) if isinstance(crops, (list, tuple)) else 'a single tensor'
        if found == 'a single tensor' or found < num_global or found < 2:
            raise ValueError(
                f'DINO expects at least {max(num_global, 2)} crops, {num_global} of them global, '
                f'but the batch holds {found}: check `global_crops` and `local_crops` of '
                'DINOMultiCrop and `loss.num_global`'
            )

    def teacher_precision(self, device: torch.device) -> AbstractContextManager:
        """A teacher with half matrices also wants half inputs."""
        return torch.autocast(device.type, torch.bfloat16) if self.half_teacher else nullcontext()

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Teacher features (B, C) of an image batch (B, C, H, W)."""
        with self.teacher_precision(inputs.device):
            return self.teacher.embed([inputs])

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        """Attaches ``features`` (C,) to each data sample."""
        for sample, feature in zip(data_samples, self.extract_feat(inputs), strict=True):
            sample.set_field(feature, 'features')
        return data_samples
