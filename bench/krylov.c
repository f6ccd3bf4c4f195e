/* Lanczos at length: time and memory of `steps` steps at length d on a diagonal operator, and the orthogonalisation's share of this machine's memory speed.
       cc -O2 -I. bench/krylov.c -o build/krylov -lm -lpthread && build/krylov [log2 d = 20] [steps = 1000] [known = 0]
   known: that many steps are not done but written down: unit vectors, which span an invariant space of a diagonal operator (a minute instead of a quarter of an hour, with the memory and
   the speed of the last steps).
   Prints: a streaming read of the same basis on one thread (machine.h, GB/s, best of 5), what the orthogonalisation reads (4 passes over the rows there are) over its time, and the peak of memory. */
#define SKETCH_IMPLEMENTATION
#include "../sketch.h"
#include "../examples/threads.h"
#include "machine.h"
#include <sys/resource.h>

static double cpu(void) { return (double)clock() / CLOCKS_PER_SEC; }      /* of this process, which has one thread: so that other load does not count */
typedef struct op { size_t d, known; double t0, inside, last; uint64_t done; } op;
static float entry(size_t i, size_t d) { return i < 10 ? 10.0f + (float)i : (float)i / (float)d; }
static int diagonal(void *user, const float *v, float *out) {
    op *a = user;
    double t = cpu();
    for (size_t i = 0; i < a->d; i++) out[i] = v[i] * entry(i, a->d);
    a->inside += cpu() - t;
    return 0;
}
static int tick(void *user, uint64_t done, uint64_t total) {
    op *a = user;
    if (done % (total / 100 ? total / 100 : 1) == 0 && (done * 10 % total == 0 || a->known)) {
        double t = cpu() - a->t0 - a->inside, read = 4.0 * (double)(done * (done + 1) - a->done * (a->done + 1)) / 2 * (double)a->d * 4;
        printf("%5llu steps  %7.1f s   orthogonalisation %5.1f GB/s since the line before\n", (unsigned long long)done, cpu() - a->t0, read / (t - a->last) * 1e-9);
        fflush(stdout);
        a->last = t; a->done = done;
    }
    return 0;
}
int main(int argc, char **argv) {
    size_t d = (size_t)1 << (argc > 1 ? atoi(argv[1]) : 20), steps = argc > 2 ? (size_t)atoi(argv[2]) : 1000, known = argc > 3 ? (size_t)atoi(argv[3]) : 0, floats = sketch_krylov_floats(d, steps);
    float *basis = big_alloc(floats * sizeof *basis), sum = 0;
    double *doubles = malloc(sketch_krylov_doubles(steps) * sizeof *doubles), *theta = malloc(steps * 8), *scratch = malloc(steps * 16);
    sketch_krylov k = sketch_krylov_make(d, steps, basis, doubles);
    sketch_krylov_options o;
    struct rusage use;
    op a = { d, known, 0, 0, 0, known };
    sketch_status st;
    double read = 0;
    char name[256];
    if (!basis || !doubles || !theta || !scratch) return 1;
    memset(&o, 0, sizeof o);
    if (known >= steps) return 1;
    for (size_t i = 0; known && i <= known; i++) {
        float *row = basis + i * d;
        if (i < known) { memset(row, 0, d * sizeof *row); row[i] = 1; k.alpha[i] = entry(i, d); k.beta[i] = 0; }
        else for (size_t j = 0; j < d; j++) row[j] = j < known ? 0 : (float)(1 / sqrt((double)(d - known)));
    }
    k.done = known;
    o.progress.fn = tick; o.progress.user = &a;
    a.t0 = cpu();
    st = sketch_lanczos(diagonal, &a, &k, &o);
    if (st == SKETCH_OK) st = sketch_ritz(&k, theta, NULL, NULL, scratch);
    getrusage(RUSAGE_SELF, &use);
    for (int r = 0; r < 5; r++) {
        double t = cpu(), rate;
        sum += stream_sum(basis, floats / 16 * 16);
        rate = 4e-9 * (double)floats / (cpu() - t);
        if (rate > read) read = rate;
    }
    machine_name(name, sizeof name);
    printf("%s: largest %.6f %.6f, smallest %.3g; peak %.2f GB; streaming read %.1f GB/s (%g)\n%s\n", sketch_status_string(st), theta[steps - 1], theta[steps - 2], theta[0], (double)use.ru_maxrss * 1024e-9,
           read, sum, name);
    return st != SKETCH_OK;
}
