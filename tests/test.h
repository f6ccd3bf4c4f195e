/* The tests' own small harness: groups, checks, one line a group. */
#ifndef TEST_H
#define TEST_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include "../sketch.h"

extern int test_passed, test_failed;      /* groups */
extern int test_group_bad;                /* failed checks in the open group */
void test_begin(const char *group);       /* closes the group before it */
void test_end(void);
int test_wants(const char *group);         /* no groups were named on the command line, or this one was */
void test_bad(const char *file, int line, const char *what);

/* A failing check prints where and goes on; the first 5 of a group are printed. */
#define CHECK(cond)        do { if (!(cond)) test_bad(__FILE__, __LINE__, #cond); } while (0)
#define CHECK_ST(call, st) do { sketch_status st_ = (call); if (st_ != (st)) { char b_[512]; \
    snprintf(b_, sizeof b_, "%.200s -> %s, not %s", #call, sketch_status_string(st_), #st); test_bad(__FILE__, __LINE__, b_); } } while (0)
#define CHECK_OK(call)     CHECK_ST(call, SKETCH_OK)
#define CHECK_MSG(cond, ...) do { if (!(cond)) { char b_[512]; snprintf(b_, sizeof b_, __VA_ARGS__); test_bad(__FILE__, __LINE__, b_); } } while (0)

/* small deterministic source for test data, not used by the library */
static inline uint64_t test_u64(uint64_t *s) { uint64_t z = (*s += 0x9E3779B97F4A7C15u); z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u; z = (z ^ (z >> 27)) * 0x94D049BB133111EBu; return z ^ (z >> 31); }
static inline double   test_uniform(uint64_t *s) { return ((double)(test_u64(s) >> 11) + 0.5) / 9007199254740992.0; }
double test_normal(uint64_t *s);

/* one function for each file of groups; test_main.c calls them in order */
void test_core(void);
void test_store(void);
void test_helpers(void);
void test_errors(void);
void test_spectrum(void);
#endif
