/* page.h - writes one self-contained page: HTML with inline CSS and SVG, no scripts, nothing fetched. Light and dark.

     page p;
     page_open(&p, "report.html", "Title");
     page_heading(&p, "First");
     page_p(&p, "%d rows in *%.1f s*, made by `sketch_apply`.", rows, seconds);    // * bold, ` code; the rest is escaped
     page_table_begin(&p, "How fast", "what|seconds");
     page_row(&p, "%s|%.2f", name, seconds);
     page_table_end(&p);
     page_svg_begin(&p, 640, 400, "what the picture says, for those who cannot see it");
     page_chart(&p, ...); page_bars(&p, ...); page_image(&p, ...); page_label(&p, ...);
     page_svg_end(&p, "caption");
     if (page_close(&p)) perror("report.html");

   page_open_svg opens a picture of its own instead of a page. Errors are kept until page_close. */
#ifndef PAGE_H
#define PAGE_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct page {
    FILE *file;
    int   svg;                       /* a picture of its own */
} page;

/* ---- text -------------------------------------------------------------------------------------- */
#if defined(__GNUC__) || defined(__clang__)
#define PAGE_FORMAT __attribute__((format(printf, 2, 3)))
#else
#define PAGE_FORMAT
#endif
PAGE_FORMAT static inline void page_put(page *p, const char *format, ...)       /* markup: written as it is */
{
    va_list args;
    if (!p->file) return;
    va_start(args, format);
    vfprintf(p->file, format, args);
    va_end(args);
}

static inline void page_escape(page *p, const char *s, int markup)
{
    int code = 0, bold = 0;
    for (; p->file && *s; s++) {
        if      (*s == '&') fputs("&amp;", p->file);
        else if (*s == '<') fputs("&lt;", p->file);
        else if (*s == '>') fputs("&gt;", p->file);
        else if (*s == '"') fputs("&quot;", p->file);
        else if (markup && *s == '`') fputs((code = !code) ? "<code>" : "</code>", p->file);
        else if (markup && *s == '*') fputs((bold = !bold) ? "<b>" : "</b>", p->file);
        else fputc(*s, p->file);
    }
    if (code) page_put(p, "</code>");
    if (bold) page_put(p, "</b>");
}

PAGE_FORMAT static inline void page_p(page *p, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    page_put(p, "<p>");
    page_escape(p, text, 1);
    page_put(p, "</p>\n");
}

static inline void page_heading(page *p, const char *text)
{
    page_put(p, "<h2>");
    page_escape(p, text, 0);
    page_put(p, "</h2>\n");
}

/* ---- the file ---------------------------------------------------------------------------------- */
enum { PAGE_COLOURS = 8 };           /* var(--s0) .. var(--s7): told apart by the colour-blind; series also differ in marker */

static inline void page_css(page *p)
{
    page_put(p,
        ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1d21;--mute:#59606b;--line:#d4d8de;--card:#f4f6f8;--bad:#b3261e;--good:#0b6e4f;"
        "--s0:#0b5fb0;--s1:#d0480b;--s2:#a8327f;--s3:#00805c;--s4:#a87400;--s5:#2388bd;--s6:#7b5b3a;--s7:#3f444c}\n"
        "@media(prefers-color-scheme:dark){:root{--bg:#15171b;--fg:#e8eaee;--mute:#a2a9b4;--line:#3a3f48;--card:#1e2127;--bad:#ff8a80;--good:#5fd3a8;"
        "--s0:#6db3ff;--s1:#ff9257;--s2:#ec8fcb;--s3:#3fcfa3;--s4:#efc04f;--s5:#a5dcfa;--s6:#cfae88;--s7:#c9ced6}}\n"
        "svg text{font:14px system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif;fill:var(--fg)}svg .mute{fill:var(--mute)}"
        "svg .bad{fill:var(--bad)}svg .good{fill:var(--good)}svg .big{font-weight:600;font-size:16px}\n");
}

static inline int page_open(page *p, const char *path, const char *title)
{
    p->svg = 0;
    p->file = fopen(path, "w");
    if (!p->file) return -1;
    page_put(p, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    page_escape(p, title, 0);
    page_put(p, "</title>\n<style>\n");
    page_css(p);
    page_put(p,
        "*{box-sizing:border-box}body{margin:0 auto;max-width:56rem;padding:1.2rem 1rem 4rem;background:var(--bg);color:var(--fg);"
        "font:16px/1.55 system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif}\n"
        "h1{font-size:1.75rem;line-height:1.2;margin:.6rem 0 .4rem}h3{font-size:1.05rem;margin:1.6rem 0 .3rem}h2{font-size:1.3rem;line-height:1.3;margin:2.6rem 0 .3rem}"
        "p{margin:.5rem 0;max-width:46rem}code{font:.92em ui-monospace,Menlo,Consolas,monospace}a{color:var(--s0)}\n"
        "figure{margin:1rem 0}figcaption,.mute{color:var(--mute);font-size:.9rem;text-align:left}figcaption{max-width:46rem;margin-top:.3rem}"
        "figure>svg{display:block;width:100%%;height:auto}\n"
        ".scroll{overflow-x:auto;margin:.3rem 0 1rem}table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums}"
        "th,td{padding:.26rem .7rem .26rem 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}"
        "th:first-child{text-align:left;position:sticky;left:0;background:var(--bg)}td.text,th.text{text-align:left;white-space:normal;min-width:13rem}thead th{color:var(--mute);font-weight:500;vertical-align:bottom}tbody th{font-weight:500;white-space:normal}th.long{min-width:8.5rem}thead th.long{white-space:normal;min-width:0}td.hi{font-weight:700}"
        "td:last-child,th:last-child{padding-right:0}\n"
        ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11.5rem,1fr));gap:.7rem;margin:1.2rem 0}"
        ".tile{background:var(--card);border-radius:.6rem;padding:.7rem .9rem;font-size:.9rem;line-height:1.4;color:var(--mute)}"
        ".tile b{display:block;font-size:1.55rem;line-height:1.25;color:var(--fg)}\n"
        ".digits{display:grid;grid-template-columns:repeat(10,minmax(0,1fr));gap:.5rem;margin:.4rem 0 .9rem}.case .digits{grid-template-columns:repeat(5,minmax(0,5.3rem))}.digit{margin:0;padding:.35rem;border:1px solid var(--line);"
        "border-radius:.4rem;font-size:.78rem;line-height:1.3;text-align:center;background:var(--card)}.digit svg{display:block;width:100%%;height:auto;"
        "margin-bottom:.25rem;background:var(--bg)}.digit.bad{border:2px solid var(--bad);padding:calc(.35rem - 1px)}.digit .bad{color:var(--bad);font-weight:600}"
        ".digit.big{width:7.4rem;font-size:.9rem}\n"
        ".case{display:grid;grid-template-columns:auto 1fr;gap:0 1.2rem;align-items:start;border-top:1px solid var(--line);padding-top:.9rem;margin-top:1rem}"
        ".case h3{font-size:.95rem;margin:0}h3.good{color:var(--good)}h3.bad{color:var(--bad)}@media(max-width:36rem){.case{grid-template-columns:1fr}"
        ".digits,.case .digits{grid-template-columns:repeat(5,minmax(0,1fr));gap:.35rem}.digit{padding:.2rem;font-size:.72rem}.digit.bad{padding:calc(.2rem - 1px)}.digit.big{width:7.4rem;padding:.35rem;margin-bottom:.6rem}}\n"
        "</style>\n</head>\n<body>\n<h1>");
    page_escape(p, title, 0);
    page_put(p, "</h1>\n");
    return 0;
}

static inline int page_open_svg(page *p, const char *path, double w, double h, const char *title)
{
    p->svg = 1;
    p->file = fopen(path, "w");
    if (!p->file) return -1;
    page_put(p, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" role=\"img\">\n<title>", w, h, w, h);
    page_escape(p, title, 0);
    page_put(p, "</title>\n<style>\n");
    page_css(p);
    page_put(p, "</style>\n<rect width=\"%g\" height=\"%g\" rx=\"8\" style=\"fill:var(--bg)\"/>\n", w, h);
    return 0;
}

static inline int page_close(page *p)                                /* 0, or -1: something was not written */
{
    if (!p->file) return -1;
    page_put(p, p->svg ? "</svg>\n" : "</body>\n</html>\n");
    int bad = ferror(p->file);
    bad |= fclose(p->file);
    p->file = NULL;
    return bad ? -1 : 0;
}

/* ---- tables: cells are separated by |; one that begins with * is set in bold, one with ~ is prose ------- */
static inline void page_cells(page *p, char *cells, const char *first, const char *other)
{
    const char *tag = first;
    page_put(p, "<tr>");
    for (char *cell = cells; cell; tag = other) {
        char *end = strchr(cell, '|');
        if (end) *end++ = 0;
        page_put(p, "<%s%s>", tag, *cell == '*' ? " class=\"hi\"" : *cell == '~' ? " class=\"text\"" : strlen(cell) > 14 ? " class=\"long\"" : "");
        page_escape(p, cell + (*cell == '*' || *cell == '~'), 0);
        page_put(p, "</%.2s>", tag);
        cell = end;
    }
    page_put(p, "</tr>\n");
}

static inline void page_table_begin(page *p, const char *caption, const char *columns)
{
    char cells[1024];
    snprintf(cells, sizeof cells, "%s", columns);
    page_put(p, "<figure><figcaption>");
    page_escape(p, caption, 1);
    page_put(p, "</figcaption><div class=\"scroll\"><table>\n<thead>");
    page_cells(p, cells, "th", "th");
    page_put(p, "</thead>\n<tbody>\n");
}

PAGE_FORMAT static inline void page_row(page *p, const char *format, ...)
{
    char cells[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(cells, sizeof cells, format, args);
    va_end(args);
    page_cells(p, cells, "th", "td");
}

static inline void page_table_end(page *p) { page_put(p, "</tbody></table></div></figure>\n"); }

/* ---- pictures ---------------------------------------------------------------------------------- */
static inline void page_svg_begin(page *p, double w, double h, const char *says)
{
    page_put(p, "<figure><svg viewBox=\"0 0 %g %g\" style=\"max-width:%gpx\" role=\"img\" aria-label=\"", w, h, w * 1.2);
    page_escape(p, says, 0);
    page_put(p, "\">\n");
}

static inline void page_svg_end(page *p, const char *caption)
{
    page_put(p, "</svg><figcaption>");
    page_escape(p, caption, 1);
    page_put(p, "</figcaption></figure>\n");
}

/* anchor: start, middle or end. kind: "", "mute", "big", "good", "bad" */
static inline void page_label(page *p, double x, double y, const char *anchor, const char *kind, const char *text)
{
    page_put(p, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, kind);
    page_escape(p, text, 0);
    page_put(p, "</text>\n");
}

static inline void page_line(page *p, double x0, double y0, double x1, double y1, const char *style)
{
    page_put(p, "<path d=\"M%.1f %.1fL%.1f %.1f\" style=\"fill:none;%s\"/>\n", x0, y0, x1, y1, style);
}

/* A small grey image, values 0 to 1 in sixteenths: one path for each shade. */
static inline void page_image(page *p, double x, double y, double size, const float *pixel, int side)
{
    page_put(p, "<g transform=\"translate(%g %g) scale(%g)\" style=\"fill:var(--fg)\" shape-rendering=\"crispEdges\">", x, y, size / side);
    for (int shade = 1; shade <= 16; shade++) {
        int open = 0;
        for (int i = 0; i < side * side; i++) {
            if ((int)(pixel[i] * 16 + 0.5f) != shade) continue;
            if (!open++) page_put(p, "<path opacity=\"%.2g\" d=\"", shade / 16.0);
            page_put(p, "M%d %dh1v1h-1z", i % side, i / side);
        }
        if (open) page_put(p, "\"/>");
    }
    page_put(p, "</g>\n");
}

typedef struct page_axis {
    const char *title;
    double min, max;                 /* in the units of map, if there is one */
    double (*map)(double);           /* where a value lies on the axis; NULL: where it says */
    int ticks;
    const double *at;                /* [ticks] values */
    const char *const *name;         /* [ticks] */
} page_axis;

enum { PAGE_DOTS = -2 };
typedef struct page_series {
    const char *name;                /* at the right end of the curve; NULL: none */
    int colour;                      /* 0 .. PAGE_COLOURS - 1; -1: grey */
    int marker;                      /* 0 .. 7; -1: none; PAGE_DOTS: no curve, dots of that width */
    int dashed;
    double width;
    int count;
    const double *x, *y;             /* points with NaN are left out; points outside are moved to the edge */
} page_series;

static inline double page_place(const page_axis *axis, double value)  /* 0 .. 1 */
{
    double v = ((axis->map ? axis->map(value) : value) - axis->min) / (axis->max - axis->min);
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

static inline void page_marker(page *p, int kind, double x, double y, const char *colour)
{
    static const char *const shape[8] = {
        "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "M-3.6 -3.6h7.2v7.2h-7.2z", "M0 -4.6l4.4 7.6h-8.8z", "M0 -5l5 5l-5 5l-5 -5z",
        "M-4 -4l8 8M4 -4l-8 8", "M0 -5v10M-5 0h10", "M0 4.6l4.4 -7.6h-8.8z", "M-3.6 -3.6h7.2v7.2h-7.2z" };
    page_put(p, "<path transform=\"translate(%.1f %.1f)\" d=\"%s\" style=\"stroke:%s;fill:%s;stroke-width:1.6\"/>\n", x, y, shape[kind & 7], colour,
             kind == 4 || kind == 5 ? "none" : kind == 7 ? "var(--bg)" : colour);
}

/* Axes, curves, and each curve's name beside its end; names that would collide are moved apart. x, y, w, h: the whole chart. */
static inline void page_chart(page *p, double x, double y, double w, double h, const page_axis *xs, const page_axis *ys,
                              const page_series *series, int nseries)
{
    enum { MOST = 32 };
    double left = x + 60, top = y + 26, right = x + w - 92, bottom = y + h - 48, end_y[MOST], text_y[MOST];
    char colour[MOST][16];
    int order[MOST], names = 0;
    if (nseries > MOST) nseries = MOST;
    page_label(p, x, y + 14, "start", "mute", ys->title);
    page_label(p, (left + right) / 2, y + h - 8, "middle", "mute", xs->title);
    for (int i = 0; i < ys->ticks; i++) {
        double ty = bottom - (bottom - top) * page_place(ys, ys->at[i]);
        page_line(p, left, ty, right, ty, "stroke:var(--line)");
        page_label(p, left - 8, ty + 5, "end", "mute", ys->name[i]);
    }
    for (int i = 0; i < xs->ticks; i++) {
        double tx = left + (right - left) * page_place(xs, xs->at[i]);
        page_line(p, tx, bottom, tx, bottom + 5, "stroke:var(--mute)");
        page_label(p, tx, bottom + 21, "middle", "mute", xs->name[i]);
    }
    page_line(p, left, bottom, right, bottom, "stroke:var(--mute)");
    for (int s = nseries - 1; s >= 0; s--) {                          /* the first series ends on top */
        const page_series *c = &series[s];
        int drawn = 0, dots = c->marker == PAGE_DOTS;
        double px = 0, py = 0, sum = 0;
        if (c->colour < 0) snprintf(colour[s], sizeof colour[s], "var(--mute)");
        else               snprintf(colour[s], sizeof colour[s], "var(--s%d)", c->colour % PAGE_COLOURS);
        page_put(p, "<path d=\"");
        for (int i = 0; i < c->count; i++) {
            if (isnan(c->x[i]) || isnan(c->y[i])) continue;
            px = left + (right - left) * page_place(xs, c->x[i]);
            py = bottom - (bottom - top) * page_place(ys, c->y[i]);
            sum += py;
            page_put(p, dots ? "M%.1f %.1fh0" : drawn ? "L%.1f %.1f" : "M%.1f %.1f", px, py);
            drawn++;
        }
        page_put(p, "\" style=\"fill:none;stroke:%s;stroke-width:%g;%s%s\"/>\n", colour[s], c->width,
                 dots ? "stroke-linecap:round;opacity:.55" : "stroke-linejoin:round", c->dashed ? ";stroke-dasharray:6 4" : "");
        for (int i = 0; c->marker >= 0 && i < c->count; i++)
            if (!isnan(c->x[i]) && !isnan(c->y[i]))
                page_marker(p, c->marker, left + (right - left) * page_place(xs, c->x[i]), bottom - (bottom - top) * page_place(ys, c->y[i]), colour[s]);
        if (!c->name || !drawn) continue;
        if (dots) py = sum / drawn;
        int k = names++;                                              /* insert by height */
        for (; k > 0 && end_y[order[k - 1]] > py; k--) order[k] = order[k - 1];
        order[k] = s;
        end_y[s] = py;
        if (px < right - 1 && !dots) page_line(p, px, py, right, py, "stroke:var(--mute);stroke-dasharray:1 4");
    }
    for (int k = 0; k < names; k++) {
        double above = k ? text_y[order[k - 1]] + 17 : top - 4;
        text_y[order[k]] = end_y[order[k]] > above ? end_y[order[k]] : above;
    }
    for (int k = names - 1; k >= 0; k--) {
        double below = k + 1 < names ? text_y[order[k + 1]] - 17 : bottom + 4;
        if (text_y[order[k]] > below) text_y[order[k]] = below;
    }
    for (int k = 0; k < names; k++) {
        int s = order[k];
        if (series[s].marker != PAGE_DOTS) page_line(p, right + 7, end_y[s], right + 20, text_y[s], "stroke:var(--line)");
        if (series[s].marker >= 0) page_marker(p, series[s].marker, right + 28, text_y[s], colour[s]);
        page_put(p, "<text x=\"%.1f\" y=\"%.1f\" style=\"fill:%s;font-weight:%d\">", right + (series[s].marker >= 0 ? 38 : 24), text_y[s] + 5,
                 colour[s], series[s].width > 2 ? 700 : 500);
        page_escape(p, series[s].name, 0);
        page_put(p, "</text>\n");
    }
}

/* Horizontal bars: name, bar, value. colour[i] as in page_series. Returns the height used. */
static inline double page_bars(page *p, double x, double y, double w, int count, const char *const *name, const double *value,
                               const int *colour, double max, const char *format)
{
    double left = x + 136, right = x + w - 48;
    for (int i = 0; i < count; i++) {
        double by = y + 28 * i, v = value[i] < 0 ? 0 : value[i] > max ? max : value[i];
        char text[32], fill[16];
        snprintf(text, sizeof text, format, value[i]);
        if (colour[i] < 0) snprintf(fill, sizeof fill, "var(--mute)");
        else               snprintf(fill, sizeof fill, "var(--s%d)", colour[i] % PAGE_COLOURS);
        page_label(p, left - 10, by + 16, "end", "", name[i]);
        page_put(p, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"20\" rx=\"2\" style=\"fill:%s\"/>\n", left, by + 1,
                 (right - left) * v / max, fill);
        page_label(p, left + (right - left) * v / max + 8, by + 16, "start", "", text);
    }
    return 28.0 * count;
}

/* ---- where the numbers come from ------------------------------------------------------------ */
static inline const char *page_machine(void)
{
    static char name[128] = "unknown processor";
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
    return name;
}

#endif
