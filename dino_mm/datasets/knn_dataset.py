"""Labelled bank and queries of a k-NN evaluation in one data set."""

from mmengine.dataset import ConcatDataset

from dino_mm.registry import DATASETS


@DATASETS.register_module()
class KNNDataset(ConcatDataset):
    """Passes ``bank`` and then ``queries``, each sample marked by its metainfo ``in_bank``.

    One pass of MMEngine's own validation or test loop then extracts all features.

    Args:
        bank (dict): Data set whose labels vote.
        queries (dict): Data set that is classified.
    """

    def __init__(self, bank: dict, queries: dict) -> None:
        built = [DATASETS.build(bank), DATASETS.build(queries)]
        # Their classes may be listed differently (or not at all); only labels count here.
        super().__init__(built, ignore_keys=list(built[0].metainfo | built[1].metainfo))

    def __getitem__(self, idx: int) -> dict:
        item = super().__getitem__(idx)
        in_bank = idx < self.cumulative_sizes[0]
        item['data_samples'].set_metainfo(dict(in_bank=in_bank))
        return item
