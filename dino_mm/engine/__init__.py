from . import hooks, log_processor, loops, optimizers, schedulers, screen

__all__ = ['hooks', 'log_processor', 'loops', 'optimizers', 'schedulers', 'screen']
