"""Overrides of a config on the command line."""

import argparse

import pytest

from dino_mm.utils.options import OptionsAction


def read(*options: str) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


@pytest.mark.parametrize(
    'text, value',
    [
        ('2024', 2024),
        ("'2024'", '2024'),
        ('"a,b"', 'a,b'),
        ('/my images', '/my images'),
        ("'/my images, old'", '/my images, old'),
        ('a,b', ['a', 'b']),
        ("['a','b']", ['a', 'b']),
        ('(0.4, 1.0)', (0.4, 1.0)),
        ("'a','b'", ['a', 'b']),
        ('None', None),
        ('true', True),
        ('1e-3', 1e-3),
        ('x=y', 'x=y'),
        ('', ''),
    ],
)
def test_values(text, value) -> None:
    assert read(f'train.data_root={text}') == {'train.data_root': value}


def test_a_key_without_a_value_is_named(capsys) -> None:
    with pytest.raises(SystemExit):
        read('lr=1', 'momentum')
    assert "takes KEY=VALUE, got 'momentum'" in capsys.readouterr().err
