/* paper_report.h - the page and the summary that paper.c writes; included by it alone. Every number comes from the log: what was not
   measured is a dash, and whether the paper's finding is found here is decided by the comparisons that stand in conclude(). */
#ifndef PAPER_REPORT_H
#define PAPER_REPORT_H

enum { MOST_FINDINGS = 24, FROM = 6, TO_MOST = 18, POINTS = TO_MOST - FROM + 1 };
typedef struct finding { const char *name, *paper; char here[400]; const char *verdict; } finding;
typedef struct report { const paper *p; page page; finding found[MOST_FINDINGS]; int count; } report;

static const char *const agrees = "agrees", *const in_part = "in part", *const differs = "differs", *const unknown = "not measured";
static const char *const power[] = { "1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048", "4096", "8192", "16384", "32768", "65536", "131072", "262144" };
static const char *const short_power[] = { "1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k" };
static const double powers[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144 };

__attribute__((format(printf, 3, 4)))
static double number(const paper *p, int i, const char *format, ...)     /* NaN: not measured */
{
    char key[64];
    int count = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(key, sizeof key, format, args);
    va_end(args);
    const double *v = lookup(p, key, &count);
    return v && i < count ? v[i] : NAN;
}

__attribute__((format(printf, 2, 3)))
static void append(char *text, const char *format, ...)              /* to the end of text[400] or longer */
{
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, 400 - used, format, args);
    va_end(args);
}

/* The smallest log2 d from which on, at every d measured, the value is beyond the threshold; 0: nowhere; -1: not measured. *last: the largest measured. */
static int smallest(const paper *p, const char *prefix, const char *op, double threshold, int above, int *last)
{
    int answer = -1;
    *last = 0;
    for (int e = TO_MOST; e >= FROM; e--) {
        double v = number(p, 0, "%s.%s.%d", prefix, op, 1 << e);
        if (isnan(v)) continue;
        if (!*last) { *last = e; answer = 0; }
        if (above ? !(v > threshold) : !(v < threshold)) break;
        answer = e;
    }
    return answer;
}
static const char *d_text(int e, int last)
{
    static char text[8][16];
    static int turn;
    char *t = text[turn++ % 8];
    if (e < 0) return "-";
    if (e == 0) snprintf(t, 16, "> %s", power[last]);
    else        snprintf(t, 16, "%s%s", e == FROM ? "<= " : "", power[e]);
    return t;
}
static const char *smallest_text(const paper *p, const char *prefix, const char *op, double threshold, int above)
{
    int last, e = smallest(p, prefix, op, threshold, above, &last);
    return d_text(e, last);
}

/* r of an ideal dense projection: its noise on the exact products. NaN: not measured. */
static double ideal_r(const paper *p, const char *model, int e)
{
    double variance = number(p, 0, "ideal.%s", model), error = number(p, 1, "ideal.%s", model) / powers[e];
    return sqrt(variance / (variance + error));
}
static const char *ideal_text(const paper *p, const char *model, double threshold)
{
    int last = TO_MOST, e = FROM;
    while (last > FROM && isnan(number(p, 0, "ip.%s.AFFD.%d", model, 1 << last))) last--;
    if (isnan(ideal_r(p, model, FROM))) return d_text(-1, 0);
    while (e <= last && ideal_r(p, model, e) <= threshold) e++;
    return d_text(e <= last ? e : 0, last);
}

/* Mean squared error of an operator's products over the ideal dense projection's. NaN: not measured. */
static double noise_ratio(const paper *p, const char *model, const char *op, int e)
{
    return number(p, 0, "noise.%s.%s.%d", model, op, 1 << e) * powers[e] / number(p, 1, "ideal.%s", model);
}
/* Its mean over d, and in brackets the least and the greatest. */
static const char *noise_text(const paper *p, const char *model, const char *op)
{
    static char text[48];
    double low = INFINITY, high = 0, sum = 0;
    int count = 0;
    for (int e = FROM; e <= TO_MOST; e++) {
        double ratio = noise_ratio(p, model, op, e);
        if (isnan(ratio)) continue;
        if (ratio < low) low = ratio;
        if (ratio > high) high = ratio;
        sum += ratio;
        count++;
    }
    if (!count) return "-";
    snprintf(text, sizeof text, "%.2f (%.2f to %.2f)", sum / count, low, high);
    return text;
}

static finding *add_finding(report *r, const char *name, const char *paper_says, const char *verdict)
{
    finding *f = &r->found[r->count < MOST_FINDINGS ? r->count++ : MOST_FINDINGS - 1];
    f->name = name;
    f->paper = paper_says;
    f->here[0] = 0;
    f->verdict = verdict;
    return f;
}

/* d of the search for each seed: their least and greatest; the sweep's answer (0: not reached). Returns 0 if something is missing. */
static int dimensions(const paper *p, const char *model, int metric, double *low, double *high, double *swept)
{
    double target = NAN;
    *low = INFINITY;
    *high = *swept = 0;
    for (int seed = 0; seed < p->scale->id_seeds; seed++) {
        double d = number(p, 0, "id.%s.%d.%d", model, metric, seed);
        if (isnan(d)) return 0;
        if (d == 0) d = INFINITY;
        if (d < *low) *low = d;
        if (d > *high) *high = d;
        target = number(p, 4, "id.%s.%d.%d", model, metric, seed);
    }
    for (int e = 0; e <= TO_MOST; e++)
        if (!*swept && number(p, metric, "sweep.%s.%d", model, 1 << e) >= target) *swept = powers[e];
    return 1;
}

static void conclude(report *r)
{
    const paper *p = r->p;
    finding *f;
    for (int model = ON_GPT; model >= ON_DIGITS; model--) {          /* Table 6 */
        char prefix[16];
        int a[5], last;
        static const char *const op[5] = { "AFFD", "FJL", "FFD", "AFJL", "QK" };
        snprintf(prefix, sizeof prefix, "ip.%s", model_name[model]);
        for (int o = 0; o < 5; o++) a[o] = smallest(p, prefix, op[o], 0.95, 1, &last);
        int order = a[3] > a[0] && a[4] > a[3], same = abs(a[1] - a[0]) <= 1 && abs(a[2] - a[0]) <= 1, all = a[0] > 0 && a[1] > 0 && a[2] > 0 && a[3] > 0 && a[4] > 0;
        f = add_finding(r, model == ON_GPT ? "Table 6, GPT: d for r > 0.95" : "Table 6, digits: d for r > 0.95", "AFFD, FJL, FFD 1024; AFJL 4096; QK 16384 (GPT-2)",
                        a[0] < 0 ? unknown : all && order && same ? agrees : all && (order || same) ? in_part : differs);
        for (int o = 0; o < 5; o++) append(f->here, "%s%s %s", o ? ", " : "", op[o], smallest_text(p, prefix, op[o], 0.95, 1));
        append(f->here, "; an ideal dense projection %s", ideal_text(p, model_name[model], 0.95));
        if (model == ON_DIGITS) continue;
        int b = smallest(p, prefix, "AFFD", 0.99, 1, &last);
        f = add_finding(r, "Table 6, GPT: d for r > 0.99, AFFD", "8 times that for 0.95", b < 0 ? unknown : b == 0 ? differs : b - a[0] >= 2 && b - a[0] <= 4 ? agrees : in_part);
        append(f->here, "%s", smallest_text(p, prefix, "AFFD", 0.99, 1));
        if (b > 0 && a[0] > 0) append(f->here, ": %d times", 1 << (b - a[0]));
    }
    for (int model = ON_GPT; model >= ON_DIGITS; model--) {          /* Tables 1, 5 */
        double best = -1, best_fit = INFINITY, worst = 1;
        const char *name, *best_name = "", *fit_name = "";
        for (int l = 0; l < layers_of(p, model); l++) {
            size_t offset, count;
            layer_of(p, model, l, &name, &offset, &count);
            double v = number(p, 0, "layer.%s.%s", model_name[model], name), e = number(p, 1, "eiglayer.%s.%s", model_name[model], name);
            if (v > best) { best = v; best_name = name; }
            if (v < worst) worst = v;
            if (e < best_fit) { best_fit = e; fit_name = name; }
        }
        f = add_finding(r, model == ON_GPT ? "Table 1, GPT: r of one layer's gradient" : "Table 1, digits: r of one layer's gradient", "under 0.9, far lower for most",
                        best < 0 ? unknown : best < 0.9 ? agrees : worst < 0.9 ? in_part : differs);
        if (best >= 0) append(f->here, "%.3f at best (%s), %.3f at worst", best, best_name, worst);
        f = add_finding(r, model == ON_GPT ? "Tables 1, 5, GPT: top-10 eigenvalues of one layer, after an affine fit" : "Tables 1, 5, digits: top-10 eigenvalues of one layer, after an affine fit", "off by 20% or more",
                        isinf(best_fit) ? unknown : best_fit >= 0.2 ? agrees : differs);
        if (!isinf(best_fit)) append(f->here, "off by %.0f%% at best (%s)", 100 * best_fit, fit_name);
    }
    for (int model = ON_GPT; model >= ON_DIGITS; model--) {          /* Table 7 */
        char prefix[16];
        int a[3], last;
        snprintf(prefix, sizeof prefix, "eig.%s", model_name[model]);
        for (int o = 0; o < 3; o++) a[o] = smallest(p, prefix, operators[o].name, 0.05, 0, &last);
        int order = (a[1] == 0 || a[1] > a[0]) && (a[2] == 0 || (a[1] > 0 && a[2] > a[1]));
        f = add_finding(r, model == ON_GPT ? "Table 7, GPT: d for top-10 eigenvalues within 5%" : "Table 7, digits: d for top-10 eigenvalues within 5%", "AFFD 1024, AFJL 4096, QK 8192",
                        a[0] < 0 ? unknown : a[0] > 0 && order ? agrees : a[0] > 0 ? in_part : differs);
        for (int o = 0; o < 3; o++) append(f->here, "%s%s %s", o ? ", " : "", operators[o].name, smallest_text(p, prefix, operators[o].name, 0.05, 0));
    }
    double saved = 0, h = 0, q = 0, fr = 0;                            /* Tables 3, 4, 8, 9 */
    for (int k = 0; k < VARIANTS; k++) saved += (1 - number(p, 0, "cost.%s", variants[k].name) / number(p, 1, "cost.%s", variants[k].name)) / VARIANTS;
    f = add_finding(r, "Tables 3, 4: explicit against implicit, gradients", "saves about 70% of the time", isnan(saved) ? unknown : saved > 0.5 ? agrees : saved > 0.1 ? in_part : differs);
    if (!isnan(saved)) append(f->here, "saves %.0f%% of the sketch's own time on average", 100 * saved);
    for (int e = 0; e < 2; e++) {
        h  += number(p, 0, "cost.%s-H", e ? "AFFD" : "AFJL");
        fr += number(p, 0, "cost.%s-F", e ? "AFFD" : "AFJL");
        q  += number(p, 0, "cost.%s-Q", e ? "AFFD" : "AFJL");
    }
    f = add_finding(r, "Tables 3, 8: pre-conditioners F, Q against H, time", "F saves 62%, Q 40% (on a V100)", isnan(h + fr + q) ? unknown : fr < h && q < h ? agrees : fr < h || q < h ? in_part : differs);
    if (!isnan(h + fr + q)) append(f->here, "sketch's own time: F %.1f times, Q %.1f times that of H", fr / h, q / h);
    double a = number(p, 0, "cost.FJL") / number(p, 0, "cost.AFJL-H"), b = number(p, 0, "cost.FFD") / number(p, 0, "cost.AFFD-H");
    f = add_finding(r, "Tables 3, 4: look-ups removed, time", "64 to 100 times less (on a TPU)", isnan(a + b) ? unknown : a > 20 && b > 20 ? agrees : a > 1 && b > 1 ? in_part : differs);
    if (!isnan(a + b)) append(f->here, "FJL to AFJL %.1f times less, FFD to AFFD %.1f times", a, b);
    a = number(p, 4, "cost.FJL") / number(p, 4, "cost.AFJL-H");
    b = number(p, 4, "cost.FFD") / number(p, 4, "cost.AFFD-H");
    f = add_finding(r, "Tables 3, 4: look-ups removed, memory", "FJL to AFJL 2.4 times less, FFD to AFFD 1.3 times", isnan(a + b) ? unknown : a > 1.1 && b > 1.1 ? agrees : a > 1.1 || b > 1.1 ? in_part : differs);
    if (!isnan(a + b)) append(f->here, "%.2f and %.2f times; no operator keeps a look-up table of n entries here", a, b);
    int top_affd = 0, top_dense = 0;                                  /* Table 11 */
    for (int e = FROM; e <= TO_MOST; e++) {
        if (!isnan(number(p, 0, "speed.AFFD.%d", 1 << e))) top_affd = e;
        if (!isnan(number(p, 0, "speed.dense.%d", 1 << e))) top_dense = e;
    }
    if (top_affd && top_dense) {
        double rise[3] = { number(p, 0, "speed.AFFD.%d", 1 << top_dense) / number(p, 0, "speed.AFFD.64"), number(p, 0, "speed.QK.%d", 1 << top_dense) / number(p, 0, "speed.QK.64"),
                           number(p, 0, "speed.dense.%d", 1 << top_dense) / number(p, 0, "speed.dense.64") };
        f = add_finding(r, "Table 11, Figure 7: time over d", "AFFD and QK flat, dense linear", rise[0] < 2 && rise[1] < 2 && rise[2] > (1 << top_dense) / 64 / 4 ? agrees : rise[2] > 8 * rise[0] ? in_part : differs);
        append(f->here, "from d = 64 to %s: AFFD %.2f times, QK %.2f times, dense %.0f times", power[top_dense], rise[0], rise[1], rise[2]);
    }
    static const struct { int model, metric; const char *name, *paper; } tasks[] = {
        { ON_DIGITS, 0, "Table 10, digits, accuracy", "classification 2^13 of 125M; seeds within 2 times" },
        { ON_GPT, 0, "Table 10, GPT, characters", "generation, Rouge-1: 2^24 to 2^25" }, { ON_GPT, 1, "Table 10, GPT, pairs of characters", "generation, Rouge-2: 2^27" } };
    for (int k = 0; k < 3; k++) {
        double low, high, swept;
        int known = dimensions(p, model_name[tasks[k].model], tasks[k].metric, &low, &high, &swept);
        f = add_finding(r, tasks[k].name, tasks[k].paper, !known ? unknown : high <= 2 * low && swept && swept >= low / 2 && swept <= 2 * high ? agrees : high <= 2 * low ? in_part : differs);
        if (!known) continue;
        append(f->here, "d = ");
        for (int seed = 0; seed < p->scale->id_seeds; seed++) {
            double d = number(p, 0, "id.%s.%d.%d", model_name[tasks[k].model], tasks[k].metric, seed);
            append(f->here, d > 0 ? "%s%.0f" : "%snot up to %.0f", seed ? ", " : "", d > 0 ? d : powers[p->scale->id_to[tasks[k].model]]);
        }
        if (swept) append(f->here, " by seed; by a sweep %.0f", swept);
        else       append(f->here, " by seed; the sweep did not reach the target");
    }
    double low[3], high[3], swept_;
    if (dimensions(p, "digits", 0, &low[0], &high[0], &swept_) && dimensions(p, "gpt", 0, &low[1], &high[1], &swept_) && dimensions(p, "gpt", 1, &low[2], &high[2], &swept_)) {
        f = add_finding(r, "Table 10: generation against classification", "generation needs far more dimensions, and the harder metric the most", low[1] > high[0] && low[2] >= low[1] && (high[2] > high[1] || low[2] > low[1]) ? agrees : low[1] > high[0] ? in_part : differs);
        static const char *const what[3] = { "digits", ", characters", ", pairs" };
        for (int i = 0; i < 3; i++) append(f->here, isinf(low[i]) ? "%s not reached" : isinf(high[i]) ? "%s %.0f and more" : "%s %.0f to %.0f", what[i], low[i], high[i]);
    }
    for (int model = ON_GPT; model >= ON_DIGITS; model--) {          /* Figure 2 */
        int steps = model == ON_GPT ? landscape_count(p) : LANDSCAPE;
        const char *name = model_name[model];
        double first = number(p, 0, "landscape.%s.0", name), last = number(p, 0, "landscape.%s.%d", name, landscape_at[steps - 1]), mean = 0, fewest = INFINITY, most = 0;
        for (int i = 0; i < steps; i++) {
            double outliers = number(p, 1, "landscape.%s.%d", name, landscape_at[i]);
            mean += number(p, 2, "landscape.%s.%d", name, landscape_at[i]) / steps;
            if (outliers < fewest) fewest = outliers;
            if (outliers > most) most = outliers;
        }
        f = add_finding(r, model == ON_GPT ? "Figure 2, GPT: alignment while fine-tuning" : "Figure 2, digits: alignment while training from random weights", "the outliers' space holds 27% (RoBERTa), 35% (GPT-2L), 8% (BART) of the gradient's norm",
                        isnan(mean) ? unknown : mean < 0.4 ? agrees : mean < 0.6 ? in_part : differs);
        if (!isnan(mean + first + last)) append(f->here, "%.0f%% on average; %.0f to %.0f outliers; RNEG %.2f at first, %.2f at last", 100 * mean, fewest, most, first, last);
    }
    double ffd_spread = number(p, 1, "walsh.FFD"), affd_spread = number(p, 1, "walsh.AFFD");
    f = add_finding(r, "Theorem 3.1: spread of the squared length of S x, x a Walsh row", "FFD fails, AFFD does not", isnan(ffd_spread + affd_spread) ? unknown : ffd_spread > 0.5 && affd_spread < 0.2 ? agrees : differs);
    if (!isnan(ffd_spread)) append(f->here, "FFD %.2f, AFFD %.2f", ffd_spread, affd_spread);
}

/* ---- figures -------------------------------------------------------------------------------------------------- */
static double stretch(double r) { return r < 1 ? -log10(1 - r) : 9; }

static page_axis d_axis(int from, int to)
{
    page_axis axis = { "sketch dimension d", from, to, log2, to - from + 1, powers + from, short_power + from };
    return axis;
}

static int last_of(const paper *p, const char *prefix, const char *op) { int last; smallest(p, prefix, op, 0, 1, &last); return last; }

/* One curve an operator: value 0 of prefix.NAME.d over d. */
static int curves(const paper *p, const char *prefix, const int *which, int count, double scale_by, double (*y)[POINTS], page_series *series)
{
    for (int k = 0; k < count; k++) {
        for (int e = FROM; e <= TO_MOST; e++) y[k][e - FROM] = scale_by * number(p, 0, "%s.%s.%d", prefix, operators[which[k]].name, 1 << e);
        page_series s = { operators[which[k]].name, which[k], which[k], which[k] > 2, which[k] == 0 ? 3 : 1.8, POINTS, powers + FROM, y[k] };
        series[k] = s;
    }
    return count;
}

static void fidelity(report *r, int model)
{
    static const double at[] = { 0, .8, .95, .99, .999, .9999 };
    static const char *const names[] = { "0", "0.8", "0.95", "0.99", "0.999", "0.9999" };
    static const int all[OPERATORS] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    const paper *p = r->p;
    const char *name = model_name[model];
    char prefix[16], caption[600];
    double y[OPERATORS][POINTS], ideal[POINTS], top = 1, line[2] = { 0.95, 0.95 };
    page_series series[OPERATORS + 2];
    snprintf(prefix, sizeof prefix, "ip.%s", name);
    int to = last_of(p, prefix, "AFFD");
    if (to <= FROM) return;
    curves(p, prefix, all, OPERATORS, 1, y, series);
    for (int o = 0; o < OPERATORS; o++) for (int k = 0; k < POINTS; k++) if (y[o][k] < 1 && stretch(y[o][k]) > top) top = stretch(y[o][k]);
    int ticks = 0;
    while (ticks < 6 && stretch(at[ticks]) <= top) ticks++;
    page_axis xs = d_axis(FROM, to), ys = { "Pearson r with the full inner products (stretched near 1)", 0, top * 1.03, stretch, ticks, at, names };
    double ends[2] = { powers[FROM], powers[to] };
    for (int e = FROM; e <= TO_MOST; e++) ideal[e - FROM] = e <= to ? ideal_r(p, name, e) : NAN;
    page_series target = { NULL, -1, -1, 1, 1.5, 2, ends, line };
    page_series best = { "ideal dense", -1, -1, 1, 2.5, POINTS, powers + FROM, ideal };
    series[OPERATORS] = target;
    series[OPERATORS + 1] = best;
    page_svg_begin(&r->page, 600, 370, "Pearson r against sketch dimension: eight operators, ideal dense projection");
    page_chart(&r->page, 0, 0, 560, 370, &xs, &ys, series, OPERATORS + 2);
    snprintf(caption, sizeof caption, "*%s.* %d x %d pairs of a training and a held-out gradient, each of %.0f numbers. "
             "Dashed: r = 0.95, and the ideal dense projection's r.", model == ON_GPT ? "GPT" : "Digits network",
             p->scale->paired, p->scale->paired, (double)model_n(p, model));
    page_svg_end(&r->page, caption);
    page_table_begin(&r->page, "The smallest d from which on r is above the threshold, at every d measured (a dense matrix and FJL only as far as they are affordable).", "operator|r > 0.95|r > 0.98|r > 0.99|noise over the ideal's, mean over d");
    for (int o = 0; o < OPERATORS; o++) {
        const char *op = operators[o].name;
        page_row(&r->page, "%s|%s|%s|%s|%s", op, smallest_text(p, prefix, op, 0.95, 1), smallest_text(p, prefix, op, 0.98, 1),
                 smallest_text(p, prefix, op, 0.99, 1), noise_text(p, name, op));
    }
    page_row(&r->page, "ideal dense|%s|%s|%s|1", ideal_text(p, name, 0.95), ideal_text(p, name, 0.98),
             ideal_text(p, name, 0.99));
    page_table_end(&r->page);
    page_table_begin(&r->page, "r at each d, and in brackets the noise over the ideal's.",
                     "d|ideal|AFFD|AFJL|QK|FJL|FFD|SJLT|SRHT|dense");
    for (int e = FROM; e <= to; e++) {
        char cells[400] = "";
        if (isnan(ideal[e - FROM])) continue;
        for (int o = 0; o < OPERATORS; o++) {
            double measured = number(p, 0, "%s.%s.%d", prefix, operators[o].name, 1 << e);
            double ratio = noise_ratio(p, name, operators[o].name, e);
            append(cells, isnan(measured) ? "|-" : "|%.3f", measured);
            if (!isnan(ratio)) append(cells, " (%.2f)", ratio);
        }
        page_row(&r->page, "%s|%.3f%s", power[e], ideal[e - FROM], cells);
    }
    page_table_end(&r->page);
}

static void layers(report *r, int model)
{
    const paper *p = r->p;
    page_table_begin(&r->page, model == ON_GPT ? "GPT: each layer alone, exact as it is." : "Digits network: each layer alone, exact as it is.", "layer|numbers|r|top-10 error|after affine fit");
    for (int l = 0; l < layers_of(p, model); l++) {
        const char *name;
        size_t offset, count;
        layer_of(p, model, l, &name, &offset, &count);
        double v = number(p, 0, "layer.%s.%s", model_name[model], name), e = number(p, 0, "eiglayer.%s.%s", model_name[model], name), a = number(p, 1, "eiglayer.%s.%s", model_name[model], name);
        char cells[200] = "";
        append(cells, isnan(v) ? "-" : "%.3f", v);
        append(cells, isnan(e) ? "|-" : "|%.0f%%", 100 * e);
        append(cells, isnan(a) ? "|-" : "|%.0f%%", 100 * a);
        page_row(&r->page, "%s|%d|%s", name, (int)count, cells);
    }
    page_table_end(&r->page);
}

static void eigen_errors(report *r, int model)
{
    static const double at[] = { .005, .01, .02, .05, .1, .2, .5, 1, 2, 5 };
    static const char *const names[] = { "0.5%", "1%", "2%", "5%", "10%", "20%", "50%", "100%", "200%", "500%" };
    static const int which[3] = { 0, 1, 2 };
    const paper *p = r->p;
    char prefix[16], caption[600];
    double y[3][POINTS], low = 1, high = 0.2, line[2] = { 0.05, 0.05 };
    page_series series[4];
    snprintf(prefix, sizeof prefix, "eig.%s", model_name[model]);
    int to = last_of(p, prefix, "AFFD"), from = FROM;
    if (to <= FROM) return;
    while (isnan(number(p, 0, "%s.AFFD.%d", prefix, 1 << from))) from++;
    curves(p, prefix, which, 3, 1, y, series);
    for (int o = 0; o < 3; o++) for (int k = 0; k < POINTS; k++) { if (y[o][k] < low) low = y[o][k]; if (y[o][k] > high) high = y[o][k]; }
    int first = 0, last = 9;
    while (first < 8 && at[first + 1] <= low) first++;
    while (last > first + 1 && at[last - 1] >= high) last--;
    double ends[2] = { powers[from], powers[to] };
    page_series target = { NULL, -1, -1, 1, 1.5, 2, ends, line };
    series[3] = target;
    page_axis xs = d_axis(from, to), ys = { "relative error of the top 10 eigenvalues, mean", log10(at[first]), log10(at[last]), log10, last - first + 1, at + first, names + first };
    page_svg_begin(&r->page, 560, 330, "Relative error of the ten largest eigenvalues against sketch dimension");
    page_chart(&r->page, 0, 0, 560, 330, &xs, &ys, series, 4);
    snprintf(caption, sizeof caption, "*%s.* Hessian of the mean loss of %d %s; the largest eigenvalue is %.3g, the tenth %.3g (exact HVPs, Lanczos at full length, error bound %.1g of the largest). The dashed line is 5%%.",
             model == ON_GPT ? "GPT" : "Digits network", model == ON_GPT ? p->scale->eig_texts : p->scale->eig_digits, model == ON_GPT ? "texts of 64 characters" : "digits",
             number(p, 0, "eig.%s.full", model_name[model]), number(p, 9, "eig.%s.full", model_name[model]), number(p, 10, "eig.%s.full", model_name[model]) / number(p, 0, "eig.%s.full", model_name[model]));
    page_svg_end(&r->page, caption);
    page_table_begin(&r->page, "The smallest d from which on the error is below the threshold.", "operator|error < 0.2|error < 0.1|error < 0.05");
    for (int o = 0; o < 3; o++)
        page_row(&r->page, "%s|%s|%s|%s", operators[o].name, smallest_text(p, prefix, operators[o].name, 0.2, 0), smallest_text(p, prefix, operators[o].name, 0.1, 0), smallest_text(p, prefix, operators[o].name, 0.05, 0));
    page_table_end(&r->page);
}

static void cost_table(report *r)
{
    const paper *p = r->p;
    double bare = number(p, 0, "cost.bare"), bare_hvp = number(p, 2, "cost.bare");
    if (isnan(bare)) return;
    char caption[600];
    snprintf(caption, sizeof caption, "One text, n = %.0f, d = %s. Time in ms that S and S^T take beside the gradient (%.1f ms) or HVP (%.1f ms), fastest of 9; peak memory in MB beyond the model's own weights, activations and gradient: "
             "plan, work, and every vector of length n that the way needs.", (double)p->gpt.count, power[p->scale->cost_d], 1e3 * bare, 1e3 * bare_hvp);
    page_table_begin(&r->page, caption, "operator|gradient, explicit|implicit|HVP, explicit|implicit|MB: gradient, explicit|implicit|HVP, explicit|implicit");
    for (int k = 0; k < VARIANTS; k++) {
        double v[8];
        for (int i = 0; i < 8; i++) v[i] = number(p, i, "cost.%s", variants[k].name);
        if (isnan(v[0])) continue;
        page_row(&r->page, "%s|%.2f|%.2f|%.2f|%.2f|%.2f|%.2f|%.2f|%.2f", variants[k].name, 1e3 * v[0], 1e3 * v[1], 1e3 * v[2], 1e3 * v[3],
                 v[4] / 1e6, v[5] / 1e6, v[6] / 1e6, v[7] / 1e6);
    }
    page_table_end(&r->page);
}

static void speed_chart(report *r)
{
    static const double at[] = { 1e-2, 1e-1, 1, 10, 100, 1000, 10000, 100000 };
    static const char *const names[] = { "10 us", "0.1 ms", "1 ms", "10 ms", "0.1 s", "1 s", "10 s", "100 s" };
    static const int which[4] = { 0, 1, 2, DENSE };
    const paper *p = r->p;
    double y[4][POINTS], low = 1e9, high = 0;
    page_series series[4];
    int to = last_of(p, "speed", "AFFD"), first = 0, last = 7;
    if (to <= FROM) return;
    curves(p, "speed", which, 4, 1e3, y, series);
    for (int o = 0; o < 4; o++) for (int k = 0; k < POINTS; k++) { if (y[o][k] < low) low = y[o][k]; if (y[o][k] > high) high = y[o][k]; }
    while (first < 6 && at[first + 1] <= low) first++;
    while (last > first + 1 && at[last - 1] >= high) last--;
    page_axis xs = d_axis(FROM, to), ys = { "time for one sketch", log10(at[first]), log10(at[last]), log10, last - first + 1, at + first, names + first };
    page_svg_begin(&r->page, 560, 330, "Time of one sketch against sketch dimension: AFFD, AFJL, QK and dense");
    page_chart(&r->page, 0, 0, 560, 330, &xs, &ys, series, 4);
    char caption[300];
    snprintf(caption, sizeof caption, "One vector of %.0f numbers. The dense matrix (TRAK's way: made on the fly, never stored) ends where it takes too long.", (double)p->gpt.count);
    page_svg_end(&r->page, caption);
}

static void dimension_chart(report *r, int model)
{
    static const double at[] = { 0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1 };
    static const char *const names[] = { "0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1" };
    const paper *p = r->p;
    int metrics = model == ON_GPT ? 2 : 1, to = p->scale->id_to[model], ns = 0, from = p->scale->id_from[model];
    double y[2][POINTS + FROM], line[2][2], ends[2], high = 0.1;
    page_series series[6];
    if (isnan(number(p, 0, "sweep.%s.%d", model_name[model], 1 << to))) return;
    ends[0] = powers[from];
    ends[1] = powers[to];
    for (int m = 0; m < metrics; m++) {
        double target = number(p, 4, "id.%s.%d.0", model_name[model], m);
        for (int e = from; e <= to; e++) { y[m][e - from] = number(p, m, "sweep.%s.%d", model_name[model], 1 << e); if (y[m][e - from] > high) high = y[m][e - from]; }
        line[m][0] = line[m][1] = target;
        if (target > high) high = target;
        page_series s = { m ? "pairs" : model == ON_GPT ? "chars" : "digits", m, m, 0, 2.5, to - from + 1, powers + from, y[m] }, t = { "target", -1, -1, 1, 1.5, 2, ends, line[m] };
        series[ns++] = s;
        series[ns++] = t;
    }
    int ticks = (int)(high * 10) + 2;
    if (ticks > 11) ticks = 11;
    page_axis xs = d_axis(from, to), ys = { "best metric within the run", 0, at[ticks - 1], NULL, ticks, at, names };
    xs.title = "dimension of the subspace, d";
    page_svg_begin(&r->page, 560, 320, "The metric reached against the dimension of the subspace");
    page_chart(&r->page, 0, 0, 560, 320, &xs, &ys, series, ns);
    char caption[600];
    snprintf(caption, sizeof caption, "*%s.* Brute force: training from w = 0 at each d, at most %d rounds of %d steps. Target: 90%% of what full training reaches.", model == ON_GPT ? "GPT" : "Digits network", p->scale->id_rounds[model], p->scale->id_steps[model]);
    page_svg_end(&r->page, caption);
    page_table_begin(&r->page, model == ON_GPT ? "The search (one run, nested subspaces, then a check at half the answer); rounds for pairs are twice as long." : "The search (one run, nested subspaces, then a check at half the answer).", "metric and seed|full training|target|d|confirmed|rounds");
    for (int m = 0; m < metrics; m++)
        for (int seed = 0; seed < p->scale->id_seeds; seed++) {
            double v[5];
            for (int i = 0; i < 5; i++) v[i] = number(p, i, "id.%s.%d.%d", model_name[model], m, seed);
            char answer[24] = "none";
            if (v[0] > 0) snprintf(answer, sizeof answer, "%.0f", v[0]);
            if (!isnan(v[0])) page_row(&r->page, "%s, seed %d|%.3f|%.3f|*%s|%s|%.0f", m ? "pairs" : model == ON_GPT ? "characters" : "accuracy", seed, number(p, m, "full.%s", model_name[model]), v[4], answer, v[1] > 0 ? "yes" : "no", v[2]);
        }
    page_table_end(&r->page);
}

static void landscape_chart(report *r, int model)
{
    static const double at[] = { 0, .2, .4, .6, .8, 1 }, steps_at[] = { 0, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500 };
    static const char *const names[] = { "0", "0.2", "0.4", "0.6", "0.8", "1" }, *const steps_name[] = { "0", "50", "100", "150", "200", "250", "300", "350", "400", "450", "500" };
    const paper *p = r->p;
    double x[LANDSCAPE], y[3][LANDSCAPE];
    int count = model == ON_GPT ? landscape_count(p) : LANDSCAPE;
    if (count < 2 || isnan(number(p, 0, "landscape.%s.0", model_name[model]))) return;
    for (int i = 0; i < count; i++) {
        x[i] = landscape_at[i];
        y[0][i] = number(p, 0, "landscape.%s.%d", model_name[model], landscape_at[i]);
        y[1][i] = number(p, 2, "landscape.%s.%d", model_name[model], landscape_at[i]);
        y[2][i] = number(p, 6, "landscape.%s.%d", model_name[model], landscape_at[i]);
    }
    int ticks = 2;
    while (ticks < 11 && steps_at[ticks - 1] < x[count - 1]) ticks++;
    page_series series[] = { { "RNEG", 1, 1, 0, 2.5, count, x, y[0] }, { "alignment", 0, 0, 0, 2.5, count, x, y[1] }, { "R_5", 3, 3, 1, 1.8, count, x, y[2] } };
    page_axis xs = { "training step", 0, steps_at[ticks - 1], NULL, ticks, steps_at, steps_name }, ys = { "ratio", 0, 1, NULL, 6, at, names };
    page_svg_begin(&r->page, 600, 320, "RNEG, alignment and R_5 over training");      /* room for the longest name */
    page_chart(&r->page, 0, 0, 560, 320, &xs, &ys, series, 3);
    char caption[600];
    snprintf(caption, sizeof caption, "*%s.* AFFD at d = %.0f, %d Lanczos steps. RNEG: |most negative| / |most positive| eigenvalue. Alignment: share of the gradient's norm in the space of the outliers (R > 0.2). R_5: fifth eigenvalue over the first.",
             model == ON_GPT ? "GPT, fine-tuned from Austen to Shakespeare" : "Digits network, from random weights", number(p, 8, "landscape.%s.0", model_name[model]), p->scale->landscape_steps);
    page_svg_end(&r->page, caption);
    page_table_begin(&r->page, "The same in numbers.", "step|largest|most negative|RNEG|R_2|R_5|R_10|outliers|alignment");
    for (int i = 0; i < count; i++) {
        double v[9];
        for (int k = 0; k < 9; k++) v[k] = number(p, k, "landscape.%s.%d", model_name[model], landscape_at[i]);
        if (!isnan(v[0])) page_row(&r->page, "%d|%.3g|%.3g|%.3f|%.2f|%.2f|%.2f|%.0f|%.2f", landscape_at[i], v[3], v[4], v[0], v[5], v[6], v[7], v[1], v[2]);
    }
    page_table_end(&r->page);
}

/* ---- the page, the summary --------------------------------------------------------------------------------------- */
static void verdicts(report *r, const char *start)                   /* of the findings whose names begin so, in words */
{
    for (int i = 0; i < r->count; i++) {
        const finding *f = &r->found[i];
        if (strncmp(f->name, start, strlen(start))) continue;
        page_p(&r->page, "*%s.* The paper: %s. Here: %s. *%s.*", f->name, f->paper, *f->here ? f->here : "-",
               f->verdict == agrees ? "Agrees" : f->verdict == in_part ? "Agrees in part" : f->verdict == differs ? "Does not agree" : "Not measured");
    }
}

static void write_summary(const report *r)
{
    const paper *p = r->p;
    char path[1024];
    snprintf(path, sizeof path, "%s/summary.md", p->out);
    FILE *f = fopen(path, "w");
    if (!f) die(path, strerror(errno));
    fprintf(f, "Scale %s: digits network, n = %d; GPT, n = %d, on %s, %u thread%s.\n\n| | the paper | here | |\n|---|---|---|---|\n", p->scale->name, (int)DIGITS_PARAMS, (int)p->gpt.count,
            page_machine(), p->threads.width, p->threads.width > 1 ? "s" : "");
    for (int i = 0; i < r->count; i++) fprintf(f, "| %s | %s | %s | %s |\n", r->found[i].name, r->found[i].paper, *r->found[i].here ? r->found[i].here : "-", r->found[i].verdict);
    for (int model = ON_GPT; model >= ON_DIGITS; model--) {
        char prefix[16];
        snprintf(prefix, sizeof prefix, "ip.%s", model_name[model]);
        fprintf(f, "\nSmallest d, inner products, %s:\n\n| | r > 0.95 | r > 0.98 | r > 0.99 | noise over the ideal's |\n"
                   "|---|---|---|---|---|\n", model_name[model]);
        for (int o = 0; o < OPERATORS; o++) {
            const char *op = operators[o].name;
            fprintf(f, "| %s | %s | %s | %s | %s |\n", op, smallest_text(p, prefix, op, 0.95, 1),
                    smallest_text(p, prefix, op, 0.98, 1), smallest_text(p, prefix, op, 0.99, 1),
                    noise_text(p, model_name[model], op));
        }
        fprintf(f, "| ideal dense | %s | %s | %s | 1 |\n", ideal_text(p, model_name[model], 0.95),
                ideal_text(p, model_name[model], 0.98), ideal_text(p, model_name[model], 0.99));
        snprintf(prefix, sizeof prefix, "eig.%s", model_name[model]);
        fprintf(f, "\nSmallest d, top-10 eigenvalues, %s:\n\n| | error < 0.2 | error < 0.1 | error < 0.05 |\n|---|---|---|---|\n", model_name[model]);
        for (int o = 0; o < 3; o++)
            fprintf(f, "| %s | %s | %s | %s |\n", operators[o].name, smallest_text(p, prefix, operators[o].name, 0.2, 0), smallest_text(p, prefix, operators[o].name, 0.1, 0), smallest_text(p, prefix, operators[o].name, 0.05, 0));
    }
    if (fclose(f)) die(path, strerror(errno));
}

/* Written after each experiment, and so always what is known. */
static void write_report(const paper *p)
{
    static report r;
    char path[1024];
    int done = !isnan(number(p, 0, "sweep.gpt.%d", 1 << p->scale->id_to[ON_GPT]));      /* the last of all measurements */
    memset(&r, 0, sizeof r);
    r.p = p;
    conclude(&r);
    page *g = &r.page;
    snprintf(path, sizeof path, "%s/report.html", p->out);
    if (page_open(g, path, "The paper's experiments, on one small machine")) die(path, strerror(errno));
    page_p(g, "A. Schioppa, *Efficient Sketches for Training Data Attribution and Studying the Loss Landscape* (NeurIPS 2024, arXiv 2402.03994), repeated with `sketch.h` on two models: "
              "a convolutional network of %d parameters on 1,797 real handwritten digits, and a GPT of %d parameters (%d blocks, width %d) that reads characters: trained on Jane Austen, fine-tuned on Shakespeare. "
              "The paper's models have 10^8 to 10^9 parameters, so what can be compared is which operator needs how much more than which, and what curves look like, not each number.", (int)DIGITS_PARAMS, (int)p->gpt.count, p->gpt.blocks, p->gpt.width);
    page_p(g, "Scale `%s`, %s, %u thread%s, `%s` code path. %s%d measurements; every number here is one of them (`results-%s.txt`), or computed from them.", p->scale->name, page_machine(), p->threads.width, p->threads.width > 1 ? "s" : "",
           sketch_isa_name(sketch_cpu_isa()), done ? "" : "*Not finished yet.* ", p->entries, p->scale->name);
    page_table_begin(g, "What the paper found, and what is found here.", "finding|~the paper|~here|agrees?");
    for (int i = 0; i < r.count; i++) page_row(g, "%s|~%s|~%s|%s%s", r.found[i].name, r.found[i].paper, *r.found[i].here ? r.found[i].here : "-", r.found[i].verdict == agrees ? "*" : "", r.found[i].verdict);
    page_table_end(g);

    page_heading(g, "Inner products: which d is needed? (Table 6)");
    verdicts(&r, "Table 6");
    page_p(g, "What is the operator's, and what the data's? An ideal dense Gaussian projection has an error of variance "
              "(|x|^2 |y|^2 + (x.y)^2)/d in the product of x and y. With V the variance of the exact products over the pairs and W the "
              "mean of that numerator, both from the exact gradients, it has *r = sqrt(V / (V + W/d))*: the *ideal* line. "
              "Noise: an operator's mean squared error over W/d; 1 is as good as dense. The errors of one draw hang together over "
              "pairs (each gradient is in %d of them), so r and noise of a few seeds stray from the ideal; a factor common "
              "to all products changes the noise and not r.", p->scale->paired);
    fidelity(&r, ON_GPT);
    page_p(g, "The trained digits network is sure of nearly all its digits: a few long gradients carry most of the variance of the inner products, so that r is high at small d already and says little about the rest.");
    fidelity(&r, ON_DIGITS);

    page_heading(g, "Instead of a sketch: one layer? (Tables 1 and 5)");
    verdicts(&r, "Table 1,");
    verdicts(&r, "Tables 1,");
    layers(&r, ON_GPT);
    layers(&r, ON_DIGITS);
    page_p(g, "Top-10 error: mean of |difference| / eigenvalue between the ten largest eigenvalues of the layer's own block of the Hessian and those of the whole; after the best affine map of the one to the other (least squares), in the last column.");

    page_heading(g, "Eigenvalues of the sketched Hessian (Table 7)");
    verdicts(&r, "Table 7");
    eigen_errors(&r, ON_GPT);
    eigen_errors(&r, ON_DIGITS);
    double fd[2] = { number(p, 0, "hvpfd.digits"), number(p, 0, "hvpfd.gpt") };
    if (!isnan(fd[0] + fd[1])) page_p(g, "All HVPs here are exact (forward over reverse). From two gradients instead (`sketch_hvp_fd`, default step), along the gradient: relative error *%.2g* on the digits network, *%.2g* on the GPT.", fd[0], fd[1]);

    page_heading(g, "Time and memory of every choice (Tables 3, 4, 8, 9)");
    verdicts(&r, "Tables 3");
    page_p(g, "Explicit: y = S g, or S H S^T w, at given weights. Implicit: the same through theta = theta0 + S^T w, rebuilt for each call, as when one differentiates in w.");
    cost_table(&r);

    page_heading(g, "Against a dense matrix made on the fly (Table 11, Figure 7)");
    verdicts(&r, "Table 11");
    speed_chart(&r);

    page_heading(g, "Intrinsic dimension (Table 10)");
    verdicts(&r, "Table 10");
    page_p(g, "Training inside a random subspace, theta = theta0 + S^T w with w of d numbers, until 90%% of full training's metric is reached. The digits network starts from random weights; the GPT from Austen (on Shakespeare: %.3f of the characters foreseen, %.3f of the pairs). "
              "Characters: the next one is foreseen; pairs: two in a row are, as Rouge-2 to Rouge-1.", number(p, 0, "start.gpt"), number(p, 1, "start.gpt"));
    page_p(g, "How the search was set: its outcome depends on the length of a round, the rate, the gain that counts as a stall, and how long full training is. For the GPT these were chosen after trials on the same seeds "
              "(short rounds take noise for a stall and answer too high), so the agreement of its seeds and sweep is that of a tuned search. The sweep uses the subspaces and the order of seed 0.");
    dimension_chart(&r, ON_DIGITS);
    dimension_chart(&r, ON_GPT);

    page_heading(g, "The Hessian while a model trains (Figure 2)");
    verdicts(&r, "Figure 2");
    landscape_chart(&r, ON_GPT);
    landscape_chart(&r, ON_DIGITS);

    page_heading(g, "The input on which Fastfood fails (Theorem 3.1)");
    verdicts(&r, "Theorem");
    static const char *const ops[] = { "FFD", "AFFD", "AFJL", "QK", "SRHT", "SJLT" };
    page_table_begin(g, "|Sx|^2/|x|^2 for a Walsh row of length 1024 in 2^16 zeros, d = 1024, 200 operators each. Mean (1 for a valid sketch) and standard deviation (0.044 for a dense Gaussian matrix).", "operator|mean|spread");
    for (int i = 0; i < 6; i++) if (!isnan(number(p, 0, "walsh.%s", ops[i]))) page_row(g, "%s|%.2f|%.3f", ops[i], number(p, 0, "walsh.%s", ops[i]), number(p, 1, "walsh.%s", ops[i]));
    page_table_end(g);
    if (page_close(g)) die(path, strerror(errno));
    write_summary(&r);
}

#endif
