"""What the sensors measure: at the right time, the right place, the right object."""

from dataclasses import replace

import numpy as np
import pytest

from perception.nuscenes import CAMERAS
from perception.simulation import camera, lidar
from perception.simulation.agents import Agent, Motion, Role
from perception.simulation.annotate import city_from_box, inside
from perception.simulation.conditions import DAY, DUSK, FOG, OVERCAST, RAIN
from perception.simulation.geometry import box, merged
from perception.simulation.lidar import column_times, sweep
from perception.simulation.looks import BLACK, WHITE, Kind, Look
from perception.simulation.meshes.model import model
from perception.simulation.population import Population
from perception.simulation.rig import EGO_FROM_LIDAR, FIRST_AZIMUTH_DEG, ego_pose
from perception.simulation.routes import route_through
from perception.simulation.scenery import Scenery
from perception.simulation.stage import Stage

GROUND = box((400, 400, 1), (0, 0, -0.5), Look(Kind.ASPHALT, (0.1, 0.1, 0.1)))
WALL_Y = 8.0
WALL = box((200, 1, 10), (0, WALL_Y + 0.5, 5), Look(Kind.PLAIN, WHITE))


def straight(start, end, speed):
    """A way at a constant speed, at `start` at time -1 s."""
    route = route_through(np.array([start, end], float), 1.0)
    times = np.array([-1.0, 3.0])
    return Motion(route, times, (times + 1) * speed, np.array([speed, speed]))


def stage_of(*agents, ego_speed=0.0, conditions=OVERCAST, scenery=(GROUND, WALL)):
    ego = straight((-10, 0), (90, 0), ego_speed)
    return Stage(Population(agents, ego), Scenery(merged(scenery), np.zeros((0, 3))), conditions)


def crate(colour=WHITE, kind=Kind.PLAIN, motion=None, place=(0.0, 0.0, 0.0)):
    return Agent(1, model("vehicle.car", [box((3, 2, 2), (0, 0, 1), Look(kind, colour))]), Role.DRIVES, place, motion)


def cloud_in_city(stage, end):
    cloud = sweep(stage, end, np.random.default_rng(0))
    return cloud, (ego_pose(stage.ego, end) @ EGO_FROM_LIDAR).apply(cloud[:, :3])


def test_a_wall_stays_straight_while_the_car_drives_past():
    stage = stage_of(ego_speed=15.0)
    _, points = cloud_in_city(stage, 0.5)
    wall = points[(np.abs(points[:, 1] - WALL_Y) < 1) & (points[:, 2] > 0.5) & (np.abs(points[:, 0]) < 30)]
    assert len(wall) > 500
    assert np.abs(wall[:, 1] - WALL_Y).max() < 0.08  # five times the range noise


def test_a_moving_object_is_hit_where_it_was_when_the_beam_passed():
    stage = stage_of(crate(motion=straight((-10, 6), (110, 6), 20.0)))
    cloud, points = cloud_in_city(stage, 0.0)
    agent = stage.agents[0]
    on_it = points[(np.abs(points[:, 1] - 6) < 1.1) & (points[:, 2] > 0.2) & (points[:, 2] < 2.0)]
    azimuths = np.degrees(np.arctan2(cloud[:, 1], cloud[:, 0]))[
        (np.abs(points[:, 1] - 6) < 1.1) & (points[:, 2] > 0.2) & (points[:, 2] < 2.0)
    ]
    turned = (FIRST_AZIMUTH_DEG - azimuths) % 360 / 360
    times = np.interp(turned, np.linspace(0, 1, 1084), column_times(0.0))
    lag = 20.0 * 0.05 / 6 / 2  # it moves on from slice to slice of the turn
    then = np.array([agent.pose(time)[0] for time in times])
    assert len(on_it) > 100
    assert np.abs(on_it[:, 0] - then).max() < 1.5 + lag + 0.06
    assert np.abs(on_it[:, 0] - agent.pose(0.0)[0]).max() > 1.5 + 0.3


def test_points_come_in_firing_order_with_their_ring():
    cloud = sweep(stage_of(), 0.0, np.random.default_rng(0))  # the car stands
    assert cloud.dtype == np.float32
    assert set(np.unique(cloud[:, 4])) <= set(range(32))
    turned = (FIRST_AZIMUTH_DEG - np.degrees(np.arctan2(cloud[:, 1], cloud[:, 0])) + 0.1) % 360
    assert np.diff(turned).min() > -0.1
    assert (turned[0], turned[-1]) == (pytest.approx(0.1, abs=1), pytest.approx(359.8, abs=1))


@pytest.mark.parametrize("conditions", [OVERCAST, RAIN], ids=lambda conditions: conditions.name)
def test_dark_paint_returns_less_than_light_paint(conditions):
    counts = {}
    for colour in (BLACK, WHITE):
        stage = stage_of(crate(colour, Kind.PAINT, place=(22.0, 0.0, 0.4)), conditions=conditions, scenery=(GROUND,))
        _, points = cloud_in_city(stage, 0.0)
        counts[colour] = inside(city_from_box(stage.agents[0], 0.0), (3.2, 2.2, 2.2), points).sum()
    assert 0 < counts[BLACK] < 0.75 * counts[WHITE]


def test_far_ground_returns_nothing():
    _, points = cloud_in_city(stage_of(scenery=(GROUND,)), 0.0)
    assert 15 < np.linalg.norm(points[:, :2] - (-10, 0), axis=1).max() < 60


def test_whom_the_lidar_leaves_out_it_would_not_have_hit(scene, monkeypatch):
    swift = sweep(scene.stage, 0.4, np.random.default_rng(0))
    monkeypatch.setattr(lidar, "_may_meet", lambda rays, distances, agents, *_: np.ones((len(rays), len(agents)), bool))
    np.testing.assert_allclose(swift, sweep(scene.stage, 0.4, np.random.default_rng(0)), atol=1e-5)


@pytest.mark.parametrize("conditions", [DAY, DUSK, OVERCAST], ids=lambda conditions: conditions.name)
def test_whom_an_image_leaves_out_would_not_have_changed_it(scene, conditions, monkeypatch):
    monkeypatch.setattr(scene.stage, "conditions", replace(conditions, sun_azimuth=1.0))
    swift = [camera.shoot(scene.stage, name, (192, 108), 0.4, np.random.default_rng(0)) for name in CAMERAS]
    left_out = []

    def everyone(stage, time, *view):
        left_out.append(len(stage.moving) - len(concerned(stage, time, *view)))
        return [(agent, agent.pose(time)) for agent in stage.moving]

    concerned = camera.concerned
    monkeypatch.setattr(camera, "concerned", everyone)
    monkeypatch.setattr(camera, "nearest_movers", lambda bounds, pose, lens: np.zeros(lens.height * lens.width))
    for name, shot in zip(CAMERAS, swift, strict=True):
        whole = camera.shoot(scene.stage, name, (192, 108), 0.4, np.random.default_rng(0))
        np.testing.assert_array_equal(shot.owners, whole.owners)
        changed = (np.abs(shot.image.astype(int) - whole.image) > 4).any(axis=2)
        assert changed.sum() <= 2  # rays that meet two triangles at once
    assert sum(left_out) > len(scene.stage.moving)


def test_images_show_objects_within_their_projected_boxes(scene):
    moment, checked = scene.moment(10), 0
    for shot in moment.shots.values():
        for agent in scene.stage.agents:
            v, u = np.nonzero(shot.owners == agent.number)
            corners = _corners(agent, shot.time)
            corners_camera = shot.city_from_camera.inverse().apply(corners)
            if not len(u) or corners_camera[:, 2].min() < 0.5:
                continue
            flat = corners_camera[:, :2] / corners_camera[:, 2:] * shot.lens.focal + (shot.lens.cx, shot.lens.cy)
            low, high = flat.min(axis=0) - 1.5, flat.max(axis=0) + 1.5
            assert ((np.c_[u, v] >= low) & (np.c_[u, v] <= high)).all(), agent.model.category
            checked += 1
    assert checked > 5


def _corners(agent, time):
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
    return city_from_box(agent, time).apply(signs * agent.model.size)


def test_visibility_is_the_share_that_images_show(scene):
    """Whoever fills pixels is labelled; who is labelled as all visible is hidden by nobody in front."""
    moment = scene.moment(10)
    shown = set(np.unique(np.concatenate([shot.owners.ravel() for shot in moment.shots.values()]))) - {0}
    near = {a.number for a in scene.stage.agents if np.hypot(*(a.pose(0.5)[:2] - scene.stage.ego.poses(0.5)[:2])) < 60}
    labels = {label.agent.number: label for label in moment.labels}
    assert shown & near <= set(labels)
    assert {label.visibility for label in moment.labels} <= {"1", "2", "3", "4"}
    unseen = [label for number, label in labels.items() if number not in shown]
    assert {label.visibility for label in unseen} <= {"1"}


@pytest.mark.parametrize("conditions", [DAY, OVERCAST, DUSK, RAIN, FOG], ids=lambda conditions: conditions.name)
def test_images_are_exposed_in_any_light(conditions):
    from perception.simulation.camera import shoot

    stage = stage_of(crate(place=(3.0, 0.5, 0.0)), conditions=conditions)
    image = shoot(stage, "CAM_FRONT", (96, 54), 0.0, np.random.default_rng(0)).image
    assert image.shape == (54, 96, 3)
    assert image.dtype == np.uint8
    assert 25 < image.mean() < 215
    assert image.std() > 12


def test_distance_fades_into_fog():
    from perception.simulation.camera import shoot

    def contrast(conditions):
        stage = stage_of(crate(BLACK, place=(50.0, 0.0, 0.0)), conditions=conditions, scenery=(GROUND,))
        shot = shoot(stage, "CAM_FRONT", (192, 108), 0.0, np.random.default_rng(0))
        grey = shot.image.mean(axis=2)
        sky = grey[:50][shot.owners[:50] == 0].mean()
        return abs(sky - grey[shot.owners == 1].mean())

    assert contrast(FOG) < 0.6 * contrast(OVERCAST)
