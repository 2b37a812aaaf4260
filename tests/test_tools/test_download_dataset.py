"""Downloads against a server on this machine."""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dino_mm.apis import download_dataset
from dino_mm.apis.download_dataset import Archive
from dino_mm.datasets import download as module
from dino_mm.datasets.download import download, extract

from ..conftest import TOOLS

CONTENT = bytes(range(256)) * 2000


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.files`` with ranges; ``server.limits`` cuts its first answers short."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get('Range'))
        if server.failures:
            self.send_error(server.failures.pop(0))
            return
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start, total = 0, len(content)
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range') or '')
        if asked and server.ranged and self.headers.get('If-Range') == server.etag:
            start = int(asked[1])
            if start >= total:
                self.send_response(416)
                self.send_header('Content-Range', f'bytes */{total}')
                self.end_headers()
                return
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{total - 1}/{total}')
        else:
            self.send_response(200)
        self.send_header('Content-Length', str(total - start))
        if server.etag:
            self.send_header('ETag', server.etag)
        self.end_headers()
        limit = server.limits.pop(0) if server.limits else total
        self.wfile.write(content[start : start + limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module.time, 'sleep', lambda seconds: None)
    monkeypatch.setattr(module, 'CHUNK', 1 << 16)
    for proxy in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(proxy, raising=False)
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.files, server.limits, server.failures, server.ranges = {'/a.bin': CONTENT}, [], [], []
    server.etag, server.ranged = '"one"', True
    server.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def md5(content):
    return hashlib.md5(content).hexdigest()


def test_download(server, tmp_path):
    path = download(f'{server.url}/a.bin', tmp_path / 'deep' / 'a.bin', md5(CONTENT))
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ['a.bin']
    download(f'{server.url}/a.bin', path, md5(CONTENT))
    assert server.ranges == [None]  # the second time nothing was asked for


def test_broken_connection_is_taken_up(server, tmp_path):
    server.limits = [100_000, 150_000]
    path = download(f'{server.url}/a.bin', tmp_path / 'a.bin', md5(CONTENT))
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, 'bytes=100000-', 'bytes=250000-']


def test_next_run_goes_on(server, tmp_path):
    server.limits = [100_000]
    with pytest.raises(ConnectionError, match='100,000 of 512,000 bytes.*run the command again'):
        download(f'{server.url}/a.bin', tmp_path / 'a.bin', attempts=1)
    assert not (tmp_path / 'a.bin').exists()
    assert (tmp_path / 'a.bin.part').read_bytes() == CONTENT[:100_000]
    assert download(f'{server.url}/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT
    assert server.ranges == [None, 'bytes=100000-']


@pytest.mark.parametrize('change', ['file', 'no ranges', 'no validator'])
def test_starts_over_where_the_rest_would_not_fit(server, tmp_path, change):
    server.limits = [100_000]
    if change == 'no validator':
        server.etag = ''
    with pytest.raises(ConnectionError):
        download(f'{server.url}/a.bin', tmp_path / 'a.bin', attempts=1)
    expected = CONTENT
    if change == 'file':
        expected = server.files['/a.bin'] = CONTENT[::-1]
        server.etag = '"two"'
    server.ranged = change != 'no ranges'
    assert download(f'{server.url}/a.bin', tmp_path / 'a.bin').read_bytes() == expected


def test_stopped_between_the_last_byte_and_the_name(server, tmp_path):
    (tmp_path / 'a.bin.part').write_bytes(CONTENT)
    (tmp_path / 'a.bin.part.validator').write_text('"one"')
    assert download(f'{server.url}/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT
    assert server.ranges == ['bytes=512000-']


def test_part_longer_than_the_file(server, tmp_path):
    (tmp_path / 'a.bin.part').write_bytes(CONTENT + b'more')
    (tmp_path / 'a.bin.part.validator').write_text('"one"')
    assert download(f'{server.url}/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT


def test_wrong_checksum(server, tmp_path):
    with pytest.raises(ValueError, match=f'{md5(CONTENT)} instead of 0123.*removed'):
        download(f'{server.url}/a.bin', tmp_path / 'a.bin', '0123')
    assert not (tmp_path / 'a.bin').exists() and not (tmp_path / 'a.bin.part').exists()
    path = download(f'{server.url}/a.bin', tmp_path / 'a.bin', md5(CONTENT))
    path.write_bytes(b'damaged')
    with pytest.raises(ValueError, match='removed'):
        download(f'{server.url}/a.bin', path, md5(CONTENT))
    assert not path.exists()


def test_server_errors(server, tmp_path):
    server.failures = [503]
    assert download(f'{server.url}/a.bin', tmp_path / 'a.bin').exists()
    with pytest.raises(ConnectionError, match='gone.bin.*404.*moved'):
        download(f'{server.url}/gone.bin', tmp_path / 'gone.bin')
    assert len(server.ranges) == 3  # 404 was not asked for again


def tar_of(members, mode='w'):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as container:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, '/etc'
            else:
                info.size = len(content)
            container.addfile(info, io.BytesIO(content or b''))
    return buffer.getvalue()


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as container:
        container.mkdir('folder')
        for name, content in members.items():
            container.writestr(name, content)
    return buffer.getvalue()


FILES = {'folder/a.txt': b'A' * 1000, 'folder/deep/b.txt': b'B'}
MAKERS = {
    'a.zip': zip_of,
    'a.tar': tar_of,
    'a.tar.gz': lambda members: tar_of(members, 'w:gz'),
}


@pytest.mark.parametrize('name', MAKERS)
def test_extract(tmp_path, name):
    archive = tmp_path / name
    archive.write_bytes(MAKERS[name](FILES))
    assert extract(archive, tmp_path / 'out') == 2
    for member, content in FILES.items():
        assert (tmp_path / 'out' / member).read_bytes() == content
    # Again: a file cut short is written anew, a whole one is left alone.
    whole, short = (tmp_path / 'out' / member for member in FILES)
    short.write_bytes(b'')
    before = whole.stat().st_mtime_ns
    extract(archive, tmp_path / 'out')
    assert short.read_bytes() == b'B' and whole.stat().st_mtime_ns == before
    assert not list((tmp_path / 'out').rglob('*.part'))


@pytest.mark.parametrize('maker', [zip_of, tar_of])
@pytest.mark.parametrize(
    'member', ['../evil', 'folder/../../evil', '/tmp/evil', 'C:/evil', '..\\evil']
)
def test_extract_refuses_to_write_elsewhere(tmp_path, maker, member):
    archive = tmp_path / 'archive'
    archive.write_bytes(maker({member: b'evil'}))
    with pytest.raises(ValueError, match='outside of'):
        extract(archive, tmp_path / 'out' / 'deep')
    assert not list(tmp_path.rglob('evil*'))


def test_extract_refuses_links(tmp_path):
    archive = tmp_path / 'a.tar'
    archive.write_bytes(tar_of({'link': None, 'link/passwd': b'evil'}))
    with pytest.raises(ValueError, match='link, which is no plain file'):
        extract(archive, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', [*MAKERS, 'a.txt'])
def test_extract_names_damaged_archives(tmp_path, name):
    archive = tmp_path / name
    content = bytearray(MAKERS.get(name, lambda members: b'no archive')(FILES))
    if name == 'a.zip':
        content[content.index(b'folder/a.txt') + 14] ^= 0xFF  # in the compressed data
    else:
        del content[700 if name == 'a.tar' else len(content) // 2 :]
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=f'{name} is damaged or no archive'):
        extract(archive, tmp_path / 'out')


@pytest.fixture
def catalog(server, monkeypatch):
    first, second = zip_of({'train/1.jpg': b'1'}), tar_of({'labels/1.xml': b'<x/>'})
    server.files |= {'/images.zip': first, '/labels.tar': second}
    sets = {
        'toy': (
            Archive(f'{server.url}/images.zip', 'toy', md5(first)),
            Archive(f'{server.url}/labels.tar', 'toy'),
        )
    }
    monkeypatch.setattr(download_dataset, 'DATASETS', sets)
    return server


def test_command_line(catalog, tmp_path, capsys):
    download_dataset.main(['toy', '--root', str(tmp_path)])
    assert (tmp_path / 'toy' / 'train' / '1.jpg').read_bytes() == b'1'
    assert (tmp_path / 'toy' / 'labels' / '1.xml').read_bytes() == b'<x/>'
    assert {p.name for p in (tmp_path / 'downloads').iterdir()} == {'images.zip', 'labels.tar'}
    assert 'images.zip: 1 files' in capsys.readouterr().out
    download_dataset.main(['toy', '--root', str(tmp_path)])
    assert 'extracted in' in capsys.readouterr().out
    assert len(catalog.ranges) == 2


def test_command_line_removes_archives(catalog, tmp_path):
    for _ in range(2):
        download_dataset.main(['toy', '--root', str(tmp_path), '--remove-archives'])
    assert not list((tmp_path / 'downloads').iterdir())
    assert (tmp_path / 'toy' / 'train' / '1.jpg').exists()
    assert len(catalog.ranges) == 2


@pytest.mark.parametrize('name', download_dataset.GATED)
def test_gated_sets_are_explained(name, tmp_path, capsys):
    download_dataset.main([name, '--root', str(tmp_path)])
    text = capsys.readouterr().out
    assert (
        'needs an account' in text
        and f'{tmp_path}/{name}' in text
        and '{' not in re.sub(r'\{train,val\}', '', text)
    )


def test_unknown_set(capsys):
    with pytest.raises(SystemExit):
        download_dataset.main(['voc2008'])
    assert 'voc2008' in capsys.readouterr().err


def test_published_sets_are_well_formed():
    for archives in download_dataset.DATASETS.values():
        for archive in archives:
            assert re.fullmatch(r'https?://\S+\.(zip|tar|tar\.gz|tgz)', archive.url)
            assert archive.md5 is None or re.fullmatch(r'[0-9a-f]{32}', archive.md5)


def test_tool():
    script = TOOLS / 'misc' / 'download_dataset.py'
    result = subprocess.run([sys.executable, script, '--help'], capture_output=True, text=True)
    assert result.returncode == 0 and 'davis2017' in result.stdout, result.stderr
