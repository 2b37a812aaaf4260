"""Puts a stand-in where mmcv looks for its compiled operators."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from mmengine.logging import print_log

from . import boxes, focal_loss, regions, sampling

EXTENSION = 'mmcv._ext'


class FallbackExtension(ModuleType):
    """Module ``mmcv._ext``: the operators of this package, and a clear error for the others.

    mmcv asks for every name when it is imported, so that the error has to wait for the call.
    Operators keep the names and arguments of the compiled ones and, as these do, write into the
    tensors that mmcv's autograd functions hand over.
    """

    def __init__(self) -> None:
        super().__init__(EXTENSION, 'PyTorch forms of operators that mmcv has compiled.')
        # No loader: mmcv.utils.ext_loader.check_ops_exist keeps saying that nothing is compiled.
        self.__spec__ = ModuleSpec(EXTENSION, loader=None)
        for module in (boxes, focal_loss, regions, sampling):
            vars(self).update({name: getattr(module, name) for name in module.__all__})
        self.get_compiler_version = self.get_compiling_cuda_version = lambda: 'not compiled'

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(f'module {EXTENSION!r} has no attribute {name!r}')

        def unanswered(*args, **kwargs):
            raise NotImplementedError(
                f'mmcv operator {name!r} has no answer in torchvision or PyTorch: install mmcv '
                'with compiled operators (a wheel for your PyTorch, or from source with '
                'MMCV_WITH_OPS=1, see https://mmcv.readthedocs.io/en/latest/get_started/'
                'installation.html), or choose a config without it'
            )

        return unanswered


def install_fallback_ops() -> bool:
    """Lets torchvision and PyTorch answer mmcv's operators where mmcv has no compiled ones.

    Compiled operators are left untouched. May be called again, and after a failed import of
    ``mmdet.models`` or ``mmcv.ops``.

    Returns:
        bool: Whether the fallback answers.
    """
    if EXTENSION not in sys.modules:
        if importlib.util.find_spec(EXTENSION) is not None:
            return False
        sys.modules[EXTENSION] = FallbackExtension()
        print_log('mmcv has no compiled operators: torchvision and PyTorch answer.', 'current')
    if not isinstance(sys.modules[EXTENSION], FallbackExtension):
        return False
    _replace_placeholders()
    return True


def _replace_placeholders() -> None:
    """Hands the operators to mmdet's modules that were imported before they could be had.

    OneDL's mmdet replaces what it cannot import from mmcv.ops by placeholders that raise, and
    mmseg imports a part of mmdet where it is installed.
    """
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith('mmdet.'):
            continue
        for name, value in list(vars(module).items()):
            function = value.__init__ if isinstance(value, type) else value
            if getattr(value, '__module__', None) == module_name and any(
                'requires mmcv to be compiled' in str(constant)
                for constant in getattr(getattr(function, '__code__', None), 'co_consts', ())
            ):
                setattr(module, name, _mmcv_operator(name.removeprefix('_')))


def _mmcv_operator(name: str):
    from mmcv import ops
    from mmcv.ops import merge_cells  # not among the names of mmcv.ops

    return getattr(ops, name, None) or getattr(merge_cells, name)
