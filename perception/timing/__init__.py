"""From measurements of many sensors to one consistent instant.

    sync.py         which measurements belong together
    ego_motion.py   where the car was at any stamp
    deskew.py       a cloud as if all its points were taken at once
    sweeps.py       several clouds as one

Nothing in here reads a clock, a file or a middleware: every time is given by the caller, so a replay does what the car
did.
"""
