"""The BEV grid: which cell of a map is where in the lidar frame."""

from __future__ import annotations

from dataclasses import dataclass

from calibration.errors import InputError


@dataclass(frozen=True)
class BevGrid:
    """Square cells over the lidar frame's x-y plane; maps are (B, C, X, Y), so cell (0, 0) is at the lower corner."""

    lower_x: float  # m, the corner of cell (0, 0)
    lower_y: float  # m
    cell: float  # m
    size_x: int  # cells
    size_y: int

    @staticmethod
    def covering(lower: tuple[float, ...], upper: tuple[float, ...], cell: float) -> BevGrid:
        """The grid of `cell` metres from lower to upper (x, y, ... each)."""
        size_x, size_y = (round((high - low) / cell) for low, high in zip(lower[:2], upper[:2], strict=True))
        return BevGrid(lower[0], lower[1], cell, size_x, size_y)

    def coarser(self, factor: int) -> BevGrid:
        """The same area in cells `factor` times as long; InputError where that doesn't come out even."""
        if self.size_x % factor or self.size_y % factor:
            got = f"{self.size_x} x {self.size_y}"
            raise InputError(
                "BEV grid", f"numbers of cells divisible by {factor}", got, "change the range or the cells"
            )
        return BevGrid(self.lower_x, self.lower_y, self.cell * factor, self.size_x // factor, self.size_y // factor)
