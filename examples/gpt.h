/* gpt.h - a small GPT in plain C: forward, backward, and exact Hessian-vector products. Include sketch.h first: its
   sketch_gemm_nt does the matrix products.

     gpt_model model;  gpt_model_init(&model, 64, 128, 4, 5);     // context, width, heads, blocks: 1.02M parameters
     gpt_init(&model, theta, seed);
     gpt_state *state = gpt_state_create(&model, 8, 0);           // room for 8 texts at once; 1: for gpt_hvp
     loss = gpt_gradient(&model, theta, texts, 8, gradient, state);    // texts[8]: context + 1 tokens each

   The model is GPT-2's: token and position embedding; blocks of layer norm, causal attention, layer norm and a GELU layer,
   each pair added to what came in; a last layer norm and a linear head. The loss is the mean cross entropy of the next token.
   Tokens are characters: printable ASCII and the newline. Parameters are one float array; model.tensor[] names its parts.

   Hessian-vector products go forward over reverse (Pearlmutter 1994): each quantity is a pair (gpt_dual) of its value v and its
   derivative t along a direction in the parameters. Each step below maps pairs to pairs, by the product rule; the derivative of
   the gradient along v is H v. Without a direction all t are NULL, and what is left is the plain gradient.

   Shapes. T: context, C: width, K: heads, R: rows = texts * T. A linear layer is weights [out][in], then biases [out]; a norm is gains [C], then
   biases [C]. All functions are static, there is no global state, and results do not depend on time, place or threads. */
#ifndef GPT_H
#define GPT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef GPT_GEMM_NT                  /* c[m,k] = a[m,d] b[k,d]^T */
#define GPT_GEMM_NT sketch_gemm_nt
#endif

/* ---- text ---------------------------------------------------------------------------------------- */
enum { GPT_VOCAB = 96 };

static inline uint8_t gpt_token(int c)   { return (uint8_t)(c >= 32 && c < 127 ? c - 32 : 95); }
static inline int     gpt_char(int token) { return token == 95 ? '\n' : token + 32; }

/* A text file as tokens; *count of them. NULL: not there, empty, or no memory. The caller frees it. */
static inline uint8_t *gpt_load(const char *path, size_t *count)
{
    uint8_t *tokens = NULL;
    long size = 0;
    FILE *file = fopen(path, "rb");
    *count = 0;
    if (file && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) > 0) {
        rewind(file);
        tokens = (uint8_t *)malloc((size_t)size);
        if (tokens) *count = fread(tokens, 1, (size_t)size, file);
        for (size_t i = 0; i < *count; i++) tokens[i] = gpt_token(tokens[i]);
    }
    if (file) fclose(file);
    return tokens;
}

/* ---- the model ----------------------------------------------------------------------------------- */
enum { GPT_BLOCKS = 16, GPT_TENSORS = 4 + 6 * GPT_BLOCKS };

typedef struct gpt_tensor { char name[24]; size_t offset, count; } gpt_tensor;
typedef struct gpt_block  { size_t norm1, qkv, join, norm2, up, down; } gpt_block;      /* offsets */

typedef struct gpt_model {
    int    context, width, heads, blocks;
    size_t count;                                                 /* parameters */
    size_t token, position, norm, head;                           /* offsets */
    gpt_block block[GPT_BLOCKS];
    int    tensors, layers;
    gpt_tensor tensor[GPT_TENSORS], layer[GPT_BLOCKS + 2];        /* layer: embedding, the blocks, head; consecutive tensors */
} gpt_model;

static inline size_t gpt_add_tensor(gpt_model *m, const char *name, int of_block, int count)
{
    gpt_tensor *t = &m->tensor[m->tensors++];
    if (of_block) snprintf(t->name, sizeof t->name, "block%d.%s", of_block, name);
    else          snprintf(t->name, sizeof t->name, "%s", name);
    t->offset = m->count;
    t->count = (size_t)count;
    m->count += t->count;
    return t->offset;
}

static inline void gpt_end_layer(gpt_model *m, const char *name, int number)
{
    gpt_tensor *l = &m->layer[m->layers], *before = l - 1;
    l->offset = m->layers ? before->offset + before->count : 0;
    l->count = m->count - l->offset;
    if (number) snprintf(l->name, sizeof l->name, "%s%d", name, number);
    else        snprintf(l->name, sizeof l->name, "%s", name);
    m->layers++;
}

/* Returns 0, or -1: no such model. */
static inline int gpt_model_init(gpt_model *m, int context, int width, int heads, int blocks)
{
    memset(m, 0, sizeof *m);
    if (context < 1 || width < 1 || heads < 1 || width % heads || blocks < 1 || blocks > GPT_BLOCKS) return -1;
    int c = width;
    m->context = context;
    m->width = width;
    m->heads = heads;
    m->blocks = blocks;
    m->token    = gpt_add_tensor(m, "token", 0, GPT_VOCAB * c);
    m->position = gpt_add_tensor(m, "position", 0, context * c);
    gpt_end_layer(m, "embedding", 0);
    for (int l = 0; l < blocks; l++) {
        gpt_block *b = &m->block[l];
        b->norm1 = gpt_add_tensor(m, "norm1", l + 1, 2 * c);
        b->qkv   = gpt_add_tensor(m, "qkv",   l + 1, 3 * c * c + 3 * c);
        b->join  = gpt_add_tensor(m, "join",  l + 1, c * c + c);
        b->norm2 = gpt_add_tensor(m, "norm2", l + 1, 2 * c);
        b->up    = gpt_add_tensor(m, "up",    l + 1, 4 * c * c + 4 * c);
        b->down  = gpt_add_tensor(m, "down",  l + 1, 4 * c * c + c);
        gpt_end_layer(m, "block", l + 1);
    }
    m->norm = gpt_add_tensor(m, "norm", 0, 2 * c);
    m->head = gpt_add_tensor(m, "head", 0, GPT_VOCAB * c + GPT_VOCAB);
    gpt_end_layer(m, "head", 0);
    return 0;
}

/* Uniform weights: variance 1 / (3 in), of the maps back into the stream 1 / (3 in) / (2 blocks); gains 1, biases 0. */
static inline void gpt_fill(float *w, int count, double variance, uint64_t *state)
{
    for (int i = 0; i < count; i++) {                             /* SplitMix64 */
        uint64_t z = *state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        w[i] = (float)(sqrt(3 * variance) * ((double)(z >> 11) * 0x1p-52 - 1));
    }
}

static inline void gpt_init(const gpt_model *m, float *theta, uint64_t seed)
{
    int c = m->width;
    double var = 1.0 / (3 * c), back = var / (2 * m->blocks);
    memset(theta, 0, m->count * sizeof(float));
    gpt_fill(theta + m->token, GPT_VOCAB * c, 0.01, &seed);
    gpt_fill(theta + m->position, m->context * c, 0.01, &seed);
    for (int l = 0; l < m->blocks; l++) {
        const gpt_block *b = &m->block[l];
        for (int i = 0; i < c; i++) theta[b->norm1 + (size_t)i] = theta[b->norm2 + (size_t)i] = 1;
        gpt_fill(theta + b->qkv, 3 * c * c, var, &seed);
        gpt_fill(theta + b->join, c * c, back, &seed);
        gpt_fill(theta + b->up, 4 * c * c, var, &seed);
        gpt_fill(theta + b->down, 4 * c * c, back / 4, &seed);
    }
    for (int i = 0; i < c; i++) theta[m->norm + (size_t)i] = 1;
    gpt_fill(theta + m->head, GPT_VOCAB * c, var, &seed);
}

/* ---- pairs --------------------------------------------------------------------------------------- */
typedef struct gpt_dual { float *v, *t; } gpt_dual;               /* value, derivative (NULL: not wanted) */

static inline gpt_dual gpt_at(gpt_dual x, size_t offset)
{
    if (x.v) x.v += offset;
    if (x.t) x.t += offset;
    return x;
}

static inline void gpt_axpy(int n, float a, const float *restrict x, float *restrict y)     /* eight at a time: vectors at -O2 */
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) y[i + k] += a * x[i + k];
    for (; i < n; i++) y[i] += a * x[i];
}

static inline void gpt_add(int n, gpt_dual x, gpt_dual y)         /* y += x */
{
    if (y.v) gpt_axpy(n, 1, x.v, y.v);
    if (y.t) gpt_axpy(n, 1, x.t, y.t);
}

/* c[m,k] = a[m,d] b[k,d]^T. tmp: m k floats. */
static inline void gpt_product(gpt_dual c, gpt_dual a, int m, gpt_dual b, int k, int d, float *tmp)
{
    if (c.v) GPT_GEMM_NT(a.v, (size_t)m, b.v, (size_t)k, (size_t)d, c.v, NULL);
    if (!c.t) return;
    GPT_GEMM_NT(a.t, (size_t)m, b.v, (size_t)k, (size_t)d, c.t, NULL);
    GPT_GEMM_NT(a.v, (size_t)m, b.t, (size_t)k, (size_t)d, tmp, NULL);
    gpt_axpy(m * k, 1, tmp, c.t);
}

static inline void gpt_transpose_one(float *restrict y, const float *restrict x, int rows, int cols)
{
    for (int r0 = 0; r0 < rows; r0 += 16)                         /* 16 x 16 at a time, for the cache */
        for (int c0 = 0; c0 < cols; c0 += 16)
            for (int r = r0; r < r0 + 16 && r < rows; r++)
                for (int c = c0; c < c0 + 16 && c < cols; c++) y[(size_t)c * rows + r] = x[(size_t)r * cols + c];
}

static inline gpt_dual gpt_transpose(gpt_dual y, gpt_dual x, int rows, int cols)
{
    gpt_transpose_one(y.v, x.v, rows, cols);
    if (y.t) gpt_transpose_one(y.t, x.t, rows, cols);
    return y;
}

/* ---- what a pass leaves behind --------------------------------------------------------------------- */
typedef struct gpt_kept {            /* of one block; [rows][...] */
    gpt_dual x, hat1, rstd1, a, qkv, att, mix, mid, hat2, rstd2, b, pre, th, act;
} gpt_kept;

typedef struct gpt_state {
    int      room;                   /* texts */
    int      tangents;
    float   *base;
    size_t   used;
    gpt_kept block[GPT_BLOCKS];
    gpt_dual x, hat, rstd, last, prob;                            /* after the blocks */
    gpt_dual dx, d1, d2, d3, d4, dlogit;                          /* gradients on the way back */
    gpt_dual wt, zt, xt, gw;                                      /* transposes; a weight's gradient */
    gpt_dual q, k, o, qt, kt, vt, ot, s, st;                      /* one head */
    float   *tmp;
    double   loss, slope;                                         /* of the last pass: loss, and its derivative along the direction */
    uint8_t *hit;                                                 /* [rows] was the most likely token the right one? */
} gpt_state;

static inline gpt_dual gpt_take(gpt_state *s, int rows, int cols)
{
    size_t count = ((size_t)rows * (size_t)cols + 15) / 16 * 16, at = s->used;
    gpt_dual x = { NULL, NULL };
    s->used += count * (size_t)(1 + s->tangents);
    if (!s->base) return x;
    x.v = s->base + at;
    if (s->tangents) x.t = x.v + count;
    return x;
}

static inline void gpt_lay_out(const gpt_model *m, gpt_state *s)
{
    int T = m->context, C = m->width, R = s->room * T, hs = C / m->heads, wide = 4 * C > GPT_VOCAB ? 4 * C : GPT_VOCAB;
    s->used = 0;
    for (int l = 0; l < m->blocks; l++) {
        gpt_kept *k = &s->block[l];
        k->x    = gpt_take(s, R, C);      k->hat1 = gpt_take(s, R, C);      k->rstd1 = gpt_take(s, R, 1);
        k->a    = gpt_take(s, R, C);      k->qkv  = gpt_take(s, R, 3 * C);  k->att = gpt_take(s, R, m->heads * T);
        k->mix  = gpt_take(s, R, C);      k->mid  = gpt_take(s, R, C);      k->hat2 = gpt_take(s, R, C);
        k->rstd2 = gpt_take(s, R, 1);     k->b    = gpt_take(s, R, C);      k->pre = gpt_take(s, R, 4 * C);
        k->th   = gpt_take(s, R, 4 * C);  k->act  = gpt_take(s, R, 4 * C);
    }
    s->x  = gpt_take(s, R, C);      s->hat = gpt_take(s, R, C);      s->rstd = gpt_take(s, R, 1);
    s->last = gpt_take(s, R, C);    s->prob = gpt_take(s, R, GPT_VOCAB);
    s->dx = gpt_take(s, R, C);      s->d1 = gpt_take(s, R, C);       s->d2 = gpt_take(s, R, C);
    s->d3 = gpt_take(s, R, 3 * C);  s->d4 = gpt_take(s, R, 4 * C);   s->dlogit = gpt_take(s, R, GPT_VOCAB);
    s->wt = gpt_take(s, wide, C);   s->gw = gpt_take(s, wide, C);    s->zt = gpt_take(s, R, wide);   s->xt = gpt_take(s, R, wide);
    s->q  = gpt_take(s, T, hs);     s->k  = gpt_take(s, T, hs);      s->o  = gpt_take(s, T, hs);
    s->qt = gpt_take(s, T, hs);     s->kt = gpt_take(s, T, hs);      s->vt = gpt_take(s, T, hs);     s->ot = gpt_take(s, T, hs);
    s->s  = gpt_take(s, T, T);      s->st = gpt_take(s, T, T);
    s->tmp = gpt_take(s, R > C ? R : C, wide > T ? wide : T).v;
}

static inline void gpt_state_free(gpt_state *s)
{
    if (!s) return;
    free(s->base);
    free(s->hit);
    free(s);
}

/* Scratch for up to `room` texts at once. tangents: 1 for gpt_hvp, 0 for gpt_gradient and gpt_forward. NULL: no memory. */
static inline gpt_state *gpt_state_create(const gpt_model *m, int room, int tangents)
{
    gpt_state *s = (gpt_state *)calloc(1, sizeof *s);
    if (!s) return NULL;
    s->room = room;
    s->tangents = tangents;
    gpt_lay_out(m, s);                                            /* once to count, once to place */
    s->base = (float *)malloc(s->used * sizeof(float));
    s->hit = (uint8_t *)malloc((size_t)room * (size_t)m->context);
    if (!s->base || !s->hit) { gpt_state_free(s); return NULL; }
    gpt_lay_out(m, s);
    return s;
}

/* ---- the steps, each with its way back ----------------------------------------------------------- */

/* z[R,out] = x[R,in] W^T + b */
static inline void gpt_linear(gpt_state *s, gpt_dual z, gpt_dual x, gpt_dual w, int R, int in, int out)
{
    gpt_product(z, x, R, w, out, in, s->tmp);
    gpt_dual bias = gpt_at(w, (size_t)in * (size_t)out);
    for (int r = 0; r < R; r++) gpt_add(out, bias, gpt_at(z, (size_t)r * (size_t)out));
}

/* dx = dz W;  dW += dz^T x;  db += sum of dz. In g only what is not NULL is added to. */
static inline void gpt_linear_back(gpt_state *s, gpt_dual dx, gpt_dual dz, gpt_dual x, gpt_dual w, gpt_dual g, int R, int in, int out)
{
    gpt_product(dx, dz, R, gpt_transpose(s->wt, w, out, in), in, out, s->tmp);
    gpt_dual gw = { g.v ? s->gw.v : NULL, g.t ? s->gw.t : NULL }, bias = gpt_at(g, (size_t)in * (size_t)out);
    gpt_product(gw, gpt_transpose(s->zt, dz, R, out), out, gpt_transpose(s->xt, x, R, in), in, R, s->tmp);
    gpt_add(in * out, gw, g);
    for (int r = 0; r < R; r++) gpt_add(out, gpt_at(dz, (size_t)r * (size_t)out), bias);
}

/* hat = (x - mean) rstd;  y = hat gain + bias;  rstd = 1 / sqrt(variance + 1e-5) */
static inline void gpt_norm(gpt_dual y, gpt_dual hat, gpt_dual rstd, gpt_dual x, gpt_dual w, int R, int C)
{
    for (int r = 0; r < R; r++) {
        gpt_dual xr = gpt_at(x, (size_t)r * (size_t)C), hr = gpt_at(hat, (size_t)r * (size_t)C), yr = gpt_at(y, (size_t)r * (size_t)C);
        double mean = 0, var = 0;
        for (int i = 0; i < C; i++) mean += xr.v[i];
        mean /= C;
        for (int i = 0; i < C; i++) var += (xr.v[i] - mean) * (xr.v[i] - mean);
        double rs = 1 / sqrt(var / C + 1e-5);
        rstd.v[r] = (float)rs;
        for (int i = 0; i < C; i++) {
            hr.v[i] = (float)((xr.v[i] - mean) * rs);
            yr.v[i] = hr.v[i] * w.v[i] + w.v[C + i];
        }
        if (!y.t) continue;
        double mean_t = 0, var_t = 0;
        for (int i = 0; i < C; i++) mean_t += xr.t[i];
        mean_t /= C;
        for (int i = 0; i < C; i++) var_t += 2 * (xr.v[i] - mean) * (xr.t[i] - mean_t);
        double rs_t = -0.5 * rs * rs * rs * var_t / C;
        rstd.t[r] = (float)rs_t;
        for (int i = 0; i < C; i++) {
            hr.t[i] = (float)((xr.t[i] - mean_t) * rs + (xr.v[i] - mean) * rs_t);
            yr.t[i] = hr.t[i] * w.v[i] + hr.v[i] * w.t[i] + w.t[C + i];
        }
    }
}

/* dx = rstd (h - mean(h) - hat mean(h hat)), h = dy gain */
static inline void gpt_norm_back(gpt_dual dx, gpt_dual dy, gpt_dual hat, gpt_dual rstd, gpt_dual w, gpt_dual g, int R, int C)
{
    for (int r = 0; r < R; r++) {
        gpt_dual o = gpt_at(dx, (size_t)r * (size_t)C), d = gpt_at(dy, (size_t)r * (size_t)C), h = gpt_at(hat, (size_t)r * (size_t)C);
        double m1 = 0, m2 = 0, m1_t = 0, m2_t = 0, rs = rstd.v[r];
        for (int i = 0; i < C; i++) {
            double hi = d.v[i] * w.v[i];
            m1 += hi / C;
            m2 += hi * h.v[i] / C;
        }
        for (int i = 0; i < C; i++) o.v[i] = (float)(rs * (d.v[i] * w.v[i] - m1 - h.v[i] * m2));
        if (g.v) for (int i = 0; i < C; i++) { g.v[i] += d.v[i] * h.v[i]; g.v[C + i] += d.v[i]; }
        if (!dx.t) continue;
        for (int i = 0; i < C; i++) {
            double hi = d.v[i] * w.v[i], hi_t = d.t[i] * w.v[i] + d.v[i] * w.t[i];
            m1_t += hi_t / C;
            m2_t += (hi_t * h.v[i] + hi * h.t[i]) / C;
        }
        for (int i = 0; i < C; i++) {
            double hi = d.v[i] * w.v[i], hi_t = d.t[i] * w.v[i] + d.v[i] * w.t[i];
            o.t[i] = (float)(rstd.t[r] * (hi - m1 - h.v[i] * m2) + rs * (hi_t - m1_t - h.t[i] * m2 - h.v[i] * m2_t));
        }
        if (g.t) for (int i = 0; i < C; i++) { g.t[i] += d.t[i] * h.v[i] + d.v[i] * h.t[i]; g.t[C + i] += d.t[i]; }
    }
}

/* y = x (1 + th) / 2, th = tanh(u), u = k (x + c x^3) */
static const float gpt_gelu_k = 0.7978845608f, gpt_gelu_c = 0.044715f;

static inline void gpt_gelu(gpt_dual y, gpt_dual th, gpt_dual x, int n)
{
    for (int i = 0; i < n; i++) {
        float u = gpt_gelu_k * (x.v[i] + gpt_gelu_c * x.v[i] * x.v[i] * x.v[i]);
        th.v[i] = 1 - 2 / (1 + expf(2 * u));                       /* thrice as fast as tanhf */
        y.v[i] = 0.5f * x.v[i] * (1 + th.v[i]);
    }
    for (int i = 0; y.t && i < n; i++) {
        float du = gpt_gelu_k * (1 + 3 * gpt_gelu_c * x.v[i] * x.v[i]), dth = (1 - th.v[i] * th.v[i]) * du;
        y.t[i] = x.t[i] * 0.5f * (1 + th.v[i] + x.v[i] * dth);
    }
}

static inline void gpt_gelu_back(gpt_dual d, gpt_dual th, gpt_dual x, int n)         /* in place */
{
    for (int i = 0; i < n; i++) {
        float du = gpt_gelu_k * (1 + 3 * gpt_gelu_c * x.v[i] * x.v[i]), dth = (1 - th.v[i] * th.v[i]) * du;
        float slope = 0.5f * (1 + th.v[i] + x.v[i] * dth);
        if (d.t) {
            float ddu = gpt_gelu_k * 6 * gpt_gelu_c * x.v[i], ddth = (1 - th.v[i] * th.v[i]) * ddu - 2 * th.v[i] * dth * du;
            d.t[i] = d.t[i] * slope + d.v[i] * (dth + 0.5f * x.v[i] * ddth) * x.t[i];
        }
        d.v[i] *= slope;
    }
}

/* One head's part of T rows: out[T,hs] = scale * rows[T, stride] from `column` on; gpt_put is the way back. */
static inline gpt_dual gpt_pick(gpt_dual out, gpt_dual rows, int T, int hs, int stride, int column, float scale)
{
    for (int i = 0; i < T; i++)
        for (int j = 0; j < hs; j++) {
            out.v[i * hs + j] = scale * rows.v[(size_t)i * (size_t)stride + (size_t)(column + j)];
            if (out.t) out.t[i * hs + j] = scale * rows.t[(size_t)i * (size_t)stride + (size_t)(column + j)];
        }
    return out;
}

static inline void gpt_put(gpt_dual rows, gpt_dual in, int T, int hs, int stride, int column, float scale)
{
    for (int i = 0; i < T; i++)
        for (int j = 0; j < hs; j++) {
            rows.v[(size_t)i * (size_t)stride + (size_t)(column + j)] = scale * in.v[i * hs + j];
            if (in.t) rows.t[(size_t)i * (size_t)stride + (size_t)(column + j)] = scale * in.t[i * hs + j];
        }
}

/* Row i of p[T,T], scores on entry: softmax over columns 0..i, zero beyond. */
static inline void gpt_causal_softmax(gpt_dual p, int T)
{
    for (int i = 0; i < T; i++) {
        gpt_dual row = gpt_at(p, (size_t)i * (size_t)T);
        float most = row.v[0], sum = 0, mean_t = 0;
        for (int j = 1; j <= i; j++) if (row.v[j] > most) most = row.v[j];
        for (int j = 0; j <= i; j++) sum += row.v[j] = expf(row.v[j] - most);
        for (int j = 0; j < T; j++) row.v[j] = j <= i ? row.v[j] / sum : 0;
        if (!p.t) continue;
        for (int j = 0; j <= i; j++) mean_t += row.v[j] * row.t[j];
        for (int j = 0; j < T; j++) row.t[j] = j <= i ? row.v[j] * (row.t[j] - mean_t) : 0;
    }
}

static inline void gpt_softmax_back(gpt_dual d, gpt_dual p, int T)     /* d = p (d - sum p d), in place */
{
    for (int i = 0; i < T; i++) {
        gpt_dual dr = gpt_at(d, (size_t)i * (size_t)T), pr = gpt_at(p, (size_t)i * (size_t)T);
        float mean = 0, mean_t = 0;
        for (int j = 0; j < T; j++) mean += pr.v[j] * dr.v[j];
        if (d.t) {
            for (int j = 0; j < T; j++) mean_t += pr.t[j] * dr.v[j] + pr.v[j] * dr.t[j];
            for (int j = 0; j < T; j++) dr.t[j] = pr.t[j] * (dr.v[j] - mean) + pr.v[j] * (dr.t[j] - mean_t);
        }
        for (int j = 0; j < T; j++) dr.v[j] = pr.v[j] * (dr.v[j] - mean);
    }
}

/* mix = softmax(q k^T / sqrt(hs)) v, for each text and head */
static inline void gpt_attention(const gpt_model *m, gpt_state *s, const gpt_kept *b, int texts)
{
    int T = m->context, C = m->width, K = m->heads, hs = C / K;
    float scale = 1 / sqrtf((float)hs);
    for (int i = 0; i < texts * K; i++) {
        int column = i % K * hs;
        size_t row = (size_t)(i / K) * (size_t)T;
        gpt_dual qkv = gpt_at(b->qkv, row * 3 * (size_t)C), p = gpt_at(b->att, (size_t)i * (size_t)T * (size_t)T);
        gpt_dual q = gpt_pick(s->q, qkv, T, hs, 3 * C, column, scale), k = gpt_pick(s->k, qkv, T, hs, 3 * C, C + column, 1);
        gpt_product(p, q, T, k, T, hs, s->tmp);
        gpt_causal_softmax(p, T);
        gpt_dual v = gpt_pick(s->k, qkv, T, hs, 3 * C, 2 * C + column, 1);
        gpt_product(s->o, p, T, gpt_transpose(s->vt, v, T, hs), hs, T, s->tmp);
        gpt_put(gpt_at(b->mix, row * (size_t)C), s->o, T, hs, C, column, 1);
    }
}

static inline void gpt_attention_back(const gpt_model *m, gpt_state *s, gpt_dual dqkv, gpt_dual dmix, const gpt_kept *b, int texts)
{
    int T = m->context, C = m->width, K = m->heads, hs = C / K;
    float scale = 1 / sqrtf((float)hs);
    for (int i = 0; i < texts * K; i++) {
        int column = i % K * hs;
        size_t row = (size_t)(i / K) * (size_t)T;
        gpt_dual qkv = gpt_at(b->qkv, row * 3 * (size_t)C), out = gpt_at(dqkv, row * 3 * (size_t)C), p = gpt_at(b->att, (size_t)i * (size_t)T * (size_t)T);
        gpt_dual v = gpt_pick(s->k, qkv, T, hs, 3 * C, 2 * C + column, 1), d = gpt_pick(s->q, gpt_at(dmix, row * (size_t)C), T, hs, C, column, 1);
        gpt_dual dt = gpt_transpose(s->ot, d, T, hs);
        gpt_product(s->o, gpt_transpose(s->st, p, T, T), T, dt, hs, T, s->tmp);                     /* dv = p^T d */
        gpt_put(out, s->o, T, hs, 3 * C, 2 * C + column, 1);
        gpt_product(s->s, d, T, v, T, hs, s->tmp);                                                 /* dp = d v^T */
        gpt_softmax_back(s->s, p, T);
        gpt_dual q = gpt_pick(s->q, qkv, T, hs, 3 * C, column, scale), k = gpt_pick(s->k, qkv, T, hs, 3 * C, C + column, 1);
        gpt_product(s->o, s->s, T, gpt_transpose(s->kt, k, T, hs), hs, T, s->tmp);                   /* dq = ds k */
        gpt_put(out, s->o, T, hs, 3 * C, column, scale);
        gpt_product(s->o, gpt_transpose(s->st, s->s, T, T), T, gpt_transpose(s->qt, q, T, hs), hs, T, s->tmp);     /* dk = ds^T q */
        gpt_put(out, s->o, T, hs, 3 * C, C + column, 1);
    }
}

/* ---- the passes ------------------------------------------------------------------------------------ */
static inline void gpt_pass(const gpt_model *m, gpt_dual w, const uint8_t *const *texts, int count, gpt_state *s)
{
    int T = m->context, C = m->width, R = count * T;
    for (int r = 0; r < R; r++) {
        gpt_dual x = gpt_at(s->block[0].x, (size_t)r * (size_t)C), token = gpt_at(w, m->token + (size_t)texts[r / T][r % T] * (size_t)C);
        gpt_dual position = gpt_at(w, m->position + (size_t)(r % T) * (size_t)C);
        for (int i = 0; i < C; i++) x.v[i] = token.v[i] + position.v[i];
        for (int i = 0; x.t && i < C; i++) x.t[i] = token.t[i] + position.t[i];
    }
    for (int l = 0; l < m->blocks; l++) {
        const gpt_block *p = &m->block[l];
        gpt_kept *b = &s->block[l];
        gpt_dual next = l + 1 < m->blocks ? s->block[l + 1].x : s->x;
        gpt_norm(b->a, b->hat1, b->rstd1, b->x, gpt_at(w, p->norm1), R, C);
        gpt_linear(s, b->qkv, b->a, gpt_at(w, p->qkv), R, C, 3 * C);
        gpt_attention(m, s, b, count);
        gpt_linear(s, b->mid, b->mix, gpt_at(w, p->join), R, C, C);
        gpt_add(R * C, b->x, b->mid);
        gpt_norm(b->b, b->hat2, b->rstd2, b->mid, gpt_at(w, p->norm2), R, C);
        gpt_linear(s, b->pre, b->b, gpt_at(w, p->up), R, C, 4 * C);
        gpt_gelu(b->act, b->th, b->pre, R * 4 * C);
        gpt_linear(s, next, b->act, gpt_at(w, p->down), R, 4 * C, C);
        gpt_add(R * C, b->mid, next);
    }
    gpt_norm(s->last, s->hat, s->rstd, s->x, gpt_at(w, m->norm), R, C);
    gpt_linear(s, s->prob, s->last, gpt_at(w, m->head), R, C, GPT_VOCAB);
    s->loss = s->slope = 0;
    for (int r = 0; r < R; r++) {                                  /* logits become probabilities */
        gpt_dual p = gpt_at(s->prob, (size_t)r * GPT_VOCAB);
        int best = 0, right = texts[r / T][r % T + 1];
        double sum = 0, mean_t = 0;
        for (int i = 1; i < GPT_VOCAB; i++) if (p.v[i] > p.v[best]) best = i;
        float most = p.v[best], own = p.v[right] - most;
        s->hit[r] = best == right;
        for (int i = 0; i < GPT_VOCAB; i++) sum += p.v[i] = expf(p.v[i] - most);
        for (int i = 0; i < GPT_VOCAB; i++) p.v[i] = (float)(p.v[i] / sum);
        s->loss += (log(sum) - own) / R;
        if (!p.t) continue;
        for (int i = 0; i < GPT_VOCAB; i++) mean_t += p.v[i] * p.t[i];
        s->slope += (mean_t - p.t[right]) / R;
        for (int i = 0; i < GPT_VOCAB; i++) p.t[i] = (float)(p.v[i] * (p.t[i] - mean_t));
    }
}

static inline void gpt_pass_back(const gpt_model *m, gpt_dual w, const uint8_t *const *texts, int count, gpt_dual g, gpt_state *s)
{
    int T = m->context, C = m->width, R = count * T;
    for (int i = 0; i < R * GPT_VOCAB; i++) {
        int right = texts[i / GPT_VOCAB / T][i / GPT_VOCAB % T + 1];
        s->dlogit.v[i] = (s->prob.v[i] - (i % GPT_VOCAB == right)) / (float)R;
        if (s->tangents) s->dlogit.t[i] = s->prob.t[i] / (float)R;
    }
    gpt_linear_back(s, s->d1, s->dlogit, s->last, gpt_at(w, m->head), gpt_at(g, m->head), R, C, GPT_VOCAB);
    gpt_norm_back(s->dx, s->d1, s->hat, s->rstd, gpt_at(w, m->norm), gpt_at(g, m->norm), R, C);
    for (int l = m->blocks - 1; l >= 0; l--) {
        const gpt_block *p = &m->block[l];
        const gpt_kept *b = &s->block[l];
        gpt_linear_back(s, s->d4, s->dx, b->act, gpt_at(w, p->down), gpt_at(g, p->down), R, 4 * C, C);
        gpt_gelu_back(s->d4, b->th, b->pre, R * 4 * C);
        gpt_linear_back(s, s->d1, s->d4, b->b, gpt_at(w, p->up), gpt_at(g, p->up), R, C, 4 * C);
        gpt_norm_back(s->d2, s->d1, b->hat2, b->rstd2, gpt_at(w, p->norm2), gpt_at(g, p->norm2), R, C);
        gpt_add(R * C, s->d2, s->dx);
        gpt_linear_back(s, s->d1, s->dx, b->mix, gpt_at(w, p->join), gpt_at(g, p->join), R, C, C);
        gpt_attention_back(m, s, s->d3, s->d1, b, count);
        gpt_linear_back(s, s->d1, s->d3, b->a, gpt_at(w, p->qkv), gpt_at(g, p->qkv), R, C, 3 * C);
        gpt_norm_back(s->d2, s->d1, b->hat1, b->rstd1, gpt_at(w, p->norm1), gpt_at(g, p->norm1), R, C);
        gpt_add(R * C, s->d2, s->dx);
    }
    for (int r = 0; r < R; r++) {
        gpt_dual d = gpt_at(s->dx, (size_t)r * (size_t)C);
        gpt_add(C, d, gpt_at(g, m->token + (size_t)texts[r / T][r % T] * (size_t)C));
        gpt_add(C, d, gpt_at(g, m->position + (size_t)(r % T) * (size_t)C));
    }
}

/* ---- what callers use: `count` texts, at most the state's room, of context + 1 tokens each ------------- */

/* The mean loss; state->hit tells which tokens were foreseen. */
static inline double gpt_forward(const gpt_model *m, const float *theta, const uint8_t *const *texts, int count, gpt_state *s)
{
    gpt_dual w = { (float *)theta, NULL };
    gpt_pass(m, w, texts, count, s);
    return s->loss;
}

/* Adds the gradient of the mean loss to gradient[model.count]; returns the loss. State without tangents. */
static inline double gpt_gradient(const gpt_model *m, const float *theta, const uint8_t *const *texts, int count, float *gradient, gpt_state *s)
{
    gpt_dual w = { (float *)theta, NULL }, g = { gradient, NULL };
    gpt_pass(m, w, texts, count, s);
    gpt_pass_back(m, w, texts, count, g, s);
    return s->loss;
}

/* Adds H v to out[model.count], H the Hessian of the mean loss; returns the loss. State with tangents. About 3 gradients' time. */
static inline double gpt_hvp(const gpt_model *m, const float *theta, const float *v, const uint8_t *const *texts, int count, float *out, gpt_state *s)
{
    gpt_dual w = { (float *)theta, (float *)v }, g = { NULL, out };
    gpt_pass(m, w, texts, count, s);
    gpt_pass_back(m, w, texts, count, g, s);
    return s->loss;
}

#endif
