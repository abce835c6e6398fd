"""Boxes of many samples as columns, which is what scoring works on; and which of them lie in the same sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perception.types import Boxes3D

PAIRS_AT_ONCE = 1 << 20  # bounds the memory that looking at pairs takes


@dataclass(frozen=True)
class SampleBoxes:
    """Boxes in the world frame, of CLASS_NAMES, and the samples they belong to."""

    samples: np.ndarray  # (N,) int64, number of the box's sample in the evaluated ones
    boxes: Boxes3D
    attributes: np.ndarray  # (N,) int64, index into ATTRIBUTE_NAMES; -1 for none

    def __len__(self) -> int:
        return len(self.samples)

    def select(self, rows: np.ndarray) -> SampleBoxes:
        """The boxes a boolean mask or an index array picks, in its order."""
        return SampleBoxes(self.samples[rows], self.boxes.select(rows), self.attributes[rows])


def pairs_in_samples(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which of `first` (N,) and `second` (M,), both sample numbers, are in the same sample.

    Yields positions in `first` and in `second`, about a million pairs at a time; all in all ordered by the former, then
    the latter.
    """
    order = np.argsort(second, kind="stable")
    in_sample = np.bincount(second, minlength=first.max(initial=-1) + 1)
    counts = in_sample[first]
    starts = (np.cumsum(in_sample) - in_sample)[first]
    ends = np.cumsum(counts)
    piece = 0
    while piece < len(first):
        done = ends[piece - 1] if piece else 0
        until = max(piece + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
        repeats = counts[piece:until]
        left = np.repeat(np.arange(piece, until), repeats)
        within = np.arange(len(left)) - np.repeat(ends[piece:until] - repeats - done, repeats)
        yield left, order[starts[left] + within]
        piece = until


def ground_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Lengths (N,) of the differences of vectors (N, >= 2) in x and y.

    By the dot product that `np.linalg.norm` of one vector takes, so that its rounding, and with it whatever lies
    exactly on a threshold or equally near to two, falls as in the development kit.
    """
    offset = np.ascontiguousarray(first[:, :2] - second[:, :2])
    return np.sqrt(np.matmul(offset[:, None, :], offset[:, :, None])[:, 0, 0])
