"""DINO, ViT-S/16, on the images of BDD100K.

Command: tools/dist_train.sh configs/dino_vit-s16_bdd100k_8xb64.py 8
Cost and result: not measured. Small-data settings, see the schedule.
"""

_base_ = [
    './_base_/models/dino_vit-s16_small_data.py',
    './_base_/datasets/bdd100k.py',
    './_base_/schedules/dino_small_data.py',
]
