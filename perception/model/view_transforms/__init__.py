"""View transforms, one a file: image features to a camera BEV map.

`Settings(name=...).build(in_channels, stride, image_size)` gives a module. Contract: features (N, C, H, W) of all
cameras of all frames, with the Batch they came from -> (B, out_channels, X, Y) on the module's `grid`. A frame
without any camera gets zeros.
"""
