"""Runtime of classification with mmpretrain, whose parts go by their bare names."""

_base_ = './default_runtime.py'

default_scope = 'mmpretrain'
custom_imports = dict(imports=['dino_mm', 'dino_mm.models.classifiers'])
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(max_keep_ckpts=1, save_best='accuracy/top1'),
    # mmpretrain's own tools/test.py --show-dir draws every image by it
    visualization=dict(type='VisualizationHook'),
    interrupt=dict(type='dino_mm.InterruptHook'),
)
visualizer = dict(type='UniversalVisualizer')
tta_model = dict(type='AverageClsScoreTTA')  # of mmpretrain's tools/test.py --tta
val_cfg = dict()
test_cfg = dict()
