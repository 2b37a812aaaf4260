"""CamVid with a shorter side of 144 pixels, in crops of 144 x 144: for small networks on a CPU."""

_base_ = './camvid.py'

side = 144
# Which arguments of a step are sizes.
size_of = dict(
    RandomResize=dict(scale=(4 * side, side)),
    Resize=dict(scale=(4 * side, side)),
    RandomCrop=dict(crop_size=(side, side)),
)
train_pipeline = [dict(step, **size_of.get(step.type, {})) for step in _base_.train_pipeline]
test_pipeline = [dict(step, **size_of.get(step.type, {})) for step in _base_.test_pipeline]
load, augment = _base_.tta_pipeline
sizes = [
    dict(type='Resize', scale=(int(4 * side * ratio), int(side * ratio)), keep_ratio=True)
    for ratio in _base_.tta_ratios
]
tta_pipeline = [load, dict(type='TestTimeAug', transforms=[sizes, *augment.transforms[1:]])]
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
