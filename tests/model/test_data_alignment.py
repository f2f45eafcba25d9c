"""Which sample belongs to which instant: each rule by hand, and the nearest one as the running policy finds it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldagen.assembly import REMEMBERED_SAMPLES, Assembler
from worldagen.data.alignment import Rule, align, skew_report
from worldagen.errors import ConfigError

MS = 1_000_000
STAMPS = np.array([0, 10, 20, 50]) * MS


def aligned(rule: str, *instants_ms: float, stamps=STAMPS):
    return align(Rule.parse(rule), np.array(instants_ms) * MS, stamps)


def test_a_rule_is_a_kind_and_seconds():
    assert Rule.parse("hold 0.1") == Rule("hold", 0.1)


@pytest.mark.parametrize("text", ["", "nearest", "nearest x", "newest 0.1", "hold -1", "hold nan", "hold inf", "hold 1 2"])
def test_anything_else_is_refused_with_what_is_possible(text):
    with pytest.raises(ConfigError, match="nearest, hold, interpolate"):
        Rule.parse(text)


def test_nearest_takes_the_nearer_side_and_says_by_how_much_it_is_off():
    found = aligned("nearest 0.01", -4, 4, 6, 34, 36, 60)
    assert found.before.tolist() == [0, 0, 1, 2, 3, 3]
    assert found.skew_s == pytest.approx([-0.004, 0.004, -0.004, 0.014, -0.014, 0.01])
    assert found.ok.tolist() == [True, True, True, False, False, True]  # the limit itself is allowed


def test_of_two_that_are_as_near_the_older_one_is_taken():
    assert aligned("nearest 1", 5, 35).before.tolist() == [0, 2]


def test_of_two_with_one_stamp_the_one_that_came_last_is_taken():
    twice = np.array([0, 10, 10]) * MS
    for instant in (9, 10, 11):
        assert aligned("nearest 1", instant, stamps=twice).before.tolist() == [2]


def test_hold_never_looks_ahead():
    found = aligned("hold 0.03", -1, 0, 19, 49, 50, 81)
    assert found.before.tolist() == [0, 0, 1, 2, 3, 3]
    assert found.ok.tolist() == [False, True, True, True, True, False]


def test_interpolate_mixes_both_sides_unless_they_are_too_far_apart():
    found = aligned("interpolate 0.01", 2.5, 10, 30, -1, 51, 50)
    assert found.ok.tolist() == [True, True, False, False, False, True]
    assert found.mix(np.array([0.0, 1.0, 2.0, 5.0]))[[0, 1, 5]] == pytest.approx([0.25, 1.0, 5.0])
    assert found.skew_s[0] == pytest.approx(0.0025)


def test_rows_of_numbers_are_mixed_alike():
    mixed = aligned("interpolate 1", 5).mix(np.array([[0.0, 10.0], [2.0, 20.0], [0, 0], [0, 0]]))
    assert mixed.tolist() == [[1.0, 15.0]]


@pytest.mark.parametrize("kind", ["nearest", "hold", "interpolate"])
def test_a_stream_without_samples_is_nowhere_near(kind):
    found = aligned(f"{kind} 1", 0, 10, stamps=np.zeros(0))
    assert not found.ok.any() and np.isinf(found.skew_s).all()


@pytest.mark.parametrize("kind", ["nearest", "hold", "interpolate"])
def test_no_instants_need_no_samples(kind):
    assert len(aligned(f"{kind} 1").ok) == 0


def test_a_limit_means_its_last_nanosecond():
    stamps = np.array([0, 70 * MS])
    for rule in ("nearest 0.07", "hold 0.07"):
        assert align(Rule.parse(rule), np.array([140 * MS, 140 * MS + 1]), stamps).ok.tolist() == [True, False]
    assert align(Rule.parse("interpolate 0.07"), np.array([MS]), stamps).ok.all()


def test_a_part_is_of_those_instants():
    part = aligned("nearest 0.01", 0, 10, 34)[1:]
    assert part.before.tolist() == [1, 2] and part.ok.tolist() == [True, False]


def test_the_report_counts_what_was_out_of_limit_and_measures_the_rest():
    skew = skew_report({"joints": aligned("nearest 0.01", 1, 12, 16, 35), "none": aligned("hold 1", 0, stamps=np.zeros(0))})
    assert (skew["joints"].count, skew["joints"].refused) == (4, 1)
    assert skew["joints"].median_s == pytest.approx(0.002) and skew["joints"].largest_s == pytest.approx(0.004)
    assert (skew["none"].refused, skew["none"].largest_s) == (1, 0.0)


@settings(max_examples=300, deadline=None)
@given(
    stamps=st.lists(st.integers(0, 60), min_size=1, max_size=REMEMBERED_SAMPLES),
    instant=st.integers(0, 60),
    limit=st.integers(0, 20),
)
def test_nearest_is_the_sample_that_the_running_policy_pairs(stamps, instant, limit):
    stamps = np.sort(stamps) * MS
    assembler = Assembler(("camera", "joints"), limit * 1e-3)
    assembler.add("camera", instant * MS, "picture")
    for number, stamp in enumerate(stamps.tolist()):
        assembler.add("joints", stamp, number)
    live, found = assembler.newest(), align(Rule("nearest", limit * 1e-3), np.array([instant * MS]), stamps)
    assert (live is not None) == found.ok[0]
    if live is not None:
        assert live.values["joints"] == found.before[0]
