"""The surprise monitor's numbers are known, and it proposes neither too early nor without a measured bound."""

import json
from dataclasses import replace

import numpy as np
import pytest

from worldagen.errors import BadObservation, CalibrationError
from worldagen.preprocess import ImageScaling
from worldagen.surprise import (
    Calibration,
    SurpriseConfig,
    SurpriseMonitor,
    Usual,
    as_expected,
    calibrate,
    find_calibration,
    picture_error,
    read_calibration,
    write_calibration,
)

HALVES = ImageScaling((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BOUNDS = Calibration(0.99, {"static": Usual(0.1, 0.05, 100), "wrist": Usual(0.2, 0.1, 100)}, {"command": "a test"})
QUICK = SurpriseConfig(time_constant_s=0.0, sustain_s=1.0, calm_level=0.5, max_gap_s=1.0)


def grey(level: int, side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def at(seconds: float) -> int:
    return round(seconds * 1e9)


def feed(monitor: SurpriseMonitor, level: float, begin_s: float, end_s: float):
    """One comparison every 0.25 s with that level in the static view."""
    readings = [
        monitor.update(at(stamp_s), {"static": level * 0.1, "wrist": 0.0}) for stamp_s in np.arange(begin_s, end_s, 0.25)
    ]
    return readings[-1]


class TestPictureError:
    def test_it_is_the_mean_square_in_the_networks_numbers(self):
        assert picture_error(HALVES, grey(0), grey(51)) == pytest.approx(0.4**2)  # a fifth of 0..1 is 0.4 of -1..1
        narrow = replace(HALVES, std=(0.1, 0.2, 0.4))
        assert picture_error(narrow, grey(0), grey(51)) == pytest.approx((2**2 + 1**2 + 0.5**2) / 3)

    def test_the_seen_picture_is_scaled_as_the_network_sees_it(self):
        camera = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        assert picture_error(HALVES, as_expected(HALVES, camera, 8), camera) == 0.0

    def test_a_network_that_sees_pictures_upside_down_expects_upright_ones(self):
        camera = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        assert picture_error(replace(HALVES, flip_rows=True), camera, camera) == 0.0
        assert picture_error(replace(HALVES, flip_rows=True), camera[::-1], camera) > 0.1

    @pytest.mark.parametrize("bad", [grey(1).astype(float), grey(1)[..., 0], grey(1)[:4], grey(1)[:0, :0]])
    def test_what_is_no_expected_picture_is_refused(self, bad):
        with pytest.raises(BadObservation, match="the expected picture is"):
            picture_error(HALVES, bad, grey(1))


class TestMonitor:
    def test_levels_are_shares_of_each_views_bound_and_the_worst_counts(self):
        reading = SurpriseMonitor(BOUNDS, QUICK).update(0, {"static": 0.05, "wrist": 0.5})
        assert reading.levels == pytest.approx({"static": 0.5, "wrist": 2.5})
        assert (reading.level, reading.compared, reading.sustained) == (pytest.approx(2.5), 1, False)

    def test_the_level_follows_with_the_time_constant_whatever_the_rate(self):
        config = replace(QUICK, time_constant_s=0.5)
        for steps in (1, 5):
            monitor = SurpriseMonitor(BOUNDS, config)
            monitor.update(0, {"static": 0.0})
            for step in range(1, steps + 1):
                reading = monitor.update(at(0.5 * step / steps), {"static": 0.2})
            assert reading.level == pytest.approx(2 * (1 - np.exp(-1)))

    def test_it_is_sustained_once_it_was_above_for_long_enough(self):
        monitor = SurpriseMonitor(BOUNDS, QUICK)
        reading = feed(monitor, 1.5, 0.0, 1.0)  # up to 0.75 s
        assert not reading.sustained and reading.since_s == pytest.approx(0.75)
        assert feed(monitor, 1.5, 1.0, 1.25).sustained

    def test_a_moment_below_one_begins_the_count_again(self):
        monitor = SurpriseMonitor(BOUNDS, QUICK)
        feed(monitor, 1.5, 0.0, 1.0)
        assert feed(monitor, 1.0, 1.0, 1.25).since_s == 0.0
        assert not feed(monitor, 1.5, 1.25, 2.25).sustained
        assert feed(monitor, 1.5, 2.25, 2.5).sustained

    def test_between_calm_and_bound_it_stays_what_it_was(self):
        monitor = SurpriseMonitor(BOUNDS, QUICK)
        assert not feed(monitor, 0.7, 0.0, 3.0).sustained
        assert feed(monitor, 1.5, 3.0, 4.5).sustained
        assert feed(monitor, 0.7, 4.5, 8.0).sustained
        assert not feed(monitor, 0.4, 8.0, 8.25).sustained
        assert not feed(monitor, 0.7, 8.25, 10.0).sustained

    @pytest.mark.parametrize("later_s", [2.0, -1.0])
    def test_a_gap_or_a_jump_back_starts_afresh(self, later_s):
        monitor = SurpriseMonitor(BOUNDS, replace(QUICK, time_constant_s=10.0))
        assert feed(monitor, 3.0, 0.0, 2.0).sustained
        reading = monitor.update(at(1.75 + later_s), {"static": 0.05})
        assert (reading.sustained, reading.since_s, reading.compared) == (False, 0.0, 9)
        assert reading.level == pytest.approx(0.5)

    def test_a_reset_starts_afresh_and_counts_on(self):
        monitor = SurpriseMonitor(BOUNDS, QUICK)
        feed(monitor, 3.0, 0.0, 2.0)
        monitor.reset()
        reading = feed(monitor, 3.0, 2.0, 2.25)
        assert not reading.sustained and reading.compared == 9

    def test_without_a_calibration_there_are_errors_and_no_level(self):
        reading = feed(SurpriseMonitor(None, QUICK), 100.0, 0.0, 5.0)
        assert reading.errors["static"] == pytest.approx(10.0)
        assert (reading.levels, reading.level, reading.sustained) == ({"static": 0.0, "wrist": 0.0}, 0.0, False)

    @pytest.mark.parametrize("errors", [{"static": float("nan")}, {"wrist": -1.0}, {"static": float("inf")}, {}, {"left": 0.1}])
    def test_what_is_no_error_of_a_known_view_is_refused_and_changes_nothing(self, errors):
        monitor = SurpriseMonitor(BOUNDS, QUICK)
        feed(monitor, 1.5, 0.0, 1.0)
        with pytest.raises(BadObservation):
            monitor.update(at(0.9), errors)
        reading = feed(monitor, 1.5, 1.0, 1.25)
        assert reading.sustained and reading.compared == 5


class TestCalibration:
    def test_the_bound_is_the_quantile_of_what_was_measured(self):
        errors = {"static": np.arange(101) / 100, "wrist": np.array([0.25])}
        calibration = calibrate(errors, 0.9, {"data": "bag:x"})
        static = calibration.views["static"]
        assert (static.bound, static.median, static.count) == (pytest.approx(0.9), 0.5, 101)
        assert calibration.views["wrist"] == Usual(0.25, 0.25, 1)
        with pytest.raises(CalibrationError, match="no picture of the wrist view"):
            calibrate({"static": errors["static"], "wrist": np.array([])}, 0.9, {})

    def test_it_survives_its_file(self, tmp_path):
        write_calibration(BOUNDS, tmp_path / "surprise.json")
        assert read_calibration(tmp_path / "surprise.json") == BOUNDS

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda tree: tree.update(format="other-1"), "format is 'other-1'"),
            (lambda tree: tree.pop("quantile"), "expected exactly: format, made, quantile, views"),
            (lambda tree: tree.update(extra=1), "extra"),
            (lambda tree: tree.update(views={}), "no view"),
            (lambda tree: tree.update(views=[1]), r"views is \[1\]"),
            (lambda tree: tree.update(quantile=1.5), "quantile 1.5"),
            (lambda tree: tree["views"]["static"].update(bound="high"), "static.bound is 'high'"),
            (lambda tree: tree["views"]["static"].update(bound=float("nan")), "bound nan"),
            (lambda tree: tree["views"]["static"].update(bound=0.0, median=0.0), "bound 0.0"),
            (lambda tree: tree["views"]["static"].update(median=0.2), "median <= bound"),
            (lambda tree: tree["views"]["wrist"].update(count=2.5), "wrist.count is 2.5"),
            (lambda tree: tree["views"]["wrist"].update(count=0), "0 pictures"),
            (lambda tree: tree["views"]["wrist"].pop("median"), "wrist holds bound, count"),
        ],
    )
    def test_a_file_with_anything_unexpected_is_refused_by_its_name(self, tmp_path, change, says):
        path = tmp_path / "surprise.json"
        write_calibration(BOUNDS, path)
        tree = json.loads(path.read_text())
        change(tree)
        path.write_text(json.dumps(tree))
        with pytest.raises(CalibrationError, match=says) as refusal:
            read_calibration(path)
        assert str(refusal.value).startswith(str(path))

    @pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
    def test_a_file_that_is_no_object_is_refused(self, tmp_path, text):
        path = tmp_path / "surprise.json"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(CalibrationError, match=r"surprise\.json"):
            read_calibration(path)

    def test_one_is_found_beside_the_weights_it_was_measured_with_and_no_others(self, tmp_path):
        (tmp_path / "model.safetensors").write_bytes(b"weights")
        assert find_calibration(None, tmp_path) is None and find_calibration(None, None) is None
        write_calibration(replace(BOUNDS, made={"weights": "0" * 64}), tmp_path / "surprise.json")
        with pytest.raises(CalibrationError, match="other weights"):
            find_calibration(None, tmp_path)
        write_calibration(BOUNDS, tmp_path / "surprise.json")
        assert find_calibration(None, tmp_path) == BOUNDS
        with pytest.raises(CalibrationError, match="no such file"):
            find_calibration(tmp_path / "elsewhere.json", tmp_path)
