"""What holds for every config file."""

import pytest

from .leaves import CONFIGS, FAMILIES, leaves

LEAVES = [path for family in FAMILIES for path in leaves(family)]


def test_every_config_belongs_to_a_family_whose_test_runs_it() -> None:
    files = {p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts}
    assert files == set(LEAVES)


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_config_opens_with_its_command_and_stays_within_a_screen(path) -> None:
    text = path.read_text()
    assert text.startswith('"""') and f'configs/{path.relative_to(CONFIGS)}' in text
    assert len(text.splitlines()) <= 80
