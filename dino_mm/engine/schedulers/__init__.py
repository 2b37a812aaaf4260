from .functional import cosine_schedule, linear_warmup

__all__ = ['cosine_schedule', 'linear_warmup']
