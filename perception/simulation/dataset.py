"""A whole dataset on disk: scenes side by side, each marked when it is done, the tables when all are.

    OUT/samples, OUT/sweeps, OUT/maps     files of scenes, written as they come
    OUT/.simulation/settings.json         what the dataset is made with
    OUT/.simulation/scene-0001.json       a scene's rows: there only when its files are complete
    OUT/v1.0-sim                          the tables: there only when every scene is

So whatever interrupts a run, the same command goes on after the last complete scene, and no reader takes half a
dataset for a whole one. A dataset can also grow: the same command with more scenes adds what is missing.
"""

from __future__ import annotations

import filecmp
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path

from calibration.errors import InputError
from calibration.files import make_folder, write_atomically
from perception.nuscenes import LIDAR
from perception.simulation.maps import drivable_mask
from perception.simulation.raycast import require
from perception.simulation.rig import SENSORS
from perception.simulation.scene import Moment, Scene, Settings
from perception.simulation.tables import MAP_EXTENT_M, PER_SCENE, VERSION, SceneTables, fixed_tables, scene_name

JPEG_QUALITY = 92
PROGRESS_FOLDER = ".simulation"
FORMAT = 2  # raised whenever the same seed would give other bytes
SCENES_A_PROCESS = 10  # then a new one: starting costs 3 s, and whatever memory it took is given back
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GO_ON = "give the same command again when there is, to go on"
Progress = Callable[[Iterable[int], int], Iterator[int]]


class SceneError(InputError):
    """What a worker reported, in its words."""

    def __init__(self, text: str) -> None:
        ValueError.__init__(self, text)


def simulate(out: Path, settings: Settings, scenes: int, train_share: float, workers: int, progress: Progress) -> int:
    """Write, or complete, a dataset of so many scenes -> how many were simulated now.

    The same settings give the same bytes for any number of workers. Raises InputError for settings that make no sense,
    a folder that can't be written to or holds anything else, a full disk, and a missing open3d or numba.
    """
    _check(settings, scenes, train_share, workers)
    require()
    _claim(out, settings)
    missing = [number for number in range(scenes) if not _rows_file(out, number).is_file()]
    for _ in progress(_simulated(out, settings, missing, workers), len(missing)):
        pass
    _write_tables(out, scenes, train_share)
    return len(missing)


def record_scene(out: Path, settings: Settings, number: int) -> None:
    """Write one scene's files, then the rows that say they are complete."""
    scene = Scene(settings, number)
    tables = SceneTables(settings, number, scene)
    _put(out / tables.map_file, drivable_mask(scene.layout, tables.world_from_city, MAP_EXTENT_M))
    for moment in scene:
        for sensor, file in tables.add(moment).items():
            _put(out / file, _encoded(moment, sensor))
    _put(_rows_file(out, number), json.dumps(tables.finished()).encode())


def _encoded(moment: Moment, sensor: str) -> bytes:
    import cv2

    if sensor == LIDAR:
        return moment.cloud.astype("<f4").tobytes()
    image = cv2.cvtColor(moment.shots[sensor].image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _put(path: Path, data: bytes) -> None:
    """Write a file whole."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise InputError(str(path), "room to write it", error.strerror or str(error), GO_ON) from None


def _check(settings: Settings, scenes: int, train_share: float, workers: int) -> None:
    width, height = settings.size
    if not (32 <= width <= 4096 and 32 <= height <= 4096 and width % 2 == 0 and height % 2 == 0):
        raise InputError("image size", "even numbers of pixels from 32 to 4096", f"{width}x{height}")
    if not 0.2 <= height / width <= 2:
        raise InputError("image size", "an aspect that a camera has, 5:1 to 1:2", f"{width}x{height}")
    if not 1 <= settings.seconds <= 60:
        raise InputError("seconds", "1 to 60", f"{settings.seconds:g}")
    if not 1 <= scenes <= 9999:
        raise InputError("scenes", "1 to 9999", f"{scenes}")
    if not 0 <= train_share <= 1:
        raise InputError("split ratio", "0 to 1, the share of scenes to train with", f"{train_share:g}")
    if settings.seed < 0:
        raise InputError("seed", "a number >= 0", f"{settings.seed}")
    if not 1 <= settings.rare <= 10:
        raise InputError("rare", "1 to 10 times as many", f"{settings.rare:g}")
    if workers < 1:
        raise InputError("workers", "at least 1", f"{workers}")


def _claim(out: Path, settings: Settings) -> None:
    """Make the folders; InputError where the place is taken by anything but the same dataset."""
    ours = out / PROGRESS_FOLDER / "settings.json"
    wanted = json.dumps({"format": FORMAT, **asdict(settings)}, sort_keys=True)
    try:
        if ours.is_file():
            _compare(out, json.loads(ours.read_text()), json.loads(wanted))
        elif out.is_dir() and any(out.iterdir()):
            raise InputError(str(out), "an empty folder, or one that this command began", "other files in it")
        for folder in (
            PROGRESS_FOLDER,
            "maps",
            *(f"{kind}/{sensor}" for kind in ("samples", "sweeps") for sensor in SENSORS),
        ):
            make_folder(out / folder, said_of=out)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(out), "a folder to write to", getattr(error, "strerror", None) or str(error)) from None
    write_atomically(ours, wanted)


def _compare(out: Path, present: dict, wanted: dict) -> None:
    present = {"rare": 1.0, **present}  # of those begun before there was a choice
    for name, value in wanted.items():
        if present.get(name) != value:
            raise InputError(f"{out}: {name}", f"{present.get(name)}, as begun", f"{value}", "use another folder")


def _rows_file(out: Path, number: int) -> Path:
    return out / PROGRESS_FOLDER / f"{scene_name(number)}.json"


def _simulated(out: Path, settings: Settings, numbers: list[int], workers: int) -> Iterator[int]:
    """Scenes' numbers, each when it is written."""
    if workers == 1 or len(numbers) < 2:
        for number in numbers:
            record_scene(out, settings, number)
            yield number
        return
    waiting, running = list(numbers), []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_Worker(out, settings))
                running[-1].begin(waiting.pop(0))
            for pipe in wait([worker.pipe for worker in running]):
                worker = next(one for one in running if one.pipe is pipe)
                number = worker.finished()
                if waiting and worker.made < SCENES_A_PROCESS:
                    worker.begin(waiting.pop(0))
                else:
                    running.remove(worker)
                    worker.end()
                yield number
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.join()


class _Worker:
    """A process that makes one scene after another."""

    def __init__(self, out: Path, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")  # not forked, since Open3D has threads
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(out, settings, theirs), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()
        self.made, self._number = 0, -1

    def begin(self, number: int) -> None:
        """Let it make a scene."""
        self._number = number
        with suppress(BrokenPipeError):  # it died: `finished` says so
            self.pipe.send(number)

    def finished(self) -> int:
        """The number of the scene that it made; InputError that says why it couldn't."""
        try:
            trouble = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            got = f"exit code {self.process.exitcode}"
            raise InputError(
                scene_name(self._number), "a process that finishes", got, "use fewer --workers if memory is short"
            ) from None
        if trouble:
            raise SceneError(trouble)
        self.made += 1
        return self._number

    def end(self) -> None:
        """No more scenes."""
        with suppress(BrokenPipeError):
            self.pipe.send(None)
        self.process.join()


@contextmanager
def _one_thread() -> Iterator[None]:
    """What is started here leaves the other cores to the other workers."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ |= dict.fromkeys(THREADS, "1")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(out: Path, settings: Settings, pipe: Connection) -> None:
    """In a process of its own: what goes wrong with the input is told, anything else shows its traceback."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then ends this process
    cv2.setNumThreads(1)
    try:
        for number in iter(pipe.recv, None):
            record_scene(out, settings, number)
            pipe.send("")
    except InputError as error:
        pipe.send(str(error))
    except (EOFError, BrokenPipeError):  # nobody waits any more
        raise SystemExit(1) from None


def _write_tables(out: Path, scenes: int, train_share: float) -> None:
    """The tables of all scenes, one scene in memory at a time, moved into place when complete and not there already."""
    folder = out / f".{VERSION}.part"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for table, rows in fixed_tables().items():
            (folder / f"{table}.json").write_text(_listed(map(json.dumps, rows)))
        _write_scenes(out, folder, scenes)
        (folder / "splits.json").write_text(json.dumps(_splits(scenes, train_share), indent=1))
        if _same_files(folder, out / VERSION):  # whatever was made from them is still good
            shutil.rmtree(folder)
            return
        shutil.rmtree(out / VERSION, ignore_errors=True)
        os.replace(folder, out / VERSION)
    except OSError as error:
        raise InputError(str(out / VERSION), "room to write the tables", error.strerror or str(error), GO_ON) from None


def _same_files(new: Path, old: Path) -> bool:
    """Whether all of the new folder's files are in the old one, byte by byte."""
    names = [path.name for path in new.iterdir()]
    return filecmp.cmpfiles(new, old, names, shallow=False)[0] == names


def _listed(rows: Iterable[str]) -> str:
    return "[\n" + ",\n".join(rows) + "\n]\n"


def _write_scenes(out: Path, folder: Path, scenes: int) -> None:
    with ExitStack() as stack:
        files = {table: stack.enter_context((folder / f"{table}.json").open("w")) for table in PER_SCENE}
        for number in range(scenes):
            for table, rows in json.loads(_rows_file(out, number).read_text()).items():
                opening = "[\n" if number == 0 else ",\n"
                files[table].write(opening + ",\n".join(map(json.dumps, rows)))
        for file in files.values():
            file.write("\n]\n")


def _splits(scenes: int, train_share: float) -> dict[str, list[str]]:
    """Scenes to validate with, spread evenly, so that a dataset that grows keeps each scene's part."""

    def validates(number: int) -> bool:
        share = 1 - train_share
        return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)

    names = {number: scene_name(number) for number in range(scenes)}
    return {
        "sim_train": [name for number, name in names.items() if not validates(number)],
        "sim_val": [name for number, name in names.items() if validates(number)],
    }
