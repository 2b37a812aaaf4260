"""Runtime of segmentation with mmseg, whose parts go by their bare names."""

_base_ = './default_runtime.py'

default_scope = 'mmseg'
custom_imports = dict(imports=['dino_mm', 'dino_mm.models.segmentors'])
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, max_keep_ckpts=1, save_best='mIoU'),
    # mmseg's own tools/test.py --show-dir draws every image by it
    visualization=dict(type='SegVisualizationHook'),
    interrupt=dict(type='dino_mm.InterruptHook'),
)
custom_hooks = [
    dict(type='dino_mm.SegmentationCheckHook'),
    dict(type='dino_mm.SegmentationPictureHook', num_images=6),
]
tta_model = dict(type='SegTTAModel')  # of mmseg's tools/test.py --tta
visualizer = dict(type='SegLocalVisualizer', name='visualizer')
log_processor = dict(by_epoch=False)
val_cfg = dict()
test_cfg = dict()
