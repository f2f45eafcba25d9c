"""The statistics of ticks say what the ticks did."""

import tracemalloc

import numpy as np
import pytest

from worldagen.errors import ConfigError
from worldagen.jitter import TickJitter

MS = 1_000_000


def ticked(jitter: TickJitter, *intervals_ms: float) -> TickJitter:
    now_ms = 0.0
    jitter.tick(0)
    for interval_ms in intervals_ms:
        now_ms += interval_ms
        jitter.tick(round(now_ms * MS))
    return jitter


def test_there_is_nothing_to_say_before_the_second_tick():
    jitter = TickJitter(0.01)
    assert jitter.report() is None
    jitter.tick(0)
    assert jitter.report() is None


def test_an_even_loop_has_no_jitter():
    report = ticked(TickJitter(0.01), *[10] * 20).report()
    assert (report.p50_s, report.p99_s, report.rate_hz) == pytest.approx((0.0, 0.0, 100), abs=1e-9)
    assert report.max_s == pytest.approx(0.0, abs=1e-12)
    assert (report.missed, report.intervals) == (0, 20)


def test_late_and_early_ticks_show():
    report = ticked(TickJitter(0.01), 10, 16, 4, 10, 15, 10).report()
    assert report.max_s == pytest.approx(0.006)
    assert report.missed == 1  # one and a half periods are not yet a tick missed
    assert report.p50_s == pytest.approx(0.0025)
    assert report.rate_hz == pytest.approx(6 / 0.065)


def test_percentiles_are_those_of_numpy():
    intervals = np.random.default_rng(0).uniform(8, 12, 500)
    report = ticked(TickJitter(0.01), *intervals).report()
    assert (report.p50_s, report.p99_s) == pytest.approx(
        tuple(np.percentile(np.abs(intervals * 1e-3 - 0.01), (50, 99))), abs=2e-9
    )


def test_only_the_newest_intervals_count():
    report = ticked(TickJitter(0.01, window=5), 500, *[10] * 5).report()
    assert (report.intervals, report.missed) == (5, 0)
    assert report.max_s == pytest.approx(0.0, abs=1e-12)


def test_a_pause_is_no_interval():
    jitter = ticked(TickJitter(0.01), 10, 10)
    jitter.reset()
    jitter.tick(9000 * MS)
    assert jitter.report() is None
    jitter.tick(9010 * MS)
    assert jitter.report().intervals == 1


def test_a_tick_keeps_no_memory():
    jitter = ticked(TickJitter(0.01, window=100), *[10] * 200)
    times = list(range(10**10, 10**10 + 1000))
    tracemalloc.start()
    for time in times:
        jitter.tick(time)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1000  # bytes, over a thousand ticks


def test_a_period_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"ticks of 0\.0 s over a window of 1000"):
        TickJitter(0.0)
