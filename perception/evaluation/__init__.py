"""Official nuScenes detection scores by our own vectorised scorer, slices of them, and a report to look at.

Nothing in here needs torch: detecting (perception/offline.py) and scoring are two steps with a file between them.
"""
