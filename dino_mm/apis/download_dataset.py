"""Command line that fetches public data sets and explains the gated ones."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dino_mm.datasets.download import download, extract


@dataclass(frozen=True)
class Archive:
    """One file to fetch.

    Attributes:
        url (str): Where it is published.
        folder (str): Where to extract it, below the data folder.
        md5 (str, optional): Checksum. Without one, what the archive stores about its files and
            the length that the server states are all that is verified.
    """

    url: str
    folder: str = '.'
    md5: str | None = None


# Checksums of VOC, SBD, STL-10 and CIFAR as in torchvision.datasets; CIFAR's are also on its page.
# COCO's publisher states none: these are in use by several libraries. DAVIS and ADE20K have none.
_VOC = 'https://thor.robots.ox.ac.uk/pascal/VOC'
_COCO = 'http://images.cocodataset.org'
DATASETS = {
    'voc2007': (
        Archive(
            f'{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar', md5='c52e279531787c972589f7e41ab4ae64'
        ),
        Archive(f'{_VOC}/voc2007/VOCtest_06-Nov-2007.tar', md5='b6e924de25625d8de591ea690078ad9f'),
    ),
    'voc2012': (
        Archive(
            f'{_VOC}/voc2012/VOCtrainval_11-May-2012.tar', md5='6cd6e144f989b92b3379bac3b3de84fd'
        ),
    ),
    # Masks of 11,355 VOC images, for the augmented training set of 2012.
    'sbd': (
        Archive(
            'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/'
            'semantic_contours/benchmark.tgz',
            'VOCdevkit',
            '82b4d87ceb2ed10f6038a1cba92111cb',
        ),
    ),
    'coco': (
        Archive(f'{_COCO}/zips/train2017.zip', 'coco', 'cced6f7f71b7629ddf16f17bbcfab6b2'),
        Archive(f'{_COCO}/zips/val2017.zip', 'coco', '442b8da7639aecaf257c1dceb8ba8c80'),
        Archive(
            f'{_COCO}/annotations/annotations_trainval2017.zip',
            'coco',
            'f4bbac642086de4f52a3fdda2de5fa2c',
        ),
    ),
    'stl10': (
        Archive(
            'http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz',
            'stl10',
            '91f7769df0f17e558f3565bffb0c7dfb',
        ),
    ),
    'cifar10': (
        Archive(
            'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',
            'cifar10',
            'c58f30108f718f92721af3b95e74349a',
        ),
    ),
    'cifar100': (
        Archive(
            'https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz',
            'cifar100',
            'eb9058c3a382ffc7106e4002c42a8d85',
        ),
    ),
    'davis2017': (
        Archive(
            'https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-480p.zip',
        ),
    ),
    'ade20k': (
        Archive(
            'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip',
            'ade',
        ),
    ),
}

#: Data sets behind a login: the steps to get there.
GATED = {
    'imagenet': """\
ImageNet-1k (ILSVRC2012, 156 GB) needs an account:
  1. Ask for access at https://image-net.org/download-images.php
  2. Download into {root}/imagenet:
       ILSVRC2012_img_train.tar      md5 1d675b47d978889d74fa0da5fadfb00e
       ILSVRC2012_img_val.tar        md5 29b22e2961454d5413ddabcf34fc5622
       ILSVRC2012_devkit_t12.tar.gz  md5 fa75699e90414af021442c21a62c3abf
  3. Verify and extract (train/ and val/ with a folder per class):
       python -c "from torchvision.datasets import ImageNet as I; \
[I('{root}/imagenet', split) for split in ('train', 'val')]"\
""",
    'bdd100k': """\
BDD100K needs an account:
  1. Log in at https://bdd-data.berkeley.edu and accept the license
  2. Download '100K Images' (5.3 GB, md5 5a0359c86a0b8713adab1eee9a3041cb) and
     'Detection 2020 Labels' (53 MB, md5 b86a3e1b7edbcad421b7dad2b3987c94)
  3. Extract both: {root}/bdd100k/images/100k/{{train,val}}, {root}/bdd100k/labels/det_20
  4. Convert the labels:
       for split in train val; do
         python tools/dataset_converters/bdd100k2coco.py \
{root}/bdd100k/labels/det_20/det_$split.json \\
           {root}/bdd100k/annotations/det_$split.json --images {root}/bdd100k/images/100k/$split
       done""",
    'cityscapes': """\
Cityscapes needs an account:
  1. Log in at https://www.cityscapes-dataset.com/downloads
  2. Download leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB)
  3. Extract both into {root}/cityscapes: leftImg8bit/ and gtFine/
  4. Write the masks of training ids (*_gtFine_labelTrainIds.png):
       pip install cityscapesscripts
       CITYSCAPES_DATASET={root}/cityscapes csCreateTrainIdLabelImgs""",
}


def fetch_dataset(name: str, root: Path, remove_archives: bool = False) -> None:
    """Downloads and extracts one data set; what is done already is left alone.

    Args:
        name (str): A key of :data:`DATASETS`.
        root (Path): Data folder. Archives are kept in ``downloads/`` below it.
        remove_archives (bool): Whether to remove each archive when it is extracted.
    """
    for archive in DATASETS[name]:
        file_name = archive.url.rpartition('/')[2]
        folder = root / archive.folder
        done = folder / f'.{file_name}.done'
        if done.exists():
            print(f'{file_name} is extracted in {folder} already (remove {done} to do it again)')
            continue
        path = download(archive.url, root / 'downloads' / file_name, archive.md5)
        count = extract(path, folder)
        done.touch()
        if remove_archives:
            path.unlink()
        print(f'{file_name}: {count:,} files in {folder}')


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description='Fetch data sets; interrupted, run it again and it goes on. docs/datasets.md '
        'shows the folders. Gated sets are explained.'
    )
    parser.add_argument('names', nargs='+', choices=[*DATASETS, *GATED], metavar='NAME')
    parser.add_argument('--root', type=Path, default=Path('data'), help='data folder (data)')
    parser.add_argument(
        '--remove-archives', action='store_true', help='remove archives once they are extracted'
    )
    parser.epilog = f'public: {", ".join(DATASETS)}; gated: {", ".join(GATED)}'
    args = parser.parse_args(arguments)
    for name in args.names:
        if name in GATED:
            print(GATED[name].format(root=args.root))
        else:
            fetch_dataset(name, args.root, args.remove_archives)
