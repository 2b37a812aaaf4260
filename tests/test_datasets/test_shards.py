"""What is found and read of tar and Parquet shards, and what is said of those that are broken."""

import sys

import pytest
import torch
from PIL import Image

from dino_mm.datasets import ShardedImages
from dino_mm.datasets.shards import Shards, find_shards
from dino_mm.datasets.transforms import LoadImage, read_image

from ..shard_files import image_bytes, write_parquet, write_tar, write_tars

pytest.importorskip('datasets')


def names(shards: Shards, index: int = 0, start: int = 0) -> list[str]:
    return [image.name.split('.tar/')[-1] for image in shards.read(index, start)]


def test_folders_patterns_and_lists(tmp_path) -> None:
    write_tars(tmp_path / 'a' / 'deep', (1, 1))
    odd = write_tar(tmp_path / 'b' / 'odd [1].tar', {'0.jpg': image_bytes(0)})
    (tmp_path / 'a' / 'notes.txt').write_text('no shard')
    first, second = (str(tmp_path / 'a' / 'deep' / f'train-00{i}.tar') for i in (0, 1))
    assert find_shards(str(tmp_path / 'a')) == [first, second]
    assert find_shards(str(tmp_path / 'a' / '*' / '*1.tar')) == [second]
    assert find_shards([str(odd), first]) == [str(odd), first]
    assert names(Shards([str(odd)])) == ['0.jpg']  # the name is no pattern


@pytest.mark.parametrize(
    'root, kind, message',
    [
        ('nowhere', FileNotFoundError, r"no shard found in '.*nowhere'.*\.tar and \.parquet"),
        ('', ValueError, r'several kinds \(\.parquet, \.tar\)'),
        (['t', 't/x.tar'], ValueError, r'x\.tar 2 times'),
        (7, TypeError, 'got 7'),
    ],
)
def test_what_is_no_place_of_shards_is_refused(tmp_path, root, kind, message) -> None:
    write_tar(tmp_path / 't' / 'x.tar', {'0.jpg': image_bytes(0)})
    write_parquet(tmp_path / 'p' / 'x.parquet', [image_bytes(0)])
    if isinstance(root, list):
        root = [str(tmp_path / part) for part in root]
    elif isinstance(root, str):
        root = str(tmp_path / root)
    with pytest.raises(kind, match=message):
        find_shards(root)


def test_tar_samples_have_images_of_any_ending(tmp_path) -> None:
    members = {
        'a/0.jpg': image_bytes(0),
        'a/0.json': b'{"caption": "a"}',
        'a/1.PNG': image_bytes(1, 'PNG'),
        'a/2.txt': b'first the text',
        'a/2.webp': image_bytes(2, 'WEBP'),
    }
    shards = Shards([str(write_tar(tmp_path / 'x.tar', members))])
    assert names(shards) == ['a/0.jpg', 'a/1.PNG', 'a/2.webp']
    assert names(shards, start=2) == ['a/2.webp']
    assert [image.data for image in shards.read(0)] == [
        members[f'a/{i}'] for i in ('0.jpg', '1.PNG', '2.webp')
    ]


def test_the_ending_of_the_images_can_be_chosen(tmp_path) -> None:
    members = {'0.left.png': image_bytes(0, 'PNG'), '0.right.png': image_bytes(1, 'PNG')}
    path = str(write_tar(tmp_path / 'x.tar', members))
    assert names(Shards([path], 'right.png')) == ['0.right.png']
    with pytest.raises(ValueError, match=r'sample 0 of shard .*x\.tar has no image.*image_key'):
        next(Shards([path]).read(0))


def test_columns_of_parquet_files(tmp_path) -> None:
    data = [image_bytes(i) for i in range(4)]
    path = str(write_parquet(tmp_path / 'x.parquet', data, mask=data[::-1], label=[0, 1, 2, 3]))
    assert [image.data for image in Shards([path]).read(0)] == data
    masks = Shards([path], 'mask')
    assert [image.data for image in masks.read(0)] == data[::-1]
    with pytest.raises(ValueError, match="no column 'picture', only image, mask, label.*image_key"):
        Shards([path], 'picture')


def test_row_groups_become_shards_of_their_own(tmp_path) -> None:
    data = [image_bytes(i) for i in range(5)]
    shards = Shards([str(write_parquet(tmp_path / 'x.parquet', data, rows=2))])
    assert len(shards) == 1
    shards.split()
    assert [[image.data for image in shards.read(i)] for i in range(3)] == [
        data[:2],
        data[2:4],
        data[4:],
    ]
    assert [image.data for image in shards.read(1, 1)] == [data[3]]


@pytest.mark.parametrize('kind', ['tar', 'parquet'])
@pytest.mark.parametrize('damage', ['cut', 'text', 'empty'])
def test_a_broken_shard_is_named(tmp_path, kind, damage) -> None:
    data = [image_bytes(i) for i in range(8)]
    good, bad = tmp_path / f'0.{kind}', tmp_path / f'1.{kind}'
    for path in (good, bad):
        if kind == 'tar':
            write_tar(path, {f'{i}.jpg': one for i, one in enumerate(data)})
        else:
            write_parquet(path, data)
    content = bad.read_bytes()
    bad.write_bytes({'cut': content[:5000], 'text': b'no shard' * 100, 'empty': b''}[damage])
    shards = Shards([str(good), str(bad)])
    assert len(list(shards.read(0))) == 8
    with pytest.raises(OSError, match=rf'1\.{kind} is broken after \d samples .*replace'):
        list(shards.read(1))
    if kind == 'parquet':
        with pytest.raises(OSError, match=r'1\.parquet is broken'):
            Shards([str(bad)])


def test_shards_and_rows_without_images_are_named(tmp_path) -> None:
    empty = str(write_tar(tmp_path / 'empty.tar', {}))
    with pytest.raises(ValueError, match=r'empty\.tar holds no sample'):
        list(Shards([empty]).read(0))
    lacking = str(write_parquet(tmp_path / 'x.parquet', [image_bytes(0), None]))
    with pytest.raises(ValueError, match=r"sample 1 of shard .*x\.parquet .*column 'image'"):
        list(Shards([lacking]).read(0))
    captions = str(write_tar(tmp_path / 'captions.tar', {'0.txt': b'a caption'}))
    with pytest.raises(ValueError, match=r'sample 0 of shard .*captions\.tar .*\.jpg, '):
        list(Shards([captions]).read(0))


def test_the_missing_library_is_named_with_its_extra(tmp_path, monkeypatch) -> None:
    write_tars(tmp_path, (1,))
    monkeypatch.setitem(sys.modules, 'datasets', None)
    with pytest.raises(ImportError, match=r'\.\[shards\]'):
        ShardedImages(str(tmp_path))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF'])
@pytest.mark.parametrize('as_tensor', [True, False])
def test_bytes_are_decoded_as_files_are(tmp_path, kind, as_tensor) -> None:
    path = tmp_path / f'image.{kind.lower()}'
    path.write_bytes(image_bytes(3, kind))
    load = LoadImage(as_tensor=as_tensor)
    stored = dict(img_path='shard/0', img_bytes=path.read_bytes())  # a name without an ending
    ours, theirs = load(stored)['img'], load(dict(img_path=str(path)))['img']
    if as_tensor:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert as_tensor or ours.tobytes() == theirs.tobytes()


def test_broken_bytes_are_named(tmp_path) -> None:
    for data in (image_bytes(0)[:500], b'no image', b''):
        with pytest.raises(OSError, match=r'x\.tar/7\.jpg.*ignore_broken=True'):
            read_image('x.tar/7.jpg', data=data)
        with pytest.raises(OSError, match=r'x\.tar/7\.jpg'):
            LoadImage(as_tensor=True)(dict(img_path='x.tar/7.jpg', img_bytes=data))


def test_channels_of_bytes(tmp_path) -> None:
    Image.new('RGBA', (6, 5), (1, 2, 3, 4)).save(tmp_path / 'x.png')
    stored = dict(img_path='shard/x.png', img_bytes=(tmp_path / 'x.png').read_bytes())
    image = LoadImage(channels=4)(stored)['img']
    assert image.shape == (4, 5, 6) and image[:, 0, 0].tolist() == [1, 2, 3, 4]
