"""The published algorithm in the shortest obvious code: what a user would run without this project.

Explicit attention, one forward pass per image size, the loss pair by pair, a Python loop over
parameters for clipping and for the moving average, optimizer defaults, float32. Nothing here is
tuned, nor made slower than it comes. Parameters carry the published names.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from dino_mm.models.backbones.vision_transformer import interpolate_pos_embed


class PlainAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, dim))


class PlainMlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class PlainBlock(nn.Module):
    def __init__(self, dim: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = PlainAttention(dim, heads), PlainMlp(dim)
        self.drop_path = StochasticDepth(drop_path, 'row')

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PlainPatches(nn.Module):
    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class PlainConvolutions(nn.Sequential):
    """The convolutional stem of arXiv 2106.14881: halves the image until a patch is a pixel."""

    def __init__(self, dim: int, patch: int) -> None:
        layers, inner = [], 3
        for left in reversed(range(int(math.log2(patch)))):
            outer = max(32, dim // 2**left) if left else dim
            convolution = nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outer), nn.GELU()]
            inner = outer
        super().__init__(*layers, nn.Conv2d(dim, dim, 1))


PLAIN_STEMS = dict(linear=PlainPatches, conv=PlainConvolutions)


class PlainViT(nn.Module):
    """(B, 3, H, W) -> class tokens (B, C)."""

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        patch: int,
        image: int,
        drop_path: float,
        stem: type[nn.Module] = PlainPatches,
    ) -> None:
        super().__init__()
        self.grid = (image // patch, image // patch)
        self.patch_embed = stem(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + self.grid[0] ** 2, dim))
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.Sequential(*(PlainBlock(dim, heads, rate) for rate in rates))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        grid = tuple(x.shape[-2:])
        position = interpolate_pos_embed(self.pos_embed[:, 1:], self.grid, grid)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = x + torch.cat([self.pos_embed[:, :1], position], dim=1)
        return self.norm(self.blocks(x))[:, 0]


class PlainHead(nn.Module):
    """(B, C) -> logits (B, K)."""

    def __init__(self, dim: int, hidden: int, bottleneck: int, out_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        last = nn.Linear(bottleneck, out_dim, bias=False)
        self.last_layer = nn.utils.weight_norm(last)
        self.last_layer.weight_g.data.fill_(1)
        self.last_layer.weight_g.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))


class PlainNetwork(nn.Module):
    """A list of crops to logits, one forward pass of the backbone per image size."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, crops: list[Tensor]) -> Tensor:
        sizes = sorted({crop.shape[-1] for crop in crops}, reverse=True)
        groups = [torch.cat([c for c in crops if c.shape[-1] == size]) for size in sizes]
        return self.head(torch.cat([self.backbone(group) for group in groups]))


def plain_loss(
    student: Tensor, teacher: Tensor, center: Tensor, views: int, teacher_temp: float
) -> Tensor:
    """Algorithm 1 of the paper, pair by pair.

    Args:
        student (Tensor): (V * B, K) logits, the two global views first.
        teacher (Tensor): (2 * B, K).
        center (Tensor): (1, K).
        views (int): V.
        teacher_temp (float): Teacher temperature.
    """
    targets = ((teacher - center) / teacher_temp).softmax(dim=-1).detach().chunk(2)
    outputs = (student / 0.1).chunk(views)
    losses = [
        (-target * output.log_softmax(dim=-1)).sum(dim=-1).mean()
        for i, target in enumerate(targets)
        for j, output in enumerate(outputs)
        if i != j
    ]
    return sum(losses) / len(losses)


class PlainDINO:
    """Student, teacher, center and optimizer; :meth:`step` is one iteration of training.

    Args:
        student (PlainNetwork): Starts training.
        teacher (PlainNetwork): Another one, which becomes equal to it.
        out_dim (int): Number of prototypes K.
        clip_grad (float): Largest norm of each gradient.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, out_dim: int, clip_grad: float = 3.0
    ) -> None:
        self.student, self.teacher, self.clip_grad = student, teacher, clip_grad
        teacher.load_state_dict(student.state_dict())
        for parameter in teacher.parameters():
            parameter.requires_grad = False
        self.center = torch.zeros(1, out_dim, device=next(student.parameters()).device)
        learned = [p for p in student.parameters() if p.requires_grad]
        groups = [
            dict(params=[p for p in learned if p.ndim > 1]),
            dict(params=[p for p in learned if p.ndim == 1], weight_decay=0.0),
        ]
        self.optimizer = torch.optim.AdamW(groups)

    def step(
        self,
        crops: list[Tensor],
        lr: float = 5e-4,
        weight_decay: float = 0.04,
        momentum: float = 0.996,
        teacher_temp: float = 0.04,
        freeze_last_layer: bool = False,
    ) -> float:
        """One iteration on crops (B, 3, H, W), the two global ones first; returns the loss."""
        for group in self.optimizer.param_groups:
            group['lr'] = lr
        self.optimizer.param_groups[0]['weight_decay'] = weight_decay
        with torch.no_grad():
            teacher = self.teacher(crops[:2])
        student = self.student(crops)
        loss = plain_loss(student, teacher, self.center, len(crops), teacher_temp)
        self.center = 0.9 * self.center + 0.1 * teacher.mean(dim=0, keepdim=True)
        self.optimizer.zero_grad()
        loss.backward()
        for parameter in self.student.parameters():
            if parameter.grad is not None:
                factor = self.clip_grad / (parameter.grad.norm() + 1e-6)
                if factor < 1:
                    parameter.grad.mul_(factor)
        if freeze_last_layer:
            for parameter in self.student.head.last_layer.parameters():
                parameter.grad = None
        self.optimizer.step()
        pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
        with torch.no_grad():
            for theirs, ours in pairs:
                theirs.mul_(momentum).add_(ours, alpha=1 - momentum)
        return loss.item()
