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
            options[key] = self._read(value)
        setattr(namespace, self.dest, options)

    def _read(self, value: str) -> object:
        quote = value[:1]
        if len(value) > 1 and quote in QUOTES and value.find(quote, 1) == len(value) - 1:
            return value[1:-1]
        if any(mark in value for mark in '([,'):
            return self._parse_iterable(value)
        return self._parse_int_float_bool(value)
