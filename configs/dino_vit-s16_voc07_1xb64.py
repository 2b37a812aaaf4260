"""DINO, ViT-S/16, on the images of Pascal VOC 2007: a small domain, one GPU.

Command: python tools/train.py configs/dino_vit-s16_voc07_1xb64.py
Cost and result: not measured. Small-data settings, see the schedule.
Any other folder of images: --cfg-options train_dataloader.dataset.data_root=FOLDER
"""

_base_ = [
    './_base_/models/dino_vit-s16_small_data.py',
    './_base_/datasets/voc07.py',
    './_base_/schedules/dino_small_data.py',
]
