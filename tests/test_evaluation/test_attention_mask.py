import pytest
import torch

from dino_mm.evaluation.functional import attention_mask, head_jaccards


def test_keeps_the_strongest_cells() -> None:
    attention = torch.tensor([[0.1, 0.4, 0.2, 0.3], [1.0, 0.0, 0.0, 0.0]])
    # upwards .1 .3 .6 1: those beyond .4
    assert attention_mask(attention, 0.6).tolist() == [
        [False, True, False, True],
        [True, False, False, False],
    ]
    assert attention_mask(attention, 0.6).equal(attention_mask(7 * attention, 0.6))
    assert attention_mask(attention[:1], 1.0).all()


@pytest.mark.parametrize('mass', [0.0, 1.5, -1.0])
def test_share_must_be_a_fraction(mass: float) -> None:
    with pytest.raises(ValueError, match='mass'):
        attention_mask(torch.rand(2, 5), mass)


def test_every_head_against_every_object() -> None:
    masks = torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 1]]], dtype=torch.bool)
    objects = torch.tensor([[[0, 1, 1, 0]], [[0, 0, 0, 1]]], dtype=torch.bool)
    jaccards = head_jaccards(masks, objects)
    assert torch.allclose(jaccards, torch.tensor([[1 / 3, 0.0], [0.0, 1.0]]).double())
    assert head_jaccards(masks, objects[:0]).shape == (2, 0)
    with pytest.raises(ValueError, match='masks of'):
        head_jaccards(masks, objects[..., :3])
