"""Names of other years and other homes: whoever uses one is told, in one line, what to use here."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from types import FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_AT_THE_TOP = "every name is at the top: cryovox.GaussianMixtureVolume"
OTHERWISE = {
    "AbstractFilter": "use from_real_voxel_grid(…, sinc_correction=True) or SincCorrectionMask",
    "antialias": "use sampling_mode='average' or 'point' of FFTAtomRenderFn",
    "atom_types": "use atomic_numbers",
    "batch_size": "use batch_options={'batch_size': …} of GaussianMixtureRenderFn",
    "constants": _AT_THE_TOP,
    "coordinates": _AT_THE_TOP,
    "filter": "use sinc_correction=True of FourierVoxelGridVolume, or multiply the voxels by SincCorrectionMask",
    "get_representation": "use to_representation",
    "io": _AT_THE_TOP,
    "n_batches": "use batch_options={'n_batches': …} of GaussianMixtureRenderFn",
    "ndimage": _AT_THE_TOP,
    "outputs_rfftfreqs": "use outputs_rfft",
    "position_pytree": "use positions of IndependentAtomVolume",
    "scattering_factor_pytree": "use scattering_factors of IndependentAtomVolume",
    "simulator": _AT_THE_TOP,
    "write_volume_to_mrc": "use write_array_to_mrc",
}
"""A name that is not here, be it a module's, an attribute's or a keyword's, to what is meant by it."""


def advice(name: str, known: Iterable[str], likeness: float = 0.75) -> str:
    """`: use X` for a name that is not there, by the table or the nearest of those `known`; else nothing."""
    if name in OTHERWISE:
        return f": {OTHERWISE[name]}"
    if name.startswith("_"):
        return ""
    # only where something has gone wrong already
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=likeness)
    return f": use {near[0]}" if near else ""


def with_advice(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose `TypeError` for a keyword that it does not have says which to use."""

    @wraps(function)
    def advised(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError:
            parameters = inspect.signature(function).parameters
            takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
            unknown = [name for name in kwargs if name not in parameters]
            # with keywords that it all knows, the function has an error of its own
            if takes_any or not unknown:
                raise
            name, known = unknown[0], [known for known in parameters if known not in ("self", "cls")]
            told = advice(name, known, 0.6) or f": it takes {', '.join(known)}"
            called = getattr(function, "__qualname__", str(function)).removesuffix(".__init__")
            raise TypeError(f"{called}() got an unexpected keyword argument {name!r}{told}") from None

    return advised


class Advises:
    """Base of classes whose instances and functions tell what to use in the place of an old or misspelt name.

    An old attribute is an `AttributeError`, a keyword that is not known a `TypeError`. Nothing else about a class changes:
    `hasattr`, copies, pickles and the errors of its own properties are as they would be.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in list(vars(cls).items()):
            if name.startswith("_") and name not in ("__init__", "__call__"):
                continue
            if isinstance(member, FunctionType):
                setattr(cls, name, with_advice(member))
            elif isinstance(member, classmethod):
                setattr(cls, name, classmethod(with_advice(member.__func__)))

    # a type checker would take it to mean that every attribute exists
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in OTHERWISE:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}: {OTHERWISE[name]}")
            # once more, for Python's own words or those of a property that failed
            return object.__getattribute__(self, name)
