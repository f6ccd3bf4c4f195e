#!/bin/sh
# Hygiene of the repository, in a second: one line a check, then `N passed, N failed`. From the repository root: sh tests/check.sh
LC_ALL=C; export LC_ALL
tmp=build/check; mkdir -p $tmp; : > $tmp/results
# empty NAME: passes if its input is empty
empty() {
    cat > $tmp/found
    if [ -s $tmp/found ]; then echo FAIL >> $tmp/results; echo "FAIL $1"; head -n 10 $tmp/found | sed 's/^/       /'; else echo ok >> $tmp/results; echo "ok   $1"; fi
}

awk '/^ CONTENTS/ { on = 1; next } on && /^ *$/ { exit } on' sketch.h | grep -oE '>>[a-z]+' | sort > $tmp/contents
grep -oE '^(/\* )?// >>[a-z]+' sketch.h | grep -oE '>>[a-z]+' | sort > $tmp/markers
{ [ -s $tmp/contents ] || echo "no CONTENTS in the manual"; diff $tmp/contents $tmp/markers; } |
    empty "CONTENTS of the manual names the markers of sketch.h (<: in CONTENTS only, >: in the file only)"

ls | grep -vxE 'sketch\.h|tests|examples|bench|Makefile|README\.md|LICENSE|build|demo-out|paper-out' |
    empty "the top level holds only what it should"

{ grep -nE '#[ ]*define[ ]+([A-Za-z0-9_]*__|_[A-Z])' sketch.h
  # every word that is reserved, less those that compilers and C libraries define
  sed 's/"[^"]*"//g' sketch.h | grep -oE '\b([A-Za-z0-9_]*__[A-Za-z0-9_]*|_[A-Z][A-Za-z0-9_]*)' | sort -u |
  grep -vxE '__[A-Z0-9_]+__|__(cplusplus|aarch64__|ARM_FEATURE_FMA|x86_64__|i386__|linux__|clang__|clang_major__|attribute__|unused__|has_include|builtin_[a-z0-9_]+|atomic_[a-z_]+|cpuid(_count|ex)?|m(128|256|512)[id]?|asm__|volatile__|func__)|_(OPENMP|WIN32|MSC_VER|POSIX_[A-Z_]+|GNU_SOURCE|DEFAULT_SOURCE|FILE_OFFSET_BITS|Pragma|XCR_[A-Z_]+|MM_[A-Z_]+)'
} | empty "no identifier of ours is a reserved one (double underscore, underscore and capital)"

grep -nE '^#[ ]*define[ ]+[A-Za-z]' sketch.h | grep -vE 'define[ ]+(SKETCH_|SKI_|ski_)' |
    empty "macros are SKETCH_*, SKI_* or ski_*"

for word in $(grep -oE '^#[ ]*define[ ]+(SKI_[VUQD]_[A-Z0-9_]+|SKI_TAB_LOAD|ski_[a-z0-9_]+)' sketch.h | sed 's/.*define *//' | sort -u); do
    grep -qE "^#[ ]*undef[ ]+$word\$" sketch.h || echo "$word is never undefined"
done | empty "the vector vocabulary is undefined after use"

awk 'length > 110 { print FNR ": " $0 }' sketch.h | empty "no line of sketch.h is longer than 110 columns"

# comments, strings and the heads of for loops taken out; a macro on one line and `case X: f(); break;` are allowed
awk '
{ l = $0; gsub(/"([^"\\]|\\.)*"/, "", l)
  while (1) {
      if (inside) { i = index(l, "*/"); if (!i) { l = ""; break } l = substr(l, i + 2); inside = 0 }
      i = index(l, "/*"); if (!i) break
      r = substr(l, i + 2); j = index(r, "*/")
      if (j) l = substr(l, 1, i - 1) substr(r, j + 2); else { l = substr(l, 1, i - 1); inside = 1; break }
  }
  while (match(l, /for \(/)) {
      d = 0
      for (k = RSTART + 4; k <= length(l); k++) { c = substr(l, k, 1); if (c == "(") d++; if (c == ")" && --d == 0) break }
      l = substr(l, 1, RSTART - 1) substr(l, k + 1)
  }
  if (gsub(/;/, ";", l) > 1 && l !~ /^ *case .*: .*; break;/ && l !~ /^# *define/) print FNR ": " $0
}' sketch.h | empty "one statement a line in sketch.h"

# after the API an operator's name stands in its row of the table alone
sed '1,/^\/\* \/\/ >>stop/d' sketch.h | grep -oE '.*\bSKETCH_[A-Z]+\b.*' | grep -vE '^    \{ SKETCH_' |
    grep -wE "$(sed -n '/^typedef enum sketch_algo/,/^} sketch_algo/p' sketch.h | grep -oE 'SKETCH_[A-Z]+' | paste -sd '|')" |
    empty "an operator's name stands in the enum, its room and its row of the table alone"

{ grep -q 'MIT License' LICENSE || echo "LICENSE"; grep -q 'MIT License' sketch.h || echo "sketch.h"; } | empty "the licence is there, in LICENSE and in sketch.h"

if [ -f README.md ]; then cat README.md; else echo "make no-README.md"; fi | grep -oE '(^|[`(] *|    )make [a-z][a-z0-9-]*' | sed 's/.*make //' | sort -u |
    while read -r target; do grep -qE "^([a-z0-9-]+ )*$target( [a-z0-9-]+)*:" Makefile || echo "make $target"; done |
    empty "the README's make commands are targets"

version=$(sed -n -e 's/^#define SKETCH_VERSION_M[AJINOR]* \([0-9]*\).*/\1./p' -e 's/^#define SKETCH_VERSION_PATCH \([0-9]*\).*/\1/p' sketch.h | tr -d '\n')
{ sed 1q sketch.h | grep -qF "v$version " || echo "first line: not v$version"
  sed -n '/^ CHANGES/,/^===/p' sketch.h | grep -qF " $version " || echo "CHANGES: no $version"
} | empty "the version is the same in the first line, CHANGES and the macros"

passed=$(grep -c ok $tmp/results) failed=$(grep -c FAIL $tmp/results)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
