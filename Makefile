# sketch.h needs no build: include it. Here: a demonstration, the paper's experiments, the tests, and install.
# All output goes to build/ (O), demo-out/ and paper-out/.
CC      ?= cc
CFLAGS  ?= -O2
PYTHON  ?= python3
INSTALL ?= install
PREFIX  ?= /usr/local
WARN     = -Wall -Wextra
LIBS     = -lm -lpthread
O        = build
alone    = tests/oracle_shim.c tests/examples_check.c tests/known_answers.c
tests    = $(filter-out $(alone),$(wildcard tests/*.c))
programs = $(addprefix $(O)/,demo paper test_main known_answers examples_check examples_check64 bench/bench bench/krylov)

help:
	@echo 'make demo            trains a small network, finds what taught it what: demo-out/report.html'
	@echo 'make paper           the experiments of the paper on two small models: paper-out/report.html;'
	@echo '                     resumable; PAPER=quick or full'
	@echo 'make test            all tests that need a C compiler only; under 3 minutes'
	@echo 'make check           hygiene: contents, names, form, licence, README'
	@echo 'make compile-matrix  C99 to C++17, gcc and clang, every warning an error; ways to include and link'
	@echo 'make sanitize        tests under address and undefined-behaviour sanitizers'
	@echo 'make oracle          against a second implementation in Python (NumPy, SciPy); spectra against LAPACK'
	@echo '                     and ARPACK'
	@echo 'make aarch64         tests on AArch64 through SIMDe, under QEMU'
	@echo 'make split           build/split/: sketch.h and sketch.c, for those who want two files'
	@echo 'make bench           times every operator against the memory of this machine: build/bench/;'
	@echo '                     ARGS=--quick for half a minute'
	@echo 'make bench-peers     installs the peers that PyPI carries and times them in the same run'
	@echo 'make all             builds the programs of demo, paper, test and bench'
	@echo 'make install         the header and sketch.pc, to PREFIX (/usr/local) under DESTDIR; make uninstall'
	@echo 'make clean'
	@echo 'CC, CPPFLAGS, CFLAGS, LDFLAGS and LDLIBS are yours; what they built is rebuilt when they change.'

all: $(programs)

demo: $(O)/demo
	$(O)/demo $(ARGS)

PAPER ?= default
paper: $(O)/paper
	$(O)/paper --scale $(PAPER) $(ARGS)

test: $(O)/test_main $(O)/known_answers $(O)/examples_check $(O)/examples_check64
	@sh tests/sum.sh $(O)/test_main '$(O)/known_answers tests/known_answers.txt' $(O)/examples_check \
	    $(O)/examples_check64 'sh tests/compile.sh fast' 'sh tests/check.sh'

check:
	@sh tests/check.sh

compile-matrix:
	@sh tests/compile.sh gcc clang cross

sanitize:
	$(MAKE) O=build/sanitize CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all' \
	    build/sanitize/test_main
	build/sanitize/test_main

oracle: $(O)/liboracle.so
	$(PYTHON) tests/oracle.py $< $(ARGS)
	$(PYTHON) tests/spectrum_check.py $<

# only SIMDe's own headers: the host's would not fit
SIMDE = /usr/include/simde
aarch64:
	mkdir -p build/aarch64/include && ln -sfn $(SIMDE) build/aarch64/include/simde
	$(MAKE) O=build/aarch64 CC=aarch64-linux-gnu-gcc CFLAGS='-O2 -static -isystem build/aarch64/include' \
	    build/aarch64/test_main
	qemu-aarch64 build/aarch64/test_main $(ARGS)

bench: $(O)/bench/bench
	$(O)/bench/bench $(ARGS)

bench-peers:
	CC='$(CC)' $(PYTHON) bench/peers.py $(ARGS)

# sketch.c includes itself where sketch.h would
split: sketch.h
	mkdir -p $(O)/split
	awk '{ print } /^#endif \/\* SKETCH_H \*\// { exit }' sketch.h > $(O)/split/sketch.h
	{ printf '#define SKETCH_IMPLEMENTATION\n#define SKETCH_SELF "sketch.c"\n#include "sketch.h"\n'; \
	  awk '/^\/\* \/\/ >>helpers/ { exit } after { print } /^#endif \/\* SKETCH_H \*\// { after = 1 }' \
	      sketch.h; } > $(O)/split/sketch.c
	sed -n '/^\/\* \/\/ >>helpers/,$$p' sketch.h >> $(O)/split/sketch.h
	printf '#include "sketch.h"\nint main(void) { return sketch_selftest(SKETCH_ISA_AUTO); }\n' \
	    > $(O)/split/main.c
	$(CC) -std=c99 $(CPPFLAGS) $(CFLAGS) $(WARN) -c $(O)/split/sketch.c -o $(O)/split/sketch.o
	$(CC) -std=c99 $(CPPFLAGS) $(CFLAGS) $(WARN) $(O)/split/main.c $(O)/split/sketch.o -o $(O)/split/main \
	    $(LDFLAGS) $(LIBS) $(LDLIBS)
	$(O)/split/main

version = $(shell awk '/^.define SKETCH_VERSION_[MP]/ { v = v dot $$3; dot = "." } END { print v }' sketch.h)
include = $(DESTDIR)$(PREFIX)/include
package = $(DESTDIR)$(PREFIX)/share/pkgconfig
install:
	$(INSTALL) -d '$(include)' '$(package)'
	$(INSTALL) -m 644 sketch.h '$(include)/sketch.h'
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' '' 'Name: sketch' \
	    'Description: gradient and Hessian sketches in one C header' 'Version: $(version)' \
	    'Cflags: -I$${includedir}' 'Libs: -lm' > '$(package)/sketch.pc'
	chmod 644 '$(package)/sketch.pc'

uninstall:
	rm -f '$(include)/sketch.h' '$(package)/sketch.pc'

clean:
	rm -rf build demo-out paper-out

# what all below is built with: written only when it has changed, so that all of it is rebuilt then
flags = $(CC) | $(CPPFLAGS) | $(CFLAGS) | $(WARN) | $(LDFLAGS) | $(LIBS) | $(LDLIBS)
$(O)/flags: force
	@mkdir -p $(O)/bench
	@{ printf '%s\n' '$(subst ','\'',$(flags))'; $(CC) --version 2>&1; } > $@.$$$$; \
	 if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi

# a program of one file, its first prerequisite; `options` and `libs` are a target's own
compile = $(CC) $(options) -I. $(CPPFLAGS) $(CFLAGS) $(WARN)
program = $(compile) $< -o $@ $(LDFLAGS) $(libs) $(LIBS) $(LDLIBS)
common  = sketch.h $(O)/flags

$(O)/demo $(O)/paper: $(O)/%: examples/%.c $(wildcard examples/*.c examples/*.h) $(common)
	$(program)

$(O)/known_answers: tests/known_answers.c $(common)
	$(program)

$(O)/examples_check64: options = -DIN_DOUBLE
$(O)/examples_check $(O)/examples_check64: tests/examples_check.c examples/digits.h examples/gpt.h $(common)
	$(program)

$(O)/bench/bench: libs = -ldl
$(O)/bench/bench $(O)/bench/krylov: $(O)/%: %.c $(wildcard bench/*.h examples/*.h) $(common)
	$(program)

$(O)/liboracle.so: options = -shared -fPIC
$(O)/liboracle.so: tests/oracle_shim.c $(common)
	$(program)

$(O)/%.o: options = -std=gnu11
$(O)/%.o: tests/%.c tests/test.h $(common)
	$(compile) -c $< -o $@

$(O)/test_main: $(tests:tests/%.c=$(O)/%.o) $(O)/flags
	$(CC) $(CFLAGS) $(filter %.o,$^) -o $@ $(LDFLAGS) $(LIBS) $(LDLIBS)

.PHONY: help all demo paper test check compile-matrix sanitize oracle aarch64 bench bench-peers split \
        install uninstall clean force
