"""What a person wants to see of a pretraining run."""

import os

import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook

from dino_mm.evaluation.functional import knn_accuracy
from dino_mm.registry import HOOKS
from dino_mm.utils.checks import check_number
from dino_mm.utils.wrappers import unwrap

from .utils import is_logged


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


@HOOKS.register_module()
class ReportHook(Hook):
    """Evaluates before training and reports after it.

    Afterwards the work dir holds ``backbone.pth`` (teacher), ``curves.png`` and, for our vision
    transformer, ``attention.png``; the log tells where and, where the config evaluates k-NN,
    shows the accuracies beside those of the untrained backbone.

    Args:
        metric (str): Validation metric to follow.
        raw_pixels (bool): Also evaluate raw pixels on the same split (small images only).
        attention_images (int): Validation images in the attention picture.
        curve_points (int): Points of the curves, each the mean of the iterations since the last.
    """

    priority = 'LOWEST'

    def __init__(
        self,
        metric: str = 'knn/k20_top1',
        raw_pixels: bool = False,
        attention_images: int = 6,
        curve_points: int = 2000,
    ) -> None:
        check_number('ReportHook.attention_images', attention_images, whole=True, at_least=1)
        check_number('ReportHook.curve_points', curve_points, whole=True, at_least=1)
        self.metric, self.raw_pixels = metric, raw_pixels
        self.attention_images, self.curve_points = attention_images, curve_points

    def before_train(self, runner) -> None:
        # Kept in the message hub, and so in the checkpoints of an interrupted run.
        self.baselines = runner.message_hub.runtime_info.setdefault('report_baselines', {})
        self.history = runner.message_hub.runtime_info.setdefault('report_history', [])
        #: Rows of iteration, loss and teacher entropy.
        self.curves = runner.message_hub.runtime_info.setdefault('report_curves', [])
        for key in ('report_baselines', 'report_history', 'report_curves'):
            runner.message_hub.update_info(key, runner.message_hub.get_info(key), resumed=True)
        if runner.iter == 0 and runner.val_loop is not None:
            if self.raw_pixels:
                self.baselines['raw pixels'] = self._raw_pixel_accuracy(runner)
            runner.val_loop.run()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # The message hub remembers the latest iterations only.
        done = runner.iter + 1
        since = done - (self.curves[-1][0] if self.curves else 0)
        if is_logged(runner, batch_idx) and since * self.curve_points >= runner.max_iters:
            means = [
                float(runner.message_hub.get_scalar(f'train/{name}').mean(since))
                for name in ('loss', 'teacher_entropy')
            ]
            self.curves.append((done, *means))

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

    @master_only
    def after_train(self, runner) -> None:
        from dino_mm.checkpoint.export import export_backbone
        from dino_mm.visualization import draw_curves

        model = unwrap(runner.model)
        model.eval()
        folder = runner.work_dir
        files = {'backbone': os.path.join(folder, 'backbone.pth')}
        meta = dict(
            config=runner.cfg.pretty_text,
            epoch=runner.epoch,
            iter=runner.iter,
            knn={self.metric: self.history[-1][1]} if self.history else {},
        )
        export_backbone(model.teacher.backbone, files['backbone'], meta)
        files['curves'] = os.path.join(folder, 'curves.png')
        draw_curves(
            files['curves'],
            np.array(self.curves).T,
            model.criterion.max_entropy,
            self.history,
            self.baselines,
        )
        if hasattr(model.teacher.backbone, 'get_attention') and runner.val_loop is not None:
            files['attention'] = os.path.join(folder, 'attention.png')
            self._draw_attention(runner, model, files['attention'])
        files['log'] = runner.log_dir
        if self.history and self.baselines:
            runner.logger.info('\n' + format_report(self.baselines, self.history))
        lines = [f'  {name:<10} {path}' for name, path in files.items()]
        runner.logger.info('\n' + '\n'.join(['Where things are', *lines]))

    def _draw_attention(self, runner, model, path: str) -> None:
        from dino_mm.visualization import class_token_attention, draw_attention

        dataset = runner.val_dataloader.dataset
        # Spread over the end of the data set, where the queries are.
        chosen = np.linspace(len(dataset) * 0.85, len(dataset) - 1, self.attention_images)
        images = [dataset[int(i)]['inputs'] for i in chosen]
        pictures = torch.stack([image for image in images if image.shape == images[0].shape])
        inputs = model.data_preprocessor(dict(inputs=pictures))['inputs']
        with model.teacher_precision(inputs.device):
            attention = class_token_attention(model.teacher.backbone, inputs)
        draw_attention(path, pictures, attention.float())
