"""What a person wants to see of a pretraining run."""

import os
import time

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_world_size
from mmengine.hooks import Hook, IterTimerHook, LoggerHook, RuntimeInfoHook

from dino_mm.datasets import ShardedImages
from dino_mm.engine.tracking import track_pictures
from dino_mm.evaluation.functional import knn_accuracy
from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number
from dino_mm.utils.durations import format_duration
from dino_mm.utils.wrappers import unwrap

from .showcase import Showcase, pictures_of, unlabeled_pictures_of
from .utils import is_logged, leave_out_of_timing

#: Points of the curves at most, each the mean of the iterations since the one before.
CURVE_POINTS = 2000
#: Hooks that write down what happens and change nothing by it.
RECORDS = (IterTimerHook, LoggerHook, RuntimeInfoHook)


def format_report(baselines: dict[str, float], history: list[tuple[int, float]]) -> str:
    """Text table of k-NN accuracies, in percent.

    Args:
        baselines (dict): Name and accuracy of what training is to beat.
        history (list[tuple]): ``(iteration, accuracy)``, the last one being the result.
    """
    rows = [*baselines.items()]
    rows += [(f'after {iteration} iterations', value) for iteration, value in history]
    lines = ['k-NN accuracy (percent)', *(f'  {name:<28}{value:6.1f}' for name, value in rows)]
    result = history[-1][1]
    lines += [f'  gain over {name:<18}{result - value:+6.1f}' for name, value in baselines.items()]
    return '\n'.join(lines)


def describe(runner) -> str:
    """What is about to happen, in one sentence or two."""
    loader, model = runner.train_dataloader, unwrap(runner.model)
    backbone = model.learned.backbone
    millions = sum(parameter.numel() for parameter in backbone.parameters()) / 1e6
    batch = getattr(loader, 'batch_size', None)
    parts = [
        f'{type(model).__name__} trains {type(backbone).__name__} ({millions:.3g} M parameters)'
    ]
    if hasattr(loader.dataset, '__len__'):
        parts.append(f'on {len(loader.dataset):,} images')
    parts.append(f'for {runner.max_iters - runner.iter:,} steps')
    if batch:
        parts.append(f'of {batch * get_world_size()} images')
    if next(backbone.parameters()).is_cuda:
        parts.append(f'on {get_world_size()} GPU{"s"[: get_world_size() > 1]}')
    else:
        threads = get_world_size() * torch.get_num_threads()
        parts.append(f'on {threads} CPU thread{"s"[: threads > 1]}')
    dtype = getattr(runner.optim_wrapper, 'dtype', None) or torch.float32
    parts.append(f'in {str(dtype).removeprefix("torch.")}')
    return f'{" ".join(parts)}. Everything is written to {runner.work_dir}.'


@HOOKS.register_module()
class ReportHook(Hook):
    """Says what is about to happen, keeps pictures and the backbone up to date, and reports.

    From the start of training, every ``minutes``, when it is interrupted and at its end the work
    dir gets ``backbone.pth`` (the teacher, or the student where no teacher moves), ``curves.png``,
    ``neighbors.png`` and, for our vision transformer, ``attention.png``, each beside what the
    untrained network gave. Where the config evaluates k-NN, the end shows the accuracies beside
    those of the untrained backbone.

    Args:
        metric (str): Validation metric to follow.
        raw_pixels (bool): Also evaluate raw pixels on the same split (small images only).
        attention_images (int): Images in the pictures, of the validation data where there is some,
            else of the training data.
        minutes (float): Time between two updates during training.
    """

    priority = 'LOWEST'

    def __init__(
        self,
        metric: str = 'knn/k20_top1',
        raw_pixels: bool = False,
        attention_images: int = 6,
        minutes: float = 10.0,
    ) -> None:
        check_number('ReportHook.attention_images', attention_images, whole=True, at_least=1)
        check_number('ReportHook.minutes', minutes, above=0)
        self.metric, self.raw_pixels = metric, raw_pixels
        self.attention_images, self.minutes = attention_images, minutes

    def before_train(self, runner) -> None:
        # Kept in the message hub, and so in the checkpoints of an interrupted run.
        self.baselines = runner.message_hub.runtime_info.setdefault('report_baselines', {})
        self.history = runner.message_hub.runtime_info.setdefault('report_history', [])
        #: Rows of iteration, loss and the values that have limits.
        self.curves = runner.message_hub.runtime_info.setdefault('report_curves', [])
        for key in ('report_baselines', 'report_history', 'report_curves'):
            runner.message_hub.update_info(key, runner.message_hub.get_info(key), resumed=True)
        runner.logger.info(describe(runner))
        self.showcase = self._build_showcase(runner) if runner.rank == 0 else None
        if self.showcase is not None:
            if runner.iter == 0:
                self.showcase.remember_untrained(unwrap(runner.model))
            else:
                self.showcase.recall_untrained()
        if runner.iter == 0 and runner.val_loop is not None:
            if self.raw_pixels:
                self.baselines['raw pixels'] = self._raw_pixel_accuracy(runner)
            self._evaluate_untrained(runner)
        self._update(runner)

    def _build_showcase(self, runner) -> Showcase | None:
        """Images to look at; ``None`` where the data cannot be asked for single images."""
        file = os.path.join(runner.work_dir, 'untrained.pth')
        if runner.val_loop is not None:
            return Showcase(
                *pictures_of(runner.val_dataloader.dataset, self.attention_images), file
            )
        dataset = runner.train_dataloader.dataset
        if isinstance(dataset, ShardedImages):
            enough = len(dataset.preview(self.attention_images + 1)) > self.attention_images
        else:
            enough = isinstance(dataset, BaseDataset) and len(dataset) > self.attention_images
        if not enough:
            return None
        return Showcase(*unlabeled_pictures_of(dataset, self.attention_images), file)

    def _evaluate_untrained(self, runner) -> None:
        """Evaluates where only the records of the run take notice.

        To others the result would be one of training: ``save_best`` would keep the untrained
        network, early stopping would count from it.
        """
        hooks = [*runner.hooks]
        runner.hooks[:] = [hook for hook in hooks if hook is self or isinstance(hook, RECORDS)]
        try:
            runner.val_loop.run()
        finally:
            runner.hooks[:] = hooks

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # The message hub remembers the latest iterations only.
        done = runner.iter + 1
        since = done - (self.curves[-1][0] if self.curves else 0)
        if is_logged(runner, batch_idx) and since * CURVE_POINTS >= runner.max_iters:
            means = [
                float(runner.message_hub.get_scalar(f'train/{name}').mean(since))
                for name in ('loss', *unwrap(runner.model).limits())
            ]
            self.curves.append((done, *means))
        if time.monotonic() - self.updated > 60 * self.minutes:
            self._update(runner)

    def after_val_epoch(self, runner, metrics=None) -> None:
        if self.metric not in metrics:
            raise KeyError(f'ReportHook.metric={self.metric!r}, but validation gives {[*metrics]}')
        if runner.iter == 0:
            self.baselines['untrained backbone'] = metrics[self.metric]
        else:
            self.history.append((runner.iter, metrics[self.metric]))

    @staticmethod
    def _raw_pixel_accuracy(runner) -> float:
        metric = runner.val_evaluator.metrics[0]
        items = list(runner.val_dataloader.dataset)
        features = torch.stack([item['inputs'].float().flatten() for item in items])
        labels = torch.cat([item['data_samples'].gt_label for item in items])
        bank = torch.tensor([item['data_samples'].in_bank for item in items])
        scores = knn_accuracy(
            features[bank],
            labels[bank],
            features[~bank],
            labels[~bank],
            ks=metric.ks,
            temperature=metric.temperature,
        )
        return scores[f'k{metric.ks[0]}_top1']

    def after_train(self, runner) -> None:
        if runner.rank != 0:
            return
        files = self._write(runner)
        if 'best_ckpt' in runner.message_hub.runtime_info:
            files['best'] = runner.message_hub.get_info('best_ckpt')
        files['log'] = runner.log_dir
        if self.history and self.baselines:
            runner.logger.info('\n' + format_report(self.baselines, self.history))
        lines = [f'  {name:<10} {path}' for name, path in files.items()]
        runner.logger.info('\n' + '\n'.join(['Where things are', *lines]))

    def on_interrupt(self, runner) -> None:
        """Called by :class:`InterruptHook` when its checkpoint is safe."""
        self._write(runner)

    def _update(self, runner) -> None:
        """Writes all files during training and says what that took."""
        if runner.rank == 0:
            start = time.monotonic()
            names = ', '.join(os.path.basename(path) for path in self._write(runner).values())
            runner.logger.info(
                f'Wrote {names} to {runner.work_dir} '
                f'({format_duration(time.monotonic() - start)}), again every {self.minutes:g} minutes'
            )
            leave_out_of_timing(runner)
        self.updated = time.monotonic()

    def _write(self, runner) -> dict[str, str]:
        """Writes backbone and pictures: names and files."""
        from dino_mm.checkpoint.export import export_backbone
        from dino_mm.visualization import draw_curves

        model, folder = unwrap(runner.model), runner.work_dir
        files = {'backbone': os.path.join(folder, 'backbone.pth')}
        meta = dict(
            config=runner.cfg.pretty_text,
            epoch=runner.epoch,
            iter=runner.iter,
            knn={self.metric: self.history[-1][1]} if self.history else {},
        )
        export_backbone(model.learned.backbone, files['backbone'], meta)
        if self.curves:
            files['curves'] = os.path.join(folder, 'curves.png')
            draw_curves(
                files['curves'],
                np.array(self.curves).T,
                list(model.limits().values()),
                self.history,
                self.baselines,
            )
        if self.showcase:
            files |= self.showcase.draw(model, folder)
        track_pictures(runner.visualizer, files, runner.iter)
        return files
