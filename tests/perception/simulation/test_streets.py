"""What is in the streets: recognisable things that drive on the right, stop at red and don't run into each other."""

import numpy as np
import pytest

from perception.nuscenes import CLASS_NAMES, CLASS_OF_CATEGORY
from perception.simulation.layout import AMBER_SHARE, GREEN_SHARE, LANE_M, make_layout
from perception.simulation.looks import LIDAR_RESPONSE, Kind
from perception.simulation.meshes import cars, clutter, cycles, large_vehicles, people, plants
from perception.simulation.overlaps import rectangles_touch
from perception.simulation.population import populate
from perception.simulation.routes import drive
from perception.simulation.traffic import Traveller, flow

VEHICLES = (cars.car, cars.pickup, cars.delivery_van, large_vehicles.truck, large_vehicles.bus)
ANNOTATED = (*VEHICLES, large_vehicles.trailer, large_vehicles.construction_vehicle, people.adult, people.child)
ANNOTATED += (people.worker, people.umbrella_holder, people.sitting, clutter.barrier, clutter.traffic_cone)
CYCLES = (cycles.bicycle, cycles.motorcycle)
CLUTTER = (clutter.bollard, clutter.hydrant, clutter.bin_, clutter.parcel_post, clutter.standee, clutter.a_board)
CLUTTER += (clutter.planter, clutter.bench, clutter.rack, clutter.kiosk, clutter.skip, clutter.shelter, clutter.column)
CLUTTER += (plants.hedge,)


@pytest.mark.parametrize("build", ANNOTATED, ids=lambda build: build.__name__)
def test_things_fill_their_boxes_and_stand_on_the_ground(build):
    for seed in range(8):
        thing = build(np.random.default_rng(seed))
        low, high = thing.mesh.extent
        assert CLASS_OF_CATEGORY[thing.category] in CLASS_NAMES
        assert low[2] == pytest.approx(0, abs=1e-4)
        assert high[2] == pytest.approx(thing.size[2], abs=1e-4)
        assert (high - low <= np.array(thing.size) + 1e-4).all()
        np.testing.assert_allclose((high + low)[:2], 0, atol=1e-4)


@pytest.mark.parametrize("build", VEHICLES, ids=lambda build: build.__name__)
def test_vehicles_have_headlights_in_front_and_tail_lights_behind(build):
    for seed in range(8):
        mesh = build(np.random.default_rng(seed)).mesh
        places = mesh.vertices[mesh.triangles].mean(axis=1)[:, 0]
        assert places[mesh.kinds == Kind.HEADLIGHT].min() > 0
        assert places[mesh.kinds == Kind.TAILLIGHT].max() < 0


@pytest.mark.parametrize("build", [*ANNOTATED[:-2], *CYCLES], ids=lambda build: build.__name__)
def test_what_has_a_front_shows_it(build):
    """Materials and heights along a thing aren't those of the same thing turned round."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        mesh = build(rng, rider=False).mesh if build in CYCLES else build(rng).mesh
        a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
        area, middle = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2, (a + b + c) / 3
        low, high = mesh.extent
        place = ((middle - low) / (high - low) * (8, 1, 6)).astype(int).clip(0, (7, 0, 5))
        amounts = np.zeros((8, 6, mesh.kinds.max() + 1))
        np.add.at(amounts, (place[:, 0], place[:, 2], mesh.kinds), area)
        assert np.abs(amounts - amounts[::-1]).sum() / 2 > 0.08 * amounts.sum()


@pytest.mark.parametrize("build", CLUTTER, ids=lambda build: build.__name__)
def test_clutter_is_nobodys_annotation(build):
    assert build(np.random.default_rng(0)).category == ""


@pytest.mark.parametrize("build", CYCLES, ids=lambda build: build.__name__)
def test_a_rider_makes_a_cycle_taller(build):
    heights = [build(np.random.default_rng(1), rider).size[2] for rider in (False, True)]
    assert heights[1] > heights[0] + 0.3


def test_every_material_answers_the_lidar():
    assert set(LIDAR_RESPONSE) == set(Kind)


def test_traffic_keeps_to_the_right():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        layout = make_layout(rng)
        for street in (*layout.streets[0], *layout.streets[1]):
            for forward in (True, False):
                route = drive(rng, layout, street, forward, 0, 0.0, straight=True)
                x, y, heading = route.at(route.length / 2)
                to_left = np.array([-np.sin(heading), np.cos(heading)])
                middle = np.array([x, street.position] if street.axis == 0 else [street.position, y])
                assert (middle - (x, y)) @ to_left == pytest.approx(LANE_M / 2)


def test_routes_turn_without_a_kink():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        layout = make_layout(rng)
        route = drive(rng, layout, layout.streets[0][1], True, 0, -100.0, turn=1.0)
        assert np.abs(np.diff(route.headings)).max() < 0.2
        assert np.abs(route.headings[-1] - route.headings[0]) < 3 * np.pi


def test_a_driver_waits_at_red():
    layout = make_layout(np.random.default_rng(0))
    route = drive(np.random.default_rng(0), layout, layout.streets[0][0], True, 0, -200.0, straight=True)
    stop = route.stops[0]
    driver = Traveller(route, 0.0, 8.0, 10.0, 4.5, 1.8)
    arrival = stop.at / 8.0
    assert layout.phase(stop.junction, stop.axis, arrival) > GREEN_SHARE + AMBER_SHARE  # red, as it would arrive
    motion = flow(layout, [driver], np.zeros((0, 3)), 0.0, 40.0)[0]
    passing = np.interp(stop.at + 1.0, motion.along + 2.25, motion.times)
    assert layout.phase(stop.junction, stop.axis, passing) < GREEN_SHARE + AMBER_SHARE
    assert motion.speeds.max() <= 10.0 + 1e-6


def test_a_driver_stops_behind_another():
    layout = make_layout(np.random.default_rng(0))
    route = drive(np.random.default_rng(0), layout, layout.streets[0][0], True, 0, -200.0, straight=True)
    x, y, _ = route.at(25.0)
    driver = Traveller(route, 0.0, 5.0, 10.0, 4.5, 1.8)
    motion = flow(layout, [driver], np.array([[x, y, 1.0]]), 0.0, 15.0)[0]
    assert motion.speeds[-1] < 0.3
    assert 15 < motion.along[-1] + 2.25 < 24


def peopled(seed, seconds=4.0, rare=1.0):
    rng = np.random.default_rng(seed)
    return populate(rng, make_layout(rng), seconds, rare)


def test_nobody_drives_through_anybody():
    population = peopled(3)
    for time in (0.0, 2.0, 4.0):
        poses = [(agent.pose(time), np.array(agent.model.size[:2])) for agent in population.agents]
        for number, (pose, size) in enumerate(poses):
            for other, its in poses[:number]:
                assert not rectangles_touch(pose, size - 0.15, other, its - 0.15)


def test_machines_and_cycles_can_be_more_frequent_and_machines_face_either_way():
    usual, often = ([agent for seed in range(4) for agent in peopled(seed, 1.0, rare).agents] for rare in (1.0, 4.0))
    for category in ("vehicle.construction", "vehicle.bicycle"):
        few, many = (sum(agent.model.category == category for agent in agents) for agents in (usual, often))
        assert many > 1.5 * few > 0
    turns = [agent.place[2] for agent in often if agent.model.category == "vehicle.construction" and not agent.base]
    along = np.round(np.array(turns) / (np.pi / 2)).astype(int) % 4
    assert (np.bincount(along, minlength=4) > 1).all()


def test_a_few_scenes_have_all_classes_and_moving_and_standing_things_of_many():
    agents = [agent for seed in range(3) for agent in peopled(seed, 1.0).agents]
    assert {CLASS_OF_CATEGORY[agent.model.category] for agent in agents} == set(CLASS_NAMES)
    states = {agent.attribute(1.0) for agent in agents}
    assert {
        "vehicle.moving",
        "vehicle.parked",
        "cycle.with_rider",
        "cycle.without_rider",
        "pedestrian.moving",
    } <= states
