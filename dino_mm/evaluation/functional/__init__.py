from .attention_mask import attention_mask, head_jaccards
from .copy_detection import (
    copy_descriptor,
    copy_detection_aps,
    gem_pool,
    learn_whitening,
    whiten,
)
from .davis_jf import boundary_accuracy, object_scores, region_similarity, sequence_statistics
from .finite import require_finite
from .knn import knn_accuracy
from .label_propagation import labels_to_mask, propagate_labels
from .linear_probe import fit_linear_heads, linear_accuracy
from .logistic import logistic_accuracy
from .representation import effective_rank, mean_cosine, paired_cosine, self_retrieval
from .retrieval import (
    average_precision,
    multi_scale_descriptor,
    rank_similarities,
    retrieval_scores,
)

__all__ = [
    'attention_mask',
    'average_precision',
    'boundary_accuracy',
    'copy_descriptor',
    'copy_detection_aps',
    'effective_rank',
    'fit_linear_heads',
    'gem_pool',
    'head_jaccards',
    'knn_accuracy',
    'labels_to_mask',
    'learn_whitening',
    'linear_accuracy',
    'logistic_accuracy',
    'mean_cosine',
    'multi_scale_descriptor',
    'object_scores',
    'paired_cosine',
    'propagate_labels',
    'rank_similarities',
    'region_similarity',
    'require_finite',
    'retrieval_scores',
    'self_retrieval',
    'sequence_statistics',
    'whiten',
]
