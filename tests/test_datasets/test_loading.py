import numpy as np
import pytest
from PIL import Image

from dino_mm.datasets import UnlabelledImageFolder
from dino_mm.datasets.transforms import LoadImage, read_image

GRADIENT = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))


def write(path, kind: str):
    """A horizontal gray gradient in one of the kinds of image people have."""
    rgb = Image.fromarray(GRADIENT).convert('RGB')
    if kind == '16-bit':
        Image.fromarray(GRADIENT.astype(np.uint16) * 257).save(path)
    elif kind == '32-bit':
        Image.fromarray(GRADIENT.astype(np.int32) * 257, mode='I').save(path)
    elif kind == 'palette with transparency':
        rgb.quantize(64).save(path, transparency=0)
    elif kind == 'P':
        rgb.quantize(64).save(path)
    elif kind == 'CMYK':
        rgb.convert('CMYK').save(path)
    else:
        rgb.convert(kind).save(path)


@pytest.mark.parametrize(
    'kind, ending',
    [
        ('RGB', 'png'),
        ('L', 'png'),
        ('L', 'jpg'),
        ('1', 'png'),
        ('P', 'png'),
        ('palette with transparency', 'png'),
        ('RGBA', 'png'),
        ('LA', 'png'),
        ('CMYK', 'jpg'),
        ('CMYK', 'tif'),
        ('16-bit', 'png'),
        ('16-bit', 'tif'),
        ('32-bit', 'tif'),
    ],
)
def test_every_kind_of_image_becomes_rgb(tmp_path, kind, ending) -> None:
    path = tmp_path / f'image.{ending}'
    write(path, kind)
    image = read_image(str(path))
    assert image.mode == 'RGB' and image.size == (32, 32)
    if kind != '1':
        row = np.asarray(image)[16].astype(int)
        assert np.abs(row - GRADIENT[16][:, None]).max() < 16


@pytest.mark.parametrize('damage', ['truncated', 'text', 'empty'])
def test_broken_files_are_named_with_the_mend(tmp_path, damage) -> None:
    path = tmp_path / 'broken.jpg'
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(
        {'truncated': content[: len(content) // 2], 'text': b'no image', 'empty': b''}[damage]
    )
    with pytest.raises(OSError, match=r'(?s)broken\.jpg.*ignore_broken=True'):
        read_image(str(path))


def test_a_path_may_be_an_object(tmp_path) -> None:
    for ending in ('png', 'jpg'):
        Image.new('RGB', (5, 4)).save(tmp_path / f'image.{ending}')
        for transform in (LoadImage(), LoadImage(as_tensor=True)):
            loaded = transform(dict(img_path=tmp_path / f'image.{ending}'))
            assert loaded['ori_shape'] == (4, 5)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match='gone.png.*data_root'):
        read_image('/nowhere/gone.png')


def test_broken_files_can_be_passed_over(image_folder) -> None:
    (image_folder / 'broken.png').write_bytes(b'no image')
    dataset = UnlabelledImageFolder(str(image_folder), pipeline=[LoadImage(ignore_broken=True)])
    assert len(dataset) == 13
    with pytest.warns(UserWarning, match='broken.png'):
        items = [dataset[i] for i in range(13)]
    assert all(item['img'].mode == 'RGB' for item in items)


@pytest.mark.parametrize('options', [{}, dict(as_tensor=True), dict(channels=1)])
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_images_above_the_limit_are_not_decoded(tmp_path, options, suffix) -> None:
    big = tmp_path / f'big{suffix}'
    Image.new('L', (200, 100)).save(big)
    small = LoadImage(max_pixels=20_000, **options)
    assert small(dict(img_path=str(big)))['img_shape'] == (100, 200)
    with pytest.raises(OSError, match=r'big.*200 x 100 pixels.*max_pixels=19999.*ignore_broken'):
        LoadImage(max_pixels=19_999, **options)(dict(img_path=str(big)))
    with pytest.warns(UserWarning, match='big'):
        assert LoadImage(True, max_pixels=19_999, **options)(dict(img_path=str(big))) is None
    assert Image.MAX_IMAGE_PIXELS is not None


def test_folder_is_read_at_any_depth_in_order(image_folder) -> None:
    (image_folder / 'notes.txt').write_text('no image')
    (image_folder / '.hidden').mkdir()
    (image_folder / 'part0' / 'deep' / '00.png').rename(image_folder / '.hidden' / '00.png')
    dataset = UnlabelledImageFolder(str(image_folder), pipeline=[LoadImage()])
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert len(paths) == 11 and paths == sorted(paths)
    assert dataset[3]['ori_shape'] == dataset[3]['img'].size[::-1]


def test_list_file_and_its_paths_are_relative_to_the_folder(image_folder) -> None:
    (image_folder / 'part1' / 'deep').rename(image_folder / 'with blank')
    names = ['part0/deep/00.png 7', 'with blank/01.png', 'with blank/03.png 7', '']
    (image_folder / 'list.txt').write_text('\n'.join(names))
    dataset = UnlabelledImageFolder(str(image_folder), ann_file='list.txt', pipeline=[LoadImage()])
    assert [item['img'].size for item in dataset] == [(64, 40), (63, 43), (61, 49)]


def test_missing_and_empty_folders_name_the_key(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='nowhere.*train_dataloader.dataset.data_root'):
        UnlabelledImageFolder(str(tmp_path / 'nowhere'))
    with pytest.raises(FileNotFoundError, match=f'no image in .{tmp_path}'):
        UnlabelledImageFolder(str(tmp_path))
    (tmp_path / 'train-0.tar').touch()
    with pytest.raises(FileNotFoundError, match='found 1 .tar. Shards are read by ShardedImages'):
        UnlabelledImageFolder(str(tmp_path))
