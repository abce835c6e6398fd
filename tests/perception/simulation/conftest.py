"""A small simulated dataset, made once for all tests: two scenes of two keyframes, images of 96 x 54 pixels."""

from pathlib import Path

import pytest

from calibration.errors import InputError
from perception.simulation.raycast import require
from perception.simulation.scene import Scene, Settings

SETTINGS = Settings(seed=5, size=(96, 54), seconds=1.0, camera_sweeps=True)
SCENES, TRAIN_SHARE = 2, 0.5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing here runs without the extra `sim` and the system libraries that it links."""
    try:
        require()
    except InputError as error:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=str(error)))


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from perception.simulation.dataset import simulate

    root = tmp_path_factory.mktemp("simulated") / "data"
    assert simulate(root, SETTINGS, SCENES, TRAIN_SHARE, 1, lambda numbers, total: numbers) == SCENES
    return root


@pytest.fixture(scope="session")
def scene() -> Scene:
    """The dataset's second scene, to be asked for more than its files hold."""
    return Scene(SETTINGS, 1)
