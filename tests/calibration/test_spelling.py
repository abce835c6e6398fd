"""A misspelt name is answered with its neighbour, a hopeless one with all there is."""

from calibration.spelling import counted, did_you_mean


def test_the_nearest_name_is_offered():
    assert did_you_mean("CAM_FRNT", ["CAM_BACK", "CAM_FRONT"]) == "did you mean CAM_FRONT?"


def test_without_a_neighbour_all_names_are_listed():
    assert did_you_mean("zebra", iter(["lidar", "camera"])) == "known: lidar, camera"
    assert did_you_mean(None, []) == "known: none"


def test_another_number_is_no_misspelling():
    scenes = [f"scene-{number:04}" for number in range(1, 51)]
    assert did_you_mean("scene-9999", scenes) == "known: 50, from scene-0001 to scene-0050"
    assert did_you_mean("scene-9999", scenes[:2]) == "known: scene-0001, scene-0002"
    assert did_you_mean("scene-5", scenes) == "did you mean scene-0005?"
    assert did_you_mean("scen-0005", scenes) == "did you mean scene-0005?"
    assert did_you_mean("mono16", ["mono8", "rgb8"]) == "did you mean mono8?"  # no series


def test_one_thing_is_not_told_as_several():
    told = [counted(number, "frame") for number in (0, 1, 6019)]
    assert told == ["0 frames", "1 frame", "6,019 frames"]
