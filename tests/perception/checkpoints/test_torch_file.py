"""Weights come out of torch.save's files unchanged; nothing in such a file is run, and bad files say what they are."""

import contextlib
import datetime
import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict, deque
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InputError
from perception.checkpoints.native import save_weights
from perception.checkpoints.torch_file import read_state_dict

formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def rewritten(source: Path, target: Path, change) -> Path:
    """The zip archive with every entry's (name, data) passed through `change`; None leaves it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


@formats
class TestTensors:
    def test_of_every_kind_come_back_as_they_were(self, tmp_path: Path, zipped: bool) -> None:
        base = torch.arange(24.0).reshape(4, 6)
        weights = OrderedDict(
            plain=base.clone(),
            transposed_part=base[1:, 2:4].t(),
            expanded=torch.tensor([3.0]).expand(2, 5),
            scalar=torch.tensor(3),
            empty=torch.empty(0, 3),
            double=torch.tensor([1.0, torch.inf], dtype=torch.float64),
            half=torch.tensor([1.5]).half(),
            brain=torch.tensor([1.5, -2]).bfloat16(),
            truth=torch.tensor([True, False]),
            parameter=torch.nn.Parameter(torch.tensor([1.0, 2.0])),
            **{str(kind): torch.tensor([1, 2, 3], dtype=getattr(torch, kind)) for kind in ("int8", "int16", "int32")},
        )
        found = read_state_dict(save(weights, tmp_path / "weights.pth", zipped))
        assert list(found.tensors) == list(weights)
        assert found.skipped == ()
        for name, tensor in weights.items():
            assert found.tensors[name].dtype == tensor.dtype
            assert torch.equal(found.tensors[name], tensor.detach()), name

    def test_that_share_memory_in_the_file_share_none_afterwards(self, tmp_path: Path, zipped: bool) -> None:
        base = torch.arange(6.0)
        found = read_state_dict(save({"all": base, "part": base[2:4]}, tmp_path / "weights.pth", zipped)).tensors
        found["all"].zero_()
        assert found["part"].tolist() == [2, 3]

    def test_of_a_module_need_no_module(self, tmp_path: Path, zipped: bool) -> None:
        network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        found = read_state_dict(save(network.state_dict(), tmp_path / "weights.pth", zipped)).tensors
        network.load_state_dict(found)
        assert set(found) == set(network.state_dict())

    def test_are_found_in_a_trainers_dictionary_which_is_named(self, tmp_path: Path, zipped: bool) -> None:
        content = {"meta": {"epoch": 3}, "state_dict": {"a": torch.ones(2), "_note": "x"}, "optimizer": {}}
        found = read_state_dict(save(content, tmp_path / "weights.pth", zipped))
        assert list(found.tensors) == ["a"]
        assert found.skipped == ("beside the weights: meta, optimizer", "among the weights, but no tensors: _note")


def test_only_the_weights_are_read_from_disk(tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.ones(2)}, "optimizer": {"momentum": torch.ones(1000)}}
    whole = save(content, tmp_path / "whole.pth")
    without = rewritten(whole, tmp_path / "without.pth", lambda name, data: data if len(data) < 4000 else None)
    assert without.stat().st_size < 4000 < whole.stat().st_size
    assert torch.equal(read_state_dict(without).tensors["a"], torch.ones(2))


class Call:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@formats
class TestForeignObjects:
    @pytest.mark.parametrize("place", ["beside", "among the weights", "the whole file", "as a key"])
    def test_are_never_run(self, tmp_path: Path, zipped: bool, place: str) -> None:
        trace = tmp_path / "trace"
        attack = (Call(os.system, f"touch {trace}"), Call(exec, f"open({str(trace)!r}, 'w')"))
        weights = {"a": torch.ones(2)}
        content = {
            "beside": {"meta": attack, "state_dict": weights},
            "among the weights": {"state_dict": {"bad": attack, **weights}},
            "the whole file": attack[0],
            "as a key": {attack[0]: 1, "state_dict": weights},
        }[place]
        path = save(content, tmp_path / "weights.pth", zipped)
        if place == "the whole file":
            with pytest.raises(InputError, match=r"one object of \w+\.system"):
                read_state_dict(path)
        else:
            found = read_state_dict(path)
            assert torch.equal(found.tensors["a"], torch.ones(2))
            assert f"{os.system.__module__}.system" in found.skipped[-1]
        assert not trace.exists()
        torch.load(path, weights_only=False)  # where pickles are run, this one does leave its trace
        assert trace.exists()

    def test_may_be_of_any_class_which_needs_not_exist(self, tmp_path: Path, zipped: bool) -> None:
        module = types.ModuleType("framework_that_is_not_installed")
        exec(FRAMEWORK, module.__dict__)
        sys.modules[module.__name__] = module
        message_hub = {
            "config": module.ConfigDict(a=1, b=module.ConfigDict(c=2)),
            "history": module.HistoryBuffer([1.0, 2.0]),
            "hub": module.MessageHub(),
            "slots": module.Slotted(),
            "level": module.Level.HIGH,
            "function": module.function,
            "method": module.MessageHub().method,
            "point": module.Point(1, 2),
            "set": {module.Level.HIGH, "x"},
            "by_key": {module.Level.HIGH: [1]},
            "numpy": [np.arange(3), np.float64(2), np.dtype("i4"), np.array(["a"])],
            "standard": [deque([1, 2]), defaultdict(list, a=[1]), datetime.datetime(2024, 1, 1), Path("x"), 1j, ...],
        }
        try:
            path = save({"state_dict": {"a": torch.ones(2)}, "message_hub": message_hub}, tmp_path / "w.pth", zipped)
        finally:
            del sys.modules[module.__name__]
        found = read_state_dict(path)
        assert torch.equal(found.tensors["a"], torch.ones(2))
        assert found.skipped[0] == "beside the weights: message_hub"
        assert module.__name__ not in sys.modules

    def test_leave_no_mark_on_the_reader(self, tmp_path: Path, zipped: bool) -> None:
        """A pickle may set attributes on whatever it is given, so on the functions that stand for torch's."""
        good = save({"a": torch.ones(2)}, tmp_path / "good.pth", zipped)
        for target in (
            torch._utils._rebuild_tensor_v2,
            torch._utils._rebuild_parameter,
            OrderedDict,
            torch.FloatStorage,
        ):
            for state in ({"__call__": 1, "__new__": 2}, (None, {"__defaults__": (1,), "__code__": 3, "__init__": 4})):
                path = tmp_path / "bad.pth"
                path.write_bytes(_set_state(target, state))
                with pytest.raises(InputError):
                    read_state_dict(path)
                assert torch.equal(read_state_dict(good).tensors["a"], torch.ones(2))


FRAMEWORK = """
from collections import deque, namedtuple
from enum import Enum

class ConfigDict(dict):
    def __setstate__(self, state): raise RuntimeError("run")
    def __reduce_ex__(self, protocol): return (ConfigDict, (), {"x": 1}, None, iter(self.items()))
    def __getattr__(self, name): raise AttributeError(name)

class HistoryBuffer(deque):
    pass

class MessageHub:
    def __init__(self): self.scalars = {"loss": HistoryBuffer([1, 2]), "nested": [self]}
    def __setstate__(self, state): raise RuntimeError("run")
    def method(self): pass

class Slotted:
    __slots__ = ("a", "b")
    def __init__(self): self.a, self.b = 1, [2]

class Level(Enum):
    HIGH = 1

def function(): pass

Point = namedtuple("Point", "x y")

for item in (ConfigDict, HistoryBuffer, MessageHub, Slotted, Level, function, Point):
    item.__module__ = "framework_that_is_not_installed"
"""


def _set_state(target: object, state: object) -> bytes:
    """A legacy file whose fourth pickle sets the state of what `target` stands for."""
    numbers = [pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    reference = f"c{target.__module__}\n{target.__name__}\n".encode()
    update = pickle.dumps(state, 2)[2:-1]  # between the protocol and the stop sign
    return b"".join(numbers) + b"\x80\x02" + reference + update + b"b." + pickle.dumps([], 2)


def _handmade(size: tuple, stride: tuple, offset: int = 0, count: int = 6, data: bytes = bytes(24)) -> bytes:
    """A zip archive of one tensor "a" made of these numbers, as no torch would write it."""

    storage = object()

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            return ("storage", torch.FloatStorage, "0", "cpu", count) if item is storage else None

    content = io.BytesIO()
    tensor = Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())
    Pickler(content, 2).dump({"a": tensor})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as entries:
        entries.writestr("x/data.pkl", content.getvalue())
        entries.writestr("x/data/0", data)
    return archive.getvalue()


class TestImpossibleTensors:
    def test_the_handmade_file_is_as_torch_would_write_it(self, tmp_path: Path) -> None:
        (tmp_path / "w.pth").write_bytes(_handmade((2, 3), (3, 1)))
        assert torch.equal(read_state_dict(tmp_path / "w.pth").tensors["a"], torch.zeros(2, 3))

    @pytest.mark.parametrize(
        ("numbers", "reason"),
        [
            ({"size": (2, 4), "stride": (4, 1)}, "reaches beyond its storage"),
            ({"size": (2, 3), "stride": (4, 1)}, "reaches beyond its storage"),
            ({"size": (2, 3), "stride": (3, 1), "offset": 1}, "reaches beyond its storage"),
            ({"size": (2, 3), "stride": (2**63, 2**63)}, "reaches beyond its storage"),
            ({"size": (2, 3), "stride": (3, 1), "offset": -1}, "without a proper shape"),
            ({"size": (-2, 3), "stride": (3, 1)}, "without a proper shape"),
            ({"size": (2, 3), "stride": (-3, 1), "offset": 3}, "without a proper shape"),
            ({"size": (2, 3), "stride": (1,)}, "without a proper shape"),
            ({"size": (2.0, 3), "stride": (3, 1)}, "without a proper shape"),
            ({"size": (2**40, 2**40), "stride": (0, 0)}, "damaged"),
            ({"size": (2, 3), "stride": (3, 1), "count": 7}, "24 bytes, not 28"),
            ({"size": (2, 3), "stride": (3, 1), "count": 10**15}, "24 bytes, not 4000000000000000"),
            ({"size": (2, 3), "stride": (3, 1), "count": -6}, "a storage that can't be one"),
        ],
        ids=str,
    )
    def test_are_refused(self, tmp_path: Path, numbers: dict, reason: str) -> None:
        (tmp_path / "w.pth").write_bytes(_handmade(**numbers))
        with pytest.raises(InputError, match=reason):
            read_state_dict(tmp_path / "w.pth")


def good(folder: Path, zipped: bool = True) -> Path:
    return save({"state_dict": {"a": torch.arange(100.0)}}, folder / "good.pth", zipped)


def written(folder: Path, data: bytes) -> Path:
    (folder / "bad.pth").write_bytes(data)
    return folder / "bad.pth"


def saved(folder: Path, content: object) -> Path:
    return save(content, folder / "bad.pth")


def native(folder: Path) -> Path:
    save_weights(folder / "bad.safetensors", {"a": torch.ones(3)})
    return folder / "bad.safetensors"


def flipped_bits(folder: Path) -> Path:
    number = torch.tensor(42.0).numpy().tobytes()
    return written(folder, good(folder).read_bytes().replace(number, b"\1\2\3\4"))


def without(folder: Path, entry: str) -> Path:
    return rewritten(good(folder), folder / "bad.pth", lambda name, data: None if name.endswith(entry) else data)


def big_endian(folder: Path) -> Path:
    order = "good/byteorder"
    return rewritten(good(folder), folder / "bad.pth", lambda name, data: b"big" if name == order else data)


BAD_FILES = {  # how it is made, and what the error says of it
    "empty": (lambda folder: written(folder, b""), "an empty file"),
    "text": (lambda folder: written(folder, b"<!DOCTYPE html>\n<html>not found</html>"), "damaged"),
    "missing": (lambda folder: folder / "missing.pth", "No such file"),
    "directory": (lambda folder: folder, "Is a directory"),
    "cut zip": (lambda folder: written(folder, good(folder).read_bytes()[:-200]), "damaged"),
    "cut legacy": (lambda folder: written(folder, good(folder, zipped=False).read_bytes()[:-1]), "cut short"),
    "cut pickle": (lambda folder: written(folder, good(folder, zipped=False).read_bytes()[:150]), "damaged"),
    "flipped bits": (flipped_bits, "Bad CRC-32"),
    "big-endian": (big_endian, "big-endian numbers; save it again on a little-endian machine"),
    "other zip": (lambda folder: without(folder, "data.pkl"), "without data.pkl"),
    "lost storage": (lambda folder: without(folder, "data/0"), "data/0"),
    "other pickle": (lambda folder: written(folder, pickle.dumps({"a": np.zeros(3)})), "another kind of pickle"),
    "number": (lambda folder: written(folder, pickle.dumps(3)), "another kind of pickle"),
    "native": (native, "a safetensors file; a native checkpoint needs no import: use it as it is"),
    "module": (lambda folder: saved(folder, torch.nn.Linear(2, 2)), "linear.Linear; save its state_dict() instead"),
    "log": (lambda folder: saved(folder, {"epoch": 3, "loss": 1.0}), "no tensors by name, only epoch, loss"),
    "nothing": (lambda folder: saved(folder, {}), "no tensors by name, only nothing"),
    "list": (lambda folder: saved(folder, [torch.ones(2)]), "one object of list"),
    "numbered": (lambda folder: saved(folder, {0: torch.ones(2)}), "no tensors by name, only 0"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_with_what_it_is(kind: str, tmp_path: Path) -> None:
    make, message = BAD_FILES[kind]
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        read_state_dict(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: expected a checkpoint written by torch.save, got ")
    assert message in text
    assert "\n" not in text


class Mood(Enum):
    GOOD = 1


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    content = {"meta": {"mood": Mood.GOOD, "x": [1, 2.5, "y"]}, "state_dict": {"a": torch.ones(2), "b": torch.ones(1)}}
    return save(content, tmp_path_factory.mktemp("sound") / "w.pth", zipped=False).read_bytes()


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_gives_weights_or_an_input_error_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(damaged)
    with contextlib.suppress(InputError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_state_dict(path).tensors.values())
