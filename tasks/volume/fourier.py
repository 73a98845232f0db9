"""Fourier transforms with the phase origin at the box centre (voxel n//2): sign −, forward unnormalised (README.md)."""

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Inexact


def fftn(volume: Inexact[Array, "..."]) -> Complex[Array, "..."]:
    """F(k) = Σ_i x_i exp(-2πi k·(i - n//2)/n) over all axes; zero frequency in the corner. Continuous: F̃ ≈ h³ F."""
    return jnp.fft.fftn(jnp.fft.ifftshift(volume))


def ifftn(transform: Complex[Array, "..."]) -> Complex[Array, "..."]:
    """The inverse of `fftn`."""
    return jnp.fft.fftshift(jnp.fft.ifftn(transform))


def rfftn(volume: Float[Array, "..."]) -> Complex[Array, "..."]:
    """`fftn` of real voxels, the half space of n//2 + 1 frequencies along the last axis."""
    return jnp.fft.rfftn(jnp.fft.ifftshift(volume))


def irfftn(transform: Complex[Array, "..."], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """The inverse of `rfftn`; `shape` of the real voxels, since a half space does not tell odd from even."""
    return jnp.fft.fftshift(jnp.fft.irfftn(transform, s=shape))


def hermitian(half: Complex[Array, "z y k"], shape: tuple[int, int, int]) -> Complex[Array, "z y k"]:
    """The half space made that of a real volume: F(k) = conj F(-k) on the planes that mirror onto themselves.

    These are kx = 0 and, for even nx, kx = nx/2. Any spectrum sampled at even sizes needs it: its value at +n/2 stands for
    that at -n/2 too.
    """
    planes = [0, shape[2] // 2] if shape[2] % 2 == 0 else [0]
    for plane in planes:
        here = half[:, :, plane]
        # index -k modulo n: reversed, with 0 kept in place
        mirrored = jnp.roll(here[::-1, ::-1], 1, axis=(0, 1))
        half = half.at[:, :, plane].set((here + mirrored.conj()) / 2)
    return half


def full_from_half(half: Complex[Array, "z y k"], shape: tuple[int, int, int]) -> Complex[Array, "z y x"]:
    """All frequencies of a real volume from its half space: F(-k) = conj F(k)."""
    nx = shape[2]
    rest = half[:, :, 1 : (nx + 1) // 2][:, :, ::-1]
    mirrored = jnp.roll(rest[::-1, ::-1], 1, axis=(0, 1)).conj()
    return jnp.concatenate([half, mirrored], axis=2)
