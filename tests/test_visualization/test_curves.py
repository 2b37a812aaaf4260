"""The picture of a run shows what there is, and no empty panel."""

import math
from unittest import mock

import numpy as np
import pytest
from matplotlib.figure import Figure

from dino_mm.utils.limits import Limits
from dino_mm.visualization import draw_curves
from dino_mm.visualization.curves import smooth

LIMITS = Limits('teacher entropy (nats)', 0, math.log(512), 'one', 'uniform', '', '')


@pytest.mark.parametrize('accuracy', [[], [(5, 30.0), (10, 45.0)]])
def test_panels(accuracy, tmp_path) -> None:
    curves = np.stack([np.arange(1.0, 11), np.linspace(6, 3, 10), np.linspace(2, 4, 10)])
    with mock.patch.object(Figure, 'savefig', autospec=True, side_effect=Figure.savefig) as save:
        draw_curves(str(tmp_path / 'curves.png'), curves, [LIMITS], accuracy, {})
    assert (tmp_path / 'curves.png').is_file()
    axes = save.call_args.args[0].axes
    titles = ['loss (nats)', 'teacher entropy (nats)', 'k-NN accuracy (percent)']
    assert [axis.get_title() for axis in axes] == titles[: 3 if accuracy else 2]
    assert axes[1].lines[1].get_ydata().tolist() == pytest.approx(curves[2].tolist())
    assert [line.get_label() for line in axes[1].lines[2:]] == ['uniform', 'one']
    if accuracy:
        assert axes[2].lines[0].get_xydata().tolist() == [[5, 30], [10, 45]]


def test_running_mean() -> None:
    assert smooth(np.array([1.0, 3, 5, 7]), 2).tolist() == [1, 2, 4, 6]
