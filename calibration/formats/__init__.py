"""One file a calibration format: each turns what that format holds into a Rig, or raises InputError."""
