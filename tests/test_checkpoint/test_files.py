"""Reading files safely."""

import argparse
import os
import pathlib
import pickle
import re
import subprocess
import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from dino_mm.checkpoint import CheckpointError, read_checkpoint


class Malicious:
    """Creates a file when unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def write_zip(content, path) -> None:
    torch.save(content, path)


def write_legacy(content, path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pickle(content, path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_new_pickle(content, path) -> None:
    path.write_bytes(pickle.dumps(content))


WRITERS = [write_zip, write_legacy, write_pickle, write_new_pickle]


@pytest.mark.parametrize('write', WRITERS)
def test_a_malicious_file_is_refused_and_not_run(write, tmp_path):
    path, trace = tmp_path / 'bad.pth', tmp_path / 'trace'
    write(dict(state_dict=dict(a=torch.ones(1)), extra=Malicious(trace)), path)
    with pytest.raises(CheckpointError, match='bad.pth'):
        read_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if write in (write_zip, write_legacy) else pickle.loads(
        path.read_bytes()
    )
    assert trace.exists(), 'the file of this test does nothing: it proves nothing'


def test_the_refusal_names_the_culprit_and_its_command_converts(tmp_path):
    path = tmp_path / 'foreign.pth'
    torch.save(dict(model=dict(a=torch.ones(2)), where=pathlib.PurePosixPath('x')), path)
    with pytest.raises(CheckpointError, match='pathlib.PurePosixPath') as error:
        read_checkpoint(path)
    command = re.search(r'python -c "(.+)"', str(error.value))[1]
    subprocess.run([sys.executable, '-c', command], cwd=tmp_path, check=True)
    assert torch.equal(read_checkpoint(tmp_path / 'weights.pth')['model']['a'], torch.ones(2))


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'module.pth')
    with pytest.raises(CheckpointError, match=r'state_dict\(\)'):
        read_checkpoint(tmp_path / 'module.pth')


def test_a_namespace_of_options_loads(tmp_path):
    torch.save(dict(args=argparse.Namespace(lr=0.1, crops=[1, 2])), tmp_path / 'full.pth')
    assert read_checkpoint(tmp_path / 'full.pth')['args'].crops == [1, 2]


class Attribute:
    """Asks for an attribute when unpickled, as HistoryBuffers do for their methods."""

    def __reduce__(self):
        return getattr, ('text', 'upper')


def test_logs_of_mmengine_load_as_plain_values(tmp_path):
    content = dict(
        log=HistoryBuffer([1.0, 2.5], [1, 1]),
        attribute=Attribute(),
        number=np.float64(3),
        flags=np.ones(2, bool),
    )
    torch.save(content, tmp_path / 'log.pth')
    content = read_checkpoint(tmp_path / 'log.pth')
    assert not isinstance(content['log'], HistoryBuffer)
    assert content['log'].values.tolist() == [1.0, 2.5]
    assert content['attribute'] is None
    assert content['number'] == 3 and content['flags'].all()


@pytest.mark.parametrize('write', [write_zip, write_legacy])
@pytest.mark.parametrize('part', [0, 0.02, 0.5, 0.98])
def test_a_truncated_file_is_named(write, part, tmp_path):
    path = tmp_path / 'cut.pth'
    write({str(i): torch.randn(50, 50) for i in range(4)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError, match='cut.pth is no PyTorch checkpoint'):
        read_checkpoint(path)


def test_text_and_lists_are_no_checkpoints(tmp_path):
    (tmp_path / 'page.pth').write_text('<html>404</html>')
    torch.save([torch.ones(1)], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match='page.pth is no PyTorch checkpoint'):
        read_checkpoint(tmp_path / 'page.pth')
    with pytest.raises(CheckpointError, match='holds a list'):
        read_checkpoint(tmp_path / 'list.pth')


def test_a_missing_file_lists_the_published_names():
    with pytest.raises(FileNotFoundError, match='nowhere.pth: no such.*dino_vits16'):
        read_checkpoint('nowhere.pth')


def test_a_published_name_says_what_to_do_offline(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', no_network)
    with pytest.raises(CheckpointError, match='dino_deitsmall16_pretrain.pth.*pass the file'):
        read_checkpoint('dino_vits16')


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Folder of downloads; a file holds its address."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file', lambda url, path: torch.save(dict(url=url), path)
    )
    return tmp_path / 'hub' / 'checkpoints'


def test_a_published_file_keeps_its_name(hub):
    url = read_checkpoint('dino_vitb8')['url']
    assert url.endswith('dino_vitbase8_pretrain.pth') and read_checkpoint(url)['url'] == url
    assert [path.name for path in hub.iterdir()] == ['dino_vitbase8_pretrain.pth']


def test_files_of_one_name_at_several_addresses_are_kept_apart(hub):
    addresses = [f'https://host/{owner}/model.bin' for owner in ('first', 'second')]
    for _ in range(2):
        assert [read_checkpoint(address)['url'] for address in addresses] == addresses
    assert len(list(hub.iterdir())) == 2


def test_the_kind_of_a_file_is_told_without_the_query(hub, monkeypatch):
    safetensors = pytest.importorskip('safetensors.torch')
    monkeypatch.setattr(
        torch.hub,
        'download_url_to_file',
        lambda url, path: safetensors.save_file(dict(a=torch.ones(3)), path),
    )
    content = read_checkpoint('https://host/resolve/main/model.safetensors?download=true')
    assert torch.equal(content['a'], torch.ones(3))


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    path = tmp_path / 'model.safetensors'
    safetensors.save_file(dict(a=torch.ones(3)), path)
    assert torch.equal(read_checkpoint(path)['a'], torch.ones(3))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match='cut short'):
        read_checkpoint(path)
