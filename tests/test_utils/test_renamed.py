"""Old names of config keys, values and classes."""

import pytest
from mmengine.registry import Registry

from dino_mm.registry import TRANSFORMS
from dino_mm.utils.renamed import register_old_name, renamed_keys, renamed_value


@renamed_keys(colour='color')
class Pen:
    def __init__(self, color: str) -> None:
        self.color = color


def test_an_old_key_warns_and_works() -> None:
    with pytest.warns(FutureWarning, match=r'Pen\.colour is now called color'):
        assert Pen(colour='red').color == 'red'
    assert Pen(color='red').color == 'red'


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(TypeError, match='give color alone'):
        Pen(color='red', colour='blue')


def test_an_old_value_warns_and_works() -> None:
    with pytest.warns(FutureWarning, match="attention='fused' is now called 'sdpa'"):
        assert renamed_value('attention', 'fused', dict(fused='sdpa')) == 'sdpa'
    assert renamed_value('attention', 'eager', dict(fused='sdpa')) == 'eager'


def test_an_old_class_name_warns_and_builds() -> None:
    registry = Registry('pens', locations=['tests'])
    registry.register_module(module=Pen)
    register_old_name(registry, 'Quill', Pen)
    with pytest.warns(FutureWarning, match='Quill is now called Pen'):
        assert isinstance(registry.build(dict(type='Quill', color='red')), Pen)


def test_the_transform_of_the_last_release_still_builds() -> None:
    with pytest.warns(FutureWarning, match='StandardizePerImage'):
        TRANSFORMS.build(dict(type='dino_mm.StandardisePerImage'))
