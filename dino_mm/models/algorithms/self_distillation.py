"""A student that learns from a teacher by any number of objectives."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from dino_mm.models.outputs import NetworkOutputs
from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number
from dino_mm.utils.limits import Limits
from dino_mm.utils.progress import Length, Progress
from dino_mm.utils.stochastic_round import rounding_generator

from .ema import ema_update_
from .network import DINONetwork, build_part, class_of

#: The first crops of a batch are global views, which the teacher sees.
NUM_GLOBAL = 2


def without_stochastic_depth(backbone: dict) -> dict:
    """A backbone's config with ``drop_path_rate=0`` where it takes one: not all default to 0."""
    takes = inspect.signature(class_of(backbone)).parameters
    still = {'drop_path_rate': 0.0} if {'drop_path_rate'} & {*takes, *backbone} else {}
    return dict(backbone, **still)


def views_of(outputs: NetworkOutputs) -> dict[str, Tensor]:
    """Vectors (G, B, D) of the global views: ``outputs`` of the bottleneck, if there is one, and
    ``features`` of the backbone."""
    found = dict(outputs=outputs.bottleneck, features=outputs.class_tokens)
    return {
        name: outputs.by_view(rows)[:NUM_GLOBAL].detach()
        for name, rows in found.items()
        if rows is not None
    }


@MODELS.register_module()
class SelfDistillation(BaseModel):
    """Student, teacher and named objectives that compare what both make of a batch.

    The networks run once for a batch; what they return (:class:`NetworkOutputs`) goes to every
    objective. An objective is a module with ``forward(student, teacher) -> dict``, whose entry
    ``loss`` is summed up with the objective's ``weight``, while all other entries are logged. It
    may also have ``set_progress(progress)`` for schedules, ``lengths()`` of those schedules,
    ``limits()`` of logged values, and ``compile(**options)``.

    Args:
        backbone (dict): Backbone of the student; its ``drop_path_rate`` concerns the student only.
        objectives (dict): Config of each objective by a name of your choice. ``weight`` is the
            factor of its loss, 1 by default.
        neck (dict, optional): :class:`ClassToken` (the default) or :class:`GlobalAveragePool`.
        head (dict, optional): Projection head, such as :class:`DINOHead`.
        teacher (str | dict, optional): ``'ema'`` for a copy of the student that
            :class:`dino_mm.engine.hooks.EMAHook` moves after each optimizer step; a dict with
            ``backbone`` and, where wanted, ``neck`` and ``head`` for a frozen network, whose
            weights come from ``backbone.init_cfg=dict(type='DINOCheckpoint', checkpoint=FILE)``;
            or ``None`` for no teacher.
        teacher_dtype (str, optional): ``'bfloat16'`` keeps the teacher's matrices in half the
            memory; the moving average is rounded at random, without which it would stand still.
        data_preprocessor (dict, optional): :class:`MultiCropDataPreprocessor` config.
    """

    def __init__(
        self,
        backbone: dict,
        objectives: dict[str, dict],
        neck: dict | None = None,
        head: dict | None = None,
        teacher: str | dict | None = 'ema',
        teacher_dtype: str | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        preprocessor = dict(type='dino_mm.MultiCropDataPreprocessor') | (data_preprocessor or {})
        super().__init__(build_part('data_preprocessor', preprocessor))
        neck = neck or dict(type='dino_mm.ClassToken')
        self.student = DINONetwork(backbone, neck, head)
        self.has_ema_teacher = teacher == 'ema'
        if self.has_ema_teacher:
            self.teacher = DINONetwork(without_stochastic_depth(backbone), neck, head)
        elif isinstance(teacher, dict):
            self.teacher = DINONetwork(**{'neck': dict(type='dino_mm.ClassToken')} | teacher)
        elif teacher is None:
            self.teacher = None
        else:
            raise ValueError(
                "model.teacher must be 'ema', None or a dict with a backbone's config, got "
                f'{teacher!r}'
            )
        self._set_up_teacher(teacher_dtype)
        #: What :func:`views_of` gives for the latest batch, by the network that is exported.
        self.latest_views: dict[str, Tensor] = {}
        self.weights: dict[str, float] = {}
        self.objectives = nn.ModuleDict()
        for name, cfg in objectives.items():
            cfg = dict(cfg)
            self.weights[name] = cfg.pop('weight', 1.0)
            check_number(f'model.objectives.{name}.weight', self.weights[name])
            self.objectives[name] = build_part(f'objectives.{name}', cfg)

    def _set_up_teacher(self, dtype: str | None) -> None:
        if dtype not in (None, 'bfloat16'):
            raise ValueError(f"model.teacher_dtype must be None or 'bfloat16': {dtype!r}")
        self.half_teacher = dtype is not None
        if self.teacher is None:
            return
        self.teacher.requires_grad_(False)
        if self.half_teacher:
            for parameter in self.teacher.parameters():
                if parameter.ndim in (2, 4):  # of linear layers and convolutions
                    parameter.data = parameter.data.bfloat16()
        if self.has_ema_teacher:
            self.copy_student_to_teacher()

    def named_objectives(self) -> Iterator[tuple[str, float, nn.Module]]:
        """Name, weight and module of each objective."""
        for name, objective in self.objectives.items():
            yield name, self.weights[name], objective

    # What is trained, and how a batch becomes a loss.

    def init_weights(self) -> None:
        """Initializes the networks (``init_cfg`` of their parts); a moving teacher is a copy."""
        self.student.init_weights()
        if self.has_ema_teacher:
            self.copy_student_to_teacher()
        elif self.teacher is not None:
            self.teacher.init_weights()
        for objective in self.objectives.values():
            if hasattr(objective, 'init_weights'):
                objective.init_weights()

    def copy_student_to_teacher(self) -> None:
        self.teacher.load_state_dict(self.student.state_dict())

    def train(self, mode: bool = True) -> 'SelfDistillation':
        """As in the reference a moving teacher stays in training mode; a frozen one does not."""
        super().train(mode)
        if self.teacher is not None and not self.has_ema_teacher:
            self.teacher.train(False)
        return self

    def forward(
        self,
        inputs: list[Tensor] | Tensor,
        data_samples: list | None = None,
        mode: str = 'tensor',
        **data,
    ) -> dict[str, Tensor] | Tensor | list:
        """Dispatches like every MMEngine model.

        Args:
            inputs (list[Tensor] | Tensor): Normalized crops, each (B, C, h, w), the global ones
                first; for ``'tensor'`` and ``'predict'`` a single batch (B, C, H, W).
            data_samples (list, optional): Labels.
            mode (str): ``'loss'`` returns the losses, ``'tensor'`` the teacher's features (B, C),
                ``'predict'`` the data samples with ``features`` (C,) attached.
            data: Whatever else the batch holds, for the objectives; ``masks`` go to the student.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples=data_samples, **data)
        if mode == 'tensor':
            return self.extract_feat(inputs)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode must be 'loss', 'tensor' or 'predict', got {mode!r}")

    def loss(self, crops: list[Tensor], **data) -> dict[str, Tensor]:
        """Algorithm 1 of the paper up to the updates of student and teacher.

        Args:
            crops (list[Tensor]): Each (B, C, h, w), the global ones first.
            data: Whatever else the batch holds.
        """
        self.check_crops(crops)
        teacher = self.teach(crops[:NUM_GLOBAL], data)  # t1, t2
        student = self.student(crops, data, data.get('masks'))  # s1, s2, and the local views
        self.latest_views = views_of(teacher if self.has_ema_teacher else student)
        return self.compare(student, teacher)  # (H(t1, s2) + H(t2, s1) + ...) / number of pairs

    def teach(self, crops: list[Tensor], data: dict) -> NetworkOutputs | None:
        """What the teacher makes of the global crops, without a gradient."""
        if self.teacher is None:
            return None
        with torch.no_grad(), self.teacher_precision(crops[0].device):
            return self.teacher(crops, data)

    def compare(self, student: NetworkOutputs, teacher: NetworkOutputs | None) -> dict[str, Tensor]:
        """Weighted losses of all objectives, and what they log.

        A single objective's loss is called ``loss``; several are called ``loss_NAME``, which
        MMEngine sums up.
        """
        results, single = {}, len(list(self.named_objectives())) == 1
        for name, weight, objective in self.named_objectives():
            values = dict(objective(student, teacher))
            loss = values.pop('loss')
            results['loss' if single else f'loss_{name}'] = loss if weight == 1 else weight * loss
            results |= values
        return results

    def check_crops(self, crops: list[Tensor] | Tensor) -> None:
        """Refuses a batch that is no list of crops."""
        if not isinstance(crops, (list, tuple)):
            raise ValueError(
                f'{type(self).__name__} expects a list of crops, but the batch holds a single '
                'tensor: use the transform DINOMultiCrop'
            )

    def teacher_precision(self, device: torch.device) -> AbstractContextManager:
        """A teacher with half matrices also wants half inputs."""
        return torch.autocast(device.type, torch.bfloat16) if self.half_teacher else nullcontext()

    # What hooks ask for.

    @property
    def learned(self) -> DINONetwork:
        """The network that is evaluated and exported: the moving teacher, else the student."""
        return self.teacher if self.has_ema_teacher else self.student

    @torch.no_grad()
    def update_teacher(self, momentum: float, seed: int = 0, step: int = 0) -> None:
        """Moves the teacher toward the student; see :func:`ema_update_`.

        Parameters only: buffers such as batch-norm statistics are the teacher's own, as in the
        reference.

        Args:
            momentum (float): How much of the teacher stays.
            seed (int): Seed of the run, for the rounding of a teacher in bfloat16.
            step (int): Optimizer step, for the same.
        """
        teacher, student = list(self.teacher.parameters()), list(self.student.parameters())
        generator = rounding_generator(seed, step, teacher[0].device) if self.half_teacher else None
        ema_update_(teacher, student, momentum, generator)

    def set_progress(self, progress: Progress) -> None:
        """Tells the schedules of the objectives where training is."""
        for _, _, objective in self.named_objectives():
            if hasattr(objective, 'set_progress'):
                objective.set_progress(progress)

    def lengths(self) -> list[Length]:
        """Lengths of schedules that have to fit into the run."""
        parts = [part for _, _, part in self.named_objectives() if hasattr(part, 'lengths')]
        return [length for part in parts for length in part.lengths()]

    def limits(self) -> dict[str, Limits]:
        """Logged values that tell of a collapse."""
        found: dict[str, Limits] = {}
        for _, _, objective in self.named_objectives():
            if hasattr(objective, 'limits'):
                found |= objective.limits()
        return found

    def late_parameters(self) -> list[nn.Parameter]:
        """Parameters that :class:`FreezeLastLayerHook` leaves untouched at first: prototypes."""
        last_layer = getattr(self.student.head, 'last_layer', None)
        return [] if last_layer is None else list(last_layer.parameters())

    def parts_to_compile(self) -> list[nn.Module]:
        """What a step spends its time in, beside the objectives: transformer blocks and heads."""
        parts: list[nn.Module] = []
        for network in filter(None, (self.student, self.teacher)):
            parts += getattr(network.backbone, 'blocks', [network.backbone])
            parts += [] if network.head is None else [network.head]
        return parts

    # Features.

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Features (B, C) of an image batch (B, C, H, W), by the network that is exported."""
        with self.teacher_precision(inputs.device) if self.has_ema_teacher else nullcontext():
            return self.learned([inputs], project=False).class_tokens

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        """Attaches ``features`` (C,) to each data sample."""
        for sample, feature in zip(data_samples, self.extract_feat(inputs), strict=True):
            sample.set_field(feature, 'features')
        return data_samples
