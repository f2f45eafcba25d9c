"""Exported files are used only whole, only for what they are of, and only from a folder of our own."""

import json
import os

import pytest
from engine_making import pictures
from small_networks import TINY, build

from worldagen.engines.exported import export, find_or_export
from worldagen.engines.files import engine_folder, find, private_folder, store
from worldagen.errors import EngineError

OF = {"encoder": "1234"}


def test_what_was_stored_is_found(tmp_path):
    stored = store(tmp_path / "a.onnx", b"bytes", OF)
    assert find(tmp_path / "a.onnx", OF) == stored
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.onnx", "a.onnx.json"]


def test_a_file_of_another_model_is_refused_with_both_digests(tmp_path):
    store(tmp_path / "a.onnx", b"bytes", OF)
    with pytest.raises(EngineError, match=r"(?s)something else.*encoder: found '1234', expected '5678'"):
        find(tmp_path / "a.onnx", {"encoder": "5678"})


@pytest.mark.parametrize("bytes_left", [b"byt", b"bytez", b""])
def test_a_file_that_is_cut_or_changed_is_refused(tmp_path, bytes_left):
    store(tmp_path / "a.onnx", b"bytes", OF)
    (tmp_path / "a.onnx").write_bytes(bytes_left)
    with pytest.raises(EngineError, match="not those of its manifest"):
        find(tmp_path / "a.onnx", OF)


@pytest.mark.parametrize(
    ("manifest", "words"), [(None, "no such file"), ("{", "cannot be read as JSON"), ("[]", "expected an object")]
)
def test_a_file_without_a_good_manifest_is_refused(tmp_path, manifest, words):
    store(tmp_path / "a.onnx", b"bytes", OF)
    (tmp_path / "a.onnx.json").unlink()
    if manifest is not None:
        (tmp_path / "a.onnx.json").write_text(manifest)
    with pytest.raises(EngineError, match=words):
        find(tmp_path / "a.onnx", OF)


def test_a_missing_file_is_told(tmp_path):
    store(tmp_path / "a.onnx", b"bytes", OF)
    (tmp_path / "a.onnx").unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        find(tmp_path / "a.onnx", OF)


def test_the_folder_is_made_private_and_one_that_others_write_to_is_refused(tmp_path):
    folder = private_folder(tmp_path / "engines")
    assert folder.stat().st_mode & 0o777 == 0o700
    os.chmod(folder, 0o777)
    with pytest.raises(EngineError, match="chmod 700"):
        private_folder(folder)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be made"):
        private_folder(tmp_path / "file" / "engines")


def test_engines_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine_folder() == tmp_path / "worldagen" / "engines"
    assert engine_folder("elsewhere").name == "elsewhere"


def test_an_export_is_made_once_and_again_only_for_another_encoder_or_a_damaged_file(tmp_path):
    network = build(TINY)
    first = find_or_export(tmp_path, network, "fp32")
    written = first.path.stat().st_mtime_ns
    assert find_or_export(tmp_path, network, "fp32").path.stat().st_mtime_ns == written
    first.path.write_bytes(first.path.read_bytes()[:1000])
    assert find_or_export(tmp_path, network, "fp32").told["sha256"] == first.told["sha256"]
    network.resampler.latents.data += 1
    assert find_or_export(tmp_path, network, "fp32").told["encoder"] != first.told["encoder"]


def test_other_calibration_frames_make_another_file_and_both_forms_of_int8_lie_side_by_side(tmp_path):
    network = build(TINY)
    plain = export(tmp_path, network, "int8")
    frames = [pictures(TINY, seed=seed) for seed in range(4)]
    calibrated = find_or_export(tmp_path, network, "int8", frames)
    assert calibrated.path != plain.path and plain.path.exists()
    others = find_or_export(tmp_path, network, "int8", [pictures(TINY, seed=seed) for seed in range(4, 8)])
    assert others.told["calibration"] != calibrated.told["calibration"]
    assert json.loads((tmp_path / "encoder_int8_qdq.onnx.json").read_text())["calibration_frames"] == 4
