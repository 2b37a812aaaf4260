"""Logged scalars: of all processes, and without what computed them."""

import uuid
from types import SimpleNamespace

import torch
import torch.distributed
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub

from dino_mm.engine.hooks import DeferredRuntimeInfoHook


def stand_in(log_interval: int) -> SimpleNamespace:
    """What the hook asks of a Runner."""
    return SimpleNamespace(
        message_hub=MessageHub.get_instance(uuid.uuid4().hex),
        hooks=[LoggerHook(interval=log_interval)],
        train_dataloader=range(100),
        iter=0,
        max_iters=100,
    )


def test_what_is_kept_until_the_log_holds_no_graph() -> None:
    runner, hook = stand_in(log_interval=10), DeferredRuntimeInfoHook()
    freed = []

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.kept = Kept()
            return x * x

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    class Kept:
        def __del__(self):
            freed.append(True)

    loss = Square.apply(torch.ones((), requires_grad=True))
    hook.after_train_iter(runner, 0, outputs=dict(loss=loss))
    assert not freed
    del loss
    assert freed
    hook.before_val(runner)
    assert runner.message_hub.get_scalar('train/loss').current() == 1.0


def log_in_a_process(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2
    )
    reduced = []
    all_reduce = torch.distributed.all_reduce
    torch.distributed.all_reduce = lambda *a, **k: (reduced.append(1), all_reduce(*a, **k))[1]
    runner, hook = stand_in(log_interval=2), DeferredRuntimeInfoHook()
    for index in range(5):
        loss = torch.tensor(10.0 * index + rank)
        hook.after_train_iter(runner, index, outputs=dict(loss=loss, entropy=1 - loss))
    hook.before_val(runner)  # the fifth
    for key in ('loss', 'entropy'):
        values = runner.message_hub.get_scalar(f'train/{key}').data[0].tolist()
        torch.save((values, len(reduced)), f'{folder}/{key}_{rank}.pt')
    torch.distributed.destroy_process_group()


def test_scalars_are_means_over_the_processes_by_one_message_a_log(tmp_path) -> None:
    torch.multiprocessing.start_processes(
        log_in_a_process, (str(tmp_path),), nprocs=2, start_method='fork'
    )
    expected = [10.0 * index + 0.5 for index in range(5)]
    for rank in (0, 1):
        assert torch.load(tmp_path / f'loss_{rank}.pt') == (expected, 3)
        assert torch.load(tmp_path / f'entropy_{rank}.pt') == ([1 - x for x in expected], 3)
