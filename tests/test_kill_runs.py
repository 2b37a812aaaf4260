"""The script that kills runs, in short."""

from . import kill_runs


def test_a_run_that_is_killed_ends_as_if_it_were_not() -> None:
    options = ['--kills', '1', '--at', 'checkpoint', '--seconds', '0', '--epochs', '2']
    counts = kill_runs.main(options)
    assert counts == dict(kills=1, runs=1, failed_resumes=0, unequal_ends=0)
