import json
import time

import pytest
import torch

from dino_mm.testing.benchmark import harness

KEYS = {'benchmark', 'machine', 'versions', 'variants', 'ratios'}


def test_variants_take_turns_and_are_timed_after_a_warm_up() -> None:
    calls = []
    variants = {name: lambda name=name: calls.append(name) for name in ('ours', 'plain')}
    harness.measure('toy', variants, 'cpu', repeats=3)
    assert calls == ['ours'] * 2 + ['plain'] * 2 + ['ours', 'plain'] * 3


def test_result_has_the_agreed_form(tmp_path, capsys) -> None:
    variants = dict(ours=lambda: time.sleep(0.001), plain=lambda: time.sleep(0.02))
    result = harness.finish(harness.measure('toy', variants, 'cpu', repeats=2), tmp_path / 'o.json')
    assert json.loads((tmp_path / 'o.json').read_text()) == result
    assert set(result) == KEYS
    for figures in result['variants'].values():
        assert set(figures) == {'median', 'min', 'max', 'unit', 'peak_memory_mib'}
        assert figures['unit'] == 'ms' and figures['min'] <= figures['median'] <= figures['max']
    assert result['ratios']['ours_over_plain'] > 3  # faster is more than 1, though it took less
    assert result['versions']['torch'] == torch.__version__ and 'cpu' in result['machine']
    printed = capsys.readouterr().out
    assert 'plain' in printed and 'ours_over_plain' in printed


def test_rates_and_returned_values() -> None:
    timed = harness.measure('toy', dict(plain=lambda: time.sleep(0.01)), 'cpu', 1, items=5)
    figures = timed['variants']['plain']
    assert figures['unit'] == 'images/s' and 50 < figures['median'] < 501
    values = iter([0.0, 0.0, 3.0, 1.0, 2.0])
    own = harness.measure('toy', dict(plain=lambda: next(values)), 'cpu', 3, unit='GB/s')
    assert own['variants']['plain']['median'] == 2 and own['variants']['plain']['max'] == 3


def test_ratios_by_direction_of_the_unit_and_by_baseline() -> None:
    def figures(median: float, unit: str, peak: float) -> dict:
        return dict(median=median, unit=unit, peak_memory_mib=peak)

    variants = dict(
        ours=figures(8.0, 'images/s', 1.0),
        plain=figures(2.0, 'images/s', 3.0),
        ours_loader=figures(9.0, 'images/s', 0.0),
        plain_loader=figures(3.0, 'images/s', 1.0),
    )
    found = harness.ratios(variants, dict(ours_loader='plain_loader', plain_loader='gone'))
    assert found == dict(
        ours_over_plain=4.0, memory_ours_over_plain=3.0, ours_loader_over_plain_loader=3.0
    )
    assert harness.ratios(variants, {}, compare_memory=False)['ours_over_plain'] == 4.0
    assert 'memory_ours_over_plain' not in harness.ratios(variants, {}, compare_memory=False)


def test_peak_memory_counts_what_is_alive_at_once() -> None:
    def call() -> None:
        for _ in range(3):
            first = torch.empty(2**20)  # 4 MiB
            del first
        second, third = torch.empty(2**20), torch.empty(2**19)
        del second, third

    assert harness.peak_memory(call, 'cpu') == pytest.approx(6, abs=0.1)
    held = harness.measure('toy', dict(plain=call), 'cpu', 1, memory=dict(plain=10))
    assert held['variants']['plain']['peak_memory_mib'] == pytest.approx(16, abs=0.1)


def test_common_options(tmp_path) -> None:
    threads = torch.get_num_threads()
    parse = harness.parse
    assert parse(harness.parser(''), ['--short']).repeats == 3
    assert parse(harness.parser(''), []).repeats == 7
    assert parse(harness.parser(''), ['--short', '--repeats', '2']).repeats == 2
    parse(harness.parser(''), ['--threads', '1'])
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)


def test_reference_folder(tmp_path) -> None:
    (tmp_path / 'published_toy.py').write_text('ANSWER = 42')
    assert harness.import_reference(tmp_path, 'published_toy').ANSWER == 42
    with pytest.raises(FileNotFoundError, match='main_dino.py.*checkout'):
        harness.import_reference(tmp_path, 'main_dino')
