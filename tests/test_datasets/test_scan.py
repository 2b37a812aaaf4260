"""Folders and lists as people have them."""

import os

import pytest
from PIL import Image

from dino_mm.datasets import UnlabelledImageFolder
from dino_mm.datasets.list_file import read_list
from dino_mm.datasets.scan import scan_folder


def touch(*paths) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(path)


def test_links_are_followed_once(tmp_path) -> None:
    touch(tmp_path / 'root' / 'a' / '1.png', tmp_path / 'elsewhere' / '2.png')
    root = tmp_path / 'root'
    (root / 'a' / 'up').symlink_to(root)
    (root / 'again').symlink_to(root / 'a')
    (root / 'b').symlink_to(tmp_path / 'elsewhere')
    (root / 'file.png').symlink_to(root / 'a' / '1.png')
    files = [os.path.relpath(path, root) for path in scan_folder(str(root)).files]
    assert files == ['file.png', 'a/1.png', 'b/2.png']


def test_what_is_no_image_is_counted(tmp_path) -> None:
    touch(tmp_path / 'a.PNG', tmp_path / '.hidden' / 'b.png')
    for name in ('x.txt', 'y.TXT', 'z.raw', 'README'):
        (tmp_path / name).write_text('')
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'dead.png').symlink_to(tmp_path / 'nowhere')
    scan = scan_folder(str(tmp_path))
    assert [os.path.basename(path) for path in scan.files] == ['a.PNG']
    assert dict(scan.passed_over) == {
        '.txt': 2, '.raw': 1, 'no suffix': 1, 'no regular file': 1, 'link to nothing': 1,
    }  # fmt: skip
    assert scan.describe_passed_over(2).startswith('2 .txt, ')
    assert scan.describe_passed_over(2).endswith('3 more kinds')


def test_several_folders_and_lists(tmp_path) -> None:
    touch(tmp_path / 'one' / '1.png', tmp_path / 'two' / '2.png', tmp_path / 'three' / '3.png')
    (tmp_path / 'three' / 'list.csv').write_text('image,label\n3.png,cat\n')
    roots = [str(tmp_path / 'two'), str(tmp_path / 'one'), str(tmp_path / 'three' / 'list.csv')]
    dataset = UnlabelledImageFolder(roots)
    names = [os.path.basename(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    assert names == ['2.png', '1.png', '3.png']
    with pytest.raises(ValueError, match='ann_file'):
        UnlabelledImageFolder(roots, ann_file='list.csv')


@pytest.mark.parametrize('root', [2024, ['folder', 3], None, 1.5, {'a': 1}])
def test_a_root_that_is_no_text_is_refused(root) -> None:
    with pytest.raises(TypeError, match=r'data_root must be a folder.*quotes'):
        UnlabelledImageFolder(root)


LISTS = {
    'plain': b'a.png\nsub dir/b.JPG 7\n',
    'comments': b'# images\n\n a.png \n# more\nsub dir/b.JPG  7\n',
    'quotes': b'"a.png"\n\'sub dir/b.JPG\' 7\n',
    'commas': b'a.png\nsub dir/b.JPG, 7\n',
    'mark of UTF-8': b'\xef\xbb\xbfa.png\nsub dir/b.JPG 7\n',
    'Windows': b'a.png\r\nsub dir/b.JPG\t7\r\n',
    'UTF-16': 'a.png\nsub dir/b.JPG 7\n'.encode('utf-16'),
}
TABLES = {
    'bare': b'a.png\nsub dir/b.JPG,7\n',
    'header': b'id,label,path\n1,,a.png\n2,7,sub dir/b.JPG\n',
    'quoted': b'Filename,Class\n"a.png",\n"sub dir/b.JPG","7"\n',
    'blanks': b'path, label\na.png\n\nsub dir/b.JPG, 7\n',
}


@pytest.mark.parametrize('kind', [*LISTS, *TABLES])
def test_lists(tmp_path, kind) -> None:
    file = tmp_path / ('list.txt' if kind in LISTS else 'list.csv')
    file.write_bytes((LISTS | TABLES)[kind])
    items = read_list(str(file), ('.png', '.jpg'))
    assert [(item.path, item.label) for item in items] == [('a.png', None), ('sub dir/b.JPG', '7')]


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('list.txt', b'a.png\nnothing\n', r"list\.txt, line 2: 'nothing' does not name an image"),
        ('list.txt', b'a.png\n\xff\xfe\xfa.png\n', r'list\.txt, line 2: not utf-8'),
        ('list.csv', b'path,label\na.png,1\nb,2\n', r"list\.csv, line 3: 'b' does not name"),
        ('list.csv', b'what,label\n1,2\n', r'list\.csv, line 1: neither the path'),
    ],
)
def test_lists_that_cannot_be_read_name_the_line(tmp_path, name, content, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_list(str(tmp_path / name), ('.png', '.jpg'))


def test_a_missing_image_of_a_list_is_named_at_the_start(tmp_path) -> None:
    touch(tmp_path / 'a.png')
    (tmp_path / 'list.txt').write_text('a.png\ngone.png\n')
    with pytest.raises(FileNotFoundError, match=r'list\.txt, line 2: .*gone\.png does not exist'):
        UnlabelledImageFolder(str(tmp_path), ann_file='list.txt')
