/* paper.c - the experiments of the paper that sketch.h implements (arXiv 2402.03994), at the scale of one small machine. `make paper`, or

     cc -O2 -I. examples/paper.c -o paper -lm -lpthread && ./paper [--scale quick|default|full] [--out paper-out] [--threads 2] [--report]

   Two models on real data: the digits network (digits.h, 56,290 parameters: classification) and a small GPT (gpt.h, 1.02M; --scale full: 10.7M: generation),
   trained on Jane Austen and fine-tuned on Shakespeare. Each measurement is one line of paper-out/results-SCALE.txt, `key values .`, written as soon as it
   is known; a run that was killed goes on after the last of them. The page and the summary (paper_report.h) are made from that file alone.
   Here: the log, the models, then one function an experiment; what you would do in your own program is in gpt_hvp_task (an HVP over threads),
   top_eigenvalues (sketched Hessian and Lanczos) and search_dimension (training in S^T). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define SKETCH_IMPLEMENTATION
#include "sketch.h"
#include "digits.h"
#include "gpt.h"
#include "threads.h"
#include "page.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>

#define CHECK(call) do { sketch_status status_ = (call); if (status_ != SKETCH_OK) die(#call, sketch_status_string(status_)); } while (0)

static void die(const char *what, const char *why)
{
    fprintf(stderr, "\npaper: %s: %s\n", what, why);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p) die("memory", "allocation failed");
    return p;
}
static float *floats(size_t count) { return (float *)allocate(count, sizeof(float)); }

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is run, at each scale -------------------------------------------------------------------- */
typedef struct scale {
    const char *name;
    int width, heads, blocks;                                     /* of the GPT */
    int pretrain, finetune, batch;                                /* steps; texts a step */
    int paired;                                                   /* vectors on each side: its square is the number of pairs */
    int ip_seeds, ip_to;                                          /* inner products: seeds, and d up to 2^ip_to from 2^6 */
    double patience;                                              /* seconds for one operator at one d; what needs more is left out */
    int eig_digits, eig_texts, eig_steps, eig_seeds, eig_from, eig_to;    /* Hessian of that many examples; Lanczos steps; d = 2^from .. 2^to */
    int landscape_d, landscape_steps;                             /* Fig. 2: log2 d, Lanczos steps */
    int id_seeds, id_batch, id_steps[2], id_rounds[2], id_from[2], id_to[2];                /* intrinsic dimension: GPT's batch; digits, GPT: steps a round, rounds of a sweep run, d = 2^from .. 2^to */
    int cost_d, speed_to;
} scale;

static const scale scales[] = {
    { "quick",    32, 2, 2,    60,  40, 8, 32,  1, 12,   1,   32, 2, 30, 1, 6, 11,   9, 25,   3, 4, { 40, 20 }, { 20, 20 }, { 4, 5 }, { 10, 12 },   9, 10 },
    { "default", 128, 4, 5,   800, 200, 8, 64,  3, 15,  15,  128, 4, 45, 2, 6, 15,  14, 60,   3, 4, { 40, 45 }, { 24, 8 }, { 2, 12 }, { 12, 18 },  12, 15 },
    { "full",    384, 6, 6,  2500, 800, 8, 64,  3, 17, 120,  512, 8, 80, 3, 6, 17,  16, 200,  3, 8, { 40, 60 }, { 30, 30 }, { 2, 9 }, { 13, 17 },  13, 17 },
};

enum { PARTS = 4, TOP = 10, TEXTS_MOST = 128 };

static const struct { sketch_algo algo; const char *name; } operators[] = {
    { SKETCH_AFFD, "AFFD" }, { SKETCH_AFJL, "AFJL" }, { SKETCH_QK, "QK" },     { SKETCH_FJL, "FJL" },
    { SKETCH_FFD, "FFD" },   { SKETCH_SJLT, "SJLT" }, { SKETCH_SRHT, "SRHT" }, { SKETCH_DENSE, "dense" },
};
enum { OPERATORS = 8, DENSE = 7 };

static const int landscape_at[] = { 0, 10, 50, 100, 150, 200, 250, 500 };
enum { LANDSCAPE = 8 };

/* ---- the log ------------------------------------------------------------------------------------------ */
typedef struct entry { char key[48]; int count; double *value; } entry;

typedef struct paper {
    const scale *scale;
    const char  *out;
    sketch_threads threads;
    double       began;

    entry       *entry;              /* all lines of the log */
    int          entries;
    FILE        *log;

    digits_data  digits;
    int          train[1347], test[450];
    float       *digits_theta;
    gpt_model    gpt;
    float       *gpt_theta;          /* after fine-tuning */
    uint8_t     *austen, *shakespeare;
    size_t       austen_count, shakespeare_count;
    gpt_state   *plain[PARTS], *tangents[PARTS];
    float       *part[PARTS];        /* each part's gradient or H v */
    float       *gradients[2];       /* digits, GPT: 2 paired rows of n; made when first needed */
} paper;

static const double *lookup(const paper *p, const char *key, int *count)      /* NULL: not measured */
{
    for (int i = 0; i < p->entries; i++)
        if (!strcmp(p->entry[i].key, key)) { if (count) *count = p->entry[i].count; return p->entry[i].value; }
    return NULL;
}

static void remember(paper *p, const char *key, int count, const double *value)
{
    entry *e;
    p->entry = (entry *)realloc(p->entry, sizeof(entry) * (size_t)(p->entries + 1));
    if (!p->entry) die("memory", "allocation failed");
    e = &p->entry[p->entries++];
    snprintf(e->key, sizeof e->key, "%s", key);
    e->count = count;
    e->value = (double *)allocate((size_t)count, sizeof(double));
    memcpy(e->value, value, (size_t)count * sizeof(double));
}

static void record(paper *p, const char *key, int count, const double *value)
{
    remember(p, key, count, value);
    fprintf(p->log, "%s", key);
    for (int i = 0; i < count; i++) fprintf(p->log, " %.9g", value[i]);
    fprintf(p->log, " .\n");
    if (fflush(p->log)) die("results", strerror(errno));
    double t = now() - p->began;
    fprintf(stderr, "  %3d:%02d  %-26s", (int)t / 60, (int)t % 60, key);
    for (int i = 0; i < count && i < 6; i++) fprintf(stderr, " %.4g", value[i]);
    fprintf(stderr, "%s\n", count > 6 ? " .." : "");
}

static void open_log(paper *p)       /* reads whole lines; a torn one at the end is cut off */
{
    char path[1024], line[1024];
    long good = 0;
    snprintf(path, sizeof path, "%s/results-%s.txt", p->out, p->scale->name);
    p->log = fopen(path, "a+");
    if (!p->log) die(path, strerror(errno));
    rewind(p->log);
    while (fgets(line, sizeof line, p->log)) {
        size_t length = strlen(line);
        double value[64];
        int count = 0;
        if (length < 3 || strcmp(line + length - 3, " .\n")) break;
        char *end = line + strcspn(line, " "), *at = end + 1;
        *end = 0;
        while (count < 64 && *at != '.') { value[count++] = strtod(at, &at); at += *at == ' '; }
        remember(p, line, count, value);
        good = ftell(p->log);
    }
    if (fflush(p->log) || ftruncate(fileno(p->log), good)) die(path, strerror(errno));
    if (p->entries) fprintf(stderr, "%s: %d measurements are there, going on\n", path, p->entries);
}

static void heading(const char *text) { fprintf(stderr, "%s\n", text); }

/* ---- files ---------------------------------------------------------------------------------------------- */
static const char *data_file(const char *name)                     /* from the repository's top, or beside this source */
{
    static char place[1024];
    const char *slash = strrchr(__FILE__, '/');
    FILE *f;
    snprintf(place, sizeof place, "examples/data/%s", name);
    if (!(f = fopen(place, "rb"))) snprintf(place, sizeof place, "%.*sdata/%s", slash ? (int)(slash + 1 - __FILE__) : 0, __FILE__, name);
    else fclose(f);
    return place;
}

static int load_weights(const paper *p, const char *name, float *theta, size_t n)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s-%s.f32", p->out, name, p->scale->name);
    FILE *f = fopen(path, "rb");
    int ok = f && fread(theta, sizeof(float), n, f) == n && fgetc(f) == EOF;
    if (f) fclose(f);
    return ok;
}

static void save_weights(const paper *p, const char *name, const float *theta, size_t n)
{
    char path[1024], part[1100];
    snprintf(path, sizeof path, "%s/%s-%s.f32", p->out, name, p->scale->name);
    snprintf(part, sizeof part, "%s.part", path);
    FILE *f = fopen(part, "wb");
    if (!f || fwrite(theta, sizeof(float), n, f) != n || fclose(f) || rename(part, path)) die(path, strerror(errno));
}

/* ---- the models: gradients and HVPs over threads ----------------------------------------------------------- */
typedef enum gpt_wish { GRADIENT, HVP, ROWS, FORWARD } gpt_wish;      /* mean gradient, mean H v, a gradient for each text, hits only */
typedef struct gpt_job {             /* PARTS tasks, whatever the number of threads: so sums never depend on it */
    paper *p;
    gpt_wish wish;
    const float *theta, *v;
    const uint8_t *const *texts;
    int count;
    float *rows;                     /* [count][n] */
    uint8_t *hit;                    /* [count][context] */
    double loss[PARTS];
} gpt_job;

static void gpt_task(void *arg, uint32_t k)
{
    gpt_job *job = (gpt_job *)arg;
    paper *p = job->p;
    const gpt_model *m = &p->gpt;
    float *sum = p->part[k];
    if (job->wish == GRADIENT || job->wish == HVP) memset(sum, 0, m->count * sizeof(float));
    for (int i = job->count * (int)k / PARTS; i < job->count * ((int)k + 1) / PARTS; i++) {
        const uint8_t *const *text = job->texts + i;
        if      (job->wish == GRADIENT) job->loss[k] += gpt_gradient(m, job->theta, text, 1, sum, p->plain[k]);
        else if (job->wish == ROWS)     job->loss[k] += gpt_gradient(m, job->theta, text, 1, job->rows + (size_t)i * m->count, p->plain[k]);
        else if (job->wish == HVP)      job->loss[k] += gpt_hvp(m, job->theta, job->v, text, 1, sum, p->tangents[k]);
        else {
            job->loss[k] += gpt_forward(m, job->theta, text, 1, p->plain[k]);
            memcpy(job->hit + i * m->context, p->plain[k]->hit, (size_t)m->context);
        }
    }
}

/* out[n] = the mean over texts of the gradient (v = NULL) or of H v. Returns the mean loss. */
static double gpt_mean(paper *p, const float *theta, const float *v, const uint8_t *const *texts, int count, float *out)
{
    gpt_job job = { p, v ? HVP : GRADIENT, theta, v, texts, count, NULL, NULL, { 0 } };
    double loss = 0;
    p->threads.parallel_for(p->threads.user, PARTS, gpt_task, &job);
    memset(out, 0, p->gpt.count * sizeof(float));
    for (int k = 0; k < PARTS; k++) {
        gpt_axpy((int)p->gpt.count, 1.0f / (float)count, p->part[k], out);
        loss += job.loss[k] / count;
    }
    return loss;
}

/* m[0]: share of characters foreseen; m[1]: share of pairs of neighbours both foreseen; m[2]: loss. On 64 held-out texts. */
static void gpt_metrics(paper *p, const float *theta, double *m)
{
    enum { HELD = 64 };
    const uint8_t *texts[HELD];
    uint8_t *hit = (uint8_t *)allocate((size_t)(HELD * p->gpt.context), 1);
    size_t from = p->shakespeare_count * 9 / 10, room = p->shakespeare_count - from - (size_t)p->gpt.context - 1;
    int T = p->gpt.context;
    for (int i = 0; i < HELD; i++) texts[i] = p->shakespeare + from + room * (size_t)i / HELD;
    gpt_job job = { p, FORWARD, theta, NULL, texts, HELD, NULL, hit, { 0 } };
    p->threads.parallel_for(p->threads.user, PARTS, gpt_task, &job);
    m[0] = m[1] = m[2] = 0;
    for (int i = 0; i < HELD * T; i++) {
        m[0] += hit[i] / (double)(HELD * T);
        if (i % T) m[1] += (hit[i] & hit[i - 1]) / (double)(HELD * (T - 1));
    }
    for (int k = 0; k < PARTS; k++) m[2] += job.loss[k] / HELD;
    free(hit);
}

static void random_texts(const paper *p, const uint8_t *text, size_t count, uint64_t *chance, int texts, const uint8_t **out)     /* from the first nine tenths */
{
    for (int i = 0; i < texts; i++) out[i] = text + digits_random(chance) % (count * 9 / 10 - (size_t)p->gpt.context - 1);
}

typedef struct digits_job { paper *p; const float *theta, *v; const int *ids; int count; float *rows; double correct[PARTS]; } digits_job;

static void digits_task(void *arg, uint32_t k)
{
    digits_job *job = (digits_job *)arg;
    paper *p = job->p;
    digits_state s, t;
    if (!job->rows) memset(p->part[k], 0, DIGITS_PARAMS * sizeof(float));
    for (int i = job->count * (int)k / PARTS; i < job->count * ((int)k + 1) / PARTS; i++) {
        int id = job->ids[i];
        const float *image = p->digits.image + id * DIGITS_PIXELS;
        if (job->v) digits_hvp(job->theta, job->v, image, p->digits.label[id], p->part[k], &s, &t);
        else digits_gradient(job->theta, image, p->digits.label[id], job->rows ? job->rows + (size_t)i * DIGITS_PARAMS : p->part[k], &s);
    }
}

static void digits_mean(paper *p, const float *theta, const float *v, const int *ids, int count, float *out)
{
    digits_job job = { p, theta, v, ids, count, NULL, { 0 } };
    p->threads.parallel_for(p->threads.user, PARTS, digits_task, &job);
    memset(out, 0, DIGITS_PARAMS * sizeof(float));
    for (int k = 0; k < PARTS; k++) digits_axpy(DIGITS_PARAMS, 1.0f / (float)count, p->part[k], out);
}

static void digits_metrics(paper *p, const float *theta, double *m)       /* m[0]: share of the test set that is right */
{
    digits_state s;
    m[0] = m[1] = m[2] = 0;
    for (int i = 0; i < 450; i++) m[0] += (digits_forward(theta, p->digits.image + p->test[i] * DIGITS_PIXELS, &s) == p->digits.label[p->test[i]]) / 450.0;
}

typedef struct adam { float *m, *v; int step; size_t n; } adam;
static adam adam_make(size_t n) { adam a = { floats(n), floats(n), 0, n }; return a; }
static void adam_free(adam *a) { free(a->m); free(a->v); }
static void adam_step(adam *a, float *theta, const float *g, float rate)
{
    float fix1, fix2;
    a->step++;
    fix1 = 1 / (1 - powf(0.9f, (float)a->step));
    fix2 = 1 / (1 - powf(0.99f, (float)a->step));
    for (size_t i = 0; i < a->n; i++) {
        a->m[i] += 0.1f * (g[i] - a->m[i]);
        a->v[i] += 0.01f * (g[i] * g[i] - a->v[i]);
        theta[i] -= rate * a->m[i] * fix1 / (sqrtf(a->v[i] * fix2) + 1e-8f);
    }
}

/* ---- training: weights are kept in files ------------------------------------------------------------------------ */
static int at_landscape(int step) { for (int i = 0; i < LANDSCAPE; i++) if (landscape_at[i] == step) return 1; return 0; }
static const char *checkpoint(const char *model, int step) { static char name[32]; snprintf(name, sizeof name, "%s-step%d", model, step); return name; }

static int landscape_count(const paper *p) { int k = 0; while (k < LANDSCAPE && landscape_at[k] <= p->scale->finetune) k++; return k; }

static void train_gpt(paper *p)
{
    heading("Training the GPT: Austen, then Shakespeare");
    const scale *s = p->scale;
    size_t n = p->gpt.count;
    float *theta = p->gpt_theta, *g = floats(n);
    const uint8_t *texts[TEXTS_MOST];
    double m[3], last = 0;
    for (int phase = 0; phase < 2; phase++) {                     /* 0: pre-training, 1: fine-tuning */
        const char *name = phase ? "gpt-tuned" : "gpt-austen", *key = phase ? "full.gpt" : "start.gpt";
        int steps = phase ? s->finetune : s->pretrain;
        if (load_weights(p, name, theta, n) && lookup(p, key, NULL)) continue;
        uint64_t chance = 11 + (uint64_t)phase;
        adam a = adam_make(n);
        if (!phase) gpt_init(&p->gpt, theta, 1);
        else if (!load_weights(p, "gpt-austen", theta, n)) die("gpt-austen", "weights are gone");
        for (int i = 0; i <= steps; i++) {
            if (phase && at_landscape(i)) save_weights(p, checkpoint("gpt", i), theta, n);
            if (i == steps) break;
            float warm = i < 50 && !phase ? (float)(i + 1) / 50 : 1, rate = (phase ? 1e-3f : 2e-3f) * warm * (1 - 0.9f * (float)i / (float)steps);
            random_texts(p, phase ? p->shakespeare : p->austen, phase ? p->shakespeare_count : p->austen_count, &chance, s->batch, texts);
            double loss = gpt_mean(p, theta, NULL, texts, s->batch, g);
            last = i ? 0.95 * last + 0.05 * loss : loss;
            adam_step(&a, theta, g, rate);
            if (i % 20 == 0 || i + 1 == steps) fprintf(stderr, "\r  %s step %d of %d, loss %.3f ", name, i + 1, steps, last);
        }
        fprintf(stderr, "\n");
        gpt_metrics(p, theta, m);
        save_weights(p, name, theta, n);
        if (!lookup(p, key, NULL)) record(p, key, 3, m);          /* both measured on Shakespeare */
        adam_free(&a);
    }
    free(g);
}

static void train_digits(paper *p)
{
    float *theta = p->digits_theta, *g = floats(DIGITS_PARAMS);
    double m[3];
    digits_init(theta, 1);
    if (!lookup(p, "start.digits", NULL)) { digits_metrics(p, theta, m); record(p, "start.digits", 1, m); }
    if (!load_weights(p, "digits", theta, DIGITS_PARAMS) || !lookup(p, "full.digits", NULL)) {
        uint64_t chance = 3;
        int ids[32];
        adam a = adam_make(DIGITS_PARAMS);
        digits_init(theta, 1);
        for (int i = 0; i <= 600; i++) {
            if (at_landscape(i)) save_weights(p, checkpoint("digits", i), theta, DIGITS_PARAMS);
            for (int k = 0; k < 32; k++) ids[k] = p->train[digits_random(&chance) % 1347];
            digits_mean(p, theta, NULL, ids, 32, g);
            adam_step(&a, theta, g, 1e-3f * (1 - (float)i / 600));
        }
        adam_free(&a);
        digits_metrics(p, theta, m);
        save_weights(p, "digits", theta, DIGITS_PARAMS);
        if (!lookup(p, "full.digits", NULL)) record(p, "full.digits", 1, m);
    }
    free(g);
}

/* ---- Tables 1, 5, 6: inner products ------------------------------------------------------------------------------ */
enum { ON_DIGITS, ON_GPT };
static const char *const model_name[2] = { "digits", "gpt" };
static size_t model_n(const paper *p, int model) { return model == ON_GPT ? p->gpt.count : DIGITS_PARAMS; }
static int layers_of(const paper *p, int model) { return model == ON_GPT ? p->gpt.layers : DIGITS_LAYERS; }
static void layer_of(const paper *p, int model, int l, const char **name, size_t *offset, size_t *count)
{
    if (model == ON_GPT) { *name = p->gpt.layer[l].name; *offset = p->gpt.layer[l].offset; *count = p->gpt.layer[l].count; }
    else { *name = digits_layers[l].name; *offset = digits_layers[l].offset; *count = digits_layers[l].count; }
}

/* rows 0 .. paired-1: training examples; the rest: held-out ones. GPT: on Shakespeare, fine-tuned. */
static const float *gradients(paper *p, int model)
{
    int paired = p->scale->paired, ids[2 * TEXTS_MOST];
    const uint8_t *texts[2 * TEXTS_MOST];
    if (p->gradients[model]) return p->gradients[model];
    float *rows = p->gradients[model] = floats(2 * (size_t)paired * model_n(p, model));
    if (model == ON_GPT) {
        uint64_t chance = 21;
        size_t from = p->shakespeare_count * 9 / 10, room = p->shakespeare_count - from - (size_t)p->gpt.context - 1;
        random_texts(p, p->shakespeare, p->shakespeare_count, &chance, paired, texts);
        for (int i = 0; i < paired; i++) texts[paired + i] = p->shakespeare + from + room * (size_t)i / (size_t)paired;
        gpt_job job = { p, ROWS, p->gpt_theta, NULL, texts, 2 * paired, rows, NULL, { 0 } };
        p->threads.parallel_for(p->threads.user, PARTS, gpt_task, &job);
    } else {
        for (int i = 0; i < paired; i++) { ids[i] = p->train[i]; ids[paired + i] = p->test[i]; }
        digits_job job = { p, p->digits_theta, NULL, ids, 2 * paired, rows, { 0 } };
        p->threads.parallel_for(p->threads.user, PARTS, digits_task, &job);
    }
    return rows;
}

typedef struct pairs_job { const float *rows; size_t n, offset, count; int paired; float *dot; } pairs_job;
static void pairs_task(void *arg, uint32_t i)
{
    const pairs_job *job = (const pairs_job *)arg;
    for (int j = 0; j < job->paired; j++)
        job->dot[i * (size_t)job->paired + (size_t)j] = (float)sketch_dot_f32(job->rows + i * job->n + job->offset,
            job->rows + (size_t)(job->paired + j) * job->n + job->offset, job->count);
}
static void exact_pairs(paper *p, int model, size_t offset, size_t count, float *dot)
{
    pairs_job job = { gradients(p, model), model_n(p, model), offset, count, p->scale->paired, dot };
    p->threads.parallel_for(p->threads.user, (uint32_t)job.paired, pairs_task, &job);
}

/* What a dense Gaussian projection does to these pairs, whatever its d: the product s of rows with squared norms a, b
   is off by (a b + s^2) / d in the mean square. v[0]: variance of s over the pairs, v[1]: mean of a b + s^2. */
static void ideal_dense(paper *p, int model, const float *exact, double *v)
{
    size_t n = model_n(p, model), paired = (size_t)p->scale->paired, pairs = paired * paired;
    const float *rows = gradients(p, model);
    double square[2 * TEXTS_MOST], mean = 0;
    for (size_t i = 0; i < 2 * paired; i++) square[i] = sketch_dot_f32(rows + i * n, rows + i * n, n);
    for (size_t k = 0; k < pairs; k++) mean += exact[k] / (double)pairs;
    v[0] = v[1] = 0;
    for (size_t k = 0; k < pairs; k++) {
        double s = exact[k], ab = square[k / paired] * square[paired + k % paired];
        v[0] += (s - mean) * (s - mean) / (double)pairs;
        v[1] += (ab + s * s) / (double)pairs;
    }
}

static double mean_square_error(const float *got, const float *want, size_t count)
{
    double sum = 0;
    for (size_t k = 0; k < count; k++) {
        double error = (double)got[k] - want[k];
        sum += error * error / (double)count;
    }
    return sum;
}

static void inner_products(paper *p, int model)
{
    const scale *s = p->scale;
    size_t n = model_n(p, model), paired = (size_t)s->paired, pairs = paired * paired;
    float *exact = NULL, *dot = floats(pairs), *y = NULL;
    char key[48], noise_key[48];
    heading(model == ON_GPT ? "Inner products of the GPT's gradients (Tables 1 and 6)" : "Inner products of the digits network's gradients (Tables 1 and 6)");
    for (int l = 0; l < layers_of(p, model); l++) {
        const char *name;
        size_t offset, count;
        layer_of(p, model, l, &name, &offset, &count);
        snprintf(key, sizeof key, "layer.%s.%s", model_name[model], name);
        if (lookup(p, key, NULL)) continue;
        if (!exact) { exact = floats(pairs); exact_pairs(p, model, 0, n, exact); }
        exact_pairs(p, model, offset, count, dot);
        double v[2] = { sketch_pearson(dot, exact, pairs), (double)count };
        record(p, key, 2, v);
    }
    snprintf(key, sizeof key, "ideal.%s", model_name[model]);
    if (!lookup(p, key, NULL)) {
        double v[2];
        if (!exact) { exact = floats(pairs); exact_pairs(p, model, 0, n, exact); }
        ideal_dense(p, model, exact, v);
        record(p, key, 2, v);
    }
    for (int o = 0; o < OPERATORS; o++) {
        double last = 0;                                          /* seconds at the d before */
        for (int e = 6; e <= s->ip_to; e++) {
            size_t d = (size_t)1 << e;
            double noise = 0;                                     /* mean squared error of the products */
            snprintf(key, sizeof key, "ip.%s.%s.%d", model_name[model], operators[o].name, (int)d);
            snprintf(noise_key, sizeof noise_key, "noise.%s.%s.%d", model_name[model], operators[o].name, (int)d);
            const double *known = lookup(p, key, NULL);
            if (known && lookup(p, noise_key, NULL)) { last = known[1] * 2 * (double)paired; continue; }
            if ((operators[o].algo == SKETCH_DENSE || operators[o].algo == SKETCH_FJL) && 2 * last > s->patience) break;
            int seeds = 2 * last * s->ip_seeds > s->patience ? 1 : s->ip_seeds;
            double v[3] = { 0, INFINITY, seeds };
            if (!exact) { exact = floats(pairs); exact_pairs(p, model, 0, n, exact); }
            y = (float *)realloc(y, 2 * paired * d * sizeof(float));
            if (!y) die("memory", "allocation failed");
            for (int seed = 0; seed < seeds; seed++) {
                sketch_desc desc = sketch_desc_make(operators[o].algo, n, d, 1000 + (uint64_t)seed);
                sketch_plan *plan;
                sketch_work *work;
                desc.threads = p->threads;
                CHECK(sketch_create(&desc, &plan));
                CHECK(sketch_work_create(plan, 2 * paired, &work));
                double start = now();
                CHECK(sketch_apply_batch(plan, gradients(p, model), SKETCH_F32, 2 * paired, n, y, d, work));
                double seconds = (now() - start) / (2 * (double)paired);
                if (seconds < v[1]) v[1] = seconds;
                CHECK(sketch_tda_scores(y, paired, y + paired * d, paired, d, SKETCH_DOT, dot, &p->threads));
                v[0] += sketch_pearson(dot, exact, pairs) / seeds;
                noise += mean_square_error(dot, exact, pairs) / seeds;
                sketch_work_destroy(work);
                sketch_destroy(plan);
            }
            if (!known) record(p, key, 3, v);
            record(p, noise_key, 1, &noise);
            last = v[1] * 2 * (double)paired;
        }
    }
    free(exact);
    free(dot);
    free(y);
    free(p->gradients[model]);
    p->gradients[model] = NULL;
}

/* ---- Tables 1, 5, 7 and Figure 2: eigenvalues ---------------------------------------------------------------------- */
typedef struct curvature { paper *p; int model; const float *theta; int ids[1347]; const uint8_t *texts[TEXTS_MOST]; int count; } curvature;

static void curvature_begin(paper *p, int model, const float *theta, curvature *c)
{
    uint64_t chance = 31;
    c->p = p;
    c->model = model;
    c->theta = theta;
    c->count = model == ON_GPT ? p->scale->eig_texts : p->scale->eig_digits;
    if (model == ON_GPT) random_texts(p, p->shakespeare, p->shakespeare_count, &chance, c->count, c->texts);
    else memcpy(c->ids, p->train, sizeof c->ids);
}

static int curvature_hvp(void *user, const float *v, float *out)     /* a sketch_matvec_fn; out = the gradient if v is NULL */
{
    curvature *c = (curvature *)user;
    if (c->model == ON_GPT) gpt_mean(c->p, c->theta, v, c->texts, c->count, out);
    else digits_mean(c->p, c->theta, v, c->ids, c->count, out);
    return 0;
}

typedef struct spectrum { double top[TOP], bound; sketch_spectrum summary; } spectrum;

/* Lanczos on the Hessian: whole (plan NULL, span 0), of one layer (span), or sketched (plan). With the gradient: the summary too. */
static void top_eigenvalues(curvature *c, const sketch_plan *plan, sketch_work *work, size_t offset, size_t span, int steps, int with_gradient, spectrum *out)
{
    size_t n = model_n(c->p, c->model), d;
    float *n0 = floats(n), *n1 = floats(n), *g = NULL;
    sketch_hessian h = { plan, work, curvature_hvp, c, n0, n1, n, offset, span };
    sketch_krylov_options options = { 0 };
    d = (size_t)sketch_hessian_dim(&h);
    if ((size_t)steps > d) steps = (int)d;
    float *basis = floats(sketch_krylov_floats(d, (size_t)steps));
    double *doubles = (double *)allocate(sketch_krylov_doubles((size_t)steps), sizeof(double));
    double *theta = (double *)allocate(4 * (size_t)steps, sizeof(double)), *bound = theta + steps, *s = (double *)allocate((size_t)steps * (size_t)steps, sizeof(double));
    sketch_krylov k = sketch_krylov_make(d, (size_t)steps, basis, doubles);
    options.seed = 5;
    options.threads = c->p->threads;
    CHECK(sketch_lanczos(sketch_hessian_matvec, &h, &k, &options));
    CHECK(sketch_ritz(&k, theta, bound, s, theta + 2 * steps));
    memset(out, 0, sizeof *out);
    for (int i = 0; i < TOP && i < steps; i++) {
        out->top[i] = theta[steps - 1 - i];
        if (bound[steps - 1 - i] > out->bound) out->bound = bound[steps - 1 - i];
    }
    if (with_gradient) {
        g = floats(d);
        curvature_hvp(c, NULL, n0);
        CHECK(sketch_apply(plan, n0, SKETCH_F32, g, work));
    }
    CHECK(sketch_spectrum_summary(&k, theta, s, g, 0.2, NULL, &out->summary));
    free(n0); free(n1); free(g); free(basis); free(doubles); free(theta); free(s);
}

static double mean_relative_error(const double *got, const double *want)
{
    double sum = 0;
    for (int i = 0; i < TOP; i++) sum += fabs(got[i] - want[i]) / fabs(want[i]) / TOP;
    return sum;
}

static double after_affine_fit(const double *got, const double *want)      /* least squares want ~ a got + b; then the same error */
{
    double mx = 0, my = 0, xx = 0, xy = 0, fit[TOP];
    for (int i = 0; i < TOP; i++) { mx += got[i] / TOP; my += want[i] / TOP; }
    for (int i = 0; i < TOP; i++) { xx += (got[i] - mx) * (got[i] - mx); xy += (got[i] - mx) * (want[i] - my); }
    for (int i = 0; i < TOP; i++) fit[i] = my + (xx > 0 ? xy / xx : 0) * (got[i] - mx);
    return mean_relative_error(fit, want);
}

static void eigenvalues(paper *p, int model)
{
    const scale *s = p->scale;
    size_t n = model_n(p, model);
    curvature c;
    spectrum got;
    char key[48];
    heading(model == ON_GPT ? "Hessian eigenvalues of the GPT (Tables 1 and 7)" : "Hessian eigenvalues of the digits network (Tables 1 and 7)");
    curvature_begin(p, model, model == ON_GPT ? p->gpt_theta : p->digits_theta, &c);
    snprintf(key, sizeof key, "eig.%s.full", model_name[model]);
    if (!lookup(p, key, NULL)) {
        double v[TOP + 1];
        top_eigenvalues(&c, NULL, NULL, 0, 0, 2 * s->eig_steps, 0, &got);
        memcpy(v, got.top, sizeof got.top);
        v[TOP] = got.bound;
        record(p, key, TOP + 1, v);
    }
    const double *want = lookup(p, key, NULL);
    for (int l = 0; l < layers_of(p, model); l++) {
        const char *name;
        size_t offset, count;
        layer_of(p, model, l, &name, &offset, &count);
        snprintf(key, sizeof key, "eiglayer.%s.%s", model_name[model], name);
        if (lookup(p, key, NULL)) continue;
        top_eigenvalues(&c, NULL, NULL, offset, count, s->eig_steps, 0, &got);
        double v[3] = { mean_relative_error(got.top, want), after_affine_fit(got.top, want), got.top[0] };
        record(p, key, 3, v);
    }
    for (int o = 0; o < 3; o++)
        for (int e = s->eig_from; e <= s->eig_to; e++) {
            int seeds = model == ON_GPT ? 1 : s->eig_seeds;
            double v[3] = { 0, 0, seeds };
            snprintf(key, sizeof key, "eig.%s.%s.%d", model_name[model], operators[o].name, 1 << e);
            if ((model == ON_GPT && e < s->eig_from + 2 && e < 8) || lookup(p, key, NULL)) continue;
            for (int seed = 0; seed < seeds; seed++) {
                sketch_desc desc = sketch_desc_make(operators[o].algo, n, (uint64_t)1 << e, 2000 + (uint64_t)seed);
                sketch_plan *plan;
                sketch_work *work;
                desc.threads = p->threads;
                CHECK(sketch_create(&desc, &plan));
                CHECK(sketch_work_create(plan, 1, &work));
                top_eigenvalues(&c, plan, work, 0, 0, s->eig_steps, 0, &got);
                v[0] += mean_relative_error(got.top, want) / seeds;
                if (got.bound / got.top[0] > v[1]) v[1] = got.bound / got.top[0];      /* how well Lanczos has converged */
                sketch_work_destroy(work);
                sketch_destroy(plan);
            }
            record(p, key, 3, v);
        }
}

static void landscape(paper *p, int model)
{
    const scale *s = p->scale;
    size_t n = model_n(p, model);
    float *theta = floats(n);
    int log_d = model == ON_GPT ? s->landscape_d : s->landscape_d < 12 ? s->landscape_d : 12;
    sketch_desc desc = sketch_desc_make(SKETCH_AFFD, n, (uint64_t)1 << log_d, 77);
    sketch_plan *plan;
    sketch_work *work;
    heading(model == ON_GPT ? "The Hessian while the GPT is fine-tuned (Figure 2)" : "The Hessian while the digits network trains (Figure 2)");
    desc.threads = p->threads;
    CHECK(sketch_create(&desc, &plan));
    CHECK(sketch_work_create(plan, 1, &work));
    for (int i = 0; i < (model == ON_GPT ? landscape_count(p) : LANDSCAPE); i++) {
        char key[48];
        curvature c;
        spectrum got;
        snprintf(key, sizeof key, "landscape.%s.%d", model_name[model], landscape_at[i]);
        if (lookup(p, key, NULL)) continue;
        if (!load_weights(p, checkpoint(model_name[model], landscape_at[i]), theta, n)) die(checkpoint(model_name[model], landscape_at[i]), "weights are gone");
        curvature_begin(p, model, theta, &c);
        top_eigenvalues(&c, plan, work, 0, 0, s->landscape_steps, 1, &got);
        double v[9] = { got.summary.rneg, (double)got.summary.outliers, got.summary.gradient_norm_share, got.summary.largest, got.summary.smallest,
                        got.top[1] / got.top[0], got.top[4] / got.top[0], got.top[9] / got.top[0], (double)(1 << log_d) };
        record(p, key, 9, v);
    }
    sketch_work_destroy(work);
    sketch_destroy(plan);
    free(theta);
}

/* ---- Tables 3, 4, 8, 9: time and memory ------------------------------------------------------------------------------ */
static const struct { sketch_algo algo; sketch_precond precond; const char *name; } variants[] = {
    { SKETCH_FJL,  SKETCH_PRECOND_H, "FJL" },    { SKETCH_AFJL, SKETCH_PRECOND_H, "AFJL-H" }, { SKETCH_AFJL, SKETCH_PRECOND_F, "AFJL-F" }, { SKETCH_AFJL, SKETCH_PRECOND_Q, "AFJL-Q" },
    { SKETCH_FFD,  SKETCH_PRECOND_H, "FFD" },    { SKETCH_AFFD, SKETCH_PRECOND_H, "AFFD-H" }, { SKETCH_AFFD, SKETCH_PRECOND_F, "AFFD-F" }, { SKETCH_AFFD, SKETCH_PRECOND_Q, "AFFD-Q" },
    { SKETCH_QK,   SKETCH_PRECOND_H, "QK" },
};
enum { VARIANTS = 9 };

typedef struct meter { size_t now, peak; } meter;                   /* bytes beyond the model's own: weights, activations, gradient */
static void meter_add(meter *m, size_t size) { m->now += size; if (m->now > m->peak) m->peak = m->now; }
static void *meter_alloc(void *user, size_t size, size_t align)
{
    void *ptr = NULL;
    if (posix_memalign(&ptr, align < sizeof(void *) ? sizeof(void *) : align, size)) return NULL;
    meter_add((meter *)user, size);
    return ptr;
}
static void meter_free(void *user, void *ptr, size_t size) { ((meter *)user)->now -= ptr ? size : 0; free(ptr); }
static float *meter_floats(meter *m, size_t count) { meter_add(m, count * sizeof(float)); return floats(count); }
static void meter_floats_free(meter *m, float *x, size_t count) { m->now -= x ? count * sizeof(float) : 0; free(x); }

/* One text's sketched gradient (hvp 0) or sketched HVP (1), explicit or implicit: seconds in S and S^T (the fastest of `repeats`), peak bytes. variant -1: no sketch,
   the model's own seconds. */
static void cost_of(paper *p, int variant, int hvp, int implicit, int repeats, double *seconds, double *bytes)
{
    size_t n = p->gpt.count, d = (size_t)1 << p->scale->cost_d;
    meter m = { 0, 0 };
    *seconds = INFINITY;
    float *w = floats(d), *y = floats(d), *g = floats(n);            /* g: the model's own, not counted */
    const uint8_t *text = p->shakespeare + 1234;
    for (size_t i = 0; i < d; i++) w[i] = 1e-3f * (float)((int)(i % 7) - 3);
    for (int r = 0; r < repeats; r++) {
        sketch_plan *plan = NULL;
        sketch_work *work = NULL;
        if (variant >= 0) {
            sketch_desc desc = sketch_desc_make(variants[variant].algo, n, d, 9);
            desc.precond = variants[variant].precond;
            desc.threads = p->threads;
            desc.allocator.alloc_fn = meter_alloc;
            desc.allocator.free_fn = meter_free;
            desc.allocator.user = &m;
            CHECK(sketch_create(&desc, &plan));
            CHECK(sketch_work_create(plan, 1, &work));
        }
        float *theta = implicit ? meter_floats(&m, n) : NULL, *v = hvp ? meter_floats(&m, n) : NULL, *hv = hvp ? meter_floats(&m, n) : NULL;
        if (hvp && !plan) for (size_t i = 0; i < n; i++) v[i] = w[i % d];
        double start = now(), model_began, model_ended;
        const float *at = p->gpt_theta;
        if (implicit) { CHECK(sketch_subspace_lift(plan, p->gpt_theta, w, theta, work)); at = theta; }       /* theta0 + S^T w */
        if (hvp) {
            if (plan) CHECK(sketch_apply_t(plan, w, v, SKETCH_F32, work));
            model_began = now();
            memset(hv, 0, n * sizeof(float));
            gpt_hvp(&p->gpt, at, v, &text, 1, hv, p->tangents[0]);
            model_ended = now();
            if (plan) CHECK(sketch_apply(plan, hv, SKETCH_F32, y, work));
        } else {
            model_began = now();
            memset(g, 0, n * sizeof(float));
            gpt_gradient(&p->gpt, at, &text, 1, g, p->plain[0]);
            model_ended = now();
            if (plan) CHECK(sketch_apply(plan, g, SKETCH_F32, y, work));
        }
        double took = plan ? now() - start - (model_ended - model_began) : model_ended - model_began;
        if (took < *seconds) *seconds = took;
        meter_floats_free(&m, theta, n);
        meter_floats_free(&m, v, n);
        meter_floats_free(&m, hv, n);
        sketch_work_destroy(work);
        sketch_destroy(plan);
    }
    *bytes = (double)m.peak;
    free(w); free(y); free(g);
}

static void costs(paper *p)
{
    heading("Time and memory of every choice (Tables 3, 4, 8, 9)");
    for (int k = -1; k < VARIANTS; k++) {
        char key[48];
        double v[8] = { 0 };
        snprintf(key, sizeof key, "cost.%s", k < 0 ? "bare" : variants[k].name);
        if (lookup(p, key, NULL)) continue;
        for (int hvp = 0; hvp < 2; hvp++)
            for (int implicit = 0; implicit < (k < 0 ? 1 : 2); implicit++)
                cost_of(p, k, hvp, implicit, 9, &v[2 * hvp + implicit], &v[4 + 2 * hvp + implicit]);
        record(p, key, 8, v);                                       /* seconds in S and S^T: gradient explicit, implicit, HVP explicit, implicit; bytes likewise */
    }
}

/* ---- Table 11, Figure 7: against a dense matrix made on the fly ----------------------------------------------------------- */
static void speed(paper *p)
{
    static const int which[4] = { 0, 1, 2, DENSE };
    size_t n = p->gpt.count;
    float *x = floats(n), *y = NULL;
    heading("One sketch over d, against dense on the fly (Table 11, Figure 7)");
    for (size_t i = 0; i < n; i++) x[i] = 1e-3f * (float)((int)(i % 13) - 6);
    for (int o = 0; o < 4; o++) {
        double last = 0;
        for (int e = 6; e <= p->scale->speed_to; e++) {
            size_t d = (size_t)1 << e;
            char key[48];
            snprintf(key, sizeof key, "speed.%s.%d", operators[which[o]].name, (int)d);
            const double *known = lookup(p, key, NULL);
            if (known) { last = known[0]; continue; }
            if (2 * last > p->scale->patience / 3) break;
            sketch_desc desc = sketch_desc_make(operators[which[o]].algo, n, d, 9);
            sketch_plan *plan;
            sketch_work *work;
            double fastest = INFINITY;
            int repeats = last > 0.3 ? 1 : 9;
            desc.threads = p->threads;
            CHECK(sketch_create(&desc, &plan));
            CHECK(sketch_work_create(plan, 1, &work));
            y = (float *)realloc(y, d * sizeof(float));
            if (!y) die("memory", "allocation failed");
            for (int r = 0; r < repeats; r++) {
                double start = now();
                CHECK(sketch_apply(plan, x, SKETCH_F32, y, work));
                if (now() - start < fastest) fastest = now() - start;
                    }
            last = fastest;
            record(p, key, 1, &last);
            sketch_work_destroy(work);
            sketch_destroy(plan);
        }
    }
    free(x);
    free(y);
}

/* ---- Theorem 3.1 ------------------------------------------------------------------------------------------------------------ */
static void bad_input(paper *p)
{
    enum { LOG_N = 16, N = 1 << LOG_N, D = 1024, DRAWS = 200 };
    static const int which[] = { 4, 0, 1, 2, 6, 5 };
    float *x = floats(N), y[D];
    heading("Theorem 3.1: a Walsh row");
    for (int i = 0; i < D; i++) x[i] = __builtin_popcount(i & 5) & 1 ? -1.0f : 1.0f;
    for (int o = 0; o < 6; o++) {
        char key[48];
        double sum = 0, square = 0;
        snprintf(key, sizeof key, "walsh.%s", operators[which[o]].name);
        if (lookup(p, key, NULL)) continue;
        for (int draw = 0; draw < DRAWS; draw++) {
            sketch_desc desc = sketch_desc_make(operators[which[o]].algo, N, D, (uint64_t)draw);
            sketch_plan *plan;
            sketch_work *work;
            desc.threads = p->threads;
            CHECK(sketch_create(&desc, &plan));
            CHECK(sketch_work_create(plan, 1, &work));
            CHECK(sketch_apply(plan, x, SKETCH_F32, y, work));
            double ratio = sketch_dot_f32(y, y, D) / sketch_dot_f32(x, x, N);
            sum += ratio;
            square += ratio * ratio;
            sketch_work_destroy(work);
            sketch_destroy(plan);
        }
        double v[3] = { sum / DRAWS, sqrt(fmax(0, square / DRAWS - sum / DRAWS * sum / DRAWS)), DRAWS };
        record(p, key, 3, v);
    }
    free(x);
}

/* ---- Table 10: intrinsic dimension -------------------------------------------------------------------------------------------- */
typedef struct task {
    paper *p;
    int    model, metrics;
    const float *theta0;
    float  rate;                     /* of Adam in theta: in w it is divided by the length of S^T's columns */
    int    steps;                    /* a round */
    uint64_t d_min, d_max;           /* the plan's d is d_max: the subspaces are nested */
    double delta, target[2];
} task;

static task task_make(paper *p, int model, float *theta0)
{
    task t = { p, model, model == ON_GPT ? 2 : 1, theta0, model == ON_GPT ? 5e-4f : 4e-3f, p->scale->id_steps[model], (uint64_t)1 << p->scale->id_from[model], (uint64_t)1 << p->scale->id_to[model],
               model == ON_GPT ? 0.002 : 0.02, { 0, 0 } };
    if (model == ON_GPT && p->gpt.count < 100000) t.rate = 2e-3f;
    const double *full = lookup(p, model == ON_GPT ? "full.gpt" : "full.digits", NULL);
    for (int i = 0; i < t.metrics; i++) t.target[i] = 0.9 * full[i];
    if (model == ON_DIGITS) digits_init(theta0, 1);
    else if (!load_weights(p, "gpt-austen", theta0, p->gpt.count)) die("gpt-austen", "weights are gone");
    return t;
}

/* `steps` steps of Adam in the first d coordinates of w. theta: at the mean of the w of these steps, which is less noisy than the last. */
static void train_subspace(const task *t, const sketch_plan *plan, sketch_work *work, uint64_t d, float *w, float *mean, adam *a, float *theta, float *g, float *gw, uint64_t *chance)
{
    paper *p = t->p;
    const uint8_t *texts[TEXTS_MOST];
    int ids[32];
    float rate = t->rate * sqrtf((float)t->d_max / (float)d);         /* a step in theta is then as long at each d */
    memset(mean, 0, t->d_max * sizeof(float));
    for (int i = 0; i < t->steps; i++) {
        CHECK(sketch_subspace_lift(plan, t->theta0, w, theta, work));
        if (t->model == ON_GPT) {
            random_texts(p, p->shakespeare, p->shakespeare_count, chance, p->scale->id_batch, texts);
            gpt_mean(p, theta, NULL, texts, p->scale->id_batch, g);
        } else {
            for (int k = 0; k < 32; k++) ids[k] = p->train[digits_random(chance) % 1347];
            digits_mean(p, theta, NULL, ids, 32, g);
        }
        CHECK(sketch_subspace_grad(plan, g, SKETCH_F32, d, gw, work));
        adam_step(a, w, gw, rate);
        gpt_axpy((int)t->d_max, 1 / (float)t->steps, w, mean);
    }
    CHECK(sketch_subspace_lift(plan, t->theta0, mean, theta, work));
}

static void task_metrics(const task *t, const float *theta, double *m)
{
    if (t->model == ON_GPT) gpt_metrics(t->p, theta, m);
    else digits_metrics(t->p, theta, m);
}

/* The search (metric >= 0), or (-1) `rounds` rounds at the fixed dimension `d`. best[2]: the best metrics seen; answer: d, or 0. */
static void run_dimension(const task *t, uint64_t seed, int metric, uint64_t d, int rounds, uint64_t *answer, int *confirmed, int *told, double *best)
{
    size_t n = model_n(t->p, t->model);
    sketch_desc desc = sketch_desc_make(SKETCH_AFFD, n, t->d_max, 300 + seed);
    sketch_plan *plan;
    sketch_work *work;
    float *w = floats(t->d_max), *mean = floats(t->d_max), *gw = floats(t->d_max), *theta = floats(n), *g = floats(n);
    adam a = adam_make(t->d_max);
    uint64_t chance = 1000 + seed;
    double m[3];
    *told = 0;
    *answer = 0;
    *confirmed = 0;
    best[0] = best[1] = 0;
    desc.threads = t->p->threads;
    CHECK(sketch_create(&desc, &plan));
    CHECK(sketch_work_create(plan, 1, &work));
    sketch_idsearch s;
    sketch_idsearch_options options = { t->d_min, t->d_max, metric >= 0 ? t->target[metric] : 0, t->delta, SKETCH_HIGHEST, 0, 100 };
    CHECK(sketch_idsearch_begin(&s, &options));
    for (;;) {
        int restart = *told == 0;
        if (metric >= 0) CHECK(sketch_idsearch_next(&s, &d, &restart));
        if (metric >= 0 ? d == 0 : *told == rounds || (*told && best[0] >= t->target[0] && best[1] >= t->target[1])) break;
        if (restart) {
            memset(w, 0, t->d_max * sizeof(float));
            adam_free(&a);
            a = adam_make(t->d_max);
        }
        train_subspace(t, plan, work, d, w, mean, &a, theta, g, gw, &chance);
        task_metrics(t, theta, m);
        ++*told;
        for (int i = 0; i < 2; i++) if (m[i] > best[i]) best[i] = m[i];
        fprintf(stderr, "\r  %s %s, seed %d: d = %d, round %d, %.4f (target %.4f)   ", model_name[t->model], metric >= 0 ? "search" : "sweep", (int)seed, (int)d, *told,
                m[metric > 0 ? 1 : 0], t->target[metric > 0 ? 1 : 0]);
        if (metric >= 0) CHECK(sketch_idsearch_tell(&s, m[metric], NULL));
    }
    fprintf(stderr, "\r%70s\r", "");
    if (metric >= 0) (void)sketch_idsearch_result(&s, answer, confirmed);
    sketch_work_destroy(work);
    sketch_destroy(plan);
    free(w); free(mean); free(gw); free(theta); free(g);
    adam_free(&a);
}

static void search_dimension(paper *p, int model)
{
    float *theta0 = floats(model_n(p, model));
    task t = task_make(p, model, theta0);
    char key[48];
    uint64_t answer;
    int confirmed, told;
    double best[2];
    heading(model == ON_GPT ? "Intrinsic dimension: the GPT's fine-tuning (Table 10)" : "Intrinsic dimension: the digits (Table 10)");
    for (int metric = 0; metric < t.metrics; metric++)
        for (int seed = 0; seed < p->scale->id_seeds; seed++) {
            snprintf(key, sizeof key, "id.%s.%d.%d", model_name[model], metric, seed);
            if (lookup(p, key, NULL)) continue;
            t.steps = p->scale->id_steps[model] * (metric + 1);     /* pairs are the noisier metric */
            run_dimension(&t, (uint64_t)seed, metric, 0, 0, &answer, &confirmed, &told, best);
            double v[5] = { (double)answer, confirmed, told, best[metric], t.target[metric] };
            record(p, key, 5, v);
        }
    t.steps = p->scale->id_steps[model];
    for (int e = p->scale->id_from[model]; e <= p->scale->id_to[model]; e++) {                  /* brute force: one run from w = 0 at each d */
        snprintf(key, sizeof key, "sweep.%s.%d", model_name[model], 1 << e);
        if (lookup(p, key, NULL)) continue;
        run_dimension(&t, 0, -1, (uint64_t)1 << e, p->scale->id_rounds[model], &answer, &confirmed, &told, best);
        double v[3] = { best[0], best[1], told };
        record(p, key, 3, v);
    }
    free(theta0);
}

/* ---- an HVP without second derivatives ------------------------------------------------------------------------------------------ */
static int gradient_at(void *user, const float *theta, float *g)
{
    curvature c = *(curvature *)user;
    c.theta = theta;
    return curvature_hvp(&c, NULL, g);
}

static void differences(paper *p)
{
    for (int model = 0; model < 2; model++) {
        char key[48];
        size_t n = model_n(p, model);
        snprintf(key, sizeof key, "hvpfd.%s", model_name[model]);
        if (lookup(p, key, NULL)) continue;
        curvature c;
        float *v = floats(n), *exact = floats(n), *fd = floats(n), *n0 = floats(n), *n1 = floats(n);
        curvature_begin(p, model, model == ON_GPT ? p->gpt_theta : p->digits_theta, &c);
        curvature_hvp(&c, NULL, v);                                    /* along the gradient */
        curvature_hvp(&c, v, exact);
        sketch_fd f = { gradient_at, &c, c.theta, n, n0, n1, 0 };
        if (sketch_hvp_fd(&f, v, fd)) die("sketch_hvp_fd", "failed");
        double size = sketch_dot_f32(exact, exact, n), error;
        for (size_t i = 0; i < n; i++) fd[i] -= exact[i];
        error = sqrt(sketch_dot_f32(fd, fd, n) / size);
        record(p, key, 1, &error);
        free(v); free(exact); free(fd); free(n0); free(n1);
    }
}

#include "paper_report.h"

int main(int argc, char **argv)
{
    paper *p = (paper *)allocate(1, sizeof *p);
    unsigned threads = threads_cpus();
    int report_only = 0;
    p->out = "paper-out";
    p->scale = &scales[1];
    for (int i = 1; i < argc; i++) {
        int more = i + 1 < argc, known = 0;
        if (!strcmp(argv[i], "--report")) report_only = known = 1;
        else if (!strcmp(argv[i], "--out") && more) { p->out = argv[++i]; known = 1; }
        else if (!strcmp(argv[i], "--threads") && more) { threads = (unsigned)atoi(argv[++i]); known = 1; }
        else if (!strcmp(argv[i], "--scale") && more) {
            i++;
            for (int k = 0; k < 3; k++) if (!strcmp(argv[i], scales[k].name)) { p->scale = &scales[k]; known = 1; }
        }
        if (!known) {
            fprintf(stderr, "usage: paper [--scale quick|default|full] [--out paper-out] [--threads %u] [--report: write the page, measure nothing]\n", threads);
            return 2;
        }
    }
    if (mkdir(p->out, 0777) && errno != EEXIST) die(p->out, strerror(errno));
    p->began = now();
    p->threads = threads_pthreads(threads);
    if (digits_load(data_file("digits.bin"), &p->digits)) die(data_file("digits.bin"), "not found, or not the digits");
    p->austen = gpt_load(data_file("austen.txt"), &p->austen_count);
    p->shakespeare = gpt_load(data_file("shakespeare.txt"), &p->shakespeare_count);
    if (!p->austen || !p->shakespeare) die("austen.txt, shakespeare.txt", "not found");
    int order[1797];
    uint64_t chance = 7;
    for (int i = 0; i < 1797; i++) order[i] = i;
    digits_shuffle(order, 1797, &chance);
    memcpy(p->train, order, sizeof p->train);
    memcpy(p->test, order + 1347, sizeof p->test);
    if (gpt_model_init(&p->gpt, 64, p->scale->width, p->scale->heads, p->scale->blocks)) die("model", "refused");
    p->digits_theta = floats(DIGITS_PARAMS);
    p->gpt_theta = floats(p->gpt.count);
    for (int k = 0; k < PARTS; k++) {
        p->plain[k] = gpt_state_create(&p->gpt, 1, 0);
        p->tangents[k] = gpt_state_create(&p->gpt, 1, 1);
        p->part[k] = floats(p->gpt.count > DIGITS_PARAMS ? p->gpt.count : DIGITS_PARAMS);
        if (!p->plain[k] || !p->tangents[k]) die("memory", "allocation failed");
    }
    open_log(p);

    if (report_only) { write_report(p); return 0; }
    train_digits(p);
    train_gpt(p);
    static void (*const of_both[])(paper *, int) = { inner_products, eigenvalues, landscape, search_dimension };
    static void (*const of_one[])(paper *) = { bad_input, costs, speed, differences };
    for (int i = 0; i < 4; i++) { of_one[i](p); write_report(p); }
    for (int i = 0; i < 8; i++) { of_both[i / 2](p, i % 2); write_report(p); }
    char *full, path[1024];
    snprintf(path, sizeof path, "%s/report.html", p->out);
    full = realpath(path, NULL);
    printf("took %.1f min\npage file://%s\n", (now() - p->began) / 60, full ? full : path);
    free(full);
    fclose(p->log);
    return 0;
}
