/* Runs every group; closing line `N passed, N failed`; exit status 1 if a group failed. `test_main NAME` runs the file of groups named so,
   `test_main core NAME...` the groups named so in test_core() at the end of that file. */
#include "test.h"
#include <math.h>
#include <time.h>

int test_passed, test_failed, test_group_bad;
static const char *open_group;
static char **wanted;
static double t0;
static double now(void) { struct timespec t; timespec_get(&t, TIME_UTC); return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec; }

void test_end(void) {
    if (!open_group) return;
    printf("%-4s %s (%.1f s)\n", test_group_bad ? "FAIL" : "ok", open_group, now() - t0);
    fflush(stdout);
    if (test_group_bad) test_failed++; else test_passed++;
    open_group = NULL;
}
void test_begin(const char *group) { test_end(); open_group = group; test_group_bad = 0; t0 = now(); }
void test_bad(const char *file, int line, const char *what) {
    if (test_group_bad++ < 5) fprintf(stderr, "  %s:%d: %s\n", file, line, what);
}
int test_wants(const char *group) {                      /* a name that is found is set to "": what is left at the end was mistyped */
    char **w = wanted;
    while (w && *w && strcmp(*w, group)) w++;
    if (w && *w) **w = 0;
    return !w || *w;
}
double test_normal(uint64_t *s) {
    double u = test_uniform(s), v = test_uniform(s);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(void); } files[] = {
        { "core", test_core }, { "store", test_store }, { "helpers", test_helpers }, { "errors", test_errors },
        { "spectrum", test_spectrum },
    };
    if (argc > 2) wanted = argv + 2;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (argc < 2 || !strcmp(argv[1], files[i].name)) { files[i].run(); test_end(); if (argc > 1) *argv[1] = 0; }
    for (int i = 1; i < argc; i++) if (*argv[i]) { printf("FAIL there is no group %s\n", argv[i]); test_failed++; }
    printf("%d passed, %d failed\n", test_passed, test_failed);
    return test_failed != 0;
}
