"""Labeled images for an evaluation while training."""

from pathlib import Path

import pytest
from PIL import Image

from dino_mm.datasets import KNNDataset, LabeledImages
from dino_mm.datasets.labeled_images import bank_and_queries, spread


def images(folder: Path, classes: str, count: int) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new('RGB', (4, 4)).save(folder / name / f'{index}.png')


def test_class_folders_are_divided(tmp_path) -> None:
    images(tmp_path, 'ab', 4)
    bank, queries = bank_and_queries(str(tmp_path))
    names = [[(Path(path).name, label) for path, label in part] for part in (bank, queries)]
    assert names[0] == [('0.png', 'a'), ('2.png', 'a'), ('0.png', 'b'), ('2.png', 'b')]
    assert names[1] == [('1.png', 'a'), ('3.png', 'a'), ('1.png', 'b'), ('3.png', 'b')]


def test_folders_of_both_parts_are_taken_as_such(tmp_path) -> None:
    images(tmp_path / 'train', 'abc', 2)
    images(tmp_path / 'val', 'bc', 1)
    bank, queries = bank_and_queries(str(tmp_path))
    assert (len(bank), [label for _, label in queries]) == (6, ['b', 'c'])
    part = LabeledImages(str(tmp_path), 'queries')
    assert part.metainfo['classes'] == ('a', 'b', 'c')
    item = part.get_data_info(1)
    assert (Path(item['img_path']).parent.name, item['gt_label']) == ('c', 2)
    assert len(LabeledImages(str(tmp_path), 'bank', most=4)) == 4


def test_a_csv_file(tmp_path) -> None:
    lines = [f'img{index}.png,{"cat" if index < 2 else "dog"}' for index in range(4)]
    (tmp_path / 'labels.csv').write_text('path,label\n' + '\n'.join(lines))
    bank, queries = bank_and_queries(str(tmp_path / 'labels.csv'))
    assert bank == [(f'{tmp_path}/img0.png', 'cat'), (f'{tmp_path}/img2.png', 'dog')]
    assert [label for _, label in queries] == ['cat', 'dog']


def test_at_most_so_many_spread_evenly() -> None:
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread(range(3), 5) == [0, 1, 2]


def test_labels_that_are_none(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='nowhere.: no such folder or list'):
        bank_and_queries(str(tmp_path / 'nowhere'))
    images(tmp_path / 'one', 'a', 2)
    with pytest.raises(ValueError, match='a folder for each class, at least two'):
        bank_and_queries(str(tmp_path / 'one'))
    (tmp_path / 'list.txt').write_text('a.png\n')
    with pytest.raises(ValueError, match=r'list\.txt gives no label for .*a\.png'):
        bank_and_queries(str(tmp_path / 'list.txt'))
    images(tmp_path / 'x' / 'train', 'ab', 1)
    images(tmp_path / 'x' / 'val', 'abc', 1)
    with pytest.raises(ValueError, match="class 'c'"):
        bank_and_queries(str(tmp_path / 'x'))
    with pytest.raises(ValueError, match=r"LabeledImages\.part must be 'bank' or 'queries'"):
        LabeledImages(str(tmp_path), 'val')


def test_a_data_set_of_bank_and_queries_from_a_list(tmp_path) -> None:
    images(tmp_path, 'ab', 4)
    lines = [f'{name}/{index}.png {name}' for name in 'ab' for index in range(4)]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    parts = {part: dict(type='dino_mm.LabeledImages', part=part) for part in ('bank', 'queries')}
    dataset = KNNDataset(**parts, data_root=str(tmp_path / 'list.txt'), size=8)
    samples = [dataset[index]['data_samples'] for index in range(len(dataset))]
    assert [(int(s.gt_label), s.in_bank) for s in samples] == [
        *((0, True), (0, True), (1, True), (1, True)),
        *((0, False), (0, False), (1, False), (1, False)),
    ]
    assert dataset[0]['inputs'].shape == (3, 8, 8)
    with pytest.raises(ValueError, match='pipeline or size'):
        KNNDataset(**parts, data_root=str(tmp_path / 'list.txt'), size=8, pipeline=[])
