"""What is usual is measured with the pictures that the running policy would expect, and a bad episode is only left out."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_networks import TINY, build

from worldagen.calibrating import EpisodeErrors, episode_errors, is_surprised, spread
from worldagen.checkpoint import load_checkpoint, save_checkpoint
from worldagen.cli import main
from worldagen.conventions import CONVENTIONS
from worldagen.data.episodes import Episode
from worldagen.errors import BadEpisode, CalibrationError, CheckpointError
from worldagen.policy_conventions import find_preset_conventions
from worldagen.session import NetworkPolicy
from worldagen.surprise import Calibration, SurpriseConfig, Usual, picture_error, read_calibration
from worldagen.types import Observation

CONVENTIONS_OF_PLAYTABLE = find_preset_conventions("playtable")
ROWS = TINY.rows


def make_episode(name: str, length: int, convention: str = "calvin") -> Episode:
    """Noise in both cameras; the hand points down and stands still."""
    frames = np.random.default_rng(length).integers(0, 256, (length, 24, 24, 3), dtype=np.uint8)
    states = np.tile([0.1, 0.0, 0.3, np.pi, 0.0, 0.0, 1.0], (length, 1))
    rest = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (length, 1))
    pictures = lambda: ((frame, frame) for frame in frames)  # noqa: E731
    return Episode(name, "wait", CONVENTIONS[convention], states, rest, rest, pictures)


def test_an_error_is_that_of_the_picture_the_running_policy_would_have_sent():
    network, episode = build(TINY), make_episode("e", ROWS + 1)
    measured = episode_errors(network, CONVENTIONS_OF_PLAYTABLE, episode)
    policy = NetworkPolicy(network, CONVENTIONS_OF_PLAYTABLE)
    policy.reset("wait")
    first, *_, last = [static for static, _ in episode.pictures()]
    policy.act(Observation(0, first, first, episode.states[0]))
    policy._executed[-1] = policy._encode_chunk(np.tile([0, 0, 0, 0, 0, 0, 1.0], (ROWS, 1)))  # what was recorded
    for view, picture in policy.predict().items():
        error = picture_error(CONVENTIONS_OF_PLAYTABLE.image, picture, last)
        assert measured.errors[view] == pytest.approx([error], rel=1e-3)
    assert measured.stamps_ns.tolist() == [round(ROWS / 30 * 1e9)]


def test_an_episode_of_another_control_period_is_refused():
    with pytest.raises(CheckpointError, match="must not drive episode e"):
        episode_errors(build(TINY), CONVENTIONS_OF_PLAYTABLE, make_episode("e", 20, "libero"))


def test_episodes_are_spread_from_the_first_to_the_last():
    assert spread("abcdefg", 3) == ["a", "d", "g"] and spread("ab", 5) == ["a", "b"]
    with pytest.raises(CalibrationError, match="0 episodes"):
        spread("ab", 0)


def test_an_episode_surprises_when_the_monitor_would_say_so():
    calibration = Calibration(0.99, {"static": Usual(1.0, 0.5, 9), "wrist": Usual(1.0, 0.5, 9)})
    stamps_ns = (np.arange(1, 13) / 6 * 1e9).astype(np.int64)
    calm, loud = np.full(12, 0.5), np.full(12, 1.5)
    config = SurpriseConfig(sustain_s=1.0)
    assert is_surprised(calibration, config, EpisodeErrors("e", stamps_ns, {"static": calm, "wrist": loud}))
    assert not is_surprised(calibration, config, EpisodeErrors("e", stamps_ns, {"static": calm, "wrist": calm}))
    assert not is_surprised(calibration, config, EpisodeErrors("e", stamps_ns[:6], {"static": loud[:6], "wrist": calm[:6]}))


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A checkpoint folder, and episodes that any data source gives."""
    save_checkpoint(tmp_path / "mine", build(TINY), CONVENTIONS_OF_PLAYTABLE)
    lengths = {"a": 2 * ROWS + 1, "b": 3 * ROWS + 2, "short": ROWS}
    episodes = {name: make_episode(name, length) for name, length in lengths.items()}
    source = SimpleNamespace(episodes=lambda: list(episodes), read=episodes.__getitem__)
    monkeypatch.setattr("worldagen.data.episodes.open_source", lambda spec: source)
    return tmp_path / "mine"


def test_the_command_writes_a_calibration_that_belongs_to_these_weights(recorded, capsys):
    out = recorded / "surprise.json"
    assert main(["calibrate", str(recorded), "--data", "bag:x", "--out", str(out), "--quantile", "0.5"]) == 0
    told = capsys.readouterr()
    assert "short: 5 instants" in told.err and "2 episodes, 1 skipped" in told.out
    calibration = read_calibration(out)
    assert calibration.views["wrist"].count == 5 and calibration.views["static"].bound == calibration.views["static"].median
    assert (calibration.made["data"], calibration.made["episodes"], calibration.made["skipped"]) == ("bag:x", 2, 1)
    load_checkpoint(recorded)  # a further file in the folder disturbs nobody
    assert main(["calibrate", str(recorded), "--data", "bag:x", "--check", str(out)]) == 0
    assert "0 of 2 episodes would be called surprising" in capsys.readouterr().out
    (recorded / "model.safetensors").touch()
    save_checkpoint(recorded.with_name("other"), build(TINY, seed=1), CONVENTIONS_OF_PLAYTABLE)
    assert main(["calibrate", str(recorded.with_name("other")), "--data", "bag:x", "--check", str(out)]) == 1
    assert "other weights" in capsys.readouterr().err


def test_the_command_refuses_to_calibrate_on_nothing(recorded, monkeypatch, capsys):
    def read(name):
        raise BadEpisode(f"{name}: damaged")

    source = SimpleNamespace(episodes=lambda: ["a"], read=read)
    monkeypatch.setattr("worldagen.data.episodes.open_source", lambda spec: source)
    assert main(["calibrate", str(recorded), "--data", "bag:x", "--out", str(recorded / "s.json")]) == 1
    assert "no episode could be used" in capsys.readouterr().err and not (recorded / "s.json").exists()


def test_the_shipped_checkpoint_has_one_of_its_own():
    from worldagen.checkpoint_files import find_checkpoint
    from worldagen.surprise import find_calibration

    calibration = find_calibration(None, find_checkpoint("playtable"))
    assert calibration is not None and set(calibration.views) == {"static", "wrist"}
    assert min(usual.count for usual in calibration.views.values()) > 500
