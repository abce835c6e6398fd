"""Refiners, one a file: what looks at found boxes once more, in the data as it was measured.

`Settings(name=...).build(classes)` gives a module. Contract: `refine(frame, boxes)` with the frame's sensors and boxes
in its lidar frame -> boxes in that frame, of which those it can say nothing about are as they were. Headings change
by `Boxes3D.headed`, which keeps what is said of fronts, and what a refiner says of them it adds by `with_front`. A
refiner's settings have `cameras` if it looks at images. How it learns is the file of its name in perception/refining/.
"""
