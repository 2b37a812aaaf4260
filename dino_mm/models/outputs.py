"""What a network makes of one batch: all that objectives may compare."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class NetworkOutputs:
    """What one network makes of V crops of B images. Objectives compare two of these.

    Rows of the tensors go crop by crop; :meth:`by_view` gives them a dimension of their own.

    Attributes:
        batch_size: B.
        class_tokens: (V * B, C), what the neck makes of the backbone's output.
        patch_tokens: Of each crop (B, N, C), N patches; ``None`` if the backbone returns one vector
            per image (our ViT: ``out_type='cls_token'``, instead of ``'raw'``).
        bottleneck: (V * B, D) unit vectors before the prototypes, if the head has them.
        logits: (V * B, K), what the head returns.
        prototypes: (K, D) rows that the bottleneck is multiplied with, if the head has them.
        data: Whatever else the batch holds, such as ``masks`` and ``data_samples``.
    """

    batch_size: int
    class_tokens: Tensor | None = None
    patch_tokens: list[Tensor] | None = None
    bottleneck: Tensor | None = None
    logits: Tensor | None = None
    prototypes: Tensor | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def by_view(self, rows: Tensor) -> Tensor:
        """Rows (V * B, ...) as (V, B, ...)."""
        return rows.unflatten(0, (-1, self.batch_size))
