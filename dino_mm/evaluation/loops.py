"""Loops of the Runner: k-NN with features stored on disk, and validation at even distances."""

from pathlib import Path

import torch
from mmengine.runner import TestLoop, ValLoop, autocast

from dino_mm.datasets import KNNDataset
from dino_mm.registry import LOOPS
from dino_mm.utils.checks import check_number
from dino_mm.utils.files import weights_fingerprint
from dino_mm.utils.wrappers import unwrap

from .features import CHUNK_SIZE, FeatureFiles, features_key
from .metrics import KNNMetric
from .report import report


@LOOPS.register_module()
class KNNTestLoop(TestLoop):
    """Computes and stores the features of a :class:`KNNDataset`, and evaluates them.

    Processes share the images without padding. The result is printed as a table and written to
    ``knn.json`` in the work dir.

    Args:
        cache (str, optional): Folder of the features, by default ``features`` in the work dir.
            They are reused as long as weights, config and images are the same.
        chunk_size (int): Images per file.
        kwargs: Arguments of MMEngine's test loop: ``runner``, ``dataloader``, ``evaluator`` and
            ``fp16``.
    """

    def __init__(self, *args, cache: str | None = None, chunk_size: int = CHUNK_SIZE, **kwargs):
        check_number('test_cfg.chunk_size', chunk_size, whole=True, at_least=1)
        super().__init__(*args, **kwargs)
        if not isinstance(self.dataloader.dataset, KNNDataset):
            raise TypeError(
                'KNNTestLoop needs test_dataloader.dataset.type=KNNDataset, not '
                f'{type(self.dataloader.dataset).__name__}'
            )
        self.cache = Path(cache or Path(self.runner.work_dir, 'features'))
        self.chunk_size = chunk_size

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        runner, loader = self.runner, self.dataloader
        dataset = loader.dataset
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        runner.model.eval()
        model = unwrap(runner.model)
        weights = weights_fingerprint(model)
        config = runner.cfg
        key = features_key(
            dataset, weights, config.model, config.test_dataloader.dataset, self.fp16
        )
        files = FeatureFiles(dataset, key, self.cache, self.chunk_size)
        files.write(
            self._embed, 'features', loader.batch_size, loader.num_workers, loader.collate_fn
        )
        for chunk in files.read(files.share()):
            samples = [
                dict(
                    features=feature,
                    gt_label=label,
                    index=index,
                    in_bank=index < dataset.cumulative_sizes[0],
                )
                for feature, label, index in zip(
                    chunk.features, chunk.labels, chunk.index.tolist(), strict=True
                )
            ]
            self.evaluator.process(samples)
        metrics = self.evaluator.evaluate(len(dataset))
        runner.call_hook('after_test_epoch', metrics=metrics)
        runner.call_hook('after_test')
        self._report(metrics, weights)
        return metrics

    def _embed(self, batch: dict) -> torch.Tensor:
        with autocast(enabled=self.fp16):
            samples = self.runner.model.test_step(batch)
        return torch.stack([sample.features for sample in samples]).float()  # (B, C)

    def _report(self, metrics: dict[str, float], weights: str) -> None:
        bank, queries = map(len, self.dataloader.dataset.datasets)
        result = dict(
            checkpoint=getattr(unwrap(self.runner.model), 'source', None),
            fingerprint=weights[:12],
            bank=bank,
            queries=queries,
            metrics=metrics,
        )
        rows = [
            {'k': k}
            | {f'top-{n}': metrics[f'{metric.prefix}/k{k}_top{n}'] for n in (1, 5)}
            | {'bank': bank, 'queries': queries}
            for metric in self.evaluator.metrics
            if isinstance(metric, KNNMetric)
            for k in metric.ks
        ]
        title = f'k-NN accuracy (percent): {result["checkpoint"] or "untrained"}'
        report(title, rows, result, Path(self.runner.work_dir) / 'knn.json')


#: Where the message hub, and so a checkpoint, keeps the iteration of the latest evaluation.
LATEST = 'latest_evaluation'


@LOOPS.register_module()
class SpacedValLoop(ValLoop):
    """MMEngine's validation loop, run a given number of times however long training is.

    Training loops ask for an evaluation every ``val_interval`` epochs or iterations, by default
    every epoch. This loop answers when another share of the run has gone by since it last did, at
    the end of the run, and before its first iteration.

    Args:
        evaluations (int): Times that a run is evaluated after its start.
        kwargs: Arguments of MMEngine's validation loop: ``runner``, ``dataloader``, ``evaluator``
            and ``fp16``.
    """

    def __init__(self, *args, evaluations: int = 10, **kwargs) -> None:
        check_number('val_cfg.evaluations', evaluations, whole=True, at_least=1)
        super().__init__(*args, **kwargs)
        self.evaluations = evaluations

    def run(self) -> dict[str, float]:
        """The metrics; nothing where no evaluation is due."""
        runner = self.runner
        done, total = runner.iter, runner.max_iters
        latest = runner.message_hub.runtime_info.get(LATEST, 0)
        due = done * self.evaluations // total > latest * self.evaluations // total
        if 0 < done < total and not due:
            return {}
        runner.message_hub.update_info(LATEST, done)
        return super().run()
