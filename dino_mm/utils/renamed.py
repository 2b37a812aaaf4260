"""Old names that go on working: of config keys, values and classes for one release, of state keys
for good."""

import functools
import warnings
from collections.abc import Callable, Mapping

from torch import nn


def renamed_keys(**names: str) -> Callable[[type], type]:
    """Class decorator: arguments of ``__init__`` answer to their old names, with a warning.

    Args:
        names: New name by old name.

    Example:
        >>> @renamed_keys(colour='color')
        ... class Pen:
        ...     def __init__(self, color): self.color = color
        >>> Pen(colour='red').color
        'red'
    """

    def decorate(cls: type) -> type:
        build = cls.__init__

        @functools.wraps(build)
        def init(self, *args, **kwargs) -> None:
            for old in names.keys() & kwargs.keys():
                new = names[old]
                if new in kwargs:
                    raise TypeError(f'{cls.__name__}: give {new} alone, {old} is its old name')
                warn_renamed(f'{cls.__name__}.{old}', new)
                kwargs[new] = kwargs.pop(old)
            build(self, *args, **kwargs)

        init.renamed = names
        cls.__init__ = init
        return cls

    return decorate


def renamed_value(key: str, value: object, names: Mapping[object, object]) -> object:
    """The new form of an old value of a config key, with a warning; other values as they are."""
    if not isinstance(value, str) or value not in names:
        return value
    warn_renamed(f'{key}={value!r}', repr(names[value]))
    return names[value]


def keep_state_key(module: nn.Module, name: str, key: str) -> None:
    """Makes checkpoints hold a tensor of a module under the key that they have had for it.

    Args:
        module (nn.Module): Any module.
        name (str): The tensor's name in the module.
        key (str): Its key in the module's state.
    """

    def after_saving(_, state, prefix, *args) -> None:
        state[prefix + key] = state.pop(prefix + name)

    def before_loading(_, state, prefix, *args) -> None:
        if prefix + key in state:
            state[prefix + name] = state.pop(prefix + key)

    module.register_state_dict_post_hook(after_saving)
    module.register_load_state_dict_pre_hook(before_loading)


def warn_renamed(old: str, new: str) -> None:
    """Warns that a name will go with the next release."""
    warnings.warn(
        f'{old} is now called {new}. The old name still works in this release.',
        FutureWarning,
        stacklevel=3,
    )
