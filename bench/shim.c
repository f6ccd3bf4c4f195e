/* shim.c - sketch.h with flat functions for bench/peers.py (ctypes), which compiles it:
       cc -O2 -shared -fPIC bench/shim.c -o build/bench/libshim.so -lm -lpthread
   Threads: a width of 1 runs on the caller's. */
#if defined(__linux__)
#  define _GNU_SOURCE 1
#endif
#define SKETCH_IMPLEMENTATION
#include "../sketch.h"
#include "../examples/threads.h"
#include "machine.h"
#define SHIM __attribute__((visibility("default")))

typedef struct shim { sketch_plan *plan; sketch_work *work; } shim;

SHIM void *shim_alloc(uint64_t bytes) { return big_alloc((size_t)bytes); }
SHIM void  shim_free(void *p, uint64_t bytes) { munmap(p, (size_t)bytes); }
SHIM void  shim_fill(float *x, uint64_t n) { fill(x, (size_t)n); }
SHIM void  shim_machine(char *to, uint64_t room) { machine_name(to, (size_t)room); }

SHIM int shim_create(int algo, uint64_t n, uint64_t d, uint32_t nnz, int diag, int keep, uint64_t batch, unsigned width, shim **out)
{
    sketch_desc desc = sketch_desc_make((sketch_algo)algo, n, d, 42);
    shim *s = (shim *)calloc(1, sizeof *s);
    int st;
    *out = s;
    if (!s) return SKETCH_E_MEMORY;
    desc.nnz = nnz;
    desc.diag = (sketch_diag)diag;
    desc.keep_random = (uint32_t)keep;
    if (width > 1) desc.threads = threads_pthreads(width);
    st = sketch_create(&desc, &s->plan);
    return st != SKETCH_OK ? st : (int)sketch_work_create(s->plan, (size_t)batch, &s->work);
}
SHIM void shim_destroy(shim *s) { sketch_work_destroy(s->work); sketch_destroy(s->plan); free(s); }
SHIM int  shim_apply(shim *s, const float *x, uint64_t batch, float *y) { return sketch_apply_batch(s->plan, x, SKETCH_F32, (size_t)batch, 0, y, 0, s->work); }
SHIM int  shim_wht(float *x, uint64_t rows, uint64_t n, unsigned width)
{
    sketch_threads t = threads_pthreads(width);
    return sketch_wht_batch_f32(x, (size_t)rows, (size_t)n, 0, 1.0f, width > 1 ? &t : NULL);
}
SHIM int  shim_has_avx2(void) { return ski_kernels_for(SKETCH_ISA_AVX2) != NULL; }
SHIM void shim_wht_avx2(float *x, uint64_t rows, uint64_t n) { for (uint64_t r = 0; r < rows; r++) wht_avx2(x + r * n, (size_t)n); }
SHIM void shim_fht(int (*fht_float)(float *, int), float *x, uint64_t rows, int log_n) { for (uint64_t r = 0; r < rows; r++) fht_float(x + (r << log_n), log_n); }
SHIM int  shim_scores(const float *q, uint64_t nq, const float *t, uint64_t nt, uint64_t d, float *c, unsigned width)
{
    sketch_threads th = threads_pthreads(width);
    return sketch_gemm_nt(q, (size_t)nq, t, (size_t)nt, (size_t)d, c, width > 1 ? &th : NULL);
}
SHIM void shim_topk(const float *q, uint64_t nq, const float *t, uint64_t nt, uint64_t d, uint64_t k, uint64_t *ids, unsigned width)
{
    static sketch_hit hits[4096];                                     /* nq k at most */
    sketch_threads th = threads_pthreads(width);
    if (nq * k > 4096) return;
    rows_topk(q, (size_t)nq, t, (size_t)nt, (size_t)d, (size_t)k, hits, width > 1 ? &th : NULL);
    for (uint64_t i = 0; i < nq * k; i++) ids[i] = hits[i].id;
}
SHIM float shim_sum(const float *x, uint64_t n, unsigned width) { return stream_read(x, (size_t)n, width); }
