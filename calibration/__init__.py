"""Geometry and calibration: transforms, cameras, rigs and the files they come in. NumPy, SciPy and OpenCV only."""
