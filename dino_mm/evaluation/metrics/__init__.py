from .knn import KNNMetric
from .linear import LinearMetric
from .retrieval import CopyDetectionMetric, RetrievalMetric
from .video_segmentation import DAVISMetric

__all__ = ['CopyDetectionMetric', 'DAVISMetric', 'KNNMetric', 'LinearMetric', 'RetrievalMetric']
