"""Region similarity J and boundary accuracy F of video object segmentation (DAVIS)."""

import cv2
import numpy as np


def region_similarity(annotation: np.ndarray, segmentation: np.ndarray) -> np.ndarray:
    """Jaccard index per frame; one where both masks are empty.

    Args:
        annotation (np.ndarray): (..., H, W) bool.
        segmentation (np.ndarray): Same shape.

    Returns:
        np.ndarray: (...) float64.

    Source: ``db_eval_iou`` of davis2017-evaluation.
    """
    annotation, segmentation = _pair(annotation, segmentation)
    intersection = (annotation & segmentation).sum(axis=(-2, -1))
    union = (annotation | segmentation).sum(axis=(-2, -1))
    return np.divide(intersection, union, out=np.ones(union.shape), where=union > 0)


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Boundary (H, W) bool, one pixel wide.

    A pixel belongs to it if the pixel below, to the right, or below to the right is different.
    """
    mask = mask.astype(bool)
    padded = np.pad(mask, ((0, 1), (0, 1)), mode='edge')
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask ^ right) | (mask ^ below) | (mask ^ diagonal)


def boundary_accuracy(
    annotation: np.ndarray, segmentation: np.ndarray, tolerance: float = 0.008
) -> float:
    """F-measure of the boundaries of one frame.

    Boundary pixels count as found if the other boundary passes within a disk whose radius is
    ``tolerance`` times the image diagonal, rounded up. One where neither mask has a boundary.

    Args:
        annotation (np.ndarray): (H, W) bool.
        segmentation (np.ndarray): (H, W) bool.
        tolerance (float): Fraction of the diagonal.

    Source: ``f_measure`` of davis2017-evaluation.
    """
    annotation, segmentation = _pair(annotation, segmentation)
    radius = int(np.ceil(tolerance * np.hypot(*annotation.shape)))
    offsets = np.arange(-radius, radius + 1) ** 2
    disk = (offsets[:, None] + offsets <= radius**2).astype(np.uint8)
    wanted, found = boundary_map(annotation), boundary_map(segmentation)
    near_wanted, near_found = (cv2.dilate(b.astype(np.uint8), disk) > 0 for b in (wanted, found))
    precision = (found & near_wanted).sum() / found.sum() if found.any() else 1.0
    recall = (wanted & near_found).sum() / wanted.sum() if wanted.any() else 1.0
    if precision + recall == 0:
        return 0.0
    return float(2 * precision * recall / (precision + recall))


def sequence_statistics(values: np.ndarray) -> dict[str, float]:
    """Mean, recall and decay of per-frame values (T,).

    Recall is the fraction of frames above one half. Decay is the mean of the first quarter of
    frames minus that of the last quarter; neighboring quarters share a frame.

    Source: ``db_statistics`` of davis2017-evaluation, without its overflow at 256 frames.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f'statistics need frames: shape {values.shape}')
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[3] : ends[4] + 1]
    return dict(
        mean=float(values.mean()),
        recall=float((values > 0.5).mean()),
        decay=float(first.mean() - last.mean()),
    )


def object_scores(annotation: np.ndarray, segmentation: np.ndarray) -> dict[str, dict[str, float]]:
    """Statistics of J and F of one object over all given frames, each mask (T, H, W) bool."""
    boundary = [boundary_accuracy(*pair) for pair in zip(annotation, segmentation, strict=True)]
    return dict(
        J=sequence_statistics(region_similarity(annotation, segmentation)),
        F=sequence_statistics(np.array(boundary)),
    )


def _pair(annotation: np.ndarray, segmentation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    annotation, segmentation = np.asarray(annotation), np.asarray(segmentation)
    if annotation.shape != segmentation.shape:
        raise ValueError(f'annotation {annotation.shape} but segmentation {segmentation.shape}')
    return annotation.astype(bool), segmentation.astype(bool)
