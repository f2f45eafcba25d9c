"""How a session makes an observation's pictures the network's numbers: by Pillow, as checkpoints are trained, or by torch.

torch resizes in a quarter of the time on a CPU, and on a GPU not on the CPU at all; one number in three hundred comes out one
level of 255 higher or lower than by Pillow, and here and there one by two.

Legend: H x W pixels of a camera picture, S side of the network's square input, N frames.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch.nn import functional as F

from worldagen.preprocess import ImageScaling, ViewScaler, size_and_crop

View: TypeAlias = tuple[Sequence[np.ndarray], int]  # N pictures of a view, (H, W, 3) uint8, upright RGB, and S


class Scaler(Protocol):
    """Belongs to one session. name: what it is, in words."""

    name: str

    def scale(self, scaling: ImageScaling, static: View, wrist: View) -> tuple[torch.Tensor, torch.Tensor]:
        """Both views, (N, 3, S, S) float32 normalised each, on the network's device."""
        ...


class PillowScaler:
    """On the CPU, both views at the same time, to the bits that training sees."""

    name = "Pillow"

    def __init__(self, device: torch.device) -> None:
        self._device, self._views = device, ViewScaler()

    def scale(self, scaling: ImageScaling, static: View, wrist: View) -> tuple[torch.Tensor, torch.Tensor]:
        one, other = self._views.scale(scaling, static, wrist)
        return torch.from_numpy(one).to(self._device), torch.from_numpy(other).to(self._device)


class TorchScaler:
    """On the network's device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.name = f"torch on {'the GPU' if device.type == 'cuda' else 'the CPU'}"
        self._uploads: dict[tuple[int, ...], torch.Tensor] = {}  # by shape; pinned where there is a GPU

    def scale(self, scaling: ImageScaling, static: View, wrist: View) -> tuple[torch.Tensor, torch.Tensor]:
        return self._scale(scaling, *static), self._scale(scaling, *wrist)

    def _scale(self, scaling: ImageScaling, images: Sequence[np.ndarray], side: int) -> torch.Tensor:
        numbers = torch.empty(len(images), 3, side, side, device=self._device)
        for scaled, image in zip(numbers, images, strict=True):
            scaled.copy_(self._squared(image[::-1] if scaling.flip_rows else image, side))
        mean, std = (self._channels(values) for values in (scaling.mean, scaling.std))
        return numbers.div_(255.0).sub_(mean).div_(std)

    def _squared(self, image: np.ndarray, side: int) -> torch.Tensor:
        """(H, W, 3) uint8 -> (3, S, S), levels from 0 to 255, whole ones."""
        if image.shape not in self._uploads:
            self._uploads[image.shape] = torch.empty(image.shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        upload = self._uploads[image.shape]
        np.copyto(upload.numpy(), image)  # the message's own bytes may be read-only, which torch does not know
        planes = upload.to(self._device).permute(2, 0, 1)[None]
        if planes.is_cuda:
            planes = planes.float()  # only a CPU resizes whole numbers
        (width, height), (left, top) = size_and_crop(image.shape[1], image.shape[0], side)
        resized = F.interpolate(planes, size=(height, width), mode="bicubic", antialias=True)[0]
        if planes.is_cuda:
            resized = resized.round_().clamp_(0.0, 255.0)
        return resized[:, top : top + side, left : left + side]

    def _channels(self, values: tuple[float, float, float]) -> torch.Tensor:
        return torch.tensor(values, device=self._device)[:, None, None]


def make_scaler(kind: str, device: torch.device) -> Scaler:
    """kind: pillow or torch."""
    return {"pillow": PillowScaler, "torch": TorchScaler}[kind](device)
