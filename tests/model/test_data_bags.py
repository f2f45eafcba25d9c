"""Bags as episodes: what is in them, what is refused by name, and what does not matter."""

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from bag_making import JOINTS, SECOND_NS, STATIC, WORDS, WRIST, write_bag
from demonstration_making import (
    ARM,
    CHUNKS,
    EXPERT,
    FINGERS,
    KINEMATICS,
    STATUS,
    TARGET_POSE,
    TASK_STATE,
    chunk,
    demonstrate,
    joints,
    pose_message,
    records_of,
    status,
    task_state,
    topic,
    write_demonstration,
)

from worldagen.bags.writer import BagWriter
from worldagen.conventions import find_convention
from worldagen.data.bags import BagReading, BagSource
from worldagen.data.episodes import Episode, open_source
from worldagen.errors import BadEpisode, ConfigError, DataError, UnknownName
from worldagen.poses import Pose

MS = 1_000_000
CALVIN = find_convention("calvin")


def episode_of(folder, records, reading=None, **options) -> Episode:
    write_bag(folder / "shown", records, **options)
    return BagSource(folder, reading).read("shown")


def refusal(folder, records, reading=None, **options) -> str:
    with pytest.raises(BadEpisode, match=r"^shown: ") as refused:
        list(episode_of(folder, records, reading, **options).pictures())
    return str(refused.value)


def test_a_bag_is_what_was_seen_and_done_with_the_words_it_began_with(tmp_path):
    shown = demonstrate()
    episode = episode_of(tmp_path, records_of(shown))
    assert (episode.name, episode.instruction, episode.convention.name) == ("shown", "push the block", "calvin")
    assert np.array_equal(episode.actions, shown.rows) and np.array_equal(episode.targets, shown.clean)
    pictures = list(episode.pictures())
    assert np.array_equal([static for static, _ in pictures], shown.static)
    assert np.array_equal([wrist for _, wrist in pictures], shown.wrist)
    assert episode.values["drawer"] == pytest.approx(0.1 * np.arange(12))


def test_the_state_is_the_tool_pose_and_what_the_gripper_was_told_before(tmp_path):
    shown = demonstrate()
    states = episode_of(tmp_path, records_of(shown)).states
    assert np.array_equal(states[:, :6], [KINEMATICS.tool_pose(ARM, angles[:7]) for angles in shown.joints])
    assert states[:, 6].tolist() == [1.0, *shown.rows[:-1, 6]]  # first the fingers are looked at


def test_without_chunks_the_commands_say_the_same(tmp_path):
    shown = demonstrate()
    episode = episode_of(tmp_path, records_of(shown, without=(CHUNKS, EXPERT)))
    assert episode.actions == pytest.approx(shown.rows, abs=1e-12)
    assert np.array_equal(episode.targets, episode.actions)


def test_commands_that_follow_their_picture_by_a_while_are_still_its_action(tmp_path):
    shown = demonstrate()
    late = records_of(shown, without=(CHUNKS, EXPERT, TARGET_POSE))
    pose = Pose.from_euler(KINEMATICS.tool_pose(ARM, shown.joints[0, :7]))
    for stamp, row in zip(shown.stamps_ns.tolist(), shown.rows, strict=True):
        pose = pose.moved(row)
        late.append((TARGET_POSE, pose_message(stamp + 21 * MS, pose), stamp + 21 * MS, stamp + 21 * MS))
    assert episode_of(tmp_path, late).actions == pytest.approx(shown.rows, abs=1e-12)


def test_a_quick_stream_of_commands_is_summed_up_to_the_next_picture(tmp_path):
    shown = demonstrate(steps=4)
    records = records_of(shown, without=(CHUNKS, EXPERT, TARGET_POSE))
    pose = Pose.from_euler(KINEMATICS.tool_pose(ARM, shown.joints[0, :7]))
    for stamp, row in zip(shown.stamps_ns.tolist(), shown.rows, strict=True):
        for part in range(3):
            pose = pose.moved(np.array([*row[:3] / 3, 0, 0, 0]))
            records.append((TARGET_POSE, pose_message(stamp + part * 10 * MS, pose), stamp + part * 10 * MS, stamp))
    assert episode_of(tmp_path, records).actions[:, :3] == pytest.approx(shown.rows[:, :3], abs=1e-12)


def test_what_came_before_the_first_chunk_is_left_out(tmp_path):
    shown = demonstrate()
    first = shown.stamps_ns[0]
    records = [record for record in records_of(shown) if record[0] not in (CHUNKS, EXPERT) or record[3] != first]
    episode = episode_of(tmp_path, records)
    assert len(episode) == 9 and np.array_equal(next(iter(episode.pictures()))[0], shown.static[3])


def test_each_instruction_begins_an_episode_of_its_own(tmp_path):
    one, other = demonstrate("push it"), demonstrate("pull it", seed=1, start_s=1000.4)
    write_bag(tmp_path / "two", [*records_of(one), *records_of(other)])
    write_demonstration(tmp_path / "alone")
    source = BagSource(tmp_path)
    assert source.episodes() == ["alone", "two", "two#2"]
    for name, shown in (("two", one), ("two#2", other)):
        episode = source.read(name)
        assert episode.instruction == shown.words and np.array_equal(episode.actions, shown.rows)
        assert np.array_equal([static for static, _ in episode.pictures()], shown.static)


def test_what_the_policy_says_it_follows_counts_also_without_an_instruction(tmp_path):
    one, other = demonstrate("push it"), demonstrate("pull it", seed=1, start_s=1000.4)
    begin, turn, end = int(one.stamps_ns[0]), int(other.stamps_ns[0]), int(other.stamps_ns[9])
    told = [(begin, "push it"), (begin + 10, "push it"), (turn, "pull it"), (end, "")]
    records = [*records_of(one, without=[WORDS]), *records_of(other, without=[WORDS])]
    write_bag(tmp_path / "run", [*records, *((STATUS, status(at, words), at, at) for at, words in told)])
    source = BagSource(tmp_path)
    assert [(source.read(name).instruction, len(source.read(name))) for name in source.episodes()] == [
        ("push it", 12),
        ("pull it", 9),
    ]


def test_a_chunk_that_answered_other_words_is_not_carried_over(tmp_path):
    one, other = demonstrate("push it", steps=3), demonstrate("pull it", steps=6, seed=1, start_s=1000.1)
    records = [record for record in records_of(other) if record[0] not in (CHUNKS, EXPERT) or record[3] > other.stamps_ns[0]]
    long = (CHUNKS, chunk(int(one.stamps_ns[2]), np.zeros((9, 7))), int(one.stamps_ns[2]), int(one.stamps_ns[2]))
    write_bag(tmp_path / "two", [*records_of(one), long, *records])
    assert np.array_equal(BagSource(tmp_path).read("two#2").actions, other.rows[3:])


def test_a_pause_ends_an_episode_also_with_the_same_words(tmp_path):
    one, other = demonstrate(), demonstrate(seed=1, start_s=1002.0)
    write_bag(tmp_path / "long", [*records_of(one), *records_of(other, without=(WORDS,))])
    source = BagSource(tmp_path)
    assert source.episodes() == ["long", "long#2"]
    assert np.array_equal(source.read("long#2").actions, other.rows)
    assert BagSource(tmp_path, BagReading(pause_s=10)).episodes() == ["long"]


def test_one_bag_is_a_source_too_and_a_number_sign_in_its_name_is_no_number(tmp_path):
    write_demonstration(tmp_path / "shown#a")
    for path in (tmp_path, tmp_path / "shown#a"):
        source = BagSource(path)
        assert source.episodes() == ["shown#a"] and len(source.read("shown#a")) == 12
    for name in ("shown#a#x", "other"):
        with pytest.raises(DataError, match="no episode"):
            source.read(name)
    with pytest.raises(BadEpisode, match="shown#a#2: this bag has 1 episodes"):
        source.read("shown#a#2")


def test_topics_in_a_namespace_are_found(tmp_path):
    records = [(replace(what, name=f"/left{what.name}"), *rest) for what, *rest in records_of(demonstrate())]
    assert len(episode_of(tmp_path, records)) == 12


def test_raw_pictures_that_were_announced_but_never_came_give_way_to_compressed_ones(tmp_path):
    squeezed = replace(STATIC, name="/wrist_camera/image_raw/compressed")
    with BagWriter(tmp_path / "shown") as bag:
        bag.add_topic(WRIST)
        for what, data, log_ns, publish_ns in records_of(demonstrate()):
            kept = squeezed if what == WRIST else what
            bag.add_topic(kept)
            bag.write(kept.name, data, log_ns, publish_ns)
    assert len(list(BagSource(tmp_path).read("shown").pictures())) == 12


def test_the_bag_knows_better_than_we_do_whose_joints_these_are(tmp_path):
    moved = {"parameters": {"robot.base_pose": "(1.0, 0.0, 1e-05, 0.0, 0.0, 0.0)"}}
    shown = demonstrate()
    states = episode_of(tmp_path, records_of(shown), metadata=moved).states
    at_origin = KINEMATICS.tool_pose(ARM, shown.joints[0, :7])
    assert states[0, :3] == pytest.approx(at_origin[:3] + np.array([1.0, 0.0, 1e-5]))


def test_seldom_joints_are_mixed_where_that_is_declared(tmp_path):
    shown = demonstrate()
    records = [record for record in records_of(shown) if record[0] != JOINTS or record[3] in shown.stamps_ns[[0, 2, 4]]]
    with pytest.raises(BadEpisode, match=r"shown: joint_states is .* from instant 1 of 5; declared: nearest 0.02"):
        episode_of(tmp_path / "a", records)
    states = episode_of(tmp_path / "b", records, BagReading(joints="interpolate 0.1")).states
    middle = (shown.joints[0, :7] + shown.joints[2, :7]) / 2
    assert states[1, :6] == pytest.approx(KINEMATICS.tool_pose(ARM, middle), abs=1e-6)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ([WRIST], r"no pictures on wrist_camera/image_raw; its pictures are on: /static_camera/image_raw"),
        ([STATIC, WRIST], r"its pictures are on: no topic"),
        ([JOINTS], "no messages on joint_states"),
        ([WORDS], "no words: nothing on instruction or policy/status"),
        ([CHUNKS, EXPERT, TARGET_POSE], "no actions: neither action_chunk nor target_pose with gripper_command"),
    ],
)
def test_a_bag_that_lacks_something_is_refused_saying_what(tmp_path, missing, words):
    assert words in refusal(tmp_path, records_of(demonstrate(), without=missing))


def test_other_names_of_cameras_are_listed(tmp_path):
    renamed = replace(WRIST, name="/hand/color")
    records = [(renamed if what == WRIST else what, *rest) for what, *rest in records_of(demonstrate())]
    assert "its pictures are on: /static_camera/image_raw, /hand/color" in refusal(tmp_path, records)


def with_pictures_at(shown, instants):
    """Its records, with pictures at those instants only."""
    stamps = set(np.array(shown.stamps_ns)[instants].tolist())
    return [record for record in records_of(shown) if record[0] not in (STATIC, WRIST) or record[3] in stamps]


@pytest.mark.parametrize("steps", [12, 13, 14])
def test_with_pictures_at_the_beginnings_of_chunks_only_the_steps_between_are_those_of_the_joints(tmp_path, steps):
    shown = demonstrate(steps=steps)
    whole = episode_of(tmp_path / "whole", records_of(shown))
    rare = episode_of(tmp_path / "rare", with_pictures_at(shown, slice(None, None, 3)))
    assert (rare.every, whole.every) == (3, 1)
    for name in ("states", "actions", "targets"):
        assert np.array_equal(getattr(rare, name), getattr(whole, name)), name
    assert {name: numbers.tolist() for name, numbers in rare.values.items()} == {
        name: numbers.tolist() for name, numbers in whole.values.items()
    }
    assert [instant for instant, *_ in rare.frames()] == list(range(0, steps, 3))
    assert all(np.array_equal(static, shown.static[at]) for at, static, _ in rare.frames())
    assert all(np.array_equal(wrist, shown.wrist[at]) for at, _, wrist in rare.frames())


def test_what_comes_before_the_first_picture_with_an_action_is_left_out_up_to_a_picture(tmp_path):
    shown = demonstrate()
    records = with_pictures_at(shown, slice(None, None, 3))
    late = [record for record in records if record[0].name != "/action_chunk" or record[3] >= shown.stamps_ns[4]]
    rare = episode_of(tmp_path, late)
    assert len(rare) == 6 and np.array_equal(rare.actions, shown.rows[6:])
    assert np.array_equal(next(iter(rare.frames()))[1], shown.static[6])


@pytest.mark.parametrize(
    ("instants", "rate"), [([0, 3, 9], "5.0 Hz"), ([0, 2, 3, 5, 6, 8, 9, 11], "30.0 Hz"), ([0, 3, 6, 7, 10], "30.0 Hz")]
)
def test_pictures_that_are_not_always_as_many_steps_apart_are_refused_with_both_rates(tmp_path, instants, rate):
    told = refusal(tmp_path, with_pictures_at(demonstrate(), instants))
    assert f"the static camera has {rate}, 'calvin' 30.0 Hz" in told


@pytest.mark.parametrize(
    ("what", "data", "words"),
    [
        (JOINTS, joints(1000 * SECOND_NS + 1, ARM, np.full(7, np.nan)), "not finite: panda_joint1"),
        (JOINTS, joints(1000 * SECOND_NS + 1, ARM, np.zeros(6)), "7 joint names with 6 positions"),
        (STATIC, b"\0\1\0\0", "a message of 4 bytes"),
        (WORDS, b"\0\1\0\0\xff\xff\xff\xff", "/instruction"),
        (TASK_STATE, task_state(1000 * SECOND_NS + 1, {"a": 1.0}, ["a", "b"]), "/sim/task_state"),
        (topic("/instruction", "std_msgs/msg/Header"), joints(0, ARM, np.zeros(7)), "/instruction"),
    ],
)
def test_a_message_that_is_not_what_it_should_be_is_refused(tmp_path, what, data, words):
    records = records_of(demonstrate(), without=(WORDS,) if what.name == WORDS.name else ())
    assert words in refusal(tmp_path, [*records, (what, data, 1000 * SECOND_NS + 1, 1000 * SECOND_NS + 1)])


def test_joints_of_another_robot_are_refused(tmp_path):
    names = [f"ur5_{name}" for name in (*ARM, *FINGERS)]
    assert "lacks panda_joint1" in refusal(tmp_path, records_of(demonstrate(), joint_names=names))


def test_an_instant_that_was_shown_twice_is_one(tmp_path):
    shown = demonstrate()
    records = records_of(shown)
    repeated = [record for record in records if record[0] in (STATIC, WRIST) and record[3] == shown.stamps_ns[3]]
    assert len(repeated) == 2
    place = records.index(repeated[-1]) + 1
    once = episode_of(tmp_path / "once", records)
    twice = episode_of(tmp_path / "twice", [*records[:place], *repeated, *records[place:]])
    assert np.array_equal(once.actions, twice.actions) and np.array_equal(once.states, twice.states)


def test_stamps_that_do_not_rise_are_refused(tmp_path):
    shown = demonstrate()
    back = replace(shown, stamps_ns=shown.stamps_ns - np.where(np.arange(12) == 6, 90 * MS, 0))
    # It came when it should have; only its stamp is of before.
    came = [(what, data, log + 90 * MS * int(log == back.stamps_ns[6]), at) for what, data, log, at in records_of(back)]
    assert "stamps of the static camera do not rise" in refusal(tmp_path, sorted(came, key=lambda record: record[2]))


def test_a_robot_that_cannot_be_told_is_refused(tmp_path):
    for number, (parameter, value) in enumerate((("base_pose", "(1, 2, x)"), ("convention", "mine"), ("urdf", "/no/robot"))):
        told = {"parameters": {f"robot.{parameter}": value}}
        assert value.strip("(") in refusal(tmp_path / str(number), records_of(demonstrate()), metadata=told)


def test_a_truncated_bag_is_refused_by_name_and_the_others_are_read(tmp_path):
    for name in ("a", "b", "c"):
        write_demonstration(tmp_path / name)
    file = next((tmp_path / "b").glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-200])
    source = BagSource(tmp_path)
    assert source.episodes() == ["a", "b", "c"]
    with pytest.raises(BadEpisode, match=r"^b: .*worldagen bag recover"):
        source.read("b")
    assert len(source.read("a")) == len(source.read("c")) == 12


def test_pictures_that_vanish_or_cannot_be_decoded_are_refused_by_name_while_they_are_drawn(tmp_path):
    shown = demonstrate()
    odd = [
        (what, data.replace(b"rgb8", b"rgb9") if what == WRIST and stamp == shown.stamps_ns[5] else data, log, stamp)
        for what, data, log, stamp in records_of(shown)
    ]
    assert "rgb9" in refusal(tmp_path / "odd", odd)
    episode = episode_of(tmp_path / "gone", records_of(shown))
    shutil.rmtree(tmp_path / "gone" / "shown")
    with pytest.raises(BadEpisode, match=r"^shown: "):
        list(episode.pictures())


def test_clocks_that_disagree_are_told_by_how_many_samples_are_near_enough(tmp_path):
    records = records_of(demonstrate(), without=(JOINTS,))
    records += [record for record in records_of(demonstrate(start_s=2000.0)) if record[0] == JOINTS]
    assert "near enough: wrist_camera/image_raw 12, joint_states 0" in refusal(tmp_path, records)


def test_numbers_of_a_simulator_that_are_not_always_told_are_left_out(tmp_path):
    shown = demonstrate()
    records = records_of(shown, without=(TASK_STATE,))
    for step, stamp in enumerate(shown.stamps_ns.tolist()):
        values = {"drawer": 1.0, "lamp": 0.0} if step else {"drawer": 1.0}
        records.append((TASK_STATE, task_state(stamp, values), stamp, stamp))
    assert list(episode_of(tmp_path, records).values) == ["drawer"]


def test_the_skew_of_every_stream_is_told(tmp_path):
    write_demonstration(tmp_path / "shown")
    skew = BagSource(tmp_path).skew("shown")
    assert skew["wrist_camera/image_raw"].largest_s == 0 and skew["joint_states"].count == 12
    write_bag(tmp_path / "bad", records_of(demonstrate(), without=(WORDS,)))
    with pytest.raises(BadEpisode, match=r"^bad: no words"):
        BagSource(tmp_path).skew("bad")


def test_a_fingerprint_changes_with_the_files_and_the_reading(tmp_path):
    write_demonstration(tmp_path / "shown")
    before = BagSource(tmp_path).fingerprint()
    assert before == BagSource(tmp_path).fingerprint() != BagSource(tmp_path, BagReading(pause_s=1.0)).fingerprint()
    write_demonstration(tmp_path / "another")
    assert BagSource(tmp_path).fingerprint() != before


def test_a_wrong_rule_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="'often'"):
        BagSource(tmp_path, BagReading(joints="often"))


def test_a_folder_without_bags_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no bag; expected folders that hold metadata.yaml"):
        BagSource(tmp_path).episodes()


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("bags", DataError, "expected KIND:PATH, with KIND one of: bag, calvin, libero, lerobot"),
        ("zip:x", UnknownName, "bag, calvin, lerobot, libero"),
        ("bag:/not/here", DataError, "does not exist"),
    ],
)
def test_a_source_that_is_none_is_refused(spec, error, words):
    with pytest.raises(error, match=words):
        open_source(spec)


@pytest.mark.parametrize(("kind", "package"), [("libero", "h5py"), ("lerobot", "pyarrow")])
def test_a_source_whose_package_is_missing_says_what_to_install(tmp_path, monkeypatch, kind, package):
    for module in [name for name in sys.modules if name.startswith((package, "worldagen.data.le", "worldagen.data.li"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=rf"{package}; install the extra for it: pip install 'worldagen\[data\]'"):
        open_source(f"{kind}:{tmp_path}")


def test_what_must_not_be_trained_on_is_no_episode():
    good = dict.fromkeys(("states", "actions", "targets"), np.zeros((2, 7)))
    broken = np.zeros((2, 7))
    broken[1, 3] = np.nan
    for other, words in (
        ({"instruction": "  "}, "no words"),
        ({"states": np.zeros((0, 7))}, "no instant"),
        ({"actions": np.zeros((3, 7))}, r"actions have shape \(3, 7\)"),
        ({"states": broken}, "states hold nan at instant 1, number 3"),
        ({"values": {"drawer": np.zeros(3)}}, r"drawer has shape \(3,\)"),
    ):
        with pytest.raises(BadEpisode, match=f"^shown: {words}"):
            Episode(**{"name": "shown", "instruction": "push", "convention": CALVIN, "pictures": iter, **good, **other})
