"""A procedural city, driven through and ray-cast by the sensors of the nuScenes car, written in nuScenes' format.

`dataset.simulate` reads top to bottom: a scene's layout and scenery, its traffic, then sweep after sweep and image
after image. Everything happens in the city frame [m], x and y along the streets, z up from the roadway; the writer
alone knows the world frame. Every random number comes from (seed, scene, purpose), so that the same seed gives the
same bytes, whatever the order in which scenes are made.
"""
