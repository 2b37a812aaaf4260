import json

import torch

from dino_mm.testing.benchmark import loss

SIZES = ['--batch', '2', '--locals', '1', '--out-dim', '512', '--dim', '4', '--chunk', '1']


def test_short(tmp_path) -> None:
    out = tmp_path / 'loss.json'
    result = loss.main([*SIZES, '--short', '--repeats', '1', '--out', str(out)])
    assert json.loads(out.read_text()) == result
    assert list(result['variants']) == ['ours', 'plain']
    assert {'ours_over_plain', 'memory_ours_over_plain'} == set(result['ratios'])


def test_every_variant_and_the_published_code(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch, 'compile', lambda function, **_: function)
    (tmp_path / 'main_dino.py').write_text(
        'import torch\n'
        'class DINOLoss(torch.nn.Module):\n'
        '    def __init__(self, out_dim, views, *schedule):\n'
        '        super().__init__()\n'
        '    def forward(self, student, teacher, epoch):\n'
        '        torch.distributed.all_reduce(teacher)\n'
        '        print("not seen")\n'
        '        return student.logsumexp(-1).sum() / torch.distributed.get_world_size()\n'
    )
    result = loss.main([*SIZES, '--repeats', '1', '--reference', str(tmp_path)])
    against = {'embeddings_ours_over_embeddings_plain', 'embeddings_chunked_over_embeddings_plain'}
    assert against <= set(result['ratios']) and 'reference' in result['variants']


def test_variants_work_out_the_same_loss() -> None:
    """What is timed against each other is the same function."""
    args = loss.harness.parse(loss.parser(), [*SIZES, '--short'])
    student, teacher = loss.logits(args)
    found = {name: call.loss(student, teacher).item() for name, call in loss.variants(args).items()}
    assert len(found) == 2 and abs(found['ours'] - found['plain']) < 1e-5


def test_ours_keeps_less() -> None:
    options = ['--batch', '16', '--locals', '8', '--out-dim', '2048', '--short', '--repeats', '1']
    assert loss.main(options)['ratios']['memory_ours_over_plain'] > 3
