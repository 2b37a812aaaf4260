"""Checkpoints of which one is always whole."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook

from dino_mm.engine.work_dir import point_to
from dino_mm.registry import HOOKS

#: Regular checkpoints that are kept at least, so that one is left when the other is damaged.
LEAST = 2


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, but an old checkpoint is removed after the new one is written.

    ``last_checkpoint`` is written whole or not at all. At least two regular checkpoints are kept.
    The arguments are those of MMEngine's hook.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if 0 < self.max_keep_ckpts < LEAST:
            self.max_keep_ckpts = LEAST

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated = self._keep(runner, step) if self.max_keep_ckpts > 0 else None
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        point_to(Path(runner.work_dir), self.last_ckpt)
        if outdated is not None:
            old = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated))
            if self.file_backend.isfile(old):
                self.file_backend.remove(old)

    def _keep(self, runner, step: int) -> int | None:
        """Notes a checkpoint as one to keep; returns the one that is not kept any longer."""
        kept, outdated = self.keep_ckpt_ids, None
        if not kept or kept[-1] != step:
            if len(kept) == self.max_keep_ckpts:
                outdated = kept.popleft()
            kept.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(kept))
        return outdated
