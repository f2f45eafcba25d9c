"""Recordings become places: by their static pictures alone, each time the same, and never with a camera that shows nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from adaptation_making import CANVAS, small_checkpoint
from mixture_making import noise, textured, write_place
from small_networks import TINY

from worldagen.errors import AdaptationError, BankError, CalibrationError
from worldagen.mixture import surveying
from worldagen.mixture.embedding import FIRST_FRAMES, average
from worldagen.mixture.places import SeenPlace
from worldagen.mixture.prototypes import prototype_of
from worldagen.mixture.routing import RoutingConfig, whiten_places
from worldagen.mixture.surveying import Surveyor, calibrate, embed_by_graph, embed_pictures, route_episodes, routing_values
from worldagen.policy_conventions import find_preset_conventions

CONVENTIONS = find_preset_conventions("playtable")
MIXTURE = RoutingConfig(route="mixture")
TRAINED_IN, NEW = (0, 1, 2), (3, 4)  # numbers of textures


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """A checkpoint, recordings of three places it was trained in and of two it was not, and what a bank would know."""
    root = tmp_path_factory.mktemp("world")
    checkpoint = small_checkpoint(root / "checkpoint")
    sources = {place: write_place(root / f"place{place}", place, range(8)) for place in (*TRAINED_IN, *NEW)}
    surveyor = Surveyor(str(checkpoint), root / "cache")
    looked = {place: surveyor.look(source, 60) for place, source in sources.items()}
    # The smallest of six held-out episodes is too near to others of their places to test with.
    calibration = replace(calibrate([looked[place] for place in TRAINED_IN]), least=0.8)
    return SimpleNamespace(root=root, checkpoint=checkpoint, surveyor=surveyor, looked=looked, calibration=calibration)


def routable(world, *places: int):
    prototypes = [(f"place{place}", world.surveyor.seen([world.looked[place]]).prototype) for place in places]
    told = world.calibration
    return whiten_places(told.base, prototypes, told.whitening, told.least, told.known)


def look(world, folder: Path, place: int, make: Callable = textured, seeds=range(20, 24)):
    return world.surveyor.look(write_place(folder, place, seeds, make), 60)


def routings(recording, places, config=MIXTURE) -> list:
    return [routing for _, routing in route_episodes(recording, places, config)]


def test_of_an_episode_the_first_frames_are_looked_at_and_others_from_all_of_it(world):
    recording = world.looked[0]
    assert [len(episode.first) for episode in recording.episodes] == [FIRST_FRAMES] * 8
    assert all(len(episode.more) == 14 - FIRST_FRAMES for episode in recording.episodes)  # all there are
    assert recording.told["count"] == len(recording.frames) == 8 * 14 and recording.told["from"] == "place0"
    first = recording.episodes[0]
    for ours, theirs in zip(first.beginning.levels, average(first.first).levels, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_another_embedder_looks_at_the_same_frames(world):
    source, network = f"bag:{world.root / 'place0'}", world.surveyor.network
    cache = surveying.open_cache(world.root / "cache", [source], surveying.picture_sizes(network.config), CONVENTIONS.image)
    again = surveying.look(source, cache, network, CONVENTIONS, 60, embedder=embed_by_graph)
    pooled = world.looked[0]
    assert again.digest == pooled.digest and len(again.frames) == len(pooled.frames)
    assert again.frames[0].widths == (network.config.vision.width,) * 3 != pooled.frames[0].widths


def test_at_most_so_many_episodes_are_looked_at_evenly(world):
    recording = world.surveyor.look(f"bag:{world.root / 'place0'}", 3)
    assert [episode.name for episode in recording.episodes] == ["0", "4", "7"]
    assert recording.digest != world.looked[0].digest
    with pytest.raises(CalibrationError, match="0 episodes; expected at least one"):
        world.surveyor.look(str(world.root / "place0"), 0)  # a folder is taken for one of bags


def test_frames_are_encoded_a_few_at_a_time_to_the_same_numbers(world, monkeypatch):
    sizes = []

    def counting(network, conventions, static, wrist):
        sizes.append(len(static))
        return embed_pictures(network, conventions, static, wrist)

    monkeypatch.setattr(surveying, "embed_pictures", counting)
    ticks = []
    source = f"bag:{world.root / 'place1'}"
    cache = surveying.open_cache(world.root / "cache", [source], surveying.picture_sizes(CANVAS), CONVENTIONS.image)
    network = world.surveyor.network
    again = surveying.look(source, cache, network, CONVENTIONS, 60, lambda done, of: ticks.append((done, of)))
    assert max(sizes) == 16 and sum(sizes) == 8 * 14 and ticks[-1] == (112, 112)
    assert again.digest == world.looked[1].digest
    for one, other in zip(again.frames, world.looked[1].frames, strict=True):
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(one.levels, other.levels, strict=True))
    shown = list(cache.episodes[0].shown)[:3]
    static, wrist = (np.asarray(cache.pictures(view, side)[shown]) for view, side in (("static", 32), ("wrist", 16)))
    alone = [embed_pictures(network, CONVENTIONS, static[[place]], wrist[[place]])[0] for place in range(3)]
    for one, other in zip(alone, again.episodes[0].first, strict=False):
        for ours, theirs in zip(one.levels, other.levels, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_wrist_camera_says_nothing_about_the_place(world):
    rng = np.random.default_rng(0)
    static = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    wrists = rng.integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
    one, other = (embed_pictures(world.surveyor.network, CONVENTIONS, static, wrist) for wrist in wrists)
    for ours, theirs in zip(one, other, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours.levels, theirs.levels, strict=True))


def test_replaying_a_recording_gives_the_same_decisions(world):
    places = routable(world, *NEW)
    again = Surveyor(str(world.checkpoint), world.root / "another_cache").look(f"bag:{world.root / 'place3'}", 60)
    decided = [
        [routing_values(*pair) for pair in route_episodes(recording, places, MIXTURE)]
        for recording in (world.looked[3], world.looked[3], again)
    ]
    assert decided[0] == decided[1] == decided[2] and len(decided[0]) == 8


def test_other_words_and_another_pose_change_nothing(world, tmp_path):
    def told_otherwise(place: int, seed: int):
        shown = textured(place, seed)
        rng = np.random.default_rng(seed + 1)
        joints = shown.joints + np.append(rng.normal(0, 0.2, 7), [0, 0])
        return replace(shown, words=f"do something else {seed}", joints=joints, rows=shown.rows[::-1].copy())

    one, other = (look(world, tmp_path / name, 3, make) for name, make in (("one", textured), ("other", told_otherwise)))
    assert one.digest == other.digest
    for ours, theirs in zip(*(routings(recording, routable(world, *NEW)) for recording in (one, other)), strict=True):
        assert np.array_equal(ours.weights, theirs.weights) and np.array_equal(ours.cosines, theirs.cosines)


def test_places_are_found_again_and_what_is_none_of_them_is_told(world, tmp_path):
    seen = {place: look(world, tmp_path / f"place{place}", place) for place in (*TRAINED_IN, *NEW)}
    one, both = routable(world, 3), routable(world, *NEW)
    for place in TRAINED_IN:
        assert [(routing.nearest, routing.abstains) for routing in routings(seen[place], both)] == [("base", False)] * 4
    assert [routing.nearest for routing in routings(seen[3], one)] == ["place3"] * 4
    assert [routing.abstains for routing in routings(seen[4], one)] == [True] * 4
    assert [(routing.nearest, routing.abstains) for routing in routings(seen[4], both)] == [("place4", False)] * 4


def test_noise_is_no_place_that_is_known(world, tmp_path):
    both = routable(world, *NEW)
    still = routings(look(world, tmp_path / "still", 3, noise), both)
    rng = np.random.default_rng(0)
    pure = embed_pictures(
        world.surveyor.network, CONVENTIONS,
        rng.integers(0, 256, (8, 32, 32, 3), np.uint8), rng.integers(0, 256, (8, 16, 16, 3), np.uint8),
    )  # fmt: skip
    assert all(routing.abstains for routing in still), [routing.best for routing in still]
    assert all(surveying.route(frame, both, MIXTURE).abstains for frame in [*pure, average(pure)])
    for routing in still:
        assert routing.weights[:, 0].tolist() == [1.0] * 3


def black(place: int, seed: int):
    shown = textured(place, seed)
    return replace(shown, static=np.zeros_like(shown.static))


def swapped(place: int, seed: int):
    shown = textured(place, seed)
    return replace(shown, static=shown.wrist, wrist=shown.static)


def frozen(place: int, seed: int):
    shown = textured(place, seed)
    return replace(shown, static=np.repeat(shown.static[:1], len(shown.static), axis=0))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (black, "static pictures show nothing"),
        (swapped, "the two cameras are swapped"),
        (frozen, "the static picture stood still"),
    ],
)
def test_cameras_that_are_black_swapped_or_still_are_an_error_and_no_place(world, tmp_path, make, told):
    with pytest.raises(AdaptationError, match=told):
        look(world, tmp_path / "bags", 3, make)


def test_a_shorter_episode_is_routed_by_what_there_is(world, tmp_path):
    recording = look(world, tmp_path / "short", 3, lambda place, seed: textured(place, seed, 5))
    assert [len(episode.first) for episode in recording.episodes] == [5] * 4
    values = routing_values(*route_episodes(recording, routable(world, *NEW), MIXTURE)[0])
    assert values["frames"] == 5 and values["nearest"] == "place3" and set(values["weights"]) == {"fine", "middle", "scene"}
    assert set(values["weights"]["scene"]) == {"base", "place3", "place4"} and 0.0 <= values["entropy"]["scene"] < 1.2


def test_some_recordings_of_one_place_are_one_prototype(world):
    both = world.surveyor.seen([world.looked[3], world.looked[4]])
    assert both.encoder == world.surveyor.base.encoder and [item["from"] for item in both.frames] == ["place3", "place4"]
    assert isinstance(both, SeenPlace) and both.prototype.count == 2 * 8 * 14
    with pytest.raises(BankError, match="the same frames come twice"):
        world.surveyor.seen([world.looked[3], world.looked[3]])


def test_the_bound_is_a_quantile_of_held_out_beginnings_with_their_own_place(world):
    looked = [world.looked[place] for place in TRAINED_IN]
    calibration = calibrate(looked, held_out_every=4, quantile=0.25)
    cosines = []
    for recording in looked:
        kept = [episode for place, episode in enumerate(recording.episodes) if place not in (3, 7)]
        anchor = calibration.whitening(prototype_of([f for e in kept for f in (*e.first, *e.more)]).mean)[2]
        for place in (3, 7):
            cosines.append(float(calibration.whitening(average(recording.episodes[place].first))[2] @ anchor))
    assert calibration.least == pytest.approx(np.quantile(cosines, 0.25))
    assert 0.3 < calibration.least < 1.0 and calibration.told["held_out_episodes"] == 6
    assert [item["from"] for item in calibration.told["trained_in"]] == ["place0", "place1", "place2"]
    assert calibration.base.count == sum(prototype.count for _, prototype in calibration.known) == 3 * 6 * 14


def test_other_places_help_to_whiten_and_are_not_known_to_the_base(world):
    calibration = calibrate([world.looked[0]], [world.looked[1], world.looked[4]])
    assert [name for name, _ in calibration.known] == ["place0#1"] and calibration.base.count == 6 * 14
    assert [item["from"] for item in calibration.told["others"]] == ["place1", "place4"]
    ready = whiten_places(calibration.base, [], calibration.whitening, calibration.least, calibration.known)
    assert not any(routing.abstains for routing in routings(world.looked[0], ready))
    assert all(routing.abstains for routing in routings(world.looked[4], ready))


@pytest.mark.parametrize(
    ("known", "others", "options", "told"),
    [
        ([0], [], {}, "1 places to calibrate by; give recordings of at least two, one --data each"),
        ([], [0, 1], {}, "2 places to calibrate by"),
        ([0, 0], [], {}, "the same frames come twice in: bag:"),
        ([0, 1], [], {"held_out_every": 9}, "8 episodes, of which every 9th is held out; give at least 9"),
        ([0, 1], [], {"held_out_every": 1}, "expected at least 2"),
    ],
)
def test_what_nothing_can_be_calibrated_on_is_refused(world, known, others, options, told):
    with pytest.raises(BankError, match=told):
        calibrate([world.looked[place] for place in known], [world.looked[place] for place in others], **options)


def test_a_network_without_a_world_model_has_no_adapters_and_no_bank(tmp_path):
    small_checkpoint(tmp_path / "blind", replace(TINY, image_prediction=False))
    with pytest.raises(AdaptationError, match="no world model to adapt"):
        Surveyor(str(tmp_path / "blind"), tmp_path / "cache")
