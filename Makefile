# sketch.h needs no build: include it. What is here: a demonstration, the paper's experiments and the tests. All output goes to build/, demo-out/ and paper-out/.
CC      ?= cc
CFLAGS  ?= -O2
PYTHON  ?= python3
WARN     = -Wall -Wextra
LIBS     = -lm -lpthread
O        = build
alone    = tests/oracle_shim.c tests/examples_check.c tests/known_answers.c
tests    = $(filter-out $(alone),$(wildcard tests/*.c))

help:
	@echo 'make demo            trains a small network, finds what taught it what: demo-out/report.html'
	@echo 'make paper           the paper'"'"'s experiments on two small models: paper-out/report.html; resumable; PAPER=quick or full'
	@echo 'make test            all tests that need a C compiler only; under 3 minutes'
	@echo 'make check           hygiene: contents, names, licence, README'
	@echo 'make compile-matrix  C99 to C++17, gcc and clang, every warning an error; ways to include and link'
	@echo 'make sanitize        tests under address and undefined-behaviour sanitizers'
	@echo 'make oracle          against a second implementation in Python (NumPy, SciPy); spectra against LAPACK and ARPACK'
	@echo 'make aarch64         tests on AArch64 through SIMDe, under QEMU'
	@echo 'make split           build/split/: sketch.h and sketch.c, for those who want two files'
	@echo 'make bench           times every operator against this machine'"'"'s memory: build/bench/; ARGS=--quick for half a minute'
	@echo 'make bench-peers     installs the peers that PyPI carries and times them in the same run'
	@echo 'make clean'

demo: $(O)/demo
	$(O)/demo $(ARGS)

PAPER ?= default
paper: $(O)/paper
	$(O)/paper --scale $(PAPER) $(ARGS)

test: $(O)/test_main $(O)/known_answers $(O)/examples_check $(O)/examples_check64
	@sh tests/sum.sh $(O)/test_main '$(O)/known_answers tests/known_answers.txt' $(O)/examples_check $(O)/examples_check64 'sh tests/compile.sh fast' 'sh tests/check.sh'

check:
	@sh tests/check.sh

compile-matrix:
	@sh tests/compile.sh gcc clang cross

sanitize:
	$(MAKE) O=build/sanitize CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all' build/sanitize/test_main
	build/sanitize/test_main

oracle: $(O)/liboracle.so
	$(PYTHON) tests/oracle.py $(O)/liboracle.so $(ARGS)
	$(PYTHON) tests/spectrum_check.py $(O)/liboracle.so

SIMDE = /usr/include/simde
aarch64:                       # only SIMDe's own headers: the host's would not fit
	mkdir -p build/aarch64/include && ln -sfn $(SIMDE) build/aarch64/include/simde
	$(MAKE) O=build/aarch64 CC=aarch64-linux-gnu-gcc CFLAGS='-O2 -static -isystem build/aarch64/include' build/aarch64/test_main
	qemu-aarch64 build/aarch64/test_main $(ARGS)

bench: $(O)/bench/bench
	$(O)/bench/bench $(ARGS)

bench-peers:
	CC='$(CC)' $(PYTHON) bench/peers.py $(ARGS)

split: sketch.h                # sketch.c includes itself where sketch.h would
	mkdir -p $(O)/split
	awk '{ print } /^#endif \/\* SKETCH_H \*\// { exit }' sketch.h > $(O)/split/sketch.h
	{ printf '#define SKETCH_IMPLEMENTATION\n#define SKETCH_SELF "sketch.c"\n#include "sketch.h"\n'; \
	  awk '/^\/\* \/\/ >>helpers/ { exit } after { print } /^#endif \/\* SKETCH_H \*\// { after = 1 }' sketch.h; } > $(O)/split/sketch.c
	sed -n '/^\/\* \/\/ >>helpers/,$$p' sketch.h >> $(O)/split/sketch.h
	$(CC) -std=c99 -O2 $(WARN) -c $(O)/split/sketch.c -o $(O)/split/sketch.o
	printf '#include "sketch.h"\nint main(void) { return sketch_selftest(SKETCH_ISA_AUTO); }\n' > $(O)/split/main.c
	$(CC) -std=c99 -O2 $(WARN) $(O)/split/main.c $(O)/split/sketch.o -o $(O)/split/main $(LIBS)
	$(O)/split/main

clean:
	rm -rf build demo-out paper-out

$(O)/demo: sketch.h $(wildcard examples/*.c examples/*.h)
	@mkdir -p $(O)
	$(CC) $(CFLAGS) $(WARN) -I. examples/demo.c -o $@ $(LIBS)

$(O)/paper: sketch.h $(wildcard examples/*.c examples/*.h)
	@mkdir -p $(O)
	$(CC) $(CFLAGS) $(WARN) -I. examples/paper.c -o $@ $(LIBS)

$(O)/known_answers: tests/known_answers.c sketch.h
	@mkdir -p $(O)
	$(CC) $(CFLAGS) $(WARN) -I. $< -o $@ $(LIBS)

$(O)/examples_check: tests/examples_check.c examples/digits.h examples/gpt.h sketch.h
	@mkdir -p $(O)
	$(CC) $(CFLAGS) $(WARN) -I. $< -o $@ $(LIBS)

$(O)/examples_check64: tests/examples_check.c examples/digits.h examples/gpt.h sketch.h
	@mkdir -p $(O)
	$(CC) $(CFLAGS) $(WARN) -DIN_DOUBLE -I. $< -o $@ $(LIBS)

$(O)/%.o: tests/%.c tests/test.h sketch.h
	@mkdir -p $(O)
	$(CC) -std=gnu11 $(CFLAGS) $(WARN) -I. -c $< -o $@

$(O)/test_main: $(tests:tests/%.c=$(O)/%.o)
	$(CC) $(CFLAGS) $^ -o $@ $(LIBS)

$(O)/bench/bench: bench/bench.c bench/machine.h examples/threads.h examples/page.h sketch.h
	@mkdir -p $(O)/bench
	$(CC) $(CFLAGS) $(WARN) -I. bench/bench.c -o $@ $(LIBS) -ldl

$(O)/liboracle.so: tests/oracle_shim.c sketch.h
	@mkdir -p $(O)
	$(CC) $(CFLAGS) -shared -fPIC tests/oracle_shim.c -o $@ -lm

.PHONY: help demo paper test check compile-matrix sanitize oracle aarch64 bench bench-peers split clean
