"""EfficientNet-Lite0: EfficientNet without squeeze-and-excitation and with ReLU6, for processors without a GPU's width.

Tan and Le, "EfficientNet", ICML 2019, whose blocks are those of Sandler et al., "MobileNetV2", CVPR 2018; Liu,
"Higher accuracy on vision models with EfficientNet-Lite", TensorFlow Blog, 2020. Padding is TensorFlow's, which for a
stride of 2 is one pixel more at the right and at the bottom: so the ImageNet weights were trained.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Literal, NamedTuple

import torch
from pydantic import field_validator
from torch import Tensor, nn

from perception.checkpoints.efficientnet_lite0 import imagenet_weights
from perception.config import Settings as BaseSettings
from perception.model.layers import PointwiseConv2d, SamePaddingConv2d
from perception.ops.bottleneck import Bottleneck
from perception.ops.pixels import PixelConvolution, normalised
from perception.ops.rows import Layer, rows_dtype

STEM = 32
Colour = tuple[float, float, float]


class Stage(NamedTuple):
    """Equal blocks; the first takes the stride."""

    channels: int
    blocks: int
    kernel: int
    stride: int
    expansion: int


STAGES = (
    Stage(16, 1, 3, 1, 1),
    Stage(24, 2, 3, 2, 6),
    Stage(40, 2, 5, 2, 6),
    Stage(80, 3, 3, 2, 6),
    Stage(112, 3, 5, 1, 6),
    Stage(192, 4, 5, 2, 6),
    Stage(320, 1, 3, 1, 6),
)


class Settings(BaseSettings):
    """What is handed on, and the weights that training starts from."""

    name: Literal["efficientnet_lite"] = "efficientnet_lite"
    out_stages: tuple[int, ...] = (2, 4, 6)  # of 0-6: at 1/2, 1/4, 1/8, 1/16, 1/16, 1/32, 1/32 of the input
    pretrained: Literal["efficientnet_lite0"] | None = None  # ImageNet's, from the extra `train`

    @field_validator("out_stages")
    @classmethod
    def _ascending(cls, stages: tuple[int, ...]) -> tuple[int, ...]:
        if not stages or list(stages) != sorted(set(stages)) or not set(stages) <= set(range(len(STAGES))):
            raise ValueError(f"expected some of 0-{len(STAGES) - 1}, ascending, got {list(stages)}")
        return stages

    def build(self) -> EfficientNetLite:
        return EfficientNetLite(self)


class EfficientNetLite(nn.Module):
    """Images (N, 3, H, W) -> the maps of `out_stages`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.pretrained = settings.pretrained
        self.out_stages = settings.out_stages
        used = STAGES[: settings.out_stages[-1] + 1]
        self.stem = nn.Sequential(SamePaddingConv2d(3, STEM, 3, 2), _norm(STEM), nn.ReLU6(inplace=True))
        self.stages = nn.ModuleList()
        width, stride, strides = STEM, 2, []
        for stage in used:
            self.stages.append(_stage(width, stage))
            width, stride = stage.channels, stride * stage.stride
            strides.append(stride)
        self.out_channels = [used[i].channels for i in settings.out_stages]
        self.strides = [strides[i] for i in settings.out_stages]
        self._of_pixels: Callable[[Colour, Colour, torch.dtype], PixelConvolution] | None = None

    def forward(self, images: Tensor) -> list[Tensor]:
        return self._through_stages(self.stem(images))

    def of_pixels(self, images: Tensor, mean: Colour, std: Colour) -> list[Tensor]:
        """The same for images as they are decoded, (N, H, W, 3) uint8, and what they are to be normalised by."""
        dtype = rows_dtype(self.stem[0].weight)
        if self._of_pixels is None or dtype is None:
            return self(normalised(images, mean, std))
        return self._through_stages(self._of_pixels(mean, std, dtype)(images))

    def finalise(self) -> None:
        """For weights that don't change any more, their norms folded in."""
        layer, stride = Layer(self.stem[0].weight, self.stem[0].bias), self.stem[0].stride[0]
        self._of_pixels = cache(partial(PixelConvolution, layer, stride))

    def _through_stages(self, features: Tensor) -> list[Tensor]:
        outputs = []
        for i, stage in enumerate(self.stages):
            features = stage(features)
            if i in self.out_stages:
                outputs.append(features)
        return outputs

    def load_pretrained(self) -> None:
        """Take the weights that the settings name, if they do: for training, which starts from them.

        Raises InputError if the package that holds them isn't installed.
        """
        if self.pretrained is not None:
            self.load_state_dict(imagenet_weights([len(stage) for stage in self.stages]))


class InvertedBottleneck(nn.Module):
    """Widen, convolve each channel on its own, narrow; with a shortcut where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        widen = [PointwiseConv2d(in_channels, inner, bias=False), _norm(inner), nn.ReLU6(inplace=True)]
        self.widen = nn.Sequential(*(widen if expansion != 1 else []))
        depthwise = SamePaddingConv2d(inner, inner, kernel, stride, groups=inner)
        self.depthwise = nn.Sequential(depthwise, _norm(inner), nn.ReLU6(inplace=True))
        self.narrow = nn.Sequential(PointwiseConv2d(inner, out_channels, bias=False), _norm(out_channels))
        self.stride, self.shortcut = stride, stride == 1 and in_channels == out_channels
        self._at_once: Callable[[torch.dtype], Bottleneck] | None = None

    def finalise(self) -> None:
        """For weights that don't change any more, their norms folded in."""
        widen, convolve, narrow = (
            Layer(layers[0].weight, layers[0].bias) if len(layers) else None
            for layers in (self.widen, self.depthwise, self.narrow)
        )
        self._at_once = cache(partial(Bottleneck, widen, convolve, narrow, self.stride, self.shortcut))

    def forward(self, x: Tensor) -> Tensor:
        dtype = rows_dtype(x)
        if self._at_once is not None and dtype is not None:
            return self._at_once(dtype)(x.to(dtype))
        inner = self.narrow(self.depthwise(self.widen(x)))
        return x + inner if self.shortcut else inner


def _stage(in_channels: int, stage: Stage) -> nn.Sequential:
    first = InvertedBottleneck(in_channels, stage.channels, stage.kernel, stage.stride, stage.expansion)
    alike = (stage.channels, stage.channels, stage.kernel, 1, stage.expansion)
    return nn.Sequential(first, *(InvertedBottleneck(*alike) for _ in range(stage.blocks - 1)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
