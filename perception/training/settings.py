"""The `training:` section of a configuration.

Defaults are those of the public BEVFusion and TransFusion training where they have them, for nuScenes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from perception.config import Settings, plugin

Range = tuple[float, float]
OBJECTS_A_FRAME = {  # as CenterPoint pastes them
    "car": 2,
    "truck": 3,
    "construction_vehicle": 7,
    "bus": 4,
    "trailer": 6,
    "barrier": 2,
    "motorcycle": 6,
    "bicycle": 6,
    "pedestrian": 2,
    "traffic_cone": 2,
}


def _require_range(settings: Settings, field: str) -> Settings:
    low, high = getattr(settings, field)
    if not 0 < low <= high:
        raise ValueError(f"{field}: expected 0 < lowest <= highest, got {low:g}, {high:g}")
    return settings


class ImageAugmentation(Settings):
    """How an image may be seen: `input_from_image` carries all of it. (1, 1), 0 and false leave it as in inference."""

    scale: Range = (0.8, 1.15)  # of images.resized_width; BEVFusion's 0.38-0.55 around 0.48
    rotation_deg: float = Field(5.4, ge=0)  # either way, about the window's centre
    # Left and right: never, every second image, or all images of a scene that is mirrored. Only the last keeps what an
    # image shows to the left on the left of the scene, which is what tells headings from appearance.
    flip: Literal["never", "random", "with_scene"] = "random"
    shift: bool = True  # the window anywhere from left to right, not centred

    @model_validator(mode="after")
    def _in_order(self) -> ImageAugmentation:
        return _require_range(self, "scale")


class SceneAugmentation(Settings):
    """How a scene may be seen from above: `lidar_augmented_from_lidar` carries all of it."""

    rotation_deg: float = Field(45.0, ge=0)  # either way, about the LiDAR
    scale: Range = (0.9, 1.1)  # of everything, velocities included
    translation_m: float = Field(0.5, ge=0)  # standard deviation along each axis
    flip_x: bool = True  # mirror x, in every second frame
    flip_y: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> SceneAugmentation:
        return _require_range(self, "scale")


class PasteSettings(Settings):
    """Objects of other frames, points and box, are added to a frame (Yan et al., SECOND, Sensors 2018).

    For LiDAR detectors only: nothing of them would be in the images.
    """

    objects: dict[str, int] = Field(default_factory=OBJECTS_A_FRAME.copy)  # of a class, up to this many a frame
    min_points: int = Field(5, ge=1)  # fewer show no shape worth learning
    most_of_class: int = Field(2000, ge=1)  # kept in memory, drawn at random; 2000 x 10 classes are about 100 MB
    fade_epochs: int = Field(2, ge=0)  # none in so many last epochs: real scenes have less of everything


class SensorDropout(Settings):
    """Probabilities that a frame comes without a sensor, or with what one said earlier.

    So the detector learns to do without: Neverova et al., "ModDrop", TPAMI 2016. What is stale is where it was seen, as
    ego motion is known; only what moved meanwhile has gone.
    """

    cloud: float = Field(0.0, ge=0, le=1)
    cameras: float = Field(0.0, ge=0, le=1)  # all of them
    camera: float = Field(0.0, ge=0, le=1)  # each one, on its own
    stale_cloud: float = Field(0.0, ge=0, le=1)  # the newest sweeps are lacking
    stale_cloud_s: float = Field(0.25, ge=0)  # up to so long, evenly
    stale_camera: float = Field(0.0, ge=0, le=1)  # each one, on its own: it shows the keyframe before, if there is one


class BalanceSettings(Settings):
    """Whether the branch that learns faster is held back, see perception/training/balance.py."""

    strength: float = Field(0.0, ge=0)  # 0: never, both are only watched; OGM-GE takes 0.1 to 0.8


class TrainingSettings(Settings):
    """How weights are made. With equal settings, data and number of processes, equal weights come out on a CPU."""

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(4, ge=1)  # frames a process looks at together
    accumulate: int = Field(1, ge=1)  # batches whose gradients are averaged for one step
    learning_rate: float = Field(1e-3, gt=0)  # at its peak
    weight_decay: float = Field(0.01, ge=0)  # of matrices and kernels; norms and biases have none
    warmup: float = Field(0.4, gt=0, lt=1)  # part of all steps until the learning rate peaks
    start_factor: float = Field(0.1, gt=0, le=1)  # of the peak, where the learning rate starts
    end_factor: float = Field(1e-4, gt=0, le=1)  # of the peak, where it ends
    gradient_clip: float = Field(35.0, gt=0)  # largest norm of the gradient, over all weights
    average: float = Field(0.999, ge=0, lt=1)  # decay a step of the weights' moving average, which is what is kept
    precision: Literal["fp32", "bf16", "auto"] = "fp32"  # bf16: autocast; auto: that where processor or GPU has it
    channels_last: bool = True  # memory layout of maps; faster on CPUs and GPUs alike
    frozen: tuple[str, ...] = ()  # parts that don't learn, such as camera_branch.backbone
    rate_factors: dict[str, float] = Field(default_factory=dict)  # part -> factor on its learning rate
    fixed_norms: bool = False  # BatchNorm uses its running statistics and leaves them: for batches of one or two

    sampling: Literal["uniform", "balanced"] = "balanced"  # balanced: CBGS (Zhu et al., 2019), equally many a class
    epoch_frames: int | None = Field(None, ge=1)  # frames an epoch, drawn anew for each; null: all
    min_box_points: int = Field(1, ge=0)  # LiDAR and radar points; truth with fewer can't be seen and doesn't count
    max_points: int | None = Field(None, ge=1)  # a frame, drawn at random; null: all. Bounds memory
    image: ImageAugmentation = ImageAugmentation()
    scene: SceneAugmentation = SceneAugmentation()
    paste: PasteSettings | None = None
    dropout: SensorDropout = SensorDropout()
    balance: BalanceSettings = BalanceSettings()  # of the sensors' branches

    criterion: plugin("perception.training.criteria") = None  # null: the head's, with its defaults
    depth_weight: float = Field(0.0, ge=0)  # of the lift's depth distributions against LiDAR; 0: no supervision

    seed: int = Field(0, ge=0)
    workers: int = Field(2, ge=0)  # processes that read and augment; 0: the training process itself
    save_minutes: float = Field(10.0, gt=0)  # between two checkpoints; there is one after each epoch anyway
    keep_epochs: bool = False  # keep each epoch's averaged weights too
