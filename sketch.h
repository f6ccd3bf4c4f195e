/* sketch.h - v0.1.0 - gradient and Hessian sketches in one C header - MIT licence (text at the end)

// >>manual
====================================================================================================
 sketch.h turns a vector of n numbers (a gradient, 10^6 to 10^11 parameters) into d numbers (its sketch,
 d = 2^6 .. 2^20) that keep inner products: <Sx, Sy> ~ <x, y>, in one pass over memory, with nothing of
 size n stored. It implements AFFD, AFJL and QK of A. Schioppa, "Efficient Sketches for Training Data
 Attribution and Studying the Loss Landscape", NeurIPS 2024 (arXiv 2402.03994), and the projections they
 are held against.

 DO THIS, in exactly one C or C++ file:

     #define SKETCH_IMPLEMENTATION
     #include "sketch.h"

 and plain #include "sketch.h" everywhere else. Link with -lm. No compiler flags: every instruction set of
 the machine (scalar, AVX2, AVX-512; through SIMDe elsewhere, where <simde/...> is found) is compiled in
 and chosen at run time.

 CONTENTS (grep for the marker)
     >>manual      this text               >>isa         instruction sets, the list of kernels
     >>config      macros, version         >>kernels     the kernel template
     >>types       status, enums, desc     >>plan        validation, fingerprint, tables
     >>api         all public functions    >>operators   one room for each operator, their table
     >>stop        end of the API          >>apply       accumulate, stream, batch, adjoint
     >>platform    CPU detection, memory   >>vectors     transforms and products for users
     >>shared      definitions: words,     >>store       the append-only files, checkpoints
                   signs, normals, blocks  >>helpers     attribution, spectra: bodies
     >>licence     MIT

 EXAMPLE 1: one gradient

     sketch_desc  desc = sketch_desc_make(SKETCH_AFFD, n, 1024, 42);    // algorithm, n, d, seed
     sketch_plan *plan; sketch_work *work;
     if (sketch_create(&desc, &plan) != SKETCH_OK) ...
     sketch_work_create(plan, 1, &work);
     sketch_apply(plan, gradient, SKETCH_F32, y, work);                  // y[1024] = S gradient[n]
     sketch_apply_t(plan, y, x, SKETCH_F32, work);                       // x[n] = S^T y
     sketch_work_destroy(work); sketch_destroy(plan);

 EXAMPLE 2: a gradient that lives in the tensors of a framework, and never in one piece

     sketch_tensor t[2] = {{ w1, 768*3072, 0, SKETCH_BF16 }, { b1, 3072, 0, SKETCH_F32 }};
     sketch_apply_tensors(plan, t, 2, 1, y, 0, work);

 EXAMPLE 3: attribution: who taught the model this?

     sketch_store_open("index", plan, &store);                           // creates or resumes
     if (!sketch_store_has(store, id)) sketch_store_append(store, &id, y, 1);
     sketch_store_commit(store);                                         // these rows survive a power cut
     sketch_tda_topk(store, q, 1, d, SKETCH_DOT, SKETCH_HIGHEST, 5, hits, NULL);  // 5 most helpful examples

 EXAMPLE 4: the Hessian's spectrum: RNEG, outliers, what the gradient has in their space

     sketch_hessian h = { plan, work, hvp, model, n0, n1, 0, 0, 0 };     // hvp(model, v, out): out = H v
     sketch_krylov  k = sketch_krylov_make(d, 100, basis, doubles);      // the caller's memory
     sketch_lanczos(sketch_hessian_matvec, &h, &k, NULL);                // 100 steps, fully reorthogonalised
     sketch_ritz(&k, theta, bound, s, scratch);                          // eigenvalues, each with a bound
     sketch_spectrum_summary(&k, theta, s, y, 0, NULL, &summary);        // y = S gradient

 EXAMPLE 5: intrinsic dimension: the least d in whose random subspace training still works

     sketch_idsearch_begin(&search, &options);                           // d_min, d_max, the metric to reach
     while (sketch_idsearch_next(&search, &d, &restart) == SKETCH_OK && d) {
         if (restart) memset(w, 0, d_max * sizeof *w);
         ... some steps: sketch_subspace_lift(plan, theta0, w, theta, work); g at theta;
             sketch_subspace_grad(plan, g, SKETCH_F32, d, gw, work); w -= lr gw
         sketch_idsearch_tell(&search, metric, NULL);
     }

 WHICH ALGORITHM WHEN (costs for one vector; the exact definition of each is in its room, >>operators)
     AFFD   the default. n log L additions and n normals; desc.diag = SKETCH_RADEMACHER: n signs instead, with
            blocks of 2^15 in half the time (same form of guarantee and spread; exact zeros for a one-hot x).
            Johnson-Lindenstrauss for every x (paper, Theorem 3.2) with pre-conditioner H or F; Q is weaker on
            sparse and low-rank x (one coordinate, d = 1024: spread 0.08).
     AFJL   fastest: one read, 4 + d/8192 additions a coordinate up to d = 65536. Signs by default (as good as
            AFFD but for collisions; normals, the paper's, need d 4 times as large). No theorem: e_i + e_j
            with i = j mod 1024 in one block collides, wholly up to d = 1024, partly above.
     QK     a GEMM: n d_1 multiply-adds. Needs a larger d (Theorem 3.3): 16 times AFFD's; worst on sparse and
            low-rank x.
     SJLT   nnz adds a coordinate; valid for every x at nnz = 8; nnz = 1 is CountSketch.
     MASK   one coordinate of each of d runs: O(d). No guarantee; where gradients are spread out.
     SRHT   AFFD without normals: orthogonal rows, selected with look-ups.
     dense  n d work, the reference (TRAK, RandBLAS, scikit-learn): never stored.
     FJL    Ailon-Chazelle with look-ups; a baseline.
     FFD    Fastfood's transpose; a baseline, and not a valid sketch (Theorem 3.1).
     Any d, n: where d > n the block (QK: n') is padded. The paper's first version calls its three BAMI,
     FRIKADEL and Straight.

 WHAT IT DOES NOT DO
     compute gradients; create threads; print; abort; allocate after create; keep global state; hold a matrix
     of size n; read or write anything but the store's directory and a checkpoint that you name. This version
     has no CUDA section and no Windows store.

 WORDS
     n, d       input and sketch length.  S: the operator, d x n, random, linear, drawn from (algorithm, n, d,
                seed, options) and nothing else; E |S x|^2 = |x|^2 for every x.  S^T: its exact adjoint.
     L, N       block length, a power of two, and N = ceil(n/L): the number of blocks.
     score      inner product of two gradients' sketches. Positive: a small step down the training example's
                gradient also lowers the query's loss ("helpful"); negative: it raises it ("harmful").
     spread     standard deviation of |S x|^2/|x|^2: sqrt(2/d) for a dense Gaussian.

 THREADS. A sketch_plan is immutable: share it. A sketch_work is scratch: one for each thread that calls. To
     spread one call over threads give the descriptor a parallel_for (examples/threads.h has one for pthreads;
     compiled with -fopenmp, sketch_threads_openmp() returns one). The number of threads never changes a bit
     of a result. The floating-point environment (nearest, no flush to zero) is checked at create, in the
     thread that calls it; keep it so in the threads that work.

 MEMORY. sketch_measure() tells, before anything is made, what a plan and a work will hold. A work has, for
     each task and each of the 1 to 8 vectors in flight, about L + (log2 info.nchunks + 2) d floats, and 8192
     to 9000 + d floats a task, whatever n is (AFFD in a batch: L/2 more a task; pre-conditioner, SRHT, FFD:
     L more; the whole-vector form: L is 2^ceil(log2 n)); QK n^(2/3) instead of L. Tasks: the width of the
     threads hook, rounded up to a power of two, and doubled if it was none; so let the width be one. Nothing
     is allocated after create and work_create, but by the store. Stack: under 48 KiB a call in optimised
     builds.

 DETERMINISM. The same descriptor names the same S on every machine, compiler, instruction set and thread
     count. From stream version 3 on that is frozen: tests/known_answers.txt holds results that never change
     again, and SKETCH_STREAM_VERSION rises only with a major version. The families made of additions (AFFD
     and AFJL with pre-conditioner H or F, FJL, FFD, SJLT, SRHT, MASK, dense) give the same bits. QK and
     pre-conditioner Q may use fused multiply-add: their results agree to |difference| <= 4 k u |S||x|, u =
     2^-24, k the sum of the contracted lengths (elementwise bound). -ffast-math is refused at compile time; a
     wrong rounding mode or flush-to-zero at create. Cuts of x into tensors and stream pushes never change a
     bit. Separate calls of sketch_accum for parts of x agree with one call to rounding, and to the bit as
     sketch_shard describes. sketch_dot_f32, sketch_gemm_nt, the two sketch_gemv and what is built on them
     (Lanczos) agree between instruction sets to rounding.

 ERRORS. Every function that can fail returns a sketch_status; negative is an error; sketch_status_string()
     names it. Handles, scalars and the y of apply are set on entry (NULL, zero), so an ignored error cannot
     leave rubbish there; other arrays are untouched on error. Inputs are never modified.

 REFERENCES
     Schioppa, NeurIPS 2024, arXiv 2402.03994.  Ailon & Chazelle, SIAM J. Comput. 2009.  Le, Sarlos & Smola,
     Fastfood, ICML 2013.  Kane & Nelson, Sparser JL, JACM 2014.  Park et al., TRAK, ICML 2023.  Salmon et
     al., Parallel random numbers, SC 2011.  Tropp, Improved analysis of the SRHT, 2011.  Charikar, Chen &
     Farach-Colton, CountSketch, 2002.  Parlett, The Symmetric Eigenvalue Problem, 1980.  Giraud et al.,
     Gram-Schmidt twice, Numer. Math. 2005.  Balabanov & Grigori, Randomized Gram-Schmidt, SISC 2022.
     Grigori, Kressner, Shao & Simunec, arXiv 2601.10248.  Ubaru, Chen & Saad, SLQ, SIMAX 2017.  Meyer et al.,
     Hutch++, SOSA 2021.  Klochkov & Liu, arXiv 2409.17357.  Koh & Liang, Influence functions, ICML 2017.  Li
     et al., Intrinsic dimension, ICLR 2018.

 CHANGES
     0.1.0  first version; stream version 3 (1 and 2 were in no release).
====================================================================================================
*/
#ifndef SKETCH_H
#define SKETCH_H

/* // >>config ==============================================================================================
   SKETCH_IMPLEMENTATION   in one file: the function bodies follow the declarations.
   SKETCH_STATIC           declarations and bodies are static: a private copy, in each file that also defines
                           SKETCH_IMPLEMENTATION.
   SKETCH_MALLOC(size), SKETCH_FREE(ptr)   replace malloc and free, both or neither (16-byte alignment is
   enough). SKETCH_NO_STDIO         leaves out the store and checkpoints (no files, no <stdio.h>, no POSIX).
   SKETCH_NO_SIMD          compiles the scalar path only.
   SKETCH_NO_SIMDE         does not look for <simde/...>.
   SKETCH_API              replaces the linkage of the declarations (extern), e.g. by a visibility attribute.
   SKETCH_INLINE           replaces the linkage of the helpers (static inline). A shared library with every
                           function: cc -O2 -shared -fPIC -x c sketch.h -DSKETCH_IMPLEMENTATION
                           -DSKETCH_INLINE= -o libsketch.so
   SKETCH_SELF             how the header includes itself: by default its own file name where the compiler
                           tells it, else "sketch.h".
   SKI_ASSERT(condition)   checks of the library's own reasoning; off by default, on in the tests.
   Include it before macros of your own with short names (N, L, d, row). */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SKETCH_VERSION_MAJOR 0
#define SKETCH_VERSION_MINOR 1
#define SKETCH_VERSION_PATCH 0
#define SKETCH_VERSION        (SKETCH_VERSION_MAJOR*10000 + SKETCH_VERSION_MINOR*100 + SKETCH_VERSION_PATCH)
#define SKETCH_STREAM_VERSION 3   /* bumped whenever the map (algo,n,d,seed,options) -> operator changes */

#ifndef SKETCH_API
#  ifdef SKETCH_STATIC
#    if defined(__GNUC__) || defined(__clang__)
#      define SKETCH_API static __attribute__((unused))
#    else
#      define SKETCH_API static
#    endif
#  else
#    define SKETCH_API extern
#  endif
#endif
#if defined(__GNUC__) || defined(__clang__)
#  define SKI_INLINE static inline __attribute__((unused))
#else
#  define SKI_INLINE static inline
#endif
#ifndef SKETCH_INLINE
#  define SKETCH_INLINE SKI_INLINE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* // >>types ===================================================================================== */
#define SKETCH_STATUS_LIST(X) \
    X(OK, 0, "ok") \
    X(E_ARG, -1, "bad argument: NULL pointer, zero size, unknown enum, option the algorithm does not have") \
    X(E_SIZE, -2, "sizes overflow, or do not match the plan") \
    X(E_MEMORY, -3, "allocation failed") \
    X(E_UNSUPPORTED, -4, "not built in, or not on this CPU: algorithm, dtype or instruction set") \
    X(E_STATE, -5, \
      "call out of order (stream not begun, store closed or failed), or the floating-point environment is " \
      "not IEEE default") \
    X(E_IO, -6, "file could not be opened, read or written") \
    X(E_FORMAT, -7, "not a sketch store, damaged, or made by a different plan") \
    X(E_CALLBACK, -8, "a user callback reported failure or asked to stop") \
    X(E_NONFINITE, -9, "NaN or Inf where a finite number is required") \
    X(E_CONVERGE, -10, "iteration limit reached before tolerance, or matrix not positive definite")
typedef enum sketch_status {
#define SKETCH_X(name, code, text) SKETCH_##name = code,
    SKETCH_STATUS_LIST(SKETCH_X)
#undef SKETCH_X
    SKETCH_STATUS_FORCE32 = 0x7fffffff
} sketch_status;

/* 0 is deliberately not an algorithm; the values are part of the stream */
typedef enum sketch_algo {
    SKETCH_AFFD = 1, SKETCH_AFJL, SKETCH_QK,                        /* the paper's three        */
    SKETCH_FJL, SKETCH_FFD, SKETCH_DENSE, SKETCH_SJLT, SKETCH_SRHT, /* what they are held against */
    SKETCH_MASK
} sketch_algo;
typedef enum sketch_precond { SKETCH_PRECOND_H = 0, SKETCH_PRECOND_F, SKETCH_PRECOND_Q } sketch_precond;
/* AFFD/AFJL diagonal, dense entries: normals or signs (AFFD: signs take half the time) */
typedef enum sketch_diag    { SKETCH_DIAG_DEFAULT = 0, SKETCH_GAUSSIAN, SKETCH_RADEMACHER } sketch_diag;
/* one block: the next power of two of n (the paper's single-device form) */
#define SKETCH_BLOCK_WHOLE UINT64_MAX
typedef enum sketch_dtype  { SKETCH_F32 = 0, SKETCH_BF16, SKETCH_F16, SKETCH_F64 } sketch_dtype;
typedef enum sketch_isa    { SKETCH_ISA_AUTO = 0, SKETCH_ISA_SCALAR, SKETCH_ISA_AVX2,
                             SKETCH_ISA_AVX512, SKETCH_ISA_SIMDE } sketch_isa;
typedef enum sketch_scale { SKETCH_SCALE_ISOMETRIC = 0 /* E|y|^2 = |x|^2 */, SKETCH_SCALE_NONE } sketch_scale;
typedef enum sketch_metric { SKETCH_DOT = 0, SKETCH_COSINE } sketch_metric;
/* top-k: which end of the scores */
typedef enum sketch_order  { SKETCH_HIGHEST = 0, SKETCH_LOWEST } sketch_order;

/* Hooks. All zero means the default. The structs are copied into the plan; `user` must outlive it. */
/* default: SKETCH_MALLOC / SKETCH_FREE. Called by create/destroy functions only. */
typedef struct sketch_allocator {
    void *(*alloc_fn)(void *user, size_t size, size_t align);   /* aligned block, or NULL on failure */
    void  (*free_fn) (void *user, void *ptr, size_t size);      /* the size that was asked for       */
    void  *user;
} sketch_allocator;

typedef void (*sketch_task_fn)(void *task_arg, uint32_t task_index);
/* default: run on the calling thread */
typedef struct sketch_threads {
    /* fn(task_arg, 0..ntasks-1), any order, any thread; returns when all are done. A plain loop is a valid
       parallel_for. */
    void (*parallel_for)(void *user, uint32_t ntasks, sketch_task_fn fn, void *task_arg);
    void    *user;
    /* how many tasks may usefully run at once, 1..1024; never changes results */
    uint32_t width;
} sketch_threads;

/* nonzero: stop with E_CALLBACK */
typedef int (*sketch_progress_fn)(void *user, uint64_t done, uint64_t total);
/* default: silent. For helpers that run long. */
typedef struct sketch_progress {
    sketch_progress_fn fn;
    void *user;
} sketch_progress;

typedef struct sketch_plan sketch_plan;   /* immutable after create: share between threads freely */
typedef struct sketch_work sketch_work;   /* scratch: one per thread */

typedef struct sketch_desc {
    sketch_algo  algo;
    uint64_t     n;                  /* input length  (parameters)            1 <= n < 2^56 (dense: 2^55) */
    uint64_t     d;                  /* output length (sketch)                1 <= d <= 2^40    */
    uint64_t     seed;
    /* everything below: zero means default */
    sketch_precond precond;          /* AFFD, AFJL                                              */
    sketch_diag  diag;               /* AFFD, AFJL, DENSE                                       */
    /* AFFD, AFJL, FJL, SRHT: L, power of two >= d (FJL: any); 0: default; cut to the next power of two of
       n */
    uint64_t     block;
    uint32_t     nnz;                /* SJLT: nonzeros per input coordinate; FJL: per row and block */
    /* AFFD, AFJL: 1: the plan keeps its Gaussian diagonals (2 bytes times N L, AFJL N d, for speed), same
       S */
    uint32_t     keep_random;
    /* 1: NaN or Inf in an input (f64: also what rounds to Inf in f32) is E_NONFINITE, at one more read of
       it; 0: they propagate */
    uint32_t     check_finite;
    sketch_scale scale;
    sketch_isa   isa;                /* force a code path; E_UNSUPPORTED if the CPU lacks it    */
    sketch_allocator allocator;
    sketch_threads   threads;
} sketch_desc;

#define SKETCH_MAX_FACTORS 8
typedef struct sketch_info {
    uint64_t   n, d;
    uint64_t   n_padded;             /* what the operator pads x to, in thought: no padding is stored */
    uint64_t   block, nblocks;       /* L and N; for QK the slab b_2..b_K and their number b_1 */
    /* = block: an accum that ends between multiples of it works on a whole block there, so cut at
       multiples */
    uint64_t   granule;
    /* leaves of the summation tree, a power of two <= 64: see sketch_shard */
    uint32_t   nchunks;
    uint64_t   fingerprint;          /* hash of algo,n,d,seed,options,SKETCH_STREAM_VERSION         */
    size_t     plan_bytes;           /* memory that the plan holds */
    size_t     work_bytes;           /* of a work with max_batch = 1 */
    double     scale;                /* the isometry factor, applied or (SKETCH_SCALE_NONE) not */
    /* Kronecker factors: QK: b_i and d_i (always 3, some may be 1); AFFD, AFJL: those of L (precond Q: its
       Haar factors); else 0 */
    uint32_t   nfactors;
    uint64_t   factor_in[SKETCH_MAX_FACTORS], factor_out[SKETCH_MAX_FACTORS];   /* leading factor first */
    uint32_t   nnz;                  /* in force: SJLT, FJL */
    sketch_diag diag;                /* in force: AFFD, AFJL, DENSE; else SKETCH_DIAG_DEFAULT */
    sketch_isa isa;                  /* the code path in use */
} sketch_info;

/* a read-only view of caller's memory, aligned to its element */
typedef struct sketch_tensor {
    const void  *data;               /* may be NULL if count is 0                            */
    uint64_t     count;              /* elements per sample                                  */
    uint64_t     stride;             /* elements between samples of a batch; 0 = count       */
    sketch_dtype dtype;
} sketch_tensor;

/* a Krylov space under construction: see sketch_krylov_make, sketch_lanczos */
typedef struct sketch_krylov {
    size_t   d, steps;               /* length of its vectors; steps that there is room for */
    float   *basis;                  /* [steps+1, d], the caller's: rows 0..done */
    double  *alpha, *beta;           /* [steps] each: diagonal, and what couples row j to row j+1 */
    double  *scratch;                /* [2*steps] */
    size_t   done;                   /* steps done */
    size_t   restarts;               /* invariant subspaces met */
    size_t   saved;                  /* rows that the checkpoint holds */
    double   norm;                   /* largest |A v| seen: a lower bound of the operator's norm */
    double   slack;                  /* root of the sum of squares of what T leaves out: see sketch_ritz */
    /* largest entry of V A V^T that contradicts symmetry (Lanczos): rounding of A; or A is not symmetric */
    double   skew;
    int      callback;               /* what the operator returned when it ended a call */
} sketch_krylov;

/* // >>api ================================================================================================
   Unless a contract says otherwise: pointers must not be NULL (E_ARG), arrays must not overlap, and a call
   allocates nothing. The helpers (attribution, spectra, intrinsic dimension) are declared after the core. */

/* Static text for a status; "unknown status" for others. */
SKETCH_API const char *sketch_status_string(sketch_status s);
/* The version of the compiled code, not of the header. */
SKETCH_API int sketch_version(void);
/* The best code path built in that this CPU runs. */
SKETCH_API sketch_isa sketch_cpu_isa(void);
/* Its name in lower case; "unknown" for others. */
SKETCH_API const char *sketch_isa_name(sketch_isa isa);
/* Known answers of the generator and of a small transform on a code path (AUTO: the best), and the
   floating-point environment; sketch_create runs it.
   Errors: E_UNSUPPORTED: no such code path here. E_STATE: the environment is not IEEE default (rounding,
   flush-to-zero), or an answer is wrong (miscompiled). Cost: under 1 ms. */
SKETCH_API sketch_status sketch_selftest(sketch_isa isa);
#ifdef _OPENMP
/* A threads hook for OpenMP; present when compiled with -fopenmp. */
SKETCH_API sketch_threads sketch_threads_openmp(void);
#endif

/* ---- plan: an operator, and how to run it -------------------------------------------------------------- */

/* A descriptor with these four fields, the rest zero. */
SKETCH_API sketch_desc sketch_desc_make(sketch_algo algo, uint64_t n, uint64_t d, uint64_t seed);
/* Validates desc and tells in bytes what create and work_create will allocate; the outputs may be NULL.
   Errors: as of sketch_create. Cost: allocates nothing. */
SKETCH_API sketch_status sketch_measure(const sketch_desc *desc, size_t max_batch, size_t *plan_bytes,
                                        size_t *work_bytes);
/* Makes the operator that desc names. Every operator takes any d, more than n too: its block, or QK's n',
   grows.
   Errors: *plan = NULL. E_ARG, also for an option that the algorithm does not have. E_SIZE: n >= 2^56
   (dense: > 2^55), d > 2^40 (SJLT, MASK: 2^31), block < d but for FJL, a block over 2^32 for FJL, FFD and
   SRHT, runs of MASK over 2^31, tables that overflow. E_MEMORY. E_UNSUPPORTED: isa. E_STATE:
   sketch_selftest.
   Cost: tens of microseconds; Haar factors for QK and Q (O(b r^2), 16 b r bytes for a moment; QK's choice
   of them O(d^(2/3))); the normals that keep_random keeps (n; AFJL N d). */
SKETCH_API sketch_status sketch_create(const sketch_desc *desc, sketch_plan **plan);
/* After all its works; NULL is allowed. */
SKETCH_API void sketch_destroy(sketch_plan *plan);
/* What the plan is; all zero for NULL. */
SKETCH_API sketch_info sketch_query(const sketch_plan *plan);
/* Scratch for one thread that calls. max_batch >= 1: the batch that is sketched most efficiently; larger
   ones are cut. Errors: *work = NULL. E_ARG, E_SIZE, E_MEMORY. Cost: sketch_work_bytes. */
SKETCH_API sketch_status sketch_work_create(const sketch_plan *plan, size_t max_batch, sketch_work **work);
/* Before its plan; NULL is allowed. */
SKETCH_API void sketch_work_destroy(sketch_work *work);
/* Bytes that such a work takes; 0 for NULL, 0 or overflow. */
SKETCH_API size_t sketch_work_bytes(const sketch_plan *plan, size_t max_batch);

/* ---- apply: y[d] = S x[n] --------------------------------------------------------------------------------
   Shapes: y: f32, `batch` rows, y_stride floats apart (0: d; else at least d). x and y must not overlap.
   Errors of all: E_ARG. E_SIZE: offset + count > n, counts that do not add up to n, strides too short.
   E_STATE: a work of another plan, or with a stream open. E_NONFINITE: check_finite; y is then untouched by
   accum, zero after apply.
   Cost: WHICH ALGORITHM WHEN; only sketch_accum does work, the others are loops over it. */

/* y[b,:] += S[:, offset : offset+count] x[b,:]. Any offset and count; each end inside a block costs that
   whole block's transform. */
SKETCH_API sketch_status sketch_accum(const sketch_plan *plan, const sketch_tensor *x, uint64_t offset,
                                      size_t batch, float *y, size_t y_stride, sketch_work *work);
/* y[d] = S x[n]. */
SKETCH_API sketch_status sketch_apply(const sketch_plan *plan, const void *x, sketch_dtype dtype, float *y,
                                      sketch_work *work);
/* y[b,:] = S x[b,:], rows of x x_stride elements apart (0: n). The random numbers are drawn once for 1 to
   8 rows. */
SKETCH_API sketch_status sketch_apply_batch(const sketch_plan *plan, const void *x, sketch_dtype dtype,
                                            size_t batch, size_t x_stride, float *y, size_t y_stride,
                                            sketch_work *work);
/* The same of the concatenation of tensors, whose counts must sum to n; dtypes may differ, counts be 0. */
SKETCH_API sketch_status sketch_apply_tensors(const sketch_plan *plan, const sketch_tensor *x,
                                              size_t ntensors, size_t batch, float *y, size_t y_stride,
                                              sketch_work *work);

/* Opens a stream: y[d] = 0, and x comes in chunks of any length, in order; the same bits as sketch_apply.
   One stream at a time in a work; y is the caller's until the end. */
SKETCH_API sketch_status sketch_stream_begin(sketch_work *work, float *y);
/* The next count elements.
   Errors: E_SIZE: more than n would have been pushed; that push is ignored, the stream goes on.
   E_NONFINITE ends the stream, y = 0. */
SKETCH_API sketch_status sketch_stream_push(sketch_work *work, const void *x, sketch_dtype dtype,
                                            uint64_t count);
/* Closes it: y is complete. Errors: E_SIZE, y = 0: fewer than n were pushed. */
SKETCH_API sketch_status sketch_stream_end(sketch_work *work);

/* The slice of rank r of `world`: it holds x[offset, offset+count), calls sketch_accum on it, and the ys
   of all ranks are added. Balanced to one granule; empty shards have count 0. The sum's bits depend on
   world, unless world is a power of two <= info.nchunks and the ys are added by sketch_shard_reduce: then
   they are those of sketch_apply. (For 3 ranks and exact bits: 64 shards, dealt in runs.) */
SKETCH_API sketch_status sketch_shard(const sketch_plan *plan, uint32_t rank, uint32_t world,
                                      uint64_t *offset, uint64_t *count);
/* y[d] = sum of ys[world, d] in the order of the summation tree; ys is overwritten. */
SKETCH_API sketch_status sketch_shard_reduce(const sketch_plan *plan, float *ys, uint32_t world, float *y);

/* ---- transpose: x[n] = S^T y[d] ------------------------------------------------------------------------ */

/* x[n] = S^T y[d]: sketch_apply_t_range of all. */
SKETCH_API sketch_status sketch_apply_t(const sketch_plan *plan, const float *y, void *x, sketch_dtype dtype,
                                        sketch_work *work);
/* x[0:count] = beta x[0:count] + alpha (S^T y)[offset:offset+count]: x points at element `offset` of the
   vector. beta = 0: x is not read. Arithmetic in f32, rounded once to dtype (nearest even).
   Errors: E_ARG; E_SIZE: offset + count > n; E_STATE; E_NONFINITE (check_finite): y. */
SKETCH_API sketch_status sketch_apply_t_range(const sketch_plan *plan, const float *y, uint64_t offset,
                                              uint64_t count, float alpha, float beta, void *x,
                                              sketch_dtype dtype, sketch_work *work);

/* ---- Walsh-Hadamard transform -------------------------------------------------------------------------- */

/* x[n], in place: natural (Hadamard) order, unnormalised, then times scale. n: a power of two, else E_SIZE
   (0: E_ARG). Cost: n log2 n additions. */
SKETCH_API sketch_status sketch_wht_f32(float *x, size_t n, float scale);
/* The same of each of `rows` rows, stride floats apart (0: n). threads: NULL is allowed; never changes a
   bit. */
SKETCH_API sketch_status sketch_wht_batch_f32(float *x, size_t rows, size_t n, size_t stride, float scale,
                                              const sketch_threads *threads);

/* ---- vectors: what the helpers are built on; threads may be NULL, and never changes a bit -------------- */

/* sum a_i b_i: products and sums in f64: error <= n 2^-53 sum |a_i b_i|. 0 for n = 0. */
SKETCH_API double sketch_dot_f32(const float *a, const float *b, size_t n);
/* c[m,k] = a[m,d] b[k,d]^T: f32 sums, in some order: |error| <= d 2^-24 sum |a_i b_i| for each entry. m or
   k = 0: nothing to do. Errors: E_ARG, E_SIZE. */
SKETCH_API sketch_status sketch_gemm_nt(const float *a, size_t m, const float *b, size_t k, size_t d,
                                        float *c, const sketch_threads *threads);
/* c[m] = V w for rows V[m,d]: products and sums in f64, error as of sketch_dot_f32. m = 0: nothing to do.
   Errors: E_ARG, E_SIZE. Cost: one read of V, at memory speed. */
SKETCH_API sketch_status sketch_gemv_f32(const float *v, size_t m, size_t d, const float *w, double *c,
                                         const sketch_threads *threads);
/* w[d] += V^T c: c rounded to f32; rows added in order, four at once, in f32: |error| <= (m/4 + 5) 2^-24
   (|w| + sum |c_i v_i|). w must not overlap v. With sketch_gemv_f32 one pass of Gram-Schmidt.
   Errors: E_ARG, E_SIZE. Cost: one read of V, at memory speed. */
SKETCH_API sketch_status sketch_gemv_t_f32(const float *v, size_t m, size_t d, const double *c, float *w,
                                           const sketch_threads *threads);

/* ---- store: append-only, crash-safe, readable with np.load ------------------------------------------------
   One handle: one thread at a time. Any number of handles and processes on a directory. The operator is
   checked, the model is not: give each model (or checkpoint) a directory of its own. Format: at >>store. */
#ifndef SKETCH_NO_STDIO
typedef struct sketch_store sketch_store;
/* Creates dir (one level) and its meta.json if there are none and plan is given; else reads all that is
   committed. plan NULL: read only, rows of any plan.
   Errors: E_ARG: NULL or empty dir. E_IO. E_FORMAT: not a store, damaged meta, segments without meta.json,
   or rows of another plan (fingerprint). E_MEMORY. E_UNSUPPORTED: big-endian host, Windows.
   Cost: 20 to 30 bytes a row (ids and their hash set, malloc). */
SKETCH_API sketch_status sketch_store_open(const char *dir, const sketch_plan *plan, sketch_store **store);
/* Copies rows[nrows, d] to the handle's own segment; seen by _count and _rows after commit only, by _has
   at once. Duplicate ids are allowed.
   Errors: E_ARG: also nrows = 0. E_STATE: opened read only, after a failed write, or in a forked child.
   E_MEMORY changes nothing and may be retried. */
SKETCH_API sketch_status sketch_store_append(sketch_store *store, const uint64_t *ids, const float *rows,
                                             size_t nrows);
/* After OK these rows survive a power cut.
   Errors: a failed write or sync (E_IO) is final for the handle: later append, commit and close give
   E_STATE, rows committed before stay. E_MEMORY, E_SIZE, or E_IO from mapping, may be retried. */
SKETCH_API sketch_status sketch_store_commit(sketch_store *store);
/* Sees what other writers have committed since. Row numbers handed out stay; new rows get the next ones. */
SKETCH_API sketch_status sketch_store_refresh(sketch_store *store);
/* Committed rows; 0 for NULL. */
SKETCH_API uint64_t sketch_store_count(const sketch_store *store);
/* d; 0 for NULL. */
SKETCH_API uint64_t sketch_store_dim(const sketch_store *store);
/* The plan's fingerprint; 0 for NULL. */
SKETCH_API uint64_t sketch_store_fingerprint(const sketch_store *store);
/* Whether id was appended or committed: to skip what is there on resuming. */
SKETCH_API int sketch_store_has(const sketch_store *store, uint64_t id);
/* The longest contiguous mapped run that starts at row `first` (0 .. count-1): rows[nrows, d] and
   ids[nrows], valid until refresh, commit or close. Row numbers belong to the handle; ids are the lasting
   names. Errors: E_SIZE: first >= count. */
SKETCH_API sketch_status sketch_store_rows(const sketch_store *store, uint64_t first, uint64_t *nrows,
                                           const float **rows, const uint64_t **ids);
/* Reads all rows and compares their sums. OK with *bad_rows > 0: damaged; counts also rows that the index
   promises and the files lack. Errors: E_IO: a file is gone. */
SKETCH_API sketch_status sketch_store_verify(sketch_store *store, uint64_t *bad_rows);
/* Commits what is not committed, and frees in any case; NULL is allowed. Errors: as of commit. */
SKETCH_API sketch_status sketch_store_close(sketch_store *store);

/* Writes a Krylov space to a file, crash-safe as the store is: adds rows saved..done of k (saved = 0: a
   new file, which replaces what is there; it is made as path.tmp). One writer at a time. After OK they
   survive a power cut; a crash before that leaves the file with the rows it had. Format: at >>store.
   Errors: E_ARG (also a path of 1024 bytes or more), E_SIZE; E_IO; E_STATE: the file is not the one that
   rows 0..saved-1 went to; E_UNSUPPORTED: big-endian host, Windows.
   Cost: 4 d + 24 bytes a row and two syncs. */
SKETCH_API sketch_status sketch_krylov_save(sketch_krylov *k, const char *path);
/* Puts what the file holds into k, whose arrays have room for k->steps steps (what the file has beyond
   them is left there), and whose row 0 holds the start vector: sets done, saved and the other scalars. No
   such file, or one without rows: OK with done = saved = 0.
   Errors: E_FORMAT, done = 0: not such a file, of another d, damaged, shorter than it says, or begun from
   another start vector; all but damage inside a row is found before a row is read. E_ARG, E_SIZE, E_IO,
   E_UNSUPPORTED. */
SKETCH_API sketch_status sketch_krylov_load(sketch_krylov *k, const char *path);
#endif

/* ---- helpers: training data attribution; the Hessian's spectrum; intrinsic dimension ----------------------
   Plain C on the calls above alone, so that they read as worked examples of them. Nothing here allocates,
   prints, or keeps state; scratch is the caller's or under 48 KiB of stack.

   Words. q[nq,d]: sketches of query gradients; t[nt,d]: sketches of training gradients; rows contiguous, f32.
   score: the inner product (SKETCH_DOT) or the cosine (SKETCH_COSINE) of two rows. A sketch is not changed by
   any of these but where a parameter is named in place. NaN and Inf propagate but where it is said otherwise.
   Errors. E_ARG: a NULL pointer, d = 0, an unknown enum; E_SIZE: an array would not fit in memory. Zero rows
   are no error. */

/* one answer; empty: { UINT64_MAX, NaN } */
typedef struct sketch_hit {
    uint64_t id;
    float score;
} sketch_hit;
/* all zero, or NULL: this thread, silent */
typedef struct sketch_tda_options {
    sketch_threads  threads;         /* runs the matrix products; never changes a result */
    sketch_progress progress;        /* called after each tile of rows: rows done, rows in the store */
} sketch_tda_options;
/* see sketch_advise_d */
typedef struct sketch_advice {
    /* the sketch length that reaches the target, and its 95% interval; may be INFINITY */
    double d, d_low, d_high;
    /* Pearson r, true against sketched scores, predicted at the present d, and its interval */
    double r_at_d, r_low, r_high;
    /* variance over pairs of the true scores (estimated: may be negative), and of their error at the
       present d */
    double signal, noise;
} sketch_advice;

/* ---- top-k ---------------------------------------------------------------------------------------
   A heap of at most k hits with the worst at the root. Better: the higher score (SKETCH_HIGHEST) or the
   lower one (SKETCH_LOWEST); of equal scores the smaller id; NaN is worse than any number. So the k best
   of a set do not depend on the order of pushes. */

/* Offers one hit to heap[k], of which *count are in use (start with 0; kept as it is on error). A NaN
   score never enters; +Inf and -Inf do. Equal (id, score) pairs are all kept. A heap may also start full
   (*count = k) of empty hits { UINT64_MAX, NaN }: any score replaces one. k = 0: nothing happens. E_ARG:
   NULL, *count > k, unknown order. Cost: one comparison when the hit is not among the k best, else O(log
   k). heap[0] is the worst that is kept. */
SKETCH_INLINE sketch_status sketch_topk_push(sketch_hit *heap, size_t k, size_t *count, uint64_t id,
                                             float score, sketch_order order);
/* heap[count], in any order, becomes best first, empty hits last (and is no heap for push any more). In
   place, O(count log count), no recursion. E_ARG: NULL with count > 0, unknown order: untouched. */
SKETCH_INLINE sketch_status sketch_topk_sort(sketch_hit *heap, size_t count, sketch_order order);

/* ---- scores ------------------------------------------------------------------------------------ */

/* scores[nq,nt] = <q_i, t_j>, or their cosines. For an index that is too large for such a matrix:
   sketch_tda_topk. Error of a dot product: that of sketch_gemm_nt; of a cosine: the same over |q||t|,
   norms in f64. A row of zeros has cosine 0 with every finite row; a row with NaN or Inf has cosine NaN
   with every row. scores must not overlap q or t; untouched on error. Cost: nq nt d multiply-adds in
   sketch_gemm_nt; cosine adds O((nq + nt) d) and a division a score. */
SKETCH_INLINE sketch_status sketch_tda_scores(const float *q, size_t nq, const float *t, size_t nt, size_t d,
                                              sketch_metric metric, float *scores,
                                              const sketch_threads *threads /* NULL ok */);
/* out[i] = |rows_i|^2, an unbiased estimate of the squared norm of the gradient: large for atypical and
   mislabelled examples (TracIn, Pruthi et al., NeurIPS 2020). f64 sums, rounded once (Inf above 3.4e38).
   out[nrows] must not overlap rows; untouched on error. */
SKETCH_INLINE sketch_status sketch_tda_self_influence(const float *rows, size_t nrows, size_t d, float *out);
#ifndef SKETCH_NO_STDIO
/* hits[nq,k]: for each query the k best committed rows of the store, best first: the most helpful
   (SKETCH_HIGHEST) or the most harmful (SKETCH_LOWEST) examples. Ties go to the smaller id. Fewer than k
   rows (or rows with score NaN): the rest are { UINT64_MAX, NaN }. An id that was appended twice is found
   twice. One pass over the mapped files, in tiles of up to 1024 rows and 64 queries (8192 scores): no nq x
   N matrix. Errors: E_ARG, E_SIZE (d is not the store's, nq k too large): all hits empty. E_CALLBACK
   (progress returned nonzero) and errors of sketch_store_rows: the best of the rows seen so far, sorted.
   nq = 0 or k = 0: nothing to do. Cost: nq N d multiply-adds (the store read once for each call) and, for
   rows in random order, about nq k log(N/k) heap moves. */
SKETCH_INLINE sketch_status sketch_tda_topk(const sketch_store *store, const float *q, size_t nq, size_t d,
                                            sketch_metric metric, sketch_order order, size_t k,
                                            sketch_hit *hits, const sketch_tda_options *opt /* NULL ok */);
#endif

/* ---- whitening -------------------------------------------------------------------------------------
   TRAK's score (Park et al., ICML 2023, eq. 15; also a Gauss-Newton influence function in the sketched
   space) is q^T (X^T X + ridge I)^-1 t, with X[N,d] the training sketches:

       memset(gram, 0, d*d*sizeof *gram);
       ... for each run of rows: sketch_tda_gram(rows, nrows, d, gram);
       sketch_tda_whiten_factor(gram, d, ridge);           // a usual ridge: 1e-2 .. 1 times trace / d
       sketch_tda_whiten(gram, d, q, nq, scratch);         // then sketch_tda_scores or _topk with SKETCH_DOT

   Only the queries need whitening: the store stays as it is. Both sides whitened give q^T A^-2 t, and
   SKETCH_COSINE of a whitened query is not the whitened cosine: use SKETCH_DOT. */

/* gram[d,d] += rows^T rows: set it to zero before the first call; it must be symmetric and stays so to the
   bit. Products of f32 are exact in f64, sums in f64: error <= (nrows + 1) 2^-53 sum |x_i x_j|. Untouched
   on error. Memory: 8 d^2 bytes, the caller's (d = 4096: 128 MiB). Cost: nrows d^2/2 multiply-adds, and
   d^2 additions a call: hand over some hundred rows at a time. */
SKETCH_INLINE sketch_status sketch_tda_gram(const float *rows, size_t nrows, size_t d, double *gram);
/* In place: the lower triangle of gram[d,d] (all that is read) becomes the Cholesky factor C of gram +
   ridge I = C C^T; above the diagonal it stays as it was. Blocked, left-looking: d^3/6 multiply-adds in
   L1. E_ARG: ridge negative, NaN or Inf: untouched. E_CONVERGE: not positive definite to working
   precision: a pivot is under 2^-52 d times its diagonal entry (give a ridge > 0 when rows are fewer than
   d or columns repeat: a nearly singular matrix may also pass, with a useless factor); E_NONFINITE: NaN or
   Inf in gram; after these two gram is spoilt: make it again. */
SKETCH_INLINE sketch_status sketch_tda_whiten_factor(double *gram, size_t d, double ridge);
/* x[nrows,d], in place: each row becomes (X^T X + ridge I)^-1 row, with chol from
   sketch_tda_whiten_factor. f64 inside, rounded once. chol, x and scratch must not overlap. Any split of
   the rows over calls or threads (each with its scratch) gives the same bits. E_ARG also: a diagonal entry
   of chol that is not positive; x untouched on error. Cost: d^2 multiply-adds a row; chol is read twice
   for 4 rows. */
SKETCH_INLINE sketch_status sketch_tda_whiten(const double *chol, size_t d, float *x, size_t nrows,
                                              double *scratch /* [4*d] */);

/* ---- correlations ------------------------------------------------------------------------------ */

/* The correlation of a[n] and b[n], in [-1, 1]; two passes, f64. NaN: n < 2, NULL, a or b constant, or NaN
   or Inf among them. */
SKETCH_INLINE double sketch_pearson(const float *a, const float *b, size_t n);
/* The rank correlation of a[n] and b[n], ties at the average of their ranks: TRAK's linear datamodelling
   score is one over subsets. NaN: n < 2, NULL, a or b constant, or NaN among them (Inf is a value like
   others). Cost: O(n log n). */
SKETCH_INLINE double sketch_spearman(const float *a, const float *b, size_t n,
                                     uint64_t *scratch /* [2*n] */);

/* ---- the sketch length ------------------------------------------------------------------------- */

/* out[rows,d_new] = the first d_new coordinates of each row, times sqrt(d/d_new): for AFFD and AFJL,
   SKETCH_SCALE_ISOMETRIC, this is the sketch of length d_new of the same plan at that d: its values to
   rounding, not its bits (the block L must be the same: name it in both descriptors). Also right, as a
   sketch, for DENSE; not for the others. Rows of y are y_stride floats apart (0: d), those of out d_new.
   out == y is allowed, and then the result is y's first rows*d_new floats; any other overlap is not.
   E_SIZE: d_new = 0 or > d, 0 < y_stride < d: out untouched. */
SKETCH_INLINE sketch_status sketch_truncate(const float *y, size_t rows, size_t d, size_t y_stride,
                                            float *out, size_t d_new);
/* How large a d gives Pearson r = target_r between sketched and true scores, over all pairs (query, train)
   - told from sketches alone, q[nq,d] and t[nt,d], without a full gradient. (Metric: dot products. The
   last d mod 16 coordinates are not used.)

   Method. A pair's score is s + e: s the true one, with variance V over pairs, e the sketch's error, with
   mean 0 and variance N = c/d. Then
           r(d) = sqrt(V / (V + c/d)),   and r = target at d = (c/V) target^2 / (1 - target^2).
   The coordinates are cut into 16 parts. Each is a sketch of the same vectors, their errors (nearly)
   independent: so the covariance of two parts' scores is V and their variance V + 16 N, up to scale. (With
   two parts this is the correlation of two half sketches, V/(V + 2N). Every pair of parts is used, which
   is the average over all splits.) Interval. Pairs that share a row, and all pairs through the one sketch,
   are dependent, so pairs are never resampled: log F, F = (V + N)/N, gets the sum of three delete-a-group
   jackknife variances, over 16 groups of queries, of train rows (contiguous, as neighbours may be alike)
   and of coordinates, and a t quantile with Satterthwaite's degrees of freedom. It is for the population
   that the rows were drawn from, so a little wide for just these rows; with one query (or train row) it is
   for that one. No random numbers: the same input gives the same bits.

   Assumes: coordinates are exchangeable and nearly uncorrelated, and the error falls as 1/d: AFFD and
   DENSE, SJLT for d >> nnz, AFJL as long as its collisions do not bite (they bend r(d) down at large d).
   Not QK, SRHT, FFD. The answer is for the algorithm that made these sketches (in a simulation AFJL's c
   was 3 times AFFD's in one block and 1.3 times in eight, and r_at_d met the true r to 0.01 for both). A
   scale in front changes nothing. r is the mean over draws of S: where a few directions carry all
   gradients, one S's r scatters around it (sd 0.02 at r = 0.957 for 3 directions). Fails where r cannot be
   told from 0 at the present d: the estimate of V is then noise. d_high = INFINITY with SKETCH_OK: the
   data do not bound d from above. E_CONVERGE, d = d_high = INFINITY (d_low is still a bound, r_at_d = 0):
   V <= 0: sketch with a larger d or take more rows. E_CONVERGE also for scores that do not vary at all
   (then d_low = 0). Others: E_ARG: target_r not in (0, 1); E_SIZE: d < 32 or nq nt < 16; E_NONFINITE. On
   these *advice is all zero. Measured: 92% to 100% of intervals held the truth for their rows
   (tests/test_helpers.c). Cost: nq nt d multiply-adds in f64: a few hundred rows on each side are plenty. */
SKETCH_INLINE sketch_status sketch_advise_d(const float *q, size_t nq, const float *t, size_t nt, size_t d,
                                            double target_r, sketch_advice *advice);

/* ---- the Hessian's spectrum ------------------------------------------------------------------------
   An operator is a callback. The sketched Hessian v -> S HVP(S^T v) is one (sketch_hessian_matvec), a
   Hessian-vector product by finite differences another (sketch_hvp_fd), and everything from sketch_lanczos
   on takes any. What runs long keeps its state in a plain struct, reports progress after each step, and
   stops with E_CALLBACK (an operator returned nonzero, or progress did) or E_NONFINITE (an operator's
   result holds NaN or Inf), keeping what was computed: call again to go on.

   How the eigenvalues of S H S^T stand to those of H: S H S^T and H S^T S share their nonzero ones, so an
   eigenvalue above the bulk comes out within a factor 1 +- eps, eps the distortion of S on the leading
   eigenvectors, with noise of about (sum of |eigenvalues|)/d added; the null space of H stays one; but an
   identity becomes S S^T, about n/d: subtract a shift c I from H before sketching, not after. */

/* out = A v; 0: success. v and out do not overlap; v must not be changed */
typedef int (*sketch_matvec_fn)(void *user, const float *v, float *out);
/* g[n] = gradient of the loss at theta[n]; 0: success */
typedef int (*sketch_gradient_fn)(void *user, const float *theta, float *g);
/* the Hessian, sketched, or restricted to a span of coordinates (a layer), or both */
typedef struct sketch_hessian {
    const sketch_plan *plan;         /* S; NULL: no sketch: v and out are the span's own coordinates */
    sketch_work       *work;         /* with a plan */
    sketch_matvec_fn   hvp;          /* out[n] = H v[n] */
    void              *hvp_user;
    float             *n0, *n1;      /* scratch, n floats each */
    uint64_t           n;            /* parameters; may be 0 with a plan */
    /* the span [offset, offset+count): H with every other row and column set to zero. count = 0: all that
       follows offset */
    uint64_t           offset, count;
} sketch_hessian;
/* Length of the vectors that sketch_hessian_matvec takes: the plan's d, or without a plan the span's
   count. 0: something in *h is missing or does not fit. */
SKETCH_INLINE uint64_t sketch_hessian_dim(const sketch_hessian *h);
/* A sketch_matvec_fn: out = S P H P S^T v, P the projector onto the span; without a plan the span's own
   block of H times v. Symmetric up to the rounding of hvp. Returns 0; what hvp returned; or, negative, a
   sketch_status. Cost: one HVP, S^T and S on the span. */
SKETCH_INLINE int sketch_hessian_matvec(void *user /* sketch_hessian * */, const float *v, float *out);
/* a Hessian-vector product where there is no second derivative (fused attention, for one) */
typedef struct sketch_fd {
    sketch_gradient_fn gradient;
    void        *user;
    const float *theta;              /* [n]: where; not changed */
    size_t       n;
    /* scratch, n floats each; not those of a sketch_hessian that calls this */
    float       *n0, *n1;
    /* length |h v| of the step to each side; 0: 2^-7 sqrt(|theta| rms(theta)), or 2^-7 if theta = 0 */
    double       step;
} sketch_fd;
/* A sketch_matvec_fn: out = (g(theta + h v) - g(theta - h v)) / 2h, with h |v| = step: two gradients. out
   = 0 for v = 0. Error, relative to |H||v|: truncation step^2/6 |D^4 loss|/|H| (zero for a quadratic
   loss); rounding about u (|g|/|H| + |theta|)/step, u = 2^-24 times the rounding steps of the gradient.
   The default step, between the scale of theta (right for a v spread over all coordinates) and that of one
   coordinate (for a v that lives on a few), leaves 1e-5 .. 1e-3 where the Hessian hardly changes over the
   step: enough for eigenvalues above 1e-3 of the largest. Along the gradient of a trained network it
   changes fast: 0.3% (the GPT of examples/) to 6% (the digits network) were measured; take a smaller step
   there. With ReLU and other kinks a larger step averages over them. Returns 0; what gradient returned;
   SKETCH_E_ARG, SKETCH_E_SIZE; or SKETCH_E_NONFINITE: theta or v is not finite. */
SKETCH_INLINE int sketch_hvp_fd(void *user /* sketch_fd * */, const float *v, float *out);

/* ---- Krylov spaces: Lanczos ---------------------------------------------------------------------- */

/* all zero, or NULL: the defaults */
typedef struct sketch_krylov_options {
    uint64_t        seed;            /* of random start vectors, restarts and probes */
    /* [d]: the start vector, of any length but 0; NULL: random. Read when done = 0 */
    const float    *start;
    /* 0: 1e-6. What is left of A v_j after orthogonalisation counts as zero below this times the largest
       |A v| seen */
    double          breakdown;
    sketch_threads  threads;         /* of the orthogonalisation; never changes a bit */
    sketch_progress progress;        /* after every step: steps done, steps asked */
    /* a file (sketch_lanczos); NULL: none. Loaded if it is there and done = 0, and written to as steps are
       done */
    const char     *checkpoint;
    /* steps between writes to it; 0: 1. Also written when the call ends, whatever its status */
    uint64_t        every;
} sketch_krylov_options;
/* of the basis: (steps + 1) d. 0: zero or too large */
SKETCH_INLINE size_t sketch_krylov_floats(size_t d, size_t steps);
/* of alpha, beta and scratch: 4 steps. 0: zero or too large */
SKETCH_INLINE size_t sketch_krylov_doubles(size_t steps);
/* An empty Krylov space of vectors of length d with room for `steps` steps, in the caller's
   basis[sketch_krylov_floats(d, steps)] and doubles[sketch_krylov_doubles(steps)]. (1,000 steps at d =
   2^20: 4.2 GB.) */
SKETCH_INLINE sketch_krylov sketch_krylov_make(size_t d, size_t steps, float *basis, double *doubles);
/* The symmetric operator A on vectors of length k->d, projected onto a Krylov space: after m = k->done
   steps rows 0..m-1 of the basis V are orthonormal and V A V^T = T, tridiagonal with diagonal
   alpha[0..m-1] and off-diagonal beta[0..m-2], and row m is the next direction, with A V^T = V^T T +
   beta[m-1] v_m e_m^T + F, |F| <= k->slack (Frobenius). Every new vector is orthogonalised
   against all earlier ones, twice, so no
   eigenvalue is found twice (no ghosts): |<v_i, v_j>| stays near 1e-7. Where the space becomes invariant
   (more steps than there are distinct eigenvalues) beta is 0 and a random direction starts a new block: so
   multiple eigenvalues are found with their multiplicity, given the steps. It stops at k->steps, or at d,
   when the space is everything. k->done = 0 begins (sketch_krylov_make gives that); else the call goes on
   from there, with the same bits as if it had never stopped. Errors: E_ARG (also: start is zero), E_SIZE,
   E_CALLBACK (k->callback: what fn returned, 0 if progress asked to stop), E_NONFINITE (start, or what fn
   wrote); E_IO, E_FORMAT, E_UNSUPPORTED (checkpoint). Steps done before stay. Memory: the caller's, (steps
   + 1) d floats. Cost of step j: one matvec and four reads of j d floats. Accuracy: eigenvalues to about
   1e-6 of the norm for an f32 operator. Paige 1972; full reorthogonalisation: Parlett, The Symmetric
   Eigenvalue Problem, sec. 13. Bits depend on the instruction set (sketch_gemv_f32), on nothing else. */
SKETCH_INLINE sketch_status sketch_lanczos(sketch_matvec_fn fn, void *user, sketch_krylov *k,
                                           const sketch_krylov_options *opt /* NULL ok */);

/* ---- Ritz values and vectors ---------------------------------------------------------------------- */

/* Eigenvalues of the symmetric tridiagonal matrix with diagonal diag[m] and off-diagonal off[0..m-2] (off
   has m entries; spoilt): diag becomes them, ascending. z[m,nz] is multiplied by the eigenvectors: given
   row i of the identity in row i (nz = m), row i becomes the eigenvector of diag[i]; given nz columns of
   the identity, those components of it. nz = 0: z may be NULL. Implicit QL with Wilkinson's shift (EISPACK
   imtql2): absolute error a few 2^-53 of the norm. Cost: about m^2 (1 + nz) rotations: m = 1000 takes
   about 20 ms without vectors, 1.5 s with all. E_NONFINITE: untouched. E_CONVERGE: 80 iterations for one
   eigenvalue. */
SKETCH_INLINE sketch_status sketch_tridiagonal_eigen(size_t m, double *diag, double *off, double *z,
                                                     size_t nz);
/* theta[m]: the m = k->done Ritz values, ascending: so the most negative first, the largest last.
   bound[m]: |beta_m s_mi| + slack >= |A x - theta x|, x = V^T s_i, for a linear A, to f32 rounding (some
   1e-7 of the norm); small: this pair has converged. For A V^T = V^T T + beta_m v_m e_m^T + F gives
   A x - theta x = beta_m s_mi v_m + F s_i, and |F s_i| <= |F| <= slack, the root of the sum of squares of
   all that T leaves out (restarts, and what in A is not symmetric). So theta is an eigenvalue of a matrix
   within bound of A, and within bound of one of A's if A is symmetric (Parlett, sec. 13.2). s[m,m]: row i is
   the Ritz vector of theta[i] in the basis: give it to sketch_ritz_vectors. Nothing may overlap.
   E_ARG: also done = 0. On
   errors of sketch_tridiagonal_eigen what is in the arrays means nothing. Cost: its own. */
SKETCH_INLINE sketch_status sketch_ritz(const sketch_krylov *k, double *theta, double *bound /* NULL ok */,
                                        double *s /* NULL ok */, double *scratch /* [2*done] */);
/* y[count,d]: unit Ritz vectors for count rows of s[.,done] (s + i*done starts at the i-th). y must not
   overlap the basis. Cost: one read of the basis for each. */
SKETCH_INLINE sketch_status sketch_ritz_vectors(const sketch_krylov *k, const double *s, size_t count,
                                                float *y, const sketch_threads *threads /* NULL ok */);
/* x[count,n]: S^T y_i for rows y[count,d], scaled to length 1. For a vector y that S H S^T maps to a
   multiple of itself the lifted one points into H's eigenspace with cosine about (1 + n/d)^-1/2: a
   direction to perturb along; for an eigenvector of H itself apply H once more (H S^T y). A zero row stays
   zero. */
SKETCH_INLINE sketch_status sketch_ritz_lift(const sketch_plan *plan, const float *y, size_t count, float *x,
                                             sketch_work *work);
/* what the paper draws (sec. 5.5) */
typedef struct sketch_spectrum {
    double largest, smallest;        /* Ritz values at the ends */
    /* |most negative| / |most positive|; 0: none negative; INFINITY: none positive */
    double rneg;
    /* Ritz values with R = lambda / largest > the ratio; 0 if none is positive */
    size_t outliers;
    double gradient_share;           /* share of |g|^2 in their eigenspace, 0..1 (0 without g) */
    double gradient_norm_share;      /* its root: |projection| / |g| */
} sketch_spectrum;
/* From theta[done] and s[done,done] of sketch_ritz. g: the gradient's sketch, S grad. r[i] = R_(i+1) =
   (i+1-th largest) / largest (NaN if that is not positive). Uses k->scratch. *out is all zero on error.
   E_ARG: also a ratio not in [0, 1); E_NONFINITE: theta or g. Cost: with g one read of the basis and m
   multiply-adds an outlier. */
SKETCH_INLINE sketch_status sketch_spectrum_summary(const sketch_krylov *k, const double *theta,
                                                    const double *s /* NULL ok without g */,
                                                    const float *g /* [d], NULL ok */,
                                                    double ratio /* 0: 0.2 */,
                                                    double *r /* [done], NULL ok */, sketch_spectrum *out);

/* ---- Krylov spaces: Arnoldi ----------------------------------------------------------------------- */

/* As sketch_lanczos, for an operator that is not symmetric: A V^T = V^T H + beta[m-1] v_m e_m^T with H
   upper Hessenberg, in the leading m x m of h (row stride k->steps; zeroed when done = 0). With a plan (n
   = k->d): the randomised Arnoldi process. Orthogonality is that of the sketches, which are kept in rows:
   rows[i] = S v_i orthonormal, V only nearly so (|v| within the distortion of S on the space; d several
   times the steps). Two reads of the basis a step, not four, and inner products of length d. H then is not
   similar to the Hessenberg matrix of Arnoldi's process: sketch_arnoldi_eigen can restore that. At most d
   steps. Errors as sketch_lanczos; E_SIZE: the plan's n is not k->d; E_ARG: a checkpoint; E_CONVERGE: no
   new direction after an invariant space. */
SKETCH_INLINE sketch_status sketch_arnoldi(sketch_matvec_fn fn, void *user, sketch_krylov *k,
                                           double *h /* [steps,steps] */,
                                           const sketch_plan *plan /* NULL ok */, sketch_work *work,
                                           float *rows /* [steps+1, plan's d] */,
                                           const sketch_krylov_options *opt /* NULL ok; no checkpoint */);
/* Eigenvalues re + i im of the upper Hessenberg matrix h[m,m] (row-major; spoilt; below the subdiagonal it
   is not read), in no order, conjugate pairs side by side, positive imaginary part first. Francis'
   double-shift QR without balancing (EISPACK hqr): error a few 2^-53 of the norm times the eigenvalue's
   condition. About 10 m^3 operations. E_NONFINITE: nothing is changed; E_CONVERGE: 60 iterations for one
   eigenvalue. */
SKETCH_INLINE sketch_status sketch_hessenberg_eigen(size_t m, double *h, double *re, double *im);
/* re, im [m]: the Ritz values of A on the space of sketch_arnoldi, m = k->done, as sketch_hessenberg_eigen
   orders them. With lift, for a space built with a plan: restores similarity to the process without one
   (Grigori, Kressner, Shao & Simunec, arXiv 2601.10248). The sketch makes S v_m orthogonal to the S v_j,
   not v_m to the v_j. Let z minimise |V^T z - v_m|: then A V^T = V^T (H + beta z e_m^T) + (a vector
   orthogonal to V) e_m^T, so H + beta z e_m^T is the Rayleigh quotient V^T+ A V^T, similar to Arnoldi's H,
   with the same eigenvalues: A's own on the space, for any S that is injective on it. z by conjugate
   gradients on the normal equations (V is well conditioned: some 10 to 40 pairs of reads of the basis). h
   and k stay as they are: the process may go on. E_CONVERGE: also the least squares did not come down to
   1e-7, f32 rounding, in m + 100. */
SKETCH_INLINE sketch_status sketch_arnoldi_eigen(const sketch_krylov *k, const double *h,
                                                 float *lift /* [d], NULL ok */, double *re, double *im,
                                                 double *scratch /* [m*m + 4*m] */,
                                                 const sketch_threads *threads /* NULL ok */);

/* ---- spectral density and trace -------------------------------------------------------------------- */

/* Stochastic Lanczos quadrature (Ubaru, Chen & Saad, SIMAX 2017): *count pairs with sum of weights 1 such
   that sum w f(node) estimates tr f(A)/d for the symmetric A. For each probe, a vector of random signs,
   k->steps steps of Lanczos; nodes: the Ritz values; weights: the squared FIRST components of T's
   eigenvectors (not equal weights: those are the histogram of Ritz values, which overcounts the ends),
   over the number of probes. Exact for polynomials of degree 2 steps - 1 up to the probes' noise, relative
   O(1/sqrt(probes d)). k gives the memory and is spoilt. Errors as sketch_lanczos,
   sketch_tridiagonal_eigen; on E_CALLBACK and E_NONFINITE the probes that were completed are there, their
   weights adding up to 1 (*count = 0: none). Progress: steps done of probes*steps. Cost: probes times that
   of sketch_lanczos. */
SKETCH_INLINE sketch_status
sketch_slq(sketch_matvec_fn fn, void *user, sketch_krylov *k, size_t probes, double *nodes,
           double *weights /* [probes*steps] each */, size_t *count,
           const sketch_krylov_options *opt /* NULL ok; start, checkpoint: not used */);
/* density[i], of eigenvalues, at low + i (high - low)/(points - 1): the nodes as Gaussians of standard
   deviation sigma. It integrates to 1 over the line, and over the grid (trapezoidal rule) as far as the
   grid covers it with a spacing below sigma. *sigma = 0: becomes 1% of the nodes' range, at least 2
   spacings. *low = *high: they become the ends of the nodes, and 5 sigma more. E_ARG: also count = 0,
   points < 2, sigma < 0, low > high. E_NONFINITE. Cost: count points exponentials. */
SKETCH_INLINE sketch_status sketch_slq_density(const double *nodes, const double *weights, size_t count,
                                               double *low, double *high, double *sigma, double *density,
                                               size_t points);
/* *trace estimates tr A of the symmetric A, unbiased, with at most `matvecs` >= 3 products: Hutch++
   (Meyer, Musco, Musco & Woodruff, SOSA 2021). A third of them finds an orthonormal basis Q of A times
   random vectors, a third takes tr Q A Q^T exactly, the rest averages g^T (I - Q^T Q) A (I - Q^T Q) g over
   random signs g: for a positive semidefinite A the relative error falls as 1/matvecs, not as its root;
   exact for a rank up to matvecs/3. *error: its standard error, from the spread of that average (NaN with
   one sample; 0 if Q is everything). Memory: basis[(q + 2) d], q = min(floor(matvecs/3), d), scratch[2 q +
   1]. Errors: E_ARG, E_SIZE, E_CALLBACK, E_NONFINITE: *trace = 0; but for the last two what the samples so
   far give, once there is one. Progress counts matvecs. */
SKETCH_INLINE sketch_status sketch_trace(
    sketch_matvec_fn fn, void *user, size_t d, size_t matvecs, float *basis, double *scratch, double *trace,
    double *error /* NULL ok */, const sketch_krylov_options *opt /* NULL ok: seed, threads, progress */);

/* ---- (H + damping)^-1 g: influence with curvature ---------------------------------------------------
   Three ways to x = (A + damping I)^-1 g in the sketched space, then score with <x, S grad>. Conjugate
   gradients: the answer, for a positive definite A + damping I. The Krylov space: a few products with A
   for many g, and for an A with negative eigenvalues. LiSSA: the only one for which A may be a new
   mini-batch's Hessian at every call. */

/* x[d] = sum over Ritz pairs of u_i <u_i, g> / (theta_i + damping) + (g - V^T V g) / complement, theta and
   s from sketch_ritz. Pairs with |theta_i + damping| <= cutoff are left out (a pseudo-inverse). What is
   outside of the Krylov space has seen no curvature: complement is what it is divided by: `damping` for a
   space that caught all of A that matters; 0: it is dropped. For a space whose start vector was g the
   complement is empty, and x is the full orthogonalisation method's iterate (conjugate gradients' if A +
   damping I is positive definite). Negative eigenvalues are inverted as they are. Error: for each pair
   bound_i |<u_i, g>| / |theta_i + damping| (of another eigenvalue) and the complement's guess. x must not
   overlap g or the basis. E_ARG: also theta_i + damping = 0 with cutoff = 0 (x untouched), cutoff < 0.
   Cost: two reads of the basis and 2 m^2 multiply-adds. */
SKETCH_INLINE sketch_status sketch_krylov_solve(const sketch_krylov *k, const double *theta, const double *s,
                                                double damping, double cutoff, double complement,
                                                const float *g, float *x, double *scratch /* [2*done] */,
                                                const sketch_threads *threads /* NULL ok */);
/* residual: |b - A x| / |b| as the iteration carries it */
typedef struct sketch_solved {
    uint64_t iterations;
    double residual;
} sketch_solved;
/* (A + damping I) x = b by conjugate gradients (Hestenes & Stiefel 1952). x: a first guess in (zeros if
   there is none), the best so far out, whatever the status. Ends at residual <= tolerance; in f32 vectors
   the true one stays above about 1e-7 times the condition number. E_CONVERGE: `iterations` were not
   enough, or a direction of curvature <= 0 was met (A + damping I is not positive definite: raise damping,
   or use sketch_krylov_solve). E_CALLBACK, E_NONFINITE (b, x or A p). b = 0: x = 0. Cost: a product and 5
   passes over d floats an iteration; one product more if x is not 0. */
SKETCH_INLINE sketch_status sketch_cg(sketch_matvec_fn fn, void *user, size_t d, double damping,
                                      const float *b, float *x, float *scratch /* [3*d] */, double tolerance,
                                      uint64_t iterations, sketch_solved *out,
                                      const sketch_progress *progress /* NULL ok */);
typedef struct sketch_lissa_options {
    double   damping;                /* > 0 */
    double   step;                   /* x += step (g - (A + damping I) x) */
    uint64_t iterations;
    uint64_t batch;                  /* sketch_lissa_tune: examples in one product with A; 0: all of them */
} sketch_lissa_options;
/* From the trace (sketch_trace) and largest eigenvalue (sketch_lanczos) of the sketched Hessian, and
   o->damping and o->batch: step and iterations (after Klochkov & Liu, arXiv 2409.17357, who show that
   these two numbers decide whether LiSSA converges). A step contracts every eigenvalue l >= 0 by 1 - step
   (l + damping); a batch of b examples adds, in mean square, step^2 l trace/b (for a Gauss-Newton matrix,
   whose examples' matrices are g g^T with |g|^2 near the trace): so
           step = 1 / (largest + trace/b + damping),  iterations = ceil(log(1/accuracy) / (step damping)),
   and a batch below trace/largest makes the noise, not the curvature, set the step. E_ARG: damping or
   largest not > 0, trace < 0, accuracy not in (0, 1), not finite: *o is as it was. */
SKETCH_INLINE sketch_status sketch_lissa_tune(double trace, double largest, double accuracy,
                                              sketch_lissa_options *o);
/* x approaches (A + damping I)^-1 g by o->iterations steps of x += step (g - (A + damping I) x) from the x
   that is given (zeros, or what an earlier call left): LiSSA (Agarwal, Bullins & Hazan, JMLR 2017; Koh &
   Liang, ICML 2017) as a plain iteration. fn may be another mini-batch's product at every call.
   out->residual: |g - (A + damping I) x| / |g| at the last x but one (of that batch). Where it diverges
   (step over 2/(largest + damping)) it ends with E_CONVERGE once the residual is over 1e6, or E_NONFINITE,
   x as it then is. E_ARG: damping or step not > 0. E_CALLBACK keeps x. g = 0: x = 0. Cost: a product and 3
   passes over d floats an iteration. */
SKETCH_INLINE sketch_status sketch_lissa(sketch_matvec_fn fn, void *user, size_t d, const float *g, float *x,
                                         float *scratch /* [d] */, const sketch_lissa_options *o,
                                         sketch_solved *out, const sketch_progress *progress /* NULL ok */);

/* ---- intrinsic dimension -----------------------------------------------------------------------------
   The least d such that training inside a random d-dimensional subspace, theta = theta0 + S^T w, reaches 90%
   of what full training does (Li et al., ICLR 2018; paper, sec. 4 and Listing 9), found to a factor of 2 in
   one run: the subspaces for d, 2d, 4d .. are nested (the first d rows of one plan of length d_max), and when
   progress stalls d doubles while the parameters stay. Training lives elsewhere: ask what to do, do it, tell
   the metric.

       sketch_idsearch_begin(&s, &options);
       while (sketch_idsearch_next(&s, &d, &restart) == SKETCH_OK && d) {
           if (restart) memset(w, 0, d_max * sizeof *w);        // w = 0, and the optimiser's state with it
           for (c steps) {
               sketch_subspace_lift(plan, theta0, w, theta, work); ... gradient g at theta ...;
               sketch_subspace_grad(plan, g, SKETCH_F32, d, gw, work); optimiser(w, gw);
           }
           sketch_idsearch_tell(&s, metric(theta), &record);    // save s and record, to resume from
       }
       s.answer                                         // sketch_idsearch_result says whether it is one */
typedef struct sketch_idsearch_options {
    uint64_t     d_min, d_max;       /* 1 <= d_min <= d_max: the plan's d */
    double       target;             /* the metric to reach: 90% of full training's */
    /* a round that gains less than this has stalled: d doubles. Under 0: d doubles only when a round has
       lost more than that */
    double       delta;
    /* SKETCH_HIGHEST: higher is better (accuracy); SKETCH_LOWEST: lower is (loss) */
    sketch_order order;
    uint32_t     confirm;            /* 0: the confirming run at half the answer; 1: without */
    uint64_t     max_rounds;         /* of one run; 0: no limit */
} sketch_idsearch_options;
typedef enum sketch_idphase {
    SKETCH_ID_NONE = 0,
    SKETCH_ID_SEARCH,
    SKETCH_ID_CONFIRM,
    SKETCH_ID_DONE
} sketch_idphase;
/* plain data, no pointers: save it as it is, after each tell, and go on in another process of the same
   build */
typedef struct sketch_idsearch {
    sketch_idsearch_options options;
    sketch_idphase phase;
    uint32_t restart;                /* the next round starts from w = 0 */
    uint32_t have_last;
    /* half the answer was tried and did not reach the target (or was below d_min) */
    uint32_t confirmed;
    uint64_t d;                      /* of the round to come */
    uint64_t answer;                 /* 0: none yet */
    uint64_t rounds;                 /* told, in all */
    uint64_t run_rounds;             /* told in this run */
    uint64_t search_rounds;          /* the run that found the answer took these */
    double   last;                   /* the metric before the round to come */
    double   best;                   /* of all told */
} sketch_idsearch;
/* one row of the log: plot metric over round, coloured by d */
typedef struct sketch_idrecord {
    uint64_t round;                  /* 1, 2, .. */
    uint64_t d;                      /* that this round trained at */
    sketch_idphase phase;            /* that it belonged to */
    uint32_t reached, stalled;       /* the target; gained less than delta */
    double   metric;
} sketch_idrecord;
/* *s is all zero on error. E_ARG: NULL, d_min = 0 or > d_max, target or delta not finite, unknown order,
   confirm > 1. */
SKETCH_INLINE sketch_status sketch_idsearch_begin(sketch_idsearch *s,
                                                  const sketch_idsearch_options *options);
/* What to do now: train c steps with the gradient cut to *d components; first set w = 0 if *restart. *d =
   0: it is over. Asking does not change the state: after a crash ask again. E_STATE: not begun. */
SKETCH_INLINE sketch_status sketch_idsearch_next(const sketch_idsearch *s, uint64_t *d, int *restart);
/* The metric after the round that _next asked for. The rule, in order: reached the target (>=, or <= for
   SKETCH_LOWEST): in the search d is the answer, and a run from w = 0 at d/2 checks it; in that run d (the
   half) is the answer instead, and a run at half of it follows (not below d_min); gained less than delta
   on the round before (the first round of a run: no), or max_rounds rounds of this run are told: in the
   search d doubles (at most to d_max; stalled there, or out of rounds: over, without an answer); in the
   check: over, the answer stands, confirmed. A check also ends so after as many rounds as the search took
   in all. NaN and Inf: E_NONFINITE, the state is as before: tell again (train from the last good w).
   E_STATE: not begun, or over. */
SKETCH_INLINE sketch_status sketch_idsearch_tell(sketch_idsearch *s, double metric,
                                                 sketch_idrecord *record /* NULL ok */);
/* *d: the intrinsic dimension, right to a factor of 2; *confirmed: half of it was tried and failed, or is
   below d_min. E_STATE: not over yet (*d may already be the search's answer); E_CONVERGE, *d = 0: d_max,
   or max_rounds, did not reach the target. */
SKETCH_INLINE sketch_status sketch_idsearch_result(const sketch_idsearch *s, uint64_t *d, int *confirmed);
/* theta[n] = theta0[n] + S^T w[d]. theta == theta0 is allowed (then it accumulates). w must be zero past
   the d in use. Cost: one S^T. Errors of sketch_apply_t_range, E_SIZE. */
SKETCH_INLINE sketch_status sketch_subspace_lift(const sketch_plan *plan, const float *theta0, const float *w,
                                                 float *theta, sketch_work *work);
/* out[plan's d] = S g[n], the gradient with respect to w, components d and above set to zero: an optimiser
   that keeps a coordinate of zero gradients at rest (SGD, Adam; no weight decay from outside) then moves
   in the subspace of dimension d. out is zero on error. E_SIZE: d = 0 or above the plan's. Cost: one S.
*/
SKETCH_INLINE sketch_status sketch_subspace_grad(const sketch_plan *plan, const void *g, sketch_dtype dtype,
                                                 uint64_t d, float *out, sketch_work *work);

/* // >>stop   stop here if you only want the API ==================================================== */
#ifdef __cplusplus
}
#endif
#endif /* SKETCH_H */

#if defined(SKETCH_IMPLEMENTATION) && !defined(SKI_IMPLEMENTED)
#define SKI_IMPLEMENTED

#if defined(__FAST_MATH__)
#error "sketch.h: -ffast-math breaks the promise that one seed names one operator; compile without it"
#endif
#if (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0) || defined(__ASSOCIATIVE_MATH__)
#error "sketch.h: drop -ffinite-math-only and -funsafe-math-optimizations: NaN, Inf and rounding are promised"
#endif
#ifndef SKETCH_SELF
#  ifdef __FILE_NAME__
#    define SKETCH_SELF __FILE_NAME__
#  else
#    define SKETCH_SELF "sketch.h"
#    ifdef __has_include
#      if !__has_include(SKETCH_SELF)
#        error "sketch.h: renamed? define SKETCH_SELF as the header's name, in quotes"
#      endif
#    endif
#  endif
#endif

#ifndef SKETCH_NO_STDIO
#  include <errno.h>
#  include <stdio.h>
#  include <stdlib.h>
#  include <time.h>
#  ifndef _WIN32
#    include <dirent.h>
#    include <fcntl.h>
#    include <sys/mman.h>
#    include <sys/stat.h>
#    include <sys/types.h>
#    include <unistd.h>
#  endif
#endif
#if defined(SKETCH_MALLOC) != defined(SKETCH_FREE)
#error "sketch.h: define both of SKETCH_MALLOC and SKETCH_FREE, or neither"
#endif
#ifndef SKETCH_MALLOC
#include <stdlib.h>
#define SKETCH_MALLOC(size) malloc(size)
#define SKETCH_FREE(ptr)    free(ptr)
#endif

/* // >>platform =====================================================================================
   Which code paths this build has. x86: AVX2+FMA and AVX-512 beside scalar, through target regions, so no
   -m flags. On other little-endian machines: the AVX2 vocabulary through SIMDe where it is found. */
#if !defined(SKETCH_NO_SIMD) && (defined(__GNUC__) || defined(__clang__))
#  if defined(__x86_64__) || defined(__i386__)
#    define SKI_HAS_X86 1
#    include <immintrin.h>
#  elif !defined(SKETCH_NO_SIMDE) && defined(__has_include) && defined(__BYTE_ORDER__) && \
        __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
     /* little-endian: 32-bit words are paired in 64-bit lanes */
#    if __has_include(<simde/x86/avx2.h>) && __has_include(<simde/x86/fma.h>) && \
         __has_include(<simde/x86/f16c.h>)
#      define SKI_HAS_SIMDE 1
#      include <simde/x86/avx2.h>
#      include <simde/x86/fma.h>
#      include <simde/x86/f16c.h>
#    endif
#  endif
#endif

/* Contraction off: gcc would fuse a*b+c even when written in intrinsics, and each ISA would round
   differently. */
#if defined(__clang__)
#  pragma clang fp contract(off)
#elif defined(__GNUC__)
#  pragma GCC push_options
#  pragma GCC optimize ("fp-contract=off")
#  pragma GCC diagnostic push
/* gcc's own _mm512_undefined_*(), seen through inlining (gcc bug 105593) */
#  pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#  pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#if defined(__GNUC__) || defined(__clang__)
/* p[i] into L2; it may lie past the array's end */
#  define SKI_AHEAD(p, i) __builtin_prefetch((const void *)((uintptr_t)(p) + (size_t)(i) * sizeof *(p)), 0, 2)
#else
#  define SKI_AHEAD(p, i) ((void)0)
#endif
/* The loop that follows stays one, as gcc leaves it: hardware that reads ahead knows a stream by the
   instruction that asks for it. */
#if defined(__clang__)
#  define SKI_ROLLED _Pragma("clang loop unroll(disable)")
#else
#  define SKI_ROLLED
#endif
/* Without optimisation each intrinsic has a stack slot of its own: no frame should hold two such
   functions. */
#ifdef __OPTIMIZE__
#  define SKI_ALWAYS static inline __attribute__((always_inline))
#else
#  define SKI_ALWAYS static inline
#endif
#ifndef SKI_ASSERT
#  define SKI_ASSERT(condition) ((void)0)
#endif
#define SKI_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SKI_MAX(a, b) ((a) > (b) ? (a) : (b))

SKETCH_API sketch_isa sketch_cpu_isa(void) {
#if defined(SKI_HAS_X86)
    __builtin_cpu_init();           /* CPUID and XGETBV: also asks whether the system saves the registers */
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) return SKETCH_ISA_AVX512;
    /* every such CPU has F16C */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return SKETCH_ISA_AVX2;
#elif defined(SKI_HAS_SIMDE)
    return SKETCH_ISA_SIMDE;
#endif
    return SKETCH_ISA_SCALAR;
}

SKETCH_API const char *sketch_isa_name(sketch_isa isa) {
    switch (isa) {
    case SKETCH_ISA_AUTO:   return "auto";
    case SKETCH_ISA_SCALAR: return "scalar";
    case SKETCH_ISA_AVX2:   return "avx2";
    case SKETCH_ISA_AVX512: return "avx512";
    case SKETCH_ISA_SIMDE:  return "simde";
    default:                return "unknown";
    }
}

SKETCH_API const char *sketch_status_string(sketch_status s) {
    switch (s) {
#define SKETCH_X(name, code, text) case SKETCH_##name: return text;
    SKETCH_STATUS_LIST(SKETCH_X)
#undef SKETCH_X
    case SKETCH_STATUS_FORCE32: break;
    }
    return "unknown status";
}

SKETCH_API int sketch_version(void) { return SKETCH_VERSION; }

/* 64-byte aligned, zeroed */
static void *ski_alloc(const sketch_allocator *a, size_t size) {
    char *p = NULL;
    if (a->alloc_fn) p = (char *)a->alloc_fn(a->user, size, 64);
    else if (size <= SIZE_MAX - 64 - sizeof(void *)) {
        char *raw = (char *)SKETCH_MALLOC(size + 64 + sizeof(void *));
        if (raw) {
            p = raw + sizeof(void *);
            p += (64 - ((uintptr_t)p & 63)) & 63;
            memcpy(p - sizeof(void *), &raw, sizeof(void *));
        }
    }
    if (p) memset(p, 0, size);
    return p;
}

static void ski_free(const sketch_allocator *a, void *p, size_t size) {
    if (!p) return;
    if (a->alloc_fn) {
        if (a->free_fn) a->free_fn(a->user, p, size);
    } else {
        void *raw;
        memcpy(&raw, (char *)p - sizeof(void *), sizeof(void *));
        SKETCH_FREE(raw);
    }
}

static int ski_mul_overflows(uint64_t a, uint64_t b, uint64_t *out) {
    if (b && a > UINT64_MAX / b) {
        *out = UINT64_MAX;
        return 1;
    }
    *out = a * b;
    return 0;
}
static int      ski_is_pow2(uint64_t x) { return x && !(x & (x - 1)); }
/* floor */
static uint32_t ski_log2(uint64_t x) {
    uint32_t l = 0;
    while (x >>= 1) l++;
    return l;
}
/* x <= 2^63 */
static uint64_t ski_pow2_at_least(uint64_t x) {
    uint64_t p = 1;
    while (p < x) p <<= 1;
    return p;
}
/* floor(total*i/parts), no overflow for i <= parts < 2^32 */
static uint64_t ski_floor_part(uint64_t total, uint64_t i, uint64_t parts) {
    return total / parts * i + total % parts * i / parts;
}

/* // >>shared ==============================================================================================
   The definitions, and the random numbers in plain C, which every faster version is tested against. A second
   implementation can be written from this comment and the rooms of >>operators; tests/oracle.py is one.

   All integers are unsigned; >> and & as in C; lo32/hi32: low and high 32 bits of a 64-bit number.

   Random words. Philox(p, s, c): the four output words of Philox4x32-10 (Salmon et al. 2011) with key
   (lo32(seed), hi32(seed)) and counter (lo32(c), hi32(c), p + 256 algo, s), for purpose p, sub-stream s (32
   bits) and c (64 bits). algo: the value of the enum sketch_algo. Purposes: 1 SIGN, 2 DIAG, 3 PERM, 4 HAAR, 5
   DENSE, 6 HASH, 7 POSITION, 8 SPARSE, 9 SHUFFLE, 10 ROWS.  W(p, s, m), word number m: word (m div 16) mod 4
   of Philox(p, s, 16 (m div 64) + (m mod 16)).

   Sign(p, s, i) = -1 if bit 31 - ((i div 16) mod 32) of W(p, s, 16 (i div 512) + (i mod 16)) is set, else +1.

   Normal of a 16-bit h: m = h & 32767; k = (floor(log2 m) + 15) mod 16, or 0 if m = 0; r = fma(fma(fma(c3[k],
   m, c2[k]), m, c1[k]), m, c0[k]), each fma rounded once to f32 (coefficients: ski_normal_table), then
   rounded to the nearest multiple of 2^-12 (ties to even); the normal is -r if h >= 32768, else r. A
   piecewise cubic inverse of the normal distribution function on a grid that makes it a 16-bit number; it is
   never 0. Over all 65536 h: mean 0, variance - 1 = 4.9e-8, excess kurtosis -1.6e-4, KS distance 1.34e-4,
   largest 4.39. Normal(p, s, i): of the low half of w = W(p, s, 16 (i div 32) + (i mod 16)) if (i div 16) is
   even, else its high. Octet(c, k), k < 8: of the low half of word k of Philox(DIAG, 0, c) if k < 4, else of
   the high half of word k - 4.

   Below(w, k) = (w k) >> 32.   Permutation(p, s, m0, B): a = (0..B-1); for j = B-1 down to 1: swap a[j] and
   a[Below(W(p, s, m0 + j), j + 1)]; returns a.
   Haar(s, r, b): the r x b matrix with entry (i, j) = Normal(HAAR, s, i b + j), rows made orthonormal in
   order by Gram-Schmidt (positive coefficients); if r = b and its determinant is -1, its last row is negated.
   So the first r rows of a Haar matrix on SO(b).

   Blocks. Block b holds coordinates b L .. b L + L - 1 of x, zeros past n. S x = sum over b of S_b x_b. L:
   the room's default or desc.block, cut to the next power of two of n, and not under that of d (FJL: may be).
   Below, j is a coordinate in its block, i = b L + j.
   H: the orthonormal Walsh-Hadamard matrix of size L, entries L^(-1/2) (-1)^popcount(i & j).
   B_b: diagonal, Sign(SIGN, 0, i).  G_b: diagonal, in the rooms.  R_d: the first d coordinates.
   P: (P u)[a] = u[pi(a)]. Write a index in Kronecker factors of 1024, trailing one fastest, the leading one
   taking what is left (2^15 = 32 * 1024); the f-th factor counted from the trailing one (f = 0) has size B_f
   and the permutation Permutation(PERM, f, 0, B_f); pi permutes each digit by its own. One P serves all
   blocks of a plan. C: the Kronecker product, over these factors, of Hartley matrices B^(-1/2) (cos(2 pi j
   k/B) + sin(2 pi j k/B)). Q1, Q2: Kronecker products of Haar matrices. log2 L is cut into K = max(1,
   ceil(log2 L / 8)) parts, as equal as can be, larger ones trailing; factor f counted from the leading one (f
   = 0) is Haar(f, b_f, b_f) in Q1 and Haar(16 + f, b_f, b_f) in Q2.
   desc.scale = SKETCH_SCALE_NONE leaves out the factor in front in both directions; sketch_info.scale is that
   factor.

   Sums. C = 1 is doubled while C < 2^16 and N div C div 2 >= max(4, ceil(64 d/L)); chunk c holds blocks
   floor(c N/C) .. floor((c+1) N/C) - 1. Inside a chunk blocks are added in order (inside a block: the rooms);
   chunk results are added as a balanced binary tree over c. Products that are added are rounded first, so on
   a device without that rule they must not be contracted. Transforms go level by level: strides 1, 2, 4, ...

   Fingerprint: FNV-1a (64 bit) of the ASCII text "sketch.h stream=3 algo=1 n=1000000 d=1024 seed=42 precond=0
   diag=1 block=32768 nnz=0 scale=0" (one space between fields; decimal; algo, precond, diag, scale: values of
   the enums; diag, block, nnz: in force, 0 where the operator has no such option).
   Nesting: AFFD, AFJL: the first d' coordinates of a sketch, times sqrt(d/d'), are the same plan's sketch at
   d' (same seed, same L) to rounding: sketch_truncate(). */
enum {
    SKI_SIGN = 1,
    SKI_DIAG,
    SKI_PERM,
    SKI_HAAR,
    SKI_DENSE,
    SKI_HASH,
    SKI_POSITION,
    SKI_SPARSE,
    SKI_SHUFFLE,
    SKI_ROWS
};

/* key, purpose + 256*algo, sub-stream */
typedef struct ski_rng {
    uint32_t k0, k1, c2, c3;
} ski_rng;

static ski_rng ski_rng_make(uint64_t seed, sketch_algo algo, uint32_t purpose, uint32_t sub) {
    ski_rng r;
    r.k0 = (uint32_t)seed;
    r.k1 = (uint32_t)(seed >> 32);
    r.c2 = purpose + 256u * (uint32_t)algo;
    r.c3 = sub;
    return r;
}

/* Philox4x32-10, Salmon et al. 2011 */
static void ski_philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
    int r;
    for (r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static uint32_t ski_word(const ski_rng *r, uint64_t m) {
    uint64_t c64 = 16 * (m / 64) + m % 16;
    uint32_t c[4];
    c[0] = (uint32_t)c64;
    c[1] = (uint32_t)(c64 >> 32);
    c[2] = r->c2;
    c[3] = r->c3;
    ski_philox(c, r->k0, r->k1);
    return c[m / 16 % 4];
}

/* k <= 2^32 */
static uint32_t ski_below(uint32_t w, uint64_t k) { return (uint32_t)((uint64_t)w * k >> 32); }

/* Normal magnitude of m < 2^15: a cubic in m for each octave [2^e, 2^(e+1)) of the tail probability (m =
   0: that of e = 1). Fitted to minimise the KS distance, lowest 16 cells at their conditional root mean
   square, scaled to unit variance; the last octave once more on the grid, so that none is rounded to 0 (a
   -0 has no 16-bit number). A 16-entry table is one register permute on AVX-512, two and a blend on AVX2;
   with quadratics the KS distance was 7e-4. Tables of a few bits each, added up, would cost half as much,
   but have too large a KS distance (best found by least squares: 4 x 4 bits 2.6e-4 with a quintic on top,
   5 + 5 + 6 bits 3.7e-4, with a quintic 2.0e-4). */
/* c_k at [k][(e + 15) % 16]: a float's exponent field, e + 127, is the index */
static const float ski_normal_table[4][16] = {
    { 4.39245367f, 4.13832664f, 4.00774288f, 3.85783362f, 3.69466472f, 3.52041769f, 3.33583832f, 3.14140105f,
      2.93582845f, 2.71771622f, 2.48512006f, 2.23552132f, 1.96604919f, 1.6761589f, 0.0f, 4.08064795f },
    { -0.307956308f, -0.113701038f, -0.0619516112f, -0.0330104791f, -0.017467754f, -0.00922926608f,
      -0.00487807533f, -0.00259738136f, -0.00139265705f, -0.000753789383f, -0.000413175847f, -0.00023037981f,
      -0.000131614026f, -7.839083e-05f, 0.0f, 0.0f },
    { 0.0451988131f, 0.00962058362f, 0.00259371451f, 0.000685015752f, 0.000180072937f, 4.72874199e-05f,
      1.23594873e-05f, 3.26699751e-06f, 8.67752874e-07f, 2.31869976e-07f, 6.23806571e-08f, 1.689253e-08f,
      4.59350735e-09f, 1.2728928e-09f, 0.0f, 0.0f },
    { 0.0f, -0.00037572594f, -4.93310581e-05f, -6.42187206e-06f, -8.37721757e-07f, -1.0950891e-07f,
      -1.41719134e-08f, -1.86926319e-09f, -2.47822318e-10f, -3.30610504e-11f, -4.44413733e-12f,
      -6.03386969e-13f, -8.37714907e-14f, -1.3475346e-14f, 0.0f, 0.0f },
};

/* On a grid of 2^-12, between 2048 and 4096 the distance of neighbours in f32, so that a normal fits 16
   bits: 32768 + 4096 normal. Kept so, or made for a batch, it is a float again after two and a half
   operations: the bits go into the mantissa of SKI_GRID_BITS, and SKI_GRID_BIAS is taken away. */
#define SKI_GRID_ROUND 3072.0f
#define SKI_GRID_BIAS  3080.0f
#define SKI_GRID_BITS  0x45400000u       /* of 3072 */

/* Fused: a*b is exact in f64, and rounding the sum twice gives what one rounding does for all of the
   32,768 m. */
static float ski_fma(float a, float b, float c) { return (float)((double)a * (double)b + (double)c); }
/* h: 16 bits, sign and m */
static float ski_normal_of(uint32_t h) {
    uint32_t m = h & 32767u, i = m ? (ski_log2(m) + 15) % 16 : 0;
    float f = (float)m, r = ski_fma(ski_normal_table[3][i], f, ski_normal_table[2][i]);
    r = ski_fma(ski_fma(r, f, ski_normal_table[1][i]), f, ski_normal_table[0][i]);
    r = (r + SKI_GRID_ROUND) - SKI_GRID_ROUND;
    return h & 32768u ? -r : r;
}
static uint32_t ski_grid_of(float normal) { return (uint32_t)(32768 + (int)(normal * 4096.0f)); }
static float ski_normal_at(const ski_rng *r, uint64_t i) {
    uint32_t w = ski_word(r, 16 * (i / 32) + i % 16);
    return ski_normal_of(i / 16 % 2 ? w >> 16 : w & 65535u);
}
/* Octet(c, k): eight normals from the Philox call with counter c: k < 4 from the low half of output k,
   else from the high half of output k - 4 */
static float ski_octet_at(const ski_rng *r, uint64_t c, size_t k) {
    uint32_t w = ski_word(r, 64 * (c / 16) + 16 * (k % 4) + c % 16);
    return ski_normal_of(k < 4 ? w & 65535u : w >> 16);
}
/* 1 if Sign is -1 */
static int ski_minus_at(const ski_rng *r, uint64_t i) {
    return (int)(ski_word(r, 16 * (i / 512) + i % 16) >> (31 - i / 16 % 32) & 1u);
}

/* half types, by bits */
static float ski_f32_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static uint32_t ski_bits_of_f32(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static float ski_f32_of_f16(uint16_t h) {
    uint32_t s = (uint32_t)(h & 0x8000u) << 16, e = h >> 10 & 31u, m = h & 1023u;
    if (e == 31) return ski_f32_of_bits(s | 0x7f800000u | m << 13 | (m ? 0x400000u : 0u));
    /* subnormal: m 2^-24 */
    if (e == 0) {
        float f = (float)m * 5.9604644775390625e-8f;
        return s ? -f : f;
    }
    return ski_f32_of_bits(s | (e + 112u) << 23 | m << 13);
}
/* nearest even; overflow to Inf */
static uint16_t ski_f16_of_f32(float f) {
    uint32_t u = ski_bits_of_f32(f), s = u >> 16 & 0x8000u, a = u & 0x7fffffffu, r, m, sh;
    if (a > 0x7f800000u) return (uint16_t)(s | 0x7e00u | (a >> 13 & 0x1ffu));
    if (a >= 0x477ff000u) return (uint16_t)(s | 0x7c00u);
    if (a >= 0x38800000u) {
        r = a - 0x38000000u;
        return (uint16_t)(s | (r + 0xfffu + (r >> 13 & 1u)) >> 13);
    }
    if (a < 0x33000000u) return (uint16_t)s;
    sh = 126u - (a >> 23);                             /* 14..24: shift of the 24-bit significand */
    m = (a & 0x7fffffu) | 0x800000u;
    r = m >> sh;
    if ((m & ((1u << sh) - 1u)) > (1u << (sh - 1))
        || ((m & ((1u << sh) - 1u)) == (1u << (sh - 1)) && (r & 1u)))
        r++;
    return (uint16_t)(s | r);
}
static uint16_t ski_bf16_of_f32(float f) {
    uint32_t u = ski_bits_of_f32(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

/* // >>isa ==========================================================================================
   The kernels of one instruction set. Their bodies (>>kernels) are written once
   and compiled once for each of the vocabularies below by including this file again. All pointers may be
   unaligned; sizes are in elements. */
/* floats, 16 KiB, well inside an L1: transforms up to it go level by level, longer ones part by part */
#define SKI_WHT_LEAF ((size_t)4096)
#define SKI_WHT_AHEAD ((size_t)1 << 20)  /* floats, 4 MiB: from here on each leaf fetches the next */
#define SKI_WHT_FAR ((size_t)1 << 26)    /* floats, 256 MiB: from here on the top six levels go by strips */
/* AFJL: rows kept at most without a transform of the leading factor */
#define SKI_DIRECT 64u
/* their sign words for two groups of 8 rows, which lie before the sums */
#define SKI_KEPT_WORDS 512u
/* Which of the eight outputs of a transform across 8 rows the kept rows use. Entry i: output k for
   end[k-1] <= i < end[k]; it goes to[i] floats into the sums, times sign[g][i] = +-1 for the g-th of the
   groups at hand; bit i of bit[b] is bit b of its row, counted in groups. */
typedef struct ski_kept {
    uint8_t end[8];
    uint32_t to[SKI_DIRECT];
    float sign[2][SKI_DIRECT];
    uint64_t bit[64];
} ski_kept;
/* from row to row where sums of rows of 1024 are kept: a line more, so that rows do not share the sets of
   an L1 */
#define SKI_ROW  ((size_t)1024 + 16)
/* from one to the next of the 8 parts of SKI_WHT_LEAF of a block of 2^15, so that they do not share the
   sets of an L1 */
#define SKI_PART (SKI_WHT_LEAF + 64)
/* coordinates of such a block that fold takes at once: 256 columns of 8 rows */
#define SKI_FOLD (8 * 256u)
/* G's entries lie in the order of their use: 16 columns of the eight rows after one another; as 16-bit
   numbers, 32 columns in 16 words, the first 16 in the low halves */
#define SKI_FOLD_WORDS (SKI_FOLD / 2)
#define SKI_STREAM ((size_t)1 << 23)     /* floats, 32 MiB: results so long are written past the caches */
/* Every kernel once: X(result, name, arguments). The struct and each instruction set's table come from it;
   the contract stands at the code (>>kernels). */
#define SKI_KERNELS(X) \
    /* random numbers */ \
    X(void, words, (uint32_t out[64], const ski_rng *r, uint64_t group)) \
    X(void, signs, (const float *x, float *out, uint64_t i0, size_t n, const ski_rng *r)) \
    X(void, normals, (float *out, uint64_t i0, size_t n, const ski_rng *r)) \
    X(void, octets, \
      (float *out, uint64_t c0, size_t n, size_t rows, size_t row, size_t tile, const ski_rng *r)) \
    X(void, octets16, (uint32_t *out, uint64_t c0, const ski_rng *r)) \
    X(void, normals_of, (float *out, const uint16_t *u, size_t n)) \
    /* transforms */ \
    X(void, wht, (float *x, size_t n, size_t h0)) \
    X(void, wht_top, (float *x, size_t rows, size_t h, size_t c0, size_t c1)) \
    X(void, hb, \
      (const void *x, sketch_dtype type, float *out, uint64_t i0, size_t n, const ski_rng *r, uintptr_t \
       ahead, size_t lines)) \
    X(void, hartley, (float *tile, size_t b, size_t w, const float *cs)) \
    /* vectors */ \
    X(void, muladd, (float *acc, const float *a, const float *g, size_t n)) \
    X(void, mul, (float *out, const float *a, const float *g, size_t n)) \
    X(void, gather, (float *out, const float *a, const uint16_t *at, size_t n)) \
    X(void, axpy, (float *acc, const float *a, float s, size_t n)) \
    X(void, add, (float *acc, const float *a, size_t n)) \
    X(void, scale, (float *out, const float *a, float s, size_t n)) \
    X(void, load, (float *out, const void *x, uint64_t first, sketch_dtype t, size_t n)) \
    X(double, dot, (const float *a, const float *b, size_t n)) \
    X(void, gemv, (const float *v, size_t m, size_t d, const float *w, double *c)) \
    X(void, gemv_t, (const float *v, size_t m, size_t d, size_t n, const double *c, float *w)) \
    /* products */ \
    X(void, gemm, \
      (size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb, float *c, \
       size_t ldc)) \
    X(void, gemm_nt, (const float *a, size_t m, const float *b, size_t k, size_t d, float *c, size_t ldc)) \
    /* AFFD */ \
    X(void, fold, (const float *x, const float *g, uintptr_t ahead, float *const acc[8])) \
    X(void, fold16, (const float *x, const uint32_t *g, int kept, uintptr_t ahead, float *const acc[8])) \
    X(void, fold_signs, \
      (const float *x, const uint32_t *w, int shift, uintptr_t ahead, float *const acc[8])) \
    X(void, unfold, (float *x, const uint32_t *g, const float *const z[8])) \
    X(void, unfold_signs, (float *x, const uint32_t *w, int shift, const float *const z[8])) \
    X(void, bh_last, \
      (const float *x, float *out, size_t gap, int streamed, uint64_t i0, const ski_rng *r, uint32_t *w)) \
    /* AFJL */ \
    X(void, lead8, \
      (const float *x, uint64_t i0, const ski_rng *r, size_t ng, const ski_kept *kept, uint32_t *w, \
       float *out, int first, int waits, uintptr_t ahead, size_t lines)) \
    X(void, lead8_t, \
      (float *x, uint64_t i0, const ski_rng *r, size_t ng, const ski_kept *kept, uint32_t *w, const \
       float *in)) \
    /* QK */ \
    X(void, thin_pack, (float *q, size_t k, size_t w)) \
    X(void, thin, \
      (size_t m, size_t w, size_t k, const void *x, sketch_dtype type, const float *b, float *u, float \
       *stage)) \
    /* dense */ \
    X(void, dense, \
      (const sketch_diag dist, const ski_rng *r, uint64_t i0, size_t n, size_t d, size_t nb, const \
       float *const *x, float *acc, size_t acc_stride)) \
    X(void, dense_t, \
      (const sketch_diag dist, const ski_rng *r, uint64_t i0, size_t n, size_t d, const float *y, float \
       *x)) \
    /* SJLT */ \
    X(void, sjlt, \
      (const ski_rng *r, uint64_t i0, size_t n, uint64_t d, uint32_t nnz, size_t nb, const void *const \
       *x, sketch_dtype type, float *acc, size_t acc_stride)) \
    X(void, sjlt_t, \
      (const ski_rng *r, uint64_t i0, size_t n, uint64_t d, uint32_t nnz, const float *y, float *x))

typedef struct ski_kernels {
    sketch_isa isa;
#define SKI_X(result, name, arguments) result (*name) arguments;
    SKI_KERNELS(SKI_X)
#undef SKI_X
} ski_kernels;

static size_t ski_size(sketch_dtype t) { return t == SKETCH_F32 ? 4 : t == SKETCH_F64 ? 8 : 2; }

#define SKI_CAT2(a, b) a##b
#define SKI_CAT(a, b) SKI_CAT2(a, b)
#define SKI_FN(name) SKI_CAT(SKI_CAT(ski_, name), SKI_SUFFIX)

#define SKI_TEMPLATE
#define SKI_SUFFIX _scalar
#define SKI_ISA SKETCH_ISA_SCALAR
#include SKETCH_SELF
#undef SKI_SUFFIX
#undef SKI_ISA

#if defined(SKI_HAS_X86)
#  define SKI_SUFFIX _avx2
#  define SKI_ISA SKETCH_ISA_AVX2
#  define SKI_VOCABULARY_256
#  define SKI_MM(op)  _mm256_##op
#  define SKI_MM1(op) _mm_##op
#  define SKI_T(t)    t
#  if defined(__clang__)
#    pragma clang attribute push (__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#  else
#    pragma GCC push_options
#    pragma GCC target ("avx2,fma,f16c")
#  endif
#  include SKETCH_SELF
#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#  endif
#  undef SKI_SUFFIX
#  undef SKI_ISA
#  undef SKI_VOCABULARY_256
#  undef SKI_MM
#  undef SKI_MM1
#  undef SKI_T

#  define SKI_SUFFIX _avx512
#  define SKI_ISA SKETCH_ISA_AVX512
#  define SKI_VOCABULARY_512
#  if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)
#  else
#    pragma GCC push_options
#    pragma GCC target ("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#  endif
#  include SKETCH_SELF
#  if defined(__clang__)
#    pragma clang attribute pop
#  else
#    pragma GCC pop_options
#  endif
#  undef SKI_SUFFIX
#  undef SKI_ISA
#  undef SKI_VOCABULARY_512
#elif defined(SKI_HAS_SIMDE)
#  define SKI_SUFFIX _simde
#  define SKI_ISA SKETCH_ISA_SIMDE
#  define SKI_VOCABULARY_256
#  define SKI_MM(op)  simde_mm256_##op
#  define SKI_MM1(op) simde_mm_##op
#  define SKI_T(t)    simde##t
#  include SKETCH_SELF
#  undef SKI_SUFFIX
#  undef SKI_ISA
#  undef SKI_VOCABULARY_256
#  undef SKI_MM
#  undef SKI_MM1
#  undef SKI_T
#endif
#undef SKI_TEMPLATE

/* NULL: not built in, or not on this CPU */
static const ski_kernels *ski_kernels_for(sketch_isa isa) {
    sketch_isa best = sketch_cpu_isa();
    if (isa == SKETCH_ISA_AUTO) isa = best;
    if (isa == SKETCH_ISA_SCALAR) return &ski_kernels_scalar;
#if defined(SKI_HAS_X86)
    if (isa == SKETCH_ISA_AVX2 && (best == SKETCH_ISA_AVX2 || best == SKETCH_ISA_AVX512))
        return &ski_kernels_avx2;
    if (isa == SKETCH_ISA_AVX512 && best == SKETCH_ISA_AVX512) return &ski_kernels_avx512;
#elif defined(SKI_HAS_SIMDE)
    if (isa == SKETCH_ISA_SIMDE) return &ski_kernels_simde;
#endif
    return NULL;
}

SKETCH_API sketch_status sketch_selftest(sketch_isa isa) {
    const ski_kernels *k = ski_kernels_for(isa);
    static const uint32_t known[4] = { 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u };
    volatile float one = 1.0f, half_ulp = 5.9604644775390625e-8f, ulp = 1.1920928955078125e-7f,
                   tiny = 1.17549435e-38f, r;
    uint32_t c[4] = { 0, 0, 0, 0 }, w[64], w16[1024], hash = 2166136261u;
    uint16_t h[52];
    float x[512], y[512];
    ski_rng g;
    size_t i;
    if (!k) return isa < SKETCH_ISA_AUTO || isa > SKETCH_ISA_SIMDE ? SKETCH_E_ARG : SKETCH_E_UNSUPPORTED;
#if defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ == 2 || __FLT_EVAL_METHOD__ < 0)
    /* x87 rounds when it pleases: -msse2 -mfpmath=sse */
    return SKETCH_E_STATE;
#endif
    /* nearest, ties to even */
    r = one + half_ulp;
    if (r != 1.0f) return SKETCH_E_STATE;
    r = (one + ulp) + half_ulp;
    if (r != 1.0f + 2.0f * 1.1920928955078125e-7f) return SKETCH_E_STATE;
    r = -one - half_ulp;
    if (r != -1.0f) return SKETCH_E_STATE;
    /* flush to zero */
    r = tiny * 0.5f;
    if (!(r > 0.0f)) return SKETCH_E_STATE;
    /* denormals are zero */
    r = r * 2.0f;
    if (r != tiny) return SKETCH_E_STATE;
    for (i = 0; i < 35; i++) {
        x[i] = 1.000244140625f;
        y[i] = -1.0f;
        y[64 + i] = tiny;
        y[128 + i] = 0.5f;
    }
    /* contracted, (1 + 2^-12)^2 - 1 would keep 2^-24 */
    k->muladd(y, x, x, 35);
    /* the vector unit may flush where the scalar one does not */
    k->mul(y + 64, y + 64, y + 128, 35);
    for (i = 0; i < 35; i++)
        if (y[i] != 0.00048828125f || ski_bits_of_f32(y[64 + i]) != 0x00400000u) return SKETCH_E_STATE;
    for (i = 0; i < 65536; i += 131) hash = (hash ^ ski_bits_of_f32(ski_normal_of((uint32_t)i))) * 16777619u;
    /* FNV-1a over words: the normals' bits, known in advance */
    if (hash != 0x8b8a444fu) return SKETCH_E_STATE;
    ski_philox(c, 0, 0);
    if (memcmp(c, known, sizeof c)) return SKETCH_E_STATE;
    g = ski_rng_make(0x123456789abcdef0u, (sketch_algo)1, SKI_DIAG, 3);
    k->words(w, &g, 0x123456789u);
    for (i = 0; i < 64; i += 21)
        if (w[i] != ski_word(&g, 64 * (uint64_t)0x123456789u + i)) return SKETCH_E_STATE;
    k->normals(x, 160, 96, &g);
    for (i = 0; i < 96; i += 5) if (x[i] != ski_normal_at(&g, 160 + i)) return SKETCH_E_STATE;
    k->octets(x, 32, 32, 8, 64, 16, &g);
    for (i = 0; i < 256; i += 5)
        if (x[i / 32 * 64 + i % 32] != ski_octet_at(&g, 32 + i % 32, i / 32)) return SKETCH_E_STATE;
    k->octets16(w16, 256, &g);
    for (i = 0; i < 256; i += 5) h[i / 5] = (uint16_t)(w16[i / 16 * 64 + i % 16] >> 16);      /* row 4 */
    k->normals_of(x, h, 52);
    for (i = 0; i < 256; i += 5) if (x[i / 5] != ski_octet_at(&g, 256 + i, 4)) return SKETCH_E_STATE;
    for (i = 0; i < 512; i++) x[i] = (float)(int)(i * i % 31u) - 15.0f;
    k->signs(x, y, 512, 512, &g);
    for (i = 0; i < 512; i += 37)
        if (y[i] != (ski_minus_at(&g, 512 + i) ? -x[i] : x[i])) return SKETCH_E_STATE;
    k->wht(x, 512, 1);
    for (i = 0; i < 512; i += 73) {
        float s = 0.0f;
        size_t j;
        for (j = 0; j < 512; j++) {
            size_t p = i & j;
            float v = (float)(int)(j * j % 31u) - 15.0f;
            p ^= p >> 8;
            p ^= p >> 4;
            p ^= p >> 2;
            p ^= p >> 1;
            s += p & 1 ? -v : v;
        }
        if (s != x[i]) return SKETCH_E_STATE;                  /* small integers: exact in any order */
    }
    return SKETCH_OK;
}

#endif /* SKI_IMPLEMENTED */

#ifdef SKI_TEMPLATE
/* // >>kernels ======================================================================================
   Included once for each instruction set, with SKI_SUFFIX and a vocabulary. First the vocabulary, the
   same words in the same order: SKI_VW lanes; ski_v floats, ski_u 32-bit words (also as SKI_VW/2 64-bit
   lanes: SKI_Q_); SKI_V_HAD(v, k): one level of butterflies inside a vector, lanes l and l^k: (a, b) ->
   (a + b, a - b). SKI_V_TAB16(t, i): t[i & 15] for a 16-entry table loaded by SKI_TAB_LOAD. SKI_D_:
   SKI_VW/2 doubles. SKI_4_: four floats, not in the scalar one. Every word is exact or rounds once, in
   the same order for all: results do not depend on the ISA, except SKI_V_FMA's, whose scalar word rounds
   twice: it stands where the product is exact (by 1 or -1), in the normals (whose scalar form is
   ski_fma), and in products of matrices. */
#if defined(SKI_VOCABULARY_512)
#  define SKI_VW 16
#  define ski_v            __m512
#  define ski_u            __m512i
#  define ski_d            __m512d
#  define ski_tab          __m512
#  define SKI_V_LOAD(p)        _mm512_loadu_ps(p)
#  define SKI_V_STORE(p, v)    _mm512_storeu_ps(p, v)
/* aligned, past the caches */
#  define SKI_V_STREAM(p, v)   _mm512_stream_ps(p, v)
#  define SKI_V_SET1(x)        _mm512_set1_ps(x)
/* p[0], p[1], p[0], ... */
#define SKI_V_SET2(p) \
    _mm512_castsi512_ps(_mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(p))))
#  define SKI_V_ADD(a, b)      _mm512_add_ps(a, b)
#  define SKI_V_SUB(a, b)      _mm512_sub_ps(a, b)
#  define SKI_V_MUL(a, b)      _mm512_mul_ps(a, b)
#  define SKI_V_FMA(a, b, c)   _mm512_fmadd_ps(a, b, c)
#  define SKI_V_SUM(v)         _mm512_reduce_add_ps(v)
/* v ^ (u & sign) */
#define SKI_V_XORSIGN(v, u) \
    _mm512_castsi512_ps( \
        _mm512_ternarylogic_epi32(_mm512_castps_si512(v), u, _mm512_set1_epi32((int)0x80000000u), 0x78))
/* value, u < 2^31 */
#  define SKI_V_OF_U(u)        _mm512_cvtepi32_ps(u)
#  define SKI_U_BITS(v)        _mm512_castps_si512(v)
#  define SKI_V_OF_BITS(u)     _mm512_castsi512_ps(u)
#  define SKI_V_TAB16(t, i)    _mm512_permutexvar_ps(i, t)
#  define SKI_TAB_LOAD(p)      _mm512_loadu_ps(p)
#define SKI_V_LOAD_BF16(p) \
    _mm512_castsi512_ps(_mm512_slli_epi32( \
        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p))), 16))
#  define SKI_V_LOAD_F16(p)    _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define SKI_V_LOAD_F64(p) \
    _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_loadu_pd(p))), \
                       _mm512_cvtpd_ps(_mm512_loadu_pd((p) + 8)), 1)
#  define ski_4            __m128
#  define SKI_4_LOAD(p)        _mm_loadu_ps(p)
#  define SKI_4_AT(v, k)       ((k) ? _mm_cvtss_f32(_mm_shuffle_ps(v, v, (k) * 0x55)) : _mm_cvtss_f32(v))
#  define SKI_U_LOAD(p)        _mm512_loadu_si512((const void *)(p))
#  define SKI_U_STORE(p, u)    _mm512_storeu_si512((void *)(p), u)
#  define SKI_U_SET1(x)        _mm512_set1_epi32((int)(x))
#  define SKI_U_ADD(a, b)      _mm512_add_epi32(a, b)
#  define SKI_U_AND(a, b)      _mm512_and_si512(a, b)
#  define SKI_U_ANDOR(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0xEA)
#  define SKI_U_XOR(a, b)      _mm512_xor_si512(a, b)
#  define SKI_U_XOR3(a, b, c)  _mm512_ternarylogic_epi32(a, b, c, 0x96)
#  define SKI_U_SLL(a, n)      _mm512_slli_epi32(a, n)
#  define SKI_U_SRL(a, n)      _mm512_srli_epi32(a, n)
#  define SKI_U_SLLN(a, n)     _mm512_sll_epi32(a, _mm_cvtsi32_si128(n))
#  define SKI_Q_SET1(x)        _mm512_set1_epi64((long long)(x))
#  define SKI_Q_EVENS          _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0)
#  define SKI_Q_MUL(a, b)      _mm512_mul_epu32(a, b)
#  define SKI_Q_SRL(a, n)      _mm512_srli_epi64(a, n)
/* high halves down: not on the multiplier's port, as the shift is */
#  define SKI_Q_HIGH(a)        _mm512_shuffle_epi32(a, _MM_PERM_DDBB)
#  define SKI_Q_PAIR(e, o)     _mm512_mask_blend_epi32(0xAAAA, e, _mm512_slli_epi64(o, 32))
#define SKI_V_HAD(v, k) \
    ((k) == 1   ? SKI_HAD512(v, _mm512_permute_ps(v, 0xB1), 0xAAAA) \
     : (k) == 2 ? SKI_HAD512(v, _mm512_permute_ps(v, 0x4E), 0xCCCC) \
     : (k) == 4 ? SKI_HAD512(v, _mm512_shuffle_f32x4(v, v, 0xB1), 0xF0F0) \
                : SKI_HAD512(v, _mm512_shuffle_f32x4(v, v, 0x4E), 0xFF00))
#define SKI_HAD512(v, p, m) \
    _mm512_fmadd_ps(v, _mm512_mask_blend_ps(m, _mm512_set1_ps(1.0f), _mm512_set1_ps(-1.0f)), p)
#  define SKI_D_ZERO           _mm512_setzero_pd()
#  define SKI_D_LO(v)          _mm512_cvtps_pd(_mm512_castps512_ps256(v))
#  define SKI_D_HI(v)          _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))
#  define SKI_D_FMA(a, b, c)   _mm512_fmadd_pd(a, b, c)
#  define SKI_D_SUM(d)         _mm512_reduce_add_pd(d)
#elif defined(SKI_VOCABULARY_256)
#  define SKI_VW 8
#  define ski_v            SKI_T(__m256)
#  define ski_u            SKI_T(__m256i)
#  define ski_d            SKI_T(__m256d)
typedef struct SKI_FN(tab) {
    ski_v lo, hi;
} SKI_FN(tab);
#  define ski_tab          SKI_FN(tab)
#  define SKI_V_LOAD(p)        SKI_MM(loadu_ps)(p)
#  define SKI_V_STORE(p, v)    SKI_MM(storeu_ps)(p, v)
#  define SKI_V_STREAM(p, v)   SKI_MM(stream_ps)(p, v)
#  define SKI_V_SET1(x)        SKI_MM(set1_ps)(x)
#  define SKI_V_ADD(a, b)      SKI_MM(add_ps)(a, b)
#  define SKI_V_SUB(a, b)      SKI_MM(sub_ps)(a, b)
#  define SKI_V_MUL(a, b)      SKI_MM(mul_ps)(a, b)
#  define SKI_V_FMA(a, b, c)   SKI_MM(fmadd_ps)(a, b, c)
#  define SKI_V_SUM(v)         SKI_FN(sum)(v)
#define SKI_V_XORSIGN(v, u) SKI_MM(xor_ps)(v, SKI_MM(and_ps)(SKI_MM(castsi256_ps)(u), SKI_MM(set1_ps)(-0.0f)))
#  define SKI_V_OF_U(u)        SKI_MM(cvtepi32_ps)(u)
#  define SKI_U_BITS(v)        SKI_MM(castps_si256)(v)
#  define SKI_V_OF_BITS(u)     SKI_MM(castsi256_ps)(u)
#  define SKI_V_TAB16(t, i)    SKI_FN(tab16)(t, i)
#  define SKI_TAB_LOAD(p)      SKI_FN(tab_load)(p)
#define SKI_V_LOAD_BF16(p) \
    SKI_MM(castsi256_ps) \
    (SKI_MM(slli_epi32)( \
        SKI_MM(cvtepu16_epi32)(SKI_MM1(loadu_si128)((const SKI_T(__m128i) *)(const void *)(p))), 16))
#define SKI_V_LOAD_F16(p) SKI_MM(cvtph_ps)(SKI_MM1(loadu_si128)((const SKI_T(__m128i) *)(const void *)(p)))
#define SKI_V_LOAD_F64(p) \
    SKI_MM(insertf128_ps) \
    (SKI_MM(castps128_ps256)(SKI_MM(cvtpd_ps)(SKI_MM(loadu_pd)(p))), \
     SKI_MM(cvtpd_ps)(SKI_MM(loadu_pd)((p) + 4)), 1)
#  define ski_4            SKI_T(__m128)
#  define SKI_4_LOAD(p)        SKI_MM1(loadu_ps)(p)
#define SKI_4_AT(v, k) ((k) ? SKI_MM1(cvtss_f32)(SKI_MM1(shuffle_ps)(v, v, (k)*0x55)) : SKI_MM1(cvtss_f32)(v))
#  define SKI_U_LOAD(p)        SKI_MM(loadu_si256)((const SKI_T(__m256i) *)(const void *)(p))
#  define SKI_U_STORE(p, u)    SKI_MM(storeu_si256)((SKI_T(__m256i) *)(void *)(p), u)
#  define SKI_U_SET1(x)        SKI_MM(set1_epi32)((int)(x))
#  define SKI_U_ADD(a, b)      SKI_MM(add_epi32)(a, b)
#  define SKI_U_AND(a, b)      SKI_MM(and_si256)(a, b)
#  define SKI_U_ANDOR(a, b, c) SKI_MM(or_si256)(SKI_MM(and_si256)(a, b), c)
#  define SKI_U_XOR(a, b)      SKI_MM(xor_si256)(a, b)
#  define SKI_U_XOR3(a, b, c)  SKI_U_XOR(a, SKI_U_XOR(b, c))
#  define SKI_U_SLL(a, n)      SKI_MM(slli_epi32)(a, n)
#  define SKI_U_SRL(a, n)      SKI_MM(srli_epi32)(a, n)
#  define SKI_U_SLLN(a, n)     SKI_MM(sll_epi32)(a, SKI_MM1(cvtsi32_si128)(n))
#  define SKI_Q_SET1(x)        SKI_MM(set1_epi64x)((int64_t)(x))
#  define SKI_Q_EVENS          SKI_MM(set_epi64x)(6, 4, 2, 0)
#  define SKI_Q_MUL(a, b)      SKI_MM(mul_epu32)(a, b)
#  define SKI_Q_SRL(a, n)      SKI_MM(srli_epi64)(a, n)
#  define SKI_Q_HIGH(a)        SKI_MM(shuffle_epi32)(a, 0xF5)
#  define SKI_Q_PAIR(e, o)     SKI_MM(blend_epi32)(e, SKI_MM(slli_epi64)(o, 32), 0xAA)
#define SKI_V_HAD(v, k) \
    ((k) == 1   ? SKI_HAD256(v, SKI_MM(permute_ps)(v, 0xB1), 0xAA) \
     : (k) == 2 ? SKI_HAD256(v, SKI_MM(permute_ps)(v, 0x4E), 0xCC) \
                : SKI_HAD256(v, SKI_MM(permute2f128_ps)(v, v, 1), 0xF0))
#define SKI_HAD256(v, p, m) \
    SKI_MM(fmadd_ps)(v, SKI_MM(blend_ps)(SKI_MM(set1_ps)(1.0f), SKI_MM(set1_ps)(-1.0f), m), p)
#  define SKI_D_ZERO           SKI_MM(setzero_pd)()
#  define SKI_D_LO(v)          SKI_MM(cvtps_pd)(SKI_MM(castps256_ps128)(v))
#  define SKI_D_HI(v)          SKI_MM(cvtps_pd)(SKI_MM(extractf128_ps)(v, 1))
#  define SKI_D_FMA(a, b, c)   SKI_MM(fmadd_pd)(a, b, c)
#  define SKI_D_SUM(d)         SKI_FN(sum_pd)(d)
static inline ski_tab SKI_FN(tab_load)(const float *p) {
    ski_tab t;
    t.lo = SKI_V_LOAD(p);
    t.hi = SKI_V_LOAD(p + 8);
    return t;
}
/* bit 3 chooses the half */
static inline ski_v SKI_FN(tab16)(ski_tab t, ski_u i) {
    return SKI_MM(blendv_ps)(SKI_MM(permutevar8x32_ps)(t.lo, i), SKI_MM(permutevar8x32_ps)(t.hi, i),
                             SKI_MM(castsi256_ps)(SKI_U_SLL(i, 28)));
}
static inline float SKI_FN(sum)(ski_v v) {
    float a[8];
    SKI_V_STORE(a, v);
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}
static inline double SKI_FN(sum_pd)(ski_d v) {
    double a[4];
    SKI_MM(storeu_pd)(a, v);
    return (a[0] + a[2]) + (a[1] + a[3]);
}
#else
#  define SKI_VW 1
#  define ski_v            float
#  define ski_u            uint32_t
typedef const float *SKI_FN(tab);
#  define ski_tab          SKI_FN(tab)
#  define SKI_V_LOAD(p)        (*(p))
#  define SKI_V_STORE(p, v)    (*(p) = (v))
#  define SKI_V_STREAM(p, v)   (*(p) = (v))
#  define SKI_V_SET1(x)        (x)
#  define SKI_V_ADD(a, b)      ((a) + (b))
#  define SKI_V_SUB(a, b)      ((a) - (b))
#  define SKI_V_MUL(a, b)      ((a) * (b))
#  define SKI_V_FMA(a, b, c)   ((a) * (b) + (c))
#  define SKI_V_SUM(v)         (v)
#  define SKI_V_XORSIGN(v, u)  ski_f32_of_bits(ski_bits_of_f32(v) ^ ((u) & 0x80000000u))
#  define SKI_V_OF_U(u)        ((float)(u))
#  define SKI_U_BITS(v)        ski_bits_of_f32(v)
#  define SKI_V_OF_BITS(u)     ski_f32_of_bits(u)
#  define SKI_V_TAB16(t, i)    ((t)[(i) & 15u])
#  define SKI_TAB_LOAD(p)      (p)
#  define SKI_V_LOAD_BF16(p)   ski_f32_of_bits((uint32_t)*(p) << 16)
#  define SKI_V_LOAD_F16(p)    ski_f32_of_f16(*(p))
#  define SKI_V_LOAD_F64(p)    ((float)*(p))
#  define SKI_U_LOAD(p)        (*(p))
#  define SKI_U_SET1(x)        (x)
#  define SKI_U_AND(a, b)      ((a) & (b))
#  define SKI_U_ANDOR(a, b, c) (((a) & (b)) | (c))
#  define SKI_U_XOR(a, b)      ((a) ^ (b))
#  define SKI_U_SLL(a, n)      ((a) << (n))
#  define SKI_U_SRL(a, n)      ((a) >> (n))
#  define SKI_U_SLLN(a, n)     ((a) << (n))
#endif

#if SKI_VW == 16 && defined(__OPTIMIZE__)       /* else a macro of gcc's own, with a warning */
#  define SKI_V_GRID(v) _mm512_roundscale_ps(v, 12 << 4 | _MM_FROUND_NO_EXC)
#else
/* to the nearest multiple of 2^-12 */
#  define SKI_V_GRID(v) SKI_V_SUB(SKI_V_ADD(v, SKI_V_SET1(SKI_GRID_ROUND)), SKI_V_SET1(SKI_GRID_ROUND))
#endif
#if SKI_VW > 1
/* a shift by 1 on any port */
#  define SKI_U_TWICE(u) SKI_U_ADD(u, u)
#else
#  define SKI_U_TWICE(u) ((u) << 1)
#endif
#if SKI_VW > 1 && defined(SKI_HAS_X86)
/* streamed stores are seen before what follows */
#  define SKI_FENCE() _mm_sfence()
/* loads have arrived before what follows starts */
#  define SKI_LOADED() _mm_lfence()
/* stay in a register: gcc would load twice, once for a + b and once for a - b, or a table at each use */
#  define SKI_PIN(v) __asm__("" : "+v"(v))
#else
#  define SKI_FENCE() ((void)0)
#  define SKI_LOADED() ((void)0)
#  define SKI_PIN(v) ((void)0)
#endif

#define SKI_8(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)

/* 64 random words. Philox on 64-bit lanes: the 32x32->64 products leave rubbish in the high halves, which
   the next product ignores, so a round is 2 multiplies, 2 shifts and 2 three-way xors for SKI_VW/2
   counters; even and odd counters are merged once at the end. */
#define SKI_ROUND(x0, x1, x2, x3) \
    do { \
        ski_u a_ = SKI_Q_MUL(m0, x0), b_ = SKI_Q_MUL(m1, x2); \
        x0 = SKI_U_XOR3(SKI_Q_HIGH(b_), x1, k0); \
        x2 = SKI_U_XOR3(SKI_Q_HIGH(a_), x3, k1); \
        x1 = b_; \
        x3 = a_; \
    } while (0)
#define SKI_PHILOX \
    const ski_u m0 = SKI_Q_SET1(0xD2511F53u), m1 = SKI_Q_SET1(0xCD9E8D57u), w0 = SKI_Q_SET1(0x9E3779B9u), \
                w1 = SKI_Q_SET1(0xBB67AE85u); \
    const uint64_t c64 = 16 * group
/* No carry: groups of 16, and two only from an even one */
#define SKI_COUNTERS(e, o, at) \
    ski_u e##0 = SKI_U_ADD(SKI_Q_SET1((uint32_t)c64 + (uint32_t)(at)), SKI_Q_EVENS), \
          o##0 = SKI_U_ADD(e##0, SKI_Q_SET1(1)), e##1 = SKI_Q_SET1(c64 >> 32), o##1 = e##1, \
          e##2 = SKI_Q_SET1(r->c2), o##2 = e##2, e##3 = SKI_Q_SET1(r->c3), o##3 = e##3
#define SKI_KEYS ski_u k0 = SKI_Q_SET1(r->k0), k1 = SKI_Q_SET1(r->k1)
#define SKI_NEXT_KEYS \
    k0 = SKI_U_ADD(k0, w0); \
    k1 = SKI_U_ADD(k1, w1)
#define SKI_WORDS_TO(out, e, o) \
    do { \
        SKI_U_STORE(out, SKI_Q_PAIR(e##0, o##0)); \
        SKI_U_STORE((out) + 16, SKI_Q_PAIR(e##1, o##1)); \
        SKI_U_STORE((out) + 32, SKI_Q_PAIR(e##2, o##2)); \
        SKI_U_STORE((out) + 48, SKI_Q_PAIR(e##3, o##3)); \
    } while (0)
/* W(64 group .. 64 group + 63) */
static void SKI_FN(words)(uint32_t out[64], const ski_rng *r, uint64_t group) {
#if SKI_VW == 1
    uint32_t l, c[4];
    uint64_t c64 = 16 * group;
    for (l = 0; l < 16; l++) {
        c[0] = (uint32_t)c64 | l;
        c[1] = (uint32_t)(c64 >> 32);
        c[2] = r->c2;
        c[3] = r->c3;
        ski_philox(c, r->k0, r->k1);
        out[l] = c[0];
        out[16 + l] = c[1];
        out[32 + l] = c[2];
        out[48 + l] = c[3];
    }
#else
    SKI_PHILOX;
    int half, i;
    for (half = 0; half < 16 / SKI_VW; half++) {
        SKI_COUNTERS(e, o, half * SKI_VW);
        SKI_KEYS;
        for (i = 0; i < 10; i++) {
            SKI_ROUND(e0, e1, e2, e3);
            SKI_ROUND(o0, o1, o2, o3);
            SKI_NEXT_KEYS;
        }
        SKI_WORDS_TO(out + half * SKI_VW, e, o);
    }
#endif
}
/* Two groups: with 32 registers both go at once, since the ten rounds of one are a chain of 100 cycles. */
#if SKI_VW == 16
typedef struct SKI_FN(eight) {
    ski_u w0, w1, w2, w3, w4, w5, w6, w7;
} SKI_FN(eight);
SKI_ALWAYS SKI_FN(eight) SKI_FN(words2_in_registers)(const ski_rng *r, uint64_t group) {
    SKI_PHILOX;
    SKI_COUNTERS(e, o, 0);
    SKI_COUNTERS(f, p, 16);
    SKI_KEYS;
    SKI_FN(eight) t;
    int i;
    for (i = 0; i < 10; i++) {
        SKI_ROUND(e0, e1, e2, e3);
        SKI_ROUND(o0, o1, o2, o3);
        SKI_ROUND(f0, f1, f2, f3);
        SKI_ROUND(p0, p1, p2, p3);
        SKI_NEXT_KEYS;
    }
    t.w0 = SKI_Q_PAIR(e0, o0);
    t.w1 = SKI_Q_PAIR(e1, o1);
    t.w2 = SKI_Q_PAIR(e2, o2);
    t.w3 = SKI_Q_PAIR(e3, o3);
    t.w4 = SKI_Q_PAIR(f0, p0);
    t.w5 = SKI_Q_PAIR(f1, p1);
    t.w6 = SKI_Q_PAIR(f2, p2);
    t.w7 = SKI_Q_PAIR(f3, p3);
    return t;
}
#endif
static void SKI_FN(words2)(uint32_t out[128], const ski_rng *r, uint64_t group) {
#if SKI_VW == 16
    const SKI_FN(eight) t = SKI_FN(words2_in_registers)(r, group);
#define SKI_DO(k) SKI_U_STORE(out + 16 * (k), t.w##k);
    SKI_8(SKI_DO)
#undef SKI_DO
#else
    SKI_FN(words)(out, r, group);
    SKI_FN(words)(out + 64, r, group + 1);
#endif
}

/* out[j] = Sign(i0+j) x[j]; out may be x; x NULL: ones */
static void SKI_FN(signs)(const float *x, float *out, uint64_t i0, size_t n, const ski_rng *r) {
    uint32_t w[128];
    size_t j = 0;
    /* one run of 512 inside two groups of 2048 at a time */
    while (j < n) {
        uint64_t i = i0 + j;
        size_t in_run = (size_t)(i % 512), len = SKI_MIN(512 - in_run, n - j), q = (size_t)(i / 512 % 8);
        size_t e = in_run, end = in_run + len;
        if (j == 0 || i % 4096 == 0) SKI_FN(words2)(w, r, i / 4096 * 2);
#if SKI_VW > 1
        if (in_run % 16 == 0)
            for (; e + 16 <= end; e += 16) {
                size_t l;
                for (l = 0; l < 16; l += SKI_VW)
                    SKI_V_STORE(out + j + e - in_run + l,
                                SKI_V_XORSIGN(x ? SKI_V_LOAD(x + j + e - in_run + l) : SKI_V_SET1(1.0f),
                                              SKI_U_SLLN(SKI_U_LOAD(w + 16 * q + l), (int)(e / 16))));
            }
#endif
        for (; e < end; e++) {
            float v = x ? x[j + e - in_run] : 1.0f;
            out[j + e - in_run] = w[16 * q + e % 16] >> (31 - e / 16) & 1u ? -v : v;
        }
        j += len;
    }
}

/* SIMDe has a fused multiply-add where the machine has one */
#if SKI_VW == 1 || (!defined(SKI_HAS_X86) && !defined(__aarch64__) && !defined(__ARM_FEATURE_FMA) && \
                    !defined(__ALTIVEC__))
#  define SKI_NORMAL_VW 1
#else
#  define SKI_NORMAL_VW SKI_VW
typedef struct SKI_FN(tables) {
    ski_tab t0, t1, t2, t3;
} SKI_FN(tables);
SKI_ALWAYS SKI_FN(tables) SKI_FN(tables_load)(void) {
    SKI_FN(tables) t;
    t.t0 = SKI_TAB_LOAD(ski_normal_table[0]);
    t.t1 = SKI_TAB_LOAD(ski_normal_table[1]);
    t.t2 = SKI_TAB_LOAD(ski_normal_table[2]);
    t.t3 = SKI_TAB_LOAD(ski_normal_table[3]);
#if SKI_VW == 16
    SKI_PIN(t.t0);
    SKI_PIN(t.t1);
    SKI_PIN(t.t2);
    SKI_PIN(t.t3);
#endif
    return t;
}
/* sign: in the top bit */
SKI_ALWAYS ski_v SKI_FN(normal)(ski_u m, ski_u sign, const SKI_FN(tables) *t) {
    ski_v f = SKI_V_OF_U(m), r;
    /* e + 127, or 0; SKI_V_TAB16 looks at the low 4 bits */
    ski_u i = SKI_U_SRL(SKI_U_BITS(f), 23);
    r = SKI_V_FMA(SKI_V_TAB16(t->t3, i), f, SKI_V_TAB16(t->t2, i));
    r = SKI_V_FMA(r, f, SKI_V_TAB16(t->t1, i));
    r = SKI_V_FMA(r, f, SKI_V_TAB16(t->t0, i));
    return SKI_V_XORSIGN(SKI_V_GRID(r), sign);
}
#define SKI_NORMALS(do_, w) \
    { /* of 16-bit numbers in the halves of words */ \
        const ski_u w_ = w, m_ = SKI_U_AND(w_, SKI_U_SET1(0x7fff7fffu)); \
        const ski_v low_ = SKI_FN(normal)(SKI_U_AND(m_, SKI_U_SET1(0xffffu)), SKI_U_SLL(w_, 16), &t), \
                    high_ = SKI_FN(normal)(SKI_U_SRL(m_, 16), w_, &t); \
        do_; \
    }
#endif

/* out[j] = Normal(i0 + j) */
static void SKI_FN(normals)(float *out, uint64_t i0, size_t n, const ski_rng *r) {
    uint32_t w[128];
    size_t j = 0;
    while (j < n) {
        /* a run inside two groups of words: 256 numbers */
        uint64_t i = i0 + j;
        size_t first = (size_t)(i % 256), e = first, end = e + SKI_MIN(256 - e, n - j);
        float *o = out + j;
        SKI_FN(words2)(w, r, i / 256 * 2);
#if SKI_NORMAL_VW > 1
        if (e % 32 == 0) {
            const SKI_FN(tables) t = SKI_FN(tables_load)();
            for (; e + 32 <= end; e += 32, o += 32) {
                size_t l;
                for (l = 0; l < 16; l += SKI_VW)
                    SKI_NORMALS(SKI_V_STORE(o + l, low_);
                                SKI_V_STORE(o + 16 + l, high_), SKI_U_LOAD(w + e / 2 + l))
            }
        }
#endif
        for (; e < end; e++) {
            uint32_t u = w[e / 32 * 16 + e % 16];
            *o++ = ski_normal_of(e / 16 % 2 ? u >> 16 : u & 65535u);
        }
        j += end - first;
    }
}

/* Eight rows of n numbers: all of a call's eight are used at once where eight rows are wanted. Zen 5:
   0.155 ns a number, 0.08 of it the words (ten rounds of 26 operations for 128 words: 94 cycles), the rest
   15 operations for 16 numbers. The words stay in registers: an array on the stack could share sets, in an
   L1 that predicts its way, with the caller's buffers. */
/* Out[k row + c / 16 tile + c % 16] = Octet(c0 + c, k), c < n, k < rows <= 8 */
static void SKI_FN(octets)(float *out, uint64_t c0, size_t n, size_t rows, size_t row, size_t tile,
                           const ski_rng *r) {
    uint32_t w[128];
    size_t c = 0, k;
    while (c < n) {
        const uint64_t at = c0 + c;
        size_t first = (size_t)(at % 16), i, end = SKI_MIN((size_t)16, n - c + first);
#if SKI_NORMAL_VW > 1
        float *o = out + c / 16 * tile;
#endif
#if SKI_VW == 16
        if (rows == 8 && at % 32 == 0 && c % 16 == 0 && n - c >= 32) {
            const SKI_FN(eight) u = SKI_FN(words2_in_registers)(r, at / 16);
            const SKI_FN(tables) t = SKI_FN(tables_load)();
#define SKI_DO(k) SKI_NORMALS(SKI_V_STORE(o + (k) / 4 * tile + (k) % 4 * row, low_); \
                                SKI_V_STORE(o + (k) / 4 * tile + ((k) % 4 + 4) * row, high_), u.w##k)
            SKI_8(SKI_DO)
#undef SKI_DO
            c += 32;
            continue;
        }
#endif
#if SKI_NORMAL_VW > 1
        if (at % 32 == 0 && c % 16 == 0 && n - c >= 32) {
            const SKI_FN(tables) t = SKI_FN(tables_load)();
            SKI_FN(words2)(w, r, at / 16);
            for (k = 0; k < 4 && k < rows; k++)
                for (i = 0; i < 32; i += SKI_VW)
                    SKI_NORMALS(SKI_V_STORE(o + i / 16 * tile + i % 16 + k * row, low_);
                                if (k + 4 < rows)
                                    SKI_V_STORE(o + i / 16 * tile + i % 16 + (k + 4) * row, high_),
                                SKI_U_LOAD(w + i / 16 * 64 + i % 16 + 16 * k))
            c += 32;
            continue;
        }
#endif
        SKI_FN(words)(w, r, at / 16);
        for (i = first; i < end; i++, c++)
            for (k = 0; k < rows; k++)
                out[c / 16 * tile + c % 16 + k * row]
                    = ski_normal_of(k < 4 ? w[16 * k + i] & 65535u : w[16 * (k - 4) + i] >> 16);
    }
}

/* Octet(c0 .. c0 + 255), c0 a multiple of 256, as 16-bit numbers: row k of 16 columns in 16 words, k < 4
   low halves, k + 4 high ones: out[64 tile + 16 (k mod 4) + c] */
static void SKI_FN(octets16)(uint32_t *out, uint64_t c0, const ski_rng *r) {
    uint32_t j;
#if SKI_NORMAL_VW > 1
    const SKI_FN(tables) t = SKI_FN(tables_load)();
#define SKI_BITS16(v) SKI_U_BITS(SKI_V_ADD(v, SKI_V_SET1(SKI_GRID_BIAS)))
#define SKI_PAIR16(to) \
    SKI_U_STORE(to, SKI_U_ANDOR(SKI_BITS16(low_), SKI_U_SET1(0xffffu), SKI_U_SLL(SKI_BITS16(high_), 16)))
    for (j = 0; j < 1024; j += 128) {
#  if SKI_VW == 16
        const SKI_FN(eight) u = SKI_FN(words2_in_registers)(r, c0 / 16 + j / 64);
#define SKI_DO(k) SKI_NORMALS(SKI_PAIR16(out + j + 16 * (k)), u.w##k)
        SKI_8(SKI_DO)
#undef SKI_DO
#  else
        uint32_t w[128], i;
        SKI_FN(words2)(w, r, c0 / 16 + j / 64);
        for (i = 0; i < 128; i += SKI_VW) SKI_NORMALS(SKI_PAIR16(out + j + i), SKI_U_LOAD(w + i))
#  endif
    }
#undef SKI_PAIR16
#undef SKI_BITS16
#undef SKI_NORMALS
#else
    for (j = 0; j < 1024; j += 64) {
        uint32_t w[64], i;
        SKI_FN(words)(w, r, c0 / 16 + j / 64);
        for (i = 0; i < 64; i++)
            out[j + i]
                = ski_grid_of(ski_normal_of(w[i] & 65535u)) | ski_grid_of(ski_normal_of(w[i] >> 16)) << 16;
    }
#endif
}

/* Normals of 16-bit numbers in the low or the high halves of words */
#define SKI_V_NORMAL_LOW(w) \
    SKI_V_SUB(SKI_V_OF_BITS(SKI_U_ANDOR(w, SKI_U_SET1(0xffffu), SKI_U_SET1(SKI_GRID_BITS))), \
              SKI_V_SET1(SKI_GRID_BIAS))
#define SKI_V_NORMAL_HIGH(w) \
    SKI_V_SUB(SKI_V_OF_BITS(SKI_U_XOR(SKI_U_SRL(w, 16), SKI_U_SET1(SKI_GRID_BITS))), \
              SKI_V_SET1(SKI_GRID_BIAS))
/* Normals from 16-bit numbers: out[j] = (u[j] - 32768) / 4096 */
static void SKI_FN(normals_of)(float *out, const uint16_t *u, size_t n) {
    size_t i = 0;
    for (; i + SKI_VW <= n; i += SKI_VW) {
        if (i % 32 == 0) SKI_AHEAD(u, i + 4096);
        SKI_V_STORE(out + i, SKI_V_NORMAL_HIGH(SKI_U_BITS(SKI_V_LOAD_BF16(u + i))));
    }
    for (; i < n; i++) out[i] = ski_f32_of_bits(u[i] | SKI_GRID_BITS) - SKI_GRID_BIAS;
}
#undef SKI_NORMAL_VW

#define SKI_EACH(vec, one) \
    do { \
        size_t i = 0; \
        for (; i + SKI_VW <= n; i += SKI_VW) { \
            vec; \
        } \
        for (; i < n; i++) { \
            one; \
        } \
    } while (0)
/* half types: what comes 8 KiB later is fetched meanwhile */
/* To f32 */
static void SKI_FN(load)(float *out, const void *x, uint64_t first, sketch_dtype t, size_t n) {
    switch (t) {
    case SKETCH_F32: memcpy(out, (const float *)x + first, n * sizeof(float)); break;
    case SKETCH_BF16: {
        const uint16_t *p = (const uint16_t *)x + first;
        SKI_EACH(if (i % 32 == 0) SKI_AHEAD(p, i + 4096); SKI_V_STORE(out + i, SKI_V_LOAD_BF16(p + i)),
                                                          out[i] = ski_f32_of_bits((uint32_t)p[i] << 16));
        break; }
    case SKETCH_F16: {
        const uint16_t *p = (const uint16_t *)x + first;
        SKI_EACH(if (i % 32 == 0) SKI_AHEAD(p, i + 4096);
                 SKI_V_STORE(out + i, SKI_V_LOAD_F16(p + i)), out[i] = ski_f32_of_f16(p[i]));
        break; }
    case SKETCH_F64: {
        const double *p = (const double *)x + first;
        SKI_EACH(SKI_V_STORE(out + i, SKI_V_LOAD_F64(p + i)), out[i] = (float)p[i]);
        break; }
    }
}

/* Walsh-Hadamard. The order of levels is fixed: stride 1, 2, 4, ... so every schedule gives the same bits.
   Tiles of 16 (8) vectors do the levels inside a vector and between vectors in registers; higher strides
   go by radix 16 (8 where there are 16 registers) columns; above SKI_WHT_LEAF floats the recursion
   transforms the parts first, so each part crosses each cache level once. Zen 5, cycles for 16 floats in
   L1: a tile 4.05 (twelve operations, four pipes), with signs 4.7 (one vector after the other 5.3;
   interleaved with the radix 16 of the tile before, by hand 4.4), radix 16 1.4, radix 4 1.0; a store a
   cycle is the floor. In parts of 2^20 from memory 0.205 ns a float, in cache 0.18; reading and writing
   alone 0.12. */
#define SKI_BF(a, b) do { ski_v t_ = a; a = SKI_V_ADD(t_, b); b = SKI_V_SUB(t_, b); } while (0)
/* the same; with SKI_MINUS: half of it on the multiplier's ports */
#define SKI_BM(a, b) do { ski_v t_ = a; a = SKI_V_ADD(t_, b); b = SKI_V_FMA(b, minus_, t_); } while (0)
#define SKI_MINUS ski_v minus_ = SKI_V_SET1(-1.0f); SKI_PIN(minus_)
#define SKI_R4(B, a, b, c, d) B(a, b); B(c, d); B(a, c); B(b, d)
/* Eight at once, level by level, so that the pipes find independent work; B for three butterflies of four,
   C for the fourth: with SKI_BM and SKI_BF the adders have five eighths of the work, and radix 16 takes
   1.40 cycles for 16 floats (all SKI_BM 1.6, all SKI_BF 2.0). */
#define SKI_L4(B, C, a, b, c, d, e, f, g, h) B(a, b); B(c, d); B(e, f); C(g, h)
#define SKI_R8(B, C, a, b, c, d, e, f, g, h) \
    SKI_L4(B, C, a, b, c, d, e, f, g, h); \
    SKI_L4(B, C, a, c, b, d, e, g, f, h); \
    SKI_L4(B, C, a, e, b, f, c, g, d, h)
#define SKI_HAD4(l, a, b, c, d) \
    a = SKI_V_HAD(a, l); \
    b = SKI_V_HAD(b, l); \
    c = SKI_V_HAD(c, l); \
    d = SKI_V_HAD(d, l)
#if SKI_VW == 16
#define SKI_R16(B, C, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    SKI_L4(B, C, a, b, c, d, e, f, g, h); \
    SKI_L4(B, C, i, j, k, l, m, n, o, p); \
    SKI_L4(B, C, a, c, b, d, e, g, f, h); \
    SKI_L4(B, C, i, k, j, l, m, o, n, p); \
    SKI_L4(B, C, a, e, b, f, c, g, d, h); \
    SKI_L4(B, C, i, m, j, n, k, o, l, p); \
    SKI_L4(B, C, a, i, b, j, c, k, d, l); \
    SKI_L4(B, C, e, m, f, n, g, o, h, p)
#define SKI_LANES(v) \
    do { \
        v = SKI_V_HAD(v, 1); \
        v = SKI_V_HAD(v, 2); \
        v = SKI_V_HAD(v, 4); \
        v = SKI_V_HAD(v, 8); \
    } while (0)
#else
#  define SKI_LANES(v) do { v = SKI_V_HAD(v, 1); v = SKI_V_HAD(v, 2); v = SKI_V_HAD(v, 4); } while (0)
#endif

static void SKI_FN(wht_pass2)(float *x, size_t n, size_t h) {
    size_t i, c;
    for (i = 0; i < n; i += 2 * h)
        for (c = i; c < i + h; c += SKI_VW) {
            ski_v a = SKI_V_LOAD(x + c), b = SKI_V_LOAD(x + c + h);
            SKI_BF(a, b);
            SKI_V_STORE(x + c, a);
            SKI_V_STORE(x + c + h, b);
        }
}
static void SKI_FN(wht_pass4)(float *x, size_t n, size_t h) {
    size_t i, c;
    for (i = 0; i < n; i += 4 * h)
        for (c = i; c < i + h; c += SKI_VW) {
            float *p = x + c;
            ski_v a = SKI_V_LOAD(p), b = SKI_V_LOAD(p + h), d = SKI_V_LOAD(p + 2 * h),
                  e = SKI_V_LOAD(p + 3 * h);
            SKI_PIN(a);
            SKI_PIN(b);
            SKI_PIN(d);
            SKI_PIN(e);
            SKI_R4(SKI_BF, a, b, d, e);
            SKI_V_STORE(p, a);
            SKI_V_STORE(p + h, b);
            SKI_V_STORE(p + 2 * h, d);
            SKI_V_STORE(p + 3 * h, e);
        }
}
/* columns c0 .. c1 of 8 rows, h apart, to rows h_out apart */
static void SKI_FN(wht_pass8)(const float *x, float *out, size_t c0, size_t c1, size_t h, size_t h_out) {
    size_t c;
    SKI_MINUS;
    for (c = c0; c < c1; c += SKI_VW) {
        const float *p = x + c, *q = p + 4 * h;
        float *o = out + c, *u = o + 4 * h_out;
        ski_v v0 = SKI_V_LOAD(p), v1 = SKI_V_LOAD(p + h), v2 = SKI_V_LOAD(p + 2 * h),
              v3 = SKI_V_LOAD(p + 3 * h);
        ski_v v4 = SKI_V_LOAD(q), v5 = SKI_V_LOAD(q + h), v6 = SKI_V_LOAD(q + 2 * h),
              v7 = SKI_V_LOAD(q + 3 * h);
        /* from DRAM and back: 2 KiB ahead in each row; 0.31 to 0.27 ns an element at 2^23 */
        if (h >= SKI_WHT_AHEAD && h_out == h) {
            SKI_AHEAD(p, 512);
            SKI_AHEAD(p, h + 512);
            SKI_AHEAD(p, 2 * h + 512);
            SKI_AHEAD(p, 3 * h + 512);
            SKI_AHEAD(q, 512);
            SKI_AHEAD(q, h + 512);
            SKI_AHEAD(q, 2 * h + 512);
            SKI_AHEAD(q, 3 * h + 512);
        }
        SKI_PIN(v0);
        SKI_PIN(v1);
        SKI_PIN(v2);
        SKI_PIN(v3);
        SKI_PIN(v4);
        SKI_PIN(v5);
        SKI_PIN(v6);
        SKI_PIN(v7);
        SKI_R8(SKI_BM, SKI_BF, v0, v1, v2, v3, v4, v5, v6, v7);
        SKI_V_STORE(o, v0);
        SKI_V_STORE(o + h_out, v1);
        SKI_V_STORE(o + 2 * h_out, v2);
        SKI_V_STORE(o + 3 * h_out, v3);
        SKI_V_STORE(u, v4);
        SKI_V_STORE(u + h_out, v5);
        SKI_V_STORE(u + 2 * h_out, v6);
        SKI_V_STORE(u + 3 * h_out, v7);
    }
}
#if SKI_VW == 16
/* columns c0 .. c1 of 16 rows; 2 or 4 lines are fetched with each 16 */
static void SKI_FN(wht_pass16)(float *x, size_t c0, size_t c1, size_t h, uintptr_t ahead, size_t lines) {
    size_t c;
    SKI_MINUS;
    for (c = c0; c < c1; c += SKI_VW) {
        float *p = x + c, *q = p + 4 * h, *s = p + 8 * h, *u = p + 12 * h;
        ski_v v0 = SKI_V_LOAD(p), v1 = SKI_V_LOAD(p + h), v2 = SKI_V_LOAD(p + 2 * h),
              v3 = SKI_V_LOAD(p + 3 * h);
        ski_v v4 = SKI_V_LOAD(q), v5 = SKI_V_LOAD(q + h), v6 = SKI_V_LOAD(q + 2 * h),
              v7 = SKI_V_LOAD(q + 3 * h);
        ski_v v8 = SKI_V_LOAD(s), v9 = SKI_V_LOAD(s + h), va = SKI_V_LOAD(s + 2 * h),
              vb = SKI_V_LOAD(s + 3 * h);
        ski_v vc = SKI_V_LOAD(u), vd = SKI_V_LOAD(u + h), ve = SKI_V_LOAD(u + 2 * h),
              vf = SKI_V_LOAD(u + 3 * h);
        SKI_PIN(v0);
        SKI_PIN(v1);
        SKI_PIN(v2);
        SKI_PIN(v3);
        SKI_PIN(v4);
        SKI_PIN(v5);
        SKI_PIN(v6);
        SKI_PIN(v7);
        SKI_PIN(v8);
        SKI_PIN(v9);
        SKI_PIN(va);
        SKI_PIN(vb);
        SKI_PIN(vc);
        SKI_PIN(vd);
        SKI_PIN(ve);
        SKI_PIN(vf);
        SKI_R16(SKI_BM, SKI_BF, v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf);
        SKI_V_STORE(p, v0);
        SKI_V_STORE(p + h, v1);
        SKI_V_STORE(p + 2 * h, v2);
        SKI_V_STORE(p + 3 * h, v3);
        SKI_V_STORE(q, v4);
        SKI_V_STORE(q + h, v5);
        SKI_V_STORE(q + 2 * h, v6);
        SKI_V_STORE(q + 3 * h, v7);
        SKI_V_STORE(s, v8);
        SKI_V_STORE(s + h, v9);
        SKI_V_STORE(s + 2 * h, va);
        SKI_V_STORE(s + 3 * h, vb);
        SKI_V_STORE(u, vc);
        SKI_V_STORE(u + h, vd);
        SKI_V_STORE(u + 2 * h, ve);
        SKI_V_STORE(u + 3 * h, vf);
        if (ahead) {
            SKI_AHEAD((const char *)ahead, 0);
            SKI_AHEAD((const char *)ahead, 64);
            if (lines > 2) {
                SKI_AHEAD((const char *)ahead, 128);
                SKI_AHEAD((const char *)ahead, 192);
            }
            ahead += 64 * lines;
        }
    }
}
#  define SKI_RADIX_LOG2 4
#else
#  define SKI_RADIX_LOG2 3
#endif
static void SKI_FN(wht_pass)(float *x, size_t n, size_t h, uint32_t log2_radix) {
    switch (log2_radix) {
    case 1: SKI_FN(wht_pass2)(x, n, h); break;
    case 2: SKI_FN(wht_pass4)(x, n, h); break;
    case 3:
        for (; n; n -= 8 * h, x += 8 * h) SKI_FN(wht_pass8)(x, x, 0, h, h, h);
        break;
#if SKI_VW == 16
    case 4:
        for (; n; n -= 16 * h, x += 16 * h) SKI_FN(wht_pass16)(x, 0, h, h, 0, 0);
        break;
#endif
    default: break;
    }
}

#if SKI_VW > 1
/* the levels inside a vector */
static void SKI_FN(wht_lanes)(float *x, size_t n) {
    size_t i;
    for (i = 0; i < n; i += SKI_VW) {
        ski_v v = SKI_V_LOAD(x + i);
        SKI_LANES(v);
        SKI_V_STORE(x + i, v);
    }
}
/* The first levels, in tiles that fit the registers: log2(SKI_VW) inside vectors and 4 (3) across. Signs
   go in on the way: u is the word vector of this run of 512, whose top bit is the sign of the next 16
   coordinates. */
#define SKI_AS(i) \
    (type == SKETCH_F32    ? SKI_V_LOAD((const float *)x + (i)) \
     : type == SKETCH_BF16 ? SKI_V_LOAD_BF16((const uint16_t *)x + (i)) \
                           : SKI_V_LOAD_F16((const uint16_t *)x + (i)))
#if SKI_VW == 16
#  define SKI_WTILE 256
#define SKI_IN(v, k) \
    do { \
        v = SKI_AS((k)*16); \
        if (u) { \
            v = SKI_V_XORSIGN(v, u0); \
            u0 = SKI_U_TWICE(u0); \
        } \
    } while (0)
#  define SKI_HAD8(l, a, b, c, d, e, f, g, h) SKI_HAD4(l, a, b, c, d); SKI_HAD4(l, e, f, g, h)
#define SKI_LANES8(a, b, c, d, e, f, g, h) \
    SKI_HAD8(1, a, b, c, d, e, f, g, h); \
    SKI_HAD8(2, a, b, c, d, e, f, g, h); \
    SKI_HAD8(4, a, b, c, d, e, f, g, h); \
    SKI_HAD8(8, a, b, c, d, e, f, g, h)
SKI_ALWAYS void SKI_FN(wht_tile)(const void *x, sketch_dtype type, float *out, uint32_t *u) {
    ski_v v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf;
    ski_u u0 = SKI_U_SET1(0);
    if (u) u0 = SKI_U_LOAD(u);
    SKI_IN(v0, 0);
    SKI_IN(v1, 1);
    SKI_IN(v2, 2);
    SKI_IN(v3, 3);
    SKI_IN(v4, 4);
    SKI_IN(v5, 5);
    SKI_IN(v6, 6);
    SKI_IN(v7, 7);
    SKI_LANES8(v0, v1, v2, v3, v4, v5, v6, v7);
    SKI_IN(v8, 8);
    SKI_IN(v9, 9);
    SKI_IN(va, 10);
    SKI_IN(vb, 11);
    SKI_IN(vc, 12);
    SKI_IN(vd, 13);
    SKI_IN(ve, 14);
    SKI_IN(vf, 15);
    SKI_LANES8(v8, v9, va, vb, vc, vd, ve, vf);
    SKI_R16(SKI_BF, SKI_BF, v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf);
    SKI_V_STORE(out, v0);
    SKI_V_STORE(out + 16, v1);
    SKI_V_STORE(out + 32, v2);
    SKI_V_STORE(out + 48, v3);
    SKI_V_STORE(out + 64, v4);
    SKI_V_STORE(out + 80, v5);
    SKI_V_STORE(out + 96, v6);
    SKI_V_STORE(out + 112, v7);
    SKI_V_STORE(out + 128, v8);
    SKI_V_STORE(out + 144, v9);
    SKI_V_STORE(out + 160, va);
    SKI_V_STORE(out + 176, vb);
    SKI_V_STORE(out + 192, vc);
    SKI_V_STORE(out + 208, vd);
    SKI_V_STORE(out + 224, ve);
    SKI_V_STORE(out + 240, vf);
    if (u) SKI_U_STORE(u, u0);
}
#else
#  define SKI_WTILE 64
#define SKI_IN(v, w, k) \
    do { \
        v = SKI_AS((k)*8); \
        w = SKI_AS((k)*8 + 8); \
        if (u) { \
            v = SKI_V_XORSIGN(v, u0); \
            w = SKI_V_XORSIGN(w, u1); \
            u0 = SKI_U_TWICE(u0); \
            u1 = SKI_U_TWICE(u1); \
        } \
    } while (0)
#  define SKI_LANES4(a, b, c, d) SKI_HAD4(1, a, b, c, d); SKI_HAD4(2, a, b, c, d); SKI_HAD4(4, a, b, c, d)
SKI_ALWAYS void SKI_FN(wht_tile)(const void *x, sketch_dtype type, float *out, uint32_t *u) {
    ski_v v0, v1, v2, v3, v4, v5, v6, v7;
    ski_u u0 = SKI_U_SET1(0), u1 = u0;
    if (u) {
        u0 = SKI_U_LOAD(u);
        u1 = SKI_U_LOAD(u + 8);
    }
    SKI_IN(v0, v1, 0);
    SKI_IN(v2, v3, 2);
    SKI_LANES4(v0, v1, v2, v3);
    SKI_IN(v4, v5, 4);
    SKI_IN(v6, v7, 6);
    SKI_LANES4(v4, v5, v6, v7);
    SKI_R8(SKI_BF, SKI_BF, v0, v1, v2, v3, v4, v5, v6, v7);
    SKI_V_STORE(out, v0);
    SKI_V_STORE(out + 8, v1);
    SKI_V_STORE(out + 16, v2);
    SKI_V_STORE(out + 24, v3);
    SKI_V_STORE(out + 32, v4);
    SKI_V_STORE(out + 40, v5);
    SKI_V_STORE(out + 48, v6);
    SKI_V_STORE(out + 56, v7);
    if (u) {
        SKI_U_STORE(u, u0);
        SKI_U_STORE(u + 8, u1);
    }
}
#endif
#endif

/* The top six levels of a transform too large for the caches, in one pass over memory: 64 rows, h apart; a
   strip of 128 columns at a time goes through radix 8 into a buffer in L1, through radix 8 there and back.
   Rows at a power of two apart share one set of each cache and come from different pages of DRAM: so lines
   are written eight in a row, past the caches, and with them the same eight of the next strip are fetched.
   0.17 ns an element on Zen 5; copied in as well 0.20, straight out of the second radix 8 0.23, prefetches
   spread over the arithmetic 0.20 to 0.25, strips of 64 or 256 columns 0.20, without streaming 0.21. Of 8
   rows: the top three levels, straight. */
/* The levels of stride h and up of rows = 8 or 64 rows of h, columns c0 .. c1 (multiples of 128) */
static void SKI_FN(wht_top)(float *x, size_t rows, size_t h, size_t c0, size_t c1) {
    float buf[64 * 128];
    const int streamed = (uintptr_t)x % 64 == 0 && 64 * h >= SKI_STREAM;
    size_t c, i, r;
    if (rows == 8) {
        SKI_FN(wht_pass8)(x, x, c0, c1, h, h);
        return;
    }
    for (c = c0; c < c1; c += 128) {
        for (r = 0; r < 64; r += 8) SKI_FN(wht_pass8)(x + r * h + c, buf + r * 128, 0, 128, h, 128);
        SKI_FN(wht_pass8)(buf, buf, 0, 1024, 1024, 1024);
        for (r = 0; r < 64; r++) {
            float *to = x + r * h + c;
            if (streamed)
                for (i = 0; i < 128; i += SKI_VW) SKI_V_STREAM(to + i, SKI_V_LOAD(buf + r * 128 + i));
            else
                for (i = 0; i < 128; i += SKI_VW) SKI_V_STORE(to + i, SKI_V_LOAD(buf + r * 128 + i));
            for (i = 0; i < 128; i += 16) SKI_AHEAD(to, 128 + i);
        }
    }
    if (streamed) SKI_FENCE();
}

/* the levels of stride h and up, n <= SKI_WHT_LEAF */
static void SKI_FN(wht_rest)(float *x, size_t n, size_t h) {
    while (h < n) {
        uint32_t left = ski_log2(n / h), log2_radix = SKI_MIN(left, SKI_RADIX_LOG2);
        /* two even passes rather than a full one and a radix 2 */
        if (left == SKI_RADIX_LOG2 + 1) log2_radix = (left + 1) / 2;
        SKI_FN(wht_pass)(x, n, h, log2_radix);
        h <<= log2_radix;
    }
}
#if SKI_VW > 1
/* Up to SKI_WHT_LEAF, from x to out, n >= SKI_WTILE (with signs, 512): w has 16 sign words for each 512
   coordinates. What comes next, lines of 64 bytes at ahead for each 256 coordinates, is fetched into L2
   meanwhile, evenly: a core drops prefetches that come faster than its buffers for misses empty, one in
   1.6 to 2 ns on Zen 5 (16 lines in each tile, none in the last pass: half of them were lost; many beside
   the loads of fold: all). */
SKI_ALWAYS void SKI_FN(wht_leaf)(const void *x, sketch_dtype type, float *out, size_t n, uint32_t *w,
                                 uintptr_t ahead, size_t lines) {
    /* of them in the last pass, in tiles */
    const size_t last = SKI_VW == 16 && n == SKI_WHT_LEAF ? SKI_MIN((lines + 1) / 4, 4) : 0,
                 first = lines - last;
    const uintptr_t begin = ahead;
    size_t i;
    for (i = 0; i < n; i += SKI_WTILE) {
        const uintptr_t end = begin + (i + SKI_WTILE) * first / 256 * 64;
        if (ahead) for (; ahead < end; ahead += 64) SKI_AHEAD((const char *)ahead, 0);
        SKI_FN(wht_tile)
        ((const char *)x + i * (type == SKETCH_F32 ? 4 : 2), type, out + i, w ? w + i / 512 * 16 : NULL);
    }
#if SKI_VW == 16
    if (n == SKI_WHT_LEAF) {
        SKI_FN(wht_pass16)(out, 0, 256, 256, ahead, last);
        return;
    }
#endif
    SKI_FN(wht_rest)(out, n, SKI_WTILE);
}
#endif
/* ahead: each leaf fetches the next */
static void SKI_FN(wht_parts)(float *x, size_t n, size_t h0, int ahead) {
    if (n >= SKI_WHT_FAR) {
        size_t i;
        for (i = 0; i < n; i += n / 64) SKI_FN(wht_parts)(x + i, n / 64, h0, ahead);
        SKI_FN(wht_top)(x, 64, n / 64, 0, n / 64);
    } else if (n > SKI_WHT_LEAF) {
        /* 16 rows of 2^k floats would share one set of an 8- or 12-way L1 */
        uint32_t top = ski_log2(n / SKI_WHT_LEAF), log2_radix = top == 4 ? 2 : SKI_MIN(top, 3);
        size_t part = n >> log2_radix, i;
        for (i = 0; i < n; i += part) SKI_FN(wht_parts)(x + i, part, h0, ahead);
        SKI_FN(wht_pass)(x, n, part, log2_radix);
    } else if (n > h0) {
        size_t h = 1;
        if (n < SKI_VW) {
            for (; h < n; h *= 2) {
                size_t i, j;
                for (i = 0; i < n; i += 2 * h)
                    for (j = i; j < i + h; j++) {
                        float a = x[j], b = x[j + h];
                        x[j] = a + b;
                        x[j + h] = a - b;
                    }
            }
            return;
        }
#if SKI_VW > 1
        if (n >= SKI_WTILE) SKI_FN(wht_leaf)(x, SKETCH_F32, x, n, NULL, ahead ? (uintptr_t)(x + n) : 0, 16);
        else {
            SKI_FN(wht_lanes)(x, n);
            SKI_FN(wht_rest)(x, n, SKI_VW);
        }
#else
        SKI_FN(wht_rest)(x, n, h);
#endif
    }
}
/* The levels of stride h0 and up: 1, all; min(n, SKI_WHT_LEAF), what is left when those parts are done */
static void SKI_FN(wht)(float *x, size_t n, size_t h0) { SKI_FN(wht_parts)(x, n, h0, n >= SKI_WHT_AHEAD); }

/* H B x up to SKI_WHT_LEAF: signs while the first levels are in registers. i0 a multiple of n. */
/* Out = H B x, x not f64, n <= SKI_WHT_LEAF, i0 a multiple of n; out may be x, or overlap it from below:
   reads are ahead of writes. Meanwhile lines of 64 bytes at ahead are fetched for each 256 coordinates;
   ahead 0: none */
static void SKI_FN(hb)(const void *x, sketch_dtype type, float *out, uint64_t i0, size_t n, const ski_rng *r,
                       uintptr_t ahead, size_t lines) {
#if SKI_VW > 1
    if (n >= 512) {
        uint32_t w[128];
        SKI_FN(words2)(w, r, i0 / 4096 * 2);
        if (type == SKETCH_F32)
            SKI_FN(wht_leaf)(x, SKETCH_F32, out, n, w + i0 / 512 % 8 * 16, ahead, lines);
        else if (type == SKETCH_BF16)
            SKI_FN(wht_leaf)(x, SKETCH_BF16, out, n, w + i0 / 512 % 8 * 16, ahead, lines);
        else
            SKI_FN(wht_leaf)(x, SKETCH_F16, out, n, w + i0 / 512 % 8 * 16, ahead, lines);
        return;
    }
#endif
    (void)ahead;
    (void)lines;
    if (type != SKETCH_F32) {
        SKI_FN(load)(out, x, 0, type, n);
        x = out;
    }
    SKI_FN(signs)((const float *)x, out, i0, n, r);
    SKI_FN(wht)(out, n, 1);
}

/* The last three levels of 8 rows, SKI_PART apart, 256 columns; row k times G goes into acc[k], rounded
   twice, in the order of k (some may be the same). G's entries lie as they are used: as eight runs of 256
   floats they took 0.075 ns an element from L2, so 0.043 (from L1 0.031; 5 operations, 2.5 loads and a
   store for 16 floats: 0.02). As 16-bit numbers, which a batch uses again and keep_random keeps, 0.038
   from L2, although two operations and a half more make one a float; once drawn and used they are 4%
   slower than floats in all. Signs cost an exclusive or and a doubling, and no memory: AFFD 0.17 ns, where
   normals make it 0.34 and G in a pass of its own, row by row, 0.49. Constant distances: with eight
   accumulators there is no register left for addresses. */
#define SKI_TO(a, v, k) SKI_V_STORE(a + at, SKI_V_ADD(SKI_V_LOAD(a + at), SKI_TIMES(v, k)));
#define SKI_TIMES(v, k) SKI_V_MUL(v, SKI_G(k))
#define SKI_FOLD_AT(column) \
    do { \
        const size_t at = column; \
        const float *p = x + at, *q = p + 4 * SKI_PART; \
        ski_v v0 = SKI_V_LOAD(p), v1 = SKI_V_LOAD(p + SKI_PART), v2 = SKI_V_LOAD(p + 2 * SKI_PART), \
              v3 = SKI_V_LOAD(p + 3 * SKI_PART); \
        ski_v v4 = SKI_V_LOAD(q), v5 = SKI_V_LOAD(q + SKI_PART), v6 = SKI_V_LOAD(q + 2 * SKI_PART), \
              v7 = SKI_V_LOAD(q + 3 * SKI_PART); \
        SKI_PIN(v0); \
        SKI_PIN(v1); \
        SKI_PIN(v2); \
        SKI_PIN(v3); \
        SKI_PIN(v4); \
        SKI_PIN(v5); \
        SKI_PIN(v6); \
        SKI_PIN(v7); \
        SKI_R8(SKI_BM, SKI_BF, v0, v1, v2, v3, v4, v5, v6, v7); \
        SKI_TO(a0, v0, 0) \
        SKI_TO(a1, v1, 1) SKI_TO(a2, v2, 2) SKI_TO(a3, v3, 3) SKI_TO(a4, v4, 4) SKI_TO(a5, v5, 5) \
            SKI_TO(a6, v6, 6) SKI_TO(a7, v7, 7) \
    } while (0)
/* The last three levels of a block of 2^15, times g, added up; a line for each 256 coordinates is fetched */
static void SKI_FN(fold)(const float *x, const float *g, uintptr_t ahead, float *const acc[8]) {
    float *a0 = acc[0], *a1 = acc[1], *a2 = acc[2], *a3 = acc[3], *a4 = acc[4], *a5 = acc[5], *a6 = acc[6],
          *a7 = acc[7];
    size_t c, l;
    SKI_MINUS;
#define SKI_G(k) SKI_V_LOAD(g + 8 * c + 16 * (k) + l)
    for (c = 0; c < 256; c += 16) {
        if (ahead && c % 32 == 0) SKI_AHEAD((const char *)ahead, 2 * c);
        for (l = 0; l < 16; l += SKI_VW) SKI_FOLD_AT(c + l);
    }
#undef SKI_G
}
/* The same; kept: what lies 16 KiB after g is fetched, ahead is 0 */
static void SKI_FN(fold16)(const float *x, const uint32_t *g, int kept, uintptr_t ahead,
                           float *const acc[8]) {
    float *a0 = acc[0], *a1 = acc[1], *a2 = acc[2], *a3 = acc[3], *a4 = acc[4], *a5 = acc[5], *a6 = acc[6],
          *a7 = acc[7];
    size_t c, l;
    SKI_MINUS;
#define SKI_G(k) \
    ((k) < 4 ? SKI_V_NORMAL_LOW(SKI_U_LOAD(g + 4 * c + 16 * (k) + l)) \
             : SKI_V_NORMAL_HIGH(SKI_U_LOAD(g + 4 * c + 16 * ((k)-4) + l)))
    for (c = 0; c < 256; c += 16) {
        SKI_ROLLED
        for (l = 0; kept && l < 64; l += 16) SKI_AHEAD(g, 4096 + 4 * c + l);
        if (ahead && c % 32 == 0) SKI_AHEAD((const char *)ahead, 2 * c);
        for (l = 0; l < 16; l += SKI_VW) SKI_FOLD_AT(c + l);
    }
#undef SKI_G
}
#undef SKI_TIMES
/* The same; G's signs: of row k, bits 31 - shift and down of the 16 words at w + 128 k */
static void SKI_FN(fold_signs)(const float *x, const uint32_t *w, int shift, uintptr_t ahead,
                               float *const acc[8]) {
    float *a0 = acc[0], *a1 = acc[1], *a2 = acc[2], *a3 = acc[3], *a4 = acc[4], *a5 = acc[5], *a6 = acc[6],
          *a7 = acc[7];
    size_t c, l;
    SKI_MINUS;
#define SKI_TIMES(v, k) SKI_V_XORSIGN(v, u##k)
    for (l = 0; l < 16; l += SKI_VW) {
#define SKI_DO(k) ski_u u##k = SKI_U_SLLN(SKI_U_LOAD(w + 128 * (k) + l), shift);
        SKI_8(SKI_DO)
#undef SKI_DO
        for (c = 0; c < 256; c += 16) {
            if (ahead && l == 0 && c % 32 == 0) SKI_AHEAD((const char *)ahead, 2 * c);
            SKI_FOLD_AT(c + l);
#define SKI_DO(k) u##k = SKI_U_TWICE(u##k);
            SKI_8(SKI_DO)
#undef SKI_DO
        }
    }
#undef SKI_TIMES
}
#undef SKI_FOLD_AT
#undef SKI_TO
/* The adjoint: G times rows of z, into 8 parts; and, after transforms of the parts, their last three
   levels and the signs of B, into rows gap apart. Past the caches where x is long: an ordinary store to a
   line that is not there reads it first. */
/* 256 columns of 8 parts: G, in fold's order, times z[k] */
static void SKI_FN(unfold)(float *x, const uint32_t *g, const float *const z[8]) {
    size_t k, c, l;
    for (k = 0; k < 4; k++, x += SKI_PART, g += 16)
        for (c = 0; c < 256; c += 16)
            for (l = 0; l < 16; l += SKI_VW) {
                const ski_u w = SKI_U_LOAD(g + 4 * c + l);
                SKI_V_STORE(x + c + l, SKI_V_MUL(SKI_V_LOAD(z[k] + c + l), SKI_V_NORMAL_LOW(w)));
                SKI_V_STORE(x + 4 * SKI_PART + c + l,
                            SKI_V_MUL(SKI_V_LOAD(z[k + 4] + c + l), SKI_V_NORMAL_HIGH(w)));
            }
}
static void SKI_FN(unfold_signs)(float *x, const uint32_t *w, int shift, const float *const z[8]) {
    size_t k, c, l;
    for (k = 0; k < 8; k++, x += SKI_PART, w += 128)
        for (l = 0; l < 16; l += SKI_VW) {
            ski_u u = SKI_U_SLLN(SKI_U_LOAD(w + l), shift);
            for (c = l; c < 256; c += 16, u = SKI_U_TWICE(u))
                SKI_V_STORE(x + c, SKI_V_XORSIGN(SKI_V_LOAD(z[k] + c), u));
        }
}
/* B times the last three levels of a block of 2^15, to 8 rows gap apart, past the caches if streamed; w:
   room for 1024 */
/* w: room for 1024 */
static void SKI_FN(bh_last)(const float *x, float *out, size_t gap, int streamed, uint64_t i0,
                            const ski_rng *r, uint32_t *w) {
    size_t c0, c, l, k;
    SKI_MINUS;
    for (k = 0; k < 8; k++) SKI_FN(words2)(w + 128 * k, r, i0 / 4096 * 2 + 2 * k);
    streamed = streamed && (uintptr_t)out % 64 == 0;
    for (c0 = 0; c0 < SKI_WHT_LEAF; c0 += 512)
        for (l = 0; l < 16; l += SKI_VW) {
#define SKI_DO(k) ski_u u##k = SKI_U_LOAD(w + 128 * (k) + c0 / 32 + l);
            SKI_8(SKI_DO)
#undef SKI_DO
            for (c = c0 + l; c < c0 + 512; c += 16) {
                const float *p = x + c;
                float *o = out + c;
                ski_v v0, v1, v2, v3, v4, v5, v6, v7;
#define SKI_DO(k) v##k = SKI_V_LOAD(p + (k) * SKI_PART); SKI_PIN(v##k);
                SKI_8(SKI_DO)
#undef SKI_DO
                SKI_R8(SKI_BM, SKI_BF, v0, v1, v2, v3, v4, v5, v6, v7);
#define SKI_DO(k) v##k = SKI_V_XORSIGN(v##k, u##k); u##k = SKI_U_TWICE(u##k);
                SKI_8(SKI_DO)
#undef SKI_DO
#define SKI_DO(k) SKI_V_STREAM(o + (k) * gap, v##k);
                if (streamed) { SKI_8(SKI_DO) }
#undef SKI_DO
#define SKI_DO(k) SKI_V_STORE(o + (k) * gap, v##k);
                else { SKI_8(SKI_DO) }
#undef SKI_DO
            }
        }
    if (streamed) SKI_FENCE();
}

/* AFJL: transforms of length 8 across groups of 8 rows of B x (ng = 1 or 2 groups; x at i0, a multiple of
   8192; rows of 1024). What the kept rows use of them goes into their sums at out straight from registers;
   two groups share a read and a write. first: the sums start here. w: 256 ng words. lines: how many of
   those at ahead are fetched for each 16 columns. For each vector of x 5 operations, a load from L2 and,
   for 8 kept rows, a fused multiply-add and half a read and a write of a sum: 0.065 ns an element with
   AVX-512 where x is in L2 (4.2 GHz), faster than memory (0.095). What decides is who reads ahead: lines
   in the order of memory, 64 KiB ahead, in short bursts of one instruction. A line that is late holds one
   of L1's few open misses; a core that runs on asks for the next rows meanwhile, and prefetches, which
   need them too, are dropped, so more lines are late: 0.14. waits: each step waits for its first eight
   loads before it goes on (by a fence; through an address that depends on them: half the gain), which ends
   that: 0.113; not where x is in a cache (0.065 to 0.095), more than 8 rows are kept, or with AVX2 (28%
   slower). Measured on Zen 5 alone. A block's end is 0.02 more. Slower: fetching row by row, a line at a
   time between the loads, each other line, by several instructions, each line twice, half as far or twice;
   waiting for what was fetched; 4 or 8 groups at once, tiles of columns for several groups, other orders
   of columns, outputs through a buffer, a padded copy of the rows first, the next signs drawn between the
   columns. */
#define SKI_LEAD8(v, x, u) \
    v##0 = SKI_IN8(x, u, 0); \
    v##1 = SKI_IN8(x, u, 1); \
    v##2 = SKI_IN8(x, u, 2); \
    v##3 = SKI_IN8(x, u, 3); \
    v##4 = SKI_IN8(x, u, 4); \
    v##5 = SKI_IN8(x, u, 5); \
    v##6 = SKI_IN8(x, u, 6); \
    v##7 = SKI_IN8(x, u, 7); \
    SKI_R8(SKI_BM, SKI_BF, v##0, v##1, v##2, v##3, v##4, v##5, v##6, v##7)
#define SKI_IN8(x, u, k) \
    SKI_V_XORSIGN(SKI_V_LOAD((x) + (k)*1024), SKI_U_SLLN(SKI_U_LOAD((u) + (k)*32), shift))
/* Rows of 1024 into AFJL's kept rows; waits: each step for its loads */
static void SKI_FN(lead8)(const float *x, uint64_t i0, const ski_rng *r, size_t ng, const ski_kept *kept,
                          uint32_t *w, float *out, int first, int waits, uintptr_t ahead, size_t lines) {
    size_t c, l, i, g;
    SKI_MINUS;
    for (g = 0; g < 2 * ng; g++) SKI_FN(words2)(w + 128 * g, r, i0 / 4096 * 2 + 2 * g);
    for (c = 0; c < 1024; c += 16) {
        const int shift = (int)(c % 512 / 16);
        SKI_ROLLED
        for (i = 0; i < lines; i++, ahead += 64) SKI_AHEAD((const char *)ahead, 0);
        for (l = 0; l < 16; l += SKI_VW) {
            const uint32_t *u = w + c / 512 * 16 + l;
            const float *p = x + c + l;
            float *to = out + c + l;
            ski_v a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7;
            if (first) for (i = 0; i < kept->end[7]; i++) SKI_V_STORE(to + kept->to[i], SKI_V_SET1(0.0f));
            SKI_LEAD8(a, p, u);
            if (waits) SKI_LOADED();
            i = 0;
            if (ng == 1) {
#define SKI_DO(k) \
    for (; i < kept->end[k]; i++) \
        SKI_V_STORE(to + kept->to[i], \
                    SKI_V_FMA(a##k, SKI_V_SET1(kept->sign[0][i]), SKI_V_LOAD(to + kept->to[i])));
                SKI_8(SKI_DO)
#undef SKI_DO
                continue;
            }
            SKI_LEAD8(b, p + 8192, u + 256);
#define SKI_DO(k) \
    for (; i < kept->end[k]; i++) \
        SKI_V_STORE(to + kept->to[i], \
                    SKI_V_FMA(b##k, SKI_V_SET1(kept->sign[1][i]), \
                              SKI_V_FMA(a##k, SKI_V_SET1(kept->sign[0][i]), SKI_V_LOAD(to + kept->to[i]))));
            SKI_8(SKI_DO)
#undef SKI_DO
        }
    }
}
#undef SKI_IN8
#undef SKI_LEAD8
static void SKI_FN(lead8_t)(float *x, uint64_t i0, const ski_rng *r, size_t ng, const ski_kept *kept,
                            uint32_t *w, const float *in) {
    size_t c, l, i, g;
    SKI_MINUS;
    for (g = 0; g < 2 * ng; g++) SKI_FN(words2)(w + 128 * g, r, i0 / 4096 * 2 + 2 * g);
    for (g = 0; g < ng; g++)
        for (c = 0; c < 1024; c += 16) {
            const int shift = (int)(c % 512 / 16);
            for (l = 0; l < 16; l += SKI_VW) {
                const uint32_t *u = w + 256 * g + c / 512 * 16 + l;
                float *p = x + 8192 * g + c + l;
                ski_v v0, v1, v2, v3, v4, v5, v6, v7;
                i = 0;
#define SKI_DO(k) \
    for (v##k = SKI_V_SET1(0.0f); i < kept->end[k]; i++) \
        v##k = SKI_V_FMA(SKI_V_LOAD(in + kept->to[i] + c + l), SKI_V_SET1(kept->sign[g][i]), v##k);
                SKI_8(SKI_DO)
#undef SKI_DO
                SKI_R8(SKI_BM, SKI_BF, v0, v1, v2, v3, v4, v5, v6, v7);
#define SKI_DO(k) SKI_V_STORE(p + (k)*1024, SKI_V_XORSIGN(v##k, SKI_U_SLLN(SKI_U_LOAD(u + (k)*32), shift)));
                SKI_8(SKI_DO)
#undef SKI_DO
            }
        }
}

/* element-wise */
/* Acc += a*g, rounded twice */
static void SKI_FN(muladd)(float *acc, const float *a, const float *g, size_t n) {
    SKI_EACH(
        SKI_V_STORE(acc + i, SKI_V_ADD(SKI_V_LOAD(acc + i), SKI_V_MUL(SKI_V_LOAD(a + i), SKI_V_LOAD(g + i)))),
        float p = a[i] * g[i];
        acc[i] += p);
}
static void SKI_FN(mul)(float *out, const float *a, const float *g, size_t n) {
    SKI_EACH(SKI_V_STORE(out + i, SKI_V_MUL(SKI_V_LOAD(a + i), SKI_V_LOAD(g + i))), out[i] = a[i] * g[i]);
}
/* Out[i] = a[at[i]] */
static void SKI_FN(gather)(float *out, const float *a, const uint16_t *at, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) out[i] = a[at[i]];
}
static void SKI_FN(add)(float *acc, const float *a, size_t n) {
    SKI_EACH(SKI_V_STORE(acc + i, SKI_V_ADD(SKI_V_LOAD(acc + i), SKI_V_LOAD(a + i))), acc[i] += a[i]);
}
static void SKI_FN(scale)(float *out, const float *a, float s, size_t n) {
    const ski_v vs = SKI_V_SET1(s);
    SKI_EACH(SKI_V_STORE(out + i, SKI_V_MUL(SKI_V_LOAD(a + i), vs)), out[i] = a[i] * s);
}
/* Acc += s*a, rounded twice */
static void SKI_FN(axpy)(float *acc, const float *a, float s, size_t n) {
    const ski_v vs = SKI_V_SET1(s);
    SKI_EACH(SKI_V_STORE(acc + i, SKI_V_ADD(SKI_V_LOAD(acc + i), SKI_V_MUL(SKI_V_LOAD(a + i), vs))),
             float p = a[i] * s;
             acc[i] += p);
}
/* C[m,n] = A[m,k] B[k,n], row-major: 4 x 2 vectors of C in registers, enough chains to hide the latency of
   FMA. */
/* C = A B */
static void SKI_FN(gemm)(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                         float *c, size_t ldc) {
    size_t i, j, l;
    for (i = 0; i < m; i += 4) {
        size_t mr = SKI_MIN(m - i, (size_t)4);
        const float *a0 = a + i * lda, *a1 = mr > 1 ? a0 + lda : a0, *a2 = mr > 2 ? a1 + lda : a0,
                    *a3 = mr > 3 ? a2 + lda : a0;
        float *c0 = c + i * ldc, *c1 = c0 + ldc, *c2 = c1 + ldc, *c3 = c2 + ldc;
        for (j = 0; j + 2 * SKI_VW <= n; j += 2 * SKI_VW) {
            ski_v s00 = SKI_V_SET1(0.0f), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00,
                  s31 = s00;
            const float *p = b + j;
            for (l = 0; l < k; l++, p += ldb) {
                ski_v b0 = SKI_V_LOAD(p), b1 = SKI_V_LOAD(p + SKI_VW), t;
                /* QK: A is x, read once */
                if (j == 0 && l % 8 == 0) {
                    SKI_AHEAD(a0, 8 * lda + 4 * l);
                    SKI_AHEAD(a0, 8 * lda + 4 * l + 16);
                }
                t = SKI_V_SET1(a0[l]);
                s00 = SKI_V_FMA(t, b0, s00);
                s01 = SKI_V_FMA(t, b1, s01);
                t = SKI_V_SET1(a1[l]);
                s10 = SKI_V_FMA(t, b0, s10);
                s11 = SKI_V_FMA(t, b1, s11);
                t = SKI_V_SET1(a2[l]);
                s20 = SKI_V_FMA(t, b0, s20);
                s21 = SKI_V_FMA(t, b1, s21);
                t = SKI_V_SET1(a3[l]);
                s30 = SKI_V_FMA(t, b0, s30);
                s31 = SKI_V_FMA(t, b1, s31);
            }
            SKI_V_STORE(c0 + j, s00);
            SKI_V_STORE(c0 + j + SKI_VW, s01);
            if (mr > 1) {
                SKI_V_STORE(c1 + j, s10);
                SKI_V_STORE(c1 + j + SKI_VW, s11);
            }
            if (mr > 2) {
                SKI_V_STORE(c2 + j, s20);
                SKI_V_STORE(c2 + j + SKI_VW, s21);
            }
            if (mr > 3) {
                SKI_V_STORE(c3 + j, s30);
                SKI_V_STORE(c3 + j + SKI_VW, s31);
            }
        }
        for (; j + SKI_VW <= n; j += SKI_VW) {
            ski_v s0 = SKI_V_SET1(0.0f), s1 = s0, s2 = s0, s3 = s0, r0 = s0, r1 = s0, r2 = s0, r3 = s0;
            /* even and odd terms apart: 8 chains */
            for (l = 0; l + 2 <= k; l += 2) {
                ski_v t = SKI_V_LOAD(b + l * ldb + j), u = SKI_V_LOAD(b + (l + 1) * ldb + j);
                if (l % 8 == 0) {
                    SKI_AHEAD(a0, 8 * lda + 4 * l);
                    SKI_AHEAD(a0, 8 * lda + 4 * l + 16);
                }
                s0 = SKI_V_FMA(SKI_V_SET1(a0[l]), t, s0);
                r0 = SKI_V_FMA(SKI_V_SET1(a0[l + 1]), u, r0);
                s1 = SKI_V_FMA(SKI_V_SET1(a1[l]), t, s1);
                r1 = SKI_V_FMA(SKI_V_SET1(a1[l + 1]), u, r1);
                s2 = SKI_V_FMA(SKI_V_SET1(a2[l]), t, s2);
                r2 = SKI_V_FMA(SKI_V_SET1(a2[l + 1]), u, r2);
                s3 = SKI_V_FMA(SKI_V_SET1(a3[l]), t, s3);
                r3 = SKI_V_FMA(SKI_V_SET1(a3[l + 1]), u, r3);
            }
            if (l < k) {
                ski_v t = SKI_V_LOAD(b + l * ldb + j);
                s0 = SKI_V_FMA(SKI_V_SET1(a0[l]), t, s0);
                s1 = SKI_V_FMA(SKI_V_SET1(a1[l]), t, s1);
                s2 = SKI_V_FMA(SKI_V_SET1(a2[l]), t, s2);
                s3 = SKI_V_FMA(SKI_V_SET1(a3[l]), t, s3);
            }
            s0 = SKI_V_ADD(s0, r0);
            s1 = SKI_V_ADD(s1, r1);
            s2 = SKI_V_ADD(s2, r2);
            s3 = SKI_V_ADD(s3, r3);
            SKI_V_STORE(c0 + j, s0);
            if (mr > 1) SKI_V_STORE(c1 + j, s1);
            if (mr > 2) SKI_V_STORE(c2 + j, s2);
            if (mr > 3) SKI_V_STORE(c3 + j, s3);
        }
        for (; j < n; j++) {
            float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            for (l = 0; l < k; l++) {
                float t = b[l * ldb + j];
                s0 += a0[l] * t;
                s1 += a1[l] * t;
                s2 += a2[l] * t;
                s3 += a3[l] * t;
            }
            c0[j] = s0;
            if (mr > 1) c1[j] = s1;
            if (mr > 2) c2[j] = s2;
            if (mr > 3) c3[j] = s3;
        }
    }
}

/* QK's first product: u[m,w] = X Q, X[m,k] as it lies, of any type, Q[k,w] as thin_pack leaves it. One
   vector a row (w = 16 = SKI_VW): a product needs a broadcast, and loads, two a cycle, would be the
   bottleneck, so Q's rows lie two by two, even and odd columns apart, and one broadcast of two of X serves
   two products: lanes hold the sums over even and over odd l, as gemm has them. Eight rows by tiles of 32
   columns; half types become floats in a tile. Zen 5, cycles an element: multiply-adds alone 0.50, this
   product in L2 0.52 (half types 0.54), all of QK from memory 0.66, where a plain read takes 0.49. Not
   better: one broadcast a product (0.64), lines ahead into L1, half or twice the distance, tiles of 16 or
   64 columns, the next tile converted between this one's products. Worse, all of QK: lines ahead sixteen
   at a time (now and then 1.1), none (1.3), loops in the tile's conversion (up to 0.8, as the code happens
   to lie). */
/* Q has room for an even number of rows */
static void SKI_FN(thin_pack)(float *q, size_t k, size_t w) {
#if SKI_VW == 16
    size_t l, j;
    if (w == 16)
        for (l = 0; l < k; l += 2, q += 32) {
            float a[16], b[16];
            /* r + 0 * -0 is r, be it -0 */
            for (j = 0; j < 16; j++) {
                a[j] = q[j];
                b[j] = l + 1 < k ? q[16 + j] : -0.0f;
            }
            for (j = 0; j < 16; j++) {
                q[j / 2 * 2 + j % 2 * 16] = a[j];
                q[j / 2 * 2 + j % 2 * 16 + 1] = b[j];
            }
        }
#else
    (void)q;
    (void)k;
    (void)w;
#endif
}
static void SKI_FN(thin)(size_t m, size_t w, size_t k, const void *x, sketch_dtype type, const float *b,
                         float *u, float *stage) {
    size_t i, n;
/* s: even columns of u, r: odd ones; each with a sum over even and one over odd l */
#if SKI_VW == 16
    enum { NR = 8, STEP = 2 };
#  define SKI_NR(f) SKI_8(f)
#  define SKI_COEF(p) SKI_V_SET2(p)
#elif SKI_VW == 8                                    /* s: columns 0 to 7, r: the others; as gemm */
    enum { NR = 4, STEP = 1 };
#  define SKI_NR(f) f(0) f(1) f(2) f(3)
#  define SKI_COEF(p) SKI_V_SET1(*(p))
#endif
#if SKI_VW > 1
    if (w == 16) {
        size_t bytes = ski_size(type);
        for (i = 0; i < m; i += NR) {
            const float *p = b;
            /* from x: by 16 rows of floats, as many bytes of others */
            size_t l, t, len, ahead = (i * bytes + 64) * k;
#define SKI_DO(q) ski_v s##q = SKI_V_SET1(0.0f), r##q = s##q;
            SKI_NR(SKI_DO)
#undef SKI_DO
            n = SKI_MIN(m - i, (size_t)NR);
            for (l = 0; l < k; l += len, ahead += NR * 32 * bytes) {
                const float *a = stage;
                size_t lda = 32;
                len = SKI_MIN(k - l, (size_t)32);
#define SKI_TILE(q, T, load) \
    { \
        const T *h = (const T *)x + (i + q) * k + l; \
        float *g = stage + 32 * q; \
        SKI_V_STORE(g, load(h)); \
        SKI_V_STORE(g + SKI_VW, load(h + SKI_VW)); \
        if (SKI_VW == 8) { \
            SKI_V_STORE(g + 16, load(h + 16)); \
            SKI_V_STORE(g + 24, load(h + 24)); \
        } \
    }
                if (type == SKETCH_F32) {
                    a = (const float *)x + i * k + l;
                    lda = k;
                } else if (len < 32 || n < NR)
                    for (t = 0; t < n; t++) SKI_FN(load)(stage + 32 * t, x, (i + t) * k + l, type, len);
#define SKI_DO(q) SKI_TILE(q, uint16_t, SKI_V_LOAD_BF16)
                else if (type == SKETCH_BF16) { SKI_NR(SKI_DO) }
#undef SKI_DO
#define SKI_DO(q) SKI_TILE(q, uint16_t, SKI_V_LOAD_F16)
                else if (type == SKETCH_F16) { SKI_NR(SKI_DO) }
#undef SKI_DO
#define SKI_DO(q) SKI_TILE(q, double, SKI_V_LOAD_F64)
                else { SKI_NR(SKI_DO) }
#undef SKI_DO
#undef SKI_TILE
                {
#define SKI_DO(q) const float *a##q = a + SKI_MIN((size_t)q, n - 1) * lda;
                    SKI_NR(SKI_DO)
#undef SKI_DO
                    for (t = 0; t + STEP <= len; t += STEP, p += 2 * SKI_VW) {
                        ski_v lo = SKI_V_LOAD(p), hi = SKI_V_LOAD(p + SKI_VW), c;
                        if (NR == 8 || t % 4 == 0) SKI_AHEAD((const char *)x, ahead + t * NR * bytes);
                        if (NR == 8 && bytes == 8) SKI_AHEAD((const char *)x, ahead + t * NR * bytes + 64);
#define SKI_DO(q) c = SKI_COEF(a##q + t); s##q = SKI_V_FMA(c, lo, s##q); r##q = SKI_V_FMA(c, hi, r##q);
                        SKI_NR(SKI_DO)
#undef SKI_DO
                    }
#if SKI_VW == 16
                    if (t < len) {
                        ski_v lo = SKI_V_LOAD(p), hi = SKI_V_LOAD(p + 16), c;
                        float last[2];
                        last[1] = 0.0f;
#define SKI_DO(q) \
    last[0] = a##q[t]; \
    c = SKI_V_SET2(last); \
    s##q = SKI_V_FMA(c, lo, s##q); \
    r##q = SKI_V_FMA(c, hi, r##q);
                        SKI_NR(SKI_DO)
#undef SKI_DO
                    }
#endif
                }
            }
#if SKI_VW == 16
#define SKI_DO(q) \
    if (q < n) { \
        SKI_U_STORE(u + (i + q) * 16, \
                    SKI_Q_PAIR(SKI_U_BITS(SKI_V_HAD(s##q, 1)), SKI_U_BITS(SKI_V_HAD(r##q, 1)))); \
    }
#else
#define SKI_DO(q) \
    if (q < n) { \
        float *o = u + (i + q) * 16; \
        SKI_V_STORE(o, s##q); \
        SKI_V_STORE(o + 8, r##q); \
    }
#endif
            SKI_NR(SKI_DO)
#undef SKI_DO
        }
        return;
    }
#  undef SKI_NR
#  undef SKI_COEF
#endif
    for (i = 0; i < m; i += n) {
        const float *a = (const float *)x + i * k;
        n = type == SKETCH_F32 ? m : SKI_MIN(m - i, (size_t)4);
        if (type != SKETCH_F32) {
            a = stage;
            SKI_FN(load)(stage, x, i * k, type, n * k);
        }
        SKI_FN(gemm)(n, w, k, a, k, b, w, u + i * w, w);
    }
}

/* Fast Hartley transform (unnormalised, cas kernel) of the columns of tile[b][w], w a multiple of 16, rows
   in bit-reversed order on entry. cs: cos and sin of 2 pi k/1024. Radix 2, decimation in time: X[k] = E[k]
   + c O[k] + s O[h-k]. No FMA: the same bits everywhere. */
/* Columns of tile[b][w], rows bit-reversed before */
static void SKI_FN(hartley)(float *tile, size_t b, size_t w, const float *cs) {
    size_t h, g, k, j;
    for (h = 1; h < b; h *= 2)
        for (g = 0; g < b; g += 2 * h)
            for (k = 0; 2 * k <= h; k++) {
                float *e0 = tile + (g + k) * w, *o0 = e0 + h * w, *e1 = tile + (g + h - k) * w,
                      *o1 = e1 + h * w;
                if (k == 0 || 2 * k == h)
                    for (j = 0; j < w; j += SKI_VW) {
                        ski_v e = SKI_V_LOAD(e0 + j), o = SKI_V_LOAD(o0 + j);
                        SKI_V_STORE(e0 + j, SKI_V_ADD(e, o));
                        SKI_V_STORE(o0 + j, SKI_V_SUB(e, o));
                    }
                else {
                    ski_v c = SKI_V_SET1(cs[2 * (k * (512 / h))]),
                          s = SKI_V_SET1(cs[2 * (k * (512 / h)) + 1]);
                    for (j = 0; j < w; j += SKI_VW) {
                        ski_v p = SKI_V_LOAD(o0 + j), q = SKI_V_LOAD(o1 + j), e = SKI_V_LOAD(e0 + j),
                              f = SKI_V_LOAD(e1 + j);
                        ski_v t = SKI_V_ADD(SKI_V_MUL(c, p), SKI_V_MUL(s, q)),
                              u = SKI_V_SUB(SKI_V_MUL(s, p), SKI_V_MUL(c, q));
                        SKI_V_STORE(e0 + j, SKI_V_ADD(e, t));
                        SKI_V_STORE(o0 + j, SKI_V_SUB(e, t));
                        SKI_V_STORE(e1 + j, SKI_V_ADD(f, u));
                        SKI_V_STORE(o1 + j, SKI_V_SUB(f, u));
                    }
                }
            }
}

/* Dense S, generated and used at once: tiles of 512 rows; a word vector holds the 512 signs of one column,
   four groups of words its 512 normals. Rows lie across lanes and columns are added in order, so lanes
   never meet. i0 is a multiple of 4; acc has d rounded up to 512 floats. */
static void SKI_FN(dense)(const sketch_diag dist, const ski_rng *r, uint64_t i0, size_t n, size_t d,
                          size_t nb, const float *const *x, float *acc, size_t acc_stride) {
    size_t s, i, c, v, t;
    for (s = 0; 512 * s < d; s++) {
        ski_rng rs = *r;
        rs.c3 = (uint32_t)s;
        if (dist == SKETCH_RADEMACHER) {
            uint32_t w[64 * 16];
            for (i = 0; i < n; i += 64) {
                size_t nc = SKI_MIN(n - i, (size_t)64), part;
                for (c = 0; c < nc; c += 4) SKI_FN(words)(w + 16 * c, &rs, (i0 + i + c) / 4);
                for (v = 0; v < nb; v++)
                    /* 128 rows, SKI_VW of every 16: 8 vectors */
                    for (part = 0; part < SKI_MIN((d - 512 * s + 127) / 128, (size_t)4) * (16 / SKI_VW);
                         part++) {
                        size_t half = part % (16 / SKI_VW), t0 = part / (16 / SKI_VW) * 8;
                        float *o = acc + v * acc_stride + 512 * s + 16 * t0 + half * SKI_VW;
                        ski_v v0 = SKI_V_LOAD(o), v1 = SKI_V_LOAD(o + 16), v2 = SKI_V_LOAD(o + 32),
                              v3 = SKI_V_LOAD(o + 48);
                        ski_v v4 = SKI_V_LOAD(o + 64), v5 = SKI_V_LOAD(o + 80), v6 = SKI_V_LOAD(o + 96),
                              v7 = SKI_V_LOAD(o + 112);
                        for (c = 0; c < nc; c++) {
                            ski_v xb = SKI_V_SET1(x[v][i + c]);
                            ski_u u = SKI_U_LOAD(w + 16 * c + half * SKI_VW);
                            u = SKI_U_SLLN(u, (int)t0);
                            v0 = SKI_V_ADD(v0, SKI_V_XORSIGN(xb, u));
                            u = SKI_U_SLL(u, 1);
                            v1 = SKI_V_ADD(v1, SKI_V_XORSIGN(xb, u));
                            u = SKI_U_SLL(u, 1);
                            v2 = SKI_V_ADD(v2, SKI_V_XORSIGN(xb, u));
                            u = SKI_U_SLL(u, 1);
                            v3 = SKI_V_ADD(v3, SKI_V_XORSIGN(xb, u));
                            u = SKI_U_SLL(u, 1);
                            v4 = SKI_V_ADD(v4, SKI_V_XORSIGN(xb, u));
                            u = SKI_U_SLL(u, 1);
                            v5 = SKI_V_ADD(v5, SKI_V_XORSIGN(xb, u));
                            u = SKI_U_SLL(u, 1);
                            v6 = SKI_V_ADD(v6, SKI_V_XORSIGN(xb, u));
                            u = SKI_U_SLL(u, 1);
                            v7 = SKI_V_ADD(v7, SKI_V_XORSIGN(xb, u));
                        }
                        SKI_V_STORE(o, v0);
                        SKI_V_STORE(o + 16, v1);
                        SKI_V_STORE(o + 32, v2);
                        SKI_V_STORE(o + 48, v3);
                        SKI_V_STORE(o + 64, v4);
                        SKI_V_STORE(o + 80, v5);
                        SKI_V_STORE(o + 96, v6);
                        SKI_V_STORE(o + 112, v7);
                    }
            }
        } else {
            size_t rows = SKI_MIN((d - 512 * s + 31) / 32 * 32, (size_t)512);
            float g[4 * 512];
            for (i = 0; i < n; i += 4) {
                size_t nc = SKI_MIN(n - i, (size_t)4);
                for (c = 0; c < nc; c++) SKI_FN(normals)(g + 512 * c, 512 * (i0 + i + c), rows, &rs);
                for (v = 0; v < nb; v++) {
                    float *o = acc + v * acc_stride + 512 * s;
                    if (nc == 4) {
                        ski_v x0 = SKI_V_SET1(x[v][i]), x1 = SKI_V_SET1(x[v][i + 1]),
                              x2 = SKI_V_SET1(x[v][i + 2]), x3 = SKI_V_SET1(x[v][i + 3]);
                        for (t = 0; t < rows; t += SKI_VW) {
                            ski_v a = SKI_V_ADD(SKI_V_LOAD(o + t), SKI_V_MUL(SKI_V_LOAD(g + t), x0));
                            a = SKI_V_ADD(a, SKI_V_MUL(SKI_V_LOAD(g + 512 + t), x1));
                            a = SKI_V_ADD(a, SKI_V_MUL(SKI_V_LOAD(g + 1024 + t), x2));
                            SKI_V_STORE(o + t, SKI_V_ADD(a, SKI_V_MUL(SKI_V_LOAD(g + 1536 + t), x3)));
                        }
                    } else
                        for (c = 0; c < nc; c++) {
                            ski_v xb = SKI_V_SET1(x[v][i + c]);
                            for (t = 0; t < rows; t += SKI_VW)
                                SKI_V_STORE(o + t, SKI_V_ADD(SKI_V_LOAD(o + t),
                                                             SKI_V_MUL(SKI_V_LOAD(g + 512 * c + t), xb)));
                        }
                }
            }
        }
    }
}

/* x[i] = sum over rows; 16 partial sums a column, then halves added: the same order for every SKI_VW. y
   has d rounded up to 512 floats, zeros past d. */
static void SKI_FN(dense_t)(const sketch_diag dist, const ski_rng *r, uint64_t i0, size_t n, size_t d,
                            const float *y, float *x) {
    size_t i, s, c, t, l;
    for (i = 0; i < n; i += 4) {
        size_t nc = SKI_MIN(n - i, (size_t)4);
        float a[4][16];
        memset(a, 0, sizeof a);
        for (s = 0; 512 * s < d; s++) {
            ski_rng rs = *r;
            const float *p = y + 512 * s;
            size_t rows = SKI_MIN((d - 512 * s + 31) / 32 * 32, (size_t)512);
            uint32_t w[64];
            float g[512];
            rs.c3 = (uint32_t)s;
            if (dist == SKETCH_RADEMACHER) SKI_FN(words)(w, &rs, (i0 + i) / 4);
            for (c = 0; c < nc; c++) {
                if (dist != SKETCH_RADEMACHER) SKI_FN(normals)(g, 512 * (i0 + i + c), rows, &rs);
                for (l = 0; l < 16; l += SKI_VW) {
                    ski_v v = SKI_V_LOAD(a[c] + l);
                    if (dist == SKETCH_RADEMACHER) {
                        ski_u u = SKI_U_LOAD(w + 16 * c + l);
                        for (t = l; t < rows; t += 16) {
                            v = SKI_V_ADD(v, SKI_V_XORSIGN(SKI_V_LOAD(p + t), u));
                            u = SKI_U_SLL(u, 1);
                        }
                    } else
                        for (t = l; t < rows; t += 16)
                            v = SKI_V_ADD(v, SKI_V_MUL(SKI_V_LOAD(p + t), SKI_V_LOAD(g + t)));
                    SKI_V_STORE(a[c] + l, v);
                }
            }
        }
        for (c = 0; c < nc; c++) {
            for (t = 8; t; t /= 2) for (l = 0; l < t; l++) a[c][l] += a[c][l + t];
            x[i + c] = a[c][0];
        }
    }
}

/* SJLT: coordinates in order, 128 at a time. Rows by vectors (31 bits times the span, the high half); the
   adds are scalar and in one order. i0 is a multiple of 128. */
static void SKI_FN(sjlt_rows)(uint32_t row[128], const uint32_t w[128], uint64_t d, uint32_t nnz,
                              uint32_t k) {
    uint32_t lo = (uint32_t)(k * d / nnz), span = (uint32_t)((k + 1) * d / nnz) - lo;
    size_t j;
#if SKI_VW > 1
    for (j = 0; j < 128; j += SKI_VW) {
        ski_u u = SKI_U_SRL(SKI_U_LOAD(w + j), 1), s = SKI_Q_SET1(span);
        ski_u e = SKI_Q_SRL(SKI_Q_MUL(u, s), 31), o = SKI_Q_SRL(SKI_Q_MUL(SKI_Q_SRL(u, 32), s), 31);
        SKI_U_STORE(row + j, SKI_U_ADD(SKI_Q_PAIR(e, o), SKI_U_SET1(lo)));
    }
#else
    for (j = 0; j < 128; j++) row[j] = lo + (uint32_t)((uint64_t)(w[j] >> 1) * span >> 31);
#endif
}
/* t[j] = +-x[at + j], for any type of x: half types cost no pass of their own */
static void SKI_FN(sjlt_signs)(float t[128], const uint32_t w[128], const void *x, uint64_t at,
                               sketch_dtype type, size_t n) {
    size_t q;
#define SKI_SIGNED(vec, one) \
    SKI_EACH(SKI_V_STORE(t + i, SKI_V_XORSIGN(vec, SKI_U_SLL(SKI_U_LOAD(w + i), 31))), float a = one; \
             t[i] = w[i] & 1u ? -a : a)
    switch (type) {
    case SKETCH_F32: { const float *p = (const float *)x + at;
        for (q = 0; q < 128; q += 16) SKI_AHEAD(p, 2048 + q);
        SKI_SIGNED(SKI_V_LOAD(p + i), p[i]);
        break; }
    case SKETCH_BF16: { const uint16_t *p = (const uint16_t *)x + at;
        for (q = 0; q < 128; q += 32) SKI_AHEAD(p, 4096 + q);
        SKI_SIGNED(SKI_V_LOAD_BF16(p + i), ski_f32_of_bits((uint32_t)p[i] << 16));
        break; }
    case SKETCH_F16: { const uint16_t *p = (const uint16_t *)x + at;
        for (q = 0; q < 128; q += 32) SKI_AHEAD(p, 4096 + q);
        SKI_SIGNED(SKI_V_LOAD_F16(p + i), ski_f32_of_f16(p[i]));
        break; }
    case SKETCH_F64: { const double *p = (const double *)x + at;
        for (q = 0; q < 128; q += 8) SKI_AHEAD(p, 1024 + q);
        SKI_SIGNED(SKI_V_LOAD_F64(p + i), (float)p[i]);
        break; }
    }
#undef SKI_SIGNED
}
/* Values by shuffles, rows two to a load (little-endian, as SKI_Q_ is): 11 memory accesses for four adds, not
   16, and those are what they wait for. */
#if SKI_VW > 1
#define SKI_ADD4(j) \
    do { \
        uint64_t a_, b_; \
        ski_4 t_ = SKI_4_LOAD(t + (j)); \
        memcpy(&a_, row + (j), 8); \
        memcpy(&b_, row + (j) + 2, 8); \
        SKI_PIN(t_); \
        o[(uint32_t)a_] += SKI_4_AT(t_, 0); \
        o[a_ >> 32] += SKI_4_AT(t_, 1); \
        o[(uint32_t)b_] += SKI_4_AT(t_, 2); \
        o[b_ >> 32] += SKI_4_AT(t_, 3); \
    } while (0)
#else
#define SKI_ADD4(j) \
    do { \
        o[row[j]] += t[j]; \
        o[row[(j) + 1]] += t[(j) + 1]; \
        o[row[(j) + 2]] += t[(j) + 2]; \
        o[row[(j) + 3]] += t[(j) + 3]; \
    } while (0)
#endif
/* o[row[j]] += t[j] for all 128, and the next words meanwhile: adds occupy the memory pipes, rounds the
   multiplier, and they overlap only where they lie side by side. Zen 5, cycles an element: adds 1.05 (a
   store a cycle), words, rows and signs 1.07, one after the other 2.4, so 1.7. Memory is no bound (0.49).
   Little or nothing: adds before or after the rounds, two rounds a turn, steps of 256 or 512; rows and
   signs one step ahead of the adds: 1.6, not worth two buffers of each. */
static void SKI_FN(sjlt_add)(float *o, const uint32_t row[128], const float t[128], uint32_t w[128],
                             const ski_rng *r, uint64_t group) {
#if SKI_VW == 1
    size_t j;
    for (j = 0; j < 128; j += 4) SKI_ADD4(j);
    SKI_FN(words2)(w, r, group);
#else
    SKI_PHILOX;
    size_t i, j = 0, q;
    for (q = 0; q < 4; q += SKI_VW == 16 ? 4 : 1) {
        uint32_t *out = w + q / 2 * 64 + q % 2 * 8;
        SKI_COUNTERS(e, o, q * 8);
#if SKI_VW == 16
        SKI_COUNTERS(f, p, 16);
#endif
        SKI_KEYS;
        for (i = 0; i < 10; i++) {
#if SKI_VW == 16
            SKI_ADD4(j);
            SKI_ROUND(e0, e1, e2, e3);
            SKI_ADD4(j + 4);
            SKI_ROUND(o0, o1, o2, o3);
            SKI_ADD4(j + 8);
            SKI_ROUND(f0, f1, f2, f3);
            SKI_ROUND(p0, p1, p2, p3);
            j += 12;
#else
            if (i < 8) {
                SKI_ADD4(j);
                j += 4;
            }
            SKI_ROUND(e0, e1, e2, e3);
            SKI_ROUND(o0, o1, o2, o3);
#endif
            SKI_NEXT_KEYS;
        }
        SKI_WORDS_TO(out, e, o);
#if SKI_VW == 16
        SKI_ADD4(120);
        SKI_ADD4(124);
        SKI_WORDS_TO(out + 64, f, p);
#endif
    }
#endif
}
static void SKI_FN(sjlt)(const ski_rng *r, uint64_t i0, size_t n, uint64_t d, uint32_t nnz, size_t nb,
                         const void *const *x, sketch_dtype type, float *acc, size_t acc_stride) {
    uint32_t w[128], row[128], k;
    float t[128];
    ski_rng g = *r;
    size_t i, j, v;
    g.c3 = 0;
    SKI_FN(words2)(w, &g, i0 / 64);
    for (i = 0; i < n; i += 128) {
        size_t len = SKI_MIN(n - i, (size_t)128);
        for (k = 0; k < nnz; k++) {
            g.c3 = k + 1 < nnz ? k + 1 : 0;                            /* of the words to come */
            SKI_FN(sjlt_rows)(row, w, d, nnz, k);
            for (v = 0; v < nb; v++) {
                float *o = acc + v * acc_stride;
                SKI_FN(sjlt_signs)(t, w, x[v], i, type, len);
                if (v + 1 == nb && len == 128)
                    SKI_FN(sjlt_add)(o, row, t, w, &g, (i0 + i) / 64 + (g.c3 ? 0 : 2));
                else {
                    for (j = 0; j + 4 <= len; j += 4) SKI_ADD4(j);
                    for (; j < len; j++) o[row[j]] += t[j];
                    if (v + 1 == nb) SKI_FN(words2)(w, &g, (i0 + i) / 64);
                }
            }
        }
    }
}
#undef SKI_ADD4
static void SKI_FN(sjlt_t)(const ski_rng *r, uint64_t i0, size_t n, uint64_t d, uint32_t nnz, const float *y,
                           float *x) {
    uint32_t w[128], row[128], k;
    float t[128];
    ski_rng g = *r;
    size_t i, j;
    for (i = 0; i < n; i += 128) {
        size_t len = SKI_MIN(n - i, (size_t)128);
        for (k = 0; k < nnz; k++) {
            g.c3 = k;
            SKI_FN(words2)(w, &g, (i0 + i) / 64);
            SKI_FN(sjlt_rows)(row, w, d, nnz, k);
            for (j = 0; j < len; j++) t[j] = y[row[j]];
            for (j = 0; j + SKI_VW <= len; j += SKI_VW) {
                ski_v a = SKI_V_XORSIGN(SKI_V_LOAD(t + j), SKI_U_SLL(SKI_U_LOAD(w + j), 31));
                SKI_V_STORE(x + i + j, SKI_V_ADD(k ? SKI_V_LOAD(x + i + j) : SKI_V_SET1(0.0f), a));
            }
            for (; j < len; j++) x[i + j] = (k ? x[i + j] : 0.0f) + (w[j] & 1u ? -t[j] : t[j]);
        }
    }
}

static double SKI_FN(dot)(const float *a, const float *b, size_t n) {
    double s = 0;
    size_t i = 0;
#if SKI_VW > 1
    ski_d s0 = SKI_D_ZERO, s1 = s0, s2 = s0, s3 = s0;
    for (; i + 2 * SKI_VW <= n; i += 2 * SKI_VW) {
        ski_v p = SKI_V_LOAD(a + i), q = SKI_V_LOAD(b + i), u = SKI_V_LOAD(a + i + SKI_VW),
              w = SKI_V_LOAD(b + i + SKI_VW);
        s0 = SKI_D_FMA(SKI_D_LO(p), SKI_D_LO(q), s0);
        s1 = SKI_D_FMA(SKI_D_HI(p), SKI_D_HI(q), s1);
        s2 = SKI_D_FMA(SKI_D_LO(u), SKI_D_LO(w), s2);
        s3 = SKI_D_FMA(SKI_D_HI(u), SKI_D_HI(w), s3);
    }
    s = (SKI_D_SUM(s0) + SKI_D_SUM(s1)) + (SKI_D_SUM(s2) + SKI_D_SUM(s3));
#endif
    for (; i < n; i++) s += (double)a[i] * (double)b[i];
    return s;
}

/* One row of A: four dot products at a time, at the speed at which B is read. */
static void SKI_FN(gemv_nt)(const float *a, const float *b, size_t k, size_t d, float *c) {
    size_t j, l;
    for (j = 0; j < k; j += 4) {
        const float *b0 = b + j * d, *b1 = j + 1 < k ? b0 + d : b0, *b2 = j + 2 < k ? b1 + d : b0,
                    *b3 = j + 3 < k ? b2 + d : b0;
        ski_v s0 = SKI_V_SET1(0.0f), s1 = s0, s2 = s0, s3 = s0;
        float o[4];
        for (l = 0; l + SKI_VW <= d; l += SKI_VW) {
            ski_v t = SKI_V_LOAD(a + l);
            SKI_AHEAD(b0, 12 * d + 4 * l);
            SKI_AHEAD(b0, 12 * d + 4 * l + 16);
            if (SKI_VW == 16) {
                SKI_AHEAD(b0, 12 * d + 4 * l + 32);
                SKI_AHEAD(b0, 12 * d + 4 * l + 48);
            }
            s0 = SKI_V_FMA(t, SKI_V_LOAD(b0 + l), s0);
            s1 = SKI_V_FMA(t, SKI_V_LOAD(b1 + l), s1);
            s2 = SKI_V_FMA(t, SKI_V_LOAD(b2 + l), s2);
            s3 = SKI_V_FMA(t, SKI_V_LOAD(b3 + l), s3);
        }
        o[0] = SKI_V_SUM(s0);
        o[1] = SKI_V_SUM(s1);
        o[2] = SKI_V_SUM(s2);
        o[3] = SKI_V_SUM(s3);
        for (; l < d; l++) {
            o[0] += a[l] * b0[l];
            o[1] += a[l] * b1[l];
            o[2] += a[l] * b2[l];
            o[3] += a[l] * b3[l];
        }
        for (l = 0; l < 4 && j + l < k; l++) c[j + l] = o[l];
    }
}
/* C[m,k] = A[m,d] B[k,d]^T: 4 x 4 (4 x 2 where there are 16 registers) dot products at a time, 16 rows of
   B (at d = 1024: 64 KiB) against all of A: a row of A comes from L2 once for so many rows of B. */
static void SKI_FN(gemm_nt)(const float *a, size_t m, const float *b, size_t k, size_t d, float *c,
                            size_t ldc) {
#if SKI_VW == 16
    enum { NR = 4 };
#  define SKI_NR(f, i) f(i, 0) f(i, 1) f(i, 2) f(i, 3)
#else
    enum { NR = 2 };
#  define SKI_NR(f, i) f(i, 0) f(i, 1)
#endif
    size_t i, j, j0, l;
    if (m == 1) {
        SKI_FN(gemv_nt)(a, b, k, d, c);
        return;
    }
    for (j0 = 0; j0 < k; j0 += 16)
        for (i = 0; i < m; i += 4) {
            size_t mr = SKI_MIN(m - i, (size_t)4), end = SKI_MIN(k, j0 + 16);
            const float *a0 = a + i * d, *a1 = mr > 1 ? a0 + d : a0, *a2 = mr > 2 ? a1 + d : a0,
                        *a3 = mr > 3 ? a2 + d : a0;
            for (j = j0; j < end; j += NR) {
#define SKI_DO(i, q) const float *b##q = b + SKI_MIN(j + (q), end - 1) * d;
                SKI_NR(SKI_DO, 0)
#undef SKI_DO
#define SKI_DO(i, q) ski_v s##i##q = SKI_V_SET1(0.0f);
                SKI_NR(SKI_DO, 0) SKI_NR(SKI_DO, 1) SKI_NR(SKI_DO, 2) SKI_NR(SKI_DO, 3)
#undef SKI_DO
                float o[4][NR];
                size_t p, q;
                for (l = 0; l + SKI_VW <= d; l += SKI_VW) {
                    ski_v t;
#define SKI_DO(i, q) ski_v p##q = SKI_V_LOAD(b##q + l);
                    SKI_NR(SKI_DO, 0)
#undef SKI_DO
#define SKI_DO(i, q) s##i##q = SKI_V_FMA(t, p##q, s##i##q);
                    t = SKI_V_LOAD(a0 + l);
                    SKI_NR(SKI_DO, 0) t = SKI_V_LOAD(a1 + l);
                    SKI_NR(SKI_DO, 1)
                    t = SKI_V_LOAD(a2 + l);
                    SKI_NR(SKI_DO, 2) t = SKI_V_LOAD(a3 + l);
                    SKI_NR(SKI_DO, 3)
#undef SKI_DO
                }
#define SKI_DO(i, q) o[i][q] = SKI_V_SUM(s##i##q);
                SKI_NR(SKI_DO, 0) SKI_NR(SKI_DO, 1) SKI_NR(SKI_DO, 2) SKI_NR(SKI_DO, 3)
#undef SKI_DO
                for (; l < d; l++) {
#define SKI_DO(i, q) o[i][q] += a##i[l] * b##q[l];
                    SKI_NR(SKI_DO, 0) SKI_NR(SKI_DO, 1) SKI_NR(SKI_DO, 2) SKI_NR(SKI_DO, 3)
#undef SKI_DO
                }
                for (p = 0; p < mr; p++)
                    for (q = 0; q < NR && j + q < end; q++) c[(i + p) * ldc + j + q] = o[p][q];
            }
        }
#undef SKI_NR
}

/* Four rows at a time: as many streams as the prefetchers follow, even where rows are a power of two
   apart. */
static void SKI_FN(gemv)(const float *v, size_t m, size_t d, const float *w, double *c) {
    size_t i, l;
    for (i = 0; i + 4 <= m; i += 4) {
        const float *v0 = v + i * d, *v1 = v0 + d, *v2 = v1 + d, *v3 = v2 + d;
        double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        l = 0;
#if SKI_VW > 1
        {
            ski_d a0 = SKI_D_ZERO, a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
            for (; l + SKI_VW <= d; l += SKI_VW) {
                ski_v t = SKI_V_LOAD(w + l);
                ski_d lo = SKI_D_LO(t), hi = SKI_D_HI(t);
                t = SKI_V_LOAD(v0 + l);
                a0 = SKI_D_FMA(SKI_D_LO(t), lo, a0);
                b0 = SKI_D_FMA(SKI_D_HI(t), hi, b0);
                t = SKI_V_LOAD(v1 + l);
                a1 = SKI_D_FMA(SKI_D_LO(t), lo, a1);
                b1 = SKI_D_FMA(SKI_D_HI(t), hi, b1);
                t = SKI_V_LOAD(v2 + l);
                a2 = SKI_D_FMA(SKI_D_LO(t), lo, a2);
                b2 = SKI_D_FMA(SKI_D_HI(t), hi, b2);
                t = SKI_V_LOAD(v3 + l);
                a3 = SKI_D_FMA(SKI_D_LO(t), lo, a3);
                b3 = SKI_D_FMA(SKI_D_HI(t), hi, b3);
            }
            s0 = SKI_D_SUM(a0) + SKI_D_SUM(b0);
            s1 = SKI_D_SUM(a1) + SKI_D_SUM(b1);
            s2 = SKI_D_SUM(a2) + SKI_D_SUM(b2);
            s3 = SKI_D_SUM(a3) + SKI_D_SUM(b3);
        }
#endif
        for (; l < d; l++) {
            double t = (double)w[l];
            s0 += (double)v0[l] * t;
            s1 += (double)v1[l] * t;
            s2 += (double)v2[l] * t;
            s3 += (double)v3[l] * t;
        }
        c[i] = s0;
        c[i + 1] = s1;
        c[i + 2] = s2;
        c[i + 3] = s3;
    }
    for (; i < m; i++) c[i] = SKI_FN(dot)(v + i * d, w, d);
}
/* The first n of d columns */
static void SKI_FN(gemv_t)(const float *v, size_t m, size_t d, size_t n, const double *c, float *w) {
    size_t i, j, l, len;
    /* 64 KiB of w stay in L2; runs of 16 KiB in L1 were 10% slower */
    for (j = 0; j < n; j += len) {
        len = SKI_MIN(n - j, (size_t)16384);
        /* past the last row: it again, times 0 */
        for (i = 0; i < m; i += 4) {
            const float *v0 = v + i * d + j, *v1 = i + 1 < m ? v0 + d : v0, *v2 = i + 2 < m ? v1 + d : v0,
                        *v3 = i + 3 < m ? v2 + d : v0;
            float f0 = (float)c[i], f1 = i + 1 < m ? (float)c[i + 1] : 0,
                  f2 = i + 2 < m ? (float)c[i + 2] : 0, f3 = i + 3 < m ? (float)c[i + 3] : 0;
            ski_v c0 = SKI_V_SET1(f0), c1 = SKI_V_SET1(f1), c2 = SKI_V_SET1(f2), c3 = SKI_V_SET1(f3);
            for (l = 0; l + SKI_VW <= len; l += SKI_VW) {
                ski_v t = SKI_V_FMA(SKI_V_LOAD(v1 + l), c1, SKI_V_MUL(SKI_V_LOAD(v0 + l), c0)),
                      u = SKI_V_FMA(SKI_V_LOAD(v3 + l), c3, SKI_V_MUL(SKI_V_LOAD(v2 + l), c2));
                SKI_V_STORE(w + j + l, SKI_V_ADD(SKI_V_LOAD(w + j + l), SKI_V_ADD(t, u)));
            }
            for (; l < len; l++) w[j + l] += (v0[l] * f0 + v1[l] * f1) + (v2[l] * f2 + v3[l] * f3);
        }
    }
}

static const ski_kernels SKI_FN(kernels) = {
    SKI_ISA,
#define SKI_X(result, name, arguments) SKI_FN(name),
    SKI_KERNELS(SKI_X)
#undef SKI_X
};

#undef SKI_VW
#undef ski_v
#undef ski_u
#undef ski_d
#undef ski_tab
#undef SKI_V_LOAD
#undef SKI_V_STORE
#undef SKI_V_STREAM
#undef SKI_V_SET1
#undef SKI_V_SET2
#undef SKI_V_ADD
#undef SKI_V_SUB
#undef SKI_V_MUL
#undef SKI_V_FMA
#undef SKI_V_SUM
#undef SKI_V_XORSIGN
#undef SKI_V_OF_U
#undef SKI_U_BITS
#undef SKI_V_GRID
#undef SKI_V_OF_BITS
#undef SKI_V_NORMAL_LOW
#undef SKI_V_NORMAL_HIGH
#undef SKI_V_TAB16
#undef SKI_TAB_LOAD
#undef SKI_V_LOAD_BF16
#undef SKI_V_LOAD_F16
#undef SKI_V_LOAD_F64
#undef ski_4
#undef SKI_4_LOAD
#undef SKI_4_AT
#undef SKI_U_LOAD
#undef SKI_U_STORE
#undef SKI_U_SET1
#undef SKI_U_ADD
#undef SKI_U_AND
#undef SKI_U_ANDOR
#undef SKI_U_XOR
#undef SKI_U_XOR3
#undef SKI_U_SLL
#undef SKI_U_SRL
#undef SKI_U_SLLN
#undef SKI_Q_SET1
#undef SKI_Q_EVENS
#undef SKI_Q_MUL
#undef SKI_Q_SRL
#undef SKI_Q_HIGH
#undef SKI_Q_PAIR
#undef SKI_V_HAD
#undef SKI_HAD512
#undef SKI_HAD256
#undef SKI_D_ZERO
#undef SKI_D_LO
#undef SKI_D_HI
#undef SKI_D_FMA
#undef SKI_D_SUM
#undef SKI_PIN
#undef SKI_U_TWICE
#undef SKI_FENCE
#undef SKI_LOADED
#undef SKI_ROUND
#undef SKI_PHILOX
#undef SKI_COUNTERS
#undef SKI_KEYS
#undef SKI_NEXT_KEYS
#undef SKI_WORDS_TO
#undef SKI_BF
#undef SKI_BM
#undef SKI_MINUS
#undef SKI_R4
#undef SKI_R8
#undef SKI_L4
#undef SKI_HAD4
#undef SKI_HAD8
#undef SKI_LANES4
#undef SKI_LANES8
#undef SKI_R16
#undef SKI_WTILE
#undef SKI_AS
#undef SKI_8
#undef SKI_IN
#undef SKI_RADIX_LOG2
#undef SKI_LANES
#undef SKI_EACH
#endif /* SKI_TEMPLATE */

#if defined(SKETCH_IMPLEMENTATION) && !defined(SKI_TEMPLATE) && !defined(SKI_IMPLEMENTED_ALL)
#define SKI_IMPLEMENTED_ALL

/* // >>plan =================================================================================================
   A plan is one allocation: the struct, then its tables. ski_setup does all the thinking and allocates
   nothing; sketch_measure, sketch_create and sketch_work_create agree because they all ask it. What an
   operator is stands in its room (>>operators); here, and in >>apply, none has a name. */
#define SKI_TRAILING  1024u        /* Kronecker factor size, paper appendix */
#define SKI_KRON_TILE 32u          /* columns of a Kronecker tile */
#define SKI_MAX_BATCH 8u           /* vectors that share one pass over the random numbers */
/* coordinates that a chunk has at least for each of d: its end costs O(d log d) */
#define SKI_CHUNK_DIMS 64u
#define SKI_MAX_LEVELS 17          /* of the summation tree: at most 2^16 chunks */

typedef struct ski_slot ski_slot;

/* What an operator is: its row in the table at the end of >>operators. Functions that may be NULL have a
   default. */
typedef struct ski_operator {
    sketch_algo  algo;
    uint32_t     traits;
    sketch_diag  diag;              /* what SKETCH_DIAG_DEFAULT means */
    /* Sizes of the plan's and the work's arrays, L, scale. Called with p->desc valid as to the traits. */
    sketch_status (*setup)(sketch_plan *p);
    /* Fills the tables that setup sized. NULL: none. */
    sketch_status (*fill)(sketch_plan *p, float *table, void *diag);
    /* Once for each slot of a new work. NULL: nothing. */
    void (*begin)(const sketch_plan *p, ski_slot *s);
    /* acc += S_b x_b for nb vectors, before what waits for the chunk's end; count: the block's coordinates
       below n. */
    void (*block)(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count);
    /* y = end of a sum: what acc still lacks, once a chunk. NULL: y = c acc. */
    void (*finish)(const sketch_plan *p, ski_slot *s, const float *acc, float *y);
    /* z = the adjoint's input after everything that does not depend on the block. NULL: z = c y. */
    void (*begin_t)(const sketch_plan *p, ski_slot *s, const float *y, float *z);
    /* x[L] = S_b^T y, from z; the first count coordinates matter. */
    void (*block_t)(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x, size_t count);
} ski_operator;

enum {
    SKI_HAS_PRECOND = 1,            /* desc.precond, desc.keep_random */
    SKI_HAS_DIAG    = 2,            /* desc.diag */
    SKI_HAS_BLOCK   = 4,            /* desc.block; L is part of the operator, and of the fingerprint */
    SKI_HAS_NNZ     = 8,            /* desc.nnz */
    /* a block is L coordinates long, with zeros past n */
    SKI_PADS        = 16
};

static const ski_operator *ski_operator_of(sketch_algo algo);     /* NULL: none */

struct sketch_plan {
    sketch_desc  desc;
    sketch_info  info;
    const ski_operator *op;
    const ski_kernels *k;
    uint64_t L, N;                  /* block length, number of blocks */
    size_t   trailing, lead;        /* L = lead * trailing, trailing <= 1024: rows of the block */
    size_t   acc_len;               /* floats that a chunk is summed in */
    /* a block's buffer: L or more; input that must be copied lies at its end */
    size_t   buf_len;
    size_t   d;
    size_t   own[8];                /* the operator's own numbers, named in its room */
    int      reads_raw;             /* block takes f64, bf16 and f16 as they are */
    /* leaves of the summation tree; Kronecker factors of the permutation, f = 0 trailing */
    uint32_t chunks, nfac;
    double   norm;                  /* what unnormalised transforms owe */
    float    c;                     /* everything that multiplies y (and S^T y), once */
    size_t   batch;                 /* vectors in flight at most */
    size_t   row_floats, batch_row_floats, aux_floats, idx_words, z_floats;
    /* in bytes from the plan's start */
    size_t   bytes, perm_at, table_at, table_floats, diag_at, diag_words;
    const uint16_t *perm, *inv;     /* [nfac][1024] */
    const float *table;             /* Haar factors or Hartley cosines */
    const void *diag;               /* kept diagonals: normals as 16-bit numbers in the order of their use */
};

/* One work: header, slots, z, then for each slot buf[nb][buf_len] acc[nb][acc_len] tree[levels][nb][d] row
   aux idx. */
struct ski_slot {
    float *buf, *acc, *tree, *row, *aux;
    uint32_t *idx;
    const float *x[SKI_MAX_BATCH];       /* the block of each vector; NULL: it is at raw, of another type */
    const char *raw[SKI_MAX_BATCH];
    sketch_dtype raw_type;
    /* where the first vector's next block lies, in one piece, else NULL: to fetch */
    const char *next;
    size_t next_size;                    /* of an element there */
    uint64_t chunk_end;                  /* first block past the open chunk */
    uint32_t chunk, first_chunk, top;    /* open chunk; where the run began; entries in the tree */
    int      open;                       /* acc holds something */
    uint32_t level[SKI_MAX_LEVELS + 1], index[SKI_MAX_LEVELS + 1];
    float   *sum;                        /* of the run, NULL: it was empty */
};

struct sketch_work {
    const sketch_plan *plan;
    size_t    bytes, nb, nslots;
    ski_slot *slots;
    float    *z;
    float    *stream_y;                  /* open stream, else NULL */
    uint64_t  pushed;
};

#define SKI_LIMIT ((uint64_t)SIZE_MAX / 64)      /* floats in any one array */

static size_t ski_round_up(size_t x, size_t m) { return (x + m - 1) / m * m; }
static ski_rng ski_rng_of(const sketch_plan *p, uint32_t purpose, uint32_t sub) {
    return ski_rng_make(p->desc.seed, p->desc.algo, purpose, sub);
}

/* For setup: the block length, 2^default_log2 or desc.block, cut to what n needs and not under `least`;
   and what follows from it. An operator overrides what is otherwise. */
static sketch_status ski_set_block(sketch_plan *p, uint32_t default_log2, uint64_t least) {
    const uint64_t n = p->desc.n, all = ski_pow2_at_least(SKI_MAX(n, least));
    uint64_t L = p->desc.block;
    if (!L) L = SKI_MAX((uint64_t)1 << default_log2, ski_pow2_at_least(least));
    L = SKI_MIN(L, all);
    if (L < least || L > (uint64_t)1 << 40 || L > SKI_LIMIT) return SKETCH_E_SIZE;
    p->L = L;
    p->N = (n - 1) / L + 1;
    p->trailing = (size_t)SKI_MIN(L, SKI_TRAILING);
    p->lead = (size_t)(L / p->trailing);
    p->buf_len = (size_t)L;
    p->acc_len = p->z_floats = p->d;
    p->batch = (size_t)SKI_MAX(1, SKI_MIN(SKI_MAX_BATCH, ((uint64_t)1 << 18) / L));
    p->info.n_padded = p->op->traits & SKI_PADS ? p->N * L : n;
    return SKETCH_OK;
}

static size_t ski_put(char *buf, size_t at, const char *text) {
    while (*text) buf[at++] = *text++;
    return at;
}
static size_t ski_put_u64(char *buf, size_t at, const char *key, uint64_t v) {
    char digits[20];
    size_t n = 0;
    at = ski_put(buf, at, key);
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n) buf[at++] = digits[--n];
    return at;
}
/* The text that the fingerprint hashes, ended by a zero; its length, or -1 */
static int ski_plan_name(const sketch_plan *p, char *buf, size_t cap) {
    const sketch_desc *q = &p->desc;
    size_t at = 0;
    if (cap < 320) return -1;
    at = ski_put_u64(buf, at, "sketch.h stream=", SKETCH_STREAM_VERSION);
    at = ski_put_u64(buf, at, " algo=", (uint64_t)q->algo);
    at = ski_put_u64(buf, at, " n=", q->n);
    at = ski_put_u64(buf, at, " d=", q->d);
    at = ski_put_u64(buf, at, " seed=", q->seed);
    at = ski_put_u64(buf, at, " precond=", (uint64_t)q->precond);
    at = ski_put_u64(buf, at, " diag=", (uint64_t)q->diag);
    at = ski_put_u64(buf, at, " block=", p->op->traits & SKI_HAS_BLOCK ? p->L : 0);
    at = ski_put_u64(buf, at, " nnz=", p->info.nnz);
    at = ski_put_u64(buf, at, " scale=", (uint64_t)q->scale);
    buf[at] = 0;
    return (int)at;
}
static uint64_t ski_fingerprint(const sketch_plan *p) {
    uint64_t hash = 0xcbf29ce484222325u;
    char name[320];
    int i, len = ski_plan_name(p, name, sizeof name);
    for (i = 0; i < len; i++) hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    return hash;
}

/* Every option known, and one that the operator has */
static sketch_status ski_check(const sketch_desc *q, const ski_operator *op) {
    if (!op || !q->n || !q->d) return SKETCH_E_ARG;
    if (q->precond < SKETCH_PRECOND_H || q->precond > SKETCH_PRECOND_Q) return SKETCH_E_ARG;
    if (q->diag < SKETCH_DIAG_DEFAULT || q->diag > SKETCH_RADEMACHER) return SKETCH_E_ARG;
    if ((q->precond || q->keep_random) && !(op->traits & SKI_HAS_PRECOND)) return SKETCH_E_ARG;
    if (q->diag && !(op->traits & SKI_HAS_DIAG)) return SKETCH_E_ARG;
    if (q->block && !(op->traits & SKI_HAS_BLOCK)) return SKETCH_E_ARG;
    if (q->block && q->block != SKETCH_BLOCK_WHOLE && !ski_is_pow2(q->block)) return SKETCH_E_ARG;
    if (q->nnz && !(op->traits & SKI_HAS_NNZ)) return SKETCH_E_ARG;
    if (q->keep_random > 1 || q->check_finite > 1) return SKETCH_E_ARG;
    if (q->scale < SKETCH_SCALE_ISOMETRIC || q->scale > SKETCH_SCALE_NONE) return SKETCH_E_ARG;
    if (q->isa < SKETCH_ISA_AUTO || q->isa > SKETCH_ISA_SIMDE) return SKETCH_E_ARG;
    if ((q->allocator.alloc_fn != NULL) != (q->allocator.free_fn != NULL)) return SKETCH_E_ARG;
    if (q->threads.width > 1024 || (q->threads.width > 1 && !q->threads.parallel_for)) return SKETCH_E_ARG;
    if (q->n >= (uint64_t)1 << 56 || q->d > (uint64_t)1 << 40 || q->d > SKI_LIMIT) return SKETCH_E_SIZE;
    return SKETCH_OK;
}

static sketch_status ski_setup(const sketch_desc *q, sketch_plan *p) {
    uint64_t at, least;
    sketch_status st;
    memset(p, 0, sizeof *p);
    if (!q) return SKETCH_E_ARG;
    p->op = ski_operator_of(q->algo);
    st = ski_check(q, p->op);
    if (st != SKETCH_OK) return st;
    p->k = ski_kernels_for(q->isa);
    if (!p->k) return SKETCH_E_UNSUPPORTED;
    p->desc = *q;
    if (!q->diag) p->desc.diag = p->op->diag;
    p->d = (size_t)q->d;
    p->norm = p->info.scale = 1.0;
    st = p->op->setup(p);
    if (st != SKETCH_OK) return st;
    p->c = (float)((q->scale == SKETCH_SCALE_NONE ? 1.0 : p->info.scale) * p->norm);
    p->batch_row_floats = SKI_MAX(p->batch_row_floats, p->row_floats);

    least = SKI_MAX(4, q->d / p->L * SKI_CHUNK_DIMS + (q->d % p->L * SKI_CHUNK_DIMS + p->L - 1) / p->L);
    for (p->chunks = 1; p->chunks < (uint32_t)1 << 16 && p->N / p->chunks / 2 >= least;) p->chunks *= 2;

    at = ski_round_up(sizeof *p, 64);
    p->perm_at = (size_t)at;
    at += ski_round_up((size_t)p->nfac * 2 * SKI_TRAILING * sizeof(uint16_t), 64);
    p->table_at = (size_t)at;
    at += ski_round_up(p->table_floats * sizeof(float), 64);
    p->diag_at = (size_t)at;
    at += (uint64_t)ski_round_up(p->diag_words, 32) * sizeof(uint16_t);
    p->bytes = (size_t)at;

    p->info.n = q->n;
    p->info.d = q->d;
    p->info.diag = p->desc.diag;
    p->info.block = p->info.granule = p->L;
    p->info.nblocks = p->N;
    p->info.nchunks = p->chunks;
    p->info.isa = p->k->isa;
    p->info.plan_bytes = p->bytes;
    p->info.fingerprint = ski_fingerprint(p);
    return SKETCH_OK;
}

typedef struct ski_layout {
    size_t nb, nslots, slot_floats, levels, row_floats;
    uint64_t bytes;
} ski_layout;

static uint32_t ski_width(const sketch_plan *p) {
    return p->desc.threads.parallel_for ? SKI_MAX(p->desc.threads.width, 1) : 1;
}
/* Subtrees worth handing to threads: a power of two, twice as many if the width is none */
static uint32_t ski_chunk_tasks(const sketch_plan *p) {
    uint32_t w = ski_width(p), t = (uint32_t)ski_pow2_at_least(w);
    if (t != w) t *= 2;
    return SKI_MIN(t, p->chunks);
}

/* *floats += a b c, rounded up to a line; 0: overflow */
static int ski_add_floats(uint64_t *floats, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t part;
    if (ski_mul_overflows(a, b, &part) || ski_mul_overflows(part, c, &part)
        || part > UINT64_MAX / 4 - *floats)
        return 0;
    *floats += (part + 15) / 16 * 16;
    return 1;
}
/* 0: overflow */
static int ski_layout_of(const sketch_plan *p, size_t max_batch, ski_layout *o) {
    uint64_t floats = 0, slots;
    size_t batch_tasks = SKI_MIN((size_t)ski_width(p), max_batch);
    memset(o, 0, sizeof *o);
    if (!max_batch) return 0;
    o->nslots = SKI_MAX((size_t)ski_chunk_tasks(p), batch_tasks);
    o->nb = SKI_MIN(p->batch, (max_batch - 1) / batch_tasks + 1);
    o->levels = (size_t)ski_log2(p->chunks) + 1;
    o->row_floats = o->nb > 1 ? p->batch_row_floats : p->row_floats;
    if (!ski_add_floats(&floats, o->nb, p->buf_len, 1)) return 0;
    if (!ski_add_floats(&floats, o->nb, p->acc_len, 1)) return 0;
    if (!ski_add_floats(&floats, o->nb, p->d, o->levels)) return 0;
    if (!ski_add_floats(&floats, o->row_floats, 1, 1)) return 0;
    if (!ski_add_floats(&floats, p->aux_floats, 1, 1)) return 0;
    if (!ski_add_floats(&floats, p->idx_words, 1, 1)) return 0;
    if (floats > SIZE_MAX / 16 || p->z_floats > SIZE_MAX / 16) return 0;
    o->slot_floats = (size_t)floats;
    if (ski_mul_overflows(floats * 4 + sizeof(ski_slot), o->nslots, &slots) || slots > SIZE_MAX / 2) return 0;
    o->bytes = ski_round_up(sizeof(sketch_work), 64) + ski_round_up(o->nslots * sizeof(ski_slot), 64)
               + ski_round_up(p->z_floats * sizeof(float), 64)
               + (uint64_t)o->nslots * o->slot_floats * sizeof(float);
    return o->bytes <= SIZE_MAX - 256;
}

/* a[n] = Permutation(g's purpose and sub-stream, m0, n); n <= 2^32 */
static void ski_permutation(const sketch_plan *p, const ski_rng *g, uint64_t m0, size_t n, uint32_t *a) {
    uint32_t w[64];
    size_t j;
    for (j = 0; j < n; j++) a[j] = (uint32_t)j;
    for (j = n - 1; j > 0; j--) {
        uint64_t m = m0 + j;
        uint32_t r, t = a[j];
        if (j == n - 1 || m % 64 == 63) p->k->words(w, g, m / 64);
        r = ski_below(w[m % 64], (uint64_t)j + 1);
        a[j] = a[r];
        a[r] = t;
    }
}

static sketch_status ski_fill(sketch_plan *p) {
    uint16_t *perm = (uint16_t *)(void *)((char *)p + p->perm_at),
             *inv = perm + (size_t)p->nfac * SKI_TRAILING;
    float *table = (float *)(void *)((char *)p + p->table_at);
    void *diag = (char *)p + p->diag_at;
    uint32_t f, a[SKI_TRAILING];
    sketch_status st = SKETCH_OK;
    p->perm = perm;
    p->inv = inv;
    p->table = table;
    for (f = 0; f < p->nfac; f++) {
        ski_rng g = ski_rng_of(p, SKI_PERM, f);
        size_t b = f + 1 < p->nfac ? SKI_TRAILING : (size_t)(p->L >> 10 * f), j;
        ski_permutation(p, &g, 0, b, a);
        for (j = 0; j < b; j++) {
            perm[f * SKI_TRAILING + j] = (uint16_t)a[j];
            inv[f * SKI_TRAILING + a[j]] = (uint16_t)j;
        }
    }
    if (p->op->fill) st = p->op->fill(p, table, diag);
    if (p->diag_words) p->diag = diag;
    return st;
}

SKETCH_API sketch_desc sketch_desc_make(sketch_algo algo, uint64_t n, uint64_t d, uint64_t seed) {
    sketch_desc q;
    memset(&q, 0, sizeof q);
    q.algo = algo;
    q.n = n;
    q.d = d;
    q.seed = seed;
    return q;
}

SKETCH_API sketch_status sketch_measure(const sketch_desc *desc, size_t max_batch,
                                        size_t *plan_bytes, size_t *work_bytes) {
    sketch_plan p;
    ski_layout o;
    sketch_status st;
    if (plan_bytes) *plan_bytes = 0;
    if (work_bytes) *work_bytes = 0;
    if (!max_batch) return SKETCH_E_ARG;
    st = ski_setup(desc, &p);
    if (st != SKETCH_OK) return st;
    if (!ski_layout_of(&p, max_batch, &o)) return SKETCH_E_SIZE;
    if (plan_bytes) *plan_bytes = p.bytes;
    if (work_bytes) *work_bytes = (size_t)o.bytes;
    return SKETCH_OK;
}

SKETCH_API sketch_status sketch_create(const sketch_desc *desc, sketch_plan **plan) {
    sketch_plan t, *p;
    ski_layout o;
    sketch_status st;
    if (!plan) return SKETCH_E_ARG;
    *plan = NULL;
    st = ski_setup(desc, &t);
    if (st != SKETCH_OK) return st;
    if (!ski_layout_of(&t, 1, &o)) return SKETCH_E_SIZE;
    st = sketch_selftest(desc->isa);
    if (st != SKETCH_OK) return st;
    p = (sketch_plan *)ski_alloc(&desc->allocator, t.bytes);
    if (!p) return SKETCH_E_MEMORY;
    *p = t;
    p->info.work_bytes = (size_t)o.bytes;
    st = ski_fill(p);
    if (st == SKETCH_OK) *plan = p;
    else sketch_destroy(p);
    return st;
}

SKETCH_API void sketch_destroy(sketch_plan *plan) {
    sketch_allocator a;
    if (!plan) return;
    a = plan->desc.allocator;
    ski_free(&a, plan, plan->bytes);
}

SKETCH_API sketch_info sketch_query(const sketch_plan *plan) {
    sketch_info none;
    if (plan) return plan->info;
    memset(&none, 0, sizeof none);
    return none;
}

SKETCH_API size_t sketch_work_bytes(const sketch_plan *plan, size_t max_batch) {
    ski_layout o;
    return plan && ski_layout_of(plan, max_batch, &o) ? (size_t)o.bytes : 0;
}

SKETCH_API sketch_status sketch_work_create(const sketch_plan *plan, size_t max_batch, sketch_work **work) {
    ski_layout o;
    sketch_work *w;
    char *at;
    size_t i;
    if (!work) return SKETCH_E_ARG;
    *work = NULL;
    if (!plan || !max_batch) return SKETCH_E_ARG;
    if (!ski_layout_of(plan, max_batch, &o)) return SKETCH_E_SIZE;
    at = (char *)ski_alloc(&plan->desc.allocator, (size_t)o.bytes);
    if (!at) return SKETCH_E_MEMORY;
    w = (sketch_work *)(void *)at;
    w->plan = plan;
    w->bytes = (size_t)o.bytes;
    w->nb = o.nb;
    w->nslots = o.nslots;
    at += ski_round_up(sizeof *w, 64);
    w->slots = (ski_slot *)(void *)at;
    at += ski_round_up(o.nslots * sizeof(ski_slot), 64);
    w->z = (float *)(void *)at;
    at += ski_round_up(plan->z_floats * sizeof(float), 64);
    for (i = 0; i < o.nslots; i++, at += o.slot_floats * sizeof(float)) {
        ski_slot *s = &w->slots[i];
        s->buf = (float *)(void *)at;
        s->acc = s->buf + ski_round_up(o.nb * plan->buf_len, 16);
        s->tree = s->acc + ski_round_up(o.nb * plan->acc_len, 16);
        s->row = s->tree + ski_round_up(o.nb * plan->d * o.levels, 16);
        s->aux = s->row + ski_round_up(o.row_floats, 16);
        s->idx = (uint32_t *)(void *)(s->aux + ski_round_up(plan->aux_floats, 16));
        if (plan->op->begin) plan->op->begin(plan, s);
    }
    *work = w;
    return SKETCH_OK;
}

SKETCH_API void sketch_work_destroy(sketch_work *work) {
    if (work) ski_free(&work->plan->desc.allocator, work, work->bytes);
}

/* // >>operators ============================================================================================
   A room for each operator, then the table of them. A room has, in this order: definition, cost,
   guarantee, worst input, reference; what it keeps in p->own; the functions of its row. To add an
   operator: a value in sketch_algo, a room, a row in the table, a line in the manual's WHICH ALGORITHM
   WHEN. Words are as in >>shared. */

/* ---- tools of several rooms ---------------------------------------------------------------------------- */

/* The f-th digit of the leading index (row of 1024), f = 1, 2, ... from the trailing one, permuted by its
   own */
static size_t ski_lead(const sketch_plan *p, const uint16_t *perm, size_t j) {
    size_t out = 0, place = 1;
    uint32_t f;
    for (f = 1; f < p->nfac; f++) {
        out += place * perm[f * SKI_TRAILING + j % SKI_TRAILING];
        j /= SKI_TRAILING;
        place *= SKI_TRAILING;
    }
    return out;
}

/* Elements at .. at + n - 1 of vector v's block: where they are, or converted into stage[n] */
static const float *ski_piece(const sketch_plan *p, const ski_slot *s, size_t v, size_t at, size_t n,
                              float *stage) {
    if (s->x[v]) return s->x[v] + at;
    p->k->load(stage, s->raw[v], at, s->raw_type, n);
    return stage;
}
/* A vector's block as the caller has it */
static const void *ski_input_of(const ski_slot *s, size_t v, sketch_dtype *type) {
    *type = s->x[v] ? SKETCH_F32 : s->raw_type;
    return s->x[v] ? (const void *)s->x[v] : (const void *)s->raw[v];
}
/* Where element `at` of vector v's block lies or, past its end, of the block that is read after it: an
   address to fetch from, 0 if unknown. size: of an element there. */
static uintptr_t ski_address(const sketch_plan *p, const ski_slot *s, size_t v, size_t nb, size_t at,
                             size_t *size) {
    sketch_dtype type;
    const void *x;
    if (at >= p->L) {
        at -= (size_t)p->L;
        v++;
    }
    if (v == nb) {
        x = s->next;
        *size = s->next_size;
    } else {
        x = ski_input_of(s, v, &type);
        *size = ski_size(type);
    }
    return x ? (uintptr_t)x + at * *size : 0;
}

/* out = B_b x; out may be x */
static void ski_signs(const sketch_plan *p, const float *x, float *out, uint64_t b) {
    ski_rng g = ski_rng_of(p, SKI_SIGN, 0);
    p->k->signs(x, out, b * p->L, (size_t)p->L, &g);
}
/* out = H B_b x, unnormalised; out may be x: signs and the low levels while a part is in L1 */
static void ski_hb(const sketch_plan *p, const float *x, float *out, uint64_t b) {
    ski_rng g = ski_rng_of(p, SKI_SIGN, 0);
    size_t L = (size_t)p->L, part = SKI_MIN(L, SKI_WHT_LEAF), i;
    for (i = 0; i < L; i += part)
        p->k->hb(x + i, SKETCH_F32, out + i, b * p->L + i, part, &g, (uintptr_t)(x + i) + 8192, 16);
    p->k->wht(out, L, part);
}
/* x = B_b H x */
static void ski_bh(const sketch_plan *p, float *x, uint64_t b) {
    p->k->wht(x, (size_t)p->L, 1);
    ski_signs(p, x, x, b);
}

/* ---- Haar factors (QK, pre-conditioner Q) -------------------------------------------------------------- */

/* qi[b] -= its part along each of the i rows before it */
static void ski_haar_project(const double *q, double *qi, size_t i, size_t b) {
    size_t j, k;
    for (j = 0; j < i; j++) {
        const double *qj = q + j * b;
        double a[4] = { 0.0, 0.0, 0.0, 0.0 }, sum;
        for (k = 0; k + 4 <= b; k += 4) {
            a[0] += qj[k] * qi[k];
            a[1] += qj[k + 1] * qi[k + 1];
            a[2] += qj[k + 2] * qi[k + 2];
            a[3] += qj[k + 3] * qi[k + 3];
        }
        for (; k < b; k++) a[0] += qj[k] * qi[k];
        sum = (a[0] + a[2]) + (a[1] + a[3]);
        for (k = 0; k < b; k++) qi[k] -= sum * qj[k];
    }
}
/* Whether det a < 0, by elimination with pivoting, in place */
static int ski_negative_determinant(double *a, size_t b) {
    size_t i, j, k;
    int negative = 0;
    for (i = 0; i < b; i++) {
        size_t best = i;
        for (j = i + 1; j < b; j++) if (fabs(a[j * b + i]) > fabs(a[best * b + i])) best = j;
        if (best != i) {
            negative ^= 1;
            for (k = i; k < b; k++) {
                double t = a[i * b + k];
                a[i * b + k] = a[best * b + k];
                a[best * b + k] = t;
            }
        }
        if (a[i * b + i] < 0.0) negative ^= 1;
        for (j = i + 1; j < b; j++) {
            double m = a[j * b + i] / a[i * b + i];
            for (k = i; m != 0.0 && k < b; k++) a[j * b + k] -= m * a[i * b + k];
        }
    }
    return negative;
}
/* q[r][b] = Haar(sub, r, b) in f64: Gram-Schmidt, each row twice against those before it. If r = b, as
   much again behind q is scratch. 0: a row vanished. */
static int ski_haar(const sketch_plan *p, uint32_t sub, size_t r, size_t b, double *q) {
    ski_rng g = ski_rng_of(p, SKI_HAAR, sub);
    size_t i, k, l;
    for (i = 0; i < r; i++) {
        double *qi = q + i * b, s = 0.0;
        for (k = 0; k < b; k += 256) {
            float t[256];
            size_t m = SKI_MIN(b - k, (size_t)256);
            p->k->normals(t, (uint64_t)i * b + k, m, &g);
            for (l = 0; l < m; l++) qi[k + l] = (double)t[l];
        }
        ski_haar_project(q, qi, i, b);
        ski_haar_project(q, qi, i, b);
        for (k = 0; k < b; k++) s += qi[k] * qi[k];
        if (!(s > 0.0)) return 0;
        s = 1.0 / sqrt(s);
        for (k = 0; k < b; k++) qi[k] *= s;
    }
    if (r != b) return 1;
    memcpy(q + r * b, q, r * b * sizeof(double));
    if (ski_negative_determinant(q + r * b, b))
        for (k = 0; k < b; k++) q[(r - 1) * b + k] = -q[(r - 1) * b + k];
    return 1;
}
/* out[i ld + j] and out_t[j ld_t + i] (NULL: not wanted) = Haar(sub, r, b)[i][j] */
static sketch_status ski_haar_table(const sketch_plan *p, uint32_t sub, size_t r, size_t b,
                                    float *out, size_t ld, float *out_t, size_t ld_t) {
    size_t bytes = (r == b ? 2 : 1) * r * b * sizeof(double), i, j;
    double *q = (double *)ski_alloc(&p->desc.allocator, bytes);
    int made;
    if (!q) return SKETCH_E_MEMORY;
    made = ski_haar(p, sub, r, b, q);
    for (i = 0; made && i < r; i++)
        for (j = 0; j < b; j++) {
            if (out) out[i * ld + j] = (float)q[i * b + j];
            if (out_t) out_t[j * ld_t + i] = (float)q[i * b + j];
        }
    ski_free(&p->desc.allocator, q, bytes);
    return made ? SKETCH_OK : SKETCH_E_STATE;
}

/* ---- pre-conditioners: T1, T2 and the permutation's factors (AFFD, AFJL) ------------------------------- */

/* log2 L in ceil(l/8) parts as equal as can be, larger ones trailing; their number */
static uint32_t ski_cut_log2(uint32_t l, uint32_t out[SKETCH_MAX_FACTORS]) {
    uint32_t k = SKI_MAX((l + 7) / 8, 1), f;
    for (f = 0; f < k && f < SKETCH_MAX_FACTORS; f++) out[f] = l / k + (f >= k - l % k ? 1u : 0u);
    return k;
}
/* After ski_set_block. transforms: how many of length L S_b has. F and Q: a leading factor that is not
   flat loses coordinates where few of its rows are kept (one coordinate, d = 1024: spread AFFD-Q 0.35,
   AFJL-F 0.63 at 2^15; 0.08, 0.05 at 2^12), hence the shorter default block. */
static sketch_status ski_precond_setup(sketch_plan *p, uint32_t default_log2, int transforms) {
    sketch_status st = ski_set_block(p, p->desc.precond ? 12 : default_log2, p->desc.d);
    uint32_t f, l = ski_log2(p->L), cut[SKETCH_MAX_FACTORS];
    if (st != SKETCH_OK) return st;
    p->nfac = SKI_MAX((l + 9) / 10, 1);
    p->info.nfactors = p->nfac;
    for (f = 0; f < p->nfac; f++) p->info.factor_in[f] = f ? SKI_TRAILING : p->L >> 10 * (p->nfac - 1);
    if (p->desc.precond == SKETCH_PRECOND_Q) {
        p->info.nfactors = ski_cut_log2(l, cut);
        for (f = 0; f < p->info.nfactors; f++) {
            p->info.factor_in[f] = (uint64_t)1 << cut[f];
            p->table_floats += (size_t)4 << 2 * cut[f];          /* Q1, Q1^T, Q2, Q2^T */
        }
        p->aux_floats = 2 * 256 * SKI_KRON_TILE;
    } else {
        p->norm = transforms == 1 ? 1.0 / sqrt((double)p->L) : 1.0 / (double)p->L;
        if (p->desc.precond == SKETCH_PRECOND_F) {
            p->table_floats = 512;                               /* cos, sin of 2 pi k/1024, k < 256 */
            p->aux_floats = (size_t)SKI_TRAILING * SKI_KRON_TILE;
        }
    }
    for (f = 0; f < p->info.nfactors; f++) p->info.factor_out[f] = p->info.factor_in[f];
    p->info.scale = sqrt((double)p->L / (double)p->d);
    return SKETCH_OK;
}
/* cos and sin of 2 pi k/1024 for k < 256, from + - * alone (Taylor in f64, rounded to f32): the same
   everywhere */
static void ski_hartley_table(float *cs) {
    int k, j;
    for (k = 0; k < 256; k++) {
        int flip = k > 128;
        double a = 6.283185307179586476925 * (double)(flip ? 256 - k : k) / 1024.0, a2 = a * a, c = 1.0,
               s = 1.0;
        for (j = 10; j > 0; j--) {
            c = 1.0 - a2 / (double)((2 * j - 1) * (2 * j)) * c;
            s = 1.0 - a2 / (double)((2 * j) * (2 * j + 1)) * s;
        }
        s *= a;
        cs[2 * k] = (float)(flip ? s : c);
        cs[2 * k + 1] = (float)(flip ? c : s);
    }
}
static sketch_status ski_precond_fill(sketch_plan *p, float *t) {
    sketch_status st = SKETCH_OK;
    uint32_t f, nf = p->info.nfactors;
    if (p->desc.precond == SKETCH_PRECOND_F) ski_hartley_table(t);
    /* Q1's factors each followed by its transpose, then Q2's */
    for (f = 0; p->desc.precond == SKETCH_PRECOND_Q && f < 2 * nf && st == SKETCH_OK; f++) {
        size_t b = (size_t)p->info.factor_in[f % nf];
        st = ski_haar_table(p, f < nf ? f : 16 + f - nf, b, b, t, b, t + b * b, b);
        t += 2 * b * b;
    }
    return st;
}
/* x[L] times a Kronecker product of Hartley matrices (mats NULL; unnormalised) or of those in mats: for
   each factor tiles of SKI_KRON_TILE columns are copied out, transformed, copied back */
static void ski_kron(const sketch_plan *p, float *x, const float *mats, int transpose, float *aux) {
    const size_t wide = SKI_KRON_TILE;
    size_t inner = (size_t)p->L, f;
    for (f = 0; f < p->info.nfactors; f++) {
        size_t b = (size_t)p->info.factor_in[f], cols = (size_t)p->L / b, q, i, j;
        const float *m = mats ? mats + (transpose ? b * b : 0) : NULL;
        inner /= b;
        for (q = 0; q < cols; q += wide) {
            size_t base[SKI_KRON_TILE], w = SKI_MIN(cols - q, wide);
            float *out = mats ? aux + b * wide : aux;
            for (j = 0; j < w; j++) base[j] = (q + j) / inner * b * inner + (q + j) % inner;
            for (i = 0; i < b; i++) {
                size_t row = i, t, rest = i;
                /* Hartley's: bit-reversed */
                if (!mats) for (row = 0, t = b; t > 1; t /= 2, rest /= 2) row = row * 2 + rest % 2;
                for (j = 0; j < w; j++) aux[row * wide + j] = x[base[j] + i * inner];
                for (; j < wide; j++) aux[row * wide + j] = 0.0f;
            }
            if (mats) p->k->gemm(b, wide, b, m, b, aux, wide, out, wide);
            else p->k->hartley(aux, b, wide, p->table);
            for (i = 0; i < b; i++) for (j = 0; j < w; j++) x[base[j] + i * inner] = out[i * wide + j];
        }
        if (mats) mats += 2 * b * b;
    }
}
/* x = T1 x without its signs, T2 x (second), or their transposes */
static void ski_precond(const sketch_plan *p, float *x, int second, int transpose, float *aux) {
    if (p->desc.precond == SKETCH_PRECOND_H) p->k->wht(x, (size_t)p->L, 1);
    else if (p->desc.precond == SKETCH_PRECOND_F) ski_kron(p, x, NULL, 0, aux);
    else ski_kron(p, x, p->table + (second ? p->table_floats / 2 : 0), transpose, aux);
}
/* out = T1 x; out may be x */
static void ski_t1(const sketch_plan *p, const float *x, float *out, uint64_t b, float *aux) {
    if (p->desc.precond == SKETCH_PRECOND_H) {
        ski_hb(p, x, out, b);
        return;
    }
    if (p->desc.precond == SKETCH_PRECOND_F) ski_signs(p, x, out, b);
    else if (out != x) memcpy(out, x, (size_t)p->L * sizeof(float));
    ski_precond(p, out, 0, 0, aux);
}
static void ski_t1_t(const sketch_plan *p, float *x, uint64_t b, float *aux) {
    ski_precond(p, x, 0, 1, aux);
    if (p->desc.precond != SKETCH_PRECOND_Q) ski_signs(p, x, x, b);
}

/* ---- G by its octets: eight rows of entries from one run of counters ----------------------------------- */

/* row[k n + c] = Octet(c0 + c, k) for c < n, k < rows, as floats: kept from entry `at` of the plan's on,
   or drawn */
static void ski_octets(const sketch_plan *p, uint64_t c0, size_t n, size_t rows, uint64_t at, float *row) {
    const ski_rng g = ski_rng_of(p, SKI_DIAG, 0);
    if (p->diag) p->k->normals_of(row, (const uint16_t *)p->diag + at, rows * n);
    else p->k->octets(row, c0, n, rows, n, 16, &g);
}
/* For fill: kept[rows n], the same as 16-bit numbers. n <= 1024 */
static void ski_octets_keep(const sketch_plan *p, uint64_t c0, size_t n, size_t rows, uint16_t *kept) {
    const ski_rng g = ski_rng_of(p, SKI_DIAG, 0);
    float row[8 * 16];
    size_t c, k, i;
    SKI_ASSERT(n <= SKI_TRAILING && rows <= 8);
    for (c = 0; c < n; c += 16) {
        const size_t m = SKI_MIN(n - c, (size_t)16);
        p->k->octets(row, c0 + c, m, rows, 16, 128, &g);
        for (k = 0; k < rows; k++)
            for (i = 0; i < m; i++) kept[k * n + c + i] = (uint16_t)ski_grid_of(row[16 * k + i]);
    }
}

/* ---- AFFD -------------------------------------------------------------------------------------------------
   S_b = sqrt(L/d) R_d T2 P G_b T1. Default L = 2^15, pre-conditioners F and Q 2^12. H: T1 = H B_b, T2 =
   H. F: T1 = C B_b, T2 = C. Q: T1 = Q1, T2 = Q2. G_b: entry j is Octet(b m + j mod m, j div m), m =
   max(1, L/8): one Philox call for the eight coordinates that the last three levels combine; or
   Sign(DIAG, 0, b L + j). Sums: with H, row j of 1024 of G H B x is added to target row pi'(j) mod (acc
   rows), pi' the inverse of the leading digits' permutation: for q = 0 .. lead/8 - 1 and in it k = 0 .. 7
   row k lead/8 + q (lead < 8: rows in order), each product rounded, then added. The permutation inside a
   row and the last transform wait for the chunk's end, since the first acc_len of its outputs see the
   leading index only through its low bits: L log L + 2 L a block, d log d a chunk. F, Q: row j is added
   to row j, and the whole of T2 waits. Guarantee: Johnson-Lindenstrauss for every x. Worst input: none
   known. With signs an x that is one coordinate gives some exact zeros (its length is kept). Schioppa
   2024, eq. 6, Theorem 3.2. */
enum {
    SKI_AFFD_FOLDS,                  /* L = 2^15 and H: the last levels, G and the sums in one pass */
    SKI_AFFD_ROW,                    /* floats from row to row of the sums */
    /* rows of the sums */
    SKI_AFFD_TARGETS
};
static sketch_status ski_affd_setup(sketch_plan *p) {
    sketch_status st = ski_precond_setup(p, 15, 2);
    size_t row;
    if (st != SKETCH_OK) return st;
    row = p->trailing;
    p->z_floats = p->desc.precond ? (size_t)p->L : (size_t)SKI_MAX(ski_pow2_at_least(p->desc.d), p->trailing);
    p->own[SKI_AFFD_TARGETS] = p->z_floats / row;
    p->row_floats = (size_t)SKI_MIN(p->L, 8 * SKI_TRAILING);
    if (!p->desc.precond && p->L == 8 * SKI_WHT_LEAF) {
        p->own[SKI_AFFD_FOLDS] = 1;
        row = SKI_ROW;
        p->buf_len = 7 * SKI_PART + SKI_WHT_LEAF;
        p->reads_raw = 1;
        p->row_floats = SKI_FOLD;
        /* the vectors of a batch share the whole block's diagonal */
        if (p->desc.diag == SKETCH_GAUSSIAN && !p->desc.keep_random) p->batch_row_floats = (size_t)p->L / 2;
    }
    p->own[SKI_AFFD_ROW] = row;
    p->acc_len = p->own[SKI_AFFD_TARGETS] * row;
    /* signs are drawn faster than read */
    if (!p->desc.keep_random || p->desc.diag == SKETCH_RADEMACHER) return SKETCH_OK;
    if (p->N > SKI_LIMIT / p->L) return SKETCH_E_SIZE;
    p->diag_words = (size_t)(p->N * p->L);
    return SKETCH_OK;
}
/* The block in rounds of up to eight rows, in the order of their sums: row k of round q, and where G's
   entries are */
static size_t ski_affd_rounds(const sketch_plan *p) { return SKI_MAX(p->lead / 8, 1); }
static size_t ski_affd_rows(const sketch_plan *p) { return SKI_MIN(p->lead, 8); }
static size_t ski_affd_target(const sketch_plan *p, size_t j) {
    return p->desc.precond ? j : ski_lead(p, p->inv, j) % p->own[SKI_AFFD_TARGETS];
}
/* The first counter of round q: rounds are rows of 1024 columns of octets, or a whole block in short ones */
static uint64_t ski_affd_counter(const sketch_plan *p, uint64_t b, size_t q) {
    return b * SKI_MAX(p->L / 8, 1) + q * SKI_TRAILING;
}
/* Round q of G_b, row after row */
static void ski_affd_diag(const sketch_plan *p, uint64_t b, size_t q, float *row) {
    const size_t t = p->trailing, rows = ski_affd_rows(p);
    const ski_rng g = ski_rng_of(p, SKI_DIAG, 0);
    size_t k;
    if (p->desc.diag == SKETCH_GAUSSIAN) {
        const size_t n = p->lead < 8 ? (size_t)SKI_MAX(p->L / 8, 1) : t;
        ski_octets(p, ski_affd_counter(p, b, q), n, rows * t / n, b * p->L + q * 8 * t, row);
    } else
        for (k = 0; k < rows; k++)
            p->k->signs(NULL, row + k * t, b * p->L + (k * ski_affd_rounds(p) + q) * t, t, &g);
}
static sketch_status ski_affd_fill(sketch_plan *p, float *table, void *diag) {
    const ski_rng g = ski_rng_of(p, SKI_DIAG, 0);
    const size_t rounds = ski_affd_rounds(p), n = p->lead < 8 ? (size_t)SKI_MAX(p->L / 8, 1) : p->trailing;
    const size_t rows = (size_t)SKI_MIN(p->L / n, 8);
    sketch_status st = ski_precond_fill(p, table);
    uint64_t b;
    size_t q;
    for (b = 0; p->diag_words && st == SKETCH_OK && b < p->N; b++) {
        if (p->own[SKI_AFFD_FOLDS]) {
            for (q = 0; q < p->L / SKI_FOLD; q++)
                p->k->octets16((uint32_t *)diag + (b * p->L + q * SKI_FOLD) / 2, b * (p->L / 8) + q * 256,
                               &g);
            continue;
        }
        for (q = 0; q < rounds; q++)
            ski_octets_keep(p, ski_affd_counter(p, b, q), n, rows,
                            (uint16_t *)diag + b * p->L + q * 8 * p->trailing);
    }
    return st;
}
/* Where each row of a folded block is added up, in floats; rows of sums are stride apart */
static void ski_affd_fold_rows(const sketch_plan *p, size_t stride, size_t row[32]) {
    size_t j;
    for (j = 0; j < 32; j++) row[j] = ski_affd_target(p, j) * stride;
}
/* The q-th 256 columns of a folded block's octets as 16-bit numbers: kept, or drawn into row */
static const uint32_t *ski_affd_fold_diag(const sketch_plan *p, uint64_t b, size_t q, float *row) {
    const ski_rng g = ski_rng_of(p, SKI_DIAG, 0);
    uint32_t *w = (uint32_t *)(void *)row;
    if (p->diag) return (const uint32_t *)p->diag + (b * p->L + q * SKI_FOLD) / 2;
    p->k->octets16(w, b * (p->L / 8) + q * 256, &g);
    return w;
}
/* G's signs of a folded block; those of the q-th columns, part k 128 words after the one before */
static void ski_affd_fold_signs(const sketch_plan *p, uint64_t b, float *row) {
    const ski_rng g = ski_rng_of(p, SKI_DIAG, 0);
    size_t k;
    for (k = 0; k < 16; k++) p->k->words((uint32_t *)(void *)row + 64 * k, &g, b * p->L / 2048 + k);
}
static const uint32_t *ski_affd_fold_signs_at(const float *row, size_t q) {
    return (const uint32_t *)(const void *)row + q / 2 * 16;
}
/* L = 2^15: eight parts; their last three levels, G and the sums in one pass. Normals that are used once
   are drawn as floats: two of 16 bits take five operations to be floats again. */
static void ski_affd_folded(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb) {
    const ski_rng of_b = ski_rng_of(p, SKI_SIGN, 0), of_g = ski_rng_of(p, SKI_DIAG, 0);
    const int signs = p->desc.diag == SKETCH_RADEMACHER, fresh = !signs && nb == 1 && !p->diag;
    const size_t folds = (size_t)p->L / SKI_FOLD;
    const uint32_t *g[8 * SKI_WHT_LEAF / SKI_FOLD];
    size_t row[32], k, q, v;
    ski_affd_fold_rows(p, p->own[SKI_AFFD_ROW], row);
    if (signs) ski_affd_fold_signs(p, b, s->row);
    for (q = 0; !signs && !fresh && q < folds; q++)
        g[q] = ski_affd_fold_diag(p, b, q, s->row + q * (SKI_FOLD / 2));
    for (v = 0; v < nb; v++) {
        size_t size;
        const uintptr_t next = ski_address(p, s, v, nb, (size_t)p->L, &size);
        /* Of 16 lines fetched one goes beside fold, which bears no more; all before it: 3% slower. */
        const int one = size == sizeof(float) && !p->diag;
        const size_t lines = 4 * size - (size_t)one, leaf = SKI_WHT_LEAF / 256 * 64 * lines;
        for (k = 0; k < 8; k++) {
            /* Of vector 0 for all: its own input, if it was copied, is at least as far on (ski_input), and
               read before. */
            float *out = s->buf + k * SKI_PART;
            const int half = !s->x[v] && s->raw_type != SKETCH_F64;
            const void *x = half ? (const void *)(s->raw[v] + k * SKI_WHT_LEAF * 2)
                                 : (const void *)ski_piece(p, s, v, k * SKI_WHT_LEAF, SKI_WHT_LEAF, out);
            p->k->hb(x, half ? s->raw_type : SKETCH_F32, out, b * p->L + k * SKI_WHT_LEAF, SKI_WHT_LEAF,
                     &of_b, next ? next + k * leaf : 0, lines);
        }
        for (q = 0; q < folds; q++) {
            const float *from = s->buf + q * 256;
            const uintptr_t rest = next && one ? next + 8 * leaf + q * (SKI_FOLD / 256 * 64) : 0;
            float *to[8];
            for (k = 0; k < 8; k++) to[k] = s->acc + v * p->acc_len + row[4 * k + q / 4] + q % 4 * 256;
            if (signs) p->k->fold_signs(from, ski_affd_fold_signs_at(s->row, q), q % 2 * 16, rest, to);
            else if (fresh) {
                p->k->octets(s->row, b * (p->L / 8) + q * 256, 256, 8, 16, 128, &of_g);
                p->k->fold(from, s->row, rest, to);
            } else p->k->fold16(from, g[q], p->diag && v == 0, rest, to);
        }
    }
}
static void ski_affd(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    const size_t t = p->trailing, rounds = ski_affd_rounds(p), rows = ski_affd_rows(p);
    size_t k, q, v;
    (void)count;
    if (p->own[SKI_AFFD_FOLDS]) {
        ski_affd_folded(p, s, b, nb);
        return;
    }
    for (v = 0; v < nb; v++) ski_t1(p, s->x[v], s->buf + v * p->buf_len, b, s->aux);
    for (q = 0; q < rounds; q++) {
        ski_affd_diag(p, b, q, s->row);
        for (k = 0; k < rows; k++) {
            const size_t j = k * rounds + q, to = ski_affd_target(p, j) * p->own[SKI_AFFD_ROW];
            for (v = 0; v < nb; v++)
                p->k->muladd(s->acc + v * p->acc_len + to, s->buf + v * p->buf_len + j * t, s->row + k * t,
                             t);
        }
    }
}
/* T2 and P at the end of a sum, and of the adjoint first: row q of P's output is row `at` of the sums */
static size_t ski_affd_source(const sketch_plan *p, size_t q) {
    return p->desc.precond ? ski_lead(p, p->perm, q) : q;
}
static void ski_affd_t2(const sketch_plan *p, float *u, int transpose, float *aux) {
    if (p->desc.precond) ski_precond(p, u, 1, transpose, aux);
    else p->k->wht(u, p->own[SKI_AFFD_TARGETS] * p->trailing, 1);
}
static void ski_affd_finish(const sketch_plan *p, ski_slot *s, const float *acc, float *y) {
    size_t q, t = p->trailing;
    for (q = 0; q < p->own[SKI_AFFD_TARGETS]; q++)
        p->k->gather(s->buf + q * t, acc + ski_affd_source(p, q) * p->own[SKI_AFFD_ROW], p->perm, t);
    ski_affd_t2(p, s->buf, 0, s->aux);
    p->k->scale(y, s->buf, p->c, p->d);
}
static void ski_affd_begin_t(const sketch_plan *p, ski_slot *s, const float *y, float *z) {
    size_t q, t = p->trailing;
    memset(s->buf, 0, p->z_floats * sizeof(float));
    p->k->scale(s->buf, y, p->c, p->d);
    ski_affd_t2(p, s->buf, 1, s->aux);
    for (q = 0; q < p->own[SKI_AFFD_TARGETS]; q++)
        p->k->gather(z + ski_affd_source(p, q) * t, s->buf + q * t, p->inv, t);
}
/* In the work's buffer, from there to x in one pass */
static void ski_affd_folded_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x) {
    const ski_rng g = ski_rng_of(p, SKI_SIGN, 0);
    const int here = x == s->buf, signs = p->desc.diag == SKETCH_RADEMACHER;
    const int streamed = !here && p->desc.n >= SKI_STREAM;
    const size_t gap = here ? SKI_PART : SKI_WHT_LEAF;
    size_t row[32], q, k;
    ski_affd_fold_rows(p, p->trailing, row);
    if (signs) ski_affd_fold_signs(p, b, s->row);
    for (q = 0; q < (size_t)p->L / SKI_FOLD; q++) {
        const float *from[8];
        float *to = s->buf + q * 256;
        for (k = 0; k < 8; k++) from[k] = z + row[4 * k + q / 4] + q % 4 * 256;
        if (signs) p->k->unfold_signs(to, ski_affd_fold_signs_at(s->row, q), q % 2 * 16, from);
        else p->k->unfold(to, ski_affd_fold_diag(p, b, q, s->row), from);
    }
    for (k = 0; k < 8; k++) p->k->wht(s->buf + k * SKI_PART, SKI_WHT_LEAF, 1);
    p->k->bh_last(s->buf, x, gap, streamed, b * p->L, &g, (uint32_t *)(void *)s->row);
    for (k = 1; here && k < 8; k++)
        memmove(x + k * SKI_WHT_LEAF, x + k * SKI_PART, SKI_WHT_LEAF * sizeof(float));
}
static void ski_affd_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x,
                       size_t count) {
    const size_t t = p->trailing, rounds = ski_affd_rounds(p), rows = ski_affd_rows(p);
    size_t k, q;
    (void)count;
    if (p->own[SKI_AFFD_FOLDS]) {
        ski_affd_folded_t(p, s, z, b, x);
        return;
    }
    for (q = 0; q < rounds; q++) {
        ski_affd_diag(p, b, q, s->row);
        for (k = 0; k < rows; k++) {
            const size_t j = k * rounds + q;
            p->k->mul(x + j * t, z + ski_affd_target(p, j) * t, s->row + k * t, t);
        }
    }
    ski_t1_t(p, x, b, s->aux);
}

/* ---- AFJL -------------------------------------------------------------------------------------------------
   S_b = sqrt(L/d) R_d P0 G_b P1 T1, P = P0 P1: P0 permutes the trailing digit, P1 the others (P and an
   i.i.d. diagonal commute). T1 as AFFD's. Default L = 2^17, F and Q 2^12. G: signs by default (the paper:
   normals). G_b on kept row q of 1024 (or L), column c: Octet((b max(1, L/8192) + q div 8) min(L, 1024) +
   c, q mod 8), whatever d is; or Sign(DIAG, 0, b L + 1024 q + c). Sums: rows are transformed in groups of
   8 by one transform of length 8, whose outputs a kept row adds up times +-1, group after group; then one
   transform of 1024 for each kept row, times G, added. So x is read once. (More than 64 rows kept, or
   more than half: the whole transform.) The permutation inside rows waits for the chunk's end. Cost: 4 +
   d/8192 additions a coordinate. No theorem. Worst input: e_i + e_j, i = j mod 1024, in one block. With
   normals the spread on any x is twice the dense one's at d = 1024; with signs it is the dense one's.
   Schioppa 2024, eq. 7. */
enum {
    SKI_AFJL_ROWS,                   /* rows of 1024 that are kept */
    /* few are: signed sums of rows, no transform of length L */
    SKI_AFJL_DIRECT
};
static sketch_status ski_afjl_setup(sketch_plan *p) {
    sketch_status st = ski_precond_setup(p, 17, 1);
    size_t rows;
    if (st != SKETCH_OK) return st;
    rows = (p->d + p->trailing - 1) / p->trailing;
    p->own[SKI_AFJL_ROWS] = rows;
    p->acc_len = p->z_floats = rows * p->trailing;
    p->row_floats = 8 * p->trailing;
    if (!p->desc.precond && p->lead >= 8 && rows <= SKI_DIRECT && 2 * rows <= p->lead) {
        p->own[SKI_AFJL_DIRECT] = 1;
        p->reads_raw = 1;
        p->aux_floats = SKI_KEPT_WORDS + rows * SKI_ROW;
    }
    if (!p->desc.keep_random || p->desc.diag == SKETCH_RADEMACHER) return SKETCH_OK;
    if (p->N > SKI_LIMIT / p->acc_len) return SKETCH_E_SIZE;
    p->diag_words = (size_t)p->N * p->acc_len;
    return SKETCH_OK;
}
static uint64_t ski_afjl_counter(const sketch_plan *p, uint64_t b, size_t q) {
    return (b * SKI_MAX(p->lead / 8, 1) + q / 8) * p->trailing;
}
/* G_b on kept row q; rows are asked for in order and made eight at a time */
static const float *ski_afjl_diag(const sketch_plan *p, ski_slot *s, uint64_t b, size_t q) {
    const size_t t = p->trailing, rows = SKI_MIN(p->own[SKI_AFJL_ROWS] - q, (size_t)8);
    const ski_rng g = ski_rng_of(p, SKI_DIAG, 0);
    if (q % 8 == 0) {
        if (p->desc.diag == SKETCH_RADEMACHER) p->k->signs(NULL, s->row, b * p->L + q * t, rows * t, &g);
        else ski_octets(p, ski_afjl_counter(p, b, q), t, rows, b * p->acc_len + q * t, s->row);
    }
    return s->row + q % 8 * t;
}
static sketch_status ski_afjl_fill(sketch_plan *p, float *table, void *diag) {
    const size_t t = p->trailing, rows = p->own[SKI_AFJL_ROWS];
    sketch_status st = ski_precond_fill(p, table);
    uint64_t b;
    size_t q;
    for (b = 0; p->diag_words && st == SKETCH_OK && b < p->N; b++)
        for (q = 0; q < rows; q += 8)
            ski_octets_keep(p, ski_afjl_counter(p, b, q), t, SKI_MIN(rows - q, (size_t)8),
                            (uint16_t *)diag + b * p->acc_len + q * t);
    return st;
}
/* Which output of the transforms of length 8 each kept row takes, and the bits that decide its signs */
static void ski_afjl_kept(const sketch_plan *p, ski_kept *kept) {
    size_t q, k, b, i = 0;
    memset(kept->bit, 0, sizeof kept->bit);
    for (k = 0; k < 8; kept->end[k++] = (uint8_t)i)
        for (q = 0; q < p->own[SKI_AFJL_ROWS]; q++) {
            size_t row = ski_lead(p, p->perm, q);
            if (row % 8 != k) continue;
            for (b = 0, row /= 8; row; b++, row /= 2) kept->bit[b] |= (uint64_t)(row & 1) << i;
            kept->to[i++] = (uint32_t)(q * SKI_ROW);
        }
}
static void ski_afjl_signs(ski_kept *kept, size_t group, size_t ng) {
    size_t i, g, k, b;
    for (g = 0; g < ng; g++) {
        uint64_t odd = 0;
        for (b = 0, k = group + g; k; b++, k /= 2) if (k & 1) odd ^= kept->bit[b];
        for (i = 0; i < kept->end[7]; i++) kept->sign[g][i] = odd >> i & 1 ? -1.0f : 1.0f;
    }
}
/* The kept rows of vector v, before their own transforms, at s->aux. late: of the next block so many
   floats are fetched while this one's sums are finished, and not here. */
static void ski_afjl_sums(const sketch_plan *p, ski_slot *s, uint64_t b, size_t v, size_t nb, int waits,
                          size_t late, ski_kept *kept) {
    const ski_rng g = ski_rng_of(p, SKI_SIGN, 0);
    const size_t t = p->trailing;
    /* a piece of one group stays in L1 */
    const size_t ng = p->lead == 8 || (!s->x[v] && p->own[SKI_AFJL_ROWS] <= 4) ? 1 : 2;
    size_t size, j;
    for (j = 0; j < p->lead; j += 8 * ng) {
        const size_t at = late + 8 * ng * t + (late ? j * t / 8 * 7 : j * t);
        const uintptr_t ahead = ski_address(p, s, v, nb, at, &size);
        const float *x = ski_piece(p, s, v, j * t, 8 * ng * t, s->buf + v * p->L);
        ski_afjl_signs(kept, j / 8, ng);
        p->k->lead8(x, b * p->L + j * t, &g, ng, kept, (uint32_t *)(void *)s->aux, s->aux + SKI_KEPT_WORDS,
                    j == 0, waits && s->x[v], ahead,
                    !ahead ? 0
                    : late ? ng * 7 * size / 4
                           : ng * 2 * size);
    }
}
static void ski_afjl(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    const size_t L = (size_t)p->L, t = p->trailing, rows = p->own[SKI_AFJL_ROWS];
    const int direct = p->own[SKI_AFJL_DIRECT] != 0;
    /* memory is slower than the kernel */
    const int waits = p->k->isa == SKETCH_ISA_AVX512 && p->desc.n >= SKI_STREAM && rows <= 8;
    const int f32_next = s->x[0] && s->next && s->next_size == sizeof(float);
    const size_t late = !waits && direct && nb == 1 && f32_next && p->lead <= 128 ? L / 8 : 0;
    float *sums = s->aux + SKI_KEPT_WORDS;
    size_t q, v, i;
    ski_kept kept;
    (void)count;
    if (direct) ski_afjl_kept(p, &kept);
    for (v = 0; v < nb; v++) {
        float *u = s->buf + v * L;
        if (direct) ski_afjl_sums(p, s, b, v, nb, waits, late, &kept);
        else ski_t1(p, s->x[v], u, b, s->aux);
        for (q = 0; direct && nb > 1 && q < rows; q++) {
            p->k->wht(sums + q * SKI_ROW, t, 1);
            memcpy(u + q * t, sums + q * SKI_ROW, t * sizeof(float));
        }
    }
    for (q = 0; q < rows; q++) {
        const float *from = s->buf + (direct ? q : ski_lead(p, p->perm, q)) * t;
        const float *g = ski_afjl_diag(p, s, b, q);
        /* late: after the first 16 rows of the next block, which the kernel has fetched */
        SKI_ROLLED
        for (i = 0; i < late / rows * sizeof(float); i += 64)
            SKI_AHEAD(s->next, (SKI_MIN(L, 16 * t) + late / rows * q) * sizeof(float) + i);
        if (direct && nb == 1) {
            from = sums + q * SKI_ROW;
            p->k->wht(sums + q * SKI_ROW, t, 1);
        }
        for (v = 0; v < nb; v++) p->k->muladd(s->acc + v * p->acc_len + q * t, from + v * L, g, t);
    }
}
static size_t ski_afjl_row_len(const sketch_plan *p, size_t q) {
    return SKI_MIN(p->d - q * p->trailing, p->trailing);
}
static void ski_afjl_finish(const sketch_plan *p, ski_slot *s, const float *acc, float *y) {
    size_t q, t = p->trailing;
    (void)s;
    for (q = 0; q < p->own[SKI_AFJL_ROWS]; q++)
        p->k->gather(y + q * t, acc + q * t, p->perm, ski_afjl_row_len(p, q));
    p->k->scale(y, y, p->c, p->d);
}
static void ski_afjl_begin_t(const sketch_plan *p, ski_slot *s, const float *y, float *z) {
    size_t q, c, t = p->trailing;
    (void)s;
    memset(z, 0, p->acc_len * sizeof(float));
    for (q = 0; q < p->own[SKI_AFJL_ROWS]; q++)
        for (c = 0; c < ski_afjl_row_len(p, q); c++) z[q * t + p->perm[c]] = y[q * t + c] * p->c;
}
static void ski_afjl_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x,
                       size_t count) {
    const ski_rng of_b = ski_rng_of(p, SKI_SIGN, 0);
    const size_t t = p->trailing, ng = SKI_MIN(p->lead / 8, 2);
    const int direct = p->own[SKI_AFJL_DIRECT] != 0;
    float *sums = s->aux + SKI_KEPT_WORDS;
    size_t q, j;
    ski_kept kept;
    (void)count;
    if (!direct) memset(x, 0, (size_t)p->L * sizeof(float));
    for (q = 0; q < p->own[SKI_AFJL_ROWS]; q++) {
        float *to = direct ? sums + q * SKI_ROW : x + ski_lead(p, p->perm, q) * t;
        p->k->mul(to, z + q * t, ski_afjl_diag(p, s, b, q), t);
        if (direct) p->k->wht(to, t, 1);
    }
    if (!direct) {
        ski_t1_t(p, x, b, s->aux);
        return;
    }
    ski_afjl_kept(p, &kept);
    for (j = 0; j < p->lead; j += 8 * ng) {
        ski_afjl_signs(&kept, j / 8, ng);
        p->k->lead8_t(x + j * t, b * p->L + j * t, &of_b, ng, &kept, (uint32_t *)(void *)s->aux, sums);
    }
}

/* ---- QK ---------------------------------------------------------------------------------------------------
   S = sqrt(n'/d) R_d (Q1 (x) Q2 (x) Q3), Qf = Haar(f, d_f, b_f), f = 0 leading; n' = b_1 b_2 b_3 >=
   max(n, d), x padded with zeros to n'; d_1 d_2 d_3 >= d. sketch_query() reports b_f and d_f. Its blocks
   are the slabs of equal leading index: slab a1 is a b_2 x b_3 matrix X, and acc += Q1[:,a1] (x) (Q2 X
   Q3^T); the trailing factor keeps the smallest share of rows and is contracted first. Products may be
   fused: equal between instruction sets to rounding. Cost: n d_3 multiply-adds (GEMM). Guarantee: needs a
   larger d (Theorem 3.3): 16 times AFFD's. Worst input: one coordinate; low rank. Schioppa 2024, eq. 8. */
enum { SKI_QK_B = 0, SKI_QK_R = 3, SKI_QK_WIDTH = 6 };    /* b_f, d_f; d_3 rounded up to a vector */

/* ceil(n^(1/k)), k = 2, 3 */
static uint64_t ski_root(uint64_t n, int k) {
    uint64_t r = (uint64_t)(k == 2 ? sqrt((double)n) : cbrt((double)n));
    while (r > 1 && (k == 2 ? (r - 1) * (r - 1) : (r - 1) * (r - 1) * (r - 1)) >= n) r--;
    while ((k == 2 ? r * r : r * r * r) < n) r++;
    return r;
}
/* A divisor of n in [r/2, 2r], nearest to r in ratio, smaller first; 0 if none */
static uint64_t ski_divisor_near(uint64_t n, uint64_t r) {
    uint64_t lo = r, hi = r + 1;
    for (;;) {
        const int down = lo && 2 * lo >= r, up = hi <= 2 * r;
        if (down && (!up || r * r <= lo * hi)) {
            if (n % lo == 0) return lo;
            lo--;
        } else if (up) {
            if (n % hi == 0) return hi;
            hi++;
        } else return 0;
    }
}
/* Three factors (two below 4096, one below 64), as equal as can be. A power of two is cut into powers of
   two; else divisors of n near the cube root are tried, so that nothing is padded; else the cube root
   rounded up. */
static void ski_qk_factors(uint64_t n, uint64_t b[3]) {
    const uint32_t parts = n < 64 ? 1 : n < 4096 ? 2 : 3;
    uint64_t rest = n, r;
    b[0] = b[1] = 1;
    b[2] = n;
    if (parts == 1) return;
    if (ski_is_pow2(n)) {
        uint32_t l = ski_log2(n);
        b[2] = (uint64_t)1 << l / parts;
        l -= l / parts;
        if (parts == 3) {
            b[1] = (uint64_t)1 << l / 2;
            l -= l / 2;
        }
        b[0] = (uint64_t)1 << l;
        return;
    }
    r = ski_root(n, (int)parts);
    b[2] = ski_divisor_near(n, r);
    if (parts == 3) {
        rest = b[2] ? n / b[2] : 0;
        b[1] = rest ? ski_divisor_near(rest, ski_root(rest, 2)) : 0;
        if (!b[1]) {
            b[2] = r;
            rest = (n + r - 1) / r;
            b[1] = ski_root(rest, 2);
        }
        b[0] = (rest + b[1] - 1) / b[1];
    } else {
        if (!b[2]) b[2] = r;
        b[0] = (n + b[2] - 1) / b[2];
    }
}
/* Smallest product >= d, then smallest sum; r[2] <= r[1] <= r[0] where that fits. Near the cube root
   first; then all. 0: impossible */
static int ski_qk_rows(uint64_t d, const uint64_t b[3], uint64_t r[3]) {
    const uint64_t root = ski_root(d, 3);
    uint64_t i, j, l, best = UINT64_MAX, sum = 0;
    int wide;
    for (wide = 0; wide < 2 && best == UINT64_MAX; wide++) {
        const uint64_t lo = wide ? 1 : (root + 1) / 2, hi = wide ? UINT64_MAX / 4 : 2 * root;
        for (i = SKI_MIN(lo, b[2]); i <= SKI_MIN(hi, b[2]); i++)
            for (j = SKI_MIN(SKI_MAX(lo, i), b[1]); j <= SKI_MIN(hi, b[1]); j++) {
                l = ((d + i - 1) / i + j - 1) / j;
                if (l > b[0] || i * j * l > best || (i * j * l == best && i + j + l >= sum)) continue;
                best = i * j * l;
                sum = i + j + l;
                r[0] = l;
                r[1] = j;
                r[2] = i;
            }
    }
    return best != UINT64_MAX;
}
static sketch_status ski_qk_setup(sketch_plan *p) {
    uint64_t b[3], r[3] = { 0, 0, 0 }, all;
    size_t f, w, *own = p->own;
    ski_qk_factors(SKI_MAX(p->desc.n, p->desc.d), b);
    all = b[0] * b[1] * b[2];
    if (!ski_qk_rows(p->desc.d, b, r)) return SKETCH_E_SIZE;
    for (f = 0; f < 3; f++) {
        if (b[f] > SKI_LIMIT || r[f] * b[f] > SKI_LIMIT / 4) return SKETCH_E_SIZE;
        own[SKI_QK_B + f] = (size_t)b[f];
        own[SKI_QK_R + f] = (size_t)r[f];
        p->info.factor_in[f] = b[f];
        p->info.factor_out[f] = r[f];
    }
    w = own[SKI_QK_WIDTH] = ski_round_up((size_t)r[2], 16);
    p->info.nfactors = 3;
    p->info.n_padded = all;
    p->info.scale = sqrt((double)all / (double)p->d);
    p->L = b[1] * b[2];
    p->N = (p->desc.n - 1) / p->L + 1;
    p->buf_len = (size_t)p->L;
    p->reads_raw = 1;
    p->batch = 1;
    p->acc_len = p->z_floats = (size_t)(r[0] * r[1]) * w;
    p->aux_floats = (size_t)(b[1] + r[1]) * w + (size_t)SKI_MAX(4 * b[2], 256);
    p->table_floats = (size_t)(r[0] * b[0] + 2 * r[1] * b[1] + r[2] * b[2]) + (size_t)(b[2] + 1) / 2 * 2 * w;
    return SKETCH_OK;
}
/* 0: Q1 [d_1][b_1], 1: Q2 [d_2][b_2], 2: Q2^T, 3: Q3 [d_3][b_3], 4: Q3^T [b_3][width] */
static const float *ski_qk_table(const sketch_plan *p, int which) {
    const size_t *b = p->own + SKI_QK_B, *r = p->own + SKI_QK_R;
    const float *t = p->table;
    if (which > 0) t += r[0] * b[0];
    if (which > 1) t += r[1] * b[1];
    if (which > 2) t += r[1] * b[1];
    if (which > 3) t += r[2] * b[2];
    return t;
}
static sketch_status ski_qk_fill(sketch_plan *p, float *table, void *diag) {
    const size_t *b = p->own + SKI_QK_B, *r = p->own + SKI_QK_R;
    float *at[5];
    sketch_status st;
    int i;
    (void)diag;
    for (i = 0; i < 5; i++) at[i] = table + (ski_qk_table(p, i) - p->table);
    st = ski_haar_table(p, 0, r[0], b[0], at[0], b[0], NULL, 0);
    if (st == SKETCH_OK) st = ski_haar_table(p, 1, r[1], b[1], at[1], b[1], at[2], r[1]);
    if (st == SKETCH_OK) st = ski_haar_table(p, 2, r[2], b[2], at[3], b[2], at[4], p->own[SKI_QK_WIDTH]);
    if (st == SKETCH_OK) p->k->thin_pack(at[4], b[2], p->own[SKI_QK_WIDTH]);
    return st;
}
static void ski_qk(const sketch_plan *p, ski_slot *s, uint64_t slab, size_t nb, size_t count) {
    const size_t *b = p->own + SKI_QK_B, *r = p->own + SKI_QK_R, w = p->own[SKI_QK_WIDTH], m = r[1] * w;
    float *u = s->aux, *v = u + b[1] * w;
    sketch_dtype type;
    const void *x = ski_input_of(s, 0, &type);
    size_t i;
    (void)nb;
    (void)count;
    p->k->thin(b[1], w, b[2], x, type, ski_qk_table(p, 4), u, v + m);
    p->k->gemm(r[1], w, b[1], ski_qk_table(p, 1), b[1], u, w, v, w);
    for (i = 0; i < r[0]; i++) p->k->axpy(s->acc + i * m, v, ski_qk_table(p, 0)[i * b[0] + (size_t)slab], m);
}
static void ski_qk_finish(const sketch_plan *p, ski_slot *s, const float *acc, float *y) {
    const size_t r = p->own[SKI_QK_R + 2], w = p->own[SKI_QK_WIDTH];
    size_t i;
    (void)s;
    for (i = 0; i < p->d; i++) y[i] = acc[i / r * w + i % r] * p->c;
}
static void ski_qk_begin_t(const sketch_plan *p, ski_slot *s, const float *y, float *z) {
    const size_t r = p->own[SKI_QK_R + 2], w = p->own[SKI_QK_WIDTH];
    size_t i;
    (void)s;
    memset(z, 0, p->acc_len * sizeof(float));
    for (i = 0; i < p->d; i++) z[i / r * w + i % r] = y[i] * p->c;
}
static void ski_qk_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t slab, float *x,
                     size_t count) {
    const size_t *b = p->own + SKI_QK_B, *r = p->own + SKI_QK_R, w = p->own[SKI_QK_WIDTH], m = r[1] * w;
    float *u = s->aux, *v = u + b[1] * w;
    size_t i;
    (void)count;
    memset(v, 0, m * sizeof(float));
    for (i = 0; i < r[0]; i++) p->k->axpy(v, z + i * m, ski_qk_table(p, 0)[i * b[0] + (size_t)slab], m);
    p->k->gemm(b[1], w, r[1], ski_qk_table(p, 2), r[1], v, w, u, w);
    p->k->gemm(b[1], b[2], r[2], u, w, ski_qk_table(p, 3), b[2], x, b[2]);
}

/* ---- FJL --------------------------------------------------------------------------------------------------
   (S_b x)_r = sqrt(L/(nnz d)) sum over k < nnz of g_k (H B_b x)[p_k], with m = (b d + r) nnz + k, g_k =
   Normal(SPARSE, 0, m), p_k = W(POSITION, 0, m) >> (32 - log2 L) (0 if L = 1). nnz: default ceil(log2
   L)^2, at least 1. Default L = 2^15, whatever d is. Cost: n log L additions and nnz d N look-ups. A
   baseline, with a fixed number of entries a row where the paper's have a random one. Ailon & Chazelle
   2009. */
static sketch_status ski_fjl_setup(sketch_plan *p) {
    sketch_status st = ski_set_block(p, 15, 1);
    uint32_t l = ski_log2(p->L);
    uint64_t entries;
    if (st != SKETCH_OK) return st;
    p->info.nnz = p->desc.nnz ? p->desc.nnz : SKI_MAX(l * l, 1);
    if (p->L > (uint64_t)1 << 32 || ski_mul_overflows(p->N, p->desc.d, &entries)) return SKETCH_E_SIZE;
    if (ski_mul_overflows(entries, p->info.nnz, &entries) || entries >> 62) return SKETCH_E_SIZE;
    p->row_floats = p->idx_words = 1024;
    p->norm = 1.0 / sqrt((double)p->L);
    p->info.scale = sqrt((double)p->L / ((double)p->info.nnz * (double)p->d));
    return SKETCH_OK;
}
/* Positions and normals m .. m + 1023, m a multiple of 1024 */
static void ski_fjl_numbers(const sketch_plan *p, ski_slot *s, uint64_t m) {
    const ski_rng g = ski_rng_of(p, SKI_SPARSE, 0), w = ski_rng_of(p, SKI_POSITION, 0);
    uint32_t shift = 32 - ski_log2(p->L), i;
    p->k->normals(s->row, m, 1024, &g);
    for (i = 0; i < 1024; i += 64) p->k->words(s->idx + i, &w, m / 64 + i / 64);
    for (i = 0; i < 1024; i++) s->idx[i] = shift == 32 ? 0 : s->idx[i] >> shift;
}
/* Gs times the blocks at s->buf into acc; or (x not NULL) x += Gs^T z */
static void ski_fjl_sparse(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, const float *z,
                           float *x) {
    uint64_t m = b * p->d * p->info.nnz;
    size_t r, v, L = (size_t)p->L;
    uint32_t k;
    int first = 1;
    for (r = 0; r < p->d; r++) {
        float sum[SKI_MAX_BATCH] = { 0 };
        for (k = 0; k < p->info.nnz; k++, m++) {
            const uint32_t at = (uint32_t)(m % 1024);
            if (at == 0 || first) ski_fjl_numbers(p, s, m - at);
            first = 0;
            if (x) {
                float t = s->row[at] * z[r];
                x[s->idx[at]] += t;
            } else
                for (v = 0; v < nb; v++) {
                    float t = s->row[at] * s->buf[v * L + s->idx[at]];
                    sum[v] += t;
                }
        }
        for (v = 0; !x && v < nb; v++) s->acc[v * p->acc_len + r] += sum[v];
    }
}
static void ski_fjl(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    size_t v;
    (void)count;
    for (v = 0; v < nb; v++) ski_hb(p, s->x[v], s->buf + v * p->L, b);
    ski_fjl_sparse(p, s, b, nb, NULL, NULL);
}
static void ski_fjl_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x, size_t count) {
    (void)count;
    memset(x, 0, (size_t)p->L * sizeof(float));
    ski_fjl_sparse(p, s, b, 1, z, x);
    ski_bh(p, x, b);
}

/* ---- FFD --------------------------------------------------------------------------------------------------
   L = D, the next power of two of d. S_b = sqrt(D/d) R_d B_b H Pi_b^T G_b H, (Pi_b^T u)[a[j]] = u[j] with
   a = Permutation(SHUFFLE, 0, b D, D); G_b: Normal(DIAG, 0, b D + j). Fastfood's transpose (Le, Sarlos &
   Smola 2013). Cost: n log d additions, n normals, look-ups. A baseline, and not a valid sketch. Worst
   input: a Walsh row of length D in one block (Schioppa 2024, Theorem 3.1). */
static sketch_status ski_ffd_setup(sketch_plan *p) {
    sketch_status st = ski_set_block(p, 0, p->desc.d);
    if (st != SKETCH_OK || p->L > (uint64_t)1 << 32) return SKETCH_E_SIZE;
    p->idx_words = p->aux_floats = p->z_floats = (size_t)p->L;
    p->row_floats = SKI_TRAILING;
    p->norm = 1.0 / (double)p->L;
    p->info.scale = sqrt((double)p->L / (double)p->d);
    return SKETCH_OK;
}
static void ski_ffd_shuffle(const sketch_plan *p, ski_slot *s, uint64_t b) {
    ski_rng g = ski_rng_of(p, SKI_SHUFFLE, 0);
    ski_permutation(p, &g, b * p->L, (size_t)p->L, s->idx);
}
/* x[v gap + j] *= G_b's entry j for nb vectors */
static void ski_ffd_diag(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, float *x) {
    const ski_rng g = ski_rng_of(p, SKI_DIAG, 0);
    size_t D = (size_t)p->L, j, v;
    for (j = 0; j < D; j += SKI_TRAILING) {
        const size_t n = SKI_MIN(D - j, (size_t)SKI_TRAILING);
        p->k->normals(s->row, b * p->L + j, n, &g);
        for (v = 0; v < nb; v++) p->k->mul(x + v * D + j, x + v * D + j, s->row, n);
    }
}
static void ski_ffd(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    size_t D = (size_t)p->L, i, v;
    (void)count;
    ski_ffd_shuffle(p, s, b);
    for (v = 0; v < nb; v++) {
        float *u = s->buf + v * D;
        if (s->x[v] != u) memcpy(u, s->x[v], D * sizeof(float));
        p->k->wht(u, D, 1);
    }
    ski_ffd_diag(p, s, b, nb, s->buf);
    for (v = 0; v < nb; v++) {
        for (i = 0; i < D; i++) s->aux[s->idx[i]] = s->buf[v * D + i];
        ski_bh(p, s->aux, b);
        p->k->add(s->acc + v * p->acc_len, s->aux, p->d);
    }
}
static void ski_ffd_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x, size_t count) {
    size_t D = (size_t)p->L, i;
    (void)count;
    ski_ffd_shuffle(p, s, b);
    ski_signs(p, z, s->aux, b);
    p->k->wht(s->aux, D, 1);
    for (i = 0; i < D; i++) x[i] = s->aux[s->idx[i]];
    ski_ffd_diag(p, s, b, 1, x);
    p->k->wht(x, D, 1);
}

/* ---- SRHT -------------------------------------------------------------------------------------------------
   S_b = sqrt(L/d) P_b H B_b, P_b: d distinct rows: a = (0..L-1); for k = 0..d-1: swap a[k] and a[k +
   Below(W(ROWS, 0, b L + k), L - k)]; row k is a[k]. Default L = 2^15. Cost: n log L additions, d N
   look-ups. Guarantee: every x. Worst input: none known. Tropp 2011; RandBLAS. */
static sketch_status ski_srht_setup(sketch_plan *p) {
    sketch_status st = ski_set_block(p, 15, p->desc.d);
    if (st != SKETCH_OK || p->L > (uint64_t)1 << 32) return SKETCH_E_SIZE;
    p->idx_words = (size_t)p->L + p->d;
    p->norm = 1.0 / sqrt((double)p->L);
    p->info.scale = sqrt((double)p->L / (double)p->d);
    return SKETCH_OK;
}
/* The index array is the identity between blocks: swaps are undone. */
static void ski_srht_begin(const sketch_plan *p, ski_slot *s) {
    size_t j;
    for (j = 0; j < (size_t)p->L; j++) s->idx[j] = (uint32_t)j;
}
static void ski_srht_swap(uint32_t *a, size_t k, size_t with) {
    uint32_t t = a[k];
    a[k] = a[with];
    a[with] = t;
}
static void ski_srht_rows(const sketch_plan *p, ski_slot *s, uint64_t b) {
    const ski_rng g = ski_rng_of(p, SKI_ROWS, 0);
    uint32_t *swapped = s->idx + p->L, w[64];
    size_t k;
    for (k = 0; k < p->d; k++) {
        const uint64_t m = b * p->L + k;
        if (k == 0 || m % 64 == 0) p->k->words(w, &g, m / 64);
        swapped[k] = (uint32_t)k + ski_below(w[m % 64], p->L - k);
        ski_srht_swap(s->idx, k, swapped[k]);
    }
}
static void ski_srht_undo(const sketch_plan *p, ski_slot *s) {
    size_t k;
    for (k = p->d; k-- > 0;) ski_srht_swap(s->idx, k, s->idx[p->L + k]);
}
static void ski_srht(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    size_t L = (size_t)p->L, k, v;
    (void)count;
    for (v = 0; v < nb; v++) ski_hb(p, s->x[v], s->buf + v * L, b);
    ski_srht_rows(p, s, b);
    for (v = 0; v < nb; v++)
        for (k = 0; k < p->d; k++) s->acc[v * p->acc_len + k] += s->buf[v * L + s->idx[k]];
    ski_srht_undo(p, s);
}
static void ski_srht_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x,
                       size_t count) {
    size_t k;
    (void)count;
    memset(x, 0, (size_t)p->L * sizeof(float));
    ski_srht_rows(p, s, b);
    for (k = 0; k < p->d; k++) x[s->idx[k]] = z[k];
    ski_srht_undo(p, s);
    ski_bh(p, x, b);
}

/* ---- dense ------------------------------------------------------------------------------------------------
   S_ri = d^(-1/2) E(r, i), E = Normal (or Sign) (DENSE, r div 512, 512 i + (r mod 512)). Made on the fly,
   never stored: n d / 8 Philox calls (signs: / 128). The classic guarantee; the reference (TRAK,
   RandBLAS, scikit-learn). Blocks, of min(2^15, next power of two of n), are for the sums alone;
   coordinate after coordinate is added. */
static sketch_status ski_dense_setup(sketch_plan *p) {
    sketch_status st = ski_set_block(p, 15, 1);
    /* 512 n is a 64-bit index */
    if (st != SKETCH_OK || p->desc.n > (uint64_t)1 << 55) return SKETCH_E_SIZE;
    p->acc_len = p->z_floats = ski_round_up(p->d, 512);
    p->info.scale = 1.0 / sqrt((double)p->d);
    return SKETCH_OK;
}
static void ski_dense(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    const ski_rng g = ski_rng_of(p, SKI_DENSE, 0);
    p->k->dense(p->desc.diag, &g, b * p->L, count, p->d, nb, s->x, s->acc, p->acc_len);
}
static void ski_dense_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x,
                        size_t count) {
    const ski_rng g = ski_rng_of(p, SKI_DENSE, 0);
    (void)s;
    p->k->dense_t(p->desc.diag, &g, b * p->L, count, p->d, z, x);
}

/* ---- SJLT -------------------------------------------------------------------------------------------------
   Coordinate i, nonzero k < s = nnz (default min(8, d)): w = W(HASH, k, i); row = lo + (((w >> 1) (hi -
   lo)) >> 31) with lo = floor(k d/s), hi = floor((k+1) d/s); value -1/sqrt(s) if w is odd, else
   1/sqrt(s). nnz = 1: CountSketch. Blocks as dense's. In a block k after k within runs of 128
   coordinates. Cost: nnz random adds a coordinate. Guarantee: every x at nnz = 8. Worst input: e_i + e_j
   that collide, at nnz = 1. Kane & Nelson 2014; Charikar, Chen & Farach-Colton 2002. */
static sketch_status ski_sjlt_setup(sketch_plan *p) {
    sketch_status st = ski_set_block(p, 15, 1);
    p->info.nnz = p->desc.nnz ? p->desc.nnz : (uint32_t)SKI_MIN(8, p->desc.d);
    if (p->info.nnz > p->desc.d) return SKETCH_E_ARG;
    if (st != SKETCH_OK || p->desc.d > (uint64_t)1 << 31) return SKETCH_E_SIZE;
    p->reads_raw = 1;
    p->info.scale = 1.0 / sqrt((double)p->info.nnz);
    return SKETCH_OK;
}
static void ski_sjlt(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    const ski_rng g = ski_rng_of(p, SKI_HASH, 0);
    const void *x[SKI_MAX_BATCH];
    sketch_dtype type = SKETCH_F32;
    size_t v;
    for (v = 0; v < nb; v++) x[v] = ski_input_of(s, v, &type);
    p->k->sjlt(&g, b * p->L, count, p->d, p->info.nnz, nb, x, type, s->acc, p->acc_len);
}
static void ski_sjlt_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x,
                       size_t count) {
    const ski_rng g = ski_rng_of(p, SKI_HASH, 0);
    (void)s;
    p->k->sjlt_t(&g, b * p->L, count, p->d, p->info.nnz, z, x);
}

/* ---- MASK -------------------------------------------------------------------------------------------------
   Row r is one coordinate of the r-th of d runs: with lo = floor(r n/d), len = floor((r+1) n/d) - lo, it
   is sqrt(n/d) sqrt(len d/n) x[lo + Below(W(ROWS, 0, r), len)]; 0 where len = 0 (d > n). Every coordinate
   is as likely as the others of its run, so E |S x|^2 = |x|^2. Blocks as dense's. Cost: O(d + n/L). No
   guarantee. Worst input: one coordinate (spread sqrt(n/d)). GraSS's random mask, stratified so that it
   streams and shards. */
static sketch_status ski_mask_setup(sketch_plan *p) {
    sketch_status st = ski_set_block(p, 15, 1);
    if (st != SKETCH_OK || p->desc.d > (uint64_t)1 << 31 || p->desc.n / p->desc.d >> 31) return SKETCH_E_SIZE;
    p->reads_raw = 1;
    p->info.scale = sqrt((double)p->desc.n / (double)p->d);
    return SKETCH_OK;
}
static uint64_t ski_mask_run(const sketch_plan *p, uint64_t r) {
    return ski_floor_part(p->desc.n, r, p->desc.d);
}
/* The row whose run holds coordinate i */
static uint64_t ski_mask_row(const sketch_plan *p, uint64_t i) {
    uint64_t lo = 0, hi = p->desc.d;
    while (hi - lo > 1) {
        const uint64_t r = lo + (hi - lo) / 2;
        if (ski_mask_run(p, r) <= i) lo = r;
        else hi = r;
    }
    return lo;
}
/* Row r's value, without c, and its coordinate; 0: it has none */
static float ski_mask_entry(const sketch_plan *p, uint64_t r, uint64_t *at) {
    const ski_rng g = ski_rng_of(p, SKI_ROWS, 0);
    const uint64_t lo = ski_mask_run(p, r), len = ski_mask_run(p, r + 1) - lo;
    *at = lo + ski_below(ski_word(&g, r), len);
    return (float)sqrt((double)len * (double)p->desc.d / (double)p->desc.n);
}
static void ski_mask(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    const uint64_t first = b * p->L, end = first + count;
    uint64_t r = ski_mask_row(p, first), at;
    size_t v;
    for (; r < p->desc.d && ski_mask_run(p, r) < end; r++) {
        const float value = ski_mask_entry(p, r, &at);
        for (v = 0; v < nb && value != 0.0f && at >= first && at < end; v++) {
            sketch_dtype type;
            const void *x = ski_input_of(s, v, &type);
            float xi;
            p->k->load(&xi, x, at - first, type, 1);
            s->acc[v * p->acc_len + r] = value * xi;
        }
    }
}
static void ski_mask_t(const sketch_plan *p, ski_slot *s, const float *z, uint64_t b, float *x,
                       size_t count) {
    const uint64_t first = b * p->L, end = first + count;
    uint64_t r = ski_mask_row(p, first), at;
    (void)s;
    memset(x, 0, count * sizeof(float));
    for (; r < p->desc.d && ski_mask_run(p, r) < end; r++) {
        const float value = ski_mask_entry(p, r, &at);
        if (value != 0.0f && at >= first && at < end) x[at - first] = value * z[r];
    }
}

/* ---- the table ----------------------------------------------------------------------------------------- */
static const ski_operator ski_operators[] = {
    { SKETCH_AFFD, SKI_HAS_PRECOND | SKI_HAS_DIAG | SKI_HAS_BLOCK | SKI_PADS, SKETCH_GAUSSIAN,
      ski_affd_setup, ski_affd_fill, NULL, ski_affd, ski_affd_finish, ski_affd_begin_t, ski_affd_t },
    { SKETCH_AFJL, SKI_HAS_PRECOND | SKI_HAS_DIAG | SKI_HAS_BLOCK | SKI_PADS, SKETCH_RADEMACHER,
      ski_afjl_setup, ski_afjl_fill, NULL, ski_afjl, ski_afjl_finish, ski_afjl_begin_t, ski_afjl_t },
    { SKETCH_QK, SKI_PADS, SKETCH_DIAG_DEFAULT,
      ski_qk_setup, ski_qk_fill, NULL, ski_qk, ski_qk_finish, ski_qk_begin_t, ski_qk_t },
    { SKETCH_FJL, SKI_HAS_BLOCK | SKI_HAS_NNZ | SKI_PADS, SKETCH_DIAG_DEFAULT,
      ski_fjl_setup, NULL, NULL, ski_fjl, NULL, NULL, ski_fjl_t },
    { SKETCH_FFD, SKI_PADS, SKETCH_DIAG_DEFAULT,
      ski_ffd_setup, NULL, NULL, ski_ffd, NULL, NULL, ski_ffd_t },
    { SKETCH_DENSE, SKI_HAS_DIAG, SKETCH_GAUSSIAN,
      ski_dense_setup, NULL, NULL, ski_dense, NULL, NULL, ski_dense_t },
    { SKETCH_SJLT, SKI_HAS_NNZ, SKETCH_DIAG_DEFAULT,
      ski_sjlt_setup, NULL, NULL, ski_sjlt, NULL, NULL, ski_sjlt_t },
    { SKETCH_SRHT, SKI_HAS_BLOCK | SKI_PADS, SKETCH_DIAG_DEFAULT,
      ski_srht_setup, NULL, ski_srht_begin, ski_srht, NULL, NULL, ski_srht_t },
    { SKETCH_MASK, 0, SKETCH_DIAG_DEFAULT,
      ski_mask_setup, NULL, NULL, ski_mask, NULL, NULL, ski_mask_t },
};
static const ski_operator *ski_operator_of(sketch_algo algo) {
    size_t i;
    for (i = 0; i < sizeof ski_operators / sizeof *ski_operators; i++)
        if (ski_operators[i].algo == algo) return &ski_operators[i];
    return NULL;
}

/* // >>apply =======================================================================================
   A run is a range of blocks, fed in order to ski_run_block; whole chunks are finished into the tree, and
   ski_run_end gives the sum of what there was, [nb, d]. The tree is the balanced one over chunk numbers,
   so a run that is a subtree gives the bits of that subtree. */
static uint64_t ski_chunk_start(const sketch_plan *p, uint32_t c) {
    return ski_floor_part(p->N, c, p->chunks);
}

/* The chunk that holds block b */
static uint32_t ski_chunk_of(const sketch_plan *p, uint64_t b) {
    uint32_t lo = 0, hi = p->chunks;
    while (hi - lo > 1) {
        const uint32_t c = lo + (hi - lo) / 2;
        if (ski_chunk_start(p, c) <= b) lo = c;
        else hi = c;
    }
    return lo;
}

static void ski_run_begin(ski_slot *s) {
    s->open = 0;
    s->top = 0;
    s->chunk = s->first_chunk = UINT32_MAX;
    s->chunk_end = 0;
}

/* lifts the newest entry one level, onto its left sibling if that is not empty */
static void ski_run_rise(const sketch_plan *p, ski_slot *s, size_t nb) {
    uint32_t e = s->top - 1, level = s->level[e], index = s->index[e];
    SKI_ASSERT(s->top > 0);
    if ((index & 1) && (uint64_t)index << level > s->first_chunk) {
        p->k->add(s->tree + (e - 1) * nb * p->d, s->tree + e * nb * p->d, nb * p->d);
        e = --s->top - 1;
    }
    s->level[e] = level + 1;
    s->index[e] = index >> 1;
}
/* closes the open chunk */
static void ski_run_leaf(const sketch_plan *p, ski_slot *s, size_t nb) {
    size_t v;
    SKI_ASSERT(s->open && s->top <= SKI_MAX_LEVELS);
    for (v = 0; v < nb; v++) {
        const float *acc = s->acc + v * p->acc_len;
        float *y = s->tree + (s->top * nb + v) * p->d;
        if (p->op->finish) p->op->finish(p, s, acc, y);
        else p->k->scale(y, acc, p->c, p->d);
    }
    s->level[s->top] = 0;
    s->index[s->top] = s->chunk;
    s->top++;
    s->open = 0;
    while (s->index[s->top - 1] & 1) ski_run_rise(p, s, nb);
}
static void ski_run_block(const sketch_plan *p, ski_slot *s, uint64_t b, size_t nb, size_t count) {
    if (!s->open) {
        if (s->first_chunk == UINT32_MAX) {
            s->first_chunk = s->chunk = ski_chunk_of(p, b);
        } else s->chunk++;
        s->chunk_end = ski_chunk_start(p, s->chunk + 1);
        memset(s->acc, 0, nb * p->acc_len * sizeof(float));
        s->open = 1;
    }
    p->op->block(p, s, b, nb, count);
    if (b + 1 == s->chunk_end) ski_run_leaf(p, s, nb);
}
/* NULL: the run was empty */
static float *ski_run_end(const sketch_plan *p, ski_slot *s, size_t nb) {
    if (s->open) ski_run_leaf(p, s, nb);
    if (!s->top) return NULL;
    while (s->top > 1) ski_run_rise(p, s, nb);
    return s->tree;
}

/* one call of accumulate */
typedef struct ski_job {
    const sketch_plan *p;
    sketch_work *w;
    const sketch_tensor *t;
    size_t   nt, batch, ystride, sample;  /* sample, nb: the tile at hand when chunks are dealt to tasks */
    size_t   nb;
    uint64_t offset, count;
    uint32_t tasks;
    float   *y;
} ski_job;

/* a tensor, and where it begins; blocks come in order */
typedef struct ski_cursor {
    size_t i;
    uint64_t at;
} ski_cursor;

/* where vector v's block goes if it must be copied */
static float *ski_input(const sketch_plan *p, const ski_slot *s, size_t v) {
    return s->buf + (v + 1) * p->buf_len - (size_t)p->L;
}
static const float *ski_fetch(const ski_job *j, ski_slot *s, size_t sample, size_t v, uint64_t b,
                              size_t *count, ski_cursor *from_here) {
    const sketch_plan *p = j->p;
    uint64_t start = b * p->L, block_end = SKI_MIN(start + p->L, p->desc.n), lo = SKI_MAX(start, j->offset),
             hi = SKI_MIN(block_end, j->offset + j->count), at;
    int pads = (p->op->traits & SKI_PADS) != 0;
    float *buf = ski_input(p, s, v);
    size_t i;
    *count = (size_t)(block_end - start);
    s->next = NULL;
    if (lo > start) memset(buf, 0, (size_t)(lo - start) * sizeof(float));
    for (; from_here->i < j->nt && from_here->at + j->t[from_here->i].count <= lo; from_here->i++)
        from_here->at += j->t[from_here->i].count;
    for (i = from_here->i, at = from_here->at; i < j->nt && at < hi; i++) {
        const sketch_tensor *t = &j->t[i];
        uint64_t from = SKI_MAX(at, lo), to = SKI_MIN(at + t->count, hi),
                 first = (t->stride ? t->stride : t->count) * sample;
        if (from < to) {
            if (to == block_end && at + t->count - to >= p->L) {
                s->next_size = ski_size(t->dtype);
                s->next = (const char *)t->data + (first + (to - at)) * s->next_size;
            }
            if (t->dtype == SKETCH_F32 && from == start && to == block_end && (!pads || to - from == p->L))
                return (const float *)t->data + first + (from - at);
            if (t->dtype != SKETCH_F32 && to - from == p->L && p->reads_raw) {
                s->raw[v] = (const char *)t->data + (first + (from - at)) * ski_size(t->dtype);
                s->raw_type = t->dtype;
                return NULL;
            }
            p->k->load(buf + (from - start), t->data, first + (from - at), t->dtype, (size_t)(to - from));
        }
        at += t->count;
    }
    if (hi < start + p->L) memset(buf + (hi - start), 0, (size_t)(start + p->L - hi) * sizeof(float));
    return buf;
}

/* chunks c0 .. c1-1 of nb samples */
static float *ski_run(const ski_job *j, ski_slot *s, size_t sample, size_t nb, uint32_t c0, uint32_t c1) {
    const sketch_plan *p = j->p;
    uint64_t b = SKI_MAX(ski_chunk_start(p, c0), j->offset / p->L),
             end = SKI_MIN(ski_chunk_start(p, c1), (j->offset + j->count - 1) / p->L + 1);
    ski_cursor here;
    here.i = 0;
    here.at = j->offset;
    ski_run_begin(s);
    for (; b < end; b++) {
        size_t v, count = 0;
        for (v = nb; v-- > 0;) s->x[v] = ski_fetch(j, s, sample + v, v, b, &count, &here);
        ski_run_block(p, s, b, nb, count);
    }
    return ski_run_end(p, s, nb);
}
static void ski_add_rows(const ski_job *j, size_t sample, size_t nb, const float *sum) {
    size_t v;
    for (v = 0; v < nb; v++) j->p->k->add(j->y + (sample + v) * j->ystride, sum + v * j->p->d, j->p->d);
}
/* samples are dealt to tasks */
static void ski_task_batch(void *arg, uint32_t task) {
    const ski_job *j = (const ski_job *)arg;
    size_t i;
    for (i = task * j->nb; i < j->batch; i += j->tasks * j->nb) {
        size_t nb = SKI_MIN(j->nb, j->batch - i);
        ski_add_rows(j, i, nb, ski_run(j, &j->w->slots[task], i, nb, 0, j->p->chunks));
    }
}
/* aligned runs of chunks are dealt to tasks */
static void ski_task_chunks(void *arg, uint32_t task) {
    ski_job *j = (ski_job *)arg;
    uint32_t each = j->p->chunks / j->tasks;
    j->w->slots[task].sum = ski_run(j, &j->w->slots[task], j->sample, j->nb, task * each, (task + 1) * each);
}
static void ski_parallel(const sketch_plan *p, uint32_t tasks, sketch_task_fn fn, void *arg) {
    if (tasks > 1 && p->desc.threads.parallel_for)
        p->desc.threads.parallel_for(p->desc.threads.user, tasks, fn, arg);
    else {
        uint32_t i;
        for (i = 0; i < tasks; i++) fn(arg, i);
    }
}

static int ski_dtype_ok(sketch_dtype t) { return t >= SKETCH_F32 && t <= SKETCH_F64; }

static int ski_finite(const void *x, uint64_t first, sketch_dtype t, uint64_t n) {
    uint64_t i;
    uint32_t bad = 0, mask;
    if (!n) return 1;
    /* exponent bits, so that the loops vectorise */
    switch (t) {
    case SKETCH_F32: {
        const float *p = (const float *)x + first;
        for (i = 0; i < n; i++) {
            uint32_t u;
            memcpy(&u, p + i, 4);
            bad |= (u & 0x7f800000u) == 0x7f800000u;
        }
        return !bad; }
    case SKETCH_F64: {
        const double *p = (const double *)x + first;
        for (i = 0; i < n; i++) {
            float f = (float)p[i];
            uint32_t u;
            memcpy(&u, &f, 4);
            bad |= (u & 0x7f800000u) == 0x7f800000u;
        }
        return !bad; }
    default: {
        const uint16_t *p = (const uint16_t *)x + first;
        mask = t == SKETCH_BF16 ? 0x7f80u : 0x7c00u;
        for (i = 0; i < n; i++) bad |= (p[i] & mask) == mask;
        return !bad; }
    }
}

/* rows of at most f64 can exist */
static int ski_fits_rows(uint64_t rows, uint64_t stride) {
    return rows && (!stride || rows <= SIZE_MAX / 16 / stride);
}

/* Checks everything, then works. x: nt tensors that together are S's columns offset ...; all: the whole of
   S, and y is to be zero first, or on error. */
static sketch_status ski_accum(const sketch_plan *p, const sketch_tensor *x, size_t nt, uint64_t offset,
                               int all, size_t batch, float *y, size_t y_stride, sketch_work *w) {
    ski_job j;
    size_t i, s;
    if (all && p && y && (!y_stride || y_stride >= p->d) && ski_fits_rows(batch, y_stride ? y_stride : p->d))
        for (i = 0; i < batch; i++) memset(y + i * (y_stride ? y_stride : p->d), 0, p->d * sizeof(float));
    if (!p || !x || !y || !w || !batch) return SKETCH_E_ARG;
    if (w->plan != p || w->stream_y) return SKETCH_E_STATE;
    if (!ski_fits_rows(batch, SKI_MAX(y_stride, p->d))) return SKETCH_E_SIZE;
    memset(&j, 0, sizeof j);
    for (i = 0; i < nt; i++) {
        if (!ski_dtype_ok(x[i].dtype) || (x[i].count && !x[i].data)) return SKETCH_E_ARG;
        if ((x[i].stride && x[i].stride < x[i].count) || x[i].count > p->desc.n - j.count
            || !ski_fits_rows(batch, SKI_MAX(x[i].stride, x[i].count)))
            return SKETCH_E_SIZE;
        j.count += x[i].count;
    }
    if (offset > p->desc.n || j.count > p->desc.n - offset || (all && j.count != p->desc.n)
        || (y_stride && y_stride < p->d))
        return SKETCH_E_SIZE;
    if (!j.count) return SKETCH_OK;
    if (p->desc.check_finite)
        for (i = 0; i < nt; i++) for (s = 0; s < batch; s++)
                if (!ski_finite(x[i].data, (x[i].stride ? x[i].stride : x[i].count) * s, x[i].dtype,
                                x[i].count))
                    return SKETCH_E_NONFINITE;
    j.p = p;
    j.w = w;
    j.t = x;
    j.nt = nt;
    j.batch = batch;
    j.ystride = y_stride ? y_stride : p->d;
    j.offset = offset;
    j.y = y;
    j.nb = w->nb;
    j.tasks = ski_chunk_tasks(p);
    if (j.tasks == 1 || batch >= ski_width(p)) {
        j.tasks = (uint32_t)SKI_MIN(SKI_MIN((size_t)ski_width(p), w->nslots), batch);
        j.nb = SKI_MIN(w->nb, (batch - 1) / j.tasks + 1);
        ski_parallel(p, j.tasks, ski_task_batch, &j);
        return SKETCH_OK;
    }
    for (j.sample = 0; j.sample < batch; j.sample += j.nb) {
        uint32_t step, t;
        j.nb = SKI_MIN(w->nb, batch - j.sample);
        ski_parallel(p, j.tasks, ski_task_chunks, &j);
        for (step = 1; step < j.tasks; step *= 2)
            for (t = 0; t < j.tasks; t += 2 * step) {
                float *left = w->slots[t].sum, *right = w->slots[t + step].sum;
                if (!left) w->slots[t].sum = right;
                else if (right) p->k->add(left, right, j.nb * p->d);
            }
        ski_add_rows(&j, j.sample, j.nb, w->slots[0].sum);
    }
    return SKETCH_OK;
}

SKETCH_API sketch_status sketch_accum(const sketch_plan *plan, const sketch_tensor *x, uint64_t offset,
                                      size_t batch, float *y, size_t y_stride, sketch_work *work) {
    return ski_accum(plan, x, 1, offset, 0, batch, y, y_stride, work);
}
SKETCH_API sketch_status sketch_apply_tensors(const sketch_plan *plan, const sketch_tensor *x,
                                              size_t ntensors, size_t batch, float *y, size_t y_stride,
                                              sketch_work *work) {
    return ski_accum(plan, x, ntensors, 0, 1, batch, y, y_stride, work);
}
SKETCH_API sketch_status sketch_apply_batch(const sketch_plan *plan, const void *x, sketch_dtype dtype,
                                            size_t batch, size_t x_stride, float *y, size_t y_stride,
                                            sketch_work *work) {
    sketch_tensor t;
    t.data = x;
    t.count = plan ? plan->desc.n : 0;
    t.stride = x_stride;
    t.dtype = dtype;
    return sketch_apply_tensors(plan, &t, 1, batch, y, y_stride, work);
}
SKETCH_API sketch_status sketch_apply(const sketch_plan *plan, const void *x, sketch_dtype dtype, float *y,
                                      sketch_work *work) {
    return sketch_apply_batch(plan, x, dtype, 1, 0, y, 0, work);
}

/* stream: the block buffer of slot 0 fills up */
SKETCH_API sketch_status sketch_stream_begin(sketch_work *work, float *y) {
    if (!work || !y) return SKETCH_E_ARG;
    if (work->stream_y) return SKETCH_E_STATE;
    memset(y, 0, work->plan->d * sizeof(float));
    work->stream_y = y;
    work->pushed = 0;
    ski_run_begin(&work->slots[0]);
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_stream_push(sketch_work *work, const void *x, sketch_dtype dtype,
                                            uint64_t count) {
    const sketch_plan *p;
    ski_slot *s;
    float *buf;
    uint64_t done = 0;
    if (!work || (!x && count) || !ski_dtype_ok(dtype)) return SKETCH_E_ARG;
    if (!work->stream_y) return SKETCH_E_STATE;
    p = work->plan;
    s = &work->slots[0];
    buf = ski_input(p, s, 0);
    if (count > p->desc.n - work->pushed) return SKETCH_E_SIZE;
    if (p->desc.check_finite && !ski_finite(x, 0, dtype, count)) {
        work->stream_y = NULL;
        return SKETCH_E_NONFINITE;
    }
    while (done < count) {
        uint64_t at = work->pushed % p->L, room = SKI_MIN(p->L - at, p->desc.n - work->pushed),
                 take = SKI_MIN(room, count - done);
        const float *direct = NULL;
        if (take == p->L && dtype == SKETCH_F32) direct = (const float *)x + done;
        else p->k->load(buf + at, x, done, dtype, (size_t)take);
        done += take;
        work->pushed += take;
        if (take == room) {
            if (!direct) memset(buf + at + take, 0, (size_t)(p->L - at - take) * sizeof(float));
            s->x[0] = direct ? direct : buf;
            s->next_size = ski_size(dtype);
            s->next = count - done >= p->L ? (const char *)x + done * s->next_size : NULL;
            ski_run_block(p, s, (work->pushed - 1) / p->L, 1, (size_t)(at + take));
        }
    }
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_stream_end(sketch_work *work) {
    const sketch_plan *p;
    float *y;
    if (!work) return SKETCH_E_ARG;
    if (!work->stream_y) return SKETCH_E_STATE;
    p = work->plan;
    y = work->stream_y;
    work->stream_y = NULL;
    if (work->pushed != p->desc.n) return SKETCH_E_SIZE;
    p->k->add(y, ski_run_end(p, &work->slots[0], 1), p->d);
    return SKETCH_OK;
}

SKETCH_API sketch_status sketch_shard(const sketch_plan *plan, uint32_t rank, uint32_t world,
                                      uint64_t *offset, uint64_t *count) {
    uint64_t b0, b1;
    if (offset) *offset = 0;
    if (count) *count = 0;
    if (!plan || !offset || !count || rank >= world) return SKETCH_E_ARG;
    b0 = ski_floor_part(plan->N, rank, world);
    b1 = ski_floor_part(plan->N, (uint64_t)rank + 1, world);
    *offset = SKI_MIN(b0 * plan->L, plan->desc.n);
    *count = SKI_MIN(b1 * plan->L, plan->desc.n) - *offset;
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_shard_reduce(const sketch_plan *plan, float *ys, uint32_t world, float *y) {
    uint64_t step, t;
    if (plan && y) memset(y, 0, plan->d * sizeof(float));
    if (!plan || !ys || !y || !world) return SKETCH_E_ARG;
    for (step = 1; step < world; step *= 2)
        for (t = 0; t + step < world; t += 2 * step)
            plan->k->add(ys + t * plan->d, ys + (t + step) * plan->d, plan->d);
    plan->k->add(y, ys, plan->d);
    return SKETCH_OK;
}

/* adjoint */
typedef struct ski_job_t {
    const sketch_plan *p;
    sketch_work *w;
    uint64_t offset, count;
    uint32_t tasks;
    float alpha, beta;
    void *x;
    sketch_dtype dtype;
} ski_job_t;

/* x = beta x + alpha v */
static void ski_write(void *x, uint64_t first, sketch_dtype t, const float *v, size_t n, float alpha,
                      float beta) {
    float *f = (float *)x;
    uint16_t *h = (uint16_t *)x;
    double *q = (double *)x;
    size_t i;
#define SKI_WRITE_AS(p, get, put) \
    do { \
        if (beta == 0.0f) \
            for (i = 0; i < n; i++) { \
                float r = alpha * v[i]; \
                (p)[first + i] = put(r); \
            } \
        else \
            for (i = 0; i < n; i++) { \
                float r = alpha * v[i], old = beta * get((p)[first + i]); \
                r = old + r; \
                (p)[first + i] = put(r); \
            } \
    } while (0)
#define SKI_BF16_GET(b) ski_f32_of_bits((uint32_t)(b) << 16)
    switch (t) {
    case SKETCH_F32: SKI_WRITE_AS(f, (float), (float)); break;
    case SKETCH_F64: SKI_WRITE_AS(q, (float), (double)); break;
    case SKETCH_F16: SKI_WRITE_AS(h, ski_f32_of_f16, ski_f16_of_f32); break;
    case SKETCH_BF16: SKI_WRITE_AS(h, SKI_BF16_GET, ski_bf16_of_f32); break;
    }
#undef SKI_BF16_GET
#undef SKI_WRITE_AS
}
static void ski_task_t(void *arg, uint32_t task) {
    const ski_job_t *j = (const ski_job_t *)arg;
    const sketch_plan *p = j->p;
    ski_slot *s = &j->w->slots[task];
    uint64_t b0 = j->offset / p->L, nblocks = (j->offset + j->count - 1) / p->L + 1 - b0, b;
    for (b = b0 + ski_floor_part(nblocks, task, j->tasks);
         b < b0 + ski_floor_part(nblocks, (uint64_t)task + 1, j->tasks); b++) {
        uint64_t lo = SKI_MAX(b * p->L, j->offset), hi = SKI_MIN((b + 1) * p->L, j->offset + j->count);
        if (hi - lo == p->L && j->dtype == SKETCH_F32 && j->alpha == 1.0f && j->beta == 0.0f)
            p->op->block_t(p, s, j->w->z, b, (float *)j->x + (lo - j->offset), (size_t)p->L);
        else {
            p->op->block_t(p, s, j->w->z, b, s->buf, (size_t)SKI_MIN(p->L, p->desc.n - b * p->L));
            ski_write(j->x, lo - j->offset, j->dtype, s->buf + (lo - b * p->L), (size_t)(hi - lo), j->alpha,
                      j->beta);
        }
    }
}
SKETCH_API sketch_status sketch_apply_t_range(const sketch_plan *plan, const float *y, uint64_t offset,
                                              uint64_t count, float alpha, float beta, void *x,
                                              sketch_dtype dtype, sketch_work *work) {
    ski_job_t j;
    if (!plan || !y || (!x && count) || !work || !ski_dtype_ok(dtype)) return SKETCH_E_ARG;
    if (work->plan != plan || work->stream_y) return SKETCH_E_STATE;
    if (offset > plan->desc.n || count > plan->desc.n - offset) return SKETCH_E_SIZE;
    if (plan->desc.check_finite && !ski_finite(y, 0, SKETCH_F32, plan->d)) return SKETCH_E_NONFINITE;
    if (!count) return SKETCH_OK;
    j.p = plan;
    j.w = work;
    j.offset = offset;
    j.count = count;
    j.alpha = alpha;
    j.beta = beta;
    j.x = x;
    j.dtype = dtype;
    j.tasks = (uint32_t)SKI_MIN(work->nslots, (size_t)SKI_MIN((count - 1) / plan->L + 1, 1024));
    if (plan->op->begin_t) plan->op->begin_t(plan, &work->slots[0], y, work->z);
    else {
        memset(work->z, 0, plan->z_floats * sizeof(float));
        plan->k->scale(work->z, y, plan->c, plan->d);
    }
    ski_parallel(plan, j.tasks, ski_task_t, &j);
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_apply_t(const sketch_plan *plan, const float *y, void *x, sketch_dtype dtype,
                                        sketch_work *work) {
    return sketch_apply_t_range(plan, y, 0, plan ? plan->desc.n : 0, 1.0f, 0.0f, x, dtype, work);
}

/* // >>vectors ============================================================================================
   Transforms and products for users, over threads if there is a hook. */
typedef struct ski_job_v {
    const ski_kernels *k;
    const float *a, *b;
    float *x;
    size_t m, n, d, stride;
    float scale;
    uint32_t tasks;
} ski_job_v;

static uint32_t ski_tasks_for(const sketch_threads *t, size_t pieces) {
    return t && t->parallel_for && t->width > 1
               ? (uint32_t)SKI_MIN((size_t)t->width, SKI_MAX(pieces, (size_t)1))
               : 1;
}
static void ski_for(const sketch_threads *t, uint32_t tasks, sketch_task_fn fn, void *arg) {
    if (tasks > 1)
        t->parallel_for(t->user, tasks, fn, arg);
    else
        fn(arg, 0);
}
/* whole rows */
static void ski_task_wht(void *arg, uint32_t task) {
    const ski_job_v *j = (const ski_job_v *)arg;
    size_t r, end = (size_t)ski_floor_part(j->m, (uint64_t)task + 1, j->tasks);
    for (r = (size_t)ski_floor_part(j->m, task, j->tasks); r < end; r++) {
        j->k->wht(j->x + r * j->stride, j->n, 1);
        if (j->scale != 1.0f) j->k->scale(j->x + r * j->stride, j->x + r * j->stride, j->scale, j->n);
    }
}
/* columns of one vector seen as m rows of stride */
static void ski_task_wht_top(void *arg, uint32_t task) {
    const ski_job_v *j = (const ski_job_v *)arg;
    size_t c0 = (size_t)ski_floor_part(j->stride / 128, task, j->tasks) * 128,
           c1 = (size_t)ski_floor_part(j->stride / 128, (uint64_t)task + 1, j->tasks) * 128, r;
    j->k->wht_top(j->x, j->m, j->stride, c0, c1);
    if (j->scale != 1.0f)
        for (r = 0; r < j->m; r++)
            j->k->scale(j->x + r * j->stride + c0, j->x + r * j->stride + c0, j->scale, c1 - c0);
}
SKETCH_API sketch_status sketch_wht_batch_f32(float *x, size_t rows, size_t n, size_t stride, float scale,
                                              const sketch_threads *threads) {
    ski_job_v j;
    size_t r;
    memset(&j, 0, sizeof j);
    if (!x || !n || !rows) return SKETCH_E_ARG;
    if (!ski_is_pow2(n) || (stride && stride < n) || (stride ? stride : n) > SIZE_MAX / sizeof(float) / rows)
        return SKETCH_E_SIZE;
    if (!stride) stride = n;
    j.k = ski_kernels_for(SKETCH_ISA_AUTO);
    j.x = x;
    j.m = rows;
    j.n = n;
    j.stride = stride;
    j.scale = scale;
    if (rows >= ski_tasks_for(threads, SIZE_MAX) || n < (size_t)1 << 18) {
        j.tasks = ski_tasks_for(threads, rows);
        ski_for(threads, j.tasks, ski_task_wht, &j);
    } else for (r = 0; r < rows; r++) {
        /* fewer vectors than threads: the low levels of the parts, then the top ones of columns */
        j.x = x + r * stride;
        j.m = n >= SKI_WHT_FAR || threads->width > 8 ? 64 : 8;
        j.n = j.stride = n / j.m;
        j.tasks = ski_tasks_for(threads, j.m);
        j.scale = 1.0f;
        ski_for(threads, j.tasks, ski_task_wht, &j);
        j.scale = scale;
        ski_for(threads, j.tasks, ski_task_wht_top, &j);
    }
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_wht_f32(float *x, size_t n, float scale) {
    return sketch_wht_batch_f32(x, 1, n, 0, scale, NULL);
}

SKETCH_API double sketch_dot_f32(const float *a, const float *b, size_t n) {
    return a && b ? ski_kernels_for(SKETCH_ISA_AUTO)->dot(a, b, n) : 0.0;
}

/* columns of C in runs of 16 */
static void ski_task_gemm(void *arg, uint32_t task) {
    const ski_job_v *j = (const ski_job_v *)arg;
    size_t groups = (j->n + 15) / 16, lo = (size_t)ski_floor_part(groups, task, j->tasks) * 16,
           hi = SKI_MIN((size_t)ski_floor_part(groups, (uint64_t)task + 1, j->tasks) * 16, j->n);
    if (lo < hi) j->k->gemm_nt(j->a, j->m, j->b + lo * j->d, hi - lo, j->d, j->x + lo, j->n);
}
SKETCH_API sketch_status sketch_gemm_nt(const float *a, size_t m, const float *b, size_t k, size_t d,
                                        float *c, const sketch_threads *threads) {
    ski_job_v j;
    memset(&j, 0, sizeof j);
    if (!m || !k) return SKETCH_OK;
    if (!a || !b || !c || !d) return SKETCH_E_ARG;
    if (m > SIZE_MAX / sizeof(float) / d || k > SIZE_MAX / sizeof(float) / d
        || m > SIZE_MAX / sizeof(float) / k)
        return SKETCH_E_SIZE;
    j.k = ski_kernels_for(SKETCH_ISA_AUTO);
    j.a = a;
    j.b = b;
    j.x = c;
    j.m = m;
    j.n = k;
    j.d = d;
    j.tasks = ski_tasks_for(threads, (k + 15) / 16);
    ski_for(threads, j.tasks, ski_task_gemm, &j);
    return SKETCH_OK;
}

typedef struct ski_job_gemv {
    const ski_kernels *k;
    const float *v, *w;
    double *c;
    const double *ct;
    float *wt;
    size_t m, d;
    uint32_t tasks;
} ski_job_gemv;

/* rows in fours, or columns in runs of 4096: each task's work is what one task would do there */
static void ski_task_gemv(void *arg, uint32_t task) {
    const ski_job_gemv *j = (const ski_job_gemv *)arg;
    size_t unit = j->c ? 4 : 4096, total = j->c ? j->m : j->d, pieces = (total - 1) / unit + 1;
    size_t lo = (size_t)ski_floor_part(pieces, task, j->tasks) * unit,
           hi = SKI_MIN((size_t)ski_floor_part(pieces, (uint64_t)task + 1, j->tasks) * unit, total);
    if (lo >= hi) return;
    if (j->c) j->k->gemv(j->v + lo * j->d, hi - lo, j->d, j->w, j->c + lo);
    else j->k->gemv_t(j->v + lo, j->m, j->d, hi - lo, j->ct, j->wt + lo);
}
static sketch_status ski_gemv(const float *v, size_t m, size_t d, const float *w, double *c, const double *ct,
                              float *wt, const sketch_threads *threads) {
    ski_job_gemv j;
    if (!m) return SKETCH_OK;
    if (!v || !d || (c ? !w : !ct || !wt)) return SKETCH_E_ARG;
    if (m > SIZE_MAX / sizeof(float) / d) return SKETCH_E_SIZE;
    j.k = ski_kernels_for(SKETCH_ISA_AUTO);
    j.v = v;
    j.m = m;
    j.d = d;
    j.w = w;
    j.c = c;
    j.ct = ct;
    j.wt = wt;
    j.tasks = ski_tasks_for(threads, c ? (m - 1) / 4 + 1 : (d - 1) / 4096 + 1);
    ski_for(threads, j.tasks, ski_task_gemv, &j);
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_gemv_f32(const float *v, size_t m, size_t d, const float *w, double *c,
                                         const sketch_threads *threads) {
    return m && !c ? SKETCH_E_ARG : ski_gemv(v, m, d, w, c, NULL, NULL, threads);
}
SKETCH_API sketch_status sketch_gemv_t_f32(const float *v, size_t m, size_t d, const double *c, float *w,
                                           const sketch_threads *threads) {
    return ski_gemv(v, m, d, NULL, NULL, c, w, threads);
}

#ifdef _OPENMP
static void ski_openmp_for(void *user, uint32_t ntasks, sketch_task_fn fn, void *arg) {
    int i, n = (int)ntasks;
    (void)user;
#pragma omp parallel for schedule(dynamic, 1)
    for (i = 0; i < n; i++) fn(arg, (uint32_t)i);
}
extern
#ifdef __cplusplus
"C"
#endif
int omp_get_max_threads(void);
SKETCH_API sketch_threads sketch_threads_openmp(void) {
    sketch_threads t;
    t.parallel_for = ski_openmp_for;
    t.user = NULL;
    t.width = (uint32_t)SKI_MIN(SKI_MAX(omp_get_max_threads(), 1), 1024);
    return t;
}
#endif

/* // >>store ================================================================================================
   A store is a directory. Integers and floats in it are little-endian; sums are CRC-32C (Castagnoli:
   reflected polynomial 0x82F63B78, start and final xor ffffffff; of "123456789" it is e3069283), "hex" is
   lower case. Files with other names are ignored.

   meta.json: Written once, never changed: to a temporary file meta-*.tmp, fsync, link to meta.json
      (rename where there are no hard links), fsync of the directory. Exactly these bytes, lines ended by
      \n, two spaces of indent:
           {
             "format": "sketch.h store",
             "version": 1,
             "operator": "sketch.h stream=3 algo=1 n=... ",   the text that the fingerprint hashes
             "fingerprint": "0123456789abcdef",       16 hex digits
             "d": 1024,
             "dtype": "f32",
             "scale": 5.6568542494923806,             information: sketch_info.scale, %.17g
             "crc32c": "89abcdef"                     8 hex digits: of all bytes before this line
           }
   seg-U.npy: Rows: npy 1.0, '<f4', C order, [count, d], 128 bytes of header, then the rows without
      gaps.
   seg-U.idx.npy: Index: npy 1.0, 128 bytes of header, then for row k of seg-U.npy the 16-byte record k:
      id <u8, row <u4 = CRC of the row's 4 d bytes, rec <u4 = CRC of the record's first 12 bytes. U: 1 to
      40 of [0-9A-Za-z-]. Here: seconds since 1970, process, counter: so names sort by age.
   Headers: 93 'NUMPY' 01 00 76 00, then one of these texts, spaces to byte 126, \n at byte 127; %18 is
      count, right-aligned in 18 characters:
         {'descr': '<f4', 'fortran_order': False, 'shape': (%18, d), }
         {'descr': [('id', '<u8'), ('row', '<u4'), ('rec', '<u4')], 'fortran_order': False, 'shape': (%18,), }
   count never exceeds what is committed, and may lag behind it after a crash: for other readers, advice
      to us, and the only bytes that are overwritten: nonsense in them is no error.
   Rows: A segment has as many rows as its index has valid records (rec is right) before the first
      invalid one, as far as those rows lie within seg-U.npy. What follows is the remainder of a crash, or
      a writer at work. Headers are checked (E_FORMAT) once there is a valid record; a shorter or
      unreadable beginning of a file is a crash at creation: 0 rows.
   Order: Segments by name (strcmp), rows by position; a handle gives rows it discovers later the next
      free numbers.
   Writing: A segment has one writer, the handle that created it (O_EXCL), and its bytes are written
      once, headers' counts excepted; nothing is ever truncated or deleted. Commit: rows, fdatasync; the
      first time also fdatasync of the index (header) and fsync of the directory; records, fdatasync;
      counts, rows' file first. Close syncs the counts.
   Limits: Little-endian hosts (others: E_UNSUPPORTED, rows are mapped in place). 32-bit systems:
      _FILE_OFFSET_BITS=64 for files over 2 GB. A relative dir is looked up again at the first append and
      at refresh: do not chdir. A handle must not be used by a forked child (append and commit are E_STATE
      there). A file that somebody else truncates while it is mapped is SIGBUS.

   includes: errno.h, stdio.h, stdlib.h, string.h, time.h; dirent.h, fcntl.h, sys/mman.h, sys/stat.h,
   sys/types.h, unistd.h (not on _WIN32) */
#ifndef SKETCH_NO_STDIO
#ifdef _WIN32

SKETCH_API sketch_status sketch_store_open(const char *dir, const sketch_plan *plan, sketch_store **store) {
    (void)plan;
    if (!store) return SKETCH_E_ARG;
    *store = NULL;
    return dir && *dir ? SKETCH_E_UNSUPPORTED : SKETCH_E_ARG;
}
SKETCH_API sketch_status sketch_store_append(sketch_store *s, const uint64_t *ids, const float *rows,
                                             size_t nrows) {
    (void)s;
    (void)ids;
    (void)rows;
    (void)nrows;
    return SKETCH_E_ARG;
}
SKETCH_API sketch_status sketch_store_commit(sketch_store *s) {
    (void)s;
    return SKETCH_E_ARG;
}
SKETCH_API sketch_status sketch_store_refresh(sketch_store *s) {
    (void)s;
    return SKETCH_E_ARG;
}
SKETCH_API uint64_t sketch_store_count(const sketch_store *s) {
    (void)s;
    return 0;
}
SKETCH_API uint64_t sketch_store_dim(const sketch_store *s) {
    (void)s;
    return 0;
}
SKETCH_API uint64_t sketch_store_fingerprint(const sketch_store *s) {
    (void)s;
    return 0;
}
SKETCH_API int sketch_store_has(const sketch_store *s, uint64_t id) {
    (void)s;
    (void)id;
    return 0;
}
SKETCH_API sketch_status sketch_store_rows(const sketch_store *s, uint64_t first, uint64_t *nrows,
                                           const float **rows, const uint64_t **ids) {
    (void)s;
    (void)first;
    if (nrows) *nrows = 0;
    if (rows)  *rows = NULL;
    if (ids)   *ids = NULL;
    return SKETCH_E_ARG;
}
SKETCH_API sketch_status sketch_store_verify(sketch_store *s, uint64_t *bad) {
    (void)s;
    if (bad) *bad = 0;
    return SKETCH_E_ARG;
}
SKETCH_API sketch_status sketch_store_close(sketch_store *s) {
    (void)s;
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_krylov_save(sketch_krylov *k, const char *path) {
    (void)k;
    (void)path;
    return SKETCH_E_UNSUPPORTED;
}
SKETCH_API sketch_status sketch_krylov_load(sketch_krylov *k, const char *path) {
    (void)k;
    (void)path;
    return SKETCH_E_UNSUPPORTED;
}

#else

/* The seam: all that can fail outside of this file; tests replace these to fail, write less, or cut the
   power. */
#ifndef SKI_OPEN
#  define SKI_OPEN(path, flags, mode) open(path, flags, mode)
#endif
#ifndef SKI_READ
#  define SKI_READ(fd, buf, n) read(fd, buf, n)
#endif
#ifndef SKI_WRITE
#  define SKI_WRITE(fd, buf, n) write(fd, buf, n)
#endif
#ifndef SKI_FSYNC
#  define SKI_FSYNC(fd) fsync(fd)
#endif
#ifndef SKI_FDATASYNC
#  if defined(__linux__)
#    define SKI_FDATASYNC(fd) fdatasync(fd)
/* Apple: fsync alone does not reach the medium */
#  elif defined(F_FULLFSYNC)
#    define SKI_FDATASYNC(fd) (fcntl(fd, F_FULLFSYNC) == 0 ? 0 : fsync(fd))
#  else
#    define SKI_FDATASYNC(fd) fsync(fd)
#  endif
#endif
#ifndef SKI_LINK
#  define SKI_LINK(from, to) link(from, to)
#endif
#ifndef SKI_MMAP
#  define SKI_MMAP(len, fd) mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0)
#endif

/* glibc hides these two under -std=c99, whatever we define, if the user has included a header before; the
   rest of what is called here it always declares. (Declaring a function again as it was declared is
   allowed.) */
#ifdef __cplusplus
extern "C" {
#endif
int fsync(int fd);
#ifdef __linux__
int fdatasync(int fd);
#endif
#ifdef __cplusplus
}
#endif

enum {
    SKI_STORE_HEAD = 128,
    SKI_STORE_REC = 16,
    SKI_STORE_BATCH = 512 /* records read at once */,
    SKI_STORE_NAME = 48,
    SKI_STORE_TEXT = 512
};

/* one segment, ours or another writer's */
typedef struct ski_store_seg {
    char           name[SKI_STORE_NAME];   /* "seg-U" */
    uint64_t       rows;            /* committed and mapped */
    /* what its index says there should be: valid records, or the header's count if that is more */
    uint64_t       claimed;
    uint64_t      *ids;             /* [rows], in our own segment [rows + pending] */
    size_t         cap;
    unsigned char *map;             /* the rows' file, up to the last committed row; NULL if there is none */
    size_t         map_len;
} ski_store_seg;

/* rows base .. base+count-1 of the store are rows first .. of seg */
typedef struct ski_store_run {
    uint64_t       base, first, count;
    ski_store_seg *seg;
} ski_store_run;

/* Tables of CRC-32C for eight bytes at a time */
typedef struct ski_crc {
    uint32_t of[8][256];
} ski_crc;
static void ski_crc_init(ski_crc *t) {
    uint32_t i, j, c;
    for (i = 0; i < 256; i++) {
        for (c = i, j = 0; j < 8; j++) c = (c >> 1) ^ (0x82F63B78u & (0u - (c & 1u)));
        t->of[0][i] = c;
    }
    for (j = 1; j < 8; j++)
        for (i = 0; i < 256; i++) t->of[j][i] = (t->of[j-1][i] >> 8) ^ t->of[0][t->of[j-1][i] & 255u];
}
/* 8 bytes a step, little-endian loads */
static uint32_t ski_crc_of(const ski_crc *t, const void *data, size_t n) {
    const unsigned char *p = (const unsigned char *)data;
    uint32_t c = 0xFFFFFFFFu, a, b;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&a, p, 4);
        memcpy(&b, p + 4, 4);
        a ^= c;
        c = t->of[7][a & 255u] ^ t->of[6][(a >> 8) & 255u] ^ t->of[5][(a >> 16) & 255u]
            ^ t->of[4][a >> 24] ^ t->of[3][b & 255u] ^ t->of[2][(b >> 8) & 255u]
            ^ t->of[1][(b >> 16) & 255u] ^ t->of[0][b >> 24];
    }
    for (; n; n--, p++) c = (c >> 8) ^ t->of[0][(c ^ *p) & 255u];
    return ~c;
}

struct sketch_store {
    uint64_t        d, row_bytes, fingerprint, count;
    ski_store_seg **segs;           /* sorted by name */
    size_t          nsegs, segs_cap;
    ski_store_run  *runs;           /* by base */
    size_t          nruns, runs_cap;
    /* ids: open addressing, linear probing, 2^set_log slots, at most 3/4 full; 0 marks a free slot */
    uint64_t       *set;
    size_t          set_used;
    unsigned        set_log;
    int             set_zero;       /* is id 0 in the set? */
    int             writable, failed;
    long            pid;            /* of the process that opened */
    ski_store_seg  *own;            /* the segment we write, NULL before the first append */
    int             data_fd, idx_fd;
    /* [pending]: index records of rows that are appended but not yet committed */
    unsigned char  *recs;
    size_t          pending, recs_cap;
    char           *dir, *path[2];  /* path: scratch for ski_store_path */
    ski_crc         crc;
};

/* ---- small parts ---- */
/* Room for `more` elements after the `used` ones: p itself, a larger copy (p is freed), or NULL (p is as
   it was). */
static void *ski_store_grow(void *p, size_t *cap, size_t used, size_t more, size_t elem) {
    size_t want;
    void *q;
    if (more <= *cap - used) return p;
    if (more > SIZE_MAX / elem - used) return NULL;
    want = used + more;
    if (*cap <= SIZE_MAX / elem / 2 && want < *cap * 2) want = *cap * 2;
    if (want < 16 && 16 <= SIZE_MAX / elem) want = 16;
    q = SKETCH_MALLOC(want * elem);
    if (!q) return NULL;
    if (used) memcpy(q, p, used * elem);
    if (p) SKETCH_FREE(p);
    *cap = want;
    return q;
}

static const char *ski_store_path(sketch_store *s, int which, const char *name, const char *ext) {
    size_t nd = strlen(s->dir), nn = strlen(name);
    char *p = s->path[which];
    memcpy(p, s->dir, nd);
    p[nd] = '/';
    memcpy(p + nd + 1, name, nn);
    memcpy(p + nd + 1 + nn, ext, strlen(ext) + 1);
    return p;
}

static int ski_store_openfd(const char *path, int flags) {
    int fd;
#ifdef O_CLOEXEC
    do fd = SKI_OPEN(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
#else
    do fd = SKI_OPEN(path, flags, 0666);
    while (fd < 0 && errno == EINTR);
    if (fd >= 0) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
    return fd;
}
/* Opens a regular file to read. -1: there is none; -2: it cannot be opened. Never waits on a pipe with
   that name. */
static int ski_store_openread(const char *path, uint64_t *size) {
    struct stat st;
    int fd = ski_store_openfd(path, O_RDONLY | O_NONBLOCK);
    *size = 0;
    if (fd < 0) return errno == ENOENT ? -1 : -2;
    if (fstat(fd, &st) != 0) {
        close(fd);
        return -2;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return -1;
    }
    *size = st.st_size > 0 ? (uint64_t)st.st_size : 0;
    return fd;
}
/* *got < n: end of file */
static int ski_store_get(int fd, uint64_t at, void *buf, size_t n, size_t *got) {
    *got = 0;
    if (lseek(fd, (off_t)at, SEEK_SET) < 0) return -1;
    while (*got < n) {
        ssize_t r = SKI_READ(fd, (char *)buf + *got, n - *got);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return -1;
        if (r == 0) break;
        *got += (size_t)r;
    }
    return 0;
}
static int ski_store_put(int fd, uint64_t at, const void *buf, size_t n) {
    const char *p = (const char *)buf;
    if (lseek(fd, (off_t)at, SEEK_SET) < 0) return -1;
    while (n) {
        ssize_t r = SKI_WRITE(fd, p, n < ((size_t)1 << 30) ? n : (size_t)1 << 30);
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) return -1;
        p += r;
        n -= (size_t)r;
    }
    return 0;
}
static int ski_store_sync(int fd) {
    int r;
    do r = SKI_FDATASYNC(fd);
    while (r != 0 && errno == EINTR);
    return r;
}
static int ski_store_sync_dir(const char *path) {
    int r, fd = ski_store_openfd(path, O_RDONLY);
    if (fd < 0) return errno == EACCES ? 0 : -1;            /* a parent that may be written but not read */
    do r = SKI_FSYNC(fd);
    while (r != 0 && errno == EINTR);
    if (r != 0 && errno == EINVAL) r = 0;                   /* file systems that cannot sync a directory */
    close(fd);
    return r;
}
/* A new file "<kind>-<seconds>-<pid>-<counter>" + ext (name is that without ext), and one with ext2 beside
   it, unless that is NULL. */
static int ski_store_unique(sketch_store *s, const char *kind, const char *ext, const char *ext2, char *name,
                            int *fd, int *fd2) {
    unsigned long long t = (unsigned long long)time(NULL) % 10000000000000u;
    unsigned k;
    for (k = 0; k < 10000; k++) {
        snprintf(name, SKI_STORE_NAME, "%s-%010llu-%010lu-%04u", kind, t, (unsigned long)s->pid, k);
        *fd = ski_store_openfd(ski_store_path(s, 0, name, ext), O_RDWR | O_CREAT | O_EXCL);
        if (*fd < 0 && errno == EEXIST) continue;
        if (*fd < 0 || !ext2) return *fd;
        *fd2 = ski_store_openfd(ski_store_path(s, 1, name, ext2), O_RDWR | O_CREAT | O_EXCL);
        if (*fd2 >= 0 || errno != EEXIST) return *fd2;
        /* a power cut kept the index of that name and lost its rows' file */
        unlink(s->path[0]);
        close(*fd);
        *fd = -1;
    }
    return -1;
}

static void ski_store_header(const sketch_store *s, int idx, uint64_t count, unsigned char *h) {
    char t[SKI_STORE_HEAD];
    if (idx)
        snprintf(t, sizeof t,
                 "{'descr': [('id', '<u8'), ('row', '<u4'), ('rec', '<u4')], 'fortran_order': False, "
                 "'shape': (%18llu,), }",
                 (unsigned long long)count);
    else
        snprintf(t, sizeof t, "{'descr': '<f4', 'fortran_order': False, 'shape': (%18llu, %llu), }",
                 (unsigned long long)count, (unsigned long long)s->d);
    memset(h, ' ', SKI_STORE_HEAD);
    memcpy(h, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(h + 10, t, strlen(t));
    h[SKI_STORE_HEAD - 1] = '\n';
}
/* Is it, byte for byte, our header? But for the count, the only bytes that are ever overwritten: 0 if they
   are not a number. */
static int ski_store_header_ok(const sketch_store *s, int idx, const unsigned char *h, uint64_t *count) {
    unsigned char want[SKI_STORE_HEAD];
    const size_t at = idx ? 103 : 61;
    size_t i = at;
    *count = 0;
    while (i < at + 18 && h[i] == ' ') i++;
    for (; i < at + 18 && h[i] >= '0' && h[i] <= '9'; i++) *count = *count * 10 + (uint64_t)(h[i] - '0');
    if (i < at + 18) *count = 0;
    ski_store_header(s, idx, 0, want);
    return memcmp(h, want, at) == 0 && memcmp(h + at + 18, want + at + 18, SKI_STORE_HEAD - at - 18) == 0;
}

/* ---- the set of ids ---- */
/* where id is, or the free slot where it belongs */
static size_t ski_store_slot(const sketch_store *s, uint64_t id) {
    size_t mask = ((size_t)1 << s->set_log) - 1,
           i = (size_t)(((id ^ (id >> 32)) * 0x9E3779B97F4A7C15u) >> (64 - s->set_log));
    while (s->set[i] && s->set[i] != id) i = (i + 1) & mask;
    return i;
}
static void ski_store_set_add(sketch_store *s, const uint64_t *ids, uint64_t n) {
    for (; n; n--, ids++) {
        size_t i;
        if (!*ids) {
            s->set_zero = 1;
            continue;
        }
        i = ski_store_slot(s, *ids);
        if (!s->set[i]) {
            s->set[i] = *ids;
            s->set_used++;
        }
    }
}
static sketch_status ski_store_set_reserve(sketch_store *s, uint64_t more) {
    size_t old = s->set_log ? (size_t)1 << s->set_log : 0, i;
    unsigned log = s->set_log ? s->set_log : 6;
    uint64_t *was = s->set, *now;
    if (more > SIZE_MAX / 32 || s->set_used > SIZE_MAX / 32) return SKETCH_E_MEMORY;
    while (((size_t)1 << log) / 4 * 3 < s->set_used + more) log++;
    if (log == s->set_log) return SKETCH_OK;
    now = (uint64_t *)SKETCH_MALLOC(sizeof *now << log);
    if (!now) return SKETCH_E_MEMORY;
    memset(now, 0, sizeof *now << log);
    s->set = now;
    s->set_log = log;
    for (i = 0; i < old; i++) if (was[i]) now[ski_store_slot(s, was[i])] = was[i];
    if (was) SKETCH_FREE(was);
    return SKETCH_OK;
}

/* ---- segments ---- */
/* All that can fail before a segment may have `rows` rows: place for a run, and the new map. */
static sketch_status ski_store_prepare(sketch_store *s, int fd, uint64_t rows, unsigned char **map) {
    void *q = ski_store_grow(s->runs, &s->runs_cap, s->nruns, 1, sizeof *s->runs);
    if (!q) return SKETCH_E_MEMORY;
    s->runs = (ski_store_run *)q;
    if (rows > (SIZE_MAX / 2 - SKI_STORE_HEAD) / s->row_bytes) return SKETCH_E_SIZE;
    q = SKI_MMAP((size_t)(SKI_STORE_HEAD + rows * s->row_bytes), fd);
    if (q == MAP_FAILED) return errno == ENOMEM || errno == EAGAIN ? SKETCH_E_MEMORY : SKETCH_E_IO;
    *map = (unsigned char *)q;
    return SKETCH_OK;
}
static void ski_store_accept(sketch_store *s, ski_store_seg *g, uint64_t rows, unsigned char *map) {
    ski_store_run *r = s->nruns ? &s->runs[s->nruns - 1] : NULL;
    uint64_t more = rows - g->rows;
    if (g->map) munmap(g->map, g->map_len);
    g->map = map;
    g->map_len = (size_t)(SKI_STORE_HEAD + rows * s->row_bytes);
    if (!r || r->seg != g) {
        r = &s->runs[s->nruns++];
        r->base = s->count;
        r->first = g->rows;
        r->count = 0;
        r->seg = g;
    }
    r->count += more;
    s->count += more;
    g->rows = rows;
}
/* Finds what another writer has added to its segment. */
static sketch_status ski_store_scan(sketch_store *s, ski_store_seg *g) {
    unsigned char buf[SKI_STORE_BATCH * SKI_STORE_REC], *map = NULL;
    uint64_t size, nrec, valid = g->rows, rows, claimed, count = 0;
    size_t got, i, n;
    int ok, end = 0, fd = ski_store_openread(ski_store_path(s, 0, g->name, ".idx.npy"), &size);
    sketch_status st = SKETCH_OK;
    if (fd < 0) return fd == -1 ? SKETCH_OK : SKETCH_E_IO;
    nrec = size < SKI_STORE_HEAD ? 0 : (size - SKI_STORE_HEAD) / SKI_STORE_REC;
    if (ski_store_get(fd, 0, buf, SKI_STORE_HEAD, &got) != 0) {
        close(fd);
        return SKETCH_E_IO;
    }
    ok = got == SKI_STORE_HEAD && ski_store_header_ok(s, 1, buf, &count);
    /* memory grows with valid records, not with the file's size */
    while (!end && valid < nrec) {
        void *q;
        n = nrec - valid < SKI_STORE_BATCH ? (size_t)(nrec - valid) : (size_t)SKI_STORE_BATCH;
        if (ski_store_get(fd, SKI_STORE_HEAD + valid * SKI_STORE_REC, buf, n * SKI_STORE_REC, &got) != 0) {
            st = SKETCH_E_IO;
            break;
        }
        end = got < n * SKI_STORE_REC;
        n = got / SKI_STORE_REC;
        q = ski_store_grow(g->ids, &g->cap, (size_t)valid, n, sizeof *g->ids);
        if (!q) {
            st = SKETCH_E_MEMORY;
            break;
        }
        g->ids = (uint64_t *)q;
        for (i = 0; i < n; i++) {
            uint32_t c;
            memcpy(&c, buf + i * SKI_STORE_REC + 12, 4);
            if (c != ski_crc_of(&s->crc, buf + i * SKI_STORE_REC, 12)) {
                end = 1;
                break;
            }
            memcpy(&g->ids[valid++], buf + i * SKI_STORE_REC, 8);
        }
    }
    close(fd);
    if (st != SKETCH_OK) return st;
    if (valid && !ok) return SKETCH_E_FORMAT;
    claimed = ok && count > valid ? count : valid;
    if (valid == g->rows) {
        g->claimed = claimed;
        return SKETCH_OK;
    }

    fd = ski_store_openread(ski_store_path(s, 0, g->name, ".npy"), &size);
    if (fd == -2) return SKETCH_E_IO;
    rows = size < SKI_STORE_HEAD ? 0 : (size - SKI_STORE_HEAD) / s->row_bytes;
    if (rows > valid) rows = valid;
    if (rows > g->rows) {
        if (ski_store_get(fd, 0, buf, SKI_STORE_HEAD, &got) != 0) st = SKETCH_E_IO;
        else if (got < SKI_STORE_HEAD || !ski_store_header_ok(s, 0, buf, &count)) st = SKETCH_E_FORMAT;
        if (st == SKETCH_OK) st = ski_store_set_reserve(s, rows - g->rows);
        if (st == SKETCH_OK) st = ski_store_prepare(s, fd, rows, &map);
        if (st == SKETCH_OK) {
            ski_store_set_add(s, g->ids + g->rows, rows - g->rows);
            ski_store_accept(s, g, rows, map);
        }
    }
    if (fd >= 0) close(fd);
    if (st == SKETCH_OK) g->claimed = claimed;
    return st;
}
/* the first segment whose name is not less */
static size_t ski_store_find(const sketch_store *s, const char *name) {
    size_t lo = 0, hi = s->nsegs;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(s->segs[mid]->name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}
/* and a place for it in s->segs */
static ski_store_seg *ski_store_seg_new(sketch_store *s) {
    void *q = ski_store_grow(s->segs, &s->segs_cap, s->nsegs, 1, sizeof *s->segs);
    ski_store_seg *g;
    if (!q) return NULL;
    s->segs = (ski_store_seg **)q;
    g = (ski_store_seg *)SKETCH_MALLOC(sizeof *g);
    if (g) memset(g, 0, sizeof *g);
    return g;
}
static void ski_store_insert(sketch_store *s, ski_store_seg *g) {
    size_t i = ski_store_find(s, g->name);
    memmove(s->segs + i + 1, s->segs + i, (s->nsegs - i) * sizeof *s->segs);
    s->segs[i] = g;
    s->nsegs++;
}
/* Adds the directory's segments to s->segs; with only_look: E_FORMAT if there is one. */
static sketch_status ski_store_list(sketch_store *s, int only_look) {
    sketch_status st = SKETCH_OK;
    struct dirent *e;
    DIR *dir = opendir(s->dir);
    if (!dir) return errno == ENOMEM ? SKETCH_E_MEMORY : SKETCH_E_IO;
    while (st == SKETCH_OK && (errno = 0, e = readdir(dir)) != NULL) {
        char name[SKI_STORE_NAME];
        size_t i, n = strlen(e->d_name);
        ski_store_seg *g;
        if (n < 4 + 1 + 8 || n > 4 + 40 + 8 || memcmp(e->d_name, "seg-", 4) != 0
            || strcmp(e->d_name + n - 8, ".idx.npy") != 0)
            continue;
        memcpy(name, e->d_name, n - 8);
        name[n - 8] = 0;
        if (strspn(name, "0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != n - 8)
            continue;
        if (only_look) {
            st = SKETCH_E_FORMAT;
            break;
        }
        i = ski_store_find(s, name);
        if (i < s->nsegs && strcmp(s->segs[i]->name, name) == 0) continue;
        g = ski_store_seg_new(s);
        if (!g) {
            st = SKETCH_E_MEMORY;
            break;
        }
        memcpy(g->name, name, n - 7);
        ski_store_insert(s, g);
    }
    if (st == SKETCH_OK && errno != 0) st = SKETCH_E_IO;
    closedir(dir);
    return st;
}

/* ---- meta.json ---- */
/* Matches the literal at *p, copies what follows up to the next `stop` to out. */
static int ski_store_field(const char **p, const char *lit, char stop, char *out, size_t cap) {
    size_t n = strlen(lit), k = 0;
    if (strncmp(*p, lit, n) != 0) return 0;
    for (*p += n; **p && **p != stop && (unsigned char)**p >= 32 && k + 1 < cap; ++*p) out[k++] = **p;
    out[k] = 0;
    return k > 0 && **p == stop;
}
/* *found = 0: there is no such file. op[SKI_STORE_TEXT] receives the operator's text. */
static sketch_status ski_store_meta_read(sketch_store *s, char *op, int *found) {
    char text[2 * SKI_STORE_TEXT], num[64], tail[64];
    const char *p = text;
    size_t got, n;
    uint64_t size, v = 0;
    int r, fd = ski_store_openread(ski_store_path(s, 0, "meta", ".json"), &size);
    *found = fd != -1;
    if (fd < 0) return fd == -1 ? SKETCH_OK : SKETCH_E_IO;
    r = ski_store_get(fd, 0, text, sizeof text - 1, &got);
    close(fd);
    if (r != 0) return SKETCH_E_IO;
    text[got] = 0;
    if (!ski_store_field(&p, "{\n  \"format\": \"sketch.h store\",\n  \"version\": 1,\n  \"operator\": \"",
                         '"', op, SKI_STORE_TEXT))
        return SKETCH_E_FORMAT;
    if (!ski_store_field(&p, "\",\n  \"fingerprint\": \"", '"', num, sizeof num) || strlen(num) != 16)
        return SKETCH_E_FORMAT;
    for (n = 0; n < 16; n++) {
        const char *hex = "0123456789abcdef", *h = strchr(hex, num[n]);
        if (!h) return SKETCH_E_FORMAT;
        v = v << 4 | (uint64_t)(h - hex);
    }
    s->fingerprint = v;
    if (!ski_store_field(&p, "\",\n  \"d\": ", ',', num, sizeof num) || num[0] == '0') return SKETCH_E_FORMAT;
    for (v = 0, n = 0; num[n]; n++) {
        if (num[n] < '0' || num[n] > '9' || n >= 18) return SKETCH_E_FORMAT;
        v = v * 10 + (uint64_t)(num[n] - '0');
    }
    if (v > SIZE_MAX / 16) return SKETCH_E_FORMAT;           /* so 4 d, and 128 + 4 d, are sizes */
    s->d = v;
    s->row_bytes = 4 * v;
    if (!ski_store_field(&p, ",\n  \"dtype\": \"f32\",\n  \"scale\": ", ',', num, sizeof num)
        || strncmp(p, ",\n", 2) != 0)
        return SKETCH_E_FORMAT;
    p += 2;
    snprintf(tail, sizeof tail, "  \"crc32c\": \"%08lx\"\n}\n",
             (unsigned long)ski_crc_of(&s->crc, text, (size_t)(p - text)));
    return (size_t)(text + got - p) == strlen(tail) && strcmp(p, tail) == 0 ? SKETCH_OK : SKETCH_E_FORMAT;
}
static sketch_status ski_store_meta_create(sketch_store *s, const char *op, const sketch_info *info) {
    char text[2 * SKI_STORE_TEXT], scale[64], name[SKI_STORE_NAME], *p;
    int n, fd, bad;
    size_t len;
    if (mkdir(s->dir, 0777) != 0 && errno != EEXIST) return SKETCH_E_IO;
    /* the parent's entry for dir must be on disk too */
    p = s->path[0];
    memcpy(p, s->dir, strlen(s->dir) + 1);
    for (len = strlen(p); len > 1 && p[len - 1] == '/'; len--) {}
    while (len && p[len - 1] != '/') len--;
    if (len)
        p[len] = 0;
    else
        memcpy(p, ".", 2);
    if (ski_store_sync_dir(p) != 0) return SKETCH_E_IO;

    snprintf(scale, sizeof scale, "%.17g", info->scale);
    for (p = scale; *p; p++) if (!strchr("0123456789+-e", *p)) *p = '.';     /* the locale's decimal comma */
    n = snprintf(text, sizeof text - 64,
                 "{\n  \"format\": \"sketch.h store\",\n  \"version\": 1,\n  \"operator\": \"%s\",\n  "
                 "\"fingerprint\": \"%016llx\",\n"
                 "  \"d\": %llu,\n  \"dtype\": \"f32\",\n  \"scale\": %s,\n",
                 op, (unsigned long long)info->fingerprint, (unsigned long long)info->d, scale);
    if (n < 0 || (size_t)n >= sizeof text - 64) return SKETCH_E_SIZE;
    len = (size_t)n;
    len += (size_t)snprintf(text + len, 64, "  \"crc32c\": \"%08lx\"\n}\n",
                            (unsigned long)ski_crc_of(&s->crc, text, len));

    if (ski_store_unique(s, "meta", ".tmp", NULL, name, &fd, NULL) < 0) return SKETCH_E_IO;
    bad = ski_store_put(fd, 0, text, len) != 0 || ski_store_sync(fd) != 0;
    bad |= close(fd) != 0;
    (void)ski_store_path(s, 1, "meta", ".json");
    if (!bad && SKI_LINK(s->path[0], s->path[1]) != 0 && errno != EEXIST)
        bad = rename(s->path[0], s->path[1]) != 0;
    /* EEXIST: somebody else was faster: theirs is read next */
    unlink(s->path[0]);
    if (!bad) bad = ski_store_sync_dir(ski_store_path(s, 0, ".", "")) != 0;
    return bad ? SKETCH_E_IO : SKETCH_OK;
}

/* ---- the API ---- */
static void ski_store_free(sketch_store *s) {
    size_t i;
    for (i = 0; i < s->nsegs; i++) {
        if (s->segs[i]->map) munmap(s->segs[i]->map, s->segs[i]->map_len);
        if (s->segs[i]->ids) SKETCH_FREE(s->segs[i]->ids);
        SKETCH_FREE(s->segs[i]);
    }
    if (s->segs) SKETCH_FREE(s->segs);
    if (s->runs) SKETCH_FREE(s->runs);
    if (s->set)  SKETCH_FREE(s->set);
    if (s->recs) SKETCH_FREE(s->recs);
    if (s->dir)  SKETCH_FREE(s->dir);
    SKETCH_FREE(s);
}
SKETCH_API sketch_status sketch_store_open(const char *dir, const sketch_plan *plan, sketch_store **store) {
    char want[SKI_STORE_TEXT], op[SKI_STORE_TEXT];
    const uint16_t one = 1;
    sketch_info info;
    sketch_store *s;
    sketch_status st;
    size_t len;
    int found;
    if (!store) return SKETCH_E_ARG;
    *store = NULL;
    if (!dir || !*dir) return SKETCH_E_ARG;
    if (*(const unsigned char *)&one != 1) return SKETCH_E_UNSUPPORTED;
    info = sketch_query(plan);
    if (plan && ski_plan_name(plan, want, sizeof want) < 0) return SKETCH_E_ARG;
    len = strlen(dir);
    s = (sketch_store *)SKETCH_MALLOC(sizeof *s);
    if (!s) return SKETCH_E_MEMORY;
    memset(s, 0, sizeof *s);
    s->dir = (char *)SKETCH_MALLOC(3 * (len + 80));
    if (!s->dir) {
        ski_store_free(s);
        return SKETCH_E_MEMORY;
    }
    memcpy(s->dir, dir, len + 1);
    s->path[0] = s->dir + len + 80;
    s->path[1] = s->path[0] + len + 80;
    s->data_fd = s->idx_fd = -1;
    s->writable = plan != NULL;
    s->pid = (long)getpid();
    ski_crc_init(&s->crc);

    st = ski_store_meta_read(s, op, &found);
    if (st == SKETCH_OK && !found && plan) {
        /* rows whose meta.json is lost are not ours to adopt */
        st = ski_store_list(s, 1);
        if (st == SKETCH_E_IO && errno == ENOENT) st = SKETCH_OK;
        if (st == SKETCH_OK) st = ski_store_meta_create(s, want, &info);
        /* FORMAT: or another process made both just now */
        if (st == SKETCH_OK || st == SKETCH_E_FORMAT) {
            st = ski_store_meta_read(s, op, &found);
            if (st == SKETCH_OK && !found) st = SKETCH_E_FORMAT;
        }
    } else if (st == SKETCH_OK && !found) {
        struct stat sb;
        st = stat(s->dir, &sb) == 0 && S_ISDIR(sb.st_mode) ? SKETCH_E_FORMAT : SKETCH_E_IO;
    }
    if (st == SKETCH_OK && plan
        && (s->fingerprint != info.fingerprint || s->d != info.d || strcmp(op, want) != 0))
        st = SKETCH_E_FORMAT;
    if (st == SKETCH_OK) st = sketch_store_refresh(s);
    if (st != SKETCH_OK) {
        ski_store_free(s);
        return st;
    }
    *store = s;
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_store_refresh(sketch_store *s) {
    sketch_status st;
    size_t i;
    if (!s) return SKETCH_E_ARG;
    st = ski_store_list(s, 0);
    for (i = 0; st == SKETCH_OK && i < s->nsegs; i++)
        if (s->segs[i] != s->own) st = ski_store_scan(s, s->segs[i]);
    return st;
}

/* After a failed write or sync nobody knows what the file holds (the kernel may have dropped the pages),
   so nothing more is written. */
static sketch_status ski_store_fail(sketch_store *s) {
    size_t i;
    s->failed = 1;
    s->pending = 0;
    /* has() forgets what was not committed */
    if (s->set) memset(s->set, 0, sizeof *s->set << s->set_log);
    s->set_used = 0;
    s->set_zero = 0;
    for (i = 0; i < s->nsegs; i++) ski_store_set_add(s, s->segs[i]->ids, s->segs[i]->rows);
    return SKETCH_E_IO;
}
static int ski_store_segment_create(sketch_store *s, ski_store_seg *g) {
    unsigned char h[SKI_STORE_HEAD];
    if (ski_store_unique(s, "seg", ".npy", ".idx.npy", g->name, &s->data_fd, &s->idx_fd) < 0) return -1;
    ski_store_header(s, 0, 0, h);
    if (ski_store_put(s->data_fd, 0, h, sizeof h) != 0) return -1;
    ski_store_header(s, 1, 0, h);
    return ski_store_put(s->idx_fd, 0, h, sizeof h);
}
SKETCH_API sketch_status sketch_store_append(sketch_store *s, const uint64_t *ids, const float *rows,
                                             size_t nrows) {
    const uint64_t file_max = sizeof(off_t) < 8 ? 0x7FFFFFFFu : 0x7FFFFFFFFFFFFFFFu;
    const uint64_t max = file_max < SIZE_MAX / 2 ? file_max : SIZE_MAX / 2;
    uint64_t limit, total;
    ski_store_seg *g;
    size_t i;
    void *q;
    if (!s || !ids || !rows || !nrows) return SKETCH_E_ARG;
    if (!s->writable || s->failed || s->pid != (long)getpid()) return SKETCH_E_STATE;
    total = s->own ? s->own->rows + s->pending : 0;
    limit = (max - SKI_STORE_HEAD) / s->row_bytes;
    if (limit > max / 32) limit = max / 32;                  /* d < 4: the index is the longer file */
    if (nrows > limit - total) return SKETCH_E_SIZE;

    /* memory first: E_MEMORY changes nothing */
    q = ski_store_grow(s->recs, &s->recs_cap, s->pending, nrows, SKI_STORE_REC);
    if (!q) return SKETCH_E_MEMORY;
    s->recs = (unsigned char *)q;
    if (ski_store_set_reserve(s, nrows) != SKETCH_OK) return SKETCH_E_MEMORY;
    g = s->own ? s->own : ski_store_seg_new(s);
    if (!g) return SKETCH_E_MEMORY;
    q = ski_store_grow(g->ids, &g->cap, (size_t)total, nrows, sizeof *g->ids);
    if (!q) {
        if (!s->own) SKETCH_FREE(g);
        return SKETCH_E_MEMORY;
    }
    g->ids = (uint64_t *)q;
    if (!s->own) {
        int bad = ski_store_segment_create(s, g);
        s->own = g;
        ski_store_insert(s, g);
        if (bad) return ski_store_fail(s);
    }
    if (ski_store_put(s->data_fd, SKI_STORE_HEAD + total * s->row_bytes, rows, nrows * (size_t)s->row_bytes)
        != 0)
        return ski_store_fail(s);
    for (i = 0; i < nrows; i++) {
        unsigned char *r = s->recs + (s->pending + i) * SKI_STORE_REC;
        uint32_t c = ski_crc_of(&s->crc, rows + i * (size_t)s->d, (size_t)s->row_bytes);
        memcpy(r, &ids[i], 8);
        memcpy(r + 8, &c, 4);
        c = ski_crc_of(&s->crc, r, 12);
        memcpy(r + 12, &c, 4);
    }
    memcpy(g->ids + total, ids, nrows * sizeof *ids);
    ski_store_set_add(s, ids, nrows);
    s->pending += nrows;
    return SKETCH_OK;
}
static sketch_status ski_store_flush(sketch_store *s, int closing) {
    unsigned char h[SKI_STORE_HEAD], *map = NULL;
    ski_store_seg *g = s->own;
    uint64_t rows;
    int bad;
    if (s->failed || s->pid != (long)getpid()) return SKETCH_E_STATE;
    if (!s->pending) return SKETCH_OK;
    rows = g->rows + s->pending;
    /* first what can fail and be tried again */
    if (!closing) {
        sketch_status st = ski_store_prepare(s, s->data_fd, rows, &map);
        if (st != SKETCH_OK) return st;
    }
    bad = ski_store_sync(s->data_fd) != 0;
    if (!bad && !g->rows)
        bad = ski_store_sync(s->idx_fd) != 0 || ski_store_sync_dir(ski_store_path(s, 0, ".", "")) != 0;
    bad = bad
          || ski_store_put(s->idx_fd, SKI_STORE_HEAD + g->rows * SKI_STORE_REC, s->recs,
                           s->pending * SKI_STORE_REC)
                 != 0
          || ski_store_sync(s->idx_fd) != 0; /* from here on the rows survive */
    if (!bad) {
        ski_store_header(s, 0, rows, h);
        bad = ski_store_put(s->data_fd, 0, h, sizeof h) != 0;
        ski_store_header(s, 1, rows, h);
        bad = bad || ski_store_put(s->idx_fd, 0, h, sizeof h) != 0;
    }
    if (bad) {
        if (map) munmap(map, (size_t)(SKI_STORE_HEAD + rows * s->row_bytes));
        return ski_store_fail(s);
    }
    s->pending = 0;
    g->claimed = rows;
    if (!closing) ski_store_accept(s, g, rows, map);
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_store_commit(sketch_store *s) {
    return s ? ski_store_flush(s, 0) : SKETCH_E_ARG;
}

SKETCH_API sketch_status sketch_store_close(sketch_store *s) {
    sketch_status st = SKETCH_OK;
    if (!s) return SKETCH_OK;
    if (s->failed || s->pending) st = ski_store_flush(s, 1);
    if (st == SKETCH_OK && s->own && s->pid == (long)getpid()
        && (ski_store_sync(s->data_fd) != 0 || ski_store_sync(s->idx_fd) != 0))
        st = SKETCH_E_IO;
    if (s->data_fd >= 0 && close(s->data_fd) != 0 && st == SKETCH_OK) st = SKETCH_E_IO;
    if (s->idx_fd >= 0 && close(s->idx_fd) != 0 && st == SKETCH_OK) st = SKETCH_E_IO;
    ski_store_free(s);
    return st;
}

SKETCH_API uint64_t sketch_store_count(const sketch_store *s)       { return s ? s->count : 0; }
SKETCH_API uint64_t sketch_store_dim(const sketch_store *s)         { return s ? s->d : 0; }
SKETCH_API uint64_t sketch_store_fingerprint(const sketch_store *s) { return s ? s->fingerprint : 0; }
SKETCH_API int sketch_store_has(const sketch_store *s, uint64_t id) {
    if (!s) return 0;
    if (!id) return s->set_zero;
    return s->set && s->set[ski_store_slot(s, id)] != 0;
}
SKETCH_API sketch_status sketch_store_rows(const sketch_store *s, uint64_t first, uint64_t *nrows,
                                           const float **rows, const uint64_t **ids) {
    const ski_store_run *r;
    size_t lo = 0, hi;
    uint64_t k;
    if (nrows) *nrows = 0;
    if (rows)  *rows = NULL;
    if (ids)   *ids = NULL;
    if (!s || !nrows || !rows || !ids) return SKETCH_E_ARG;
    if (first >= s->count) return SKETCH_E_SIZE;
    /* the last run with base <= first */
    for (hi = s->nruns; hi - lo > 1; ) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->runs[mid].base <= first)
            lo = mid;
        else
            hi = mid;
    }
    r = &s->runs[lo];
    k = first - r->base;
    *nrows = r->count - k;
    *rows = (const float *)(const void *)(r->seg->map + SKI_STORE_HEAD + (r->first + k) * s->row_bytes);
    *ids = r->seg->ids + r->first + k;
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_store_verify(sketch_store *s, uint64_t *bad_rows) {
    unsigned char buf[SKI_STORE_BATCH * SKI_STORE_REC];
    uint64_t bad = 0, size, k;
    size_t i, n, j, got;
    if (bad_rows) *bad_rows = 0;
    if (!s || !bad_rows) return SKETCH_E_ARG;
    for (i = 0; i < s->nsegs; i++) {
        const ski_store_seg *g = s->segs[i];
        uint64_t have;
        int fd;
        bad += g->claimed - g->rows;                         /* committed once, not to be found now */
        if (!g->rows) continue;
        /* truncated since it was mapped: do not touch the rows */
        fd = ski_store_openread(ski_store_path(s, 0, g->name, ".npy"), &size);
        if (fd < 0) return SKETCH_E_IO;
        close(fd);
        have = size < SKI_STORE_HEAD ? 0 : (size - SKI_STORE_HEAD) / s->row_bytes;
        fd = ski_store_openread(ski_store_path(s, 0, g->name, ".idx.npy"), &size);
        if (fd < 0) return SKETCH_E_IO;
        for (k = 0; k < g->rows; k += n) {
            n = g->rows - k < SKI_STORE_BATCH ? (size_t)(g->rows - k) : (size_t)SKI_STORE_BATCH;
            if (ski_store_get(fd, SKI_STORE_HEAD + k * SKI_STORE_REC, buf, n * SKI_STORE_REC, &got) != 0) {
                close(fd);
                return SKETCH_E_IO;
            }
            for (j = 0; j < n; j++) {
                const unsigned char *r = buf + j * SKI_STORE_REC;
                uint32_t row, rec;
                memcpy(&row, r + 8, 4);
                memcpy(&rec, r + 12, 4);
                bad += (j + 1) * SKI_STORE_REC > got || k + j >= have || memcmp(r, &g->ids[k + j], 8) != 0
                       || rec != ski_crc_of(&s->crc, r, 12)
                       || row
                              != ski_crc_of(&s->crc, g->map + SKI_STORE_HEAD + (k + j) * s->row_bytes,
                                               (size_t)s->row_bytes);
            }
        }
        close(fd);
    }
    *bad_rows = bad;
    return SKETCH_OK;
}

/* ---- a Krylov space in a file --------------------------------------------------------------------------
   Little-endian. Two head slots, at bytes 0 and 512, then from byte 4096 rows without gaps. Slot
   "sketch.h krylov1", d, rows, restarts <u8, norm, slack, skew <f8, CRC of the 64 bytes before <u4. The
   valid slot with more rows counts. Row i alpha, beta of step i - 1 <f8 (0, 0 in row 0), CRC of the row's
   4 d bytes <u4, CRC of the 20 bytes before <u4, then the row, <f4. Writing: a new file is head alone (0
   rows), under the name path.tmp, fsync, rename, fsync of the directory. Then rows, fdatasync, the slot
   that does not count, fdatasync: so a slot never counts before its rows are there, and a torn slot
   leaves the other. */
enum { SKI_KRYLOV_SLOT = 68, SKI_KRYLOV_HEAD = 4096, SKI_KRYLOV_REC = 24, SKI_KRYLOV_PATH = 1024 };

static uint64_t ski_krylov_at(uint64_t d, uint64_t row) {
    return SKI_KRYLOV_HEAD + row * (SKI_KRYLOV_REC + 4 * d);
}
static void ski_krylov_slot_put(const ski_crc *crc, const sketch_krylov *k, uint64_t rows,
                                unsigned char *slot) {
    uint64_t u[3];
    double f[3];
    uint32_t c;
    u[0] = k->d;
    u[1] = rows;
    u[2] = k->restarts;
    f[0] = k->norm;
    f[1] = k->slack;
    f[2] = k->skew;
    memcpy(slot, "sketch.h krylov1", 16);
    memcpy(slot + 16, u, 24);
    memcpy(slot + 40, f, 24);
    c = ski_crc_of(crc, slot, 64);
    memcpy(slot + 64, &c, 4);
}
/* Which slot counts: 0 or 1, its numbers in u and f; -1: none; -2: cannot be read. */
static int ski_krylov_slot_get(const ski_crc *crc, int fd, uint64_t *u, double *f) {
    unsigned char slot[SKI_KRYLOV_SLOT];
    size_t got;
    uint32_t c;
    int which, best = -1;
    for (which = 0; which < 2; which++) {
        uint64_t rows;
        if (ski_store_get(fd, (uint64_t)which * 512, slot, sizeof slot, &got) != 0) return -2;
        memcpy(&c, slot + 64, 4);
        memcpy(&rows, slot + 24, 8);
        if (got < sizeof slot || memcmp(slot, "sketch.h krylov1", 16) != 0
            || c != ski_crc_of(crc, slot, 64) || (best >= 0 && rows <= u[1]))
            continue;
        best = which;
        memcpy(u, slot + 16, 24);
        memcpy(f, slot + 40, 24);
    }
    return best;
}
static int ski_krylov_create(const ski_crc *crc, const sketch_krylov *k, const char *path) {
    char tmp[SKI_KRYLOV_PATH + 8];
    unsigned char head[SKI_KRYLOV_HEAD];
    size_t n = strlen(path);
    int fd, r;
    memcpy(tmp, path, n);
    memcpy(tmp + n, ".tmp", 5);
    fd = ski_store_openfd(tmp, O_RDWR | O_CREAT | O_TRUNC);
    if (fd < 0) return -1;
    memset(head, 0, sizeof head);
    ski_krylov_slot_put(crc, k, 0, head);
    r = ski_store_put(fd, 0, head, sizeof head) != 0 || ski_store_sync(fd) != 0;
    close(fd);
    if (r || rename(tmp, path) != 0) {
        unlink(tmp);
        return -1;
    }
    memcpy(tmp, path, n + 1);
    while (n && tmp[n - 1] != '/') n--;
    if (n)
        tmp[n > 1 ? n - 1 : 1] = 0;
    else
        memcpy(tmp, ".", 2);
    return ski_store_sync_dir(tmp);
}
static sketch_status ski_krylov_io_ok(const sketch_krylov *k, const char *path, ski_crc *crc) {
    const uint32_t one = 1;
    if (!k || !k->basis || !k->alpha || !k->beta || !k->d || !path || !*path
        || strlen(path) >= SKI_KRYLOV_PATH)
        return SKETCH_E_ARG;
    if (!sketch_krylov_floats(k->d, k->steps) || k->done > k->steps || k->saved > k->done + 1)
        return SKETCH_E_SIZE;
    if (*(const unsigned char *)&one != 1) return SKETCH_E_UNSUPPORTED;
    ski_crc_init(crc);
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_krylov_save(sketch_krylov *k, const char *path) {
    ski_crc crc;                    /* 8 KiB of stack */
    unsigned char rec[SKI_KRYLOV_REC], slot[SKI_KRYLOV_SLOT];
    uint64_t u[3], size, i;
    double f[3];
    uint32_t c;
    int fd, which, bad = 0;
    sketch_status st = ski_krylov_io_ok(k, path, &crc);
    if (st != SKETCH_OK || k->saved == k->done + 1) return st;
    if (k->saved == 0 && ski_krylov_create(&crc, k, path) != 0) return SKETCH_E_IO;
    /* a regular file: its name opens nothing else below */
    fd = ski_store_openread(path, &size);
    if (fd < 0) return SKETCH_E_IO;
    close(fd);
    fd = ski_store_openfd(path, O_RDWR | O_NONBLOCK);
    if (fd < 0) return SKETCH_E_IO;
    which = ski_krylov_slot_get(&crc, fd, u, f);
    if (which < 0 || u[0] != k->d || u[1] != k->saved || size < ski_krylov_at(k->d, k->saved)) {
        close(fd);
        return which == -2 ? SKETCH_E_IO : SKETCH_E_STATE;
    }
    for (i = k->saved; i <= k->done && !bad; i++) {
        const float *row = k->basis + i * k->d;
        double ab[2];
        ab[0] = i ? k->alpha[i - 1] : 0;
        ab[1] = i ? k->beta[i - 1] : 0;
        memcpy(rec, ab, 16);
        c = ski_crc_of(&crc, row, k->d * sizeof(float));
        memcpy(rec + 16, &c, 4);
        c = ski_crc_of(&crc, rec, 20);
        memcpy(rec + 20, &c, 4);
        bad = ski_store_put(fd, ski_krylov_at(k->d, i), rec, sizeof rec) != 0
              || ski_store_put(fd, ski_krylov_at(k->d, i) + SKI_KRYLOV_REC, row, k->d * sizeof(float)) != 0;
    }
    ski_krylov_slot_put(&crc, k, (uint64_t)k->done + 1, slot);
    bad = bad || ski_store_sync(fd) != 0 || ski_store_put(fd, which ? 0 : 512, slot, sizeof slot) != 0
          || ski_store_sync(fd) != 0;
    if (close(fd) != 0) bad = 1;
    if (bad) return SKETCH_E_IO;
    k->saved = k->done + 1;
    return SKETCH_OK;
}
SKETCH_API sketch_status sketch_krylov_load(sketch_krylov *k, const char *path) {
    ski_crc crc;
    unsigned char rec[SKI_KRYLOV_REC];
    uint64_t u[3], size, rows, i;
    double f[3];
    uint32_t first = 0, c[2];
    size_t got, bytes;
    int fd, which;
    sketch_status st;
    if (k) k->done = k->saved = 0;
    st = ski_krylov_io_ok(k, path, &crc);
    if (st != SKETCH_OK) return st;
    bytes = k->d * sizeof(float);
    fd = ski_store_openread(path, &size);
    /* something else with that name, or nothing */
    if (fd == -1) {
        struct stat there;
        return stat(path, &there) == 0 ? SKETCH_E_FORMAT : SKETCH_OK;
    }
    if (fd < 0) return SKETCH_E_IO;
    which = ski_krylov_slot_get(&crc, fd, u, f);
    if (which < 0 || u[0] != k->d
        || u[1] > (UINT64_MAX - SKI_KRYLOV_HEAD) / (SKI_KRYLOV_REC + 4 * (uint64_t)k->d)
        || size < ski_krylov_at(k->d, u[1])) {
        close(fd);
        return which == -2 ? SKETCH_E_IO : SKETCH_E_FORMAT;
    }
    first = ski_crc_of(&crc, k->basis, bytes);
    rows = SKI_MIN(u[1], (uint64_t)k->steps + 1);
    for (i = 0; i < rows && st == SKETCH_OK; i++) {
        double ab[2];
        float *row = k->basis + i * k->d;
        if (ski_store_get(fd, ski_krylov_at(k->d, i), rec, sizeof rec, &got) != 0) {
            st = SKETCH_E_IO;
            break;
        }
        memcpy(ab, rec, 16);
        memcpy(c, rec + 16, 8);
        if (got < sizeof rec || c[1] != ski_crc_of(&crc, rec, 20) || (i == 0 && c[0] != first)) {
            st = SKETCH_E_FORMAT;
            break;
        }
        if (ski_store_get(fd, ski_krylov_at(k->d, i) + SKI_KRYLOV_REC, row, bytes, &got) != 0) {
            st = SKETCH_E_IO;
            break;
        }
        if (got < bytes || c[0] != ski_crc_of(&crc, row, bytes)) st = SKETCH_E_FORMAT;
        else if (i) {
            k->alpha[i - 1] = ab[0];
            k->beta[i - 1] = ab[1];
        }
    }
    close(fd);
    if (st != SKETCH_OK || rows == 0) return st;
    k->done = (size_t)rows - 1;
    k->saved = (size_t)rows;
    k->restarts = (size_t)u[2];
    k->norm = f[0];
    k->slack = f[1];
    k->skew = f[2];
    return SKETCH_OK;
}
#endif /* _WIN32 */
#endif /* SKETCH_NO_STDIO */

#if defined(__clang__)
#  pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
#  pragma GCC diagnostic pop
#  pragma GCC pop_options
#endif
#endif /* SKETCH_IMPLEMENTATION */

/* // >>helpers ============================================================================================
   Bodies of the helpers declared in >>api: plain C on its calls alone, in the order of the declarations. */
#if !defined(SKI_HELPERS) && !defined(SKI_TEMPLATE)
#define SKI_HELPERS
#ifdef __cplusplus
extern "C" {
#endif

/* rows*cols*elem bytes is a possible array */
SKI_INLINE int ski_fits(size_t rows, size_t cols, size_t elem) {
    return rows == 0 || cols <= ((size_t)-1 / 2) / elem / rows;
}

/* ---- top-k --------------------------------------------------------------------------------------- */

SKI_INLINE int ski_hit_better(sketch_hit a, sketch_hit b, sketch_order order) {
    if (a.score != a.score) return 0;
    if (b.score != b.score) return 1;
    if (a.score > b.score) return order == SKETCH_HIGHEST;
    if (a.score < b.score) return order == SKETCH_LOWEST;
    return a.id < b.id;
}

SKI_INLINE void ski_hit_sift_down(sketch_hit *heap, size_t count, size_t hole, sketch_order order) {
    sketch_hit h = heap[hole];
    /* it has a child: 2 hole + 1 < count */
    while (hole < count / 2) {
        size_t child = 2 * hole + 1;
        /* the worse child */
        if (child + 1 < count && ski_hit_better(heap[child], heap[child + 1], order)) child++;
        /* h is no better than it: h may stay above */
        if (!ski_hit_better(h, heap[child], order)) break;
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = h;
}

SKETCH_INLINE sketch_status sketch_topk_push(sketch_hit *heap, size_t k, size_t *count, uint64_t id,
                                             float score, sketch_order order) {
    size_t i, up;
    sketch_hit h;
    if (!count || (k && !heap) || *count > k || (order != SKETCH_HIGHEST && order != SKETCH_LOWEST))
        return SKETCH_E_ARG;
    if (k == 0 || score != score) return SKETCH_OK;
    h.id = id;
    h.score = score;
    if (*count == k) {
        if (ski_hit_better(h, heap[0], order)) {
            heap[0] = h;
            ski_hit_sift_down(heap, k, 0, order);
        }
        return SKETCH_OK;
    }
    for (i = (*count)++; i > 0; i = up) {
        up = (i - 1) / 2;
        if (!ski_hit_better(heap[up], h, order)) break;
        heap[i] = heap[up];
    }
    heap[i] = h;
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_topk_sort(sketch_hit *heap, size_t count, sketch_order order) {
    size_t i;
    if ((count && !heap) || (order != SKETCH_HIGHEST && order != SKETCH_LOWEST)) return SKETCH_E_ARG;
    for (i = count / 2; i > 0; i--) ski_hit_sift_down(heap, count, i - 1, order);
    /* the worst of what is left goes to its end */
    for (i = count; i > 1; i--) {
        sketch_hit h = heap[0];
        heap[0] = heap[i - 1];
        heap[i - 1] = h;
        ski_hit_sift_down(heap, i - 1, 0, order);
    }
    return SKETCH_OK;
}

/* ---- scores ------------------------------------------------------------------------------------ */

SKI_INLINE void ski_tda_norms(const float *t, size_t nt, size_t d, double *norms) {
    size_t j;
    for (j = 0; j < nt; j++) norms[j] = sqrt(sketch_dot_f32(t + j * d, t + j * d, d));
}

SKI_INLINE void ski_tda_cosine(const float *q, size_t nq, const float *t, const double *t_norms, size_t nt,
                                  size_t d, float *scores, size_t stride) {
    /* scores[i*stride + j], dot products in f32, become cosines. Where |q||t| nears the ends of f32
       (1e-25: gradients of a mixed-precision run; 1e35) the product may have lost digits and is taken
       again in f64. */
    size_t i, j;
    for (i = 0; i < nq; i++) {
        const float *qi = q + i * d;
        double q_norm = sqrt(sketch_dot_f32(qi, qi, d));
        float *s = scores + i * stride;
        for (j = 0; j < nt; j++) {
            double p = q_norm * t_norms[j], dot = (double)s[j];
            /* no underflow: norms of f32 rows are 0 or > 1e-45 */
            if (p == 0) {
                s[j] = 0;
                continue;
            }
            if (p < 1e-25 || p > 1e35) dot = sketch_dot_f32(qi, t + j * d, d);
            s[j] = (float)(dot / p);
        }
    }
}

SKETCH_INLINE sketch_status sketch_tda_scores(const float *q, size_t nq, const float *t, size_t nt, size_t d,
                                              sketch_metric metric, float *scores,
                                              const sketch_threads *threads) {
    double norms[256];
    size_t j, m;
    sketch_status st;
    if (d == 0 || (metric != SKETCH_DOT && metric != SKETCH_COSINE)) return SKETCH_E_ARG;
    if (nq == 0 || nt == 0) return SKETCH_OK;
    if (!q || !t || !scores) return SKETCH_E_ARG;
    if (!ski_fits(nq, d, sizeof(float)) || !ski_fits(nt, d, sizeof(float))
        || !ski_fits(nq, nt, sizeof(float)))
        return SKETCH_E_SIZE;
    st = sketch_gemm_nt(q, nq, t, nt, d, scores, threads);
    if (st != SKETCH_OK || metric == SKETCH_DOT) return st;
    for (j = 0; j < nt; j += m) {
        m = nt - j < 256 ? nt - j : 256;
        ski_tda_norms(t + j * d, m, d, norms);
        ski_tda_cosine(q, nq, t + j * d, norms, m, d, scores + j, nt);
    }
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_tda_self_influence(const float *rows, size_t nrows, size_t d, float *out) {
    size_t i;
    if (d == 0 || (nrows && (!rows || !out))) return SKETCH_E_ARG;
    if (!ski_fits(nrows, d, sizeof(float))) return SKETCH_E_SIZE;
    for (i = 0; i < nrows; i++) out[i] = (float)sketch_dot_f32(rows + i * d, rows + i * d, d);
    return SKETCH_OK;
}
#ifndef SKETCH_NO_STDIO

SKETCH_INLINE sketch_status sketch_tda_topk(const sketch_store *store, const float *q, size_t nq, size_t d,
                                            sketch_metric metric, sketch_order order, size_t k,
                                            sketch_hit *hits, const sketch_tda_options *opt) {
    enum { SKI_TILE_ROWS = 1024, SKI_QUERIES = 64, SKI_SCORES = 8192 };
    float  scores[SKI_SCORES];                                          /* 32 KiB */
    double norms[SKI_TILE_ROWS];
    uint64_t total, done;
    size_t i, j;
    sketch_status st = SKETCH_OK;
    /* each heap starts full of empty hits */
    if (hits && ski_fits(nq, k, sizeof(sketch_hit)))
        for (i = 0; i < nq * k; i++) {
            hits[i].id = UINT64_MAX;
            hits[i].score = (float)NAN;
        }
    if (!store || d == 0 || (metric != SKETCH_DOT && metric != SKETCH_COSINE)
        || (order != SKETCH_HIGHEST && order != SKETCH_LOWEST))
        return SKETCH_E_ARG;
    if (sketch_store_dim(store) != d) return SKETCH_E_SIZE;
    if (nq == 0 || k == 0) return SKETCH_OK;
    if (!q || !hits) return SKETCH_E_ARG;
    if (!ski_fits(nq, k, sizeof(sketch_hit)) || !ski_fits(nq, d, sizeof(float))) return SKETCH_E_SIZE;

    total = sketch_store_count(store);
    for (done = 0; done < total && st == SKETCH_OK; ) {
        uint64_t run = 0, at, m;
        const float *rows = NULL;
        const uint64_t *ids = NULL;
        st = sketch_store_rows(store, done, &run, &rows, &ids);
        if (st == SKETCH_OK && run == 0) st = SKETCH_E_FORMAT;          /* cannot be; but it must not hang */
        for (at = 0; at < run && st == SKETCH_OK; at += m) {
            const float *t = rows + (size_t)at * d;
            size_t most = nq < SKI_SCORES / SKI_TILE_ROWS
                              ? (size_t)SKI_TILE_ROWS
                              : SKI_SCORES / (nq < SKI_QUERIES ? nq : (size_t)SKI_QUERIES),
                   nt = run - at < most ? (size_t)(run - at) : most, qi, nqi;
            m = nt;
            if (metric == SKETCH_COSINE) ski_tda_norms(t, nt, d, norms);
            for (qi = 0; qi < nq && st == SKETCH_OK; qi += nqi) {
                nqi = nq - qi < SKI_QUERIES ? nq - qi : (size_t)SKI_QUERIES;
                st = sketch_gemm_nt(q + qi * d, nqi, t, nt, d, scores, opt ? &opt->threads : NULL);
                if (st != SKETCH_OK) break;
                if (metric == SKETCH_COSINE) ski_tda_cosine(q + qi * d, nqi, t, norms, nt, d, scores, nt);
                for (i = 0; i < nqi; i++) {
                    sketch_hit *heap = hits + (qi + i) * k;
                    size_t count = k;
                    for (j = 0; j < nt; j++) {
                        /* NaN while there are empty hits */
                        float s = scores[i * nt + j], worst = heap[0].score;
                        if (order == SKETCH_HIGHEST ? s < worst : s > worst) continue;
                        (void)sketch_topk_push(heap, k, &count, ids[(size_t)at + j], s, order);
                    }
                }
            }
            if (st == SKETCH_OK) {
                done += m;
                if (opt && opt->progress.fn && opt->progress.fn(opt->progress.user, done, total))
                    st = SKETCH_E_CALLBACK;
            }
        }
    }
    for (i = 0; i < nq; i++) (void)sketch_topk_sort(hits + i * k, k, order);
    return st;
}
#endif

/* ---- whitening ------------------------------------------------------------------------------------- */
enum { SKI_TILE = 32 };
/* 24 KiB: one step of a blocked product, in L1. One struct, so that the compiler sees that nothing
   overlaps */
typedef struct ski_tile {
    double a[SKI_TILE][SKI_TILE], b[SKI_TILE][SKI_TILE], sum[SKI_TILE][SKI_TILE];
} ski_tile;

/* sum[i][j] += sum over r of a[r][i] b[r][j] */
SKI_INLINE void ski_tile_mac(ski_tile *p) {
    int i, j, r;
    /* 4 at once: a quarter of the loads and stores of sum */
    for (r = 0; r < SKI_TILE; r += 4)
        for (i = 0; i < SKI_TILE; i++) {
            double a0 = p->a[r][i], a1 = p->a[r + 1][i], a2 = p->a[r + 2][i], a3 = p->a[r + 3][i];
            /* constant length, no overlap: vectorised at -O2 */
            for (j = 0; j < SKI_TILE; j++)
                p->sum[i][j]
                    += (a0 * p->b[r][j] + a1 * p->b[r + 1][j]) + (a2 * p->b[r + 2][j] + a3 * p->b[r + 3][j]);
        }
}

SKI_INLINE void ski_tile_load_f32(double (*to)[SKI_TILE], const float *x, size_t rows, size_t cols,
                                     size_t stride) {
    /* to[r][c] = x[r,c]; zero elsewhere */
    size_t r, c;
    for (r = 0; r < SKI_TILE; r++)
        for (c = 0; c < SKI_TILE; c++) to[r][c] = r < rows && c < cols ? (double)x[r * stride + c] : 0.0;
}

SKI_INLINE void ski_tile_load_t(double (*to)[SKI_TILE], const double *x, size_t rows, size_t cols,
                                   size_t stride) {
    /* to[c][r] = x[r,c]; zero elsewhere */
    size_t r, c;
    for (c = 0; c < SKI_TILE; c++)
        for (r = 0; r < SKI_TILE; r++) to[c][r] = r < rows && c < cols ? x[r * stride + c] : 0.0;
}

SKETCH_INLINE sketch_status sketch_tda_gram(const float *rows, size_t nrows, size_t d, double *gram) {
    ski_tile p;
    size_t i0, j0, r0, i, j, ni, nj;
    if (d == 0 || !gram || (nrows && !rows)) return SKETCH_E_ARG;
    if (!ski_fits(nrows, d, sizeof(float)) || !ski_fits(d, d, sizeof(double))) return SKETCH_E_SIZE;
    if (nrows == 0) return SKETCH_OK;
    for (i0 = 0; i0 < d; i0 += SKI_TILE)
        /* tiles on and below the diagonal */
        for (j0 = 0; j0 <= i0; j0 += SKI_TILE) {
            ni = d - i0 < SKI_TILE ? d - i0 : (size_t)SKI_TILE;
            nj = d - j0 < SKI_TILE ? d - j0 : (size_t)SKI_TILE;
            memset(p.sum, 0, sizeof p.sum);
            for (r0 = 0; r0 < nrows; r0 += SKI_TILE) {
                ski_tile_load_f32(p.a, rows + r0 * d + i0, nrows - r0, ni, d);
                ski_tile_load_f32(p.b, rows + r0 * d + j0, nrows - r0, nj, d);
                ski_tile_mac(&p);
            }
            for (i = 0; i < ni; i++)
                for (j = 0; j < nj && j0 + j <= i0 + i; j++) {
                    gram[(i0 + i) * d + j0 + j] += p.sum[i][j];
                    gram[(j0 + j) * d + i0 + i] = gram[(i0 + i) * d + j0 + j];
                }
        }
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_tda_whiten_factor(double *gram, size_t d, double ridge) {
    ski_tile p;
    size_t i0, j0, k0, i, j, k, ni, nj;
    if (d == 0 || !gram || !(ridge >= 0) || ridge > 1.7976931348623157e308) return SKETCH_E_ARG;
    if (!ski_fits(d, d, sizeof(double))) return SKETCH_E_SIZE;
    /* a column of tiles: A[:,J] */
    for (j0 = 0; j0 < d; j0 += SKI_TILE) {
        nj = d - j0 < SKI_TILE ? d - j0 : (size_t)SKI_TILE;
        for (j = 0; j < nj; j++) gram[(j0 + j) * d + j0 + j] += ridge;
        for (i0 = j0; i0 < d; i0 += SKI_TILE) {
            ni = d - i0 < SKI_TILE ? d - i0 : (size_t)SKI_TILE;
            /* A[I,J] - sum over K < J of C[I,K] C[J,K]^T */
            memset(p.sum, 0, sizeof p.sum);
            for (k0 = 0; k0 < j0; k0 += SKI_TILE) {
                ski_tile_load_t(p.a, gram + i0 * d + k0, ni, SKI_TILE, d);
                ski_tile_load_t(p.b, gram + j0 * d + k0, nj, SKI_TILE, d);
                ski_tile_mac(&p);
            }
            for (i = 0; i < ni; i++) {
                double *row = gram + (i0 + i) * d + j0;
                /* then by the diagonal tile's C[J,J]^-T */
                for (j = 0; j < nj && j0 + j <= i0 + i; j++) {
                    const double *cj = gram + (j0 + j) * d + j0;
                    double v = row[j] - p.sum[i][j];
                    for (k = 0; k < j; k++) v -= row[k] * cj[k];
                    if (i0 + i != j0 + j) {
                        row[j] = v / cj[j];
                        continue;
                    }
                    if (!(v - v == 0)) return SKETCH_E_NONFINITE;
                    if (v <= 2.220446049250313e-16 * (double)d * row[j]) return SKETCH_E_CONVERGE;
                    row[j] = sqrt(v);
                }
            }
        }
    }
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_tda_whiten(const double *chol, size_t d, float *x, size_t nrows,
                                              double *scratch) {
    size_t i, k, r0, r, m;
    if (d == 0 || !chol || (nrows && (!x || !scratch))) return SKETCH_E_ARG;
    if (!ski_fits(d, d, sizeof(double)) || !ski_fits(4, d, sizeof(double))
        || !ski_fits(nrows, d, sizeof(float)))
        return SKETCH_E_SIZE;
    for (i = 0; i < d; i++) if (!(chol[i * d + i] > 0)) return SKETCH_E_ARG;
    /* 4 rows side by side: s[4*i + r] */
    for (r0 = 0; r0 < nrows; r0 += m) {
        double *s = scratch;
        m = nrows - r0 < 4 ? nrows - r0 : 4;
        for (i = 0; i < d; i++)
            for (r = 0; r < 4; r++) s[4 * i + r] = r < m ? (double)x[(r0 + r) * d + i] : 0.0;
        /* C s = x */
        for (i = 0; i < d; i++) {
            const double *c = chol + i * d;
            double s0 = s[4 * i], s1 = s[4 * i + 1], s2 = s[4 * i + 2], s3 = s[4 * i + 3];
            for (k = 0; k < i; k++) {
                s0 -= c[k] * s[4 * k];
                s1 -= c[k] * s[4 * k + 1];
                s2 -= c[k] * s[4 * k + 2];
                s3 -= c[k] * s[4 * k + 3];
            }
            s[4 * i] = s0 / c[i];
            s[4 * i + 1] = s1 / c[i];
            s[4 * i + 2] = s2 / c[i];
            s[4 * i + 3] = s3 / c[i];
        }
        /* C^T s = s, by rows of C */
        for (i = d; i-- > 0; ) {
            const double *c = chol + i * d;
            double s0 = s[4 * i] / c[i], s1 = s[4 * i + 1] / c[i], s2 = s[4 * i + 2] / c[i],
                   s3 = s[4 * i + 3] / c[i];
            s[4 * i] = s0;
            s[4 * i + 1] = s1;
            s[4 * i + 2] = s2;
            s[4 * i + 3] = s3;
            for (k = 0; k < i; k++) {
                s[4 * k] -= c[k] * s0;
                s[4 * k + 1] -= c[k] * s1;
                s[4 * k + 2] -= c[k] * s2;
                s[4 * k + 3] -= c[k] * s3;
            }
        }
        for (r = 0; r < m; r++)
            for (i = 0; i < d; i++) x[(r0 + r) * d + i] = (float)s[4 * i + r];
    }
    return SKETCH_OK;
}

/* ---- correlations ------------------------------------------------------------------------------ */

SKETCH_INLINE double sketch_pearson(const float *a, const float *b, size_t n) {
    double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0, r;
    size_t i;
    if (n < 2 || !a || !b) return (double)NAN;
    /* means, seen from the first entry: */
    for (i = 0; i < n; i++) {
        ma += (double)a[i] - (double)a[0];
        mb += (double)b[i] - (double)b[0];
    }
    /* exact for a constant */
    ma = ma / (double)n + (double)a[0];
    mb = mb / (double)n + (double)b[0];
    for (i = 0; i < n; i++) {
        double x = (double)a[i] - ma, y = (double)b[i] - mb;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    if (!(aa > 0 && bb > 0)) return (double)NAN;
    /* neither over- nor underflows; exactly 1 for a = b */
    r = ab / sqrt(aa * bb);
    return r > 1 ? 1.0 : r < -1 ? -1.0 : r;
}

/* index[n]: positions of x in ascending order (heap sort) */
SKI_INLINE void ski_rank_sort(const float *x, uint64_t *index, size_t n) {
    size_t i, m, hole, child;
    for (i = 0; i < n; i++) index[i] = i;
    /* n/2 steps build the heap, n - 1 take it down */
    for (i = n / 2 + n; i-- > 1; ) {
        uint64_t v;
        if (i >= n) {
            hole = i - n;
            m = n;
            v = index[hole];
        } else {
            hole = 0;
            m = i;
            v = index[i];
            index[i] = index[0];
        }
        while (hole < m / 2) {
            child = 2 * hole + 1;
            if (child + 1 < m && x[index[child + 1]] > x[index[child]]) child++;
            if (!(x[index[child]] > x[v])) break;
            index[hole] = index[child];
            hole = child;
        }
        index[hole] = v;
    }
}

SKETCH_INLINE double sketch_spearman(const float *a, const float *b, size_t n,
                                     uint64_t *scratch) {
    uint64_t *index = scratch, *rank_a = scratch ? scratch + n : NULL;
    double aa = 0, bb = 0, ab = 0, r;
    size_t i, j, k;
    if (n < 2 || !a || !b || !scratch) return (double)NAN;
    for (i = 0; i < n; i++) if (a[i] != a[i] || b[i] != b[i]) return (double)NAN;
    ski_rank_sort(a, index, n);
    /* positions i..j-1 are equal: 2 rank = i + j - 1, an integer */
    for (i = 0; i < n; i = j) {
        for (j = i + 1; j < n && a[index[j]] == a[index[i]]; j++) { }
        for (k = i; k < j; k++) rank_a[index[k]] = (uint64_t)i + j - 1;
    }
    ski_rank_sort(b, index, n);
    for (i = 0; i < n; i = j) {
        double y;
        for (j = i + 1; j < n && b[index[j]] == b[index[i]]; j++) { }
        y = ((double)i + (double)j - 1) - (double)(n - 1);              /* 2 (rank - mean rank) */
        for (k = i; k < j; k++) {
            double x = (double)rank_a[index[k]] - (double)(n - 1);
            aa += x * x;
            bb += y * y;
            ab += x * y;
        }
    }
    if (!(aa > 0 && bb > 0)) return (double)NAN;
    r = ab / sqrt(aa * bb);
    return r > 1 ? 1.0 : r < -1 ? -1.0 : r;
}

/* ---- the sketch length ------------------------------------------------------------------------- */

SKETCH_INLINE sketch_status sketch_truncate(const float *y, size_t rows, size_t d, size_t y_stride,
                                            float *out, size_t d_new) {
    double f;
    size_t i, j;
    if (d == 0 || (rows && (!y || !out))) return SKETCH_E_ARG;
    if (y_stride == 0) y_stride = d;
    if (d_new == 0 || d_new > d || y_stride < d || !ski_fits(rows, y_stride, sizeof(float)))
        return SKETCH_E_SIZE;
    f = sqrt((double)d / (double)d_new);
    /* ascending: with out == y nothing is overwritten before it is read */
    for (i = 0; i < rows; i++)
        for (j = 0; j < d_new; j++) out[i * d_new + j] = (float)((double)y[i * y_stride + j] * f);
    return SKETCH_OK;
}

enum { SKI_PARTS = 16 };
/* Sums over pairs (query, train) that sketch_advise_d works from. The coordinates are cut into 16 parts;
   p_b: a pair's score from part b alone; X = sum of the p_b. Sums of disjoint groups of pairs add and
   subtract. */
typedef struct ski_advise_sums {
    double n, x, xx, p[SKI_PARTS], pp[SKI_PARTS], xp[SKI_PARTS];
} ski_advise_sums;

SKI_INLINE void ski_advise_add(ski_advise_sums *to, const ski_advise_sums *s, double sign) {
    int b;
    to->n += sign * s->n;
    to->x += sign * s->x;
    to->xx += sign * s->xx;
    for (b = 0; b < SKI_PARTS; b++) {
        to->p[b] += sign * s->p[b];
        to->pp[b] += sign * s->pp[b];
        to->xp[b] += sign * s->xp[b];
    }
}

SKI_INLINE double ski_advise_f(const ski_advise_sums *s, int without, double *signal, double *noise) {
    /* F = (signal + noise)/noise at the full length, from all parts but `without` (-1: from all). With w:
       mean variance of a part, c: mean covariance of two parts, over pairs: w = V/B^2 + N/B and c = V/B^2,
       so V = B^2 c, N = B (w - c). */
    double all = SKI_PARTS, parts = 0, w = 0, c, var, x = s->x, xx = s->xx;
    int b;
    for (b = 0; b < SKI_PARTS; b++) {
        /* sums of X - p_b, (X - p_b)^2 */
        if (b == without) {
            x -= s->p[b];
            xx += s->pp[b] - 2 * s->xp[b];
            continue;
        }
        w += s->pp[b] / s->n - (s->p[b] / s->n) * (s->p[b] / s->n);
        parts++;
    }
    var = xx / s->n - (x / s->n) * (x / s->n);                          /* = parts w + parts (parts - 1) c */
    c = (var - w) / (parts * (parts - 1));
    w = w / parts;
    if (signal) *signal = all * all * c;
    if (noise)  *noise = all * (w - c);
    return 1 + all * c / (w - c);
}

/* delete-a-group jackknife: variance of log F */
SKI_INLINE double ski_advise_jack(const double *log_f, size_t groups) {
    double mean = 0, v = 0;
    size_t g;
    for (g = 0; g < groups; g++) mean += log_f[g] / (double)groups;
    for (g = 0; g < groups; g++) v += (log_f[g] - mean) * (log_f[g] - mean);
    return v * (double)(groups - 1) / (double)groups;
}

SKETCH_INLINE sketch_status sketch_advise_d(const float *q, size_t nq, const float *t, size_t nt, size_t d,
                                            double target_r, sketch_advice *advice) {
    ski_advise_sums total, by_q[16], by_t[16];                          /* 14 KiB */
    double log_f[16], var[3], f, f_low, f_high, v = 0, dof = 0, half, odds, signal, noise;
    size_t groups_q = nq < 16 ? nq : 16, groups_t = nt < 16 ? nt : 16, part = d / SKI_PARTS, gq, gt, i, j;
    int b;
    if (!advice) return SKETCH_E_ARG;
    memset(advice, 0, sizeof *advice);
    if (!q || !t || !(target_r > 0 && target_r < 1)) return SKETCH_E_ARG;
    if (d < 2 * SKI_PARTS || nq == 0 || nt < 16 / groups_q || nt * groups_q < 16
        || !ski_fits(nq, d, sizeof(float)) || !ski_fits(nt, d, sizeof(float)))
        return SKETCH_E_SIZE;

    memset(&total, 0, sizeof total);
    memset(by_q, 0, sizeof by_q);
    memset(by_t, 0, sizeof by_t);
    for (gt = 0; gt < groups_t; gt++)
        for (gq = 0; gq < groups_q; gq++) {
            ski_advise_sums cell;
            /* group g: floor(g n/groups) .. */
            size_t j1 = nt / groups_t * (gt + 1) + nt % groups_t * (gt + 1) / groups_t;
            size_t i1 = nq / groups_q * (gq + 1) + nq % groups_q * (gq + 1) / groups_q;
            memset(&cell, 0, sizeof cell);
            for (j = nt / groups_t * gt + nt % groups_t * gt / groups_t; j < j1; j++)
                for (i = nq / groups_q * gq + nq % groups_q * gq / groups_q; i < i1; i++) {
                    double p[SKI_PARTS], x = 0;
                    for (b = 0; b < SKI_PARTS; b++) {
                        p[b] = sketch_dot_f32(q + i * d + (size_t)b * part, t + j * d + (size_t)b * part,
                                              part);
                        x += p[b];
                    }
                    cell.n++;
                    cell.x += x;
                    cell.xx += x * x;
                    for (b = 0; b < SKI_PARTS; b++) {
                        cell.p[b] += p[b];
                        cell.pp[b] += p[b] * p[b];
                        cell.xp[b] += x * p[b];
                    }
                }
            ski_advise_add(&total, &cell, 1);
            ski_advise_add(&by_q[gq], &cell, 1);
            ski_advise_add(&by_t[gt], &cell, 1);
        }
    if (!(total.xx - total.xx == 0)) return SKETCH_E_NONFINITE;

    f = ski_advise_f(&total, -1, &signal, &noise);
    advice->d = advice->d_high = (double)INFINITY;
    if (!(noise > 0) || !(f - f == 0)) return SKETCH_E_CONVERGE;
    advice->signal = signal;
    advice->noise = noise;

    var[0] = var[1] = 0;
    for (b = 0; b < SKI_PARTS; b++) log_f[b] = log(fmax(ski_advise_f(&total, b, NULL, NULL), 1e-3));
    var[2] = ski_advise_jack(log_f, SKI_PARTS);
    for (gq = 0; gq < groups_q && groups_q > 1; gq++) {
        ski_advise_add(&total, &by_q[gq], -1);
        log_f[gq] = log(fmax(ski_advise_f(&total, -1, NULL, NULL), 1e-3));
        ski_advise_add(&total, &by_q[gq], 1);
    }
    if (groups_q > 1) var[0] = ski_advise_jack(log_f, groups_q);
    for (gt = 0; gt < groups_t && groups_t > 1; gt++) {
        ski_advise_add(&total, &by_t[gt], -1);
        log_f[gt] = log(fmax(ski_advise_f(&total, -1, NULL, NULL), 1e-3));
        ski_advise_add(&total, &by_t[gt], 1);
    }
    if (groups_t > 1) var[1] = ski_advise_jack(log_f, groups_t);

    /* Satterthwaite: (sum v)^2 / sum (v^2 / (groups - 1)) */
    for (b = 0; b < 3; b++) {
        size_t groups = b == 0 ? groups_q : b == 1 ? groups_t : (size_t)SKI_PARTS;
        v += var[b];
        if (groups > 1) dof += var[b] * var[b] / (double)(groups - 1);
    }
    dof = dof > 0 ? v * v / dof : 1e9;
    /* t quantile, 97.5% */
    half = sqrt(v) * (1.95996 + 2.3723 / dof + 2.8225 / (dof * dof) + 2.556 / (dof * dof * dof));
    f_low = f * exp(-half);
    f_high = f * exp(half);

    /* F - 1 = V/N, in proportion to d */
    odds = (double)(part * SKI_PARTS) * (target_r * target_r / (1 - target_r * target_r));
    if (f > 1) {
        advice->d = odds / (f - 1);
        advice->r_at_d = sqrt(1 - 1 / f);
    }
    if (f_low > 1) {
        advice->d_high = odds / (f_low - 1);
        advice->r_low = sqrt(1 - 1 / f_low);
    }
    if (f_high > 1) {
        advice->d_low = odds / (f_high - 1);
        advice->r_high = sqrt(1 - 1 / f_high);
    } else
        advice->d_low = (double)INFINITY;
    return f > 1 ? SKETCH_OK : SKETCH_E_CONVERGE;
}

/* ---- the Hessian's spectrum ------------------------------------------------------------------------ */

/* 0: bad */
SKI_INLINE uint64_t ski_hessian_dims(const sketch_hessian *h, uint64_t *n, uint64_t *count) {
    sketch_info f;
    *n = *count = 0;
    if (!h || !h->hvp || !h->n0 || !h->n1 || (h->plan && !h->work)) return 0;
    f = sketch_query(h->plan);
    *n = h->plan ? f.n : h->n;
    if (*n == 0 || (h->n && h->n != *n) || h->offset >= *n || h->count > *n - h->offset
        || *n > (size_t)-1 / sizeof(float))
        return 0;
    *count = h->count ? h->count : *n - h->offset;
    return h->plan ? f.d : *count;
}

SKETCH_INLINE uint64_t sketch_hessian_dim(const sketch_hessian *h) {
    uint64_t n, count;
    return ski_hessian_dims(h, &n, &count);
}

SKETCH_INLINE int sketch_hessian_matvec(void *user, const float *v, float *out) {
    const sketch_hessian *h = (const sketch_hessian *)user;
    uint64_t n, count, d = ski_hessian_dims(h, &n, &count);
    sketch_tensor t;
    int r;
    if (!d || !v || !out) return SKETCH_E_ARG;
    if (count < n) memset(h->n0, 0, (size_t)n * sizeof(float));
    if (!h->plan) memcpy(h->n0 + h->offset, v, (size_t)count * sizeof(float));
    else if ((r = sketch_apply_t_range(h->plan, v, h->offset, count, 1.0f, 0.0f, h->n0 + h->offset,
                                       SKETCH_F32, h->work))
             != 0)
        return r;
    if ((r = h->hvp(h->hvp_user, h->n0, h->n1)) != 0) return r;
    if (!h->plan) {
        memcpy(out, h->n1 + h->offset, (size_t)count * sizeof(float));
        return 0;
    }
    memset(out, 0, (size_t)d * sizeof(float));
    t.data = h->n1 + h->offset;
    t.count = count;
    t.stride = 0;
    t.dtype = SKETCH_F32;
    return sketch_accum(h->plan, &t, h->offset, 1, out, 0, h->work);
}

SKETCH_INLINE int sketch_hvp_fd(void *user, const float *v, float *out) {
    const sketch_fd *f = (const sketch_fd *)user;
    double vv, tt, h;
    size_t i;
    int r;
    if (!f || !f->gradient || !f->theta || !f->n || !f->n0 || !f->n1 || !v || !out || !(f->step >= 0))
        return SKETCH_E_ARG;
    if (!ski_fits(1, f->n, sizeof(float))) return SKETCH_E_SIZE;
    vv = sqrt(sketch_dot_f32(v, v, f->n));
    tt = sqrt(sketch_dot_f32(f->theta, f->theta, f->n));
    if (!(vv - vv == 0 && tt - tt == 0)) return SKETCH_E_NONFINITE;
    if (vv == 0) {
        memset(out, 0, f->n * sizeof(float));
        return 0;
    }
    h = f->step > 0 ? f->step : tt > 0 ? 0.0078125 * tt / sqrt(sqrt((double)f->n)) : 0.0078125;
    h /= vv;
    for (i = 0; i < f->n; i++) f->n0[i] = (float)((double)f->theta[i] + h * (double)v[i]);
    if ((r = f->gradient(f->user, f->n0, out)) != 0) return r;
    for (i = 0; i < f->n; i++) f->n0[i] = (float)((double)f->theta[i] - h * (double)v[i]);
    if ((r = f->gradient(f->user, f->n0, f->n1)) != 0) return r;
    for (i = 0; i < f->n; i++) out[i] = (float)(((double)out[i] - (double)f->n1[i]) / (2 * h));
    return 0;
}

/* ---- Krylov spaces: Lanczos ---------------------------------------------------------------------- */

SKETCH_INLINE size_t sketch_krylov_floats(size_t d, size_t steps) {
    return d && steps < (size_t)-1 / 2 && ski_fits(steps + 1, d, sizeof(float)) ? (steps + 1) * d : 0;
}

SKETCH_INLINE size_t sketch_krylov_doubles(size_t steps) {
    return ski_fits(steps, 4, sizeof(double)) ? 4 * steps : 0;
}

SKETCH_INLINE sketch_krylov sketch_krylov_make(size_t d, size_t steps, float *basis, double *doubles) {
    sketch_krylov k;
    memset(&k, 0, sizeof k);
    k.d = d;
    k.steps = steps;
    k.basis = basis;
    k.alpha = doubles;
    k.beta = doubles ? doubles + steps : NULL;
    k.scratch = doubles ? doubles + 2 * steps : NULL;
    return k;
}

/* splitmix64's finaliser over a counter: any element by itself */
SKI_INLINE uint64_t ski_mix(uint64_t seed, uint64_t stream, uint64_t i) {
    uint64_t z = (seed ^ stream * 0xD1B54A32D192ED03u) + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

SKI_INLINE void ski_random(float *x, size_t n, uint64_t seed, uint64_t stream, int signs) {
    /* +-1, or uniform in (-1, 1): such a start vector is orthogonal to no eigenvector */
    size_t i;
    for (i = 0; i < n; i++) {
        uint64_t z = ski_mix(seed, stream, i);
        x[i] = signs ? (z >> 63 ? 1.0f : -1.0f)
                     : (float)((double)(z >> 40) * (2.0 / 16777216.0) - 0.999999940395355);
    }
}

SKI_INLINE double ski_norm(const float *x, size_t n) { return sqrt(sketch_dot_f32(x, x, n)); }

SKI_INLINE void ski_scale(float *x, size_t n, double f) {
    size_t i;
    for (i = 0; i < n; i++) x[i] = (float)((double)x[i] * f);
}

SKI_INLINE double ski_orthogonalise(const float *v, size_t m, size_t d, float *w, double *c, double *sum,
                                       const sketch_threads *threads) {
    /* w -= V^T V w for orthonormal rows V[m,d]; sum[m] = the coefficients taken out; returns |w| (NaN if w is
   not finite). Gram-Schmidt in blocks, twice; more often while a pass still halves w: it was then mostly
   in the space (Giraud, Langou, Rozloznik & van den Eshof, Numer. Math. 2005: twice is enough unless it is
   all in there). */
    double before, after = ski_norm(w, d);
    size_t i;
    int pass;
    memset(sum, 0, m * sizeof *sum);
    for (pass = 0; pass < 6 && m; pass++) {
        before = after;
        (void)sketch_gemv_f32(v, m, d, w, c, threads);
        for (i = 0; i < m; i++) {
            sum[i] += c[i];
            c[i] = -c[i];
        }
        (void)sketch_gemv_t_f32(v, m, d, c, w, threads);
        after = ski_norm(w, d);
        if (pass && !(after < 0.5 * before)) break;
    }
    return after;
}
/* rows[i] = S v_i, orthonormal */
typedef struct ski_sketched {
    const sketch_plan *plan;
    sketch_work *work;
    float *rows;
    size_t d;
} ski_sketched;

SKI_INLINE double ski_orthogonalise_sketched(const float *v, size_t m, size_t d, float *w, double *c,
                                                double *sum, const ski_sketched *q,
                                                const sketch_threads *threads) {
    /* The same in the inner product <S x, S y> (randomised Gram-Schmidt, Balabanov & Grigori, SISC 2022):
       two passes; rows[m] = S w; returns |S w|. */
    size_t i;
    int pass;
    memset(sum, 0, m * sizeof *sum);
    for (pass = 0; pass < 3; pass++) {
        if (sketch_apply(q->plan, w, SKETCH_F32, q->rows + m * q->d, q->work) != SKETCH_OK)
            return (double)NAN;
        if (pass == 2 || !m) break;
        (void)sketch_gemv_f32(q->rows, m, q->d, q->rows + m * q->d, c, threads);
        for (i = 0; i < m; i++) {
            sum[i] += c[i];
            c[i] = -c[i];
        }
        (void)sketch_gemv_t_f32(v, m, d, c, w, threads);
    }
    return ski_norm(q->rows + m * q->d, q->d);
}

SKI_INLINE int ski_krylov_ok(const sketch_krylov *k) {
    return k && k->basis && k->alpha && k->beta && k->scratch && sketch_krylov_floats(k->d, k->steps)
           && sketch_krylov_doubles(k->steps) && k->done <= k->steps;
}

SKI_INLINE sketch_status ski_krylov_run(sketch_matvec_fn fn, void *user, sketch_krylov *k,
                                           double *h /* [steps,steps] or NULL */,
                                           const ski_sketched *q /* or NULL */,
                                           const sketch_krylov_options *opt) {
    /* From row `done`, which is there, on. A v_j = sum_i sum[i] v_i + beta v_{j+1}. */
    double tiny = opt->breakdown > 0 ? opt->breakdown : 1e-6, *c = k->scratch, *sum = k->scratch + k->steps;
    size_t d = k->d, i;
    sketch_status st = SKETCH_OK;
    while (k->done < k->steps && k->done < (q ? q->d : d) && st == SKETCH_OK) {
        size_t j = k->done;
        float *w = k->basis + (j + 1) * d;
        double size, beta, dropped = 0;
        if ((k->callback = fn(user, k->basis + j * d, w)) != 0) {
            st = SKETCH_E_CALLBACK;
            break;
        }
        size = ski_norm(w, d);
        if (!(size - size == 0)) {
            st = SKETCH_E_NONFINITE;
            break;
        }
        if (size > k->norm) k->norm = size;
        beta = q ? ski_orthogonalise_sketched(k->basis, j + 1, d, w, c, sum, q, &opt->threads)
                 : ski_orthogonalise(k->basis, j + 1, d, w, c, sum, &opt->threads);
        if (!(beta - beta == 0)) {
            st = SKETCH_E_NONFINITE;
            break;
        }
        if (h) for (i = 0; i <= j; i++) h[i * k->steps + j] = sum[i];
        else for (i = 0; i < j; i++) {
            double off = fabs(sum[i] - (i + 1 == j ? k->beta[i] : 0.0));
            if (off > k->skew) k->skew = off;
            dropped += off * off;
        }
        k->alpha[j] = sum[j];
        if (!(beta > tiny * k->norm)) dropped += beta * beta;
        k->slack = sqrt(k->slack * k->slack + dropped);
        /* an invariant subspace (or A = 0) */
        if (!(beta > tiny * k->norm)) {
            k->restarts++;
            beta = 0;
            memset(w, 0, d * sizeof *w);
            if (q) memset(q->rows + (j + 1) * q->d, 0, q->d * sizeof(float));
            /* any new direction: nothing couples it to the old ones */
            if (j + 1 < (q ? q->d : d)) {
                double before = 0, after = 0;
                for (i = 0; i < 100 && !(after > 1e-4 * before); i++) {
                    ski_random(w, d, opt->seed, (j + 1) * 128 + i, 0);
                    before = ski_norm(w, d);
                    after = q ? ski_orthogonalise_sketched(k->basis, j + 1, d, w, c, sum, q, &opt->threads)
                              : ski_orthogonalise(k->basis, j + 1, d, w, c, sum, &opt->threads);
                }
                if (!(after > 0)) {
                    st = SKETCH_E_CONVERGE;
                    break;
                }
                ski_scale(w, d, 1 / after);
                if (q) ski_scale(q->rows + (j + 1) * q->d, q->d, 1 / after);
            }
        } else {
            ski_scale(w, d, 1 / beta);
            if (q) ski_scale(q->rows + (j + 1) * q->d, q->d, 1 / beta);
        }
        k->beta[j] = beta;
        if (h && j + 1 < k->steps) h[(j + 1) * k->steps + j] = beta;
        k->done++;
#ifndef SKETCH_NO_STDIO
        if (opt->checkpoint && k->done % (opt->every ? opt->every : 1) == 0)
            st = sketch_krylov_save(k, opt->checkpoint);
#endif
        if (st == SKETCH_OK && opt->progress.fn && opt->progress.fn(opt->progress.user, k->done, k->steps))
            st = SKETCH_E_CALLBACK;
    }
#ifndef SKETCH_NO_STDIO
    if (opt->checkpoint && st != SKETCH_E_IO) {
        sketch_status end = sketch_krylov_save(k, opt->checkpoint);
        if (st == SKETCH_OK) st = end;
    }
#endif
    return st;
}

/* row 0 */
SKI_INLINE sketch_status ski_krylov_start(sketch_krylov *k, const float *start, uint64_t seed,
                                             uint64_t stream, int signs) {
    double size;
    if (start)
        memcpy(k->basis, start, k->d * sizeof(float));
    else
        ski_random(k->basis, k->d, seed, stream, signs);
    size = ski_norm(k->basis, k->d);
    if (!(size - size == 0)) return SKETCH_E_NONFINITE;
    if (size == 0) return SKETCH_E_ARG;
    ski_scale(k->basis, k->d, 1 / size);
    k->norm = k->slack = k->skew = 0;
    k->restarts = k->done = k->saved = 0;
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_lanczos(sketch_matvec_fn fn, void *user, sketch_krylov *k,
                                           const sketch_krylov_options *opt) {
    sketch_krylov_options o;
    sketch_status st = SKETCH_OK;
    memset(&o, 0, sizeof o);
    if (opt) o = *opt;
    if (k) k->callback = 0;
    if (!fn || !k || !k->basis || !k->alpha || !k->beta || !k->scratch || !k->d || !k->steps
        || !(o.breakdown >= 0))
        return SKETCH_E_ARG;
    if (!ski_krylov_ok(k)) return SKETCH_E_SIZE;
    if (k->done == 0) st = ski_krylov_start(k, o.start, o.seed, 0, 0);
    if (st == SKETCH_OK && o.checkpoint) {
#ifdef SKETCH_NO_STDIO
        st = SKETCH_E_UNSUPPORTED;
#else
        if (k->done == 0) st = sketch_krylov_load(k, o.checkpoint);
#endif
    }
    return st == SKETCH_OK ? ski_krylov_run(fn, user, k, NULL, NULL, &o) : st;
}

/* ---- Ritz values and vectors ---------------------------------------------------------------------- */

SKETCH_INLINE sketch_status sketch_tridiagonal_eigen(size_t m, double *diag, double *off, double *z,
                                                     size_t nz) {
    double norm = 0;
    size_t i, l, p, c, worst;
    if (!m || !diag || !off || (nz && !z)) return SKETCH_E_ARG;
    if (!ski_fits(m, nz ? nz : 1, sizeof(double))) return SKETCH_E_SIZE;
    for (i = 0; i < m; i++) {
        double a = fabs(diag[i]), b = i + 1 < m ? fabs(off[i]) : 0;
        if (!(a - a == 0 && b - b == 0)) return SKETCH_E_NONFINITE;
        norm = fmax(norm, fmax(a, b));
    }
    if (norm == 0) return SKETCH_OK;
    /* entries of at most 1: squares cannot overflow */
    for (i = 0; i < m; i++) {
        diag[i] /= norm;
        off[i] = i + 1 < m ? off[i] / norm : 0;
    }
    for (l = 0; l < m; l++) {
        int iterations = 0;
        for (;;) {
            double g, r, s = 1, co = 1, shift = 0, f, b;
            for (p = l; p + 1 < m && fabs(off[p]) > 1.1102230246251565e-16; p++) { }
            if (p == l) break;
            if (iterations++ == 80) return SKETCH_E_CONVERGE;
            g = (diag[l + 1] - diag[l]) / (2 * off[l]);
            r = sqrt(g * g + 1);
            g = diag[p] - diag[l] + off[l] / (g + (g < 0 ? -r : r));
            r = 1;
            for (i = p; i-- > l; ) {
                double *z0 = z ? z + i * nz : NULL, *z1 = z ? z0 + nz : NULL;
                f = s * off[i];
                b = co * off[i];
                off[i + 1] = r = sqrt(f * f + g * g);
                if (r == 0) {
                    diag[i + 1] -= shift;
                    off[p] = 0;
                    break;
                }
                s = f / r;
                co = g / r;
                g = diag[i + 1] - shift;
                r = (diag[i] - g) * s + 2 * co * b;
                shift = s * r;
                diag[i + 1] = g + shift;
                g = co * r - b;
                for (c = 0; c < nz; c++) {
                    double t = z1[c], u = z0[c];
                    z1[c] = s * u + co * t;
                    z0[c] = co * u - s * t;
                }
                r = 1;
            }
            if (r == 0) continue;
            diag[l] -= shift;
            off[l] = g;
            off[p] = 0;
        }
    }
    /* ascending */
    for (l = 0; l < m; l++) {
        for (worst = l, i = l + 1; i < m; i++) if (diag[i] < diag[worst]) worst = i;
        if (worst != l) {
            double t = diag[l];
            diag[l] = diag[worst];
            diag[worst] = t;
            for (c = 0; c < nz; c++) {
                t = z[l * nz + c];
                z[l * nz + c] = z[worst * nz + c];
                z[worst * nz + c] = t;
            }
        }
    }
    for (i = 0; i < m; i++) diag[i] *= norm;
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_ritz(const sketch_krylov *k, double *theta, double *bound,
                                        double *s, double *scratch) {
    size_t m, i;
    double *off = scratch, *last;
    sketch_status st;
    if (!k || !k->alpha || !k->beta || !k->done || !theta || !scratch) return SKETCH_E_ARG;
    m = k->done;
    if (!ski_fits(m, m, sizeof(double))) return SKETCH_E_SIZE;
    last = scratch + m;
    memcpy(theta, k->alpha, m * sizeof *theta);
    memcpy(off, k->beta, m * sizeof *off);
    if (s) {
        memset(s, 0, m * m * sizeof *s);
        for (i = 0; i < m; i++) s[i * m + i] = 1;
        st = sketch_tridiagonal_eigen(m, theta, off, s, m);
        for (i = 0; i < m; i++) last[i] = s[i * m + m - 1];
    } else {
        memset(last, 0, m * sizeof *last);
        last[m - 1] = 1;
        st = sketch_tridiagonal_eigen(m, theta, off, last, 1);
    }
    if (st == SKETCH_OK && bound)
        for (i = 0; i < m; i++) bound[i] = fabs(k->beta[m - 1] * last[i]) + k->slack;
    return st;
}

SKETCH_INLINE sketch_status sketch_ritz_vectors(const sketch_krylov *k, const double *s, size_t count,
                                                float *y, const sketch_threads *threads) {
    size_t i;
    sketch_status st = SKETCH_OK;
    if (!k || !k->basis || !k->done || (count && (!s || !y))) return SKETCH_E_ARG;
    if (!ski_fits(count, k->d, sizeof(float)) || !ski_fits(count, k->done, sizeof(double)))
        return SKETCH_E_SIZE;
    for (i = 0; i < count && st == SKETCH_OK; i++) {
        memset(y + i * k->d, 0, k->d * sizeof(float));
        st = sketch_gemv_t_f32(k->basis, k->done, k->d, s + i * k->done, y + i * k->d, threads);
    }
    return st;
}

SKETCH_INLINE sketch_status sketch_ritz_lift(const sketch_plan *plan, const float *y, size_t count, float *x,
                                             sketch_work *work) {
    sketch_info f;
    size_t i, n;
    double size;
    sketch_status st = SKETCH_OK;
    if (!plan || !work || (count && (!y || !x))) return SKETCH_E_ARG;
    f = sketch_query(plan);
    if (f.n > (size_t)-1 / sizeof(float)) return SKETCH_E_SIZE;
    n = (size_t)f.n;
    if (!ski_fits(count, n, sizeof(float))) return SKETCH_E_SIZE;
    for (i = 0; i < count && st == SKETCH_OK; i++) {
        st = sketch_apply_t(plan, y + i * (size_t)f.d, x + i * n, SKETCH_F32, work);
        if (st == SKETCH_OK && (size = ski_norm(x + i * n, n)) > 0) ski_scale(x + i * n, n, 1 / size);
    }
    return st;
}

SKETCH_INLINE sketch_status sketch_spectrum_summary(const sketch_krylov *k, const double *theta,
                                                    const double *s,
                                                    const float *g,
                                                    double ratio,
                                                    double *r, sketch_spectrum *out) {
    size_t m, i, j;
    double share = 0, gg = 0;
    if (out) memset(out, 0, sizeof *out);
    if (!k || !k->done || !theta || !out || !(ratio >= 0 && ratio < 1)
        || (g && (!s || !k->scratch || !k->basis)))
        return SKETCH_E_ARG;
    m = k->done;
    for (i = 0; i < m; i++) if (!(theta[i] - theta[i] == 0)) return SKETCH_E_NONFINITE;
    if (g) {
        gg = sketch_dot_f32(g, g, k->d);
        if (!(gg - gg == 0)) return SKETCH_E_NONFINITE;
    }
    if (ratio == 0) ratio = 0.2;
    out->largest = theta[m - 1];
    out->smallest = theta[0];
    if (out->smallest < 0) out->rneg = out->largest > 0 ? -out->smallest / out->largest : (double)INFINITY;
    while (out->largest > 0 && out->outliers < m && theta[m - 1 - out->outliers] > ratio * out->largest)
        out->outliers++;
    for (i = 0; r && i < m; i++) r[i] = out->largest > 0 ? theta[m - 1 - i] / out->largest : (double)NAN;
    if (g && gg > 0) {
        /* <g, v_j>; then <g, u_i> = sum_j s_ij <g, v_j> */
        sketch_status st = sketch_gemv_f32(k->basis, m, k->d, g, k->scratch, NULL);
        if (st != SKETCH_OK) return st;
        for (i = 0; i < out->outliers; i++) {
            double p = 0;
            for (j = 0; j < m; j++) p += s[(m - 1 - i) * m + j] * k->scratch[j];
            share += p * p;
        }
        out->gradient_share = fmin(share / gg, 1.0);
        out->gradient_norm_share = sqrt(out->gradient_share);
    }
    return SKETCH_OK;
}

/* ---- Krylov spaces: Arnoldi ----------------------------------------------------------------------- */

SKETCH_INLINE sketch_status sketch_arnoldi(sketch_matvec_fn fn, void *user, sketch_krylov *k,
                                           double *h,
                                           const sketch_plan *plan, sketch_work *work,
                                           float *rows,
                                           const sketch_krylov_options *opt) {
    sketch_krylov_options o;
    ski_sketched q;
    sketch_status st = SKETCH_OK;
    memset(&o, 0, sizeof o);
    if (opt) o = *opt;
    if (k) k->callback = 0;
    if (!fn || !k || !h || !k->basis || !k->alpha || !k->beta || !k->scratch || !k->d || !k->steps
        || !(o.breakdown >= 0) || o.checkpoint || (plan && (!work || !rows)))
        return SKETCH_E_ARG;
    if (!ski_krylov_ok(k) || !ski_fits(k->steps, k->steps, sizeof(double))
        || (plan && sketch_query(plan).n != k->d))
        return SKETCH_E_SIZE;
    q.plan = plan;
    q.work = work;
    q.rows = rows;
    q.d = plan ? (size_t)sketch_query(plan).d : 0;
    if (k->done == 0) {
        memset(h, 0, k->steps * k->steps * sizeof *h);
        st = ski_krylov_start(k, o.start, o.seed, 0, 0);
        if (st == SKETCH_OK && plan) {
            double size;
            if ((st = sketch_apply(plan, k->basis, SKETCH_F32, rows, work)) != SKETCH_OK) return st;
            if (!((size = ski_norm(rows, q.d)) > 0)) return SKETCH_E_CONVERGE;
            ski_scale(k->basis, k->d, 1 / size);
            ski_scale(rows, q.d, 1 / size);
        }
    }
    return st == SKETCH_OK ? ski_krylov_run(fn, user, k, h, plan ? &q : NULL, &o) : st;
}

SKETCH_INLINE sketch_status sketch_hessenberg_eigen(size_t m, double *h, double *re, double *im) {
    double norm = 0, shift = 0, p = 0, q = 0, r = 0;
    size_t n = m, i, j, k, l, b;
    int iterations = 0;
    if (!m || !h || !re || !im) return SKETCH_E_ARG;
    if (!ski_fits(m, m, sizeof(double))) return SKETCH_E_SIZE;
    for (i = 0; i < m; i++) for (j = i ? i - 1 : 0; j < m; j++) norm += fabs(h[i * m + j]);
    if (!(norm - norm == 0)) return SKETCH_E_NONFINITE;
    /* the leading n x n is left */
    while (n > 0) {
        double x, y, w, s, z;
        size_t e = n - 1;
        /* a zero subdiagonal entry starts the block l..e */
        for (l = e; l > 0; l--) {
            s = fabs(h[(l - 1) * m + l - 1]) + fabs(h[l * m + l]);
            if (s == 0) s = norm;
            if (fabs(h[l * m + l - 1]) <= 2.220446049250313e-16 * s) {
                h[l * m + l - 1] = 0;
                break;
            }
        }
        x = h[e * m + e];
        if (l == e) {
            re[e] = x + shift;
            im[e] = 0;
            n--;
            iterations = 0;
            continue;
        }
        y = h[(e - 1) * m + e - 1];
        w = h[e * m + e - 1] * h[(e - 1) * m + e];
        if (l + 1 == e) {
            p = 0.5 * (y - x);
            q = p * p + w;
            z = sqrt(fabs(q));
            x += shift;
            if (q >= 0) {
                z = p + (p < 0 ? -z : z);
                re[e - 1] = re[e] = x + z;
                if (z != 0) re[e] = x - w / z;
                im[e - 1] = im[e] = 0;
            } else {
                re[e - 1] = re[e] = x + p;
                im[e - 1] = z;
                im[e] = -z;
            }
            n -= 2;
            iterations = 0;
            continue;
        }
        if (iterations == 60) return SKETCH_E_CONVERGE;
        /* an exceptional shift */
        if (iterations % 10 == 9) {
            shift += x;
            for (i = 0; i < n; i++) h[i * m + i] -= x;
            s = fabs(h[e * m + e - 1]) + fabs(h[(e - 1) * m + e - 2]);
            x = y = 0.75 * s;
            w = -0.4375 * s * s;
        }
        iterations++;
        /* two small subdiagonal entries: start there */
        for (b = e - 2; ; b--) {
            double u, v;
            z = h[b * m + b];
            r = x - z;
            s = y - z;
            p = (r * s - w) / h[(b + 1) * m + b] + h[b * m + b + 1];
            q = h[(b + 1) * m + b + 1] - z - r - s;
            r = h[(b + 2) * m + b + 1];
            s = fabs(p) + fabs(q) + fabs(r);
            p /= s;
            q /= s;
            r /= s;
            if (b == l) break;
            u = fabs(h[b * m + b - 1]) * (fabs(q) + fabs(r));
            v = fabs(p) * (fabs(h[(b - 1) * m + b - 1]) + fabs(z) + fabs(h[(b + 1) * m + b + 1]));
            if (u <= 2.220446049250313e-16 * v) break;
        }
        for (i = b + 2; i <= e; i++) {
            h[i * m + i - 2] = 0;
            if (i > b + 2) h[i * m + i - 3] = 0;
        }
        /* chase the bulge, rows l..e only */
        for (k = b; k < e; k++) {
            int last = k + 1 == e;
            double *hk = h + k * m, *h1 = hk + m, *h2 = last ? h1 : h1 + m;
            if (k != b) {
                p = hk[k - 1];
                q = h1[k - 1];
                r = last ? 0 : h2[k - 1];
                x = fabs(p) + fabs(q) + fabs(r);
                if (x == 0) continue;
                p /= x;
                q /= x;
                r /= x;
            }
            s = sqrt(p * p + q * q + r * r);
            if (p < 0) s = -s;
            if (s == 0) continue;
            if (k != b) hk[k - 1] = -s * x;
            else if (l != b) hk[k - 1] = -hk[k - 1];
            p += s;
            x = p / s;
            y = q / s;
            z = r / s;
            q /= p;
            r /= p;
            for (j = k; j < n; j++) {
                double t = hk[j] + q * h1[j];
                if (!last) {
                    t += r * h2[j];
                    h2[j] -= t * z;
                }
                h1[j] -= t * y;
                hk[j] -= t * x;
            }
            for (i = l; i <= (k + 3 < e ? k + 3 : e); i++) {
                double *hi = h + i * m + k, t = x * hi[0] + y * hi[1];
                if (!last) {
                    t += z * hi[2];
                    hi[2] -= t * r;
                }
                hi[1] -= t * q;
                hi[0] -= t;
            }
        }
    }
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_arnoldi_eigen(const sketch_krylov *k, const double *h,
                                                 float *lift, double *re, double *im,
                                                 double *scratch,
                                                 const sketch_threads *threads) {
    size_t m, i, j;
    double *a, *z, *r, *p, *g, rr, first, beta;
    sketch_status st = SKETCH_OK;
    if (!k || !k->basis || !k->beta || !k->done || !h || !re || !im || !scratch) return SKETCH_E_ARG;
    m = k->done;
    if (!ski_fits(m, m + 4, sizeof(double)) || m > k->steps) return SKETCH_E_SIZE;
    a = scratch;
    z = a + m * m;
    r = z + m;
    p = r + m;
    g = p + m;
    for (i = 0; i < m; i++) memcpy(a + i * m, h + i * k->steps, m * sizeof *a);
    beta = k->beta[m - 1];
    if (lift && beta != 0) {
        st = sketch_gemv_f32(k->basis, m, k->d, k->basis + m * k->d, r, threads);
        memset(z, 0, m * sizeof *z);
        for (first = rr = 0, i = 0; i < m; i++) {
            p[i] = r[i];
            rr += r[i] * r[i];
        }
        first = ski_norm(k->basis + m * k->d, k->d);
        for (j = 0; st == SKETCH_OK && sqrt(rr) > 1e-7 * first; j++) {
            double pg = 0, step, next = 0;
            if (j == m + 100) return SKETCH_E_CONVERGE;
            memset(lift, 0, k->d * sizeof *lift);
            st = sketch_gemv_t_f32(k->basis, m, k->d, p, lift, threads);
            if (st == SKETCH_OK) st = sketch_gemv_f32(k->basis, m, k->d, lift, g, threads);
            for (i = 0; i < m; i++) pg += p[i] * g[i];
            if (!(pg > 0)) return SKETCH_E_CONVERGE;
            step = rr / pg;
            for (i = 0; i < m; i++) {
                z[i] += step * p[i];
                r[i] -= step * g[i];
                next += r[i] * r[i];
            }
            for (i = 0; i < m; i++) p[i] = r[i] + next / rr * p[i];
            rr = next;
        }
        for (i = 0; i < m && st == SKETCH_OK; i++) a[i * m + m - 1] += beta * z[i];
    }
    return st == SKETCH_OK ? sketch_hessenberg_eigen(m, a, re, im) : st;
}

/* ---- spectral density and trace -------------------------------------------------------------------- */
typedef struct ski_slq_progress {
    sketch_progress outer;
    uint64_t before, total;
} ski_slq_progress;

SKI_INLINE int ski_slq_step(void *user, uint64_t done, uint64_t total) {
    const ski_slq_progress *p = (const ski_slq_progress *)user;
    (void)total;
    return p->outer.fn(p->outer.user, p->before + done, p->total);
}

SKETCH_INLINE sketch_status
sketch_slq(sketch_matvec_fn fn, void *user, sketch_krylov *k, size_t probes, double *nodes,
           double *weights, size_t *count,
           const sketch_krylov_options *opt) {
    sketch_krylov_options o;
    ski_slq_progress progress;
    sketch_status st = SKETCH_OK;
    size_t i, p, m;
    if (count) *count = 0;
    memset(&o, 0, sizeof o);
    if (opt) o = *opt;
    if (k) {
        k->callback = 0;
        k->done = 0;
    }
    if (!fn || !k || !k->basis || !k->alpha || !k->beta || !k->scratch || !k->d || !k->steps || !nodes
        || !weights || !count || !probes || !(o.breakdown >= 0))
        return SKETCH_E_ARG;
    if (!ski_krylov_ok(k) || !ski_fits(probes, k->steps, sizeof(double))) return SKETCH_E_SIZE;
    progress.outer = o.progress;
    progress.before = 0;
    progress.total = (uint64_t)probes * k->steps;
    o.start = NULL;
    o.checkpoint = NULL;
    if (o.progress.fn) {
        o.progress.fn = ski_slq_step;
        o.progress.user = &progress;
    }
    for (p = 0; p < probes; p++) {
        st = ski_krylov_start(k, NULL, o.seed, (uint64_t)1 << 62 | p, 1);
        if (st == SKETCH_OK) st = ski_krylov_run(fn, user, k, NULL, NULL, &o);
        if (st != SKETCH_OK) break;
        m = k->done;
        memcpy(nodes + *count, k->alpha, m * sizeof *nodes);
        memcpy(k->scratch, k->beta, m * sizeof *nodes);
        memset(weights + *count, 0, m * sizeof *weights);
        weights[*count] = 1;
        st = sketch_tridiagonal_eigen(m, nodes + *count, k->scratch, weights + *count, 1);
        if (st != SKETCH_OK) break;
        for (i = 0; i < m; i++) weights[*count + i] *= weights[*count + i];
        *count += m;
        progress.before += k->steps;
    }
    for (i = 0; i < *count; i++) weights[i] /= (double)p;
    return st;
}

SKETCH_INLINE sketch_status sketch_slq_density(const double *nodes, const double *weights, size_t count,
                                               double *low, double *high, double *sigma, double *density,
                                               size_t points) {
    double a, b, spread, s = 0;
    size_t i, j;
    if (density) for (i = 0; i < points; i++) density[i] = 0;
    if (!nodes || !weights || !count || !low || !high || !sigma || !density || points < 2 || !(*sigma >= 0)
        || !(*low <= *high))
        return SKETCH_E_ARG;
    a = b = nodes[0];
    for (i = 0; i < count; i++) {
        a = fmin(a, nodes[i]);
        b = fmax(b, nodes[i]);
        s += nodes[i] + weights[i];
    }
    if (!(s - s == 0) || !(*low - *low == 0 && *high - *high == 0 && *sigma - *sigma == 0))
        return SKETCH_E_NONFINITE;
    spread = b > a ? b - a : fmax(fabs(a), 1.0);
    if (*sigma == 0)
        *sigma = fmax(0.01 * spread, 2 * (*low < *high ? *high - *low : 1.2 * spread) / (double)(points - 1));
    if (*low == *high) {
        *low = a - 5 * *sigma;
        *high = b + 5 * *sigma;
    }
    for (j = 0; j < points; j++) {
        double x = *low + (*high - *low) * ((double)j / (double)(points - 1)), sum = 0;
        for (i = 0; i < count; i++) {
            double u = (x - nodes[i]) / *sigma;
            if (u * u < 1400) sum += weights[i] * exp(-0.5 * u * u);
        }
        density[j] = sum * 0.3989422804014327 / *sigma;
    }
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_trace(
    sketch_matvec_fn fn, void *user, size_t d, size_t matvecs, float *basis, double *scratch, double *trace,
    double *error, const sketch_krylov_options *opt) {
    sketch_krylov_options o;
    double low = 0, mean = 0, ss = 0, biggest = 0;
    size_t q, rank = 0, i, done = 0, samples, taken = 0;
    float *w, *g;
    sketch_status st = SKETCH_OK;
    if (trace) *trace = 0;
    if (error) *error = 0;
    memset(&o, 0, sizeof o);
    if (opt) o = *opt;
    if (!fn || !d || matvecs < 3 || !basis || !scratch || !trace) return SKETCH_E_ARG;
    q = matvecs / 3 < d ? matvecs / 3 : d;
    if (!ski_fits(q + 2, d, sizeof(float))) return SKETCH_E_SIZE;
    samples = matvecs - 2 * q;
    g = basis + (q + 1) * d;
    for (i = 0; i < 2 * q + samples && st == SKETCH_OK; i++) {
        double size;
        w = basis + (i < q ? rank : q) * d;
        /* the range was smaller */
        if (i >= q && i < 2 * q && i - q >= rank) {
            done++;
            continue;
        }
        if (i >= 2 * q && rank == d) break;
        if (i < q) ski_random(g, d, o.seed, (uint64_t)1 << 61 | i, 0);
        else if (i >= 2 * q) {
            ski_random(g, d, o.seed, (uint64_t)3 << 60 | i, 1);
            (void)ski_orthogonalise(basis, rank, d, g, scratch, scratch + q, &o.threads);
        }
        if (fn(user, i >= q && i < 2 * q ? basis + (i - q) * d : g, w) != 0) {
            st = SKETCH_E_CALLBACK;
            break;
        }
        size = ski_norm(w, d);
        if (!(size - size == 0)) {
            st = SKETCH_E_NONFINITE;
            break;
        }
        if (i < q) {
            double left = ski_orthogonalise(basis, rank, d, w, scratch, scratch + q, &o.threads);
            biggest = fmax(biggest, size);
            if (left > 1e-6 * biggest) {
                ski_scale(w, d, 1 / left);
                rank++;
            }
        } else if (i < 2 * q) low += sketch_dot_f32(basis + (i - q) * d, w, d);
        else {
            double x = sketch_dot_f32(g, w, d), delta = x - mean;
            mean += delta / (double)++taken;
            ss += delta * (x - mean);
        }
        done++;
        if (o.progress.fn && o.progress.fn(o.progress.user, done, matvecs)) st = SKETCH_E_CALLBACK;
    }
    if (st != SKETCH_OK && !taken) return st;
    *trace = low + mean;
    if (error)
        *error = rank == d ? 0 : taken > 1 ? sqrt(ss / (double)(taken - 1) / (double)taken) : (double)NAN;
    return st;
}

/* ---- (H + damping)^-1 g: influence with curvature --------------------------------------------------- */

SKETCH_INLINE sketch_status sketch_krylov_solve(const sketch_krylov *k, const double *theta, const double *s,
                                                double damping, double cutoff, double complement,
                                                const float *g, float *x, double *scratch,
                                                const sketch_threads *threads) {
    size_t m, i, j;
    double *c = scratch, *t;
    sketch_status st;
    if (!k || !k->basis || !k->done || !theta || !s || !g || !x || !scratch || !(cutoff >= 0)
        || !(damping - damping == 0) || !(complement - complement == 0))
        return SKETCH_E_ARG;
    m = k->done;
    if (!ski_fits(m, m, sizeof(double))) return SKETCH_E_SIZE;
    for (i = 0; i < m; i++) if (cutoff == 0 && theta[i] + damping == 0) return SKETCH_E_ARG;
    t = scratch + m;
    if ((st = sketch_gemv_f32(k->basis, m, k->d, g, c, threads)) != SKETCH_OK) return st;
    for (i = 0; i < m; i++) t[i] = complement != 0 ? -c[i] / complement : 0;
    for (i = 0; i < m; i++) {
        double p = 0, a = theta[i] + damping;
        if (!(fabs(a) > cutoff)) continue;
        for (j = 0; j < m; j++) p += s[i * m + j] * c[j];
        for (j = 0; j < m; j++) t[j] += s[i * m + j] * (p / a);
    }
    for (i = 0; i < k->d; i++) x[i] = complement != 0 ? (float)((double)g[i] / complement) : 0.0f;
    return sketch_gemv_t_f32(k->basis, m, k->d, t, x, threads);
}

SKETCH_INLINE sketch_status sketch_cg(sketch_matvec_fn fn, void *user, size_t d, double damping,
                                      const float *b, float *x, float *scratch, double tolerance,
                                      uint64_t iterations, sketch_solved *out,
                                      const sketch_progress *progress) {
    float *r = scratch, *p, *q;
    double bb, rr, xx;
    size_t i;
    if (out) {
        out->iterations = 0;
        out->residual = 0;
    }
    if (!fn || !d || !b || !x || !scratch || !out || !(tolerance >= 0) || !(damping - damping == 0))
        return SKETCH_E_ARG;
    if (!ski_fits(3, d, sizeof(float))) return SKETCH_E_SIZE;
    p = r + d;
    q = p + d;
    bb = sketch_dot_f32(b, b, d);
    xx = sketch_dot_f32(x, x, d);
    if (!(bb - bb == 0 && xx - xx == 0)) return SKETCH_E_NONFINITE;
    if (bb == 0) {
        memset(x, 0, d * sizeof *x);
        return SKETCH_OK;
    }
    memcpy(r, b, d * sizeof *r);
    if (xx != 0) {
        if (fn(user, x, q) != 0) return SKETCH_E_CALLBACK;
        for (i = 0; i < d; i++) r[i] = (float)((double)r[i] - (double)q[i] - damping * (double)x[i]);
    }
    memcpy(p, r, d * sizeof *p);
    rr = sketch_dot_f32(r, r, d);
    for (;;) {
        double pq, step, next;
        if (!(rr - rr == 0)) return SKETCH_E_NONFINITE;
        out->residual = sqrt(rr / bb);
        if (out->residual <= tolerance) return SKETCH_OK;
        if (out->iterations >= iterations) return SKETCH_E_CONVERGE;
        if (fn(user, p, q) != 0) return SKETCH_E_CALLBACK;
        pq = sketch_dot_f32(p, q, d) + damping * sketch_dot_f32(p, p, d);
        if (!(pq - pq == 0)) return SKETCH_E_NONFINITE;
        if (!(pq > 0)) return SKETCH_E_CONVERGE;
        step = rr / pq;
        for (i = 0; i < d; i++) {
            x[i] = (float)((double)x[i] + step * (double)p[i]);
            r[i] = (float)((double)r[i] - step * ((double)q[i] + damping * (double)p[i]));
        }
        next = sketch_dot_f32(r, r, d);
        for (i = 0; i < d; i++) p[i] = (float)((double)r[i] + next / rr * (double)p[i]);
        rr = next;
        out->iterations++;
        if (progress && progress->fn && progress->fn(progress->user, out->iterations, iterations)) {
            out->residual = sqrt(rr / bb);
            return SKETCH_E_CALLBACK;
        }
    }
}

SKETCH_INLINE sketch_status sketch_lissa_tune(double trace, double largest, double accuracy,
                                              sketch_lissa_options *o) {
    double step, count;
    if (!o || !(o->damping > 0) || !(largest > 0) || !(trace >= 0) || !(accuracy > 0 && accuracy < 1))
        return SKETCH_E_ARG;
    step = 1 / (largest + (o->batch ? trace / (double)o->batch : 0) + o->damping);
    count = ceil(-log(accuracy) / (step * o->damping));
    if (!(step > 0) || !(count < 9e18)) return SKETCH_E_ARG;
    o->step = step;
    o->iterations = (uint64_t)count;
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_lissa(sketch_matvec_fn fn, void *user, size_t d, const float *g, float *x,
                                         float *scratch, const sketch_lissa_options *o,
                                         sketch_solved *out, const sketch_progress *progress) {
    double gg, rr;
    size_t i;
    if (out) {
        out->iterations = 0;
        out->residual = 0;
    }
    if (!fn || !d || !g || !x || !scratch || !o || !out || !(o->damping > 0) || !(o->step > 0))
        return SKETCH_E_ARG;
    if (!ski_fits(1, d, sizeof(float))) return SKETCH_E_SIZE;
    gg = sketch_dot_f32(g, g, d);
    if (!(gg - gg == 0)) return SKETCH_E_NONFINITE;
    if (gg == 0) {
        memset(x, 0, d * sizeof *x);
        return SKETCH_OK;
    }
    while (out->iterations < o->iterations) {
        if (fn(user, x, scratch) != 0) return SKETCH_E_CALLBACK;
        for (rr = 0, i = 0; i < d; i++) {
            double r = (double)g[i] - (double)scratch[i] - o->damping * (double)x[i];
            rr += r * r;
            scratch[i] = (float)r;
        }
        if (!(rr - rr == 0)) return SKETCH_E_NONFINITE;
        for (i = 0; i < d; i++) x[i] = (float)((double)x[i] + o->step * (double)scratch[i]);
        out->residual = sqrt(rr / gg);
        out->iterations++;
        if (out->residual > 1e6) return SKETCH_E_CONVERGE;
        if (progress && progress->fn && progress->fn(progress->user, out->iterations, o->iterations))
            return SKETCH_E_CALLBACK;
    }
    return SKETCH_OK;
}

/* ---- intrinsic dimension ----------------------------------------------------------------------------- */

SKETCH_INLINE sketch_status sketch_idsearch_begin(sketch_idsearch *s,
                                                  const sketch_idsearch_options *options) {
    if (!s) return SKETCH_E_ARG;
    memset(s, 0, sizeof *s);
    if (!options || options->d_min == 0 || options->d_min > options->d_max
        || !(options->target - options->target == 0) || !(options->delta - options->delta == 0)
        || (options->order != SKETCH_HIGHEST && options->order != SKETCH_LOWEST) || options->confirm > 1)
        return SKETCH_E_ARG;
    s->options = *options;
    s->phase = SKETCH_ID_SEARCH;
    s->d = options->d_min;
    s->restart = 1;
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_idsearch_next(const sketch_idsearch *s, uint64_t *d, int *restart) {
    if (d) *d = 0;
    if (restart) *restart = 0;
    if (!s || !d || !restart) return SKETCH_E_ARG;
    if (s->phase == SKETCH_ID_NONE) return SKETCH_E_STATE;
    if (s->phase == SKETCH_ID_DONE) return SKETCH_OK;
    *d = s->d;
    *restart = (int)s->restart;
    return SKETCH_OK;
}

SKI_INLINE void ski_idsearch_found(sketch_idsearch *s) {
    s->answer = s->d;
    if (s->phase == SKETCH_ID_SEARCH) s->search_rounds = s->run_rounds;
    if (s->options.confirm == 1 || s->d / 2 < s->options.d_min) {
        s->confirmed = s->options.confirm == 0;
        s->phase = SKETCH_ID_DONE;
        return;
    }
    s->phase = SKETCH_ID_CONFIRM;
    s->d /= 2;
    s->restart = 1;
    s->have_last = 0;
    s->run_rounds = 0;
}

SKETCH_INLINE sketch_status sketch_idsearch_tell(sketch_idsearch *s, double metric,
                                                 sketch_idrecord *record) {
    int high, reached, stalled, out_of_rounds;
    if (record) memset(record, 0, sizeof *record);
    if (!s) return SKETCH_E_ARG;
    if (s->phase != SKETCH_ID_SEARCH && s->phase != SKETCH_ID_CONFIRM) return SKETCH_E_STATE;
    if (!(metric - metric == 0)) return SKETCH_E_NONFINITE;
    high = s->options.order == SKETCH_HIGHEST;
    reached = high ? metric >= s->options.target : metric <= s->options.target;
    stalled = !reached && s->have_last && (high ? metric - s->last : s->last - metric) < s->options.delta;
    if (s->rounds == 0 || (high ? metric > s->best : metric < s->best)) s->best = metric;
    s->rounds++;
    s->run_rounds++;
    if (record) {
        record->round = s->rounds;
        record->d = s->d;
        record->phase = s->phase;
        record->reached = (uint32_t)reached;
        record->stalled = (uint32_t)stalled;
        record->metric = metric;
    }
    s->last = metric;
    s->have_last = 1;
    s->restart = 0;
    out_of_rounds = s->options.max_rounds && s->run_rounds >= s->options.max_rounds;
    if (reached) ski_idsearch_found(s);
    else if (s->phase == SKETCH_ID_CONFIRM) {
        if (stalled || out_of_rounds || s->run_rounds >= s->search_rounds) {
            s->confirmed = 1;
            s->phase = SKETCH_ID_DONE;
        }
    } else if (out_of_rounds || (stalled && s->d >= s->options.d_max)) s->phase = SKETCH_ID_DONE;
    else if (stalled) s->d = s->d > s->options.d_max / 2 ? s->options.d_max : 2 * s->d;
    return SKETCH_OK;
}

SKETCH_INLINE sketch_status sketch_idsearch_result(const sketch_idsearch *s, uint64_t *d, int *confirmed) {
    if (d) *d = 0;
    if (confirmed) *confirmed = 0;
    if (!s || !d || !confirmed) return SKETCH_E_ARG;
    *d = s->answer;
    *confirmed = (int)s->confirmed;
    if (s->phase != SKETCH_ID_DONE) return SKETCH_E_STATE;
    return s->answer ? SKETCH_OK : SKETCH_E_CONVERGE;
}

SKETCH_INLINE sketch_status sketch_subspace_lift(const sketch_plan *plan, const float *theta0, const float *w,
                                                 float *theta, sketch_work *work) {
    sketch_info f;
    if (!plan || !theta0 || !w || !theta || !work) return SKETCH_E_ARG;
    f = sketch_query(plan);
    if (f.n > (size_t)-1 / sizeof(float)) return SKETCH_E_SIZE;
    if (theta != theta0) memcpy(theta, theta0, (size_t)f.n * sizeof(float));
    return sketch_apply_t_range(plan, w, 0, f.n, 1.0f, 1.0f, theta, SKETCH_F32, work);
}

SKETCH_INLINE sketch_status sketch_subspace_grad(const sketch_plan *plan, const void *g, sketch_dtype dtype,
                                                 uint64_t d, float *out, sketch_work *work) {
    uint64_t full = sketch_query(plan).d;
    sketch_status st;
    if (!plan || !g || !out || !work) return SKETCH_E_ARG;
    if (d == 0 || d > full) {
        memset(out, 0, (size_t)full * sizeof(float));
        return SKETCH_E_SIZE;
    }
    st = sketch_apply(plan, g, dtype, out, work);
    if (st == SKETCH_OK) memset(out + d, 0, (size_t)(full - d) * sizeof(float));
    return st;
}

#ifdef __cplusplus
}
#endif
#endif /* SKI_HELPERS */

/* // >>licence ======================================================================================
   MIT License. Copyright (c) 2026 the sketch.h maintainers.
   Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
   associated documentation files (the "Software"), to deal in the Software without restriction, including
   without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
   copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the
   following conditions: The above copyright notice and this permission notice shall be included in all
   copies or substantial portions of the Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY
   KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A
   PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR
   ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
   OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */
