"""What reaches the screen, what only the log file, and how a line looks."""

import logging
import sys
import warnings

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from dino_mm.engine.runner import PlainRunner
from dino_mm.engine.screen import ScreenFilter, ScreenFormatter, clear_screen_of
from dino_mm.utils.quiet import quiet_imports

MMENGINE = '/somewhere/site-packages/mmengine'


def record(path: str, message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord('dino', level, path, 1, message, None, None)


@pytest.mark.parametrize(
    'path, message, level, shown',
    [
        ('/home/mmengine_user/dino_mm/engine/hooks/report_hook.py', 'DINO trains', 20, True),
        (f'{MMENGINE}/hooks/checkpoint_hook.py', 'Saving checkpoint at 1 epochs', 20, True),
        (f'{MMENGINE}/hooks/logger_hook.py', 'Exp name: quickstart', 20, False),
        (f'{MMENGINE}/logging/logger.py', 'passed over: 3 .txt', 20, True),
        (f'{MMENGINE}/runner/runner.py', 'Hooks will be executed in this order', 20, False),
        (f'{MMENGINE}/runner/runner.py', 'the loss is odd', 30, True),
        (f'{MMENGINE}/runner/runner.py', 'this is deprecated', 30, False),
    ],
)
def test_which_lines_are_shown(path, message, level, shown) -> None:
    assert ScreenFilter().filter(record(path, message, level)) is shown


def test_a_line_has_the_time_and_a_level_only_where_it_matters() -> None:
    form = ScreenFormatter().format
    plain = form(record('a.py', 'step 1  loss 2'))
    assert plain[8:] == '  step 1  loss 2' and plain[2] == plain[5] == ':'
    assert form(record('a.py', 'odd  loss', logging.WARNING))[8:] == '  Warning: odd  loss'


def test_the_log_file_stays_complete(tmp_path, capsys) -> None:
    logger = MMLogger('screen_test', logger_name='screen_test', log_file=str(tmp_path / 'log.txt'))
    clear_screen_of(logger)
    logger.handle(record(f'{MMENGINE}/runner/runner.py', 'a list of hooks'))
    logger.handle(record('/dino_mm/report.py', 'a picture'))
    for handler in logger.handlers:
        handler.flush()
    screen = ''.join(capsys.readouterr())
    assert 'a picture' in screen and 'a list of hooks' not in screen
    written = (tmp_path / 'log.txt').read_text()
    assert 'a picture' in written and 'a list of hooks' in written


def test_imports_are_quiet_but_their_errors_are_not(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'noisy_package.py').write_text(
        'import sys, warnings\n'
        'from mmengine.logging import print_log\n'
        'print("hello")\n'
        'warnings.warn("old")\n'
        'print_log("not found", "current", 30)\n'
    )
    (tmp_path / 'broken_package.py').write_text('import nowhere_to_be_found\n')
    levels = [handler.level for handler in MMLogger.get_current_instance().handlers]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        with quiet_imports():
            __import__('noisy_package')
        with pytest.raises(ModuleNotFoundError, match='nowhere'), quiet_imports():
            __import__('broken_package')
    assert 'noisy_package' in sys.modules and not said
    assert ''.join(capsys.readouterr()) == ''
    assert [handler.level for handler in MMLogger.get_current_instance().handlers] == levels
    print('heard again')
    assert 'heard again' in capsys.readouterr().out


@pytest.mark.parametrize('folder, written', [('.', 'whole_recipe.py'), ('own', 'recipe.py')])
def test_the_config_of_a_run_is_not_written_over_its_source(tmp_path, folder, written) -> None:
    text = '# my reasons\nlr = 1\n'
    source = tmp_path / folder / 'recipe.py'
    source.parent.mkdir(exist_ok=True)
    source.write_text(text)
    runner = PlainRunner.__new__(PlainRunner)
    runner._work_dir, runner.cfg = str(tmp_path), Config.fromfile(source)
    runner.dump_config()
    assert source.read_text() == text
    assert Config.fromfile(tmp_path / written).lr == 1
