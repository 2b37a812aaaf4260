"""Lists of images: text files with a path in each line, or CSV."""

import codecs
import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

#: Names of columns of a CSV file, as people call them.
PATH_COLUMNS = ('path', 'img_path', 'image_path', 'file', 'filename', 'file_name', 'image', 'img')
LABEL_COLUMNS = ('label', 'class', 'category', 'target', 'class_name', 'y')
MARKS = (
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)


class Item(NamedTuple):
    """An image of a list."""

    path: str
    label: str | None
    line: int  # its number in the file, from 1


def read_list(file: str, extensions: Sequence[str]) -> list[Item]:
    """Reads a list of images.

    A text file holds a path in each line, and after a comma or white space its label, if it has
    one. A path may hold blanks, or stand in quotes. Empty lines and lines that start with ``#``
    are left out. A file named ``.csv`` or ``.tsv`` may have a first line with the names of its
    columns. The encoding is UTF-8, or what the mark at the start of the file says.

    Args:
        file (str): The file.
        extensions (Sequence[str]): File name endings of images, in lower case.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another encoding, or a line without the path of an image; the message names the
            file and the line.
    """
    if not os.path.isfile(file):
        raise FileNotFoundError(f'list of images {file!r} does not exist')
    text = _decode(file)
    suffix = os.path.splitext(file)[1].lower()
    if suffix in ('.csv', '.tsv'):
        return _read_table(file, text, '\t' if suffix == '.tsv' else ',', tuple(extensions))
    ending = '|'.join(map(re.escape, extensions))
    line_format = re.compile(rf'(["\']?)(.+?(?:{ending}))\1(?:\s*[,;\s]\s*(.*))?', re.IGNORECASE)
    items = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line and not line.startswith('#'):
            match = line_format.fullmatch(line)
            if match is None:
                raise ValueError(_no_image(file, number, line, extensions))
            items.append(Item(match[2], (match[3] or '').strip('"\' ') or None, number))
    return items


def _decode(file: str) -> str:
    with open(file, 'rb') as opened:
        data = opened.read()
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), 'utf-8')
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b'\n') + 1
        raise ValueError(f'{file}, line {line}: not {encoding}. Save the list as UTF-8') from error


def _read_table(file: str, text: str, delimiter: str, extensions: tuple[str, ...]) -> list[Item]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    rows = [
        (reader.line_num, [cell.strip() for cell in row])
        for row in reader
        if any(cell.strip() for cell in row) and not row[0].startswith('#')
    ]
    if not rows:
        return []
    path_column, label_column = 0, 1
    header = [cell.lower() for cell in rows[0][1]]
    if not any(cell.endswith(extensions) for cell in header):
        path_column = _column(header, PATH_COLUMNS)
        if path_column is None:
            raise ValueError(
                f'{file}, line {rows[0][0]}: neither the path of an image nor the name of its '
                f'column ({", ".join(PATH_COLUMNS)})'
            )
        label_column = _column(header, LABEL_COLUMNS)
        rows = rows[1:]
    items = []
    for number, row in rows:
        path = row[path_column] if path_column < len(row) else ''
        if not path.lower().endswith(extensions):
            raise ValueError(_no_image(file, number, path or delimiter.join(row), extensions))
        has_label = label_column is not None and label_column < len(row)
        items.append(Item(path, (row[label_column] or None) if has_label else None, number))
    return items


def _column(header: Sequence[str], names: Iterable[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _no_image(file: str, number: int, line: str, extensions: Sequence[str]) -> str:
    return (
        f'{file}, line {number}: {line[:80]!r} does not name an image (its name has to end with '
        f'{", ".join(extensions)}; another ending is added by extensions)'
    )
