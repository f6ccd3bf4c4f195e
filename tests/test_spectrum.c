/* The Hessian's spectrum and the intrinsic dimension, on operators whose eigenvalues are known. */
#define _GNU_SOURCE
#include "test.h"
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t rng = 5;
static void *get(size_t bytes) { void *p = malloc(bytes ? bytes : 1); if (!p) abort(); memset(p, 0x7E, bytes ? bytes : 1); return p; }   /* 8e37: what is read before it is written shows */
static float *floats(size_t n) { return get(n * sizeof(float)); }
static double *doubles(size_t n) { return get(n * sizeof(double)); }
static float *normals(size_t n) { float *p = floats(n); for (size_t i = 0; i < n; i++) p[i] = (float)test_normal(&rng); return p; }
static double ddot(const float *a, const float *b, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += (double)a[i] * b[i]; return s; }
static int by_value(const void *a, const void *b) { double x = *(const double *)a, y = *(const double *)b; return x < y ? -1 : x > y; }

/* A = Q diag(lambda) Q, Q = I - 2 u u^T: any spectrum, no axis is special, O(d). f64 inside, rounded once. */
typedef struct op { size_t d; double *lambda, *u, *t; long calls, fail_at, nan_at; int code; } op;
static int op_apply(void *user, const float *v, float *out) {
    op *a = user;
    double p = 0;
    a->calls++;
    if (a->fail_at && a->calls == a->fail_at) return a->code;
    for (size_t i = 0; i < a->d; i++) p += a->u[i] * v[i];
    for (size_t i = 0; i < a->d; i++) a->t[i] = a->lambda[i] * (v[i] - 2 * p * a->u[i]);
    p = 0;
    for (size_t i = 0; i < a->d; i++) p += a->u[i] * a->t[i];
    for (size_t i = 0; i < a->d; i++) out[i] = (float)(a->t[i] - 2 * p * a->u[i]);
    if (a->nan_at && a->calls == a->nan_at) out[a->d / 2] = a->calls % 2 ? (float)NAN : (float)INFINITY;
    return 0;
}
static void op_vector(const op *a, size_t k, double *x) { for (size_t i = 0; i < a->d; i++) x[i] = (i == k) - 2 * a->u[k] * a->u[i]; }   /* eigenvector of lambda[k] */
static op op_make(size_t d) {
    op a = { d, doubles(d), doubles(d), doubles(d), 0, 0, 0, 0 };
    double s = 0;
    for (size_t i = 0; i < d; i++) { a.u[i] = test_normal(&rng); s += a.u[i] * a.u[i]; }
    for (size_t i = 0; i < d; i++) { a.u[i] /= sqrt(s); a.lambda[i] = 0; }
    return a;
}
static void op_free(op *a) { free(a->lambda); free(a->u); free(a->t); }
static void op_solve(const op *a, double shift, const float *g, double *x) {    /* (A + shift)^-1 g */
    double p = 0;
    for (size_t i = 0; i < a->d; i++) p += a->u[i] * g[i];
    for (size_t i = 0; i < a->d; i++) x[i] = (g[i] - 2 * p * a->u[i]) / (a->lambda[i] + shift);
    p = 0;
    for (size_t i = 0; i < a->d; i++) p += a->u[i] * x[i];
    for (size_t i = 0; i < a->d; i++) x[i] -= 2 * p * a->u[i];
}

typedef struct space { sketch_krylov k; float *basis; double *dd, *theta, *bound, *s, *scratch; } space;
static space space_make(size_t d, size_t m) {
    space x;
    memset(&x, 0, sizeof x);
    x.basis = floats(sketch_krylov_floats(d, m)); x.dd = doubles(sketch_krylov_doubles(m));
    x.theta = doubles(m); x.bound = doubles(m); x.s = doubles(m * m); x.scratch = doubles(m * m + 4 * m);
    x.k = sketch_krylov_make(d, m, x.basis, x.dd);
    return x;
}
static void space_free(space *x) { free(x->basis); free(x->dd); free(x->theta); free(x->bound); free(x->s); free(x->scratch); }
static double worst_orthogonality(const sketch_krylov *k, size_t rows) {
    double worst = 0, *c = doubles(rows);
    for (size_t i = 0; i < rows; i++) {
        sketch_gemv_f32(k->basis, i + 1, k->d, k->basis + i * k->d, c, NULL);
        for (size_t j = 0; j <= i; j++) worst = fmax(worst, fabs(c[j] - (i == j)));
    }
    free(c);
    return worst;
}
static int same_space(const sketch_krylov *a, const sketch_krylov *b) {
    return a->d == b->d && a->done == b->done && a->restarts == b->restarts && !memcmp(&a->norm, &b->norm, 8) && !memcmp(&a->slack, &b->slack, 8) && !memcmp(&a->skew, &b->skew, 8)
        && !memcmp(a->alpha, b->alpha, a->done * 8) && !memcmp(a->beta, b->beta, a->done * 8) && !memcmp(a->basis, b->basis, (a->done + 1) * a->d * sizeof(float));
}
static void loop_for(void *user, uint32_t n, sketch_task_fn fn, void *arg) { (void)user; for (uint32_t i = n; i-- > 0; ) fn(arg, i); }
static const sketch_threads three = { loop_for, NULL, 3 };
typedef struct watch { uint64_t last, total, stop_at; } watch;
static int watching(void *user, uint64_t done, uint64_t total) {
    watch *w = user;
    CHECK(done == w->last + 1 && (w->total == 0 || total == w->total));
    w->last = done; w->total = total;
    return w->stop_at && done >= w->stop_at ? 7 : 0;
}

/* ---- vectors ------------------------------------------------------------------------------------- */
static void vectors(void) {
    static const size_t ms[] = { 1, 2, 3, 4, 5, 8, 11, 40 }, ds[] = { 1, 2, 7, 15, 16, 17, 100, 4095, 4096, 4097, 9001, 16384, 20003 };
    test_begin("spectrum: products with a block of vectors");
    for (size_t a = 0; a < 8; a++) for (size_t b = 0; b < 13; b++) {
        size_t m = ms[a], d = ds[b];
        float *v = normals(m * d), *w = normals(d), *x = floats(d), *y = floats(d);
        double *c = doubles(m), *e = doubles(m);
        CHECK_OK(sketch_gemv_f32(v, m, d, w, c, NULL));
        CHECK_OK(sketch_gemv_f32(v, m, d, w, e, &three));
        CHECK(!memcmp(c, e, m * sizeof *c));
        for (size_t i = 0; i < m; i++) {
            double big = 0;
            for (size_t j = 0; j < d; j++) big += fabs((double)v[i * d + j] * w[j]);
            CHECK(fabs(c[i] - ddot(v + i * d, w, d)) <= (double)d * 1.2e-16 * big);
        }
        memcpy(x, w, d * sizeof *x); memcpy(y, w, d * sizeof *y);
        CHECK_OK(sketch_gemv_t_f32(v, m, d, c, x, NULL));
        CHECK_OK(sketch_gemv_t_f32(v, m, d, c, y, &three));
        CHECK(!memcmp(x, y, d * sizeof *x));
        for (size_t j = 0; j < d; j++) {
            double r = w[j], big = fabs(r);
            for (size_t i = 0; i < m; i++) { r += c[i] * v[i * d + j]; big += fabs(c[i] * v[i * d + j]); }
            CHECK(fabs(x[j] - r) <= ((double)m / 4 + 5) * 6e-8 * big);
        }
        free(v); free(w); free(x); free(y); free(c); free(e);
    }
    float v[4] = { 1, 2, 3, 4 }, w[2] = { 1, 1 };
    double c[2] = { 9, 9 };
    CHECK_OK(sketch_gemv_f32(NULL, 0, 2, NULL, NULL, NULL));
    CHECK_OK(sketch_gemv_t_f32(NULL, 0, 2, NULL, NULL, NULL));
    CHECK_ST(sketch_gemv_f32(NULL, 2, 2, w, c, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemv_f32(v, 2, 2, NULL, c, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemv_f32(v, 2, 2, w, NULL, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemv_f32(v, 2, 0, w, c, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemv_f32(v, SIZE_MAX / 4, 2, w, c, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_gemv_t_f32(v, 2, 2, NULL, w, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemv_t_f32(v, 2, 2, c, NULL, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemv_t_f32(v, SIZE_MAX / 4, 2, c, w, NULL), SKETCH_E_SIZE);
    CHECK(c[0] == 9 && w[0] == 1);
}

/* ---- tridiagonal and Hessenberg ------------------------------------------------------------------- */
static void tridiagonal(void) {
    test_begin("spectrum: tridiagonal eigenvalues and vectors");
    for (size_t m = 1; m <= 300; m = m < 8 ? m + 1 : m * 3 / 2) for (int kind = 0; kind < 6; kind++) {
        double *a = doubles(m), *b = doubles(m), *t = doubles(m), *o = doubles(m), *z = doubles(m * m), *ends = doubles(2 * m), norm = 0, worst = 0, orth = 0;
        for (size_t i = 0; i < m; i++) {
            a[i] = kind == 0 ? 2 : kind == 1 ? test_normal(&rng) : kind == 2 ? pow(10, -12.0 * (double)i / (double)m) : kind == 3 ? 0 : kind == 4 ? 1e300 * test_normal(&rng) : 5;
            b[i] = kind == 0 ? -1 : kind == 1 ? test_normal(&rng) : kind == 2 ? 0.3 * pow(10, -12.0 * (double)i / (double)m) : kind == 3 ? (i % 3 ? 1 : 0) : kind == 4 ? 1e300 * test_normal(&rng) : i % 7 ? 0 : 1e-20;
            norm = fmax(norm, fmax(fabs(a[i]), fabs(b[i])));
        }
        memcpy(t, a, m * 8); memcpy(o, b, m * 8);
        for (size_t i = 0; i < m * m; i++) z[i] = i % (m + 1) == 0;
        CHECK_OK(sketch_tridiagonal_eigen(m, t, o, z, m));
        for (size_t i = 0; i < m; i++) {
            if (i) CHECK(t[i - 1] <= t[i]);
            for (size_t j = 0; j < m; j++) {                       /* T z = t z */
                const double *y = z + i * m;
                double r = (a[j] - t[i]) * y[j] + (j ? b[j - 1] * y[j - 1] : 0) + (j + 1 < m ? b[j] * y[j + 1] : 0), q = 0;
                worst = fmax(worst, fabs(r) / norm);
                for (size_t l = 0; l < m && (m < 100 || j % 17 == 0); l++) q += z[i * m + l] * z[j * m + l];
                if (m < 100 || j % 17 == 0) orth = fmax(orth, fabs(q - (i == j)));
            }
            if (kind == 0) CHECK(fabs(t[i] - (2 - 2 * cos(3.14159265358979323846 * (double)(i + 1) / (double)(m + 1)))) < 1e-13);
        }
        CHECK_MSG(worst < 1e-13 && orth < 1e-13, "m %zu, kind %d: residual %g, orthogonality %g", m, kind, worst, orth);
        /* chosen components are those of the whole; no vectors: the same eigenvalues */
        double *t2 = doubles(m);
        memcpy(t2, a, m * 8); memcpy(o, b, m * 8);
        for (size_t i = 0; i < m; i++) { ends[2 * i] = i == 0; ends[2 * i + 1] = i == m - 1; }
        CHECK_OK(sketch_tridiagonal_eigen(m, t2, o, ends, 2));
        CHECK(!memcmp(t, t2, m * 8));
        for (size_t i = 0; i < m; i++) CHECK(ends[2 * i] == z[i * m] && ends[2 * i + 1] == z[i * m + m - 1]);
        memcpy(t2, a, m * 8); memcpy(o, b, m * 8);
        CHECK_OK(sketch_tridiagonal_eigen(m, t2, o, NULL, 0));
        CHECK(!memcmp(t, t2, m * 8));
        free(a); free(b); free(t); free(o); free(z); free(ends); free(t2);
    }
    double a[2] = { 1, (double)NAN }, b[2] = { 1, 1 };
    CHECK_ST(sketch_tridiagonal_eigen(2, a, b, NULL, 0), SKETCH_E_NONFINITE);
    CHECK(a[0] == 1 && b[0] == 1);
    a[1] = 1; b[0] = (double)INFINITY;
    CHECK_ST(sketch_tridiagonal_eigen(2, a, b, NULL, 0), SKETCH_E_NONFINITE);
    CHECK_ST(sketch_tridiagonal_eigen(0, a, b, NULL, 0), SKETCH_E_ARG);
    CHECK_ST(sketch_tridiagonal_eigen(2, NULL, b, NULL, 0), SKETCH_E_ARG);
    CHECK_ST(sketch_tridiagonal_eigen(2, a, NULL, NULL, 0), SKETCH_E_ARG);
    CHECK_ST(sketch_tridiagonal_eigen(2, a, b, NULL, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_tridiagonal_eigen(SIZE_MAX / 4, a, b, a, SIZE_MAX / 4), SKETCH_E_SIZE);
}

/* ---- Lanczos -------------------------------------------------------------------------------------- */
static void known_spectra(void) {
    test_begin("spectrum: Lanczos against known spectra");
    for (int kind = 0; kind < 6; kind++) for (size_t d = 1; d <= 240; d = d < 4 ? d + 1 : d * 4 - 1) {
        op a = op_make(d);
        size_t m = d + 3;
        space x = space_make(d, m);
        sketch_krylov_options o;
        double norm = 0, *ref = doubles(d), worst = 0;
        memset(&o, 0, sizeof o); o.seed = 3;
        for (size_t i = 0; i < d; i++) {
            double f = (double)i / (double)d;
            a.lambda[i] = kind == 0 ? 1 - 2.2 * f                                     /* spread, both signs */
                        : kind == 1 ? (i < 9 ? (double)(9 - i) - 3.5 : 0)             /* low rank */
                        : kind == 2 ? (i % 3 == 0 ? 1 : i % 3 == 1 ? 1.00001 : -0.5)  /* clusters */
                        : kind == 3 ? (i < 5 ? 20.0 + 3 * (double)i : test_normal(&rng)) /* outliers on a bulk */
                        : kind == 4 ? pow(10, -12 * f) : 1e-30 * (f - 0.3);           /* graded; tiny */
            if (kind == 3 && i == 7) a.lambda[i] = -40;
            norm = fmax(norm, fabs(a.lambda[i]));
        }
        memcpy(ref, a.lambda, d * 8); qsort(ref, d, 8, by_value);
        CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, &o));
        CHECK(x.k.done == d);                                          /* it stops when the space is everything */
        CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, NULL, x.scratch));
        for (size_t i = 0; i < d; i++) worst = fmax(worst, fabs(x.theta[i] - ref[i]) / norm);
        CHECK_MSG(worst < 1e-5, "kind %d, d %zu: %g of the norm", kind, d, worst);
        CHECK(x.k.norm <= norm * 1.00001 && x.k.slack <= 2e-5 * norm && x.k.skew <= 2e-6 * norm);
        CHECK(worst_orthogonality(&x.k, d) < 1e-6);
        /* fewer steps: both ends and the bounds */
        if (d > 200) {
            o.seed = 4; x.k.done = 0; x.k.steps = kind == 0 ? 120 : 60;
            CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, &o));
            CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, x.s, x.scratch));
            CHECK(x.k.done == x.k.steps);
            CHECK_MSG(fabs(x.theta[0] - ref[0]) < 1e-5 * norm && fabs(x.theta[x.k.done - 1] - ref[d - 1]) < 1e-5 * norm, "kind %d: ends %g %g, not %g %g", kind,
                      x.theta[0], x.theta[x.k.done - 1], ref[0], ref[d - 1]);
            for (size_t i = 0; i < x.k.done; i++) {
                double near = (double)INFINITY;
                for (size_t j = 0; j < d; j++) near = fmin(near, fabs(ref[j] - x.theta[i]));
                CHECK_MSG(near <= x.bound[i] + 2e-6 * norm, "kind %d: Ritz value %zu is %g from an eigenvalue, bound %g", kind, i, near, x.bound[i]);
            }
            /* Ritz vectors: unit, residual as bound says */
            float *y = floats(2 * d), *ay = floats(d);
            CHECK_OK(sketch_ritz_vectors(&x.k, x.s + (x.k.done - 2) * x.k.done, 2, y, NULL));
            for (int r = 0; r < 2; r++) {
                size_t i = x.k.done - 2 + (size_t)r;
                double res = 0;
                op_apply(&a, y + (size_t)r * d, ay);
                for (size_t j = 0; j < d; j++) res += pow(ay[j] - x.theta[i] * y[(size_t)r * d + j], 2);
                CHECK(fabs(ddot(y + (size_t)r * d, y + (size_t)r * d, d) - 1) < 1e-5);
                CHECK_MSG(sqrt(res) < x.bound[i] * 1.01 + 5e-6 * norm, "kind %d: residual %g, bound %g", kind, sqrt(res), x.bound[i]);
            }
            free(y); free(ay);
        }
        op_free(&a); space_free(&x); free(ref);
    }
    /* nothing to find, and one value only, with its multiplicity */
    for (int one = 0; one < 2; one++) {
        op a = op_make(30);
        space x = space_make(30, 12);
        for (size_t i = 0; i < 30; i++) a.lambda[i] = one;
        CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, NULL));
        CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, NULL, x.scratch));
        CHECK(x.k.done == 12 && x.k.restarts == 12);
        for (size_t i = 0; i < 12; i++) CHECK(fabs(x.theta[i] - one) < 1e-6 && x.k.beta[i] == 0 && x.bound[i] < 1e-6);
        CHECK(worst_orthogonality(&x.k, 13) < 1e-6);
        op_free(&a); space_free(&x);
    }
    /* what a coarse breakdown drops is in the bounds */
    op a = op_make(60);
    space x = space_make(60, 20);
    sketch_krylov_options o;
    memset(&o, 0, sizeof o); o.breakdown = 0.02;
    for (size_t i = 0; i < 60; i++) a.lambda[i] = (double)(i % 3) + 0.01 * test_uniform(&rng);
    CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, &o));
    CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, NULL, x.scratch));
    CHECK(x.k.restarts > 3 && x.k.slack > 1e-3 && x.k.slack < 0.1);
    for (size_t i = 0; i < 20; i++) {
        double near = 9;
        for (size_t j = 0; j < 60; j++) near = fmin(near, fabs(a.lambda[j] - x.theta[i]));
        CHECK_MSG(near <= x.bound[i] && x.bound[i] >= x.k.slack, "Ritz value %zu: %g from an eigenvalue, bound %g", i, near, x.bound[i]);
    }
    op_free(&a); space_free(&x);
}

/* lambda plus noise that no symmetric matrix has: out = diag(lambda) v + eps R v, R[d,d] of normals */
typedef struct uneven { size_t d; double *lambda; float *r; double eps; } uneven;
static int uneven_apply(void *user, const float *v, float *out) {
    const uneven *a = user;
    for (size_t i = 0; i < a->d; i++) out[i] = (float)(a->lambda[i] * v[i] + a->eps * ddot(a->r + i * a->d, v, a->d));
    return 0;
}

static void asymmetry(void) {
    enum { D = 200, M = 70 };
    test_begin("spectrum: Ritz bounds of an operator that is not quite symmetric");
    for (int kind = 0; kind < 3; kind++) {
        uneven a = { D, doubles(D), normals((size_t)D * D), kind == 2 ? 0 : 1e-3 / sqrt((double)D) };
        space x = space_make(D, M), y = space_make(D, M);
        float *ritz = floats((size_t)M * D), *image = floats(D);
        int below = 0;
        for (size_t i = 0; i < D; i++) a.lambda[i] = i < 4 ? 8 + 3 * (double)i : i == 4 ? -6 : (double)i / D;
        if (kind == 1) for (size_t i = 0; i < D; i++) for (size_t j = 0; j <= i; j++) a.r[i * D + j] = i == j ? 0 : -a.r[j * D + i];
        CHECK_OK(sketch_lanczos(uneven_apply, &a, &x.k, NULL));
        CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, x.s, x.scratch));
        CHECK_OK(sketch_ritz_vectors(&x.k, x.s, M, ritz, NULL));
        CHECK(x.k.done == M && x.k.restarts == 0);
        for (size_t i = 0; i < M; i++) {
            double left = 0, tail = fabs(x.k.beta[M - 1] * x.s[i * M + M - 1]);
            uneven_apply(&a, ritz + i * D, image);
            for (size_t j = 0; j < D; j++) left += pow(image[j] - x.theta[i] * ritz[i * D + j], 2);
            left = sqrt(left);
            below += tail < 0.1 * left;                            /* the last component alone says too little */
            CHECK_MSG(left <= x.bound[i] + 1e-6 * x.k.norm, "Ritz pair %zu: residual %g, bound %g", i, left, x.bound[i]);
        }
        CHECK_MSG(kind == 2 || below >= 5, "%d pairs only have converged beyond the asymmetry", below);
        CHECK(x.k.slack >= x.k.skew && x.k.slack <= x.k.skew * M * 0.71);
        CHECK_MSG(kind == 2 ? x.k.slack < 1e-6 * x.k.norm : x.k.slack < 10e-3, "slack %g", x.k.slack);     /* of eps |R - R^T| */
        y.k.steps = 31; CHECK_OK(sketch_lanczos(uneven_apply, &a, &y.k, NULL));
        y.k.steps = M; CHECK_OK(sketch_lanczos(uneven_apply, &a, &y.k, NULL)); CHECK(same_space(&x.k, &y.k));     /* stopped and gone on */
        free(a.lambda); free(a.r); free(ritz); free(image); space_free(&x); space_free(&y);
    }
}

static void ghosts(void) {
    test_begin("spectrum: 1,000 steps: orthogonal, no ghosts");
    size_t d = 3000, m = 1000, found = 0;
    op a = op_make(d);
    space x = space_make(d, m);
    for (size_t i = 0; i < d; i++) a.lambda[i] = i < 20 ? 100 + 10 * (double)i : i < 25 ? -50 - 5 * (double)i : test_normal(&rng);
    CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, NULL));
    double worst = worst_orthogonality(&x.k, m + 1);
    CHECK_MSG(worst < 1e-5, "orthogonality %g", worst);
    CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, NULL, x.scratch));
    for (size_t i = 0; i < m; i++) found += fabs(x.theta[i]) > 20;
    CHECK_MSG(found == 25, "%zu isolated eigenvalues, not 25", found);
    for (size_t i = 0; i < 20; i++) CHECK(fabs(x.theta[m - 1 - i] - (100 + 10 * (double)(19 - i))) < 1e-5 * 290);
    for (size_t i = 0; i < 5; i++) CHECK(fabs(x.theta[i] - (-50 - 5 * (double)(24 - i))) < 1e-5 * 290);
    op_free(&a); space_free(&x);
}

static void interrupted(void) {
    test_begin("spectrum: a callback that fails, returns NaN or stops; going on; threads");
    size_t d = 500, m = 30;
    op a = op_make(d);
    space x = space_make(d, m), y = space_make(d, m);
    sketch_krylov_options o;
    float *start = normals(d);
    memset(&o, 0, sizeof o); o.start = start;
    for (size_t i = 0; i < d; i++) a.lambda[i] = i < 12 ? (double)(i + 1) : 0;             /* breaks down on the way: the restart too must be the same */
    CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, &o));
    CHECK(x.k.done == m && x.k.restarts > 0);
    for (int kind = 0; kind < 3; kind++) for (size_t at = 1; at <= m; at += at < 10 ? 1 : 5) {
        watch w = { 0, m, 0 };
        a.calls = 0; a.fail_at = a.nan_at = 0; a.code = 42;
        y.k = sketch_krylov_make(d, m, y.basis, y.dd);
        o.progress.fn = watching; o.progress.user = &w; o.threads = three;
        if (kind == 0) a.fail_at = (long)at; else if (kind == 1) a.nan_at = (long)at; else w.stop_at = at;
        CHECK_ST(sketch_lanczos(op_apply, &a, &y.k, &o), kind == 1 ? SKETCH_E_NONFINITE : SKETCH_E_CALLBACK);
        CHECK(y.k.callback == (kind == 0 ? 42 : 0) && y.k.done == (kind == 2 ? at : at - 1) && w.last == y.k.done);
        CHECK(!memcmp(y.k.alpha, x.k.alpha, y.k.done * 8) && !memcmp(y.basis, x.basis, (y.k.done + 1) * d * 4));
        if (y.k.done) CHECK_OK(sketch_ritz(&y.k, y.theta, NULL, NULL, y.scratch));          /* what is there is of use */
        a.fail_at = a.nan_at = 0; w.stop_at = 0;
        CHECK_OK(sketch_lanczos(op_apply, &a, &y.k, &o));
        CHECK_MSG(same_space(&x.k, &y.k), "kind %d, step %zu: going on gives other bits", kind, at);
        CHECK_OK(sketch_lanczos(op_apply, &a, &y.k, &o));                                   /* nothing left to do */
        CHECK(same_space(&x.k, &y.k));
    }
    op_free(&a); space_free(&x); space_free(&y);
    a = op_make(d); x = space_make(d, 4);
    memset(&o, 0, sizeof o); o.start = start;
    for (size_t i = 0; i < d; i++) a.lambda[i] = 1;
    CHECK_ST(sketch_lanczos(NULL, &a, &x.k, &o), SKETCH_E_ARG);
    CHECK_ST(sketch_lanczos(op_apply, &a, NULL, &o), SKETCH_E_ARG);
    o.breakdown = (double)NAN; CHECK_ST(sketch_lanczos(op_apply, &a, &x.k, &o), SKETCH_E_ARG); o.breakdown = 0;
    start[3] = (float)INFINITY; CHECK_ST(sketch_lanczos(op_apply, &a, &x.k, &o), SKETCH_E_NONFINITE);
    memset(start, 0, d * 4); CHECK_ST(sketch_lanczos(op_apply, &a, &x.k, &o), SKETCH_E_ARG);
    for (int i = 0; i < 6; i++) {
        sketch_krylov k = x.k;
        k.callback = 5;
        if (i == 0) k.basis = NULL; else if (i == 1) k.alpha = NULL; else if (i == 2) k.beta = NULL; else if (i == 3) k.scratch = NULL; else if (i == 4) k.d = 0; else k.steps = 0;
        CHECK_ST(sketch_lanczos(op_apply, &a, &k, NULL), SKETCH_E_ARG);
        CHECK(k.callback == 0);
    }
    sketch_krylov k = x.k;
    k.steps = SIZE_MAX / d; CHECK_ST(sketch_lanczos(op_apply, &a, &k, NULL), SKETCH_E_SIZE);
    k = x.k; k.done = 5;    CHECK_ST(sketch_lanczos(op_apply, &a, &k, NULL), SKETCH_E_SIZE);
    CHECK(sketch_krylov_floats(10, 4) == 50 && sketch_krylov_floats(0, 4) == 0 && sketch_krylov_floats(SIZE_MAX / 8, 4) == 0 && sketch_krylov_floats(4, SIZE_MAX) == 0);
    CHECK(sketch_krylov_doubles(5) == 20 && sketch_krylov_doubles(SIZE_MAX / 8) == 0);
    x.k.done = 0;
    CHECK_ST(sketch_ritz(&x.k, x.theta, NULL, NULL, x.scratch), SKETCH_E_ARG);
    CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, NULL));
    CHECK_ST(sketch_ritz(NULL, x.theta, NULL, NULL, x.scratch), SKETCH_E_ARG);
    CHECK_ST(sketch_ritz(&x.k, NULL, NULL, NULL, x.scratch), SKETCH_E_ARG);
    CHECK_ST(sketch_ritz(&x.k, x.theta, NULL, NULL, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_ritz_vectors(&x.k, NULL, 1, start, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_ritz_vectors(&x.k, x.s, SIZE_MAX / 64, start, NULL), SKETCH_E_SIZE);
    CHECK_OK(sketch_ritz_vectors(&x.k, NULL, 0, NULL, NULL));
    free(start); op_free(&a); space_free(&x);
}

/* ---- checkpoint ----------------------------------------------------------------------------------- */
static char file[64], file_tmp[80];
static long size_of(const char *path) { struct stat st; return stat(path, &st) ? -1 : (long)st.st_size; }
static unsigned char *slurp(long *n) {
    FILE *f = fopen(file, "rb");
    unsigned char *p;
    *n = size_of(file); p = get((size_t)*n);
    CHECK(f && fread(p, 1, (size_t)*n, f) == (size_t)*n);
    if (f) fclose(f);
    return p;
}
static void spill(const unsigned char *p, long n) { FILE *f = fopen(file, "wb"); CHECK(f && fwrite(p, 1, (size_t)n, f) == (size_t)n); if (f) fclose(f); }

static int op_killed(void *user, const float *v, float *out) {
    op *a = user;
    if (a->calls + 1 == a->fail_at) raise(SIGKILL);
    a->calls++;
    long calls = a->calls, fail = a->fail_at;
    a->fail_at = 0;
    int r = op_apply(a, v, out);
    a->calls = calls; a->fail_at = fail;
    return r;
}
static void checkpoint(void) {
    enum { D = 300, M = 24 };
    test_begin("spectrum: checkpoint: kill -9 at any step, damage, another run's file");
    const uint32_t one = 1;
    if (*(const unsigned char *)&one != 1) {                       /* big-endian */
        sketch_krylov k = sketch_krylov_make(1, 1, floats(2), doubles(4));
        CHECK_ST(sketch_krylov_save(&k, "build/x"), SKETCH_E_UNSUPPORTED);
        free(k.basis); free(k.alpha);
        return;
    }
    snprintf(file, sizeof file, "build/spectrum-%ld.ckpt", (long)getpid());
    snprintf(file_tmp, sizeof file_tmp, "%s.tmp", file);
    mkdir("build", 0777);
    op a = op_make(D);
    space x = space_make(D, M), y = space_make(D, M);
    sketch_krylov_options o;
    memset(&o, 0, sizeof o); o.seed = 11;
    for (size_t i = 0; i < D; i++) a.lambda[i] = i < 9 ? (double)(i + 1) : 0;              /* with restarts */
    CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, &o));
    o.checkpoint = file;
    /* killed inside the k-th product, with 1 or 3 steps between writes; until it is done */
    for (uint64_t every = 1; every <= 3; every += 2) {
        int lives = 0;
        o.every = every;
        unlink(file);
        for (;;) {
            pid_t child = fork();
            int status = 0;
            if (child == 0) {                                      /* each life dies in another product after its first */
                space z = space_make(D, M);
                a.calls = 0; a.fail_at = lives % 5 + 1;
                _exit(sketch_lanczos(op_killed, &a, &z.k, &o) == SKETCH_OK ? 0 : 3);
            }
            if (child < 0) { CHECK(!"fork"); break; }
            waitpid(child, &status, 0);
            if (WIFEXITED(status)) { CHECK_MSG(WEXITSTATUS(status) == 0, "child ended with %d", WEXITSTATUS(status)); break; }
            CHECK(WTERMSIG(status) == SIGKILL);
            if (++lives > 500) { CHECK(!"it does not get on"); break; }
        }
        y.k = sketch_krylov_make(D, M, y.basis, y.dd);
        a.calls = 0;
        CHECK_OK(sketch_lanczos(op_apply, &a, &y.k, &o));
        CHECK(a.calls == 0);                                       /* all of it was in the file */
        CHECK_MSG(lives > 5 && same_space(&x.k, &y.k), "every %d: %d lives, other bits", (int)every, lives);
        CHECK(size_of(file) == 4096 + (M + 1) * (24 + 4 * D) && size_of(file_tmp) < 0);
    }
    o.every = 1;
    /* fewer steps than the file holds; more; the file is not shortened */
    long n;
    unsigned char *whole = slurp(&n), *p = get((size_t)n);
    space few = space_make(D, 7), more = space_make(D, M + 6), straight = space_make(D, M + 6);
    CHECK_OK(sketch_lanczos(op_apply, &a, &few.k, &o));
    CHECK(few.k.done == 7 && !memcmp(few.basis, x.basis, 8 * D * 4) && size_of(file) == n);
    CHECK_OK(sketch_lanczos(op_apply, &a, &more.k, &o));
    o.checkpoint = NULL; CHECK_OK(sketch_lanczos(op_apply, &a, &straight.k, &o)); o.checkpoint = file;
    CHECK(same_space(&more.k, &straight.k));
    /* every kind of damage */
    for (long cut = 0; cut < n; cut += cut < 4096 ? 509 : 1223) {
        spill(whole, cut);
        y.k.done = 0; y.basis[D] = 123;
        CHECK_ST(sketch_lanczos(op_apply, &a, &y.k, &o), SKETCH_E_FORMAT);
        CHECK(y.k.done == 0 && size_of(file) == cut && y.basis[D] == 123);                                     /* and nothing is overwritten */
    }
    for (long at = 0; at < n; at += at < 80 ? 1 : at == 80 ? 432 : at < 600 ? 1 : at < 4096 ? 3496 - (at - 600) : 97) {
        memcpy(p, whole, (size_t)n); p[at] ^= 4;
        spill(p, n);
        y.k.done = 0;
        sketch_status st = sketch_lanczos(op_apply, &a, &y.k, &o);
        /* in the head: the slot that counts is damaged: the other, one step older, takes over; or it is not read at all */
        CHECK_MSG(at < 4096 ? st == SKETCH_OK && same_space(&x.k, &y.k) : st == SKETCH_E_FORMAT && y.k.done == 0, "byte %ld: %s", at, sketch_status_string(st));
    }
    memcpy(p, whole, (size_t)n); p[3] ^= 1; p[512 + 3] ^= 1; spill(p, n);                 /* both slots */
    y.k.done = 0; CHECK_ST(sketch_lanczos(op_apply, &a, &y.k, &o), SKETCH_E_FORMAT);
    spill(whole, n);
    o.seed = 12; y.k.done = 0; CHECK_ST(sketch_lanczos(op_apply, &a, &y.k, &o), SKETCH_E_FORMAT); o.seed = 11;    /* another start vector */
    space other = space_make(D - 1, M);
    CHECK_ST(sketch_krylov_load(&other.k, file), SKETCH_E_FORMAT);
    /* saving by hand */
    space big = space_make(D, M);
    unlink(file);
    big.k.d = D; big.k.done = 0; memcpy(big.basis, x.basis, D * 4);
    CHECK_OK(sketch_krylov_save(&big.k, file));
    CHECK(big.k.saved == 1 && size_of(file) == 4096 + 24 + 4 * D);
    CHECK_OK(sketch_krylov_save(&big.k, file));                                            /* nothing new */
    memcpy(big.basis, x.basis, 3 * D * 4); memcpy(big.k.alpha, x.k.alpha, 16); memcpy(big.k.beta, x.k.beta, 16); big.k.done = 2;
    big.k.saved = 2; CHECK_ST(sketch_krylov_save(&big.k, file), SKETCH_E_STATE);           /* that is not what the file holds */
    big.k.saved = 9; CHECK_ST(sketch_krylov_save(&big.k, file), SKETCH_E_SIZE);
    big.k.saved = 1; CHECK_OK(sketch_krylov_save(&big.k, file));
    /* no room left: the file keeps what it had; with room again it goes on */
    struct rlimit was, lim;
    getrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t rows = 0; rows < 8; rows++) {
        unlink(file);
        y.k = sketch_krylov_make(D, M, y.basis, y.dd);
        lim = was; lim.rlim_cur = rows ? 4096 + rows * (24 + 4 * D) + 100 : 1000;
        setrlimit(RLIMIT_FSIZE, &lim);
        CHECK_ST(sketch_lanczos(op_apply, &a, &y.k, &o), SKETCH_E_IO);
        setrlimit(RLIMIT_FSIZE, &was);
        CHECK(y.k.done == (rows < 2 ? 1 : rows));
        y.k = sketch_krylov_make(D, M, y.basis, y.dd);
        CHECK_OK(sketch_lanczos(op_apply, &a, &y.k, &o));
        CHECK(same_space(&x.k, &y.k));
    }
    signal(SIGXFSZ, SIG_DFL);
    /* names */
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1); longer[sizeof longer - 1] = 0;
    unlink(file);
    CHECK_ST(sketch_krylov_load(&y.k, "build"), SKETCH_E_FORMAT);
    CHECK_ST(sketch_krylov_load(&y.k, longer), SKETCH_E_ARG);
    CHECK_ST(sketch_krylov_load(&y.k, ""), SKETCH_E_ARG);
    CHECK_ST(sketch_krylov_load(NULL, file), SKETCH_E_ARG);
    CHECK_ST(sketch_krylov_save(&y.k, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_krylov_save(&y.k, "build/no such directory/x"), SKETCH_E_IO);
    CHECK_OK(sketch_krylov_load(&y.k, file));
    CHECK(y.k.done == 0 && y.k.saved == 0);
    /* a call that is stopped writes what it has */
    o.every = 1000; a.calls = 0; a.fail_at = 6; a.code = 1;
    CHECK_ST(sketch_lanczos(op_apply, &a, &y.k, &o), SKETCH_E_CALLBACK);
    CHECK(y.k.saved == 6 && size_of(file) == 4096 + 6 * (24 + 4 * D));
    unlink(file);
    free(whole); free(p); space_free(&few); space_free(&more); space_free(&straight); space_free(&other); space_free(&big); op_free(&a); space_free(&x); space_free(&y);
}

/* ---- the sketched Hessian, and differences of gradients -------------------------------------------- */
/* loss(theta) = sum over k of log cosh(a_k . theta): gradient A^T tanh(A theta), Hessian A^T diag(1 - tanh^2) A */
typedef struct net { size_t n, m; const float *rows, *theta; int fail; long calls; } net;
static int net_gradient(void *user, const float *theta, float *g) {
    net *w = user;
    double *s = doubles(w->n);
    w->calls++;
    if (w->fail) { free(s); return w->fail; }
    for (size_t i = 0; i < w->n; i++) s[i] = 0;
    for (size_t k = 0; k < w->m; k++) {
        double t = tanh(ddot(w->rows + k * w->n, theta, w->n));
        for (size_t i = 0; i < w->n; i++) s[i] += t * w->rows[k * w->n + i];
    }
    for (size_t i = 0; i < w->n; i++) g[i] = (float)s[i];
    free(s);
    return 0;
}
static int net_hvp(void *user, const float *v, float *out) {
    net *w = user;
    double *s = doubles(w->n);
    if (w->fail) { free(s); return w->fail; }
    for (size_t i = 0; i < w->n; i++) s[i] = 0;
    for (size_t k = 0; k < w->m; k++) {
        double t = tanh(ddot(w->rows + k * w->n, w->theta, w->n)), c = (1 - t * t) * ddot(w->rows + k * w->n, v, w->n);
        for (size_t i = 0; i < w->n; i++) s[i] += c * w->rows[k * w->n + i];
    }
    for (size_t i = 0; i < w->n; i++) out[i] = (float)s[i];
    free(s);
    return 0;
}

static void hessian(void) {
    enum { N = 700, R = 40, D = 64 };
    test_begin("spectrum: the sketched Hessian, spans, and differences of gradients");
    float *rows = normals(R * N), *theta = normals(N), *v = normals(N), *out = floats(N), *want = floats(N), *n0 = floats(N), *n1 = floats(N), *f0 = floats(N), *f1 = floats(N);
    for (size_t i = 0; i < R * N; i++) rows[i] *= 0.03f;
    net w = { N, R, rows, theta, 0, 0 };
    sketch_desc desc = sketch_desc_make(SKETCH_AFFD, N, D, 8);
    sketch_plan *plan; sketch_work *work;
    CHECK_OK(sketch_create(&desc, &plan)); CHECK_OK(sketch_work_create(plan, 1, &work));
    /* against S, P and H applied one by one */
    for (int kind = 0; kind < 4; kind++) {
        uint64_t offset = kind & 1 ? 123 : 0, count = kind & 1 ? 300 : 0, d;
        sketch_hessian h = { kind & 2 ? plan : NULL, kind & 2 ? work : NULL, net_hvp, &w, n0, n1, kind & 2 ? 0 : N, offset, count };
        uint64_t last = count ? offset + count : N;
        d = sketch_hessian_dim(&h);
        CHECK(d == (kind & 2 ? (uint64_t)D : last - offset));
        float *x = floats(N), *y = floats(N);
        if (kind & 2) sketch_apply_t(plan, v, x, SKETCH_F32, work); else { memset(x, 0, N * 4); memcpy(x + offset, v, (size_t)d * 4); }
        for (size_t i = 0; i < N; i++) if (i < offset || i >= last) x[i] = 0;
        net_hvp(&w, x, y);
        for (size_t i = 0; i < N; i++) if (i < offset || i >= last) y[i] = 0;
        if (kind & 2) sketch_apply(plan, y, SKETCH_F32, want, work); else memcpy(want, y + offset, (size_t)d * 4);
        CHECK(sketch_hessian_matvec(&h, v, out) == 0);
        double err = 0, size = 0;
        for (size_t i = 0; i < d; i++) { err += pow(out[i] - want[i], 2); size += pow(want[i], 2); }
        CHECK_MSG(err <= 1e-12 * size && size > 0, "kind %d: %g", kind, sqrt(err / size));
        w.fail = 77; CHECK(sketch_hessian_matvec(&h, v, out) == 77); w.fail = 0;
        CHECK(sketch_hessian_matvec(&h, NULL, out) == SKETCH_E_ARG && sketch_hessian_matvec(&h, v, NULL) == SKETCH_E_ARG);
        for (int bad = 0; bad < 7; bad++) {
            sketch_hessian b = h;
            if (bad == 0) b.hvp = NULL; else if (bad == 1) b.n0 = NULL; else if (bad == 2) b.n1 = NULL; else if (bad == 3) b.offset = N; else if (bad == 4) b.count = N - offset + 1;
            else if (bad == 5) { if (kind & 2) b.work = NULL; else b.n = 0; } else b.n = kind & 2 ? N - 1 : UINT64_MAX / 2;
            CHECK(sketch_hessian_dim(&b) == 0 && sketch_hessian_matvec(&b, v, out) == SKETCH_E_ARG);
        }
        free(x); free(y);
    }
    CHECK(sketch_hessian_dim(NULL) == 0 && sketch_hessian_matvec(NULL, v, out) == SKETCH_E_ARG);
    /* a callback's failure goes through the sketched Hessian and Lanczos; then: eigenvalues of S H S^T are those of H^1/2 S^T S H^1/2, of rank R */
    sketch_hessian h = { plan, work, net_hvp, &w, n0, n1, 0, 0, 0 };
    space x = space_make(D, D);
    w.fail = 5; CHECK_ST(sketch_lanczos(sketch_hessian_matvec, &h, &x.k, NULL), SKETCH_E_CALLBACK); CHECK(x.k.callback == 5); w.fail = 0;
    CHECK_OK(sketch_lanczos(sketch_hessian_matvec, &h, &x.k, NULL));
    CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, x.s, x.scratch));
    double *gram = doubles(R * R), tr = 0, sum = 0;
    for (size_t i = 0; i < R; i++) {
        double t = tanh(ddot(rows + i * N, theta, N));
        sketch_apply(plan, rows + i * N, SKETCH_F32, out, work);
        tr += (1 - t * t) * ddot(out, out, D);
    }
    for (size_t i = 0; i < D; i++) sum += x.theta[i];
    CHECK_MSG(fabs(sum - tr) < 1e-4 * tr, "trace %g, not %g", sum, tr);
    for (size_t i = 0; i < D - R; i++) CHECK(fabs(x.theta[i]) < 1e-5 * x.theta[D - 1]);
    CHECK(x.theta[D - R] > 1e-4 * x.theta[D - 1]);
    /* lifted: unit, and along S^T y */
    float *y = floats(2 * D), *lifted = floats(2 * N), *t = floats(N);
    CHECK_OK(sketch_ritz_vectors(&x.k, x.s + (D - 2) * D, 2, y, &three));
    memset(y, 0, D * 4);
    CHECK_OK(sketch_ritz_lift(plan, y, 2, lifted, work));
    sketch_apply_t(plan, y + D, t, SKETCH_F32, work);
    CHECK(ddot(lifted, lifted, N) == 0 && fabs(ddot(lifted + N, lifted + N, N) - 1) < 1e-5 && fabs(ddot(lifted + N, t, N) - sqrt(ddot(t, t, N))) < 1e-4 * sqrt(ddot(t, t, N)));
    CHECK_ST(sketch_ritz_lift(NULL, y, 1, lifted, work), SKETCH_E_ARG);
    CHECK_ST(sketch_ritz_lift(plan, NULL, 1, lifted, work), SKETCH_E_ARG);
    CHECK_ST(sketch_ritz_lift(plan, y, SIZE_MAX / 8, lifted, work), SKETCH_E_SIZE);
    /* differences */
    sketch_fd fd = { net_gradient, &w, theta, N, f0, f1, 0 };
    double *errs = doubles(3);
    for (int kind = 0; kind < 3; kind++) {
        double err = 0, scale = kind == 1 ? 1e3 : 1;
        for (size_t i = 0; i < N; i++) v[i] = kind == 2 ? (i == 17) : (float)(scale * test_normal(&rng));
        net_hvp(&w, v, want);
        w.calls = 0;
        CHECK(sketch_hvp_fd(&fd, v, out) == 0 && w.calls == 2);
        for (size_t i = 0; i < N; i++) err += pow(out[i] - want[i], 2);
        errs[kind] = sqrt(err / ddot(want, want, N));
        CHECK_MSG(errs[kind] < 1e-3, "kind %d: relative error %g", kind, errs[kind]);
    }
    if (getenv("SPECTRUM_PRINT")) printf("fd errors %g %g %g\n", errs[0], errs[1], errs[2]);
    /* the truncation falls as the square of the step */
    double e[2];
    for (int i = 0; i < 2; i++) {
        fd.step = i ? 1 : 2;
        CHECK(sketch_hvp_fd(&fd, v, out) == 0);
        for (size_t j = 0; j < N; j++) out[j] -= want[j];
        e[i] = sqrt(ddot(out, out, N));
    }
    fd.step = 0;
    memset(v, 0, N * 4); CHECK(sketch_hvp_fd(&fd, v, out) == 0 && ddot(out, out, N) == 0);
    v[3] = (float)NAN; CHECK(sketch_hvp_fd(&fd, v, out) == SKETCH_E_NONFINITE);
    v[3] = 1; w.fail = 9; CHECK(sketch_hvp_fd(&fd, v, out) == 9); w.fail = 0;
    for (int bad = 0; bad < 6; bad++) {
        sketch_fd b = fd;
        if (bad == 0) b.gradient = NULL; else if (bad == 1) b.theta = NULL; else if (bad == 2) b.n = 0; else if (bad == 3) b.n0 = NULL; else if (bad == 4) b.n1 = NULL; else b.step = -1;
        CHECK(sketch_hvp_fd(&b, v, out) == SKETCH_E_ARG);
    }
    CHECK(sketch_hvp_fd(NULL, v, out) == SKETCH_E_ARG && sketch_hvp_fd(&fd, NULL, out) == SKETCH_E_ARG);
    memset(theta, 0, N * 4); net_hvp(&w, v, want); CHECK(sketch_hvp_fd(&fd, v, out) == 0);
    for (size_t j = 0; j < N; j++) out[j] -= want[j];
    CHECK(ddot(out, out, N) < 1e-6 * ddot(want, want, N));
    CHECK_MSG(e[0] > 3 * e[1] && e[0] < 5 * e[1], "errors at two steps %g %g", e[0], e[1]);
    free(errs); free(gram); free(rows); free(theta); free(v); free(out); free(want); free(n0); free(n1); free(f0); free(f1); free(y); free(lifted); free(t);
    space_free(&x); sketch_work_destroy(work); sketch_destroy(plan);
}

static void summary(void) {
    enum { D = 400, M = 60 };
    test_begin("spectrum: summary: RNEG, ratios, outliers, the gradient's share");
    op a = op_make(D);
    space x = space_make(D, M);
    sketch_spectrum s;
    float *g = floats(D);
    double *e = doubles(D), r[M], *u = doubles(D);
    static const double top[8] = { 50, 30, 20, 15, 10.5, 9.5, -25, -3 };   /* 5 above 10 */
    for (size_t i = 0; i < D; i++) a.lambda[i] = i < 8 ? top[i] : 0.5 * test_uniform(&rng);
    for (size_t i = 0; i < D; i++) e[i] = 0;
    for (size_t k = 0; k < 9; k++) {                                       /* |g|^2 = 1 + 4 + 9 + 16 + 25 in the outliers, 36 + 49 + 64 + 81 outside */
        op_vector(&a, k, u);
        for (size_t i = 0; i < D; i++) e[i] += (double)(k + 1) * u[i];
    }
    for (size_t i = 0; i < D; i++) g[i] = (float)e[i];
    CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, NULL));
    CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, x.s, x.scratch));
    CHECK_OK(sketch_spectrum_summary(&x.k, x.theta, x.s, g, 0, r, &s));
    CHECK(fabs(s.largest - 50) < 1e-3 && fabs(s.smallest + 25) < 1e-3 && fabs(s.rneg - 0.5) < 1e-4 && s.outliers == 5);
    CHECK_MSG(fabs(s.gradient_share - 55.0 / 285) < 1e-4 && fabs(s.gradient_norm_share - sqrt(55.0 / 285)) < 1e-4, "share %g", s.gradient_share);
    for (int i = 0; i < 6; i++) CHECK(fabs(r[i] - top[i] / 50) < 1e-4);
    CHECK(fabs(r[M - 1] + 0.5) < 1e-4);
    CHECK_OK(sketch_spectrum_summary(&x.k, x.theta, x.s, g, 0.45, NULL, &s));
    CHECK(s.outliers == 2 && fabs(s.gradient_share - 5.0 / 285) < 1e-4);
    CHECK_OK(sketch_spectrum_summary(&x.k, x.theta, NULL, NULL, 0.2, NULL, &s));
    CHECK(s.outliers == 5 && s.gradient_share == 0);
    memset(g, 0, D * 4); CHECK_OK(sketch_spectrum_summary(&x.k, x.theta, x.s, g, 0, NULL, &s)); CHECK(s.gradient_share == 0);
    for (size_t i = 0; i < M; i++) u[i] = -1 - (double)(M - i);
    CHECK_OK(sketch_spectrum_summary(&x.k, u, NULL, NULL, 0, r, &s)); CHECK(isinf(s.rneg) && s.outliers == 0 && isnan(r[0]));
    for (size_t i = 0; i < M; i++) u[i] = 1 + (double)i;
    CHECK_OK(sketch_spectrum_summary(&x.k, u, NULL, NULL, 0, NULL, &s)); CHECK(s.rneg == 0 && s.outliers == 48);      /* 13 .. 60 */
    s.outliers = 3; CHECK_ST(sketch_spectrum_summary(&x.k, u, NULL, g, 0, NULL, &s), SKETCH_E_ARG); CHECK(s.outliers == 0);
    CHECK_ST(sketch_spectrum_summary(&x.k, u, NULL, NULL, 1, NULL, &s), SKETCH_E_ARG);
    CHECK_ST(sketch_spectrum_summary(&x.k, NULL, NULL, NULL, 0, NULL, &s), SKETCH_E_ARG);
    CHECK_ST(sketch_spectrum_summary(&x.k, u, NULL, NULL, 0, NULL, NULL), SKETCH_E_ARG);
    u[4] = (double)NAN; CHECK_ST(sketch_spectrum_summary(&x.k, u, NULL, NULL, 0, NULL, &s), SKETCH_E_NONFINITE);
    g[1] = (float)NAN; CHECK_ST(sketch_spectrum_summary(&x.k, x.theta, x.s, g, 0, NULL, &s), SKETCH_E_NONFINITE); CHECK(s.largest == 0);
    op_free(&a); space_free(&x); free(g); free(e); free(u);
}

/* ---- Arnoldi --------------------------------------------------------------------------------------- */
/* A = X B X^-1, X = Q (I + c u w^T) with reflections; B block diagonal: 2 x 2 rotations times radius, and reals */
typedef struct general { size_t n; double *block, *u, *w; } general;      /* block[2*i], block[2*i+1]: a, b of [[a, b], [-b, a]] at rows 2i, 2i+1 */
static int general_apply(void *user, const float *v, float *out) {
    const general *g = user;
    size_t n = g->n;
    double *x = doubles(n), *y = doubles(n), p = 0;
    for (size_t i = 0; i < n; i++) p += g->w[i] * v[i];
    for (size_t i = 0; i < n; i++) x[i] = v[i] - p * g->u[i] / 1.7;         /* (I + u w^T)^-1 with w^T u = 0.7 */
    for (size_t i = 0; i + 1 < n; i += 2) { y[i] = g->block[i] * x[i] + g->block[i + 1] * x[i + 1]; y[i + 1] = -g->block[i + 1] * x[i] + g->block[i] * x[i + 1]; }
    p = 0;
    for (size_t i = 0; i < n; i++) p += g->w[i] * y[i];
    for (size_t i = 0; i < n; i++) out[i] = (float)(y[i] + p * g->u[i]);
    free(x); free(y);
    return 0;
}
static general general_make(size_t n) {
    general g = { n, doubles(n), doubles(n), doubles(n) };
    double uu = 0, uw = 0;
    for (size_t i = 0; i < n; i++) { g.u[i] = test_normal(&rng); g.w[i] = test_normal(&rng); uu += g.u[i] * g.u[i]; }
    for (size_t i = 0; i < n; i++) g.u[i] /= sqrt(uu);
    for (size_t i = 0; i < n; i++) uw += g.u[i] * g.w[i];
    for (size_t i = 0; i < n; i++) g.w[i] += (0.7 - uw) * g.u[i];
    for (size_t i = 0; i < n; i++) g.w[i] = 0.7 * g.u[i] + (g.w[i] - 0.7 * g.u[i]) / sqrt((double)n);
    return g;
}
static void general_free(general *g) { free(g->block); free(g->u); free(g->w); }
static double match(const double *re, const double *im, const double *re2, const double *im2, size_t m) {   /* greedy: largest distance of nearest partners, each used once */
    double worst = 0;
    char *used = calloc(m, 1);
    for (size_t i = 0; i < m; i++) {
        size_t best = m;
        double d = (double)INFINITY;
        for (size_t j = 0; j < m; j++) if (!used[j] && hypot(re[i] - re2[j], im[i] - im2[j]) < d) { d = hypot(re[i] - re2[j], im[i] - im2[j]); best = j; }
        if (best < m) used[best] = 1;
        worst = fmax(worst, d);
    }
    free(used);
    return worst;
}

static void arnoldi(void) {
    test_begin("spectrum: Arnoldi, with a sketch and with similarity restored");
    /* the Hessenberg solver alone: companion matrices of known roots, and what cannot be */
    for (size_t m = 1; m <= 8; m++) for (int kind = 0; kind < 3; kind++) {
        double c[9] = { 1 }, h[64], re[8], im[8], wr[8], wi[8];
        size_t i = 0;
        while (i < m) {                                                    /* roots, and their polynomial c[0] + .. + x^m */
            double a = kind == 0 ? (double)i - 2.5 : 0.7 * test_normal(&rng), b = kind == 0 || i + 1 == m ? 0 : kind == 1 ? 1 + 0.1 * (double)i : 0.3;
            size_t two = b != 0 ? 2 : 1, j;
            double f[3] = { two == 2 ? a * a + b * b : -a, two == 2 ? -2 * a : 1, 1 }, p[9] = { 0 };
            for (j = 0; j <= i; j++) for (size_t l = 0; l <= two; l++) p[j + l] += c[j] * f[l];
            memcpy(c, p, sizeof c);
            wr[i] = a; wi[i] = b;
            if (two == 2) { wr[i + 1] = a; wi[i + 1] = -b; }
            i += two;
        }
        memset(h, 0, sizeof h);
        for (i = 0; i < m; i++) { h[i * m + m - 1] = -c[i]; if (i) h[i * m + i - 1] = 1; }
        CHECK_OK(sketch_hessenberg_eigen(m, h, re, im));
        CHECK_MSG(match(re, im, wr, wi, m) < 1e-5, "companion %zu, kind %d: %g", m, kind, match(re, im, wr, wi, m));
        for (i = 0; i < m; i++) if (im[i] != 0) { CHECK(im[i] > 0 && i + 1 < m && im[i + 1] == -im[i] && re[i + 1] == re[i]); i++; }
    }
    { double h[4] = { 0, 0, 0, 0 }, re[2], im[2]; CHECK_OK(sketch_hessenberg_eigen(2, h, re, im)); CHECK(re[0] == 0 && im[1] == 0); }
    { double h[9] = { 0, 0, 1, 1, 0, 0, 0, 1, 0 }, re[3], im[3], wr[3] = { 1, -0.5, -0.5 }, wi[3] = { 0, 0.86602540378443865, -0.86602540378443865 };   /* a cycle: needs the exceptional shift */
      CHECK_OK(sketch_hessenberg_eigen(3, h, re, im)); CHECK(match(re, im, wr, wi, 3) < 1e-12); }
    { double h[4] = { 1, (double)NAN, 0, 1 }, re[2], im[2]; CHECK_ST(sketch_hessenberg_eigen(2, h, re, im), SKETCH_E_NONFINITE);
      CHECK_ST(sketch_hessenberg_eigen(0, h, re, im), SKETCH_E_ARG); CHECK_ST(sketch_hessenberg_eigen(2, NULL, re, im), SKETCH_E_ARG); CHECK_ST(sketch_hessenberg_eigen(SIZE_MAX / 4, h, re, im), SKETCH_E_SIZE); }
    /* all of a small space: every eigenvalue of A */
    {
        size_t n = 40;
        general g = general_make(n);
        space x = space_make(n, n);
        double *h = doubles(n * n), *re = doubles(n), *im = doubles(n), *wr = doubles(n), *wi = doubles(n);
        for (size_t i = 0; i < n; i += 2) {
            g.block[i] = 2 * test_normal(&rng); g.block[i + 1] = test_normal(&rng);
            wr[i] = wr[i + 1] = g.block[i]; wi[i] = g.block[i + 1]; wi[i + 1] = -g.block[i + 1];
        }
        CHECK_OK(sketch_arnoldi(general_apply, &g, &x.k, h, NULL, NULL, NULL, NULL));
        CHECK(x.k.done == n && worst_orthogonality(&x.k, n) < 1e-6);
        CHECK_OK(sketch_arnoldi_eigen(&x.k, h, NULL, re, im, x.scratch, NULL));
        CHECK_MSG(match(re, im, wr, wi, n) < 1e-4, "eigenvalues off by %g", match(re, im, wr, wi, n));
        general_free(&g); space_free(&x); free(h); free(re); free(im); free(wr); free(wi);
    }
    /* a large one: with a sketch and similarity restored the Ritz values are Arnoldi's own; without they are others */
    {
        size_t n = 3000, m = 14, d = 96;
        general g = general_make(n);
        sketch_desc desc = sketch_desc_make(SKETCH_SJLT, n, d, 3);
        sketch_plan *plan; sketch_work *work;
        space x = space_make(n, m), y = space_make(n, m), z = space_make(n, m);
        double *h = doubles(m * m), *hs = doubles(m * m), *hz = doubles(m * m), re[14], im[14], sr[14], si[14], pr[14], pi[14];
        float *rows = floats((m + 1) * d), *lift = floats(n);
        watch w = { 0, 0, 6 };
        sketch_krylov_options o;
        memset(&o, 0, sizeof o);
        CHECK_OK(sketch_create(&desc, &plan)); CHECK_OK(sketch_work_create(plan, 1, &work));
        for (size_t i = 0; i < n; i += 2) { g.block[i] = test_normal(&rng); g.block[i + 1] = test_normal(&rng); }
        CHECK_OK(sketch_arnoldi(general_apply, &g, &x.k, h, NULL, NULL, NULL, NULL));
        CHECK_OK(sketch_arnoldi_eigen(&x.k, h, NULL, re, im, x.scratch, NULL));
        CHECK_OK(sketch_arnoldi(general_apply, &g, &y.k, hs, plan, work, rows, NULL));
        for (size_t i = 0; i <= m; i++) for (size_t j = 0; j <= i; j++) CHECK(fabs(ddot(rows + i * d, rows + j * d, d) - (i == j)) < 1e-5);
        sketch_apply(plan, y.basis + 5 * n, SKETCH_F32, lift, work);
        for (size_t i = 0; i < d; i++) CHECK(fabs(lift[i] - rows[5 * d + i]) < 1e-5);       /* rows are the sketches of the basis */
        CHECK_OK(sketch_arnoldi_eigen(&y.k, hs, NULL, sr, si, y.scratch, NULL));
        CHECK_OK(sketch_arnoldi_eigen(&y.k, hs, lift, pr, pi, y.scratch, &three));
        CHECK_MSG(match(pr, pi, re, im, m) < 1e-3, "restored: off by %g", match(pr, pi, re, im, m));
        z.k.steps = 8;
        CHECK_OK(sketch_lanczos(general_apply, &g, &z.k, NULL));
        CHECK(z.k.skew > 0.05 * z.k.norm);                                 /* Lanczos tells that the operator is not symmetric */
        z.k = sketch_krylov_make(n, m, z.basis, z.dd);
        CHECK_MSG(match(sr, si, re, im, m) > 1e-2, "not restored: off by %g only", match(sr, si, re, im, m));
        if (getenv("SPECTRUM_PRINT")) printf("similarity: restored %g, not %g\n", match(pr, pi, re, im, m), match(sr, si, re, im, m));
        /* stopped and gone on */
        o.progress.fn = watching; o.progress.user = &w;
        CHECK_ST(sketch_arnoldi(general_apply, &g, &z.k, hz, plan, work, rows, &o), SKETCH_E_CALLBACK);
        CHECK(z.k.done == 6);
        w.stop_at = 0;
        CHECK_OK(sketch_arnoldi(general_apply, &g, &z.k, hz, plan, work, rows, &o));
        CHECK(!memcmp(hz, hs, m * m * 8) && same_space(&y.k, &z.k));
        CHECK_ST(sketch_arnoldi(NULL, &g, &x.k, h, NULL, NULL, NULL, NULL), SKETCH_E_ARG);
        CHECK_ST(sketch_arnoldi(general_apply, &g, &x.k, NULL, NULL, NULL, NULL, NULL), SKETCH_E_ARG);
        CHECK_ST(sketch_arnoldi(general_apply, &g, &x.k, h, plan, NULL, rows, NULL), SKETCH_E_ARG);
        CHECK_ST(sketch_arnoldi(general_apply, &g, &x.k, h, plan, work, NULL, NULL), SKETCH_E_ARG);
        o.checkpoint = "x"; CHECK_ST(sketch_arnoldi(general_apply, &g, &x.k, h, NULL, NULL, NULL, &o), SKETCH_E_ARG);
        x.k.d = n - 1; CHECK_ST(sketch_arnoldi(general_apply, &g, &x.k, h, plan, work, rows, NULL), SKETCH_E_SIZE); x.k.d = n;
        CHECK_ST(sketch_arnoldi_eigen(&x.k, NULL, NULL, re, im, x.scratch, NULL), SKETCH_E_ARG);
        x.k.done = 0; CHECK_ST(sketch_arnoldi_eigen(&x.k, h, NULL, re, im, x.scratch, NULL), SKETCH_E_ARG);
        /* an invariant space on the way, sketched: rank 3 */
        op a = op_make(n);
        for (size_t i = 0; i < 3; i++) a.lambda[i] = (double)(i + 1);
        x.k.done = 0;
        CHECK_OK(sketch_arnoldi(op_apply, &a, &x.k, h, plan, work, rows, NULL));
        CHECK_OK(sketch_arnoldi_eigen(&x.k, h, lift, re, im, x.scratch, NULL));
        CHECK(x.k.restarts > 0);
        for (size_t k = 1; k <= 3; k++) { double near = 9; for (size_t i = 0; i < m; i++) near = fmin(near, hypot(re[i] - (double)k, im[i])); CHECK_MSG(near < 1e-4, "eigenvalue %zu: %g", k, near); }
        op_free(&a); general_free(&g); space_free(&x); space_free(&y); space_free(&z); free(h); free(hs); free(hz); free(rows); free(lift);
        sketch_work_destroy(work); sketch_destroy(plan);
    }
}

/* ---- density and trace ------------------------------------------------------------------------------ */
static void density(void) {
    enum { D = 2000, M = 60, P = 4, G = 2001 };
    test_begin("spectrum: density by stochastic Lanczos quadrature");
    op a = op_make(D);
    space x = space_make(D, M);
    double *nodes = doubles(P * M), *weights = doubles(P * M), *ref = doubles(D), *grid = doubles(G), low = 0, high = 0, sigma = 0, sum = 0, first = 0, exact = 0, w1 = 0, cdf = 0, integral = 0;
    size_t count;
    watch w = { 0, 0, 0 };
    sketch_krylov_options o;
    memset(&o, 0, sizeof o); o.seed = 2; o.progress.fn = watching; o.progress.user = &w;
    for (size_t i = 0; i < D; i++) {                                        /* a spike at zero, a semicircle, outliers, a negative tail */
        a.lambda[i] = i < 900 ? 0.001 * test_normal(&rng) : i < 1900 ? 2 * cos(3.14159265 * test_uniform(&rng)) + 1 : i < 1990 ? 3 + 3 * test_uniform(&rng) : -3 * test_uniform(&rng);
        ref[i] = a.lambda[i]; exact += ref[i] / D;
    }
    qsort(ref, D, 8, by_value);
    CHECK_OK(sketch_slq(op_apply, &a, &x.k, P, nodes, weights, &count, &o));
    CHECK(count == P * M && w.last == P * M);
    for (size_t i = 0; i < count; i++) { sum += weights[i]; first += weights[i] * nodes[i]; CHECK(weights[i] >= 0); }
    CHECK(fabs(sum - 1) < 1e-12);
    CHECK_MSG(fabs(first - exact) < 0.03, "mean %g, not %g", first, exact);
    /* Wasserstein distance: integral of the difference of the distribution functions, over the range */
    double range = ref[D - 1] - ref[0];
    for (int i = 0; i < 40000; i++) {
        double t = ref[0] - 0.05 * range + 1.1 * range * (i + 0.5) / 40000, f = 0;
        static size_t at;
        if (i == 0) at = 0;
        while (at < D && ref[at] <= t) at++;
        for (size_t j = 0; j < count; j++) f += nodes[j] <= t ? weights[j] : 0;
        w1 += fabs(f - (double)at / D) * 1.1 * range / 40000;
    }
    CHECK_MSG(w1 < 0.02 * range, "Wasserstein %g of the range", w1 / range);
    if (getenv("SPECTRUM_PRINT")) printf("SLQ: Wasserstein %g of the range\n", w1 / range);
    CHECK_OK(sketch_slq_density(nodes, weights, count, &low, &high, &sigma, grid, G));
    CHECK(low < ref[0] && high > ref[D - 1] - 0.2 && sigma > 0);
    for (int i = 0; i < G; i++) integral += grid[i] * (high - low) / (G - 1) * (i == 0 || i == G - 1 ? 0.5 : 1);
    CHECK_MSG(fabs(integral - 1) < 1e-5, "integral %g", integral);
    /* the density itself, against exact eigenvalues broadened alike */
    w1 = 0;
    for (int i = 0; i < G; i++) {
        double t = low + (high - low) * i / (G - 1), f = 0;
        for (size_t j = 0; j < D; j++) f += exp(-0.5 * (t - ref[j]) * (t - ref[j]) / sigma / sigma) / (sigma * sqrt(2 * 3.14159265358979) * D);
        cdf += (grid[i] - f) * (high - low) / (G - 1);
        w1 += fabs(cdf) * (high - low) / (G - 1);
    }
    CHECK_MSG(w1 < 0.02 * range, "broadened: Wasserstein %g of the range", w1 / range);
    /* given ends and width are kept; one node */
    double l = -2, hgh = 2, s = 0.25, one = 0.5, weight = 1, v[5];
    CHECK_OK(sketch_slq_density(&one, &weight, 1, &l, &hgh, &s, v, 5));
    CHECK(l == -2 && hgh == 2 && s == 0.25 && fabs(v[2] - exp(-2) / (0.25 * sqrt(2 * 3.14159265358979))) < 1e-9 && fabs(v[2] - v[3]) < 1e-12 && v[0] < 1e-9);
    l = hgh = s = 0; CHECK_OK(sketch_slq_density(&one, &weight, 1, &l, &hgh, &s, v, 5)); CHECK(l < 0.5 && hgh > 0.5 && s > 0);
    CHECK_ST(sketch_slq_density(&one, &weight, 0, &l, &hgh, &s, v, 5), SKETCH_E_ARG); CHECK(v[2] == 0);
    CHECK_ST(sketch_slq_density(&one, &weight, 1, &l, &hgh, &s, v, 1), SKETCH_E_ARG);
    s = -1; CHECK_ST(sketch_slq_density(&one, &weight, 1, &l, &hgh, &s, v, 5), SKETCH_E_ARG); s = 1;
    l = hgh + 1; CHECK_ST(sketch_slq_density(&one, &weight, 1, &l, &hgh, &s, v, 5), SKETCH_E_ARG);
    l = 0; one = (double)NAN; CHECK_ST(sketch_slq_density(&one, &weight, 1, &l, &hgh, &s, v, 5), SKETCH_E_NONFINITE);
    /* a low rank: breakdowns; weights still add up, the zeros' weight is theirs */
    for (size_t i = 0; i < D; i++) a.lambda[i] = i < 500 ? 1 : 0;
    w.last = w.total = 0; x.k.steps = 10;
    CHECK_OK(sketch_slq(op_apply, &a, &x.k, P, nodes, weights, &count, &o));
    sum = first = 0;
    for (size_t i = 0; i < count; i++) { sum += weights[i]; first += weights[i] * (nodes[i] > 0.5); }
    CHECK(fabs(sum - 1) < 1e-12 && fabs(first - 0.25) < 0.02);
    /* stopped in the third probe: two are there */
    w.last = 0; w.stop_at = 25;
    CHECK_ST(sketch_slq(op_apply, &a, &x.k, P, nodes, weights, &count, &o), SKETCH_E_CALLBACK);
    sum = 0;
    for (size_t i = 0; i < count; i++) sum += weights[i];
    CHECK(count == 20 && fabs(sum - 1) < 1e-12);
    a.calls = 0; a.nan_at = 5; w.last = 0; w.stop_at = 0;
    CHECK_ST(sketch_slq(op_apply, &a, &x.k, P, nodes, weights, &count, &o), SKETCH_E_NONFINITE); CHECK(count == 0);
    count = 7; CHECK_ST(sketch_slq(op_apply, &a, &x.k, 0, nodes, weights, &count, &o), SKETCH_E_ARG); CHECK(count == 0);
    CHECK_ST(sketch_slq(op_apply, &a, &x.k, P, NULL, weights, &count, &o), SKETCH_E_ARG);
    CHECK_ST(sketch_slq(op_apply, &a, &x.k, SIZE_MAX / 4, nodes, weights, &count, &o), SKETCH_E_SIZE);
    op_free(&a); space_free(&x); free(nodes); free(weights); free(ref); free(grid);
}

static void trace(void) {
    enum { D = 500, Q = 40 };
    test_begin("spectrum: trace by Hutch++");
    op a = op_make(D);
    float *basis = floats((Q + 2) * D);
    double *scratch = doubles(2 * Q + 1), t, e, mean = 0, spread = 0, said = 0, exact = 0;
    sketch_krylov_options o;
    memset(&o, 0, sizeof o);
    for (size_t i = 0; i < D; i++) a.lambda[i] = i < 20 ? (double)(i + 1) * (i % 2 ? -1 : 1) : 0;         /* rank 20 <= q: exact */
    CHECK_OK(sketch_trace(op_apply, &a, D, 3 * Q, basis, scratch, &t, &e, NULL));
    CHECK_MSG(fabs(t + 10) < 1e-3 && e < 1e-3 && a.calls < 3 * Q - 10, "trace %g +- %g, %ld products", t, e, a.calls);    /* none for directions of noise */
    for (size_t i = 0; i < D; i++) { a.lambda[i] = 100 / pow((double)(i + 1), 1.5); exact += a.lambda[i]; }
    for (int s = 0; s < 30; s++) {
        a.calls = 0; o.seed = (uint64_t)s;
        CHECK_OK(sketch_trace(op_apply, &a, D, 62, basis, scratch, &t, &e, &o));
        CHECK(a.calls == 62);
        mean += t / 30; spread += (t - exact) * (t - exact) / 30; said += e / 30;
        CHECK(fabs(t - exact) < 0.02 * exact);                           /* Hutchinson alone: spread sqrt(2/62) |A|_F = 20, 8% */
    }
    CHECK_MSG(fabs(mean - exact) < 4 * sqrt(spread / 30) && said > 0.5 * sqrt(spread) && said < 2 * sqrt(spread), "mean %g of %g, spread %g, said %g", mean, exact, sqrt(spread), said);
    /* Q is everything */
    op b = op_make(5);
    for (size_t i = 0; i < 5; i++) b.lambda[i] = (double)i + 1;
    CHECK_OK(sketch_trace(op_apply, &b, 5, 30, basis, scratch, &t, &e, NULL)); CHECK(fabs(t - 15) < 1e-4 && e == 0);
    b.d = 1; CHECK_OK(sketch_trace(op_apply, &b, 1, 3, basis, scratch, &t, &e, NULL)); CHECK(e == 0); b.d = 5;
    CHECK_OK(sketch_trace(op_apply, &b, 5, 3, basis, scratch, &t, &e, NULL)); CHECK(isnan(e));
    watch w = { 0, 30, 9 };
    o.progress.fn = watching; o.progress.user = &w; o.threads = three;
    CHECK_ST(sketch_trace(op_apply, &a, D, 30, basis, scratch, &t, &e, &o), SKETCH_E_CALLBACK); CHECK(t == 0 && w.last == 9);
    w.stop_at = 0;
    for (long k = 1; k <= 30; k += 7) { a.calls = 0; a.nan_at = k; w.last = 0; t = 5; CHECK_ST(sketch_trace(op_apply, &a, D, 30, basis, scratch, &t, &e, &o), SKETCH_E_NONFINITE); CHECK(k <= 21 ? t == 0 : fabs(t - exact) < 0.2 * exact); }
    a.nan_at = 0; a.calls = 0; a.fail_at = 12; a.code = -1; w.last = 0;
    CHECK_ST(sketch_trace(op_apply, &a, D, 30, basis, scratch, &t, NULL, &o), SKETCH_E_CALLBACK);
    CHECK_ST(sketch_trace(op_apply, &a, D, 2, basis, scratch, &t, &e, &o), SKETCH_E_ARG);
    CHECK_ST(sketch_trace(op_apply, &a, D, 30, NULL, scratch, &t, &e, &o), SKETCH_E_ARG);
    CHECK_ST(sketch_trace(op_apply, &a, D, 30, basis, scratch, NULL, &e, &o), SKETCH_E_ARG);
    CHECK_ST(sketch_trace(op_apply, &a, SIZE_MAX / 16, 300, basis, scratch, &t, &e, &o), SKETCH_E_SIZE);
    op_free(&a); op_free(&b); free(basis); free(scratch);
}

/* ---- inverses --------------------------------------------------------------------------------------- */
static double off_by(const float *x, const double *want, size_t d) {
    double e = 0, s = 0;
    for (size_t i = 0; i < d; i++) { e += (x[i] - want[i]) * (x[i] - want[i]); s += want[i] * want[i]; }
    return sqrt(e / s);
}
static void inverse(void) {
    enum { D = 300, M = 80 };
    test_begin("spectrum: inverse by Krylov space, conjugate gradients, LiSSA");
    op a = op_make(D);
    space x = space_make(D, M);
    float *g = normals(D), *y = floats(D), *z = floats(D), *scratch = floats(3 * D);
    double *want = doubles(D), *all = doubles(2 * M), gg = ddot(g, g, D);
    sketch_krylov_options o;
    sketch_solved done;
    (void)gg;
    memset(&o, 0, sizeof o); o.start = g;
    for (size_t i = 0; i < D; i++) a.lambda[i] = 0.01 + 3 * pow((double)i / D, 4);
    op_solve(&a, 0.1, g, want);
    /* the Krylov space that g starts */
    CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, &o));
    CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, x.s, x.scratch));
    CHECK_OK(sketch_krylov_solve(&x.k, x.theta, x.s, 0.1, 0, 0, g, y, all, NULL));
    CHECK_MSG(off_by(y, want, D) < 1e-4, "Krylov: off by %g", off_by(y, want, D));
    CHECK_OK(sketch_krylov_solve(&x.k, x.theta, x.s, 0.1, 0, 0.1, g, z, all, &three));                     /* nothing outside: the same */
    for (size_t i = 0; i < D; i++) CHECK(fabs(y[i] - z[i]) < 1e-3);
    /* conjugate gradients */
    memset(y, 0, D * 4);
    CHECK_OK(sketch_cg(op_apply, &a, D, 0.1, g, y, scratch, 1e-6, 200, &done, NULL));
    CHECK_MSG(off_by(y, want, D) < 1e-4 && done.residual <= 1e-6 && done.iterations < 100, "CG: off by %g after %d", off_by(y, want, D), (int)done.iterations);
    uint64_t cold = done.iterations;
    CHECK_OK(sketch_cg(op_apply, &a, D, 0.1, g, y, scratch, 1e-5, 200, &done, NULL)); CHECK(done.iterations < cold / 4);        /* from its own answer */
    memset(y, 0, D * 4);
    CHECK_ST(sketch_cg(op_apply, &a, D, 0.1, g, y, scratch, 1e-6, 5, &done, NULL), SKETCH_E_CONVERGE); CHECK(done.iterations == 5 && off_by(y, want, D) < 0.9);
    /* LiSSA, with its step from trace and largest eigenvalue */
    sketch_lissa_options l = { 0.1, 0, 0, 0 };
    double tr = 0;
    for (size_t i = 0; i < D; i++) tr += a.lambda[i];
    CHECK_OK(sketch_lissa_tune(tr, x.theta[M - 1], 1e-6, &l));
    CHECK(fabs(l.step - 1 / (x.theta[M - 1] + 0.1)) < 1e-9 && l.iterations == (uint64_t)ceil(log(1e6) / (l.step * 0.1)));
    memset(y, 0, D * 4);
    CHECK_OK(sketch_lissa(op_apply, &a, D, g, y, scratch, &l, &done, NULL));
    CHECK_MSG(off_by(y, want, D) < 1e-4 && done.iterations == l.iterations && done.residual < 1e-5, "LiSSA: off by %g, residual %g", off_by(y, want, D), done.residual);
    l.batch = 10; CHECK_OK(sketch_lissa_tune(tr, 3, 1e-6, &l)); CHECK(fabs(l.step - 1 / (3.1 + tr / 10)) < 1e-12);
    l.step = 3 / 3.1; l.iterations = 1000; memset(y, 0, D * 4);
    CHECK_ST(sketch_lissa(op_apply, &a, D, g, y, scratch, &l, &done, NULL), SKETCH_E_CONVERGE); CHECK(done.iterations < 1000);  /* diverges */
    /* another vector, a space that caught the leading eigenvalues: Ritz pairs and the complement at `damping` */
    for (size_t i = 0; i < D; i++) a.lambda[i] = i < 10 ? 5 + (double)i : i == 10 ? -7 : 0;
    float *b = normals(D);
    o.start = NULL; x.k.done = 0; x.k.steps = 30;
    CHECK_OK(sketch_lanczos(op_apply, &a, &x.k, &o));
    CHECK_OK(sketch_ritz(&x.k, x.theta, x.bound, x.s, x.scratch));
    op_solve(&a, 0.5, b, want);
    CHECK_OK(sketch_krylov_solve(&x.k, x.theta, x.s, 0.5, 0, 0.5, b, y, all, NULL));
    CHECK_MSG(off_by(y, want, D) < 1e-4, "Ritz pairs: off by %g", off_by(y, want, D));
    for (size_t i = 0; i < D; i++) want[i] = 0;                            /* the pseudo-inverse: eigenvalues over 6 in size only */
    for (size_t k = 0; k <= 10; k++) {
        double *e = doubles(D), p = 0;
        op_vector(&a, k, e);
        for (size_t i = 0; i < D; i++) p += e[i] * b[i];
        if (fabs(a.lambda[k]) > 6.5) for (size_t i = 0; i < D; i++) want[i] += e[i] * p / a.lambda[k];
        free(e);
    }
    CHECK_OK(sketch_krylov_solve(&x.k, x.theta, x.s, 0, 6.5, 0, b, y, all, NULL));
    CHECK_MSG(off_by(y, want, D) < 1e-4, "pseudo-inverse: off by %g", off_by(y, want, D));
    /* negative curvature, failures, errors */
    memset(y, 0, D * 4);
    CHECK_ST(sketch_cg(op_apply, &a, D, 0.5, b, y, scratch, 1e-7, 100, &done, NULL), SKETCH_E_CONVERGE);
    memset(z, 0, D * 4); y[0] = 1;
    CHECK_OK(sketch_cg(op_apply, &a, D, 0.5, z, y, scratch, 1e-7, 100, &done, NULL)); CHECK(y[0] == 0);
    a.lambda[10] = 0;
    watch w = { 0, 0, 3 };
    sketch_progress p = { watching, &w };
    memset(y, 0, D * 4);
    CHECK_ST(sketch_cg(op_apply, &a, D, 0.5, b, y, scratch, 0, 100, &done, &p), SKETCH_E_CALLBACK); CHECK(done.iterations == 3 && y[0] != 0 && done.residual > 0);
    l.damping = 0.5; l.step = 0.05; l.iterations = 100; w.last = 0; memset(y, 0, D * 4);
    CHECK_ST(sketch_lissa(op_apply, &a, D, b, y, scratch, &l, &done, &p), SKETCH_E_CALLBACK); CHECK(done.iterations == 3);
    a.calls = 0; a.fail_at = 2; a.code = 1; memset(y, 0, D * 4);
    CHECK_ST(sketch_cg(op_apply, &a, D, 0.5, b, y, scratch, 0, 100, &done, NULL), SKETCH_E_CALLBACK); CHECK(done.iterations == 1);
    a.calls = 0; CHECK_ST(sketch_lissa(op_apply, &a, D, b, y, scratch, &l, &done, NULL), SKETCH_E_CALLBACK); CHECK(done.iterations == 1);
    a.fail_at = 0; a.nan_at = 2; a.calls = 0; memset(y, 0, D * 4);
    CHECK_ST(sketch_cg(op_apply, &a, D, 0.5, b, y, scratch, 0, 100, &done, NULL), SKETCH_E_NONFINITE); CHECK(y[0] == y[0]);
    a.calls = 0; CHECK_ST(sketch_lissa(op_apply, &a, D, b, y, scratch, &l, &done, NULL), SKETCH_E_NONFINITE); CHECK(y[0] == y[0]);
    a.nan_at = 0; z[5] = (float)NAN;
    CHECK_ST(sketch_cg(op_apply, &a, D, 0.5, z, y, scratch, 0, 100, &done, NULL), SKETCH_E_NONFINITE);
    CHECK_ST(sketch_lissa(op_apply, &a, D, z, y, scratch, &l, &done, NULL), SKETCH_E_NONFINITE);
    memset(z, 0, D * 4); CHECK_OK(sketch_lissa(op_apply, &a, D, z, y, scratch, &l, &done, NULL)); CHECK(y[0] == 0);
    CHECK_ST(sketch_cg(NULL, &a, D, 0, b, y, scratch, 0, 1, &done, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_cg(op_apply, &a, D, 0, b, y, scratch, -1, 1, &done, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_cg(op_apply, &a, D, (double)NAN, b, y, scratch, 0, 1, &done, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_cg(op_apply, &a, SIZE_MAX / 4, 0, b, y, scratch, 0, 1, &done, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_lissa(op_apply, &a, D, b, NULL, scratch, &l, &done, NULL), SKETCH_E_ARG);
    l.damping = 0; CHECK_ST(sketch_lissa(op_apply, &a, D, b, y, scratch, &l, &done, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_lissa_tune(1, 1, 0.1, &l), SKETCH_E_ARG); l.damping = 1;
    CHECK_ST(sketch_lissa_tune(1, 0, 0.1, &l), SKETCH_E_ARG);
    CHECK_ST(sketch_lissa_tune(-1, 1, 0.1, &l), SKETCH_E_ARG);
    CHECK_ST(sketch_lissa_tune(1, 1, 1, &l), SKETCH_E_ARG);
    CHECK_ST(sketch_lissa_tune((double)INFINITY, 1, 0.5, &l), SKETCH_E_ARG);
    CHECK_ST(sketch_lissa_tune(1, 1, 0.1, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_krylov_solve(&x.k, x.theta, x.s, -x.theta[0], 0, 0, b, y, all, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_krylov_solve(&x.k, x.theta, x.s, 0, -1, 0, b, y, all, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_krylov_solve(&x.k, x.theta, NULL, 1, 0, 0, b, y, all, NULL), SKETCH_E_ARG);
    op_free(&a); space_free(&x); free(g); free(y); free(z); free(scratch); free(want); free(all); free(b);
}

/* ---- intrinsic dimension ---------------------------------------------------------------------------- */
/* Training as a formula: metric after t rounds at d tends to ceiling(d) = d / (d + half) of 1, by a third of what is missing each round; doubling keeps what is there. */
static double train(double from, uint64_t d, double half) { double top = (double)d / ((double)d + half); return from < top ? from + (top - from) / 1.5 : from; }
static void idsearch(void) {
    test_begin("intrinsic dimension: the search against a sweep, resumed at every step");
    for (int low = 0; low < 2; low++) for (uint64_t d_max = 1024; d_max <= 3000; d_max += 976) for (double half = 0.6; half < 120; half *= 1.31) {
        sketch_idsearch_options o = { 2, d_max, low ? -0.9 : 0.9, 0.004, low ? SKETCH_LOWEST : SKETCH_HIGHEST, 0, 0 };
        sketch_idsearch s;
        sketch_idrecord record;
        uint64_t d, rounds = 0, brute, answer, last_d = 0;
        int restart, confirmed, confirming = 0;
        double m = 0;
        for (brute = 2; train(1e-9, brute, half) <= 0 || (double)brute / ((double)brute + half) <= 0.9; brute++) { }    /* the least d that gets there */
        CHECK_OK(sketch_idsearch_begin(&s, &o));
        while (sketch_idsearch_next(&s, &d, &restart) == SKETCH_OK && d) {
            sketch_idsearch saved;
            uint64_t again;
            int r2;
            CHECK(sketch_idsearch_next(&s, &again, &r2) == SKETCH_OK && again == d && r2 == restart);       /* asking changes nothing */
            CHECK(restart == (rounds == 0 || (s.phase == SKETCH_ID_CONFIRM && !s.have_last)));
            if (restart) m = 0;
            if (s.phase == SKETCH_ID_CONFIRM) confirming = 1; else CHECK(rounds == 0 || d == last_d || d == 2 * last_d || d == d_max);
            last_d = d;
            m = train(m, d, half);
            memcpy(&saved, &s, sizeof s); memset(&s, 0xEE, sizeof s); memcpy(&s, &saved, sizeof s);        /* it is plain data */
            CHECK_ST(sketch_idsearch_tell(&s, (double)NAN, &record), SKETCH_E_NONFINITE);
            CHECK(!memcmp(&saved, &s, sizeof s));
            CHECK_OK(sketch_idsearch_tell(&s, low ? -m : m, &record));
            CHECK(record.round == ++rounds && record.d == d && record.metric == (low ? -m : m) && record.phase == saved.phase && record.reached == (m >= 0.9));
            if (rounds > 400) { CHECK(!"it does not end"); break; }
        }
        sketch_status st = sketch_idsearch_result(&s, &answer, &confirmed);
        CHECK(st == SKETCH_OK && confirmed);
        CHECK_MSG(answer >= brute && answer < 2 * brute + 2, "half %g: search %d, sweep %d", half, (int)answer, (int)brute);
        CHECK(confirming == (answer >= 4 || s.search_rounds < rounds));
        CHECK_ST(sketch_idsearch_tell(&s, 1, NULL), SKETCH_E_STATE);
    }
    /* what a hasty doubling overshot, the confirming runs take back: the metric moves slowly, so delta is passed too soon */
    {
        sketch_idsearch_options o = { 1, 256, 0.5, 0.2, SKETCH_HIGHEST, 0, 0 };
        sketch_idsearch s; sketch_idrecord r; uint64_t d; int restart, ok; double m = 0;
        CHECK_OK(sketch_idsearch_begin(&s, &o));
        static const double tell[] = { 0.1, 0.2, 0.25, 0.28, 0.6 /* at 8 */, 0.3, 0.55 /* at 4: reached in 2 rounds */, 0.1, 0.2 /* at 2: stalled */ };
        static const uint64_t at[] = { 1, 1, 2, 4, 8, 4, 4, 2, 2 };
        for (int i = 0; i < 9; i++) { CHECK_OK(sketch_idsearch_next(&s, &d, &restart)); CHECK_MSG(d == at[i] && restart == (i == 0 || i == 5 || i == 7), "round %d at %d", i, (int)d); m = tell[i];
            CHECK_OK(sketch_idsearch_tell(&s, m, &r)); CHECK(r.stalled == (i >= 1 && i < 4) || i == 8); }
        CHECK_OK(sketch_idsearch_next(&s, &d, &restart)); CHECK(d == 0);
        CHECK_OK(sketch_idsearch_result(&s, &d, &ok)); CHECK(d == 4 && ok && s.best == 0.6 && s.rounds == 9);
    }
    /* never reached; out of rounds; without confirmation; a check that takes too long */
    {
        sketch_idsearch_options o = { 3, 20, 2, 0.1, SKETCH_HIGHEST, 0, 0 };
        sketch_idsearch s; uint64_t d, seen[8]; int restart, ok, n = 0;
        CHECK_OK(sketch_idsearch_begin(&s, &o));
        CHECK_ST(sketch_idsearch_result(&s, &d, &ok), SKETCH_E_STATE);
        while (sketch_idsearch_next(&s, &d, &restart) == SKETCH_OK && d && n < 8) { seen[n++] = d; CHECK_OK(sketch_idsearch_tell(&s, 0.5, NULL)); }
        CHECK(n == 5 && seen[0] == 3 && seen[1] == 3 && seen[2] == 6 && seen[3] == 12 && seen[4] == 20);   /* d_max need not be a power of two times d_min */
        CHECK_ST(sketch_idsearch_result(&s, &d, &ok), SKETCH_E_CONVERGE); CHECK(d == 0 && !ok);
        o.max_rounds = 3; CHECK_OK(sketch_idsearch_begin(&s, &o));
        for (n = 0; sketch_idsearch_next(&s, &d, &restart) == SKETCH_OK && d && n < 8; n++) CHECK_OK(sketch_idsearch_tell(&s, n, NULL));
        CHECK(n == 3 && s.answer == 3);                                     /* reached in round 3 (metric 2) at d = 3: nothing below to confirm */
        o.target = 50; CHECK_OK(sketch_idsearch_begin(&s, &o));
        for (n = 0; sketch_idsearch_next(&s, &d, &restart) == SKETCH_OK && d && n < 8; n++) CHECK_OK(sketch_idsearch_tell(&s, n, NULL));
        CHECK(n == 3 && s.answer == 0);
        o.max_rounds = 0; o.target = 1; o.confirm = 1; o.d_min = 8; o.d_max = 16; CHECK_OK(sketch_idsearch_begin(&s, &o));
        CHECK_OK(sketch_idsearch_tell(&s, 5, NULL)); CHECK_OK(sketch_idsearch_result(&s, &d, &ok)); CHECK(d == 8 && !ok);
        o.confirm = 0; o.d_min = 1; o.d_max = 8; o.target = 10; CHECK_OK(sketch_idsearch_begin(&s, &o));
        CHECK_OK(sketch_idsearch_tell(&s, 0, NULL)); CHECK_OK(sketch_idsearch_tell(&s, 0, NULL)); CHECK_OK(sketch_idsearch_tell(&s, 10, NULL));    /* at 2, in 3 rounds */
        CHECK(s.phase == SKETCH_ID_CONFIRM && s.d == 1);
        for (n = 0; sketch_idsearch_next(&s, &d, &restart) == SKETCH_OK && d && n < 8; n++) CHECK_OK(sketch_idsearch_tell(&s, n, NULL));
        CHECK(n == 3 && s.answer == 2 && s.confirmed);
        for (int bad = 0; bad < 7; bad++) {
            sketch_idsearch_options b = o;
            if (bad == 0) b.d_min = 0; else if (bad == 1) b.d_min = 9; else if (bad == 2) b.target = (double)NAN; else if (bad == 3) b.delta = (double)INFINITY; else if (bad == 4) b.order = (sketch_order)2; else if (bad == 5) b.confirm = 2;
            CHECK_ST(sketch_idsearch_begin(&s, bad == 6 ? NULL : &b), SKETCH_E_ARG);
            CHECK_ST(sketch_idsearch_next(&s, &d, &restart), SKETCH_E_STATE); CHECK(d == 0);
            CHECK_ST(sketch_idsearch_tell(&s, 1, NULL), SKETCH_E_STATE);
        }
        CHECK_ST(sketch_idsearch_begin(NULL, &o), SKETCH_E_ARG);
        CHECK_ST(sketch_idsearch_next(NULL, &d, &restart), SKETCH_E_ARG);
        CHECK_ST(sketch_idsearch_tell(NULL, 1, NULL), SKETCH_E_ARG);
        CHECK_ST(sketch_idsearch_result(NULL, &d, &ok), SKETCH_E_ARG);
    }
}

static void subspace(void) {
    enum { N = 1500, D = 64 };
    test_begin("intrinsic dimension: lift and cut gradient");
    sketch_desc desc = sketch_desc_make(SKETCH_AFFD, N, D, 21);
    sketch_plan *plan; sketch_work *work;
    float *t0 = normals(N), *theta = floats(N), *g = normals(N), w[D], out[D], full[D], *lifted = floats(N);
    CHECK_OK(sketch_create(&desc, &plan)); CHECK_OK(sketch_work_create(plan, 1, &work));
    for (int i = 0; i < D; i++) w[i] = i < 16 ? (float)test_normal(&rng) : 0;
    CHECK_OK(sketch_subspace_lift(plan, t0, w, theta, work));
    sketch_apply_t(plan, w, lifted, SKETCH_F32, work);
    for (int i = 0; i < N; i++) CHECK(fabs(theta[i] - ((double)t0[i] + lifted[i])) < 1e-6 * (1 + fabs(theta[i])));
    /* <g, S^T w> = <S g, w>: the gradient is the gradient */
    CHECK_OK(sketch_subspace_grad(plan, g, SKETCH_F32, 16, out, work));
    CHECK(fabs(ddot(g, lifted, N) - ddot(out, w, D)) < 1e-4 * sqrt(ddot(g, g, N) * ddot(w, w, D)));
    sketch_apply(plan, g, SKETCH_F32, full, work);
    for (int i = 0; i < D; i++) CHECK(out[i] == (i < 16 ? full[i] : 0));
    CHECK_OK(sketch_subspace_grad(plan, g, SKETCH_F32, D, out, work)); CHECK(!memcmp(out, full, sizeof out));
    float *same = floats(N); memcpy(same, t0, N * 4);
    CHECK_OK(sketch_subspace_lift(plan, same, w, same, work)); CHECK(!memcmp(same, theta, N * 4));
    volatile uint64_t above = D + 1;
    CHECK_ST(sketch_subspace_grad(plan, g, SKETCH_F32, above, out, work), SKETCH_E_SIZE); CHECK(out[0] == 0 && out[D - 1] == 0);
    CHECK_ST(sketch_subspace_grad(plan, g, SKETCH_F32, 0, out, work), SKETCH_E_SIZE);
    CHECK_ST(sketch_subspace_grad(NULL, g, SKETCH_F32, 1, out, work), SKETCH_E_ARG);
    CHECK_ST(sketch_subspace_lift(plan, t0, NULL, theta, work), SKETCH_E_ARG);
    CHECK_ST(sketch_subspace_lift(plan, t0, w, theta, NULL), SKETCH_E_ARG);
    free(t0); free(theta); free(g); free(lifted); free(same); sketch_work_destroy(work); sketch_destroy(plan);
}

void test_spectrum(void) {
    rng = 5;
    vectors(); tridiagonal(); known_spectra(); asymmetry(); ghosts(); interrupted(); checkpoint(); hessian(); summary(); arnoldi(); density(); trace(); inverse(); idsearch(); subspace();
}
