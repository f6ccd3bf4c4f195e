/* The helpers for training data attribution, each against a naive reference in f64, with its error paths. */
#include "test.h"
#include <math.h>
#include <float.h>
#include <dirent.h>
#include <unistd.h>

static uint64_t rng;

static float *floats(size_t count) { float *p = malloc((count ? count : 1) * sizeof *p); if (!p) abort(); return p; }
static float *normals(size_t count) {
    float *p = floats(count);
    for (size_t i = 0; i < count; i++) p[i] = (float)test_normal(&rng);
    return p;
}
static float *integers(size_t count, int top) {           /* small integers: dot products are exact in f32 in any order, and tie often */
    float *p = floats(count);
    for (size_t i = 0; i < count; i++) p[i] = (float)((int)(test_u64(&rng) % (uint64_t)(2 * top + 1)) - top);
    return p;
}
static double dot(const float *a, const float *b, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += (double)a[i] * b[i]; return s; }
static double abs_dot(const float *a, const float *b, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += fabs((double)a[i] * b[i]); return s; }

static void plain_loop(void *user, uint32_t ntasks, sketch_task_fn fn, void *arg) {
    if (user) ++*(int *)user;
    for (uint32_t i = ntasks; i-- > 0; ) fn(arg, i);
}

/* ---- top-k ------------------------------------------------------------------------------------- */

static sketch_order sort_order;
static int by_rank(const void *pa, const void *pb) {
    const sketch_hit *a = pa, *b = pb;
    if (a->score != b->score) return (a->score > b->score) == (sort_order == SKETCH_HIGHEST) ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}
static size_t full_sort(sketch_hit *all, size_t n, sketch_order order) {   /* drops NaN, best first */
    size_t m = 0;
    for (size_t i = 0; i < n; i++) if (!isnan(all[i].score)) all[m++] = all[i];
    sort_order = order;
    qsort(all, m, sizeof *all, by_rank);
    return m;
}
static int same_hits(const sketch_hit *a, const sketch_hit *b, size_t n) {
    for (size_t i = 0; i < n; i++) if (a[i].id != b[i].id || !(a[i].score == b[i].score)) return 0;
    return 1;
}
static int empty_hits(const sketch_hit *a, size_t n) {
    for (size_t i = 0; i < n; i++) if (a[i].id != UINT64_MAX || !isnan(a[i].score)) return 0;
    return 1;
}

static void topk(void) {
    static const size_t ks[] = { 1, 2, 3, 4, 5, 7, 8, 16, 31, 100, 1000 }, ns[] = { 0, 1, 2, 3, 5, 8, 13, 64, 200, 1000 };
    test_begin("helpers: top-k heap against a full sort");
    sketch_hit *all = malloc(1000 * sizeof *all), *ref = malloc(1000 * sizeof *ref), heap[1001];
    for (size_t a = 0; a < sizeof ks / sizeof *ks; a++)
        for (size_t b = 0; b < sizeof ns / sizeof *ns; b++)
            for (int kind = 0; kind < 8; kind++) {
                size_t k = ks[a], n = ns[b], count = 0, full = k;
                sketch_order order = kind & 1 ? SKETCH_LOWEST : SKETCH_HIGHEST;
                for (size_t i = 0; i < n; i++) {
                    double s = test_normal(&rng);
                    if (kind & 2) s = floor(2 * s);                        /* many ties */
                    if (kind & 4 && test_u64(&rng) % 5 == 0) s = (double)NAN;
                    if (kind & 4 && test_u64(&rng) % 9 == 0) s = test_u64(&rng) % 2 ? (double)INFINITY : -(double)INFINITY;
                    all[i].id = i * 7919 % 1000003 * 1000000007u; all[i].score = (float)s;
                }
                for (size_t i = n; i > 1; i--) {                           /* any order of pushes */
                    size_t j = test_u64(&rng) % i; sketch_hit h = all[i - 1]; all[i - 1] = all[j]; all[j] = h;
                }
                for (size_t i = 0; i < n; i++) CHECK(sketch_topk_push(heap, k, &count, all[i].id, all[i].score, order) == SKETCH_OK);
                memcpy(ref, all, n * sizeof *ref);
                size_t m = full_sort(ref, n, order);
                CHECK(count == (m < k ? m : k));
                if (count) CHECK(heap[0].score == ref[count - 1].score && heap[0].id == ref[count - 1].id);   /* the worst that is kept */
                CHECK_OK(sketch_topk_sort(heap, count, order));
                CHECK_MSG(same_hits(heap, ref, count), "k %zu, n %zu, kind %d", k, n, kind);
                CHECK_OK(sketch_topk_sort(heap, count, order));            /* sorted again: the same */
                CHECK(same_hits(heap, ref, count));
                /* a heap that starts full of empty hits */
                for (size_t i = 0; i < k; i++) { heap[i].id = UINT64_MAX; heap[i].score = (float)NAN; }
                for (size_t i = 0; i < n; i++) CHECK(sketch_topk_push(heap, k, &full, all[i].id, all[i].score, order) == SKETCH_OK);
                CHECK(full == k);
                CHECK_OK(sketch_topk_sort(heap, k, order));
                CHECK(same_hits(heap, ref, m < k ? m : k) && (m >= k || empty_hits(heap + m, k - m)));
            }
    /* signed zeros tie; equal pairs are all kept */
    size_t count = 0;
    sketch_topk_push(heap, 3, &count, 9, 0.0f, SKETCH_HIGHEST); sketch_topk_push(heap, 3, &count, 4, -0.0f, SKETCH_HIGHEST);
    sketch_topk_push(heap, 3, &count, 4, -0.0f, SKETCH_HIGHEST); sketch_topk_push(heap, 3, &count, 5, 0.0f, SKETCH_HIGHEST);
    sketch_topk_sort(heap, count, SKETCH_HIGHEST);
    CHECK(count == 3 && heap[0].id == 4 && heap[1].id == 4 && heap[2].id == 5);
    /* a sort puts NaN last, whatever its id */
    for (int i = 0; i < 40; i++) { heap[i].id = (uint64_t)i; heap[i].score = i % 3 ? (float)(i * 7 % 40) : (float)NAN; }
    CHECK_OK(sketch_topk_sort(heap, 40, SKETCH_LOWEST));
    for (int i = 0; i < 40; i++) CHECK(i < 26 ? i == 0 || heap[i - 1].score < heap[i].score : isnan(heap[i].score));
    for (int i = 0; i < 3; i++) { heap[i].id = i ? 5 : 4; heap[i].score = 0; }
    /* errors */
    CHECK_ST(sketch_topk_push(NULL, 1, &count, 0, 0, SKETCH_HIGHEST), SKETCH_E_ARG);
    CHECK_ST(sketch_topk_push(heap, 1, NULL, 0, 0, SKETCH_HIGHEST), SKETCH_E_ARG);
    CHECK_ST(sketch_topk_push(heap, 2, &count, 0, 0, SKETCH_HIGHEST), SKETCH_E_ARG);     /* count 3 > k */
    CHECK_ST(sketch_topk_push(heap, 3, &count, 0, 9, (sketch_order)7), SKETCH_E_ARG);
    CHECK(count == 3 && heap[0].id == 4);
    count = 0;
    CHECK_OK(sketch_topk_push(NULL, 0, &count, 1, 1, SKETCH_HIGHEST));
    CHECK(count == 0);
    CHECK_OK(sketch_topk_push(heap, 4, &count, 1, (float)NAN, SKETCH_LOWEST));
    CHECK(count == 0);
    CHECK_OK(sketch_topk_sort(NULL, 0, SKETCH_HIGHEST));
    CHECK_ST(sketch_topk_sort(NULL, 1, SKETCH_HIGHEST), SKETCH_E_ARG);
    CHECK_ST(sketch_topk_sort(heap, 1, (sketch_order)-1), SKETCH_E_ARG);
    free(all); free(ref);
}

/* ---- scores ------------------------------------------------------------------------------------ */

static void scores(void) {
    static const size_t sizes[][3] = { { 1, 1, 1 }, { 1, 300, 5 }, { 3, 257, 64 }, { 8, 256, 100 }, { 9, 513, 33 }, { 40, 7, 1000 }, { 2, 600, 300 } };
    test_begin("helpers: scores and self-influence");
    for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
        size_t nq = sizes[c][0], nt = sizes[c][1], d = sizes[c][2];
        float *q = normals(nq * d), *t = normals(nt * d), *s = floats(nq * nt + 1), *s2 = floats(nq * nt), *self = floats(nt + 1);
        int calls = 0;
        sketch_threads threads = { plain_loop, &calls, 3 };
        memset(q, 0, d * sizeof *q);                                    /* a query and two training rows of zeros */
        memset(t + (nt - 1) * d, 0, d * sizeof *t); memset(t + nt / 2 * d, 0, d * sizeof *t);
        for (int metric = 0; metric < 2; metric++) {
            s[nq * nt] = 77;
            CHECK_OK(sketch_tda_scores(q, nq, t, nt, d, (sketch_metric)metric, s, NULL));
            CHECK(s[nq * nt] == 77);
            for (size_t i = 0; i < nq; i++)
                for (size_t j = 0; j < nt; j++) {
                    double ref = dot(q + i * d, t + j * d, d), tol = (256 + d / 256.0) * 0x1p-24 * abs_dot(q + i * d, t + j * d, d);
                    double norms = sqrt(dot(q + i * d, q + i * d, d)) * sqrt(dot(t + j * d, t + j * d, d));
                    if (metric) { ref = norms > 0 ? ref / norms : 0; tol = norms > 0 ? tol / norms : 0; }
                    CHECK_MSG(fabs(s[i * nt + j] - ref) <= tol + 1e-7 * fabs(ref), "metric %d, %zu %zu of %zu x %zu x %zu: %g, not %g", metric, i, j, nq, nt, d, s[i * nt + j], ref);
                }
            CHECK_OK(sketch_tda_scores(q, nq, t, nt, d, (sketch_metric)metric, s2, &threads));
            CHECK(!memcmp(s, s2, nq * nt * sizeof *s));
        }
        self[nt] = 77;
        CHECK_OK(sketch_tda_self_influence(t, nt, d, self));
        for (size_t j = 0; j < nt; j++) CHECK(fabs(self[j] - dot(t + j * d, t + j * d, d)) <= 1e-7 * self[j]);
        CHECK(self[nt] == 77 && self[nt - 1] == 0);
        free(q); free(t); free(s); free(s2); free(self);
    }
    /* cosine where products leave the range of f32; NaN and Inf stay in their rows */
    enum { D = 40, T = 7 };
    float *q = normals(3 * D), *t = normals(T * D), s[3 * T];
    static const float size[T] = { 1, 1e-30f, 1e25f, 1e-12f, 1, 1, 0 };
    for (int i = 0; i < D; i++) { q[i] *= 1e-20f; q[D + i] *= 1e30f; for (int j = 0; j < T; j++) t[j * D + i] *= size[j]; }
    t[4 * D + 3] = (float)NAN; t[5 * D + 3] = (float)INFINITY;
    CHECK_OK(sketch_tda_scores(q, 3, t, T, D, SKETCH_COSINE, s, NULL));
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < T; j++) {
            double ref = j == 6 ? 0 : dot(q + i * D, t + j * D, D) / sqrt(dot(q + i * D, q + i * D, D)) / sqrt(dot(t + j * D, t + j * D, D));
            if (j == 4 || j == 5) CHECK(isnan(s[i * T + j]));
            else CHECK_MSG(fabs(s[i * T + j] - ref) < 1e-5, "%d %d: %g, not %g", i, j, s[i * T + j], ref);
        }
    /* nothing to do, and errors: scores untouched */
    for (int i = 0; i < 3 * T; i++) s[i] = 5;
    CHECK_OK(sketch_tda_scores(NULL, 0, t, T, D, SKETCH_DOT, s, NULL));
    CHECK_OK(sketch_tda_scores(q, 3, NULL, 0, D, SKETCH_COSINE, s, NULL));
    CHECK_ST(sketch_tda_scores(NULL, 3, t, T, D, SKETCH_DOT, s, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_scores(q, 3, NULL, T, D, SKETCH_DOT, s, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_scores(q, 3, t, T, D, SKETCH_DOT, NULL, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_scores(q, 3, t, T, 0, SKETCH_DOT, s, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_scores(q, 3, t, T, D, (sketch_metric)2, s, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_scores(q, SIZE_MAX / 8, t, 16, D, SKETCH_DOT, s, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_tda_scores(q, (size_t)1 << 31, t, (size_t)1 << 31, 1, SKETCH_DOT, s, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_tda_self_influence(NULL, 1, D, s), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_self_influence(t, 1, D, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_self_influence(t, 1, 0, s), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_self_influence(t, SIZE_MAX / 2, D, s), SKETCH_E_SIZE);
    CHECK_OK(sketch_tda_self_influence(NULL, 0, D, NULL));
    for (int i = 0; i < 3 * T; i++) CHECK(s[i] == 5);
    free(q); free(t);
}

/* ---- top-k over a store ------------------------------------------------------------------------ */

static char store_dir[64];
static void store_remove(void) {
    DIR *dir = opendir(store_dir);
    struct dirent *e;
    char path[512];
    while (dir && (e = readdir(dir))) { snprintf(path, sizeof path, "%s/%.300s", store_dir, e->d_name); unlink(path); }
    if (dir) closedir(dir);
    rmdir(store_dir);
}

typedef struct watch { int calls; uint64_t last, stop_at; int bad; } watch;
static int progress(void *user, uint64_t done, uint64_t total) {
    watch *w = user;
    if (done <= w->last || done > total) w->bad = 1;
    w->calls++; w->last = done;
    return w->stop_at && done >= w->stop_at;
}

static void topk_store(void) {
    enum { D = 48, N = 2700, NQ = 20, KMAX = 3000 };
    static const size_t nqs[] = { 1, 3, 8, 9, NQ }, ks[] = { 1, 5, 64, KMAX };
    test_begin("helpers: top-k over a store");
    strcpy(store_dir, "/tmp/sketch_helpers_XXXXXX");
    if (!mkdtemp(store_dir)) { CHECK(!"mkdtemp"); return; }
    strcat(store_dir, "/index");
    sketch_desc desc = sketch_desc_make(SKETCH_AFFD, 4096, D, 3);
    sketch_plan *plan = NULL;
    sketch_store *store = NULL;
    CHECK_OK(sketch_create(&desc, &plan));
    CHECK_OK(sketch_store_open(store_dir, plan, &store));
    if (!store) { sketch_destroy(plan); return; }
    float *rows = integers(N * D, 3), *q = integers(NQ * D, 3), *all = floats(NQ * N);
    uint64_t ids[N];
    sketch_hit *hits = malloc(NQ * KMAX * sizeof *hits), *ref = malloc(N * sizeof *ref);
    for (size_t i = 0; i < N; i++) ids[i] = (i * 1664525 + 1013904223) % 4294967291u;
    for (int i = 0; i < D; i++) { rows[5 * D + i] = 0; q[D + i] = 0; rows[70 * D + i] = i == 3 ? (float)NAN : 1; }

    hits[0].id = 1;                                                       /* an empty store */
    CHECK_OK(sketch_tda_topk(store, q, 1, D, SKETCH_DOT, SKETCH_HIGHEST, 2, hits, NULL));
    CHECK(empty_hits(hits, 2));

    CHECK_OK(sketch_store_append(store, ids, rows, 1500));                /* three segments: several runs, one of more than a tile */
    CHECK_OK(sketch_store_close(store));
    CHECK_OK(sketch_store_open(store_dir, plan, &store));
    CHECK_OK(sketch_store_append(store, ids + 1500, rows + 1500 * D, 1));
    CHECK_OK(sketch_store_close(store));
    CHECK_OK(sketch_store_open(store_dir, plan, &store));
    CHECK_OK(sketch_store_append(store, ids + 1501, rows + 1501 * D, N - 1501));
    CHECK_OK(sketch_store_commit(store));
    CHECK(sketch_store_count(store) == N);

    for (int metric = 0; metric < 2; metric++) {
        for (size_t i = 0; i < NQ; i++)                                   /* reference: to the bit, as the products are exact */
            for (size_t j = 0; j < N; j++) {
                double x = dot(q + i * D, rows + j * D, D), n = sqrt(dot(q + i * D, q + i * D, D)) * sqrt(dot(rows + j * D, rows + j * D, D));
                all[i * N + j] = (float)(metric ? n == 0 ? 0 : x / n : x);
            }
        for (int order = 0; order < 2; order++)
            for (size_t a = 0; a < sizeof nqs / sizeof *nqs; a++)
                for (size_t b = 0; b < sizeof ks / sizeof *ks; b++) {
                    size_t nq = nqs[a], k = ks[b];
                    watch w = { 0, 0, 0, 0 };
                    sketch_tda_options opt = { { plain_loop, NULL, 2 }, { progress, &w } };
                    if (k == KMAX && nq > 3) continue;
                    CHECK_OK(sketch_tda_topk(store, q, nq, D, (sketch_metric)metric, (sketch_order)order, k, hits, a % 2 ? &opt : NULL));
                    if (a % 2) CHECK(w.calls >= 3 && w.last == N && !w.bad);
                    for (size_t i = 0; i < nq; i++) {
                        for (size_t j = 0; j < N; j++) { ref[j].id = ids[j]; ref[j].score = all[i * N + j]; }
                        size_t m = full_sort(ref, N, (sketch_order)order);
                        CHECK(m == N - 1);                                    /* the NaN row never enters */
                        if (m > k) m = k;
                        CHECK_MSG(same_hits(hits + i * k, ref, m) && empty_hits(hits + i * k + m, k - m), "metric %d, order %d, query %zu of %zu, k %zu", metric, order, i, nq, k);
                    }
                }
    }
    /* stopped: what was found so far, sorted; a store's row order inside is its own, so only membership is checked */
    watch w = { 0, 0, 1, 0 };
    sketch_tda_options opt = { { NULL, NULL, 0 }, { progress, &w } };
    CHECK_ST(sketch_tda_topk(store, q, 1, D, SKETCH_DOT, SKETCH_HIGHEST, KMAX, hits, &opt), SKETCH_E_CALLBACK);
    CHECK(w.calls == 1 && w.last >= 1 && w.last < N);
    size_t found = 0;
    while (found < KMAX && hits[found].id != UINT64_MAX) found++;
    CHECK(found == w.last || found + 1 == w.last);                        /* the NaN row may have been among them */
    CHECK(empty_hits(hits + found, KMAX - found));
    for (size_t i = 0; i + 1 < found; i++) CHECK(hits[i].score > hits[i + 1].score || (hits[i].score == hits[i + 1].score && hits[i].id < hits[i + 1].id));
    /* nothing to do, and errors: hits empty */
    hits[0].id = hits[1].id = 5;
    CHECK_ST(sketch_tda_topk(NULL, q, 1, D, SKETCH_DOT, SKETCH_HIGHEST, 2, hits, NULL), SKETCH_E_ARG);
    CHECK(empty_hits(hits, 2));
    hits[0].id = 5;
    CHECK_ST(sketch_tda_topk(store, q, 1, D + 1, SKETCH_DOT, SKETCH_HIGHEST, 2, hits, NULL), SKETCH_E_SIZE);
    CHECK(empty_hits(hits, 2));
    hits[0].id = 5;
    CHECK_ST(sketch_tda_topk(store, NULL, 1, D, SKETCH_DOT, SKETCH_HIGHEST, 2, hits, NULL), SKETCH_E_ARG);
    CHECK(empty_hits(hits, 2));
    CHECK_ST(sketch_tda_topk(store, q, 1, D, SKETCH_DOT, SKETCH_HIGHEST, 2, NULL, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_topk(store, q, 1, 0, SKETCH_DOT, SKETCH_HIGHEST, 2, hits, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_topk(store, q, 1, D, (sketch_metric)9, SKETCH_HIGHEST, 2, hits, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_topk(store, q, 1, D, SKETCH_DOT, (sketch_order)9, 2, hits, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_topk(store, q, 2, D, SKETCH_DOT, SKETCH_HIGHEST, SIZE_MAX / 4, hits, NULL), SKETCH_E_SIZE);
    CHECK_OK(sketch_tda_topk(store, NULL, 0, D, SKETCH_DOT, SKETCH_HIGHEST, 2, NULL, NULL));
    CHECK_OK(sketch_tda_topk(store, q, 1, D, SKETCH_DOT, SKETCH_HIGHEST, 0, NULL, NULL));
    CHECK_OK(sketch_store_close(store));
    sketch_destroy(plan);
    store_remove();
    *strrchr(store_dir, '/') = 0;
    rmdir(store_dir);
    free(rows); free(q); free(all); free(hits); free(ref);
}

/* ---- whitening --------------------------------------------------------------------------------- */

static void solve(double *a, size_t d, double *b) {        /* Gaussian elimination with partial pivoting; spoils a, b becomes the answer */
    for (size_t c = 0; c < d; c++) {
        size_t p = c;
        for (size_t r = c + 1; r < d; r++) if (fabs(a[r * d + c]) > fabs(a[p * d + c])) p = r;
        for (size_t j = 0; j < d; j++) { double v = a[c * d + j]; a[c * d + j] = a[p * d + j]; a[p * d + j] = v; }
        double v = b[c]; b[c] = b[p]; b[p] = v;
        for (size_t r = c + 1; r < d; r++) {
            double f = a[r * d + c] / a[c * d + c];
            for (size_t j = c; j < d; j++) a[r * d + j] -= f * a[c * d + j];
            b[r] -= f * b[c];
        }
    }
    for (size_t c = d; c-- > 0; ) {
        for (size_t j = c + 1; j < d; j++) b[c] -= a[c * d + j] * b[j];
        b[c] /= a[c * d + c];
    }
}

static void whitening(void) {
    static const size_t ds[] = { 1, 2, 5, 31, 32, 33, 64, 70, 101 };
    test_begin("helpers: Gram, Cholesky and whitening against a direct solve");
    for (size_t c = 0; c < sizeof ds / sizeof *ds; c++) {
        size_t d = ds[c], n = 3 * d + 40, m = d % 4 + 4;             /* m rows to whiten: every remainder mod 4 */
        double *g = calloc(d * d + 1, sizeof *g), *direct = malloc(d * d * sizeof *g), *one = calloc(d * d, sizeof *g), *b = malloc(d * sizeof *b), *scratch = malloc((4 * d + 1) * sizeof *b);
        float *x = normals(n * d), *q = normals(m * d + 1), *w = floats(m * d + 1), *w1 = floats(d);
        double ridge = c % 2 ? 0 : 0.37 * (double)n;
        g[d * d] = 77; scratch[4 * d] = 77; w[m * d] = 77;
        CHECK_OK(sketch_tda_gram(x, n, d, one));
        size_t cut = n / 3;
        CHECK_OK(sketch_tda_gram(x, cut, d, g));                    /* in three calls, one of them empty */
        CHECK_OK(sketch_tda_gram(NULL, 0, d, g));
        CHECK_OK(sketch_tda_gram(x + cut * d, n - cut, d, g));
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j < d; j++) {
                double s = 0, abs = 0;
                for (size_t r = 0; r < n; r++) { s += (double)x[r * d + i] * x[r * d + j]; abs += fabs((double)x[r * d + i] * x[r * d + j]); }
                CHECK_MSG(fabs(g[i * d + j] - s) <= (double)n * 0x1p-52 * abs, "gram %zu %zu of %zu: %.17g, not %.17g", i, j, d, g[i * d + j], s);
                CHECK(fabs(one[i * d + j] - s) <= (double)n * 0x1p-52 * abs);
                CHECK(g[i * d + j] == g[j * d + i]);
            }
        memcpy(one, g, d * d * sizeof *g);
        for (size_t i = 0; i < d; i++) for (size_t j = i + 1; j < d; j++) g[i * d + j] = (double)NAN;    /* not read */
        CHECK_OK(sketch_tda_whiten_factor(g, d, ridge));
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j <= i; j++) {
                double s = 0;
                for (size_t k = 0; k <= j; k++) s += g[i * d + k] * g[j * d + k];
                CHECK(fabs(s - one[i * d + j] - (i == j ? ridge : 0)) <= (double)(d + 4) * 0x1p-52 * sqrt((one[i * d + i] + ridge) * (one[j * d + j] + ridge)));
            }
        memcpy(w, q, m * d * sizeof *w);
        CHECK_OK(sketch_tda_whiten(g, d, w, m, scratch));
        for (size_t r = 0; r < m; r++) {
            double norm = 0, err = 0;
            memcpy(direct, one, d * d * sizeof *g);
            for (size_t i = 0; i < d; i++) { direct[i * d + i] += ridge; b[i] = q[r * d + i]; }
            solve(direct, d, b);
            for (size_t i = 0; i < d; i++) { norm += b[i] * b[i]; err += (w[r * d + i] - b[i]) * (w[r * d + i] - b[i]); }
            CHECK_MSG(sqrt(err) <= 1e-7 * sqrt(norm), "whiten d %zu row %zu: relative error %g", d, r, sqrt(err / norm));
            memcpy(w1, q + r * d, d * sizeof *w1);                  /* one row alone: the same bits */
            CHECK_OK(sketch_tda_whiten(g, d, w1, 1, scratch));
            CHECK(!memcmp(w1, w + r * d, d * sizeof *w1));
        }
        CHECK(g[d * d] == 77 && scratch[4 * d] == 77 && w[m * d] == 77);
        free(g); free(direct); free(one); free(b); free(scratch); free(x); free(q); free(w); free(w1);
    }
    /* not positive definite: fewer rows than columns, or a repeated column, want a ridge */
    enum { D = 50 };
    static double g[D * D], keep[D * D], scratch[4 * D];
    float *x = normals(200 * D), y[D];
    memset(g, 0, sizeof g);
    CHECK_OK(sketch_tda_gram(x, D / 2, D, g));
    memcpy(keep, g, sizeof g);
    CHECK_ST(sketch_tda_whiten_factor(g, D, 0), SKETCH_E_CONVERGE);
    memcpy(g, keep, sizeof g);
    CHECK_OK(sketch_tda_whiten_factor(g, D, 1e-3));
    for (int r = 0; r < 200; r++) x[r * D + 40] = x[r * D + 7];
    for (int i = 0; i < 20; i++) {                                        /* rounding leaves a tiny pivot of either sign */
        memset(g, 0, sizeof g);
        CHECK_OK(sketch_tda_gram(x + i * D, (size_t)(200 - i), D, g));
        memcpy(keep, g, sizeof g);
        CHECK_ST(sketch_tda_whiten_factor(g, D, 0), SKETCH_E_CONVERGE);
    }
    memset(g, 0, sizeof g);
    CHECK_ST(sketch_tda_whiten_factor(g, D, 0), SKETCH_E_CONVERGE);
    g[3 * D + 3] = -5;
    CHECK_ST(sketch_tda_whiten_factor(g, D, 1), SKETCH_E_CONVERGE);
    memcpy(g, keep, sizeof g);
    g[45 * D + 2] = (double)NAN;
    CHECK_ST(sketch_tda_whiten_factor(g, D, 1), SKETCH_E_NONFINITE);
    memcpy(g, keep, sizeof g);
    g[45 * D + 45] = (double)INFINITY;
    CHECK_ST(sketch_tda_whiten_factor(g, D, 1), SKETCH_E_NONFINITE);
    /* arguments: g untouched */
    memcpy(g, keep, sizeof g);
    CHECK_ST(sketch_tda_whiten_factor(g, D, -1e-9), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten_factor(g, D, (double)NAN), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten_factor(g, D, (double)INFINITY), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten_factor(NULL, D, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten_factor(g, 0, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten_factor(g, (size_t)1 << 31, 1), SKETCH_E_SIZE);
    CHECK_ST(sketch_tda_gram(NULL, 1, D, g), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_gram(x, 1, D, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_gram(x, 1, 0, g), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_gram(x, SIZE_MAX / D, D, g), SKETCH_E_SIZE);
    CHECK_ST(sketch_tda_gram(x, 1, (size_t)1 << 31, g), SKETCH_E_SIZE);
    CHECK(!memcmp(g, keep, sizeof g));
    CHECK_OK(sketch_tda_whiten_factor(g, D, 1));
    for (int i = 0; i < D; i++) y[i] = 1;
    CHECK_ST(sketch_tda_whiten(NULL, D, y, 1, scratch), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten(g, D, NULL, 1, scratch), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten(g, D, y, 1, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten(g, 0, y, 1, scratch), SKETCH_E_ARG);
    CHECK_ST(sketch_tda_whiten(g, D, y, SIZE_MAX / D, scratch), SKETCH_E_SIZE);
    CHECK_OK(sketch_tda_whiten(g, D, NULL, 0, NULL));
    g[9 * D + 9] = 0;
    CHECK_ST(sketch_tda_whiten(g, D, y, 1, scratch), SKETCH_E_ARG);
    for (int i = 0; i < D; i++) CHECK(y[i] == 1);
    free(x);
}

/* ---- correlations ------------------------------------------------------------------------------ */

static double ref_pearson(const double *a, const double *b, size_t n) {
    double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
    for (size_t i = 0; i < n; i++) { ma += a[i] / (double)n; mb += b[i] / (double)n; }
    for (size_t i = 0; i < n; i++) { aa += (a[i] - ma) * (a[i] - ma); bb += (b[i] - mb) * (b[i] - mb); ab += (a[i] - ma) * (b[i] - mb); }
    return ab / sqrt(aa * bb);
}
static void ref_ranks(const float *x, double *rank, size_t n) {       /* O(n^2): average rank */
    for (size_t i = 0; i < n; i++) {
        double less = 0, equal = 0;
        for (size_t j = 0; j < n; j++) { less += x[j] < x[i]; equal += x[j] == x[i]; }
        rank[i] = less + (equal + 1) / 2;
    }
}

static void correlations(void) {
    test_begin("helpers: Pearson and Spearman");
    enum { MAX = 400 };
    static const size_t ns[] = { 2, 3, 4, 5, 10, 37, 100, MAX };
    static float a[MAX], b[MAX];
    static double da[MAX], db[MAX];
    static uint64_t scratch[2 * MAX + 1];
    for (size_t c = 0; c < sizeof ns / sizeof *ns; c++)
        for (int kind = 0; kind < 6; kind++) {
            size_t n = ns[c];
            for (size_t i = 0; i < n; i++) {
                double u = test_normal(&rng), v = test_normal(&rng);
                a[i] = (float)(u * (kind == 5 ? 1e30 : 1)); b[i] = (float)((0.3 * kind - 0.5) * u + v);
                if (kind % 3 == 1) { a[i] = floorf(2 * a[i]); b[i] = floorf(b[i]); }       /* ties */
                if (kind % 3 == 2) { a[i] += 1000; b[i] = -b[i] * 1e-20f; }
            }
            a[0] = 17; a[1] = -3; b[0] = 5; b[1] = 6;                   /* not constant */
            for (size_t i = 0; i < n; i++) { da[i] = a[i]; db[i] = b[i]; }
            double r = sketch_pearson(a, b, n), ref = ref_pearson(da, db, n);
            CHECK_MSG(fabs(r - ref) < 1e-9 && fabs(r) <= 1, "pearson n %zu kind %d: %.12g, not %.12g", n, kind, r, ref);
            scratch[2 * n] = 77;
            r = sketch_spearman(a, b, n, scratch);
            CHECK(scratch[2 * n] == 77);
            ref_ranks(a, da, n); ref_ranks(b, db, n);
            ref = ref_pearson(da, db, n);
            CHECK_MSG(fabs(r - ref) < 1e-12 * (double)n && fabs(r) <= 1, "spearman n %zu kind %d: %.12g, not %.12g", n, kind, r, ref);
        }
    for (int i = 0; i < MAX; i++) { a[i] = (float)test_normal(&rng); b[i] = 3 * a[i]; }
    CHECK(fabs(sketch_pearson(a, b, MAX) - 1) < 1e-12);
    for (int i = 0; i < MAX; i++) b[i] = -expf(a[i]);
    CHECK(sketch_spearman(a, b, MAX, scratch) == -1);
    for (int i = 0; i < MAX; i++) b[i] = a[i] * a[i] * a[i];
    CHECK(sketch_spearman(a, b, MAX, scratch) == 1);
    for (int i = 0; i < MAX; i++) a[i] = (float)(MAX - i);                /* sorted and reversed inputs; infinities are values to ranks */
    a[0] = (float)INFINITY; a[MAX - 1] = -(float)INFINITY;
    for (int i = 0; i < MAX; i++) b[i] = (float)i;
    CHECK(sketch_spearman(a, b, MAX, scratch) == -1);
    CHECK(isnan(sketch_pearson(a, b, MAX)));
    /* by hand: ranks 1.5 1.5 3 4 against 1 3 3 3 */
    { const float u[4] = { 2, 2, 5, 9 }, v[4] = { 0, 7, 7, 7 }; CHECK(fabs(sketch_spearman(u, v, 4, scratch) - 2.0 / sqrt(4.5 * 3)) < 1e-15);
      const float p[4] = { 1, 2, 3, 4 }, q[4] = { 1, 3, 2, 4 }; CHECK(fabs(sketch_pearson(p, q, 4) - 0.8) < 1e-15); }
    /* no answer */
    for (int i = 0; i < MAX; i++) { a[i] = 0.1f; b[i] = (float)i; }
    CHECK(isnan(sketch_pearson(a, b, MAX)) && isnan(sketch_pearson(b, a, MAX)));
    CHECK(isnan(sketch_spearman(a, b, MAX, scratch)) && isnan(sketch_spearman(b, a, MAX, scratch)));
    CHECK(isnan(sketch_pearson(b, b, 1)) && isnan(sketch_pearson(b, b, 0)) && isnan(sketch_spearman(b, b, 1, scratch)) && isnan(sketch_spearman(b, b, 0, scratch)));
    CHECK(isnan(sketch_pearson(NULL, b, 5)) && isnan(sketch_pearson(b, NULL, 5)));
    CHECK(isnan(sketch_spearman(NULL, b, 5, scratch)) && isnan(sketch_spearman(b, NULL, 5, scratch)) && isnan(sketch_spearman(b, b, 5, NULL)));
    a[3] = (float)NAN;
    CHECK(isnan(sketch_pearson(a, b, 9)) && isnan(sketch_pearson(b, a, 9)) && isnan(sketch_spearman(a, b, 9, scratch)) && isnan(sketch_spearman(b, a, 9, scratch)));
}

/* ---- the sketch length ------------------------------------------------------------------------- */

static void truncation(void) {
    test_begin("helpers: truncated sketches");
    enum { R = 7, D = 60, S = 64 };
    float *y = normals(R * S), *out = floats(R * D + 1), *ref = floats(R * D);
    for (size_t m = 1; m <= D; m += 7)
        for (size_t stride = 0; stride <= S; stride += S) {
            size_t step = stride ? stride : D;
            out[R * m] = 77;
            CHECK_OK(sketch_truncate(y, R, D, stride, out, m));
            for (size_t i = 0; i < R; i++)
                for (size_t j = 0; j < m; j++) CHECK(fabs(out[i * m + j] - y[i * step + j] * sqrt((double)D / (double)m)) <= 1e-7 * fabs(out[i * m + j]));
            CHECK(out[R * m] == 77);
            memcpy(ref, out, R * m * sizeof *ref);
            float *in_place = floats(R * S);
            memcpy(in_place, y, R * S * sizeof *y);
            CHECK_OK(sketch_truncate(in_place, R, D, stride, in_place, m));
            CHECK(!memcmp(in_place, ref, R * m * sizeof *ref));
            free(in_place);
        }
    CHECK_OK(sketch_truncate(y, 1, D, 0, out, D));
    CHECK(!memcmp(out, y, D * sizeof *y));
    out[0] = 77;
    CHECK_ST(sketch_truncate(NULL, 1, D, 0, out, 3), SKETCH_E_ARG);
    CHECK_ST(sketch_truncate(y, 1, D, 0, NULL, 3), SKETCH_E_ARG);
    CHECK_ST(sketch_truncate(y, 1, 0, 0, out, 3), SKETCH_E_ARG);
    CHECK_ST(sketch_truncate(y, 1, D, 0, out, 0), SKETCH_E_SIZE);
    CHECK_ST(sketch_truncate(y, 1, D, 0, out, D + 1), SKETCH_E_SIZE);
    CHECK_ST(sketch_truncate(y, 1, D, D - 1, out, 3), SKETCH_E_SIZE);
    CHECK_ST(sketch_truncate(y, SIZE_MAX / D, D, 0, out, 3), SKETCH_E_SIZE);
    CHECK_OK(sketch_truncate(NULL, 0, D, 0, NULL, 3));
    CHECK(out[0] == 77);
    free(y); free(out); free(ref);
    /* it is the smaller plan's sketch */
    for (int algo = SKETCH_AFFD; algo <= SKETCH_AFJL; algo++) {
        enum { N = 5000 };
        float *x = normals(N), big[256], small[100], cut[100];
        sketch_desc desc = sketch_desc_make((sketch_algo)algo, N, 256, 11);
        sketch_plan *plan = NULL;
        sketch_work *work = NULL;
        desc.block = 1024;
        CHECK_OK(sketch_create(&desc, &plan)); CHECK_OK(sketch_work_create(plan, 1, &work));
        CHECK_OK(sketch_apply(plan, x, SKETCH_F32, big, work));
        sketch_work_destroy(work); sketch_destroy(plan);
        desc.d = 100;
        CHECK_OK(sketch_create(&desc, &plan)); CHECK_OK(sketch_work_create(plan, 1, &work));
        CHECK_OK(sketch_apply(plan, x, SKETCH_F32, small, work));
        sketch_work_destroy(work); sketch_destroy(plan);
        CHECK_OK(sketch_truncate(big, 1, 256, 0, cut, 100));
        for (int i = 0; i < 100; i++) CHECK_MSG(fabs(cut[i] - small[i]) < 1e-4 * sqrt(N / 100.0), "algorithm %d, coordinate %d: %g, not %g", algo, i, cut[i], small[i]);
        free(x);
    }
}

/* rows[count,n]: common mean + low rank with falling spectrum + noise */
static float *gradients(const float *basis, size_t rank, size_t count, size_t n, double iso) {
    float *g = floats(count * n);
    for (size_t r = 0; r < count; r++) {
        float *x = g + r * n;
        for (size_t i = 0; i < n; i++) x[i] = (float)(iso * test_normal(&rng)) + basis[i];
        for (size_t k = 1; k <= rank; k++) {
            float w = (float)(3 * test_normal(&rng) / sqrt((double)k));
            for (size_t i = 0; i < n; i++) x[i] += w * basis[k * n + i];
        }
    }
    return g;
}
static float *sketched(const float *g, size_t count, size_t n, const float *s, size_t d) {    /* g S^T with S[d,n] */
    float *y = floats(count * d);
    CHECK_OK(sketch_gemm_nt(g, count, s, d, n, y, NULL));
    return y;
}
/* The d with r(d) = target for a dense Gaussian S and these rows, exactly: the error of a pair is g^T (S^T S - I) h, of variance
   (|g|^2 |h|^2 + <g,h>^2)/d; Pearson takes off its mean over pairs, the error of (mean g, mean h). */
static double true_d(const float *g, size_t ng, const float *h, size_t nh, size_t n, double target, double *r_at, size_t d) {
    double gg = 0, hh = 0, s1 = 0, s2 = 0, mgg = 0, mhh = 0;
    for (size_t i = 0; i < ng; i++) gg += dot(g + i * n, g + i * n, n) / (double)ng;
    for (size_t j = 0; j < nh; j++) hh += dot(h + j * n, h + j * n, n) / (double)nh;
    for (size_t i = 0; i < ng; i++)
        for (size_t j = 0; j < nh; j++) { double x = dot(g + i * n, h + j * n, n); s1 += x / (double)(ng * nh); s2 += x * x / (double)(ng * nh); }
    for (size_t k = 0; k < n; k++) {
        double mg = 0, mh = 0;
        for (size_t i = 0; i < ng; i++) mg += g[i * n + k] / (double)ng;
        for (size_t j = 0; j < nh; j++) mh += h[j * n + k] / (double)nh;
        mgg += mg * mg; mhh += mh * mh;
    }
    double ratio = (gg * hh + s2 - mgg * mhh - s1 * s1) / (s2 - s1 * s1);       /* c/V */
    if (r_at) *r_at = sqrt(1 / (1 + ratio / (double)d));
    return ratio * target * target / (1 - target * target);
}

static float *without_rows(const float *x, size_t n, size_t d, size_t lo, size_t hi) {
    float *y = floats(n * d);
    memcpy(y, x, lo * d * sizeof *x);
    memcpy(y + lo * d, x + hi * d, (n - hi) * d * sizeof *x);
    return y;
}
static double jackknife(const double *v, size_t n) {
    double m = 0, s = 0;
    for (size_t i = 0; i < n; i++) m += v[i] / (double)n;
    for (size_t i = 0; i < n; i++) s += (v[i] - m) * (v[i] - m);
    return s * (double)(n - 1) / (double)n;
}

static void advice_formula(void) {
    test_begin("helpers: advise_d against its definition");
    enum { NQ = 16, NT = 37, D = 101, PART = D / 16, RANK = 3, N = 80 };     /* 5 coordinates are left over; groups of 2 or 3 train rows */
    float *basis = normals((RANK + 1) * N), *s = normals(D * N);
    float *g = gradients(basis, RANK, NQ, N, 0.5), *h = gradients(basis, RANK, NT, N, 0.5), *q = sketched(g, NQ, N, s, D), *t = sketched(h, NT, N, s, D);
    sketch_advice adv, one;
    double lf[16], v[3], *p = malloc(16 * NQ * NT * sizeof *p);
    CHECK_OK(sketch_advise_d(q, NQ, t, NT, D, 0.9, &adv));
    /* covariances of the parts' scores, two passes */
    for (int b = 0; b < 16; b++) {
        double mean = 0;
        for (int i = 0; i < NQ; i++) for (int j = 0; j < NT; j++) mean += (p[(b * NQ + i) * NT + j] = dot(q + i * D + b * PART, t + j * D + b * PART, PART)) / (NQ * NT);
        for (int i = 0; i < NQ * NT; i++) p[b * NQ * NT + i] -= mean;
    }
    double cov[16][16];
    for (int a = 0; a < 16; a++) for (int b = 0; b < 16; b++) { cov[a][b] = 0; for (int i = 0; i < NQ * NT; i++) cov[a][b] += p[a * NQ * NT + i] * p[b * NQ * NT + i] / (NQ * NT); }
    for (int without = -1; without < 16; without++) {
        double w = 0, c = 0, k = without < 0 ? 16 : 15;
        for (int a = 0; a < 16; a++) for (int b = 0; b < 16; b++) if (a != without && b != without) { if (a == b) w += cov[a][b] / k; else c += cov[a][b] / (k * (k - 1)); }
        if (without >= 0) { lf[without] = log(1 + 16 * c / (w - c)); continue; }
        CHECK_MSG(fabs(adv.signal / (256 * c) - 1) < 1e-9 && fabs(adv.noise / (16 * (w - c)) - 1) < 1e-9, "signal %g, not %g; noise %g, not %g", adv.signal, 256 * c, adv.noise, 16 * (w - c));
    }
    v[2] = jackknife(lf, 16);
    for (int a = 0; a < NQ; a++) {                                        /* the rows' jackknife: rows really removed */
        float *less = without_rows(q, NQ, D, (size_t)a, (size_t)a + 1);
        CHECK_OK(sketch_advise_d(less, NQ - 1, t, NT, D, 0.9, &one));
        lf[a] = log(1 + one.signal / one.noise);
        free(less);
    }
    v[0] = jackknife(lf, NQ);
    for (size_t a = 0; a < 16; a++) {
        size_t lo = a * NT / 16, hi = (a + 1) * NT / 16;
        float *less = without_rows(t, NT, D, lo, hi);
        CHECK_OK(sketch_advise_d(q, NQ, less, NT - (hi - lo), D, 0.9, &one));
        lf[a] = log(1 + one.signal / one.noise);
        free(less);
    }
    v[1] = jackknife(lf, 16);
    double var = v[0] + v[1] + v[2], dof = 15 * var * var / (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), f = 1 + adv.signal / adv.noise;
    double half = sqrt(var) * (1.95996 + 2.3723 / dof + 2.8225 / (dof * dof) + 2.556 / (dof * dof * dof)), odds = 96 * 0.81 / 0.19;
    CHECK(fabs(adv.d / (odds / (f - 1)) - 1) < 1e-9 && fabs(adv.r_at_d / sqrt(adv.signal / (adv.signal + adv.noise)) - 1) < 1e-9);
    CHECK_MSG(fabs(adv.d_low / (odds / (f * exp(half) - 1)) - 1) < 1e-6, "d_low %g, not %g", adv.d_low, odds / (f * exp(half) - 1));
    CHECK_MSG(fabs(adv.d_high / (odds / (f * exp(-half) - 1)) - 1) < 1e-6, "d_high %g, not %g", adv.d_high, odds / (f * exp(-half) - 1));
    CHECK(fabs(adv.r_low / sqrt(1 - exp(half) / f) - 1) < 1e-6 && fabs(adv.r_high / sqrt(1 - exp(-half) / f) - 1) < 1e-6);
    CHECK(adv.d_low < adv.d && adv.d < adv.d_high && adv.r_low < adv.r_at_d && adv.r_at_d < adv.r_high);
    /* the d with r = r_at_d is the present one; scale changes nothing; the leftover coordinates are not read; same input, same bits */
    CHECK_OK(sketch_advise_d(q, NQ, t, NT, D, adv.r_at_d, &one));
    CHECK(fabs(one.d - 96) < 1e-6);
    for (size_t i = 0; i < NQ * D; i++) q[i] *= 0x1p-40f;
    for (size_t i = 0; i < NT; i++) for (size_t j = 96; j < D; j++) t[i * D + j] = (float)NAN;
    CHECK_OK(sketch_advise_d(q, NQ, t, NT, D, 0.9, &one));
    CHECK(one.d == adv.d && one.d_low == adv.d_low && one.d_high == adv.d_high && one.signal == adv.signal * 0x1p-80 && one.noise == adv.noise * 0x1p-80);
    /* errors: *advice zero */
    static const sketch_advice zero;
#define FAILS(call, st) do { memset(&one, 1, sizeof one); CHECK_ST(call, st); CHECK(!memcmp(&one, &zero, sizeof one)); } while (0)
    FAILS(sketch_advise_d(NULL, NQ, t, NT, D, 0.9, &one), SKETCH_E_ARG);
    FAILS(sketch_advise_d(q, NQ, NULL, NT, D, 0.9, &one), SKETCH_E_ARG);
    FAILS(sketch_advise_d(q, NQ, t, NT, D, 0, &one), SKETCH_E_ARG);
    FAILS(sketch_advise_d(q, NQ, t, NT, D, 1, &one), SKETCH_E_ARG);
    FAILS(sketch_advise_d(q, NQ, t, NT, D, (double)NAN, &one), SKETCH_E_ARG);
    FAILS(sketch_advise_d(q, NQ, t, NT, 31, 0.9, &one), SKETCH_E_SIZE);
    FAILS(sketch_advise_d(q, 0, t, NT, D, 0.9, &one), SKETCH_E_SIZE);
    FAILS(sketch_advise_d(q, NQ, t, 0, D, 0.9, &one), SKETCH_E_SIZE);
    FAILS(sketch_advise_d(q, 3, t, 5, D, 0.9, &one), SKETCH_E_SIZE);
    FAILS(sketch_advise_d(q, 1, t, 15, D, 0.9, &one), SKETCH_E_SIZE);
    FAILS(sketch_advise_d(q, SIZE_MAX / 4, t, NT, D, 0.9, &one), SKETCH_E_SIZE);
    FAILS(sketch_advise_d(q, NQ, t, SIZE_MAX / 4, D, 0.9, &one), SKETCH_E_SIZE);
    CHECK_ST(sketch_advise_d(q, NQ, t, NT, D, 0.9, NULL), SKETCH_E_ARG);
    CHECK_OK(sketch_advise_d(q, 1, t, 16, D, 0.1, &one));
    CHECK_OK(sketch_advise_d(q, 16, t, 1, D, 0.1, &one));
    CHECK_OK(sketch_advise_d(q, 2, t, 8, D, 0.1, &one));
    t[5] = (float)NAN;
    FAILS(sketch_advise_d(q, NQ, t, NT, D, 0.9, &one), SKETCH_E_NONFINITE);
    t[5] = (float)INFINITY;
    FAILS(sketch_advise_d(q, NQ, t, NT, D, 0.9, &one), SKETCH_E_NONFINITE);
    memset(t, 0, NT * D * sizeof *t);                                       /* no variance at all */
    CHECK_ST(sketch_advise_d(q, NQ, t, NT, D, 0.9, &one), SKETCH_E_CONVERGE);
    CHECK(isinf(one.d) && isinf(one.d_high) && one.d_low == 0 && one.signal == 0);
    free(basis); free(s); free(g); free(h); free(q); free(t); free(p);
}

/* Rows and S drawn anew each time; the truth for those rows is known exactly. Seeds are fixed: the outcome is the same everywhere to
   rounding. A larger simulation of the same kind (60 draws for each of 25 settings: 5 populations of gradients
   with n = 2000, nq x nt from 1 x 400 to 256 x 256, d = 128 .. 1024, r(d) = 0.77 .. 0.998): the 95% interval covered the truth for its rows in 92% to 100% of the
   draws, that of the population in 83% to 100% where nq >= 4 (the lowest again, 200 draws and a finer truth: 94.5%), and in 43% to 93% for a single query, whose interval does not speak of others; median
   d/truth 0.97 .. 1.04, d_high/d_low 1.6 .. 2.2 with 16 queries or more. Pearson r over draws of S at the true d for 0.95: 0.950 .. 0.957. */
static void advice_coverage(void) {
    test_begin("helpers: advise_d covers the truth");
    enum { REPS = 60, NQ = 24, NT = 40, D = 96, N = 240, RANK = 6 };
    for (int kind = 0; kind < 2; kind++) {
        double iso = kind ? 6 : 0.5, ratio[REPS];
        int covered = 0, ok = 0, r_covered = 0;
        for (int rep = 0; rep < REPS; rep++) {
            float *basis = normals((RANK + 1) * N), *s = normals(D * N);
            float *g = gradients(basis, RANK, NQ, N, iso), *h = gradients(basis, RANK, NT, N, iso), *q = sketched(g, NQ, N, s, D), *t = sketched(h, NT, N, s, D);
            sketch_advice adv;
            double r_at, truth = true_d(g, NQ, h, NT, N, 0.95, &r_at, D);
            sketch_status st = sketch_advise_d(q, NQ, t, NT, D, 0.95, &adv);
            ok += st == SKETCH_OK;
            covered += adv.d_low <= truth && truth <= adv.d_high;
            r_covered += adv.r_low <= r_at && r_at <= adv.r_high;
            ratio[rep] = log(adv.d / truth);
            free(basis); free(s); free(g); free(h); free(q); free(t);
        }
        for (int i = 0; i < REPS; i++) for (int j = i; j > 0 && ratio[j] < ratio[j - 1]; j--) { double x = ratio[j]; ratio[j] = ratio[j - 1]; ratio[j - 1] = x; }
        CHECK_MSG(ok == REPS, "kind %d: %d of %d found an answer", kind, ok, REPS);
        CHECK_MSG(covered >= REPS * 9 / 10 && covered == r_covered, "kind %d: covered %d (r: %d) of %d", kind, covered, r_covered, REPS);
        CHECK_MSG(fabs(ratio[REPS / 2]) < 0.1, "kind %d: median d/truth %g", kind, exp(ratio[REPS / 2]));
        CHECK_MSG(ratio[REPS - 1] - ratio[0] > 1e-3 && ratio[REPS - 1] - ratio[0] < 2, "kind %d: spread %g", kind, ratio[REPS - 1] - ratio[0]);
    }
    /* nothing to be told: independent rows of noise. Never a confident answer: d_high is infinite but for chance */
    int bounded = 0, none = 0;
    for (int rep = 0; rep < 40; rep++) {
        float *q = normals(NQ * 64), *t = normals(NT * 64);
        sketch_advice adv;
        sketch_status st = sketch_advise_d(q, NQ, t, NT, 64, 0.95, &adv);
        CHECK(st == SKETCH_OK || (st == SKETCH_E_CONVERGE && isinf(adv.d) && isinf(adv.d_high) && adv.r_at_d == 0 && adv.signal <= 0 && adv.noise > 0));
        CHECK(adv.d_low > 64);
        bounded += !isinf(adv.d_high);
        none += st == SKETCH_E_CONVERGE;
        free(q); free(t);
    }
    CHECK_MSG(bounded <= 4 && none >= 8 && none <= 34, "noise: bounded %d, no answer %d of 40", bounded, none);
    /* the operator itself: r predicted at d against r measured, AFFD */
    {
        enum { QN = 40, TN = 60, M = 3000, L = 256 };
        float *basis = normals((RANK + 1) * M), *g = gradients(basis, RANK, QN, M, 3), *h = gradients(basis, RANK, TN, M, 3);
        float *q = floats(QN * L), *t = floats(TN * L), *truth = floats(QN * TN), *got = floats(QN * TN);
        sketch_desc desc = sketch_desc_make(SKETCH_AFFD, M, L, 21);
        sketch_plan *plan = NULL;
        sketch_work *work = NULL;
        sketch_advice adv;
        CHECK_OK(sketch_create(&desc, &plan)); CHECK_OK(sketch_work_create(plan, 1, &work));
        for (int i = 0; i < QN; i++) CHECK_OK(sketch_apply(plan, g + i * M, SKETCH_F32, q + i * L, work));
        for (int i = 0; i < TN; i++) CHECK_OK(sketch_apply(plan, h + i * M, SKETCH_F32, t + i * L, work));
        CHECK_OK(sketch_tda_scores(g, QN, h, TN, M, SKETCH_DOT, truth, NULL));
        CHECK_OK(sketch_tda_scores(q, QN, t, TN, L, SKETCH_DOT, got, NULL));
        double r = sketch_pearson(truth, got, QN * TN);
        CHECK_OK(sketch_advise_d(q, QN, t, TN, L, 0.95, &adv));
        CHECK_MSG(r > adv.r_low - 0.02 && r < adv.r_high + 0.02, "AFFD: r %.4f, predicted %.4f (%.4f .. %.4f)", r, adv.r_at_d, adv.r_low, adv.r_high);
        sketch_work_destroy(work); sketch_destroy(plan);
        free(basis); free(g); free(h); free(q); free(t); free(truth); free(got);
    }
}

void test_helpers(void) {
    rng = 2024;
    topk();
    scores();
    topk_store();
    whitening();
    correlations();
    truncation();
    advice_formula();
    advice_coverage();
}
