"""Scalars of a run without halting it."""

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import RuntimeInfoHook
from torch import Tensor

from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number

from .utils import is_logged


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """MMEngine's hook of that name, whose scalars reach the host only when they are logged.

    MMEngine asks the device for every loss after every iteration, which then waits for it, and
    appends to histories whose copying grows with the run. Here one transfer brings what gathered
    since the last log, averaged over all processes, where MMEngine's are those of the first one.
    Set it in place of the other:
    ``default_hooks = dict(runtime_info=dict(type='DeferredRuntimeInfoHook'))``.

    Args:
        history (int): Iterations that the message hub remembers.
    """

    def __init__(self, history: int = 2000) -> None:
        check_number('DeferredRuntimeInfoHook.history', history, whole=True, at_least=1)
        self.history = history
        self.pending: list[dict[str, Tensor]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if outputs:
            # Detached: a loss would keep the graph that it came from.
            self.pending.append({k: torch.as_tensor(v).detach() for k, v in outputs.items()})
        if is_logged(runner, batch_idx):
            self._flush(runner.message_hub)

    def before_val(self, runner) -> None:
        self._flush(runner.message_hub)
        super().before_val(runner)

    def after_train(self, runner) -> None:
        self._flush(runner.message_hub)
        super().after_train(runner)

    def _flush(self, message_hub) -> None:
        values = [value.float() for row in self.pending for value in row.values()]
        keys = [key for row in self.pending for key in row]
        self.pending.clear()
        if values:
            means = torch.stack(values)
            all_reduce(means, 'mean')  # all processes log at the same iterations
            for key, value in zip(keys, means.tolist(), strict=True):
                message_hub.update_scalar(f'train/{key}', value)
        for buffer in message_hub.log_scalars.values():
            buffer.max_length = self.history
