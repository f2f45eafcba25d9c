"""Where the time goes from a picture to the first command: stages add up, and what cannot be is named."""

import math
import tracemalloc

import pytest

from worldagen.errors import ConfigError
from worldagen.latency import STAGES, LatencyWindow, Trace, as_json, durations_s, format_table, problems

MS = 1_000_000
NOON_NS = 1_700_000_000_000_000_000
# captured, received, ..., commanded: in ms after the picture
PASSED = (0, 3, 4, 6, 10, 30, 50, 51, 53, 58)


def trace(sequence: int = 1, after_ms=PASSED) -> Trace:
    return Trace(sequence, *(NOON_NS + ms * MS for ms in after_ms))


def by_name(window: LatencyWindow):
    return {report.name: report for report in window.report()}


def test_stages_stand_one_after_the_other_and_add_up_to_the_whole():
    took = dict(zip((stage.name for stage in STAGES), durations_s(trace()), strict=True))
    told = [
        took[name] for name in ("camera", "decode", "wait", "preprocess", "encode", "backbone", "publish", "deliver", "command")
    ]
    assert told == pytest.approx([0.003, 0.001, 0.002, 0.004, 0.020, 0.020, 0.001, 0.002, 0.005])
    assert took["total"] == pytest.approx(sum(told)) == pytest.approx(0.058)
    assert took["overhead"] == pytest.approx(0.058 - 0.040)
    assert took["inside"] == pytest.approx(0.055)


def test_a_step_that_was_not_passed_leaves_its_stages_out_and_no_others():
    window = LatencyWindow()
    window.add(trace()._replace(encoded_ns=0))
    told = by_name(window)
    assert [name for name, report in told.items() if report.count == 0] == ["encode", "backbone"]
    assert math.isnan(told["encode"].p50_s) and told["total"].p50_s == pytest.approx(0.058)


def test_percentiles_are_those_of_the_newest_traces():
    window = LatencyWindow(window=101)
    for sequence in range(300):
        window.add(trace(sequence)._replace(captured_ns=NOON_NS - 9000 * MS))
    for sequence in range(101):  # the command comes 0 to 100 ms after the chunk
        window.add(trace(sequence)._replace(commanded_ns=NOON_NS + (53 + sequence) * MS))
    told = by_name(window)["command"]
    assert (window.count, told.count) == (401, 101)
    assert [told.p50_s, told.p90_s, told.p99_s, told.max_s] == pytest.approx([0.050, 0.090, 0.099, 0.100])
    assert by_name(window)["camera"].max_s == pytest.approx(0.003)  # those before have left the window


def test_a_camera_whose_clock_is_ahead_is_named_and_stays_in_the_figures():
    window = LatencyWindow()
    window.add(trace())
    window.add(trace()._replace(captured_ns=NOON_NS + 10 * MS))
    told = by_name(window)["camera"]
    assert (told.count, told.negative, told.far) == (2, 1, 0)
    assert told.p50_s == pytest.approx(-0.002)
    assert problems(window.report()) == ["camera: 1 of 2 took less than no time: the clocks of camera and policy differ"]


def test_stamps_of_another_day_are_counted_and_not_averaged():
    window = LatencyWindow()
    window.add(trace()._replace(captured_ns=5 * MS))  # simulation time
    told = by_name(window)
    assert [(name, report.far) for name, report in told.items() if report.far] == [("camera", 1), ("total", 1), ("overhead", 1)]
    assert told["camera"].count == 0 and told["inside"].p50_s == pytest.approx(0.055)
    assert "simulation time" in problems(window.report())[0]


def test_the_table_shows_every_stage_and_marks_what_cannot_be():
    window = LatencyWindow()
    window.add(trace()._replace(commanded_ns=NOON_NS + 52 * MS, encoded_ns=0))
    lines = format_table(window.report()).splitlines()
    assert [line.split()[0].rstrip("*") for line in lines[1 : 1 + len(STAGES)]] == [stage.name for stage in STAGES]
    command = next(line for line in lines if line.startswith("command*"))
    assert command.split()[1:6] == ["-1.0", "-1.0", "-1.0", "-1.0", "1"]
    assert next(line for line in lines if line.startswith("encode ")).split()[1:6] == ["-", "-", "-", "-", "0"]
    assert lines[-1] == "* command: 1 of 1 took less than no time: the system clock was set"


def test_for_programs_figures_are_milliseconds_and_null_where_there_are_none():
    window = LatencyWindow()
    window.add(trace()._replace(begun_ns=0))
    told = as_json(window.report())
    assert told["command"] == {"p50_ms": 5.0, "p90_ms": 5.0, "p99_ms": 5.0, "max_ms": 5.0, "count": 1, "negative": 0, "far": 0}
    assert told["wait"]["p50_ms"] is None and told["wait"]["count"] == 0


def test_adding_keeps_nothing():
    window, one = LatencyWindow(window=16), trace()
    for _ in range(20):
        window.add(one)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        window.add(one)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 1000


def test_a_window_without_room_is_refused():
    with pytest.raises(ConfigError, match="a window of 0 traces"):
        LatencyWindow(0)
