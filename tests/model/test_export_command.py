"""`worldagen export`: what it writes, what it tells, and what it refuses before minutes are spent."""

import sys

import pytest

from worldagen.cli import main


def test_an_exported_encoder_is_written_tried_and_told(tmp_path, capsys):
    out = tmp_path / "engines"
    assert main(["export", "playtable", "--engine", "onnx", "--precision", "int8", "--out", str(out)]) == 0
    told = capsys.readouterr().out.splitlines()
    (file,) = out.rglob("*.onnx")
    assert told[1].startswith(f"{file}: ") and file.name == "encoder_int8.onnx"
    assert told[2].startswith("onnxruntime int8 on CPU: cosine 0.99") and "8 drawn frames" in told[2]
    assert told[-1] == "within the default limits"


def test_a_form_for_a_gpu_is_written_and_not_tried_here(tmp_path, capsys):
    assert main(["export", "playtable", "--engine", "onnx", "--precision", "bf16", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "it is tried where it runs: this form is for a GPU"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "onnx", "--precision", "fp8"], "fp8 for TensorRT needs calibration frames; give bags: --frames BAG"),
        (["--engine", "tensorrt"], "TensorRT is not installed"),
        (["--engine", "onnx", "--frames", "nowhere"], "no frames to try engines with"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, capsys, monkeypatch, options, words):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main(["export", "playtable", *options, "--out", str(tmp_path)]) == 1
    assert words in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.onnx"))
