"""What is compiled, how often, and what is told of it."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch._dynamo
from torch import nn
from torch._dynamo.testing import CompileCounter

from dino_mm.engine.hooks import CompileHook
from dino_mm.registry import MODELS


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Compiled code belongs to functions, which all models share."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def crops(batch: int, device: str = 'cpu') -> list[torch.Tensor]:
    sizes = [32, 32, 16, 16]
    return [torch.randn(batch, 3, size, size, device=device) for size in sizes]


def train(model: nn.Module, batch: int, device: str = 'cpu') -> None:
    model.train().loss(crops(batch, device))['loss'].backward()


def evaluate(model: nn.Module, batch: int, device: str = 'cpu') -> torch.Tensor:
    with torch.no_grad():
        return model.eval().extract_feat(torch.ones(batch, 3, 32, 32, device=device))


def test_evaluation_compiles_nothing_and_leaves_training_compiled(toy_model) -> None:
    toy_model['backbone']['drop_path_rate'] = 0.1
    model, counter = MODELS.build(toy_model), CompileCounter()
    expected = evaluate(model, 4)
    CompileHook(backend=counter).compile(model)
    with torch.compiler.set_stance('fail_on_recompile'), pytest.raises(RuntimeError):
        train(model, 4)  # nothing is compiled yet
    train(model, 4)
    # Both of the student's blocks, of which one drops paths and one keeps class tokens alone, both
    # of the teacher's, two heads, and the loss, which has a graph of its own.
    compiled = counter.frame_count
    assert compiled == 7
    for batch in (4, 3, 2, 1):  # the last batch of a validation set is rarely full
        found = evaluate(model, batch)
    assert counter.frame_count == compiled
    torch.testing.assert_close(found[0], expected[0])
    with torch.compiler.set_stance('fail_on_recompile'):
        train(model, 4)
    assert counter.frame_count == compiled


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu(toy_model) -> None:
    model = MODELS.build(toy_model).cuda()
    CompileHook().compile(model)
    train(model, 4, 'cuda')
    for batch in (4, 3):
        evaluate(model, batch, 'cuda')
    with torch.compiler.set_stance('fail_on_recompile'):
        train(model, 4, 'cuda')


def test_names_stay_and_the_log_tells_time_and_what_is_not_compiled(make_runner) -> None:
    hook = {'default_hooks.compile': dict(type='CompileHook', backend='eager')}
    runner = make_runner(**hook, **{'train_cfg.max_epochs': 1})
    names = list(runner.model.state_dict())
    told, warned = [], []
    runner.logger.info, runner.logger.warning = told.append, warned.append
    with torch._dynamo.config.patch(recompile_limit=1):
        runner.train()
        assert any('run uncompiled' in m and 'recompile_limit' in m for m in warned), warned
        warnings = len(warned)
        torch._dynamo.reset()
        for batch in (2, 3):  # what the compiler warns of after the run is not the run's
            train(runner.model, batch)
    assert len(warned) == warnings
    assert list(runner.model.state_dict()) == names
    told = [message for message in told if str(message).startswith('Compiled')]
    assert len(told) == 1 and ' s.' in told[0]


def test_a_copy_has_its_own_weights(toy_model) -> None:
    model, counter = MODELS.build(toy_model), CompileCounter()
    CompileHook(backend=counter).compile(model)
    twin = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    assert evaluate(twin, 1).abs().sum() > 0
    train(twin, 2)
    assert twin.student.backbone.blocks[0].mlp.fc1.weight.grad.abs().sum() > 0
    assert counter.frame_count == 1  # the loss, whose function is no module's
