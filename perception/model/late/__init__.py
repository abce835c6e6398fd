"""Late fusion, one a file: two sensors' boxes to one list.

`Settings(name=...).build()` gives a function. Contract: a frame's boxes of the main stream (the LiDAR's, or of a fused
map) and those of the cameras alone, each a Boxes3D in the lidar frame or None where their sensors are missing ->
Boxes3D. Where the Settings' `needs_both` is false the cameras' are wanted for frames without the main stream's only.
"""
