"""The pixels of pictures as robots send them -> arrays: one decoder for live messages and for bags.

Everything comes out as (H, W, 3) uint8 RGB, without copying where possible.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from worldagen.errors import BadObservation

# encoding -> (channels, where red, green and blue stand)
COLOUR = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}


def decode_pixels(height: int, width: int, step: int, encoding: str, data: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB; for rgb8 and bgr8 a view on data, any buffer of bytes. step: bytes of one row.

    Raises BadObservation on an unknown encoding, an impossible size, or fewer bytes than height x step.
    """
    if encoding not in COLOUR:
        raise BadObservation(f"encoding {encoding!r}; expected one of: {', '.join(COLOUR)}")
    channels, order = COLOUR[encoding]
    width_bytes = width * channels
    if height == 0 or width == 0 or step < width_bytes:
        raise BadObservation(f"{width}x{height} {encoding} with a step of {step} bytes; expected at least {width_bytes}")
    if len(data) < height * step:
        raise BadObservation(f"{len(data)} bytes; expected height x step = {height} x {step} = {height * step}")
    rows = np.frombuffer(data, np.uint8, count=height * step).reshape(height, step)
    pixels = rows[:, :width_bytes].reshape(height, width, channels)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    return pixels[:, :, :3] if order == (0, 1, 2) else pixels[:, :, 2::-1]


def decode_file(data: bytes, named: str) -> np.ndarray:
    """The bytes of a JPEG or PNG file -> (H, W, 3) uint8 RGB. named: what the sender calls the format, for the error.

    Raises BadObservation when the bytes are no such picture.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise BadObservation(f"{len(data)} bytes of format {named!r} are no JPEG or PNG picture ({error})") from None
