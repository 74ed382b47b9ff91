"""The exception tree."""

from __future__ import annotations

import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor

import pytest
from tests.patience import HANG_S

import marlin_sdk
from marlin_sdk import errors
from marlin_sdk.errors import MarlinError, MissingExtraError

LEAVES = [getattr(errors, name) for name in errors.__all__ if name != "MarlinError"]


def _make(kind: type[MarlinError]) -> MarlinError:
    return kind("to_dataframe()", "pandas") if kind is MissingExtraError else kind("talk.mp4: no face")


def _fail_in_worker() -> None:
    raise MissingExtraError("to_dataframe()", "pandas")


def test_documented_tree_is_the_real_one() -> None:
    lines = re.findall(r"^    ( *)(\w+)(?:\((\w+)\))?(?:  |$)", errors.__doc__ or "", re.MULTILINE)
    assert sorted(name for _, name, _ in lines) == errors.__all__
    above: dict[int, type] = {}
    for indent, name, builtin in lines:
        depth, found = len(indent) // 2, getattr(errors, name)
        above[depth] = found
        assert found.__bases__[0] is (above[depth - 1] if depth else Exception)
        assert [base.__name__ for base in found.__bases__[1:]] == ([builtin] if builtin else [])


@pytest.mark.parametrize("kind", LEAVES)
def test_each_error_is_a_marlin_error_and_a_builtin_and_is_public(kind: type[MarlinError]) -> None:
    assert issubclass(kind, MarlinError)
    assert issubclass(kind, (ValueError, OSError, RuntimeError, ImportError, MemoryError))
    assert getattr(marlin_sdk, kind.__name__) is kind


@pytest.mark.parametrize("kind", LEAVES)
def test_each_error_survives_a_pickle(kind: type[MarlinError]) -> None:
    error = _make(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) != ""


def test_missing_extra_comes_back_from_a_worker_process_with_its_pip_line() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(MissingExtraError, match=re.escape("pip install 'marlin-sdk[pandas]'")) as caught,
    ):
        pool.submit(_fail_in_worker).result(timeout=HANG_S)
    assert (caught.value.what, caught.value.extra) == ("to_dataframe()", "pandas")
