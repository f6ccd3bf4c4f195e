/* sketch.h with flat functions for tests/oracle.py (ctypes). Build, from the repository root:
       cc -O2 -shared -fPIC -o liboracle.so tests/oracle_shim.c -lm
   Only public functions of the header are used. */
#define SKETCH_IMPLEMENTATION
#include "../sketch.h"
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#  define ORC __attribute__((visibility("default")))
#else
#  define ORC
#endif

typedef struct orc { sketch_plan *plan; sketch_work *work; } orc;

ORC void orc_destroy(orc *o) {
    if (!o) return;
    sketch_work_destroy(o->work);
    sketch_destroy(o->plan);
    free(o);
}
ORC int orc_create(int algo, uint64_t n, uint64_t d, uint64_t seed, int precond, int diag, uint64_t block, uint32_t nnz,
                   int scale, int isa, uint32_t keep_random, uint64_t max_batch, orc **out) {
    sketch_desc desc = sketch_desc_make((sketch_algo)algo, n, d, seed);
    sketch_status st;
    orc *o;
    desc.precond = (sketch_precond)precond;
    desc.diag = (sketch_diag)diag;
    desc.block = block;
    desc.nnz = nnz;
    desc.scale = (sketch_scale)scale;
    desc.isa = (sketch_isa)isa;
    desc.keep_random = keep_random;
    *out = NULL;
    o = (orc *)calloc(1, sizeof *o);
    if (!o) return SKETCH_E_MEMORY;
    st = sketch_create(&desc, &o->plan);
    if (st == SKETCH_OK) st = sketch_work_create(o->plan, (size_t)max_batch, &o->work);
    if (st != SKETCH_OK) { orc_destroy(o); return st; }
    *out = o;
    return SKETCH_OK;
}
/* u: n d n_padded block nblocks granule nchunks fingerprint nfactors nnz isa, then factor_in[8], factor_out[8] */
ORC void orc_info(const orc *o, uint64_t u[27], double *scale) {
    sketch_info f = sketch_query(o->plan);
    u[0] = f.n; u[1] = f.d; u[2] = f.n_padded; u[3] = f.block; u[4] = f.nblocks; u[5] = f.granule; u[6] = f.nchunks;
    u[7] = f.fingerprint; u[8] = f.nfactors; u[9] = f.nnz; u[10] = (uint64_t)f.isa;
    for (int i = 0; i < 8; i++) { u[11 + i] = f.factor_in[i]; u[19 + i] = f.factor_out[i]; }
    *scale = f.scale;
}
ORC int orc_apply(orc *o, const float *x, float *y) { return sketch_apply(o->plan, x, SKETCH_F32, y, o->work); }
ORC int orc_apply_batch(orc *o, const float *x, uint64_t batch, float *y) {
    return sketch_apply_batch(o->plan, x, SKETCH_F32, (size_t)batch, 0, y, 0, o->work);
}
ORC int orc_apply_t(orc *o, const float *y, float *x) { return sketch_apply_t(o->plan, y, x, SKETCH_F32, o->work); }
/* y = S[:, offset : offset + count] x, and x = (S^T y)[offset : offset + count] */
ORC int orc_window(orc *o, uint64_t offset, uint64_t count, const float *x, float *y) {
    sketch_tensor t;
    memset(&t, 0, sizeof t);
    t.data = x; t.count = count; t.dtype = SKETCH_F32;
    memset(y, 0, (size_t)sketch_query(o->plan).d * sizeof *y);
    return sketch_accum(o->plan, &t, offset, 1, y, 0, o->work);
}
ORC int orc_window_t(orc *o, uint64_t offset, uint64_t count, const float *y, float *x) {
    return sketch_apply_t_range(o->plan, y, offset, count, 1.0f, 0.0f, x, SKETCH_F32, o->work);
}
/* y = S e_i */
ORC int orc_column(orc *o, uint64_t i, float *y) { const float one = 1.0f; return orc_window(o, i, 1, &one, y); }
ORC int orc_wht(float *x, uint64_t n, float scale) { return sketch_wht_f32(x, (size_t)n, scale); }
ORC int orc_best_isa(void) { return (int)sketch_cpu_isa(); }
ORC int orc_selftest(int isa) { return sketch_selftest((sketch_isa)isa); }
ORC const char *orc_isa_name(int isa) { return sketch_isa_name((sketch_isa)isa); }
ORC const char *orc_status(int st) { return sketch_status_string((sketch_status)st); }

/* counts[k] += occurrences of values[k] (distinct bit patterns) among x[0..n); returns how many x were none of them.
   slots: scratch of 2^18 pairs (key, index + 1), zeroed by the caller before the first call. nvalues <= 65536. */
ORC uint64_t orc_histogram(const uint32_t *x, uint64_t n, const uint32_t *values, uint64_t nvalues, uint32_t *slots, uint64_t *counts) {
    const uint32_t mask = (1u << 18) - 1;
    uint64_t missed = 0;
    int filled = 0;
    for (uint32_t i = 0; i <= mask && !filled; i++) filled = slots[2*i + 1] != 0;
    if (!filled) for (uint64_t k = 0; k < nvalues; k++) {
        uint32_t h = (values[k] * 2654435761u >> 14) & mask;
        while (slots[2*h + 1]) h = (h + 1) & mask;
        slots[2*h] = values[k]; slots[2*h + 1] = (uint32_t)k + 1;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint32_t h = (x[i] * 2654435761u >> 14) & mask;
        while (slots[2*h + 1] && slots[2*h] != x[i]) h = (h + 1) & mask;
        if (slots[2*h + 1]) counts[slots[2*h + 1] - 1]++; else missed++;
    }
    return missed;
}

/* for tests/spectrum_check.py. fn(user, v, out): out = A v. Arrays are the caller's, sized as sketch.h says; 0 steps done on error. */
ORC uint64_t orc_lanczos(sketch_matvec_fn fn, uint64_t d, uint64_t steps, uint64_t seed, float *basis, double *doubles, double *theta, double *bound, double *s, double *scratch) {
    sketch_krylov k = sketch_krylov_make((size_t)d, (size_t)steps, basis, doubles);
    sketch_krylov_options o;
    memset(&o, 0, sizeof o);
    o.seed = seed;
    if (sketch_lanczos(fn, NULL, &k, &o) != SKETCH_OK || sketch_ritz(&k, theta, bound, s, scratch) != SKETCH_OK) return 0;
    return k.done;
}
ORC uint64_t orc_arnoldi(sketch_matvec_fn fn, orc *p, uint64_t d, uint64_t steps, uint64_t seed, float *basis, double *doubles, double *h, float *rows, float *lift, double *re, double *im, double *scratch) {
    sketch_krylov k = sketch_krylov_make((size_t)d, (size_t)steps, basis, doubles);      /* p: sketch with it; lift: restore similarity */
    sketch_krylov_options o;
    memset(&o, 0, sizeof o);
    o.seed = seed;
    if (sketch_arnoldi(fn, NULL, &k, h, p ? p->plan : NULL, p ? p->work : NULL, rows, &o) != SKETCH_OK) return 0;
    return sketch_arnoldi_eigen(&k, h, lift, re, im, scratch, NULL) == SKETCH_OK ? k.done : 0;
}
ORC int orc_tridiagonal(uint64_t m, double *diag, double *off, double *z, uint64_t nz) { return sketch_tridiagonal_eigen((size_t)m, diag, off, z, (size_t)nz); }
ORC int orc_hessenberg(uint64_t m, double *h, double *re, double *im) { return sketch_hessenberg_eigen((size_t)m, h, re, im); }
ORC uint64_t orc_slq(sketch_matvec_fn fn, uint64_t d, uint64_t steps, uint64_t probes, uint64_t seed, float *basis, double *doubles, double *nodes, double *weights) {
    sketch_krylov k = sketch_krylov_make((size_t)d, (size_t)steps, basis, doubles);
    sketch_krylov_options o;
    size_t count;
    memset(&o, 0, sizeof o);
    o.seed = seed;
    return sketch_slq(fn, NULL, &k, (size_t)probes, nodes, weights, &count, &o) == SKETCH_OK ? count : 0;
}
ORC int orc_density(const double *nodes, const double *weights, uint64_t count, double *range /* low, high, sigma */, double *density, uint64_t points) {
    return sketch_slq_density(nodes, weights, (size_t)count, &range[0], &range[1], &range[2], density, (size_t)points);
}
ORC int orc_trace(sketch_matvec_fn fn, uint64_t d, uint64_t matvecs, uint64_t seed, float *basis, double *scratch, double *trace, double *error) {
    sketch_krylov_options o;
    memset(&o, 0, sizeof o);
    o.seed = seed;
    return sketch_trace(fn, NULL, (size_t)d, (size_t)matvecs, basis, scratch, trace, error, &o);
}
ORC int orc_cg(sketch_matvec_fn fn, uint64_t d, double damping, const float *b, float *x, float *scratch, double tolerance, uint64_t iterations, double *residual) {
    sketch_solved out;
    int st = sketch_cg(fn, NULL, (size_t)d, damping, b, x, scratch, tolerance, iterations, &out, NULL);
    *residual = out.residual;
    return st;
}
