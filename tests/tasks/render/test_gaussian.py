"""GaussianMixtureRenderFn gives the acceptance cases of the contract, in every form, however it is batched or transformed."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.render import gaussian
from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.scattering.parameters import PengScatteringFactorParameters
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.pose import EulerAnglePose

double = pytest.mark.usefixtures("x64")


def of_elements(positions, numbers, b_factor=None):
    positions = positions if isinstance(positions, jax.Array) else np.array(positions, float)
    return GaussianMixtureVolume.from_tabulated_parameters(positions, PengScatteringFactorParameters(numbers), b_factor)


def render(volume, shape, h, **options):
    return np.asarray(GaussianMixtureRenderFn(shape, h, **options)(volume))


def l2(volume, reference):
    return np.linalg.norm(np.asarray(volume) - reference) / np.linalg.norm(reference)


def some_atoms(seed=0, n=6, extent=4.0, b_factor=10.0):
    draw = np.random.default_rng(seed)
    return of_elements(draw.uniform(-extent, extent, (n, 3)), draw.choice([1, 6, 7, 8, 16], n), b_factor)


def singles(data, prefix):
    return [case for case in json.loads((data / "acceptance_single.json").read_text()) if case["id"].startswith(prefix)]


@double
def test_single_atoms_have_their_place_maximum_and_mass(data):
    """A1-A4: placement, axis order, origin, mass."""
    cases = singles(data, "single")
    assert len(cases) == 5
    for case in cases:
        given, expected = case["inputs"], case["expect"]
        volume = render(of_elements([given["pos_xyz"]], [given["Z"]], given["B"]), tuple(given["shape_zyx"]), given["h"])
        assert list(np.unravel_index(volume.argmax(), volume.shape)) == expected["argmax_zyx"]
        assert volume.max() == pytest.approx(expected["max"], rel=1e-12)
        assert volume.sum() * given["h"] ** 3 == pytest.approx(expected["sum_times_dV"], rel=1e-12)
        assert np.linalg.norm(volume) == pytest.approx(expected["l2"], rel=1e-12)


@double
def test_neighbouring_voxels_have_their_values():
    """A1, A2: values beside the strongest voxel."""
    volume = render(of_elements([[0, 0, 0]], [6]), (16, 16, 16), 1.0)
    assert volume[8, 8, 8] == pytest.approx(1.3278423480330, rel=1e-12)
    faces = [volume[9, 8, 8], volume[7, 8, 8], volume[8, 9, 8], volume[8, 7, 8], volume[8, 8, 9], volume[8, 8, 7]]
    np.testing.assert_allclose(faces, 0.120722322538516, rtol=1e-12)
    volume = render(of_elements([[0.3, -0.7, 1.1]], [6]), (16, 16, 16), 1.0)
    got = [volume[8, 8, 8], volume[9, 8, 8], volume[8, 7, 8], volume[8, 8, 9]]
    np.testing.assert_allclose(got, [0.0361688943735, 0.3160701936118, 0.0638464428168, 0.0214985436516], rtol=2e-11)


@double
def test_unit_gaussians_are_averaged_not_sampled(data):
    """A5: the mean over the centre voxel, not its middle."""
    cases = singles(data, "centre")
    assert len(cases) == 3
    for case in cases:
        volume = GaussianMixtureVolume(np.zeros((1, 3)), 1.0, float(case["inputs"]["variance"]))
        centre = render(volume, (9, 9, 9), 1.0)[4, 4, 4]
        assert centre == pytest.approx(case["expect"]["average"], rel=1e-12)
        assert abs(centre / case["expect"]["point"] - 1) > 0.05


CASES = {
    "32_32_32_h1_B0": 1.419301306789,
    "31_31_31_h1_B20": 0.643128387731,
    "30_33_40_h1_B50": 0.430651219164,
    "24_40_17_h1.3_B0": 0.962071123692,
}


def protein(data, case):
    arrays = np.load(data / "1uao_reference_volumes.npz")
    *shape, h, b = case.split("_")
    volume = of_elements(arrays["pos"], arrays["Z"], float(b[1:]))
    return volume, tuple(map(int, shape)), float(h[1:]), arrays[f"avg_{case}"]


TWO = [pytest.param(c, marks=pytest.mark.slow) if c in list(CASES)[1:3] else c for c in CASES]


@double
@pytest.mark.parametrize("case", TWO)
def test_a_real_protein_whole(data, case):
    """B1, B2 in float64, and the windowed form within its tolerance."""
    volume, shape, h, reference = protein(data, case)
    got = render(volume, shape, h)
    assert got.dtype == np.float64
    assert l2(got, reference) <= 1e-12
    assert got.max() == pytest.approx(CASES[case], rel=1e-11)
    for tolerance, bound in [(1e-3, 1e-3), (1e-5, 1e-5), (1e-8, 1e-8)]:
        assert l2(render(volume, shape, h, tolerance=tolerance), reference) <= bound
    if case == "32_32_32_h1_B0":
        assert got.min() >= 0
        assert got.sum() == pytest.approx(212.7289, rel=1e-12)
        assert np.linalg.norm(got) == pytest.approx(11.285814204536, rel=1e-12)


@pytest.mark.parametrize("case", TWO)
def test_a_real_protein_in_single_precision(data, case):
    """B1, B2 in float32: 2e-6 dense, 1e-5 local."""
    volume, shape, h, reference = protein(data, case)
    dense, local = render(volume, shape, h), render(volume, shape, h, tolerance=1e-5)
    assert dense.dtype == local.dtype == np.float32
    assert l2(dense, reference) <= 2e-6
    assert l2(local, reference) <= 1e-5


@double
@pytest.mark.parametrize("options", [{"batch_size": 5}, {"batch_size": 9, "n_batches": 4}, {"n_batches": 6}])
@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_batches_change_nothing(options, tolerance):
    """C: any batch size and number of batches, remainders included."""
    volume, shape = some_atoms(), (9, 12, 11)
    whole = render(volume, shape, 1.0, tolerance=tolerance)
    np.testing.assert_allclose(render(volume, shape, 1.0, tolerance=tolerance, batch_options=options), whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number, from 1 to 9 .*z-planes.*, got 0"),
        ({"batch_size": 10}, "from 1 to 9"),
        ({"batch_size": 2.0}, "batch_size must be a whole number"),
        ({"n_batches": 0}, "n_batches must be a whole number, at least 1"),
        ({"n_batches": 7}, "n_batches must be from 1 to 6 .*number of atoms.*, got 7"),
        ({"n_batch": 1}, "batch_size and n_batches, got 'n_batch'"),
    ],
)
def test_batches_that_cannot_be_are_refused(options, message):
    """C: 0, too large, an unknown key: ValueError naming the bound."""
    with pytest.raises(ValueError, match=message):
        render(some_atoms(), (9, 12, 11), 1.0, batch_options=options)


def relation(form, axes_of_full=(0, 1, 2)):
    """What each output form is of real voxels, in NumPy."""
    shifted, rfft = form["fftshifted"], form["outputs_rfft"]

    def transform(voxels):
        result = (np.fft.rfftn if rfft else np.fft.fftn)(np.fft.ifftshift(voxels))
        return np.fft.fftshift(result, axes=(0, 1) if rfft else axes_of_full) if shifted else result

    return transform


@double
@pytest.mark.parametrize("shape", [(32, 32, 32), (31, 31, 31), (30, 33, 40), (31, 40, 28)])
def test_four_fourier_forms_are_the_transform_of_the_voxels_and_hermitian(shape):
    """E1, E2: odd and even sizes."""
    volume, render_fn = some_atoms(), GaussianMixtureRenderFn(shape, 1.1)
    voxels = np.asarray(render_fn(volume))
    for rfft in (False, True):
        for shifted in (False, True):
            form = {"outputs_rfft": rfft, "fftshifted": shifted}
            got = np.asarray(render_fn(volume, outputs_real_space=False, **form))
            expected = relation(form)(voxels)
            assert got.shape == expected.shape
            assert l2(got, expected) <= 1e-12
            np.testing.assert_array_equal(render_fn(volume, **form), voxels)
    full = np.asarray(render_fn(volume, outputs_real_space=False))
    mirrored = np.roll(full[::-1, ::-1, ::-1], 1, axis=(0, 1, 2)).conj()
    assert np.abs(full - mirrored).max() <= 1e-13 * np.abs(full).max()


@double
def test_e4_one_mode_of_one_gaussian_in_a_box_that_ends_to_1e_9():
    """E4: its figures are of the voxels that are in the box, which hold all but 9e-7 of the mass."""
    volume = GaussianMixtureVolume(np.array([[2.3, -1.1, 0.7]]), 2.0, 300.0 / (8 * np.pi**2))
    modes = GaussianMixtureRenderFn((24, 28, 20), 1.25)(volume, outputs_real_space=False)
    assert complex(modes[1, 2, 3]) == pytest.approx(0.02024834478 - 0.23771505434j, rel=0, abs=1e-10)
    assert complex(modes[0, 0, 0]) * 1.25**3 == pytest.approx(1.9999990992, rel=0, abs=1e-10)


@double
@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_turns_and_shifts_of_the_atoms_are_turns_and_shifts_of_the_voxels(tolerance):
    """F1, F2: the sense of rotation, axis order and the origin of odd boxes."""
    render_fn, volume = GaussianMixtureRenderFn((31, 31, 31), 1.0, tolerance=tolerance), some_atoms()
    voxels = np.asarray(render_fn(volume))
    turned = render_fn(volume.rotate_to_pose(EulerAnglePose(90, 0, 0)))
    np.testing.assert_allclose(turned, voxels[:, ::-1, :].transpose(0, 2, 1), rtol=0, atol=1e-14)
    moved = render_fn(volume.translate_to_pose(EulerAnglePose(offset=(2.0, -1.0, 3.0))))
    np.testing.assert_allclose(moved, np.roll(voxels, (3, -1, 2), axis=(0, 1, 2)), rtol=0, atol=1e-14)


@double
def test_a_rotated_protein_is_drawn_rotated_and_back(data):
    """F3, F4, F6 through the renderer: the projection along z of the rotated protein is the reference's."""
    arrays, pose = np.load(data / "1uao_reference_volumes.npz"), EulerAnglePose(27, 63, -41)
    expected = np.load(data / "projection_1uao_B60_euler_27_63_-41.npz")
    np.testing.assert_allclose(pose.rotation(), expected["R"], rtol=0, atol=1e-12)
    volume = of_elements(arrays["pos"], arrays["Z"], 60.0)
    turned, render_fn = volume.rotate_to_pose(pose), GaussianMixtureRenderFn((60, 40, 40), 1.0, batch_options={"batch_size": 60})
    assert l2(np.asarray(render_fn(turned)).sum(axis=0), expected["proj_rot"]) <= 1e-12
    back = turned.rotate_to_pose(pose, inverse=True)
    np.testing.assert_allclose(back.positions, volume.positions, rtol=0, atol=1e-13)
    assert l2(render_fn(back), np.asarray(render_fn(volume))) <= 1e-13


def sixth_order(loss, values, direction, e=4e-3):
    def along(step):
        return float(loss(values + step * direction))

    return sum(c * (along(k * e) - along(-k * e)) for k, c in ((1, 45), (2, -9), (3, 1))) / (60 * e)


@double
@pytest.mark.parametrize("tolerance", [0.0, 1e-5], ids=["dense", "windowed"])
@pytest.mark.parametrize("argument", ["positions", "amplitudes", "variances", "b_factors", "angles", "voxel_size"])
def test_h1_gradients_equal_central_differences(argument, tolerance):
    """H1: of Σ w·V, also to the voxel size, dense and windowed."""
    draw, shape, numbers = np.random.default_rng(1), (9, 10, 11), [6, 7, 8, 16, 1]
    # away from voxel faces, where a window moves on by a voxel
    points = draw.integers(-3, 4, (5, 3)) + draw.uniform(-0.3, 0.3, (5, 3))
    weights, one = draw.normal(size=shape), np.ones((5, 5))
    given = {"positions": points, "amplitudes": one, "variances": one, "b_factors": np.full(5, 20.0)}
    given |= {"angles": np.array([4.0, 7.0, -5.0]), "voxel_size": np.array(1.0)}
    options = {"tolerance": tolerance, "batch_options": {"batch_size": 6, "n_batches": 2}}
    # with room for the widths and voxel sizes of the differences
    window = (
        GaussianMixtureRenderFn(shape, 0.9, **options).with_window_of(of_elements(points, numbers, 25.0)).window
        if tolerance
        else None
    )

    def loss(value):
        now = given | {argument: value}
        volume = of_elements(jnp.asarray(now["positions"]), numbers, now["b_factors"]).rotate_to_pose(
            EulerAnglePose(*now["angles"])
        )
        factors = volume.amplitudes * now["amplitudes"], volume.variances * now["variances"]
        render_fn = GaussianMixtureRenderFn(shape, now["voxel_size"], window=window, **options)
        return (weights * render_fn(GaussianMixtureVolume(volume.positions, *factors))).sum()

    scale = {"variances": 0.2, "b_factors": 4.0, "angles": 10.0, "voxel_size": 0.1}.get(argument, 1.0)
    direction = scale * draw.normal(size=given[argument].shape)
    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    slope = sixth_order(lambda x: value_and_gradient(x)[0], jnp.asarray(given[argument]), direction)
    gradient = value_and_gradient(jnp.asarray(given[argument]))[1]
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-9)


@double
@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_every_transform_equals_a_loop_over_frames(tolerance):
    """H2: jit and vmap, bare and filtered, of the function itself and of what is built around it."""
    frames = np.random.default_rng(5).uniform(-5, 5, (3, 6, 3))
    volume, plain = some_atoms(), GaussianMixtureRenderFn((10, 13, 12), 1.2, tolerance=tolerance)
    render_fn = plain.with_window_of(volume) if tolerance else plain

    def at(positions):
        return eqx.tree_at(lambda v: v.positions, volume, positions)

    loop = np.stack([plain(at(x)) for x in frames])
    ensemble = eqx.filter_vmap(at)(jnp.asarray(frames))
    each = eqx.tree_at(lambda v: v.positions, jax.tree.map(lambda _: None, volume), 0, is_leaf=lambda x: x is None)
    ways = [
        lambda: jax.vmap(render_fn)(ensemble),
        lambda: eqx.filter_jit(eqx.filter_vmap(render_fn))(ensemble),
        lambda: np.stack([jax.jit(render_fn)(at(x)) for x in frames]),
        lambda: np.stack([eqx.filter_jit(lambda f, v: f(v))(render_fn, at(x)) for x in frames]),
        lambda: jax.jit(jax.vmap(render_fn))(ensemble),
        lambda: eqx.filter_vmap(render_fn)(ensemble),
        lambda: jax.vmap(render_fn, in_axes=(each,))(at(jnp.asarray(frames))),
        lambda: jax.lax.map(lambda x: render_fn(at(x)), jnp.asarray(frames)),
        lambda: np.stack([eqx.filter_jit(render_fn)(at(x)) for x in frames]),
        lambda: np.stack([jax.jit(lambda f, v: f(v))(render_fn, at(x)) for x in frames]),
    ]
    for way in ways[: 4 if tolerance else None]:
        np.testing.assert_allclose(way(), loop, rtol=0, atol=1e-14)


def test_frames_of_one_molecule_are_compiled_once(monkeypatch):
    traced, plain = [], gaussian._in_groups
    monkeypatch.setattr(gaussian, "_in_groups", lambda *arguments: traced.append(1) or plain(*arguments))
    render_fn = GaussianMixtureRenderFn((8, 7, 9), 1.0)
    for seed in range(4):
        render_fn(some_atoms(seed))
    assert len(traced) == 1


def test_a_window_of_traced_widths_must_be_given():
    volume, render_fn = some_atoms(), GaussianMixtureRenderFn((40, 40, 40), 1.0, tolerance=1e-5)
    for transform in (jax.jit, eqx.filter_jit):
        with pytest.raises(ValueError, match=r"with_window_of\(volume\)"):
            transform(render_fn)(volume)
    fitted = render_fn.with_window_of(volume)
    assert fitted.window is not None
    assert fitted.window % 2 == 1
    with pytest.raises(ValueError, match=f"needs a window of {fitted.window} voxels, got 3"):
        GaussianMixtureRenderFn((40, 40, 40), 1.0, tolerance=1e-5, window=3)(volume)
    # under `grad` widths are known, although they are differentiated
    assert np.isfinite(jax.grad(lambda v: (render_fn(v) ** 2).sum())(volume).variances).all()


@double
@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_negative_amplitudes_give_the_negative_volume(tolerance):
    """I: every term may be negative, and Rb and Np have such terms in the table."""
    volume = of_elements([[1.0, 2.0, -1.5], [-2.0, 0.3, 1.0]], [37, 93], 10.0)
    assert (volume.amplitudes < 0).any()
    negative = eqx.tree_at(lambda v: v.amplitudes, volume, -volume.amplitudes)
    got = [render(v, (20, 18, 16), 1.0, tolerance=tolerance) for v in (volume, negative)]
    np.testing.assert_allclose(got[1], -got[0], rtol=0, atol=1e-12)


@double
def test_helium_is_drawn_and_no_b_factor_is_b_factor_zero():
    """I: Z = 2; B = 0 same as None."""
    helium = of_elements([[0.2, 0.1, 0]], [2])
    parameters = PengScatteringFactorParameters([2])
    assert render(helium, (25, 25, 25), 0.5).sum() * 0.125 == pytest.approx(parameters.a.sum(), rel=1e-9)
    np.testing.assert_array_equal(render(helium, (9, 9, 9), 1.0), render(of_elements([[0.2, 0.1, 0]], [2], 0.0), (9, 9, 9), 1.0))


def test_no_atoms_are_an_empty_volume():
    assert not render(GaussianMixtureVolume(np.zeros((0, 3)), 1.0, 1.0), (4, 5, 6), 1.0).any()
    assert not render(GaussianMixtureVolume(np.zeros((0, 3)), 1.0, 1.0), (4, 5, 6), 1.0, tolerance=1e-3).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *[(lambda z=z: of_elements(np.zeros((1, 3)), [z]), f"atomic number {z}") for z in (0, -1, 119)],
        (lambda: GaussianMixtureRenderFn((8, 8, 8), 0.0), "voxel size must be positive"),
        (lambda: GaussianMixtureRenderFn((8, 8, 8), -1.0), "voxel size must be positive"),
        (lambda: GaussianMixtureRenderFn((8, 8, 8), np.nan), "voxel size must be positive"),
        (lambda: GaussianMixtureRenderFn((8, 8, 8), np.ones(3)), "one number"),
        (lambda: GaussianMixtureRenderFn((8, 0, 8), 1.0), "three positive voxel counts"),
        (lambda: GaussianMixtureRenderFn((8, 8, 8), 1.0, tolerance=-1e-5), "tolerance"),
        (lambda: GaussianMixtureRenderFn((8, 8, 8), 1.0, tolerance=np.nan), "tolerance"),
        (lambda: GaussianMixtureRenderFn((8, 8, 8), 1.0, window=5), "positive tolerance"),
        (lambda: GaussianMixtureVolume(np.full((1, 3), np.nan), 1.0, 1.0), "positions must be finite"),
        (lambda: GaussianMixtureVolume(np.zeros((1, 3)), 1.0, 0.0), "variances must be finite and positive"),
        (lambda: GaussianMixtureVolume(np.zeros((2, 3)), np.ones(3), 1.0), "amplitudes"),
        (lambda: of_elements(np.zeros((2, 3)), [6]), "amplitudes"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    """I: a clear error, never a silent or NaN volume."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("tolerance", [0.0, 1e-4])
def test_what_was_put_into_a_volume_later_is_checked_when_it_is_drawn(tolerance):
    """I: past the constructor an error; inside jit, where nothing can be raised, NaN rather than a missing atom."""
    volume, render_fn = some_atoms(), GaussianMixtureRenderFn((30, 30, 30), 1.0, tolerance=tolerance)
    fitted = render_fn.with_window_of(volume) if tolerance else render_fn
    for name, bad in (("positions", np.nan), ("positions", np.inf), ("variances", -1.0)):
        damaged = eqx.tree_at(lambda v, n=name: getattr(v, n), volume, replace_fn=lambda x, bad=bad: x.at[2, 1].set(bad))
        with pytest.raises(ValueError, match=name):
            render_fn(damaged)
        assert np.isnan(jax.jit(fitted)(damaged)).any()
