"""Bags of other tools open when they are standard, and are named for what they are when they are not."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest
import yaml
from bag_making import JOINTS, STATIC, STORE, WORDS, WRIST, episode, joints, picture, words, write_bag
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as TheirWriter

from worldagen.bags.reader import begins_with_header, open_bag
from worldagen.bags.types import Topic
from worldagen.bags.writer import BagWriter, WriterOptions
from worldagen.errors import BagError, BagUnfinished


def their_bag(folder, storage=StoragePlugin.MCAP, mode=CompressionMode.NONE):
    """Three messages, written by rosbags."""
    bag = TheirWriter(folder, version=9, storage_plugin=storage)
    bag.set_compression(mode, CompressionFormat.ZSTD)
    with bag:
        connection = bag.add_connection(JOINTS.name, JOINTS.type, typestore=STORE)
        for stamp_ns in (1, 2, 3):
            bag.write(connection, stamp_ns, joints(stamp_ns))


def test_messages_come_by_time_and_by_topic_and_are_decoded(tmp_path):
    write_bag(tmp_path / "bag", episode(1.0))
    with open_bag(tmp_path / "bag") as bag:
        assert [message.log_time_ns for message in bag.messages()] == sorted(message.log_time_ns for message in bag.messages())
        pictures = list(bag.messages([WRIST.name]))
        assert len(pictures) == 30 and {message.topic for message in pictures} == {WRIST.name}
        image = bag.decode(pictures[3])
        assert (image.height, image.width, image.encoding) == (6, 8, "rgb8")
        assert isinstance(image.data, np.ndarray) and np.all(image.data == 4)
        assert image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == pictures[3].publish_time_ns
        assert bag.topics[WRIST.name] == WRIST
        assert bag.duration_s == pytest.approx(29 / 30 + 0.002)
        with pytest.raises(BagError, match="has no topic /tf; it has: /static_camera/image_raw"):
            next(bag.messages(["/tf"]))


def test_files_that_overlap_in_time_are_merged(tmp_path):
    records = episode(1.0)
    late = sorted(records, key=lambda record: record[0].name)  # one topic after the other, as no recorder does
    write_bag(tmp_path / "bag", late, options=WriterOptions("none", 500, max_file_bytes=10_000))
    with open_bag(tmp_path / "bag") as bag:
        assert len(bag.files) > 2
        assert [message.log_time_ns for message in bag.messages()] == [record[2] for record in records]


def test_a_type_nobody_installed_is_decoded_by_the_definition_in_the_bag(tmp_path):
    schema = "Inner[] parts\nfloat32[2] pair\n" + "=" * 80 + "\nMSG: made_up/Inner\nstring name\nint16 value\n"
    made_up = Topic("/odd", "made_up/msg/Odd", schema)
    data = b"\x00\x01\x00\x00" + b"\x01\0\0\0" + b"\x03\0\0\0ab\0" + b"\0" + b"\x07\0\0\0" + np.array([1, 2], "<f4").tobytes()
    write_bag(tmp_path / "bag", [(made_up, data, 5, 5)])
    with open_bag(tmp_path / "bag") as bag:
        odd = bag.decode(next(bag.messages()))
    assert [(part.name, part.value) for part in odd.parts] == [("ab", 7)] and odd.pair.tolist() == [1, 2]


def test_a_bag_of_rosbags_opens(tmp_path):
    their_bag(tmp_path / "bag")
    with open_bag(tmp_path / "bag") as bag:
        assert [bag.decode(message).name for message in bag.messages()] == [["a", "b", "c"]] * 3
        assert bag.counts == {JOINTS.name: 3} and bag.metadata == {}


def test_only_a_header_at_the_start_counts_as_one():
    assert begins_with_header(JOINTS.type, JOINTS.schema)
    assert not begins_with_header(WORDS.type, WORDS.schema)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: their_bag(path / "bag", StoragePlugin.SQLITE3), "stored as 'sqlite3'; this suite reads mcap"),
        (lambda path: their_bag(path / "bag", mode=CompressionMode.MESSAGE), "every message of this bag is packed as 'zstd'"),
        (lambda path: None, "no such bag"),
        (lambda path: (path / "bag").mkdir(), "no bag: neither metadata.yaml nor .mcap files; it is empty"),
        (lambda path: (path / "bag").write_bytes(b"#ROSBAG V2.0\n"), "a ROS 1 bag; rosbags-convert"),
        (lambda path: sqlite3.connect(path / "bag").execute("create table a (b)"), "an sqlite3 file of rosbag2"),
        (lambda path: (path / "bag").write_bytes(b"hello"), "not a bag; give the folder that holds metadata.yaml"),
    ],
)
def test_what_is_no_mcap_bag_is_named(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(BagError, match=says):
        open_bag(tmp_path / "bag")


def test_a_bare_file_and_a_folder_without_description_lead_to_recover(tmp_path):
    write_bag(tmp_path / "bag", episode(0.2))
    with pytest.raises(BagError, match=r"a bare MCAP file; .*worldagen bag recover"):
        open_bag(tmp_path / "bag/bag_0.mcap")
    (tmp_path / "bag/metadata.yaml").unlink()
    with pytest.raises(BagUnfinished, match=r"has no metadata\.yaml; run: worldagen bag recover"):
        open_bag(tmp_path / "bag")


def test_an_unfinished_bag_is_told_and_so_is_a_file_that_vanished(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(JOINTS)
        bag.write(JOINTS.name, joints(1), 1, 1)
        bag.flush()
        with pytest.raises(BagUnfinished, match=r"bag_0.mcap: has no end: .* run: worldagen bag recover"):
            open_bag(tmp_path / "bag")
    (tmp_path / "bag/bag_0.mcap").unlink()
    with pytest.raises(BagError, match=r"its file bag_0.mcap is missing"):
        open_bag(tmp_path / "bag")


def describe(folder, **changes):
    """Change a metadata.yaml."""
    path = folder / "metadata.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["rosbag2_bagfile_information"].update(changes)
    path.write_text(yaml.safe_dump(tree))


def test_a_description_that_cannot_be_understood_is_told(tmp_path):
    write_bag(tmp_path / "bag", episode(0.2))
    describe(tmp_path / "bag", version=10)
    with pytest.raises(BagError, match="metadata version 10; this suite reads up to 9"):
        open_bag(tmp_path / "bag")
    for text, says in (("{", "cannot be read"), ("a: b", "not the description of a rosbag2 bag"), ("", "not the description")):
        (tmp_path / "bag/metadata.yaml").write_text(text)
        with pytest.raises(BagError, match=says):
            open_bag(tmp_path / "bag")


def test_files_nobody_described_are_not_passed_over(tmp_path):
    write_bag(tmp_path / "bag", episode(0.2))
    write_bag(tmp_path / "more", episode(0.2))
    (tmp_path / "more/more_0.mcap").rename(tmp_path / "bag/bag_1.mcap")
    with pytest.raises(BagUnfinished, match=r"does not name bag_1.mcap"):
        open_bag(tmp_path / "bag")


def test_another_kind_of_mcap_is_named(tmp_path):
    write_bag(tmp_path / "bag", episode(0.2))
    with (tmp_path / "bag/bag_0.mcap").open("wb") as stream:
        foreign = McapWriter(stream)
        foreign.start(profile="protobuf")
        foreign.finish()
    with pytest.raises(BagError, match="an MCAP file of 'protobuf'; this suite reads those of ros2"):
        open_bag(tmp_path / "bag")


def test_a_flipped_bit_is_found_and_not_handed_out(tmp_path):
    write_bag(tmp_path / "bag", episode(1.0), options=WriterOptions("none", chunk_bytes=2000))
    path = tmp_path / "bag/bag_0.mcap"
    data = bytearray(path.read_bytes())
    place = data.index(picture(1_000 * 10**9, 0)[-40:])
    data[place] ^= 1
    path.write_bytes(data)
    with open_bag(tmp_path / "bag") as bag, pytest.raises(BagError, match=r"bag_0.mcap: damaged \(crc validation failed"):
        list(bag.messages())


def test_definitions_that_are_missing_or_wrong_are_told_when_they_are_needed(tmp_path):
    bare, wrong, short = (replace(WORDS, name=f"/{name}") for name in ("bare", "wrong", "short"))
    bare, wrong = replace(bare, schema=""), replace(wrong, schema="Nothing[] such\n")
    records = [(what, words("hello"), 1, 1) for what in (bare, wrong)] + [(short, words("hello")[:9], 1, 1)]
    write_bag(tmp_path / "bag", records)
    with open_bag(tmp_path / "bag") as bag:
        messages = {message.topic: message for message in bag.messages()}
        with pytest.raises(BagError, match="holds no definition of std_msgs/msg/String"):
            bag.decode(messages["/bare"])
        with pytest.raises(BagError, match="definition of std_msgs/msg/String cannot be understood"):
            bag.decode(messages["/wrong"])
        with pytest.raises(BagError, match="a message of /short is no std_msgs/msg/String of 9 bytes"):
            bag.decode(messages["/short"])


def test_one_bag_may_hold_two_definitions_of_one_type(tmp_path):
    other = replace(WORDS, name="/other", schema="int32 data\n")
    write_bag(tmp_path / "bag", [(WORDS, words("a"), 1, 1), (other, b"\x00\x01\x00\x00\x05\x00\x00\x00", 2, 2)])
    with open_bag(tmp_path / "bag") as bag:
        assert [bag.decode(message).data for message in bag.messages()] == ["a", 5]


def test_pictures_keep_their_bytes(tmp_path):
    data = picture(3, shade=200)
    write_bag(tmp_path / "bag", [(STATIC, data, 1, 3)])
    with open_bag(tmp_path / "bag") as bag:
        assert next(bag.messages()).data == data
