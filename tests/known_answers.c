/* The results that are frozen: tests/known_answers.txt, one row for each operator with its options, and this program,
   which made it and checks it on every code path that the machine has. One file, so that any target can run it:

       known_answers FILE            compares; closing line `N passed, N failed`, a check for each row and code path
       known_answers FILE --write    writes FILE anew: for a new major version only

   SKETCH_TEST_ISA=scalar|avx2|avx512|simde checks that code path alone. A row ends with the plan's fingerprint and the hash (FNV-1a over the f32
   bits, low byte first) of S x and of S^T y, or, for the families that agree to rounding, with three projections of
   each in units of |x| and |y|. x and y come from integers and are exact in every type. */
#define SKETCH_IMPLEMENTATION
#define SKETCH_NO_STDIO
#include "../sketch.h"
#include <stdio.h>
#include <stdlib.h>

#define LEN(a) (sizeof(a) / sizeof *(a))
enum { PARTS = 3 };
static const double NEAR = 2e-6;             /* of |x|: the manual's bound for what may be fused is far below */

typedef struct row {
    sketch_desc q;
    sketch_dtype type;
    int exact;                               /* the same bits everywhere */
    uint64_t fingerprint;
    uint64_t hash[2];                        /* of S x, S^T y */
    double part[2][PARTS];
} row;

/* -4 .. 3.875 in steps of 1/8 */
static float value(uint64_t i, uint64_t salt) {
    uint64_t z = (i + salt * 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 29)) * 0x94D049BB133111EBu;
    return (float)(int)(z >> 58) * 0.125f - 4.0f;
}
static void put(void *x, uint64_t i, sketch_dtype type, float v) {
    uint32_t u, a;
    memcpy(&u, &v, sizeof u);
    a = u & 0x7fffffffu;
    if (type == SKETCH_F32) ((float *)x)[i] = v;
    else if (type == SKETCH_F64) ((double *)x)[i] = v;
    else if (type == SKETCH_BF16) ((uint16_t *)x)[i] = (uint16_t)(u >> 16);
    else ((uint16_t *)x)[i] = (uint16_t)(u >> 16 & 0x8000u) | (uint16_t)(a ? (a - 0x38000000u) >> 13 : 0);
}
static uint64_t hash_of(const float *y, uint64_t n) {
    uint64_t h = 0xcbf29ce484222325u, i;
    for (i = 0; i < n; i++) {
        uint32_t u;
        int k;
        memcpy(&u, y + i, sizeof u);
        for (k = 0; k < 32; k += 8) h = (h ^ (u >> k & 255u)) * 0x100000001b3u;
    }
    return h;
}
static void parts_of(const float *y, uint64_t n, double unit, double *part) {
    uint64_t i;
    int k;
    for (k = 0; k < PARTS; k++) {
        double s = 0;
        for (i = 0; i < n; i++) s += (double)y[i] * (value(i, 11 + (uint64_t)k) > 0 ? 1 : -1);
        part[k] = s / unit / sqrt((double)n);
    }
}

/* r's results; the status of create if that is not OK, 1 if a batch or a second way to the same bits differs */
static int run(row *r, sketch_isa isa) {
    const uint64_t n = r->q.n, d = r->q.d;
    const size_t size = r->type == SKETCH_F64 ? 8 : r->type == SKETCH_F32 ? 4 : 2;
    sketch_desc q = r->q;
    sketch_plan *plan;
    sketch_work *work;
    sketch_status st;
    double nx = 0, ny = 0;
    uint64_t i;
    char *x;
    float *y, *t, *y2;
    int bad = 0;
    q.isa = isa;
    st = sketch_create(&q, &plan);
    if (st == SKETCH_OK) st = sketch_work_create(plan, 2, &work);
    if (st != SKETCH_OK) return st;
    r->fingerprint = sketch_query(plan).fingerprint;
    x = (char *)malloc(2 * (size_t)n * size);
    y = (float *)calloc(2 * (size_t)d, sizeof *y);
    y2 = (float *)calloc((size_t)d, sizeof *y2);
    t = (float *)calloc((size_t)n, sizeof *t);
    if (!x || !y || !y2 || !t) abort();
    for (i = 0; i < n; i++) {
        float v = value(i, 1);
        put(x, i, r->type, v);
        put(x, n + i, r->type, value(i, 2));
        nx += (double)v * v;
    }
    if (sketch_apply_batch(plan, x, r->type, 2, 0, y, 0, work) != SKETCH_OK) bad = 1;
    if (sketch_apply(plan, x, r->type, y2, work) != SKETCH_OK) bad = 1;
    if (memcmp(y, y2, (size_t)d * sizeof *y)) bad = 1;
    r->hash[0] = hash_of(y2, d);
    parts_of(y2, d, sqrt(nx) + 1e-9, r->part[0]);
    for (i = 0; i < d; i++) {
        y2[i] = value(i, 3);
        ny += (double)y2[i] * y2[i];
    }
    if (sketch_apply_t(plan, y2, t, SKETCH_F32, work) != SKETCH_OK) bad = 1;
    r->hash[1] = hash_of(t, n);
    parts_of(t, n, sqrt(ny) + 1e-9, r->part[1]);
    free(x);
    free(y);
    free(y2);
    free(t);
    sketch_work_destroy(work);
    sketch_destroy(plan);
    return bad;
}

static int print(FILE *f, const row *r) {
    const sketch_desc *q = &r->q;
    int k, j;
    fprintf(f, "%d %d %d %llu %u %d %u %llu %llu %d %llu", (int)q->algo, (int)q->precond, (int)q->diag,
            (unsigned long long)(q->block == SKETCH_BLOCK_WHOLE ? 1 : q->block), (unsigned)q->nnz, (int)q->scale,
            (unsigned)q->keep_random, (unsigned long long)q->n, (unsigned long long)q->d, (int)r->type,
            (unsigned long long)q->seed);
    fprintf(f, " %016llx", (unsigned long long)r->fingerprint);
    for (k = 0; k < 2; k++) {
        if (r->exact) fprintf(f, " %016llx", (unsigned long long)r->hash[k]);
        else for (j = 0; j < PARTS; j++) fprintf(f, " %.9f", r->part[k][j]);
    }
    return fprintf(f, "\n") > 0;
}
/* 1: a row; 0: the end; -1: neither */
static int scan(FILE *f, row *r) {
    unsigned long long block, n, d, seed, h;
    unsigned nnz, keep;
    int algo, pre, diag, scale, type, k, j;
    int got = fscanf(f, "%d %d %d %llu %u %d %u %llu %llu %d %llu", &algo, &pre, &diag, &block, &nnz, &scale, &keep,
                     &n, &d, &type, &seed);
    if (got == EOF) return 0;
    if (got != 11 || fscanf(f, "%llx", &h) != 1) return -1;
    memset(r, 0, sizeof *r);
    r->fingerprint = h;
    r->q = sketch_desc_make((sketch_algo)algo, n, d, seed);
    r->q.precond = (sketch_precond)pre;
    r->q.diag = (sketch_diag)diag;
    r->q.block = block == 1 ? SKETCH_BLOCK_WHOLE : block;
    r->q.nnz = nnz;
    r->q.scale = (sketch_scale)scale;
    r->q.keep_random = keep;
    r->type = (sketch_dtype)type;
    r->exact = algo != SKETCH_QK && pre != SKETCH_PRECOND_Q;
    for (k = 0; k < 2; k++) {
        if (!r->exact) {
            for (j = 0; j < PARTS; j++) if (fscanf(f, "%lf", &r->part[k][j]) != 1) return -1;
            continue;
        }
        if (fscanf(f, "%llx", &h) != 1) return -1;
        r->hash[k] = h;
    }
    return 1;
}

/* ---- what is frozen ---- */
static const struct { sketch_algo algo; sketch_precond pre; sketch_diag diag; uint64_t block; uint32_t nnz; } OPS[] = {
    { SKETCH_AFFD, SKETCH_PRECOND_H, SKETCH_GAUSSIAN, 0, 0 }, { SKETCH_AFFD, SKETCH_PRECOND_H, SKETCH_RADEMACHER, 0, 0 },
    { SKETCH_AFFD, SKETCH_PRECOND_H, SKETCH_GAUSSIAN, 64, 0 }, { SKETCH_AFFD, SKETCH_PRECOND_H, SKETCH_GAUSSIAN, 4096, 0 },
    { SKETCH_AFFD, SKETCH_PRECOND_H, SKETCH_GAUSSIAN, SKETCH_BLOCK_WHOLE, 0 },
    { SKETCH_AFFD, SKETCH_PRECOND_H, SKETCH_RADEMACHER, 16384, 0 },
    { SKETCH_AFFD, SKETCH_PRECOND_F, SKETCH_GAUSSIAN, 0, 0 }, { SKETCH_AFFD, SKETCH_PRECOND_Q, SKETCH_GAUSSIAN, 256, 0 },
    { SKETCH_AFJL, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 0, 0 }, { SKETCH_AFJL, SKETCH_PRECOND_H, SKETCH_GAUSSIAN, 0, 0 },
    { SKETCH_AFJL, SKETCH_PRECOND_H, SKETCH_GAUSSIAN, 8192, 0 }, { SKETCH_AFJL, SKETCH_PRECOND_F, SKETCH_GAUSSIAN, 0, 0 },
    { SKETCH_AFJL, SKETCH_PRECOND_Q, SKETCH_RADEMACHER, 256, 0 },
    { SKETCH_QK, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 0, 0 }, { SKETCH_FJL, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 0, 0 },
    { SKETCH_FJL, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 128, 3 }, { SKETCH_FFD, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 0, 0 },
    { SKETCH_DENSE, SKETCH_PRECOND_H, SKETCH_GAUSSIAN, 0, 0 }, { SKETCH_DENSE, SKETCH_PRECOND_H, SKETCH_RADEMACHER, 0, 0 },
    { SKETCH_SJLT, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 0, 0 }, { SKETCH_SJLT, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 0, 1 },
    { SKETCH_SRHT, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 0, 0 }, { SKETCH_SRHT, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 512, 0 },
    { SKETCH_MASK, SKETCH_PRECOND_H, SKETCH_DIAG_DEFAULT, 0, 0 },
};
static const struct { uint64_t n, d; } SIZES[] = {
    { 1, 1 }, { 2, 10 }, { 7, 3 }, { 16, 16 }, { 77, 5 }, { 100, 129 }, { 255, 64 }, { 300, 17 }, { 1000, 48 },
    { 1024, 100 }, { 4099, 64 }, { 9000, 300 }, { 33000, 40 }, { 70001, 1500 }, { 263000, 64 }, { 1048577, 300 },
};
static int wanted(size_t o, size_t k) {
    const uint64_t n = SIZES[k].n, d = SIZES[k].d;
    if (OPS[o].block > 1 && OPS[o].block != SKETCH_BLOCK_WHOLE && OPS[o].algo != SKETCH_FJL && OPS[o].block < d) return 0;
    if (OPS[o].nnz > d) return 0;
    if (OPS[o].pre && n > 20000) return 0;
    if (OPS[o].algo == SKETCH_QK && n > 80000) return 0;
    if ((OPS[o].algo == SKETCH_DENSE || OPS[o].algo == SKETCH_FJL || OPS[o].algo == SKETCH_FFD) && n > 10000) return 0;
    if (OPS[o].algo == SKETCH_AFFD && OPS[o].block && n > 300000) return 0;
    return 1;
}
static int write_all(const char *path) {
    FILE *f = fopen(path, "w");
    unsigned count = 0;
    size_t o, k;
    if (!f) return 1;
    fprintf(f, "stream %d: algo precond diag block (1: whole) nnz scale keep_random n d dtype seed, fingerprint, S x, S^T y\n",
            SKETCH_STREAM_VERSION);
    for (o = 0; o < LEN(OPS); o++)
        for (k = 0; k < LEN(SIZES); k++) {
            row r;
            if (!wanted(o, k)) continue;
            memset(&r, 0, sizeof r);
            r.q = sketch_desc_make(OPS[o].algo, SIZES[k].n, SIZES[k].d, 0x0123456789abcdefu * (o + 1) + k);
            r.q.precond = OPS[o].pre;
            r.q.diag = OPS[o].diag;
            r.q.block = OPS[o].block;
            r.q.nnz = OPS[o].nnz;
            r.q.scale = count % 5 == 4 ? SKETCH_SCALE_NONE : SKETCH_SCALE_ISOMETRIC;
            if (OPS[o].algo == SKETCH_AFFD || OPS[o].algo == SKETCH_AFJL) r.q.keep_random = count % 3 == 1;
            r.type = (sketch_dtype)(count++ % 4);
            r.exact = OPS[o].algo != SKETCH_QK && OPS[o].pre != SKETCH_PRECOND_Q;
            if (run(&r, SKETCH_ISA_SCALAR) || !print(f, &r)) return 1;
        }
    printf("%u rows\n", count);
    return fclose(f) != 0;
}

static unsigned passed, failed;
static void check(const char *path, sketch_isa isa) {
    FILE *f = fopen(path, "r");
    unsigned rows = 0, bad = 0;
    int version = 0, got;
    row want;
    if (f && fscanf(f, "stream %d:%*[^\n]", &version) == 1 && version == SKETCH_STREAM_VERSION)
        while ((got = scan(f, &want)) != 0) {
            row r = want;
            int k, j, ok = got == 1 && !run(&r, isa);
            if (got < 0) {
                bad++;
                break;
            }
            if (r.fingerprint != want.fingerprint) ok = 0;
            for (k = 0; k < 2; k++) {
                if (want.exact && r.hash[k] != want.hash[k]) ok = 0;
                for (j = 0; !want.exact && j < PARTS; j++)
                    if (!(fabs(r.part[k][j] - want.part[k][j]) < NEAR)) ok = 0;
            }
            rows++;
            if (ok) passed++;
            else if (bad++ < 3) {
                printf("FAIL on %s: not as frozen: ", sketch_isa_name(isa));
                print(stdout, &want);
            }
        }
    if (f) fclose(f);
    failed += bad + (rows < 300);
    printf("%-4s known answers of stream version %d on %s: %u rows\n", bad || rows < 300 ? "FAIL" : "ok", version,
           sketch_isa_name(isa), rows);
}

int main(int argc, char **argv) {
    const char *only = getenv("SKETCH_TEST_ISA");
    int isa;
    if (argc == 3 && !strcmp(argv[2], "--write")) return write_all(argv[1]);
    for (isa = SKETCH_ISA_SCALAR; argc == 2 && isa <= SKETCH_ISA_SIMDE; isa++) {
        if (only && *only && strcmp(only, sketch_isa_name((sketch_isa)isa))) continue;
        if (sketch_selftest((sketch_isa)isa) == SKETCH_OK) check(argv[1], (sketch_isa)isa);
    }
    if (!passed) failed++;
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
