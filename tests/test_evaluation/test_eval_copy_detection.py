"""The command, from images in the published layout."""

import json

import pytest

from dino_mm.evaluation.command import load_frozen_backbone
from dino_mm.evaluation.copy_detection import run as copy_detection
from dino_mm.evaluation.copy_detection.copydays import block_files, positives_by_name
from dino_mm.evaluation.functional import learn_whitening, whiten

from .toys import BLACK, save_jpeg, scene, toy_arguments


@pytest.fixture
def copydays(tmp_path):
    """Two originals with copies; the second ``strong`` copy shows the first original."""
    for number in range(2):
        image = scene(number)
        name = f'20{number:02d}00.jpg'
        save_jpeg(image, tmp_path / 'copydays/original' / name)
        save_jpeg(image, tmp_path / 'copydays/jpegqual/50' / name, quality=50)
        save_jpeg(image, tmp_path / 'copydays/jpegqual/15' / name, quality=15)
        save_jpeg(image[4:-4, 4:-4], tmp_path / 'copydays/crops/20' / name)
        save_jpeg(scene(0), tmp_path / 'copydays/strong' / f'20{number:02d}01.jpg')
    # a distractor just like that copy
    save_jpeg(scene(0), tmp_path / 'distractors/deep/0.jpg')
    for number in range(2, 8):
        save_jpeg(scene(number), tmp_path / f'whitening/{number}.jpg')
    return tmp_path


def run(folder, *options):
    arguments = [str(folder / 'copydays'), *toy_arguments(folder, 2), '--image-size', '64']
    return copy_detection.main([*arguments, '--whitening', 'none', *options])


def test_known_answer(copydays, capsys) -> None:
    result = run(copydays)
    aps = result['aps']
    assert list(aps) == ['original', 'strong', 'jpegqual/15', 'jpegqual/50', 'crops/20']
    assert aps['original'] == aps['jpegqual/15'] == aps['jpegqual/50'] == [1, 1]
    # its original comes second of two
    assert aps['strong'] == pytest.approx([1, (0 / 1 + 1 / 2) / 2])
    rows = {row['block']: row for row in result['blocks']}
    assert rows['strong'] == dict(block='strong', mAP=pytest.approx(62.5), queries=2)
    assert rows['mean of jpegqual'] == dict(block='mean of jpegqual', mAP=100, queries=4)
    assert '62.50' in capsys.readouterr().out
    written = json.loads((copydays / 'work/copydays.json').read_text())
    assert written['aps'] == aps and written['settings']['image_size'] == 64


def test_distractors_push_positives_down(copydays) -> None:
    aps = run(copydays, '--distractors', str(copydays / 'distractors'))['aps']
    assert aps['strong'][1] == pytest.approx((0 / 2 + 1 / 3) / 2)


def test_whitening_is_learned_from_its_folder_or_the_distractors(copydays, monkeypatch) -> None:
    learned, applied = [], []

    def learn(features):
        learned.append(len(features))
        return learn_whitening(features)

    def apply(features, mean, projection):
        applied.append(len(features))
        return whiten(features, mean, projection)

    monkeypatch.setattr(copy_detection, 'learn_whitening', learn)
    monkeypatch.setattr(copy_detection, 'whiten', apply)
    distractors = ['--distractors', str(copydays / 'distractors')]
    run(copydays, *distractors)
    assert not learned and not applied
    whitened = run(copydays, *distractors, '--whitening', str(copydays / 'whitening'))
    assert learned == [6]
    assert applied == [2 + 1, 2, 2, 2, 2, 2]  # database, then every block
    assert whitened['aps']['jpegqual/50'] == [1, 1]
    default = copy_detection.parse_args(['x', '--checkpoint', 'random', *distractors])
    assert default.whitening == default.distractors == str(copydays / 'distractors')


def test_distractors_that_teach_the_whitening_are_described_once(copydays, monkeypatch) -> None:
    described, describe = [], copy_detection.describe
    monkeypatch.setattr(
        copy_detection,
        'describe',
        lambda b, p, title, *a: (described.append(title), describe(b, p, title, *a))[1],
    )
    folder, other = str(copydays / 'distractors'), str(copydays / 'whitening')
    same = run(copydays, '--distractors', folder, '--whitening', folder)
    assert 'distractors' in described and 'whitening' not in described
    assert run(copydays, '--distractors', folder, '--whitening', other)['aps'] != same['aps']
    assert described[-1] == 'whitening'


def test_processes_pass_rows_and_not_their_batches(copydays, monkeypatch) -> None:
    monkeypatch.setattr(copy_detection, 'gather', lambda share, total: share)
    backbone = load_frozen_backbone(copy_detection.parse_args(['x', *toy_arguments(copydays, 2)]))
    paths = sorted((copydays / 'whitening').iterdir())
    rows = copy_detection.describe(backbone, paths, 'rows', 64, len(paths), 0)
    assert all(row.untyped_storage().nbytes() == row.nbytes for row in rows)


def test_folders_that_are_no_copydays(copydays, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='not a Copydays folder'):
        copy_detection.main([str(tmp_path), *toy_arguments(tmp_path)])
    with pytest.raises(FileNotFoundError, match='nowhere'):
        run(copydays, '--distractors', str(tmp_path / 'nowhere'))
    save_jpeg(scene(0), copydays / 'copydays/strong/209901.jpg')
    with pytest.raises(ValueError, match='209901.jpg has no original'):
        run(copydays)


def test_names_tell_the_originals(copydays) -> None:
    originals = block_files(copydays / 'copydays', 'original')
    strong = block_files(copydays / 'copydays', 'strong')
    assert positives_by_name(strong, originals) == [[0], [1]]
    with pytest.raises(ValueError, match='original'):
        positives_by_name(strong, [])


@pytest.mark.parametrize(
    'image', ['copydays/strong/200001.jpg', 'distractors/deep/0.jpg', 'whitening/3.jpg']
)
def test_features_that_are_not_finite_are_refused(copydays, image) -> None:
    save_jpeg(BLACK, copydays / image)
    blind = toy_arguments(copydays, 2, 'BlindViT')
    folders = [f'--{name}={copydays / name}' for name in ('distractors', 'whitening')]
    with pytest.raises(ValueError, match=f'1 of . features are not finite.*{image}'):
        run(copydays, *blind, *folders)
