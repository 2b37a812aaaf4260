"""Where a run is, and lengths of schedules in whatever unit a config gives them."""

import math
import re
from dataclasses import dataclass

#: How a config may write a length, by the unit that is meant.
UNITS = {
    'epochs': r'ep(och)?s?',
    'iterations': r'it(er(ation)?)?s?',
    'steps': r'steps?',
    'percent': r'%|percent',
}


@dataclass(frozen=True)
class Length:
    """A part of a run, such as a warm-up.

    Attributes:
        key: The config key that declares it, for messages.
        value: How many of the unit.
        unit: ``'epochs'``, ``'iterations'`` (batches), ``'steps'`` (of the optimizer) or
            ``'percent'`` of the whole run.
    """

    key: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f'{self.value:g}{"%" if self.unit == "percent" else f" {self.unit}"}'


def parse_length(key: str, value: float | str, unit: str = 'epochs') -> Length:
    """The length that a config key declares.

    Args:
        key (str): The config key, for messages.
        value (float | str): A number of ``unit``, or a text such as ``'10 epochs'``,
            ``'500 steps'``, ``'2000 iterations'`` or ``'5%'`` of the run.
        unit (str): What a plain number counts.

    Raises:
        ValueError: The value is not a length, or is negative.

    Example:
        >>> parse_length('param_scheduler.warmup', '5%')
        Length(key='param_scheduler.warmup', value=5.0, unit='percent')
    """
    text = f'{value} {unit}' if isinstance(value, (int, float)) else str(value)
    match = re.fullmatch(r'\s*(\d+\.?\d*(?:e[+-]?\d+)?)\s*([a-z%]+)\s*', text.lower())
    if match and not isinstance(value, bool):
        for known, pattern in UNITS.items():
            if re.fullmatch(pattern, match[2]):
                return Length(key, float(match[1]), known)
    raise ValueError(
        f"{key} must be a number of {unit}, or a text such as '10 epochs', '500 steps', "
        f"'2000 iterations' or '5%', got {value!r}"
    )


@dataclass(frozen=True)
class Progress:
    """How far a run is. Every schedule is a function of this.

    Attributes:
        iteration: Index of the present batch.
        total_iterations: Batches of the whole run.
        epoch_length: Batches that count as one epoch.
        accumulation: Batches that share one optimizer step.
    """

    iteration: int
    total_iterations: int
    epoch_length: int
    accumulation: int = 1

    @property
    def step(self) -> int:
        """Index of the optimizer step that the present batch belongs to."""
        return self.iteration // self.accumulation

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return math.ceil(self.total_iterations / self.accumulation)

    @property
    def epoch(self) -> int:
        """Index of the present epoch."""
        return self.iteration // self.epoch_length

    def steps(self, length: Length) -> int:
        """A length in optimizer steps."""
        if length.unit == 'steps':
            return round(length.value)
        if length.unit == 'percent':
            return round(length.value / 100 * self.total_steps)
        iterations = length.value * (self.epoch_length if length.unit == 'epochs' else 1)
        return round(int(iterations) / self.accumulation)

    def position(self, length: Length) -> tuple[int, float]:
        """Where the run is within a length that starts with it, and how long that is.

        Both in epochs, if the length is given in epochs, so that a schedule moves from epoch to
        epoch as in the reference; otherwise both in optimizer steps.
        """
        if length.unit == 'epochs':
            return self.epoch, length.value
        return self.step, self.steps(length)

    def check(self, length: Length) -> None:
        """Refuses a length that the run never completes.

        Raises:
            ValueError: Naming the config key.
        """
        if self.steps(length) > self.total_steps:
            raise ValueError(
                f'{length.key}={length} is longer than the whole run of {self.total_steps} '
                f'optimizer steps ({self.total_iterations / self.epoch_length:.4g} epochs): make it '
                'shorter, or train longer (train_cfg)'
            )
