"""Time and memory of the loss."""

import argparse
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dino_mm.models import DINOLoss, NetworkOutputs

from . import harness
from .plain_model import plain_loss
from .reference import published_loss

Inputs = list[Tensor]


def embeddings(args: argparse.Namespace) -> Inputs:
    """Unit vectors and prototypes: student (V * B, D), (K, D), teacher (2 * B, D), (K, D)."""
    torch.manual_seed(0)
    views = 2 + args.locals
    rows = (views * args.batch, args.out_dim, 2 * args.batch, args.out_dim)
    found = [F.normalize(torch.randn(n, args.dim, device=args.device), dim=-1) for n in rows]
    return [x.requires_grad_(i < 2) for i, x in enumerate(found)]


def logits(args: argparse.Namespace) -> Inputs:
    """Student (V * B, K) and teacher (2 * B, K)."""
    student, prototypes, teacher, teacher_prototypes = (x.detach() for x in embeddings(args))
    dtype = getattr(torch, args.dtype)
    student = (student @ prototypes.T).to(dtype).requires_grad_()
    return [student, (teacher @ teacher_prototypes.T).to(dtype)]


def with_gradients(loss: Callable[..., Tensor], inputs: Inputs) -> harness.Variant:
    """Loss and the gradients of all inputs that want one."""
    wanted = [x for x in inputs if x.requires_grad]

    def call() -> None:
        torch.autograd.grad(loss(*inputs), wanted)

    call.loss = loss
    return call


def variants(args: argparse.Namespace) -> dict[str, harness.Variant]:
    views = 2 + args.locals

    def plain(student: Tensor, teacher: Tensor) -> Tensor:
        return plain_loss(student.float(), teacher.float(), center, views, 0.04)

    def ours(compiled: bool = False, **options) -> Callable[..., Tensor]:
        criterion = DINOLoss(args.out_dim, **options).to(args.device)
        if compiled:
            criterion.compile(dynamic=False)

        def call(student: Tensor, teacher: Tensor) -> Tensor:
            given = (NetworkOutputs(args.batch, logits=logits) for logits in (student, teacher))
            return criterion(*given)['loss']

        return call

    def last_layer(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(student, prototypes, teacher, teacher_prototypes) -> Tensor:
            with torch.autocast(device, getattr(torch, args.dtype), enabled=half):
                with torch.no_grad():
                    targets = F.linear(teacher, teacher_prototypes)
                scores = F.linear(student, prototypes)
            return loss(scores, targets)

        return call

    def in_chunks(*inputs: Tensor) -> Tensor:
        student, teacher = (
            NetworkOutputs(args.batch, bottleneck=bottleneck, prototypes=prototypes)
            for bottleneck, prototypes in (inputs[:2], inputs[2:])
        )
        with torch.autocast(device, getattr(torch, args.dtype), enabled=half):
            return criterion(student, teacher)['loss']

    device, half = torch.device(args.device).type, args.dtype != 'float32'
    center = torch.zeros(1, args.out_dim, device=args.device)
    criterion = DINOLoss(args.out_dim).to(args.device)
    criterion.logit_chunk = args.chunk
    given = logits(args)
    found = dict(ours=with_gradients(ours(), given), plain=with_gradients(plain, given))
    if args.short:
        return found
    whole = embeddings(args)
    found |= dict(
        autograd=with_gradients(ours(chunk_size=0), given),
        ours_compiled=with_gradients(ours(compiled=True), given),
        embeddings_ours=with_gradients(last_layer(ours()), whole),
        embeddings_chunked=with_gradients(in_chunks, whole),
        embeddings_plain=with_gradients(last_layer(plain), whole),
    )
    if args.reference:
        published = published_loss(args.reference, args.out_dim, views, args.device)
        found['reference'] = with_gradients(published, given)
    return found


def parser() -> argparse.ArgumentParser:
    parser = harness.parser(
        'Milliseconds from logits to their gradients: `ours`, `autograd` (one log-sum-exp per row, '
        'gradient by autograd) and `plain` (pair by pair). `embeddings_...`: from what the last '
        'layer multiplies to the gradients of both; `chunked` never holds all logits.'
    )
    parser.add_argument('--batch', type=int, default=64, help='images (64)')
    parser.add_argument('--locals', type=int, default=8, help='local crops beside two global (8)')
    parser.add_argument('--out-dim', type=int, default=65536, help='prototypes (65,536)')
    parser.add_argument('--dim', type=int, default=256, help='width before them (256)')
    parser.add_argument('--chunk', type=int, default=16, help='images of `embeddings_chunked` (16)')
    parser.add_argument(
        '--dtype', choices=('float32', 'bfloat16', 'float16'), default='float32', help='of logits'
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> dict:
    args = harness.parse(parser(), arguments)
    against = {f'embeddings_{name}': 'embeddings_plain' for name in ('ours', 'chunked')}
    result = harness.measure('loss', variants(args), args.device, args.repeats, against=against)
    return harness.finish(result, args.out)
