"""Entries come back bit by bit, or not at all; keys differ where anything differs."""

from dataclasses import dataclass

import numpy as np
import pytest

from mvs.cache import Store, digest
from mvs.types import Square

RNG = np.random.default_rng(0)
ARRAYS = [
    RNG.normal(size=(3, 4, 2)).astype(np.float32),
    np.array([np.nan, -0.0, np.inf, 1 / 3, 5e-324]),
    np.zeros((0, 3), np.float32),
    np.array(7, np.int64),
    RNG.integers(0, 2, (5, 3)).astype(np.bool_),
    np.array([2**64 - 1], np.uint64),
    np.arange(12, dtype=np.uint8).reshape(3, 4).T,
    np.arange(20, dtype=np.int32)[::-2],
]


@dataclass(frozen=True)
class Everything:
    number: float
    word: str | None
    arrays: list[np.ndarray]
    pair: tuple[Square, bool]
    table: dict[str, int]


VALUE = Everything(0.1 + 0.2, None, ARRAYS, (Square((1 / 3, -2.5), 1e-30), True), {"ö": 3})


def make(folder, skipped=()):
    return Store(folder / "stages", (Everything, Square), skipped)


def assert_same(found, true):
    assert (found.number, found.word, found.pair, found.table) == (
        *(true.number, true.word, true.pair, true.table),
    )
    assert type(found.pair) is tuple
    for array, truth in zip(found.arrays, true.arrays, strict=True):
        assert array.dtype == truth.dtype
        assert array.shape == truth.shape
        assert array.tobytes() == truth.tobytes()
        assert array.flags.c_contiguous
        assert array.flags.aligned


def test_what_was_computed_and_what_is_read_are_the_same(tmp_path):
    computed = make(tmp_path).take("fuse", "k", lambda: VALUE)
    read = make(tmp_path).take("fuse", "k", lambda: pytest.fail("known"))
    assert_same(computed, VALUE)
    assert_same(read, VALUE)
    assert read.arrays[0].flags.writeable
    assert make(tmp_path).take("fuse", "none", lambda: None) is None
    assert make(tmp_path).find("fuse", "none") == (None, True)


def test_entries_of_another_name_stage_or_kind_do_not_count(tmp_path):
    make(tmp_path).put("fuse", "k", VALUE)
    assert make(tmp_path).find("fuse", "l") == make(tmp_path).find("mesh", "k") == (None, False)
    assert make(tmp_path, ("fuse",)).find("fuse", "k") == (None, False)
    assert Store(tmp_path / "stages", (Square,)).find("fuse", "k") == (None, False)
    (path,) = (tmp_path / "stages").iterdir()
    path.rename(path.with_name("fuse-l.stage"))
    assert make(tmp_path).find("fuse", "l") == (None, False)


def test_any_byte_that_changes_or_is_missing_is_noticed(tmp_path):
    make(tmp_path).put("fuse", "k", Square((0.5, 0.5), 2.0))
    (path,) = (tmp_path / "stages").iterdir()
    whole = path.read_bytes()
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            assert make(tmp_path).find("fuse", "k") == (None, False)
    path.write_bytes(whole)
    assert make(tmp_path).find("fuse", "k") == (Square((0.5, 0.5), 2.0), True)


def test_a_store_that_keeps_nothing_touches_no_disk(tmp_path):
    store = make(tmp_path, None)
    assert_same(store.take("fuse", "k", lambda: VALUE), VALUE)
    store.clean("all")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(TypeError, match="an entry cannot hold set"):
        make(tmp_path).put("fuse", "k", {1, 2})


def test_keys_differ_where_anything_differs():
    values = [
        *(0, 0.0, False, None, "", (), [], {}, "0", (0,), [0]),
        *(np.zeros(2), np.zeros(2, np.float32), np.zeros((2, 1)), np.array([0, -0.0])),
        *(Square((0.0, 0.0), 1.0), Square((0.0, 1e-300), 1.0), (("a", "bc"),), (("ab", "c"),)),
    ]
    keys = {digest(value) for value in values}
    assert len(keys) == len(values)
    assert digest(*ARRAYS) == digest(*(array.copy() for array in ARRAYS))
