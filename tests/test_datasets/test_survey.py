"""What is said of the images before training."""

import numpy as np
import pytest
from PIL import Image

from dino_mm.datasets.survey import Survey, survey_folder


def test_a_folder_with_a_bit_of_everything(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for index in range(6):
        pixels = rng.integers(0, 256, (30 + index, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{index}.png')
    Image.open(tmp_path / '0.png').save(tmp_path / 'again.jpg', quality=95)
    Image.new('RGB', (40, 50), (9, 9, 9)).save(tmp_path / 'constant.png')
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    (tmp_path / 'notes.txt').write_text('')
    survey = survey_folder(str(tmp_path))
    assert (survey.count, survey.sampled, survey.sizes) == (9, 9, (30, 40))
    assert (survey.alike, survey.constant, survey.gray) == (1, 1, False)
    text = '\n'.join(survey.lines())
    for part in ('9 images; passed over: 1 .txt', 'Color images', '30 to 40', 'broken.jpg'):
        assert part in text
    assert '1 of these 9 images look almost like another one' in text


def test_gray_images_and_a_sample(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for index in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / f'{index}.png')
    survey = survey_folder(str(tmp_path), most=5)
    assert (survey.count, survey.sampled, survey.gray, survey.side) == (20, 5, True, 8)
    assert survey_folder(str(tmp_path), seconds=0.0).sampled == 1


def test_nothing_to_look_at(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='no image'):
        survey_folder(str(tmp_path))
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(OSError, match=r'none of 1 images could be read.*broken\.jpg'):
        survey_folder(str(tmp_path))


def test_a_clean_folder_is_described_in_two_lines() -> None:
    assert Survey(7, sampled=7).lines() == [
        '7 images',
        'Color images, short side 224 pixels, by 7 of them',
    ]
