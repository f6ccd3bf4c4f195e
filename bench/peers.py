#!/usr/bin/env python3
"""sketch.h beside the programs that people use instead, in one process and in turn.

    python3 bench/peers.py [--quick] [--skip torch,jax,...] [--no-install] [--cpu-time]

Makes a virtual environment in build/venv-bench, installs each peer by its package name (those that cannot be installed are named), compiles
bench/shim.c, and measures with one thread (the process pinned to one CPU) and then with two. FHT_LIB=path names a shared library that exports
`int fht_float(float *, int)`; it is then measured too. Output: ratios on stdout, build/bench/peers.csv, and the table of bars, merged with
those that `make bench` judged (build/bench/bars-bench.tsv), in build/bench/bars.md. PyTorch's wheel brings its GPU libraries with it: 3 GB to load,
6 GB on disk; --skip torch does without.

How: every contestant of a comparison runs once in each round, a sample is as many calls as fill 20 ms, medians over rounds. All arrays
are in huge pages: ours by madvise, what the peers allocate themselves through GLIBC_TUNABLES=glibc.malloc.hugetlb=1. Standard library only
outside the virtual environment. Memory: under 12 GB."""
import argparse, csv, ctypes, json, os, resource, shlex, statistics, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT, VENV = os.path.join(ROOT, "build", "bench"), os.path.join(ROOT, "build", "venv-bench")
SHIM = os.path.join(OUT, "libshim.so")
# name: what pip is told, seconds allowed, module to import, what its build needs beforehand
PEERS = {
    "numpy":           (["numpy"], 180, "numpy", []),
    "scipy":           (["scipy"], 180, "scipy", []),
    "threadpoolctl":   (["threadpoolctl"], 60, "threadpoolctl", []),
    "scikit-learn":    (["scikit-learn"], 180, "sklearn", []),
    "jax":             (["jax[cpu]"], 240, "jax", []),
    "faiss-cpu":       (["faiss-cpu"], 180, "faiss", []),
    "pyfftw":          (["pyfftw"], 120, "pyfftw", []),
    "fht-cpu":         (["fht-cpu"], 120, "fht_cpu", []),
    "ffht-unofficial": (["--no-build-isolation", "ffht-unofficial"], 240, "ffht", ["setuptools", "wheel", "pybind11"]),
    "torch":           (["torch"], 420, "torch", []),
}
AFFD, AFJL, QK, DENSE = 1, 2, 3, 6


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------- outside: install, compile, report
def install(skip, no_install):
    """{peer: version, or the reason why it is not there}"""
    python = os.path.join(VENV, "bin", "python")
    found = {}
    if not os.path.exists(python):
        say("making build/venv-bench")
        r = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True)
        if r.returncode:
            sys.exit("peers.py: no virtual environment: " + (r.stdout + r.stderr).strip()[-300:] + "\n(Debian: apt-get install python3-venv)")
    for name, (what, limit, module, before) in PEERS.items():
        if name in skip:
            found[name] = (False, "left out by --skip")
            continue
        version = ("import importlib.metadata as m, %s; print(m.version(%r))" % (module, name))
        probe = subprocess.run([python, "-c", version], capture_output=True, text=True)
        if probe.returncode and not no_install:
            say("installing %s (at most %d s)" % (name, limit))
            start = time.time()
            try:
                for packages in filter(None, (before, what)):
                    r = subprocess.run([python, "-m", "pip", "install", "-q"] + packages, capture_output=True, text=True,
                                       timeout=max(1, limit - (time.time() - start)))
                    if r.returncode:
                        break
                why = "" if r.returncode == 0 else " ".join(l for l in (r.stdout + r.stderr).splitlines() if "error" in l.lower())[:300] or "pip failed"
            except subprocess.TimeoutExpired:
                why = "pip took longer than %d s" % limit
            if why:
                found[name] = (False, why)
                continue
            probe = subprocess.run([python, "-c", version], capture_output=True, text=True)
        if probe.returncode:
            found[name] = (False, (probe.stderr.strip().splitlines() or ["does not import"])[-1][:300])
        else:
            found[name] = (True, probe.stdout.strip())
    return found


def environment(threads):
    env = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        env[name] = str(threads)
    env["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    env["JAX_PLATFORMS"] = "cpu"
    try:
        if "avx512dq" in open("/proc/cpuinfo").read():
            env.setdefault("OPENBLAS_CORETYPE", "SkylakeX")   # an OpenBLAS older than the CPU would otherwise fall back to SSE
    except OSError:
        pass
    return env


def run_inside(args, mode, threads, found):
    cmd = [os.path.join(VENV, "bin", "python"), os.path.abspath(__file__), "--inside", mode, "--threads", str(threads),
           "--peers", ",".join(k for k, v in found.items() if v[0])]
    cmd += ["--quick"] * args.quick + ["--cpu-time"] * args.cpu_time
    env = environment(threads)
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, text=True, env=env,
                         preexec_fn=(lambda: os.sched_setaffinity(0, cpus[-1:])) if cpus and threads == 1 else None)
    rows = []
    for line in p.stdout:
        if line.startswith("{"):
            rows.append(json.loads(line))
            rows[-1].setdefault("threads", threads)
    if p.wait():
        say("peers.py: the part `%s`, %d threads, ended with status %d; what it had measured stands" % (mode, threads, p.returncode))
        rows.append({"test": mode, "what": "stopped", "n": 0, "d": 0, "threads": threads, "seconds": None, "note": "exit status %d" % p.returncode})
    return rows


def outside(args):
    os.makedirs(OUT, exist_ok=True)
    if args.merge:                                  # bars.md anew, after another `make bench`
        rows, found = [], {}
        for r in csv.DictReader(open(os.path.join(OUT, "peers.csv"))):
            if r["test"] == "peers":
                found[r["contestant"]] = (r["d"] == "1", r["note"])
                continue
            number = lambda key, kind: kind(r[key]) if r[key] else None
            rows.append({"test": r["test"], "what": r["contestant"], "n": int(r["n"]), "d": int(r["d"]), "threads": int(r["threads"]),
                         "seconds": number("seconds", float), "spread": number("spread_percent", float), "bytes": number("peak_bytes", int), "note": r["note"]})
        bars(args, rows, found)
        return
    start = time.time()
    found = install([s for s in args.skip.split(",") if s], args.no_install)
    cc = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run(cc + ["-O2", "-shared", "-fPIC", os.path.join(ROOT, "bench", "shim.c"), "-o", SHIM, "-lm", "-lpthread"], check=True)
    print("Peers:")
    for name, (ok, text) in found.items():
        print("  %-16s %s" % (name, text if ok else "NOT MEASURED: " + text))
    lib = os.environ.get("FHT_LIB")
    print("  %-16s %s" % ("FHT_LIB", lib or "not set"))
    if not found["numpy"][0]:
        sys.exit("peers.py: nothing can be measured without numpy")
    sys.stdout.flush()
    rows = []
    for threads in (1, 2):
        rows += run_inside(args, "speed", threads, found)
    if found["jax"][0]:
        for who in ("memory-jax", "memory-sketch"):
            rows += run_inside(args, who, 1, found)
    with open(os.path.join(OUT, "peers.csv"), "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["test", "contestant", "n", "d", "threads", "seconds", "spread_percent", "peak_bytes", "ratio_to_sketch", "note"])
        for name, (ok, text) in found.items():
            w.writerow(["peers", name, "", int(ok), "", "", "", "", "", text])   # d = 1: measured
        for r in rows:
            base = pick(rows, r["test"], "sketch.h", r["n"], r["d"], r["threads"])
            w.writerow([r["test"], r["what"], r["n"], r["d"], r["threads"], r.get("seconds"), r.get("spread"), r.get("bytes"),
                        r["seconds"] / base if base and r.get("seconds") else "", r.get("note", "")])
    report(rows)
    bars(args, rows, found)
    print("build/bench: peers.csv, bars.md (%.0f s)" % (time.time() - start))


def pick(rows, test, what, n=None, d=None, threads=1, key="seconds"):
    for r in rows:
        if r["test"] == test and r["what"] == what and n in (None, r["n"]) and d in (None, r["d"]) and r["threads"] == threads:
            return r.get(key)
    return None


def power(n):
    return "2^%d" % (n.bit_length() - 1) if n and n & (n - 1) == 0 else "%.3g" % n


def report(rows):
    seen = []
    for r in rows:
        key = (r["test"], r["n"], r["d"], r["threads"])
        if key not in seen:
            seen.append(key)
    last = None
    for test, n, d, threads in seen:
        if test != last:
            print("\n%s\n%-26s %8s %6s %4s %12s %6s %10s" % (test, "", "n", "d", "thr", "ms", "+-%", "/ sketch.h"))
            last = test
        base = pick(rows, test, "sketch.h", n, d, threads)
        for r in rows:
            if (r["test"], r["n"], r["d"], r["threads"]) != (test, n, d, threads):
                continue
            t, note = r.get("seconds"), r.get("note", "")
            if r.get("bytes"):
                note += (", " if note else "") + "peak %.0f MiB" % (r["bytes"] / 2**20)
            print("%-26s %8s %6s %4d %12s %6s %10s  %s" % (r["what"], power(n), d or "", threads, "%.4g" % (1e3 * t) if t else "-",
                  "%.1f" % r["spread"] if r.get("spread") is not None else "", "%.2f" % (t / base) if t and base else "", note))


def bars(args, rows, found):
    """The issue's table: what is measured here, else what build/bench/bench found."""
    alone, meta = {}, ""
    try:
        for line in open(os.path.join(OUT, "bars-bench.tsv")):
            if line.startswith("#"):
                meta = line[1:].strip()
                continue
            name, what, limit, text, verdict = line.rstrip("\n").split("\t")
            alone[name] = (what, limit, text, verdict)
    except OSError:
        pass
    out = {}

    def bar(name, what, limit, value, good, text):
        out[name] = (what, limit, text if value is not None else "not measured", "unknown" if value is None else "pass" if good(value) else "short")

    FHT = ("FHT_LIB", "ffht-unofficial", "fht-cpu")

    def fht(n):                                     # the fastest of them
        t = [v for v in (pick(rows, "wht", w, n) for w in FHT) if v]
        return min(t) if t else None

    def least(what, threads, lo, hi):
        r = [(fht(1 << l) / pick(rows, "wht", what, 1 << l, None, threads), l) for l in range(lo, hi + 1)
             if fht(1 << l) and pick(rows, "wht", what, 1 << l, None, threads)]
        return min(r) if r else (None, 0)

    def wht(name, what, limit, who, threads, lo, hi, need):
        v, l = least(who, threads, lo, hi)
        bar(name, what, limit, v, lambda x: x >= need, "least %.2fx, at 2^%d" % (v, l) if v else "")

    wht("wht_small", "`sketch_wht_f32` against FFHT's `fht_float`, every 2^10..2^22", ">= 2.0x", "sketch.h", 1, 10, 22, 2.0)
    wht("wht_big", "the same, 2^24..2^28", ">= 1.5x", "sketch.h", 1, 24, 28, 1.5)
    wht("wht_two", "the same, two threads, 2^24 and over", ">= 2.5x", "sketch.h", 2, 24, 28, 2.5)
    wht("wht_avx2", "the same, forced AVX2 path, everywhere", ">= 1.1x", "sketch.h, AVX2", 1, 10, 28, 1.1)
    n = next((r["n"] for r in rows if r["test"] == "AFFD against one transform"), 0)
    t = [v for v in (pick(rows, "AFFD against one transform", w) for w in FHT) if v]
    for name, what, who, need in (("affd", "AFFD, Gaussian diagonal, f32, n = %s, d = 2^12, one vector, against one bare FFHT transform" % power(n), "sketch.h", 0.5),
                                  ("affd_batch", "the same, per vector in a batch of 8", "sketch.h, batch of 8", 0.25),
                                  ("affd_keep", "the same, with `keep_random`", "sketch.h, keep_random", 0.25)):
        a = pick(rows, "AFFD against one transform", who)
        v = a / min(t) if a and t else None
        bar(name, what, "<= %g" % need, v, lambda x: x <= need, "%.2f (%.0f ms, FFHT %.0f ms)" % (v, 1e3 * a, 1e3 * min(t)) if v else "")
    for name, peer, kinds in (("dense_sklearn", "scikit-learn's GaussianRandomProjection (matrix made and applied)", ["scikit-learn"]),
                              ("dense_trak", "TRAK's BasicProjector done in PyTorch", ["PyTorch, BasicProjector +-1", "PyTorch, BasicProjector normal"])):
        mine = pick(rows, "dense", "sketch.h")
        theirs = [r for r in rows if r["test"] == "dense" and r["threads"] == 1 and r["what"] in kinds and r.get("seconds")]
        r = min(theirs, key=lambda r: r["seconds"]) if theirs else {"n": 1 << 22}
        v = r["seconds"] / mine if mine and theirs else None
        bar(name, "dense Rademacher on the fly, n = %s, d = 512, against %s" % (power(r["n"]), peer), ">= 10x", v, lambda x: x >= 10,
            "%.0fx%s" % (v, " (%s; %s)" % (r["what"], r["note"]) if r.get("note") else "") if v else "")
    a, b = pick(rows, "AFFD in JAX", "sketch.h"), pick(rows, "AFFD in JAX", "JAX, B and G given")
    v = b / a if a and b else None
    n = next((r["n"] for r in rows if r["test"] == "AFFD in JAX"), 0)
    bar("jax_time", "the paper's AFFD written as its appendix does (Kronecker einsum, 1024 columns) in JAX, n = %s: time" % power(n), "sketch.h >= 10x faster", v,
        lambda x: x >= 10, "%.0fx (%.0f ms against %.0f ms)" % (v, 1e3 * b, 1e3 * a) if v else "")
    a, b = pick(rows, "memory", "sketch.h", key="bytes"), pick(rows, "memory", "JAX", key="bytes")
    v = a / b if a and b else None
    bar("jax_memory", "the same: peak memory of the process, interpreter and input included", "<= 1/3", v, lambda x: x <= 1 / 3,
        "%.2f (%.0f MiB against %.0f MiB)" % (v, a / 2**20, b / 2**20) if v else "")
    a, b, c = (pick(rows, "scores, 64 queries", w) for w in ("sketch.h", "OpenBLAS sgemm", "OpenBLAS sgemm, transposed"))
    v = b / a if a and b else None
    bar("scores_blas", "scores of 64 queries against the same, speed against OpenBLAS sgemm", ">= 0.9", v, lambda x: x >= 0.9,
        "%.2f (against the transposed product, rows first: %.2f)" % (v, c / a) if v else "")
    a = pick(rows, "top 10, 64 queries", "sketch.h")
    t = [v for v in (pick(rows, "top 10, 64 queries", w) for w in ("FAISS IndexFlatIP", "FAISS IndexFlatIP, BLAS")) if v]
    v = min(t) / a if a and t else None
    bar("scores_faiss", "the ten best for 64 queries, speed against FAISS IndexFlatIP", ">= 1", v, lambda x: x >= 1, "%.2f" % v if v else "")
    a, b = pick(rows, "top 10, 1 query", "sketch.h"), pick(rows, "top 10, 1 query", "streaming read")
    v = b / a if a and b else None
    rows_n = next((r["n"] for r in rows if r["test"] == "top 10, 1 query"), 0)
    bar("topk", "top-k of one query over %s stored sketches of d = 1024, in memory, against the streaming read" % power(rows_n), ">= 80%", v, lambda x: x >= 0.8,
        "%.0f%%" % (100 * v) if v else "")

    order = ["wht_small", "wht_big", "wht_two", "wht_avx2", "affd", "affd_batch", "affd_keep", "afjl", "sjlt", "qk", "dense_sklearn", "dense_trak", "jax_time",
             "jax_memory", "flat_d", "linear_n", "threads", "dtype", "adjoint", "memory", "topk", "topk_store", "scores_blas", "scores_faiss"]
    shim = load()
    text = ctypes.create_string_buffer(320)
    shim.shim_machine(text, 320)
    lines = [text.value.decode() + (", one-thread cases by CPU time" if args.cpu_time else "") + (" (--quick: smaller n than the bars are about)" if args.quick else ""),
             "", "| what | bar | measured |", "|---|---|---|"]
    for name in order:
        row = out.get(name)
        if row is None or row[3] == "unknown":
            row = alone.get(name, row)
        if row:
            lines.append("| %s | %s | %s%s |" % (row[0], row[1], row[2], ", **short**" if row[3] == "short" else ""))
    lines += ["", "Rows without a peer are from `make bench`: %s." % meta if alone else "The other bars: make bench first."]
    missing = ["%s (%s)" % (k, v[1]) for k, v in found.items() if not v[0]]
    lines += ["", "Not measured: " + "; ".join(missing) + "." if missing else "All peers were measured: " + ", ".join("%s %s" % (k, v[1]) for k, v in found.items()) + "."]
    print("\n" + "\n".join(lines) + "\n")
    with open(os.path.join(OUT, "bars.md"), "w") as f:
        f.write("\n".join(lines) + "\n")


# ---------------------------------------------------------------------------------------------------- inside the virtual environment
def load():
    lib = ctypes.CDLL(SHIM)
    p, u, i = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
    for name, result, args in (("shim_alloc", p, [u]), ("shim_free", None, [p, u]), ("shim_fill", None, [p, u]), ("shim_machine", None, [p, u]),
                               ("shim_create", i, [i, u, u, ctypes.c_uint32, i, i, u, ctypes.c_uint, p]), ("shim_destroy", None, [p]), ("shim_apply", i, [p, p, u, p]),
                               ("shim_wht", i, [p, u, u, ctypes.c_uint]), ("shim_has_avx2", i, []), ("shim_wht_avx2", None, [p, u, u]), ("shim_fht", None, [p, p, u, i]),
                               ("shim_scores", i, [p, u, p, u, u, p, ctypes.c_uint]), ("shim_topk", None, [p, u, p, u, u, u, p, ctypes.c_uint]),
                               ("shim_sum", ctypes.c_float, [p, u, ctypes.c_uint])):
        getattr(lib, name).restype, getattr(lib, name).argtypes = result, args
    return lib


class Bench:
    def __init__(self, args):
        import numpy
        self.np, self.threads, self.quick = numpy, args.threads, args.quick
        self.have = args.peers.split(",")
        self.shim = load()
        self.clock = time.process_time if args.cpu_time and args.threads == 1 else time.perf_counter
        self.start = time.time()

    def array(self, count):
        """float32, in huge pages, as every measured array of sketch.h and of the peers that take one."""
        p = self.shim.shim_alloc(4 * count)
        if not p:
            raise MemoryError
        a = self.np.ctypeslib.as_array(ctypes.cast(p, ctypes.POINTER(ctypes.c_float)), (count,))
        return a

    def free(self, a):
        self.shim.shim_free(a.ctypes.data, a.nbytes)

    def operator(self, algo, n, d, diag=0, keep=0, batch=1):
        s = ctypes.c_void_p()
        st = self.shim.shim_create(algo, n, d, 0, diag, keep, batch, self.threads, ctypes.byref(s))
        if st:
            raise RuntimeError("sketch.h: status %d" % st)
        return s

    def race(self, test, n, d, contestants, rounds=7, per_sample=0.02, reset=None, calls_before_reset=0, notes={}, scale={}):
        """contestants {name: function of no arguments}. reset(): makes the shared input anew, every calls_before_reset calls, outside the clock.
        scale: a factor on a contestant's time, which its note must explain."""
        used = [1 << 60]

        def sample(f, times):
            total, done = 0.0, 0
            while done < times:
                chunk = times - done
                if reset:
                    if used[0] >= calls_before_reset:
                        reset()
                        used[0] = 0
                    chunk = min(chunk, calls_before_reset - used[0])
                    used[0] += chunk
                t = self.clock()
                for _ in range(chunk):
                    f()
                total += self.clock() - t
                done += chunk
            return total / times

        inner, samples = {}, {k: [] for k in contestants}
        for name, f in list(contestants.items()):
            try:
                t = sample(f, 1)
                t = sample(f, 1) if t < 5 else t
            except Exception as e:                  # a peer that fails is named, not hidden
                self.emit(test, name, n, d, None, None, note="failed: %s" % str(e)[:200])
                del contestants[name], samples[name]
                continue
            inner[name] = max(1, int(per_sample / max(t, 1e-7)))
            if t > 2:
                rounds = min(rounds, 3)
        for _ in range(rounds):
            for name, f in contestants.items():
                samples[name].append(sample(f, inner[name]))
        for name in contestants:
            s = sorted(v * scale.get(name, 1) for v in samples[name])
            m = statistics.median(s)
            self.emit(test, name, n, d, m, 50 * (s[(3 * len(s) - 1) // 4] - s[(len(s) - 1) // 4]) / m, note=notes.get(name, ""))
        say("%4.0f s  %d thread%s  %s, n = %s%s" % (time.time() - self.start, self.threads, "s"[:self.threads - 1], test, power(n), ", d = %d" % d if d else ""))

    def emit(self, test, what, n, d, seconds, spread, note="", bytes_=None):
        print(json.dumps({"test": test, "what": what, "n": n, "d": d, "seconds": seconds, "spread": spread, "note": note, "bytes": bytes_}), flush=True)


def transforms(b):
    """In place, f32. Below 2^18 a call transforms 2^18 elements in rows, so that calling from Python costs nothing that counts."""
    np, shim, top = b.np, b.shim, 22 if b.quick else 28
    source, x = b.array(1 << 18), b.array(1 << top)
    shim.shim_fill(source.ctypes.data, 1 << 18)
    np.multiply(source, 2.0**-40, out=source)
    lib = ctypes.CDLL(os.environ["FHT_LIB"]).fht_float if os.environ.get("FHT_LIB") else None
    if "ffht-unofficial" in b.have:
        import ffht
    if "fht-cpu" in b.have:
        import fht_cpu
    for l in range(24 if b.threads > 1 else 10, top + 1):
        n, rows = 1 << l, max(1, 1 << 18 >> l)
        v = x[:n * rows]
        two = v.reshape(rows, n) if rows > 1 else v
        p = v.ctypes.data

        def reset():
            for at in range(0, v.size, source.size):
                v[at:at + source.size] = source[:min(source.size, v.size - at)]

        who = {"sketch.h": lambda: shim.shim_wht(p, rows, n, b.threads)}
        if shim.shim_has_avx2() and b.threads == 1:
            who["sketch.h, AVX2"] = lambda: shim.shim_wht_avx2(p, rows, n)
        if lib and b.threads == 1:
            who["FHT_LIB"] = lambda: shim.shim_fht(lib, p, rows, l)
        if "ffht-unofficial" in b.have and b.threads == 1:
            who["ffht-unofficial"] = lambda: ffht.fht_(two, 1)
        if "fht-cpu" in b.have:
            who["fht-cpu"] = lambda: fht_cpu.fht(two, num_threads=b.threads)
        b.race("wht", n, 0, who, rounds=3 if l >= 26 else 7, reset=reset, calls_before_reset=280 // l)
    b.free(x)
    b.free(source)


def fourier(b):
    """A yardstick: what real FFTs of the same length cost (a Hartley transform costs as much)."""
    np = b.np
    for l in (10, 14, 18, 22) if b.quick else (10, 14, 18, 22, 25):
        n, rows = 1 << l, max(1, 1 << 18 >> l)
        x, y = b.array(n * rows), b.array(2 * (n // 2 + 1) * rows)
        b.shim.shim_fill(x.ctypes.data, x.size)
        w = b.array(n * rows)
        w[:] = 0
        who, notes = {"sketch.h": lambda: b.shim.shim_wht(w.ctypes.data, rows, n, 1)}, {"sketch.h": "the Walsh-Hadamard transform"}
        if "scipy" in b.have:
            import scipy.fft
            who["scipy.fft rfft"] = lambda: scipy.fft.rfft(x.reshape(rows, n))
        if "pyfftw" in b.have:
            import pyfftw
            flag = "FFTW_MEASURE" if l <= 18 else "FFTW_ESTIMATE"
            plan = pyfftw.FFTW(x.reshape(rows, n), y.view(np.complex64).reshape(rows, n // 2 + 1), axes=(1,), flags=(flag,), threads=1)
            b.shim.shim_fill(x.ctypes.data, x.size)
            who["FFTW rfft"] = plan.execute
            notes["FFTW rfft"] = flag
        b.race("real FFT as a yardstick", n, 0, who, rounds=5, notes=notes)
        for a in (x, y, w):
            b.free(a)


def affd_against_fht(b):
    shim, l, d = b.shim, 22 if b.quick else 27, 4096
    n = 1 << l
    x, buf, y = b.array(8 * n), b.array(n), b.array(8 * d)
    shim.shim_fill(x.ctypes.data, x.size)
    lib = ctypes.CDLL(os.environ["FHT_LIB"]).fht_float if os.environ.get("FHT_LIB") else None
    one, batch, keep = b.operator(AFFD, n, d), b.operator(AFFD, n, d, batch=8), b.operator(AFFD, n, d, keep=1)
    who = {"sketch.h": lambda: shim.shim_apply(one, x.ctypes.data, 1, y.ctypes.data),
           "sketch.h, batch of 8": lambda: shim.shim_apply(batch, x.ctypes.data, 8, y.ctypes.data),
           "sketch.h, keep_random": lambda: shim.shim_apply(keep, x.ctypes.data, 1, y.ctypes.data),
           "streaming read": lambda: shim.shim_sum(x.ctypes.data, n, b.threads)}

    def reset():
        b.np.multiply(x[:n], 2.0**-40, out=buf)

    if lib:
        who["FHT_LIB"] = lambda: shim.shim_fht(lib, buf.ctypes.data, 1, l)
    if "ffht-unofficial" in b.have:
        import ffht
        who["ffht-unofficial"] = lambda: ffht.fht_(buf, 1)
    if "fht-cpu" in b.have:
        import fht_cpu
        who["fht-cpu"] = lambda: fht_cpu.fht(buf)
    b.race("AFFD against one transform", n, d, who, rounds=5, reset=reset, calls_before_reset=280 // l, scale={"sketch.h, batch of 8": 1 / 8},
           notes={"sketch.h, batch of 8": "per vector"})
    for s in (one, batch, keep):
        shim.shim_destroy(s)
    for a in (x, buf, y):
        b.free(a)


def dense(b):
    """n = 2^22, d = 512. The peers make their matrix anew in each call, n d numbers, which takes them up to a minute: they run at a part of n, and their time is
    multiplied (scikit-learn's matrix, f64, would not fit into memory at n)."""
    np, shim, n, d = b.np, b.shim, 1 << (18 if b.quick else 22), 512
    x, y = b.array(n), b.array(d)
    shim.shim_fill(x.ctypes.data, n)
    op = b.operator(DENSE, n, d, diag=2)
    who, notes, scale = {"sketch.h": lambda: shim.shim_apply(op, x.ctypes.data, 1, y.ctypes.data)}, {}, {}

    def part(name, k):
        notes[name], scale[name] = "run at n/%d, times %d" % (k, k), k
        return n // k
    if "scikit-learn" in b.have and b.threads == 1:
        from sklearn.random_projection import GaussianRandomProjection
        small = x[:part("scikit-learn", 32)].reshape(1, -1)
        who["scikit-learn"] = lambda: GaussianRandomProjection(n_components=d, random_state=1).fit(small).transform(small)
    if "torch" in b.have:
        import torch
        torch.set_num_threads(b.threads)
        names = ["PyTorch, BasicProjector +-1", "PyTorch, BasicProjector normal"]
        m = [part(name, 8) for name in names][0]
        tx, block = torch.from_numpy(x[:m]).reshape(1, m), 100      # TRAK's block of columns
        matrix = torch.empty(m, block)

        def basic(normal):
            g, out = torch.Generator(), torch.empty(1, d)
            for at in range(0, d, block):
                g.manual_seed(1 + 10000 * at)
                if normal:
                    matrix.normal_(generator=g)
                else:
                    matrix.bernoulli_(p=0.5, generator=g)
                    matrix.mul_(2.0).sub_(1.0)
                out[:, at:at + block] = tx @ matrix[:, :min(block, d - at)]
            return out
        who[names[0]], who[names[1]] = lambda: basic(False), lambda: basic(True)
    b.race("dense", n, d, who, rounds=3, notes=notes, scale=scale)
    shim.shim_destroy(op)
    b.free(x)
    b.free(y)


def jax_affd(n, d):
    """Equation 6 as the paper's appendix writes it: H as a Kronecker product of factors of at most 1024, by einsum; the permutations permute the factors'
    rows and columns; then the first d entries. Returns (B and G given, B and G drawn in the call), both compiled, and the arguments."""
    import jax, jax.numpy as jnp, numpy as np, scipy.linalg
    sizes = [n >> 20, 1024, 1024] if n > 1 << 20 else [n >> 10, 1024]
    rng = np.random.default_rng(0)
    H = [np.asarray(scipy.linalg.hadamard(s), np.float32) / np.float32(np.sqrt(s)) for s in sizes]
    H1 = [jnp.asarray(h[rng.permutation(len(h))]) for h in H]
    H2 = [jnp.asarray(h[:, rng.permutation(len(h))]) for h in H]
    kron = "abc,xa,yb,zc->xyz" if len(sizes) == 3 else "ab,xa,yb->xy"

    def given(x, B, G):
        z = jnp.einsum(kron, (B * x).reshape(sizes), *H1, optimize="optimal")
        z = jnp.einsum(kron, (G * z.reshape(-1)).reshape(sizes), *H2, optimize="optimal")
        return z.reshape(-1)[:d] * np.float32(np.sqrt(n / d))

    def drawn(x, key):
        k1, k2 = jax.random.split(key)
        return given(x, jax.random.rademacher(k1, (n,), jnp.float32), jax.random.normal(k2, (n,), jnp.float32))
    return jax.jit(given), jax.jit(drawn), jax.random.PRNGKey(1)


def appendix(b):
    if "jax" not in b.have or "scipy" not in b.have:
        return
    import jax
    n, d = 1 << (20 if b.quick else 24), 4096
    x, y = b.array(n), b.array(d)
    b.shim.shim_fill(x.ctypes.data, n)
    given, drawn, key = jax_affd(n, d)
    jx = jax.numpy.asarray(x)
    B, G = jax.random.rademacher(key, (n,), jax.numpy.float32), jax.random.normal(key, (n,), jax.numpy.float32)
    op = b.operator(AFFD, n, d)
    b.race("AFFD in JAX", n, d, {"sketch.h": lambda: b.shim.shim_apply(op, x.ctypes.data, 1, y.ctypes.data),
                                 "JAX, B and G given": lambda: given(jx, B, G).block_until_ready(),
                                 "JAX, B and G drawn": lambda: drawn(jx, key).block_until_ready()}, rounds=3)
    b.shim.shim_destroy(op)
    b.free(x)
    b.free(y)


def memory(args, who):
    """Peak memory of a process that makes x and sketches it twice: this function in a process of its own."""
    import numpy as np
    n, d = 1 << (20 if args.quick else 24), 4096
    if who == "JAX":
        import jax
        x = jax.numpy.asarray(np.ones(n, np.float32))
        given, drawn, key = jax_affd(n, d)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(2):
            drawn(x, key).block_until_ready()
    else:
        lib, x, y, s = load(), np.ones(n, np.float32), np.empty(d, np.float32), ctypes.c_void_p()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        lib.shim_create(AFFD, n, d, 0, 0, 0, 1, 1, ctypes.byref(s))
        for _ in range(2):
            lib.shim_apply(s, x.ctypes.data, 1, y.ctypes.data)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"test": "memory", "what": who, "n": n, "d": d, "seconds": None, "bytes": after * 1024,
                      "note": "the sketch itself added %.1f MiB" % ((after - before) / 1024)}), flush=True)


def search(b):
    np, shim, d, k = b.np, b.shim, 1024, 10
    n = 50000 if b.quick else 1000000
    t, q, c = b.array(n * d), b.array(64 * d), b.array(64 * n)
    shim.shim_fill(t.ctypes.data, t.size)
    shim.shim_fill(q.ctypes.data, q.size)
    T, Q = t.reshape(n, d), q.reshape(64, d)
    ids = np.zeros((64, k), np.uint64)
    c1, c2 = c.reshape(64, n), c.reshape(n, 64)
    blas, two = "OpenBLAS sgemm", b.threads
    notes = {}
    if "threadpoolctl" in b.have:
        import threadpoolctl
        info = [i for i in threadpoolctl.threadpool_info() if i.get("user_api") == "blas"]
        notes[blas] = "; ".join("%s %s %s" % (i["internal_api"], i["version"], i.get("architecture", "")) for i in info[:1])
    b.race("scores, 64 queries", n, d, {"sketch.h": lambda: shim.shim_scores(q.ctypes.data, 64, t.ctypes.data, n, d, c.ctypes.data, two),
                                        blas: lambda: np.matmul(Q, T.T, out=c1), blas + ", transposed": lambda: np.matmul(T, Q.T, out=c2)}, rounds=5, notes=notes)
    index, few = None, None
    if "faiss-cpu" in b.have:
        import faiss
        faiss.omp_set_num_threads(two)
        index, few = faiss.IndexFlatIP(d), faiss.IndexFlatIP(d)
        for at in range(0, n, 65536):
            index.add(T[at:at + 65536])
        few.add(T[:n // 10])
        if "threadpoolctl" in b.have:
            notes["FAISS IndexFlatIP, BLAS"] = "; ".join(sorted("%s %s" % (i["version"], i.get("architecture", "")) for i in threadpoolctl.threadpool_info()
                                                                if i.get("user_api") == "blas" and "faiss" in i["filepath"]))
    for nq in (64, 1):
        test, scale = "top 10, %d quer%s" % (nq, "y" if nq == 1 else "ies"), {}
        who = {"sketch.h": lambda: shim.shim_topk(q.ctypes.data, nq, t.ctypes.data, n, d, k, ids.ctypes.data, two)}
        if index:
            def default():                          # for 64 queries its default is a loop of dot products: slow, so on a tenth of the rows
                faiss.cvar.distance_compute_blas_threshold = 1 << 20
                (few if nq > 1 else index).search(Q[:nq], k)

            def by_blas():
                faiss.cvar.distance_compute_blas_threshold = 20
                index.search(Q[:nq], k)
            who["FAISS IndexFlatIP"] = default
            notes["FAISS IndexFlatIP"] = "as it is set by default"
            if nq > 1:
                who["FAISS IndexFlatIP, BLAS"] = by_blas
                notes["FAISS IndexFlatIP"], scale["FAISS IndexFlatIP"] = "as it is set by default; run on n/10 rows, times 10", 10
        if nq == 1:
            who["streaming read"] = lambda: shim.shim_sum(t.ctypes.data, t.size, two)
        b.race(test, n, d, who, rounds=5, notes=notes, scale=scale)
        if index:
            faiss.cvar.distance_compute_blas_threshold = 20
            if not (index.search(Q[:nq], k)[1] == ids[:nq].astype(np.int64)).mean() > 0.99:
                b.emit(test, "disagreement", n, d, None, None, note="FAISS and sketch.h name different rows")
    del index, few
    for a in (t, q, c):
        b.free(a)


def inside(args):
    if args.inside == "memory-jax":
        return memory(args, "JAX")
    if args.inside == "memory-sketch":
        return memory(args, "sketch.h")
    b = Bench(args)
    steps = [transforms, fourier, affd_against_fht, dense, appendix, search] if args.threads == 1 else [transforms, dense, appendix, search]
    for step in steps:
        try:
            step(b)
        except Exception as e:
            b.emit(step.__name__, "stopped", 0, 0, None, None, note="%s: %s" % (type(e).__name__, str(e)[:200]))
            say("%s stopped: %s" % (step.__name__, e))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--quick", action="store_true", help="small n: two minutes")
    p.add_argument("--skip", default="", help="peers to leave out, with commas: " + ", ".join(PEERS))
    p.add_argument("--no-install", action="store_true", help="measure what build/venv-bench has")
    p.add_argument("--cpu-time", action="store_true", help="for a machine that others use too: one-thread cases by CPU time")
    p.add_argument("--merge", action="store_true", help="only writes build/bench/bars.md anew from the last runs of make bench and make bench-peers")
    for hidden in ("--inside", "--peers"):
        p.add_argument(hidden, help=argparse.SUPPRESS)
    p.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    args = p.parse_args()
    inside(args) if args.inside else outside(args)


if __name__ == "__main__":
    main()
