/* demo_report.h - the page and the picture that demo.c writes; included by it alone, after what they show is known. */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

static double stretch(double r) { return r < 1 ? -log10(1 - r) : 9; }

static const double r_ticks[] = { 0, .5, .8, .9, .95, .99, .999 };
static const char *const r_names[] = { "0", "0.5", "0.8", "0.9", "0.95", "0.99", "0.999" };
static const char *const d_names[] = { "64", "128", "256", "512", "1k", "2k", "4k", "8k", "16k" };

static page_axis d_axis(const demo_state *demo)
{
    page_axis axis = { "sketch dimension d", log2(dimension[0]), log2(dimension[demo->ndims - 1]), log2, demo->ndims, dimension, d_names };
    return axis;
}

static void curves(const demo_state *demo, int of_time, double values[OPERATORS][DIMENSIONS], page_series *series)
{
    for (int o = 0; o < OPERATORS; o++) {
        for (int k = 0; k < DIMENSIONS; k++) values[o][k] = of_time ? demo->fidelity[o][k].seconds * 1e6 : demo->fidelity[o][k].r;
        page_series s = { operators[o].name, o < PAGE_COLOURS ? o : -1, o, o > 2, o == 0 ? 3 : 1.8, demo->ndims, dimension, values[o] };
        series[o] = s;
    }
}

static void fidelity_chart(page *p, const demo_state *demo, double x, double y, double w, double h)
{
    double values[OPERATORS][DIMENSIONS], top = 1, line[2] = { 0.95, 0.95 };
    page_series series[OPERATORS + 1];
    curves(demo, 0, values, series);
    for (int o = 0; o < OPERATORS; o++) for (int k = 0; k < demo->ndims; k++) if (stretch(values[o][k]) > top) top = stretch(values[o][k]);
    int ticks = 0;
    while (ticks < 7 && stretch(r_ticks[ticks]) <= top) ticks++;
    page_axis xs = d_axis(demo), ys = { "Pearson r with the full inner products (stretched near 1)", 0, top * 1.03, stretch, ticks, r_ticks, r_names };
    double ends[2] = { dimension[0], dimension[demo->ndims - 1] };
    page_series target = { NULL, -1, -1, 1, 1.5, 2, ends, line };
    series[OPERATORS] = target;
    page_chart(p, x, y, w, h, &xs, &ys, series, OPERATORS + 1);
}

static void time_chart(page *p, const demo_state *demo, double x, double y, double w, double h)
{
    static const double at[] = { 1, 10, 100, 1000, 10000, 100000, 1000000 };
    static const char *const names[] = { "1 \u00b5s", "10 \u00b5s", "100 \u00b5s", "1 ms", "10 ms", "0.1 s", "1 s" };
    double values[OPERATORS][DIMENSIONS], low = 1e9, high = 0;
    page_series series[OPERATORS];
    curves(demo, 1, values, series);
    for (int o = 0; o < OPERATORS; o++)
        for (int k = 0; k < demo->ndims; k++) {
            if (values[o][k] < low) low = values[o][k];
            if (values[o][k] > high) high = values[o][k];
        }
    int first = 0, last = 6;
    while (first < 5 && at[first + 1] <= low) first++;
    while (last > first + 1 && at[last - 1] >= high) last--;
    page_axis xs = d_axis(demo), ys = { "time to sketch one gradient", log10(at[first]), log10(at[last]), log10, last - first + 1, at + first, names + first };
    page_chart(p, x, y, w, h, &xs, &ys, series, OPERATORS);
}

static void digit_box(page *p, const demo_state *demo, uint64_t id, const char *kind, const char *under)
{
    int bad = flipped(demo, id);
    page_put(p, "<figure class=\"digit%s%s\"><svg viewBox=\"0 0 8 8\" role=\"img\" aria-label=\"a handwritten %d\">", bad ? " bad" : "", kind, demo->data.label[id]);
    page_image(p, 0, 0, 8, image(demo, id), 8);
    page_put(p, "</svg>");
    if (*under) page_put(p, "%s", under);
    else if (bad) page_put(p, "label %d<br><span class=\"bad\">really %d</span>", demo->given[id], demo->data.label[id]);
    else          page_put(p, "label %d", demo->given[id]);
    page_put(p, "</figure>\n");
}

static const char *comma(char text[16], int value)                   /* 56,290; below a million */
{
    if (value < 1000) snprintf(text, 16, "%d", value);
    else              snprintf(text, 16, "%d,%03d", value / 1000, value % 1000);
    return text;
}

static double total_seconds(const demo_state *demo) { return now() - demo->began; }

static double peak_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return (double)usage.ru_maxrss;
#else
    return 1024.0 * (double)usage.ru_maxrss;
#endif
}

static void page_of_mislabelled(page *p, const demo_state *demo)
{
    enum { SHOWN = 30 };
    const finder *f = demo->find;
    page_heading(p, "2. Which labels are wrong?");
    page_p(p, "An example's *self-influence* is the squared length of its gradient: how hard it pulls the network towards itself. A wrong label "
              "has no company, so it pulls hardest. These are the %d training images with the greatest self-influence, read from the sketches alone; "
              "a red frame marks a label that really was flipped.", (int)SHOWN);
    page_put(p, "<div class=\"digits\">\n");
    for (int i = 0; i < SHOWN; i++) digit_box(p, demo, (uint64_t)demo->train[f[BY_SKETCH].rank[i]], "", "");
    page_put(p, "</div>\n");

    page_table_begin(p, "1,347 training labels, 135 of them flipped. AUC: how often a flipped label outranks a sound one. Precision: the share of flipped labels "
                        "among the 135 highest.", "ranked by|AUC|precision at 10%|memory");
    for (int k = 0; k < FINDERS; k++)
        page_row(p, "%s|%s%.4f|%s%.3f|%.2f MB", f[k].name, k == BY_SKETCH ? "*" : "", f[k].auc, k == BY_SKETCH ? "*" : "", f[k].precision, f[k].bytes / 1e6);
    page_table_end(p);

    enum { TICKS = 13 };
    static const double at[TICKS] = { 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, .1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6 };
    static const char *const names[TICKS] = { "1e-6", "1e-5", "1e-4", "0.001", "0.01", "0.1", "1", "10", "100", "1000", "1e4", "1e5", "1e6" };
    double full[2][TRAIN], sketched[2][TRAIN], low = 1e6, high = 1e-6;
    int count[2] = { 0 }, first = 0, last = TICKS - 1;
    for (int i = 0; i < TRAIN; i++) {
        int bad = flipped(demo, (uint64_t)demo->train[i]), k = count[bad]++;
        full[bad][k] = f[BY_FULL].score[i];
        sketched[bad][k] = f[BY_SKETCH].score[i];
        if (full[bad][k] < low) low = full[bad][k];
        if (full[bad][k] > high) high = full[bad][k];
    }
    while (first < TICKS - 2 && at[first + 1] <= low) first++;
    while (last > first + 1 && at[last - 1] >= high) last--;
    page_axis xs = { "squared length of the full gradient", log10(at[first]), log10(at[last]), log10, last - first + 1, at + first, names + first }, ys = xs;
    ys.title = "self-influence from the sketch";
    page_series series[] = { { "flipped", 1, PAGE_DOTS, 0, 5, count[1], full[1], sketched[1] }, { "sound", 0, PAGE_DOTS, 0, 4, count[0], full[0], sketched[0] } };
    page_svg_begin(p, 480, 370, "Self-influence from sketches against that from full gradients, for all training images");
    page_chart(p, 0, 0, 480, 370, &xs, &ys, series, 2);
    page_svg_end(p, "Every training image: on the diagonal the sketch says what the full gradient says. Flipped labels lie apart, at the upper right. On this task the loss "
                    "alone does as well or better, and costs nothing: self-influence is a check of the sketches here, not the best detector.");
}

static void page_of_mistakes(page *p, const demo_state *demo)
{
    static const char *const words[] = { "none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine" };
    page_heading(p, "3. Who taught it these mistakes?");
    page_p(p, "Three test digits that the network gets wrong: the costliest mistakes, each on another digit. The *score* of a training image compares its gradient "
              "with that of the test digit, both sketched. Positive: a training step on that image lowers the test digit's loss, it helped. Negative: it did harm. "
              "Helpful images look like the digit and carry its label; harmful ones look like it and carry another. A red frame is a flipped label: that can help "
              "as well, as when a 1 that was labelled 8 stands beside an 8 that looks like a 1.");
    int by_dot = 0;
    for (int k = 0; k < CASES; k++) by_dot += demo->wrong[k].by_dot;
    page_p(p, "The score here is the cosine: the inner product, divided by both lengths. By the inner product alone the long gradients of flipped labels fill the lists: "
              "%d of the %d most harmful.", by_dot, CASES * TOP);
    for (int k = 0; k < CASES; k++) {
        const mistake *m = &demo->wrong[k];
        char under[256];
        page_put(p, "<div class=\"case\"><div>");
        snprintf(under, sizeof under, "a %d, read as <b class=\"bad\">%d</b><br>(%.0f%% sure)", demo->data.label[m->id], m->said, 100 * m->sure);
        digit_box(p, demo, (uint64_t)m->id, " big", under);
        page_put(p, "</div><div>");
        for (int side = 0; side < 2; side++) {
            const sketch_hit *hits = side ? m->worst : m->best;
            page_put(p, side ? "<h3 class=\"bad\">Most harmful</h3><div class=\"digits\">\n" : "<h3 class=\"good\">Most helpful</h3><div class=\"digits\">\n");
            for (int j = 0; j < TOP; j++) {
                uint64_t id = hits[j].id;
                if (flipped(demo, id)) snprintf(under, sizeof under, "label %d<br><span class=\"bad\">really %d</span><br>%+.2f", demo->given[id], demo->data.label[id], (double)hits[j].score);
                else                   snprintf(under, sizeof under, "label %d<br>%+.2f", demo->given[id], (double)hits[j].score);
                digit_box(p, demo, id, "", under);
            }
            page_put(p, "</div>\n");
        }
        page_put(p, "<p class=\"mute\">The full gradients name %s of these ten.</p></div></div>\n", m->agree == 2 * TOP ? "all" : words[m->agree]);
    }
}

static double first_above(const demo_state *demo, int o, double r)          /* the d from which on r is reached */
{
    double d = INFINITY;
    for (int k = demo->ndims - 1; k >= 0 && demo->fidelity[o][k].r >= r; k--) d = dimension[k];
    return d;
}

static void page_of_fidelity(page *p, const demo_state *demo)
{
    int count = demo->quick ? 16 : PAIRED, at = AT_1024, last = demo->ndims - 1;
    char text[16], text2[16];
    page_heading(p, "4. How faithful are the sketches?");
    page_p(p, "%s pairs of a training and a test gradient, %d of each: the Pearson correlation r of their sketched inner products with the exact ones, for every operator "
              "and d (the paper's Table 6, on this small network).", comma(text, count * count), count);
    page_svg_begin(p, 480, 370, "Pearson r against sketch dimension for eight operators; the numbers are in the table below");
    fidelity_chart(p, demo, 0, 0, 480, 370);
    page_svg_end(p, "Higher is better; the dashed line is r = 0.95. *AFFD* keeps to the curve of the dense matrix, which is as good as a random projection gets; *AFJL* and "
                    "*QK* need a larger d for the same r, as the manual warns.");
    char columns[256] = "operator";
    for (int k = 0; k < demo->ndims; k++) snprintf(columns + strlen(columns), sizeof columns - strlen(columns), "|%s", d_names[k]);
    strcat(columns, "|r > 0.95 from|r > 0.99 from");
    char left_out[256];
    snprintf(left_out, sizeof left_out, "Pearson r, by sketch dimension. %s A dash: left out, for on this machine it would have taken too long.",
             demo->quick ? "One seed." : "Mean of 3 seeds; dense above d = 1k: one seed.");
    if (!isnan(demo->fidelity[DENSE][last].r)) *strstr(left_out, " A dash") = 0;
    page_table_begin(p, left_out, columns);
    for (int o = 0; o < OPERATORS; o++) {
        char cells[512] = "";
        for (int k = 0; k < demo->ndims; k++) {
            double r = demo->fidelity[o][k].r;
            size_t used = strlen(cells);
            if (isnan(r)) snprintf(cells + used, sizeof cells - used, "|-");
            else          snprintf(cells + used, sizeof cells - used, "|%s%.*f", k == at ? "*" : "", r > 0.995 ? 4 : 3, r);
        }
        for (int k = 0; k < 2; k++) {
            double d = first_above(demo, o, k ? 0.99 : 0.95);
            snprintf(cells + strlen(cells), sizeof cells - strlen(cells), isinf(d) ? "|-" : "|%.0f", d);
        }
        page_row(p, "%s%s", operators[o].name, cells);
    }
    page_table_end(p);

    const sketch_advice *a = &demo->advice;
    if (a->r_at_d > 0)
        page_p(p, "And without any full gradient? `sketch_advise_d` looks at the sketches alone. From one AFFD sketch of these gradients at d = 1,024 it expects "
                  "*r = %.3f* (95%% interval %.3f to %.3f; measured: %.3f), and r = 0.95 from d = %.0f on (%.0f to %.0f).",
               a->r_at_d, a->r_low, a->r_high, demo->fidelity[0][at].r, a->d, a->d_low, a->d_high);
    page_put(p, "<h3>Instead of a sketch: one layer's gradient?</h3>\n");
    page_p(p, "A common way to save memory is to keep the gradient of one layer only. The inner products of a single layer, exact as they are, "
              "correlate with those of the whole network like this (the paper's Table 1). In brackets: numbers kept for each example.");
    char name[DIGITS_LAYERS + 1][64];
    const char *names[DIGITS_LAYERS + 1];
    double value[DIGITS_LAYERS + 1];
    int colour[DIGITS_LAYERS + 1], best = 0;
    for (int l = 0; l < DIGITS_LAYERS; l++) {
        snprintf(name[l], sizeof name[l], "%s (%s)", digits_layers[l].name, comma(text, (int)digits_layers[l].count));
        value[l] = demo->layer_r[l];
        colour[l] = -1;
        if (value[l] > value[best]) best = l;
    }
    snprintf(name[DIGITS_LAYERS], sizeof name[0], "AFFD (%s)", comma(text, (int)dimension[at]));
    value[DIGITS_LAYERS] = demo->fidelity[0][at].r;
    colour[DIGITS_LAYERS] = 0;
    for (int l = 0; l <= DIGITS_LAYERS; l++) names[l] = name[l];
    page_svg_begin(p, 480, 180, "Pearson r of each single layer's inner products with those of the whole gradient, and of an AFFD sketch");
    page_bars(p, 0, 4, 480, DIGITS_LAYERS + 1, names, value, colour, 1, "%.3f");
    char caption[600];
    snprintf(caption, sizeof caption, "Best single layer: *%s*, r = %.3f with %s numbers an example. The sketch: r = %.3f with %s. (A small network's layers tell much the same "
             "story; in the paper's language models no single layer reached 0.9.)", digits_layers[best].name,
             value[best], comma(text, (int)digits_layers[best].count), value[DIGITS_LAYERS], comma(text2, (int)dimension[at]));
    page_svg_end(p, caption);
}

static void page_of_cost(page *p, const demo_state *demo)
{
    int at = AT_1024, last = demo->ndims - 1;
    char text[16];
    page_heading(p, "What does it cost?");
    page_p(p, "Time to sketch one gradient of %s numbers, in a batch, with %u thread%s on the %s code path. To compute a gradient takes %.0f \u00b5s.",
           comma(text, N), demo->threads.width, demo->threads.width > 1 ? "s" : "", sketch_isa_name(sketch_cpu_isa()), demo->gradient_seconds * 1e6);
    page_svg_begin(p, 480, 370, "Time per gradient against sketch dimension for eight operators");
    time_chart(p, demo, 0, 0, 480, 370);
    page_svg_end(p, "Lower is better, both axes are logarithmic. The dense matrix costs n d: twice the d, twice the time; FJL and QK grow with d as well, the others little.");
    char columns[128];
    snprintf(columns, sizeof columns, "operator|\u00b5s at d = %s|\u00b5s at d = %s|memory at d = %s|at d = %s", d_names[at], d_names[last], d_names[at], d_names[last]);
    page_table_begin(p, "Time for one gradient; memory of the plan and of a work for the whole batch of gradients, as sketch_measure() tells beforehand", columns);
    for (int o = 0; o < OPERATORS; o++) {
        const fidelity *a = &demo->fidelity[o][at], *b = &demo->fidelity[o][last];
        char us[2][16], mb[2][16];
        for (int i = 0; i < 2; i++) {
            const fidelity *f = i ? b : a;
            comma(us[i], isnan(f->r) ? 0 : (int)(f->seconds * 1e6 + 0.5));
            snprintf(mb[i], sizeof mb[i], "%.2f MB", (double)f->bytes / 1e6);
            if (isnan(f->r)) strcpy(us[i], "-"), strcpy(mb[i], "-");
        }
        page_row(p, "%s|%s|%s|%s|%s", operators[o].name, us[0], us[1], mb[0], mb[1]);
    }
    page_table_end(p);

    page_table_begin(p, "This run, step by step", "step|seconds|~memory");
    for (int i = 0; i < demo->nsteps; i++) page_row(p, "%s|%.2f|~%s", demo->steps[i].name, demo->steps[i].seconds, demo->steps[i].memory);
    page_row(p, "all|*%.2f|~%.0f MB at the peak", total_seconds(demo), peak_bytes() / 1e6);
    page_table_end(p);
}

static void write_page(const demo_state *demo, const char *path)
{
    page file, *p = &file;
    const finder *f = demo->find;
    int at = AT_1024;
    char text[16], text2[16], text3[16];
    if (page_open(p, path, "Who taught the network this?")) die(path, strerror(errno));
    page_p(p, "*sketch.h at work.* A small network learned to read digits from %s images, %d of them with a wrong label. Every image's gradient, *%s numbers*, was then reduced to a sketch "
              "of *%s*. All that follows was asked of the sketches, and checked against the full gradients.", comma(text, TRAIN), (int)FLIPPED, comma(text2, N), comma(text3, D));
    page_put(p, "<div class=\"tiles\">"
                "<div class=\"tile\"><b>%.1f MB</b>of sketches, instead of %.0f MB of gradients: %.0f times less</div>"
                "<div class=\"tile\"><b>%.4f</b>AUC in finding wrong labels (full gradients: %.4f)</div>"
                "<div class=\"tile\"><b>r = %.3f</b>between sketched and exact inner products, AFFD at d = %.0f</div>"
                "<div class=\"tile\"><b>%.0f \u00b5s</b>to sketch one gradient; this whole run took %.0f s</div></div>\n",
             f[BY_SKETCH].bytes / 1e6, f[BY_FULL].bytes / 1e6, f[BY_FULL].bytes / f[BY_SKETCH].bytes, f[BY_SKETCH].auc, f[BY_FULL].auc,
             demo->fidelity[0][at].r, dimension[at], demo->fidelity[0][at].seconds * 1e6, total_seconds(demo));

    page_heading(p, "1. The network, and the store");
    page_p(p, "Two convolutions and three dense layers with %s parameters, trained for %d epochs with Adam. It gets *%d of %d* test digits wrong, in spite of the flipped labels.",
           comma(text, N), demo->epochs, demo->test_wrong, ALL - TRAIN);
    page_p(p, "The store holds %s rows of %s numbers, made by AFFD with seed %d (fingerprint %016llx).", comma(text, (int)sketch_store_count(demo->store)), comma(text2, D),
           (int)SKETCH_SEED, (unsigned long long)sketch_store_fingerprint(demo->store));
    if (demo->already == 0)
        page_p(p, "All of them were sketched in this run: *%.2f s*, gradients and disk included. Run it again, and they are found and not computed again.", demo->steps[1].seconds);
    else if (demo->already == TRAIN)
        page_p(p, "All of them were there from an earlier run, so nothing was computed again.");
    else
        page_p(p, "%s of them were there from an earlier run; the other %s were sketched now, in %.2f s.", comma(text, demo->already), comma(text2, TRAIN - demo->already), demo->steps[1].seconds);
    page_of_mislabelled(p, demo);
    page_of_mistakes(p, demo);
    page_of_fidelity(p, demo);
    page_of_cost(p, demo);
    page_p(p, "sketch.h %d.%d.%d, stream %d, code path %s, %u thread%s, %s.%s", sketch_version() / 10000, sketch_version() / 100 % 100, sketch_version() % 100,
           SKETCH_STREAM_VERSION, sketch_isa_name(sketch_cpu_isa()), demo->threads.width, demo->threads.width > 1 ? "s" : "", page_machine(),
           demo->quick ? " A quick run: fewer epochs, pairs, seeds and dimensions." : "");
    page_put(p, "<p class=\"mute\">Digits: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository (1998), "
                "<a href=\"https://doi.org/10.24432/C50P49\">doi:10.24432/C50P49</a>, CC BY 4.0; the labels were flipped by this program. Method: A. Schioppa, Efficient Sketches for "
                "Training Data Attribution and Studying the Loss Landscape, NeurIPS 2024, <a href=\"https://arxiv.org/abs/2402.03994\">arXiv:2402.03994</a>.</p>\n");
    if (page_close(p)) die(path, "could not be written");
}

/* The picture for the README: one mistake, and the curves. */
static void write_figure(const demo_state *demo, const char *path)
{
    page file, *p = &file;
    if (page_open_svg(p, path, 1000, 420, "Three mistakes of a network and the training images behind them; fidelity of the sketches")) die(path, strerror(errno));
    page_label(p, 20, 32, "start", "big", "Who taught the network these mistakes?");
    page_label(p, 148, 62, "start", "good", "most helpful");
    page_label(p, 296, 62, "start", "bad", "most harmful");
    for (int k = 0; k < CASES; k++) {
        const mistake *m = &demo->wrong[k];
        double y = 76 + 112 * k;
        char text[64];
        page_image(p, 20, y, 64, image(demo, (uint64_t)m->id), 8);
        snprintf(text, sizeof text, "a %d, read as %d", demo->data.label[m->id], m->said);
        page_label(p, 20, y + 84, "start", "", text);
        for (int j = 0; j < 6; j++) {
            uint64_t id = j < 3 ? m->best[j].id : m->worst[j - 3].id;
            double x = 148 + 46 * j + (j < 3 ? 0 : 10);
            if (flipped(demo, id)) page_put(p, "<rect x=\"%g\" y=\"%g\" width=\"42\" height=\"66\" rx=\"4\" style=\"fill:none;stroke:var(--bad);stroke-width:2\"/>\n", x - 2, y + 4);
            page_image(p, x, y + 6, 38, image(demo, id), 8);
            snprintf(text, sizeof text, "\"%d\"", demo->given[id]);
            page_label(p, x + 19, y + 62, "middle", flipped(demo, id) ? "bad" : "mute", text);
        }
    }
    page_label(p, 20, 408, "start", "mute", "below an image: its label; framed: that label is wrong");
    page_label(p, 470, 32, "start", "big", "Sketches keep inner products");
    fidelity_chart(p, demo, 470, 46, 515, 366);
    if (page_close(p)) die(path, "could not be written");
}

#endif
