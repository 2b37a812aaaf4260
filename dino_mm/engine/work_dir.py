"""The folder of a run: its checkpoints, and the lock that keeps two runs from writing one folder."""

import contextlib
import os
import re
import socket
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from dino_mm.checkpoint.files import CheckpointError, read_checkpoint
from dino_mm.utils.files import replaced

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

#: Names of checkpoints that a run goes on from, by what the number in them counts.
PATTERNS = (r'epoch_(\d+)\.pth', r'(?:interrupted_)?iter_(\d+)\.pth')
POINTER = 'last_checkpoint'
LOCK = '.lock'


class Found(NamedTuple):
    """A checkpoint to go on from.

    Attributes:
        path: Where it is.
        iteration: After which it was saved.
        passed_over: Newer files, each with what is wrong with it.
    """

    path: Path
    iteration: int
    passed_over: list[str]


def families_of(work_dir: str | os.PathLike) -> list[list[Path]]:
    """Checkpoints of a run in its folder: those numbered by epochs, and those by iterations, the
    newest first."""
    families = []
    for pattern in PATTERNS:
        found = [(re.fullmatch(pattern, path.name), path) for path in Path(work_dir).glob('*.pth')]
        numbered = [(int(match[1]), path) for match, path in found if match]
        families.append([path for _, path in sorted(numbered, reverse=True)])
    return families


def iteration_of(path: Path) -> int:
    """After which iteration a checkpoint was saved, if its contents are what was written.

    ``torch.save`` stores a checksum (CRC-32) of each tensor and of the rest, which are compared.

    Raises:
        CheckpointError: The file is damaged, or no checkpoint of a run.
    """
    try:
        with zipfile.ZipFile(path) as file:
            changed = file.testzip()
        if changed is not None:
            raise CheckpointError(f'{path} has changed since it was written ({changed})')
        return read_checkpoint(path)['meta']['iter']
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CheckpointError(f'{path} is cut short or damaged ({error})') from error
    except (KeyError, TypeError) as error:
        raise CheckpointError(f'{path} does not say when it was saved') from error
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read ({error})') from error


def newest_checkpoint(work_dir: str | os.PathLike) -> Found | None:
    """The newest whole checkpoint in a folder, whatever ``last_checkpoint`` says; None where there
    is no checkpoint.

    Raises:
        CheckpointError: There are checkpoints, and none of them is whole.
    """
    newest, passed_over = None, []
    for family in families_of(work_dir):
        for path in family:
            try:
                iteration = iteration_of(path)
            except CheckpointError as error:
                passed_over.append(str(error))
                continue
            if newest is None or iteration > newest[1]:
                newest = path, iteration
            break
    if newest is not None:
        return Found(*newest, passed_over)
    if passed_over:
        raise CheckpointError(
            f'no checkpoint in {work_dir} is whole: {"; ".join(passed_over)}. Move them away to '
            'start anew'
        )
    return None


def point_to(work_dir: str | os.PathLike, checkpoint: str | os.PathLike) -> None:
    """Writes the file by which tools of MMEngine find the latest checkpoint."""
    with replaced(Path(work_dir, POINTER)) as scratch:
        scratch.write_text(os.fspath(checkpoint))


def refuse_to_overwrite(work_dir: str | os.PathLike) -> None:
    """Stops a run that would begin over the checkpoints of another one.

    Raises:
        FileExistsError: There are checkpoints; the message has the options to choose from.
    """
    found = [path.name for family in families_of(work_dir) for path in family]
    if found:
        raise FileExistsError(
            f'{work_dir} holds checkpoints of a run ({", ".join(found[:3])}): add --resume to go on '
            'with it, --overwrite to remove them and start anew, or --work-dir for another folder'
        )


def remove_checkpoints(work_dir: str | os.PathLike) -> None:
    """Removes all checkpoints of a run, so that nothing goes on from them by mistake."""
    for path in [*chain(*families_of(work_dir)), Path(work_dir, POINTER)]:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(work_dir: str | os.PathLike) -> Iterator[None]:
    """Holds the folder of a run for this process alone. The lock ends with the process.

    Where the file system knows no locks, there is none.

    Raises:
        BlockingIOError: Another process holds it; the message names it.
    """
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    with open(folder / LOCK, 'a+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BlockingIOError(
                f'another run writes to {work_dir} ({file.read().strip() or "unknown"}): end it, or '
                'give this one another --work-dir'
            ) from None
        except OSError:
            yield
            return
        for left_over in folder.glob('.*.[0-9]*.pth'):  # of a run that was killed as it saved
            left_over.unlink()
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        yield
