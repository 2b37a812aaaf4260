from .functional import cosine_schedule, linear_warmup
from .warmup_cosine_lr import WarmupCosineLR

__all__ = ['WarmupCosineLR', 'cosine_schedule', 'linear_warmup']
