from . import hooks, log_processor, loops, optimizers, schedulers, screen, tracking

__all__ = ['hooks', 'log_processor', 'loops', 'optimizers', 'schedulers', 'screen', 'tracking']
