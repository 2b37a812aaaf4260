"""Downloads that can be interrupted, and archives that cannot write where they should not."""

import hashlib
import logging
import os
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from email.message import Message
from gzip import BadGzipFile
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mmengine.logging import print_log
from tqdm import tqdm

CHUNK = 1 << 20  # bytes


def verify(path: Path, md5: str | None) -> None:
    """Compares a file with its published checksum and removes it where they differ.

    Raises:
        ValueError: They differ.
    """
    if md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    bar = tqdm(total=path.stat().st_size, desc=f'md5 {path.name}', unit='B', unit_scale=True)
    with path.open('rb') as file, bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != md5:
        path.unlink()
        raise ValueError(
            f'{path} has the md5 {digest.hexdigest()} instead of {md5}: damaged on its way, or '
            'changed by its publisher. It was removed; run the command again'
        )


def _validator(headers: Message) -> str:
    """What tells this version of a file from others, for If-Range; '' where the server is silent."""
    tag = headers.get('ETag', '')
    return tag if tag and not tag.startswith('W/') else headers.get('Last-Modified', '')


def _fetch(url: str, part: Path, timeout: float) -> None:
    """Appends to ``part`` what it lacks; the server's validator of the file stands beside it."""
    validator = part.with_name(part.name + '.validator')
    tag = validator.read_text() if validator.exists() else ''
    start = part.stat().st_size if tag and part.exists() else 0
    # If-Range: a file that has changed on the server comes whole, not as a rest that does not fit.
    headers = {'Range': f'bytes={start}-', 'If-Range': tag} if start else {}
    try:
        response = urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        if error.code == 416 and error.headers.get('Content-Range') == f'bytes */{start}':
            return  # whole already, stopped before it was renamed
        if error.code == 416:
            part.unlink()
            raise ConnectionError(f'{part} was longer than the file') from error
        raise
    with response:
        if response.status != 206:
            start = 0
            validator.write_text(_validator(response.headers))
        length = response.headers.get('Content-Length')
        total = None if length is None else start + int(length)
        bar = tqdm(total=total, initial=start, desc=part.stem, unit='B', unit_scale=True)
        with part.open('ab' if start else 'wb') as file, bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f'{part.stat().st_size:,} of {total:,} bytes came')


def download(
    url: str,
    path: str | os.PathLike,
    md5: str | None = None,
    attempts: int = 5,
    timeout: float = 60.0,
) -> Path:
    """Downloads a file, going on where an earlier run stopped.

    Bytes are collected in ``path`` + ``.part``; ``path`` appears when all are there and the
    checksum is right.

    Args:
        url (str): Where from.
        path (str): Where to; what is there already is only verified.
        md5 (str, optional): Published checksum.
        attempts (int): How often a broken connection is taken up again.
        timeout (float): Seconds of silence after which a connection counts as broken.

    Returns:
        Path: ``path``.

    Raises:
        ConnectionError: The server refuses, or the connection broke once too often.
        ValueError: Wrong checksum.
    """
    path = Path(path)
    if path.exists():
        verify(path, md5)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + '.part')
        for attempt in range(attempts):
            try:
                _fetch(url, part, timeout)
                break
            except (HTTPException, OSError) as error:
                refused = isinstance(error, HTTPError) and error.code < 500
                if refused or attempt == attempts - 1:
                    raise ConnectionError(
                        f'{url}: {error}. What came is kept in {part}; run the command again to '
                        'go on, or see whether the publisher has moved the file'
                    ) from error
                print_log(f'{url}: {error}; trying again', 'current', logging.WARNING)
                time.sleep(2**attempt)
        verify(part, md5)
        os.replace(part, path)
        part.with_name(part.name + '.validator').unlink(missing_ok=True)
    return path


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of every file; folders are left to their files."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as container:
            for info in tqdm(container.infolist(), desc=archive.name, unit='file'):
                if not info.is_dir():
                    with container.open(info) as content:
                        yield info.filename, info.file_size, content
    else:
        with tarfile.open(archive) as container:
            for info in tqdm(container, desc=archive.name, unit='file'):
                if info.isfile():
                    yield info.name, info.size, container.extractfile(info)
                elif not info.isdir():
                    raise ValueError(f'{archive} holds {info.name}, which is no plain file')


def _write(member: str, size: int, content: IO[bytes], folder: Path) -> None:
    path = PurePosixPath(member)
    if path.is_absolute() or '..' in path.parts or '\\' in member or ':' in member:
        raise ValueError(f'an archive would write to {member}, outside of {folder}')
    target = folder / path
    if target.exists() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + '.part')
    with part.open('wb') as file:
        shutil.copyfileobj(content, file, CHUNK)
    os.replace(part, target)


def extract(archive: str | os.PathLike, folder: str | os.PathLike) -> int:
    """Extracts a zip or tar; files that are there in full size are left as they are.

    Returns:
        int: Number of files in the archive.

    Raises:
        ValueError: Damaged, no archive, or a member that is a link, a device, or would be written
            outside of ``folder``.
    """
    archive, folder = Path(archive), Path(folder)
    count = 0
    try:
        for member, size, content in _members(archive):
            _write(member, size, content, folder)
            count += 1
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, BadGzipFile, EOFError) as error:
        raise ValueError(
            f'{archive} is damaged or no archive ({error}): remove it and run the command again'
        ) from error
    return count
