"""What a person sees of a run: pictures and the backbone, from the start on."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from dino_mm.checkpoint import read_checkpoint
from dino_mm.datasets import ShardedImages, UnlabelledImageFolder
from dino_mm.engine.hooks import ReportHook
from dino_mm.engine.hooks.showcase import GRID, Showcase, pictures_of, unlabeled_pictures_of
from dino_mm.registry import MODELS

from ..shard_files import write_tars

FILES = {'backbone.pth', 'attention.png', 'neighbors.png'}


def images(sides: list[int]) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        dict(inputs=torch.randint(0, 256, (3, 32, side), generator=generator).byte())
        for side in sides
    ]


def test_pictures_of_a_bfloat16_teacher_and_images_of_several_sizes(toy_model, tmp_path) -> None:
    model = MODELS.build(toy_model | dict(teacher_dtype='bfloat16')).train()
    queries, gallery = pictures_of(images([32] * 8 + [48, 32]), 2)
    assert len(queries) == 1 and len(gallery) == 8  # of the usual size
    showcase = Showcase(queries, gallery, str(tmp_path / 'untrained.pth'))
    state = torch.get_rng_state()
    showcase.remember_untrained(model)
    files = showcase.draw(model, str(tmp_path))
    assert torch.get_rng_state().equal(state) and model.teacher.training
    assert all(os.stat(file).st_size > 1000 for file in files.values()) and len(files) == 2
    again = Showcase(queries, gallery, str(tmp_path / 'untrained.pth'))
    again.recall_untrained()
    assert again.untrained['attention'].shape == (1, 3, GRID, GRID)
    assert again.untrained['neighbors'].equal(showcase.untrained['neighbors'])


def test_a_query_finds_itself_in_the_gallery(toy_model, tmp_path) -> None:
    model = MODELS.build(toy_model)
    pictures = torch.stack([item['inputs'] for item in images([32] * 6)])
    seen = Showcase(pictures[2:4], pictures, str(tmp_path / 'untrained.pth')).look(model)
    assert seen['neighbors'][:, 0].tolist() == [2, 3]


def test_unlabeled_images_are_cropped_to_the_size_of_a_global_crop(image_folder) -> None:
    crop = dict(type='dino_mm.DINOMultiCrop', global_size=(24, 32), local_size=16, num_local=2)
    for load in (dict(type='dino_mm.LoadImage'), dict(type='dino_mm.LoadImage', as_tensor=True)):
        dataset = UnlabelledImageFolder(str(image_folder), pipeline=[load, crop])
        queries, gallery = unlabeled_pictures_of(dataset, 2)
        assert queries.shape == (2, 3, 24, 32) and queries.dtype == torch.uint8
        assert len(queries) + len(gallery) == len(dataset)


def test_pictures_of_a_stream_come_from_several_shards(tmp_path) -> None:
    pytest.importorskip('datasets')
    crop = dict(type='dino_mm.DINOMultiCrop', global_size=32, num_local=0)
    folder = write_tars(tmp_path / 'shards', (3, 5, 4))
    dataset = ShardedImages(str(folder), pipeline=[dict(type='dino_mm.LoadImage'), crop])
    queries, gallery = unlabeled_pictures_of(dataset, 3)
    assert queries.shape == (3, 3, 32, 32) and len(gallery) == 9
    shards = [Path(item['img_path']).parent.name for item in dataset.preview(3)]
    assert len(set(shards)) == 3


class Look(Hook):
    """Notes which files are there after each iteration."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seen: list[set] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seen.append(FILES & set(os.listdir(runner.work_dir)))


@pytest.mark.parametrize('minutes', [10.0, 1e-6])
def test_files_from_the_start_without_labels_change_nothing(make_runner, tmp_path, minutes) -> None:
    plain = make_runner(work_dir=str(tmp_path / 'plain'))
    plain.train()
    runner = make_runner(log_level='INFO')
    runner.register_hook(ReportHook(attention_images=2, minutes=minutes))
    runner.register_hook(look := Look())
    runner.train()
    assert all(seen == FILES for seen in look.seen) and look.seen
    for name, value in plain.model.state_dict().items():
        assert runner.model.state_dict()[name].equal(value), name
    backbone = read_checkpoint(os.path.join(runner.work_dir, 'backbone.pth'))
    assert backbone['meta']['iter'] == runner.max_iters
    log = Path(runner.logger.log_file).read_text()
    assert log.count('Wrote backbone.pth') == (1 if minutes > 1 else 1 + runner.max_iters)
