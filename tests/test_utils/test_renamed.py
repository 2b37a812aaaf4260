"""Old names of config keys and values."""

import pytest

from dino_mm.utils.renamed import renamed_keys, renamed_value


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
