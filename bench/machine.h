/* machine.h - what bench.c and shim.c share: the clock, large arrays, the streaming read, the machine's name. Include ../sketch.h and
   ../examples/threads.h first. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static inline double now(void)                                       /* seconds */
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- memory: every array that is measured comes from here, aligned to 2 MiB and in huge pages where the system gives them, for all
   contestants alike. Never freed: a page is touched once. */
static inline void *big_alloc(size_t bytes)
{
    const size_t huge = (size_t)2 << 20;
    size_t room = (bytes + 2 * huge - 1) & ~(huge - 1);
    char *p = (char *)mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == (char *)MAP_FAILED) return NULL;
    p += (huge - ((uintptr_t)p & (huge - 1))) & (huge - 1);
#ifdef MADV_HUGEPAGE
    madvise(p, bytes, MADV_HUGEPAGE);
#endif
    return p;
}

static inline double memory_available(void)                          /* bytes */
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    double kib = 0;
    while (f && fgets(line, sizeof line, f)) if (sscanf(line, "MemAvailable: %lf", &kib) == 1) break;
    if (f) fclose(f);
    return kib > 0 ? kib * 1024 : (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 2;
}

/* ---- numbers: uniform in (-1, 1), never 0 or denormal, from a hash of the index */
static inline float some_number(uint32_t i)
{
    i ^= i >> 16; i *= 0x7feb352du; i ^= i >> 15; i *= 0x846ca68bu; i ^= i >> 16;
    return ((float)(int32_t)(i >> 8) - 8388607.5f) * (1.0f / 8388608.0f);
}

typedef struct fill_job { float *x; size_t n; uint32_t tasks; } fill_job;
static inline void fill_task(void *job_, uint32_t task)
{
    fill_job *job = (fill_job *)job_;
    size_t lo = job->n / job->tasks * task, hi = task + 1 == job->tasks ? job->n : job->n / job->tasks * (task + 1);
    for (size_t i = lo; i < hi; i++) job->x[i] = some_number((uint32_t)i);
}
static inline void fill(float *x, size_t n)
{
    fill_job job = { x, n, threads_cpus() };
    threads_parallel_for((void *)(uintptr_t)job.tasks, job.tasks, fill_task, &job);
}

/* ---- the streaming read: the sum of n floats, eight accumulators wide, in the widest vectors of this CPU. x is aligned to 64 bytes. */
#define SUM_BODY(V, LANES)                                                                                      \
    V a[8];                                                                                                     \
    float s = 0;                                                                                                \
    size_t i = 0;                                                                                               \
    memset(a, 0, sizeof a);                                                                                     \
    for (; i + 8 * LANES <= n; i += 8 * LANES) {                                                                \
        const V *p = (const V *)(const void *)(x + i);                                                          \
        a[0] += p[0]; a[1] += p[1]; a[2] += p[2]; a[3] += p[3];                                                 \
        a[4] += p[4]; a[5] += p[5]; a[6] += p[6]; a[7] += p[7];                                                 \
    }                                                                                                           \
    for (int k = 0; k < 8; k++) for (int l = 0; l < LANES; l++) s += a[k][l];                                   \
    for (; i < n; i++) s += x[i];                                                                               \
    return s;

typedef float lanes4  __attribute__((vector_size(16), may_alias));
typedef float lanes8  __attribute__((vector_size(32), may_alias));
typedef float lanes16 __attribute__((vector_size(64), may_alias));

static float sum_plain(const float *x, size_t n) { SUM_BODY(lanes4, 4) }
#if defined(__x86_64__) || defined(__i386__)
__attribute__((target("avx2")))    static float sum_avx2  (const float *x, size_t n) { SUM_BODY(lanes8, 8) }
__attribute__((target("avx512f"))) static float sum_avx512(const float *x, size_t n) { SUM_BODY(lanes16, 16) }
#endif

static inline float stream_sum(const float *x, size_t n)
{
#if defined(__x86_64__) || defined(__i386__)
    sketch_isa isa = sketch_cpu_isa();
    if (isa == SKETCH_ISA_AVX512) return sum_avx512(x, n);
    if (isa == SKETCH_ISA_AVX2)   return sum_avx2(x, n);
#endif
    return sum_plain(x, n);
}

/* the same, and a copy, by several threads: each takes one piece of a multiple of 16 floats */
typedef struct stream_job { const float *x; float *to; size_t n; uint32_t tasks; float sum[256]; } stream_job;
static inline void stream_task(void *job_, uint32_t task)
{
    stream_job *job = (stream_job *)job_;
    size_t piece = job->n / job->tasks & ~(size_t)15, lo = piece * task, hi = task + 1 == job->tasks ? job->n : lo + piece;
    if (job->to) memcpy(job->to + lo, job->x + lo, (hi - lo) * sizeof *job->x);
    else job->sum[task] = stream_sum(job->x + lo, hi - lo);
}
static inline float stream_read(const float *x, size_t n, unsigned threads)
{
    stream_job job;
    float s = 0;
    if (threads < 2) return stream_sum(x, n);
    job.x = x; job.to = NULL; job.n = n; job.tasks = threads > 256 ? 256 : threads;
    threads_parallel_for((void *)(uintptr_t)threads, job.tasks, stream_task, &job);
    for (uint32_t i = 0; i < job.tasks; i++) s += job.sum[i];
    return s;
}
static inline void stream_copy(float *to, const float *x, size_t n, unsigned threads)
{
    stream_job job;
    if (threads < 2) { memcpy(to, x, n * sizeof *x); return; }
    job.x = x; job.to = to; job.n = n; job.tasks = threads > 256 ? 256 : threads;
    threads_parallel_for((void *)(uintptr_t)threads, job.tasks, stream_task, &job);
}

/* ---- the k best rows in memory for each query: the loop of sketch_tda_topk, without a store. hits[nq, k] */
static inline void rows_topk(const float *q, size_t nq, const float *rows, size_t nrows, size_t d, size_t k, sketch_hit *hits, const sketch_threads *threads)
{
    enum { TILE = 1024, TOGETHER = 8 };
    float score[TOGETHER * TILE];
    for (size_t i = 0; i < nq * k; i++) { hits[i].id = UINT64_MAX; hits[i].score = (float)NAN; }
    for (size_t at = 0, m; at < nrows; at += m) {
        m = nrows - at < TILE ? nrows - at : (size_t)TILE;
        for (size_t qi = 0, mq; qi < nq; qi += mq) {
            mq = nq - qi < TOGETHER ? nq - qi : (size_t)TOGETHER;
            sketch_gemm_nt(q + qi * d, mq, rows + at * d, m, d, score, threads);
            for (size_t i = 0; i < mq; i++) {
                size_t count = k;
                for (size_t j = 0; j < m; j++) sketch_topk_push(hits + (qi + i) * k, k, &count, at + j, score[i * m + j], SKETCH_HIGHEST);
            }
        }
    }
    for (size_t i = 0; i < nq; i++) sketch_topk_sort(hits + i * k, k, SKETCH_HIGHEST);
}

/* ---- the transform on a forced path. sketch_wht_f32 has no such option, so this reaches into the implementation; NULL: not on this CPU */
typedef void (*wht_fn)(float *x, size_t n);
static inline void wht_avx2(float *x, size_t n)
{
    const ski_kernels *k = ski_kernels_for(SKETCH_ISA_AVX2);
    if (k) k->wht(x, n, 1);
}

static inline void machine_name(char *to, size_t room)               /* the CPU's name, clock and number, and the day */
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256], cpu[160] = "unknown CPU", day[32];
    time_t t = time(NULL);
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) && strchr(line, ':')) { snprintf(cpu, sizeof cpu, "%.150s", strchr(line, ':') + 2); cpu[strcspn(cpu, "\n")] = 0; break; }
    if (f) { rewind(f); while (fgets(line, sizeof line, f)) if (!strncmp(line, "model\t", 6)) { size_t l = strlen(cpu); snprintf(cpu + l, sizeof cpu - l, ", model %d", atoi(strchr(line, ':') + 1)); break; } fclose(f); }
    strftime(day, sizeof day, "%Y-%m-%d", localtime(&t));
    snprintf(to, room, "%s, %u CPUs, %.0f GiB, path %s, %s", cpu, threads_cpus(),
             (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1073741824.0, sketch_isa_name(sketch_cpu_isa()), day);
}

#endif
