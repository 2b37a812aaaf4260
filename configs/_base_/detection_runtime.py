"""Runtime of detection with mmdet, whose parts go by their bare names; nothing is compiled."""

_base_ = './default_runtime.py'

default_scope = 'mmdet'
custom_imports = dict(imports=['dino_mm', 'dino_mm.ops', 'dino_mm.datasets.strict_coco'])
# Read by --tta of mmdet's tools/test.py, with the tta_pipeline of the data set.
tta_model = dict(
    type='dino_mm.DetectionTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=1),
    # Every image by tools/test.py --cfg-options default_hooks.visualization.draw=True
    visualization=dict(type='DetVisualizationHook', test_out_dir='pictures'),
    interrupt=dict(type='dino_mm.InterruptHook'),
)
# The first refuses heads whose num_classes is not the number of the data set's classes.
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='dino_mm.DetectionPictureHook', num_images=6, score_thr=0.3),
]
env_cfg = dict(cudnn_benchmark=False)
visualizer = dict(type='DetLocalVisualizer', name='visualizer')
val_cfg = dict()
test_cfg = dict()
