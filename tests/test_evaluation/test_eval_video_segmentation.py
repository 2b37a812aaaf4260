"""The command, from frames and masks in the published layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dino_mm.evaluation.davis import run as video_segmentation
from dino_mm.evaluation.davis.run import Propagation, track
from dino_mm.evaluation.davis.sequences import first_appearances, read_mask, voc_palette, write_mask
from dino_mm.evaluation.functional import boundary_accuracy

from .toys import BLACK, save_jpeg, scene, toy_arguments

PATCH = 8


def square(left: int, top: int = 16) -> tuple[slice, slice]:
    """A window of two by two patches."""
    return slice(top, top + 2 * PATCH), slice(left, left + 2 * PATCH)


def as_propagated(left: int, top: int = 16) -> np.ndarray:
    """(64, 64) bool: a square of two by two cells as bilinear interpolation gives it back.

    Pixel centers lie 1/16, 3/16, 5/16 and 7/16 of a cell within the border. The square keeps
    those where (1/2 + a)(1/2 + b) > 1/2, all but six at each corner.
    """
    steps = np.minimum(np.arange(16), 15 - np.arange(16)).clip(max=3)
    inside = 1 / 2 + (2 * steps + 1) / 16
    inside[4:12] = 1
    mask = np.zeros((64, 64), bool)
    mask[square(left, top)] = np.outer(inside, inside) > 1 / 2
    return mask


def save_sequence(root: Path, name: str, frames: list, masks: dict) -> None:
    for index, frame in enumerate(frames):
        save_jpeg(frame, root / f'JPEGImages/480p/{name}/{index:05d}.jpg')
    for index, mask in masks.items():
        write_mask(mask, root / f'Annotations/480p/{name}/{index:05d}.png')


def moving(places: list[list[int]], tops=(16, 40)) -> tuple[list, list]:
    """Frames and masks of one or two parts of scenes that move over one patch of another.

    All patches of the background are alike, so that what is uncovered was seen before.
    """
    background = np.tile(scene(0)[:PATCH, :PATCH], (8, 8, 1))
    frames, masks = [], []
    for lefts in places:
        frame, mask = background.copy(), np.zeros((64, 64), np.uint8)
        for number, left in enumerate(lefts):
            window = square(left, tops[number])
            frame[window] = scene(5 + number)[24:40, 24:40]
            mask[window] = number + 1
        frames.append(frame)
        masks.append(mask)
    return frames, masks


@pytest.fixture
def davis(tmp_path):
    """An object moves by one patch from frame to frame and goes one step back at the end."""
    frames, masks = moving([[8], [16], [24], [32], [24]])
    save_sequence(tmp_path, 'moves', frames, dict(enumerate(masks)))
    return tmp_path


def run(folder, *options):
    arguments = [str(folder), *toy_arguments(folder), '--short-side', '64', '--size-divisor', '8']
    return video_segmentation.main([*arguments, '--topk', '1', *options])


def output(folder, sequence: str, frame: int) -> np.ndarray:
    with Image.open(folder / f'work/masks/{sequence}/{frame:05d}.png') as image:
        assert image.mode == 'P' and image.getpalette() == list(voc_palette())
        return np.array(image)


def test_known_answer(davis, capsys) -> None:
    result = run(davis)
    expected = as_propagated(16)
    assert expected.sum() == 256 - 4 * 6
    assert (output(davis, 'moves', 0) == read_mask(mask_path(davis, 'moves', 0), (64, 64))).all()
    for frame, left in enumerate((16, 24, 32, 24), start=1):
        assert (output(davis, 'moves', frame) == as_propagated(left)).all()
    scores = result['sequences'][0]['objects']['1']
    assert scores['J'] == pytest.approx(dict(mean=232 / 256, recall=1, decay=0))
    truth = np.zeros((64, 64), bool)
    truth[square(16)] = True
    accuracy = boundary_accuracy(truth, expected)
    assert 0.5 < accuracy < 1
    assert scores['F'] == pytest.approx(dict(mean=accuracy, recall=1, decay=0))
    assert result['summary']['J&F mean'] == pytest.approx((232 / 256 + accuracy) / 2)
    assert '90.62' in capsys.readouterr().out
    written = json.loads((davis / 'work/davis.json').read_text())
    assert written['summary'] == result['summary'] and written['settings']['topk'] == 1


def mask_path(folder, sequence: str, frame: int) -> Path:
    return folder / f'Annotations/480p/{sequence}/{frame:05d}.png'


def test_finished_sequences_are_not_repeated(davis, monkeypatch) -> None:
    first = run(davis)

    def refuse(*args, **kwargs):
        raise AssertionError('segmented again')

    with monkeypatch.context() as patch:
        patch.setattr(video_segmentation, 'segment', refuse)
        assert run(davis)['sequences'] == first['sequences']
        with pytest.raises(AssertionError, match='again'):
            run(davis, '--n-last-frames', '1')
        mask_path(davis, 'moves', 3).touch()
        with pytest.raises(AssertionError, match='again'):
            run(davis)


def test_objects_that_appear_later_join(tmp_path) -> None:
    frames, masks = moving([[8], [16], [24, 40], [32, 32], [40, 24]])
    new = np.where(masks[2] == 2, masks[2], 0)
    given = {0: masks[0], 2: new[:, :-1]}  # one pixel narrower than its frame
    save_sequence(tmp_path, 'joins', frames, given)
    result = run(tmp_path)
    assert result['sequences'][0]['note'] == '2 of 5 frames are annotated'
    assert set(np.unique(output(tmp_path, 'joins', 1))) == {0, 1}
    fitted = np.array(Image.fromarray(new[:, :-1]).resize((64, 64), Image.Resampling.NEAREST))
    assert (output(tmp_path, 'joins', 2) == np.where(fitted, 2, as_propagated(24))).all()
    for frame, lefts in ((3, (32, 32)), (4, (40, 24))):
        found = output(tmp_path, 'joins', frame)
        assert (found == as_propagated(lefts[0]) + 2 * as_propagated(lefts[1], 40)).all()


def test_objects_that_appear_later_are_scored_from_there(tmp_path) -> None:
    frames, masks = moving([[8], [16], [24, 40], [32, 32], [40, 24], [48, 16]])
    masks[5][:] = 0  # the last frame does not count
    save_sequence(tmp_path, 'joins', frames, dict(enumerate(masks)))
    scores = run(tmp_path)['sequences'][0]['objects']
    assert set(scores) == {'1', '2'}
    # the second object was given at frame 2, without the corners that propagation costs later
    assert scores['2']['J']['mean'] == pytest.approx(232 / 256)
    assert scores['1']['J']['mean'] == pytest.approx(232 / 256)


def directions(*degrees: float) -> torch.Tensor:
    """Features (N, 2) of cells."""
    radians = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def tracked(frames: list[torch.Tensor], given: dict, **settings) -> list[list[int]]:
    """Masks of a row of two cells of one pixel."""
    encoded = [(features, (1, 2)) for features in frames]
    masks = track(encoded, given, (2, 1), 1, Propagation(topk=1, **settings))
    return [mask[0].tolist() for mask in masks]


def test_labels_come_from_the_last_frames() -> None:
    given = {0: np.array([[1, 0]], np.uint8)}
    # what was object turns away from its first look, past that of the background
    frames = [directions(angle, 60) for angle in (0, 20, 40)] + [directions(45, 55)]
    assert tracked(frames, given, n_last_frames=7)[3] == [1, 0]
    # without the frames between, the first cell is now closer to the background
    assert tracked(frames, given, n_last_frames=0)[3] == [0, 0]


def test_frames_with_new_objects_are_not_forgotten() -> None:
    given = {0: np.array([[1, 0]], np.uint8), 1: np.array([[0, 2]], np.uint8)}
    hidden = [directions(0, 170)] * 4
    frames = [directions(0, 170), directions(0, 90), *hidden, directions(90, 0)]
    masks = tracked(frames, given, n_last_frames=2)
    assert masks[0] == [1, 0] and masks[1] == [1, 2] and masks[5] == [1, 0]
    # the second object comes back after more frames than the queue holds
    assert masks[6] == [2, 1]


def test_published_normalization_is_used(davis, monkeypatch) -> None:
    given = []

    def stop(args, std):
        given.append(std)
        raise InterruptedError

    monkeypatch.setattr(video_segmentation, 'load_frozen_backbone', stop)
    with pytest.raises(InterruptedError):
        run(davis)
    assert given == [(0.228, 0.224, 0.225)]


def test_sequences_without_a_score_still_get_masks(tmp_path) -> None:
    frames, masks = moving([[8], [16], [24]])
    save_sequence(tmp_path, 'empty', frames, {i: np.zeros_like(masks[0]) for i in range(3)})
    save_sequence(tmp_path, 'single', frames[:1], {0: masks[0]})
    save_sequence(tmp_path, 'short', frames[:2], dict(enumerate(masks[:2])))
    result = run(tmp_path)
    notes = {entry['sequence']: entry['note'] for entry in result['sequences']}
    assert notes == dict(
        empty='its masks hold no objects',
        single='1 frames: the first and the last are left out',
        short='2 frames: the first and the last are left out',
    )
    assert np.isnan(result['summary']['J mean'])
    assert json.loads((tmp_path / 'work/davis.json').read_text())['summary']['J mean'] is None
    assert output(tmp_path, 'empty', 2).max() == 0
    assert (output(tmp_path, 'single', 0) == masks[0]).all()
    assert (output(tmp_path, 'short', 1) == as_propagated(16)).all()


def test_frames_of_several_sizes_are_an_error(davis) -> None:
    save_jpeg(scene(0, size=48), davis / 'JPEGImages/480p/moves/00003.jpg')
    with pytest.raises(ValueError, match=r'00003.jpg is 48x48, the first .* 64x64'):
        run(davis)


def test_masks_must_show_the_same_view(davis) -> None:
    write_mask(np.zeros((64, 80), np.uint8), mask_path(davis, 'moves', 2))
    with pytest.raises(ValueError, match=r'00002.png is 80x64 but its frame 64x64'):
        run(davis)


def test_missing_folders_are_named(davis, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='nowhere'):
        run(davis, '--image-dir', 'nowhere')
    with pytest.raises(FileNotFoundError, match='--mask-dir'):
        run(davis, '--mask-dir', 'nowhere')
    with pytest.raises(FileNotFoundError, match='sequence other: no frames'):
        run(davis, '--sequences', 'other')
    listed = davis / 'ImageSets/2017/val.txt'
    listed.parent.mkdir(parents=True)
    listed.write_text('moves\nlost\n')
    with pytest.raises(FileNotFoundError, match='sequence lost'):
        run(davis)


def test_sizes_of_frames() -> None:
    assert Propagation().frame_size(854, 480, 16) == (832, 480)
    assert Propagation().frame_size(480, 854, 8) == (480, 832)
    assert Propagation().frame_size(480, 480, 16) == (448, 480)  # as the published code has it
    with pytest.raises(ValueError, match='--short-side 480 .* size 14: take 476'):
        Propagation().frame_size(854, 480, 14)
    assert Propagation(476, 56).frame_size(854, 480, 14) == (840, 476)
    with pytest.raises(ValueError, match='below --size-divisor'):
        Propagation(short_side=32).frame_size(48, 48, 16)


def test_masks_of_every_kind(tmp_path) -> None:
    ids = np.array([[0, 1], [3, 255]], np.uint8)
    path = tmp_path / 'mask.png'
    write_mask(ids, path)
    assert read_mask(path, (2, 2)).tolist() == [[0, 1], [3, 0]]
    Image.fromarray(ids).save(path)  # gray-level with ids
    assert read_mask(path, (2, 2)).tolist() == [[0, 1], [3, 0]]
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(path)  # binary
    assert read_mask(path, (2, 1)).tolist() == [[0, 1]]
    Image.new('RGB', (2, 2)).save(path)
    with pytest.raises(ValueError, match='mask.png is RGB'):
        read_mask(path, (2, 2))


def test_each_object_is_given_once() -> None:
    masks = {0: np.array([1, 0, 0]), 1: np.array([1, 1, 2]), 4: np.array([3, 2, 0])}
    given = first_appearances(masks)
    assert {k: v.tolist() for k, v in given.items()} == {0: [1, 0, 0], 1: [0, 0, 2], 4: [3, 0, 0]}


def test_palette_is_that_of_voc() -> None:
    colors = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    assert colors[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colors[255].tolist() == [224, 224, 192]


def test_real_sequences(real_data, tmp_path) -> None:
    options = ['--arch', 'dino_vits16', '--checkpoint', 'random', '--short-side', '64']
    options += ['--num-workers', '0', '--work-dir', str(tmp_path / 'work')]
    folder = str(real_data / 'davis_multi_object')
    video_segmentation.main(
        [folder, '--image-dir', 'images', '--mask-dir', 'masks', *options, '--sequences', 'judo']
    )
    seen = [set(np.unique(output(tmp_path, 'judo', frame))) for frame in range(16)]
    appears = {1: 0, 2: 5, 3: 8, 4: 13}
    for number, start in appears.items():
        assert number in seen[start] and not any(number in s for s in seen[:start])
    assert output(tmp_path, 'judo', 5).shape == (480, 854)


def test_features_that_are_not_finite_are_refused(davis) -> None:
    save_jpeg(BLACK, davis / 'JPEGImages/480p/moves/00003.jpg')
    blind = toy_arguments(davis, backbone='BlindViT')
    with pytest.raises(ValueError, match='64 of 64 .* 00003.jpg|64 of 64 .*00003.jpg are not fin'):
        run(davis, *blind)


def test_the_old_spelling_of_an_option(davis) -> None:
    arguments = [str(davis), *toy_arguments(davis)]
    assert video_segmentation.parse_args([*arguments, '--neighborhood', '3']).neighborhood == 3
    with pytest.warns(FutureWarning, match='--neighbourhood is now called --neighborhood'):
        old = video_segmentation.parse_args([*arguments, '--neighbourhood', '4'])
    assert old.neighborhood == 4 and video_segmentation.parse_args(arguments).neighborhood == 12
