"""Attention among the tokens within each window of a map, windows shifted and cut off at the map's edges.

Liu et al., "Swin Transformer", ICCV 2021, has it by padding, rolling and cutting maps, which copies all of them thrice.
Here an order of places says which token is where, and the kernel reads and writes tokens where they lie, a window and
head at a time, so that neither windows nor logits are ever written out for all of them.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from calibration.errors import InputError
from perception.ops import dense, native

UNSEEN = -100.0  # added to logits of tokens that only the shift brought into one window
LANES = 16  # a head's channels, and a window's places filled up, are a multiple of it for the kernel
NOTHING = -1e30  # the logit of a place that only fills up


@dataclass(frozen=True)
class WindowOrder:
    """Tokens of a map (H, W), padded at the right and the bottom and shifted, window after window."""

    size: tuple[int, int]  # padded height and width
    there: Tensor  # (windows, side^2) int32, of each place in a window the token's place in the map, row by row, or -1
    back: Tensor  # (H * W,) int64, of each token its place
    regions: Tensor | None  # (windows, side^2 filled up) float32: tokens see those in the same one; None: all do


class _Windows(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "tokens", "windows", "area", "heads", "width")),
        ("there", ctypes.c_void_p),
        ("keys", ctypes.c_int64),
        ("regions", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    ]


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # whoever asks first: what is kept may serve training later
def window_order(height: int, width: int, side: int, shift: int, device: torch.device) -> WindowOrder:
    """The tokens move by `shift` to the left and up, those beyond the edge to the other end."""
    tokens = torch.arange(height * width).view(1, height, width, 1)
    padded = F.pad(tokens, (0, 0, 0, -width % side, 0, -height % side), value=-1)
    windows = to_windows(torch.roll(padded, (-shift, -shift), dims=(1, 2)), side).squeeze(-1)
    places = windows.flatten()
    back = torch.empty(height * width, dtype=torch.int64)
    filled = torch.nonzero(places >= 0).squeeze(1)
    back[places[filled]] = filled
    regions = _regions(*padded.shape[1:3], side, shift).to(device) if shift else None
    return WindowOrder(tuple(padded.shape[1:3]), windows.int().contiguous().to(device), back.to(device), regions)


def _regions(height: int, width: int, side: int, shift: int) -> Tensor:
    """(windows, side^2 filled up), another number for each of what the shift joins."""
    region = torch.zeros(1, height, width, 1)
    bounds = (slice(0, -side), slice(-side, -shift), slice(-shift, None))
    for i, rows in enumerate(bounds):
        for j, columns in enumerate(bounds):
            region[:, rows, columns] = 3 * i + j
    return _filled(to_windows(region, side).squeeze(-1), 0.0)


def _filled(numbers: Tensor, value: float) -> Tensor:
    """The last axis, of a window's places, filled up as the kernel wants it."""
    return F.pad(numbers, (0, -numbers.shape[-1] % LANES), value=value).contiguous()


def to_windows(tokens: Tensor, side: int) -> Tensor:
    """(N, H, W, C) -> (N * H/side * W/side, side^2, C)."""
    count, height, width, channels = tokens.shape
    windows = tokens.view(count, height // side, side, width // side, side, channels)
    return windows.transpose(2, 3).reshape(-1, side * side, channels)


def window_attention(qkv: Tensor, padding: Tensor, bias: Tensor, order: WindowOrder) -> Tensor:
    """Tokens' queries, keys and values (N, H, W, 3 C), each head by head -> what they see (N, H, W, C).

    padding (3 C,) is the same for places without a token, bias (heads, side^2, side^2) is added to logits.
    """
    heads, area = bias.shape[:2]
    width = qkv.shape[-1] // (3 * heads)
    suits = dense.fuses(qkv) and width % LANES == 0 and native.library() is not None and qkv.numel() > 0
    if not suits:
        return window_attention_torch(qkv, padding, bias, order)
    tokens, padding = qkv.contiguous(), padding.to(qkv.dtype).contiguous()
    native.require("queries, keys and values", tokens, (None, None, None, 3 * heads * width), qkv.dtype)
    native.require("padding", padding, (3 * heads * width,), qkv.dtype)
    native.require("bias", bias, (heads, area, order.there.shape[1]), bias.dtype)
    count, height, columns, _ = tokens.shape
    if len(order.back) != height * columns:
        raise InputError("tokens", f"the {len(order.back)} of their order", f"{height} x {columns}")
    filled = _filled(bias.float(), NOTHING)
    out = torch.empty(count, height, columns, heads * width, dtype=qkv.dtype)
    windows = _Windows(
        *(count, height * columns, len(order.there), area, heads, width),
        native.pointer(order.there),
        filled.shape[-1],
        None if order.regions is None else native.pointer(order.regions),
        native.pointer(filled),
    )
    native.run(
        "bevfuse_window_attention",
        ctypes.byref(windows),
        native.pointer(tokens),
        native.pointer(padding),
        int(qkv.dtype == torch.bfloat16),
        native.pointer(out),
        native.threads(),
    )
    return out


def window_attention_torch(qkv: Tensor, padding: Tensor, bias: Tensor, order: WindowOrder) -> Tensor:
    """The same in torch, with gradients."""
    count, height, width, channels = qkv.shape
    heads, area = bias.shape[:2]
    rows = torch.cat([qkv.flatten(1, 2), padding.to(qkv).expand(count, 1, -1)], dim=1)  # -1 is the last
    places = order.there.flatten().long() % rows.shape[1]
    windows = rows.index_select(1, places).view(count * len(order.there), area, 3, heads, -1)
    q, k, v = windows.permute(2, 0, 3, 1, 4)
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=_logits(bias, order, count, qkv))
    rows = seen.transpose(1, 2).reshape(count, -1, channels // 3)
    return rows.index_select(1, order.back).view(count, height, width, channels // 3)


def _logits(bias: Tensor, order: WindowOrder, images: int, like: Tensor) -> Tensor:
    """What is added to them: (1 or windows, heads, side^2, side^2)."""
    bias = bias[None].to(like.dtype)
    if order.regions is None:
        return bias
    regions = order.regions[:, : bias.shape[-1]]
    apart = regions[:, None, :, None] != regions[:, None, None, :]
    return torch.where(apart, bias + UNSEEN, bias).repeat(images, 1, 1, 1)
