"""What README and docs/ tell a reader to type works: commands, configs, code, paths and links."""

import argparse
import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from PIL import Image
from safetensors.torch import save_file

from dino_mm import registry
from dino_mm.apis import test as test_api
from dino_mm.apis import train
from dino_mm.apis.config_check import check_keys, check_top_level, classes_of, paths

from .conftest import TOOLS, TOY_MODEL

ROOT = TOOLS.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
#: Configs that stand for CONFIG, by the page that speaks of them.
CONFIG = {
    'detection': 'configs/detection/mask-rcnn_vit-tiny_digits.py',
    'segmentation': 'configs/segmentation/upernet_vit-tiny_digits.py',
}
#: A config that the reader writes, and what stands for it.
OWN = {
    'configs/detection/own.py': 'configs/detection/mask-rcnn_vit-tiny_digits.py',
    'configs/segmentation/own.py': 'configs/segmentation/upernet_vit-tiny_digits.py',
    'configs/finetune/own.py': 'configs/finetune/dino_vit-s16_ft_imagenette.py',
    'work_dirs/mine/recipe.py': 'configs/dino_vit-tiny_imagenette_1xb128.py',
}
QUICKSTART = 'configs/quickstart/dino_vit-tiny_digits.py'
#: Programs that a reader has; here they do nothing but write down how they were called.
PROGRAMS = ('python', 'torchrun', 'sbatch', 'srun', 'pip', 'pytest', 'git', 'mv', 'mkdir')
BEGINS_COMMAND = re.compile(r'(\w+=\S+ )*(python|torchrun|sbatch|pip|git|for|tools/\S+)\b')
#: Of this project; other mentions are of foreign files or of what a run writes.
OWN_PATH = re.compile(r'(?<![\w./-])(?:configs|tools|dino_mm|tests|docs)/[\w./-]*\w')


@dataclass
class Block:
    """A fenced block of a page, or a line of code in its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f'{self.page.name}:{self.line}'


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r'^```(\w*)\n(.*?)^```$', text, re.M | re.S):
            yield Block(page, text[: match.start()].count('\n') + 1, match[1], match[2])


def commands() -> Iterator[Block]:
    """Blocks for bash, the commands that end other blocks, and those within sentences."""
    for block in blocks():
        lines = block.text.splitlines()
        first = next((i for i, line in enumerate(lines) if BEGINS_COMMAND.match(line)), None)
        if block.language == 'bash' or (not block.language and first is not None):
            block.text = '\n'.join(lines if block.language else lines[first:])
            yield block
    for page in PAGES:
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            for code in re.findall(r'`([^`]+)`', line):
                if BEGINS_COMMAND.match(code) and re.search(r'tools/\S+ ', code):
                    yield Block(
                        page, number, 'bash', re.sub(r'^tools/(\S+py)', r'python \g<0>', code)
                    )


@pytest.fixture(scope='module')
def programs(tmp_path_factory) -> Path:
    """A folder of programs that append their arguments to the file that $CALLS names."""
    folder = tmp_path_factory.mktemp('programs')
    for name in PROGRAMS:
        (folder / name).write_text(
            '#!/bin/bash\nprintf "%s\\0" "${0##*/}" "$@" >> "$CALLS"\n'
            'printf "\\36" >> "$CALLS"\n[ "$1" != -c ] || echo 1\n'
        )
        (folder / name).chmod(0o755)
    for name in ('bash', 'dirname', 'sed', 'env'):
        (folder / name).symlink_to(f'/usr/bin/{name}')
    return folder


def calls_of(block: Block, programs: Path, record: Path) -> list[list[str]]:
    """Programs that bash calls for a block, with their arguments; scripts of tools/ are run."""
    done = subprocess.run(
        ['/bin/bash', '-euo', 'pipefail', '-c', block.text],
        cwd=ROOT,
        env=dict(PATH=str(programs), CALLS=str(record)),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, f'{block}: {done.stderr}'
    calls = record.read_text().split('\x1e')[:-1] if record.exists() else []
    return [call.split('\0')[:-1] for call in calls]


class Parsed(Exception):
    pass


def check_tool(arguments: list[str], page: Path, monkeypatch) -> None:
    """Parses a call of a tool by the tool's own parser, and builds the config that it names."""
    tool = ROOT / arguments[0]
    module = re.search(r'^from (dino_mm\S+) import main', tool.read_text(), re.M)[1]
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *args, **kwargs):
        raise Parsed(parse(self, *args, **kwargs))

    config = CONFIG.get(page.stem, QUICKSTART)
    arguments = [config if word == 'CONFIG' else OWN.get(word, word) for word in arguments[1:]]
    monkeypatch.chdir(ROOT)
    with monkeypatch.context() as patch, pytest.raises(Parsed) as parsed:
        patch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
        importlib.import_module(module).main(arguments)
    options = parsed.value.args[0]
    if tool.name == 'train.py':
        train.build_config(options)
    elif tool.name == 'test.py':
        options.checkpoint = __file__  # the reader's own
        test_api.build_config(options)
    elif getattr(options, 'config', None):
        assert 'backbone' in Config.fromfile(options.config).model


@pytest.mark.parametrize('block', commands(), ids=str)
def test_commands(block, programs, tmp_path, monkeypatch) -> None:
    calls = calls_of(block, programs, tmp_path / 'calls')
    assert calls, 'no program is called'
    monkeypatch.setenv('DINO_MM_DATA', str(tmp_path))
    for program, *words in calls:
        if words[:1] == ['-c']:
            compile(words[1], 'docs', 'exec')
            continue
        places = [i for i, word in enumerate(words) if re.fullmatch(r'(\./)?tools/\S+', word)]
        if not places:
            # Foreign, or a script of the reader's own.
            assert program not in ('torchrun', 'sbatch', 'srun'), words
            continue
        words = words[places[0] :]
        if words[0].endswith('.py'):
            check_tool(words, block.page, monkeypatch)
        else:  # a job for SLURM, whose script is called here as the cluster would
            job = Block(block.page, block.line, 'bash', shlex.join(words))
            (launched,) = calls_of(job, programs, tmp_path / 'job')
            check_tool(launched[launched.index('tools/train.py') :], block.page, monkeypatch)


def read_config(block: Block, folder: Path) -> Config:
    """A block as a config file; its bases are found by name among the project's configs."""

    def find(match: re.Match) -> str:
        (path,) = (ROOT / 'configs').rglob(Path(match[1]).name)
        return f"'{path}'"

    def find_all(line: re.Match) -> str:
        return re.sub(r"'(.*?)'", find, line[0])

    file = folder / 'from_docs.py'
    file.write_text(re.sub(r'^_base_ = .*$', find_all, block.text, flags=re.M))
    return Config.fromfile(file)


PYTHON = [block for block in blocks() if block.language == 'python']
SNIPPETS = [block for block in PYTHON if not re.search('^(from|import) ', block.text, re.M)]


@pytest.mark.parametrize('block', SNIPPETS, ids=str)
def test_configs(block, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv('DINO_MM_DATA', str(tmp_path))
    config = read_config(block, tmp_path)
    import_modules_from_strings(**config.get('custom_imports', dict(imports=['dino_mm'])))
    config.setdefault('default_scope', 'dino_mm')
    check_top_level(config, {})
    check_keys(config)
    for _, part in paths(config._cfg_dict.to_dict()):
        if str(part.get('type')).startswith('dino_mm.'):
            assert classes_of(part['type']), f'{part["type"]} is not registered'


def write_own_model(config: str, checkpoint: str, folder: Path) -> None:
    """A model of the reader's own, its config and a photograph, by the names of the page."""
    cfg = Config.fromfile(ROOT / OWN[config])
    cfg.work_dir = str(folder / 'build')
    cfg.model.backbone.init_cfg = None
    model = train.build_runner(cfg).model
    for path in (config, checkpoint):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(folder / config)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=tuple('0123456789')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / checkpoint)
    Image.new('RGB', (80, 60), 'gray').save(folder / 'PHOTO.jpg')


@pytest.mark.parametrize('block', [b for b in PYTHON if b not in SNIPPETS], ids=str)
def test_python_runs(block, tmp_path, monkeypatch) -> None:
    """With toy files by the names that the pages use."""
    monkeypatch.chdir(tmp_path)
    model = registry.MODELS.build(TOY_MODEL)
    meta = dict(cfg=Config(dict(model=TOY_MODEL)).pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), 'epoch_100.pth')
    save_file(model.teacher.backbone.state_dict(), 'model.safetensors')
    own = re.search(r"'(work_dirs/own/\S+)'", block.text)
    if own:
        folder = {'evaluation': 'finetune'}.get(block.page.stem, block.page.stem)
        write_own_model(f'configs/{folder}/own.py', own[1], tmp_path)
    code = re.sub(r"'dino_vit\w+'", "'epoch_100.pth'", block.text)  # no download
    exec(compile(code, str(block), 'exec'), dict(my_backbone=model.teacher.backbone))


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain'])
def test_the_config_of_the_readme_trains_in_any_scope(scope, image_folder, tmp_path) -> None:
    (block,) = [b for b in SNIPPETS if b.page.name == 'README.md']
    block.text += f"default_scope = '{scope}'\n"
    read_config(block, tmp_path)
    options = {
        'model.backbone.depth': 18,
        'model.backbone.base_channels': 8,
        'model.head.in_dim': 64,
        'model.head.hidden_dim': 16,
        'model.head.out_dim': 32,
        'train_dataloader.dataset.data_root': image_folder,
        'train_dataloader.dataset.pipeline.1.global_size': 32,
        'train_dataloader.dataset.pipeline.1.local_size': 32,
        'train_dataloader.dataset.pipeline.1.num_local': 1,
        'train_dataloader.batch_size': 6,
        'train_dataloader.num_workers': 0,
        'train_cfg.max_epochs': 1,
        'param_scheduler.warmup': 0,
    }
    arguments = [str(tmp_path / 'from_docs.py'), '--work-dir', str(tmp_path / 'work')]
    arguments += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    train.main(arguments)
    assert (tmp_path / 'work/epoch_1.pth').exists()


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading).strip().lower()
    return re.sub(r'[^\w\- ]', '', words).replace(' ', '-')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_and_paths(page) -> None:
    text = page.read_text()
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if target.startswith(('http:', 'https:')):
            continue
        path, _, anchor = target.partition('#')
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor:
            headings = re.findall(r'^#+ (.*)$', other.read_text(), re.M)
            assert anchor in map(slug, headings), target
    for path in OWN_PATH.findall(text):
        assert path in OWN or list(ROOT.glob(path)) or list(ROOT.glob(f'{path}*')), path
