"""Projection head of DINO."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from dino_mm.registry import MODELS
from dino_mm.utils.checks import check_number


class Projection(NamedTuple):
    """What a head makes of features.

    Attributes:
        logits: (B, K), or ``None`` if they were not asked for.
        bottleneck: (B, D) unit vectors that are compared to the prototypes, if there are any.
        prototypes: (K, D), with ``logits = bottleneck @ prototypes.T``, if there are any.
    """

    logits: Tensor | None
    bottleneck: Tensor | None = None
    prototypes: Tensor | None = None


class WeightNormLinear(nn.Module):
    """Linear layer without bias whose rows are ``g * v / ||v||``.

    Holds the published parameters ``weight_g`` (out, 1) and ``weight_v`` (out, in) as plain ones,
    where ``torch.nn.utils.weight_norm`` adds a derived tensor that breaks ``deepcopy``.

    Args:
        in_dim (int): Input width.
        out_dim (int): Output width, the number of prototypes.
        train_scale (bool): Whether ``weight_g`` is learned; it starts at 1.
    """

    def __init__(self, in_dim: int, out_dim: int, train_scale: bool) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(out_dim, 1), requires_grad=train_scale)
        self.weight_v = nn.Parameter(nn.Linear(in_dim, out_dim, bias=False).weight.detach())

    def forward(self, x: Tensor, project: bool = True) -> tuple[Tensor | None, Tensor]:
        """The product (B, out) of x (B, in) and the rows, if asked for, and the rows (out, in)."""
        rows = torch._weight_norm(self.weight_v, self.weight_g, 0)
        return F.linear(x, rows) if project else None, rows


@MODELS.register_module()
class DINOHead(BaseModule):
    """MLP, L2 normalization and weight-normalized prototypes (paper section 3.1, appendix C).

    Args:
        in_dim (int): Width of the backbone's features.
        out_dim (int): Number of prototypes K.
        num_layers (int): Linear layers of the MLP, at least 1.
        hidden_dim (int): Width between them.
        bottleneck_dim (int): Width of the normalized embedding.
        norm (str | None): ``None``, ``'bn'`` or ``'ln'`` after each hidden linear layer.
        norm_last_layer (bool): Keep the prototypes' scale fixed at 1 (steadier training).

    Example:
        >>> DINOHead(384, out_dim=4096)(torch.randn(2, 384)).logits.shape
        torch.Size([2, 4096])
    """

    norms = {'bn': nn.BatchNorm1d, 'ln': nn.LayerNorm}

    def __init__(
        self,
        in_dim: int,
        out_dim: int = 65536,
        num_layers: int = 3,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        norm: str | None = None,
        norm_last_layer: bool = True,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        sizes = dict(
            in_dim=in_dim,
            num_layers=num_layers,
            hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
        )
        for key, value in sizes.items():
            check_number(f'head.{key}', value, whole=True, at_least=1)
        # The softmax of a single prototype is 1 for every image: nothing is learned.
        check_number('head.out_dim', out_dim, whole=True, at_least=2)
        if norm is not None and norm not in self.norms:
            raise ValueError(f"head.norm must be None, 'bn' or 'ln', got {norm!r}")
        self.out_dim = out_dim
        layers: list[nn.Module] = []
        width = in_dim
        for _ in range(num_layers - 1):
            layers.append(nn.Linear(width, hidden_dim))
            if norm is not None:
                layers.append(self.norms[norm](hidden_dim))
            layers.append(nn.GELU())
            width = hidden_dim
        layers.append(nn.Linear(width, bottleneck_dim))
        # The published one-layer head is a bare linear layer (key `mlp.weight`).
        self.mlp = layers[0] if num_layers == 1 else nn.Sequential(*layers)
        for module in self.mlp.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.last_layer = WeightNormLinear(bottleneck_dim, out_dim, train_scale=not norm_last_layer)

    def forward(self, x: Tensor, logits: bool = True) -> Projection:
        """Projects features.

        Args:
            x (Tensor): (B, in_dim).
            logits (bool): Whether to multiply bottleneck and prototypes.

        Returns:
            Projection: Logits (B, out_dim), bottleneck (B, bottleneck_dim) and prototypes
            (out_dim, bottleneck_dim).
        """
        bottleneck = F.normalize(self.mlp(x).float(), dim=-1)  # float32 also under autocast
        products, prototypes = self.last_layer(bottleneck, logits)
        return Projection(products, bottleneck, prototypes)
