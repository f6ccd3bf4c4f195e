#!/usr/bin/env python3
"""Reads stores as NumPy does, written from the format comment of sketch.h (section >>store) alone.

    python3 tests/store_check.py DIR...        each DIR: a store; ends with `N passed, N failed`

For each: meta.json has its fields and its checksum; every segment loads with np.load(mmap_mode='r'); every record of its index has
the checksum it states, and so has every row; ids are unique; there is at least one row and no row is zero.
"""
import glob, json, os, re, sys
import numpy as np

TABLE = np.zeros(256, np.uint32)
for byte in range(256):
    c = byte
    for _ in range(8): c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    TABLE[byte] = c

def crc32c(rows):
    """CRC-32C of each row of a [count, bytes] uint8 array"""
    c = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in np.ascontiguousarray(rows.T): c = TABLE[(c ^ column) & 0xFF] ^ c >> 8
    return c ^ np.uint32(0xFFFFFFFF)

def crc32c_bytes(b): return int(crc32c(np.frombuffer(b, np.uint8)[None])[0])
def as_bytes(a): return np.ascontiguousarray(a).view(np.uint8).reshape(len(a), -1)

def fnv1a(b):
    h = 0xCBF29CE484222325
    for x in b: h = (h ^ x) * 0x100000001B3 & 2**64 - 1
    return h

def check(dir):
    def want(condition, why):
        if not condition: raise ValueError(why)
    raw = open(os.path.join(dir, "meta.json"), "rb").read()
    meta = json.loads(raw)
    want(meta["format"] == "sketch.h store" and meta["version"] == 1 and meta["dtype"] == "f32", "meta.json: format, version or dtype")
    want(int(meta["crc32c"], 16) == crc32c_bytes(raw[:raw.index(b'  "crc32c"')]), "meta.json: crc32c")
    want(int(meta["fingerprint"], 16) == fnv1a(meta["operator"].encode()), "meta.json: fingerprint is not the hash of operator")
    fields = dict(field.split("=") for field in meta["operator"].split()[1:])
    want(int(fields["d"]) == meta["d"], "meta.json: d")
    ids = []
    for index in sorted(glob.glob(os.path.join(dir, "seg-*.idx.npy"))):
        want(re.fullmatch(r"seg-[0-9A-Za-z-]{1,40}\.idx\.npy", os.path.basename(index)), f"{index}: name")
        rows, idx = np.load(index[:-8] + ".npy", mmap_mode="r"), np.load(index, mmap_mode="r")
        want(isinstance(rows, np.memmap) and rows.dtype == np.dtype("<f4") and rows.shape == (len(idx), meta["d"]), f"{index}: shape {rows.shape}, {len(idx)} records")
        want(idx.dtype == np.dtype([("id", "<u8"), ("row", "<u4"), ("rec", "<u4")]), f"{index}: dtype {idx.dtype}")
        want(rows.offset == 128 and idx.offset == 128, f"{index}: header is not 128 bytes")
        if not len(idx): continue
        want((crc32c(as_bytes(idx)[:, :12]) == idx["rec"]).all(), f"{index}: crc32c of a record")
        want((crc32c(as_bytes(rows)) == idx["row"]).all(), f"{index}: crc32c of a row")
        want(np.isfinite(rows).all() and (np.abs(rows).sum(axis=1) > 0).all(), f"{index}: a row is zero or not finite")
        ids += idx["id"].tolist()
    want(ids, "no rows")
    want(len(set(ids)) == len(ids), "an id occurs twice")
    return f"{len(ids)} rows of {meta['d']}, {meta['operator']}"

def main(dirs):
    assert crc32c_bytes(b"123456789") == 0xE3069283
    failed = 0
    for dir in dirs:
        try: print(f"ok   {dir}: {check(dir)}")
        except Exception as e: failed += 1; print(f"FAIL {dir}: {type(e).__name__} {e}")
    if not dirs: failed = 1; print("FAIL no store was named")
    print(f"{len(dirs) - failed if dirs else 0} passed, {failed} failed")
    return failed != 0

if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
