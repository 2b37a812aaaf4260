"""Ends of a logged value's range at which training has failed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What an objective says of a value that it logs.

    Attributes:
        title: What the value is, for pictures.
        low: The value that means failure at the lower end.
        high: The value that means failure at the upper end.
        low_label: Name of the lower end, for pictures.
        high_label: Name of the upper end.
        at_low: What has happened near ``low``, and what to change.
        at_high: What has happened near ``high``, and what to change.
    """

    title: str
    low: float
    high: float
    low_label: str
    high_label: str
    at_low: str
    at_high: str

    def reached(self, value: float, margin: float) -> str | None:
        """What has happened, if the value is within ``margin`` (relative to the range) of an end."""
        span = (self.high - self.low) * margin
        if value > self.high - span:
            return self.at_high
        return self.at_low if value < self.low + span else None
