"""mmcv's operators without compiled ones, each against a formula written out here."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

import dino_mm.ops

ops = pytest.importorskip('mmcv.ops')
pytestmark = pytest.mark.skipif(
    not dino_mm.ops.install_fallback_ops(), reason='mmcv has compiled operators here'
)


def random_boxes(n, size=40.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * size / 2
    extent = torch.rand(n, 2, generator=generator) * size / 2 + 1
    return torch.cat([corner, corner + extent], 1), torch.rand(n, generator=generator)


def random(*shape, seed=0, requires_grad=True):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return values.requires_grad_(requires_grad)


# Boxes


def overlap(a, b, offset=0.0):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    common = max(width, 0.0) * max(height, 0.0)
    area = sum((x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b))
    return common / (area - common)


def naive_nms(boxes, scores, threshold, offset=0.0):
    kept = []
    for i in np.argsort(-np.asarray(scores), kind='stable'):
        if all(overlap(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize('offset', [0, 1])
def test_nms(offset):
    boxes, scores = random_boxes(60)
    dets, kept = ops.nms(boxes, scores, 0.4, offset=offset)
    expected = naive_nms(boxes.tolist(), scores.tolist(), 0.4, offset)
    assert 5 < len(expected) < 55
    assert kept.tolist() == expected
    torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


def test_nms_offset_decides():
    """Boxes of 8 and 4 pixels overlap by 4 / 8 with the last pixel counted, by 1 / 3 without."""
    boxes = torch.tensor([[0.0, 0.0, 3.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    scores = torch.tensor([0.9, 0.8])
    assert ops.nms(boxes, scores, 0.4, offset=0)[1].tolist() == [0, 1]
    assert ops.nms(boxes, scores, 0.4, offset=1)[1].tolist() == [0]


def test_nms_limits():
    boxes, scores = random_boxes(30)
    assert len(ops.nms(boxes, scores, 0.5, max_num=3)[1]) == 3
    kept = ops.nms(boxes, scores, 0.5, score_threshold=0.5)[1]
    assert (scores[kept] > 0.5).all()
    assert len(ops.nms(boxes[:0], scores[:0], 0.5)[1]) == 0
    half = ops.nms(boxes.half(), scores.half(), 0.5)[1]
    assert half.tolist() == ops.nms(boxes.half().float(), scores.half().float(), 0.5)[1].tolist()


@pytest.mark.parametrize('split_thr', [10000, 10])
def test_batched_nms(split_thr):
    boxes, scores = random_boxes(60)
    labels = torch.arange(60) % 3
    config = dict(type='nms', iou_threshold=0.3, split_thr=split_thr)
    dets, kept = ops.batched_nms(boxes, scores, labels, config)
    expected = []
    for label in range(3):
        members = (labels == label).nonzero()[:, 0]
        local = naive_nms(boxes[members].tolist(), scores[members].tolist(), 0.3)
        expected += members[local].tolist()
    expected.sort(key=lambda i: -scores[i])
    assert kept.tolist() == expected
    torch.testing.assert_close(dets[:, :4], boxes[kept])


def naive_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    scores, rest, kept = dict(enumerate(scores)), list(range(len(boxes))), []
    while rest:
        best = max(rest, key=scores.get)
        kept.append(best)
        rest.remove(best)
        for i in list(rest):
            o = overlap(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                scores[i] *= math.exp(-o * o / sigma)
            elif o >= threshold:
                scores[i] *= 1 - o if method == 'linear' else 0.0
            if scores[i] < min_score:
                rest.remove(i)
    return kept, [scores[i] for i in kept]


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms(method, offset):
    boxes, scores = random_boxes(50)
    settings = dict(sigma=0.5, min_score=0.05, method=method, offset=offset)
    dets, kept = ops.soft_nms(boxes, scores, 0.3, **settings)
    expected, lowered = naive_soft_nms(boxes.tolist(), scores.tolist(), 0.3, **settings)
    assert 3 < len(expected) < 50
    assert kept.tolist() == expected
    torch.testing.assert_close(dets[:, 4], torch.tensor(lowered))
    torch.testing.assert_close(dets[:, :4], boxes[kept])


def test_soft_nms_boxes_without_area():
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 4, 4]])
    dets, kept = ops.soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.3)
    assert kept.tolist() == [0, 1, 2]
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_nms_match():
    boxes, scores = random_boxes(40)
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)
    order, expected = np.argsort(-scores.numpy()).tolist(), []
    while order:
        best, *rest = order
        inside = [i for i in rest if overlap(boxes[best].tolist(), boxes[i].tolist()) >= 0.4]
        expected.append([best, *inside])
        order = [i for i in rest if i not in inside]
    assert [group.tolist() for group in groups] == expected


# Regions

ROIS = torch.tensor(
    [[0, 1.3, 2.1, 9.7, 8.2], [1, 0.2, 0.1, 5.1, 11.4], [0, 4.0, 3.0, 4.4, 3.3]],
    dtype=torch.double,
)


def bilinear(image, y, x):
    """Value of a (H, W) image at a point: 0 beyond one pixel outside, else clamped to the edge."""
    height, width = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = min(int(y), height - 2), min(int(x), width - 2)
    v, u = y - y0, x - x0
    patch = image[y0 : y0 + 2, x0 : x0 + 2]
    return float(np.array([1 - v, v]) @ patch @ np.array([1 - u, u]))


def naive_roi_align(feature, rois, size, scale, sampling_ratio, aligned):
    output = np.zeros((len(rois), feature.shape[1], *size))
    for k, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (value * scale - 0.5 * aligned for value in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_h, bin_w = height / size[0], width / size[1]
        count_y = sampling_ratio or math.ceil(bin_h)
        count_x = sampling_ratio or math.ceil(bin_w)
        for c, i, j in np.ndindex(output.shape[1:]):
            values = [
                bilinear(
                    feature[int(image), c],
                    y1 + (i + (a + 0.5) / count_y) * bin_h,
                    x1 + (j + (b + 0.5) / count_x) * bin_w,
                )
                for a in range(count_y)
                for b in range(count_x)
            ]
            output[k, c, i, j] = np.mean(values)
    return output


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align(aligned, sampling_ratio):
    feature = random(2, 3, 6, 7)
    settings = ((2, 3), 0.5, sampling_ratio)
    output = ops.roi_align(feature, ROIS, *settings, 'avg', aligned)
    expected = naive_roi_align(feature.detach().numpy(), ROIS, *settings, aligned)
    np.testing.assert_allclose(output.detach().numpy(), expected, atol=1e-12)
    assert gradcheck(lambda x: ops.roi_align(x, ROIS, *settings, 'avg', aligned), feature)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_roi_align_reduced_precision(dtype):
    feature = random(2, 3, 6, 7).to(dtype).detach().requires_grad_()
    output = ops.roi_align(feature, ROIS.to(dtype), (2, 3), 0.5, 2, 'avg', True)
    output.sum().backward()
    assert output.dtype == feature.grad.dtype == dtype
    wide = feature.detach().float().requires_grad_()
    expected = ops.roi_align(wide, ROIS.to(dtype).float(), (2, 3), 0.5, 2, 'avg', True)
    expected.sum().backward()
    torch.testing.assert_close(output.float(), expected, atol=0.02, rtol=0.02)
    torch.testing.assert_close(feature.grad.float(), wide.grad, atol=0.02, rtol=0.02)


def test_roi_align_diverged_boxes():
    """NaN and infinite boxes do not crash the process, as they do torchvision's operator."""
    rois = torch.tensor([[0, math.nan, 1, 5, 5], [0, 1, 1, math.inf, 5]])
    output = ops.roi_align(torch.ones(1, 2, 6, 6), rois, (2, 2), 1.0, 2, 'avg', True)
    assert output.isfinite().all()


def test_roi_align_without_regions():
    feature = random(2, 3, 6, 7)
    output = ops.roi_align(feature, ROIS[:0], (2, 2), 0.5, 0, 'avg', True)
    output.sum().backward()
    assert output.shape == (0, 3, 2, 2) and not feature.grad.any()


def test_roi_align_max_has_no_answer():
    with pytest.raises(NotImplementedError, match="roi_align.*'max'.*install mmcv"):
        ops.roi_align(random(2, 3, 6, 7), ROIS, (2, 2), 0.5, 0, 'max', True)


def test_roi_pool():
    feature = random(2, 3, 6, 7)
    output = ops.roi_pool(feature, ROIS, (2, 3), 0.5)
    expected = np.zeros(output.shape)
    for k, (image, *box) in enumerate(ROIS.tolist()):
        x1, y1, x2, y2 = (math.floor(value * 0.5 + 0.5) for value in box)
        height, width = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        for i, j in np.ndindex(2, 3):
            rows = [y1 + math.floor(i * height / 2), y1 + math.ceil((i + 1) * height / 2)]
            columns = [x1 + math.floor(j * width / 3), x1 + math.ceil((j + 1) * width / 3)]
            (top, bottom), (left, right) = np.clip(rows, 0, 6), np.clip(columns, 0, 7)
            part = feature[int(image), :, top:bottom, left:right].detach().numpy()
            if part.size:
                expected[k, :, i, j] = part.max(axis=(1, 2))
    np.testing.assert_allclose(output.detach().numpy(), expected)
    assert gradcheck(lambda x: ops.roi_pool(x, ROIS, (2, 3), 0.5), feature)


# Focal losses


@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss(weighted):
    logits, gamma, alpha = random(6, 4), 2.0, 0.25
    target = torch.tensor([0, 3, 1, 2, 2, 0] if weighted else [0, 3, 4, 1, 4, 2])  # 4: background
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.double) if weighted else None
    expected = np.zeros((6, 4))
    for n, c in np.ndindex(6, 4):
        p = 1 / (1 + math.exp(-logits[n, c].item()))
        positive = target[n] == c
        p_t, alpha_t = (p, alpha) if positive else (1 - p, 1 - alpha)
        expected[n, c] = -alpha_t * (1 - p_t) ** gamma * math.log(p_t)
        if weighted:
            expected[n, c] *= weight[target[n]]
    loss = ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight, 'none')
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-10)
    for reduction in ('none', 'mean', 'sum'):
        assert gradcheck(
            lambda x, r=reduction: ops.sigmoid_focal_loss(x, target, gamma, alpha, weight, r),
            logits,
        )


@pytest.mark.parametrize('weighted', [False, True])
def test_softmax_focal_loss(weighted):
    logits, gamma, alpha = random(6, 4), 2.0, 0.25
    target = torch.tensor([0, 3, 1, -1, 2, 0])  # -1: ignored
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.double) if weighted else None
    expected = np.zeros(6)
    for n, t in enumerate(target.tolist()):
        if t >= 0:
            row = logits[n].exp().tolist()
            p = row[t] / sum(row)
            expected[n] = -alpha * (1 - p) ** gamma * math.log(p) * (weight[t] if weighted else 1)
    loss = ops.softmax_focal_loss(logits, target, gamma, alpha, weight, 'none')
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-10)
    for reduction in ('mean', 'sum'):
        assert gradcheck(
            lambda x, r=reduction: ops.softmax_focal_loss(x, target, gamma, alpha, weight, r),
            logits,
        )


def test_focal_losses_at_saturation():
    """Logits of 200 give finite losses and gradients."""
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    target = torch.tensor([1, 1])
    loss = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, 'sum')
    loss = loss + ops.softmax_focal_loss(logits, target, 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()
    assert loss > 100  # the first row is as wrong as can be


# Attention and convolutions


def zero_padded(image, y, x):
    """Bilinear value at a point of a (H, W) image that is 0 outside."""
    y0, x0 = math.floor(y), math.floor(x)
    return sum(
        image[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
        for i in (y0, y0 + 1)
        for j in (x0, x0 + 1)
        if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]
    )


def test_ms_deform_attn():
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes = torch.tensor([[4, 3], [2, 2]])
    start = torch.tensor([0, 12])
    value = random(2, 16, 2, 3)  # (B, h * w, heads, D)
    locations = (random(2, 3, 2, 2, 2, 2, seed=1) * 0.3 + 0.5).detach().requires_grad_()
    weights = random(2, 3, 2, 2, 2, seed=2)

    def attend(*inputs):
        value, locations, weights = inputs
        return MultiScaleDeformableAttnFunction.apply(value, shapes, start, locations, weights, 64)

    output = attend(value, locations, weights)
    expected = np.zeros((2, 3, 2, 3))
    for b, q, head, d in np.ndindex(expected.shape):
        for level, point in np.ndindex(2, 2):
            h, w = shapes[level].tolist()
            begin = start[level].item()
            image = value[b, begin : begin + h * w, head, d].detach().numpy().reshape(h, w)
            x, y = locations[b, q, head, level, point].tolist()
            sample = zero_padded(image, y * h - 0.5, x * w - 0.5)
            expected[b, q, head, d] += weights[b, q, head, level, point].item() * sample
    np.testing.assert_allclose(output.detach().numpy(), expected.reshape(2, 3, 6), atol=1e-12)
    assert gradcheck(attend, (value, locations, weights))


def naive_deform_conv(image, offset, weight, mask, stride, padding, dilation, groups):
    """One (C, H, W) image; offset (D, kh, kw, 2, h, w) y then x; mask (D, kh, kw, h, w)."""
    out_channels, per_group, kh, kw = weight.shape
    output = np.zeros((out_channels, *offset.shape[-2:]))
    channels_per_offset = image.shape[0] // offset.shape[0]
    for o, i, j in np.ndindex(output.shape):
        first = o // (out_channels // groups) * per_group
        for c, a, b in np.ndindex(per_group, kh, kw):
            d = (first + c) // channels_per_offset
            y = i * stride - padding + a * dilation + offset[d, a, b, 0, i, j]
            x = j * stride - padding + b * dilation + offset[d, a, b, 1, i, j]
            sample = zero_padded(image[first + c], y, x)
            output[o, i, j] += weight[o, c, a, b] * sample * mask[d, a, b, i, j]
    return output


SETTINGS = dict(stride=2, padding=1, dilation=1, groups=2)


def test_deform_conv2d():
    image, weight = random(2, 4, 5, 6), random(2, 2, 3, 3, seed=1)
    offset = random(2, 2 * 18, 3, 3, seed=2)  # two offset groups

    def convolve(image, offset, weight):
        return ops.deform_conv2d(image, offset, weight, *SETTINGS.values(), 2)

    output = convolve(image, offset, weight)
    for n in range(2):
        expected = naive_deform_conv(
            image[n].detach().numpy(),
            offset[n].detach().numpy().reshape(2, 3, 3, 2, 3, 3),
            weight.detach().numpy(),
            np.ones((2, 3, 3, 3, 3)),
            **SETTINGS,
        )
        np.testing.assert_allclose(output[n].detach().numpy(), expected, atol=1e-12)
    assert gradcheck(convolve, (image, offset, weight))


@pytest.mark.parametrize('with_bias', [False, True])
def test_modulated_deform_conv2d(with_bias):
    image, weight = random(2, 4, 5, 6), random(2, 2, 3, 3, seed=1)
    offset, mask = random(2, 18, 3, 3, seed=2), random(2, 9, 3, 3, seed=3)
    inputs = (image, offset, mask, weight) + ((random(2, seed=4),) if with_bias else ())

    def convolve(image, offset, mask, weight, bias=None):
        return ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *SETTINGS.values(), 1)

    output = convolve(*inputs)
    for n in range(2):
        expected = naive_deform_conv(
            image[n].detach().numpy(),
            offset[n].detach().numpy().reshape(1, 3, 3, 2, 3, 3),
            weight.detach().numpy(),
            mask[n].detach().numpy().reshape(1, 3, 3, 3, 3),
            **SETTINGS,
        )
        if with_bias:
            expected += inputs[-1].detach().numpy()[:, None, None]
        np.testing.assert_allclose(output[n].detach().numpy(), expected, atol=1e-12)
    assert gradcheck(convolve, inputs)


def test_modulated_deform_conv2d_reads_the_start_of_larger_offsets():
    """As the compiled operator: memory of a larger map, in the layout of the smaller one."""
    image, weight = random(1, 2, 3, 3), random(2, 2, 3, 3, seed=1)
    offset, mask = random(1, 18, 6, 6, seed=2), random(1, 9, 6, 6, seed=3)

    def convolve(image, offset, mask):
        return ops.modulated_deform_conv2d(image, offset, mask, weight, None, 1, 1, 1, 1, 1)

    expected = naive_deform_conv(
        image[0].detach().numpy(),
        offset.detach().numpy().ravel()[: 18 * 9].reshape(1, 3, 3, 2, 3, 3),
        weight.detach().numpy(),
        mask.detach().numpy().ravel()[: 9 * 9].reshape(1, 3, 3, 3, 3),
        stride=1,
        padding=1,
        dilation=1,
        groups=1,
    )
    output = convolve(image, offset, mask)
    np.testing.assert_allclose(output[0].detach().numpy(), expected, atol=1e-12)
    assert gradcheck(convolve, (image, offset, mask))


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_deform_conv2d_diverged_offsets(value):
    """Undefined positions lie outside and do not crash the process, as in torchvision."""
    offset = torch.full((1, 18, 4, 4), value, requires_grad=True)
    weight = torch.ones(2, 2, 3, 3, requires_grad=True)
    output = ops.deform_conv2d(torch.ones(1, 2, 4, 4), offset, weight, 1, 1)
    output.sum().backward()
    assert not output.any() and not offset.grad.any() and not weight.grad.any()


@pytest.mark.parametrize('operator', [ops.carafe, ops.carafe_naive])
def test_carafe(operator):
    features, masks = random(1, 4, 3, 3), random(1, 2 * 9, 6, 6, seed=1)
    output = operator(features, masks, 3, 2, 2)  # kernel 3, 2 groups, scale 2
    padded = np.pad(features[0].detach().numpy(), ((0, 0), (1, 1), (1, 1)))
    expected = np.zeros((4, 6, 6))
    for c, i, j in np.ndindex(expected.shape):
        patch = padded[c, i // 2 : i // 2 + 3, j // 2 : j // 2 + 3]
        weights = masks[0, 9 * (c // 2) : 9 * (c // 2) + 9, i, j].detach().numpy().reshape(3, 3)
        expected[c, i, j] = (patch * weights).sum()
    np.testing.assert_allclose(output[0].detach().numpy(), expected, atol=1e-12)
    if operator is ops.carafe:  # mmcv lets the naive one go backward on a GPU only
        assert gradcheck(lambda x, m: operator(x, m, 3, 2, 2), (features, masks))


def test_masked_conv2d():
    image, weight, bias = random(1, 2, 5, 6), random(3, 2, 3, 3, seed=1), random(3, seed=2)
    mask = torch.zeros(1, 5, 6)
    mask[0, [0, 2, 4], [0, 5, 3]] = 1
    output = ops.masked_conv2d(image, mask, weight, bias, 1)
    expected = torch.nn.functional.conv2d(image, weight, bias, padding=1) * mask
    torch.testing.assert_close(output, expected)


# The stand-in


def test_unanswered_operator_names_itself_and_the_mend():
    pool = ops.DeformRoIPool((2, 2))
    with pytest.raises(NotImplementedError, match="'deform_roi_pool_forward'.*install mmcv"):
        pool(torch.ones(1, 2, 6, 6), ROIS.float(), torch.zeros(3, 2, 2, 2))
    with pytest.raises(AttributeError):
        _ = sys.modules['mmcv._ext'].__path__


def test_nothing_claims_to_be_compiled():
    assert ops.get_compiler_version() == ops.get_compiling_cuda_version() == 'not compiled'


def test_compiled_operators_stay_untouched(monkeypatch, tmp_path):
    import mmcv

    (tmp_path / '_ext.py').write_text('compiled = True')
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])
    assert not dino_mm.ops.install_fallback_ops()
    assert 'mmcv._ext' not in sys.modules  # left for mmcv to import
    import mmcv._ext

    assert mmcv._ext.compiled and not dino_mm.ops.install_fallback_ops()
    assert sys.modules['mmcv._ext'] is mmcv._ext


def run(code, *arguments, module=()):
    return subprocess.run(
        [sys.executable, *module, *(['-c', code] if code else []), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_only_dino_mm_ops_installs_and_mends_earlier_imports():
    """mmseg imports a part of mmdet, which then holds placeholders that raise."""
    pytest.importorskip('mmdet')
    result = run("""
import sys
import dino_mm
assert 'mmcv._ext' not in sys.modules
import mmdet.structures.mask.structures as masks
import mmseg.models
import dino_mm.ops
import mmdet.models
import mmcv.ops
from mmdet.models.dense_heads import base_dense_head, vfnet_head
from mmdet.models.losses import focal_loss
assert masks.roi_align is mmcv.ops.roi_align
assert base_dense_head.batched_nms is mmcv.ops.batched_nms
assert vfnet_head.DeformConv2d is mmcv.ops.DeformConv2d
assert focal_loss._sigmoid_focal_loss is mmcv.ops.sigmoid_focal_loss
assert mmdet.structures.bbox.bbox_overlaps is not mmcv.ops.bbox_overlaps
""")
    assert result.returncode == 0, result.stderr


def test_runs_foreign_scripts(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'import sys, beside\n'
        "assert 'mmcv._ext' in sys.modules and __name__ == '__main__'\n"
        'print(sys.argv[1:], beside.name)\n'
    )
    (tmp_path / 'beside.py').write_text("name = 'found'")
    result = run(None, str(script), 'config.py', '--amp', module=('-m', 'dino_mm.ops'))
    assert result.returncode == 0, result.stderr
    assert "['config.py', '--amp'] found" in result.stdout
    assert 'SCRIPT' in run(None, module=('-m', 'dino_mm.ops')).stderr


# Detectors of plain mmdet configs


def batch_of_images(size=64):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    shape = (size, size)
    samples = []
    for i in range(2):
        boxes = torch.tensor([[5.0, 10, 40, 50], [20, 12, 60, 57]]) - i
        masks = np.zeros((2, *shape), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_id=i,
                img_shape=shape,
                ori_shape=shape,
                batch_input_shape=shape,
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.tensor([0, 1]), masks=BitmapMasks(masks, *shape)
        )
        samples.append(sample)
    images = torch.randint(0, 256, (2, 3, *shape), generator=torch.Generator().manual_seed(0))
    return dict(inputs=list(images.to(torch.uint8)), data_samples=samples)


def shrink_model(config):
    """ResNet-18 without weights, single layers, few proposals, predictions of any score."""
    for key, value in list(config.items()):
        if key == 'init_cfg' and value is not None and value['type'] == 'Pretrained':
            config[key] = None
        elif key in ('nms_pre', 'max_per_img', 'max_num'):
            config[key] = 50
        elif key == 'num':  # regions that a sampler chooses
            config[key] = 32
        elif key == 'score_thr':
            config[key] = 0.0
        elif key == 'num_layers':  # of the transformers
            config[key] = 1
        elif isinstance(value, dict):
            shrink_model(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    shrink_model(item)
    if config.get('type') == 'ResNet':
        config.depth = 18
    if config.get('type') in ('FPN', 'ChannelMapper'):
        config.in_channels = [64, 128, 256, 512][-len(config.in_channels) :]


@pytest.mark.parametrize(
    'name',
    [
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    ],
)
def test_plain_mmdet_config_trains_and_predicts(name):
    pytest.importorskip('mmdet')
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.hub import get_config
    from mmengine.registry import DefaultScope

    register_all_modules(init_default_scope=False)
    config = get_config(f'mmdet::{name}').model
    shrink_model(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config)
        model.init_weights()
        first = model.backbone.layer4[0].downsample[0].weight.clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        model.train()
        for _ in range(2):
            data = model.data_preprocessor(batch_of_images(), training=True)
            loss, log = model.parse_losses(model(**data, mode='loss'))
            assert loss.isfinite(), log
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert not torch.equal(model.backbone.layer4[0].downsample[0].weight, first)
        model.eval()
        with torch.no_grad():
            predictions = model.test_step(batch_of_images())
    for prediction in predictions:
        instances = prediction.pred_instances
        assert 0 < len(instances) <= (100 if 'detr' in name else 50)
        assert instances.bboxes.shape == (len(instances), 4)
        assert (instances.scores >= 0).all() and (instances.scores <= 1).all()
        if 'mask' in name:
            assert instances.masks.shape == (len(instances), 64, 64)
