"""Overrides of a config on the command line."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mmengine.config import DictAction

QUOTES = '\'"'


class OptionsAction(DictAction):
    """MMEngine's ``DictAction``, which keeps blanks and quoted text.

    ``key='2024'`` with its quotes is text and not a number, ``key='a,b'`` is text and not a list,
    and the blanks of ``key=/my images`` stay. All else is read as MMEngine reads it. A shell takes
    quotes away unless they are quoted themselves: ``"key='2024'"``.
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest, None) or {})
        for option in values:
            key, equals, value = option.partition('=')
            if not equals:
                parser.error(f'{option_string} takes KEY=VALUE, got {option!r}')
            options[key] = read_value(value)
        setattr(namespace, self.dest, options)


def read_value(text: str) -> object:
    """What the text of one value means."""
    quote = text[:1]
    if len(text) > 1 and quote in QUOTES and text.find(quote, 1) == len(text) - 1:
        return text[1:-1]
    if any(mark in text for mark in '([,'):
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(text)
