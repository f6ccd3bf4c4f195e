#!/bin/sh
# Build tests of sketch.h: one line a check, then `N passed, N failed`. From the repository root:
#     sh tests/compile.sh [fast] [gcc] [clang] [cross] [speed]       default: gcc clang cross
#   fast    with cc alone, some 15 s: how the header may be included, linked and renamed; part of `make test`
#   gcc     the same with gcc and g++, and warnings: C99 to C++17, -O0 to -O3, the configuration macros
#   clang   the same with clang and clang++; where the contracts stand
#   cross   32-bit x86 and big-endian s390x, where their cross compilers are installed
#   speed   the implementation compiles in under 4 s of processor time, or 1.75 times that of a fixed file
# A check that cannot run says SKIPPED; with CI set it was asked for, and fails. Logs: build/compile/.
LC_ALL=C; export LC_ALL
root=$(pwd)
[ -f sketch.h ] || { echo "compile.sh: run me in the directory of sketch.h" >&2; exit 2; }
strict="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
passed=0 failed=0 section=

pass() { echo "ok   $section $1"; passed=$((passed + 1)); }
fail() { echo "FAIL $section $1"; failed=$((failed + 1)); }
skip() { echo "SKIPPED $section $1: $2"; [ -z "$CI" ] || fail "$1: asked for, and skipped"; }
# check NAME COMMAND...: passes if the command does; its output is shown if not
check() {
    name=$1; shift
    if "$@" > log 2>&1; then pass "$name"; else fail "$name"; head -n 5 log | sed 's/^/       /'; fi
}
# refuses WORD COMMAND...: the command fails and says the word
refuses() { word=$1; shift; ! "$@" > refused 2>&1 && grep -q "$word" refused; }
in_dir() (cd "$1" && shift && "$@")
have() { command -v "$1" > /dev/null 2>&1; }
# OBJECT: defines no global symbol but sketch_*, and at least one of those
only_sketch_symbols() {
    nm -g "$1" > symbols && grep -q ' T _*sketch_create$' symbols || return 1
    ! awk 'NF >= 3 && $2 != "U" && $2 != "w" && $3 !~ /^_?sketch_/' symbols | grep .
}
# CC: the functions that the header declares, one a line
public_functions() {
    $1 -E -P -DSKETCH_API=SKETCH_DECLARES -DSKETCH_INLINE=SKETCH_DECLARES -x c "$root/sketch.h" |
        tr '\n' ' ' | grep -oE 'SKETCH_DECLARES [^(;]*\(' |
        grep -oE '\bsketch_[a-z0-9_]* *\($' | tr -d ' (' | sort -u
}
# CC: the library that >>config says how to make exports each of those, and nothing private
library() {
    $1 -O1 -shared -fPIC -x c "$root/sketch.h" -DSKETCH_IMPLEMENTATION -DSKETCH_INLINE= -o libsketch.so -lm ||
        return 1
    public_functions $1 > public
    if [ "$(wc -l < public)" -le 50 ]; then echo "only $(wc -l < public) public functions found"; return 1; fi
    { nm -D libsketch.so || nm -g libsketch.so; } 2> nm.log |
        awk '$2 == "T" { sub(/^_/, "", $3); print $3 }' | sort > exported
    comm -23 public exported > missing
    grep '^ski_' exported > private
    sed 's/^/not exported: /' missing; sed 's/^/private, and exported: /' private
    [ ! -s missing ] && [ ! -s private ]
}
# make install into a directory of its own, and a program compiled with what pkg-config says of it
installs() {
    rm -rf "$(pwd)/dest"
    make -s -C "$root" install DESTDIR="$(pwd)/dest" PREFIX=/opt/sketch || return 1
    cmp "$root/sketch.h" dest/opt/sketch/include/sketch.h || return 1
    pc=dest/opt/sketch/share/pkgconfig/sketch.pc
    sed -n 's/^Version: //p' $pc > installed_version
    sed -n '1s/.*- v\([0-9.]*\) -.*/\1/p' "$root/sketch.h" | cmp - installed_version || return 1
    if have pkg-config; then
        package() { PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=dest pkg-config "$@" sketch; }
        flags=$(package --cflags) libs=$(package --libs)
    else flags=-Idest/opt/sketch/include libs=-lm; fi
    mkdir -p installed && (cd installed && cat ../impl.c ../use.c ../main.c > program.c) || return 1
    cc $flags installed/program.c -o installed/program $libs && installed/program || return 1
    make -s -C "$root" uninstall DESTDIR="$(pwd)/dest" PREFIX=/opt/sketch || return 1
    [ -z "$(find dest -type f)" ]
}

write_programs() {                     # C and C++ at once; each in a .c and a .cpp
    cat > impl.c <<'P'
#define SKETCH_IMPLEMENTATION
#include "sketch.h"
P
    cat > plain.c <<'P'
#include "sketch.h"
int declarations_only(void);
int declarations_only(void) { return SKETCH_VERSION; }
P
    for name in near far IN OUT 'small char' 'hyper long long' 'interface struct' \
                'min(a, b) 0' 'max(a, b) 0'; do
        echo "#define $name"
    done | cat - impl.c > windows.c
    printf '#include "sketch.h"\n' | cat impl.c - > impl_then_plain.c
    printf '#include "sketch.h"\n' | cat - impl.c > plain_then_impl.c
    printf '#include "sketch.h"\n#include "sketch.h"\n' > twice.c
    cat > main.c <<'P'
#include "sketch.h"
#include <stdio.h>
float use_score(const float *x, uint64_t n);
int main(void) {
    static float x[3000], y[64], z[3000];
    sketch_desc desc = sketch_desc_make(SKETCH_AFFD, 3000, 64, 42);
    sketch_plan *plan;
    sketch_work *work;
    sketch_status st;
    double xx, yy, zx;
    int i;
    for (i = 0; i < 3000; i++) x[i] = (float)(i % 7 - 3);
    if ((st = sketch_create(&desc, &plan)) != SKETCH_OK ||
        (st = sketch_work_create(plan, 1, &work)) != SKETCH_OK ||
        (st = sketch_apply(plan, x, SKETCH_F32, y, work)) != SKETCH_OK ||
        (st = sketch_apply_t(plan, y, z, SKETCH_F32, work)) != SKETCH_OK) {
        printf("%s\n", sketch_status_string(st));
        return 1;
    }
    sketch_work_destroy(work);
    sketch_destroy(plan);
    xx = sketch_dot_f32(x, x, 3000);
    yy = sketch_dot_f32(y, y, 64);
    zx = sketch_dot_f32(z, x, 3000);
    printf("%s: |Sx|^2/|x|^2 = %.3f\n", sketch_isa_name(sketch_cpu_isa()), yy / xx);
    /* an isometry; <S^T y, x> = <y, S x> */
    if (!(yy > 0.3 * xx && yy < 3 * xx) || !(zx > 0.999 * yy && zx < 1.001 * yy)) return 2;
    return use_score(x, 3000) == (float)xx && sketch_version() == SKETCH_VERSION ? 0 : 3;
}
P
    cat > use.c <<'P'
#include "sketch.h"
float use_score(const float *x, uint64_t n);
/* by the helpers: the best of two self-influences */
float use_score(const float *x, uint64_t n) {
    float self = 0;
    sketch_hit hit[1];
    size_t count = 0;
    if (sketch_tda_self_influence(x, 1, (size_t)n, &self) != SKETCH_OK) return -1;
    if (sketch_topk_push(hit, 1, &count, 7, self / 2, SKETCH_HIGHEST) != SKETCH_OK) return -1;
    if (sketch_topk_push(hit, 1, &count, 8, self, SKETCH_HIGHEST) != SKETCH_OK) return -1;
    if (sketch_topk_sort(hit, count, SKETCH_HIGHEST) != SKETCH_OK) return -1;
    return hit[0].id == 8 ? hit[0].score : -1;
}
P
    printf '#define SKETCH_STATIC\n' | cat - impl.c main.c > static_main.c
    printf '#define SKETCH_STATIC\n' | cat - impl.c use.c > static_use.c
    { cat <<'P'
#include <stddef.h>
void *my_malloc(size_t n);
void my_free(void *p);
#define SKETCH_MALLOC(n) my_malloc(n)
#define SKETCH_FREE(p) my_free(p)
P
      cat impl.c
      cat <<'P'
#include <stdlib.h>
int my_balance;
void *my_malloc(size_t n) { my_balance++; return malloc(n); }
void my_free(void *p) { my_balance -= p != NULL; free(p); }
#define main sketch_main
P
      cat main.c
      cat <<'P'
#undef main
int main(void) { int rc = sketch_main(); return rc ? rc : my_balance ? 4 : 0; }
P
    } > malloc.c
    printf '#define %s\n' 'SKETCH_SELF "renamed.hpp"' SKETCH_IMPLEMENTATION > renamed.c
    printf '#include "renamed.hpp"\n' >> renamed.c
    mkdir -p app/src app/third_party renamed
    cp "$root/sketch.h" app/third_party/
    cp "$root/sketch.h" renamed/renamed.hpp
    cp "$root/sketch.h" renamed/my_sketch.h
    printf '#ifndef __FILE_NAME__\n#error not told\n#endif\nextern int nothing;\n' > name.c
    printf '#define SKETCH_IMPLEMENTATION\n#include "my_sketch.h"\n' > my.c
    printf '#define SKETCH_IMPLEMENTATION\n#include "../../renamed/my_sketch.h"\n' > app/src/my_relative.c
    printf '#define SKETCH_IMPLEMENTATION\n#include "../third_party/sketch.h"\n' > app/src/relative.c
    for f in *.c app/src/*.c; do cp "$f" "${f%.c}.cpp"; done
}

# the ways to include, link and rename: COMPILER SUFFIX OPTIONS...
programs() {
    cc=$1 ext=$2; shift 2
    say="$cc${1:+ $*}:"
    check "$say implementation" $cc "$@" -I"$root" -c impl.$ext -o impl.o
    check "$say a second file that uses it" $cc "$@" -I"$root" -c use.$ext -o use.o
    check "$say one implements, two use" $cc "$@" -I"$root" main.$ext use.o impl.o -o two -lm
    check "$say   and it runs" ./two
    check "$say no global symbol but sketch_*" only_sketch_symbols impl.o
    check "$say SKETCH_STATIC" $cc "$@" -I"$root" -c static_use.$ext -o static_use.o
    check "$say SKETCH_STATIC in two files" $cc "$@" -I"$root" static_main.$ext static_use.o -o static -lm
    check "$say   and it runs" ./static
    check "$say included twice, implementation first" $cc "$@" -I"$root" -fsyntax-only impl_then_plain.$ext
    check "$say included plain, then implementation" $cc "$@" -I"$root" -c plain_then_impl.$ext -o both.o
    check "$say   and it links" $cc "$@" -I"$root" main.$ext use.o both.o -o two -lm
    check "$say -DSKETCH_IMPLEMENTATION, included twice" \
        $cc "$@" -I"$root" -DSKETCH_IMPLEMENTATION -fsyntax-only twice.$ext
    check "$say SKETCH_MALLOC and SKETCH_FREE" $cc "$@" -I"$root" malloc.$ext use.o -o malloc -lm
    check "$say   and they balance" ./malloc
    check "$say renamed, by SKETCH_SELF" $cc "$@" -Irenamed -fsyntax-only renamed.$ext
    if $cc "$@" -fsyntax-only name.$ext 2> name.log; then
        check "$say renamed, found by a relative -I" $cc "$@" -Irenamed -fsyntax-only my.$ext
        check "$say   from another directory" \
            in_dir app/src $cc "$@" -I../../renamed -fsyntax-only ../../my.$ext
        check "$say   by a relative path" $cc "$@" -fsyntax-only app/src/my_relative.$ext
        check "$say   from its own directory" in_dir app/src $cc "$@" -fsyntax-only my_relative.$ext
    fi
    check "$say renamed, a compiler that does not tell the name asks for SKETCH_SELF" \
        refuses 'define SKETCH_SELF' $cc "$@" -U__FILE_NAME__ -Irenamed -fsyntax-only my.$ext
    check "$say found by a relative -I" $cc "$@" -Iapp/third_party -fsyntax-only impl.$ext
    check "$say found by a relative path" $cc "$@" -fsyntax-only app/src/relative.$ext
    check "$say   from its own directory" in_dir app/src $cc "$@" -fsyntax-only relative.$ext
    check "$say -ffast-math is refused" \
        refuses fast-math $cc "$@" -ffast-math -I"$root" -fsyntax-only impl.$ext
}

# no warning: COMPILER SUFFIX STANDARDS...
matrix() {
    cc=$1 ext=$2; shift 2
    for std; do
        build() { $cc -std=$std $strict -I"$root" "$@"; }
        for o in -O1 -O2; do
            check "$cc -std=$std $o implementation, no warning" build $o -c impl.$ext -o m.o
            check "$cc -std=$std $o declarations, no warning" build $o -c plain.$ext -o m.o
        done
        for macro in SKETCH_NO_STDIO SKETCH_NO_SIMD SKETCH_STATIC; do
            check "$cc -std=$std $macro, no warning" build -O1 -D$macro -c impl.$ext -o m.o
            # static functions that are declared, used by the helpers and never defined
            [ $macro = SKETCH_STATIC ] ||
            check "$cc -std=$std $macro declarations, no warning" build -O1 -D$macro -c plain.$ext -o m.o
        done
    done
    for flags in "-O0" "-O3 -march=native" "-Os" "-O2 -fopenmp" \
                 "-O2 -DSKETCH_NO_STDIO -DSKETCH_NO_SIMD -DSKETCH_STATIC"; do
        have_flags "$cc" "$flags" || continue
        check "$cc $flags implementation, no warning" $cc $flags $strict -I"$root" -c impl.$ext -o m.o
    done
}
have_flags() {
    echo 'int main(void) { return 0; }' > try.c
    $1 $2 -c try.c -o try.o > /dev/null 2>&1 && return
    skip "$1 $2" "the compiler does not know it"; return 1
}

family() {                             # CC CXX
    if ! have "$1"; then skip "$1" "not installed"; return; fi
    matrix "$1" c c99 c11 c17
    programs "$1" c -O1
    if ! have "$2"; then skip "$2" "not installed"; return; fi
    matrix "$2" cpp c++11 c++17
    programs "$2" cpp -std=c++11
}

contracts() {                          # by clang's syntax tree
    name="each public function has a contract of its own directly above its declaration"
    if ! have clang; then return; fi
    if ! have python3; then skip "$name" "python3 is not installed"; return; fi
    check "$name" python3 "$root/tests/contracts.py" clang "$root/sketch.h"
}

# the README's first program, in a directory that holds nothing but sketch.h
readme() {
    name="README's program: cc -O2 app.c -lm"
    if [ ! -f "$root/README.md" ]; then skip "$name" "no README.md"; return; fi
    rm -rf readme; mkdir readme; cp "$root/sketch.h" readme/
    awk '/^```c$/ { on = 1; text = ""; next }
         /^```/   { if (on && text ~ /int main/) { printf "%s", text; exit } on = 0 }
         on       { text = text $0 "\n" }' "$root/README.md" > readme/app.c
    if ! grep -q 'int main' readme/app.c; then
        fail "$name: README.md has no \`\`\`c block with int main"
        return
    fi
    check "$name" in_dir readme cc -O2 app.c -lm
    check "  and it runs" in_dir readme ./a.out
}

cross() {
    if have i686-linux-gnu-gcc; then cc32=i686-linux-gnu-gcc; else cc32="gcc -m32"; fi
    if $cc32 -static main.c -I"$root" -c -o m.o > /dev/null 2>&1; then
        check "$cc32 implementation, no warning" $cc32 -std=c99 -O2 $strict -I"$root" -c impl.c -o m32.o
        check "$cc32 -msse2 -mfpmath=sse program" \
            $cc32 -msse2 -mfpmath=sse -static -O1 -I"$root" impl.c main.c use.c -o m32 -lm
        check "  and it runs" ./m32
    else skip "32-bit x86" "neither i686-linux-gnu-gcc nor gcc -m32 works"; fi
    if have s390x-linux-gnu-gcc; then
        check "s390x-linux-gnu-gcc implementation, no warning" \
            s390x-linux-gnu-gcc -std=c99 -O2 $strict -I"$root" -c impl.c -o s390x.o
    else skip "s390x, big-endian" "s390x-linux-gnu-gcc is not installed"; fi
}

# processor time, the least of up to 8: a busy neighbour slows the whole machine, for a while
compile_ms() {                         # COMPILER FILE: processor time of one compilation
    bash -c 'TIMEFORMAT="%U %S"; time "$@" 2> log' bash $1 -O2 -I"$root" -c $2 -o m.o 2>&1 |
        awk '{ printf "%d", 1000 * ($1 + $2) }'
}
# The implementation in under 4 s; where the machine is slow or busy, against a fixed file compiled in turn with it
speed() {
    awk 'BEGIN { for (k = 0; k < 400; k++) printf "float f%d(float *x, const float *y, unsigned long n) { " \
        "float s = 0; unsigned long i, j; for (i = 0; i < n; i++) { for (j = 0; j < 8; j++) x[8 * i + j] = " \
        "x[8 * i + j] * y[i] + (float)(i %% %d); s += x[i] > %d ? x[i] : y[i]; } for (i = n; i-- > 0;) " \
        "{ if (x[i] < s) s -= x[i] * %d; else x[i] = s; } return s; }\n", k, k + 2, k, k + 1 }' > fixed.c
    for cc in gcc clang; do
        have $cc || { skip "compile time of $cc -O2" "not installed"; continue; }
        best=999999 fixed=999999
        for i in 1 2 3 4 5 6; do
            [ "$best" -ge 4000 ] || break
            t=$(compile_ms $cc impl.c)
            [ "${t:-0}" -gt 100 ] && [ "$t" -lt "$best" ] && best=$t
            [ "$best" -ge 4000 ] || break
            t=$(compile_ms $cc fixed.c)
            [ "${t:-0}" -gt 100 ] && [ "$t" -lt "$fixed" ] && fixed=$t
        done
        said="$cc -O2 compiles the implementation in $best ms,"
        if [ "$best" -lt 4000 ]; then pass "$said under 4000"
        elif [ $((best * 4)) -lt $((fixed * 7)) ]; then pass "$said under 1.75 times a fixed file's $fixed"
        else fail "$said not under 4000, nor under 1.75 times a fixed file's $fixed"; fi
    done
}

[ $# -gt 0 ] || set -- gcc clang cross
for section; do
    dir=$root/build/compile/$section
    rm -rf "$dir"
    mkdir -p "$dir" && cd "$dir" || exit 2
    write_programs
    case $section in
    fast)  check "cc -std=c99 -O1 implementation, no warning" \
               cc -std=c99 -O1 $strict -I"$root" -c impl.c -o m.o
           check "names that windows.h has as macros" cc -std=c99 -fsyntax-only -I"$root" windows.c
           programs cc c
           check "the shared library exports every public function" library cc
           check "make install, pkg-config, make uninstall" installs
           readme ;;
    gcc)   family gcc g++
           check "the shared library exports every public function" library gcc ;;
    clang) family clang clang++
           contracts
           check "the shared library exports every public function" library clang ;;
    cross) cross ;;
    speed) speed ;;
    *)     echo "compile.sh: no section $section" >&2; exit 2 ;;
    esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
