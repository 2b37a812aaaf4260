"""Runtime of pretraining: hooks by name, so that a config can change one of them."""

_base_ = './default_runtime.py'

default_hooks = dict(
    # a line every few seconds
    logger=dict(_delete_=True, type='TimedLoggerHook', log_metric_by_epoch=False),
    checkpoint=dict(save_best='knn/k20_top1'),  # where a recipe evaluates
    runtime_info=dict(type='DeferredRuntimeInfoHook'),  # no halt of the device between logs
    set_epoch=dict(type='ProgressHook'),
    strict_load=dict(type='StrictLoadHook'),
    fit_check=dict(type='FitCheckHook'),  # of backbone, neck, head and crop sizes
    weight_decay=dict(type='WeightDecayHook', start=0.04, end=0.4),
    freeze_last_layer=dict(type='FreezeLastLayerHook', epochs=1),
    ema=dict(type='EMAHook', momentum=0.996),
    monitor=dict(type='MonitorHook'),
    verdict=dict(type='VerdictHook'),  # whether it learns
    report=dict(type='ReportHook'),
    interrupt=dict(type='InterruptHook'),
)
log_processor = dict(type='PlainLogProcessor')
# TensorBoard where it is installed; log_to='wandb', 'mlflow', 'trackio' or a list of them for others.
visualizer = dict(type='TrackingVisualizer')
