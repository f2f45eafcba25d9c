"""Every fault that a recording can have is a finding that names it; a good recording has none."""

from dataclasses import replace

import numpy as np
import pytest
from bag_making import (
    JOINTS,
    SECOND_NS,
    STATIC,
    TYPES,
    WORDS,
    WRIST,
    encode,
    episode,
    header,
    joints,
    picture,
    words,
    write_bag,
)

from worldagen.bags.check import RECORDING, Level, check_bag, nearest_distance_s
from worldagen.bags.contract import Contract, TopicContract
from worldagen.bags.streams import header_stamp_ns
from worldagen.bags.writer import BagWriter
from worldagen.errors import BagError

CONTRACT = Contract(
    topics=(
        TopicContract(STATIC.name, STATIC.type, 30.0, width=8, height=6, encoding="rgb8"),
        TopicContract(WRIST.name, WRIST.type, 30.0),
        TopicContract(JOINTS.name, JOINTS.type, 30.0),
        TopicContract(WORDS.name, WORDS.type, required=False),
    ),
    max_skew_s=0.02,
)


def findings(tmp_path, records, contract=CONTRACT, metadata=None):
    """What is not OK about a bag: its lines."""
    carried = {"contract": {"json": contract.to_json()}} if contract else {}
    write_bag(tmp_path / "bag", records, {**carried, **(metadata or {})})
    return [str(finding) for finding in check_bag(tmp_path / "bag") if finding.level is not Level.OK]


def changed(records, where, change):
    """Records with those of one topic changed: change(index, record) -> records."""
    out, index = [], 0
    for record in records:
        if record[0] is where:
            out += change(index, record)
            index += 1
        else:
            out.append(record)
    return out


def test_a_good_recording_has_nothing_but_ok(tmp_path):
    assert findings(tmp_path, episode()) == []
    told = [str(finding) for finding in check_bag(tmp_path / "bag")]
    assert "OK   /static_camera/image_raw: 30.00 Hz; declared are 30 Hz" in told
    assert "OK   /instruction: not recorded (optional)" in told
    assert any("/joint_states: skew to /static_camera/image_raw p50 0.0" in line for line in told)


def test_a_bag_without_a_contract_says_so_and_is_checked_for_the_rest(tmp_path):
    assert findings(tmp_path, episode(), contract=None) == [
        "WARN bag: carries no contract: required topics, rates and picture sizes are not checked"
    ]


def test_another_contract_may_be_held_against_a_bag(tmp_path):
    write_bag(tmp_path / "bag", episode())
    stricter = Contract((TopicContract("/tf", "tf2_msgs/msg/TFMessage"),))
    assert "FAIL /tf: missing: the bag has no such topic" in map(str, check_bag(tmp_path / "bag", stricter))


def test_a_missing_topic_is_named(tmp_path):
    records = [record for record in episode() if record[0] is not WRIST]
    assert findings(tmp_path, records) == ["FAIL /wrist_camera/image_raw: missing: the bag has no such topic"]


def test_a_topic_of_another_type_is_named(tmp_path):
    records = [(replace(WORDS, name=WRIST.name), words("a"), *times) if what is WRIST else (what, data, *times)
               for what, data, *times in episode()]  # fmt: skip
    found = findings(tmp_path, records)
    assert f"FAIL {WRIST.name}: is std_msgs/msg/String; the contract says sensor_msgs/msg/Image" in found


def test_a_rate_below_the_declared_one_is_a_fault(tmp_path):
    found = findings(tmp_path, changed(episode(), WRIST, lambda index, record: [record] if index % 2 else []))
    assert f"FAIL {WRIST.name}: 15.00 Hz; declared are 30 Hz" in found


def test_lost_messages_are_counted(tmp_path):
    lost = changed(episode(seconds=10), STATIC, lambda index, record: [] if index in (50, 51, 90) else [record])
    assert findings(tmp_path, lost) == [
        f"WARN {STATIC.name}: 3 messages are missing in 2 gaps (1.0%); the longest is 0.100 s",
    ]


def test_a_silence_of_seconds_is_a_fault_unless_it_is_a_pause(tmp_path):
    records = [*episode(1.0), *episode(1.0, start_ns=1_003 * SECOND_NS)]
    found = findings(tmp_path / "live", records)
    assert f"FAIL {JOINTS.name}: 60 messages are missing in 1 gaps (50.0%); the longest is 2.033 s" in found
    assert findings(tmp_path / "lockstep", records, replace(CONTRACT, pause_s=0.5)) == []


def test_stamps_and_log_times_that_run_back_are_found(tmp_path):
    def swap_stamp(index, record):
        what, _, log_ns, stamp_ns = record
        return [(what, joints(stamp_ns - 1_500_000_000), log_ns, stamp_ns)] if index == 40 else [record]

    found = findings(tmp_path / "stamp", changed(episode(), JOINTS, swap_stamp))
    assert f"FAIL {JOINTS.name}: stamp runs back 1 times, first at message 40, by 1.466667 s at most" in found

    def early(index, record):
        what, data, log_ns, stamp_ns = record
        return [(what, data, log_ns - (index >= 30) * 5 * SECOND_NS, stamp_ns)]

    found = findings(tmp_path / "log", changed(episode(), JOINTS, early))
    assert found == [f"FAIL {JOINTS.name}: log time runs back 1 times, first at message 30, by 4.966667 s at most"]


def test_repeated_and_unset_stamps_are_told(tmp_path):
    found = findings(tmp_path / "repeated", changed(episode(), JOINTS, lambda index, record: [record] * (1 + (index == 3))))
    assert found == [f"WARN {JOINTS.name}: 1 messages repeat the stamp before them"]
    found = findings(tmp_path / "unset", [(WORDS, words("a"), 5, 5), (JOINTS, joints(0), 5, 5)], contract=None)
    assert f"WARN {JOINTS.name}: 1 of 1 messages have no stamp in their header (it is 0)" in found


def test_streams_that_are_apart_in_time_are_measured(tmp_path):
    def later(_, record):
        what, _, log_ns, stamp_ns = record
        return [(what, picture(stamp_ns + 500_000_000), log_ns, stamp_ns)]

    found = findings(tmp_path, changed(episode(), WRIST, later))
    assert len(found) == 1 and found[0].startswith(f"FAIL {WRIST.name}: skew to {STATIC.name} p50 0.0")
    assert found[0].endswith("largest 500.0 ms; 15 of 60 instants are more than 20 ms apart")


def test_pictures_that_change_or_are_not_as_promised_are_named(tmp_path):
    def smaller(index, record):
        what, _, log_ns, stamp_ns = record
        return [(what, picture(stamp_ns, width=4), log_ns, stamp_ns)] if index > 50 else [record]

    found = findings(tmp_path / "size", changed(episode(), STATIC, smaller))
    assert found == [
        f"FAIL {STATIC.name}: pictures change: 51 of 8x6 rgb8, 9 of 4x6 rgb8",
        f"FAIL {STATIC.name}: pictures of 4x6; the contract says 8x6",
    ]

    def swapped(_, record):
        what, _, log_ns, stamp_ns = record
        return [(what, picture(stamp_ns, encoding="bgr8"), log_ns, stamp_ns)]

    found = findings(tmp_path / "encoding", changed(episode(), STATIC, swapped))
    assert found == [f"FAIL {STATIC.name}: pictures are bgr8; the contract says rgb8"]


def test_messages_that_do_not_fit_their_definition_are_counted(tmp_path):
    def cut(index, record):
        what, data, *times = record
        return [(what, data[:40], *times)] if index in (2, 3) else [record]

    found = findings(tmp_path, changed(episode(), JOINTS, cut))
    assert len(found) == 1 and found[0].startswith(f"FAIL {JOINTS.name}: 2 of 60 messages cannot be decoded; first: ")
    assert "is no sensor_msgs/msg/JointState of 40 bytes" in found[0]


def test_a_picture_with_too_few_bytes_is_undecodable(tmp_path):
    image = TYPES[STATIC.type](header(SECOND_NS), 6, 8, "rgb8", 0, 24, np.zeros(10, np.uint8))
    found = findings(tmp_path, [(STATIC, encode(STATIC.type, image), 1, SECOND_NS)], contract=None)
    assert any("8x6 rgb8: 10 bytes; expected 6 rows of 24" in line for line in found)


def test_a_type_without_a_definition_is_named(tmp_path):
    unknown = replace(JOINTS, schema="")
    records = [(unknown if what is JOINTS else what, *rest) for what, *rest in episode()]
    found = findings(tmp_path, records)
    assert f"FAIL {JOINTS.name}: no definition of sensor_msgs/msg/JointState in the bag: it cannot be decoded" in found


def test_a_promised_topic_without_a_message_is_a_fault(tmp_path):
    with BagWriter(tmp_path / "bag", {"contract": {"json": CONTRACT.to_json()}}) as bag:
        for topic in (STATIC, WRIST, JOINTS, WORDS):
            bag.add_topic(topic)
    found = [str(finding) for finding in check_bag(tmp_path / "bag") if finding.level is Level.FAIL]
    assert found == [f"FAIL {topic.name}: no message" for topic in (STATIC, WRIST, JOINTS)]


def test_what_the_recorder_counted_is_believed(tmp_path):
    counted = {"dropped /joint_states": "3", "dropped /tf": "0", "lost /wrist": "2", "stopped": "the disk is full"}
    found = findings(tmp_path, episode(), metadata={RECORDING: counted})
    assert found == [
        "FAIL /joint_states: the recorder dropped 3 messages",
        "WARN /wrist: the middleware lost 2 messages before the recorder",
        "WARN bag: the recorder stopped by itself: the disk is full",
    ]


def test_a_contract_comes_back_and_refuses_what_it_does_not_know():
    assert Contract.from_json(CONTRACT.to_json(), "here") == CONTRACT
    for text, says in (
        ("{", "here: not a contract: no JSON"),
        ("[]", "expected an object with a list of topics"),
        ('{"topics": [], "speed": 1}', "here: unknown key speed; allowed: topics, max_skew_s, pause_s"),
        ('{"topics": [{"name": "/a", "type": "b", "hz": 3}]}', "here: topic 0: unknown key hz; allowed: name, type, rate_hz"),
        ('{"topics": [{"name": "/a"}]}', "topic 0: incomplete"),
        ('{"topics": [{"name": "/a", "type": "b", "rate_hz": "fast"}]}', "rate_hz is 'fast'; expected a float"),
        ('{"topics": [{"name": "/a", "type": "b", "rate_hz": -1}]}', "rate_hz is -1.0"),
        ('{"topics": [{"name": "/a", "type": "b"}, {"name": "/a", "type": "b"}]}', "found twice: /a"),
    ):
        with pytest.raises(BagError, match=says):
            Contract.from_json(text, "here")


def test_a_broken_contract_in_a_bag_is_a_finding(tmp_path):
    write_bag(tmp_path / "bag", episode(0.1), {"contract": {"json": "{"}})
    assert [finding.level for finding in check_bag(tmp_path / "bag")] == [Level.FAIL]


def test_a_stamp_is_read_from_the_bytes_in_either_byte_order():
    stamp_ns = 12 * SECOND_NS + 34
    assert header_stamp_ns(joints(stamp_ns)) == stamp_ns
    assert header_stamp_ns(b"\x00\x00\x00\x00" + (12).to_bytes(4, "big") + (34).to_bytes(4, "big")) == stamp_ns
    with pytest.raises(BagError, match="a message of 5 bytes"):
        header_stamp_ns(b"\x00\x01\x00\x00\x01")


def test_the_nearest_instant_is_found_on_either_side():
    at, among = np.array([0, 10, 14, 99]), np.array([20, 12, 1])
    assert nearest_distance_s(at, among) == pytest.approx(np.array([1, 2, 2, 79]) * 1e-9)
    assert nearest_distance_s(at, np.array([10])) == pytest.approx(np.array([10, 0, 4, 89]) * 1e-9)
