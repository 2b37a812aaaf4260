"""Finds the backbone in a checkpoint, whatever it is wrapped in."""

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from .files import CheckpointError, Log, read_checkpoint
from .infer import stored_grid
from .layouts import ASIDE, Layout, State, foreign_family, layout_of, with_class_position

NETWORKS = ('teacher', 'student')
#: PyTorch adds these names anywhere in the keys of compiled, sharded and checkpointed modules.
TRANSPARENT = re.compile(
    r'(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.'
)
#: Words in the names of wrappers: the teacher holds averaged weights, the student trained ones.
ROLES = {
    'teacher': {'teacher', 'ema', 'momentum', 'target', 'averaged', 'encoder_k'},
    'student': {'student', 'online', 'encoder_q', 'base_encoder'},
}


def role(name: str) -> str:
    """Returns the network that the name of a wrapper tells of, ``''`` where it tells of none.

    Example:
        >>> role('model_ema'), role('student_backbone'), role('backbone')
        ('teacher', 'student', '')
    """
    words = {*name.split('.'), *re.split(r'[._]', name)}
    return next((network for network, known in ROLES.items() if words & known), '')


@dataclass(frozen=True)
class Branch:
    """The tensors below one point of the tree that the names of a checkpoint form.

    Attributes:
        state: The tensors, by what their names are below this point.
        name: The last name on the way to this point.
        parent: The branch that this one is a part of; ``None`` for the root.
        role: The network that the names on the way tell of, the innermost one, or ``''``.
    """

    state: State
    name: str = ''
    parent: 'Branch | None' = None
    role: str = ''

    @cached_property
    def layout(self) -> Layout | None:
        """The layout of the names; ``None`` where it is unknown."""
        return layout_of(self.state)

    @cached_property
    def family(self) -> str | None:
        """The family of backbones, if it is known and not supported."""
        return foreign_family(self.state)

    def lineage(self) -> Iterator['Branch']:
        """Yields this branch, the one that it is a part of, and so on to the root."""
        branch = self
        while branch is not None:
            yield branch
            branch = branch.parent

    def __str__(self) -> str:
        names = [branch.name for branch in self.lineage()][-2::-1]
        return '.'.join(names)

    def beside(self) -> list[str]:
        """Returns the names of the tensors beside this branch in the same network, such as heads."""
        names = []
        for branch in self.lineage():
            if branch.parent is None or role(branch.name):
                break
            names += [
                key
                for key in branch.parent.state
                if not key.startswith(f'{branch.name}.') and not role(key.rpartition('.')[0])
            ]
        return names


def branches(content: Mapping[str, Any]) -> list[Branch]:
    """Returns every branch of a file's content down to the backbones, the outer ones first.

    Nested dicts and names with dots are the same to it.
    """
    found, queue, seen = [], [(content, '', None, '')], set()
    for node, name, parent, network in queue:
        if id(node) in seen:  # a dict that lies in several places, or in itself
            continue
        seen.add(id(node))
        node = {TRANSPARENT.sub('', k): v for k, v in node.items() if isinstance(k, str)}
        state = {key: value for key, value in node.items() if isinstance(value, Tensor)}
        branch = Branch(state, name, parent, network)
        found.append(branch)
        if branch.layout or branch.family:
            continue
        inner = {key: value for key, value in node.items() if isinstance(value, Mapping)}
        groups: dict[str, State] = {}
        for key, value in state.items():
            first, dot, rest = key.partition('.')
            if dot:
                groups.setdefault(first, {})[rest] = value
        for first, below in [*inner.items(), *groups.items()]:
            # MMEngine's EMAHook writes the average to state_dict, what was trained to this entry.
            swapped = first == 'ema_state_dict' and 'steps' in below
            queue.append((below, first, branch, 'student' if swapped else role(first) or network))
    return found


@dataclass
class Weights:
    """The backbone of one network as a checkpoint holds it.

    Attributes:
        source: The checkpoint.
        branches: Where the backbone lies, and then where else a module may look for its names.
        network: ``'teacher'``, ``'student'``, or ``''`` where the file does not tell.
        others: Where the other backbones of the file lie, each with the ``network`` that takes it,
            or ``''`` where none does.
        meta: Plain facts stored beside the tensors.
    """

    source: str
    branches: list[Branch]
    network: str
    others: list[tuple[str, str]]
    meta: dict[str, Any]

    @property
    def state(self) -> State:
        """The tensors by their own names."""
        return self.branches[0].state

    @property
    def layout(self) -> Layout | None:
        """The layout of the names; ``None`` where it is unknown."""
        return self.branches[0].layout

    def published(self) -> State:
        """Returns the tensors by the published names.

        Raises:
            CheckpointError: The names are of no family that is supported.
        """
        family = self.branches[0].family
        if family is not None:
            raise CheckpointError(
                f'{self.source} holds a backbone of the family {family}, which is not supported '
                'yet: it only loads into a module that has the same keys, by the config '
                'backbone=dict(type=...)'
            )
        if self.layout is None:
            raise CheckpointError(
                f'{self.source}: keys like {some(self.state)} are of no known backbone. Known are '
                'DINO, DINOv2, timm, mmpretrain and Hugging Face ViTs, ResNets and XCiTs; another '
                'backbone loads into a module that has the same keys: pass its config as '
                'backbone=dict(type=...)'
            )
        state = {key: value for key, value in self.state.items() if not ASIDE.match(key)}
        try:
            state = self.layout.to_published(state)
        except CheckpointError as error:
            raise CheckpointError(f'{self.source}: {error}') from None
        if self.layout.family == 'vit':
            state = with_class_position(state, stored_grid(self.meta))
        return state


def some(names: Any, limit: int = 4) -> str:
    """Returns the first names of a collection, as text."""
    names = list(names)
    return ', '.join(names[:limit]) + (', ...' if len(names) > limit else '')


def read_weights(checkpoint: str | os.PathLike, network: str | None = None) -> Weights:
    """Reads the backbone of one network from a checkpoint of any layout.

    Wrappers may be nested in any way: dicts, and names before the keys. Of two sets of weights
    the averaged one counts as the teacher (``teacher``, ``model_ema``, ``momentum_encoder``, ...)
    and the trained one as the student, by the words of :data:`ROLES` in the names; a set without
    such a word is the other one of the two.

    Args:
        checkpoint (str): See :func:`read_checkpoint`.
        network (str, optional): ``'teacher'`` or ``'student'``. By default it is the teacher, or
            the only network that the file holds. A file with a single network that does not tell
            which one it is answers to ``'teacher'`` as well.

    Raises:
        CheckpointError: The file holds no such network, or no weights at all.
    """
    if network not in (None, *NETWORKS):
        raise ValueError(f"network must be 'teacher' or 'student', got {network!r}")
    source, content = os.fspath(checkpoint), read_checkpoint(checkpoint)
    meta = dict(content['meta']) if isinstance(content.get('meta'), Mapping) else {}
    found = branches(content)
    if not any(branch.state for branch in found):
        raise CheckpointError(f'{source} holds no weights: its entries are {some(content, 10)}')
    backbones = [b for b in found if b.layout] or [b for b in found if b.family]
    told = {branch.role for branch in backbones or found} - {''}
    rest = '' if told else meta.get('network', '')
    if backbones and len(told) == 1:
        # Beside averaged weights the others are the trained ones, and the other way around.
        rest = 'student' if 'teacher' in told else 'teacher'
    sets = [(branch.role or rest, branch) for branch in backbones or found]
    wanted = [network] if network else ['teacher', '', 'student']
    if network == 'teacher' and not told:
        wanted += ['', 'student']
    if not backbones and told:
        wanted.insert(1, '')  # The words need not tell of networks in a model that is not known.
    ranked = [(name, branch) for want in wanted for name, branch in sets if name == want]
    if not ranked:
        held = sorted({name for name, _ in sets} - {''})
        advice = f": pass network='{held[0]}' (--network {held[0]})" if told else ''
        raise CheckpointError(
            f'{source} holds no {network}, only {" and ".join(held) or "a single network"}{advice}'
        )
    chosen, first = ranked[0]
    meta.update(_facts(content))
    others = [
        (str(branch), name if name != chosen else '')
        for name, branch in sets
        if backbones and branch is not first
    ]
    places = list(first.lineage()) if backbones else [branch for _, branch in ranked]
    return Weights(source, places, chosen, others, meta)


def _facts(content: Mapping) -> dict[str, Any]:
    """Returns epoch, options and last k-NN results of a training checkpoint."""
    facts = {}
    if isinstance(content.get('args'), argparse.Namespace):  # published full files
        facts = dict(epoch=content.get('epoch'), args=vars(content['args']))
    hub = content.get('message_hub')
    logs = hub.get('log_scalars', {}) if isinstance(hub, Mapping) else {}
    knn = {
        key.rsplit('/', 1)[-1]: float(log.values[-1])
        for key, log in logs.items()
        if 'knn' in key and isinstance(log, Log) and log.values is not None and len(log.values)
    }
    return facts | ({'knn': knn} if knn else {})
