/* Every error path of the core's public functions: the status, and that out-parameters are set. NULLs, sizes, enums, options that an algorithm does not
   have, calls out of order. Running out of memory and NaN inputs are in test_core.c; store and helpers in their own files. */
#include "test.h"
#include <math.h>
#include <fenv.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#define LEN(a) (sizeof (a) / sizeof *(a))
static sketch_plan *const junk_plan = (sketch_plan *)16;
static sketch_work *const junk_work = (sketch_work *)16;

static void descs_group(void) {
    enum { ARG = SKETCH_E_ARG, SIZE = SKETCH_E_SIZE, OK = SKETCH_OK };
    const uint64_t big = UINT64_MAX, whole = SKETCH_BLOCK_WHOLE;
    static void *(*const alloc_fn)(void *, size_t, size_t) = (void *(*)(void *, size_t, size_t))16;
    const struct {
        int algo;
        uint64_t n, d;
        int want;                  /* the status */
        int pre, diag;
        uint64_t block;
        uint32_t nnz, keep, check;
        int scale, isa;
        uint32_t width;
        int measure_only;
        uint64_t seed;
    } row[] = {
#define ROW(...) ROW_OF(__VA_ARGS__, .seed = 1)
#define ROW_OF(a, nn, dd, status, ...) { .algo = a, .n = nn, .d = dd, .want = status, __VA_ARGS__ }
        ROW(0, 100, 8, ARG),
        ROW(SKETCH_MASK + 1, 100, 8, ARG),
        ROW(-1, 100, 8, ARG),
        ROW(1000, 100, 8, ARG),
        ROW(SKETCH_AFFD, 0, 8, ARG),
        ROW(SKETCH_AFFD, 100, 0, ARG),
        ROW(SKETCH_QK, 0, 0, ARG),
        /* enums */
        ROW(SKETCH_AFFD, 100, 8, ARG, .pre = 3),
        ROW(SKETCH_AFFD, 100, 8, ARG, .pre = -1),
        ROW(SKETCH_AFFD, 100, 8, ARG, .diag = 3),
        ROW(SKETCH_AFFD, 100, 8, ARG, .diag = -1),
        ROW(SKETCH_AFFD, 100, 8, ARG, .scale = 2),
        ROW(SKETCH_AFFD, 100, 8, ARG, .scale = -1),
        ROW(SKETCH_AFFD, 100, 8, ARG, .isa = 5),
        ROW(SKETCH_AFFD, 100, 8, ARG, .isa = -1),
        ROW(SKETCH_AFFD, 100, 8, ARG, .keep = 2),
        ROW(SKETCH_AFFD, 100, 8, ARG, .check = 2),
        /* options that an algorithm does not have: precond and keep_random are for AFFD and AFJL, diag also for dense, block not for QK, FFD, dense, SJLT, MASK, nnz for SJLT and FJL */
        ROW(SKETCH_QK, 100, 8, ARG, .pre = 1),
        ROW(SKETCH_FJL, 100, 8, ARG, .pre = 1),
        ROW(SKETCH_FFD, 100, 8, ARG, .pre = 2),
        ROW(SKETCH_DENSE, 100, 8, ARG, .pre = 1),
        ROW(SKETCH_SJLT, 100, 8, ARG, .pre = 1),
        ROW(SKETCH_SRHT, 100, 8, ARG, .pre = 2),
        ROW(SKETCH_QK, 100, 8, ARG, .diag = 1),
        ROW(SKETCH_FJL, 100, 8, ARG, .diag = 1),
        ROW(SKETCH_FFD, 100, 8, ARG, .diag = 1),
        ROW(SKETCH_SJLT, 100, 8, ARG, .diag = 1),
        ROW(SKETCH_SRHT, 100, 8, ARG, .diag = 1),
        ROW(SKETCH_DENSE, 100, 8, OK, .diag = 1),
        ROW(SKETCH_QK, 100, 8, ARG, .block = 64),
        ROW(SKETCH_FFD, 100, 8, ARG, .block = 64),
        ROW(SKETCH_DENSE, 100, 8, ARG, .block = 64),
        ROW(SKETCH_SJLT, 100, 8, ARG, .block = 64),
        ROW(SKETCH_AFFD, 100, 8, ARG, .nnz = 3),
        ROW(SKETCH_AFJL, 100, 8, ARG, .nnz = 3),
        ROW(SKETCH_QK, 100, 8, ARG, .nnz = 3),
        ROW(SKETCH_FFD, 100, 8, ARG, .nnz = 3),
        ROW(SKETCH_DENSE, 100, 8, ARG, .nnz = 3),
        ROW(SKETCH_SRHT, 100, 8, ARG, .nnz = 3),
        ROW(SKETCH_SJLT, 100, 8, ARG, .nnz = 9),
        ROW(SKETCH_SJLT, 100, 8, OK, .nnz = 8),
        ROW(SKETCH_QK, 100, 8, ARG, .keep = 1),
        ROW(SKETCH_FJL, 100, 8, ARG, .keep = 1),
        ROW(SKETCH_FFD, 100, 8, ARG, .keep = 1),
        ROW(SKETCH_DENSE, 100, 8, ARG, .keep = 1),
        ROW(SKETCH_SJLT, 100, 8, ARG, .keep = 1),
        ROW(SKETCH_SRHT, 100, 8, ARG, .keep = 1),
        ROW(SKETCH_MASK, 100, 8, ARG, .keep = 1),
        ROW(SKETCH_MASK, 100, 8, ARG, .pre = 1),
        ROW(SKETCH_MASK, 100, 8, ARG, .diag = 1),
        ROW(SKETCH_MASK, 100, 8, ARG, .block = 64),
        ROW(SKETCH_MASK, 100, 8, ARG, .nnz = 3),
        /* block */
        ROW(SKETCH_AFFD, 1000, 8, ARG, .block = 100),
        ROW(SKETCH_AFJL, 1000, 8, ARG, .block = 3),
        ROW(SKETCH_FJL, 1000, 8, ARG, .block = 96),
        ROW(SKETCH_SRHT, 1000, 8, ARG, .block = big - 1),
        ROW(SKETCH_AFFD, 1000, 80, SIZE, .block = 64),
        ROW(SKETCH_AFJL, 1000, 65, SIZE, .block = 64),
        ROW(SKETCH_SRHT, 1000, 1000, SIZE, .block = 512),
        ROW(SKETCH_FJL, 1000, 80, OK, .block = 64),
        ROW(SKETCH_AFFD, 1000, 64, OK, .block = 64),
        ROW(SKETCH_AFFD, 100, 128, OK, .block = (uint64_t)1 << 63),
        ROW(SKETCH_AFFD, 100, 8, OK, .block = whole),
        ROW(SKETCH_AFFD, 100, 8, SIZE, .block = 1),
        ROW(SKETCH_AFFD, 100, 1, OK, .block = 1),
        /* d past n: every operator has it */
        ROW(SKETCH_AFFD, 100, 129, OK),
        ROW(SKETCH_AFJL, 100, 129, OK),
        ROW(SKETCH_SRHT, 100, 129, OK),
        ROW(SKETCH_FFD, 100, 129, OK),
        ROW(SKETCH_QK, 100, 101, OK),
        ROW(SKETCH_QK, 2, 10, OK),
        ROW(SKETCH_MASK, 2, 10, OK),
        ROW(SKETCH_MASK, 100, 101, OK),
        ROW(SKETCH_AFFD, 2, 40, SIZE, .block = 32),
        ROW(SKETCH_AFFD, 100, 128, OK),
        ROW(SKETCH_SRHT, 100, 128, OK),
        ROW(SKETCH_FFD, 100, 128, OK),
        ROW(SKETCH_FJL, 100, 1000, OK),
        ROW(SKETCH_DENSE, 100, 1000, OK),
        ROW(SKETCH_SJLT, 100, 1000, OK),
        ROW(SKETCH_QK, 100, 100, OK),
        /* overflow: nothing may be allocated, or tried for long */
        ROW(SKETCH_AFFD, big, 8, SIZE),
        ROW(SKETCH_AFFD, (uint64_t)1 << 56, 8, SIZE),
        ROW(SKETCH_AFFD, ((uint64_t)1 << 56) - 1, 8, OK),
        ROW(SKETCH_SJLT, ((uint64_t)1 << 56) - 1, 8, OK),
        ROW(SKETCH_DENSE, 100, big, SIZE),
        ROW(SKETCH_SJLT, 100, big, SIZE),
        ROW(SKETCH_SJLT, 100, ((uint64_t)1 << 31) + 1, SIZE),
        ROW(SKETCH_FJL, 100, big, SIZE),
        ROW(SKETCH_MASK, 100, ((uint64_t)1 << 31) + 1, SIZE),
        ROW(SKETCH_MASK, (uint64_t)1 << 40, 8, SIZE),
        ROW(SKETCH_AFFD, big, big, SIZE),
        ROW(SKETCH_QK, big, big, SIZE),
        ROW(SKETCH_FFD, (uint64_t)1 << 50, (uint64_t)1 << 45, SIZE),
        ROW(SKETCH_SRHT, (uint64_t)1 << 50, 8, SIZE, .block = whole),
        ROW(SKETCH_AFFD, (uint64_t)1 << 55, 8, SIZE, .block = whole),
        ROW(SKETCH_FJL, (uint64_t)1 << 50, (uint64_t)1 << 40, SIZE),
        ROW(SKETCH_FJL, (uint64_t)1 << 50, (uint64_t)1 << 30, SIZE, .nnz = UINT32_MAX),
        ROW(SKETCH_AFFD, ((uint64_t)1 << 56) - 1, 8, OK, .keep = 1, .measure_only = 1),
        ROW(SKETCH_QK, ((uint64_t)1 << 56) - 1, 64, OK, .measure_only = 1),
        ROW(SKETCH_DENSE, (uint64_t)1 << 55, (uint64_t)1 << 34, OK, .measure_only = 1),
        ROW(SKETCH_DENSE, ((uint64_t)1 << 55) + 1, 8, SIZE),
        /* threads */
        ROW(SKETCH_AFFD, 100, 8, ARG, .width = 1025),
        ROW(SKETCH_AFFD, 100, 8, ARG, .width = 2),
        ROW(SKETCH_AFFD, 100, 8, OK, .width = 1),
        ROW(SKETCH_AFFD, 100, 8, OK, .keep = 1, .check = 1),
        ROW(SKETCH_AFJL, 100, 8, OK, .pre = 2, .diag = 1, .block = 64, .keep = 1, .check = 1, .scale = 1, .isa = 1),
#undef ROW
#undef ROW_OF
    };
    size_t pb, wb;
    sketch_plan *p;
    sketch_desc q;
    test_begin("errors: descriptors: every field out of range, options not had, overflow; measure and create agree");
    for (size_t k = 0; k < LEN(row); k++) {
        sketch_status st = SKETCH_OK, sm;
        q = sketch_desc_make((sketch_algo)row[k].algo, row[k].n, row[k].d, 1);
        q.precond = (sketch_precond)row[k].pre; q.diag = (sketch_diag)row[k].diag; q.block = row[k].block; q.nnz = row[k].nnz; q.keep_random = row[k].keep; q.check_finite = row[k].check;
        q.scale = (sketch_scale)row[k].scale; q.isa = (sketch_isa)row[k].isa; q.threads.width = row[k].width;
        pb = wb = 7; p = junk_plan;
        sm = sketch_measure(&q, 1, &pb, &wb);
        CHECK_MSG((int)sm == row[k].want, "row %zu (algo %d, n %llu, d %llu): measure says %s, not %d", k, row[k].algo, (unsigned long long)row[k].n, (unsigned long long)row[k].d, sketch_status_string(sm), row[k].want);
        CHECK_MSG(sm == SKETCH_OK ? pb > 0 && wb > 0 : pb == 0 && wb == 0, "row %zu: sizes %zu %zu", k, pb, wb);
        if (row[k].measure_only) continue;
        st = sketch_create(&q, &p);
        CHECK_MSG((int)st == row[k].want, "row %zu: create says %s, not %d", k, sketch_status_string(st), row[k].want);
        CHECK_MSG(st == SKETCH_OK ? p != junk_plan && p != NULL : p == NULL, "row %zu: *plan after %s", k, sketch_status_string(st));
        if (st == SKETCH_OK) sketch_destroy(p);
    }
    q = sketch_desc_make(SKETCH_AFFD, 100, 8, 1);
    CHECK_ST(sketch_create(&q, NULL), SKETCH_E_ARG);
    p = junk_plan; CHECK_ST(sketch_create(NULL, &p), SKETCH_E_ARG); CHECK(!p);
    pb = wb = 7; CHECK_ST(sketch_measure(NULL, 1, &pb, &wb), SKETCH_E_ARG); CHECK(!pb && !wb);
    pb = wb = 7; CHECK_ST(sketch_measure(&q, 0, &pb, &wb), SKETCH_E_ARG); CHECK(!pb && !wb);
    pb = wb = 7; CHECK_OK(sketch_measure(&q, SIZE_MAX, &pb, &wb)); CHECK(pb && wb);                 /* larger batches are cut */
    q.allocator.alloc_fn = alloc_fn; p = junk_plan; CHECK_ST(sketch_create(&q, &p), SKETCH_E_ARG); CHECK(!p);
    q = sketch_desc_make(SKETCH_AFFD, 100, 8, 1);
    q.allocator.free_fn = (void (*)(void *, void *, size_t))16; CHECK_ST(sketch_create(&q, &p), SKETCH_E_ARG); CHECK(!p);
    q = sketch_desc_make(SKETCH_AFFD, (uint64_t)1 << 50, 8, 1); q.keep_random = 1;                  /* 2^51 bytes: honest E_MEMORY */
    p = junk_plan; CHECK_ST(sketch_create(&q, &p), SKETCH_E_MEMORY); CHECK(!p);
    for (int i = SKETCH_ISA_SCALAR; i <= SKETCH_ISA_SIMDE; i++) {
        sketch_status st = sketch_selftest((sketch_isa)i);
        q = sketch_desc_make(SKETCH_AFFD, 100, 8, 1); q.isa = (sketch_isa)i; p = junk_plan;
        CHECK(sketch_create(&q, &p) == st && (st == SKETCH_OK || (st == SKETCH_E_UNSUPPORTED && !p)));
        if (st == SKETCH_OK) sketch_destroy(p);
    }
    CHECK_ST(sketch_selftest((sketch_isa)5), SKETCH_E_ARG);
    CHECK_ST(sketch_selftest((sketch_isa)-1), SKETCH_E_ARG);
    q = sketch_desc_make(SKETCH_SJLT, 5, 6, 7);
    CHECK(q.algo == SKETCH_SJLT && q.n == 5 && q.d == 6 && q.seed == 7 && !q.precond && !q.diag && !q.block && !q.nnz && !q.keep_random && !q.check_finite && !q.scale && !q.isa
        && !q.allocator.alloc_fn && !q.allocator.free_fn && !q.threads.parallel_for && !q.threads.width);
}

static void environment_group(void) {
    sketch_desc q = sketch_desc_make(SKETCH_AFFD, 100, 8, 1);
    sketch_plan *p = junk_plan;
    test_begin("errors: a floating-point environment that is not IEEE default is E_STATE");
    static const int modes[] = { FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
    for (size_t i = 0; i < LEN(modes); i++) {
        sketch_status st, sc;
        p = junk_plan;
        fesetround(modes[i]); st = sketch_selftest(SKETCH_ISA_AUTO); sc = sketch_create(&q, &p); fesetround(FE_TONEAREST);
        CHECK_MSG(st == SKETCH_E_STATE && sc == SKETCH_E_STATE && !p, "rounding mode %zu: %s", i, sketch_status_string(st));
    }
#if defined(__x86_64__)
    for (unsigned bit = 0; bit < 2; bit++) {                               /* flush to zero; denormals are zero */
        unsigned old = _mm_getcsr();
        sketch_status st;
        _mm_setcsr(old | (bit ? 0x40u : 0x8000u)); st = sketch_create(&q, &p); _mm_setcsr(old);
        CHECK_MSG(st == SKETCH_E_STATE && !p, "MXCSR bit %u: %s", bit, sketch_status_string(st));
    }
#endif
    CHECK_OK(sketch_selftest(SKETCH_ISA_AUTO));
}

static void calls_group(void) {
    enum { N = 1000, D = 16 };
    static float x[4 * N], y[4 * D], t[N];
    static double wide[N];
    sketch_plan *p = NULL, *p2 = NULL;
    sketch_work *w = NULL, *w2 = NULL, *o;
    sketch_desc q = sketch_desc_make(SKETCH_AFFD, N, D, 1);
    sketch_tensor in = { x, N, 0, SKETCH_F32 }, bad;
    uint64_t off, cnt;
    const sketch_dtype wrong[] = { (sketch_dtype)4, (sketch_dtype)-1, (sketch_dtype)1000 };
    test_begin("errors: work, accum, apply, adjoint, shards: NULLs one at a time, wrong enums, strides, sizes, foreign work");
    q.block = 64; q.check_finite = 1;
    CHECK_OK(sketch_create(&q, &p)); CHECK_OK(sketch_create(&q, &p2));
    CHECK_OK(sketch_work_create(p, 2, &w)); CHECK_OK(sketch_work_create(p2, 1, &w2));
    for (size_t i = 0; i < LEN(x); i++) x[i] = 1.0f;
    CHECK_ST(sketch_work_create(p, 1, NULL), SKETCH_E_ARG);
    o = junk_work; CHECK_ST(sketch_work_create(NULL, 1, &o), SKETCH_E_ARG); CHECK(!o);
    o = junk_work; CHECK_ST(sketch_work_create(p, 0, &o), SKETCH_E_ARG); CHECK(!o);
    CHECK(sketch_work_bytes(NULL, 1) == 0 && sketch_work_bytes(p, 0) == 0 && sketch_work_bytes(p, 1) > 0 && sketch_work_bytes(p, 2) >= sketch_work_bytes(p, 1));
    sketch_destroy(NULL); sketch_work_destroy(NULL);

#define Y_IS(v, n) do { int ok_ = 1; for (size_t i_ = 0; i_ < (n); i_++) ok_ &= y[i_] == (v); CHECK(ok_); } while (0)
#define FILL()     do { for (size_t i_ = 0; i_ < LEN(y); i_++) y[i_] = 5.0f; } while (0)
    /* accum: y untouched by every error */
    FILL();
    CHECK_ST(sketch_accum(NULL, &in, 0, 1, y, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_accum(p, NULL, 0, 1, y, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_accum(p, &in, 0, 0, y, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_accum(p, &in, 0, 1, NULL, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_accum(p, &in, 0, 1, y, 0, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_accum(p, &in, 0, 1, y, 0, w2), SKETCH_E_STATE);
    CHECK_ST(sketch_accum(p, &in, 1, 1, y, 0, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_accum(p, &in, UINT64_MAX, 1, y, 0, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_accum(p, &in, UINT64_MAX - N + 1, 1, y, 0, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_accum(p, &in, 0, 2, y, D - 1, w), SKETCH_E_SIZE);
    bad = in; bad.data = NULL;           CHECK_ST(sketch_accum(p, &bad, 0, 1, y, 0, w), SKETCH_E_ARG);
    bad = in; bad.count = N + 1;         CHECK_ST(sketch_accum(p, &bad, 0, 1, y, 0, w), SKETCH_E_SIZE);
    bad = in; bad.count = UINT64_MAX;    CHECK_ST(sketch_accum(p, &bad, 0, 1, y, 0, w), SKETCH_E_SIZE);
    bad = in; bad.count = UINT64_MAX;    CHECK_ST(sketch_accum(p, &bad, 2, 1, y, 0, w), SKETCH_E_SIZE);
    bad = in; bad.stride = N - 1;        CHECK_ST(sketch_accum(p, &bad, 0, 2, y, 0, w), SKETCH_E_SIZE);
    for (size_t i = 0; i < LEN(wrong); i++) { bad = in; bad.dtype = wrong[i]; CHECK_ST(sketch_accum(p, &bad, 0, 1, y, 0, w), SKETCH_E_ARG); }
    Y_IS(5.0f, LEN(y));
    bad = (sketch_tensor){ NULL, 0, 0, SKETCH_F32 };
    CHECK_OK(sketch_accum(p, &bad, N, 1, y, 0, w));                        /* an empty shard */
    CHECK_ST(sketch_accum(p, &bad, N + 1, 1, y, 0, w), SKETCH_E_SIZE);
    Y_IS(5.0f, LEN(y));
    /* apply, batch, tensors */
    CHECK_ST(sketch_apply(NULL, x, SKETCH_F32, y, w), SKETCH_E_ARG);
    FILL(); CHECK_ST(sketch_apply(p, NULL, SKETCH_F32, y, w), SKETCH_E_ARG); Y_IS(0.0f, D);
    CHECK_ST(sketch_apply(p, x, SKETCH_F32, NULL, w), SKETCH_E_ARG);
    FILL(); CHECK_ST(sketch_apply(p, x, SKETCH_F32, y, NULL), SKETCH_E_ARG); Y_IS(0.0f, D);
    FILL(); CHECK_ST(sketch_apply(p, x, SKETCH_F32, y, w2), SKETCH_E_STATE); Y_IS(0.0f, D); CHECK(y[D] == 5.0f);
    for (size_t i = 0; i < LEN(wrong); i++) { FILL(); CHECK_ST(sketch_apply(p, x, wrong[i], y, w), SKETCH_E_ARG); Y_IS(0.0f, D); }
    CHECK_ST(sketch_apply_batch(NULL, x, SKETCH_F32, 2, 0, y, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_batch(p, NULL, SKETCH_F32, 2, 0, y, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, 0, 0, y, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, 2, 0, NULL, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, 2, 0, y, 0, NULL), SKETCH_E_ARG);
    FILL(); CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, 2, N - 1, y, 0, w), SKETCH_E_SIZE); Y_IS(0.0f, 2 * D);
    CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, 2, 0, y, D - 1, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, SIZE_MAX, 0, y, 0, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_apply_batch(p, NULL, SKETCH_F32, SIZE_MAX, 0, y, 0, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, 2, SIZE_MAX / 2, y, 0, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, 2, 0, y, SIZE_MAX / 2, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_apply_tensors(NULL, &in, 1, 1, y, 0, w), SKETCH_E_ARG);
    FILL(); CHECK_ST(sketch_apply_tensors(p, NULL, 1, 1, y, 0, w), SKETCH_E_ARG); Y_IS(0.0f, D);
    CHECK_ST(sketch_apply_tensors(p, &in, 1, 0, y, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_tensors(p, &in, 1, 1, NULL, 0, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_tensors(p, &in, 1, 1, y, 0, NULL), SKETCH_E_ARG);
    FILL(); CHECK_ST(sketch_apply_tensors(p, &in, 0, 1, y, 0, w), SKETCH_E_SIZE); Y_IS(0.0f, D);
    {
        sketch_tensor two[2] = { { x, N - 10, 0, SKETCH_F32 }, { x, 9, 0, SKETCH_F32 } };
        FILL(); CHECK_ST(sketch_apply_tensors(p, two, 2, 1, y, 0, w), SKETCH_E_SIZE); Y_IS(0.0f, D);
        two[1].count = 11;         CHECK_ST(sketch_apply_tensors(p, two, 2, 1, y, 0, w), SKETCH_E_SIZE);
        two[1].count = UINT64_MAX - N + 11; CHECK_ST(sketch_apply_tensors(p, two, 2, 1, y, 0, w), SKETCH_E_SIZE);        /* the sum wraps to 1 */
        two[1].count = 10; two[1].stride = 9; CHECK_ST(sketch_apply_tensors(p, two, 2, 1, y, 0, w), SKETCH_E_SIZE);
        two[1].stride = 0; two[1].data = NULL; CHECK_ST(sketch_apply_tensors(p, two, 2, 1, y, 0, w), SKETCH_E_ARG);
        two[1].data = x; CHECK_OK(sketch_apply_tensors(p, two, 2, 1, y, 0, w));
    }
    /* adjoint: x untouched */
    for (size_t i = 0; i < N; i++) t[i] = 3.0f;
    CHECK_ST(sketch_apply_t(NULL, y, t, SKETCH_F32, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t(p, NULL, t, SKETCH_F32, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t(p, y, NULL, SKETCH_F32, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t(p, y, t, SKETCH_F32, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t(p, y, t, SKETCH_F32, w2), SKETCH_E_STATE);
    for (size_t i = 0; i < LEN(wrong); i++) CHECK_ST(sketch_apply_t(p, y, t, wrong[i], w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t_range(NULL, y, 0, 9, 1, 0, t, SKETCH_F32, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t_range(p, NULL, 0, 9, 1, 0, t, SKETCH_F32, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t_range(p, y, 0, 9, 1, 0, NULL, SKETCH_F32, w), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t_range(p, y, 0, 9, 1, 0, t, SKETCH_F32, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_apply_t_range(p, y, 0, 9, 1, 0, t, SKETCH_F32, w2), SKETCH_E_STATE);
    CHECK_ST(sketch_apply_t_range(p, y, N - 8, 9, 1, 0, t, SKETCH_F32, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_apply_t_range(p, y, N + 1, 0, 1, 0, t, SKETCH_F32, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_apply_t_range(p, y, UINT64_MAX, 2, 1, 0, t, SKETCH_F32, w), SKETCH_E_SIZE);
    CHECK_ST(sketch_apply_t_range(p, y, 1, UINT64_MAX, 1, 0, t, SKETCH_F32, w), SKETCH_E_SIZE);
    CHECK_OK(sketch_apply_t_range(p, y, N, 0, 1, 0, NULL, SKETCH_F32, w));
    y[3] = NAN; CHECK_ST(sketch_apply_t(p, y, t, SKETCH_F32, w), SKETCH_E_NONFINITE); y[3] = INFINITY; CHECK_ST(sketch_apply_t_range(p, y, 0, 9, 1, 0, t, SKETCH_F32, w), SKETCH_E_NONFINITE);
    for (size_t i = 0; i < N; i++) CHECK(t[i] == 3.0f);
    for (size_t i = 0; i < N; i++) wide[i] = 1.0;
    wide[N - 1] = 3.5e38; FILL(); CHECK_ST(sketch_apply(p, wide, SKETCH_F64, y, w), SKETCH_E_NONFINITE); Y_IS(0.0f, D);     /* finite in f64, not in f32 */
    /* shards */
    off = cnt = 7; CHECK_ST(sketch_shard(NULL, 0, 1, &off, &cnt), SKETCH_E_ARG); CHECK(!off && !cnt);
    off = cnt = 7; CHECK_ST(sketch_shard(p, 0, 0, &off, &cnt), SKETCH_E_ARG); CHECK(!off && !cnt);
    off = cnt = 7; CHECK_ST(sketch_shard(p, 3, 3, &off, &cnt), SKETCH_E_ARG); CHECK(!off && !cnt);
    off = cnt = 7; CHECK_ST(sketch_shard(p, 0, 1, NULL, &cnt), SKETCH_E_ARG); CHECK(!cnt);
    CHECK_ST(sketch_shard(p, 0, 1, &off, NULL), SKETCH_E_ARG); CHECK(!off);
    CHECK_OK(sketch_shard(p, UINT32_MAX - 1, UINT32_MAX, &off, &cnt)); CHECK(off + cnt == N);
    FILL(); CHECK_ST(sketch_shard_reduce(NULL, x, 1, y), SKETCH_E_ARG);
    CHECK_ST(sketch_shard_reduce(p, NULL, 1, y), SKETCH_E_ARG); Y_IS(0.0f, D);
    CHECK_ST(sketch_shard_reduce(p, x, 1, NULL), SKETCH_E_ARG);
    FILL(); CHECK_ST(sketch_shard_reduce(p, x, 0, y), SKETCH_E_ARG); Y_IS(0.0f, D);

    test_begin("errors: streams out of order: push before begin, too much, too little, begun twice, other calls while open");
    CHECK_ST(sketch_stream_begin(NULL, y), SKETCH_E_ARG);
    CHECK_ST(sketch_stream_begin(w, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_stream_push(w, x, SKETCH_F32, 1), SKETCH_E_STATE);
    CHECK_ST(sketch_stream_push(NULL, x, SKETCH_F32, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_stream_end(w), SKETCH_E_STATE);
    CHECK_ST(sketch_stream_end(NULL), SKETCH_E_ARG);
    FILL(); CHECK_OK(sketch_stream_begin(w, y)); Y_IS(0.0f, D);
    CHECK_ST(sketch_stream_begin(w, x), SKETCH_E_STATE); CHECK(x[0] == 1.0f);
    CHECK_ST(sketch_stream_push(w, NULL, SKETCH_F32, 1), SKETCH_E_ARG);
    CHECK_OK(sketch_stream_push(w, NULL, SKETCH_F32, 0));
    for (size_t i = 0; i < LEN(wrong); i++) CHECK_ST(sketch_stream_push(w, x, wrong[i], 1), SKETCH_E_ARG);
    CHECK_OK(sketch_stream_push(w, x, SKETCH_F32, 100));
    {
        float other[D], again[D];
        CHECK_ST(sketch_accum(p, &in, 0, 1, other, 0, w), SKETCH_E_STATE);
        CHECK_ST(sketch_apply(p, x, SKETCH_F32, other, w), SKETCH_E_STATE);
        CHECK_ST(sketch_apply_batch(p, x, SKETCH_F32, 1, 0, other, 0, w), SKETCH_E_STATE);
        CHECK_ST(sketch_apply_tensors(p, &in, 1, 1, other, 0, w), SKETCH_E_STATE);
        CHECK_ST(sketch_apply_t(p, other, t, SKETCH_F32, w), SKETCH_E_STATE);
        CHECK_ST(sketch_apply_t_range(p, other, 0, 5, 1, 0, t, SKETCH_F32, w), SKETCH_E_STATE);
        CHECK_ST(sketch_stream_push(w, x, SKETCH_F32, N - 99), SKETCH_E_SIZE);             /* ignored: the stream goes on */
        CHECK_ST(sketch_stream_push(w, x, SKETCH_F32, UINT64_MAX), SKETCH_E_SIZE);
        CHECK_OK(sketch_stream_push(w, x, SKETCH_F32, N - 100));
        CHECK_ST(sketch_stream_push(w, x, SKETCH_F32, 1), SKETCH_E_SIZE);
        CHECK_OK(sketch_stream_end(w));
        CHECK_ST(sketch_stream_end(w), SKETCH_E_STATE);
        CHECK_OK(sketch_apply(p, x, SKETCH_F32, again, w));
        CHECK(!memcmp(again, y, sizeof again));
    }
    FILL(); CHECK_OK(sketch_stream_begin(w, y)); CHECK_OK(sketch_stream_push(w, x, SKETCH_F32, N - 1)); CHECK_ST(sketch_stream_end(w), SKETCH_E_SIZE); Y_IS(0.0f, D);
    FILL(); CHECK_OK(sketch_stream_begin(w, y)); CHECK_ST(sketch_stream_end(w), SKETCH_E_SIZE); Y_IS(0.0f, D);
    FILL(); CHECK_OK(sketch_stream_begin(w, y)); CHECK_OK(sketch_stream_push(w, x, SKETCH_F32, 500));
    x[3] = NAN; CHECK_ST(sketch_stream_push(w, x, SKETCH_F32, 9), SKETCH_E_NONFINITE); x[3] = 1.0f; Y_IS(0.0f, D);
    CHECK_ST(sketch_stream_push(w, x, SKETCH_F32, 9), SKETCH_E_STATE); CHECK_ST(sketch_stream_end(w), SKETCH_E_STATE);
    CHECK_OK(sketch_apply(p, x, SKETCH_F32, y, w));
    sketch_work_destroy(w); sketch_work_destroy(w2); sketch_destroy(p); sketch_destroy(p2);
}

static void vectors_group(void) {
    float x[64] = { 0 };
    test_begin("errors: transforms and products; status strings, names, version");
    CHECK_ST(sketch_wht_f32(NULL, 8, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_wht_f32(x, 0, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_wht_f32(x, 12, 1), SKETCH_E_SIZE);
    CHECK_ST(sketch_wht_f32(x, SIZE_MAX / 2 + 1, 1), SKETCH_E_SIZE);
    CHECK_ST(sketch_wht_batch_f32(NULL, 1, 8, 0, 1, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_wht_batch_f32(x, 1, 0, 0, 1, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_wht_batch_f32(x, 2, 7, 8, 1, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_wht_batch_f32(x, 2, 8, 7, 1, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_wht_batch_f32(x, SIZE_MAX / 8, 8, 0, 1, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_wht_batch_f32(x, 2, 8, SIZE_MAX / 2, 1, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_gemm_nt(NULL, 2, x, 2, 4, x, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemm_nt(x, 2, NULL, 2, 4, x, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemm_nt(x, 2, x, 2, 4, NULL, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemm_nt(x, 2, x, 2, 0, x, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_gemm_nt(x, SIZE_MAX / 8, x, 2, 16, x, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_gemm_nt(x, 2, x, SIZE_MAX / 8, 16, x, NULL), SKETCH_E_SIZE);
    CHECK_ST(sketch_gemm_nt(x, SIZE_MAX / 16, x, SIZE_MAX / 16, 1, x, NULL), SKETCH_E_SIZE);
    CHECK_OK(sketch_gemm_nt(NULL, 0, x, 2, 4, NULL, NULL));
    CHECK_OK(sketch_gemm_nt(x, 2, NULL, 0, 4, NULL, NULL));
    CHECK(sketch_dot_f32(x, x, 0) == 0.0 && sketch_dot_f32(NULL, NULL, 0) == 0.0);
#define SKETCH_X(name, code, text) CHECK((int)SKETCH_##name == code && !strcmp(sketch_status_string(SKETCH_##name), text));
    SKETCH_STATUS_LIST(SKETCH_X)
#undef SKETCH_X
    CHECK(!strcmp(sketch_status_string((sketch_status)1), "unknown status") && !strcmp(sketch_status_string((sketch_status)-999), "unknown status") && !strcmp(sketch_status_string(SKETCH_STATUS_FORCE32), "unknown status"));
    CHECK(sketch_version() == SKETCH_VERSION && SKETCH_VERSION == SKETCH_VERSION_MAJOR * 10000 + SKETCH_VERSION_MINOR * 100 + SKETCH_VERSION_PATCH);
    CHECK(!strcmp(sketch_isa_name(SKETCH_ISA_AUTO), "auto") && !strcmp(sketch_isa_name(SKETCH_ISA_SCALAR), "scalar") && !strcmp(sketch_isa_name(SKETCH_ISA_AVX2), "avx2")
        && !strcmp(sketch_isa_name(SKETCH_ISA_AVX512), "avx512") && !strcmp(sketch_isa_name(SKETCH_ISA_SIMDE), "simde") && !strcmp(sketch_isa_name((sketch_isa)77), "unknown"));
    CHECK(sketch_cpu_isa() >= SKETCH_ISA_SCALAR && sketch_cpu_isa() <= SKETCH_ISA_SIMDE);
}

void test_errors(void) {
    descs_group();
    environment_group();
    calls_group();
    vectors_group();
}
