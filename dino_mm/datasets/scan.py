"""Finds image files below a folder."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

#: File name endings that count as images unless a config says otherwise.
IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.webp', '.avif', '.gif', '.bmp', '.dib'),
    *('.tif', '.tiff', '.jp2', '.j2k', '.jpx', '.ppm', '.pgm', '.pbm', '.pnm', '.tga', '.npy'),
)
#: What is counted apart from suffixes.
NO_SUFFIX, NO_FILE, DEAD_LINK = 'no suffix', 'no regular file', 'link to nothing'


@dataclass(frozen=True)
class Scan:
    """What lies below a folder.

    Attributes:
        files: Paths of the images: those of a folder by name, then those of its subfolders.
        passed_over: How many other files there are, by suffix in lower case, or by what else is
            wrong with them.
    """

    files: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def describe_passed_over(self, most: int = 6) -> str:
        """Text such as ``'12 .txt, 1 link to nothing'``; empty if nothing was passed over."""
        parts = [f'{count:,} {suffix}' for suffix, count in self.passed_over.most_common(most)]
        rest = len(self.passed_over) - most
        return ', '.join(parts + ([f'{rest} more kinds'] if rest > 0 else []))


def scan_folder(root: str, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> Scan:
    """Lists the images at any depth, each folder once, whatever links lead to it.

    Hidden files and folders are left out. Only regular files count, since a pipe or a device would
    be waited for without end.

    Args:
        root (str): The folder.
        extensions (Sequence[str]): File name endings that count, in lower case.
    """
    scan = Scan()
    for entry in _entries(root, {_identity(root)}):
        suffix = os.path.splitext(entry.name)[1].lower()
        if not entry.is_file():
            dead = entry.is_symlink() and not os.path.exists(entry.path)
            scan.passed_over[DEAD_LINK if dead else NO_FILE] += 1
        elif entry.name.lower().endswith(tuple(extensions)):
            scan.files.append(entry.path)
        else:
            scan.passed_over[suffix or NO_SUFFIX] += 1
    return scan


def _entries(folder: str, visited: set[tuple[int, int]]) -> Iterator[os.DirEntry]:
    """Everything below a folder that is no folder, in a fixed order."""
    with os.scandir(folder) as found:
        entries = sorted((e for e in found if not e.name.startswith('.')), key=lambda e: e.name)
    folders = [entry for entry in entries if entry.is_dir()]
    yield from (entry for entry in entries if not entry.is_dir())
    for entry in folders:
        identity = _identity(entry.path)
        if identity not in visited:
            visited.add(identity)
            yield from _entries(entry.path, visited)


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
