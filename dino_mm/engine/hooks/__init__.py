from .ema_hook import EMAHook, ema_update_
from .epoch_hooks import FreezeLastLayerHook, SetEpochHook
from .interrupt_hook import InterruptHook
from .monitor_hook import MonitorHook
from .report_hook import ReportHook
from .strict_load_hook import StrictLoadHook
from .weight_decay_hook import WeightDecayHook

__all__ = [
    'EMAHook',
    'FreezeLastLayerHook',
    'InterruptHook',
    'MonitorHook',
    'ReportHook',
    'SetEpochHook',
    'StrictLoadHook',
    'WeightDecayHook',
    'ema_update_',
]
