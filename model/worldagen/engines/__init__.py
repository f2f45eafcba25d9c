"""What runs the encoder: pictures of both views in, latents and cls tokens out, by torch, ONNX Runtime or TensorRT.

encoder.py      the protocol, and torch itself
parts.py        which weights make the encoder, and their digest
graph.py        a small writer of ONNX graphs;  export.py writes the encoder with it
calibration.py  ranges of the activations, for int8 and fp8
files.py        exported files beside what they belong to, in a private folder
onnx_runtime.py, tensorrt_build.py, tensorrt_engine.py
probe.py        what an engine is tried with;  gate.py judges what it changes;  choosing.py takes the fastest that passes
"""
