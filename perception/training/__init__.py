"""Training: everything between a Source with truth and the weights that perception.detector loads.

    settings.py   the configuration's `training:` section
    criteria/     one file a head, of the head's name: targets and losses
    examples.py   Frame -> augmented input tensors and truth
    sampling.py   which frames, in which order
    loop.py       the loop: read this first

It needs the extra `train`; the rest of the package does not import it.
"""
