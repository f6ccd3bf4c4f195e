#!/usr/bin/env python3
"""Every public function of sketch.h has its contract directly above its first declaration, as clang sees it.

    python3 tests/contracts.py [clang [sketch.h]]

clang's syntax tree must attach to each sketch_* function a comment that begins a line, ends on the line above the
declaration, belongs to no other function and is not a section's title. Prints those without; exit status 1 if any."""
import json
import subprocess
import sys


def offset(place):
    """Of a place in the tree; a declaration that begins with a macro is where the macro is used."""
    return place.get("expansionLoc", place)["offset"]


def complaint(text, node, owners):
    """What is wrong with a function's contract, or None."""
    comments = [c for c in node.get("inner", []) if c["kind"] == "FullComment"]
    if not comments:
        return "no comment attached"
    first = text.rfind("/*", 0, offset(comments[0]["range"]["begin"]) + 1)
    last = text.find("*/", offset(comments[0]["range"]["end"])) + 2
    if text[text.rfind("\n", 0, first) + 1:first].strip():
        return "its comment stands behind something else"
    if text[last:offset(node["range"]["begin"])].strip(" ") != "\n":
        return "its comment does not end on the line above"
    if text[first + 2:last].lstrip().startswith(("---", "//")):
        return "its comment is a section's title"
    owner = owners.setdefault(first, node["name"])
    return None if owner == node["name"] else "its comment is that of " + owner


def main():
    clang = sys.argv[1] if len(sys.argv) > 1 else "clang"
    path = sys.argv[2] if len(sys.argv) > 2 else "sketch.h"
    tree = json.loads(subprocess.run(
        [clang, "-x", "c", "-std=c11", "-fopenmp", "-fparse-all-comments", "-fsyntax-only", "-Xclang",
         "-ast-dump=json", path], stdout=subprocess.PIPE, check=True).stdout)
    with open(path, "rb") as f:
        text = f.read().decode("latin-1")          # offsets are in bytes
    functions = {}
    for node in tree["inner"]:
        if node["kind"] == "FunctionDecl" and node["name"].startswith("sketch_"):
            functions.setdefault(node["name"], node)
    owners = {}
    bad = [(name, why) for name, node in functions.items() for why in [complaint(text, node, owners)] if why]
    print(f"{len(functions)} public functions, {len(bad)} without a contract of their own directly above")
    for name, why in bad:
        print(f"{name}: {why}")
    return 1 if bad or len(functions) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
