"""The spectrum helpers of sketch.h on whole problems, against LAPACK and ARPACK (NumPy, SciPy).
   python3 tests/spectrum_check.py build/liboracle.so      one line a check, then `N passed, N failed`"""
import ctypes, sys
import numpy as np, scipy.linalg as sl, scipy.sparse as sp, scipy.sparse.linalg as ssl
from scipy.stats import wasserstein_distance
from scipy.optimize import linear_sum_assignment

lib = ctypes.CDLL(sys.argv[1])
MATVEC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_float))
U, D = ctypes.c_uint64, ctypes.c_double
for name in ('orc_lanczos', 'orc_arnoldi', 'orc_slq'): getattr(lib, name).restype = U
passed = failed = 0
rng = np.random.default_rng(7)

def check(ok, what):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(('ok   ' if ok else 'FAIL ') + what, flush=True)

def ptr(a): return None if a is None else a.ctypes.data_as(ctypes.c_void_p)
def operator(a, d):
    def matvec(_, v, out):
        np.ctypeslib.as_array(out, (d,))[:] = a @ np.ctypeslib.as_array(v, (d,)).astype(np.float64)
        return 0
    return MATVEC(matvec)
def lanczos(a, steps, seed=1):
    d = a.shape[0]
    basis, doubles, theta, bound, s = np.zeros((steps + 1, d), np.float32), np.zeros(4 * steps), np.zeros(steps), np.zeros(steps), np.zeros(steps * steps)
    m = lib.orc_lanczos(operator(a, d), U(d), U(steps), U(seed), ptr(basis), ptr(doubles), ptr(theta), ptr(bound), ptr(s), ptr(np.zeros(2 * steps)))
    return theta[:m], bound[:m], s[:m * m].reshape(m, m), basis
def partners(a, b):                                # the largest distance in the best matching of two sets of complex numbers
    cost = np.abs(a[:, None] - b[None, :])
    return cost[linear_sum_assignment(cost)].max()

# ---- tridiagonal, against LAPACK
def wilkinson(m): return np.abs(np.arange(m) - m // 2).astype(float), np.ones(m)
glued = [np.tile(wilkinson(21)[0], 10), np.where(np.arange(210) % 21 == 20, 1e-8, 1.0)]
cases = {'random 1000': (rng.standard_normal(1000), rng.standard_normal(1000)), 'Wilkinson 201': wilkinson(201), 'glued Wilkinson 210': glued,
         'Clement 300': (np.zeros(300), np.append(np.sqrt(np.arange(1, 300) * (300.0 - np.arange(1, 300))), 0)),
         'graded 400': (10.0 ** -np.linspace(0, 30, 400), 10.0 ** -np.linspace(0.5, 30.5, 400)), 'graded upward 400': (10.0 ** -np.linspace(30, 0, 400), 10.0 ** -np.linspace(30.5, 0.5, 400)),
         'Laguerre 200': (2 * np.arange(200) + 1.0, np.arange(1, 201) + 0.0), 'one': (np.array([3.0]), np.array([0.0]))}
for name, (a, b) in cases.items():
    m = len(a)
    w, v = sl.eigh_tridiagonal(a, b[:-1]) if m > 1 else (a, np.eye(1))
    t, o, z = a.copy(), b.copy(), np.eye(m)
    st = lib.orc_tridiagonal(U(m), ptr(t), ptr(o), ptr(z), U(m))
    norm = np.abs(w).max()
    T = np.diag(a) + np.diag(b[:-1], 1) + np.diag(b[:-1], -1)
    err = max(np.abs(t - w).max() / norm, np.abs(z @ T - t[:, None] * z).max() / norm, np.abs(z @ z.T - np.eye(m)).max())
    check(st == 0 and err < 1e-12, f'tridiagonal {name}: {err:.1e} of the norm')

# ---- Hessenberg, against LAPACK
grcar = sum(np.eye(100, k=k) for k in range(4)) - np.eye(100, k=-1)
for name, h, tol in (('random 200', np.triu(rng.standard_normal((200, 200)), -1), 1e-9), ('random 7', np.triu(rng.standard_normal((7, 7)), -1), 1e-12),
                     ('Grcar 100 (ill-conditioned)', grcar, 1e-4), ('orthogonal cycle 50', np.eye(50, k=-1) + np.eye(50, k=49), 1e-12),
                     ('reducible 40', np.triu(rng.standard_normal((40, 40)), -1) * (1 - np.eye(40, k=-1) * (np.arange(40) % 5 == 0)), 1e-10)):
    m = len(h); w = sl.eigvals(h); re, im = np.zeros(m), np.zeros(m)
    st = lib.orc_hessenberg(U(m), ptr(np.ascontiguousarray(h)), ptr(re), ptr(im))
    err = partners(re + 1j * im, w) / np.abs(w).max()
    check(st == 0 and err < tol, f'Hessenberg {name}: {err:.1e}')

# ---- Lanczos: a dense matrix, all of it; a Laplacian and a Wishart matrix, ends against ARPACK
a = rng.standard_normal((300, 300)); a = a + a.T
theta, bound, s, basis = lanczos(a, 300)
w = np.linalg.eigvalsh(a)
check(len(theta) == 300 and np.abs(theta - w).max() < 1e-5 * np.abs(w).max(), f'Lanczos, all 300 eigenvalues: {np.abs(theta - w).max() / np.abs(w).max():.1e} of the norm')
lap = sp.csr_array(sp.kronsum(sp.diags_array([-np.ones(59), 2.001 * np.ones(60), -np.ones(59)], offsets=[-1, 0, 1]), sp.diags_array([-np.ones(70), 2 * np.ones(71), -np.ones(70)], offsets=[-1, 0, 1])))
x = rng.standard_normal((1000, 1600)) * (1 + 2.0 * (np.arange(1600) < 6)) / 40
for name, m, steps in (('Laplacian 60 x 71', lap, 400), ('Wishart 1000 less 3/2', x @ x.T - 1.5 * np.eye(1000), 250)):
    theta, bound, s, basis = lanczos(m, steps)
    top, low = (np.sort(ssl.eigsh(m, 6, which=which, return_eigenvectors=False, ncv=60)) for which in ('LA', 'SA'))
    norm = max(abs(top[-1]), abs(low[0]))
    err = max(np.abs(theta[-6:] - top).max(), np.abs(theta[:1] - low[:1]).max()) / norm
    check(err < 1e-5, f'Lanczos {name}: ends against ARPACK {err:.1e} of the norm')
    check(np.abs(basis @ basis.T.astype(np.float64) - np.eye(steps + 1)).max() < 1e-5, f'Lanczos {name}: orthogonality {np.abs(basis @ basis.T.astype(np.float64) - np.eye(steps + 1)).max():.1e}')
    full = np.linalg.eigvalsh(m.toarray() if sp.issparse(m) else m)
    near = np.abs(full[None, :] - theta[:, None]).min(1)
    check((near <= bound + 1e-6 * norm).all(), f'Lanczos {name}: every Ritz value is within its bound of an eigenvalue')
    y = s[-4:] @ basis[:steps].astype(np.float64)
    res = np.linalg.norm((m @ y.T).T - theta[-4:, None] * y, axis=1)
    check((res <= bound[-4:] * 1.01 + 2e-6 * norm).all() and np.abs(y @ y.T - np.eye(4)).max() < 1e-5, f'Lanczos {name}: Ritz vectors, residual {res.max():.1e}')

# ---- Arnoldi: convection and diffusion, against ARPACK; with a sketch, with similarity restored
def arnoldi(a, steps, sketch=0, restore=False):
    d = a.shape[0]
    p = ctypes.c_void_p(None)
    if sketch: lib.orc_create(1, U(d), U(sketch), U(5), 0, 0, U(0), ctypes.c_uint32(0), 0, 0, ctypes.c_uint32(0), U(1), ctypes.byref(p))
    re, im, lift = np.zeros(steps), np.zeros(steps), np.zeros(d, np.float32)
    m = lib.orc_arnoldi(operator(a, d), p, U(d), U(steps), U(3), ptr(np.zeros((steps + 1, d), np.float32)), ptr(np.zeros(4 * steps)), ptr(np.zeros((steps, steps))),
                        ptr(np.zeros((steps + 1, max(sketch, 1)), np.float32)), ptr(lift) if restore else None, ptr(re), ptr(im), ptr(np.zeros(steps * (steps + 4))))
    return re[:m] + 1j * im[:m]
n = 40
conv = sp.csr_array(sp.kronsum(sp.diags_array([-1.9 * np.ones(n - 1), 2 * np.ones(n), -0.1 * np.ones(n - 1)], offsets=[-1, 0, 1]), sp.diags_array([-1.3 * np.ones(n - 1), 2 * np.ones(n), -0.7 * np.ones(n - 1)], offsets=[-1, 0, 1])))
b = rng.standard_normal((1200, 1200)) / np.sqrt(1200); b[:, :4] += 3 * np.eye(1200, 4); b[0, 1], b[1, 0] = 2, -2
ref = ssl.eigs(b, 4, which='LM', return_eigenvectors=False)
for name, got in (('', arnoldi(b, 90)), (', sketched', arnoldi(b, 90, 512)), (', similarity restored', arnoldi(b, 90, 512, True))):
    got = got[np.argsort(-np.abs(got))][:4]
    check(partners(got, ref) < 1e-4 * np.abs(ref).max(), f'Arnoldi{name}: leading eigenvalues against ARPACK {partners(got, ref) / np.abs(ref).max():.1e}')
plain, raw, restored = arnoldi(conv, 25), arnoldi(conv, 25, 128), arnoldi(conv, 25, 128, True)
check(partners(plain, restored) < 1e-4 < 1e-2 < partners(plain, raw), f'Arnoldi on a non-normal operator: Ritz values of 25 steps, restored {partners(plain, restored):.1e} from the process without sketch, not restored {partners(plain, raw):.1e}')

# ---- spectral density of a 2,000 x 2,000 matrix; trace
g = rng.standard_normal((2000, 2000)); a = (g + g.T) / np.sqrt(8000) + 0.0
u = np.linalg.qr(rng.standard_normal((2000, 12)))[0]; a += (u * np.linspace(1.5, 6, 12)) @ u.T; a[:600] *= 0.05; a[:, :600] *= 0.05
w = np.linalg.eigvalsh(a); span = w[-1] - w[0]
nodes, weights = np.zeros(8 * 100), np.zeros(8 * 100)
count = lib.orc_slq(operator(a, 2000), U(2000), U(100), U(8), U(1), ptr(np.zeros((101, 2000), np.float32)), ptr(np.zeros(400)), ptr(nodes), ptr(weights))
dist = wasserstein_distance(nodes[:count], w, weights[:count]) / span
check(count == 800 and abs(weights.sum() - 1) < 1e-12 and dist < 0.02, f'SLQ, 8 probes of 100 steps: Wasserstein distance {dist:.2e} of the range')
equal = wasserstein_distance(nodes[:count], w) / span
check(equal > 5 * dist, f'SLQ: with equal weights it would be {equal:.2e}')
r, dens = np.zeros(3), np.zeros(3000)
lib.orc_density(ptr(nodes), ptr(weights), U(count), ptr(r), ptr(dens), U(3000))
grid = np.linspace(r[0], r[1], 3000)
dist = wasserstein_distance(grid, w, np.maximum(dens, 0) / dens.sum()) / span
check(abs(np.trapezoid(dens, grid) - 1) < 1e-4 and dist < 0.02, f'SLQ density: integral {np.trapezoid(dens, grid):.6f}, Wasserstein distance {dist:.2e} of the range')
psd = a @ a
for name, m in (('psd', psd), ('indefinite', a)):
    t, e = D(), D()
    errors, said = [], []
    for seed in range(6):
        lib.orc_trace(operator(m, 2000), U(2000), U(120), U(seed), ptr(np.zeros((42, 2000), np.float32)), ptr(np.zeros(81)), ctypes.byref(t), ctypes.byref(e))
        errors.append(t.value - np.trace(m)); said.append(e.value)
    check(np.abs(errors).max() < 4.5 * np.mean(said) and np.abs(np.mean(errors)) < 2 * np.mean(said), f'Hutch++ {name}: errors up to {np.abs(errors).max() / abs(np.trace(m)):.1e} of the trace, said {np.mean(said) / abs(np.trace(m)):.1e}')

# ---- conjugate gradients
f = rng.standard_normal(2000).astype(np.float32); xs, res = np.zeros(2000, np.float32), D()
st = lib.orc_cg(operator(psd, 2000), U(2000), D(0.3), ptr(f), ptr(xs), ptr(np.zeros(6000, np.float32)), D(1e-6), U(400), ctypes.byref(res))
ref = np.linalg.solve(psd + 0.3 * np.eye(2000), f)
check(st == 0 and np.linalg.norm(xs - ref) < 1e-4 * np.linalg.norm(ref), f'conjugate gradients against LAPACK: {np.linalg.norm(xs - ref) / np.linalg.norm(ref):.1e}')

print(f'{passed} passed, {failed} failed')
sys.exit(failed != 0)
