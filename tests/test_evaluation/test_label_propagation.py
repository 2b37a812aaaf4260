import numpy as np
import pytest
import torch

from dino_mm.evaluation.functional import labels_to_mask, propagate_labels

from ..conftest import DATA


@pytest.mark.parametrize('chunk_size', [7, 256])
def test_matches_the_recording(chunk_size: int) -> None:
    record = np.load(DATA / 'label_propagation.npz', allow_pickle=False)
    propagated = propagate_labels(
        torch.from_numpy(record['target_features']),
        torch.from_numpy(record['context_features']).transpose(1, 2),
        torch.from_numpy(record['context_labels']),
        neighborhood=int(record['size_mask_neighborhood']),
        topk=int(record['topk']),
        chunk_size=chunk_size,
    )
    assert np.abs(propagated.numpy() - record['propagated']).max() < 1e-5


def one_hot(mask: torch.Tensor, classes: int) -> torch.Tensor:
    """(h, w) to (1, C, h, w)."""
    return torch.nn.functional.one_hot(mask, classes).permute(2, 0, 1)[None].float()


def test_labels_follow_their_features() -> None:
    features = torch.eye(12)  # a 3 x 4 grid, every cell unlike the others
    labels = one_hot(torch.arange(12).view(3, 4) % 3, 3)
    shifted = features.roll(1, dims=0)
    moved = propagate_labels(shifted, features[None], labels, neighborhood=0, topk=1)
    assert torch.equal(moved, labels[0].flatten(1).roll(1, dims=1).view(3, 3, 4))


def test_neighborhood_is_a_square() -> None:
    features = torch.ones(25, 1)  # all alike: the mean label of all cells within reach
    labels = torch.zeros(1, 1, 5, 5)
    labels[0, 0, 0, 0] = 1
    spread = propagate_labels(features, features[None], labels, neighborhood=1, topk=25)[0]
    expected = torch.zeros(5, 5)
    expected[:2, :2] = torch.tensor([[1 / 4, 1 / 6], [1 / 6, 1 / 9]])
    assert torch.allclose(spread, expected)
    everywhere = propagate_labels(features, features[None], labels, neighborhood=0, topk=25)[0]
    assert torch.allclose(everywhere, torch.full((5, 5), 1 / 25))


def test_more_neighbors_than_cells() -> None:
    features, labels = torch.rand(4, 3), torch.rand(1, 2, 2, 2)
    spread = propagate_labels(features, features[None], labels, topk=1000)
    assert spread.shape == (2, 2, 2) and torch.isfinite(spread).all()


def test_other_sizes_are_an_error() -> None:
    with pytest.raises(ValueError, match='one size'):
        propagate_labels(torch.rand(4, 3), torch.rand(1, 6, 3), torch.rand(1, 2, 2, 2))


def test_hard_masks() -> None:
    labels = torch.zeros(3, 2, 2)
    labels[0], labels[0, 0, 0], labels[1, 0, 0] = 1, 0.8, 0.2
    # each class is stretched to [0, 1]: a weak object still wins where it is strongest
    mask = labels_to_mask(labels, scale=4)
    assert mask.shape == (8, 8) and mask[0, 0] == 1 and mask[7, 7] == 0
    assert 2 not in mask
    # nothing but background, everywhere the same
    assert labels_to_mask(torch.ones(1, 2, 2), scale=2).tolist() == [[0] * 4] * 4
