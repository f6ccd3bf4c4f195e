/* bench.c - how fast is sketch.h on this machine? Every operator at several n and d, as a share of the streaming read and copy that are measured
   beside it. Needs nothing but a C compiler; a few minutes.

     make bench                    the table; build/bench/bench.csv and .svg pictures
     build/bench/bench --quick     small n, under half a minute
     build/bench/bench --full      more of everything at n = 2^28
     build/bench/bench --bars      only what the bars of README.md need; prints their rows alone
     build/bench/bench --store     also top-k over a store of 4 GB in build/bench, removed afterwards
     build/bench/bench --cpu-time  for a machine that others use too: one-thread cases by this thread's CPU time, not the wall clock
     FHT_LIB=libfht.so build/bench/bench     also a library that exports `int fht_float(float *, int)`

   How. Cases of one size form a group. In each round every case of the group runs once, so a disturbance hits all alike and ratios are
   between neighbours in time; a sample is as many calls as fill 10 ms. The median over rounds is shown, +- is half the interquartile range.
   Arrays are aligned to 2 MiB and in huge pages (madvise), for reads, copies and all operators alike. */
#if defined(__linux__)
#  define _GNU_SOURCE 1
#endif
#define SKETCH_IMPLEMENTATION
#include "../sketch.h"
#include "../examples/threads.h"
#include "../examples/page.h"
#include "machine.h"
#include <dirent.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <sys/stat.h>

#define OUT_DIR "build/bench"
enum { MOST_CASES = 640, MOST_ROUNDS = 15, BATCH = 8, ROW = 1024, QUERIES = 64, TOP = 10 };

typedef enum kind { READ, COPY, APPLY, ADJOINT, WHT, WHT_AVX2, FHT, SCORES, TOPK, STORE_TOPK } kind;
typedef struct bench_case {
    kind        kind;
    char        op[20], form[20];
    sketch_desc desc;                /* n and d of every kind, the rest for APPLY and ADJOINT */
    unsigned    threads, batch;
    sketch_dtype dtype;
    sketch_plan *plan;
    sketch_work *work;
    size_t      plan_bytes, work_bytes;   /* counted, not predicted */
    double      bytes, ops;          /* of a call: what must cross the memory bus; additions and multiplications */
    sketch_status status;
    int         group, rounds, inner, samples;
    double      sample[MOST_ROUNDS], median, spread;
    double      percent_read, percent_copy;
} bench_case;

static bench_case cases[MOST_CASES];
static int   ncases, ngroups, log_top = 27, quick, full, bars_only, with_store, cpu_time;
static float *input, *output;        /* input: BATCH vectors of 2^log_top, or the rows; output: 2^log_out */
static void  *input_bf16, *input_f16, *input_f64;
static float *sketches;              /* BATCH x 2^15 */
static size_t input_count, output_count, rows_count;
static int  (*fht_float)(float *, int);
static volatile float sink;
static sketch_store *store;
static const float *store_run;       /* the store's rows as sketch_store_rows maps them */
static uint64_t store_run_count;

/* ---- the list of cases -------------------------------------------------------------------------- */
static bench_case *add(kind k, const char *op, const char *form, sketch_algo algo, int log_n, int log_d)
{
    bench_case *c = &cases[ncases];
    if (ncases == MOST_CASES) { fprintf(stderr, "bench: MOST_CASES is too small\n"); exit(1); }
    ncases++;
    memset(c, 0, sizeof *c);
    c->kind = k;
    c->group = ngroups;
    snprintf(c->op, sizeof c->op, "%s", op);
    snprintf(c->form, sizeof c->form, "%s", form);
    c->desc = sketch_desc_make(algo, (uint64_t)1 << log_n, (uint64_t)1 << log_d, 42);
    c->threads = c->batch = 1;
    return c;
}

static void add_memory(int log_n)
{
    add(READ, "read", "sum", SKETCH_AFFD, log_n, 0);
    add(COPY, "copy", "memcpy", SKETCH_AFFD, log_n, 0);
    add(READ, "read", "sum, 2 threads", SKETCH_AFFD, log_n, 0)->threads = 2;
    add(COPY, "copy", "memcpy, 2 threads", SKETCH_AFFD, log_n, 0)->threads = 2;
}

static void add_forms(const char *op, sketch_algo algo, int log_n, int log_d, uint32_t nnz)    /* everything but the plain forward call */
{
    int first = ncases;
    add(ADJOINT, op, "adjoint", algo, log_n, log_d);
    add(APPLY, op, "bf16", algo, log_n, log_d)->dtype = SKETCH_BF16;
    add(APPLY, op, "f16", algo, log_n, log_d)->dtype = SKETCH_F16;
    add(APPLY, op, "2 threads", algo, log_n, log_d)->threads = 2;
    add(ADJOINT, op, "adjoint, 2 threads", algo, log_n, log_d)->threads = 2;
    if (log_n <= log_top) add(APPLY, op, "batch of 8", algo, log_n, log_d)->batch = BATCH;
    if (algo == SKETCH_AFFD || algo == SKETCH_AFJL) {
        bench_case *c = add(APPLY, op, "keep_random", algo, log_n, log_d);
        c->desc.keep_random = 1;
        c->desc.diag = SKETCH_GAUSSIAN;
    }
    for (int i = first; i < ncases; i++) cases[i].desc.nnz = nnz;
}

static void add_operators(int log_n)
{
    static const int wide[] = { 10, 12, 15 }, every[] = { 10, 11, 12, 13, 14, 15 };
    int all = log_n == 24 && !quick, nd = all ? 6 : 3;
    const int *ds = all ? every : wide;
    add_memory(log_n);
    for (int i = 0; i < nd; i++) add(APPLY, "AFFD", "f32", SKETCH_AFFD, log_n, ds[i]);
    add_forms("AFFD", SKETCH_AFFD, log_n, 12, 0);
    for (int i = 0; i < nd; i++) add(APPLY, "AFJL", "f32", SKETCH_AFJL, log_n, ds[i]);
    if (!all) add(APPLY, "AFJL", "f32", SKETCH_AFJL, log_n, 13);
    add_forms("AFJL", SKETCH_AFJL, log_n, 13, 0);
    for (int i = 0; i < nd; i++) add(APPLY, "QK", "f32", SKETCH_QK, log_n, ds[i]);
    if (!all) add(APPLY, "QK", "f32", SKETCH_QK, log_n, 14);
    add_forms("QK", SKETCH_QK, log_n, 14, 0);
    for (int i = 0; i < nd; i++) add(APPLY, "SJLT nnz 1", "f32", SKETCH_SJLT, log_n, ds[i])->desc.nnz = 1;
    add_forms("SJLT nnz 1", SKETCH_SJLT, log_n, 12, 1);
    if (bars_only) return;
    add(APPLY, "SRHT", "f32", SKETCH_SRHT, log_n, 12);
    add(ADJOINT, "SRHT", "adjoint", SKETCH_SRHT, log_n, 12);
    add(APPLY, "MASK", "f32", SKETCH_MASK, log_n, 12);
    add(ADJOINT, "MASK", "adjoint", SKETCH_MASK, log_n, 12);
    add(APPLY, "FFD", "f32", SKETCH_FFD, log_n, 12);
    add(APPLY, "AFFD", "Rademacher", SKETCH_AFFD, log_n, 12)->desc.diag = SKETCH_RADEMACHER;
    if (log_n <= 24 || full) {                                       /* slow ones, whose time is linear in n all the same */
        add(ADJOINT, "FFD", "adjoint", SKETCH_FFD, log_n, 12);
        add(APPLY, "AFFD", "precond F", SKETCH_AFFD, log_n, 12)->desc.precond = SKETCH_PRECOND_F;
        add(APPLY, "AFFD", "precond Q", SKETCH_AFFD, log_n, 12)->desc.precond = SKETCH_PRECOND_Q;
        add(APPLY, "SJLT nnz 8", "f32", SKETCH_SJLT, log_n, 12)->desc.nnz = 8;
        add(ADJOINT, "SJLT nnz 8", "adjoint", SKETCH_SJLT, log_n, 12)->desc.nnz = 8;
    }
    if (log_n <= 24) {
        add(APPLY, "AFFD", "f64", SKETCH_AFFD, log_n, 12)->dtype = SKETCH_F64;
        add(APPLY, "AFFD", "whole vector", SKETCH_AFFD, log_n, 12)->desc.block = SKETCH_BLOCK_WHOLE;
        add(ADJOINT, "AFFD", "whole, adjoint", SKETCH_AFFD, log_n, 12)->desc.block = SKETCH_BLOCK_WHOLE;
    }
    if (log_n <= 20) add(APPLY, "FJL", "f32", SKETCH_FJL, log_n, 10);
}

static void add_whts(int log_n)
{
    add(READ, "read", "sum", SKETCH_AFFD, log_n, 0);
    add(WHT, "WHT", "f32", SKETCH_AFFD, log_n, 0);
    if (ski_kernels_for(SKETCH_ISA_AVX2)) add(WHT_AVX2, "WHT", "forced AVX2", SKETCH_AFFD, log_n, 0);
    if (log_n >= 20) add(WHT, "WHT", "2 threads", SKETCH_AFFD, log_n, 0)->threads = 2;
    if (fht_float) add(FHT, "FFHT", "fht_float", SKETCH_AFFD, log_n, 0);
}

static void add_all(void)
{
    int middle = quick ? 20 : 24;
    if (!bars_only || middle == log_top) { add_operators(quick ? 18 : 20); ngroups++; }
    else {                                                           /* only what "linear in n" and "memory" need */
        add_memory(20);
        add(APPLY, "AFFD", "f32", SKETCH_AFFD, 20, 12);
        add(APPLY, "AFJL", "f32", SKETCH_AFJL, 20, 13);
        add(APPLY, "QK", "f32", SKETCH_QK, 20, 14);
        ngroups++;
    }
    add_memory(22);                                                  /* dense: n d is the cost */
    add(APPLY, "dense +-1", "f32", SKETCH_DENSE, 22, 9)->desc.diag = SKETCH_RADEMACHER;
    if (!bars_only) {
        add(APPLY, "dense +-1", "2 threads", SKETCH_DENSE, 22, 9)->threads = 2;
        add(APPLY, "dense normal", "f32", SKETCH_DENSE, 22, 9);
        add(ADJOINT, "dense +-1", "adjoint", SKETCH_DENSE, 22, 9);
        for (int i = ncases - 4; i < ncases; i++) cases[i].desc.diag = strcmp(cases[i].op, "dense normal") ? SKETCH_RADEMACHER : SKETCH_GAUSSIAN;
        if (!quick) { bench_case *c = add(APPLY, "dense +-1", "batch of 8", SKETCH_DENSE, 22, 9); c->desc.diag = SKETCH_RADEMACHER; c->batch = BATCH; }
    }
    ngroups++;
    if (!bars_only && middle < log_top) { add_operators(middle); ngroups++; }
    add_operators(log_top);
    if (fht_float) add(FHT, "FFHT", "fht_float", SKETCH_AFFD, log_top, 0);
    ngroups++;
    if (!quick && (size_t)1 << 28 <= input_count) {
        if (full) add_operators(28);
        else {
            add_memory(28);
            add(APPLY, "AFFD", "f32", SKETCH_AFFD, 28, 12);
            add(APPLY, "AFJL", "f32", SKETCH_AFJL, 28, 13);
            add(APPLY, "QK", "f32", SKETCH_QK, 28, 14);
        }
        ngroups++;
    }
    for (int l = 10; l <= 28 && (size_t)1 << l <= output_count; l++, ngroups++) add_whts(l);
    if (rows_count) {
        bench_case *c;
        const int first = ncases;
        add(READ, "read", "sum", SKETCH_AFFD, 0, 10);
        add(READ, "read", "sum, 2 threads", SKETCH_AFFD, 0, 10)->threads = 2;
        add(TOPK, "top-k", "1 query", SKETCH_AFFD, 0, 10);
        add(TOPK, "top-k", "1 query, 2 threads", SKETCH_AFFD, 0, 10)->threads = 2;
        c = add(SCORES, "scores", "64 queries", SKETCH_AFFD, 0, 10); c->batch = QUERIES;
        c = add(SCORES, "scores", "64 q., 2 threads", SKETCH_AFFD, 0, 10); c->batch = QUERIES; c->threads = 2;
        if (with_store) {
            add(READ, "read", "store's rows", SKETCH_AFFD, 0, 10);
            add(STORE_TOPK, "top-k", "1 query, store", SKETCH_AFFD, 0, 10);
        }
        for (int i = first; i < ncases; i++) cases[i].desc.n = (uint64_t)rows_count;         /* n: rows */
        ngroups++;
    }
}

/* ---- one case ------------------------------------------------------------------------------------ */
static size_t counted;               /* bytes that the allocator below has handed out and not got back */
static void *count_alloc(void *user, size_t size, size_t align)
{
    void *p;
    (void)user;
    if (align < 4096) align = 4096;
    if (size >= (size_t)4 << 20) align = (size_t)2 << 20;            /* kept diagonals: huge pages as for all large arrays */
    if (posix_memalign(&p, align, size)) return NULL;
#ifdef MADV_HUGEPAGE
    if (size >= (size_t)4 << 20) madvise(p, size, MADV_HUGEPAGE);
#endif
    counted += size;
    return p;
}
static void count_free(void *user, void *p, size_t size)
{
    (void)user;
    counted -= size;
    free(p);
}

static const size_t dtype_bytes[4] = { 4, 2, 2, 8 };

static double qk_ops(const sketch_info *f)                           /* multiplications and additions of the cheapest order of contractions */
{
    static const int order[6][3] = { {0,1,2}, {0,2,1}, {1,0,2}, {1,2,0}, {2,0,1}, {2,1,0} };
    double best = INFINITY;
    for (int o = 0; o < 6; o++) {
        double size = 1, ops = 0;
        for (int k = 0; k < 3; k++) size *= (double)f->factor_in[k];
        for (int k = 0; k < 3; k++) {
            int i = order[o][k];
            ops += 2 * size * (double)f->factor_out[i];
            size *= (double)f->factor_out[i] / (double)f->factor_in[i];
        }
        if (ops < best) best = ops;
    }
    return best;
}

static void set_up(bench_case *c)
{
    double n = (double)c->desc.n, d = (double)c->desc.d, L, N;
    sketch_info f;
    c->status = SKETCH_OK;
    switch (c->kind) {
    case READ: c->bytes = n * (rows_count == c->desc.n ? d : 1) * 4; c->ops = c->bytes / 4; return;
    case COPY: c->bytes = 2 * n * 4; return;
    case WHT: case WHT_AVX2: case FHT: c->bytes = 2 * n * 4; c->ops = n * log2(n); return;
    case SCORES: c->bytes = n * d * 4; c->ops = 2 * n * d * QUERIES; return;
    case TOPK: case STORE_TOPK: c->bytes = n * d * 4; c->ops = 2 * n * d; return;
    default: break;
    }
    c->desc.allocator.alloc_fn = count_alloc;
    c->desc.allocator.free_fn = count_free;
    if (c->threads > 1) c->desc.threads = threads_pthreads(c->threads);
    counted = 0;
    c->status = sketch_create(&c->desc, &c->plan);
    c->plan_bytes = counted;
    if (c->status == SKETCH_OK) c->status = sketch_work_create(c->plan, c->batch, &c->work);
    c->work_bytes = counted - c->plan_bytes;
    if (c->status != SKETCH_OK) return;
    f = sketch_query(c->plan);
    L = (double)f.block; N = (double)f.nblocks;
    c->bytes = c->batch * (n * (double)dtype_bytes[c->dtype] + d * 4) + (double)c->plan_bytes;
    switch (c->desc.algo) {
    case SKETCH_AFFD:  c->ops = n * (log2(L) + 2) * (c->desc.precond ? NAN : 1); break;                /* transform, diagonal, fold */
    case SKETCH_AFJL:  c->ops = n * (3 + ceil(d / 1024) / 8) + N * d * 12; break;                         /* groups of 8 rows; a transform of 1024 and the diagonal for each kept row */
    case SKETCH_QK:    c->ops = qk_ops(&f); break;
    case SKETCH_MASK:  c->ops = d; break;
    case SKETCH_SRHT:  c->ops = n * log2(L); break;
    case SKETCH_FFD:   c->ops = n * (2 * log2(L) + 2); break;
    case SKETCH_FJL:   c->ops = n * log2(L) + 2 * N * d * f.nnz; break;
    case SKETCH_DENSE: c->ops = n * d * (c->desc.diag == SKETCH_RADEMACHER ? 1 : 2); break;
    case SKETCH_SJLT:  c->ops = n * f.nnz; break;
    default: break;
    }
    c->ops *= c->batch;
}

static void tear_down(bench_case *c)
{
    sketch_work_destroy(c->work);
    sketch_destroy(c->plan);
    c->work = NULL;
    c->plan = NULL;
}

static void call(bench_case *c)
{
    const size_t n = (size_t)c->desc.n, d = (size_t)c->desc.d;
    const void *x = c->dtype == SKETCH_BF16 ? input_bf16 : c->dtype == SKETCH_F16 ? input_f16 : c->dtype == SKETCH_F64 ? input_f64 : input;
    const sketch_threads two = threads_pthreads(2), *threads = c->threads > 1 ? &two : NULL;
    sketch_hit hits[TOP];
    switch (c->kind) {
    case READ:       sink = c->form[0] == 's' && c->form[1] == 't' ? stream_read(store_run, (size_t)store_run_count * d, 1)
                                                                  : stream_read(input, rows_count == n ? n * d : n, c->threads); break;
    case COPY:       stream_copy(output, input, n, c->threads); break;
    case APPLY:      c->status = sketch_apply_batch(c->plan, x, c->dtype, c->batch, 0, sketches, 0, c->work); break;
    case ADJOINT:    c->status = sketch_apply_t(c->plan, sketches, output, SKETCH_F32, c->work); break;
    case WHT:        c->status = sketch_wht_batch_f32(output, 1, n, 0, 1.0f, threads); break;
    case WHT_AVX2:   wht_avx2(output, n); break;
    case FHT:        fht_float(output, (int)log2((double)n)); break;
    case SCORES:     c->status = sketch_gemm_nt(sketches, QUERIES, input, n, d, output, threads); break;
    case TOPK:       rows_topk(sketches, 1, input, n, d, TOP, hits, threads); sink = hits[0].score; break;
    case STORE_TOPK: c->status = sketch_tda_topk(store, sketches, 1, d, SKETCH_DOT, SKETCH_HIGHEST, TOP, hits, NULL); sink = hits[0].score; break;
    }
}

static double clock_of(const bench_case *c)
{
    struct timespec t;
    if (!cpu_time || c->threads > 1) return now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds a call, over `times` calls. Transforms are in place and unnormalised: values grow by sqrt(n) each time, so the vector starts at 2^-40 and is
   made anew, outside the clock, before it could overflow. */
static double sample(bench_case *c, int times)
{
    static size_t scaled_n;
    static int used;
    double total = 0, t;
    int in_place = c->kind == WHT || c->kind == WHT_AVX2 || c->kind == FHT;
    int most = in_place ? (int)(280 / log2((double)c->desc.n)) : times;
    for (int done = 0; done < times; ) {
        int chunk = times - done;
        if (in_place) {
            if (scaled_n != c->desc.n || used >= most) {
                for (size_t i = 0; i < (size_t)c->desc.n; i++) output[i] = input[i & ((1u << 20) - 1)] * 9.094947e-13f;
                scaled_n = c->desc.n;
                used = 0;
            }
            if (chunk > most - used) chunk = most - used;
            used += chunk;
        } else if (c->kind == COPY || c->kind == ADJOINT || c->kind == SCORES) scaled_n = 0;
        t = clock_of(c);
        for (int i = 0; i < chunk; i++) call(c);
        total += clock_of(c) - t;
        done += chunk;
    }
    return total / times;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(bench_case *c)
{
    double s[MOST_ROUNDS];
    int m = c->samples;
    memcpy(s, c->sample, sizeof s);
    qsort(s, (size_t)m, sizeof *s, by_value);
    c->median = m % 2 ? s[m / 2] : (s[m / 2 - 1] + s[m / 2]) / 2;
    c->spread = 100 * (s[(3 * (m - 1) + 2) / 4] - s[(m - 1 + 2) / 4]) / 2 / c->median;
}

/* ---- progress, on stderr -------------------------------------------------------------------------- */
static double started, work_done, work_all;
static double guess(const bench_case *c)                             /* seconds a sample; only for the percentage */
{
    double n = (double)c->desc.n * c->batch, s;
    if (c->kind == SCORES) s = n * 1024 * 2e-11;
    else if (c->kind == TOPK || c->kind == STORE_TOPK || (c->kind == READ && rows_count == c->desc.n)) s = (double)c->desc.n * 1024 * 1.2e-10;
    else if (c->desc.algo == SKETCH_DENSE) s = n * 6e-8;
    else s = n * (c->kind == READ ? 0.1e-9 : c->kind == COPY ? 0.3e-9 : c->desc.nnz == 8 ? 5e-9 : c->desc.precond ? 2e-9 : 0.5e-9);
    return s < 0.011 ? 0.011 : s;
}
static void progress(const char *what, double more)
{
    static double last;
    double t = now();
    work_done += more;
    if (t - last < (isatty(2) ? 0.2 : 10)) return;
    last = t;
    fprintf(stderr, isatty(2) ? "\r%3.0f%%  %4.0f s  %-60s" : "%3.0f%%  %4.0f s  %s\n", 100 * work_done / work_all, t - started, what);
    fflush(stderr);
}

/* ---- the table ------------------------------------------------------------------------------------ */
static void table_head(void)
{
    printf("\n%-12s %-18s %9s %6s %10s %5s %7s %6s %6s %8s %9s\n", "operator", "form", "n", "d", "ns/element", "+-%", "GB/s", "%read", "%copy", "Gop/s", "extra KiB");
}

static void name_n(const bench_case *c, char *to, size_t room)
{
    if (c->desc.n & (c->desc.n - 1)) snprintf(to, room, "%.3g", (double)c->desc.n);
    else snprintf(to, room, "2^%d", (int)log2((double)c->desc.n));
}

static double ns_element(const bench_case *c) { return 1e9 * c->median / (double)c->desc.n / c->batch; }

static void table_row(const bench_case *c)
{
    char n[24], d[24] = "", ops[24] = "", extra[24] = "", copy[24] = "";
    name_n(c, n, sizeof n);
    if (c->status != SKETCH_OK) { printf("%-12s %-18s %9s  not run: %s\n", c->op, c->form, n, sketch_status_string(c->status)); return; }
    if (c->desc.d > 1) snprintf(d, sizeof d, "%" PRIu64, c->desc.d);
    if (c->ops > 0) snprintf(ops, sizeof ops, "%.1f", 1e-9 * c->ops / c->median);
    if (c->kind == APPLY || c->kind == ADJOINT) snprintf(extra, sizeof extra, "%.0f", (double)(c->plan_bytes + c->work_bytes) / 1024);
    if (c->percent_copy > 0) snprintf(copy, sizeof copy, "%.0f", c->percent_copy);
    printf("%-12s %-18s %9s %6s %10.4f %5.1f %7.2f %6.0f %6s %8s %9s\n", c->op, c->form, n, d, ns_element(c), c->spread, 1e-9 * c->bytes / c->median,
           c->percent_read, copy, ops, extra);
}

static void run_group(int group)
{
    int first = 0, last, most = 0;
    double read[3] = { 0, 0, 0 }, copy[3] = { 0, 0, 0 };
    char what[80];
    while (cases[first].group != group) first++;
    for (last = first; last < ncases && cases[last].group == group; last++) {
        bench_case *c = &cases[last];
        double t;
        set_up(c);
        snprintf(what, sizeof what, "warm-up: %s, %s, n = %.3g", c->op, c->form, (double)c->desc.n);
        progress(what, 0);
        if (c->status != SKETCH_OK) continue;
        sample(c, 1);                                                /* touches pages and tables */
        t = sample(c, 1);
        c->inner = t > 0.01 ? 1 : (int)(0.01 / (t + 1e-9)) + 1;
        if (c->inner > 200000) c->inner = 200000;
        c->rounds = quick ? 5 : 7;
        while (c->rounds > 3 && c->rounds * t > 8) c->rounds -= 2;   /* long ones: 8 s or 3 rounds */
        if (c->rounds > most) most = c->rounds;
    }
    for (int r = 0; r < most; r++)
        for (int i = first; i < last; i++) {
            bench_case *c = &cases[i];
            if (c->status != SKETCH_OK || r >= c->rounds) continue;
            snprintf(what, sizeof what, "round %d/%d: %s, %s, n = %.3g", r + 1, most, c->op, c->form, (double)c->desc.n);
            progress(what, guess(c));
            c->sample[c->samples++] = sample(c, c->inner);
        }
    for (int i = first; i < last; i++) {
        bench_case *c = &cases[i];
        tear_down(c);
        if (c->status != SKETCH_OK) continue;
        summarise(c);
        if (c->kind == READ && c->form[1] == 'u') read[c->threads] = c->bytes / c->median;
        if (c->kind == COPY) copy[c->threads] = c->bytes / c->median;
    }
    if (!bars_only) table_head();
    for (int i = first; i < last; i++) {
        bench_case *c = &cases[i];
        double speed = c->bytes / c->median;
        if (read[2] < read[1]) read[2] = read[1];                    /* starting threads is not worth it at this size */
        if (copy[2] < copy[1]) copy[2] = copy[1];
        c->percent_read = 100 * speed / read[c->threads];
        c->percent_copy = copy[1] > 0 ? 100 * speed / copy[c->threads] : 0;
        if (!bars_only) table_row(c);
    }
    fflush(stdout);
}

/* ---- files ----------------------------------------------------------------------------------------- */
static const char *const dtype_name[4] = { "f32", "bf16", "f16", "f64" };

static int write_csv(const char *path, const char *machine)
{
    FILE *f = fopen(path, "w");
    if (!f) return -1;
    fprintf(f, "# %s\noperator,form,n,d,threads,batch,dtype,samples,seconds,spread_percent,ns_per_element,gb_per_s,percent_of_read,percent_of_copy,"
               "gop_per_s,plan_bytes,work_bytes\n", machine);
    for (int i = 0; i < ncases; i++) {
        const bench_case *c = &cases[i];
        if (c->status != SKETCH_OK || !c->samples) continue;
        fprintf(f, "%s,\"%s\",%" PRIu64 ",%" PRIu64 ",%u,%u,%s,%d,%.6g,%.2f,%.5g,%.4g,%.4g,%.4g,%.4g,%zu,%zu\n", c->op, c->form, c->desc.n, c->desc.d, c->threads, c->batch,
                dtype_name[c->dtype], c->samples, c->median, c->spread, ns_element(c), 1e-9 * c->bytes / c->median, c->percent_read, c->percent_copy,
                1e-9 * c->ops / c->median, c->plan_bytes, c->work_bytes);
    }
    return fclose(f);
}

static const bench_case *find(const char *op, const char *form, int log_n, int log_d)
{
    for (int i = 0; i < ncases; i++) {
        const bench_case *c = &cases[i];
        if (!strcmp(c->op, op) && !strcmp(c->form, form) && (log_n < 0 || c->desc.n == (uint64_t)1 << log_n) && (log_d < 0 || c->desc.d == (uint64_t)1 << log_d) &&
            c->status == SKETCH_OK && c->samples) return c;
    }
    return NULL;
}
static double seconds(const char *op, const char *form, int log_n, int log_d)
{
    const bench_case *c = find(op, form, log_n, log_d);
    return c ? c->median : NAN;
}

typedef struct curve { double x[32], y[32]; char name[24]; } curve;
static void draw(const char *file, const char *title, const char *x_title, const char *y_title, double x0, double x1, int x_step, double y0, double y1,
                 page_series *series, int nseries)                   /* both axes in powers of two */
{
    static const char *const small[] = { "1/64", "1/32", "1/16", "1/8", "1/4", "1/2" };
    double xat[32], yat[32];
    char xname[32][16], yname[32][16];
    const char *xn[32], *yn[32];
    int nx = 0, ny = 0;
    char path[256];
    page p;
    for (int e = (int)ceil(x0); e <= x1 + 1e-9 && nx < 32; e += x_step, nx++) {
        xat[nx] = exp2(e); xn[nx] = xname[nx];
        if (x0 >= 8) snprintf(xname[nx], 16, "2^%d", e); else if (e < 0) snprintf(xname[nx], 16, "%s", small[e < -6 ? 0 : 6 + e]); else snprintf(xname[nx], 16, "%d", 1 << e);
    }
    for (int e = (int)ceil(y0); e <= y1 + 1e-9 && ny < 32; e++, ny++) {
        yat[ny] = exp2(e); yn[ny] = yname[ny];
        if (e < 0) snprintf(yname[ny], 16, "%s", small[e < -6 ? 0 : 6 + e]); else snprintf(yname[ny], 16, "%d", 1 << e);
    }
    page_axis xs = { x_title, x0, x1, log2, nx, xat, xn }, ys = { y_title, y0, y1, log2, ny, yat, yn };
    snprintf(path, sizeof path, OUT_DIR "/%s", file);
    if (page_open_svg(&p, path, 820, 480, title)) { perror(path); return; }
    page_label(&p, 24, 30, "start", "big", title);
    page_chart(&p, 24, 48, 772, 420, &xs, &ys, series, nseries);
    if (page_close(&p)) perror(path);
}

static page_series series_of(curve *c, int count, int look, int dashed)
{
    page_series s = { c->name, look, look, dashed, dashed ? 1.6 : 2.2, count, c->x, c->y };
    if (look < 0) s.marker = -1;
    return s;
}

static void range(const page_series *s, int ns, double *lo, double *hi)
{
    *lo = INFINITY; *hi = -INFINITY;
    for (int i = 0; i < ns; i++)
        for (int k = 0; k < s[i].count; k++) {
            double v = log2(s[i].y[k]);
            if (isnan(v) || isinf(v)) continue;
            if (v < *lo) *lo = v;
            if (v > *hi) *hi = v;
        }
    if (!(*lo <= *hi)) { *lo = -1; *hi = 1; }
    *lo = floor(*lo - 0.2); *hi = ceil(*hi + 0.2);
}

static void pictures(void)
{
    static const struct { const char *op, *name; int log_d; } by_n[] =
        { { "AFFD", "AFFD", 12 }, { "AFJL", "AFJL", 13 }, { "QK", "QK", 14 }, { "SJLT nnz 1", "SJLT", 12 }, { "SRHT", "SRHT", 12 }, { "FFD", "FFD", 12 } };
    static const char *const wht_form[] = { "f32", "forced AVX2", "2 threads" }, *const wht_name[] = { "1 thread", "AVX2", "2 threads" };
    static curve c[16];
    page_series s[16];
    double lo, hi;
    int ns = 0, low = quick ? 18 : 20, log_max = (size_t)1 << 28 <= input_count && !quick ? 28 : log_top, middle = quick ? log_top : 24;
    char title[256];
    for (size_t k = 0; k < sizeof by_n / sizeof *by_n; k++, ns++) {  /* time an element over n */
        snprintf(c[ns].name, sizeof c[ns].name, "%s", by_n[k].name);
        for (int l = 16; l <= 28; l++) { const bench_case *b = find(by_n[k].op, "f32", l, by_n[k].log_d); c[ns].x[l - 16] = exp2(l); c[ns].y[l - 16] = b ? ns_element(b) : NAN; }
        s[ns] = series_of(&c[ns], 13, ns, 0);
    }
    snprintf(c[ns].name, sizeof c[ns].name, "read");
    for (int l = 16; l <= 28; l++) { const bench_case *b = find("read", "sum", l, 0); c[ns].x[l - 16] = exp2(l); c[ns].y[l - 16] = b && l >= low ? ns_element(b) : NAN; }
    s[ns] = series_of(&c[ns], 13, -1, 1); ns++;
    range(s, ns, &lo, &hi);
    draw("over-n.svg", "Time an element over n, one thread (d: AFJL 2^13, QK 2^14, else 2^12)", "n", "ns an element", low, log_max, 1, lo, hi, s, ns);

    for (ns = 0; ns < 4; ns++) {                                     /* over d */
        snprintf(c[ns].name, sizeof c[ns].name, "%s", by_n[ns].name);
        for (int l = 10; l <= 15; l++) { const bench_case *b = find(by_n[ns].op, "f32", middle, l); c[ns].x[l - 10] = exp2(l); c[ns].y[l - 10] = b ? ns_element(b) : NAN; }
        s[ns] = series_of(&c[ns], 6, ns, 0);
    }
    snprintf(c[ns].name, sizeof c[ns].name, "read");
    for (int l = 10; l <= 15; l++) { const bench_case *b = find("read", "sum", middle, 0); c[ns].x[l - 10] = exp2(l); c[ns].y[l - 10] = b ? ns_element(b) : NAN; }
    s[ns] = series_of(&c[ns], 6, -1, 1); ns++;
    range(s, ns, &lo, &hi);
    snprintf(title, sizeof title, "Time an element over the sketch's length, one thread, n = 2^%d", middle);
    draw("over-d.svg", title, "d", "ns an element", 10, 15, 1, lo, hi, s, ns);

    ns = 0;                                                          /* the transform */
    for (int k = 0; k < 4; k++) {
        const char *op = k == 3 ? "FFHT" : "WHT", *form = k == 3 ? "fht_float" : wht_form[k];
        if (k == 3 && !fht_float) break;
        snprintf(c[ns].name, sizeof c[ns].name, "%s", k == 3 ? "FFHT" : wht_name[k]);
        for (int l = 10; l <= 28; l++) { const bench_case *b = find(op, form, l, 0); c[ns].x[l - 10] = exp2(l); c[ns].y[l - 10] = b ? ns_element(b) : NAN; }
        s[ns] = series_of(&c[ns], 19, k, 0);
        ns++;
    }
    range(s, ns, &lo, &hi);
    draw("wht.svg", "Walsh-Hadamard transform in place, f32", "length", "ns an element", 10, quick ? log_top : 28, 2, lo, hi, s, ns);

    {                                                                /* the roof: read speed, and where each operator stands under it */
        static const struct { const char *op, *form, *name; int log_n, log_d; } at[] = {
            { "AFFD", "f32", "AFFD", 0, 12 }, { "AFJL", "f32", "AFJL", 0, 13 }, { "QK", "f32", "QK", 0, 14 }, { "SJLT nnz 1", "f32", "SJLT", 0, 12 },
            { "AFFD", "keep_random", "kept G", 0, 12 }, { "AFFD", "batch of 8", "AFFD x8", 0, 12 }, { "WHT", "f32", "WHT", 0, 0 }, { "dense +-1", "f32", "dense", 22, 9 } };
        const bench_case *r = find("read", "sum", log_top, 0), *g = find("scores", "64 queries", -1, 10);
        ns = 0;
        for (size_t k = 0; k < sizeof at / sizeof *at + 1; k++) {
            int is_scores = k == sizeof at / sizeof *at;
            const bench_case *b = is_scores ? g : find(at[k].op, at[k].form, at[k].log_n ? at[k].log_n : log_top, at[k].log_d);
            if (!b || isnan(b->ops)) continue;
            snprintf(c[ns].name, sizeof c[ns].name, "%s", is_scores ? "scores" : at[k].name);
            c[ns].x[0] = b->ops / b->bytes; c[ns].y[0] = 1e-9 * b->ops / b->median;
            s[ns] = series_of(&c[ns], 1, (int)k % 8, 0);
            ns++;
        }
        if (r) {
            for (int e = -3; e <= 9; e++) { c[ns].x[e + 3] = exp2(e); c[ns].y[e + 3] = exp2(e) * 1e-9 * r->bytes / r->median; }
            for (int e = -3; e <= 9; e++) if (c[ns].y[e + 3] > 1024) c[ns].y[e + 3] = NAN;
            snprintf(c[ns].name, sizeof c[ns].name, "read");
            s[ns] = series_of(&c[ns], 13, -1, 1); ns++;
        }
        snprintf(title, sizeof title, "Under the roof of memory, one thread, n = 2^%d: the line is the streaming read", log_top);
        draw("roofline.svg", title, "operations a byte of memory traffic", "Gop/s", -3, 9, 1, -2, 10, s, ns);
    }
}

/* ---- the bars of README.md that this program can judge alone --------------------------------------- */
static FILE *bars_file;
static int   bars_short;
static void bar(const char *id, const char *what, const char *limit, double value, double most, int higher_is_better, const char *format, ...)
{
    char text[256];
    va_list args;
    int known = !isnan(value), good = known && (higher_is_better ? value >= most : value <= most);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (known && !good) bars_short++;
    printf("| %s | %s | %s%s |\n", what, limit, known ? text : "not measured", !known ? "" : good ? "" : ", **short**");
    if (bars_file) fprintf(bars_file, "%s\t%s\t%s\t%s\t%s\n", id, what, limit, known ? text : "not measured", !known ? "unknown" : good ? "pass" : "short");
}

static double worst_ratio(const char *const *op, const int *log_d, int nop, const char *form, const char *other, int log_n, char *text, size_t room)
{
    double worst = NAN;                                              /* over operators: time of form / time of other */
    text[0] = 0;
    for (int i = 0; i < nop; i++) {
        double r = seconds(op[i], form, log_n, log_d[i]) / seconds(op[i], other, log_n, log_d[i]);
        size_t l = strlen(text);
        if (isnan(r)) continue;
        snprintf(text + l, room - l, "%s%s %.2f", l ? ", " : "", op[i], r);
        if (!(worst >= r)) worst = r;
    }
    return worst;
}

static void bars(const char *machine)
{
    static const char *const four[] = { "AFFD", "AFJL", "QK", "SJLT nnz 1" };
    static const int four_d[] = { 12, 13, 14, 12 };
    const int t = log_top, low = quick && !bars_only ? 18 : 20, high = find("AFFD", "f32", 28, 12) ? 28 : log_top;
    const double read = seconds("read", "sum", t, 0), fht = seconds("FFHT", "fht_float", t, 0);
    double a, b, lo[2] = { INFINITY, INFINITY }, two = INFINITY, avx2 = INFINITY;
    char text[256], other[256], what[256];
    int at[4] = { 0, 0, 0, 0 };
    const bench_case *m0 = find("AFFD", "f32", low, 12), *m1 = find("AFFD", "f32", high, 12);

    bars_file = fopen(OUT_DIR "/bars-bench.tsv", "w");
    if (bars_file) fprintf(bars_file, "# %s%s%s\n", machine, cpu_time ? ", one-thread cases by CPU time" : "", quick ? ", --quick" : "");
    printf("\n%s%s%s\n\n| what | bar | measured |\n|---|---|---|\n", machine, cpu_time ? ", one-thread cases by CPU time" : "", quick ? " (--quick: smaller n than the bars are about)" : "");
    for (int l = 10; l <= 28; l++) {
        double f = seconds("FFHT", "fht_float", l, 0), r = f / seconds("WHT", "f32", l, 0), v = f / seconds("WHT", "forced AVX2", l, 0), w = f / seconds("WHT", "2 threads", l, 0);
        if (l <= 22 && r < lo[0]) { lo[0] = r; at[0] = l; }
        if (l >= 24 && r < lo[1]) { lo[1] = r; at[1] = l; }
        if (l >= 24 && w < two)   { two = w;   at[2] = l; }
        if (v < avx2)             { avx2 = v;  at[3] = l; }
    }
    if (fht_float) {
        bar("wht_small", "`sketch_wht_f32` against FFHT's `fht_float`, 2^10..2^22", ">= 2.0x", lo[0], 2.0, 1, "least %.2fx, at 2^%d", lo[0], at[0]);
        bar("wht_big", "the same, 2^24..2^28", ">= 1.5x", isinf(lo[1]) ? NAN : lo[1], 1.5, 1, "least %.2fx, at 2^%d", lo[1], at[1]);
        bar("wht_two", "the same, two threads, 2^24 and over", ">= 2.5x", isinf(two) ? NAN : two, 2.5, 1, "least %.2fx, at 2^%d", two, at[2]);
        bar("wht_avx2", "the same, forced AVX2 path, everywhere", ">= 1.1x", isinf(avx2) ? NAN : avx2, 1.1, 1, "least %.2fx, at 2^%d", avx2, at[3]);
        a = seconds("AFFD", "f32", t, 12);
        snprintf(what, sizeof what, "AFFD, n = 2^%d, d = 2^12, one vector, against one bare FFHT transform", t);
        bar("affd", what, "<= 0.5", a / fht, 0.5, 0, "%.2f (%.1f ms, FFHT %.1f ms)", a / fht, 1e3 * a, 1e3 * fht);
        a = seconds("AFFD", "batch of 8", t, 12) / BATCH;
        bar("affd_batch", "the same, per vector in a batch of 8", "<= 0.25", a / fht, 0.25, 0, "%.2f (%.1f ms)", a / fht, 1e3 * a);
        a = seconds("AFFD", "keep_random", t, 12);
        bar("affd_keep", "the same, with `keep_random`", "<= 0.25", a / fht, 0.25, 0, "%.2f (%.1f ms)", a / fht, 1e3 * a);
    }
    a = seconds("AFJL", "f32", t, 13);
    snprintf(what, sizeof what, "AFJL, n = 2^%d, d = 2^13, against the streaming read", t);
    bar("afjl", what, "<= 1.3", a / read, 1.3, 0, "%.2f (%.1f ms, read %.1f ms)", a / read, 1e3 * a, 1e3 * read);
    a = seconds("SJLT nnz 1", "f32", t, 12) / exp2(t) * 1e9;
    snprintf(what, sizeof what, "SJLT, nnz = 1, n = 2^%d (d = 2^12)", t);
    bar("sjlt", what, "<= 1.0 ns an element", a, 1.0, 0, "%.2f ns", a);
    a = seconds("QK", "f32", t, 14);
    snprintf(what, sizeof what, "QK, n = 2^%d, d = 2^14, against the streaming read", t);
    bar("qk", what, "<= 4", a / read, 4, 0, "%.2f (%.1f ms)", a / read, 1e3 * a);
    a = seconds("AFFD", "f32", t, 15) / seconds("AFFD", "f32", t, 10);
    if (a < 1) a = 1 / a;
    snprintf(what, sizeof what, "flat in d: AFFD, n = 2^%d, d = 2^10 against 2^15", t);
    bar("flat_d", what, "within 1.3x", a, 1.3, 0, "%.2fx", a);
    a = m0 && m1 ? ns_element(m1) / ns_element(m0) : NAN;
    b = a < 1 ? 1 / a : a;
    snprintf(what, sizeof what, "linear in n: AFFD, d = 2^12, ns an element, 2^%d against 2^%d", low, high);
    bar("linear_n", what, "within 1.25x", b, 1.25, 0, "%.2fx (%.3f, %.3f ns)", b, m0 ? ns_element(m0) : NAN, m1 ? ns_element(m1) : NAN);
    a = seconds("AFFD", "f32", t, 12) / seconds("AFFD", "2 threads", t, 12);
    b = seconds("QK", "f32", t, 14) / seconds("QK", "2 threads", t, 14);
    snprintf(what, sizeof what, "two threads against one, AFFD and QK, n = 2^%d", t);
    bar("threads", what, ">= 1.8x", a < b ? a : b, 1.8, 1, "AFFD %.2fx, QK %.2fx", a, b);
    a = worst_ratio(four, four_d, 4, "bf16", "f32", t, text, sizeof text);
    b = worst_ratio(four, four_d, 4, "f16", "f32", t, other, sizeof other);
    bar("dtype", "bf16 and f16 input against f32, time an element", "<= 1.0", floor(100 * (a > b ? a : b) + 0.5) / 100, 1.0, 0, "bf16: %s; f16: %s", text, other);
    a = worst_ratio(four, four_d, 4, "adjoint", "f32", t, text, sizeof text);
    bar("adjoint", "adjoint against the forward call", "<= 1.5x", a, 1.5, 0, "%s", text);
    {                                                                /* what create and work_create will allocate (the table counts what they did) */
        static const int log_n[4] = { 20, 24, 28, 36 };
        const double limit = 1048576 + 8.0 * 4 * 4096;
        size_t plan[4] = { 0 }, work[4] = { 0 };
        for (int i = 0; i < 4; i++) {
            sketch_desc desc = sketch_desc_make(SKETCH_AFFD, (uint64_t)1 << log_n[i], 4096, 42);
            sketch_measure(&desc, 1, &plan[i], &work[i]);
            if (work[i] > work[0]) work[0] = work[i];
        }
        bar("memory", "working memory of the block form (AFFD, d = 2^12): independent of n, a thread", "< 1 MiB + 8 d floats",
            work[1] == work[3] && plan[1] == plan[3] ? (double)work[0] : INFINITY, limit, 0, "%.0f KiB from n = 2^24 to 2^36 (bar %.0f KiB); the plan, shared: %.0f KiB%s",
            (double)work[3] / 1024, limit / 1024, (double)plan[3] / 1024,
            m1 && m1->work_bytes > work[0] ? "; more was allocated than sketch_measure said" : "");
    }
    if (rows_count) {
        a = seconds("read", "sum", -1, 10) / seconds("top-k", "1 query", -1, 10);
        snprintf(what, sizeof what, "top-k of one query over %.3g stored sketches of d = 1024, in memory, against the streaming read", (double)rows_count);
        bar("topk", what, ">= 80%", 100 * a, 80, 1, "%.0f%%", 100 * a);
        if (with_store) {
            a = seconds("read", "store's rows", -1, 10) / seconds("top-k", "1 query, store", -1, 10);
            bar("topk_store", "the same through `sketch_tda_topk` on a store in the page cache, against a read of its mapping", ">= 80%", 100 * a, 80, 1, "%.0f%%", 100 * a);
        }
    }
    if (bars_file) fclose(bars_file);
    if (!fht_float) printf("\nThe bars against other programs: make bench-peers (or FHT_LIB, see bench/README.md).\n");
    printf("\n%d of the bars above short\n", bars_short);
}

/* ---- a store of the rows, for --store --------------------------------------------------------------- */
static void remove_store(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[512];
    if (!d) return;
    while ((e = readdir(d))) if (e->d_name[0] != '.') { snprintf(path, sizeof path, "%s/%.250s", dir, e->d_name); unlink(path); }
    closedir(d);
    rmdir(dir);
}

static void make_store(const char *dir)
{
    sketch_desc desc = sketch_desc_make(SKETCH_AFFD, 1000000, ROW, 42);
    sketch_plan *plan = NULL;
    uint64_t ids[1024];
    const uint64_t *mapped;
    sketch_status st = sketch_create(&desc, &plan);
    remove_store(dir);
    if (st == SKETCH_OK) st = sketch_store_open(dir, plan, &store);
    for (size_t at = 0; at < rows_count && st == SKETCH_OK; at += 1024) {
        size_t m = rows_count - at < 1024 ? rows_count - at : 1024;
        for (size_t i = 0; i < m; i++) ids[i] = at + i;
        st = sketch_store_append(store, ids, input + at * ROW, m);
        progress("writing the store", 0);
    }
    if (st == SKETCH_OK) st = sketch_store_commit(store);
    if (st == SKETCH_OK) st = sketch_store_rows(store, 0, &store_run_count, &store_run, &mapped);
    sketch_destroy(plan);
    if (st != SKETCH_OK) { fprintf(stderr, "\nbench: no store: %s\n", sketch_status_string(st)); exit(1); }
}

/* ---- main ------------------------------------------------------------------------------------------- */
static void convert(const float *x, size_t n)
{
    uint16_t *b = (uint16_t *)input_bf16, *h = (uint16_t *)input_f16;
    for (size_t i = 0; i < n; i++) {
        union { float f; uint32_t u; } v;
        uint32_t e;
        v.f = x[i];
        b[i] = (uint16_t)(v.u >> 16);
        e = v.u >> 23 & 255;                                         /* truncated; under 2^-14 becomes 2^-14 times the fraction */
        h[i] = (uint16_t)((v.u >> 16 & 0x8000) | (e < 113 ? 1u : e - 112) << 10 | (v.u >> 13 & 1023));
    }
    for (size_t i = 0; input_f64 && i < n && i < (size_t)1 << 24; i++) ((double *)input_f64)[i] = (double)x[i];
}

int main(int argc, char **argv)
{
    char machine[320];
    double need, have = memory_available();
    const char *lib = getenv("FHT_LIB");
    size_t half_count;
    for (int i = 1; i < argc; i++) {
        if      (!strcmp(argv[i], "--quick")) quick = 1;
        else if (!strcmp(argv[i], "--full"))  full = 1;
        else if (!strcmp(argv[i], "--bars"))  bars_only = 1;
        else if (!strcmp(argv[i], "--store")) with_store = 1;
        else if (!strcmp(argv[i], "--cpu-time")) cpu_time = 1;
        else { fprintf(stderr, "usage: bench [--quick | --full] [--bars] [--store] [--cpu-time]\n"); return strcmp(argv[i], "--help") != 0; }
    }
    if (lib && *lib) {
        void *so = dlopen(lib, RTLD_NOW), *f = so ? dlsym(so, "fht_float") : NULL;
        if (!f) { fprintf(stderr, "bench: FHT_LIB: %s\n", dlerror()); return 1; }
        memcpy(&fht_float, &f, sizeof f);
    }
    mkdir("build", 0777);
    mkdir(OUT_DIR, 0777);
    machine_name(machine, sizeof machine);
    started = now();

    log_top = quick ? 22 : 27;
    rows_count = quick ? 100000 : 1000000;
    for (;; log_top--, rows_count /= 2) {                            /* batch of 8 or the rows; output; bf16, f16; kept diagonals; f64 */
        input_count = (size_t)BATCH << log_top;
        if (input_count < rows_count * ROW) input_count = rows_count * ROW;
        output_count = (size_t)1 << (log_top == 27 ? 28 : log_top);
        half_count = (size_t)1 << (full && log_top == 27 ? 28 : log_top);
        if (output_count < rows_count * QUERIES) output_count = rows_count * QUERIES;
        need = 4.0 * (double)input_count + 4.0 * (double)output_count + 4.0 * (double)half_count + 8.0 * (double)half_count + 8 * 16777216.0 + 67108864.0;
        if (need < 0.9 * have || log_top <= 22) break;
    }
    if (!quick && log_top < 27) fprintf(stderr, "bench: %.1f GB of memory available, so n stops at 2^%d and the rows at %zu\n", 1e-9 * have, log_top, rows_count);
    input = (float *)big_alloc(input_count * 4);
    output = (float *)big_alloc(output_count * 4);
    input_bf16 = big_alloc(half_count * 2);
    input_f16 = big_alloc(half_count * 2);
    input_f64 = big_alloc(((size_t)1 << 24) * 8);
    sketches = (float *)big_alloc((size_t)4 << 18);
    if (!input || !output || !input_bf16 || !input_f16 || !input_f64 || !sketches) { fprintf(stderr, "bench: out of memory\n"); return 1; }
    fprintf(stderr, "filling %.1f GB\n", 4e-9 * (double)input_count);
    fill(input, input_count);
    fill(sketches, (size_t)BATCH << 15);
    convert(input, half_count);
    memset(output, 0, output_count * 4);
    if (with_store) make_store(OUT_DIR "/store");

    add_all();
    for (int i = 0; i < ncases; i++) work_all += guess(&cases[i]) * (quick ? 5 : guess(&cases[i]) * 7 > 8 ? 3 : 7);
    if (!bars_only) {
        printf("%s%s\n", machine, cpu_time ? ", one-thread cases by CPU time" : "");
        printf("One thread unless said. ns/element: the median over rounds, +-: half the interquartile range. GB/s: input once (adjoint: output once),\n"
               "copy and in-place transforms twice, kept diagonals once; %%read, %%copy: of the speed measured in the same rounds by as many threads on\n"
               "as many elements. Gop/s: additions and multiplications. extra: what plan and work allocated. For scores and top-k an element is a row.\n");
    }
    for (int g = 0; g < ngroups; g++) run_group(g);
    if (isatty(2)) fprintf(stderr, "\r%-78s\r", "");
    if (with_store) { sketch_store_close(store); remove_store(OUT_DIR "/store"); }
    if (!bars_only) {
        if (write_csv(OUT_DIR "/bench.csv", machine)) { perror(OUT_DIR "/bench.csv"); return 1; }
        pictures();
    }
    bars(machine);
    if (!bars_only) printf("%s: bench.csv, over-n.svg, over-d.svg, wht.svg, roofline.svg (%.0f s)\n", OUT_DIR, now() - started);
    return 0;
}
