"""Chooses a recipe that fits images, machine and time, each value with its reason.

:func:`choose` is a function of numbers alone; docs/pretraining.md tabulates it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dino_mm.datasets.survey import Survey
from dino_mm.utils.machine import Machine

#: Images from which on the published recipe learns by itself, without the coding rate.
PUBLISHED = 200_000
#: Microseconds that one token takes in one layer of width d on one core, ``A d + B d^2`` in
#: bfloat16: measured on an AMD EPYC with AVX-512. In float32 twice that.
A, B = 0.014, 1.4e-4
#: Share of the time that training gets; the rest is for pictures, evaluation and checkpoints.
BUDGET = 0.9
#: Config of the networks with a convolutional stem, and the edge of crops that are tiny in pixels.
CONV_BASE, TINY = 'dino_vit-tiny_conv.py', 96
#: Width of a backbone up to which --init takes it for one of the small networks.
SMALL_WIDTH = 192
#: How often a run is evaluated on labeled images.
EVALUATIONS = 10
#: Share of the epochs of a run from random weights that one from given weights takes.
CONTINUED = 0.2
#: How many times faster than one such core a GPU is taken to be, until it is measured, and the
#: seconds that a step takes however small it is.
GPU_SPEED, LEAST_STEP = 250, 0.03


@dataclass(frozen=True)
class Network:
    """A network that may be chosen.

    Attributes:
        name: For people.
        base: Its config in ``configs/_base_/models``.
        width, layers, heads, patch: Of the vision transformer.
        size, local: Edge of global and local crops in pixels, if the images are as large.
        num_local: Local crops of an image.
        prototypes: That its head has at most.
        least_images: Images in the folder from which on it is chosen.
        least_seen: Images that it has to see in all to be worth its time.
    """

    name: str
    base: str
    width: int
    layers: int
    heads: int
    patch: int
    size: int
    local: int
    num_local: int
    prototypes: int
    least_images: int
    least_seen: float


NETWORKS = (
    Network('ViT-S/16', 'dino_vit-s16.py', 384, 12, 6, 16, 224, 96, 8, 65536, 20_000, 5e6),
    Network('a ViT of width 192', CONV_BASE, 192, 6, 6, 8, 96, 48, 4, 8192, 1_000, 3e5),
    Network('a ViT of width 128', CONV_BASE, 128, 4, 4, 8, 48, 24, 4, 4096, 1, 0),
)


@dataclass(frozen=True)
class Choice:
    """One value of the config.

    Attributes:
        key: Its place, parts joined by dots; numbers count items of a list.
        value: What is written there.
        why: The reason, a few words.
    """

    key: str
    value: Any
    why: str = ''


@dataclass(frozen=True)
class Start:
    """Weights to go on from.

    Attributes:
        checkpoint: Where they are.
        backbone: Config of their backbone.
        width, layers, heads, patch: Of their vision transformer.
        size: Edge in pixels of the images they were trained on.
    """

    checkpoint: str
    backbone: dict[str, Any]
    width: int
    layers: int
    heads: int
    patch: int
    size: int

    def networks(self) -> list[Network]:
        """The network with crops as large as it knows, or smaller ones that take less time."""
        small = self.small
        whole = min(self.size, 224)
        sizes = [size for size in (224, 160, 112, 96, 64, 48) if 4 * self.patch <= size <= whole]
        return [
            Network(
                f'the network of {self.checkpoint}',
                CONV_BASE if small else 'dino_vit-s16.py',
                self.width,
                self.layers,
                self.heads,
                self.patch,
                size,
                size * 3 // 7,
                4 if size <= TINY else 8,
                4096 if small else 65536,
                least_images=1,
                least_seen=0 if size == (sizes or [whole])[-1] else 1e5,
            )
            for size in sizes or [whole]
        ]

    def choices(self) -> list[Choice]:
        """The backbone with its weights."""
        config = {'_delete_': True, **self.backbone}
        config['init_cfg'] = dict(type='DINOCheckpoint', checkpoint=self.checkpoint)
        return [Choice('model.backbone', config, 'as its checkpoint tells')]

    @property
    def small(self) -> bool:
        """Whether it is one of the networks for few images, which have much left to learn."""
        return self.width <= SMALL_WIDTH

    def schedule_choices(self) -> list[Choice]:
        """Gentle where the backbone knows much, and not at all before the head fits it."""
        patch_embedding = {'backbone.patch_embed': dict(lr_mult=0.2)}
        gentle = [
            Choice('optim_wrapper.optimizer.lr', 1e-4, 'low: the weights are good'),
            Choice('optim_wrapper.paramwise_cfg.layer_decay_rate', 0.8, 'early layers are general'),
        ]
        return [
            *([] if self.small else gentle),
            Choice('optim_wrapper.paramwise_cfg.custom_keys', patch_embedding, 'the most general'),
            Choice('default_hooks.freeze_backbone.type', 'FreezeBackboneHook'),
            Choice('default_hooks.freeze_backbone.epochs', '10%', 'until the new head fits it'),
        ]


@dataclass
class Recipe:
    """All choices, and what they will take.

    Attributes:
        network: What is trained, for people.
        bases: Configs in ``configs/_base_`` that it inherits from.
        choices: In the order they are written.
        epochs, steps, batch, accumulation: Of the run.
        seconds: That it is expected to take.
        memory: GB that it is expected to take.
        notes: Sentences on what to expect.
    """

    network: str
    bases: list[str]
    epochs: int
    steps: int
    batch: int
    accumulation: int
    seconds: float
    memory: float
    choices: list[Choice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def value(self, key: str) -> Any:
        """What was chosen for a key.

        Raises:
            KeyError: Nothing was.
        """
        for choice in self.choices:
            if choice.key == key:
                return choice.value
        raise KeyError(key)


def power_of_two(value: float, low: int, high: int) -> int:
    """The largest power of two up to a value, within limits."""
    return min(max(2 ** int(math.log2(max(value, 1))), low), high)


def crop_sizes(network: Network, side: int) -> tuple[int, int]:
    """Edges of global and local crops for images with a given short side, in pixels.

    They are multiples of the patch, at least four and three patches: crops are not enlarged beyond
    what the images hold, if four patches fit.
    """
    patch = network.patch
    size = max(min(network.size, side // patch * patch), 4 * patch)
    local = max(size * network.local // network.size // patch * patch, 3 * patch)
    return size, local


def local_crops(network: Network, sizes: tuple[int, int]) -> int:
    """Local crops of an image: two where they are so large that more would cost too much."""
    size, local = sizes
    return network.num_local if 2 * local <= size else 2


def tokens(network: Network, sizes: tuple[int, int]) -> tuple[int, int]:
    """Tokens of the views of one image, in all and of the two global views."""
    whole, part = ((size // network.patch) ** 2 + 1 for size in sizes)
    return 2 * whole + local_crops(network, sizes) * part, 2 * whole


def images_per_second(
    network: Network, sizes: tuple[int, int], batch: int, machine: Machine
) -> float:
    """A guess that the first iterations will correct: tokens times layers, at a known speed.

    A training step costs the student three forward passes (one, and two for the gradient), and the
    teacher one.
    """
    every, whole = tokens(network, sizes)
    micro = (A * network.width + B * network.width**2) * (1 if machine.dtype != 'float32' else 2)
    one_core = 1e6 / ((3 * every + whole) * network.layers * micro)
    rate = one_core * (GPU_SPEED if machine.gpu else machine.cores)
    return batch / (batch / rate + LEAST_STEP)


def memory_of(
    network: Network, sizes: tuple[int, int], batch: int, prototypes: int, dtype: str
) -> float:
    """GB that training takes: the program, weights with their averages, and activations."""
    parameters = 12 * network.layers * network.width**2 + prototypes * 256
    every, _ = tokens(network, sizes)
    width = 4 if dtype == 'float32' else 2
    activations = every * network.width * network.layers * 24 * width
    logits = (2 + local_crops(network, sizes)) * prototypes * 12
    return 1.0 + (20 * parameters + batch * (activations + logits)) / 1024**3


def choose(
    survey: Survey,
    machine: Machine,
    hours: float,
    folder: str = 'FOLDER',
    start: Start | None = None,
) -> Recipe:
    """The recipe for images, machine and time.

    Args:
        survey (Survey): Of the images.
        machine (Machine): That trains.
        hours (float): That training may take.
        folder (str): Where the images are.
        start (Start, optional): Weights to go on from, instead of random ones.
    """
    count = survey.count
    wanted = power_of_two(count / 16, 16, 128 if machine.gpu is None else 256)
    networks = NETWORKS if start is None else start.networks()
    network, sizes, speed = choose_network(networks, survey, machine, hours, wanted)
    prototypes = power_of_two(count / 2.5, 256, network.prototypes)
    small = is_small(network, count)
    limit = 0.8 * machine.gpu_memory if machine.gpu else machine.memory / 4
    batch = wanted
    while batch > 8 and memory_of(network, sizes, batch, prototypes, machine.dtype) > limit:
        batch //= 2
    seen = BUDGET * 3600 * hours * speed
    most = most_epochs(count)
    if start is not None:
        most = max(round(most * CONTINUED), 1)
    epochs = max(min(int(seen / count), most), 1)
    used = min(count, max(int(seen), batch))
    recipe = Recipe(
        network=f'{network.name} on crops of {sizes[0]} pixels',
        bases=[
            f'models/{network.base}',
            'datasets/imagenet.py',
            f'schedules/{"dino_short.py" if small else "dino_adamw_100e.py"}',
        ],
        epochs=epochs,
        steps=epochs * max(used // batch, 1),
        batch=batch,
        accumulation=wanted // batch,
        seconds=epochs * used / speed / BUDGET,
        memory=memory_of(network, sizes, batch, prototypes, machine.dtype),
        notes=expectations(count, seen / count, machine),
    )
    if start is not None:
        recipe.choices += start.choices()
    recipe.choices += model_choices(network, sizes, prototypes, count, hours, start)
    recipe.choices.append(Choice('train_dataloader.dataset.data_root', folder))
    if used < count:
        why = 'spread evenly: there is no time to see more'
        recipe.choices.append(Choice('train_dataloader.dataset.most', used, why))
    recipe.choices += data_choices(network, sizes, survey, machine, recipe)
    recipe.choices += schedule_choices(recipe, machine, small, hours, most, start)
    return recipe


def is_small(network: Network, count: int) -> bool:
    """Whether so small a network, or so few images, need what the published recipe lacks."""
    return network.base == CONV_BASE or count < PUBLISHED


def choose_network(
    networks: Sequence[Network], survey: Survey, machine: Machine, hours: float, batch: int
) -> tuple[Network, tuple[int, int], float]:
    """The first, largest network that gets to see enough, its crops, and images per second."""
    for network in networks:
        sizes = crop_sizes(network, survey.side)
        speed = images_per_second(network, sizes, batch, machine)
        enough = BUDGET * 3600 * hours * speed >= network.least_seen
        if survey.count >= network.least_images and enough:
            break
    return network, sizes, speed


def most_epochs(count: int) -> int:
    """Epochs beyond which images only repeat: 100 of a million (published), 1000 of a few."""
    return round(min(max(100 * math.sqrt(1e6 / count), 100), 1000))


def model_choices(
    network: Network,
    sizes: tuple[int, int],
    prototypes: int,
    count: int,
    hours: float,
    start: Start | None,
) -> list[Choice]:
    """Backbone, head, loss and objectives."""
    small = is_small(network, count)
    choices = []
    if start is not None:
        choices.append(Choice('model.head.in_dim', network.width, 'the width of the backbone'))
    elif network.base == CONV_BASE:
        why = f'{network.name} is the largest that sees enough images in {hours:g} h'
        choices += [
            Choice('model.backbone.arch.embed_dims', network.width, why),
            Choice('model.backbone.arch.num_layers', network.layers),
            Choice('model.backbone.arch.num_heads', network.heads),
            Choice('model.backbone.img_size', sizes[0], 'that of the global crops'),
            Choice('model.head.in_dim', network.width),
        ]
    if small and network.base != CONV_BASE:
        why = f'keeps the outputs for fewer than {PUBLISHED:,} images apart'
        choices.append(Choice('model.objectives.coding_rate.type', 'CodingRateLoss', why))
    choices.append(
        Choice('model.head.out_dim', prototypes, 'prototypes, one for 2.5 images at most')
    )
    temperature = 0.03 if small else 0.04
    why = 'as published' if temperature == 0.04 else 'at 0.04 few prototypes stay alike'
    return [
        *choices,
        Choice('model.loss.warmup_teacher_temp', temperature),
        Choice('model.loss.teacher_temp', temperature, why),
    ]


def data_choices(
    network: Network, sizes: tuple[int, int], survey: Survey, machine: Machine, recipe: Recipe
) -> list[Choice]:
    """Loader, reading and crops."""
    load, crop = (f'train_dataloader.dataset.pipeline.{step}' for step in range(2))
    tiny = sizes[0] <= TINY
    workers = max(machine.cores - 1, 1) if machine.gpu else 1
    why = 'few images are few steps' if survey.count < 16 * 128 else 'steady, and fast'
    if recipe.accumulation > 1:
        why = f'as large as fits into {recipe.memory:.1f} GB'
    choices = [
        Choice('train_dataloader.batch_size', recipe.batch, why),
        Choice('train_dataloader.num_workers', workers, 'processes that read images'),
        Choice(f'{load}.type', 'LoadImage'),
        Choice(f'{load}.as_tensor', True, 'JPEG is decoded faster'),
        Choice(f'{load}.ignore_broken', True, 'another image takes the place of a broken one'),
        Choice(f'{crop}.type', 'DINOMultiCrop'),
        Choice(f'{crop}.backend', 'auto', 'colors are changed on the GPU where there is one'),
        Choice(f'{crop}.global_size', sizes[0], f'short sides are {survey.side} pixels'),
        Choice(f'{crop}.global_scale', (0.4, 1.0)),
        Choice(f'{crop}.local_size', sizes[1]),
        Choice(
            f'{crop}.local_scale',
            (0.1, 0.4) if tiny else (0.05, 0.4),
            'less of a small image shows nothing' if tiny else 'as published',
        ),
        Choice(f'{crop}.num_local', local_crops(network, sizes)),
    ]
    if tiny:
        why = 'a blur of two pixels leaves little of a small crop'
        choices.append(Choice(f'{crop}.blur_prob', (0.0, 0.0, 0.0), why))
    if survey.gray:
        choices += [
            Choice(f'{crop}.saturation', 0.0, 'the images are gray'),
            Choice(f'{crop}.hue', 0.0),
            Choice(f'{crop}.gray_prob', 0.0),
        ]
    return choices


def schedule_choices(
    recipe: Recipe,
    machine: Machine,
    small: bool,
    hours: float,
    most: int,
    start: Start | None,
) -> list[Choice]:
    """Precision, rates, averages and lengths."""
    updates = max(recipe.steps // recipe.accumulation, 1)
    choices = []
    if recipe.accumulation > 1:
        why = f'a step sees {recipe.batch * recipe.accumulation} images'
        choices.append(Choice('optim_wrapper.accumulative_counts', recipe.accumulation, why))
    momentum = teacher_momentum(updates)
    if start is not None:
        choices += start.schedule_choices()
        momentum = momentum if start.small else max(momentum, 0.99)
    why = f'as many as fit into {hours:g} h' if recipe.epochs < most else 'more would only repeat'
    return [
        *choices,
        Choice(
            'optim_wrapper.dtype',
            None if machine.dtype == 'float32' else machine.dtype,
            'what this machine computes fast in',
        ),
        Choice('param_scheduler.warmup', '5%' if small else '10%', 'of the run'),
        Choice(
            'default_hooks.ema.momentum',
            momentum,
            f'the teacher has to get somewhere in {updates:,} steps',
        ),
        Choice('default_hooks.time_budget.type', 'TimeBudgetHook'),
        Choice('default_hooks.time_budget.hours', hours, 'the run is shortened if it needs more'),
        Choice('default_hooks.checkpoint.interval', max(recipe.epochs // 10, 1), 'in epochs'),
        Choice('train_cfg.max_epochs', recipe.epochs, why),
    ]


def teacher_momentum(steps: int) -> float:
    """Momentum at the start: the shorter the run, the shorter the average."""
    for least, momentum in ((40_000, 0.996), (10_000, 0.99)):
        if steps >= least:
            return momentum
    return 0.98


def expectations(count: int, epochs: float, machine: Machine) -> list[str]:
    """Sentences on what so many images and so much time can give."""
    cure = 'a GPU or more hours (--hours)' if machine.gpu is None else 'more hours (--hours)'
    notes = []
    if count == 1:
        notes.append(
            'One image: the backbone learns edges, colors and textures of its crops, and nothing '
            'of objects.'
        )
    elif count < 300:
        notes.append(
            f'{count} images are few: expect edges and textures rather than objects. Going on from '
            'published weights (--init) is the better way.'
        )
    if epochs < 1:
        notes.append(
            f'There is time to see {100 * epochs:.2g} % of the images once; these are spread '
            f'evenly. For more, give {cure}.'
        )
    elif epochs < 10:
        notes.append(
            f'There is time to see each image about {epochs:.1f} times. Features get good from '
            f'about 10 times on: give {cure}.'
        )
    return notes


def evaluate_on(recipe: Recipe, labels: str) -> None:
    """Adds an evaluation on labeled images during training, in place.

    Args:
        recipe (Recipe): What is evaluated.
        labels (str): Folder or list of the labeled images.
    """
    size = recipe.value('train_dataloader.dataset.pipeline.1.global_size')
    recipe.bases.append('evaluation/labels.py')
    recipe.choices += [
        Choice('val_dataloader.num_workers', 1),
        Choice('val_dataloader.dataset.data_root', labels, 'labeled images'),
        Choice('val_dataloader.dataset.size', size, 'that of the global crops'),
        Choice('val_cfg.evaluations', EVALUATIONS, 'times that the run is evaluated'),
    ]
