"""Values from the command line take the place of those in the file."""

import pytest

from calibration.errors import InputError
from perception.overrides import overridden

DATA = {"epochs": 3, "image": {"scale": [1, 2], "flip": True}, "paste": None}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("epochs=4", {"epochs": 4}),
        ("image.flip=false", {"image": {"scale": [1, 2], "flip": False}}),
        ("image.scale=[3, 4]", {"image": {"scale": [3, 4], "flip": True}}),
        ("image={}", {"image": {}}),
        ("paste.objects.car=2", {"paste": {"objects": {"car": 2}}}),
        ("new.section=a=b", {"new": {"section": "a=b"}}),
        ("epochs=", {"epochs": None}),
    ],
)
def test_one_value_changes_and_the_rest_stays(override, changed):
    assert overridden(DATA, [override]) == DATA | changed


def test_later_overrides_win():
    assert overridden(DATA, ["epochs=4", "epochs=5"])["epochs"] == 5


def test_what_was_given_is_not_changed():
    overridden(DATA, ["image.flip=false", "paste.x=1"])
    assert DATA == {"epochs": 3, "image": {"scale": [1, 2], "flip": True}, "paste": None}


@pytest.mark.parametrize("override", ["epochs", "=3", "image..flip=1", ".epochs=3", "epochs.x=1", "epochs=[1"])
def test_anything_else_is_refused(override):
    with pytest.raises(InputError, match="override"):
        overridden(DATA, [override])
