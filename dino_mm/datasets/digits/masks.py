"""Masks of the embedded digits, as mmseg's transforms and metrics take them."""

from dino_mm.registry import DATASETS
from dino_mm.utils.checks import check_number

from .embedded import EmbeddedDigits
from .scenes import CLASSES


@DATASETS.register_module()
class DigitMasks(EmbeddedDigits):
    """Scenes of several digits for semantic segmentation, background and ten classes.

    Every item has ``img_path``, ``seg_map_path`` and what mmseg's ``LoadAnnotations`` asks for.

    Args:
        digits_per_scene (int): Instances per scene, at least 2.
        kwargs: See :class:`EmbeddedDigits`.
    """

    METAINFO = dict(
        classes=('background', *CLASSES),
        palette=[
            [0, 0, 0],
            [230, 25, 75],
            [60, 180, 75],
            [255, 225, 25],
            [0, 130, 200],
            [245, 130, 48],
            [145, 30, 180],
            [70, 240, 240],
            [240, 50, 230],
            [210, 245, 60],
            [250, 190, 212],
        ],
    )

    def __init__(self, digits_per_scene: int = 4, **kwargs) -> None:
        key = f'{type(self).__name__}.digits_per_scene'
        check_number(key, digits_per_scene, whole=True, at_least=2)
        super().__init__(digits_per_scene=digits_per_scene, **kwargs)

    def load_data_list(self) -> list[dict]:
        # the last three are mmseg's way of renaming classes, unused here
        return [
            dict(
                img_path=scene['img_path'],
                seg_map_path=scene['seg_map_path'],
                label_map=None,
                reduce_zero_label=False,
                seg_fields=[],
            )
            for scene in super().load_data_list()
        ]
