from .compile_hook import CompileHook
from .ema_hook import EMAHook, ema_update_
from .epoch_hooks import FreezeLastLayerHook, SetEpochHook
from .fit_check_hook import FitCheckHook
from .interrupt_hook import InterruptHook
from .monitor_hook import MonitorHook
from .picture_hook import DetectionPictureHook, SegmentationPictureHook
from .report_hook import ReportHook
from .runtime_info_hook import DeferredRuntimeInfoHook
from .segmentation_check_hook import SegmentationCheckHook
from .strict_load_hook import StrictLoadHook
from .weight_decay_hook import WeightDecayHook

__all__ = [
    'CompileHook',
    'DeferredRuntimeInfoHook',
    'DetectionPictureHook',
    'EMAHook',
    'FitCheckHook',
    'FreezeLastLayerHook',
    'InterruptHook',
    'MonitorHook',
    'ReportHook',
    'SegmentationCheckHook',
    'SegmentationPictureHook',
    'SetEpochHook',
    'StrictLoadHook',
    'WeightDecayHook',
    'ema_update_',
]
