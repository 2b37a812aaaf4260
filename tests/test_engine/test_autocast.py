"""bfloat16 in configs of other codebases."""

import torch
from mmengine.optim import build_optim_wrapper
from torch import nn


def test_forward_in_bfloat16_steps_and_clips_on_any_device() -> None:
    model = nn.Linear(4, 1)
    cfg = dict(
        type='dino_mm.AutocastOptimWrapper',
        optimizer=dict(type='SGD', lr=1.0),
        clip_grad=dict(max_norm=0.5),
    )
    wrapper = build_optim_wrapper(model, cfg)
    wrapper.device_type = 'cpu'  # where the model is
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(100 * out.float().mean())
    moved = torch.cat([(model.weight - before).flatten()])
    assert 0 < moved.norm() <= 0.5 + 1e-6 and model.weight.dtype == torch.float32
