"""A missing sensor's map guessed from the other's, in front of any fuser; what fusers that do so have in common."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field, model_validator
from torch import Tensor, nn

from perception.config import Settings, plugin
from perception.model.presence import present


class CompletionSettings(Settings):
    """What they have in common: the fuser behind."""

    fuser: plugin("perception.model.fusers", required=True) = Field({"name": "gating"}, validate_default=True)

    @model_validator(mode="after")
    def _nothing_is_guessed_twice(self) -> CompletionSettings:
        if isinstance(self.fuser, CompletionSettings):
            raise ValueError(f"expected a fuser that guesses no map itself, got {self.fuser.name!r}")
        return self


class CompletingFuser(nn.Module):
    """Base of the fusers that complete maps: theirs are `guess` and `auxiliary`.

    Frames with both sensors, and those with none, get to the inner fuser as they are. To it a guessed map is one of a
    sensor that is there.
    """

    def __init__(self, fuser: nn.Module) -> None:
        super().__init__()
        self.fuser = fuser
        self.out_channels = fuser.out_channels

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        """Camera map (B, Cc, X, Y) and LiDAR map (B, Cl, X, Y) -> (B, out_channels, X, Y)."""
        has_camera, has_lidar = present(camera).flatten(), present(lidar).flatten()
        whole_camera = _filled(camera, has_lidar & ~has_camera, lambda rows: self.guess("camera", lidar[rows]))
        whole_lidar = _filled(lidar, has_camera & ~has_lidar, lambda rows: self.guess("lidar", camera[rows]))
        return self.fuser(whole_camera, whole_lidar)

    def guess(self, sensor: str, other: Tensor) -> Tensor:
        """The map of "camera" or "lidar" of frames, from the other sensor's (n, C, X, Y)."""
        raise NotImplementedError

    def auxiliary(self, camera: Tensor, lidar: Tensor) -> dict[str, tuple[Tensor, int]]:
        """For training: each loss term's total and count, from the maps that `forward` got.

        Only frames with both sensors tell how good a guess is. The branches learn nothing from it: a map would else
        become easy to guess, not good.
        """
        rows = (present(camera) & present(lidar)).flatten().nonzero().squeeze(1)
        totals = self.errors(camera[rows].detach(), lidar[rows].detach())
        return {name: (total, len(rows)) for name, total in totals.items()}

    def errors(self, camera: Tensor, lidar: Tensor) -> dict[str, Tensor]:
        """Loss terms by name, summed over frames that have both maps; there may be none of these."""
        raise NotImplementedError


def relative_error(guess: Tensor, truth: Tensor) -> Tensor:
    """Squared error of each frame's map (n, C, X, Y), as a share of what guessing zeros would leave: their sum."""
    left = (guess.float() - truth.float()).square().mean(dim=(1, 2, 3))
    return (left / truth.float().square().mean(dim=(1, 2, 3)).clamp(min=1e-6)).sum()


def _filled(bev: Tensor, lacking: Tensor, guess: Callable[[Tensor], Tensor]) -> Tensor:
    """The map with guesses for the frames (B,) that lack it."""
    rows = lacking.nonzero().squeeze(1)
    return bev.index_copy(0, rows, guess(rows).to(bev.dtype))
