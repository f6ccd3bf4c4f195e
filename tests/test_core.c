/* Tests of the operators: plan, accumulate, apply, adjoint, transforms, products. Seeds are fixed, so every run does the same; where a check rests on
   probability, the chance that a correct library with other seeds would fail it is stated. SKETCH_TEST_ISA=scalar|avx2|avx512|simde runs all on that
   code path, and fails if it is not there.  */
#include "test.h"
#include <math.h>
#include <float.h>
#include <pthread.h>

#define U     5.9604644775390625e-8        /* 2^-24 */
#define WHOLE SKETCH_BLOCK_WHOLE
#define LEN(a) (sizeof (a) / sizeof *(a))

/* ---- operators under test ---- */
typedef struct op { const char *name; sketch_algo algo; sketch_precond pre; sketch_diag diag; uint64_t block; uint32_t nnz; sketch_scale scale; int exact; } op;
static const op OPS[] = {       /* exact: a family of additions, the same bits everywhere */
    { "affd",         SKETCH_AFFD,  SKETCH_PRECOND_H, SKETCH_GAUSSIAN,   0,     0, 0, 1 }, { "affd +-1",     SKETCH_AFFD,  SKETCH_PRECOND_H, SKETCH_RADEMACHER, 0,  0, 0, 1 },
    { "affd 64",      SKETCH_AFFD,  SKETCH_PRECOND_H, SKETCH_GAUSSIAN,   64,    0, 0, 1 }, { "affd 1024",    SKETCH_AFFD,  SKETCH_PRECOND_H, SKETCH_GAUSSIAN, 1024, 0, 0, 1 },
    { "affd whole",   SKETCH_AFFD,  SKETCH_PRECOND_H, SKETCH_GAUSSIAN,   WHOLE, 0, 0, 1 }, { "affd unscaled", SKETCH_AFFD, SKETCH_PRECOND_H, SKETCH_GAUSSIAN,   0,  0, SKETCH_SCALE_NONE, 1 },
    { "affd F",       SKETCH_AFFD,  SKETCH_PRECOND_F, SKETCH_GAUSSIAN,   0,     0, 0, 1 }, { "affd F 128",   SKETCH_AFFD,  SKETCH_PRECOND_F, SKETCH_RADEMACHER, 128, 0, 0, 1 },
    { "affd Q",       SKETCH_AFFD,  SKETCH_PRECOND_Q, SKETCH_GAUSSIAN,   0,     0, 0, 0 }, { "affd Q 128",   SKETCH_AFFD,  SKETCH_PRECOND_Q, SKETCH_GAUSSIAN, 128,  0, 0, 0 },
    { "afjl",         SKETCH_AFJL,  SKETCH_PRECOND_H, SKETCH_GAUSSIAN,   0,     0, 0, 1 }, { "afjl +-1", SKETCH_AFJL, SKETCH_PRECOND_H, SKETCH_RADEMACHER, 0, 0, 0, 1 },
    { "afjl 256 +-1", SKETCH_AFJL,  SKETCH_PRECOND_H, SKETCH_RADEMACHER, 256, 0, 0, 1 },
    { "afjl whole",   SKETCH_AFJL,  SKETCH_PRECOND_H, SKETCH_GAUSSIAN,   WHOLE, 0, 0, 1 }, { "afjl F",       SKETCH_AFJL,  SKETCH_PRECOND_F, SKETCH_GAUSSIAN,   0,  0, 0, 1 },
    { "afjl Q",       SKETCH_AFJL,  SKETCH_PRECOND_Q, SKETCH_GAUSSIAN,   0,     0, 0, 0 }, { "afjl unscaled", SKETCH_AFJL, SKETCH_PRECOND_H, SKETCH_GAUSSIAN, 512,  0, SKETCH_SCALE_NONE, 1 },
    { "qk",           SKETCH_QK,    0, 0, 0, 0, 0, 0 },                                    { "qk unscaled",  SKETCH_QK,    0, 0, 0, 0, SKETCH_SCALE_NONE, 0 },
    { "fjl",          SKETCH_FJL,   0, 0, 0, 0, 0, 1 },                                    { "fjl 64 nnz 3", SKETCH_FJL,   0, 0, 64, 3, 0, 1 },
    { "ffd",          SKETCH_FFD,   0, 0, 0, 0, 0, 1 },                                    { "ffd unscaled", SKETCH_FFD,   0, 0, 0, 0, SKETCH_SCALE_NONE, 1 },
    { "dense",        SKETCH_DENSE, 0, SKETCH_GAUSSIAN, 0, 0, 0, 1 },                      { "dense +-1",    SKETCH_DENSE, 0, SKETCH_RADEMACHER, 0, 0, 0, 1 },
    { "sjlt",         SKETCH_SJLT,  0, 0, 0, 0, 0, 1 },                                    { "sjlt nnz 1",   SKETCH_SJLT,  0, 0, 0, 1, 0, 1 },
    { "sjlt unscaled", SKETCH_SJLT, 0, 0, 0, 3, SKETCH_SCALE_NONE, 1 },
    { "srht",         SKETCH_SRHT,  0, 0, 0, 0, 0, 1 },                                    { "srht 128",     SKETCH_SRHT,  0, 0, 128, 0, 0, 1 },
    { "afjl default", SKETCH_AFJL,  0, 0, 0, 0, 0, 1 },
    { "mask",         SKETCH_MASK,  0, 0, 0, 0, 0, 1 },                                    { "mask unscaled", SKETCH_MASK, 0, 0, 0, 0, SKETCH_SCALE_NONE, 1 },
};
#define NOPS LEN(OPS)
#define EACH_OP(o) for (const op *o = OPS; o < OPS + NOPS; o++)

static sketch_isa env_isa;                  /* SKETCH_TEST_ISA, or AUTO */
static sketch_isa isas[4];
static size_t     nisas;

static uint64_t pow2_at_least(uint64_t x) { uint64_t p = 1; while (p < x) p *= 2; return p; }
static sketch_desc desc_of(const op *o, uint64_t n, uint64_t d, uint64_t seed) {     /* sizes that the operator cannot have are moved to the nearest that it can */
    sketch_desc q;
    int sjlt = o->algo == SKETCH_SJLT, free_d = sjlt || o->algo == SKETCH_DENSE || o->algo == SKETCH_FJL;
    if (sjlt && d < o->nnz) d = o->nnz;
    q = sketch_desc_make(o->algo, n, d, seed);
    q.precond = o->pre; q.diag = o->diag; q.nnz = o->nnz; q.scale = o->scale; q.isa = env_isa;
    q.block = o->block && o->block != WHOLE && o->block < d && !free_d ? pow2_at_least(d) : o->block;
    return q;
}
typedef struct ctx { sketch_plan *p; sketch_work *w; sketch_info i; size_t n, d; } ctx;
static int open_ctx(ctx *c, const sketch_desc *q, size_t batch) {
    memset(c, 0, sizeof *c);
    CHECK_OK(sketch_create(q, &c->p));
    if (c->p) CHECK_OK(sketch_work_create(c->p, batch, &c->w));
    c->i = sketch_query(c->p); c->n = (size_t)q->n; c->d = (size_t)q->d;
    return c->w != NULL;
}
static void close_ctx(ctx *c) { sketch_work_destroy(c->w); sketch_destroy(c->p); }
static float *floats(size_t n) { float *p = malloc((n + 1) * sizeof *p); if (!p) abort(); return p; }     /* malloc: valgrind and sanitizers see the end */
static float *random_floats(size_t n, uint64_t seed) { float *p = floats(n); for (size_t i = 0; i < n; i++) p[i] = (float)test_normal(&seed); return p; }
static float *eighths(size_t n, uint64_t seed) { float *p = floats(n); for (size_t i = 0; i < n; i++) p[i] = (float)(int)(test_u64(&seed) >> 58) * 0.125f - 4.0f; return p; }  /* exact in every dtype */
static double norm(const float *x, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += (double)x[i] * x[i]; return sqrt(s); }
static double dot(const float *a, const float *b, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += (double)a[i] * b[i]; return s; }
static double far(const float *a, const float *b, size_t n) { double m = 0; for (size_t i = 0; i < n; i++) { double e = fabs((double)a[i] - b[i]); if (!(e <= m)) m = e; } return m; }
#define SAME(a, b, n, ...) do { if (memcmp((a), (b), (size_t)(n) * sizeof *(a))) { char m_[200]; snprintf(m_, sizeof m_, __VA_ARGS__); \
    CHECK_MSG(0, "bits differ: %s (largest difference %g)", m_, far(a, b, n)); } } while (0)

static void find_isas(void) {
    const char *want = getenv("SKETCH_TEST_ISA");
    nisas = 0;
    for (int i = SKETCH_ISA_SCALAR; i <= SKETCH_ISA_SIMDE; i++) {
        sketch_status st = sketch_selftest((sketch_isa)i);
        int wanted = want && !strcmp(want, sketch_isa_name((sketch_isa)i));
        CHECK_MSG(st == SKETCH_OK || st == SKETCH_E_UNSUPPORTED, "selftest(%s): %s", sketch_isa_name((sketch_isa)i), sketch_status_string(st));
        if (wanted) { CHECK_MSG(st == SKETCH_OK, "SKETCH_TEST_ISA=%s is not available", want); if (st == SKETCH_OK) env_isa = (sketch_isa)i; want = NULL; }
        if (st == SKETCH_OK) isas[nisas++] = (sketch_isa)i;
    }
    CHECK_MSG(!want || !*want || !strcmp(want, "auto"), "SKETCH_TEST_ISA=%s is no code path", want);
    CHECK(nisas >= 1 && isas[0] == SKETCH_ISA_SCALAR);
    CHECK_OK(sketch_selftest(SKETCH_ISA_AUTO));
    CHECK_OK(sketch_selftest(sketch_cpu_isa()));
}

/* ---- parallel_for: a thread for each task; and the calling thread, last task first ---- */
typedef struct job { sketch_task_fn fn; void *arg; uint32_t i; } job;
static void *run_job(void *a) { job *j = a; j->fn(j->arg, j->i); return NULL; }
static unsigned tasks_seen;
static void threads_for(void *user, uint32_t n, sketch_task_fn fn, void *arg) {
    pthread_t t[1024]; job j[1024];
    (void)user;
    if (n > tasks_seen) tasks_seen = n;
    for (uint32_t i = 0; i < n; i++) { j[i] = (job){ fn, arg, i }; if (pthread_create(&t[i], NULL, run_job, &j[i])) abort(); }
    for (uint32_t i = 0; i < n; i++) pthread_join(t[i], NULL);
}
static void reverse_for(void *user, uint32_t n, sketch_task_fn fn, void *arg) { (void)user; while (n--) fn(arg, n); }

/* ---- the manual, section THE OPERATORS, in double: a second implementation, O(n^2) where that is simplest ---- */
static uint32_t W(const sketch_desc *q, uint32_t p, uint32_t s, uint64_t m) {
    uint64_t c64 = 16 * (m / 64) + m % 16;
    uint32_t c[4] = { (uint32_t)c64, (uint32_t)(c64 >> 32), p + 256u * (uint32_t)q->algo, s }, k0 = (uint32_t)q->seed, k1 = (uint32_t)(q->seed >> 32);
    for (int r = 0; r < 10; r++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t e[4] = { (uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a };
        memcpy(c, e, sizeof c);
    }
    return c[m / 16 % 4];
}
enum { SIGN = 1, DIAG, PERM, HAAR, DENSE, HASH, POSITION, SPARSE, SHUFFLE, ROWS };
static double sign_at(const sketch_desc *q, uint32_t p, uint32_t s, uint64_t i) { return W(q, p, s, 16 * (i / 512) + i % 16) >> (31 - i / 16 % 32) & 1 ? -1.0 : 1.0; }
static double normal_of(uint32_t h) {
    static const float c[4][16] = {
        { 4.39245367f, 4.13832664f, 4.00774288f, 3.85783362f, 3.69466472f, 3.52041769f, 3.33583832f, 3.14140105f, 2.93582845f, 2.71771622f, 2.48512006f, 2.23552132f, 1.96604919f, 1.6761589f, 0, 4.08064795f },
        { -0.307956308f, -0.113701038f, -0.0619516112f, -0.0330104791f, -0.017467754f, -0.00922926608f, -0.00487807533f, -0.00259738136f, -0.00139265705f, -0.000753789383f, -0.000413175847f, -0.00023037981f, -0.000131614026f, -7.839083e-05f, 0, 0 },
        { 0.0451988131f, 0.00962058362f, 0.00259371451f, 0.000685015752f, 0.000180072937f, 4.72874199e-05f, 1.23594873e-05f, 3.26699751e-06f, 8.67752874e-07f, 2.31869976e-07f, 6.23806571e-08f, 1.689253e-08f, 4.59350735e-09f, 1.2728928e-09f, 0, 0 },
        { 0, -0.00037572594f, -4.93310581e-05f, -6.42187206e-06f, -8.37721757e-07f, -1.0950891e-07f, -1.41719134e-08f, -1.86926319e-09f, -2.47822318e-10f, -3.30610504e-11f, -4.44413733e-12f, -6.03386969e-13f, -8.37714907e-14f, -1.3475346e-14f, 0, 0 } };
    uint32_t m = h & 32767u, e = 0;
    while (m >> (e + 1)) e++;
    e = m ? (e + 15) % 16 : 0;
    float f = (float)m;
    double r = rint(4096 * (double)fmaf(fmaf(fmaf(c[3][e], f, c[2][e]), f, c[1][e]), f, c[0][e])) / 4096;
    return h & 32768u ? -r : r;
}
static double normal_at(const sketch_desc *q, uint32_t p, uint32_t s, uint64_t i) {
    uint32_t w = W(q, p, s, 16 * (i / 32) + i % 16);
    return normal_of(i / 16 % 2 ? w >> 16 : w & 65535u);
}
static double octet_at(const sketch_desc *q, uint64_t c, uint64_t k) {
    uint32_t w = W(q, DIAG, 0, 64 * (c / 16) + 16 * (k % 4) + c % 16);
    return normal_of(k < 4 ? w & 65535u : w >> 16);
}
/* G_b's entry j */
static double diagonal(const sketch_desc *q, const sketch_info *in, uint64_t b, uint64_t j) {
    uint64_t L = in->block, m = L < 8 ? 1 : L / 8, t = L < 1024 ? L : 1024, row = j / t;
    if (in->diag == SKETCH_RADEMACHER) return sign_at(q, DIAG, 0, b * L + j);
    if (q->algo == SKETCH_AFFD) return octet_at(q, b * m + j % m, j / m);
    return octet_at(q, (b * (L < 8192 ? 1 : L / 8192) + row / 8) * t + j % t, row % 8);
}
static void perm_of(const sketch_desc *q, uint32_t p, uint32_t s, uint64_t m0, size_t b, uint32_t *a) {
    for (size_t j = 0; j < b; j++) a[j] = (uint32_t)j;
    for (size_t j = b - 1; j > 0; j--) { uint32_t r = (uint32_t)((uint64_t)W(q, p, s, m0 + j) * (j + 1) >> 32), t = a[j]; a[j] = a[r]; a[r] = t; }
}
static void had(double *x, size_t n) {                       /* H, textbook */
    for (size_t h = 1; h < n; h *= 2)
        for (size_t i = 0; i < n; i++) if (!(i & h)) { double a = x[i], b = x[i + h]; x[i] = a + b; x[i + h] = a - b; }
    for (size_t i = 0; i < n; i++) x[i] /= sqrt((double)n);
}
static void haar(const sketch_desc *q, uint32_t s, size_t r, size_t b, double *a) {
    double *t = malloc(b * b * sizeof *t), det = 1;
    for (size_t i = 0; i < r * b; i++) a[i] = normal_at(q, HAAR, s, i);
    for (size_t i = 0; i < r; i++) {
        double v = 0;
        for (size_t j = 0, pass = 0; pass < 2; j + 1 < i ? j++ : (j = 0, pass++)) if (i) {
            double c = 0;
            for (size_t k = 0; k < b; k++) c += a[i * b + k] * a[j * b + k];
            for (size_t k = 0; k < b; k++) a[i * b + k] -= c * a[j * b + k];
        }
        for (size_t k = 0; k < b; k++) v += a[i * b + k] * a[i * b + k];
        for (size_t k = 0; k < b; k++) a[i * b + k] /= sqrt(v);
    }
    if (r == b) {
        memcpy(t, a, b * b * sizeof *t);
        for (size_t i = 0; i < b; i++) {
            size_t best = i;
            for (size_t j = i; j < b; j++) if (fabs(t[j * b + i]) > fabs(t[best * b + i])) best = j;
            if (best != i) { det = -det; for (size_t k = 0; k < b; k++) { double z = t[i * b + k]; t[i * b + k] = t[best * b + k]; t[best * b + k] = z; } }
            det *= t[i * b + i];
            for (size_t j = i + 1; j < b; j++) for (size_t k = b; k-- > i;) t[j * b + k] -= t[j * b + i] / t[i * b + i] * t[i * b + k];
        }
        if (det < 0) for (size_t k = 0; k < b; k++) a[(r - 1) * b + k] *= -1;
    }
    free(t);
}
typedef struct kron { size_t nf, b[8], r[8]; double *m[8]; } kron;      /* leading factor first */
static void kron_apply(const kron *k, double *x) {           /* in place: room for the largest stage in x */
    size_t outer = 1, inner = 1, f, o, i, j, l;
    for (f = 0; f < k->nf; f++) inner *= k->b[f];
    for (f = 0; f < k->nf; f++) {
        double *t = calloc(outer * k->r[f] * inner + 1, sizeof *t);
        inner /= k->b[f];
        for (o = 0; o < outer; o++) for (i = 0; i < k->r[f]; i++) for (j = 0; j < k->b[f]; j++) for (l = 0; l < inner; l++)
            t[(o * k->r[f] + i) * inner + l] += k->m[f][i * k->b[f] + j] * x[(o * k->b[f] + j) * inner + l];
        outer *= k->r[f];
        memcpy(x, t, outer * inner * sizeof *t);
        free(t);
    }
}
static void kron_free(kron *k) { for (size_t f = 0; f < k->nf; f++) free(k->m[f]); }
static kron precond_of(const sketch_desc *q, const sketch_info *in, int second) {
    kron k = { 0 };
    uint32_t l2 = 0, parts;
    while (((uint64_t)1 << l2) < in->block) l2++;
    if (q->precond == SKETCH_PRECOND_H) return k;
    parts = q->precond == SKETCH_PRECOND_F ? (l2 + 9) / 10 : (l2 + 7) / 8;
    k.nf = parts ? parts : 1;
    for (size_t f = 0; f < k.nf; f++) {
        size_t b = q->precond == SKETCH_PRECOND_F ? (f ? 1024 : (size_t)1 << (l2 - 10 * (k.nf - 1))) : (size_t)1 << (l2 / k.nf + (f >= k.nf - l2 % k.nf));
        double *m = k.m[f] = malloc(b * b * sizeof *m), a = 6.283185307179586 / (double)b;
        k.b[f] = k.r[f] = b;
        if (q->precond == SKETCH_PRECOND_Q) haar(q, (uint32_t)(f + 16 * (size_t)second), b, b, m);
        else for (size_t i = 0; i < b; i++) for (size_t j = 0; j < b; j++) m[i * b + j] = (cos(a * (double)(i * j % b)) + sin(a * (double)(i * j % b))) / sqrt((double)b);
    }
    return k;
}
static void reference(const sketch_desc *q, const sketch_info *in, const float *x, double *y) {      /* y[d] = S x[n] */
    size_t n = (size_t)q->n, d = (size_t)q->d, L = (size_t)in->block, b, j, r, len = (size_t)in->n_padded + L + d, nfac = 1;
    double *u = calloc(len, sizeof *u), *v = calloc(len, sizeof *v), scale = q->scale == SKETCH_SCALE_NONE ? 1.0 : in->scale;
    uint32_t *a = malloc((L + 8 * 1024) * sizeof *a), s = in->nnz, k;
    kron t1 = precond_of(q, in, 0), t2 = precond_of(q, in, 1);
    memset(y, 0, d * sizeof *y);
    for (size_t z = L; z > 1024; z /= 1024) nfac++;
    if (q->algo == SKETCH_SJLT) {
        for (j = 0; j < n; j++) for (k = 0; k < s; k++) {
            uint32_t w = W(q, HASH, k, j);
            uint64_t lo = k * d / s, hi = (k + 1) * d / s;
            y[lo + ((w >> 1) * (hi - lo) >> 31)] += (w & 1 ? -1.0 : 1.0) * x[j] * scale;
        }
    } else if (q->algo == SKETCH_MASK) {
        for (r = 0; r < d; r++) {
            size_t lo = r * n / d, m = (r + 1) * n / d - lo;
            if (m) y[r] = scale * sqrt((double)m * (double)d / (double)n) * x[lo + ((uint64_t)W(q, ROWS, 0, r) * m >> 32)];
        }
    } else if (q->algo == SKETCH_DENSE) {
        for (j = 0; j < n; j++) for (r = 0; r < d; r++)
            y[r] += scale * x[j] * (in->diag == SKETCH_RADEMACHER ? sign_at : normal_at)(q, DENSE, (uint32_t)(r / 512), 512 * j + r % 512);
    } else if (q->algo == SKETCH_QK) {
        kron m = { .nf = in->nfactors };
        for (size_t f = 0; f < m.nf; f++) {
            m.b[f] = (size_t)in->factor_in[f]; m.r[f] = (size_t)in->factor_out[f];
            m.m[f] = malloc(m.b[f] * m.r[f] * sizeof(double)); haar(q, (uint32_t)f, m.r[f], m.b[f], m.m[f]);
        }
        for (j = 0; j < n; j++) u[j] = x[j];
        kron_apply(&m, u);
        for (r = 0; r < d; r++) y[r] = scale * u[r];
        kron_free(&m);
    } else for (b = 0; b * L < n; b++) {
        for (j = 0; j < L; j++) u[j] = b * L + j < n ? x[b * L + j] : 0.0;
        if (q->algo == SKETCH_FFD) {
            had(u, L);
            perm_of(q, SHUFFLE, 0, b * L, L, a);
            for (j = 0; j < L; j++) v[a[j]] = u[j] * normal_at(q, DIAG, 0, b * L + j);
            had(v, L);
            for (r = 0; r < d; r++) y[r] += scale * v[r] * sign_at(q, SIGN, 0, b * L + r);
            continue;
        }
        if (q->precond != SKETCH_PRECOND_Q) for (j = 0; j < L; j++) u[j] *= sign_at(q, SIGN, 0, b * L + j);
        if (t1.nf) kron_apply(&t1, u); else had(u, L);
        if (q->algo == SKETCH_SRHT) {
            for (j = 0; j < L; j++) a[j] = (uint32_t)j;
            for (r = 0; r < d; r++) {
                size_t o = r + ((uint64_t)W(q, ROWS, 0, b * L + r) * (L - r) >> 32);
                uint32_t t = a[r]; a[r] = a[o]; a[o] = t;
                y[r] += scale * u[a[r]];
            }
        } else if (q->algo == SKETCH_FJL) {
            for (r = 0; r < d; r++) for (k = 0; k < s; k++) {
                uint64_t m = (b * d + r) * s + k;
                y[r] += scale * normal_at(q, SPARSE, 0, m) * u[(uint64_t)W(q, POSITION, 0, m) * L >> 32];
            }
        } else {
            double affd = q->algo == SKETCH_AFFD;
            for (size_t f = 0; f < nfac; f++) perm_of(q, PERM, (uint32_t)f, 0, f + 1 < nfac ? 1024 : L >> 10 * f, a + 1024 * f);
            for (j = 0; j < L; j++) {
                size_t pi = 0, f, at;
                for (f = 0; f < nfac; f++) pi += (size_t)a[1024 * f + (j >> 10 * f) % 1024] << 10 * f;
                at = affd ? pi : j - j % 1024 + a[j % 1024];
                v[j] = u[pi] * diagonal(q, in, b, at);
            }
            if (affd) { if (t2.nf) kron_apply(&t2, v); else had(v, L); }
            for (r = 0; r < d; r++) y[r] += scale * v[r];
        }
    }
    kron_free(&t1); kron_free(&t2);
    free(u); free(v); free(a);
}

/* ---- groups ---- */
static void wht_groups(void) {
    uint64_t seed = 1;
    test_begin("core: WHT against popcount signs, 2^0 .. 2^12; batch, strides, scale, threads");
    for (size_t k = 0; k <= 12; k++) {
        size_t n = (size_t)1 << k, stride = n + 5;
        float *x = random_floats(n, 7 + k), *y = floats(n), *rows = floats(3 * stride), *again = floats(3 * stride);
        double tol = (double)(k + 1) * U * norm(x, n), worst = 0;
        memcpy(y, x, n * sizeof *x);
        CHECK_OK(sketch_wht_f32(y, n, 1.0f));
        for (size_t i = 0; i < n; i++) {
            double s = 0;
            for (size_t j = 0; j < n; j++) s += __builtin_parityll(i & j) ? -(double)x[j] : (double)x[j];
            if (!(fabs(s - y[i]) <= worst)) worst = fabs(s - y[i]);
        }
        CHECK_MSG(worst <= tol, "n = 2^%zu: error %g > %g", k, worst, tol);
        for (size_t i = 0; i < 3 * stride; i++) rows[i] = i % stride < n ? x[i % stride] * (float)(1 << i / stride) : 777.0f;
        for (int t = 0; t < 4; t++) {
            sketch_threads th = { t == 3 ? reverse_for : threads_for, NULL, (uint32_t[]){ 1, 2, 7, 3 }[t] };
            memcpy(again, rows, 3 * stride * sizeof *rows);
            CHECK_OK(sketch_wht_batch_f32(again, 3, n, stride, 0.375f, t ? &th : NULL));
            for (size_t i = 0; i < 3 * stride; i++) {
                volatile float want = i % stride < n ? y[i % stride] * (float)(1 << i / stride) : 0;       /* powers of two: exact */
                want = want * 0.375f;
                if (again[i] != (i % stride < n ? want : 777.0f)) { CHECK_MSG(0, "batch: n = 2^%zu, row %zu, %zu", k, i / stride, i % stride); break; }
            }
        }
        free(x); free(y); free(rows); free(again);
    }
    test_begin("core: WHT against recursion on integers (exact), 2^13 .. 2^22, and its inverse");
    for (size_t k = 13; k <= 22; k++) {
        size_t n = (size_t)1 << k;
        float *x = floats(n), *y = floats(n);
        double *z = malloc(n * sizeof *z), r = sqrt((double)n);
        for (size_t i = 0; i < n; i++) x[i] = y[i] = (float)((int)(test_u64(&seed) >> 60) - 7), z[i] = x[i];
        had(z, n);
        CHECK_OK(sketch_wht_f32(y, n, 1.0f));
        for (size_t i = 0; i < n; i++) if (fabs(y[i] - z[i] * r) > 0.01) { CHECK_MSG(0, "n = 2^%zu: y[%zu] = %g, not %g", k, i, y[i], z[i] * r); break; }
        CHECK_OK(sketch_wht_batch_f32(y, 1, n, 0, (float)(1.0 / (double)n), NULL));
        SAME(x, y, n, "H H = n at 2^%zu", k);
        free(x); free(y); free(z);
    }
    test_begin("core: WHT of one long vector on 1, 2, 7, 9 threads: the same bits, 2^17 .. 2^24");
    for (size_t k = 17; k <= 24; k += k == 20 ? 4 : 1) {
        size_t n = (size_t)1 << k;
        float *x = random_floats(n, 70 + k), *y = floats(n);
        double before = norm(x, n), after;
        memcpy(y, x, n * sizeof *x);
        CHECK_OK(sketch_wht_f32(x, n, 0.3f));
        for (int t = 0; t < 4; t++) {
            sketch_threads th = { t == 2 ? reverse_for : threads_for, NULL, (uint32_t[]){ 2, 7, 9, 9 }[t] };      /* 9: by strips of 64 rows */
            float *room = floats(n + 32), *again = room + (16 - (uintptr_t)room / 4 % 16) + t % 2;      /* on a cache line, where large ones are streamed; off it */
            memcpy(again, y, n * sizeof *y);
            CHECK_OK(sketch_wht_batch_f32(again, 1, n, 0, 0.3f, &th));
            SAME(x, again, n, "2^%zu, width %u", k, th.width);
            free(room);
        }
        after = norm(x, n) / sqrt((double)n);
        CHECK_MSG(fabs(after / before - 0.3f) < 1e-5, "2^%zu: norm %g of %g", k, after, before);
        free(x); free(y);
    }
}

static int too_dear(const op *o, size_t n) {      /* plans with Haar factors cost n^2 and more to make: fewer n of those up to 300 */
    if (n <= 40 || n > 300) return 0;
    return o->pre == SKETCH_PRECOND_Q ? n > 130 ? n % 43 != 0 : n % 16 != 0 : o->algo == SKETCH_QK && n % 7 != 0;
}
static size_t pick_d(size_t n) { size_t top = n % 2 ? 70 : (size_t)pow2_at_least(n); top = top > 70 ? 70 : top; return 1 + n * 29 % top; }      /* often more than n */

static void reference_group(void) {
    static const size_t more[][2] = { { 600, 520 }, { 2500, 1500 }, { 5003, 700 }, { 9000, 1100 }, { 70000, 40 } };
    test_begin("core: all operators against a second implementation of the manual, n = 1 .. 300 and more");
    EACH_OP(o) for (size_t n = 1; n <= 300 + LEN(more); n++) {
        size_t nn = n <= 300 ? n : more[n - 301][0], dd = n <= 300 ? pick_d(n) : more[n - 301][1], step = o->algo == SKETCH_FJL || o->pre ? 7 : 3;
        sketch_desc q; ctx c;
        if (n > 40 && n <= 300 && n % step && (n & (n - 1)) && ((n - 1) & (n - 2))) continue;
        if (too_dear(o, n)) continue;
        if (nn > 5000 && (o->pre == SKETCH_PRECOND_F) && o->block == 0 && nn != 9000) continue;
        if (nn == 70000 && o->pre) continue;
        if (nn > 3000 && (o->algo == SKETCH_DENSE || o->algo == SKETCH_FJL)) { if (nn == 70000) continue; dd = 60; }
        q = desc_of(o, nn, dd, 1000 + n);
        if (o->pre == SKETCH_PRECOND_F && nn > 5000 && !q.block) q.block = 4096;
        if (open_ctx(&c, &q, 1)) {
            float *x = random_floats(c.n, n), *y = floats(c.d);
            double *z = malloc(c.d * sizeof *z), worst = 0, tol;
            CHECK_OK(sketch_apply(c.p, x, SKETCH_F32, y, c.w));
            reference(&q, &c.i, x, z);
            for (size_t r = 0; r < c.d; r++) if (!(fabs(y[r] - z[r]) <= worst)) worst = fabs(y[r] - z[r]);
            tol = 16 * U * norm(x, c.n) * (q.scale == SKETCH_SCALE_NONE ? 1 : c.i.scale) * (o->algo == SKETCH_DENSE || o->algo == SKETCH_SJLT ? 8 : o->algo == SKETCH_FJL ? sqrt(c.i.nnz) + 1 : 1);
            CHECK_MSG(worst <= tol, "%s, n = %zu, d = %zu: error %g > %g", o->name, c.n, c.d, worst, tol);
            free(x); free(y); free(z);
        }
        close_ctx(&c);
    }
}

static void matrix_group(void) {
    test_begin("core: S x and S^T y against the matrix S e_i in double, n = 1 .. 300");
    EACH_OP(o) for (size_t n = 1; n <= 300; n++) {
        sketch_desc q = desc_of(o, n, pick_d(n), 5); ctx c;
        if (too_dear(o, n) || (n > 70 && n % 3 && (n & (n - 1)) && (n & (n + 1)))) continue;
        if (open_ctx(&c, &q, n)) {
            float *e = calloc(n * n, sizeof *e), *m = floats(n * c.d), *x = random_floats(n, n), *y = floats(c.d), *v = random_floats(c.d, n + 1), *t = floats(n);
            double row = 0, col = 0, worst = 0, worst_t = 0;
            for (size_t i = 0; i < n; i++) e[i * n + i] = 1.0f;
            CHECK_OK(sketch_apply_batch(c.p, e, SKETCH_F32, n, 0, m, 0, c.w));                 /* m[i,:] = S e_i */
            CHECK_OK(sketch_apply(c.p, x, SKETCH_F32, y, c.w));
            CHECK_OK(sketch_apply_t(c.p, v, t, SKETCH_F32, c.w));
            for (size_t r = 0; r < c.d; r++) {
                double s = 0, s2 = 0;
                for (size_t i = 0; i < n; i++) s += (double)m[i * c.d + r] * x[i], s2 += (double)m[i * c.d + r] * m[i * c.d + r];
                if (!(fabs(s - y[r]) <= worst)) worst = fabs(s - y[r]);
                if (s2 > row) row = s2;
            }
            for (size_t i = 0; i < n; i++) {
                double s = fabs(dot(m + i * c.d, v, c.d) - t[i]), w = norm(m + i * c.d, c.d);
                if (!(s <= worst_t)) worst_t = s;
                if (w > col) col = w;
            }
            row = sqrt(row);
            if (row < c.i.scale && o->scale == 0) row = c.i.scale;
            if (col < row) col = row;
            CHECK_MSG(worst <= 16 * U * row * norm(x, n), "%s, n = %zu, d = %zu: S x off by %g", o->name, n, c.d, worst / (row * norm(x, n)));
            CHECK_MSG(worst_t <= 16 * U * col * norm(v, c.d), "%s, n = %zu, d = %zu: S^T y off by %g", o->name, n, c.d, worst_t / (col * norm(v, c.d)));
            free(e); free(m); free(x); free(y); free(v); free(t);
        }
        close_ctx(&c);
    }
}

static void isa_group(void) {
    static char name[200];
    static const size_t large[][2] = { { 1000, 257 }, { 4097, 1030 }, { 40000, 2050 }, { 150001, 130 } };
    snprintf(name, sizeof name, "core: same bits on every code path, S and S^T, n = 1 .. 300 and large (ran:");
    for (size_t i = 0; i < nisas; i++) { strcat(name, " "); strcat(name, sketch_isa_name(isas[i])); }
    strcat(name, ")");
    test_begin(name);
    find_isas();
    EACH_OP(o) for (size_t k = 1; k <= 300 + LEN(large); k++) {
        size_t n = k <= 300 ? k : large[k - 301][0], nb = 3;
        sketch_desc q = desc_of(o, n, k <= 300 ? pick_d(n) : large[k - 301][1], 77 + k);
        float *x, *y0, *y, *t0, *t, *one, *m = NULL;
        size_t d = (size_t)q.d;
        if (too_dear(o, n)) continue;
        x = random_floats(nb * n > d ? nb * n : d, k); y0 = floats(nb * d); y = floats(nb * d); one = floats(d); t0 = floats(n); t = floats(n);
        for (size_t i = 0; i < nisas; i++) {
            ctx c;
            q.isa = isas[i];
            if (!open_ctx(&c, &q, nb)) continue;
            CHECK(c.i.isa == isas[i]);
            CHECK_OK(sketch_apply_batch(c.p, x, SKETCH_F32, nb, 0, i ? y : y0, 0, c.w));
            CHECK_OK(sketch_apply_t(c.p, x, i ? t : t0, SKETCH_F32, c.w));
            CHECK_OK(sketch_apply(c.p, x, SKETCH_F32, one, c.w));                                   /* AFFD: the normals as floats, in a batch as 16-bit numbers */
            if (o->exact) SAME(i ? y : y0, one, d, "%s, n = %zu, d = %zu, %s: one at a time", o->name, n, d, sketch_isa_name(isas[i]));
            if (!i && !o->exact && n <= 300) {                                                    /* |S|, for the bound that the manual states */
                float *e = calloc(n * n, sizeof *e);
                for (size_t j = 0; j < n; j++) e[j * n + j] = 1.0f;
                m = floats(n * d);
                CHECK_OK(sketch_apply_batch(c.p, e, SKETCH_F32, n, 0, m, 0, c.w));
                free(e);
            }
            if (i && o->exact) { SAME(y0, y, nb * d, "%s, n = %zu, d = %zu, %s", o->name, n, d, sketch_isa_name(isas[i]));
                                 SAME(t0, t, n, "%s^T, n = %zu, d = %zu, %s", o->name, n, d, sketch_isa_name(isas[i])); }
            else if (i) {
                double kk = 0, s = o->scale ? 1 : c.i.scale;
                for (size_t f = 0; f < c.i.nfactors; f++) kk += (double)c.i.factor_in[f] * (o->algo == SKETCH_AFFD ? 2 : 1);
                CHECK_MSG(far(y0, y, d) <= 4 * kk * U * s * norm(x, n), "%s, n = %zu, %s: %g", o->name, n, sketch_isa_name(isas[i]), far(y0, y, d));
                CHECK_MSG(far(t0, t, n) <= 4 * kk * U * s * norm(x, d), "%s^T, n = %zu, %s: %g", o->name, n, sketch_isa_name(isas[i]), far(t0, t, n));
                if (m) for (size_t r = 0; r < d; r++) {
                    double b = 0;
                    for (size_t j = 0; j < n; j++) b += fabs((double)m[j * d + r] * x[j]);
                    if (!(fabs((double)y0[r] - y[r]) <= 4 * kk * U * b)) { CHECK_MSG(0, "%s, n = %zu, row %zu, %s: over the elementwise bound, %g > %g", o->name, n, r, sketch_isa_name(isas[i]), fabs((double)y0[r] - y[r]), 4 * kk * U * b); break; }
                }
            }
            close_ctx(&c);
        }
        free(x); free(y0); free(y); free(t0); free(t); free(m); free(one);
    }
}

static uint16_t f16_of(float f) {       /* nearest even, in double, by scaling to the last place */
    double a = fabs((double)f), ulp;
    int e, sign = signbit(f) ? 0x8000 : 0;
    if (a != a) return 0x7e00;
    if (a == 0) return (uint16_t)sign;
    frexp(a, &e);
    if (e < -13) e = -13;
    ulp = ldexp(1.0, e - 11);
    a = nearbyint(a / ulp) * ulp;
    if (a >= 65520.0) return (uint16_t)(sign | 0x7c00);
    if (a < ldexp(1.0, -14)) return (uint16_t)(sign | (int)(a * 16777216.0));
    frexp(a, &e);
    return (uint16_t)(sign | (e + 14) << 10 | ((int)(ldexp(a, 11 - e)) & 1023));
}
static uint16_t bf16_of(float f) {
    double a = fabs((double)f), ulp;
    int e;
    float g; uint32_t u;
    if (a != a) return 0x7fc0;
    frexp(a, &e);
    if (e < -125) e = -125;
    ulp = ldexp(1.0, e - 8);
    g = (float)(nearbyint(a / ulp) * ulp);                   /* (float) of 2^128: Inf */
    memcpy(&u, &g, 4);
    return (uint16_t)(u >> 16 | (signbit(f) ? 0x8000u : 0));
}
static float f16_to(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    double a = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    if (e == 31) return m ? NAN : h >> 15 ? -INFINITY : INFINITY;
    return (float)(h >> 15 ? -a : a);
}
static float bf16_to(uint16_t h) { uint32_t u = (uint32_t)h << 16; float f; memcpy(&f, &u, 4); return f; }
static void convert(void *out, size_t i, float v, sketch_dtype t) {
    if (t == SKETCH_F32) ((float *)out)[i] = v; else if (t == SKETCH_F64) ((double *)out)[i] = v;
    else ((uint16_t *)out)[i] = t == SKETCH_F16 ? f16_of(v) : bf16_of(v);
}

/* sizes with several chunks for each operator */
static void many_blocks(const op *o, sketch_desc *q, uint64_t seed) {
    int big = o->algo == SKETCH_DENSE || o->algo == SKETCH_SJLT || o->algo == SKETCH_MASK;
    *q = desc_of(o, big ? 20 * 32768 + 17 : o->algo == SKETCH_QK ? 30000 : 64 * 150 + 17, o->algo == SKETCH_DENSE ? 5 : 50, seed);
    if (!o->block && !o->pre && o->diag == SKETCH_GAUSSIAN && o->algo == SKETCH_AFFD) q->n = 17 * 32768 + 77;                                        /* the default block's one-pass form */
    else if (!o->block && !o->pre && o->diag == SKETCH_GAUSSIAN && o->algo == SKETCH_AFJL) { q->n = 35 * 8192 + 77; q->d = 2100; q->block = 8192; }  /* signed sums of rows, no transform of length L */
    else if (!big && o->algo != SKETCH_QK && o->algo != SKETCH_FFD && o->block != WHOLE) q->block = o->block == 1024 ? 256 : 64;
}

static void cuts_group(void) {
    test_begin("core: apply = batch = tensors = stream = shards to the bit; accum at any cut to rounding");
    EACH_OP(o) {
        uint64_t seed = 99;
        sketch_desc q; ctx c; float *x, *y0, *y, *ys, *part; double tol;
        size_t n, d, i, at;
        many_blocks(o, &q, 3);
        if (!open_ctx(&c, &q, 3)) { close_ctx(&c); continue; }
        n = c.n; d = c.d;
        CHECK_MSG(o->block == WHOLE || c.i.nchunks > 1, "%s: the test wants several chunks", o->name);
        x = eighths(3 * (n + 3), 4); y0 = floats(3 * d); y = floats(3 * (d + 4)); part = floats(d);
        for (i = 0; i < 3; i++) CHECK_OK(sketch_apply(c.p, x + i * (n + 3), SKETCH_F32, y0 + i * d, c.w));
        tol = 64 * U * (o->scale ? 1 : c.i.scale) * norm(x, n);
        if (o->algo == SKETCH_FJL || o->algo == SKETCH_DENSE) tol *= 8;
        for (i = 0; i < 3 * (d + 4); i++) y[i] = 555.0f;
        CHECK_OK(sketch_apply_batch(c.p, x, SKETCH_F32, 3, n + 3, y, d + 4, c.w));
        for (i = 0; i < 3; i++) { SAME(y0 + i * d, y + i * (d + 4), d, "%s: batch, row %zu", o->name, i); CHECK(y[i * (d + 4) + d] == 555.0f && y[i * (d + 4) + d + 3] == 555.0f); }
        /* tensors of mixed dtypes and strides, some empty; two samples */
        for (int rep = 0; rep < 3; rep++) {
            sketch_tensor t[64]; void *mem[64];
            size_t nt = 0;
            for (at = 0; at < n; nt++) {
                size_t len = test_u64(&seed) % (nt % 3 ? 70 : n / 2) + (nt % 5 != 4), v, s;
                if (nt == 63 || len > n - at) len = n - at;
                t[nt].dtype = (sketch_dtype)(test_u64(&seed) % 4); t[nt].count = len; t[nt].stride = rep == 1 ? 0 : len + nt % 3;
                mem[nt] = malloc((2 * len + 8) * 8); t[nt].data = len ? mem[nt] : NULL;
                for (s = 0; s < 2; s++) for (v = 0; v < len; v++) convert(mem[nt], s * (t[nt].stride ? t[nt].stride : len) + v, x[s * (n + 3) + at + v], t[nt].dtype);
                at += len;
            }
            CHECK_OK(sketch_apply_tensors(c.p, t, nt, 2, y, 0, c.w));
            SAME(y0, y, 2 * d, "%s: %zu tensors", o->name, nt);
            for (i = 0; i < nt; i++) free(mem[i]);
        }
        /* stream */
        for (int rep = 0; rep < 3; rep++) {
            CHECK_OK(sketch_stream_begin(c.w, y));
            for (at = 0; at < n;) {
                size_t len = test_u64(&seed) % (size_t[]){ 40, c.i.granule < 3000 ? 3000 : 100000, 2 * n }[rep];
                if (n > 100000 && rep == 0) len = len * 500 + len;
                if (len > n - at) len = n - at;
                CHECK_OK(sketch_stream_push(c.w, x + at, SKETCH_F32, len));
                at += len;
            }
            CHECK_OK(sketch_stream_end(c.w));
            SAME(y0, y, d, "%s: stream %d", o->name, rep);
        }
        /* shards */
        {
            uint32_t worlds[] = { 1, 2, 4, 8, 16, 32, 64, 3, 7, 100, 1000 };
            ys = floats(1000 * d);
            for (size_t w = 0; w < LEN(worlds); w++) {
                uint32_t world = worlds[w], r;
                uint64_t next = 0, empty = 0;
                memset(ys, 0, world * d * sizeof *ys);
                for (r = 0; r < world; r++) {
                    uint64_t off, count;
                    sketch_tensor t = { NULL, 0, 0, SKETCH_F32 };
                    CHECK_OK(sketch_shard(c.p, r, world, &off, &count));
                    CHECK(off == next && (off % c.i.granule == 0 || (off == n && count == 0)));
                    CHECK(count <= (c.i.nblocks / world + 1) * c.i.granule);
                    next = off + count; empty += count == 0;
                    t.data = count ? x + off : NULL; t.count = count;
                    CHECK_OK(sketch_accum(c.p, &t, off, 1, ys + r * d, 0, c.w));
                }
                CHECK(next == n && (world <= c.i.nblocks ? !empty : empty == world - c.i.nblocks));
                CHECK_OK(sketch_shard_reduce(c.p, ys, world, y));
                if (world <= c.i.nchunks && !(world & (world - 1))) SAME(y0, y, d, "%s: %u shards", o->name, world);
                CHECK_MSG(far(y0, y, d) <= tol, "%s: %u shards off by %g", o->name, world, far(y0, y, d));
            }
            free(ys);
        }
        /* accum at unaligned and at aligned cuts, onto what is there; rounding: 64 u scale |x| */
        for (int aligned = 0; aligned < 2; aligned++) {
            for (i = 0; i < d; i++) part[i] = 3.0f;
            for (at = 0; at < n;) {
                size_t len = aligned ? c.i.granule * (1 + test_u64(&seed) % 9) : 1 + test_u64(&seed) % (n / 3);
                sketch_tensor t;
                if (len > n - at) len = n - at;
                t = (sketch_tensor){ x + at, len, 0, SKETCH_F32 };
                CHECK_OK(sketch_accum(c.p, &t, at, 1, part, 0, c.w));
                at += len;
            }
            for (i = 0; i < d; i++) part[i] -= 3.0f;
            CHECK_MSG(far(y0, part, d) <= tol + 64 * U * 3, "%s: accum off by %g", o->name, far(y0, part, d));
        }
        free(x); free(y0); free(y); free(part);
        close_ctx(&c);
    }
}

static void adjoint_group(void) {
    static const size_t sizes[][2] = { { 1, 1 }, { 2, 1 }, { 3, 2 }, { 37, 11 }, { 300, 64 }, { 1000, 1000 }, { 4099, 130 }, { 40000, 2500 }, { 70001, 513 } };
    test_begin("core: <S x, y> = <x, S^T y>; apply_t_range is its slice, with alpha, beta, odd offsets, every dtype");
    EACH_OP(o) for (size_t k = 0; k < LEN(sizes); k++) {
        sketch_desc q = desc_of(o, sizes[k][0], sizes[k][1], k); ctx c;
        uint64_t seed = k;
        if (sizes[k][0] > 20000 && o->algo == SKETCH_DENSE) q.d = 70;
        if (open_ctx(&c, &q, 1)) {
            size_t n = c.n, d = c.d;
            float *x = random_floats(n, 8), *v = random_floats(d, 9), *y = floats(d), *t = floats(n);
            double gap;
            CHECK_OK(sketch_apply(c.p, x, SKETCH_F32, y, c.w));
            CHECK_OK(sketch_apply_t(c.p, v, t, SKETCH_F32, c.w));
            gap = fabs(dot(y, v, d) - dot(x, t, n));
            CHECK_MSG(gap <= 16 * U * (norm(y, d) * norm(v, d) + norm(x, n) * norm(t, n)), "%s, n = %zu, d = %zu: %g", o->name, n, d, gap);
            for (int rep = 0; rep < 8; rep++) {
                sketch_dtype dt = (sketch_dtype)(rep % 4);
                float alpha = rep < 2 ? 1.0f : -1.7f, beta = rep % 3 ? 0.3f : 0.0f;
                size_t off = rep == 0 ? 0 : test_u64(&seed) % n, cnt = rep == 0 ? n : test_u64(&seed) % (n - off + 1);
                float *old = random_floats(cnt, 5);
                void *out = malloc((cnt + 2) * 8);
                for (size_t i = 0; i < cnt; i++) { convert(out, i, beta == 0 ? NAN : old[i], dt == SKETCH_F32 || dt == SKETCH_F64 || beta != 0 ? dt : SKETCH_F32 + dt);
                    old[i] = dt == SKETCH_F16 ? f16_to(f16_of(old[i])) : dt == SKETCH_BF16 ? bf16_to(bf16_of(old[i])) : old[i]; }
                CHECK_OK(sketch_apply_t_range(c.p, v, off, cnt, alpha, beta, out, dt, c.w));
                for (size_t i = 0; i < cnt; i++) {
                    volatile float a = alpha * t[off + i], b = beta * old[i], want = beta == 0 ? a : b + a;      /* volatile: never fused */
                    unsigned char w[8], *g = (unsigned char *)out;
                    size_t es = dt == SKETCH_F64 ? 8 : dt == SKETCH_F32 ? 4 : 2;
                    convert(w, 0, want, dt);
                    if (memcmp(w, g + i * es, es) && want != 0) { CHECK_MSG(0, "%s: t_range n = %zu, offset %zu + %zu, dtype %d, alpha %g, beta %g", o->name, n, off, i, (int)dt, alpha, beta); break; }
                }
                free(old); free(out);
            }
            free(x); free(v); free(y); free(t);
        }
        close_ctx(&c);
    }
}

/* AFFD's adjoint writes long vectors past the caches where x lies on a cache line: the bits of every other way to write it. Two blocks of a long n, and what is around them is left alone. */
static void long_adjoint_group(void) {
    enum { D = 300, C = 2 * 32768, ROOM = C + 64 };
    test_begin("core: AFFD^T of a long vector: streamed, off a cache line, in f64: the same bits, nothing around them");
    for (size_t s = 0; s < nisas; s++) for (uint32_t keep = 0; keep < 3; keep++) {
        sketch_desc q = sketch_desc_make(SKETCH_AFFD, ((size_t)1 << 23) + 9, D, 3); ctx c;
        q.isa = isas[s]; q.keep_random = keep % 2; q.diag = keep == 2 ? SKETCH_RADEMACHER : SKETCH_GAUSSIAN;
        if (open_ctx(&c, &q, 1)) {
            float *v = random_floats(D, 4), *room = floats(ROOM + 16), *line = room + (64 - (uintptr_t)room % 64) % 64 / 4;
            double *want = malloc(C * sizeof *want);
            if (!want) abort();
            CHECK_OK(sketch_apply_t_range(c.p, v, 5 * 32768, C, 1, 0, want, SKETCH_F64, c.w));
            for (size_t off = 0; off <= 17; off += off < 2 ? 1 : 3) {
                size_t bad = 0;
                for (size_t i = 0; i < ROOM; i++) line[i] = 77;
                CHECK_OK(sketch_apply_t_range(c.p, v, 5 * 32768, C, 1, 0, line + off, SKETCH_F32, c.w));
                for (size_t i = 0; i < ROOM; i++) bad += i < off || i >= off + C ? line[i] != 77 : (double)line[i] != want[i - off];
                CHECK_MSG(!bad, "%s, way %u: %zu of %zu differ, %zu floats past a cache line", sketch_isa_name(isas[s]), keep, bad, (size_t)ROOM, off);
            }
            free(v); free(room); free(want);
        }
        close_ctx(&c);
    }
}

/* SPEC 4, reduced: n = 2^13, d = 2^8, 200 seeds. Dense theory: |S x|^2/|x|^2 has spread sqrt(2/d) = 0.0884, known from 200 draws to 5%; the bounds below
   are theory (or, above it, a calibrated value) + 25%: 5 sigma each, about 1e-6 for a wrong alarm. Means: 1 within 5 spread/sqrt(200). */
static void spread_group(void) {
    enum { N = 1 << 13, D = 1 << 8, SEEDS = 200, X = 6 };
    static const char *xs[X] = { "Gaussian", "one coordinate", "e_i + e_j", "Walsh row", "power law", "outer product" };
    static const struct { const char *name; sketch_algo algo; sketch_diag diag; uint64_t block; float lo[X], hi[X]; } row[] = {
        { "dense",      SKETCH_DENSE, SKETCH_GAUSSIAN, 0,    { .06f, .06f, .06f, .06f, .06f, .06f }, { .11f, .11f, .11f, .11f, .11f, .11f } },
        { "dense +-1",  SKETCH_DENSE, SKETCH_RADEMACHER, 0,    { .06f, 0,    .06f, .06f, .06f, .06f }, { .11f, 1e-6f, .11f, .11f, .11f, .11f } },
        { "affd",       SKETCH_AFFD,  SKETCH_GAUSSIAN, 0,    { .06f, .06f, .06f, .06f, .06f, .06f }, { .12f, .12f, .12f, .20f, .20f, .14f } },
        { "affd 2^10",  SKETCH_AFFD,  SKETCH_GAUSSIAN, 1024, { .06f, .06f, .06f, .06f, .06f, .06f }, { .12f, .15f, .15f, .22f, .20f, .14f } },
        { "affd +-1",   SKETCH_AFFD,  SKETCH_RADEMACHER, 0,    { .05f, .05f, .05f, .05f, .05f, .05f }, { .12f, .12f, .12f, .20f, .20f, .14f } },
        { "afjl",       SKETCH_AFJL,  SKETCH_GAUSSIAN, 1<<13,{ .06f, .06f, .8f,  .06f, .06f, .06f }, { .22f, .12f, 1.4f, .22f, .22f, .30f } },
        { "qk",         SKETCH_QK,    0, 0,    { .05f, .3f,  .3f,  .3f,  .3f,  .1f  }, { .12f, 1.8f, 1.8f, 1.8f, 1.8f, .6f  } },
        { "ffd",        SKETCH_FFD,   0, 0,    { .05f, .05f, .05f, .20f, .05f, .05f }, { .13f, .13f, .13f, 3.0f, .25f, .16f } },
        { "sjlt",       SKETCH_SJLT,  0, 0,    { .06f, 0,    .0f,  .06f, .03f, .06f }, { .11f, 1e-6f, .14f, .11f, .11f, .11f } },
        { "srht",       SKETCH_SRHT,  0, 0,    { .05f, .0f,  .03f, .05f, .05f, .05f }, { .11f, 1e-4f, .11f, .20f, .20f, .14f } },
        { "afjl +-1",   SKETCH_AFJL,  0, 1<<13,{ .06f, 0,    .8f,  .06f, .03f, .06f }, { .12f, 1e-4f, 1.4f, .20f, .20f, .20f } },
    };
    float *x = calloc(X * N, sizeof *x), y[X * D];
    uint64_t s = 4;
    double g[64], h[128];
    test_begin("core: E|Sx|^2 = |x|^2 and its spread on six kinds of x, ten operators");
    for (size_t i = 0; i < 64; i++) g[i] = test_normal(&s);
    for (size_t i = 0; i < 128; i++) h[i] = test_normal(&s);
    for (size_t i = 0; i < N; i++) {
        x[i] = (float)test_normal(&s);
        x[3 * N + i] = __builtin_parityll(i & 37) ? -1.0f : 1.0f;
        x[4 * N + i] = (float)(1.0 / (double)(i + 1));
        x[5 * N + i] = (float)(g[i / 128] * h[i % 128]);
    }
    x[N + 1234] = 1.0f; x[2 * N + 77] = x[2 * N + 77 + 5 * 1024] = 1.0f;
    for (size_t k = 0; k < LEN(row); k++) {
        double m[X] = { 0 }, v[X] = { 0 };
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            sketch_desc q = sketch_desc_make(row[k].algo, N, D, seed * 1000003 + 17); ctx c;
            q.diag = row[k].diag; q.block = row[k].block; q.isa = env_isa;
            if (open_ctx(&c, &q, X)) CHECK_OK(sketch_apply_batch(c.p, x, SKETCH_F32, X, 0, y, 0, c.w));
            for (size_t a = 0; a < X; a++) { double e = pow(norm(y + a * D, D) / norm(x + a * N, N), 2); m[a] += e / SEEDS; v[a] += e * e / SEEDS; }
            close_ctx(&c);
        }
        for (size_t a = 0; a < X; a++) {
            double sd = sqrt(fmax(0, v[a] - m[a] * m[a]));
            if (getenv("SKETCH_TEST_VERBOSE")) printf("  %-10s %-14s mean %.4f spread %.4f\n", row[k].name, xs[a], m[a], sd);
            CHECK_MSG(fabs(m[a] - 1) <= 5 * sd / sqrt(SEEDS) + 1e-5, "%s, %s: mean %g", row[k].name, xs[a], m[a]);
            CHECK_MSG(sd >= row[k].lo[a] && sd <= row[k].hi[a], "%s, %s: spread %g not in %g..%g", row[k].name, xs[a], sd, row[k].lo[a], row[k].hi[a]);
        }
    }
    test_begin("core: Fastfood fails on a Walsh row (Theorem 3.1), AFFD and SRHT do not, one block of 256");
    for (int k = 0; k < 3; k++) {      /* FFD: |S x|^2/|x|^2 is g^2, spread sqrt 2; 400 draws: over 1.0 but for 1e-4. Others: sums of 256 nearly independent terms */
        double m = 0, v = 0;
        for (uint64_t seed = 0; seed < 400; seed++) {
            sketch_desc q = sketch_desc_make((sketch_algo[]){ SKETCH_FFD, SKETCH_AFFD, SKETCH_SRHT }[k], 256, 256, seed); ctx c;
            q.isa = env_isa;
            if (open_ctx(&c, &q, 1)) { double e; CHECK_OK(sketch_apply(c.p, x + 3 * N, SKETCH_F32, y, c.w)); e = pow(norm(y, 256), 2) / 256; m += e / 400; v += e * e / 400; }
            close_ctx(&c);
        }
        v = sqrt(fmax(0, v - m * m));
        CHECK_MSG(fabs(m - 1) <= 5 * v / 20 + 1e-4, "%d: mean %g", k, m);
        CHECK_MSG(k ? v < 0.2 : v > 1.0, "%d: spread %g", k, v);
    }
    free(x);
}

static void nesting_group(void) {
    test_begin("core: AFFD and AFJL nest: the first d' of d, times sqrt(d/d'), are the sketch at d'");
    EACH_OP(o) if (o->algo == SKETCH_AFFD || o->algo == SKETCH_AFJL) {
        enum { N = 9001, D = 3000 };
        static const size_t small[] = { 1, 7, 64, 1000, 1024, 1025, 2048, 2999 };
        float *x = random_floats(N, 2), y[D], z[D];
        sketch_desc q = desc_of(o, N, D, 12); ctx c;
        q.block = o->block == WHOLE ? WHOLE : 4096;
        if (open_ctx(&c, &q, 1)) CHECK_OK(sketch_apply(c.p, x, SKETCH_F32, y, c.w));
        close_ctx(&c);
        for (size_t k = 0; k < LEN(small); k++) {
            double f = o->scale ? 1 : sqrt((double)D / (double)small[k]), worst = 0;
            q.d = small[k];
            if (open_ctx(&c, &q, 1)) CHECK_OK(sketch_apply(c.p, x, SKETCH_F32, z, c.w));
            for (size_t i = 0; i < small[k]; i++) worst = fmax(worst, fabs(z[i] - f * y[i]));
            CHECK_MSG(worst <= 16 * U * (o->scale ? 1 : c.i.scale) * norm(x, N), "%s, d' = %zu: %g", o->name, small[k], worst);
            close_ctx(&c);
        }
        free(x);
    }
}

/* few kept rows are signed sums of the block's rows, many come out of the whole transform: the same operator. A block alone and followed by others, in a batch, with other types. */
static void kept_rows_group(void) {
    static const struct { size_t block, n, d, small[3]; } c[] = {
        { 8192, 3 * 8192 + 5, 8192, { 4096, 1025, 1 } },        { 16384, 2 * 16384, 16384, { 8192, 3000, 1024 } },
        { 1 << 17, 2 * 131072 + 9, 1 << 17, { 65536, 8192, 700 } }, { 1 << 18, 1 << 18, 65 * 1024 + 65536, { 65536, 9000, 1024 } },
    };
    test_begin("core: AFJL by signed sums of rows and by the whole transform");
    for (size_t k = 0; k < LEN(c); k++) {
        size_t n = c[k].n, D = c[k].d;
        float *x = random_floats(2 * n, 2), *y = floats(D), *z = floats(2 * D), *back = floats(n);
        sketch_desc q = sketch_desc_make(SKETCH_AFJL, n, D, 12); ctx e;
        q.block = c[k].block; q.isa = env_isa;
        if (open_ctx(&e, &q, 1)) CHECK_OK(sketch_apply(e.p, x, SKETCH_F32, y, e.w));
        close_ctx(&e);
        for (size_t i = 0; i < 3; i++) {
            size_t d = c[k].small[i];
            double f = sqrt((double)D / (double)d), worst = 0, a = 0, b = 0;
            q.d = d;
            if (open_ctx(&e, &q, 2)) {
                CHECK_OK(sketch_apply(e.p, x, SKETCH_F32, z, e.w));
                for (size_t j = 0; j < d; j++) worst = fmax(worst, fabs(z[j] - f * y[j]));
                CHECK_MSG(worst <= 16 * U * e.i.scale * norm(x, n), "block %zu, d %zu of %zu: %g", (size_t)c[k].block, d, D, worst);
                CHECK_OK(sketch_apply_t(e.p, z, back, SKETCH_F32, e.w));                   /* <S x, S x> = <x, S^T S x> */
                for (size_t j = 0; j < d; j++) a += (double)z[j] * z[j];
                for (size_t j = 0; j < n; j++) b += (double)x[j] * back[j];
                CHECK_MSG(fabs(a - b) <= 1e-4 * a, "block %zu, d %zu: adjoint, %g and %g", (size_t)c[k].block, d, a, b);
                memcpy(y, z, d * sizeof *y);
                CHECK_OK(sketch_apply_batch(e.p, x, SKETCH_F32, 2, 0, z, 0, e.w));
                SAME(y, z, d, "block %zu, d %zu: batch", (size_t)c[k].block, d);
            }
            close_ctx(&e);
            q.d = D;
            if (open_ctx(&e, &q, 1)) CHECK_OK(sketch_apply(e.p, x, SKETCH_F32, y, e.w));
            close_ctx(&e);
        }
        free(x); free(y); free(z); free(back);
    }
}

/* CountSketch of 51 coordinates without a collision: y holds every x_i, and x = S^T y every y, exactly, up to a known sign. So conversions are seen alone. */
enum { TN = 51, TD = 4096 };
static int transparent(ctx *c, sketch_isa isa, int check, size_t row[TN], float sign[TN]) {
    static float y[TN * TD], e[TN * TN];
    for (uint64_t seed = 0; seed < 100; seed++) {
        sketch_desc q = sketch_desc_make(SKETCH_SJLT, TN, TD, seed);
        char used[TD] = { 0 };
        int ok = 1;
        q.nnz = 1; q.isa = isa; q.check_finite = (uint32_t)check;
        if (!open_ctx(c, &q, 1)) return 0;
        memset(e, 0, sizeof e);
        for (size_t i = 0; i < TN; i++) e[i * TN + i] = 1.0f;
        CHECK_OK(sketch_apply_batch(c->p, e, SKETCH_F32, TN, 0, y, 0, c->w));
        for (size_t i = 0; i < TN; i++) {
            for (row[i] = 0; row[i] < TD - 1 && y[i * TD + row[i]] == 0; row[i]++) ;
            sign[i] = y[i * TD + row[i]];
            ok &= fabsf(sign[i]) == 1.0f && !used[row[i]];
            used[row[i]] = 1;
        }
        if (ok) return 1;
        close_ctx(c);
    }
    CHECK(!"a seed without collisions");
    return 0;
}
/* whole blocks of half types go piece by piece: the bits of the same numbers in f32 */
static void pieces_group(void) {
    static const struct { sketch_algo algo; size_t n, d; } big[] = { { SKETCH_AFFD, 5 * 32768 + 9, 700 }, { SKETCH_AFJL, 2 * 131072 + 9, 3000 }, { SKETCH_AFJL, 2 * 131072 + 9, 9000 }, { SKETCH_QK, 1 << 21, 512 }, { SKETCH_SJLT, 5 * 32768 + 9, 300 } };
    test_begin("core: half types piece by piece, over many pieces: the bits of f32");
    for (size_t k = 0; k < LEN(big); k++) {
        sketch_desc q = sketch_desc_make(big[k].algo, big[k].n, big[k].d, 5);
        ctx c;
        uint16_t *h = malloc(2 * big[k].n * sizeof *h);
        float *x = floats(2 * big[k].n), *y = floats(2 * big[k].d), *z = floats(2 * big[k].d);
        q.isa = env_isa;
        if (!h) abort();
        for (size_t i = 0; i < 2 * big[k].n; i++) { h[i] = (uint16_t)(0x3f00u + (i * 2654435761u >> 13) % 512u + (i * 40503u >> 7) % 2u * 0x8000u); x[i] = bf16_to(h[i]); }
        if (open_ctx(&c, &q, 2)) {
            CHECK_OK(sketch_apply_batch(c.p, x, SKETCH_F32, 2, 0, y, 0, c.w));
            CHECK_OK(sketch_apply_batch(c.p, h, SKETCH_BF16, 2, 0, z, 0, c.w));
            SAME(y, z, 2 * big[k].d, "algo %d", (int)q.algo);
        }
        close_ctx(&c);
        free(h); free(x); free(y); free(z);
    }
}
/* QK's and SJLT's kernels read any type where it lies: the bits of f32, with rows and columns that no tile divides, whole blocks or none, types mixed, samples apart;
   one, two and three vectors of QK's trailing rows; f32 itself against the scalar path */
static void any_type_group(void) {
    static const struct { sketch_algo algo; size_t n, d; uint32_t nnz; } at[] = {
        { SKETCH_QK, 23 * 23 * 23, 700, 0 }, { SKETCH_QK, 35 * 35 * 35, 900, 0 }, { SKETCH_QK, 37 * 37 * 37, 50, 0 }, { SKETCH_QK, 64 * 64 * 64, 4096, 0 }, { SKETCH_QK, 64 * 66 * 64, 2000, 0 },
        { SKETCH_QK, 35 * 35 * 35, 6000, 0 }, { SKETCH_QK, 37 * 37 * 37, 40000, 0 },
        { SKETCH_SJLT, 2 * 32768, 4096, 1 }, { SKETCH_SJLT, 32768 + 131, 300, 1 }, { SKETCH_SJLT, 65536 + 3, 77, 3 }, { SKETCH_SJLT, 1000, 9, 2 }, { SKETCH_SJLT, 8, 3, 1 } };
    static char name[200];
    snprintf(name, sizeof name, "core: QK and SJLT read every type where it lies: the bits of f32 (ran:");
    for (size_t i = 0; i < nisas; i++) { strcat(name, " "); strcat(name, sketch_isa_name(isas[i])); }
    strcat(name, ")");
    test_begin(name);
    for (size_t k = 0; k < LEN(at); k++) {
        static const sketch_dtype types[4] = { SKETCH_F32, SKETCH_BF16, SKETCH_F16, SKETCH_F64 };
        size_t n = at[k].n, d = at[k].d, apart = n + 5;
        float *x = floats(2 * apart), *y = floats(2 * d), *z = floats(2 * d), *first = floats(2 * d);
        void *other[4] = { x, malloc(2 * apart * 2), malloc(2 * apart * 2), malloc(2 * apart * 8) };
        if (!other[1] || !other[2] || !other[3]) abort();
        for (size_t i = 0; i < 2 * apart; i++) {
            x[i] = (float)((int)((i * 2654435761u >> 11) % 255u) - 127) / 8;
            for (int t = 1; t < 4; t++) convert(other[t], i, x[i], types[t]);
        }
        for (size_t s = 0; s < nisas; s++) {
            sketch_desc q = sketch_desc_make(at[k].algo, n, d, 5 + k);
            ctx c;
            q.isa = isas[s]; q.nnz = at[k].nnz;
            if (open_ctx(&c, &q, 2)) {
                sketch_tensor list[6];
                CHECK_OK(sketch_apply_batch(c.p, x, SKETCH_F32, 2, apart, y, 0, c.w));
                if (!s) memcpy(first, y, 2 * d * sizeof *y);
                else if (at[k].algo == SKETCH_SJLT) SAME(first, y, 2 * d, "%s, case %zu", sketch_isa_name(isas[s]), k);
                else CHECK_MSG(far(first, y, 2 * d) <= 1e-6 * norm(first, 2 * d), "%s, case %zu: %g of %g", sketch_isa_name(isas[s]), k, far(first, y, 2 * d), norm(first, 2 * d));
                if (at[k].algo == SKETCH_QK) {                           /* S^T: rows in fours, and not one too many */
                    float *back = floats(n + 64); size_t over = 0;
                    for (size_t i = 0; i < 64; i++) back[n + i] = 77;
                    CHECK_OK(sketch_apply_t(c.p, y, back, SKETCH_F32, c.w));
                    for (size_t i = 0; i < 64; i++) over += back[n + i] != 77;
                    CHECK_MSG(!over, "%s, case %zu: %zu floats past the end of x", sketch_isa_name(isas[s]), k, over);
                    free(back);
                }
                for (int t = 1; t < 4; t++) {
                    CHECK_OK(sketch_apply_batch(c.p, other[t], types[t], 2, apart, z, 0, c.w));
                    SAME(y, z, 2 * d, "%s, case %zu, type %d", sketch_isa_name(isas[s]), k, t);
                }
                for (size_t i = 0, from = 0; i < 6; i++) {            /* begins and ends inside a block */
                    size_t len = i == 5 || from + n / 4 + i > n ? n - from : n * (i + 1) / 23 + i, t = (i + 1) % 4;
                    list[i].data = (const char *)other[t] + from * (t == 0 ? 4 : t == 3 ? 8 : 2);
                    list[i].count = len; list[i].stride = apart; list[i].dtype = types[t];
                    from += len;
                }
                CHECK_OK(sketch_apply_tensors(c.p, list, 6, 2, z, 0, c.w));
                SAME(y, z, 2 * d, "%s, case %zu, a list", sketch_isa_name(isas[s]), k);
            }
            close_ctx(&c);
        }
        for (int t = 1; t < 4; t++) free(other[t]);
        free(x); free(y); free(z); free(first);
    }
}
static void dtype_group(void) {
    static char name[200];
    static float y[TD], vals[6 * 65536];
    static double wide[4096];
    snprintf(name, sizeof name, "core: dtypes: all 65536 f16 and bf16 inputs, f64 ties and subnormals; outputs to nearest even, overflow (ran:");
    for (size_t i = 0; i < nisas; i++) { strcat(name, " "); strcat(name, sketch_isa_name(isas[i])); }
    strcat(name, ")");
    test_begin(name);
    for (size_t k = 0; k < nisas; k++) {
        size_t row[TN], nv = 0;
        float sign[TN];
        ctx c;
        if (!transparent(&c, isas[k], 0, row, sign)) continue;
        for (int t = 0; t < 2; t++) for (size_t p = 0; p < 65536; p += TN) {                            /* inputs */
            uint16_t h[TN];
            for (size_t i = 0; i < TN; i++) h[i] = (uint16_t)(p + i);
            CHECK_OK(sketch_apply(c.p, h, t ? SKETCH_F16 : SKETCH_BF16, y, c.w));
            for (size_t i = 0; i < TN; i++) {
                float want = t ? f16_to(h[i]) : bf16_to(h[i]), got = y[row[i]] * sign[i];
                if (isnan(want) ? !isnan(got) : got != want) { CHECK_MSG(0, "%s %s 0x%04x: %g, not %g", sketch_isa_name(isas[k]), t ? "f16" : "bf16", h[i], got, want); break; }
            }
        }
        {                                                                                                 /* f64 input */
            uint64_t s = 3;
            for (size_t i = 0; i < LEN(wide); i++) {
                uint64_t u = test_u64(&s), e = 1023 - 152 + u % 282;                                        /* 2^-152 .. 2^129 */
                u = (u & 0x8000000000000000u) | e << 52 | (test_u64(&s) >> 12);
                if (i % 3 == 0) u = (u & ~(uint64_t)0x1fffffff) | 0x10000000;                              /* ties */
                if (i % 3 == 1) u = (u & ~(uint64_t)0x1fffffff) | (0x10000000 + i % 2 * 2 - 1);
                memcpy(&wide[i], &u, 8);
            }
            for (size_t p = 0; p + TN <= LEN(wide); p += TN) {
                CHECK_OK(sketch_apply(c.p, wide + p, SKETCH_F64, y, c.w));
                for (size_t i = 0; i < TN; i++) if (y[row[i]] * sign[i] != (float)wide[p + i]) { CHECK_MSG(0, "%s f64 %a: %a, not %a", sketch_isa_name(isas[k]), wide[p + i], y[row[i]] * sign[i], (float)wide[p + i]); break; }
            }
        }
        for (int t = 0; t < 2; t++) {                                                                     /* outputs: each value, the tie after it, and both neighbours of the tie */
            nv = 0;
            for (unsigned h = 0; h < (t ? 0x7c00u : 0x7f80u); h++) {
                float a = t ? f16_to((uint16_t)h) : bf16_to((uint16_t)h), b = h + 1 == 0x7c00u && t ? 65536.0f : t ? f16_to((uint16_t)(h + 1)) : bf16_to((uint16_t)(h + 1)), m;
                uint32_t ua; memcpy(&ua, &a, 4);
                if (t) m = (float)(((double)a + b) / 2); else { ua |= 0x8000u; memcpy(&m, &ua, 4); }
                if (h % 3 == k % 3 || h < 64 || (h & 0x3ff) < 3) { vals[nv++] = a; vals[nv++] = m; vals[nv++] = nextafterf(m, 0); vals[nv++] = nextafterf(m, INFINITY); }
            }
            vals[nv++] = INFINITY; vals[nv++] = 1e-45f; vals[nv++] = 3e38f; vals[nv++] = FLT_MAX;
            while (nv % TN) vals[nv++] = NAN;
            for (size_t p = 0; p < nv; p += TN) {
                uint16_t h[TN];
                memset(y, 0, sizeof y);
                for (size_t i = 0; i < TN; i++) y[row[i]] = (p + i) % 2 ? vals[p + i] : -vals[p + i];
                CHECK_OK(sketch_apply_t(c.p, y, h, t ? SKETCH_F16 : SKETCH_BF16, c.w));
                for (size_t i = 0; i < TN; i++) {
                    float v = y[row[i]] * sign[i];
                    uint16_t want = isnan(v) ? 0 : isinf(v) ? (uint16_t)((v < 0 ? 0x8000 : 0) | (t ? 0x7c00 : 0x7f80)) : t ? f16_of(v) : bf16_of(v);
                    if (isnan(v) ? !isnan(t ? f16_to(h[i]) : bf16_to(h[i])) : v != 0 && h[i] != want) { CHECK_MSG(0, "%s: %a to %s: 0x%04x, not 0x%04x", sketch_isa_name(isas[k]), v, t ? "f16" : "bf16", h[i], want); break; }
                }
            }
        }
        close_ctx(&c);
    }
    test_begin("core: dtypes: every operator on bf16, f16, f64 = on the converted f32, to the bit");
    EACH_OP(o) for (size_t n = 33; n < 4000; n = n * 5 + 2) for (int t = 1; t < 4; t++) {
        sketch_desc q = desc_of(o, n, 40, 6); ctx c;
        if (open_ctx(&c, &q, 2)) {
            float *x = random_floats(2 * n, n), *f = floats(2 * n), *a = floats(2 * c.d), *b = floats(2 * c.d);
            void *h = malloc(2 * n * 8);
            for (size_t i = 0; i < 2 * n; i++) { convert(h, i, x[i], (sketch_dtype)t); f[i] = t == 1 ? bf16_to(bf16_of(x[i])) : t == 2 ? f16_to(f16_of(x[i])) : x[i]; }
            CHECK_OK(sketch_apply_batch(c.p, h, (sketch_dtype)t, 2, 0, a, 0, c.w));
            CHECK_OK(sketch_apply_batch(c.p, f, SKETCH_F32, 2, 0, b, 0, c.w));
            SAME(a, b, 2 * c.d, "%s, n = %zu, dtype %d", o->name, n, t);
            free(x); free(f); free(a); free(b); free(h);
        }
        close_ctx(&c);
    }
}

static void threads_group(void) {
    test_begin("core: 1, 2, 7 threads and a reversed loop give the same bits: batches of 1, 3, 20, adjoint");
    tasks_seen = 0;
    EACH_OP(o) {
        sketch_desc q; float *x, *y0, *y, *t0, *t, *v;
        int big = o->algo == SKETCH_DENSE || o->algo == SKETCH_SJLT || o->algo == SKETCH_MASK;
        many_blocks(o, &q, 8);
        if (big) q.n = 17 * 32768 + 1;
        x = random_floats(20 * q.n, 3); y0 = floats(20 * q.d); y = floats(20 * q.d); t0 = floats(q.n); t = floats(q.n); v = random_floats(q.d, 4);
        for (int k = 0; k < 5; k++) {
            static const size_t batches[] = { 1, 3, 20 };
            ctx c;
            q.threads = (sketch_threads){ k == 0 ? NULL : k == 4 ? reverse_for : threads_for, NULL, (uint32_t[]){ 0, 1, 2, 7, 5 }[k] };
            for (size_t mb = 1; mb <= 20; mb = mb * 5 + (mb == 5 ? -5 : 0)) if (open_ctx(&c, &q, mb)) {
                for (size_t b = 0; b < LEN(batches); b++) {
                    float *to = k == 0 && mb == 1 ? y0 : y;
                    if (big && b == 2 && (k == 0 ? mb != 1 : k != 3 || mb != 5)) continue;        /* 20 vectors of the large ones: once, on 7 threads */
                    CHECK_OK(sketch_apply_batch(c.p, x, SKETCH_F32, batches[b], 0, to, 0, c.w));
                    if (to == y) SAME(y0, y, batches[b] * c.d, "%s: threads %d, batch %zu, work for %zu", o->name, k, batches[b], mb);
                }
                CHECK_OK(sketch_apply_t(c.p, v, k == 0 ? t0 : t, SKETCH_F32, c.w));
                if (k) SAME(t0, t, c.n, "%s^T: threads %d", o->name, k);
                close_ctx(&c);
            }
        }
        free(x); free(y0); free(y); free(t0); free(t); free(v);
    }
    CHECK_MSG(tasks_seen >= 7, "only %u tasks at once", tasks_seen);
}

static void products_group(void) {
    static const size_t shape[][3] = { { 1, 1, 1 }, { 2, 3, 5 }, { 4, 16, 64 }, { 5, 17, 33 }, { 7, 40, 129 }, { 33, 50, 1000 }, { 3, 1, 7 }, { 1, 100, 16 } };
    test_begin("core: dot and gemm_nt within the stated bounds, the same bits on any threads");
    for (size_t n = 0; n <= 300; n++) {
        float *a = random_floats(n, n), *b = random_floats(n, n + 1);
        long double s = 0, bound = 0;
        for (size_t i = 0; i < n; i++) s += (long double)a[i] * b[i], bound += fabsl((long double)a[i] * b[i]);
        CHECK_MSG(fabsl(s - sketch_dot_f32(a, b, n)) <= (long double)n * ldexpl(1, -53) * bound, "dot, n = %zu", n);
        free(a); free(b);
    }
    for (size_t k = 0; k < LEN(shape); k++) {
        size_t m = shape[k][0], r = shape[k][1], d = shape[k][2];
        float *a = random_floats(m * d, 1), *b = random_floats(r * d, 2), *c0 = floats(m * r), *c = floats(m * r);
        for (int t = 0; t < 5; t++) {
            sketch_threads th = { t == 4 ? reverse_for : threads_for, NULL, (uint32_t[]){ 0, 1, 2, 7, 3 }[t] };
            c[m * r] = 12.0f;
            CHECK_OK(sketch_gemm_nt(a, m, b, r, d, t ? c : c0, t ? &th : NULL));
            if (t) SAME(c0, c, m * r, "gemm %zu %zu %zu", m, r, d);
            CHECK(c[m * r] == 12.0f);
        }
        for (size_t i = 0; i < m; i++) for (size_t j = 0; j < r; j++) {
            double s = 0, bound = 0;
            for (size_t l = 0; l < d; l++) s += (double)a[i * d + l] * b[j * d + l], bound += fabs((double)a[i * d + l] * b[j * d + l]);
            CHECK_MSG(fabs(s - c0[i * r + j]) <= (double)d * U * bound + 1e-300, "gemm %zu %zu %zu at %zu %zu", m, r, d, i, j);
        }
        free(a); free(b); free(c0); free(c);
    }
}

static void large_group(void) {
    static const uint64_t at[] = { 0, 4294967296u - 700, 4294967296u + 12345, 3u * (uint64_t)4294967296u / 2 + 1, 8589934592u + 5 - 1500 };
    test_begin("core: n = 2^33 + 5 in little memory: columns beyond 2^32, S and S^T");
    EACH_OP(o) {
        enum { C = 1500 };
        sketch_desc q; ctx c;
        uint64_t seed = 5;
        if (o->block == WHOLE || o->scale || o->algo == SKETCH_QK) continue;
        q = desc_of(o, 8589934592u + 5, 64, 5);
        if (open_ctx(&c, &q, 1)) {
            float *x = random_floats(C, 6), *v = random_floats(64, 7), y[64], t[C], e[64];
            for (size_t k = 0; k < LEN(at); k++) {
                sketch_tensor in = { x, C, 0, SKETCH_F32 };
                double gap, slices = 0;
                memset(y, 0, sizeof y);
                CHECK_OK(sketch_accum(c.p, &in, at[k], 1, y, 0, c.w));
                CHECK_OK(sketch_apply_t_range(c.p, v, at[k], C, 1, 0, t, SKETCH_F32, c.w));
                gap = fabs(dot(y, v, 64) - dot(x, t, C));
                CHECK_MSG(gap <= 32 * U * (norm(y, 64) * norm(v, 64) + norm(x, C) * norm(t, C)) && (o->algo == SKETCH_MASK || norm(y, 64) > 0.5 * norm(x, C)), "%s at %llu: %g", o->name, (unsigned long long)at[k], gap);
                for (int rep = 0; rep < 3; rep++) {                        /* one column: <S e_i, v> = (S^T v)_i; one slice */
                    size_t i = test_u64(&seed) % C; float one = 1.0f, s[7];
                    in = (sketch_tensor){ &one, 1, 0, SKETCH_F32 };
                    memset(e, 0, sizeof e);
                    CHECK_OK(sketch_accum(c.p, &in, at[k] + i, 1, e, 0, c.w));
                    CHECK_MSG(fabs(dot(e, v, 64) - t[i]) <= 32 * U * (norm(e, 64) + c.i.scale) * norm(v, 64), "%s, column %llu: %g, %g", o->name, (unsigned long long)(at[k] + i), dot(e, v, 64), t[i]);
                    if (i > C - 7) i = C - 7;
                    CHECK_OK(sketch_apply_t_range(c.p, v, at[k] + i, 7, 1, 0, s, SKETCH_F32, c.w));
                    if (memcmp(s, t + i, sizeof s)) slices = 1;
                    if (o->algo != SKETCH_AFFD) continue;
                    in = (sketch_tensor){ x, C, 0, SKETCH_F32 };           /* another place is another S */
                    memset(e, 0, sizeof e);
                    if (at[k]) { CHECK_OK(sketch_accum(c.p, &in, at[k] & 0xffffffffu, 1, e, 0, c.w)); CHECK_MSG(at[k] < 4294967296u || far(e, y, 64) > 0.01, "%s repeats after 2^32", o->name); }
                }
                CHECK_MSG(!slices, "%s: slices at %llu", o->name, (unsigned long long)at[k]);
            }
            free(x); free(v);
        }
        close_ctx(&c);
    }
}

/* ---- memory ---- */
typedef struct hook { size_t live, calls, total, k, bad, peak; struct { void *p; size_t size; } held[64]; } hook;
static void *hook_alloc(void *user, size_t size, size_t align) {
    hook *h = user; void *p = NULL;
    if (++h->calls == h->k) return NULL;
    h->bad += align == 0 || (align & (align - 1)) != 0;
    if (posix_memalign(&p, align < 16 ? 16 : align, size ? size : 1)) return NULL;
    memset(p, 0xA5, size);                                                  /* an allocator need not zero */
    for (size_t i = 0; ; i++) { if (i == 64) { h->bad++; break; } if (!h->held[i].p) { h->held[i].p = p; h->held[i].size = size; break; } }
    h->live += size; h->total += size;
    if (h->live > h->peak) h->peak = h->live;
    return p;
}
static void hook_free(void *user, void *p, size_t size) {
    hook *h = user;
    for (size_t i = 0; ; i++) { if (i == 64) { h->bad++; return; } if (h->held[i].p == p && p) { h->bad += h->held[i].size != size; h->held[i].p = NULL; break; } }
    h->live -= size;
    free(p);
}
static void kept_group(void) {             /* blocks of 2^15 have an order of their own in what is kept; so does what a batch shares; signs are never kept */
    enum { DEFAULT, TINY, LONG };          /* tiny: blocks shorter than a vector; long: AFJL from memory */
    test_begin("core: blocks of the default length and a tail, of 4, and of a long vector, on every code path: keep_random, a batch and one at a time give the same bits, S and S^T");
    for (int algo = SKETCH_AFFD; algo <= SKETCH_AFJL; algo++) for (int diag = SKETCH_GAUSSIAN; diag <= SKETCH_RADEMACHER; diag++) for (int size = 0; size < (algo == SKETCH_AFJL && diag == SKETCH_GAUSSIAN ? 3 : 2); size++) {
        const size_t n = size == TINY ? 29 : size == LONG ? ((size_t)1 << 23) + 9 : algo == SKETCH_AFFD ? 3 * 32768 + 77 : 131072 + 77, d = size == TINY ? 3 : 700, nb = size == LONG ? 1 : 5;
        float *x = random_floats(nb * n, 3), *y = floats(2 * nb * d), *t = floats(2 * n);
        size_t runs = 0;
        for (size_t i = 0; i < nisas; i++) for (uint32_t keep = 0; keep < 2; keep++) for (size_t mb = 1; mb <= nb; mb += 4) {
            sketch_desc q = sketch_desc_make((sketch_algo)algo, n, d, 9); ctx c;
            q.diag = (sketch_diag)diag; q.keep_random = keep; q.isa = isas[i]; q.block = size == TINY ? 4 : 0;
            if (open_ctx(&c, &q, mb)) {
                float *out = y + (runs ? nb * d : 0), *back = t + (runs ? n : 0);
                CHECK_OK(sketch_apply_batch(c.p, x, SKETCH_F32, nb, 0, out, 0, c.w));
                CHECK_OK(sketch_apply_t(c.p, y, back, SKETCH_F32, c.w));
                SAME(y, out, nb * d, "algorithm %d, diag %d, n = %zu: %s, keep_random %u, batch of %zu", algo, diag, n, sketch_isa_name(isas[i]), keep, mb);
                SAME(t, back, n, "S^T: algorithm %d, diag %d, n = %zu: %s, keep_random %u, batch of %zu", algo, diag, n, sketch_isa_name(isas[i]), keep, mb);
                runs++;
            }
            close_ctx(&c);
        }
        CHECK(runs == nisas * 2 * (nb > 1 ? 2 : 1));
        free(x); free(y); free(t);
    }
    test_end();
}
static void memory_group(void) {
    test_begin("core: sketch_measure is what the allocator sees; nothing allocated in calls; the k-th allocation fails; no leak; keep_random is the same S");
    EACH_OP(o) for (int keep = 0; keep < 2; keep++) for (size_t mb = 1; mb <= 9; mb += 8) {
        hook h = { 0 };
        sketch_desc q = desc_of(o, 3000, 60, 4), plain = q; ctx c, c0;
        size_t pb, wb, k, calls;
        if (keep && o->algo != SKETCH_AFFD && o->algo != SKETCH_AFJL) continue;
        if (q.block == 1024) q.block = plain.block = 256;
        q.keep_random = (uint32_t)keep;
        q.allocator = (sketch_allocator){ hook_alloc, hook_free, &h };
        if (mb > 1) q.threads = (sketch_threads){ reverse_for, NULL, 3 };
        CHECK_OK(sketch_measure(&q, mb, &pb, &wb));
        CHECK(h.calls == 0);
        CHECK_OK(sketch_measure(&q, mb, NULL, NULL));
        if (open_ctx(&c, &q, mb)) {
            float *x = random_floats(9 * 3000, 2), y[9 * 64], z[9 * 64], *t = floats(3000), *t0 = floats(3000);
            CHECK_MSG(h.live == pb + wb, "%s: holds %zu, measured %zu + %zu", o->name, h.live, pb, wb);
            CHECK_MSG(c.i.plan_bytes == pb && sketch_work_bytes(c.p, mb) == wb && c.i.work_bytes == sketch_work_bytes(c.p, 1), "%s: bytes in info", o->name);
            if (o->pre != SKETCH_PRECOND_Q && o->algo != SKETCH_QK) CHECK_MSG(h.total == pb + wb && h.calls == 2, "%s: %zu calls for %zu bytes", o->name, h.calls, h.total);
            calls = h.calls;
            CHECK_OK(sketch_apply_batch(c.p, x, SKETCH_F32, mb, 0, y, 0, c.w));
            CHECK_OK(sketch_apply_t(c.p, y, t, SKETCH_F32, c.w));
            if (open_ctx(&c0, &plain, 1)) {
                CHECK_OK(sketch_apply_batch(c0.p, x, SKETCH_F32, mb, 0, z, 0, c0.w));
                SAME(z, y, mb * c.d, "%s: keep_random %d", o->name, keep);
                CHECK_OK(sketch_apply_t(c0.p, z, t0, SKETCH_F32, c0.w));
                SAME(t0, t, 3000, "%s^T: keep_random %d", o->name, keep);
                CHECK(c0.i.fingerprint == c.i.fingerprint);
                CHECK(keep ? c.i.plan_bytes >= c0.i.plan_bytes + (o->diag != SKETCH_GAUSSIAN ? 0 : 2) * (o->algo == SKETCH_AFFD ? 3000u : 60u) : 1);
            }
            close_ctx(&c0);
            CHECK_OK(sketch_stream_begin(c.w, y)); CHECK_OK(sketch_stream_push(c.w, x, SKETCH_F32, 3000)); CHECK_OK(sketch_stream_end(c.w));
            CHECK_MSG(h.calls == calls, "%s allocates in a call", o->name);
            free(x); free(t); free(t0);
        }
        calls = h.calls;
        close_ctx(&c);
        CHECK_MSG(h.live == 0 && h.bad == 0, "%s: %zu bytes leaked, %zu bad calls", o->name, h.live, h.bad);
        for (k = 1; k <= calls; k++) {
            sketch_plan *p = (sketch_plan *)&h; sketch_work *w = (sketch_work *)&h; sketch_status st;
            h.calls = 0; h.k = k;
            st = sketch_create(&q, &p);
            if (k < calls) { CHECK_MSG(st == SKETCH_E_MEMORY && !p, "%s: create with allocation %zu of %zu failing: %s", o->name, k, calls, sketch_status_string(st)); continue; }
            CHECK_OK(st);
            CHECK_ST(sketch_work_create(p, mb, &w), SKETCH_E_MEMORY);
            CHECK(!w);
            sketch_destroy(p);
        }
        CHECK_MSG(h.live == 0 && h.bad == 0, "%s: failing allocations leak %zu", o->name, h.live);
    }
}

static void query_group(void) {
    static const struct { uint64_t n; double pad; } qk[] = { { 64, 0 }, { 4096, 0 }, { 1 << 20, 0 }, { (uint64_t)1 << 27, 0 }, { 768 * 3072, 0 }, { 1000000, 0 }, { 1728, 0 }, { 85524480, 0.01 }, { 124439808, 0.01 },
        { 4099, .2 }, { 65537, .2 }, { 1000003, .2 }, { 16777213, .2 }, { 2147483647, .2 } };
    test_begin("core: sketch_query: QK's factors, padding, blocks, chunks, scale, fingerprint");
    for (size_t k = 0; k < LEN(qk); k++) for (uint64_t d = 1; d <= 512 && d <= qk[k].n; d = d * 5 + 2) {
        sketch_desc q = sketch_desc_make(SKETCH_QK, qk[k].n, d, 1);
        sketch_plan *p;
        sketch_info i;
        uint64_t in = 1, out = 1;
        CHECK_OK(sketch_create(&q, &p));
        i = sketch_query(p);
        for (uint32_t f = 0; f < i.nfactors; f++) { in *= i.factor_in[f]; out *= i.factor_out[f]; CHECK(i.factor_out[f] >= 1 && i.factor_out[f] <= i.factor_in[f]); }
        CHECK_MSG(in == i.n_padded && in >= q.n && (double)in <= (1 + qk[k].pad) * (double)q.n, "n = %llu padded to %llu", (unsigned long long)q.n, (unsigned long long)in);
        CHECK_MSG(out >= d && out <= 2 * d && i.block * i.nblocks == in && i.block * i.factor_in[0] == in, "n = %llu, d = %llu: %llu rows", (unsigned long long)q.n, (unsigned long long)d, (unsigned long long)out);
        CHECK(fabs(i.scale - sqrt((double)in / (double)d)) < 1e-12 * i.scale);
        sketch_destroy(p);
    }
    for (uint64_t n = 1; n <= 3000; n++) {                                  /* measure alone: no factor of QK is silly, d up to n is allowed */
        sketch_desc q = sketch_desc_make(SKETCH_QK, n, n, 1);
        CHECK_OK(sketch_measure(&q, 1, NULL, NULL));
    }
    EACH_OP(o) for (uint64_t n = 1; n < 20000000; n = n * 7 + 3) {
        sketch_desc q = desc_of(o, n, n % 90 + 1, n);
        sketch_plan *p;
        sketch_info i;
        char text[400]; uint64_t h = 0xcbf29ce484222325u, L, prod = 1, least, cap; uint32_t C = 1;
        int has_block = o->algo == SKETCH_AFFD || o->algo == SKETCH_AFJL || o->algo == SKETCH_FJL || o->algo == SKETCH_SRHT;
        if (o->block == WHOLE && n > 2000000) continue;
        CHECK_OK(sketch_create(&q, &p));
        i = sketch_query(p);
        CHECK(i.n == q.n && i.d == q.d && i.granule == i.block && i.block && (i.nblocks - 1) * i.block < n && i.n_padded >= n && i.isa == (env_isa ? env_isa : sketch_cpu_isa()));
        for (L = q.precond ? 1 << 12 : o->algo == SKETCH_AFJL ? 1 << 17 : 1 << 15; L > 1 && L / 2 >= n; L /= 2) ;
        if (L < q.d && has_block && o->algo != SKETCH_FJL) L = pow2_at_least(q.d);
        cap = pow2_at_least(n < q.d && o->algo != SKETCH_FJL ? q.d : n);
        if (q.block) L = q.block < cap ? q.block : cap;
        if (o->algo == SKETCH_FFD) L = pow2_at_least(q.d);
        if (o->algo != SKETCH_QK) CHECK_MSG(i.block == L && i.nblocks == (n + L - 1) / L, "%s, n = %llu: block %llu, not %llu", o->name, (unsigned long long)n, (unsigned long long)i.block, (unsigned long long)L);
        least = (64 * q.d + i.block - 1) / i.block;                        /* a chunk has 4 blocks and 64 d coordinates, or more */
        while (C < 65536 && i.nblocks / (2 * C) >= (least < 4 ? 4 : least)) C *= 2;
        CHECK_MSG(i.nchunks == C, "%s, n = %llu: %u chunks, not %u", o->name, (unsigned long long)n, i.nchunks, C);
        CHECK(i.nnz == (o->algo == SKETCH_SJLT ? o->nnz ? o->nnz : q.d < 8 ? (uint32_t)q.d : 8 : o->algo == SKETCH_FJL ? i.nnz : 0) && (o->algo != SKETCH_FJL || i.nnz >= 1));
        if (o->algo == SKETCH_AFFD || o->algo == SKETCH_AFJL) { for (uint32_t f = 0; f < i.nfactors; f++) prod *= i.factor_in[f]; CHECK_MSG(prod == i.block, "%s: factors of L", o->name); }
        snprintf(text, sizeof text, "sketch.h stream=%d algo=%d n=%llu d=%llu seed=%llu precond=%d diag=%d block=%llu nnz=%u scale=%d", SKETCH_STREAM_VERSION, (int)q.algo, (unsigned long long)q.n,
            (unsigned long long)q.d, (unsigned long long)q.seed, (int)q.precond, (int)i.diag, has_block ? (unsigned long long)i.block : 0ull, i.nnz, (int)q.scale);
        for (const char *s = text; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
        CHECK_MSG(h == i.fingerprint, "fingerprint of \"%s\"", text);
        sketch_destroy(p);
    }
    CHECK(sketch_query(NULL).n == 0 && sketch_query(NULL).fingerprint == 0);
}

static void finite_group(void) {
    test_begin("core: NaN and Inf propagate; with check_finite they are E_NONFINITE in every dtype, y untouched or zero");
    for (int t = 0; t < 4; t++) for (int b = 0; b < 4; b++) for (int check = 0; check < 2; check++) EACH_OP(o) {
        const double bad[] = { NAN, INFINITY, -INFINITY, 1e300 };
        enum { N = 200, B = 3 };
        sketch_desc q = desc_of(o, N, 16, 3); ctx c;
        double buf[B * N]; float y[B * 16], vals[B * N];
        size_t where = (size_t)(N * (B - 1) + 57 + t);
        sketch_tensor in = { buf, N, 0, (sketch_dtype)t };
        if ((b == 3 && t != SKETCH_F64) || (o->block && o->algo != SKETCH_AFFD) || (t != b && o->pre)) continue;
        q.check_finite = (uint32_t)check;
        if (!open_ctx(&c, &q, B)) { close_ctx(&c); continue; }
        for (size_t i = 0; i < B * N; i++) vals[i] = i == where ? (float)bad[b] : (float)(i % 7) - 3.0f;
        for (size_t i = 0; i < B * N; i++) {
            uint16_t h = isnan(vals[i]) ? (t == SKETCH_F16 ? 0x7e01 : 0x7fc1) : isinf(vals[i]) ? (uint16_t)((vals[i] < 0 ? 0x8000 : 0) | (t == SKETCH_F16 ? 0x7c00 : 0x7f80)) : t == SKETCH_F16 ? f16_of(vals[i]) : bf16_of(vals[i]);
            if (t == SKETCH_F64) buf[i] = i == where ? bad[b] : vals[i]; else if (t == SKETCH_F32) ((float *)buf)[i] = vals[i]; else ((uint16_t *)buf)[i] = h;
        }
        for (size_t i = 0; i < B * 16; i++) y[i] = 9.0f;
        if (check) {
            CHECK_ST(sketch_accum(c.p, &in, 0, B, y, 0, c.w), SKETCH_E_NONFINITE);
            for (size_t i = 0; i < B * 16; i++) CHECK(y[i] == 9.0f);
            CHECK_ST(sketch_apply_batch(c.p, buf, (sketch_dtype)t, B, 0, y, 0, c.w), SKETCH_E_NONFINITE);
            for (size_t i = 0; i < B * 16; i++) CHECK(y[i] == 0.0f);
            in.count = 50;
            CHECK_OK(sketch_accum(c.p, &in, 100, 1, y, 0, c.w));
            CHECK_OK(sketch_stream_begin(c.w, y));
            CHECK_OK(sketch_stream_push(c.w, buf, (sketch_dtype)t, 100));
            CHECK_ST(sketch_stream_push(c.w, (char *)buf + where * (t == SKETCH_F64 ? 8 : t == SKETCH_F32 ? 4 : 2), (sketch_dtype)t, 1), SKETCH_E_NONFINITE);
            for (size_t i = 0; i < 16; i++) CHECK(y[i] == 0.0f);
            CHECK_ST(sketch_stream_end(c.w), SKETCH_E_STATE);
            for (size_t i = 0; i < 16; i++) vals[i] = i == 15 && b < 3 ? (float)bad[b] : 1.0f;
            if (c.d == 16 && b < 3) CHECK_ST(sketch_apply_t(c.p, vals, buf, SKETCH_F32, c.w), SKETCH_E_NONFINITE);
        } else {
            size_t n = 0, clean = 0;
            CHECK_OK(sketch_apply_batch(c.p, buf, (sketch_dtype)t, B, 0, y, 0, c.w));
            for (size_t i = 0; i < 16; i++) { n += !isfinite(y[(B - 1) * 16 + i]); clean += isfinite(y[i]) && isfinite(y[16 + i]); }
            CHECK_MSG((n >= 1 || o->algo == SKETCH_MASK) && clean == 16, "%s, dtype %d, %g: %zu of 16 outputs bad, %zu good in the others", o->name, t, bad[b], n, clean);
        }
        close_ctx(&c);
    }
}

void test_core(void) {
    test_begin("core: code paths of this machine");
    find_isas();
    if (test_wants("wht")) wht_groups();
    if (test_wants("reference")) reference_group();
    if (test_wants("matrix")) matrix_group();
    if (test_wants("isa")) isa_group();
    if (test_wants("cuts")) cuts_group();
    if (test_wants("adjoint")) { adjoint_group(); long_adjoint_group(); }
    if (test_wants("spread")) spread_group();
    if (test_wants("nesting")) { nesting_group(); kept_rows_group(); }
    if (test_wants("dtype")) { dtype_group(); pieces_group(); any_type_group(); }
    if (test_wants("threads")) threads_group();
    if (test_wants("products")) products_group();
    if (test_wants("large")) large_group();
    if (test_wants("memory")) { memory_group(); kept_group(); }
    if (test_wants("query")) query_group();
    if (test_wants("finite")) finite_group();
}
