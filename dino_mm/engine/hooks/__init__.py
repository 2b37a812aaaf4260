from .checkpoint_hook import CheckpointHook
from .compile_hook import CompileHook
from .ema_hook import EMAHook
from .fit_check_hook import FitCheckHook
from .freeze_hooks import FreezeBackboneHook, FreezeLastLayerHook
from .interrupt_hook import InterruptHook
from .monitor_hook import MonitorHook
from .picture_hook import DetectionPictureHook, SegmentationPictureHook
from .progress_hook import ProgressHook
from .report_hook import ReportHook
from .runtime_info_hook import DeferredRuntimeInfoHook
from .segmentation_check_hook import SegmentationCheckHook
from .strict_load_hook import StrictLoadHook
from .time_budget_hook import TimeBudgetHook
from .timed_logger_hook import TimedLoggerHook
from .verdict_hook import VerdictHook
from .weight_decay_hook import WeightDecayHook

__all__ = [
    'CheckpointHook',
    'CompileHook',
    'DeferredRuntimeInfoHook',
    'DetectionPictureHook',
    'EMAHook',
    'FitCheckHook',
    'FreezeBackboneHook',
    'FreezeLastLayerHook',
    'InterruptHook',
    'MonitorHook',
    'ProgressHook',
    'ReportHook',
    'SegmentationCheckHook',
    'SegmentationPictureHook',
    'StrictLoadHook',
    'TimeBudgetHook',
    'TimedLoggerHook',
    'VerdictHook',
    'WeightDecayHook',
]
