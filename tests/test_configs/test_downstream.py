"""Configs that take the backbone of a pretraining config have its network."""

import re

import pytest
from mmengine.config import Config

from .leaves import CONFIGS, FAMILIES, leaves

WRITTEN = re.compile(r'work_dirs/([\w-]+)/backbone\.pth')
PRETRAINING = {path.stem: path for path in leaves('pretraining')}
USERS = [
    path
    for family in FAMILIES
    if family != 'pretraining'
    for path in leaves(family)
    if WRITTEN.search(path.read_text())
]


@pytest.mark.parametrize('user', USERS, ids=lambda path: path.stem)
def test_network_is_that_of_pretraining(user) -> None:
    trained, used = {}, Config.fromfile(user).model.backbone
    for name in set(WRITTEN.findall(user.read_text())):
        trained = Config.fromfile(PRETRAINING[name]).model.backbone
        for key in ('arch', 'patch_size', 'stem'):
            assert used.get(key) == trained.get(key), f'{key} of {name}'
    assert trained


def test_they_are_found() -> None:
    assert {path.parent for path in USERS} >= {
        CONFIGS / folder for folder in ('knn', 'linear_probe', 'segmentation', 'detection')
    }
