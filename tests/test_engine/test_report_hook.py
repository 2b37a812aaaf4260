"""What is evaluated before training is no result of it."""

from dino_mm.evaluation.linear_probe.labeled import folder_config

from ..labeled_images import write_colors


def test_the_untrained_network_is_neither_kept_nor_counted(make_runner, tmp_path) -> None:
    # Colors are told by an untrained network, so that no evaluation is better than the first.
    images = write_colors(tmp_path / 'colors', train=2, val=1)
    best = dict(type='CheckpointHook', interval=-1, save_best='knn/k1_top1', rule='greater')
    stopping = dict(type='EarlyStoppingHook', monitor='knn/k1_top1', rule='greater', patience=2)
    runner = make_runner(
        val_dataloader=dict(
            batch_size=9,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=folder_config(str(images), 32),
        ),
        val_evaluator=dict(type='KNNMetric', ks=(1,)),
        val_cfg=dict(),
        custom_hooks=[stopping],
        **{
            'train_cfg.max_epochs': 4,
            'default_hooks.checkpoint': best,
            'default_hooks.report': dict(type='ReportHook', metric='knn/k1_top1'),
        },
    )
    runner.train()
    assert [path.name for path in (tmp_path / 'work').glob('best*')] == [
        'best_knn_k1_top1_epoch_1.pth'
    ]
    assert runner.epoch == 3  # the first one sets the mark, the next two do not pass it
    # it is shown all the same
    scores = runner.message_hub.get_scalar('val/knn/k1_top1').data[0]
    assert len(scores) == 4 and runner.message_hub.get_info('report_baselines') == {
        'untrained backbone': scores[0]
    }
