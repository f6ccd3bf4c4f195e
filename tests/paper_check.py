#!/usr/bin/env python3
"""What make paper writes: the summary and the page say what the measurements say, nothing is missing, and the bars hold.

    python3 tests/paper_check.py DIRECTORY SCALE        ends with `N passed, N failed`

The measurements (results-SCALE.txt) are read here anew, and every derived number is computed a second time.
"""
import html, os, re, sys
import page_check

passed = failed = 0
def check(good, what):
    global passed, failed
    if good: passed += 1
    else: failed += 1; print(f"FAIL {what}")

def smallest(results, prefix, op, beyond):
    """The smallest d from which on, at every d measured, the value is beyond a threshold: as a number, and as the page writes it."""
    at = sorted((int(k.rsplit(".", 1)[1]), v[0]) for k, v in results.items() if k.startswith(f"{prefix}.{op}.") and k.rsplit(".", 1)[1].isdigit())
    answer = None
    for d, v in reversed(at):
        if not beyond(v): break
        answer = d
    if not at: return None, "-"
    return answer, f"> {at[-1][0]}" if answer is None else f"<= {answer}" if answer == 64 else str(answer)

def ideal_r(results, model, d):
    """r of an ideal dense projection: noise of variance W/d on exact products of variance V."""
    variance, error = results[f"ideal.{model}"]
    return (variance / (variance + error / d)) ** 0.5

def ideal_smallest(results, model, threshold):
    at = sorted(int(k.rsplit(".", 1)[1]) for k in results if k.startswith(f"ip.{model}.AFFD."))
    answer = next((d for d in at if ideal_r(results, model, d) > threshold), None)
    return f"> {at[-1]}" if answer is None else f"<= {answer}" if answer == 64 else str(answer)

def noise(results, model, op):
    """{d: the operator's mean squared error over an ideal dense projection's}"""
    prefix = f"noise.{model}.{op}."
    found = {int(k[len(prefix):]): v[0] for k, v in results.items() if k.startswith(prefix)}
    return {d: v * d / results[f"ideal.{model}"][1] for d, v in found.items()}

def mean(values):
    values = list(values)
    return sum(values) / len(values)

def check_ideal(results, model):
    """Dense against its theory, the others against dense. On the digits a few long gradients carry all: bounds from above."""
    variance, error = results[f"ideal.{model}"]
    check(0 < variance < error, f"ideal.{model}: V is below W, the mean of |x|^2 |y|^2 + (x.y)^2")
    over = {}                                    # 1/r^2 - 1 is noise over signal: the measured over the ideal
    for key, value in results.items():
        if not key.startswith(f"ip.{model}.dense."): continue
        d = int(key.rsplit(".", 1)[1])
        over[d] = (value[0] ** -2 - 1) / (ideal_r(results, model, d) ** -2 - 1)
    said = ", ".join(f"{d}: {v:.2f}" for d, v in over.items())
    if model == "gpt":
        check(all(0.5 < v < 1.7 for v in over.values()), f"dense is near the ideal line at each d: {said}")
        check(0.75 < mean(over.values()) < 1.3, f"dense is on the ideal line in the mean: {said}")
    else: check(mean(over.values()) < 2, f"dense on the digits is not below the ideal line: {said}")
    for op in ("AFFD", "FJL", "SJLT", "SRHT", "dense"):
        ratio = mean(noise(results, model, op).values())
        low, high = (0.8, 1.3) if model == "gpt" else (0, 3)
        check(low < ratio < high, f"noise of {op} on {model}, mean over d: {ratio:.2f}, from {low} to {high}")

def main(directory, scale):
    lines = open(os.path.join(directory, f"results-{scale}.txt")).read().splitlines()
    check(all(re.fullmatch(r"\S+( \S+)+ \.", l) for l in lines), "every line is whole")
    keys = [l.split()[0] for l in lines]
    check(len(keys) == len(set(keys)), "no measurement is there twice")
    results = {l.split()[0]: [float(x) for x in l.split()[1:-1]] for l in lines}
    check(all(x == x and abs(x) != float("inf") for v in results.values() for x in v), "all are finite")
    for kind, least in (("ip.gpt.", 50), ("ip.digits.", 50), ("layer.gpt.", 4), ("layer.digits.", 5), ("eig.gpt.", 13), ("eig.digits.", 19), ("eiglayer.gpt.", 4), ("eiglayer.digits.", 5),
                        ("cost.", 10), ("speed.", 20), ("walsh.", 6), ("id.digits.", 3), ("id.gpt.0.", 3), ("id.gpt.1.", 3), ("sweep.gpt.", 7), ("sweep.digits.", 7),
                        ("landscape.gpt.", 2), ("landscape.digits.", 8), ("hvpfd.", 2), ("full.", 2), ("start.", 2)):
        check(sum(k.startswith(kind) for k in keys) >= least, f"at least {least} of {kind}")

    for key in keys:
        if key.startswith("ip."): check(f"noise.{key[3:]}" in results, f"noise.{key[3:]}")
    check("ideal.gpt" in results and "ideal.digits" in results, "the ideal lines")
    if failed: print(f"{passed} passed, {failed} failed"); return True           # what follows needs them all

    summary = open(os.path.join(directory, "summary.md"), encoding="utf-8").read()
    page_path = os.path.join(directory, "report.html")
    page = open(page_path, encoding="utf-8").read()
    try: page_check.check(page_path); check(True, "")
    except Exception as e: check(False, f"the page: {e}")
    rows = [[html.unescape(re.sub("<[^>]*>", "", c)) for c in re.findall(r"<t[hd][^>]*>.*?</t[hd]>", r)] for r in re.findall(r"<tr>.*?</tr>", page)]
    check("Not finished" not in page and "not measured" not in summary, "the page is complete")

    sections = re.split(r"\n(?=Smallest d, )", summary)
    operators = ("AFFD", "AFJL", "QK", "FJL", "FFD", "SJLT", "SRHT", "dense")
    for model in ("gpt", "digits"):
        for title, prefix, ops, tests in (("inner products", f"ip.{model}", operators, [lambda v, t=t: v > t for t in (0.95, 0.98, 0.99)]),
                                          ("top-10 eigenvalues", f"eig.{model}", operators[:3], [lambda v, t=t: v < t for t in (0.2, 0.1, 0.05)])):
            part = [s for s in sections if s.startswith(f"Smallest d, {title}, {model}:")]
            check(len(part) == 1, f"summary has {title}, {model}")
            for op in ops:
                want = [smallest(results, prefix, op, t)[1] for t in tests]
                if prefix.startswith("ip."):
                    ratio = noise(results, model, op).values()
                    want.append(f"{mean(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f})")
                check(part and f"| {op} | {' | '.join(want)} |" in part[0], f"summary: {prefix} {op} {want}")
                check([op] + want in rows, f"page: {prefix} {op} {want}")
        want = [ideal_smallest(results, model, t) for t in (0.95, 0.98, 0.99)]
        check(f"| ideal dense | {' | '.join(want)} | 1 |" in summary, f"summary: ideal dense, {model} {want}")
        check(["ideal dense"] + want + ["1"] in rows, f"page: ideal dense, {model} {want}")
        for d in sorted(noise(results, model, "AFFD")):
            cells = []
            for op in operators:
                r = results.get(f"ip.{model}.{op}.{d}")
                cells.append(f"{r[0]:.3f} ({noise(results, model, op)[d]:.2f})" if r else "-")
            check([str(d), f"{ideal_r(results, model, d):.3f}"] + cells in rows, f"page: r at d = {d}, {model}")
        check_ideal(results, model)
        full = results[f"eig.{model}.full"]
        check(full[10] < 1e-3 * full[0] and all(a >= b > 0 for a, b in zip(full[:9], full[1:10])), f"eigenvalues of {model} are converged and in order")
        check(all(v[1] < 0.1 for k, v in results.items() if k.startswith(f"eig.{model}.") and not k.endswith("full")), f"sketched eigenvalues of {model} have converged")
        d, _ = smallest(results, f"eig.{model}", "AFFD", lambda v: v < 0.05)
        check(d is not None and results[f"eig.{model}.AFFD.{d}"][0] < 0.05, f"AFFD has top-10 eigenvalues of {model} within 5% at some d")
        d, _ = smallest(results, f"ip.{model}", "AFFD", lambda v: v > 0.95)
        check(d is not None, f"AFFD reaches r > 0.95 on {model}")
        for l, v in results.items():
            if l.startswith(f"layer.{model}."): check(any(r[0] == l.split(".")[2] and r[1] == f"{v[1]:.0f}" and r[2] == f"{v[0]:.3f}" for r in rows if len(r) == 5), f"page: {l}")

    for op in ("FFD", "AFFD", "AFJL", "QK", "SRHT", "SJLT"):
        length, spread, _ = results[f"walsh.{op}"]
        check([op, f"{length:.2f}", f"{spread:.3f}"] in rows, f"page: walsh {op}")
        check(abs(length - 1) < 0.3, f"mean of {op} is about 1")
    check(results["walsh.FFD"][1] > 0.5 and results["walsh.AFFD"][1] < 0.2, "FFD fails on a Walsh row, AFFD does not")
    check(results["hvpfd.gpt"][0] < 0.01 and results["hvpfd.digits"][0] < 0.2, "HVPs by differences are near the exact ones")
    check(results["full.digits"][0] > 0.9 and results["full.gpt"][0] > results["start.gpt"][0], "training has taught something")
    for name, metric in (("digits", 0), ("gpt", 0), ("gpt", 1)):
        seeds = [results[f"id.{name}.{metric}.{s}"] for s in range(3)]
        low, high = min(s[0] for s in seeds), max(s[0] for s in seeds)
        check(all(s[3] >= s[4] for s in seeds if s[0] > 0), f"{name} {metric}: where the search answers, the target was reached")
        text = f"d = {', '.join(f'{s[0]:.0f}' for s in seeds)} by seed"
        check(text in summary and text in html.unescape(page), f"intrinsic dimension in the summary: {text}")
        if name == "digits" or scale != "quick":                              # the quick GPT learns too little to be held to this
            check(low > 0 and high <= 2 * low, f"{name} {metric}: seeds agree within 2 times: {low:.0f} to {high:.0f}")
            swept = min((int(k.rsplit(".", 1)[1]) for k, v in results.items() if k.startswith(f"sweep.{name}.") and v[metric] >= seeds[0][4]), default=0)
            check(swept and low / 2 <= swept <= 2 * high, f"{name} {metric}: the sweep says {swept}, the search {low:.0f} to {high:.0f}")
    ratio = results["speed.AFFD.512"][0] / results["speed.AFFD.64"][0], results["speed.dense.512"][0] / results["speed.dense.64"][0]
    check(ratio[1] > 2 * ratio[0], f"dense grows with d, AFFD does not: {ratio}")
    print(f"{passed} passed, {failed} failed")
    return failed != 0

if __name__ == "__main__": sys.exit(main(*sys.argv[1:3]))
