"""The config files that users run, by family."""

from pathlib import Path

CONFIGS = Path(__file__).parent.parent.parent / 'configs'

#: Folders of configs/ that the test module of each family walks.
FAMILIES = {
    'pretraining': ('.', 'quickstart'),
    'classification': ('knn', 'linear_probe', 'finetune'),
    'segmentation': ('segmentation',),
    'detection': ('detection',),
}


def leaves(family: str) -> list[Path]:
    """Config files of a family, sorted."""
    return sorted(path for folder in FAMILIES[family] for path in (CONFIGS / folder).glob('*.py'))
