/* The store: what it keeps, what it refuses, what it survives. This file makes its own private copy of the library, in which the
   file system and malloc are replaced by fs_*: they count, fail on demand, write less than asked, and keep the log that the power cuts are
   played from. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int     fs_open(const char *path, int flags, int mode);
static ssize_t fs_read(int fd, void *buf, size_t n);
static ssize_t fs_write(int fd, const void *buf, size_t n);
static int     fs_fsync(int fd);
static int     fs_fdatasync(int fd);
static int     fs_link(const char *from, const char *to);
static void   *fs_mmap(size_t len, int fd);
static void   *fs_malloc(size_t n);
static void    fs_free(void *p);
#define SKI_OPEN      fs_open
#define SKI_READ      fs_read
#define SKI_WRITE     fs_write
#define SKI_FSYNC     fs_fsync
#define SKI_FDATASYNC fs_fdatasync
#define SKI_LINK      fs_link
#define SKI_MMAP      fs_mmap
#define SKETCH_MALLOC fs_malloc
#define SKETCH_FREE   fs_free
#define SKETCH_NO_SIMD
#define SKETCH_STATIC
#define SKETCH_IMPLEMENTATION
#include "test.h"

/* ---- the replaced file system ---- */
enum { K_NONE, K_OPEN, K_READ, K_WRITE, K_SHORT /* a write that stops halfway, then fails */, K_FSYNC, K_FDATASYNC, K_LINK, K_MMAP, K_MALLOC, K_END };
static const char *kind_name[] = { "none", "open", "read", "write", "short write", "fsync", "fdatasync", "link", "mmap", "malloc" };
static struct { int kind, sticky, error; long left, hits; } fault;   /* the left-th call of that kind fails, and those after it if sticky */
static int    dribble;                 /* reads and writes of at most 7 bytes, every other one interrupted */
static int    real_sync;
static long   mem_blocks;              /* allocated and not freed */
static size_t mem_largest;

static int hit(int kind) {
    if (fault.kind != kind) return 0;
    if (--fault.left > 0 || (fault.left < 0 && !fault.sticky)) return 0;
    fault.hits++;
    errno = fault.error;
    return 1;
}
static void arm(int kind, long k, int sticky, int error) { fault.kind = kind; fault.left = k; fault.sticky = sticky; fault.error = error; fault.hits = 0; }
static void disarm(void) { fault.kind = K_NONE; }

typedef struct op { int kind; char name[64], to[64]; uint64_t off; size_t n; unsigned char *data; } op;
enum { OP_CREATE, OP_WRITE, OP_SYNC, OP_DIRSYNC, OP_LINK, OP_ACK };
static op   *ops;
static size_t nops, ops_cap;
static int   logging;
static char  fd_name[1024][64];

static const char *base_name(const char *path) { const char *p = strrchr(path, '/'); return p ? p + 1 : path; }
static void log_op(int kind, const char *name, const char *to, uint64_t off, const void *data, size_t n) {
    op *o;
    if (!logging) return;
    if (nops == ops_cap) { ops_cap = ops_cap ? 2 * ops_cap : 64; ops = realloc(ops, ops_cap * sizeof *ops); }
    o = &ops[nops++];
    memset(o, 0, sizeof *o);
    o->kind = kind; o->off = off; o->n = n;
    snprintf(o->name, sizeof o->name, "%s", name);
    snprintf(o->to, sizeof o->to, "%s", to);
    if (data) { o->data = malloc(n); memcpy(o->data, data, n); }
}
static void log_clear(void) { while (nops) free(ops[--nops].data); free(ops); ops = NULL; ops_cap = 0; }

static int fs_open(const char *path, int flags, int mode) {
    int fd;
    if (hit(K_OPEN)) return -1;
    fd = open(path, flags, mode);
    if (fd >= 0 && fd < 1024) snprintf(fd_name[fd], 64, "%s", base_name(path));
    if (fd >= 0 && (flags & O_CREAT)) log_op(OP_CREATE, base_name(path), "", 0, NULL, 0);
    return fd;
}
static unsigned dribbles;
static ssize_t fs_read(int fd, void *buf, size_t n) {
    if (hit(K_READ)) return -1;
    if (dribble) { if (dribbles++ & 1) { errno = EINTR; return -1; } if (n > 7) n = 7; }
    return read(fd, buf, n);
}
static ssize_t fs_write(int fd, const void *buf, size_t n) {
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t r;
    if (hit(K_WRITE)) return -1;
    if (fault.kind == K_SHORT) {
        if (fault.left == -1 && n) { fault.left = -2; fault.hits++; errno = fault.error; return -1; }    /* the rest of the halved one */
        if (--fault.left == 0) { fault.left = -1; n = n / 2; if (!n) { errno = fault.error; fault.hits++; return -1; } }
        else if (fault.left < -1) fault.left = -2;
    }
    if (dribble) { if (dribbles++ & 1) { errno = EINTR; return -1; } if (n > 7) n = 7; }
    r = write(fd, buf, n);
    if (r > 0) log_op(OP_WRITE, fd_name[fd], "", (uint64_t)at, buf, (size_t)r);
    return r;
}
static int fs_fsync(int fd) {
    if (hit(K_FSYNC)) return -1;
    log_op(OP_DIRSYNC, strcmp(fd_name[fd], ".") ? ".." : ".", "", 0, NULL, 0);
    return real_sync ? fsync(fd) : 0;
}
static int fs_fdatasync(int fd) {
    if (hit(K_FDATASYNC)) return -1;
    log_op(OP_SYNC, fd_name[fd], "", 0, NULL, 0);
    return real_sync ? fdatasync(fd) : 0;
}
static int fs_link(const char *from, const char *to) {
    if (hit(K_LINK)) return -1;
    if (link(from, to) != 0) return -1;
    log_op(OP_LINK, base_name(from), base_name(to), 0, NULL, 0);
    return 0;
}
static void *fs_mmap(size_t len, int fd) { return hit(K_MMAP) ? MAP_FAILED : mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0); }
static void *fs_malloc(size_t n) {
    void *p;
    if (hit(K_MALLOC)) return NULL;
    if (n > mem_largest) mem_largest = n;
    p = malloc(n);
    if (p) { mem_blocks++; memset(p, 0xA5, n); }
    return p;
}
static void fs_free(void *p) { mem_blocks--; free(p); }
static int next_fd(void) { int fd = open("/dev/null", O_RDONLY); close(fd); return fd; }

/* ---- scratch directories ---- */
static char root[512];
static int maps(void) {                            /* of our files in this process; 0 where there is no /proc */
    char line[1024];
    FILE *f = fopen("/proc/self/maps", "r");
    int n = 0;
    while (f && fgets(line, sizeof line, f)) n += strstr(line, root) != NULL;
    if (f) fclose(f);
    return n;
}
static char *at(const char *fmt, ...) {            /* root/..., eight results live at once */
    static char buf[8][1024];
    static int k;
    char *p = buf[k++ & 7];
    va_list ap;
    int n = snprintf(p, 1024, "%s/", root);
    va_start(ap, fmt);
    vsnprintf(p + n, (size_t)(1024 - n), fmt, ap);
    va_end(ap);
    return p;
}
static void rm_rf(const char *path) {
    struct stat st;
    if (lstat(path, &st) != 0) return;
    if (S_ISDIR(st.st_mode)) {
        DIR *d = opendir(path);
        struct dirent *e;
        while (d && (e = readdir(d)) != NULL) {
            char sub[1400];
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
            snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
            rm_rf(sub);
        }
        if (d) closedir(d);
        rmdir(path);
    } else unlink(path);
}
static unsigned char *slurp(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    unsigned char *p = malloc(1 << 20);
    *n = 0;
    if (!f) { free(p); return NULL; }
    *n = fread(p, 1, 1 << 20, f);
    fclose(f);
    return p;
}
static void spit(const char *path, const void *p, size_t n) {
    FILE *f;
    unlink(path);                          /* (ext4 flushes a file that is truncated and written again) */
    f = fopen(path, "wb");
    if (!f) { test_bad(__FILE__, __LINE__, path); return; }
    if (n && fwrite(p, 1, n, f) != n) test_bad(__FILE__, __LINE__, path);
    fclose(f);
}
/* The store's first segment: path of "seg-U" + ext. */
static char *seg_path(const char *dir, const char *ext) {
    static char found[2][1400];
    static int k;
    char *p = found[k++ & 1];
    DIR *d = opendir(dir);
    struct dirent *e;
    char best[256] = "";
    while (d && (e = readdir(d)) != NULL) {
        size_t n = strlen(e->d_name);
        if (n > 8 && !strncmp(e->d_name, "seg-", 4) && !strcmp(e->d_name + n - 8, ".idx.npy") && (!*best || strcmp(e->d_name, best) < 0)) snprintf(best, sizeof best, "%s", e->d_name);
    }
    if (d) closedir(d);
    if (strlen(best) > 8) best[strlen(best) - 8] = 0;
    snprintf(p, 1400, "%s/%s%s", dir, best, ext);
    return p;
}
static int count_files(const char *dir, const char *prefix) {
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;
    while (d && (e = readdir(d)) != NULL) n += !strncmp(e->d_name, prefix, strlen(prefix));
    if (d) closedir(d);
    return n;
}

/* ---- rows whose content follows from their id ---- */
enum { D = 5 };
static sketch_plan *plan, *plan_seed, *plan_d, *plan_algo;
static float value(uint64_t id, uint64_t j) { return (float)((id * 2654435761u + j * 40503u + (id >> 20)) & 0xFFFFFF) - 4e6f; }
static void make_row(uint64_t id, float *row) { for (uint64_t j = 0; j < D; j++) row[j] = value(id, j); }
static sketch_status add(sketch_store *s, uint64_t first, size_t n) {     /* ids first .. first+n-1 in one append */
    uint64_t ids[300];
    float rows[300 * D];
    if (n > 300) return SKETCH_E_ARG;
    for (size_t i = 0; i < n; i++) { ids[i] = first + i; make_row(first + i, rows + i * D); }
    return sketch_store_append(s, ids, rows, n);
}
/* Walks all rows: each is what its id says? Returns their number, and how many of the ids first .. first+n-1 are there. */
static uint64_t walk(const sketch_store *s, uint64_t first, uint64_t n, uint64_t *seen) {
    uint64_t at_row = 0, bad = 0, k, i, j;
    const float *rows;
    const uint64_t *ids;
    unsigned char *met = calloc(n + 1, 1);
    *seen = 0;
    while (at_row < sketch_store_count(s)) {
        CHECK_OK(sketch_store_rows(s, at_row, &k, &rows, &ids));
        if (!k) { CHECK(!"empty run"); break; }
        for (i = 0; i < k; i++) {
            if (ids[i] - first < n && !met[ids[i] - first]++) ++*seen;
            if (!sketch_store_has(s, ids[i])) bad++;
            for (j = 0; j < D; j++) if (rows[i * D + j] != value(ids[i], j)) { bad++; break; }
        }
        at_row += k;
    }
    free(met);
    CHECK_MSG(bad == 0 && at_row == sketch_store_count(s), "%llu bad rows of %llu", (unsigned long long)bad, (unsigned long long)at_row);
    return at_row;
}
/* dir opens, and holds the ids first .. first+n-1 */
static uint64_t holds(const char *dir, uint64_t first, uint64_t n, const char *what) {
    sketch_store *s;
    uint64_t seen = 0, count = 0, bad = 99, i;
    sketch_status st = sketch_store_open(dir, NULL, &s);
    CHECK_MSG(st == SKETCH_OK, "%s: open: %s", what, sketch_status_string(st));
    if (st != SKETCH_OK) return 0;
    count = walk(s, first, n, &seen);
    CHECK_MSG(seen >= n, "%s: %llu of %llu rows", what, (unsigned long long)seen, (unsigned long long)n);
    for (i = 0; i < n; i++) if (!sketch_store_has(s, first + i)) { CHECK_MSG(0, "%s: id %llu lost", what, (unsigned long long)(first + i)); break; }
    CHECK_OK(sketch_store_verify(s, &bad));
    CHECK_MSG(bad == 0, "%s: verify finds %llu", what, (unsigned long long)bad);
    CHECK_OK(sketch_store_close(s));
    return count;
}
static void make_store(const char *dir, uint64_t first, size_t n) {
    sketch_store *s;
    CHECK_OK(sketch_store_open(dir, plan, &s));
    if (!s) return;
    CHECK_OK(add(s, first, n));
    CHECK_OK(sketch_store_close(s));
}
/* meta.json's text with a right sum, so that what is tested is what else is wrong with it */
static void spit_meta(const char *dir, const char *body) {
    char text[4096];
    ski_crc *crc = calloc(1, sizeof *crc);
    ski_crc_init(crc);
    int n = snprintf(text, sizeof text, "%s", body);
    snprintf(text + n, sizeof text - (size_t)n, "  \"crc32c\": \"%08lx\"\n}\n", (unsigned long)ski_crc_of(crc, text, (size_t)n));
    spit(at("%s/meta.json", dir), text, strlen(text));
    free(crc);
}

/* ---- groups ---- */
static void test_basic(void) {
    sketch_store *s, *s2;
    uint64_t k, seen, bad;
    const float *rows;
    const uint64_t *ids;
    size_t n;
    unsigned char *p;
    char *dir = strdup(at("basic"));

    test_begin("store: create, append, commit, reopen");
    real_sync = 1;
    CHECK_OK(sketch_store_open(dir, plan, &s));
    CHECK(sketch_store_count(s) == 0 && sketch_store_dim(s) == D && sketch_store_fingerprint(s) == sketch_query(plan).fingerprint);
    CHECK(count_files(dir, "seg-") == 0 && count_files(dir, "meta") == 1);          /* lazily; nothing left over */
    CHECK(!sketch_store_has(s, 0) && !sketch_store_has(s, 7));
    CHECK_ST(sketch_store_rows(s, 0, &k, &rows, &ids), SKETCH_E_SIZE);
    CHECK_OK(sketch_store_commit(s));                                                /* nothing to do */
    CHECK_OK(add(s, 0, 3));
    CHECK_OK(add(s, 3, 1));
    CHECK(sketch_store_count(s) == 0 && sketch_store_has(s, 0) && sketch_store_has(s, 3) && !sketch_store_has(s, 4));
    CHECK_OK(sketch_store_open(dir, NULL, &s2));
    CHECK(sketch_store_count(s2) == 0);                                              /* appended is not committed */
    CHECK_OK(sketch_store_close(s2));
    CHECK_OK(sketch_store_commit(s));
    CHECK(sketch_store_count(s) == 4 && walk(s, 0, 4, &seen) == 4 && seen == 4);
    CHECK_OK(sketch_store_rows(s, 1, &k, &rows, &ids));
    CHECK(k == 3 && ids[0] == 1 && rows[D + 1] == value(2, 1) && (uintptr_t)(rows - D) % 128 == 0);
    CHECK_OK(add(s, 4, 2));
    CHECK_OK(sketch_store_commit(s));
    CHECK_OK(sketch_store_rows(s, 0, &k, &rows, &ids));
    CHECK(k == 6);                                                                   /* one contiguous run */
    CHECK_OK(add(s, 6, 1));
    CHECK_OK(sketch_store_close(s));                                                 /* commits */
    CHECK(count_files(dir, "seg-") == 2);
    CHECK(holds(dir, 0, 7, "reopened") == 7);
    real_sync = 0;

    CHECK_OK(sketch_store_open(dir, plan, &s));                                      /* a later handle writes its own segment */
    p = slurp(seg_path(dir, ".npy"), &n);
    CHECK(sketch_store_count(s) == 7);
    CHECK_OK(add(s, 7, 2));
    CHECK_OK(sketch_store_commit(s));
    CHECK_OK(sketch_store_verify(s, &bad));
    CHECK(bad == 0 && walk(s, 0, 9, &seen) == 9 && seen == 9 && count_files(dir, "seg-") == 4);
    CHECK_OK(sketch_store_rows(s, 5, &k, &rows, &ids));
    CHECK(k == 2 && ids[1] == 6);                                                    /* the run ends with the segment */
    CHECK_OK(sketch_store_rows(s, 8, &k, &rows, &ids));
    CHECK(k == 1 && ids[0] == 8);
    CHECK_ST(sketch_store_rows(s, 9, &k, &rows, &ids), SKETCH_E_SIZE);
    CHECK_OK(sketch_store_close(s));
    CHECK(holds(dir, 0, 9, "twice") == 9);
    { size_t n2; unsigned char *p2 = slurp(seg_path(dir, ".npy"), &n2); CHECK(n == n2 && !memcmp(p, p2, n)); free(p2); }

    test_begin("store: the bytes are the documented ones");
    CHECK(n == 128 + 7 * 4 * D && !memcmp(p, "\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (                 7, 5), } ", 87) && p[127] == '\n');
    { float r[D]; make_row(6, r); CHECK(!memcmp(p + 128 + 6 * 4 * D, r, sizeof r)); }
    free(p);
    p = slurp(seg_path(dir, ".idx.npy"), &n);
    CHECK(n == 128 + 7 * 16 && !memcmp(p, "\x93NUMPY\1\0\x76\0{'descr': [('id', '<u8'), ('row', '<u4'), ('rec', '<u4')], 'fortran_order': False, 'shape': (                 7,), } \n", 128));
    {   /* sums by the bit-at-a-time definition */
        uint64_t id;
        uint32_t c = ~0u, want;
        float r[D];
        make_row(6, r);
        for (size_t i = 0; i < sizeof r; i++) { c ^= ((unsigned char *)r)[i]; for (int b = 0; b < 8; b++) c = c & 1 ? (c >> 1) ^ 0x82F63B78u : c >> 1; }
        memcpy(&id, p + 128 + 96, 8); memcpy(&want, p + 128 + 104, 4);
        CHECK(id == 6 && want == ~c);
        c = ~0u;
        for (size_t i = 0; i < 12; i++) { c ^= p[128 + 96 + i]; for (int b = 0; b < 8; b++) c = c & 1 ? (c >> 1) ^ 0x82F63B78u : c >> 1; }
        memcpy(&want, p + 128 + 108, 4);
        CHECK(want == ~c);
    }
    free(p);
    CHECK_OK(sketch_store_open(dir, NULL, &s));
    CHECK(ski_crc_of(&s->crc, "123456789", 9) == 0xE3069283u);
    { unsigned char h[128]; uint64_t c; ski_store_header(s, 1, 999999999999999999u, h); CHECK(h[126] == ' ' && h[127] == '\n' && ski_store_header_ok(s, 1, h, &c) && c == 999999999999999999u); }
    CHECK_OK(sketch_store_close(s));
    {
        char want[1024], name[512];
        sketch_info info = sketch_query(plan);
        CHECK(ski_plan_name(plan, name, sizeof name) > 0);
        snprintf(want, sizeof want, "{\n  \"format\": \"sketch.h store\",\n  \"version\": 1,\n  \"operator\": \"%s\",\n  \"fingerprint\": \"%016llx\",\n  \"d\": 5,\n  \"dtype\": \"f32\",\n  \"scale\": %.17g,\n  \"crc32c\": \"",
                 name, (unsigned long long)info.fingerprint, info.scale);
        p = slurp(at("basic/meta.json"), &n);
        CHECK(p && n == strlen(want) + 8 + 4 && !memcmp(p, want, strlen(want)) && !memcmp(p + n - 4, "\"\n}\n", 4));
        free(p);
    }

    test_begin("store: resume by id");
    CHECK_OK(sketch_store_open(dir, plan, &s));
    for (uint64_t id = 0; id < 20; id++) if (!sketch_store_has(s, id)) CHECK_OK(add(s, id, 1));
    CHECK_OK(add(s, 0, 1));                                                          /* a duplicate is the caller's choice */
    CHECK_OK(sketch_store_close(s));
    CHECK_OK(sketch_store_open(dir, plan, &s));
    CHECK(walk(s, 0, 20, &seen) == 21 && seen == 20);
    for (uint64_t id = 0; id < 20; id++) CHECK(sketch_store_has(s, id));
    CHECK(!sketch_store_has(s, 20) && !sketch_store_has(s, UINT64_MAX));
    CHECK_OK(add(s, UINT64_MAX, 1));
    CHECK(sketch_store_has(s, UINT64_MAX));
    for (uint64_t i = 0; i < 40; i++) CHECK_OK(add(s, 1000 + 300 * i, 250));         /* the set grows */
    CHECK_OK(sketch_store_commit(s));
    for (uint64_t i = 0; i < 12000; i++) if (sketch_store_has(s, 1000 + i) != (i % 300 < 250)) { CHECK(!"has"); break; }
    CHECK_OK(sketch_store_close(s));
    CHECK(holds(dir, 1000, 250, "many") == 22 + 10000);
    free(dir);
}

static void test_refuse(void) {
    sketch_store *s = (sketch_store *)(uintptr_t)1;
    uint64_t k = 7;
    char *dir = strdup(at("refuse"));
    static const char body[] = "{\n  \"format\": \"sketch.h store\",\n  \"version\": 1,\n  \"operator\": \"other\",\n  \"fingerprint\": \"0123456789abcdef\",\n  \"d\": %s,\n  \"dtype\": \"f32\",\n  \"scale\": 1,\n";
    char text[1024];

    test_begin("store: refuses another plan and a foreign directory");
    make_store(dir, 0, 4);
    CHECK_ST(sketch_store_open(dir, plan_seed, &s), SKETCH_E_FORMAT);
    CHECK(s == NULL);
    CHECK_ST(sketch_store_open(dir, plan_d, &s), SKETCH_E_FORMAT);
    CHECK_ST(sketch_store_open(dir, plan_algo, &s), SKETCH_E_FORMAT);
    CHECK(holds(dir, 0, 4, "unharmed") == 4);

    unlink(at("refuse/meta.json"));                        /* rows of who knows which operator */
    CHECK_ST(sketch_store_open(dir, plan, &s), SKETCH_E_FORMAT);
    CHECK_ST(sketch_store_open(dir, NULL, &s), SKETCH_E_FORMAT);
    spit(at("refuse/meta.json"), "{\"name\": \"something else\"}\n", 27);
    CHECK_ST(sketch_store_open(dir, plan, &s), SKETCH_E_FORMAT);
    CHECK_ST(sketch_store_open(dir, NULL, &s), SKETCH_E_FORMAT);
    rm_rf(dir);

    CHECK_ST(sketch_store_open(dir, NULL, &s), SKETCH_E_IO);                         /* no directory, and none is made */
    CHECK(access(dir, F_OK) != 0);
    mkdir(dir, 0777);
    CHECK_ST(sketch_store_open(dir, NULL, &s), SKETCH_E_FORMAT);                     /* a directory, not a store */
    spit(at("refuse/notes.txt"), "hello", 5);
    spit(at("refuse/seg-x y.idx.npy"), "hello", 5);
    spit(at("refuse/seg-.idx.npy"), "hello", 5);
    spit(at("refuse/seg-0123456789012345678901234567890123456789x.idx.npy"), "hello", 5);
    spit(at("refuse/meta-1-2-3.tmp"), "half", 4);
    make_store(dir, 0, 2);                                                           /* foreign files do not matter */
    mkdir(at("refuse/seg-directory.idx.npy"), 0777);
    mkfifo(at("refuse/seg-fifo.idx.npy"), 0777);
    spit(at("refuse/seg-dataless.npy"), "x", 1);
    CHECK(holds(dir, 0, 2, "foreign files") == 2);
    rm_rf(dir);
    mkdir(dir, 0777);
    mkfifo(at("refuse/meta.json"), 0777);                                            /* must not wait for a writer */
    CHECK_ST(sketch_store_open(dir, NULL, &s), SKETCH_E_FORMAT);
    CHECK_ST(sketch_store_open(dir, plan, &s), SKETCH_E_FORMAT);
    unlink(at("refuse/meta.json"));

    test_begin("store: hostile meta.json and segments");
    {
        static const struct { const char *d; sketch_status want; } ds[] = {
            { "5", SKETCH_OK }, { "0", SKETCH_E_FORMAT }, { "05", SKETCH_E_FORMAT }, { "-5", SKETCH_E_FORMAT }, { "5x", SKETCH_E_FORMAT }, { "", SKETCH_E_FORMAT }, { " 5", SKETCH_E_FORMAT },
            { "4611686018427387904", SKETCH_E_FORMAT }, { "18446744073709551615", SKETCH_E_FORMAT }, { "18446744073709551621", SKETCH_E_FORMAT }, { "99999999999999999999999999", SKETCH_E_FORMAT } };
        for (size_t i = 0; i < sizeof ds / sizeof *ds; i++) {
            sketch_status st;
            snprintf(text, sizeof text, body, ds[i].d);
            spit_meta("refuse", text);
            st = sketch_store_open(dir, NULL, &s);
            CHECK_MSG(st == ds[i].want, "d %s: %s", ds[i].d, sketch_status_string(st));
            sketch_store_close(s);
        }
    }
    snprintf(text, sizeof text, body, "5");
    {
        static const char *edits[][2] = { { "\"version\": 1", "\"version\": 2" }, { "f32", "f64" }, { "sketch.h store", "sketch.h stove" }, { "0123456789abcdef", "0123456789ABCDEF" }, { "0123456789abcdef", "0123456789abcde" },
            { "other", "" }, { "other", "ot\nher" }, { "\"d\"", "\"e\"" }, { "1,\n\0", "1,\r\n" } };
        for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
            char t2[1024], *q = strstr(text, edits[i][0]);
            CHECK(q != NULL);
            if (!q) continue;
            snprintf(t2, sizeof t2, "%.*s%s%s", (int)(q - text), text, edits[i][1], q + strlen(edits[i][0]));
            spit_meta("refuse", t2);
            CHECK_ST(sketch_store_open(dir, NULL, &s), SKETCH_E_FORMAT);
        }
    }
    {   /* a long operator text, and a long file: bounded reads */
        char *big = malloc(5000), *t2 = malloc(5000);
        memset(big, 'a', 3000); big[3000] = 0;
        snprintf(t2, 5000, "{\n  \"format\": \"sketch.h store\",\n  \"version\": 1,\n  \"operator\": \"%s\",\n", big);
        spit(at("refuse/meta.json"), t2, strlen(t2));
        CHECK_ST(sketch_store_open(dir, NULL, &s), SKETCH_E_FORMAT);
        free(big); free(t2);
    }
    /* a sparse index of a terabyte claims all: no memory is taken for it */
    rm_rf(dir);
    make_store(dir, 0, 3);
    mem_largest = 0;
    CHECK(truncate(seg_path(dir, ".idx.npy"), (off_t)1 << 40) == 0 && truncate(seg_path(dir, ".npy"), (off_t)1 << 40) == 0);
    CHECK(holds(dir, 0, 3, "sparse") == 3);
    CHECK_MSG(mem_largest < 100000, "%zu bytes asked", mem_largest);
    /* a segment of another width, or with a spoilt header */
    for (int idx = 0; idx < 2; idx++) for (int what = 0; what < 4; what++) {
        size_t n;
        unsigned char *p;
        char *path;
        rm_rf(dir);
        make_store(dir, 0, 3);
        p = slurp(path = seg_path(dir, idx ? ".idx.npy" : ".npy"), &n);
        if (what == 0) memset(p, 0, 128);
        if (what == 1) p[6] = 2;
        if (what == 2) p[idx ? 30 : 82] = '6';
        if (what == 3) memcpy(p + (idx ? 103 : 61), "                 x", 18);
        spit(path, p, n);
        if (what < 3) CHECK_ST(sketch_store_open(dir, plan, &s), SKETCH_E_FORMAT);
        else CHECK(holds(dir, 0, 3, "nonsense count") == 3);
        free(p);
    }
    rm_rf(dir);
    make_store(dir, 0, 3);
    spit(at("refuse/seg-early.idx.npy"), "\x93NUMPY", 6);                             /* crashed at creation: no rows */
    memset(text, 0, sizeof text);
    spit(at("refuse/seg-zeros.idx.npy"), text, 1000);
    spit(at("refuse/seg-zeros.npy"), text, 1000);
    CHECK(holds(dir, 0, 3, "crashed segments") == 3);
    /* rows the index has and the file has not: fewer rows, and verify says so */
    unlink(seg_path(dir, ".npy"));
    rm_rf(at("refuse/seg-early.idx.npy")); rm_rf(at("refuse/seg-zeros.idx.npy"));
    CHECK_OK(sketch_store_open(dir, NULL, &s));
    CHECK(sketch_store_count(s) == 0);
    CHECK_OK(sketch_store_verify(s, &k));
    CHECK(k == 3);
    CHECK_OK(sketch_store_close(s));
    rm_rf(dir);
    free(dir);
}

static void test_readonly(void) {
    sketch_store *s, *w;
    uint64_t id = 9, k;
    float row[D] = { 0 };
    char *dir = strdup(at("ro"));
    test_begin("store: read only with a NULL plan");
    make_store(dir, 0, 4);
    CHECK_OK(sketch_store_open(dir, NULL, &s));
    CHECK(sketch_store_dim(s) == D && sketch_store_count(s) == 4 && sketch_store_fingerprint(s) == sketch_query(plan).fingerprint);
    CHECK_ST(sketch_store_append(s, &id, row, 1), SKETCH_E_STATE);
    CHECK(!sketch_store_has(s, 9));
    CHECK_OK(sketch_store_commit(s));
    CHECK_OK(sketch_store_open(dir, plan, &w));
    CHECK_OK(add(w, 4, 4));
    CHECK_OK(sketch_store_commit(w));
    CHECK(sketch_store_count(s) == 4);
    CHECK_OK(sketch_store_refresh(s));
    CHECK(walk(s, 0, 8, &k) == 8 && k == 8);
    CHECK_OK(sketch_store_close(w));
    CHECK_OK(sketch_store_close(s));
    CHECK(count_files(dir, "seg-") == 4);
    free(dir);
}

static void test_writers(void) {
    sketch_store *a, *b, *r;
    uint64_t k, seen, order[64], n0;
    const float *rows;
    const uint64_t *ids;
    char *dir = strdup(at("writers"));
    test_begin("store: several handles, refresh, row numbers stay");
    CHECK_OK(sketch_store_open(dir, plan, &a));
    CHECK_OK(sketch_store_open(dir, plan, &b));
    CHECK_OK(sketch_store_open(dir, NULL, &r));
    for (uint64_t i = 0; i < 6; i++) {
        CHECK_OK(add(a, 10 * i, 2));
        CHECK_OK(add(b, 10 * i + 5, 3));
        CHECK_OK(sketch_store_commit(i & 1 ? b : a));
        CHECK_OK(sketch_store_refresh(i & 1 ? a : b));
        CHECK_OK(sketch_store_commit(i & 1 ? a : b));
        n0 = sketch_store_count(r);
        for (uint64_t q = 0; q < n0; q++) { CHECK_OK(sketch_store_rows(r, q, &k, &rows, &ids)); order[q] = ids[0]; }
        CHECK_OK(sketch_store_refresh(r));
        CHECK(sketch_store_count(r) == 5 * (i + 1) && walk(r, 0, 60, &seen) == 5 * (i + 1) && seen == 5 * (i + 1));
        for (uint64_t q = 0; q < n0; q++) { CHECK_OK(sketch_store_rows(r, q, &k, &rows, &ids)); CHECK(order[q] == ids[0]); }
        CHECK(!sketch_store_has(a, 10 * i + 9));
    }
    CHECK_OK(sketch_store_refresh(a));
    CHECK_OK(sketch_store_refresh(b));
    CHECK_OK(sketch_store_refresh(b));                     /* nothing new: nothing twice */
    CHECK(walk(a, 0, 60, &seen) == 30 && seen == 30 && walk(b, 0, 60, &seen) == 30 && seen == 30 && sketch_store_has(a, 57));
    CHECK_OK(sketch_store_verify(a, &k));
    CHECK(k == 0);
    CHECK_OK(sketch_store_close(a));
    CHECK_OK(sketch_store_close(b));
    CHECK_OK(sketch_store_close(r));
    {   /* two opens of the same directory number the rows alike */
        CHECK_OK(sketch_store_open(dir, NULL, &a));
        CHECK_OK(sketch_store_open(dir, NULL, &b));
        for (uint64_t q = 0; q < 30; q++) {
            const uint64_t *ids2;
            CHECK_OK(sketch_store_rows(a, q, &k, &rows, &ids));
            CHECK_OK(sketch_store_rows(b, q, &k, &rows, &ids2));
            CHECK(ids[0] == ids2[0]);
        }
        sketch_store_close(a);
        sketch_store_close(b);
    }
    rm_rf(dir);

    test_begin("store: several processes create and write at once");
    for (int round = 0; round < 10; round++) {
        pid_t pid[4];
        int ok = 0, refused = 0, mixed = round & 1, go[2];
        CHECK(pipe(go) == 0);
        fflush(NULL);
        for (int c = 0; c < 4; c++) {
            if ((pid[c] = fork()) == 0) {
                char x;
                sketch_status st;
                close(go[1]);
                if (read(go[0], &x, 1) != 0) _exit(9);      /* all start when the parent closes the pipe */
                st = sketch_store_open(dir, mixed && (c & 1) ? plan_seed : plan, &a);
                if (st != SKETCH_OK) _exit(st == SKETCH_E_FORMAT ? 2 : 3);
                for (uint64_t i = 0; i < 8; i++)
                    if (add(a, 1000 * (uint64_t)c + 7 * i, 7) != SKETCH_OK || sketch_store_commit(a) != SKETCH_OK) _exit(4);
                _exit(sketch_store_close(a) != SKETCH_OK);
            }
        }
        close(go[0]);
        close(go[1]);
        for (int c = 0; c < 4; c++) {
            int status;
            waitpid(pid[c], &status, 0);
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) ok++;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 2) refused++;
        }
        CHECK_MSG(mixed ? ok == 2 && refused == 2 : ok == 4, "round %d: %d ok, %d refused", round, ok, refused);
        CHECK(count_files(dir, "meta") == 1);
        CHECK(holds(dir, 0, 0, "several processes") == 56u * (unsigned)ok);
        rm_rf(dir);
    }

    test_begin("store: a reader follows a writer");
    CHECK_OK(sketch_store_open(dir, plan, &r));
    fflush(NULL);
    {
        int status, torn = 0;
        uint64_t last = 0;
        pid_t pid = fork();
        if (pid == 0) {
            if (sketch_store_open(dir, plan, &a) != SKETCH_OK) _exit(3);
            for (uint64_t i = 0; i < 400; i++)
                if (add(a, 5 * i, 5) != SKETCH_OK || sketch_store_commit(a) != SKETCH_OK) _exit(4);
            _exit(sketch_store_close(a) != SKETCH_OK);
        }
        for (;;) {
            int done = waitpid(pid, &status, WNOHANG) == pid;
            CHECK_OK(sketch_store_refresh(r));
            CHECK(sketch_store_count(r) >= last);
            last = walk(r, 0, 2000, &seen);
            for (int idx = 0; idx < 2; idx++) {             /* at any time np.load finds what the header promises */
                struct stat st;
                char head[129] = "";
                int fd = open(seg_path(dir, idx ? ".idx.npy" : ".npy"), O_RDONLY);
                if (fd < 0) continue;
                if (read(fd, head, 128) == 128 && fstat(fd, &st) == 0 && strtoull(head + (idx ? 103 : 61), NULL, 10) > ((uint64_t)st.st_size - 128) / (idx ? 16 : 4 * D)) torn++;
                close(fd);
            }
            CHECK_OK(sketch_store_verify(r, &k));
            CHECK(k == 0);
            if (done) break;
        }
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && torn == 0 && last == 2000 && seen == 2000);
    }
    CHECK_OK(sketch_store_close(r));

    test_begin("store: a forked child may not write with the parent's handle");
    CHECK_OK(sketch_store_open(dir, plan, &a));
    CHECK_OK(add(a, 5000, 2));
    fflush(NULL);
    {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            int bad = add(a, 6000, 1) != SKETCH_E_STATE || sketch_store_commit(a) != SKETCH_E_STATE || sketch_store_close(a) != SKETCH_E_STATE;
            _exit(bad);
        }
        waitpid(pid, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    CHECK_OK(sketch_store_close(a));
    CHECK(holds(dir, 5000, 2, "after the fork") == 2002);
    free(dir);
}

static void test_damage(void) {
    static const char *exts[] = { ".npy", ".idx.npy" };
    char *dir = strdup(at("damage"));
    sketch_store *s;
    uint64_t k, seen;
    test_begin("store: every truncation of every file");
    make_store(dir, 0, 5);
    for (int f = 0; f < 3; f++) {
        char *path = strdup(f < 2 ? seg_path(dir, exts[f]) : at("damage/meta.json"));
        size_t n, len;
        unsigned char *p = slurp(path, &n);
        CHECK(n > 128);
        for (len = 0; len < n; len++) {
            uint64_t unit = f ? 16 : 4 * D, want = len < 128 ? 0 : (len - 128) / unit;
            sketch_status st;
            spit(path, p, len);
            st = sketch_store_open(dir, len & 1 ? plan : NULL, &s);
            if (f == 2) { CHECK_MSG(st == SKETCH_E_FORMAT, "meta cut to %zu: %s", len, sketch_status_string(st)); sketch_store_close(s); continue; }
            CHECK_MSG(st == SKETCH_OK, "%s cut to %zu: %s", exts[f], len, sketch_status_string(st));
            if (st != SKETCH_OK) continue;
            CHECK_MSG(walk(s, 0, want, &seen) == want && seen == want, "%s cut to %zu: %llu rows", exts[f], len, (unsigned long long)sketch_store_count(s));
            CHECK_OK(sketch_store_verify(s, &k));
            CHECK_MSG(k == (f == 1 && len < 128 ? 0 : 5 - want), "%s cut to %zu: verify %llu", exts[f], len, (unsigned long long)k);
            if (len % 16 == 3) {                              /* it goes on: the old segment is left alone, the new rows are there */
                CHECK_OK(sketch_store_close(s));
                CHECK_OK(sketch_store_open(dir, plan, &s));
                CHECK_OK(add(s, 100, 2));
                CHECK_OK(sketch_store_commit(s));
                CHECK(walk(s, 100, 2, &seen) == want + 2 && seen == 2);
                CHECK_OK(sketch_store_close(s));
                CHECK_OK(sketch_store_open(dir, NULL, &s));
                CHECK(sketch_store_count(s) == want + 2);
                CHECK_OK(sketch_store_close(s));
                spit(at("keep"), p, n);                       /* back to one segment */
                rm_rf(dir);
                make_store(dir, 0, 5);
                free(path);
                path = strdup(seg_path(dir, exts[f]));
            } else CHECK_OK(sketch_store_close(s));
        }
        spit(path, p, n);
        free(p);
        free(path);
    }
    CHECK(holds(dir, 0, 5, "restored") == 5);

    test_begin("store: every flipped byte is refused, found by verify, or harmless");
    for (int f = 0; f < 3; f++) {
        char *path = strdup(f < 2 ? seg_path(dir, exts[f]) : at("damage/meta.json"));
        size_t n, i;
        unsigned char *p = slurp(path, &n);
        uint64_t found = 0, harmless = 0, refused = 0;
        int fd = open(path, O_WRONLY);
        for (i = 0; i < n; i++) for (int bit = 0; bit < 8; bit += 3) {
            sketch_status st;
            unsigned char c = p[i] ^ (unsigned char)(1 << bit);
            CHECK(pwrite(fd, &c, 1, (off_t)i) == 1);
            st = sketch_store_open(dir, bit ? plan : NULL, &s);
            if (st == SKETCH_OK) {
                CHECK_OK(sketch_store_verify(s, &k));
                if (k) {
                    found++;
                    if (f == 1) walk(s, 0, 5, &seen);        /* a damaged index never gives a wrong row */
                } else { harmless++; CHECK(walk(s, 0, 5, &seen) == 5 && seen == 5); }
            } else { refused++; CHECK_MSG(st == SKETCH_E_FORMAT, "byte %zu: %s", i, sketch_status_string(st)); }
            sketch_store_close(s);
            CHECK(pwrite(fd, &p[i], 1, (off_t)i) == 1);
        }
        close(fd);
        if (f == 0) CHECK_MSG(found == 3 * 5 * 4 * D && refused >= 3 * (128 - 18) && harmless <= 3 * 18, "rows: %d found %d refused %d harmless", (int)found, (int)refused, (int)harmless);
        if (f == 1) CHECK_MSG(found >= 3 * 4 * 16 && refused >= 3 * (128 - 18), "index: %d found %d refused %d harmless", (int)found, (int)refused, (int)harmless);
        if (f == 2) CHECK_MSG(refused == 3 * n, "meta: %d of %d refused", (int)refused, (int)(3 * n));
        free(p);
        free(path);
    }
    {   /* while it is open: a row spoilt, and a file of several pages cut (verify must not touch the missing ones) */
        char *path;
        size_t n;
        unsigned char *p, c;
        int fd;
        rm_rf(dir);
        make_store(dir, 0, 300);
        make_store(dir, 300, 300);
        path = strdup(seg_path(dir, ".npy"));
        p = slurp(path, &n);
        CHECK_OK(sketch_store_open(dir, NULL, &s));
        CHECK_OK(sketch_store_verify(s, &k));
        CHECK(k == 0);
        c = p[130] ^ 4;
        fd = open(path, O_WRONLY);
        CHECK(pwrite(fd, &c, 1, 130) == 1);
        CHECK_OK(sketch_store_verify(s, &k));
        CHECK(k == 1);
        CHECK(ftruncate(fd, 128) == 0);
        CHECK_OK(sketch_store_verify(s, &k));
        CHECK(k == 300);
        close(fd);
        unlink(path);
        CHECK_ST(sketch_store_verify(s, &k), SKETCH_E_IO);
        CHECK_OK(sketch_store_close(s));
        spit(path, p, n);
        free(p);
        free(path);
    }
    free(dir);
}

/* ---- power cuts ----
   The log of a run is replayed up to a cut. Directory entries and writes that a sync covered are there; each other one is there,
   or not, or as zeros of the right length, or as a prefix, or as garbage, as the dice fall. The one assumption is the one every
   append-only file makes: bytes that are not written to do not change. */
enum { CLEAN = 8, TRIALS = 16 };                   /* trials below CLEAN: writes are there or not, nothing between */
static int covered(size_t i, size_t cut, int kind, const char *name) {
    for (i++; i < cut; i++) if (ops[i].kind == kind && !strcmp(ops[i].name, name)) return 1;
    return 0;
}
static void replay_file(size_t cut, int trial, uint64_t *rng, const char *inode, const char *path) {
    unsigned char buf[8192];
    size_t size = 0, i, j;
    for (i = 0; i <= cut && i < nops; i++) {
        const op *o = &ops[i];
        size_t n = o->n;
        int how;                                             /* 0 nothing, 1 all, 2 zeros, 3 prefix, 4 garbage */
        if (o->kind != OP_WRITE || strcmp(o->name, inode)) continue;
        how = covered(i, cut, OP_SYNC, inode) ? 1 : trial == 0 ? 0 : trial == 1 ? 1 : (int)(test_u64(rng) % (trial < CLEAN ? 2 : 5));
        if (i == cut && how == 1 && trial >= CLEAN) how = 3;
        if (!how) continue;
        if (o->off + n > sizeof buf) { CHECK(!"replay buffer"); return; }
        if (o->off > size) memset(buf + size, 0, o->off - size);
        if (how == 3) n = test_u64(rng) % (n + 1);
        for (j = 0; j < n; j++) {                            /* (a byte overwritten by the same byte stays: sectors keep what is not written) */
            unsigned char *b = &buf[o->off + j];
            if (o->off + j >= size || *b != o->data[j]) *b = how == 2 ? 0 : how == 4 ? (unsigned char)test_u64(rng) : o->data[j];
        }
        if (o->off + n > size) size = o->off + n;
    }
    spit(path, buf, size);
}
static void replay(size_t cut, int trial, uint64_t *rng, const char *dir) {
    size_t i;
    int made = 0;
    for (i = 0; i < cut; i++) if (ops[i].kind == OP_DIRSYNC && !strcmp(ops[i].name, "..")) made = 1;
    if (!made && (trial == 0 || (trial > 1 && test_u64(rng) % 2))) return;
    mkdir(dir, 0777);
    for (i = 0; i < cut; i++) {
        const op *o = &ops[i];
        char path[1400];
        if (o->kind != OP_CREATE && o->kind != OP_LINK) continue;
        if (!covered(i, cut, OP_DIRSYNC, ".") && (trial == 0 || (trial > 1 && test_u64(rng) % 2))) continue;
        snprintf(path, sizeof path, "%s/%s", dir, o->kind == OP_LINK ? o->to : o->name);
        replay_file(cut, trial, rng, o->name, path);
    }
}
/* The sum of the indices' header counts; UINT64_MAX if a header tells more rows than its file has. */
static uint64_t promises(const char *dir) {
    DIR *d = opendir(dir);
    struct dirent *e;
    uint64_t sum = 0;
    while (d && (e = readdir(d)) != NULL) {
        char path[1400];
        size_t n;
        int idx = strstr(e->d_name, ".idx.npy") != NULL;
        unsigned char *p;
        uint64_t count = 0;
        if (strncmp(e->d_name, "seg-", 4)) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        p = slurp(path, &n);
        if (p && n >= 128) {
            count = strtoull((char *)p + (idx ? 103 : 61), NULL, 10);
            if (count > (n - 128) / (idx ? 16 : 4 * D)) sum = UINT64_MAX;
        }
        if (idx && sum != UINT64_MAX) sum += count;
        free(p);
        if (sum == UINT64_MAX) break;
    }
    if (d) closedir(d);
    return sum;
}
static void ack(uint64_t n) { log_op(OP_ACK, "", "", n, NULL, 0); }
static void test_powercut(void) {
    char *dir = strdup(at("power")), *cut_dir = strdup(at("cut"));
    sketch_store *s;
    uint64_t rng = 5, acked;
    size_t cut, i;
    int short_tries = 0;
    test_begin("store: power cut at every step");
    logging = 1;
    CHECK_OK(sketch_store_open(dir, plan, &s));              /* ids 0, 1, 2 .. in order of acknowledgement */
    CHECK_OK(add(s, 0, 3));
    CHECK_OK(add(s, 3, 1));
    CHECK_OK(sketch_store_commit(s)); ack(4);
    CHECK_OK(add(s, 4, 2));
    CHECK_OK(sketch_store_commit(s)); ack(6);
    CHECK_OK(add(s, 6, 1));
    CHECK_OK(sketch_store_close(s)); ack(7);
    CHECK_OK(sketch_store_open(dir, plan, &s));
    CHECK_OK(add(s, 7, 40));
    CHECK_OK(sketch_store_commit(s)); ack(47);
    CHECK_OK(add(s, 47, 2));
    CHECK_OK(sketch_store_commit(s)); ack(49);
    CHECK_OK(sketch_store_close(s));
    logging = 0;
    CHECK(nops > 40);
    for (cut = 0; cut <= nops; cut++) {
        for (acked = 0, i = 0; i < cut; i++) if (ops[i].kind == OP_ACK) acked = ops[i].off;
        for (int trial = 0; trial < TRIALS; trial++) {
            char what[64];
            sketch_status st;
            uint64_t seen, bad = 99;
            snprintf(what, sizeof what, "cut %d of %d, trial %d", (int)cut, (int)nops, trial);
            replay(cut, trial, &rng, cut_dir);
            if (trial < CLEAN) {                             /* np.load: the headers promise nothing that is not there */
                uint64_t promised = promises(cut_dir);
                CHECK_MSG(promised != UINT64_MAX, "%s: a header promises too much", what);
                if (cut == nops) CHECK_MSG(promised == 49, "after close the headers tell %d rows", (int)promised);
            }
            st = sketch_store_open(cut_dir, plan, &s);
            CHECK_MSG(st == SKETCH_OK, "%s: open: %s", what, sketch_status_string(st));
            if (st == SKETCH_OK) {
                walk(s, 0, acked, &seen);
                CHECK_MSG(seen == acked, "%s: %d of %d acknowledged rows", what, (int)seen, (int)acked);
                if (sketch_store_count(s) > acked) short_tries++;
                CHECK_OK(sketch_store_verify(s, &bad));
                /* a count in garbage, written over by the cut, may claim more: verify then errs on the loud side */
                if (trial < CLEAN) CHECK_MSG(bad == 0, "%s: verify %d", what, (int)bad);
                CHECK_OK(add(s, 100, 2));
                CHECK_OK(sketch_store_close(s));
                CHECK_OK(sketch_store_open(cut_dir, NULL, &s));
                if (s) { walk(s, 0, acked, &seen); CHECK(seen == acked && sketch_store_has(s, 101)); sketch_store_close(s); }
            }
            rm_rf(cut_dir);
        }
    }
    CHECK(short_tries > 0);                                  /* the dice did matter */
    log_clear();
    rm_rf(dir);
    free(dir);
    free(cut_dir);
}

static void test_kill(void) {
    char *dir = strdup(at("kill"));
    uint64_t acked_total = 0, rng = 3;
    test_begin("store: kill -9 at any moment");
    for (int round = 0; round < 25; round++) {
        int fds[2][2], status;
        pid_t pid[2];
        fflush(NULL);
        for (int c = 0; c < 2; c++) {
            CHECK(pipe(fds[c]) == 0);
            if ((pid[c] = fork()) == 0) {
                sketch_store *s;
                uint64_t first = ((uint64_t)(2 * round + c) << 32) + 1;
                close(fds[c][0]);
                if (sketch_store_open(dir, plan, &s) != SKETCH_OK) _exit(3);
                for (uint64_t i = 0; ; i += 3) {
                    uint64_t upto = i + 3;
                    if (add(s, first + i, 3) != SKETCH_OK || sketch_store_commit(s) != SKETCH_OK) _exit(4);
                    if (write(fds[c][1], &upto, sizeof upto) != (ssize_t)sizeof upto) _exit(5);
                    if (i > 3000) pause();                   /* waits for the kill */
                }
            }
            close(fds[c][1]);
        }
        usleep((useconds_t)(500 + test_u64(&rng) % 15000));
        for (int c = 0; c < 2; c++) kill(pid[c], SIGKILL);
        for (int c = 0; c < 2; c++) {
            uint64_t upto = 0, v;
            char what[64];
            waitpid(pid[c], &status, 0);
            CHECK(WIFSIGNALED(status));
            while (read(fds[c][0], &v, sizeof v) == (ssize_t)sizeof v) upto = v;
            close(fds[c][0]);
            snprintf(what, sizeof what, "round %d child %d", round, c);
            if (access(at("kill/meta.json"), F_OK) == 0 || upto) holds(dir, ((uint64_t)(2 * round + c) << 32) + 1, upto, what);
            acked_total += upto;
        }
    }
    CHECK(acked_total > 100);
    CHECK(holds(dir, 0, 0, "all rounds") >= acked_total);
    rm_rf(dir);
    free(dir);
}

/* ---- the k-th call of each kind fails ---- */
/* Returns the number of rows acknowledged: ids 0 .. n-1. */
static uint64_t scenario(const char *dir, int kind) {
    sketch_store *s = NULL, *r = NULL;
    uint64_t acked = 0, next = 0, bad;
    int sticky = fault.kind != K_NONE && fault.sticky;
    sketch_status st = sketch_store_open(dir, plan, &s), want = kind == K_MALLOC ? SKETCH_E_MEMORY : SKETCH_E_IO;
    if (st != SKETCH_OK) {
        CHECK_MSG(st == want && s == NULL, "%s: open: %s", kind_name[kind], sketch_status_string(st));
        return 0;
    }
    for (int i = 0; i < 5; i++) {
        size_t n = i == 3 ? 90 : 3;
        st = add(s, next, n);
        if (st == SKETCH_E_MEMORY) { CHECK(kind == K_MALLOC && !sketch_store_has(s, next)); st = add(s, next, n); if (sticky) break; CHECK_OK(st); }
        if (st != SKETCH_OK) goto failed;
        next += n;
        st = sketch_store_commit(s);
        if (st == SKETCH_E_MEMORY) { CHECK(kind == K_MALLOC); CHECK(sketch_store_has(s, next - 1) && sketch_store_count(s) == acked); st = sketch_store_commit(s); if (sticky) break; CHECK_OK(st); }
        if (st == SKETCH_E_IO && kind == K_MMAP) { CHECK(sketch_store_has(s, next - 1)); if (sticky) break; st = sketch_store_commit(s); CHECK_OK(st); }
        if (st != SKETCH_OK) goto failed;
        acked = next;
        CHECK(sketch_store_count(s) == acked);
        if (i == 2 || i == 4) {
            st = r ? sketch_store_refresh(r) : sketch_store_open(dir, NULL, &r);
            CHECK_MSG(st == SKETCH_OK || st == want, "%s: reader: %s", kind_name[kind], sketch_status_string(st));
            if (r) walk(r, 0, acked, &bad);
            if (st != SKETCH_OK && r && !sticky) { CHECK_OK(sketch_store_refresh(r)); CHECK(walk(r, 0, acked, &bad) == acked); }
            if (r) { st = sketch_store_verify(r, &bad); CHECK_MSG((st == SKETCH_OK || st == want) && bad == 0, "%s: verify", kind_name[kind]); }
        }
    }
    CHECK_OK(sketch_store_close(r));
    if (add(s, next, 1) == SKETCH_OK) next++;
    st = sketch_store_close(s);
    if (st == SKETCH_OK) acked = next; else CHECK_MSG(st == want || st == SKETCH_E_STATE, "%s: close: %s", kind_name[kind], sketch_status_string(st));
    return acked;
failed:
    CHECK_MSG(st == want, "%s: %s", kind_name[kind], sketch_status_string(st));
    CHECK_ST(add(s, 9000, 1), SKETCH_E_STATE);               /* final for the handle, and what is committed stays readable */
    CHECK_ST(sketch_store_commit(s), SKETCH_E_STATE);
    sketch_store_refresh(s);                                 /* (may fail too) never shows rows that were not acknowledged */
    CHECK(sketch_store_count(s) == acked && walk(s, 0, acked, &bad) == acked && bad == acked);
    CHECK(!sketch_store_has(s, acked) && !sketch_store_has(s, 9000) && (!acked || (sketch_store_has(s, 0) && sketch_store_has(s, acked - 1))));
    CHECK_ST(sketch_store_close(s), SKETCH_E_STATE);
    CHECK_OK(sketch_store_close(r));
    return acked;
}
static void test_faults(void) {
    char *dir = strdup(at("fault"));
    int fd0 = next_fd();
    long mem0 = mem_blocks, total = 0;
    test_begin("store: the k-th call of every kind fails");
    for (int kind = K_OPEN; kind < K_END; kind++) for (int sticky = 0; sticky < 2; sticky++) {
        long k, hits = 0;
        for (k = 1; k < 1000; k++) {
            char what[64];
            uint64_t acked;
            sketch_store *s;
            sketch_status st;
            if (kind == K_SHORT && sticky) break;
            snprintf(what, sizeof what, "%s %ld%s", kind_name[kind], k, sticky ? " and on" : "");
            arm(kind, k, sticky, kind == K_LINK ? EPERM : EIO);
            acked = scenario(dir, kind);
            hits = fault.hits;
            disarm();
            CHECK_MSG(mem_blocks == mem0, "%s: %ld blocks leak", what, mem_blocks - mem0);
            CHECK_MSG(maps() == 0, "%s: a map leaks", what);
            CHECK_MSG(next_fd() == fd0, "%s: a file descriptor leaks", what);
            st = sketch_store_open(dir, plan, &s);           /* whatever happened: it opens, and nothing acknowledged is lost */
            CHECK_MSG(st == SKETCH_OK, "%s: reopen: %s", what, sketch_status_string(st));
            if (st == SKETCH_OK) { CHECK_OK(sketch_store_close(s)); holds(dir, 0, acked, what); }
            rm_rf(dir);
            if (!hits) break;
            total++;
        }
        CHECK_MSG(k > 1 || (kind == K_SHORT && sticky), "%s was never called", kind_name[kind]);
        CHECK(k < 1000);
    }
    CHECK_MSG(total > 100, "%ld faults", total);

    test_begin("store: interrupted and short reads and writes");
    dribble = 1;
    CHECK(scenario(dir, K_NONE) == 103);
    CHECK(holds(dir, 0, 103, "dribble") == 103);
    dribble = 0;
    CHECK(holds(dir, 0, 103, "dribble") == 103);
    rm_rf(dir);
    arm(K_FSYNC, 1, 1, EINVAL);                              /* a file system that cannot sync directories */
    CHECK(scenario(dir, K_NONE) == 103);
    disarm();
    rm_rf(dir);
    arm(K_FDATASYNC, 1, 0, EINTR);
    CHECK(scenario(dir, K_NONE) == 103);
    disarm();
    CHECK(holds(dir, 0, 103, "interrupted sync") == 103);
    rm_rf(dir);
    free(dir);
}

/* Lanczos with a checkpoint: A = diag(1, 2, ..) */
static int ramp(void *user, const float *v, float *out) {
    for (size_t i = 0; i < 40; i++) out[i] = v[i] * (float)(i + 1);
    (void)user;
    return 0;
}
static void test_checkpoint(void) {
    enum { N = 40, STEPS = 6 };
    float straight[(STEPS + 1) * N], basis[(STEPS + 1) * N];
    double ds[4 * STEPS], dd[4 * STEPS];
    char *path = at("krylov"), *tmp = at("krylov.tmp");
    int fd0 = next_fd();
    long total = 0;
    sketch_krylov k = sketch_krylov_make(N, STEPS, straight, ds);
    sketch_krylov_options o;
    test_begin("store: checkpoint: the k-th call of every kind fails");
    memset(&o, 0, sizeof o);
    CHECK_OK(sketch_lanczos(ramp, NULL, &k, &o));
    o.checkpoint = path;
    for (int kind = K_OPEN; kind <= K_FDATASYNC; kind++) for (int sticky = 0; sticky < 2 && !(sticky && kind == K_SHORT); sticky++) for (int resume = 0; resume < 2; resume++) {
        long i, hits;
        for (i = 1; i < 500; i++) {
            sketch_status st;
            unlink(path); unlink(tmp);
            if (resume) { k = sketch_krylov_make(N, 2, basis, dd); CHECK_OK(sketch_lanczos(ramp, NULL, &k, &o)); }
            k = sketch_krylov_make(N, STEPS, basis, dd);
            arm(kind, i, sticky, EIO);
            st = sketch_lanczos(ramp, NULL, &k, &o);
            hits = fault.hits;
            disarm();
            CHECK_MSG(st == (hits ? SKETCH_E_IO : SKETCH_OK), "%s %ld: %s", kind_name[kind], i, sketch_status_string(st));
            CHECK_MSG(next_fd() == fd0, "%s %ld: a file descriptor leaks", kind_name[kind], i);
            CHECK(access(tmp, F_OK) != 0);
            CHECK(!memcmp(k.alpha, ds, k.done * 8) && (k.done == 0 || !memcmp(basis, straight, (k.done + 1) * N * 4)));        /* what was computed is there */
            k = sketch_krylov_make(N, STEPS, basis, dd);
            st = sketch_lanczos(ramp, NULL, &k, &o);                     /* another process goes on from the file: the same bits */
            CHECK_MSG(st == SKETCH_OK && k.done == STEPS && !memcmp(basis, straight, sizeof basis) && !memcmp(k.alpha, ds, STEPS * 8) && !memcmp(k.beta, ds + STEPS, STEPS * 8),
                      "%s %ld: resumed: %s", kind_name[kind], i, sketch_status_string(st));
            if (!hits) break;
            total++;
        }
        CHECK_MSG(i > 1 || kind == K_READ || resume, "%s was never called", kind_name[kind]);
    }
    CHECK_MSG(total > 100, "%ld faults", total);
    unlink(path);
    dribble = 1;
    k = sketch_krylov_make(N, STEPS, basis, dd);
    CHECK_OK(sketch_lanczos(ramp, NULL, &k, &o));
    k = sketch_krylov_make(N, STEPS, basis, dd);
    CHECK_OK(sketch_krylov_load(&k, path));                              /* row 0 is there from before */
    dribble = 0;
    CHECK(k.done == STEPS && k.saved == STEPS + 1 && !memcmp(basis, straight, sizeof basis));
    unlink(path);
}

static void test_arguments(void) {
    sketch_store *s = NULL;
    uint64_t id = 1, k = 9;
    const float *rows = NULL;
    const uint64_t *ids = NULL;
    float row[D] = { 1, 2, 3, 4, 5 };
    char *dir = strdup(at("args")), cwd[1024];
    test_begin("store: arguments and states");
    s = (sketch_store *)(uintptr_t)1;
    CHECK_ST(sketch_store_open(NULL, plan, &s), SKETCH_E_ARG);
    CHECK(s == NULL);
    CHECK_ST(sketch_store_open("", plan, &s), SKETCH_E_ARG);
    CHECK_ST(sketch_store_open(dir, plan, NULL), SKETCH_E_ARG);
    CHECK(access(dir, F_OK) != 0);
    spit(at("file"), "x", 1);
    CHECK_ST(sketch_store_open(at("file/sub"), plan, &s), SKETCH_E_IO);
    CHECK_ST(sketch_store_open(at("file"), plan, &s), SKETCH_E_IO);
    CHECK_ST(sketch_store_open(at("file"), NULL, &s), SKETCH_E_IO);
    CHECK_ST(sketch_store_open(at("no/such/parent"), plan, &s), SKETCH_E_IO);        /* one level only */

    CHECK_ST(sketch_store_append(NULL, &id, row, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_store_commit(NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_store_refresh(NULL), SKETCH_E_ARG);
    CHECK(sketch_store_count(NULL) == 0 && sketch_store_dim(NULL) == 0 && sketch_store_fingerprint(NULL) == 0 && sketch_store_has(NULL, 1) == 0);
    CHECK_ST(sketch_store_verify(NULL, &k), SKETCH_E_ARG);
    CHECK(k == 0);
    CHECK_ST(sketch_store_rows(NULL, 0, &k, &rows, &ids), SKETCH_E_ARG);
    CHECK_OK(sketch_store_close(NULL));

    CHECK_OK(sketch_store_open(at("args//"), plan, &s));                              /* trailing slashes are fine */
    CHECK_ST(sketch_store_append(s, NULL, row, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_store_append(s, &id, NULL, 1), SKETCH_E_ARG);
    CHECK_ST(sketch_store_append(s, &id, row, 0), SKETCH_E_ARG);
    CHECK_ST(sketch_store_append(s, &id, row, SIZE_MAX), SKETCH_E_SIZE);
    CHECK_ST(sketch_store_append(s, &id, row, SIZE_MAX / (4 * D) - 1), SKETCH_E_SIZE);
    CHECK(count_files(dir, "seg-") == 0);
    CHECK_OK(sketch_store_append(s, &id, row, 1));
    CHECK_ST(sketch_store_append(s, &id, row, SIZE_MAX / 8 / D), SKETCH_E_SIZE);
    CHECK_OK(sketch_store_commit(s));
    k = 9; rows = row; ids = &id;
    CHECK_ST(sketch_store_rows(s, 1, &k, &rows, &ids), SKETCH_E_SIZE);
    CHECK(k == 0 && rows == NULL && ids == NULL);
    CHECK_ST(sketch_store_rows(s, UINT64_MAX, &k, &rows, &ids), SKETCH_E_SIZE);
    rows = row;
    CHECK_ST(sketch_store_rows(s, 0, NULL, &rows, &ids), SKETCH_E_ARG);
    CHECK(rows == NULL);
    CHECK_ST(sketch_store_rows(s, 0, &k, NULL, &ids), SKETCH_E_ARG);
    CHECK_ST(sketch_store_rows(s, 0, &k, &rows, NULL), SKETCH_E_ARG);
    CHECK_ST(sketch_store_verify(s, NULL), SKETCH_E_ARG);
    CHECK_OK(sketch_store_close(s));

    /* NaN and Inf are rows like others, bit for bit */
    row[0] = NAN; row[1] = INFINITY; row[2] = -0.0f;
    CHECK_OK(sketch_store_open(dir, plan, &s));
    id = 2;
    CHECK_OK(sketch_store_append(s, &id, row, 1));
    CHECK_OK(sketch_store_commit(s));
    CHECK_OK(sketch_store_rows(s, 1, &k, &rows, &ids));
    CHECK(rows && !memcmp(rows, row, sizeof row));
    CHECK_OK(sketch_store_close(s));

    /* the directory is gone when the first row comes */
    CHECK_OK(sketch_store_open(dir, plan, &s));
    CHECK(rename(dir, at("moved")) == 0);
    CHECK_ST(add(s, 50, 1), SKETCH_E_IO);
    CHECK_ST(add(s, 51, 1), SKETCH_E_STATE);
    CHECK_ST(sketch_store_commit(s), SKETCH_E_STATE);
    CHECK(!sketch_store_has(s, 50) && sketch_store_has(s, 1) && sketch_store_count(s) == 2);
    CHECK_ST(sketch_store_refresh(s), SKETCH_E_IO);
    CHECK(rename(at("moved"), dir) == 0);
    CHECK_OK(sketch_store_refresh(s));
    CHECK_ST(sketch_store_close(s), SKETCH_E_STATE);

    /* segment names that are taken already, or half: another one is found */
    CHECK_OK(sketch_store_open(at("taken"), plan, &s));
    for (unsigned long t = (unsigned long)time(NULL), i = 0; i < 3; i++) {
        spit(at("taken/seg-%010lu-%010lu-0000.idx.npy", t + i, (unsigned long)getpid()), "", 0);
        spit(at("taken/seg-%010lu-%010lu-0001.npy", t + i, (unsigned long)getpid()), "", 0);
    }
    CHECK_OK(add(s, 60, 2));
    CHECK_OK(sketch_store_close(s));
    CHECK_OK(sketch_store_open(at("taken"), plan, &s));
    CHECK(sketch_store_count(s) == 2 && sketch_store_has(s, 61));
    CHECK_OK(sketch_store_close(s));

    /* a relative path, in the working directory itself */
    if (getcwd(cwd, sizeof cwd) && chdir(root) == 0) {
        make_store("relative", 0, 3);
        CHECK(holds("relative", 0, 3, "relative") == 3);
        CHECK(holds("./relative/", 0, 3, "relative") == 3);
        CHECK(chdir("relative") == 0 && holds(".", 0, 3, "dot") == 3);
        CHECK(chdir(cwd) == 0);
    }
    free(dir);
}

void test_store(void) {
    const char *tmp = getenv("TMPDIR");
    const uint16_t one = 1;
    sketch_desc desc = sketch_desc_make(SKETCH_DENSE, 100, D, 42);
    int fd0;
    snprintf(root, sizeof root, "%s/sketch-store-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    test_begin("store: set-up");
    if (!mkdtemp(root)) { CHECK(!"mkdtemp"); return; }
    if (sketch_create(&desc, &plan) != SKETCH_OK) { CHECK(!"plan"); rm_rf(root); return; }
    desc.seed = 43; CHECK_OK(sketch_create(&desc, &plan_seed)); desc.seed = 42;
    desc.d = 6;     CHECK_OK(sketch_create(&desc, &plan_d));    desc.d = D;
    desc.algo = SKETCH_SJLT; CHECK_OK(sketch_create(&desc, &plan_algo));
    mem_blocks = 0;
    fd0 = next_fd();
    if (*(const unsigned char *)&one == 1) {
        test_basic();
        test_refuse();
        test_readonly();
        test_writers();
        test_damage();
        test_powercut();
        test_kill();
        test_faults();
        test_checkpoint();
        test_arguments();
    } else {
        sketch_store *s;
        test_begin("store: unsupported on big-endian hosts");
        CHECK_ST(sketch_store_open(at("be"), plan, &s), SKETCH_E_UNSUPPORTED);
        CHECK(s == NULL && access(at("be"), F_OK) != 0);
    }
    test_begin("store: nothing leaks");
    CHECK_MSG(mem_blocks == 0, "%ld blocks", mem_blocks);
    CHECK(next_fd() == fd0);
    rm_rf(root);
    CHECK(access(root, F_OK) != 0);
    sketch_destroy(plan);
    sketch_destroy(plan_seed);
    sketch_destroy(plan_d);
    sketch_destroy(plan_algo);
}
