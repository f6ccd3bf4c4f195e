#!/usr/bin/env python3
"""A page that make demo writes: every element is closed, nothing is fetched from elsewhere, no number is missing.

    python3 tests/page_check.py FILE...        .html and .svg; ends with `N passed, N failed`
"""
import re, sys
import xml.dom.minidom
from html.parser import HTMLParser

VOID = set("area base br col embed hr img input link meta source track wbr".split())
OPTIONAL_END = set("p li td th tr tbody thead dt dd option".split())           # HTML lets these end by themselves

class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.errors, self.ids, self.refs, self.count, self.text = [], [], set(), [], {}, []
    def handle_starttag(self, tag, attrs, empty=False):
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action") and value and not re.match(r"#|data:", value):
                if tag != "a": self.errors.append(f"<{tag}> fetches {value}")
            if name == "id":
                if value in self.ids: self.errors.append(f"id {value} occurs twice")
                self.ids.add(value)
            if name in ("href", "xlink:href") and value and value.startswith("#"): self.refs.append(value[1:])
            if value and re.search(r"(^|[\s,:(])-?(nan|inf)\b", value.lower()): self.errors.append(f"<{tag} {name}> has {value[:60]}")
        if not empty and tag not in VOID: self.open.append((tag, self.getpos()))
    def handle_startendtag(self, tag, attrs): self.handle_starttag(tag, attrs, empty=True)
    def handle_endtag(self, tag):
        if tag in VOID: return
        while self.open and self.open[-1][0] != tag and self.open[-1][0] in OPTIONAL_END: self.open.pop()
        if not self.open or self.open[-1][0] != tag:
            self.errors.append(f"line {self.getpos()[0]}: </{tag}>, but open is {self.open[-1:] or 'nothing'}")
        else: self.open.pop()
    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1][0] not in ("script", "style") and re.search(r"(^|[\s=(])-?(nan|inf)\b(?!l)", data): self.errors.append(f"line {self.getpos()[0]}: {data.strip()[:60]}")

def check(path):
    text = open(path, encoding="utf-8", errors="strict").read()
    page = Page(); page.feed(text); page.close()
    errors = page.errors + [f"<{tag}> of line {at[0]} is not closed" for tag, at in page.open if tag not in OPTIONAL_END]
    errors += [f"#{ref} is nowhere" for ref in page.refs if ref not in page.ids]
    if re.search(r"@import|url\(\s*['\"]?(https?:)?//", text): errors.append("CSS fetches from elsewhere")
    if path.endswith(".svg"): xml.dom.minidom.parseString(text.encode())
    elif not all(page.count.get(tag) for tag in ("html", "head", "title", "body", "svg")): errors.append(f"html, head, title, body, svg: one is missing of {sorted(page.count)}")
    if errors: raise ValueError("; ".join(errors[:5]) + (f"; {len(errors)} in all" if len(errors) > 5 else ""))
    return f"{len(text)} characters, {sum(page.count.values())} elements, {page.count.get('svg', 0)} figures"

def main(paths):
    failed = 0 if paths else 1
    for path in paths:
        try: print(f"ok   {path}: {check(path)}")
        except Exception as e: failed += 1; print(f"FAIL {path}: {type(e).__name__} {e}")
    print(f"{max(len(paths) - failed, 0)} passed, {failed} failed")
    return failed != 0

if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
