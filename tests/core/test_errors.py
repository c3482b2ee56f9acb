from __future__ import annotations

import inspect

from memedit import errors


def classes() -> list[type[errors.MemeditError]]:
    return [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.MemeditError)
    ]


def test_all_is_complete_and_the_docstring_draws_the_whole_tree() -> None:
    names = {cls.__name__ for cls in classes()}
    assert names == set(errors.__all__)
    drawn = errors.__doc__ or ""
    assert all(name in drawn for name in names)


def test_codes_are_stable_names_and_never_shared() -> None:
    codes = [cls.code for cls in classes()]
    assert len(set(codes)) == len(codes)
    assert all(code.isidentifier() and code.islower() for code in codes)
    assert all(400 <= cls.status < 600 for cls in classes())
