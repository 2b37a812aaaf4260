"""Installs dino_mm; the requirements stand in requirements/."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Lines of requirements/NAME.txt without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.split(' #')[0].strip() for line in lines if line and not line.startswith('#')]


extras = {name: requirements(name) for name in ('bands', 'det', 'log', 'onnx', 'shards', 'timm')}
extras['dev'] = requirements('tests') + [item for extra in extras.values() for item in extra]

setup(
    name='dino-mm',
    version=re.search(r"'(.+)'", (ROOT / 'dino_mm' / 'version.py').read_text())[1],
    description='Self-supervised DINO for OpenMMLab: pretrain, evaluate and fine-tune',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.10',
    packages=find_packages(include=['dino_mm', 'dino_mm.*']),
    install_requires=requirements('runtime'),
    extras_require=extras,
    classifiers=['Programming Language :: Python :: 3'],
)
