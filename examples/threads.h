/* threads.h - parallel_for on POSIX threads, for sketch_desc.threads. Link with -lpthread.

     sketch_desc desc = sketch_desc_make(SKETCH_AFFD, n, 1024, 42);
     desc.threads = threads_pthreads(threads_cpus());

   Compiled with -fopenmp, sketch.h has an adapter of its own: sketch_threads_openmp(). Whichever is used, and whatever the
   number of threads, results are the same to the last bit. Include sketch.h first. */
#ifndef THREADS_H
#define THREADS_H

#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

typedef struct threads_job {
    sketch_task_fn fn;
    void    *arg;
    uint32_t ntasks, next;           /* next: the first task that nobody has taken */
} threads_job;

static inline void *threads_run(void *job_)
{
    threads_job *job = (threads_job *)job_;
    for (;;) {
        uint32_t task = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED);
        if (task >= job->ntasks) return NULL;
        job->fn(job->arg, task);
    }
}

/* Starts width - 1 threads for the call and works beside them: about 20 us, so calls may nest and nothing needs an end.
   If a thread cannot be started the others do its share. */
static inline void threads_parallel_for(void *user, uint32_t ntasks, sketch_task_fn fn, void *arg)
{
    enum { MOST = 256 };
    pthread_t thread[MOST];
    threads_job job = { fn, arg, ntasks, 0 };
    uint32_t width = (uint32_t)(uintptr_t)user, started = 0;
    if (width > ntasks) width = ntasks;
    while (started + 1 < width && started < MOST && !pthread_create(&thread[started], NULL, threads_run, &job)) started++;
    threads_run(&job);
    while (started > 0) pthread_join(thread[--started], NULL);
}

static inline sketch_threads threads_pthreads(unsigned width)
{
    sketch_threads t;
    if (width < 1) width = 1;
    if (width > 256) width = 256;
    t.parallel_for = threads_parallel_for;
    t.user = (void *)(uintptr_t)width;
    t.width = width;
    return t;
}

static inline unsigned threads_cpus(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 1 ? 1 : cpus > 256 ? 256 : (unsigned)cpus;
}

#endif
