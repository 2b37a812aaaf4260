r"""Loss of DINO and its gradient worked out together, a few images at a time.

With q the centered teacher probabilities, :math:`Q_v = \sum_{t \ne v} q_t` the targets of view v,
:math:`n_v` their number, :math:`x_v = s_v / \tau` and :math:`p_v = softmax(x_v)`, one image adds

.. math::
    \frac{1}{P B} \sum_v n_v\,LSE(x_v) - \langle Q_v, x_v \rangle
    \quad\text{with gradient}\quad
    \frac{\partial}{\partial s_v} = \frac{n_v\, p_v - Q_v}{P B \tau}

so that both need one softmax, and nothing but the gradient is kept.
"""

import ctypes
import mmap
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def log_normalizer(scores: Tensor, probabilities: Tensor) -> Tensor:
    """Log-sum-exp of scores (..., K), from their softmax: (...). No exponential is taken twice."""
    return scores.amax(dim=-1) - probabilities.amax(dim=-1).log()


def sharpen(scores: Tensor) -> tuple[Tensor, Tensor]:
    r"""Targets :math:`softmax(x)` and the sum of their entropies in nats.

    Args:
        scores (Tensor): (..., K), at least float32; overwritten.

    Returns:
        tuple[Tensor, Tensor]: (..., K) and a scalar.
    """
    q = scores.softmax(dim=-1)
    return q, (log_normalizer(scores, q) - scores.mul_(q).sum(dim=-1)).sum()


def cross_entropy_and_gradient(
    student: Tensor, targets: Tensor, temperature: float, scale: float, gradient: Tensor | None
) -> Tensor:
    """Cross-entropy of a chunk of images, summed over them, and its gradient.

    Args:
        student (Tensor): (V, b, K) logits, the global views first.
        targets (Tensor): (G, b, K) teacher probabilities.
        temperature (float): Student temperature.
        scale (float): Factor of both.
        gradient (Tensor, optional): (V, b, K), overwritten; may be ``student`` itself.

    Returns:
        Tensor: Scalar, at least float32.
    """
    num_global, factor = len(targets), scale / temperature
    total = targets.sum(0).mul_(-factor)
    loss = total.new_zeros(())
    scores, p = torch.empty_like(total), torch.empty_like(total)  # fresh memory per view is slow
    for view, logits in enumerate(student):  # one view at a time stays in the cache
        # Targets times `-factor` (b, K), so that the gradient takes one pass.
        wanted = torch.add(total, targets[view], alpha=factor) if view < num_global else total
        count = num_global - 1 if view < num_global else num_global
        torch.div(logits.to(scores.dtype), temperature, out=scores)  # (b, K)
        torch.softmax(scores, -1, out=p)
        loss = loss + (scale * count) * log_normalizer(scores, p).sum()
        if gradient is not None:
            torch.add(wanted, p, alpha=count * factor, out=gradient[view])
        loss = loss + temperature * scores.mul_(wanted).sum()
    return loss


def chunks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``total``."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def cache_chunk(device: torch.device, images: int) -> int:
    """Images worked on at a time: few on a CPU, whose cache holds them, else all."""
    return min(images, 8) if device.type == 'cpu' else images


def empty_in_large_pages(like: Tensor) -> Tensor:
    """``torch.empty_like``, on Linux in pages of 2 MiB.

    What a CPU writes first is cleared page by page; in small ones that takes as long as the loss.
    """
    x, page = torch.empty_like(like), 2**21
    start, end = -(-x.data_ptr() // page) * page, (x.data_ptr() + x.nbytes) // page * page
    if x.device.type == 'cpu' and start < end and hasattr(mmap, 'MADV_HUGEPAGE'):
        area = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
        ctypes.CDLL(None).madvise(*area, mmap.MADV_HUGEPAGE)  # advice: nothing fails without
    return x


def _zeros(like: Tensor) -> Tensor:
    """A scalar to sum up in, at least float32."""
    return like.new_zeros((), dtype=torch.promote_types(like.dtype, torch.float32))


def _scales(pairs: int, dtype: torch.dtype) -> tuple[float, float]:
    """The factor 1 / pairs, split into what gradients are kept with and what is left.

    Float16 would lose most of them to underflow before the scaled loss arrives.
    """
    return (1.0, 1 / pairs) if dtype is torch.float16 else (1 / pairs, 1.0)


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    # Almost always 1, for which a CPU need not pass over memory again; asking a GPU would halt it.
    if factor.device.type == 'cpu' and factor == 1:
        return gradient
    return gradient.mul_(factor)


def _taken(ctx) -> tuple[Tensor, ...]:
    """The gradients kept for the backward pass, which changes them in place."""
    if ctx.gradients is None:
        raise RuntimeError('a chunked loss has one backward pass; set loss.chunk_size=0 for more')
    gradients, ctx.gradients = ctx.gradients, None
    return gradients


class LogitsLoss(torch.autograd.Function):
    """Loss and teacher entropy from all logits.

    Arguments: student (V, B, K), teacher (G, B, K), the function that makes scores of teacher
    logits (the targets are their softmax), student temperature, images at a time, and
    :func:`cross_entropy_and_gradient` or that compiled.
    """

    @staticmethod
    def forward(ctx, student, teacher, scores_of, temperature, chunk, kernel):
        (views, images, _), num_global = student.shape, len(teacher)
        pairs = num_global * (views - 1) * images
        scale, ctx.left = _scales(pairs, student.dtype)
        gradient = empty_in_large_pages(student) if ctx.needs_input_grad[0] else None
        loss, entropy = _zeros(student), _zeros(teacher)
        for part in chunks(images, chunk):
            targets, part_entropy = sharpen(scores_of(teacher[:, part]))
            own = None if gradient is None else gradient[:, part]
            loss += kernel(student[:, part], targets, temperature, scale, own)
            entropy += part_entropy
        ctx.gradients = (gradient,)
        entropy /= num_global * images
        ctx.mark_non_differentiable(entropy)
        return loss * ctx.left, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx, factor, _):
        (gradient,) = _taken(ctx)
        return _scaled(gradient, factor * ctx.left), None, None, None, None, None


class PrototypesLoss(torch.autograd.Function):
    """Loss and teacher entropy from what the last layers multiply; logits live chunk by chunk.

    Gradients of embeddings Z and prototypes W are those of the products :math:`s = Z W^T`.
    Arguments: Z (V, B, D) and W (K, D) of the student, of the teacher (G, B, D), in the type of
    the products, and (K, D), then as for :class:`LogitsLoss`, the images whose logits exist at a
    time being the chunk.
    """

    @staticmethod
    def forward(
        ctx, student, prototypes, teacher, teacher_prototypes, scores_of, temperature, chunk, kernel
    ):
        (views, images, width), num_global = student.shape, len(teacher)
        pairs = num_global * (views - 1) * images
        student_grad, prototypes_grad = torch.empty_like(student), torch.zeros_like(prototypes)
        dtype = teacher.dtype  # of the matrix products
        scale, ctx.left = _scales(pairs, dtype)
        weight, teacher_weight = prototypes.to(dtype), teacher_prototypes.to(dtype)
        loss, entropy = _zeros(student), _zeros(teacher)
        for part in chunks(images, chunk):
            logits = teacher[:, part].flatten(0, 1) @ teacher_weight.T
            z = student[:, part].flatten(0, 1).to(dtype)  # (V * b, D)
            scores = z @ weight.T  # (V * b, K), overwritten by their gradient
            by_view = scores.view(views, -1, len(weight))
            logits = logits.view(num_global, -1, len(weight))
            for few in chunks(by_view.shape[1], cache_chunk(z.device, by_view.shape[1])):
                targets, part_entropy = sharpen(scores_of(logits[:, few]))
                own = by_view[:, few]
                loss += kernel(own, targets, temperature, scale, own)
                entropy += part_entropy
            student_grad[:, part] = (scores @ weight).view(views, -1, width).to(student_grad)
            prototypes_grad += scores.T @ z
        ctx.gradients = (student_grad, prototypes_grad)
        entropy /= num_global * images
        ctx.mark_non_differentiable(entropy)
        return loss * ctx.left, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx, factor, _):
        student, prototypes = (_scaled(gradient, factor * ctx.left) for gradient in _taken(ctx))
        return student, prototypes, None, None, None, None, None, None
