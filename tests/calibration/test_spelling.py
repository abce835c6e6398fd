"""A misspelt name is answered with its neighbour, a hopeless one with all there is."""

from calibration.spelling import did_you_mean


def test_the_nearest_name_is_offered():
    assert did_you_mean("CAM_FRNT", ["CAM_BACK", "CAM_FRONT"]) == "did you mean CAM_FRONT?"


def test_without_a_neighbour_all_names_are_listed():
    assert did_you_mean("zebra", iter(["lidar", "camera"])) == "known: lidar, camera"
    assert did_you_mean(None, []) == "known: none"
