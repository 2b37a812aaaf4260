from .knn import KNNMetric

__all__ = ['KNNMetric']
