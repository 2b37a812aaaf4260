"""Where curves, verdicts and pictures of a run go besides its work dir: TensorBoard and the like."""

import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import print_log
from mmengine.visualization import LocalVisBackend, Visualizer
from mmengine.visualization.vis_backend import (
    BaseVisBackend,
    MLflowVisBackend,
    TensorboardVisBackend,
    WandbVisBackend,
    force_init_env,
)
from PIL import Image

from dino_mm.registry import VISBACKENDS, VISUALIZERS
from dino_mm.utils.files import plain

#: Where services that sort runs by project put those of this package.
PROJECT = 'dino_mm'


@VISBACKENDS.register_module()
class TrackioVisBackend(BaseVisBackend):
    """Scalars, pictures and the config of a run in `trackio <https://github.com/gradio-app/trackio>`_.

    Args:
        save_dir (str): Not used: trackio has a folder of its own.
        init_kwargs (dict, optional): Of ``trackio.init``, such as ``project`` and ``name``.
    """

    def __init__(self, save_dir: str, init_kwargs: dict | None = None) -> None:
        super().__init__(save_dir)
        self.init_kwargs = dict(project=PROJECT) | (init_kwargs or {})

    def _init_env(self) -> None:
        import trackio

        self.trackio = trackio
        self.run = trackio.init(**self.init_kwargs)

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The run of trackio."""
        return self.run

    def add_config(self, config: Config, **kwargs) -> None:
        self.init_kwargs.setdefault('config', plain(config.to_dict()))

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        self.experiment.log({name: self.trackio.Image(image)}, step=step)

    def add_scalar(self, name: str, value: float, step: int = 0, **kwargs) -> None:
        self.add_scalars({name: value}, step)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path=None, **kwargs) -> None:
        self.experiment.log(plain(scalar_dict), step=step)

    def close(self) -> None:
        if self._env_initialized:
            self.run.finish()


@dataclass(frozen=True)
class Run:
    """What trackers are told about a run.

    Attributes:
        folder: Its work dir.
        name: Name of the work dir, and the time of its start.
    """

    folder: Path
    name: str


def tensorboard(run: Run) -> dict:
    return dict(type='TensorboardVisBackend')


def wandb(run: Run) -> dict:
    """Curves over iterations, since W&B by itself counts calls."""
    return dict(
        type='WandbVisBackend',
        init_kwargs=dict(project=PROJECT, name=run.name),
        define_metric_cfg=[dict(name='*', step_metric='iter')],
    )


def mlflow(run: Run) -> dict:
    """At the server that MLflow's own variable names, else in a database in the work dir.

    MLflow refuses the plain files that MMEngine would write by default.
    """
    folder = run.folder.absolute()
    server = os.environ.get('MLFLOW_TRACKING_URI')
    local = dict(
        tracking_uri=f'sqlite:///{folder}/mlflow.db',
        artifact_location=f'{folder}/mlflow',
        artifact_suffix=(),  # logs are beside them already
    )
    where = dict(tracking_uri=server) if server else local
    return dict(type='MLflowVisBackend', exp_name=PROJECT, run_name=run.name, **where)


def trackio(run: Run) -> dict:
    return dict(type='dino_mm.TrackioVisBackend', init_kwargs=dict(name=run.name))


#: What makes the config of a backend, by the name of the library.
TRACKERS = dict(tensorboard=tensorboard, wandb=wandb, mlflow=mlflow, trackio=trackio)


def require(library: str) -> None:
    """Refuses a tracker that is unknown or not installed.

    Raises:
        ValueError: Unknown.
        ImportError: Not installed; the message has the command that mends it.
    """
    if library not in TRACKERS:
        known = ', '.join(TRACKERS)
        raise ValueError(f'visualizer.log_to: {library!r} is none of {known}')
    if importlib.util.find_spec(library) is None:
        raise ImportError(
            f'visualizer.log_to asks for {library}, which is not installed: pip install {library}'
        )


@VISUALIZERS.register_module()
class TrackingVisualizer(Visualizer):
    """MMEngine's Visualizer with trackers by name.

    Args:
        log_to (str | list[str], optional): Any of ``tensorboard``, ``wandb``, ``mlflow`` and
            ``trackio``; an empty list for none. By default TensorBoard where it is installed, if
            ``vis_backends`` names no tracker.
        vis_backends (list[dict], optional): Backends with options of their own.
        kwargs: Those of MMEngine's Visualizer.

    Raises:
        ImportError: A tracker that ``log_to`` names is not installed.
        ValueError: ``log_to`` names none.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        log_to: str | Iterable[str] | None = None,
        vis_backends: list[dict] | None = None,
        save_dir: str | None = None,
        **kwargs,
    ) -> None:
        backends = list(vis_backends or [])
        if log_to is None:
            log_to = default_trackers(backends, save_dir)
        folder = Path(save_dir or '.')  # of this start, in the work dir
        run = Run(folder.parent, f'{folder.absolute().parent.name} {folder.name}')
        for library in [log_to] if isinstance(log_to, str) else log_to:
            require(library)
            backends.append(TRACKERS[library](run))
        super().__init__(name, vis_backends=backends, save_dir=save_dir, **kwargs)


def default_trackers(backends: list[dict], save_dir: str | None) -> list[str]:
    """TensorBoard where it is installed, unless a config names trackers itself; says so."""
    if any(not backend['type'].endswith('LocalVisBackend') for backend in backends):
        return []
    if importlib.util.find_spec('tensorboard') is None:
        print_log(
            'TensorBoard would show curves while training: pip install tensorboard', 'current'
        )
        return []
    if save_dir:
        print_log(f'Curves: tensorboard --logdir {Path(save_dir).parent}', 'current')
    return ['tensorboard']


def trackers_of(visualizer: Visualizer) -> list[BaseVisBackend]:
    """Backends other than the files in the work dir, where pictures lie already."""
    backends = visualizer._vis_backends.values()
    return [backend for backend in backends if not isinstance(backend, LocalVisBackend)]


@master_only
def track_text(visualizer: Visualizer, name: str, text: str, step: int) -> None:
    """Writes a text to each tracker that takes some.

    Args:
        visualizer (Visualizer): Any one.
        name (str): What the text is.
        text (str): The text.
        step (int): Iterations that the run has made.
    """
    for tracker in trackers_of(visualizer):
        if isinstance(tracker, TensorboardVisBackend):
            tracker.experiment.add_text(name, text, step)
        elif isinstance(tracker, WandbVisBackend):
            tracker.experiment.log({name: text, 'iter': step})
        elif isinstance(tracker, MLflowVisBackend):
            tracker.experiment.set_tag(name, text)
        elif isinstance(tracker, TrackioVisBackend):
            tracker.experiment.log({name: text}, step=step)


@master_only
def track_pictures(visualizer: Visualizer, files: Mapping[str, str], step: int) -> None:
    """Shows picture files in each tracker.

    Args:
        visualizer (Visualizer): Any one.
        files (Mapping): Names and files; those that are no ``.png`` are left out.
        step (int): Iterations that the run has made.
    """
    trackers = trackers_of(visualizer)
    for path in files.values() if trackers else ():
        if path.endswith('.png'):
            with Image.open(path) as image:
                picture = np.asarray(image.convert('RGB'))  # (H, W, 3)
            for tracker in trackers:
                tracker.add_image(os.path.basename(path), picture, step)
