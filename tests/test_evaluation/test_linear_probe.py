"""Many linear classifiers at once, and class-balanced subsets."""

import pytest
import torch
import torch.nn.functional as F

from dino_mm.evaluation.functional import fit_linear_heads, linear_accuracy
from dino_mm.evaluation.functional.linear_probe import LinearHeads
from dino_mm.utils.subsets import balanced_subset, held_out_part

LABELS = torch.tensor([0] * 40 + [1] * 10 + [2] * 3 + [3])[torch.randperm(54)]


def counts(mask: torch.Tensor) -> list[int]:
    return [int(mask[label == LABELS].sum()) for label in range(4)]


def test_subsets_are_balanced_nested_and_drawn_by_the_seed() -> None:
    tenth, half = balanced_subset(LABELS, 0.1, 0), balanced_subset(LABELS, 0.5, 0)
    assert counts(tenth) == [4, 1, 1, 1] and counts(half) == [20, 5, 2, 1]
    assert (tenth & half).equal(tenth)
    assert balanced_subset(LABELS, 1.0, 0).all()
    assert balanced_subset(LABELS, 0.5, 0).equal(half)
    assert not balanced_subset(LABELS, 0.5, 1).equal(half)
    for fraction in (0.0, 1.1):
        with pytest.raises(ValueError, match='at most 1'):
            balanced_subset(LABELS, fraction, 0)


def test_what_is_held_out_is_none_of_a_small_subset() -> None:
    held = held_out_part(LABELS, 0.1, 0)
    assert counts(held) == [4, 1, 1, 0]
    assert not (held & balanced_subset(LABELS, 0.5, 0)).any()


def test_heads_learn_from_the_chosen_samples_alone() -> None:
    features, labels = torch.randn(24, 2, 5), torch.randint(0, 3, (24,))
    chosen = torch.tensor([1, 3, 4, 9, 20, 23])
    settings = dict(num_classes=3, choices={'both': [0, 1]}, lrs=(0.5,), epochs=3, batch_size=4)
    by_place = fit_linear_heads(features, labels, **settings, chosen=chosen)['both']
    copied = fit_linear_heads(features[chosen], labels[chosen], **settings)['both']
    assert by_place.weight.equal(copied.weight) and by_place.bias.equal(copied.bias)


def test_heads_learn_as_if_each_had_an_optimizer_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(24, 2, 5, generator=generator)
    labels = torch.randint(0, 3, (24,), generator=generator)
    settings = dict(num_classes=3, epochs=4, batch_size=10, seed=3)
    heads = fit_linear_heads(features, labels, choices={'one': [1]}, lrs=(0.05, 2.0), **settings)[
        'one'
    ]

    generator = torch.Generator().manual_seed(3)
    start = 0.01 * torch.randn(5, 3, generator=generator)
    orders = [torch.randperm(24, generator=generator) for _ in range(4)]
    for place, lr in enumerate((0.05, 2.0)):
        weight, bias = start.clone().requires_grad_(), torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.SGD([weight, bias], lr=lr * 10 / 256, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
        for order in orders:
            for index in order.split(10):
                loss = F.cross_entropy(features[index, 1] @ weight + bias, labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
        assert torch.allclose(heads.weight[place], weight, atol=1e-6)
        assert torch.allclose(heads.bias[place, 0], bias, atol=1e-6)


def test_each_choice_sees_its_parts() -> None:
    labels = torch.arange(60) % 3
    features = torch.zeros(60, 2, 3)
    features[:, 1] = F.one_hot(labels, 3)
    heads = fit_linear_heads(
        features, labels, 3, {'empty': [0], 'telling': [1], 'both': [0, 1]}, lrs=(1.0,), epochs=30
    )
    accuracies = {name: float(linear_accuracy(h, features, labels)) for name, h in heads.items()}
    assert accuracies['empty'] == pytest.approx(100 / 3)
    assert accuracies['telling'] == accuracies['both'] == 100
    assert heads['both'].weight.shape == (1, 6, 3)


def test_diverged_heads_get_nothing_right() -> None:
    weight = torch.stack([torch.eye(3), torch.full((3, 3), float('nan'))])
    heads = LinearHeads([0], weight, torch.zeros(2, 1, 3))
    features, labels = torch.eye(3)[:, None], torch.tensor([0, 1, 0])
    assert linear_accuracy(heads, features, labels).tolist() == pytest.approx([200 / 3, 0])
    assert linear_accuracy(heads, features, labels, n=5).tolist() == [100, 0]
