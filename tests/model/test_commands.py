"""The commands that look at and make checkpoints."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from small_networks import TINY, build
from test_published import PUBLISHED, split, their_tensors

from worldagen.checkpoint import load_checkpoint, save_checkpoint
from worldagen.cli import main
from worldagen.policy_conventions import PRESET_CONVENTIONS


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "mine", build(TINY), PRESET_CONVENTIONS["playtable"], notes="made for a test")
    return tmp_path / "mine"


def test_inspect_tells_a_person_what_a_checkpoint_holds(folder, capsys):
    assert main(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    for part in ("made for a test", "resampler", "a unit has 44 tokens, the window 132", "image cls", "gripper_threshold"):
        assert part in text


def test_inspect_tells_a_program_the_same(folder, capsys):
    assert main(["inspect", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    network = build(TINY)
    assert report["parameters_total"] == sum(tensor.numel() for tensor in network.state_dict().values())
    assert report["parameters"]["resampler"] == sum(p.numel() for p in network.resampler.parameters())
    assert report["unit"]["action"] == {"count": 5, "start": 2}
    assert report["conventions"]["actions"]["period_s"] == pytest.approx(1 / 30)
    assert report["adapters"] == []


def test_inspect_refuses_what_is_no_checkpoint_in_one_line(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 1
    assert "no such file" in capsys.readouterr().err


def test_checkpoint_import_writes_a_folder_and_says_what_it_did(tmp_path, capsys):
    network = build(PUBLISHED)
    trained, mae, clip = split(their_tensors(network))
    torch.save({"model_state_dict": trained}, tmp_path / "theirs.pth")
    torch.save({"model": mae}, tmp_path / "mae.pth")
    torch.save(clip, tmp_path / "clip.pt")
    options = ["--mae", str(tmp_path / "mae.pth"), "--clip", str(tmp_path / "clip.pt"), "--conventions", "calvin"]
    assert main(["checkpoint", "import", str(tmp_path / "theirs.pth"), *options, "--out", str(tmp_path / "ours")]) == 0
    text = capsys.readouterr().out
    assert "K = 2 units, n = 1 frames, m = 3 rows" in text
    assert "not used: attention_mask" in text
    loaded, conventions = load_checkpoint(tmp_path / "ours")
    assert torch.equal(loaded.position, network.position)
    assert conventions == PRESET_CONVENTIONS["calvin"]


def test_checkpoint_import_refuses_unknown_conventions(tmp_path, capsys):
    arguments = ["checkpoint", "import", "theirs.pth", "--conventions", "robocasa", "--out", str(tmp_path / "ours")]
    assert main(arguments) == 1
    assert "calvin, libero, playtable" in capsys.readouterr().err


def test_the_mask_is_drawn_as_a_picture_with_as_many_squares_as_the_mask_has(tmp_path, capsys):
    picture = tmp_path / "mask.svg"
    assert main(["mask", str(picture)]) == 0
    root = ElementTree.parse(picture).getroot()
    bars = [item for item in root if item.tag.endswith("rect")][1:]  # the first is the paper
    assert sum(int(bar.get("width")) for bar in bars) == 7 * 4_941
