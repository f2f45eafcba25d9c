"""`worldagen bag`: for people, for programs, and for shells that look at the exit code."""

import json

import numpy as np
import pytest
from bag_making import JOINTS, STATIC, WRIST, episode, picture, write_bag
from PIL import Image
from test_bags_check import CONTRACT

from worldagen.bags.reader import open_bag
from worldagen.bags.thumbnails import draw_contact_sheet
from worldagen.bags.writer import BagWriter
from worldagen.cli import main
from worldagen.errors import BagError


@pytest.fixture
def bag(tmp_path):
    carried = {"contract": {"json": CONTRACT.to_json()}, "episode": {"task": "lift_red_block", "seed": "7"}}
    write_bag(tmp_path / "bag", episode(), carried)
    return tmp_path / "bag"


def test_info_tells_people_and_programs_the_same(bag, capsys):
    assert main(["bag", "info", str(bag)]) == 0
    text = capsys.readouterr().out
    for part in ("180 messages, 1.97 s", "with a contract", "60    30.00     0.03  /joint_states", "task: lift_red_block"):
        assert part in text
    assert main(["bag", "info", str(bag), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["messages"] == 180 and told["topics"][JOINTS.name]["rate_hz"] == pytest.approx(30.0, rel=1e-3)
    assert told["metadata"] == {"episode": {"task": "lift_red_block", "seed": "7"}} and told["has_contract"]


def test_check_ends_with_1_on_a_fault_only(bag, tmp_path, capsys):
    assert main(["bag", "check", str(bag)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{bag}: OK (0 FAIL, 0 WARN, 6 OK)"
    stricter = tmp_path / "contract.json"
    stricter.write_text('{"topics": [{"name": "/tf", "type": "tf2_msgs/msg/TFMessage"}]}')
    assert main(["bag", "check", str(bag), "--contract", str(stricter), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["level"] == "FAIL"
    assert {"level": "FAIL", "where": "/tf", "text": "missing: the bag has no such topic"} in told["findings"]
    assert main(["bag", "check", str(bag), "--contract", str(tmp_path / "none.json")]) == 1
    assert "none.json: cannot be read" in capsys.readouterr().err


def test_recover_says_what_it_saved(tmp_path, capsys):
    unfinished = BagWriter(tmp_path / "bag")
    for what, data, *times in episode(0.5):
        unfinished.add_topic(what)
        unfinished.write(what.name, data, *times)
    unfinished.flush()
    assert main(["bag", "info", str(tmp_path / "bag")]) == 1
    assert "run: worldagen bag recover" in capsys.readouterr().err
    assert main(["bag", "recover", str(tmp_path / "bag")]) == 0
    text = capsys.readouterr().out
    assert "45 messages, every one read back and compared" in text and "15  /joint_states  (ends 0.000 s" in text
    assert main(["bag", "recover", str(tmp_path / "bag_recovered"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["healthy"] is True
    assert main(["bag", "recover", str(tmp_path / "bag_recovered")]) == 0
    assert "healthy: all of its 45 messages were read; nothing to recover, nothing written" in capsys.readouterr().out


def test_thumbnails_show_every_camera_at_every_time(bag, tmp_path, capsys):
    assert main(["bag", "thumbnails", str(bag), "--columns", "4"]) == 0
    assert "bag.png" in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "bag.png").convert("RGB"))
    with open_bag(bag) as opened:
        assert np.array_equal(np.asarray(draw_contact_sheet(opened, 4)), sheet)
    pixels = {tuple(pixel) for pixel in sheet.reshape(-1, 3).tolist()}
    shades = (0, 1, 20, 21, 59, 60)  # of the pictures at 0, 1/3 and 1 of the time; the wrist's are one brighter
    assert {(shade,) * 3 for shade in shades} <= pixels


def test_a_bag_without_pictures_has_no_sheet(tmp_path):
    write_bag(tmp_path / "bag", [record for record in episode(0.1) if record[0] is JOINTS])
    with open_bag(tmp_path / "bag") as bag, pytest.raises(BagError, match="has no pictures; it has: /joint_states"):
        draw_contact_sheet(bag)


def test_a_picture_that_cannot_be_shown_leaves_its_place_empty(tmp_path):
    write_bag(tmp_path / "bag", [(STATIC, picture(1, encoding="yuv422"), 1, 1), (WRIST, picture(1, 200), 2, 1)])
    with open_bag(tmp_path / "bag") as bag:
        sheet = np.asarray(draw_contact_sheet(bag))
    assert np.all(sheet == 200, axis=2).any()
    with open_bag(tmp_path / "bag") as bag, pytest.raises(BagError, match="99 columns; expected 1 to 50"):
        draw_contact_sheet(bag, 99)
