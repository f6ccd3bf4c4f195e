/* demo.c - who taught the network this? sketch.h at work on 1,797 handwritten digits. `make demo`, or

     cc -O2 -I. examples/demo.c -o demo -lm -lpthread && ./demo

   A small network (digits.h) is trained on labels of which 10% are wrong. Then
     1. every training example's gradient, 56,290 numbers, is sketched to 1,024 and stored; a second run resumes;
     2. the wrong labels are found, by self-influence;
     3. for three test digits that the network gets wrong: which training images helped, which did harm?
     4. how faithful are sketches' inner products, for every operator and d, and against single layers?
   It ends with a page, demo-out/report.html (written by demo_report.h). What you would do in your own program: sketch_training_set,
   find_mislabelled, explain_mistakes. The rest compares with what sketches replace, the full gradients. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define SKETCH_IMPLEMENTATION
#include "sketch.h"
#include "digits.h"
#include "threads.h"
#include "page.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

enum {
    N = DIGITS_PARAMS, D = 1024, SKETCH_SEED = 42,
    ALL = 1797, TRAIN = 1347, FLIPPED = 135, TENTH = 135,            /* a tenth of the training set */
    BATCH = 64,                                                      /* gradients in flight */
    CASES = 3, TOP = 5,
    PAIRED = 64,                                                     /* 64 x 64 = 2^12 pairs */
    PATIENCE = 45,                                                   /* seconds: what would take step 4 beyond it is left out */
    OPERATORS = 9, DIMENSIONS = 9, MOST_STEPS = 8
};

#define CHECK(call) do { sketch_status status_ = (call); if (status_ != SKETCH_OK) die(#call, sketch_status_string(status_)); } while (0)

static const sketch_metric score_metric = SKETCH_COSINE;              /* of step 3: see the page for why */

static void die(const char *what, const char *why)
{
    fprintf(stderr, "\ndemo: %s: %s\n", what, why);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p) die("memory", "allocation failed");
    return p;
}

/* ---- what the steps hand on ---------------------------------------------------------------------- */
typedef struct step { const char *name; double seconds; char memory[128]; } step;

typedef struct finder { const char *name; double auc, precision, bytes; float score[TRAIN]; int rank[TRAIN]; } finder;
enum { BY_SKETCH, BY_256, BY_64, BY_FULL, BY_LOSS, FINDERS };

typedef struct mistake {             /* a test digit that the network gets wrong */
    int    id, said;
    float  sure;
    sketch_hit best[TOP], worst[TOP];
    int    agree;                    /* of these 2 TOP, how many the full gradients would have named */
    int    by_dot;                   /* flipped labels among the TOP most harmful by inner product */
} mistake;

typedef struct fidelity {            /* of one operator at one d */
    double r, seconds;               /* seconds for one gradient; r is NaN where it was left out */
    int    seeds;
    size_t bytes;                    /* plan and work */
} fidelity;

typedef struct demo_state {
    const char *out;                 /* directory */
    int      quick;
    sketch_threads threads;

    digits_data data;
    uint8_t  given[ALL];             /* the label that training saw: a tenth of the training set's are wrong */
    int      train[TRAIN], test[ALL - TRAIN];
    float   *theta;
    int      epochs, test_wrong;
    double   train_loss;

    sketch_plan  *plan;
    sketch_store *store;
    int      already;                /* rows that an earlier run had left */
    finder   find[FINDERS];
    mistake  wrong[CASES];
    fidelity fidelity[OPERATORS][DIMENSIONS];
    int      ndims;
    double   layer_r[DIGITS_LAYERS], gradient_seconds;
    sketch_advice advice;

    step     steps[MOST_STEPS];
    int      nsteps;
    double   began, step_began;
} demo_state;

static const struct { sketch_algo algo; const char *name; } operators[OPERATORS] = {
    { SKETCH_AFFD, "AFFD" }, { SKETCH_AFJL, "AFJL" }, { SKETCH_QK, "QK" },     { SKETCH_FJL, "FJL" },
    { SKETCH_FFD, "FFD" },   { SKETCH_SJLT, "SJLT" }, { SKETCH_SRHT, "SRHT" }, { SKETCH_DENSE, "dense" },
    { SKETCH_MASK, "MASK" },
};
static const double dimension[DIMENSIONS] = { 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384 };
enum { DENSE = 7, AT_1024 = 4 };           /* rows of these tables */

/* ---- time and progress ----------------------------------------------------------------------------- */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void progress(const demo_state *demo, double done, double total)    /* on a terminal only */
{
    if (!isatty(2)) return;
    char bar[33];
    int full = (int)(32 * done / total);
    for (int i = 0; i < 32; i++) bar[i] = i < full ? '#' : '.';
    bar[32] = 0;
    fprintf(stderr, "\r%-46s [%s] %3.0f%% %5.1f s", demo->steps[demo->nsteps - 1].name, bar, 100 * done / total, now() - demo->step_began);
}

static void step_begin(demo_state *demo, const char *name)
{
    demo->steps[demo->nsteps++].name = name;
    demo->step_began = now();
    progress(demo, 0, 1);
}

static void step_end(demo_state *demo, const char *format, ...)            /* format: the memory that the step took */
{
    step *s = &demo->steps[demo->nsteps - 1];
    va_list args;
    va_start(args, format);
    vsnprintf(s->memory, sizeof s->memory, format, args);
    va_end(args);
    s->seconds = now() - demo->step_began;
    fprintf(stderr, "%s%-46s %5.1f s%-40s\n", isatty(2) ? "\r" : "", s->name, s->seconds, "");
}

/* ---- the data, the network -------------------------------------------------------------------------- */
static void load(demo_state *demo, const char *path, const char *program)
{
    const char *bases[] = { "", "../", program, __FILE__ };          /* here, or above; else beside the program, or the source */
    char place[1024];
    int bad = path ? digits_load(path, &demo->data) : -1;
    for (int i = 0; !path && bad && i < 4; i++) {
        const char *slash = strrchr(bases[i], '/');
        snprintf(place, sizeof place, "%.*s%s", slash ? (int)(slash + 1 - bases[i]) : 0, bases[i], i < 3 ? "examples/data/digits.bin" : "data/digits.bin");
        bad = digits_load(place, &demo->data);
    }
    if (bad) die(path ? path : "examples/data/digits.bin", "not found, or not the digits (give the file with --data)");
    if (demo->data.count != ALL) die("data", "1,797 digits expected");

    int order[ALL];
    uint64_t chance = 7;
    for (int i = 0; i < ALL; i++) order[i] = i;
    digits_shuffle(order, ALL, &chance);
    memcpy(demo->train, order, sizeof demo->train);
    memcpy(demo->test, order + TRAIN, sizeof demo->test);
    memcpy(demo->given, demo->data.label, ALL);
    for (int i = 0; i < FLIPPED; i++)                                /* one of the nine other classes */
        demo->given[order[i]] = (uint8_t)((demo->given[order[i]] + 1 + digits_random(&chance) % 9) % DIGITS_CLASSES);
}

static int flipped(const demo_state *demo, uint64_t id) { return demo->given[id] != demo->data.label[id]; }
static const float *image(const demo_state *demo, uint64_t id) { return demo->data.image + id * DIGITS_PIXELS; }

static void train(demo_state *demo)
{
    step_begin(demo, "training the network");
    digits_data noisy = demo->data;
    digits_training t = { .epochs = demo->epochs, .batch = 32, .rate = 1e-3f, .seed = 1 };
    noisy.label = demo->given;
    if (digits_train_begin(&t, demo->theta, demo->train, TRAIN)) die("memory", "allocation failed");
    for (int e = 0; e < demo->epochs; e++) {
        demo->train_loss = digits_train_epoch(&t, demo->theta, &noisy, TRAIN);
        progress(demo, e + 1, demo->epochs);
    }
    digits_train_end(&t);
    step_end(demo, "%.1f MB: weights, gradient, two moments", 4.0 * N * sizeof(float) / 1e6);
}

typedef struct gradient_job { const demo_state *demo; const int *ids; float *rows; double *loss; } gradient_job;

static void gradient_task(void *arg, uint32_t k)
{
    const gradient_job *job = (const gradient_job *)arg;
    int id = job->ids[k];
    digits_state state;
    float *row = job->rows + (size_t)k * N;
    memset(row, 0, N * sizeof(float));
    double loss = digits_gradient(job->demo->theta, image(job->demo, (uint64_t)id), job->demo->given[id], row, &state);
    if (job->loss) job->loss[k] = loss;
}

/* rows[count][N]: the gradient of each example's loss, one task each. loss may be NULL. */
static void gradients(const demo_state *demo, const int *ids, int count, float *rows, double *loss)
{
    gradient_job job = { demo, ids, rows, loss };
    demo->threads.parallel_for(demo->threads.user, (uint32_t)count, gradient_task, &job);
}

/* ---- 1: sketch and store every training example's gradient --------------------------------------------- */
static void sketch_training_set(demo_state *demo)
{
    step_begin(demo, "1 sketching 1,347 gradients into the store");

    /* A store's meta.json names the operator; that the rows are of this network is for its directory to say. */
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < N * sizeof(float); i++) hash = (hash ^ ((unsigned char *)demo->theta)[i]) * 0x100000001b3u;
    char dir[1024];
    snprintf(dir, sizeof dir, "%s/store-%08x", demo->out, (unsigned)(hash >> 32));

    sketch_desc desc = sketch_desc_make(SKETCH_AFFD, N, D, SKETCH_SEED);
    desc.threads = demo->threads;
    CHECK(sketch_create(&desc, &demo->plan));
    CHECK(sketch_store_open(dir, demo->plan, &demo->store));
    sketch_work *work;
    CHECK(sketch_work_create(demo->plan, BATCH, &work));

    int todo[TRAIN], ntodo = 0;
    for (int i = 0; i < TRAIN; i++)
        if (!sketch_store_has(demo->store, (uint64_t)demo->train[i])) todo[ntodo++] = demo->train[i];
    demo->already = TRAIN - ntodo;

    float *rows = (float *)allocate((size_t)BATCH * N, sizeof(float)), *y = (float *)allocate((size_t)BATCH * D, sizeof(float));
    for (int first = 0; first < ntodo; first += BATCH) {
        int count = ntodo - first < BATCH ? ntodo - first : BATCH;
        uint64_t ids[BATCH];
        for (int k = 0; k < count; k++) ids[k] = (uint64_t)todo[first + k];
        gradients(demo, todo + first, count, rows, NULL);
        CHECK(sketch_apply_batch(demo->plan, rows, SKETCH_F32, (size_t)count, N, y, D, work));
        CHECK(sketch_store_append(demo->store, ids, y, (size_t)count));
        CHECK(sketch_store_commit(demo->store));                    /* from here on a crash loses none of them */
        progress(demo, demo->already + first + count, TRAIN);
    }
    free(rows);
    free(y);
    sketch_work_destroy(work);
    step_end(demo, "%.1f MB: %d gradients in flight; %.2f MB for sketching them; store %.1f MB", BATCH * 4.0 * N / 1e6, (int)BATCH,
             ((double)sketch_query(demo->plan).plan_bytes + (double)sketch_work_bytes(demo->plan, BATCH)) / 1e6, 4.0 * TRAIN * D / 1e6);
    fprintf(stderr, "  %s: %d rows were there, %d sketched now\n", dir, demo->already, ntodo);
}

/* ---- 2: find the wrong labels ------------------------------------------------------------------------ */
static const float *ranked_by;                                       /* for qsort */
static int by_score(const void *a, const void *b)
{
    float x = ranked_by[*(const int *)a], y = ranked_by[*(const int *)b];
    return x < y ? 1 : x > y ? -1 : *(const int *)a - *(const int *)b;
}
static void rank_scores(const float *score, int *rank, int count)
{
    for (int i = 0; i < count; i++) rank[i] = i;
    ranked_by = score;
    qsort(rank, (size_t)count, sizeof *rank, by_score);
}

static void judge(const demo_state *demo, finder *f)
{
    double wins = 0;
    int found = 0;
    for (int i = 0; i < TRAIN; i++)
        for (int j = 0; flipped(demo, (uint64_t)demo->train[i]) && j < TRAIN; j++)
            if (!flipped(demo, (uint64_t)demo->train[j]))
                wins += f->score[i] > f->score[j] ? 1 : f->score[i] == f->score[j] ? 0.5 : 0;
    f->auc = wins / ((double)FLIPPED * (TRAIN - FLIPPED));           /* Mann-Whitney */
    rank_scores(f->score, f->rank, TRAIN);
    for (int i = 0; i < TENTH; i++) found += flipped(demo, (uint64_t)demo->train[f->rank[i]]);
    f->precision = (double)found / TENTH;
}

/* |S g|^2 ~ |g|^2 of every row in the store: an example that pulls hard on its own is an odd one. */
static void self_influence(const demo_state *demo, size_t d, float *score)
{
    int place[ALL] = { 0 };
    for (int i = 0; i < TRAIN; i++) place[demo->train[i]] = i;
    uint64_t count = sketch_store_count(demo->store), nrows;
    for (uint64_t first = 0; first < count; first += nrows) {
        const float *rows;
        const uint64_t *ids;
        CHECK(sketch_store_rows(demo->store, first, &nrows, &rows, &ids));
        float *out = (float *)allocate(nrows, sizeof(float)), *cut = NULL;
        if (d < D) {                                                  /* the first d coordinates are a sketch too */
            cut = (float *)allocate(nrows * d, sizeof(float));
            CHECK(sketch_truncate(rows, nrows, D, 0, cut, d));
        }
        CHECK(sketch_tda_self_influence(cut ? cut : rows, nrows, d, out));
        for (uint64_t k = 0; k < nrows; k++) if (ids[k] < ALL) score[place[ids[k]]] = out[k];
        free(out);
        free(cut);
    }
}

static void find_mislabelled(demo_state *demo)
{
    step_begin(demo, "2 finding wrong labels, from the sketches");
    finder *f = demo->find;
    f[BY_SKETCH].name = "sketches, d = 1,024";
    f[BY_256].name = "the same, cut to d = 256";
    f[BY_64].name = "the same, cut to d = 64";
    self_influence(demo, D, f[BY_SKETCH].score);
    self_influence(demo, 256, f[BY_256].score);
    self_influence(demo, 64, f[BY_64].score);
    f[BY_SKETCH].bytes = 4.0 * TRAIN * D;
    f[BY_256].bytes = 4.0 * TRAIN * 256;
    f[BY_64].bytes = 4.0 * TRAIN * 64;
    for (int k = BY_SKETCH; k <= BY_64; k++) judge(demo, &f[k]);
    step_end(demo, "none: the store's rows are read in place");
}

/* ---- 3: who taught it this? ---------------------------------------------------------------------------- */
static void choose_mistakes(demo_state *demo)      /* the costliest of the wrong answers on the test set, each of another digit */
{
    double cost[CASES] = { 0 };
    int taken = 0;
    demo->test_wrong = 0;
    for (int pass = 0; pass < CASES; pass++) {
        for (int i = 0; i < ALL - TRAIN; i++) {
            int id = demo->test[i], label = demo->data.label[id], said, used = 0;
            digits_state s;
            said = digits_forward(demo->theta, image(demo, (uint64_t)id), &s);
            if (said == label) continue;
            if (pass == 0) demo->test_wrong++;
            for (int k = 0; k < taken; k++) used |= demo->data.label[demo->wrong[k].id] == label;
            double loss = digits_loss(&s, label);
            if (used || loss <= cost[pass]) continue;
            cost[pass] = loss;
            demo->wrong[pass].id = id;
            demo->wrong[pass].said = said;
            demo->wrong[pass].sure = s.probability[said];
        }
        if (cost[pass] == 0) die("test set", "fewer than three kinds of mistakes");
        taken++;
    }
}

static void explain_mistakes(demo_state *demo)
{
    step_begin(demo, "3 asking who taught three mistakes");
    choose_mistakes(demo);
    int ids[CASES];
    for (int k = 0; k < CASES; k++) ids[k] = demo->wrong[k].id;

    float *g = (float *)allocate((size_t)CASES * N, sizeof(float)), q[CASES * D];
    sketch_work *work;
    sketch_hit best[CASES * TOP], worst[CASES * TOP], by_dot[CASES * TOP];
    sketch_tda_options options = { .threads = demo->threads };
    gradients(demo, ids, CASES, g, NULL);
    CHECK(sketch_work_create(demo->plan, CASES, &work));
    CHECK(sketch_apply_batch(demo->plan, g, SKETCH_F32, CASES, N, q, D, work));
    CHECK(sketch_tda_topk(demo->store, q, CASES, D, score_metric, SKETCH_HIGHEST, TOP, best, &options));
    CHECK(sketch_tda_topk(demo->store, q, CASES, D, score_metric, SKETCH_LOWEST, TOP, worst, &options));
    CHECK(sketch_tda_topk(demo->store, q, CASES, D, SKETCH_DOT, SKETCH_LOWEST, TOP, by_dot, &options));
    for (int k = 0; k < CASES; k++) {
        mistake *m = &demo->wrong[k];
        memcpy(m->best, best + k * TOP, sizeof m->best);
        memcpy(m->worst, worst + k * TOP, sizeof m->worst);
        for (int j = 0; j < TOP; j++) m->by_dot += flipped(demo, by_dot[k * TOP + j].id);
    }
    sketch_work_destroy(work);
    free(g);
    step_end(demo, "%.1f MB: three gradients", CASES * 4.0 * N / 1e6);
}

/* ---- the same questions put to the full gradients: what the sketches are judged by ---------------------- */
static void ask_full_gradients(demo_state *demo)
{
    step_begin(demo, "the same from full gradients, to compare");
    float *g = (float *)allocate((size_t)BATCH * N, sizeof(float)), *q = (float *)allocate((size_t)CASES * N, sizeof(float));
    float *score = (float *)allocate((size_t)CASES * TRAIN, sizeof(float));
    finder *f = demo->find;
    int ids[CASES];
    for (int k = 0; k < CASES; k++) ids[k] = demo->wrong[k].id;
    gradients(demo, ids, CASES, q, NULL);
    for (int first = 0; first < TRAIN; first += BATCH) {
        int count = TRAIN - first < BATCH ? TRAIN - first : BATCH;
        double loss[BATCH];
        gradients(demo, demo->train + first, count, g, loss);
        for (int i = 0; i < count; i++) {
            const float *gi = g + (size_t)i * N;
            f[BY_FULL].score[first + i] = (float)sketch_dot_f32(gi, gi, N);
            f[BY_LOSS].score[first + i] = (float)loss[i];
            for (int k = 0; k < CASES; k++)
                score[k * TRAIN + first + i] = (float)(sketch_dot_f32(gi, q + (size_t)k * N, N) / (score_metric == SKETCH_DOT ? 1 : sqrt(sketch_dot_f32(gi, gi, N))));
        }
        progress(demo, first + count, TRAIN);
    }
    f[BY_FULL].name = "full gradients, n = 56,290";
    f[BY_FULL].bytes = 4.0 * TRAIN * N;
    f[BY_LOSS].name = "no gradients: the loss itself";
    f[BY_LOSS].bytes = 4.0 * TRAIN;
    judge(demo, &f[BY_FULL]);
    judge(demo, &f[BY_LOSS]);
    for (int k = 0; k < CASES; k++) {
        mistake *m = &demo->wrong[k];
        int rank[TRAIN];
        rank_scores(score + k * TRAIN, rank, TRAIN);
        m->agree = 0;
        for (int i = 0; i < TOP; i++)
            for (int j = 0; j < TOP; j++)
                m->agree += (m->best[j].id == (uint64_t)demo->train[rank[i]]) + (m->worst[j].id == (uint64_t)demo->train[rank[TRAIN - 1 - i]]);
    }
    free(g);
    free(q);
    free(score);
    step_end(demo, "%.1f MB: %d gradients; to keep all would take %.0f MB", BATCH * 4.0 * N / 1e6, (int)BATCH, TRAIN * 4.0 * N / 1e6);
}

/* ---- 4: how faithful are the inner products? ------------------------------------------------------------ */
typedef struct pairs_job { const float *t, *q; double *dot; int count; } pairs_job;

static void pairs_task(void *arg, uint32_t i)        /* dot[layer][i][j]: exact, and layer by layer */
{
    const pairs_job *job = (const pairs_job *)arg;
    for (int j = 0; j < job->count; j++)
        for (int l = 0; l < DIGITS_LAYERS; l++) {
            size_t offset = digits_layers[l].offset;
            job->dot[((size_t)l * (size_t)job->count + i) * (size_t)job->count + (size_t)j] =
                sketch_dot_f32(job->t + (size_t)i * N + offset, job->q + (size_t)j * N + offset, digits_layers[l].count);
        }
}

/* Sketches 2 count vectors and correlates the count^2 inner products with the exact ones. */
static void measure_operator(const demo_state *demo, sketch_algo algo, uint64_t d, int seeds, const float *vectors, int count,
                             const float *exact, fidelity *result)
{
    float *y = (float *)allocate(2 * (size_t)count * d, sizeof(float)), *dot = (float *)allocate((size_t)count * (size_t)count, sizeof(float));
    result->r = 0;
    result->seconds = INFINITY;
    result->seeds = seeds;
    for (int s = 0; s < seeds; s++) {
        sketch_desc desc = sketch_desc_make(algo, N, d, 1000 + (uint64_t)s);
        sketch_plan *plan;
        sketch_work *work;
        size_t plan_bytes, work_bytes;
        desc.threads = demo->threads;
        CHECK(sketch_measure(&desc, (size_t)(2 * count), &plan_bytes, &work_bytes));
        CHECK(sketch_create(&desc, &plan));
        CHECK(sketch_work_create(plan, (size_t)(2 * count), &work));
        for (int again = 0; again < 3; again++) {                     /* the fastest of three, where that is cheap */
            double start = now(), seconds;
            CHECK(sketch_apply_batch(plan, vectors, SKETCH_F32, (size_t)(2 * count), N, y, d, work));
            seconds = (now() - start) / (2 * count);
            if (seconds < result->seconds) result->seconds = seconds;
            if (seconds > 2e-4) break;
        }
        CHECK(sketch_tda_scores(y, (size_t)count, y + (size_t)count * d, (size_t)count, d, SKETCH_DOT, dot, &demo->threads));
        result->r += sketch_pearson(dot, exact, (size_t)count * (size_t)count) / seeds;
        result->bytes = plan_bytes + work_bytes;
        sketch_work_destroy(work);
        sketch_destroy(plan);
    }
    free(y);
    free(dot);
}

/* What the store could have told without a full gradient. */
static void ask_advice(demo_state *demo, const float *vectors, int count)
{
    float *y = (float *)allocate(2 * (size_t)count * D, sizeof(float));
    sketch_work *work;
    CHECK(sketch_work_create(demo->plan, (size_t)(2 * count), &work));
    CHECK(sketch_apply_batch(demo->plan, vectors, SKETCH_F32, (size_t)(2 * count), N, y, D, work));
    sketch_status status = sketch_advise_d(y + (size_t)count * D, (size_t)count, y, (size_t)count, D, 0.95, &demo->advice);
    if (status != SKETCH_E_CONVERGE) CHECK(status);                   /* that: d = INFINITY, more rows or a larger d are needed */
    sketch_work_destroy(work);
    free(y);
}

static int seeds_for(const demo_state *demo, sketch_algo algo, double d)    /* dense is n d work: at large d one seed must do */
{
    return demo->quick || (algo == SKETCH_DENSE && d > 1024) ? 1 : 3;
}

static double effort(int o, double d)                                 /* for the progress bar, roughly */
{
    return operators[o].algo == SKETCH_DENSE ? 5 + d / 100 : operators[o].algo == SKETCH_FJL ? 1 + d / 900 : 1;
}

static void measure_fidelity(demo_state *demo)
{
    step_begin(demo, "4 fidelity of every operator at every d");
    int count = demo->quick ? 16 : PAIRED, ids[2 * PAIRED];
    size_t pairs = (size_t)count * (size_t)count;
    for (int i = 0; i < count; i++) {
        ids[i] = demo->train[i * (TRAIN / count)];                    /* the training set is in random order; its first tenth is flipped */
        ids[count + i] = demo->test[i];
    }
    float *g = (float *)allocate(2 * (size_t)count * N, sizeof(float)), *exact = (float *)allocate(pairs, sizeof(float)), *one = (float *)allocate(pairs, sizeof(float));
    double *dot = (double *)allocate(DIGITS_LAYERS * pairs, sizeof(double));
    double start = now();
    gradients(demo, ids, 2 * count, g, NULL);
    demo->gradient_seconds = (now() - start) / (2 * count);
    pairs_job job = { g, g + (size_t)count * N, dot, count };
    demo->threads.parallel_for(demo->threads.user, (uint32_t)count, pairs_task, &job);
    for (size_t i = 0; i < pairs; i++) {
        double sum = 0;
        for (int l = 0; l < DIGITS_LAYERS; l++) sum += dot[(size_t)l * pairs + i];
        exact[i] = (float)sum;
    }
    for (int l = 0; l < DIGITS_LAYERS; l++) {
        for (size_t i = 0; i < pairs; i++) one[i] = (float)dot[(size_t)l * pairs + i];
        demo->layer_r[l] = sketch_pearson(one, exact, pairs);
    }

    ask_advice(demo, g, count);

    double total = 0, done = 0;
    for (int k = 0; k < demo->ndims; k++)
        for (int o = 0; o < OPERATORS; o++) total += effort(o, dimension[k]) * seeds_for(demo, operators[o].algo, dimension[k]);
    for (int o = 0; o < OPERATORS; o++)
        for (int k = 0; k < DIMENSIONS; k++) {
            fidelity *f = &demo->fidelity[o][k];
            int seeds = seeds_for(demo, operators[o].algo, dimension[k]);
            f->r = f->seconds = NAN;
            if (k >= demo->ndims || (k > 0 && isnan(f[-1].r))) continue;
            if (k > 0 && now() - demo->step_began + seeds * f[-1].seconds * 2 * 2 * count > PATIENCE) continue;
            measure_operator(demo, operators[o].algo, (uint64_t)dimension[k], seeds, g, count, exact, f);
            progress(demo, done += effort(o, dimension[k]) * seeds, total);
        }
    free(g);
    free(exact);
    free(one);
    free(dot);
    step_end(demo, "%.0f MB: %d full gradients, and sketches up to d = %.0f", 2 * count * 4.0 * N / 1e6, 2 * count, dimension[demo->ndims - 1]);
}

#include "demo_report.h"

static void print_summary(const demo_state *demo)
{
    int at = AT_1024;
    printf("network    %d parameters, %d of %d test digits wrong\n", (int)N, demo->test_wrong, ALL - TRAIN);
    printf("store      %d rows of %d, %d of them from before\n", (int)sketch_store_count(demo->store), (int)D, demo->already);
    for (int k = 0; k < FINDERS; k++)
        printf("mislabels  AUC %.4f  precision at 10%% %.3f  %s\n", demo->find[k].auc, demo->find[k].precision, demo->find[k].name);
    for (int o = 0; o < OPERATORS; o++) {
        printf("fidelity   %-5s r", operators[o].name);
        for (int k = 0; k < demo->ndims; k++)
            if (isnan(demo->fidelity[o][k].r)) printf(" -");
            else printf(" %.4f", demo->fidelity[o][k].r);
        printf("  %.0f us at d = %.0f\n", demo->fidelity[o][at].seconds * 1e6, dimension[at]);
    }
    for (int l = 0; l < DIGITS_LAYERS; l++) printf("one layer  %-6s r %.4f\n", digits_layers[l].name, demo->layer_r[l]);
    printf("advice     r at d = %d: %.3f (%.3f to %.3f); r = 0.95 from d = %.0f (%.0f to %.0f)\n", (int)D, demo->advice.r_at_d, demo->advice.r_low,
           demo->advice.r_high, demo->advice.d, demo->advice.d_low, demo->advice.d_high);
    printf("took       %.1f s, %.0f MB at the peak\n", total_seconds(demo), peak_bytes() / 1e6);
}

int main(int argc, char **argv)
{
    demo_state *demo = (demo_state *)allocate(1, sizeof *demo);
    const char *path = NULL;
    unsigned threads = threads_cpus();
    demo->out = "demo-out";
    for (int i = 1; i < argc; i++) {
        int more = i + 1 < argc;
        if      (!strcmp(argv[i], "--quick")) demo->quick = 1;
        else if (!strcmp(argv[i], "--out") && more) demo->out = argv[++i];
        else if (!strcmp(argv[i], "--data") && more) path = argv[++i];
        else if (!strcmp(argv[i], "--threads") && more) threads = (unsigned)atoi(argv[++i]);
        else {
            fprintf(stderr, "usage: demo [--out demo-out] [--data examples/data/digits.bin] [--threads %u] [--quick]\n", threads);
            return strcmp(argv[i], "--help") ? 2 : 0;
        }
    }
    if (mkdir(demo->out, 0777) && errno != EEXIST) die(demo->out, strerror(errno));
    demo->began = now();
    demo->threads = threads_pthreads(threads);
    demo->epochs = demo->quick ? 6 : 15;
    demo->ndims = demo->quick ? AT_1024 + 1 : DIMENSIONS;
    demo->theta = (float *)allocate(N, sizeof(float));

    load(demo, path, argv[0]);
    train(demo);
    sketch_training_set(demo);
    find_mislabelled(demo);
    explain_mistakes(demo);
    ask_full_gradients(demo);
    measure_fidelity(demo);

    char report[1024], figure[1024], *full;
    snprintf(report, sizeof report, "%s/report.html", demo->out);
    snprintf(figure, sizeof figure, "%s/figure.svg", demo->out);
    write_page(demo, report);
    write_figure(demo, figure);
    print_summary(demo);
    full = realpath(report, NULL);
    printf("page       file://%s\n", full ? full : report);
    free(full);

    CHECK(sketch_store_close(demo->store));
    sketch_destroy(demo->plan);
    digits_free(&demo->data);
    free(demo->theta);
    free(demo);
    return 0;
}
