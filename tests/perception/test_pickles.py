"""Pickles of plain data open under either NumPy; a pickle that wants to run anything doesn't."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import InputError
from perception.pickles import load_pickle
from tests.data import KEYFRAME, keyframe_info, needs

DATA = {
    "text": "ä",
    "numbers": [1, 2.5, 10**30, True, None, 1j],
    "bytes": [b"", b"\x00\xff", bytearray(b"ab")],
    "sets": [{1, 2}, frozenset("a")],
    "scalars": [np.float64(0.1), np.float32(3), np.int64(-4), np.bool_(True), np.str_("word")],
    "arrays": [np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3, 2)), np.zeros((0, 4)), np.array(["a", "bcd"])],
    "byte order": np.arange(3, dtype=">i2"),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def assert_same(got: object, expected: object) -> None:
    assert isinstance(got, type(expected))
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        got, expected = list(got.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert got.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, expected)
    else:
        assert got == expected


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_numpy_arrays_come_back_as_they_were(tmp_path: Path, protocol: int) -> None:
    path = write(tmp_path / "a.pkl", pickle.dumps(DATA, protocol))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(load_pickle(path, "test data"), DATA)


@pytest.mark.parametrize(("theirs", "other"), [(b"numpy.core", b"numpy._core"), (b"numpy._core", b"numpy.core")])
@pytest.mark.parametrize("protocol", [2, 5])
def test_the_other_numpys_names_are_understood(tmp_path: Path, protocol: int, theirs: bytes, other: bytes) -> None:
    """In protocol 2 names end at a line break, so they can be exchanged; protocol 5 has their length before them."""
    content = pickle.dumps([np.float64(0.1), np.arange(3.0)], protocol)
    for function in (b".multiarray", b".numeric"):
        for prefix in (b"c", b"\x8c" + bytes([len(theirs + function)])):
            new = b"c" if prefix == b"c" else b"\x8c" + bytes([len(other + function)])
            content = content.replace(prefix + theirs + function, new + other + function)
    if protocol == 5:
        content = without_frame_lengths(content)
    assert_same(load_pickle(write(tmp_path / "a.pkl", content), "test data"), [np.float64(0.1), np.arange(3.0)])


def without_frame_lengths(content: bytes) -> bytes:
    return content[:2] + content[11:] if content[2:3] == b"\x95" else content


@needs(KEYFRAME)
def test_a_real_info_file_opens_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info = load_pickle(keyframe_info(), "an info file")
    assert info["metainfo"]["info_version"] == "1.1"
    assert len(info["data_list"][0]["instances"]) == 69


class Runs:
    """What it does when it is opened by pickle.load: anything."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_something_is_refused_by_name_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    path = write(tmp_path / "a.pkl", pickle.dumps({"a": [Runs(Path.mkdir, made)]}, protocol))
    with pytest.raises(InputError, match=r"a\.pkl: expected test data of plain data, got the global .*(Path|getattr)"):
        load_pickle(path, "test data")
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),
        (b"cbuiltins\ngetattr\n.", "builtins.getattr"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "numpy.dtype.__init__"),
    ],
)
def test_the_forbidden_global_is_named(tmp_path: Path, content: bytes, named: str) -> None:
    with pytest.raises(InputError, match=f"the global {named};"):
        load_pickle(write(tmp_path / "a.pkl", content), "test data")


@pytest.mark.parametrize("array", [np.array([1, "a", None], dtype=object), np.zeros(2, dtype=[("a", "f4")])])
def test_arrays_of_objects_and_records_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(InputError, match="an array of "):
        load_pickle(write(tmp_path / "a.pkl", pickle.dumps(array)), "test data")


def test_numbers_that_claim_to_be_objects_stay_numbers(tmp_path: Path) -> None:
    """The last field of a dtype's state says how to treat its items: 63 is what an object array has there."""
    content = pickle.dumps(np.arange(3), 2)
    lying = content.replace(b"J\xff\xff\xff\xffK\x00t", b"J\xff\xff\xff\xffK\x3ft")
    assert lying != content
    array = load_pickle(write(tmp_path / "a.pkl", lying), "test data")
    assert not array.dtype.hasobject
    np.testing.assert_array_equal(array, [0, 1, 2])


def test_the_array_type_itself_cannot_be_called(tmp_path: Path) -> None:
    """numpy.ndarray(shape, "O", buffer) would take any bytes for addresses."""
    content = b"cnumpy\nndarray\n((I1\ntS'O'\ntR."
    with pytest.raises(InputError, match="no whole pickle"):
        load_pickle(write(tmp_path / "a.pkl", content), "test data")


def test_a_file_cut_anywhere_is_an_input_error(tmp_path: Path) -> None:
    content = pickle.dumps(DATA, 2)
    for end in range(len(content)):
        with pytest.raises(InputError, match="no whole pickle"):
            load_pickle(write(tmp_path / "a.pkl", content[:end]), "test data")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"{}", b"hello", b"0.", b"Ix\n.", b"K\x01K\x02a.", b"\x80\x63."]
)
def test_what_is_no_pickle_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.pkl: expected test data, got no whole pickle"):
        load_pickle(write(tmp_path / "a.pkl", content), "test data")


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_pickle(tmp_path / "a.pkl", "test data")
    with pytest.raises(InputError, match="directory"):
        load_pickle(tmp_path, "test data")
