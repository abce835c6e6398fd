"""Peers to compare with, one a file: its name is what `--compare` takes.

Each has `require(config)`, which raises InputError where the comparison can't be made, before anything is measured, and
`compare(detector, frame, rounds)`, which gives the Comparisons.
"""
