"""Child registries of MMEngine's, scope ``dino_mm``.

Inside our configs (``default_scope = 'dino_mm'``) types are written bare and foreign ones as
``mmpretrain.X``; foreign configs write ``dino_mm.X`` after
``custom_imports = dict(imports=['dino_mm'])``.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

_CHECKPOINT = ['dino_mm.checkpoint']
_ENGINE = ['dino_mm.engine']
_DATASETS = ['dino_mm.datasets']
_MODELS = ['dino_mm.models']
_EVALUATION = ['dino_mm.evaluation']


def _child(name: str, parent: str, locations: list[str]) -> Registry:
    return Registry(
        name, parent=getattr(mmengine_registry, parent), scope='dino_mm', locations=locations
    )


RUNNERS = _child('runner', 'RUNNERS', _ENGINE)
RUNNER_CONSTRUCTORS = _child('runner constructor', 'RUNNER_CONSTRUCTORS', _ENGINE)
LOOPS = _child('loop', 'LOOPS', _ENGINE)
HOOKS = _child('hook', 'HOOKS', _ENGINE)
LOG_PROCESSORS = _child('log processor', 'LOG_PROCESSORS', _ENGINE)
OPTIMIZERS = _child('optimizer', 'OPTIMIZERS', _ENGINE)
OPTIM_WRAPPERS = _child('optimizer wrapper', 'OPTIM_WRAPPERS', _ENGINE)
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', 'OPTIM_WRAPPER_CONSTRUCTORS', _ENGINE
)
PARAM_SCHEDULERS = _child('parameter scheduler', 'PARAM_SCHEDULERS', _ENGINE)
STRATEGIES = _child('strategy', 'STRATEGIES', _ENGINE)
DATASETS = _child('dataset', 'DATASETS', _DATASETS)
DATA_SAMPLERS = _child('data sampler', 'DATA_SAMPLERS', _DATASETS)
TRANSFORMS = _child('transform', 'TRANSFORMS', _DATASETS)
FUNCTIONS = _child('function', 'FUNCTIONS', _DATASETS)
MODELS = _child('model', 'MODELS', _MODELS)
MODEL_WRAPPERS = _child('model wrapper', 'MODEL_WRAPPERS', _MODELS)
WEIGHT_INITIALIZERS = _child('weight initializer', 'WEIGHT_INITIALIZERS', _CHECKPOINT)
METRICS = _child('metric', 'METRICS', _EVALUATION)
EVALUATOR = _child('evaluator', 'EVALUATOR', _EVALUATION)
TASK_UTILS = _child('task util', 'TASK_UTILS', _MODELS)
INFERENCERS = _child('inferencer', 'INFERENCERS', _EVALUATION)
VISUALIZERS = _child('visualizer', 'VISUALIZERS', _ENGINE)
VISBACKENDS = _child('vis_backend', 'VISBACKENDS', _ENGINE)
