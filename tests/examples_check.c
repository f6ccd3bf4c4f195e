/* The models of examples/ against finite differences: gradients, Hessian-vector products, sizes, data. Compiled twice: with
   -DIN_DOUBLE everything in the two headers is double, and differences are sharp; without it what is checked is what users run.

     examples_check         ends with `N passed, N failed` */
#define SKETCH_IMPLEMENTATION
#include "sketch.h"
#include <stdio.h>
#include <stdlib.h>

#ifdef IN_DOUBLE
static void gemm_in_double(const double *a, size_t m, const double *b, size_t k, size_t d, double *c, const sketch_threads *threads)
{
    (void)threads;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < k; j++) {
            double sum = 0;
            for (size_t l = 0; l < d; l++) sum += a[i * d + l] * b[j * d + l];
            c[i * k + j] = sum;
        }
}
#define GPT_GEMM_NT gemm_in_double
#define float double
#define sqrtf sqrt
#define expf  exp
#define powf  pow
#define STEP  1e-5
#define NEAR  2e-7
#else
#define STEP  4e-3
#define NEAR  6e-3
#endif
#include "../examples/digits.h"
#include "../examples/gpt.h"

static int passed, failed;
static void check(int good, const char *what, const char *of, double got, double want)
{
    if (good) passed++;
    else { failed++; printf("FAIL %s, %s: %.9g, want %.9g\n", what, of, got, want); }
}
static void is_near(double got, double want, double scale, double near, const char *what, const char *of)
{
    check(fabs(got - want) <= near * (fabs(want) + scale), what, of, got, want);
}

static double dot(const float *a, const float *b, size_t n) { double s = 0; for (size_t i = 0; i < n; i++) s += (double)a[i] * b[i]; return s; }
static float *vector(size_t n) { return (float *)calloc(n, sizeof(float)); }
static void random_part(float *v, size_t n, size_t offset, size_t count, uint64_t *seed)      /* of length 1 on that part, 0 elsewhere */
{
    memset(v, 0, n * sizeof(float));
    for (size_t i = offset; i < offset + count; i++) v[i] = (float)((double)(digits_random(seed) >> 11) * 0x1p-52 - 1);
    double length = sqrt(dot(v, v, n));
    for (size_t i = offset; i < offset + count; i++) v[i] = (float)(v[i] / length);
}

/* A model as these checks see it: loss, gradient and HVP of a fixed set of examples. */
typedef struct model {
    size_t n;
    double (*gradient)(struct model *, const float *theta, float *g);                    /* g[n] is set */
    double (*hvp)(struct model *, const float *theta, const float *v, float *out);       /* out[n] is set */
    digits_data data;
    gpt_model gpt;
    gpt_state *plain, *tangents;
    const uint8_t *texts[3];
    double slope;
} model;

static double digits_g(model *m, const float *theta, float *g)
{
    digits_state s;
    double loss = 0;
    memset(g, 0, m->n * sizeof(float));
    for (int i = 0; i < 3; i++) loss += digits_gradient(theta, m->data.image + 64 * i, m->data.label[i], g, &s);
    return loss;
}
static double digits_h(model *m, const float *theta, const float *v, float *out)
{
    digits_state s, t;
    double loss = 0;
    memset(out, 0, m->n * sizeof(float));
    for (int i = 0; i < 3; i++) loss += digits_hvp(theta, v, m->data.image + 64 * i, m->data.label[i], out, &s, &t);
    return loss;
}
static double gpt_g(model *m, const float *theta, float *g)
{
    memset(g, 0, m->n * sizeof(float));
    return gpt_gradient(&m->gpt, theta, m->texts, 3, g, m->plain);
}
static double gpt_h(model *m, const float *theta, const float *v, float *out)
{
    memset(out, 0, m->n * sizeof(float));
    double loss = gpt_hvp(&m->gpt, theta, v, m->texts, 3, out, m->tangents);
    m->slope = m->tangents->slope;
    return loss;
}

/* One part of the parameters (a tensor, a layer): the gradient and the HVP along a direction in it. */
static void check_part(model *m, const float *theta, const char *name, size_t offset, size_t count, uint64_t *seed)
{
    size_t n = m->n;
    float *v = vector(n), *u = vector(n), *at = vector(n), *g = vector(n), *up = vector(n), *down = vector(n), *hv = vector(n), *hu = vector(n);
    double loss = m->gradient(m, theta, g), plus, minus, all = sqrt(dot(g, g, n));
    random_part(v, n, offset, count, seed);
    for (size_t i = 0; i < n; i++) v[i] += offset <= i && i < offset + count ? (float)(2 * g[i] / all) : 0;     /* so that the slope is not near 0 */
    random_part(u, n, 0, n, seed);
    for (size_t i = 0; i < n; i++) at[i] = (float)(theta[i] + STEP * v[i]);
    plus = m->gradient(m, at, up);
    for (size_t i = 0; i < n; i++) at[i] = (float)(theta[i] - STEP * v[i]);
    minus = m->gradient(m, at, down);
    is_near(dot(g, v, n), (plus - minus) / (2 * STEP), 0.02, NEAR, "slope of the loss", name);
    double same = m->hvp(m, theta, v, hv), error = 0, size = sqrt(dot(hv, hv, n));
    is_near(same, loss, 0.1, 1e-6, "loss of gradient and HVP", name);
    for (size_t i = 0; i < n; i++) error += pow((up[i] - down[i]) / (2 * STEP) - hv[i], 2);
    check(size > 0 && sqrt(error) <= 4 * NEAR * (size + 0.02), "HVP against gradients' difference", name, sqrt(error), 4 * NEAR * (size + 0.02));
    if (m->tangents) is_near(m->slope, dot(g, v, n), 0.02, NEAR, "slope carried forward", name);
    m->hvp(m, theta, u, hu);
    is_near(dot(u, hv, n), dot(v, hu, n), 0.01, NEAR, "symmetry of the Hessian", name);
    free(v); free(u); free(at); free(g); free(up); free(down); free(hv); free(hu);
}

static char place[1024];
static const char *data_file(const char *name)                       /* from the repository's top, or beside this source */
{
    FILE *f;
    snprintf(place, sizeof place, "examples/data/%s", name);
    if ((f = fopen(place, "rb"))) { fclose(f); return place; }
    const char *slash = strrchr(__FILE__, '/');
    snprintf(place, sizeof place, "%.*s../examples/data/%s", slash ? (int)(slash + 1 - __FILE__) : 0, __FILE__, name);
    return place;
}

int main(void)
{
    model digits = { DIGITS_PARAMS, digits_g, digits_h, { 0, NULL, NULL }, { 0 }, NULL, NULL, { NULL }, 0 }, gpt = digits;
    uint64_t seed = 5;
    check(digits_load(data_file("digits.bin"), &digits.data) == 0 && digits.data.count == 1797, "digits", "data", digits.data.count, 1797);
    float *theta = vector(DIGITS_PARAMS);
    digits_init(theta, 3);
    for (int i = 0; i < DIGITS_PARAMS; i++) theta[i] += (float)(0.01 * ((double)(digits_random(&seed) >> 11) * 0x1p-52 - 1));     /* biases too */
    for (int l = 0; l < DIGITS_LAYERS; l++) check_part(&digits, theta, digits_layers[l].name, digits_layers[l].offset, digits_layers[l].count, &seed);
    check_part(&digits, theta, "all digits", 0, DIGITS_PARAMS, &seed);
    free(theta);
    digits_free(&digits.data);

    static const char *const names[2] = { "shakespeare.txt", "austen.txt" };
    static const double sizes[2] = { 317026, 327191 };
    uint8_t *text[2];
    for (int i = 0; i < 2; i++) {
        size_t count;
        text[i] = gpt_load(data_file(names[i]), &count);
        check(text[i] && count == (size_t)sizes[i], "characters", names[i], (double)count, sizes[i]);
        if (!text[i]) return 1;
    }
    check(gpt_char(text[0][0]) == 'F' && gpt_char(gpt_token('\n')) == '\n' && gpt_char(gpt_token('~')) == '~', "tokens", "text", 0, 0);
    int bad = gpt_model_init(&gpt.gpt, 64, 128, 4, 5);
    check(!bad && gpt.gpt.count == 1024480, "parameters", "default", (double)gpt.gpt.count, 1024480);
    bad = gpt_model_init(&gpt.gpt, 64, 384, 6, 6);
    check(!bad && gpt.gpt.count == 10745952 && gpt.gpt.tensors == 40, "parameters", "large", (double)gpt.gpt.count, 10745952);
    check(gpt_model_init(&gpt.gpt, 64, 128, 5, 5) == -1, "heads that do not divide the width", "refused", 0, 0);
    gpt_model_init(&gpt.gpt, 9, 20, 2, 2);                            /* odd sizes; small, for the check in double is slow */
    gpt.n = gpt.gpt.count;
    gpt.gradient = gpt_g;
    gpt.hvp = gpt_h;
    gpt.plain = gpt_state_create(&gpt.gpt, 3, 0);
    gpt.tangents = gpt_state_create(&gpt.gpt, 3, 1);
    for (int i = 0; i < 3; i++) gpt.texts[i] = text[i & 1] + 100 * i;
    theta = vector(gpt.n);
    gpt_init(&gpt.gpt, theta, 3);
    for (size_t i = 0; i < gpt.n; i++) theta[i] += (float)(0.1 * ((double)(digits_random(&seed) >> 11) * 0x1p-52 - 1));
    for (int i = 0; i < gpt.gpt.tensors; i++) check_part(&gpt, theta, gpt.gpt.tensor[i].name, gpt.gpt.tensor[i].offset, gpt.gpt.tensor[i].count, &seed);
    check_part(&gpt, theta, "all of the GPT", 0, gpt.n, &seed);
    size_t next = 0;
    for (int l = 0; l < gpt.gpt.layers; l++) { check(gpt.gpt.layer[l].offset == next, "layers follow each other", gpt.gpt.layer[l].name, 0, 0); next += gpt.gpt.layer[l].count; }
    check(next == gpt.n, "layers cover all", "GPT", (double)next, (double)gpt.n);

    /* causal: a later token changes no earlier answer; the mean over texts is the mean of each alone */
    uint8_t changed[10];
    const uint8_t *one = text[0], *other = changed;
    memcpy(changed, one, 10);
    changed[8] = (uint8_t)((changed[8] + 1) % GPT_VOCAB);
    float kept[8 * GPT_VOCAB];
    gpt_forward(&gpt.gpt, theta, &one, 1, gpt.plain);
    memcpy(kept, gpt.plain->prob.v, sizeof kept);
    gpt_forward(&gpt.gpt, theta, &other, 1, gpt.plain);
    check(memcmp(kept, gpt.plain->prob.v, sizeof kept) == 0, "earlier answers see no later token", "GPT", 0, 0);
    double alone = 0, together = gpt_forward(&gpt.gpt, theta, gpt.texts, 3, gpt.plain);
    for (int i = 0; i < 3; i++) alone += gpt_forward(&gpt.gpt, theta, gpt.texts + i, 1, gpt.plain) / 3;
    is_near(together, alone, 0, 1e-6, "mean loss", "GPT");
    gpt_state_free(gpt.plain);
    gpt_state_free(gpt.tangents);
    free(theta);
    free(text[0]);
    free(text[1]);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
