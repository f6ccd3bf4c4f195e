/* digits.h - the handwritten digits of examples/data, and a small convolutional network on them, in plain C.

   The examples use it as their model: real data, real training, per-example gradients in one flat vector. Include it
   where you need it (all functions are static); it has no global state and, for one build and seed, no randomness.

     8x8x1 -conv 3x3-> 8x8x16 -conv 3x3, stride 2-> 4x4x32 -dense-> 88 -dense-> 64 -dense-> 10 logits

   56,290 parameters in one float array; digits_layers[] says where each layer lives. A dense layer is a convolution whose
   kernel covers its whole input, so one forward and one backward function serve all five. The activation is squareplus
   (Barron 2021), a smooth ReLU made of + * / and sqrt, moved to pass through 0: it has all derivatives.

   Arrays are [row][column][channel], channel fastest; weights are [row][column][in][out], then [out] biases. */
#ifndef DIGITS_H
#define DIGITS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the data ---------------------------------------------------------------------------------- */
#define DIGITS_SIDE    8
#define DIGITS_PIXELS  64
#define DIGITS_CLASSES 10

typedef struct digits_data {
    int      count;
    float   *image;     /* [count][64], ink from 0 to 1 in steps of 1/16 */
    uint8_t *label;     /* [count], 0..9 */
} digits_data;

static inline void digits_free(digits_data *data)
{
    free(data->image);
    free(data->label);
    memset(data, 0, sizeof *data);
}

/* Reads the format that data/README.md describes. Returns 0, or -1: not there, not this format, or no memory. */
static inline int digits_load(const char *path, digits_data *data)
{
    memset(data, 0, sizeof *data);
    FILE *file = fopen(path, "rb");
    if (!file) return -1;
    unsigned char head[12];
    int ok = fread(head, 1, sizeof head, file) == sizeof head && memcmp(head, "digits1\n", 8) == 0;
    uint32_t count = ok ? head[8] | head[9] << 8 | head[10] << 16 | (uint32_t)head[11] << 24 : 0;
    ok = ok && count > 0 && count <= 1000000;
    if (ok) {
        data->image = (float *)malloc(count * sizeof(float) * DIGITS_PIXELS);
        data->label = (uint8_t *)malloc(count);
        data->count = (int)count;
        ok = data->image && data->label;
    }
    for (uint32_t i = 0; ok && i < count; i++) {
        unsigned char mask[9];                                    /* label, then a bit for each pixel: is there ink? */
        ok = fread(mask, 1, 9, file) == 9 && mask[0] < DIGITS_CLASSES;
        if (!ok) break;
        data->label[i] = mask[0];
        int byte = 0, high = 1;
        for (int p = 0; ok && p < DIGITS_PIXELS; p++) {           /* a nibble for each pixel that has: its ink, less 1 */
            float ink = 0;
            if (mask[1 + p / 8] >> (7 - p % 8) & 1) {
                if (high) ok = (byte = fgetc(file)) != EOF;
                ink = (float)((high ? byte >> 4 : byte & 15) + 1) / 16;
                high = !high;
            }
            data->image[i * DIGITS_PIXELS + p] = ink;
        }
    }
    fclose(file);
    if (!ok) digits_free(data);
    return ok ? 0 : -1;
}

/* SplitMix64: the examples' only source of chance. */
static inline uint64_t digits_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline void digits_shuffle(int *a, int n, uint64_t *state)
{
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(digits_random(state) % (uint64_t)(i + 1)), t = a[i];
        a[i] = a[j];
        a[j] = t;
    }
}

/* ---- the network ------------------------------------------------------------------------------- */
enum { DIGITS_LAYERS = 5, DIGITS_PARAMS = 56290, DIGITS_WIDEST = 1024 };

typedef struct digits_layer {
    const char *name;
    size_t offset, count;                                         /* of its weights and biases in the parameters */
    int in_side, in_channels, kernel, stride, pad, out_side, out_channels;
} digits_layer;

static const digits_layer digits_layers[DIGITS_LAYERS] = {
    { "conv1",     0,   160,   8,  1, 3, 1, 1,   8, 16 },
    { "conv2",   160,  4640,   8, 16, 3, 2, 1,   4, 32 },
    { "dense1", 4800, 45144,   4, 32, 4, 1, 0,   1, 88 },
    { "dense2", 49944, 5696,   1, 88, 1, 1, 0,   1, 64 },
    { "dense3", 55640,  650,   1, 64, 1, 1, 0,   1, 10 },
};

/* What a forward pass leaves behind: layer l maps in[l] to z[l], and in[l + 1] = squareplus(z[l]); z[4] is the logits. */
typedef struct digits_state {
    float in[DIGITS_LAYERS][DIGITS_WIDEST];
    float z[DIGITS_LAYERS][DIGITS_WIDEST];
    float probability[DIGITS_CLASSES];
} digits_state;

static inline float digits_squareplus(float z)       { return 0.5f * (z + sqrtf(z * z + 1) - 1); }
static inline float digits_squareplus_slope(float z) { return 0.5f * (1 + z / sqrtf(z * z + 1)); }
static inline float digits_squareplus_bend(float z)  { return 0.5f / ((z * z + 1) * sqrtf(z * z + 1)); }

/* Eight at a time: a compiler at -O2 turns the inner loops into vector instructions. */
static inline void digits_axpy(int n, float a, const float *restrict x, float *restrict y)     /* y += a x */
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) y[i + k] += a * x[i + k];
    for (; i < n; i++) y[i] += a * x[i];
}

static inline float digits_dot(int n, const float *restrict x, const float *restrict y)
{
    float s[8] = { 0 }, rest = 0;
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) s[k] += x[i + k] * y[i + k];
    for (; i < n; i++) rest += x[i] * y[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7])) + rest;
}

/* The three maps of a layer, linear in each argument, all of them adding to their result:
   z += W x;   W += z x^T (the gradient of the weights);   x += W^T z (the gradient of the input). */
typedef enum digits_map { DIGITS_Z, DIGITS_W, DIGITS_X } digits_map;

static inline void digits_layer_add(const digits_layer *layer, digits_map result, float *w, float *x, float *z)
{
    int cin = layer->in_channels, cout = layer->out_channels;
    for (int oy = 0; oy < layer->out_side; oy++)
    for (int ox = 0; ox < layer->out_side; ox++) {
        float *zo = z + (oy * layer->out_side + ox) * cout;
        for (int ky = 0; ky < layer->kernel; ky++)
        for (int kx = 0; kx < layer->kernel; kx++) {
            int iy = oy * layer->stride + ky - layer->pad, ix = ox * layer->stride + kx - layer->pad;
            if (iy < 0 || iy >= layer->in_side || ix < 0 || ix >= layer->in_side) continue;
            float *xi = x + (iy * layer->in_side + ix) * cin, *wi = w + (ky * layer->kernel + kx) * cin * cout;
            for (int c = 0; c < cin; c++, wi += cout) {
                if      (result == DIGITS_Z) digits_axpy(cout, xi[c], wi, zo);
                else if (result == DIGITS_W) digits_axpy(cout, xi[c], zo, wi);
                else                         xi[c] += digits_dot(cout, wi, zo);
            }
        }
    }
}

static inline size_t digits_bias(const digits_layer *layer) { return layer->offset + layer->count - (size_t)layer->out_channels; }

/* Runs the network on image[64]; returns the most likely class. */
static inline int digits_forward(const float *theta, const float *image, digits_state *s)
{
    memcpy(s->in[0], image, DIGITS_PIXELS * sizeof(float));
    for (int l = 0; l < DIGITS_LAYERS; l++) {
        const digits_layer *layer = &digits_layers[l];
        int places = layer->out_side * layer->out_side, size = places * layer->out_channels;
        for (int p = 0; p < places; p++)
            memcpy(s->z[l] + p * layer->out_channels, theta + digits_bias(layer), (size_t)layer->out_channels * sizeof(float));
        digits_layer_add(layer, DIGITS_Z, (float *)theta + layer->offset, s->in[l], s->z[l]);
        if (l + 1 < DIGITS_LAYERS)
            for (int i = 0; i < size; i++) s->in[l + 1][i] = digits_squareplus(s->z[l][i]);
    }
    const float *logit = s->z[DIGITS_LAYERS - 1];
    int best = 0;
    for (int c = 1; c < DIGITS_CLASSES; c++) if (logit[c] > logit[best]) best = c;
    double e[DIGITS_CLASSES], sum = 0;
    for (int c = 0; c < DIGITS_CLASSES; c++) sum += e[c] = exp((double)logit[c] - logit[best]);
    for (int c = 0; c < DIGITS_CLASSES; c++) s->probability[c] = (float)(e[c] / sum);
    return best;
}

/* Cross entropy of the last forward pass. */
static inline double digits_loss(const digits_state *s, int label)
{
    const float *logit = s->z[DIGITS_LAYERS - 1];
    double sum = 0;
    for (int c = 0; c < DIGITS_CLASSES; c++) sum += exp((double)logit[c] - logit[label]);
    return log(sum);
}

/* Adds the gradient of the loss on one example to gradient[DIGITS_PARAMS]; returns the loss. */
static inline double digits_gradient(const float *theta, const float *image, int label, float *gradient, digits_state *s)
{
    float dz[DIGITS_WIDEST] = { 0 }, dx[DIGITS_WIDEST];
    digits_forward(theta, image, s);
    for (int c = 0; c < DIGITS_CLASSES; c++) dz[c] = s->probability[c] - (c == label);
    for (int l = DIGITS_LAYERS - 1; l >= 0; l--) {
        const digits_layer *layer = &digits_layers[l];
        int places = layer->out_side * layer->out_side, in_size = layer->in_side * layer->in_side * layer->in_channels;
        digits_layer_add(layer, DIGITS_W, gradient + layer->offset, s->in[l], dz);
        for (int p = 0; p < places; p++)
            digits_axpy(layer->out_channels, 1, dz + p * layer->out_channels, gradient + digits_bias(layer));
        if (l == 0) break;
        memset(dx, 0, (size_t)in_size * sizeof(float));
        digits_layer_add(layer, DIGITS_X, (float *)theta + layer->offset, dx, dz);
        for (int i = 0; i < in_size; i++) dz[i] = dx[i] * digits_squareplus_slope(s->z[l - 1][i]);
    }
    return digits_loss(s, label);
}

/* Adds the Hessian of the loss on one example, times v, to out[DIGITS_PARAMS]; returns the loss. Exact: forward over reverse
   (Pearlmutter 1994). Each quantity of digits_gradient is differentiated along v by the product rule: s holds values, t their
   derivatives, dz and dx go back with their derivatives dz_t and dx_t. */
static inline double digits_hvp(const float *theta, const float *v, const float *image, int label, float *out, digits_state *s, digits_state *t)
{
    float dz[DIGITS_WIDEST] = { 0 }, dz_t[DIGITS_WIDEST] = { 0 }, dx[DIGITS_WIDEST], dx_t[DIGITS_WIDEST];
    float *w = (float *)theta, *w_t = (float *)v;
    digits_forward(theta, image, s);
    memset(t->in[0], 0, sizeof t->in[0]);
    for (int l = 0; l < DIGITS_LAYERS; l++) {
        const digits_layer *layer = &digits_layers[l];
        int places = layer->out_side * layer->out_side, size = places * layer->out_channels;
        for (int p = 0; p < places; p++)
            memcpy(t->z[l] + p * layer->out_channels, v + digits_bias(layer), (size_t)layer->out_channels * sizeof(float));
        digits_layer_add(layer, DIGITS_Z, w_t + layer->offset, s->in[l], t->z[l]);
        digits_layer_add(layer, DIGITS_Z, w + layer->offset, t->in[l], t->z[l]);
        if (l + 1 < DIGITS_LAYERS)
            for (int i = 0; i < size; i++) t->in[l + 1][i] = digits_squareplus_slope(s->z[l][i]) * t->z[l][i];
    }
    const float *p = s->probability, *z_t = t->z[DIGITS_LAYERS - 1];
    float mean = 0;
    for (int c = 0; c < DIGITS_CLASSES; c++) mean += p[c] * z_t[c];
    for (int c = 0; c < DIGITS_CLASSES; c++) {
        dz[c] = p[c] - (c == label);
        dz_t[c] = p[c] * (z_t[c] - mean);
    }
    for (int l = DIGITS_LAYERS - 1; l >= 0; l--) {
        const digits_layer *layer = &digits_layers[l];
        int places = layer->out_side * layer->out_side, in_size = layer->in_side * layer->in_side * layer->in_channels;
        digits_layer_add(layer, DIGITS_W, out + layer->offset, s->in[l], dz_t);
        digits_layer_add(layer, DIGITS_W, out + layer->offset, t->in[l], dz);
        for (int i = 0; i < places; i++)
            digits_axpy(layer->out_channels, 1, dz_t + i * layer->out_channels, out + digits_bias(layer));
        if (l == 0) break;
        memset(dx, 0, (size_t)in_size * sizeof(float));
        memset(dx_t, 0, (size_t)in_size * sizeof(float));
        digits_layer_add(layer, DIGITS_X, w + layer->offset, dx, dz);
        digits_layer_add(layer, DIGITS_X, w + layer->offset, dx_t, dz_t);
        digits_layer_add(layer, DIGITS_X, w_t + layer->offset, dx_t, dz);
        for (int i = 0; i < in_size; i++) {
            float z = s->z[l - 1][i], slope = digits_squareplus_slope(z);
            dz[i] = dx[i] * slope;
            dz_t[i] = dx_t[i] * slope + dx[i] * digits_squareplus_bend(z) * t->z[l - 1][i];
        }
    }
    return digits_loss(s, label);
}

/* ---- training ---------------------------------------------------------------------------------- */
static inline void digits_init(float *theta, uint64_t seed)      /* He: uniform, variance 2 / fan-in; biases 0 */
{
    memset(theta, 0, DIGITS_PARAMS * sizeof(float));
    for (int l = 0; l < DIGITS_LAYERS; l++) {
        const digits_layer *layer = &digits_layers[l];
        float bound = sqrtf(6.0f / (float)(layer->kernel * layer->kernel * layer->in_channels));
        for (size_t i = layer->offset; i < digits_bias(layer); i++)
            theta[i] = bound * ((float)(digits_random(&seed) >> 40) * 0x1p-23f - 1);
    }
}

typedef struct digits_training {     /* fill in the first lines; digits_train_begin does the rest */
    int      epochs, batch;
    float    rate;                   /* of Adam at the start; it falls to 0 along a straight line */
    uint64_t seed;                   /* of the weights at the start and of the order */
    int      epoch, step;
    float   *scratch;                /* gradient, first and second moments */
    int     *order;
} digits_training;

static inline void digits_train_end(digits_training *t)
{
    free(t->scratch);
    free(t->order);
    t->scratch = NULL;
    t->order = NULL;
}

static inline int digits_train_begin(digits_training *t, float *theta, const int *ids, int count)
{
    t->epoch = t->step = 0;
    t->scratch = (float *)calloc(3 * DIGITS_PARAMS, sizeof(float));
    t->order = (int *)malloc((size_t)count * sizeof(int));
    if (!t->scratch || !t->order) { digits_train_end(t); return -1; }
    memcpy(t->order, ids, (size_t)count * sizeof(int));
    digits_init(theta, t->seed);
    return 0;
}

/* One pass over the `count` examples named at the beginning. Returns their mean loss. */
static inline double digits_train_epoch(digits_training *t, float *theta, const digits_data *data, int count)
{
    float *g = t->scratch, *m = g + DIGITS_PARAMS, *v = m + DIGITS_PARAMS;
    int steps = (count + t->batch - 1) / t->batch * t->epochs;
    uint64_t chance = t->seed * 1000003 + (uint64_t)++t->epoch;
    double total = 0;
    digits_state state;
    digits_shuffle(t->order, count, &chance);
    for (int first = 0; first < count; first += t->batch) {
        int size = count - first < t->batch ? count - first : t->batch;
        memset(g, 0, DIGITS_PARAMS * sizeof(float));
        for (int k = first; k < first + size; k++) {
            int id = t->order[k];
            total += digits_gradient(theta, data->image + id * DIGITS_PIXELS, data->label[id], g, &state);
        }
        float rate = t->rate * (1 - (float)t->step++ / (float)steps);
        float fix1 = 1 / (1 - powf(0.9f, (float)t->step)), fix2 = 1 / (1 - powf(0.999f, (float)t->step));
        for (int i = 0; i < DIGITS_PARAMS; i++) {
            float gi = g[i] / (float)size;
            m[i] += 0.1f * (gi - m[i]);
            v[i] += 0.001f * (gi * gi - v[i]);
            theta[i] -= rate * m[i] * fix1 / (sqrtf(v[i] * fix2) + 1e-8f);
        }
    }
    return total / count;
}

#endif
