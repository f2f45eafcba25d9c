"""What a network is trained on: the numbers of the running policy, its own windows, batches that can be drawn again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from demonstration_making import demonstrate, write_demonstration
from small_networks import TINY
from training_making import SMALL

from worldagen.conventions import decode_actions, encode_actions
from worldagen.data.cache import CachedEpisode, FrameCache, open_cache, picture_sizes
from worldagen.errors import DataError, TrainingError
from worldagen.policy_conventions import find_preset_conventions, state_numbers
from worldagen.preprocess import scale_image
from worldagen.training.encoder import as_seen_from_hand, encoder_batches, numbers_to_regress
from worldagen.training.policy import policy_batches
from worldagen.training.recipe import Augmentation, DataSection, EncoderStage, Loop, PolicyStage
from worldagen.training.samples import (
    Draws,
    WindowPlaces,
    augmented_frames,
    colour,
    draw_augmentation,
    network_numbers,
    normalise,
    share_of,
    shift_picture,
    split_episodes,
    step_random,
)

CONVENTIONS = find_preset_conventions("playtable")
EPISODES = [CachedEpisode("a", "push", 0, 7), CachedEpisode("b", "pull", 7, 9), CachedEpisode("c", "push", 16, 5)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> FrameCache:
    folder = tmp_path_factory.mktemp("samples")
    for seed in range(2):
        write_demonstration(folder / "bags" / str(seed), demonstrate(f"push {seed}", 9, seed))
    return open_cache(folder / "cache", [f"bag:{folder / 'bags'}"], picture_sizes(SMALL), CONVENTIONS.image)


def test_states_and_rows_are_the_numbers_that_the_running_policy_makes_of_them(cache):
    numbers = network_numbers(cache, CONVENTIONS)
    for frame in range(cache.frames):
        assert np.array_equal(numbers.states[frame], state_numbers(CONVENTIONS, cache.states[frame]).astype(np.float32))
        row = encode_actions(CONVENTIONS.actions, np.array(cache.actions[frame : frame + 1]), cache.states[frame, 3:6])[0]
        assert numbers.actions[frame] == pytest.approx(np.clip(row, -1, 1), abs=1e-6)
        back = decode_actions(CONVENTIONS.actions, numbers.targets[frame : frame + 1], cache.states[frame, 3:6])[0]
        assert back == pytest.approx(cache.targets[frame], abs=1e-6)


def test_data_of_another_convention_are_refused(cache):
    with pytest.raises(DataError, match=r"'calvin'.*the network is for .*'libero'"):
        network_numbers(cache, find_preset_conventions("libero"))


def test_every_so_many_episodes_are_held_out_and_the_others_are_trained_on():
    episodes = [CachedEpisode(str(number), "push", number, 1) for number in range(7)]

    class Cache:
        def __init__(self):
            self.episodes = episodes

    kept, held_out = split_episodes(Cache(), 3)  # type: ignore[arg-type]
    assert [episode.name for episode in held_out] == ["0", "3", "6"]
    assert sorted([*kept, *held_out], key=lambda one: one.first) == episodes
    assert split_episodes(Cache(), 0) == (episodes, [])  # type: ignore[arg-type]


def test_a_frame_is_paired_with_the_rows_that_follow_it_and_the_frame_they_lead_to():
    places = WindowPlaces([CachedEpisode("a", "push", 0, 30)], TINY, DataSection(rule="aligned"))
    assert places.frames.tolist() == [0, 5, 10]
    assert places.targets.tolist() == [5, 10, 15]
    assert places.rows.tolist() == list(range(15))
    assert len(places) == 30 - 15


def test_windows_stay_inside_their_episode_and_keep_its_words():
    places = WindowPlaces(EPISODES, SMALL, DataSection())  # a window spans 7 frames: c is too short for one
    assert (places.too_short, places.words, len(places)) == (1, ("push", "pull"), 1 + 3)
    firsts, words = places.draw(np.random.default_rng(0), 200)
    assert {*zip(firsts.tolist(), words.tolist(), strict=True)} == {(0, 0), (7, 1), (8, 1), (9, 1)}
    assert (np.bincount(words) / 200).tolist() == pytest.approx([1 / (1 + 3**0.5), 3**0.5 / (1 + 3**0.5)], abs=0.1)
    assert places.spread(99)[0].tolist() == [0, 7, 8, 9] and places.spread(2)[0].tolist() == [0, 9]


def test_episodes_too_short_for_any_window_are_refused_with_both_lengths():
    with pytest.raises(DataError, match="a window spans 7 frames, the longest of 1 episodes has 5"):
        WindowPlaces(EPISODES[2:], SMALL, DataSection())
    with pytest.raises(DataError, match="the longest of 0 episodes has 0"):
        WindowPlaces([], SMALL, DataSection())


def test_what_this_training_is_not_for_is_refused():
    with pytest.raises(DataError, match="2 frames in a unit"):
        WindowPlaces(EPISODES, replace(SMALL, frames=2), DataSection())
    with pytest.raises(DataError, match="'paper' has units of unequal length"):
        WindowPlaces(EPISODES, SMALL, DataSection(rule="paper"))


def test_randomness_is_a_function_of_seed_step_and_stream():
    def draw(*place):
        return step_random(*place).random()

    assert draw(1, 2) == draw(1, 2)
    assert len({draw(1, 2), draw(2, 1), draw(1, 3), draw(1, 2, 1)}) == 4


def test_the_shares_of_all_processes_are_the_batch_and_of_one_size():
    shares = [share_of(np.arange(12), process, 3) for process in range(3)]
    assert sorted(np.concatenate(shares)) == list(range(12)) and {len(share) for share in shares} == {4}
    with pytest.raises(TrainingError, match="10 samples of a step cannot be shared out evenly over 3 processes"):
        share_of(np.arange(10), 0, 3)


def test_a_shifted_picture_repeats_its_edge():
    picture = np.arange(9).reshape(3, 3, 1)
    assert shift_picture(picture, np.array([1, -1]))[:, :, 0].tolist() == [[3, 3, 4], [6, 6, 7], [6, 6, 7]]
    assert np.array_equal(shift_picture(picture, np.array([0, 0])), picture)


def test_pictures_are_normalised_as_the_running_policy_does():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    expected = np.stack([scale_image(CONVENTIONS.image, picture, 8) for picture in pictures])
    assert normalise(pictures, CONVENTIONS.image).numpy() == pytest.approx(expected, abs=1e-6)


def test_an_augmentation_of_nothing_changes_nothing():
    nothing = draw_augmentation(Augmentation(0, 0, 0.0, 0.0, 0.0), np.random.default_rng(0), 2)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    for shown in augmented_frames(pictures, pictures, CONVENTIONS.image, nothing):
        assert torch.allclose(shown, normalise(pictures, CONVENTIONS.image), atol=1e-6)


def test_colours_change_by_contrast_then_gain_then_brightness():
    draws = Draws(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[1.0, 2.0, 1.0]]), np.array([0.5]), np.array([0.25]))
    picture = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1)  # its mean is 1
    assert colour(picture, draws).flatten().tolist() == [0.75, 2.25, 1.75]


def policy_draw(cache, **stage):
    numbers = network_numbers(cache, CONVENTIONS)
    places = WindowPlaces(cache.episodes, SMALL, DataSection())
    features = [np.random.default_rng(copy).normal(size=(cache.frames, 14, 32)).astype(np.float16) for copy in range(2)]

    class Network:
        config = SMALL

    text = torch.randn(len(places.words), 64, generator=torch.Generator().manual_seed(0))
    return policy_batches(
        PolicyStage(Loop(batch=8), **stage), places, cache, numbers, features, text, Network(),  # type: ignore[arg-type]
        CONVENTIONS.image, CONVENTIONS.state, 5,
    )  # fmt: skip


def encoder_draw(cache):
    stage = EncoderStage(Loop(batch=8))
    _, table = numbers_to_regress(stage, cache, network_numbers(cache, CONVENTIONS))
    return encoder_batches(stage, cache, list(cache.episodes), SMALL, CONVENTIONS.image, table, 5)


@pytest.mark.parametrize("make", [policy_draw, encoder_draw])
def test_a_batch_is_a_function_of_its_step_and_the_shares_of_processes_partition_it(cache, make):
    draw = make(cache)
    whole, again, other = draw(3, 0, 1), make(cache)(3, 0, 1), draw(4, 0, 1)
    halves = [draw(3, process, 2) for process in range(2)]
    for key, part in whole.items():
        assert torch.equal(part, again[key]), key
        if key != "unit":
            assert not torch.equal(part, other[key]), key
            merged = torch.stack([half[key] for half in halves], dim=1).flatten(0, 1)
            assert torch.equal(part, merged), key


def test_painted_windows_come_first_and_undisturbed(cache):
    numbers = network_numbers(cache, CONVENTIONS)
    batch = policy_draw(cache, painted_share=0.5, history_dropout=1.0, state_dropout=1.0)(0, 0, 1)
    assert len(batch["static"]) == len(batch["wrist"]) == 4
    assert not batch["actions"][4:].any() and not batch["states"][4:].any()
    assert all(any(np.array_equal(state, known) for known in numbers.states) for state in batch["states"][:4].flatten(0, 1))


def test_painted_windows_that_cannot_be_shared_out_are_refused(cache):
    with pytest.raises(TrainingError, match="1 samples of a step"):
        policy_draw(cache, painted_share=0.125)(0, 0, 2)


def test_the_encoder_regresses_the_state_and_what_the_recipe_names(cache):
    numbers = network_numbers(cache, CONVENTIONS)
    names, table = numbers_to_regress(EncoderStage(values="dr*", quarter_turns="lamp"), cache, numbers)
    assert names == (*(f"state_{place}" for place in range(6)), "drawer", "sin lamp", "cos lamp")
    assert table.mean(0) == pytest.approx(np.zeros(9), abs=1e-5) and table[:, 6].std() == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(DataError, match=r"'slider_\*'; the data have drawer, lamp"):
        numbers_to_regress(EncoderStage(values="drawer, slider_*"), cache, numbers)


def test_numbers_that_are_not_finite_are_no_target_for_the_encoder(cache):
    broken = FrameCache(cache.folder)
    broken.values = np.where(np.arange(cache.frames)[:, None] == 3, np.nan, cache.values)
    with pytest.raises(DataError, match="not finite in every frame: drawer"):
        numbers_to_regress(EncoderStage(values="drawer"), broken, network_numbers(cache, CONVENTIONS))


def test_points_are_told_as_seen_from_the_hand_too_where_a_centimetre_near_it_counts(cache):
    known = {"tcp_x": 1.0, "tcp_y": 2.0, "tcp_z": 0.5, "tcp_yaw": np.pi / 2, "red_block_x": 1.0, "red_block_y": 2.05}
    seen = FrameCache(cache.folder)
    seen.value_names = (*known, "red_block_z", "red_block_yaw")
    height = np.linspace(0.5, 1.5, cache.frames)[:, None]  # a number needs a spread to be standardised
    seen.values = np.hstack([np.tile(list(known.values()), (cache.frames, 1)), height, height])
    stage = EncoderStage(quarter_turns="*_block_yaw", near="*_block", near_m=0.05)
    names, table = numbers_to_regress(stage, seen, network_numbers(seen, CONVENTIONS))
    assert names[6:] == (
        "sin red_block_yaw", "cos red_block_yaw", "sin red_block_yaw from tcp", "cos red_block_yaw from tcp",
        "red_block_x from tcp", "red_block_y from tcp", "red_block_z from tcp",
    )  # fmt: skip
    assert table[:, 8] == pytest.approx(table[:, 6], abs=1e-4)  # the hand's quarter turn changes nothing
    told = as_seen_from_hand(np.array([[1.0, 2.05, 1.5]]), np.array([[1.0, 2.0, 0.5]]), np.array([[np.pi / 2]]), 0.05)
    assert told[0] == pytest.approx([np.tanh(1.0), 0.0, 1.0], abs=1e-9)
    with pytest.raises(DataError, match=r"names 'blue_block_x'; the data have tcp_x"):
        numbers_to_regress(EncoderStage(near="blue_block"), seen, network_numbers(seen, CONVENTIONS))


def test_with_rarer_pictures_windows_begin_at_pictures(cache):
    episodes = [replace(episode, every=3) for episode in EPISODES]  # of 7, 9 and 5 instants
    places, section = WindowPlaces(episodes, SMALL, DataSection()), DataSection()
    firsts, words = places.spread(100)
    assert firsts.tolist() == [0, 7] and [places.words[word] for word in words] == ["push", "pull"]  # the last is too short
    drawn, _ = places.draw(np.random.default_rng(0), 100)
    assert set(drawn.tolist()) == {0, 7} and len(places) == 2
    with pytest.raises(DataError, match="pictures of every 2th control step; this network looks at every 3th"):
        WindowPlaces([replace(EPISODES[0], every=2)], SMALL, section)


def test_the_encoder_can_see_every_episode_alike_however_long_it_is(cache):
    long, short = cache.episodes[0], replace(cache.episodes[1], length=3)

    def share_of_the_short_one(balance: float) -> float:
        stage = EncoderStage(Loop(batch=2000), balance=balance)
        table = np.arange(cache.frames, dtype=np.float32)[:, None]  # says which frame was drawn
        draw = encoder_batches(stage, cache, [long, short], SMALL, CONVENTIONS.image, table, 5)
        drawn = draw(0, 0, 1)["numbers"][:, 0].numpy()
        return float(np.mean((drawn >= short.first) & (drawn < short.first + short.length)))

    assert share_of_the_short_one(1.0) == pytest.approx(3 / 12, abs=0.05)
    assert share_of_the_short_one(0.0) == pytest.approx(1 / 2, abs=0.05)
