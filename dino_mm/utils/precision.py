"""Which number type this machine computes fast in."""

import torch
from mmengine.device import get_device


def bf16_on_cpu() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    try:
        with open('/proc/cpuinfo') as file:
            flags = file.read()
    except OSError:  # not Linux
        return False
    return 'avx512_bf16' in flags or 'amx_bf16' in flags


def best_amp_dtype() -> str | None:
    """Autocast type: bfloat16 where the hardware has it, else float16 on a GPU, else none."""
    if not get_device().startswith('cuda'):
        return 'bfloat16' if bf16_on_cpu() else None
    return 'bfloat16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'float16'
