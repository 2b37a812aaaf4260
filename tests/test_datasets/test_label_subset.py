"""Lists of a few labeled images."""

import pytest

from dino_mm.datasets.converters.label_subset import main

from ..labeled_images import write_colors


def test_a_fraction_of_each_class_by_the_seed(tmp_path) -> None:
    train = write_colors(tmp_path) / 'train'
    lists = []
    for number, seed in enumerate(('0', '0', '1')):
        out = tmp_path / f'meta/{number}.txt'
        main([str(train), str(out), '--fraction', '0.34', '--seed', seed])
        lists.append(out.read_text().splitlines())
    assert lists[0] == lists[1] != lists[2]
    labels = [line.rsplit(' ', 1) for line in lists[0]]
    assert [label for _, label in labels] == ['0', '0', '1', '1', '2', '2']
    assert all((train / path).is_file() for path, _ in labels)


def test_published_names_get_folder_and_label(tmp_path) -> None:
    train = write_colors(tmp_path) / 'train'
    (tmp_path / 'names.txt').write_text('red_2.png\nblue_0.png\n')
    arguments = [str(train), str(tmp_path / 'out.txt'), '--names', str(tmp_path / 'names.txt')]
    main(arguments)
    assert (tmp_path / 'out.txt').read_text() == 'red/red_2.png 2\nblue/blue_0.png 0\n'
    (tmp_path / 'names.txt').write_text('red_99.png')
    with pytest.raises(ValueError, match='1 of 1 listed images are missing: red_99.png'):
        main(arguments)
    with pytest.raises(FileNotFoundError, match='no class folders'):
        main([str(train / 'red'), *arguments[1:]])
