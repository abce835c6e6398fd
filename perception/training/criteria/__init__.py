"""Training criteria, one file a head, of the head's name: what its raw outputs should have been, and the loss.

`Settings(name=...).build(head)` gives a criterion. Contract: `names` says its terms in order;
`criterion(outputs, truth)` with the head's Outputs and one Boxes3D a frame, in the lidar frame and inside the grid,
returns one Term a name.
"""
