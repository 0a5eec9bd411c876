#!/usr/bin/env python3
"""Writes the test vectors of runpack/v1 (runpack-v1.md section 13) into vectors/.

    make_vectors.py [DIR]

Each case states its expectation here, beside what it is made of; no verifier is asked.
This file shares no code with verify.py, so that one mistake cannot hide in both.
The output is the same bytes on every run; only the few large bundles depend on the
installed zlib, and what they show does not. Standard library only.
"""

import base64
import calendar
import copy
import hashlib
import hmac
import json
import os
import re
import shutil
import sys
import zlib
from pathlib import Path

CHUNK = 8 * 1024 * 1024
CASES = {}


# Building packs

def sha(data):
    return hashlib.sha256(data).hexdigest()


def canonical(value):
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def artifact(name, content, kind="output", media_type="application/octet-stream", claimed=False, **more):
    found = {"name": name, "kind": kind, "media_type": media_type, "bytes": len(content), **more}
    if len(content) <= CHUNK:
        found["sha256"] = sha(content)
    else:
        found["chunks"] = [sha(content[at:at + CHUNK]) for at in range(0, len(content), CHUNK)]
        if claimed:
            found["claimed_sha256"] = sha(content)
    return found


def commitment(a):
    if "sha256" in a:
        return a["sha256"]
    head = b"runpack/chunks/v1\0" + a["bytes"].to_bytes(8, "big") + CHUNK.to_bytes(8, "big")
    return sha(head + b"".join(bytes.fromhex(c) for c in a["chunks"]))


SPEC = b"steps: [train, evaluate]\n"
RUN = {"kind": "run", "tenant": "acme", "namespace": "prod", "scenario": "loan-approval",
       "run_id": "01JD", "spec_hash": "sha256:" + sha(SPEC)}
STEP = {"kind": "step", "tenant": "acme", "run_id": "01JD", "step_id": "train"}
PIPELINE = {"kind": "pipeline", "tenant": "acme", "run_id": "01JD"}
EXECUTION = {"kind": "execution", "execution_id": "01JDXK5T3MZ8Q4V7W9Y0ABCDEF"}


class Pack:
    """A manifest and the bytes of its artifacts by name."""

    def __init__(self, *artifacts, subject=RUN, created_at="2026-11-20T12:00:00Z", labels=None):
        artifacts = sorted(artifacts, key=lambda pair: pair[0]["name"])
        self.content = {a["name"]: content for a, content in artifacts}
        self.manifest = {
            "format": "runpack/v1", "subject": dict(subject), "created_at": created_at,
            "producer": {"name": "runpack", "version": "0.1.0"},
            "artifacts": [a for a, _ in artifacts], "labels": labels or {}}

    @property
    def data(self):
        return canonical(self.manifest)

    @property
    def id(self):
        return "sha256:" + sha(self.data)

    def plain(self, **more):
        return {"manifest.json": self.data, **self.content, **more}

    def keyed(self, **more):
        files = {f"{commitment(a)}/{a['name']}": self.content[a["name"]] for a in self.manifest["artifacts"]}
        return {"manifest.json": self.data, **files, **more}

    def edited(self, path, value):
        """A copy with one member of the manifest set, or removed if value is DROP."""
        other = copy.deepcopy(self)
        *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        here = other.manifest
        for step in way:
            here = here[step]
        if value is DROP:
            del here[last]
        elif isinstance(here, list) and last == len(here):
            here.append(value)
        else:
            here[last] = value
        return other


DROP = object()


def made(name, content, **more):
    return artifact(name, content, **more), content


def base(**more):
    return Pack(
        made("decisions.json", b'{"approved":true}\n', kind="decision-log", media_type="application/json", step="decide",
             title="Decisions.json"),
        made("logs/run.log", b"start\nend\n", kind="log", media_type="text/plain"),
        made("model.bin", bytes(range(256)) * 4, kind="model", inputs=[
            {"pack": "sha256:" + "ab" * 32, "name": "source.csv", "commitment": "cd" * 32}]),
        made("spec.yaml", SPEC, kind="spec", media_type="application/yaml"),
        labels={"commit_sha": "4f2a", "team/owner": "risk"}, **more)


def tiny(**more):
    return Pack(made("a.txt", b"hello\n", kind="log", media_type="text/plain"), **more)


BASE, TINY = base(), tiny()

# The parts of a pipeline's run (section 6); what is in them is for section 14, and no vector looks at it.
RUN_PARTS = (("definition.yaml", b"steps: [train]\n", "pipeline-definition"), ("plan.json", b"{}", "pipeline-plan"),
             ("metadata.json", b"{}", "pipeline-metadata"), ("events/audit_trail.jsonl", b"{}\n", "audit-trail"))


def pipeline_run(*more, leave_out=None, kinds=None):
    """The pack of a pipeline's run with one step."""
    step = Pack(made("inputs/a.csv", b"1\n"), made("outputs/b.csv", b"2\n"), subject=STEP)
    parts = [*RUN_PARTS, ("steps/train/manifest.json", step.data, "step-manifest")]
    return Pack(*(made(name, content, kind=(kinds or {}).get(name, kind)) for name, content, kind in parts if name != leave_out),
                *more, subject=PIPELINE)


# Cases

class Link(str):
    """A symbolic link; the string is its target."""


def case(name, title, container, verdict, codes=(), level="full", beside=None, **fields):
    """Declare a case: container is the files of a pack directory or the bytes of a bundle."""
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name) and name not in CASES, name
    vector = {"title": title, "container": "pack.tar.gz" if isinstance(container, bytes) else "pack",
              "level": level, **fields, "verdict": verdict, "codes": sorted(codes)}
    files = dict(beside or {})
    if isinstance(container, bytes):
        files["pack.tar.gz"] = container
    else:
        files |= {f"pack/{path}": content for path, content in container.items()}
    CASES[name] = vector, files


def good(name, title, container, **fields):
    case(name, title, container, "consistent", **fields)


def bad(name, title, container, *codes, **fields):
    assert codes
    case(name, title, container, "invalid", codes, **fields)


# Tar, deflate and gzip, by hand, so that every byte can be wrong on purpose

GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
OCTAL_MAX = 8 * 1024**3 - 1
MTIME = calendar.timegm((2026, 11, 20, 12, 0, 0))


def header(name, size, mtime=MTIME, flag=b"0", tweak=None):
    """One ustar header; tweak changes it before its checksum is made."""
    h = bytearray(512)

    def put(at, value):
        h[at:at + len(value)] = value

    put(0, name.encode())
    put(100, b"0000644")
    put(108, b"0000000")
    put(116, b"0000000")
    put(124, b"%011o" % size)
    put(136, b"%011o" % mtime)
    put(156, flag)
    put(257, b"ustar\x0000")
    put(329, b"0000000")
    put(337, b"0000000")
    if tweak:
        tweak(put)
    put(148, b" " * 8)
    put(148, b"%06o\0 " % sum(h))
    return bytes(h)


def pad(content):
    return content + b"\0" * (-len(content) % 512)


def pax(*records, mtime=MTIME):
    body = b""
    for record in records:
        length = len(record.encode()) + 2
        while len(str(length)) + len(record.encode()) + 2 != length:
            length += 1
        body += f"{length} {record}\n".encode()
    return header("PaxHeader", len(body), mtime, b"x") + pad(body)


def entry(name, content, mtime=MTIME):
    records = [f"path={name}"] if len(name) > 100 else []
    return (pax(*records, mtime=mtime) if records else b"") + header(name[:100], len(content), mtime) + pad(content)


def entries(pack, mtime=None, content=None):
    """The manifest's entry, then one for each artifact."""
    if mtime is None:
        mtime = min(calendar.timegm(tuple(map(int, re.findall("[0-9]+", pack.manifest["created_at"])))), OCTAL_MAX)
    have = pack.content | (content or {})
    return [entry("manifest.json", pack.data, mtime)] + [
        entry(a["name"], have[a["name"]], mtime) for a in pack.manifest["artifacts"]]


END = bytes(1024)


def stored(data, final=True):
    """Deflate without compression."""
    out = bytearray()
    blocks = [data[at:at + 65535] for at in range(0, len(data), 65535)] or [b""]
    for n, block in enumerate(blocks):
        last = final and n == len(blocks) - 1
        out += bytes([last]) + len(block).to_bytes(2, "little") + (len(block) ^ 0xFFFF).to_bytes(2, "little") + block
    return bytes(out)


def deflated(level):
    def squeeze(data):
        z = zlib.compressobj(level, zlib.DEFLATED, -15)
        return z.compress(data) + z.flush()
    return squeeze


def fixed_huffman(literals, then):
    """A last block of literals, then the Huffman codes given as strings of bits."""
    codes = [f"{0x30 + b:08b}" if b < 144 else f"{0x190 + b - 144:09b}" for b in literals]
    bits = "110" + "".join(codes) + then  # last block; type 1, its low bit first
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at:at + 8][::-1], 2) for at in range(0, len(bits), 8))


def trailer(tar):
    return zlib.crc32(tar).to_bytes(4, "little") + (len(tar) % 2**32).to_bytes(4, "little")


def gz(tar, squeeze=stored):
    return GZIP + squeeze(tar) + trailer(tar)


def bundle(pack, squeeze=stored, **more):
    return gz(b"".join(entries(pack, **more)) + END, squeeze)


# Signatures: ECDSA P-256 with a nonce made as in RFC 6979, and DSSE

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5


def times_g(k):
    """k times the base point, for k from 1 to n-1, in plain double-and-add."""
    def sum_of(a, b):
        if a is None:
            return b
        if a == b:
            slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) % P
        else:
            slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
        x = (slope * slope - a[0] - b[0]) % P
        return x, (slope * (a[0] - x) - a[1]) % P

    total, power = None, (GX, GY)
    while k:
        if k & 1:
            total = sum_of(total, power)
        power = sum_of(power, power)
        k >>= 1
    return total


def pem(label, der):
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[at:at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


class Key:
    """A test key. Its secret is the hash of a public word: never trust it."""

    def __init__(self, word):
        self.d = int(sha(word.encode()), 16)
        x, y = times_g(self.d)
        point = b"\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
        spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + point
        self.keyid = sha(spki)
        self.public = pem("PUBLIC KEY", spki)
        self.private = pem("PRIVATE KEY", bytes.fromhex(
            "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
            + self.d.to_bytes(32, "big") + bytes.fromhex("a144034200") + point)

    def sign(self, message):
        digest = hashlib.sha256(message).digest()
        e = int.from_bytes(digest, "big")
        seed = self.d.to_bytes(32, "big") + (e % N).to_bytes(32, "big")
        v, k = b"\1" * 32, b"\0" * 32
        for tag in (b"\0", b"\1"):
            k = hmac.digest(k, v + tag + seed, "sha256")
            v = hmac.digest(k, v, "sha256")
        while True:
            v = hmac.digest(k, v, "sha256")
            nonce = int.from_bytes(v, "big")
            if 0 < nonce < N:
                break
            k = hmac.digest(k, v + b"\0", "sha256")
            v = hmac.digest(k, v, "sha256")
        r = times_g(nonce)[0] % N
        s = pow(nonce, -1, N) * (e + r * self.d) % N
        return r, min(s, N - s)


KEY, OTHER_KEY = Key("runpack test key"), Key("runpack other test key")


def der_integer(value):
    body = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(body)]) + body


def der(r, s):
    body = der_integer(r) + der_integer(s)
    return bytes([0x30, len(body)]) + body


def b64(data):
    return base64.b64encode(data).decode()


PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pae(payload, payload_type=PAYLOAD_TYPE):
    return f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode() + payload


def statement(pack, **changes):
    found = {"_type": "https://in-toto.io/Statement/v1",
             "subject": [{"name": "pack", "digest": {"sha256": pack.id.removeprefix("sha256:")}}],
             "predicateType": "urn:runpack:pack:v1", "predicate": {"format": "runpack/v1"}} | changes
    return canonical({k: v for k, v in found.items() if v is not DROP})


def envelope(payload, signatures=None, /, **changes):
    signatures = signatures if signatures is not None else [signature(payload)]
    found = {"payload": b64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures} | changes
    return canonical({k: v for k, v in found.items() if v is not DROP})


def signature(payload, key=KEY, **changes):
    found = {"keyid": key.keyid, "sig": b64(der(*key.sign(pae(payload))))} | changes
    return {k: v for k, v in found.items() if v is not DROP}


def signed(envelope_bytes, key=KEY):
    """The fields and files of a case with a signature beside the pack."""
    return {"key": "key.pem", "signature": "pack.sig.json",
            "beside": {"key.pem": key.public, "pack.sig.json": envelope_bytes}}


# What is good

def good_cases():
    good("consistent-unpinned", "sound, but nothing is known beforehand", BASE.plain())
    case("valid-pack-id", "sound and of the expected pack id", BASE.plain(), "valid", expect_pack_id=BASE.id)
    case("valid-receipt", "sound and what the receipt recorded", BASE.plain(), "valid", receipt_pack_id=BASE.id)
    case("valid-signature", "sound and signed by the trusted key", BASE.plain(), "valid", **signed(envelope(statement(BASE))))
    case("valid-every-pin", "every pin at once", bundle(BASE), "valid", level="deep",
         expect_pack_id=BASE.id, receipt_pack_id=BASE.id, expect_tenant="acme", expect_namespace="prod",
         expect_scenario="loan-approval", expect_run_id="01JD", **signed(envelope(statement(BASE))))
    good("consistent-identity-only", "an identity that fits says whose the pack claims to be, it proves nothing",
         BASE.plain(), expect_tenant="acme", expect_run_id="01JD")
    good("consistent-presence-pinned", "at level presence nothing is valid", BASE.plain(), level="presence", expect_pack_id=BASE.id)
    flipped = BASE.plain() | {"logs/run.log": b"start\nEnd\n"}
    good("consistent-presence-content-unread", "level presence does not read content", flipped, level="presence")
    good("consistent-presence-bundle", "level presence does not judge a bundle's content either",
         bundle(BASE, content={"logs/run.log": b"start\nEnd\n"}), level="presence", receipt_pack_id=BASE.id)
    case("valid-keyed", "keyed form", BASE.keyed(), "valid", expect_pack_id=BASE.id)
    twins = Pack(made("a.txt", b"same\n"), made("b/a.txt", b"same\n"))
    good("consistent-keyed-same-content", "two names under one commitment", twins.keyed())
    case("valid-bundle", "a bundle in stored deflate blocks", bundle(BASE), "valid", expect_pack_id=BASE.id)
    case("valid-bundle-level-9", "the same archive in another deflate spelling", bundle(BASE, deflated(9)), "valid",
         expect_pack_id=BASE.id)
    tar = b"".join(entries(BASE)) + END
    blocks = b"".join(stored(tar[at:at + 100], False) for at in range(0, len(tar), 100)) + stored(b"")
    case("valid-bundle-empty-last-block", "many small blocks, the last of them empty", GZIP + blocks + trailer(tar), "valid",
         expect_pack_id=BASE.id)

    long = "x" * 255
    original = ("Übersicht " * 30 + ".bin").encode()
    escaped = "".join(chr(b) if chr(b).isalnum() and b < 128 or b in b" ." else f"%{b:02X}" for b in original)
    cut = re.fullmatch(r"((?:[^%]|%..)*?)(?:%.?)?", escaped[:190])[1] + "~" + sha(original)
    names = ["a b.txt", "100%25.txt", "%20lead", "%20both%20", "%2Ddash", "dot%2E", "..%2E", ".hidden", "%43ON.txt", "%63om1",
             "%43ON .txt", "CONSOLE", "COM0", "con-1.txt", "CON%20", "x~", "(a)+b=c@d,e", "%C3%9C%E2%80%AE.txt", "%2D", "dir/manifest.json",
             "manifest.json.txt", long, cut]
    pack = Pack(*(made(n, n.encode()) for n in names))
    case("valid-names-plain", "spaces, escapes, devices, 255-byte and cut components", pack.plain(), "valid", expect_pack_id=pack.id)
    case("valid-names-bundle", "the same names in a bundle", bundle(pack), "valid", expect_pack_id=pack.id)
    paths = ["p" * 100, "p" * 101, "d" * 98 + "/x", "d" * 98 + "/xy", f"{long}/{'y' * 254}/z", f"{'r' * 244}/{'s' * 252}/{'t' * 14}"]
    assert len(paths[-1]) == 512
    pack = Pack(*(made(n, n.encode()) for n in paths))
    case("valid-bundle-pax-path", "names of 100, 101 and up to 512 bytes", bundle(pack), "valid", expect_pack_id=pack.id)
    ids = {k: "i" * 128 for k in ("tenant", "namespace", "scenario", "run_id")}
    pack = Pack(made(f"{'k' * 255}/{'k' * 255}", b"x"), subject=RUN | ids)
    good("consistent-long-key", "a store could not hold its keys; the pack is sound all the same", bundle(pack))

    pack = Pack(made("inputs/a.csv", b"1,2\n"), made("outputs/b.csv", b"3\n"), subject=STEP)
    case("valid-step", "a step's pack", pack.plain(), "valid", expect_pack_id=pack.id, expect_tenant="acme", expect_run_id="01JD")
    pack = pipeline_run()
    case("valid-pipeline", "the pack of a pipeline's run", pack.plain(), "valid", expect_pack_id=pack.id, expect_tenant="acme", expect_run_id="01JD")
    case("valid-pipeline-keyed", "the pack of a pipeline's run, keyed", pack.keyed(), "valid", expect_pack_id=pack.id)
    case("valid-pipeline-bundle", "the pack of a pipeline's run in a bundle", bundle(pack), "valid", expect_pack_id=pack.id)
    pack = Pack(made("metadata.json", b"{}"), made("logs/runner.log", b""), made("logs/bench.log", b""), made("logs/stdout.log", b"o"),
                made("logs/stderr.log", b"e"), made("artifacts/trace.bin", b"t"), subject=EXECUTION)
    case("valid-execution", "an execution's pack", pack.plain(), "valid", expect_pack_id=pack.id)
    good("consistent-spec-unproven", "a run pack without its spec", TINY.plain())
    good("consistent-empty-artifact", "an artifact of no bytes", Pack(made("empty", b"")).plain())
    good("consistent-empty-artifact-bundle", "an artifact of no bytes in a bundle", bundle(Pack(made("empty", b""), made("one", b"1"))))
    odd = "r\u00e9sum\u00e9 \u202etxt.exe \U0001f600 \ufeff\u2028"
    pack = Pack(made("a.txt", b"x", title=odd), labels={"note": odd, "a": "1", "Z": "2", "a.b/c_d-e": "\\\"/"})
    case("valid-unicode", "titles and labels with astral, bidi and quoted characters", pack.plain(), "valid", expect_pack_id=pack.id)
    for slug, when in (("epoch", "1970-01-01T00:00:00Z"), ("leap-day", "2024-02-29T23:59:59Z"), ("last", "9999-12-31T23:59:59Z"),
                       ("mtime-max", "2242-03-16T12:56:31Z"), ("mtime-capped", "2242-03-16T12:56:32Z")):
        pack = tiny(created_at=when)
        case(f"t02-valid-time-{slug}", f"created at {when}", bundle(pack), "valid", expect_pack_id=pack.id)
    pack = tiny(labels={"a" * 128: "v" * 1024, "u": "é" * 512})
    pack.manifest["producer"]["version"] = "v" * 128
    pack.manifest["artifacts"][0] |= {"kind": "k" * 64, "media_type": f"{'a' * 127}/{'b' * 127}", "title": "t" * 1024, "step": "s" * 128}
    good("consistent-longest-values", "every text and identifier as long as it may be", pack.plain())

    at = dict(manifest_bytes=len(BASE.data), json_depth=5, artifacts=4, artifact_bytes=1024, labels=2, inputs=1, chunks=0,
              pack_bytes=sum(map(len, BASE.content.values())))
    good("consistent-limits-met", "every limit met exactly", BASE.plain(), limits=at)
    for name, value in at.items():
        if name in ("manifest_bytes", "json_depth", "chunks"):
            continue
        bad(f"b09-limit-{name.replace('_', '-')}", f"one over the limit of {name}", BASE.plain(), "manifest.limit", limits={name: value - 1})
    bad("b09-limit-manifest-bytes", "a manifest one byte over the limit", BASE.plain(), "manifest.size", limits={"manifest_bytes": at["manifest_bytes"] - 1})
    bad("b09-limit-manifest-bytes-bundle", "a bundle's manifest one byte over the limit", bundle(BASE), "manifest.size",
        limits={"manifest_bytes": at["manifest_bytes"] - 1})
    bad("b07-limit-json-depth", "one over the limit of depth", BASE.plain(), "manifest.syntax", limits={"json_depth": 4})


# Large artifacts: compressed bundles only

PATTERN = bytes(range(256)) * (CHUNK // 256)


def big_cases():
    squeeze = deflated(9)
    big = PATTERN + b"\1" * 1000
    pack = Pack(made("big.bin", big), made("z.txt", b"after"))
    case("valid-chunked", "an artifact of two chunks", bundle(pack, squeeze), "valid", expect_pack_id=pack.id)
    case("valid-chunked-deep", "deep, with no claimed digest to check", bundle(pack, squeeze), "valid", level="deep", expect_pack_id=pack.id)
    for slug, at, level in (("first", 5, "full"), ("last", len(big) - 1, "full"), ("boundary", CHUNK, "full"), ("deep", 77, "deep")):
        wrong = bytearray(big)
        wrong[at] ^= 1
        other = Pack(made("big.bin", big, claimed=True), made("z.txt", b"after"))
        bad(f"s01-chunk-flipped-{slug}", "one bit of a chunk flipped, one finding", bundle(other, squeeze, content={"big.bin": bytes(wrong)}),
            "artifact.digest", level=level, expect_pack_id=other.id)
    pack = Pack(made("big.bin", big, claimed=True))
    case("valid-chunked-claimed-deep", "the claimed digest holds", bundle(pack, squeeze), "valid", level="deep", expect_pack_id=pack.id)
    pack = pack.edited("artifacts.0.claimed_sha256", "00" * 32)
    case("valid-chunked-claimed-wrong-full", "level full does not look at the claim", bundle(pack, squeeze), "valid", expect_pack_id=pack.id)
    bad("claimed-wrong-deep", "level deep does", bundle(pack, squeeze), "artifact.claimed", level="deep", expect_pack_id=pack.id)
    two = b"\0" * CHUNK + b"\1" * CHUNK
    pack = Pack(made("two.bin", two))
    case("valid-two-whole-chunks", "exactly 16 MiB is two chunks", bundle(pack, squeeze), "valid", expect_pack_id=pack.id)
    bad("s07-swapped-chunks", "two chunks of one artifact swapped", bundle(pack, squeeze, content={"two.bin": two[CHUNK:] + two[:CHUNK]}),
        "artifact.digest", expect_pack_id=pack.id)
    pack = Pack(made("one.bin", PATTERN))
    case("valid-one-whole-chunk", "exactly 8 MiB has sha256, at level deep too", bundle(pack, squeeze), "valid", level="deep", expect_pack_id=pack.id)
    pack = Pack(made("one.bin", PATTERN + b"x"))
    good("consistent-one-byte-over-a-chunk", "8 MiB and one byte is two chunks", bundle(pack, squeeze))
    bad("b09-limit-chunks", "more chunks than allowed", bundle(pack, squeeze), "manifest.limit", limits={"chunks": 1})
    whole = bundle(pack, squeeze)
    bad("b27-truncated-large", "the input ends inside a large artifact", whole[:len(whole) // 2], "bundle.truncated")
    bad("b27-bomb-after-archive", "fifty million zeros after the archive's end",
        gz(b"".join(entries(TINY)) + END + bytes(50_000_000), squeeze), "bundle.trailing")

    # An artifact over 8 GiB: the archive breaks off after its header, which is enough to see it judged.
    size = OCTAL_MAX + 1
    huge = Pack(made("huge.bin", b""))
    huge.manifest["artifacts"][0] = {k: v for k, v in huge.manifest["artifacts"][0].items() if k != "sha256"} | {
        "bytes": size, "chunks": [sha(b"\0" * CHUNK)] * (size // CHUNK)}
    start = entry("manifest.json", huge.data)
    right = start + pax(f"size={size}") + header("huge.bin", 0)
    bad("b24-pax-size-truncated", "a size in a PAX record, as it should be; then the input ends", gz(right + bytes(512), squeeze), "bundle.truncated")
    bad("b24-pax-size-both", "a size in the PAX record and another in the header", gz(start + pax(f"size={size}") + header("huge.bin", OCTAL_MAX)
        + bytes(512), squeeze), "bundle.tar")
    base256 = header("huge.bin", 0, tweak=lambda put: put(124, b"\x80" + size.to_bytes(11, "big")))
    bad("b24-size-base-256", "a size in GNU base 256", gz(start + base256 + bytes(512), squeeze), "bundle.tar")
    long = Pack((dict(huge.manifest["artifacts"][0], name="h" * 101), b""))
    start = entry("manifest.json", long.data)
    both = (f"path={'h' * 101}", f"size={size}")
    bad("b24-pax-path-then-size-truncated", "both records, path first; then the input ends",
        gz(start + pax(*both) + header("h" * 100, 0), squeeze), "bundle.truncated")
    bad("b24-pax-size-then-path", "both records in the wrong order", gz(start + pax(*both[::-1]) + header("h" * 100, 0), squeeze), "bundle.tar")


# The manifest

def grammar(name, path, value, code="manifest.schema", pack=TINY, title=None):
    changed = pack.edited(path, value)
    shown = "absent" if value is DROP else json.dumps(value)[:48]
    bad(name, title or f"{path}: {shown}", changed.plain(), code)


LARGE = TINY.edited("artifacts.0", {"name": "a.txt", "kind": "log", "media_type": "text/plain", "bytes": CHUNK + 1, "chunks": ["00" * 32] * 2})
LARGE.content = {}


def schema_cases():
    for member in ("subject", "created_at", "producer", "artifacts", "labels"):
        grammar(f"schema-without-{member.replace('_', '-')}", member, DROP)
        grammar(f"schema-null-{member.replace('_', '-')}", member, None)
    grammar("b31-format-absent", "format", DROP, "manifest.format")
    grammar("b31-format-v2", "format", "runpack/v2", "manifest.format")
    grammar("b31-format-upper-case", "format", "Runpack/v1", "manifest.format")
    grammar("b31-format-number", "format", 1, "manifest.format")
    grammar("b03-unknown-member", "signature", "x")
    grammar("b03-unknown-in-subject", "subject.region", "eu")
    grammar("b03-unknown-in-producer", "producer.host", "h")
    grammar("b03-unknown-in-artifact", "artifacts.0.mode", 420)
    grammar("s24-other-digest", "artifacts.0.md5", "d41d8cd98f00b204e9800998ecf8427e", title="a weaker digest beside the right one")
    grammar("s24-algorithm-named", "artifacts.0.algorithm", "sha256", title="no field chooses an algorithm")
    grammar("s21-storage-uri", "artifacts.0.uri", "http://169.254.169.254/", title="no field says where to read from")
    grammar("b02-subject-array", "subject", list(RUN.values()))
    grammar("b02-producer-array", "producer", ["runpack", "0.1.0"])
    grammar("b02-artifact-array", "artifacts.0", ["a.txt", "log", "text/plain", 6, "00" * 32])
    grammar("b02-labels-array", "labels", [])
    grammar("b02-artifacts-object", "artifacts", {"a.txt": {}})

    grammar("subject-kind-absent", "subject.kind", DROP)
    grammar("subject-kind-unknown", "subject.kind", "batch")
    grammar("subject-kind-number", "subject.kind", 1)
    for member in ("tenant", "namespace", "scenario", "run_id", "spec_hash"):
        grammar(f"subject-without-{member.replace('_', '-')}", f"subject.{member}", DROP)
    for member in ("namespace", "scenario", "run_id"):
        grammar(f"subject-{member.replace('_', '-')}-slash", f"subject.{member}", "a/b")
    for slug, value in (("empty", ""), ("leading-dash", "-a"), ("leading-dot", ".a"), ("dot-dot", ".."), ("space", "a b"), ("newline", "a\n"),
                        ("not-ascii", "caf\u00e9"), ("full-width", "\uff41"), ("percent", "a%41"), ("too-long", "a" * 129), ("number", 7),
                        ("null", None), ("reserved-underscore", "_runpack"), ("equals", "a=b")):
        grammar(f"subject-tenant-{slug}", "subject.tenant", value)
    for slug, value in (("no-prefix", "00" * 32), ("upper-case", "sha256:" + "AB" * 32), ("short", "sha256:" + "0" * 63), ("long", "sha256:" + "0" * 65),
                        ("sha512", "sha512:" + "00" * 64), ("empty", "")):
        grammar(f"subject-spec-hash-{slug}", "subject.spec_hash", value)

    step = Pack(made("inputs/a.csv", b"1\n"), subject=STEP)
    for value in ("tenant", "v1", "executions", "registry", "2026"):
        grammar(f"step-tenant-{value}", "subject.tenant", value, pack=step, title=f"a pipeline tenant that spells another layout: {value}")
    good("consistent-step-tenant-five-digits", "a pipeline tenant may be five digits", step.edited("subject.tenant", "20261").plain())
    good("consistent-run-tenant-v1", "a run's tenant may be any id", TINY.edited("subject.tenant", "v1").plain())
    grammar("step-with-namespace", "subject.namespace", "prod", pack=step)
    grammar("step-without-step-id", "subject.step_id", DROP, pack=step)
    grammar("step-id-slash", "subject.step_id", "a/b", pack=step)
    bad("step-name-outside", "a step's artifact is neither input nor output", Pack(made("a.txt", b"x"), subject=STEP).plain(), "manifest.schema")
    bad("step-name-inputs-itself", "inputs is a directory", Pack(made("inputs", b"x"), subject=STEP).plain(), "manifest.schema")
    pipeline = pipeline_run()
    for value in ("tenant", "2026"):
        grammar(f"pipeline-tenant-{value}", "subject.tenant", value, pack=pipeline, title=f"a pipeline tenant that spells another layout: {value}")
    grammar("pipeline-with-step-id", "subject.step_id", "train", pack=pipeline)
    grammar("pipeline-without-run-id", "subject.run_id", DROP, pack=pipeline)
    bad("pipeline-as-step", "the pack of a run is not the pack of a step", pipeline.edited("subject", STEP).plain(), "manifest.schema")
    for name, content, kind in RUN_PARTS:
        slug = name.replace("/", "-").replace(".", "-").replace("_", "-")
        bad(f"pipeline-without-{slug}", f"a pipeline's run without {name}", pipeline_run(leave_out=name).plain(), "manifest.schema")
        bad(f"pipeline-kind-{slug}", f"{name} of another kind", pipeline_run(kinds={name: "log"}).plain(), "manifest.schema")
    bad("pipeline-kind-step", "a step's manifest of another kind", pipeline_run(kinds={"steps/train/manifest.json": "log"}).plain(), "manifest.schema")
    bad("pipeline-kind-borrowed", "a step's manifest that says to be the definition", pipeline_run(kinds={"steps/train/manifest.json": "pipeline-definition"}).plain(), "manifest.schema")
    for name in ("log.txt", "steps/train/outputs/a", "steps/manifest.json", "steps/a/b/manifest.json", "Plan.json", "events/other.jsonl"):
        bad(f"pipeline-name-{name.replace('/', '-').replace('.', '-').lower()}", f"a pipeline run's artifact named {name}", pipeline_run(made(name, b"x")).plain(), "manifest.schema")
    bad("pipeline-step-twice-in-case", "two steps that letter case alone tells apart", pipeline_run(made("steps/Train/manifest.json", b"{}", kind="step-manifest", media_type="application/json")).plain(), "manifest.collision")
    large = pipeline.edited("artifacts.0", {k: LARGE.manifest["artifacts"][0][k] for k in ("media_type", "bytes", "chunks")}
                            | {"name": "definition.yaml", "kind": "pipeline-definition"})
    del large.content["definition.yaml"]
    bad("pipeline-definition-large", "a definition larger than a chunk has no digest to be named by", large.plain(), "manifest.schema")
    bad("pipeline-spec", "a pipeline's run has no spec", pipeline_run(kinds={"definition.yaml": "spec"}).plain(), "manifest.schema")
    execution = Pack(made("artifacts/a", b"x"), subject=EXECUTION)
    ulid = EXECUTION["execution_id"]
    for slug, value in (("lower-case", ulid.lower()), ("letter-i", "I" + ulid[1:]), ("letter-u", ulid[:-1] + "U"), ("letter-l", ulid[:-1] + "L"),
                        ("letter-o", ulid[:-1] + "O"), ("overflow", "8" + ulid[1:]), ("short", ulid[1:]), ("long", ulid + "0")):
        grammar(f"execution-id-{slug}", "subject.execution_id", value, pack=execution)
    for slug, name in (("other-log", "logs/other.log"), ("outside", "a.txt"), ("metadata-directory", "metadata.json/a"), ("case", "Artifacts/a"), ("metadata-dash", "metadata-json"), ("metadata-letter", "metadataXjson")):
        bad(f"execution-name-{slug}", f"an execution's artifact named {name}", Pack(made(name, b"x"), subject=EXECUTION).plain(), "manifest.schema")

    for slug, value in (("fraction", "2026-11-20T12:00:00.5Z"), ("offset", "2026-11-20T12:00:00+00:00"), ("lower-case", "2026-11-20t12:00:00z"),
                        ("space", "2026-11-20 12:00:00Z"), ("before-1970", "1969-12-31T23:59:59Z"), ("february-29", "2025-02-29T00:00:00Z"),
                        ("february-29-1900s", "2100-02-29T00:00:00Z"), ("month-13", "2026-13-01T00:00:00Z"), ("month-00", "2026-00-01T00:00:00Z"),
                        ("day-00", "2026-11-00T00:00:00Z"), ("day-31", "2026-11-31T00:00:00Z"), ("hour-24", "2026-11-20T24:00:00Z"),
                        ("minute-60", "2026-11-20T12:60:00Z"), ("leap-second", "2016-12-31T23:59:60Z"), ("date-only", "2026-11-20"),
                        ("year-10000", "10000-01-01T00:00:00Z"), ("year-0000", "0000-01-01T00:00:00Z"), ("number", 1795435200), ("no-zone", "2026-11-20T12:00:00"),
                        ("signed", "+2026-11-20T12:00:00Z"), ("arabic-digits", "\u0662\u0660\u0662\u0666-11-20T12:00:00Z")):
        grammar(f"t02-time-{slug}", "created_at", value)

    for slug, path, value in (
            ("producer-without-name", "producer.name", DROP), ("producer-without-version", "producer.version", DROP),
            ("producer-name-space", "producer.name", "run pack"), ("producer-version-empty", "producer.version", ""),
            ("producer-version-long", "producer.version", "v" * 129), ("producer-version-bytes", "producer.version", "\u00e9" * 65),
            ("producer-version-control", "producer.version", "1\t2"), ("producer-string", "producer", "runpack"),
            ("artifacts-empty", "artifacts", []),
            ("artifact-without-name", "artifacts.0.name", DROP), ("artifact-without-kind", "artifacts.0.kind", DROP),
            ("artifact-without-media-type", "artifacts.0.media_type", DROP), ("artifact-without-bytes", "artifacts.0.bytes", DROP),
            ("artifact-without-digest", "artifacts.0.sha256", DROP), ("artifact-name-number", "artifacts.0.name", 1),
            ("kind-upper-case", "artifacts.0.kind", "Log"), ("kind-empty", "artifacts.0.kind", ""), ("kind-long", "artifacts.0.kind", "k" * 65),
            ("kind-leading-dash", "artifacts.0.kind", "-log"), ("kind-underscore", "artifacts.0.kind", "a_b"), ("kind-null", "artifacts.0.kind", None),
            ("media-type-no-slash", "artifacts.0.media_type", "text"), ("media-type-parameter", "artifacts.0.media_type", "text/plain; charset=utf-8"),
            ("media-type-no-subtype", "artifacts.0.media_type", "text/"), ("media-type-two-slashes", "artifacts.0.media_type", "a/b/c"),
            ("media-type-leading-dot", "artifacts.0.media_type", "text/.x"), ("media-type-long", "artifacts.0.media_type", "a" * 128 + "/b"),
            ("media-type-star", "artifacts.0.media_type", "*/*"), ("media-type-newline", "artifacts.0.media_type", "text/plain\n"),
            ("bytes-string", "artifacts.0.bytes", "6"), ("bytes-null", "artifacts.0.bytes", None), ("bytes-true", "artifacts.0.bytes", True),
            ("sha256-upper-case", "artifacts.0.sha256", sha(b"hello\n").upper()), ("sha256-short", "artifacts.0.sha256", sha(b"")[:63]),
            ("sha256-null", "artifacts.0.sha256", None), ("sha256-prefixed", "artifacts.0.sha256", "sha256:" + sha(b"hello\n")),
            ("sha256-and-chunks", "artifacts.0.chunks", [sha(b"hello\n")]), ("chunks-empty", "artifacts.0.chunks", []),
            ("chunks-null", "artifacts.0.chunks", None),
            ("claimed-beside-sha256", "artifacts.0.claimed_sha256", sha(b"hello\n")),
            ("title-empty", "artifacts.0.title", ""), ("title-long", "artifacts.0.title", "t" * 1025), ("title-null", "artifacts.0.title", None),
            ("title-del", "artifacts.0.title", "a\x7f"), ("title-c1", "artifacts.0.title", "a\x85"), ("title-number", "artifacts.0.title", 1),
            ("step-empty", "artifacts.0.step", ""), ("step-slash", "artifacts.0.step", "a/b"), ("step-null", "artifacts.0.step", None),
            ("inputs-empty", "artifacts.0.inputs", []), ("inputs-null", "artifacts.0.inputs", None), ("inputs-object", "artifacts.0.inputs", {}),
            ("label-key-empty", "labels", {"": "x"}), ("label-key-space", "labels", {"a b": "x"}), ("label-key-leading-dot", "labels", {".a": "x"}),
            ("label-key-long", "labels", {"a" * 129: "x"}), ("label-key-not-ascii", "labels", {"\u00e9": "x"}),
            ("label-value-empty", "labels", {"a": ""}), ("label-value-number", "labels", {"a": 1}), ("label-value-null", "labels", {"a": None}),
            ("label-value-control", "labels", {"a": "x\ny"}), ("label-value-long", "labels", {"a": "\u00e9" * 513}), ("label-value-object", "labels", {"a": {}})):
        grammar(slug, path, value)
    grammar("b29-title-ansi", "artifacts.0.title", "\x1b[31mred", title="an ANSI escape in a title")
    grammar("b08-nul-in-label", "labels", {"a": "x\0y"})

    good_input = {"pack": "sha256:" + "ab" * 32, "name": "source.csv", "commitment": "cd" * 32}
    for slug, change in (("without-pack", {"pack": DROP}), ("without-name", {"name": DROP}), ("without-commitment", {"commitment": DROP}),
                         ("pack-no-prefix", {"pack": "ab" * 32}), ("name-traversal", {"name": "../a"}), ("name-manifest", {"name": "manifest.json"}),
                         ("commitment-short", {"commitment": "cd"}), ("commitment-upper-case", {"commitment": "CD" * 32}), ("unknown-member", {"uri": "file:///"})):
        value = {k: v for k, v in (good_input | change).items() if v is not DROP}
        grammar(f"input-{slug}", "artifacts.0.inputs", [value])
    grammar("b02-input-array", "artifacts.0.inputs", [list(good_input.values())])

    for slug, path, value in (("large-with-sha256", "artifacts.0.sha256", "00" * 32), ("large-without-chunks", "artifacts.0.chunks", DROP),
                              ("large-too-few-chunks", "artifacts.0.chunks", ["00" * 32]), ("large-too-many-chunks", "artifacts.0.chunks", ["00" * 32] * 3),
                              ("large-chunk-short", "artifacts.0.chunks", ["00" * 32, "00"]), ("large-claimed-upper-case", "artifacts.0.claimed_sha256", "AB" * 32),
                              ("one-chunk-as-chunks", "artifacts.0.bytes", CHUNK), ("b16-size-at-integer-max", "artifacts.0.bytes", 2**53 - 1)):
        grammar(slug, path, value, pack=LARGE)
    grammar("large-sha256-instead", "artifacts.0", {"name": "a.txt", "kind": "log", "media_type": "text/plain", "bytes": CHUNK + 1, "sha256": "00" * 32}, pack=LARGE)


def raw(name, title, code, old=None, new=None, data=None, pack=TINY, **fields):
    """A manifest given as bytes, or as the canonical ones with one piece exchanged."""
    if data is None:
        assert pack.data.count(old) == 1, (name, old)
        data = pack.data.replace(old, new)
    bad(name, title, pack.plain() | {"manifest.json": data}, code, **fields)


def json_cases():
    s, c = "manifest.syntax", "manifest.canonical"
    size = b'"bytes":6'
    raw("b01-duplicate-member", "format twice, the same", s, b'"format":', b'"format":"runpack/v1","format":')
    raw("b01-duplicate-in-artifact", "bytes twice, different", s, size, b'"bytes":7,' + size)
    raw("b01-duplicate-label", "one label twice", s, b'"labels":{}', b'"labels":{"a":"1","a":"1"}')
    raw("b01-duplicate-by-escape", "the second spelling is an escape", s, b'"format":', b'"\\u0066ormat":"runpack/v1","format":')
    for slug, number in (("2-pow-53", b"9007199254740992"), ("2-pow-53-plus-1", b"9007199254740993"), ("2-pow-64", b"18446744073709551616"), ("5000-digits", b"9" * 5000)):
        raw(f"b04-integer-{slug}", "an integer above 2^53-1", s, size, b'"bytes":' + number)
    for slug, number in (("minus-zero", b"-0"), ("minus-six", b"-6"), ("point", b"6.0"), ("exponent", b"6e0"), ("exponent-upper-case", b"6E0"), ("leading-zero", b"06"),
                         ("plus", b"+6"), ("nan", b"NaN"), ("infinity", b"Infinity"), ("minus-infinity", b"-Infinity"), ("hexadecimal", b"0x6"), ("point-only", b"6.")):
        raw(f"b05-number-{slug}", f"bytes as {number.decode()}", s, size, b'"bytes":' + number)
    raw("b05-fraction-in-unknown-member", "syntax comes before schema", s, size, size + b',"z":0.5')
    raw("b06-leading-space", "a space before", c, data=b" " + TINY.data)
    raw("b06-trailing-newline", "a line feed after", c, data=TINY.data + b"\n")
    raw("b06-whitespace", "a space after a colon", c, b'"format":', b'"format": ')
    raw("b06-indented", "the same document indented", c, data=json.dumps(TINY.manifest, indent=1, sort_keys=True).encode())
    raw("b06-member-order", "subject before format", c, data=json.dumps({"subject": RUN, **TINY.manifest}, separators=(",", ":")).encode())
    raw("b06-member-order-nested", "version before name", c, b'{"name":"runpack","version":"0.1.0"}', b'{"version":"0.1.0","name":"runpack"}')
    labelled = tiny(labels={"B": "1", "a": "caf\u00e9/\"\\"})
    raw("b06-label-order", "labels not in byte order", c, b'"B":"1","a":"caf\xc3\xa9/\\"\\\\"', b'"a":"caf\xc3\xa9/\\"\\\\","B":"1"', pack=labelled)
    raw("b06-escape-ascii", "\\u0061 for a", c, b'"acme"', b'"\\u0061cme"')
    raw("b06-escape-member-name", "\\u0066 in a member's name", c, b'"format":', b'"\\u0066ormat":')
    raw("b06-escape-slash", "\\/ for /", c, b'"text/plain"', b'"text\\/plain"')
    raw("b06-escape-lower-case", "\\u00e9 for a letter that needs none", c, b"caf\xc3\xa9", b"caf\\u00e9", pack=labelled)
    raw("b06-escape-upper-case", "\\u00E9 likewise", c, b"caf\xc3\xa9", b"caf\\u00E9", pack=labelled)
    raw("b06-escape-quote", "\\u0022 for \\\"", c, b'/\\"', b"/\\u0022", pack=labelled)
    raw("b06-escape-backslash", "\\u005c for \\\\", c, b"\\\\", b"\\u005c", pack=labelled)
    raw("b06-escape-surrogate-pair", "an escaped pair for an astral character", c, b"caf\xc3\xa9", b"\\ud83d\\ude00", pack=labelled)
    raw("b08-control-escape-upper-case", "\\u001F is outside the grammar before it is not canonical", "manifest.schema", b"caf\xc3\xa9", b"\\u001F", pack=labelled)
    raw("b07-depth-17", "depth 17", s, b'"labels":{}', b'"labels":' + b"[" * 16 + b"]" * 16)
    raw("b07-depth-16", "depth 16 is read, and refused for what it is", "manifest.schema", b'"labels":{}', b'"labels":' + b"[" * 15 + b"]" * 15)
    raw("b07-depth-bomb", "forty thousand brackets", s, data=b"[" * 40000)
    raw("b07-depth-bomb-objects", "ten thousand objects, closed", s, data=b'{"a":' * 10000 + b"1" + b"}" * 10000)
    raw("b07-brackets-in-string", "brackets in a string have no depth", "manifest.schema", b'"labels":{}', b'"labels":"' + b"[{" * 40 + b'"')
    raw("b08-bom", "a byte order mark", s, data=b"\xef\xbb\xbf" + TINY.data)
    raw("b08-trailing-bytes", "a letter after the end", s, data=TINY.data + b"x")
    raw("b08-trailing-nul", "a NUL after the end", s, data=TINY.data + b"\0")
    raw("b08-two-documents", "two documents", s, data=TINY.data * 2)
    for slug, piece in (("lone-high-surrogate", b"\\ud83d"), ("lone-low-surrogate", b"\\ude00"), ("reversed-surrogates", b"\\ude00\\ud83d"), ("raw-surrogate", b"\xed\xa0\xbd"),
                        ("invalid-utf8", b"\xff"), ("overlong-utf8", b"\xc1\xa1"), ("truncated-utf8", b"\xe2\x82"), ("beyond-unicode", b"\xf4\x90\x80\x80"),
                        ("raw-nul", b"\0"), ("raw-newline", b"\n"), ("unknown-escape", b"\\x41"), ("short-escape", b"\\u00e")):
        raw(f"b08-{slug}", "in a label's value", s, b"caf\xc3\xa9", piece, pack=labelled)
    raw("b08-surrogate-in-member-name", "a lone surrogate as a member's name", s, b'"labels":{}', b'"labels":{"\\ud800":"x"}')
    for slug, data in (("empty", b""), ("array", b"[]"), ("string", b'"runpack/v1"'), ("null", b"null"), ("truncated", TINY.data[:-1]), ("white-space", b"  \n"),
                       ("utf-16", TINY.data.decode().encode("utf-16-le")), ("trailing-comma", TINY.data[:-1] + b",}"), ("comment", b"/**/" + TINY.data),
                       ("single-quotes", TINY.data.replace(b'"', b"'")), ("form-feed", b"\x0c" + TINY.data), ("no-break-space", b"\xc2\xa0" + TINY.data),
                       ("unclosed-string", b'{"format":"' + b'\\"' * 20000)):
        raw(f"syntax-{slug}", "not one JSON object", s, data=data)

    # The first check that fails gives the one code.
    v2 = TINY.edited("format", "runpack/v2")
    raw("first-syntax-then-format", "syntax comes before format", s, data=v2.data + b"x")
    raw("first-format-then-schema", "format comes before schema", "manifest.format", data=v2.edited("z", 1).data)
    raw("first-schema-then-canonical", "schema comes before canonical", "manifest.schema", data=TINY.edited("z", 1).data + b"\n")
    raw("first-canonical-then-limit", "canonical comes before limit", c, data=BASE.data + b"\n", pack=BASE, limits={"artifacts": 1})
    two = Pack(made("a", b""), made("b", b""))
    two.manifest["artifacts"].reverse()
    bad("first-limit-then-order", "limit comes before order", two.plain(), "manifest.limit", limits={"artifacts": 1})
    three = Pack(made("B", b""), made("a", b""), made("b", b""))
    three.manifest["artifacts"].reverse()
    bad("first-order-then-collision", "order comes before collision", {"manifest.json": three.data}, "manifest.order")
    clash = Pack(made("A", b"1", kind="spec"), made("a", b"2", kind="spec"))
    bad("first-collision-then-spec", "collision comes before spec", {"manifest.json": clash.data}, "manifest.collision")
    bad("first-manifest-then-rest", "a bad manifest hides pins and content", {"manifest.json": TINY.data + b"\n", "stranger": b"x"}, c,
        expect_pack_id=BASE.id, expect_tenant="other")


def name_cases():
    def wrong(name, value):
        changed = TINY.edited("artifacts.0.name", value)
        bad(name, f"artifact named {json.dumps(value)[:60]}", {"manifest.json": changed.data, "a.txt": b"hello\n"}, "manifest.schema")

    for slug, value in (("parent", "../x"), ("absolute", "/x"), ("drive", "C:\\x"), ("drive-relative", "C:x"), ("backslash", "a\\b"), ("double-slash", "a//b"), ("dot", "."),
                        ("dot-dot", ".."), ("empty", ""), ("inner-parent", "a/../b"), ("inner-dot", "a/./b"), ("trailing-slash", "a/"), ("slash", "/"),
                        ("escaped-parent-lower-case", "%2e%2e"), ("escaped-parent", "%2E%2E"), ("half-escaped-parent", ".%2E"), ("escaped-parent-component", "%2E%2E/x"),
                        ("escaped-dot", "%2E"), ("escaped-slash", "a%2Fb"), ("escaped-nul", "a%00b"), ("escaped-backslash-lower-case", "a%5cb"),
                        ("division-slash", "a\u2215b"), ("double-escape-lower-case", "%252e%2fx")):
        wrong(f"b11-name-{slug}", value)
    for slug, value in (("trailing-dot", "a."), ("trailing-space", "a "), ("directory-trailing-dot", "a./b"), ("directory-trailing-space", "a /b"), ("not-ascii", "caf\u00e9"), ("nfd", "cafe\u0301")):
        wrong(f"b10-name-{slug}", value)
    for slug, value in (("component-256", "x" * 256), ("name-513", "/".join(["x" * 255, "y" * 255, "z"])[:513]), ("escaped-256", "%C3" * 86)):
        wrong(f"b12-name-{slug}", value)
    for slug, value in (("con", "CON"), ("con-lower-case", "con"), ("con-extension", "Con.txt"), ("nul-space", "NUL .txt"), ("aux", "aux.txt"), ("com1", "COM1"), ("lpt9", "lpt9.log"),
                        ("prn-directory", "dir/PRN"), ("device-directory", "nUl/x"), ("two-extensions", "aux.tar.gz"), ("leading-dash", "-rf"), ("leading-dash-inside", "a/-rf"),
                        ("leading-space", " a"), ("control", "a\x07"), ("bidi", "a\u202etxt.exe"), ("ansi", "\x1b[2J")):
        wrong(f"b13-name-{slug}", value)
    for slug, value in (("letter", "%41"), ("space", "a%20b"), ("dot", "a%2Eb"), ("percent-alone", "100%"), ("percent-short", "%4"), ("percent-not-hex", "%GG"), ("lower-case", "%c3%A9"),
                        ("device-not-needed", "%43ONx"), ("device-second-letter", "C%4FN"), ("device-both", "%43%4FN"), ("dash-inside", "a%2Db"), ("inner-trailing-space", "a%20%20")):
        wrong(f"b10-escape-{slug}", value)
    for slug, value in (("star", "a*b"), ("question", "a?b"), ("quote", 'a"b'), ("less", "a<b"), ("pipe", "a|b"), ("colon", "a:b"), ("apostrophe", "a'b"), ("hash", "a#b"), ("ampersand", "a&b"),
                        ("semicolon", "a;b"), ("bracket", "a[b"), ("dollar", "a$b")):
        wrong(f"b11-character-{slug}", value)
    for slug, value in (("itself", "manifest.json"), ("upper-case", "MANIFEST.JSON"), ("directory", "Manifest.json/x"), ("escaped", "%6Danifest.json")):
        wrong(f"b14-manifest-{slug}", value)

    def pair(*names):
        pack = Pack(*(made(n, n.encode()) for n in names))
        return {"manifest.json": pack.data}

    bad("b10-collision-case", "equal after folding", pair("README", "readme"), "manifest.collision")
    bad("b10-collision-case-inside", "equal after folding, far apart", pair("A/x", "B", "a/X"), "manifest.collision")
    bad("b14-file-and-directory", "a name that is another's directory", pair("a", "a/b"), "manifest.collision")
    bad("b14-file-and-directory-case", "a beside A/b", pair("A/b", "a"), "manifest.collision")
    bad("b14-file-and-directory-apart", "with names sorted between them", pair("a", "a-b", "a.txt", "a/b/c"), "manifest.collision")
    bad("b14-file-and-directory-deep", "a/b beside a/b/c", pair("a/b", "a/b/c"), "manifest.collision")
    case_directories = Pack(made("A/x", b"1"), made("a/y", b"2"))
    good("consistent-directories-differ-in-case", "two spellings of a directory are no collision of names", bundle(case_directories))
    bad("b10-duplicate-name", "one name twice", {"manifest.json": TINY.edited("artifacts.1", TINY.manifest["artifacts"][0]).data, "a.txt": b"hello\n"}, "manifest.order")
    for slug, names in (("reversed", ["b", "a"]), ("case", ["a", "B"]), ("slash", ["a/b", "a.b"])):
        pack = Pack(*(made(n, b"") for n in names))
        pack.manifest["artifacts"] = [made(n, b"")[0] for n in names]
        bad(f"order-{slug}", f"{names[0]} before {names[1]}", {"manifest.json": pack.data}, "manifest.order")

    bad("spec-hash-mismatch", "the spec artifact is not the one of spec_hash", BASE.edited("subject.spec_hash", "sha256:" + "ab" * 32).plain(), "manifest.spec")
    bad("spec-hash-zeroed", "spec_hash zeroed, the spec left in", BASE.edited("subject.spec_hash", "sha256:" + "00" * 32).plain(), "manifest.spec")
    bad("spec-twice", "two artifacts of kind spec, the same bytes", Pack(made("a", SPEC, kind="spec"), made("b", SPEC, kind="spec")).plain(), "manifest.spec")
    bad("spec-in-step", "a step has no spec", Pack(made("inputs/spec", SPEC, kind="spec"), subject=STEP).plain(), "manifest.spec")
    bad("spec-in-execution", "an execution has no spec", Pack(made("artifacts/spec", SPEC, kind="spec"), subject=EXECUTION).plain(), "manifest.spec")
    large = LARGE.edited("artifacts.0.kind", "spec")
    bad("spec-chunked", "a spec of more than one chunk", large.edited("subject.spec_hash", "sha256:" + commitment(large.manifest["artifacts"][0])).plain(), "manifest.spec")


# The pack directory

def without(files, *paths):
    return {p: c for p, c in files.items() if p not in paths}


def directory_cases():
    plain, keyed = BASE.plain(), BASE.keyed()
    pin = {"expect_pack_id": BASE.id}
    first = commitment(BASE.manifest["artifacts"][0])
    bad("s13-manifest-missing", "artifacts without a manifest", without(plain, "manifest.json"), "manifest.missing", **pin)
    bad("s14-artifact-missing", "one artifact missing", without(plain, "model.bin"), "artifact.missing", **pin)
    bad("s14-artifacts-missing", "all artifacts missing", {"manifest.json": BASE.data}, "artifact.missing", **pin)
    bad("s14-artifact-missing-presence", "presence sees it too", without(plain, "logs/run.log"), "artifact.missing", level="presence")
    bad("s01-flipped-bit", "one bit of one artifact", plain | {"model.bin": b"\1" + plain["model.bin"][1:]}, "artifact.digest", **pin)
    bad("s01-flipped-bit-unpinned", "the same with nothing pinned", plain | {"logs/run.log": b"start\nEnd\n"}, "artifact.digest")
    bad("s01-flipped-spec", "one bit of the spec", plain | {"spec.yaml": SPEC.replace(b"train", b"drain")}, "artifact.digest", **pin)
    bad("s02-truncated", "one byte short", plain | {"model.bin": plain["model.bin"][:-1]}, "artifact.size", **pin)
    bad("s02-emptied", "no bytes", plain | {"model.bin": b""}, "artifact.size", **pin)
    bad("s03-extended", "one byte more", plain | {"model.bin": plain["model.bin"] + b"\0"}, "artifact.size", **pin)
    bad("s03-extended-presence", "presence sees the size", plain | {"model.bin": plain["model.bin"] + b"\0"}, "artifact.size", level="presence")
    bad("s20-error-page", "an error document in an artifact's place", plain | {"model.bin": b"<Error><Code>NoSuchKey</Code></Error>"}, "artifact.size", **pin)
    bad("s02-empty-grown", "an artifact of no bytes has one", Pack(made("empty", b"")).plain() | {"empty": b"x"}, "artifact.size")
    swap = Pack(made("a.bin", b"aaaa"), made("b.bin", b"bbbb"))
    bad("s07-swapped-artifacts", "two artifacts of one size swapped", swap.plain() | {"a.bin": b"bbbb", "b.bin": b"aaaa"}, "artifact.digest", expect_pack_id=swap.id)
    bad("s07-swapped-artifacts-keyed", "the same in keyed form", swap.keyed() | {f"{sha(b'aaaa')}/a.bin": b"bbbb"}, "artifact.digest")
    other = Pack(made("a.bin", b"AAAA"), made("b.bin", b"bbbb"), subject=RUN | {"run_id": "01JE"})
    bad("s08-artifact-of-another-run", "an artifact that is right in another run", swap.plain() | {"a.bin": other.content["a.bin"]}, "artifact.digest", expect_pack_id=swap.id)
    many = plain | {"model.bin": b"short", "logs/run.log": b"start\nEnd\n", "extra": b""}
    bad("s15-everything-at-once", "every fault is found, not the first", without(many, "spec.yaml"),
        "artifact.digest", "artifact.missing", "artifact.size", "container.stranger", "pin.pack_id", "pin.identity",
        expect_pack_id=TINY.id, expect_tenant="other")

    outside = {"outside.bin": plain["model.bin"], "outside/run.log": plain["logs/run.log"], "outside.json": BASE.data}
    bad("b23-symlink-outside", "an artifact that links to the right bytes outside", plain | {"model.bin": Link("../outside.bin")}, "artifact.type", beside=outside, **pin)
    twins = Pack(made("a.txt", b"same\n"), made("b.txt", b"same\n"))
    bad("b23-symlink-inside", "an artifact that links to another with the same bytes", twins.plain() | {"b.txt": Link("a.txt")}, "artifact.type")
    bad("b23-symlink-dangling", "an artifact that links to nothing", plain | {"model.bin": Link("nothing")}, "artifact.type")
    bad("b23-symlink-loop", "an artifact that links to itself", plain | {"model.bin": Link("model.bin")}, "artifact.type")
    bad("b23-symlink-presence", "presence follows no link either", plain | {"model.bin": Link("../outside.bin")}, "artifact.type", beside=outside, level="presence")
    bad("b25-symlink-directory", "a directory that links to the right one outside: what should be in it is missing, the link a stranger",
        without(plain, "logs/run.log") | {"logs": Link("../outside")}, "artifact.missing", "container.stranger", beside=outside, **pin)
    bad("b23-symlink-manifest", "a manifest that links to the right bytes", plain | {"manifest.json": Link("../outside.json")}, "manifest.size", beside=outside, **pin)
    bad("b23-symlink-stranger", "a link that nothing lists", plain | {"link": Link("model.bin")}, "container.stranger", **pin)
    bad("b25-symlink-keyed", "keyed form, a commitment that links to a directory", Pack(made("a.txt", b"hello\n")).plain() | {sha(b"hello\n"): Link("."), },
        "artifact.missing", "container.stranger")
    bad("directory-as-artifact", "a directory in an artifact's place: one finding", without(plain, "model.bin") | {"model.bin/model.bin": plain["model.bin"]}, "artifact.type", **pin)
    bad("directory-as-manifest", "a directory in the manifest's place", without(plain, "manifest.json") | {"manifest.json/manifest.json": BASE.data}, "manifest.size", **pin)
    bad("file-as-directory", "a file in a directory's place", without(plain, "logs/run.log") | {"logs": b"start\nend\n"}, "artifact.missing", "container.stranger", **pin)

    for slug, path in (("file", "extra.txt"), ("hidden", ".hidden"), ("nested", "logs/extra.log"), ("directory", "extra/a/b.txt"), ("signature", "pack.sig.json"),
                       ("temporary", "model.bin.tmp"), ("nested-manifest", "logs/manifest.json"), ("case", "Model.bin"), ("hidden-directory", ".git2/config")):
        bad(f"s15-stranger-{slug}", f"{path} is not listed", plain | {path: b"x"}, "container.stranger", **pin)
    bad("s15-stranger-empty", "an empty file that nothing lists", plain | {"extra": b""}, "container.stranger", level="presence")
    bad("s15-keyed-stranger", "keyed form with a file beside an artifact", keyed | {f"{first}/extra": b"x"}, "container.stranger", **pin)
    bad("s15-keyed-residue", "keyed form with another writer's residue", keyed | {f"{'ab' * 32}/decisions.json": b"{}"}, "container.stranger", **pin)
    bad("s15-keyed-and-plain", "keyed form with a plain copy beside it", keyed | {"model.bin": plain["model.bin"]}, "container.stranger", **pin)
    bad("s15-plain-and-commitment", "an entry named like a commitment makes the form keyed", plain | {f"{first}": b"x"}, "artifact.missing", "container.stranger", **pin)
    wrong = without(keyed, f"{first}/decisions.json") | {f"{commitment(BASE.manifest['artifacts'][1])}/decisions.json": plain["decisions.json"]}
    bad("keyed-wrong-commitment", "an artifact under another's commitment", wrong, "artifact.missing", "container.stranger", **pin)
    one = Pack(made("a.txt", b"hello\n"))
    bad("keyed-unknown-commitment", "keyed under a digest that is no commitment: the form is plain", {"manifest.json": one.data, f"{'ab' * 32}/a.txt": b"hello\n"},
        "artifact.missing", "container.stranger")
    bad("keyed-upper-case", "a commitment in upper case", {"manifest.json": one.data, f"{sha(b'hello' + bytes([10])).upper()}/a.txt": b"hello\n"}, "artifact.missing", "container.stranger")
    bad("keyed-manifest-inside", "the manifest under a commitment", {f"{sha(b'hello' + bytes([10]))}/manifest.json": one.data}, "manifest.missing")
    tricky = Pack(made("a.txt", b"hello\n"), made(f"{sha(b'hello' + bytes([10]))}/b.txt", b"b"))
    case("valid-plain-named-like-commitment", "a name begins with a commitment, so its directory does not make the form keyed", tricky.plain(), "valid", expect_pack_id=tricky.id)


# The bundle

def bundle_cases():
    pin = {"expect_pack_id": BASE.id}
    parts = entries(BASE)
    tar = b"".join(parts) + END
    whole = gz(tar)
    body, tail = whole[10:-8], whole[-8:]
    mine = entry("manifest.json", BASE.data)
    deflate = deflated(6)

    def wrong(name, title, data, *codes, **more):
        bad(name, title, data, *codes, **(pin | more))

    # Content and pins
    wrong("s01-bundle-content", "one bit of content, CRC and size right", bundle(BASE, content={"logs/run.log": b"start\nEnd\n"}), "artifact.digest")
    wrong("s07-bundle-swapped", "content of two entries of one size exchanged", bundle(Pack(made("a", b"1"), made("b", b"2")), content={"a": b"2", "b": b"1"}), "artifact.digest", "pin.pack_id")
    bad("s09-bundle-of-another-tenant", "a sound bundle of another tenant", bundle(tiny(subject=RUN | {"tenant": "evil"})), "pin.identity", expect_tenant="acme")
    bad("b21-bundle-wrong-pin-and-mtime", "pins are consulted though the archive breaks", bundle(BASE, mtime=MTIME + 1), "bundle.tar", "pin.pack_id", expect_pack_id=TINY.id)

    # Headers
    def tweaked(at, value, n=1):
        """The archive with one header field of the nth entry changed, checksum made good."""
        names = ["manifest.json"] + [a["name"] for a in BASE.manifest["artifacts"]]
        size = len(([BASE.data] + list(BASE.content.values()))[n])
        changed = header(names[n], size, tweak=lambda put: put(at, value)) + parts[n][512:]
        return gz(b"".join(parts[:n]) + changed + b"".join(parts[n + 1:]) + END)

    wrong("b28-mtime-all", "every mtime one second late", bundle(BASE, mtime=MTIME + 1), "bundle.tar")
    wrong("b28-mtime-zero", "every mtime zero", bundle(BASE, mtime=0), "bundle.tar")
    for slug, at, value in (("mtime", 136, b"%011o" % (MTIME + 1)), ("mode", 100, b"0000755"), ("setuid", 100, b"0004755"), ("uid", 108, b"0001750"), ("gid", 116, b"0001750"),
                            ("uname", 265, b"root"), ("gname", 297, b"root"), ("linkname", 157, b"a"), ("devmajor", 329, b"0000001"), ("devminor", 337, b"0000001"), ("prefix", 345, b"logs"),
                            ("magic-gnu", 257, b"ustar  \0"), ("magic-v7", 257, bytes(8)), ("version", 263, b"01"), ("reserved-tail", 500, b"x"), ("size-spaces", 124, b"         22 "),
                            ("size-no-nul", 124, b"000000000022"), ("mode-spaces", 100, b"   644 "), ("name-after-nul", 99, b"x"), ("name-case", 0, b"Decisions.json"),
                            ("type-old-file", 156, b"\0"), ("type-hardlink", 156, b"1"), ("type-symlink", 156, b"2"), ("type-character", 156, b"3"), ("type-block", 156, b"4"),
                            ("type-directory", 156, b"5"), ("type-fifo", 156, b"6"), ("type-contiguous", 156, b"7"), ("type-pax", 156, b"x"), ("type-global-pax", 156, b"g"),
                            ("type-sparse", 156, b"S")):
        ident = "b23" if slug.startswith("type") or slug == "setuid" else "b24"
        wrong(f"{ident}-header-{slug}", f"header of an artifact: {slug}", tweaked(at, value), "bundle.tar")
    wrong("b24-header-manifest-mode", "header of the manifest: mode", tweaked(100, b"0000600", 0), "bundle.tar")
    wrong("b24-header-manifest-type", "header of the manifest: type", tweaked(156, b"\0", 0), "bundle.tar")
    wrong("b24-header-last-artifact", "header of the last artifact", tweaked(100, b"0000600", 4), "bundle.tar")
    wrong("b16-size-smaller", "a header's size smaller than the manifest's", tweaked(124, b"%011o" % 17), "bundle.tar")
    wrong("b16-size-larger", "a header's size larger than the manifest's", tweaked(124, b"%011o" % 19), "bundle.tar")
    sizes = bytearray(tar)
    sizes[len(mine) + 148] ^= 1
    wrong("b24-checksum", "checksum of an artifact's header", gz(bytes(sizes)), "bundle.tar")
    spelled = bytearray(tar)
    spelled[len(mine) + 148:len(mine) + 156] = b" " + bytes(spelled[len(mine) + 149:len(mine) + 154]) + b"\0 "
    wrong("b24-checksum-spelling", "checksum with a space for a zero", gz(bytes(spelled)), "bundle.tar")

    # What stands first
    wrong("s13-bundle-manifest-last", "the manifest at the end", gz(b"".join(parts[1:]) + parts[0] + END), "manifest.missing")
    wrong("s13-bundle-no-manifest", "artifacts only", gz(b"".join(parts[1:]) + END), "manifest.missing")
    wrong("s13-bundle-empty-archive", "an archive of no entries", gz(END), "manifest.missing")
    wrong("s13-bundle-manifest-case", "MANIFEST.JSON", gz(entry("MANIFEST.JSON", BASE.data) + tar[len(mine):]), "manifest.missing")
    wrong("s13-bundle-manifest-dot-slash", "./manifest.json", gz(entry("./manifest.json", BASE.data) + tar[len(mine):]), "manifest.missing")
    wrong("s13-bundle-pax-before-manifest", "a PAX header before the manifest", gz(pax("comment=x") + tar), "manifest.missing")
    wrong("b24-global-pax-before-manifest", "a global PAX header before the manifest", gz(header("pax_global_header", 0, flag=b"g") + tar), "manifest.missing")
    damaged = bytearray(tar)
    damaged[150] ^= 1
    wrong("s13-bundle-manifest-checksum", "the manifest's header has a wrong checksum", gz(bytes(damaged)), "manifest.missing")
    not_octal = header("manifest.json", 0, tweak=lambda put: put(124, b"%11d\0" % len(BASE.data)))
    wrong("s13-bundle-manifest-size-decimal", "the manifest's size is not octal", gz(not_octal + tar[512:]), "manifest.missing")
    wrong("b27-manifest-huge", "the manifest's header claims 8 GiB", gz(header("manifest.json", OCTAL_MAX) + tar[512:]), "manifest.size")
    wrong("syntax-bundle-manifest-empty", "a manifest of no bytes", gz(header("manifest.json", 0) + tar[len(mine):]), "manifest.syntax")
    wrong("b06-bundle-trailing-newline", "a manifest that is not canonical", gz(entry("manifest.json", BASE.data + b"\n") + tar[len(mine):]), "manifest.canonical")
    wrong("b24-manifest-size-short", "the manifest's header claims one byte less", gz(header("manifest.json", len(BASE.data) - 1) + tar[512:]), "manifest.syntax")

    # Entries
    wrong("b28-entries-reordered", "two entries exchanged", gz(b"".join([parts[0], parts[2], parts[1], *parts[3:]]) + END), "bundle.tar")
    wrong("s14-bundle-entry-missing", "one entry missing", gz(b"".join(parts[:2] + parts[3:]) + END), "bundle.tar")
    wrong("s14-bundle-last-entry-missing", "the last entry missing", gz(b"".join(parts[:-1]) + END), "bundle.tar")
    wrong("s15-bundle-entry-extra", "one entry more", gz(b"".join(parts) + entry("extra", b"x") + END), "bundle.tar")
    wrong("s15-bundle-entry-twice", "an entry twice", gz(b"".join(parts + parts[-1:]) + END), "bundle.tar")
    wrong("s15-bundle-directory-entry", "an entry for a directory", gz(b"".join(parts[:2]) + header("logs/", 0, flag=b"5") + b"".join(parts[2:]) + END), "bundle.tar")
    wrong("s15-bundle-manifest-twice", "the manifest twice", gz(parts[0] + b"".join(parts) + END), "bundle.tar")
    link = header("decisions.json", 0, tweak=lambda put: (put(156, b"2"), put(157, b"/etc/passwd")))
    wrong("b23-entry-symlink", "a symbolic link in an artifact's place", gz(parts[0] + link + b"".join(parts[2:]) + END), "bundle.tar")

    # PAX and GNU
    n = len(BASE.content["decisions.json"])
    inner = header("decisions.json", 0)
    wrong("b24-pax-superfluous", "a PAX path where the name is short", gz(parts[0] + pax("path=decisions.json") + b"".join(parts[1:]) + END), "bundle.tar")
    wrong("b24-pax-size-superfluous", "a PAX size where the size is small", gz(parts[0] + pax(f"size={n}") + inner + parts[1][512:] + b"".join(parts[2:]) + END), "bundle.tar")
    smuggled = entry("smuggled.bin", b"hidden")
    wrong("b24-pax-size-desync", "PAX size hides a nested archive from a reader that trusts the header (CVE-2025-62518)",
          gz(parts[0] + pax(f"size={len(smuggled)}") + inner + smuggled + b"".join(parts[2:]) + END), "bundle.tar")
    wrong("b24-pax-mtime", "a PAX mtime", gz(parts[0] + pax(f"mtime={MTIME}.5") + b"".join(parts[1:]) + END), "bundle.tar")
    longname = header("././@LongLink", 15, flag=b"L") + pad(b"decisions.json\0")
    wrong("b24-gnu-longname", "a GNU long name", gz(parts[0] + longname + b"".join(parts[1:]) + END), "bundle.tar")
    long = Pack(made("n" * 101, b"x"))
    short = entry("manifest.json", long.data)
    own = header("n" * 100, 1) + pad(b"x")
    for slug, title, middle in (
            ("absent", "no PAX header for a long name", own),
            ("gnu", "a GNU long name for a long name", header("././@LongLink", 102, flag=b"L") + pad(b"n" * 101 + b"\0") + own),
            ("prefix", "a long name split with the ustar prefix", pax(f"path={'n' * 101}") + header("n", 1, tweak=lambda put: put(345, b"n" * 100)) + pad(b"x")),
            ("other-name", "a PAX header of another name", pax(f"path={'n' * 101}").replace(b"PaxHeader", b"PaxHeadeR", 1) + own),
            ("other-path", "a PAX path that differs", pax(f"path={'n' * 100}m") + own),
            ("two-records", "one record more", pax(f"path={'n' * 101}", "comment=x") + own),
            ("record-twice", "the record twice", pax(f"path={'n' * 101}", f"path={'n' * 101}") + own),
            ("length-padded", "a record's length with a leading zero", header("PaxHeader", 112, flag=b"x") + pad(f"0112 path={'n' * 101}\n".encode()) + own),
            ("twice", "two PAX headers", pax(f"path={'n' * 101}") * 2 + own)):
        bad(f"b24-long-name-{slug}", title, gz(short + middle + END), "bundle.tar", expect_pack_id=long.id)

    # Padding and ends
    wrong("b28-padding-manifest", "a padding byte of the manifest", gz(tar[:len(mine) - 1] + b"\1" + tar[len(mine):]), "bundle.tar")
    at = len(mine) + len(parts[1])
    wrong("b28-padding-artifact", "a padding byte of an artifact", gz(tar[:at - 1] + b"\1" + tar[at:]), "bundle.tar")
    changed = {"logs/run.log": b"start\nEnd\n"}
    late = b"".join(entries(BASE, content=changed)[:3])
    wrong("b28-content-then-padding", "content read wholly before the break is judged", gz(late[:-1] + b"\1" + b"".join(parts[3:]) + END), "artifact.digest", "bundle.tar")
    wrong("b28-end-block-not-zero", "a byte in the last 1,024", gz(tar[:-1] + b"\1"), "bundle.tar")
    wrong("b28-end-missing", "no end blocks", gz(tar[:-1024]), "bundle.truncated")
    wrong("b28-end-single", "one end block", gz(tar[:-512]), "bundle.truncated")
    wrong("b28-padded-to-10240", "padded to a record of 10,240 bytes", gz(tar + bytes(-len(tar) % 10240)), "bundle.trailing")
    wrong("b28-one-zero-more", "one zero byte more", gz(tar + b"\0"), "bundle.trailing")
    wrong("b28-second-archive", "a second archive after the end blocks", gz(tar + tar), "bundle.trailing")
    wrong("b28-garbage-in-member", "garbage after the end blocks", gz(tar + b"garbage"), "bundle.trailing")
    wrong("b28-second-member", "a second gzip member", whole + whole, "bundle.trailing")
    wrong("b28-second-member-empty", "a second gzip member that holds nothing", whole + gz(b""), "bundle.trailing")
    wrong("b28-garbage-after", "one byte after the gzip trailer", whole + b"\0", "bundle.trailing")
    wrong("b28-garbage-before", "one byte before", b"\0" + whole, "bundle.gzip")
    wrong("b26-archive-split-over-members", "the archive split over two gzip members", gz(tar[:2048]) + gz(tar[2048:]), "bundle.truncated")

    # Gzip
    def gzip_header(at, value, extra=b""):
        changed = bytearray(whole)
        changed[at] = value
        return bytes(changed[:10]) + extra + bytes(changed[10:])

    for slug, data in (("fname", gzip_header(3, 8, b"pack.tar\0")), ("fextra", gzip_header(3, 4, b"\4\0abcd")), ("fcomment", gzip_header(3, 16, b"hi\0")),
                       ("fhcrc", gzip_header(3, 2, (zlib.crc32(b"\x1f\x8b\x08\x02\0\0\0\0\0\xff") & 0xFFFF).to_bytes(2, "little"))), ("ftext", gzip_header(3, 1)), ("mtime", gzip_header(4, 1)),
                       ("xfl", gzip_header(8, 2)), ("os", gzip_header(9, 3)), ("method", gzip_header(2, 7)), ("magic", gzip_header(1, 0x8C)), ("bare-tar", tar),
                       ("zlib", b"\x78\x01" + body + zlib.adler32(tar).to_bytes(4, "big")), ("zip", b"PK\3\4" + bytes(26) + tar)):
        wrong(f"b26-gzip-{slug}", f"gzip header: {slug}", data, "bundle.gzip")
    wrong("b27-nested-gzip", "a gzip in a gzip", gz(whole), "manifest.missing")
    wrong("b28-crc", "a wrong CRC", whole[:-8] + bytes([tail[0] ^ 1]) + tail[1:], "bundle.gzip")
    wrong("b28-isize", "a wrong size", whole[:-1] + bytes([tail[-1] ^ 1]), "bundle.gzip")
    wrong("b28-crc-then-trailing", "a wrong CRC comes before what trails", whole[:-8] + bytes([tail[0] ^ 1]) + tail[1:] + b"x", "bundle.gzip")
    wrong("b28-content-and-crc", "content flipped in place: both are found", whole.replace(b"start\nend\n", b"start\nEnd\n"), "artifact.digest", "bundle.gzip")
    bad_block = b"\7"  # a last block of the type that does not exist
    wrong("b28-deflate-at-once", "deflate data wrong from the first bit", GZIP + bad_block + body + tail, "bundle.gzip")
    wrong("b28-deflate-in-manifest", "deflate data wrong inside the manifest", GZIP + stored(tar[:600], False) + bad_block + tail, "bundle.gzip")
    broken = b"".join(entries(BASE, content=changed))
    cut = len(b"".join(parts[:4])) + 600
    wrong("b28-deflate-block-type", "what was read before the break stands", GZIP + stored(broken[:cut], False) + bad_block + tail, "artifact.digest", "bundle.gzip")
    wrong("b28-deflate-block-length", "a stored block whose length does not match its complement", GZIP + stored(broken[:cut], False) + b"\0\5\0\5\0hello" + tail, "artifact.digest", "bundle.gzip")
    start = len(b"".join(parts[:2]))
    for slug, then in (("distance", "0000001" + "11101"), ("symbol", "11000110"), ("distance-symbol", "0000001" + "11110")):
        reach = "distance" if slug == "distance" else slug
        fixed = GZIP + stored(broken[:start], False) + fixed_huffman(broken[start:start + 1100], then) + bytes(16)
        wrong(f"b28-deflate-{slug}", f"a {reach} that cannot be, after content in the same block", fixed, "artifact.digest", "bundle.gzip")
    clean = GZIP + stored(tar[:start], False) + fixed_huffman(tar[start:], "0000000") + tail
    case("valid-bundle-fixed-huffman", "stored and fixed Huffman blocks mixed", clean, "valid", expect_pack_id=BASE.id)
    wrong("b28-deflate-after-archive", "deflate data wrong after the archive's end", GZIP + stored(tar, False) + bad_block + tail, "bundle.gzip")
    wrong("b28-deflate-not-final", "the archive is whole, but no block is the final one", GZIP + stored(tar, False) + b"\0\0\0\xff\xff" * 2, "bundle.truncated")

    # Truncated at every layer
    empty = {"empty": b"", "one-byte": whole[:1], "nine-bytes": whole[:9], "not-even-gzip": b"PK", "header-only": whole[:10], "first-header": GZIP + stored(tar[:511]),
             "manifest": GZIP + stored(tar)[:5 + 600], "content": GZIP + stored(tar)[:5 + len(mine) + 515], "padding": GZIP + stored(tar)[:5 + len(mine) + 600],
             "before-end-blocks": GZIP + stored(tar)[:-1024], "before-trailer": whole[:-8], "inside-trailer": whole[:-1]}
    for slug, data in empty.items():
        wrong(f"b28-truncated-{slug}", f"the input ends: {slug.replace('-', ' ')}", data, "bundle.truncated")
    wrong("b28-truncated-compressed", "the input ends inside compressed data", gz(tar, deflate)[:-20], "bundle.truncated")
    wrong("b28-truncated-after-damage", "damage read before the end stands", GZIP + stored(broken)[:-1400], "artifact.digest", "bundle.truncated")
    wrong("b28-truncated-damage-not-reached", "an artifact that was not wholly read is not judged", GZIP + stored(broken)[:5 + broken.index(b"End\n") + 2], "bundle.truncated")
    wrong("b28-final-block-early", "the deflate stream ends inside the archive, the trailer fits", gz(tar[:start]), "bundle.truncated")
    wrong("b28-wrong-byte-then-truncated", "a wrong byte comes before the end of the input", GZIP + stored(tar[:len(mine)] + b"X" + tar[len(mine) + 1:])[:5 + len(mine) + 9], "bundle.tar")


# Pins

def pin_cases():
    plain = BASE.plain()
    payload = statement(BASE)
    r, s = KEY.sign(pae(payload))

    bad("pin-pack-id-other", "another pack was expected", plain, "pin.pack_id", expect_pack_id=TINY.id)
    bad("s10-receipt-other", "an older sound pack than the receipt's", plain, "pin.receipt", receipt_pack_id=TINY.id)
    bad("s10-receipt-other-signed", "a signature does not outweigh a receipt", plain, "pin.receipt", receipt_pack_id=TINY.id, **signed(envelope(payload)))
    bad("pin-pack-id-right-receipt-other", "one pin fits, one does not", plain, "pin.receipt", expect_pack_id=BASE.id, receipt_pack_id=TINY.id)
    bad("pin-presence", "presence consults pins", plain, "pin.pack_id", level="presence", expect_pack_id=TINY.id)
    for member, value in (("tenant", "evil"), ("namespace", "test"), ("scenario", "loan"), ("run_id", "01JE")):
        bad(f"s09-identity-{member.replace('_', '-')}", f"another {member} was expected", plain, "pin.identity", expect_pack_id=BASE.id, **{f"expect_{member}": value})
    bad("s09-identity-case", "identities are compared as bytes", plain, "pin.identity", expect_tenant="ACME")
    step = Pack(made("inputs/a.csv", b"1\n"), subject=STEP)
    bad("s09-identity-not-in-subject", "a step has no namespace to be the expected one", step.plain(), "pin.identity", expect_tenant="acme", expect_namespace="prod")

    def right(name, title, data, **more):
        case(name, title, plain, "valid", **signed(data), **more)

    def wrong(name, title, data, key=KEY, **more):
        bad(name, title, plain, "pin.signature", **signed(data, key), **more)

    sig = signature(payload)
    foreign = signature(payload, OTHER_KEY)
    right("valid-signature-no-keyid", "keyid is optional", envelope(payload, [signature(payload, keyid=DROP)]))
    right("valid-signature-other-keyid", "keyid is a hint", envelope(payload, [signature(payload, keyid="not a key id")]))
    right("valid-signature-two-keys", "one of two signatures is by the trusted key", envelope(payload, [foreign, sig]))
    right("valid-signature-same-keyid", "two signatures that claim one keyid", envelope(payload, [signature(payload, OTHER_KEY, keyid=KEY.keyid), sig]))
    right("valid-signature-indented", "white space in an envelope", json.dumps(json.loads(envelope(payload)), indent=2).encode() + b"\n")
    free = statement(BASE, predicateType="https://example.com/any", predicate={"n": [-1.5e3, None, {"deep": True}]})
    right("valid-signature-predicate", "predicateType and predicate are free", envelope(free))
    case("consistent-presence-signed", "presence is never valid", plain, "consistent", level="presence", **signed(envelope(payload)))

    for name, predicate_type in (("attestation", "urn:runpack:storage-retention:v1"), ("unknown-type", "urn:runpack:pack:v2")):
        other = statement(BASE, predicateType=predicate_type, predicate={})
        wrong(f"l13-{name}-for-signature", f"a statement of type {predicate_type} vouches for no pack", envelope(other))
    wrong("b18-wrong-key", "signed by a key that is not trusted", envelope(payload, [foreign]))
    wrong("b18-keyid-only", "another key's signature with the trusted key's id", envelope(payload, [signature(payload, OTHER_KEY, keyid=KEY.keyid)]))
    wrong("b18-no-signatures", "no signatures", envelope(payload, []))
    others = [{"sig": b64(der(*OTHER_KEY.sign(b"%d" % n)))} for n in range(16)]
    wrong("b18-seventeen-signatures", "more signatures than an envelope may have", envelope(payload, [sig, *others]))
    case("valid-sixteen-signatures", "as many signatures as an envelope may have", BASE.plain(), "valid",
         **signed(envelope(payload, [sig, *others[1:]])))
    wrong("b18-duplicate", "one signature twice", envelope(payload, [sig, sig]))
    wrong("b18-duplicate-other-keyid", "one signature under two key ids", envelope(payload, [sig, sig | {"keyid": "x"}]))
    wrong("b17-payload-tampered", "the payload changed after signing", envelope(statement(BASE, predicate={}), [sig]))
    wrong("b17-payload-type", "another payload type, signed as such", envelope(payload, [{"sig": b64(der(*KEY.sign(pae(payload, "application/json"))))}], payloadType="application/json"))
    wrong("b17-payload-type-swapped", "another payload type over a good signature", envelope(payload, payloadType="application/vnd.in-toto+JSON"))
    wrong("b17-no-pae", "signed without the pre-authentication encoding", envelope(payload, [{"sig": b64(der(*KEY.sign(payload)))}]))
    wrong("b17-pae-length", "the encoding's length is one short", envelope(payload, [{"sig": b64(der(*KEY.sign(pae(payload).replace(f" {len(payload)} ".encode(), f" {len(payload) - 1} ".encode()))))}]))
    wrong("b21-another-pack", "a good signature of another pack", envelope(statement(TINY)))
    two = json.loads(payload)["subject"]
    for slug, title, changes in (
            ("two-subjects", "two subjects", {"subject": two + [{"name": "b", "digest": {"sha256": "00" * 32}}]}),
            ("subject-twice", "the subject twice", {"subject": two * 2}), ("no-subject", "no subject", {"subject": []}), ("subject-object", "a subject that is no array", {"subject": two[0]}),
            ("subject-without-name", "a subject without a name", {"subject": [{"digest": two[0]["digest"]}]}), ("subject-extra", "a subject with a uri", {"subject": [two[0] | {"uri": "x"}]}),
            ("subject-name-null", "a subject's name is null", {"subject": [two[0] | {"name": None}]}),
            ("digest-extra", "a second digest", {"subject": [{"name": "pack", "digest": two[0]["digest"] | {"sha512": "00" * 64}}]}),
            ("digest-upper-case", "a digest in upper case", {"subject": [{"name": "pack", "digest": {"sha256": two[0]["digest"]["sha256"].upper()}}]}),
            ("digest-prefixed", "a digest with sha256:", {"subject": [{"name": "pack", "digest": {"sha256": BASE.id}}]}),
            ("digest-string", "a digest that is no object", {"subject": [{"name": "pack", "digest": BASE.id}]}),
            ("type-v0", "an older statement type", {"_type": "https://in-toto.io/Statement/v0.1"}), ("type-absent", "no _type", {"_type": DROP}),
            ("predicate-absent", "no predicate", {"predicate": DROP}), ("predicate-type-absent", "no predicateType", {"predicateType": DROP}),
            ("predicate-type-number", "a predicateType that is no string", {"predicateType": 1}), ("extra-member", "one member more", {"expires": "2020-01-01T00:00:00Z"})):
        wrong(f"b21-statement-{slug}", title, envelope(statement(BASE, **changes)))
    for slug, title, data in (("duplicate-member", "predicate twice", payload.replace(b'"predicate":{', b'"predicate":1,"predicate":{')), ("bom", "a byte order mark", b"\xef\xbb\xbf" + payload),
                              ("array", "an array", b"[" + payload + b"]"), ("not-json", "no JSON", b"pack"), ("deep", "a predicate of depth 17", statement(BASE, predicate=json.loads("[" * 16 + "]" * 16))),
                              ("lone-surrogate", "a lone surrogate in the predicate", payload.replace(b'"runpack/v1"', b'"\\ud800"')), ("nan", "NaN in the predicate", payload.replace(b'"runpack/v1"', b"NaN")),
                              ("beyond-double", "a number in the predicate that no double holds", payload.replace(b'"runpack/v1"', b"1e400"))):
        wrong(f"b08-statement-{slug}", title, envelope(data))

    good_envelope = envelope(payload)
    for slug, title, data in (
            ("extra-member", "an envelope with one member more", envelope(payload, extra=1)), ("no-payload-type", "no payloadType", envelope(payload, payloadType=DROP)),
            ("no-signatures-member", "no member signatures", envelope(payload, signatures=DROP)), ("signatures-object", "signatures as an object", envelope(payload, signatures=sig)),
            ("signature-extra", "a signature with a certificate", envelope(payload, [sig | {"cert": "x"}])), ("signature-without-sig", "a signature without sig", envelope(payload, [{"keyid": KEY.keyid}])),
            ("signature-string", "a signature that is no object", envelope(payload, [sig["sig"]])), ("keyid-number", "a keyid that is no string", envelope(payload, [sig | {"keyid": 1}])),
            ("keyid-null", "a keyid that is null", envelope(payload, [sig | {"keyid": None}])),
            ("duplicate-member", "payload twice", good_envelope.replace(b'"payload":', b'"payload":"","payload":', 1)), ("bom", "a byte order mark", b"\xef\xbb\xbf" + good_envelope),
            ("trailing", "bytes after the envelope", good_envelope + b"{}"), ("empty", "an empty file", b""), ("array", "an array", b"[" + good_envelope + b"]"),
            ("payload-number", "a payload that is no string", envelope(payload, payload=1))):
        wrong(f"b18-envelope-{slug}", title, data)

    coded = b64(payload)
    loose = next(statement(BASE, predicate={"n": "x" * n}) for n in range(3) if b64(statement(BASE, predicate={"n": "x" * n})).endswith("=") )
    spelled = b64(loose)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = spelled.rstrip("=")[-1]
    other = spelled.rstrip("=")[:-1] + alphabet[alphabet.index(last) + 1] + "=" * spelled.count("=")
    wrong("b20-base64-trailing-bits", "base64 with bits set that nothing reads", envelope(loose, payload=other))
    wrong("b20-base64-no-padding", "base64 without padding", envelope(loose, payload=spelled.rstrip("=")))
    wrong("b20-base64-newline", "base64 with a line feed", envelope(payload, payload=coded[:40] + "\n" + coded[40:]))
    wrong("b20-base64-trailing-space", "base64 with a space after it", envelope(payload, payload=coded + " "))
    tilde = statement(BASE, predicate={"n": next(p + q for p in ("", "x", "xx") for q in ("???>>>",) if set("+/") & set(b64(statement(BASE, predicate={"n": p + q}))))})
    wrong("b20-base64-url", "the URL alphabet", envelope(tilde, payload=b64(tilde).replace("+", "-").replace("/", "_")))
    wrong("b20-base64-sig-newline", "base64 of a signature with a line feed", envelope(payload, [sig | {"sig": sig["sig"] + "\n"}]))
    good_der = der(r, s)
    body = good_der[2:]
    for slug, title, value in (
            ("high-s", "s over n/2", der(r, N - s)), ("s-zero", "s is 0", der(r, 0)), ("r-zero", "r is 0", der(0, s)), ("both-zero", "r and s are 0", der(0, 0)), ("r-is-n", "r is n", der(N, s)), ("s-is-n", "s is n", der(r, N)),
            ("r-plus-n", "r is r plus n", der(r + N, s)), ("der-trailing", "a byte after the DER", good_der + b"\0"), ("der-inner-trailing", "a byte inside after s", bytes([0x30, len(body) + 1]) + body + b"\0"),
            ("der-long-length", "a length in the long form", b"\x30\x81" + bytes([len(body)]) + body), ("der-indefinite", "an indefinite length", b"\x30\x80" + body + b"\0\0"),
            ("der-padded-integer", "an integer with a needless zero", bytes([0x30, len(body) + 1, 2, body[1] + 1, 0]) + body[2:]),
            ("der-set", "a SET for the SEQUENCE", b"\x31" + good_der[1:]), ("der-truncated", "one byte short", good_der[:-1]), ("der-empty", "no bytes", b""),
            ("raw", "r and s as 64 raw bytes", r.to_bytes(32, "big") + s.to_bytes(32, "big")), ("der-huge", "an integer of 300 bytes", b"\x30\x82\x01\x33\x02\x82\x01\x2c" + b"\1" * 300 + b"\2\1\1")):
        wrong(f"b20-{slug}", title, envelope(payload, [sig | {"sig": b64(value)}]))
    negative = next(k for k in (Key(f"runpack test key {n}") for n in range(99)) if k.sign(pae(payload))[0] >> 255)
    nr, ns = negative.sign(pae(payload))
    minus = b"\2\x20" + nr.to_bytes(32, "big") + der_integer(ns)
    wrong("b20-der-negative", "an integer that DER reads as negative", envelope(payload, [{"sig": b64(bytes([0x30, len(minus)]) + minus)}]), key=negative)
    wrong("b20-junk-beside-good", "a signature that is no DER beside a good one", envelope(payload, [sig, {"sig": b64(b"junk")}]))
    wrong("b20-high-s-beside-good", "a good signature and its high-s twin", envelope(payload, [sig, {"sig": b64(der(r, N - s))}]))


# A pack rewritten as a whole, every digest made good again: only a pin can tell.

def rewrite_cases():
    def rewritten(slug, title, pack):
        assert pack.id != BASE.id
        bad(f"rewrite-{slug}", title, pack.plain(), "pin.receipt", receipt_pack_id=BASE.id)

    def again(change=None, drop=(), add=(), **more):
        pairs = [made(a["name"], BASE.content[a["name"]], **{k: v for k, v in a.items() if k in ("kind", "media_type", "title", "step", "inputs")})
                 for a in BASE.manifest["artifacts"] if a["name"] not in drop]
        pairs = [(a, c) if a["name"] not in (change or {}) else (artifact(a["name"], change[a["name"]], a["kind"], a["media_type"]), change[a["name"]]) for a, c in pairs]
        return Pack(*pairs, *add, labels=more.pop("labels", BASE.manifest["labels"]), **more)

    for member, value in (("tenant", "evil"), ("namespace", "test"), ("scenario", "loan-refusal"), ("run_id", "01JE")):
        rewritten(member.replace("_", "-"), f"{member} changed", BASE.edited(f"subject.{member}", value))
    rewritten("spec-hash-zeroed", "spec_hash zeroed, the spec dropped", again(drop=("spec.yaml",), subject=RUN | {"spec_hash": "sha256:" + "00" * 32}))
    other = b"steps: []\n"
    rewritten("spec", "another spec, spec_hash made to fit", again(change={"spec.yaml": other}, subject=RUN | {"spec_hash": "sha256:" + sha(other)}))
    rewritten("spec-dropped", "the spec dropped, spec_hash left", again(drop=("spec.yaml",)))
    rewritten("spec-kind", "the spec made another kind", BASE.edited("artifacts.3.kind", "output"))
    rewritten("created-at", "creation time changed", again(created_at="2026-11-20T12:00:01Z"))
    rewritten("producer-name", "producer's name changed", BASE.edited("producer.name", "other"))
    rewritten("producer-version", "producer's version changed", BASE.edited("producer.version", "0.1.1"))
    rewritten("label", "a label changed", BASE.edited("labels.commit_sha", "4f2b"))
    rewritten("label-added", "a label added", BASE.edited("labels.approved", "yes"))
    rewritten("label-dropped", "a label dropped", BASE.edited("labels.commit_sha", DROP))
    rewritten("kind", "an artifact's kind changed", BASE.edited("artifacts.0.kind", "log"))
    rewritten("media-type", "a media type changed", BASE.edited("artifacts.0.media_type", "text/html"))
    rewritten("title", "a title changed", BASE.edited("artifacts.0.title", "Other.json"))
    rewritten("step", "the step that made it changed", BASE.edited("artifacts.0.step", "other"))
    rewritten("inputs", "an input's commitment changed", BASE.edited("artifacts.2.inputs.0.commitment", "ce" * 32))
    rewritten("inputs-dropped", "the inputs dropped", BASE.edited("artifacts.2.inputs", DROP))
    rewritten("dropped", "an artifact dropped", again(drop=("decisions.json",)))
    rewritten("added", "an artifact added", again(add=(made("extra.txt", b"planted\n"),)))
    changed = again(change={"decisions.json": b'{"approved":false}\n'})
    rewritten("content", "an artifact's content changed", changed)
    good("consistent-rewritten-unpinned", "the same with nothing pinned: no verifier can tell", changed.plain())
    renamed = again(drop=("model.bin",), add=(made("model2.bin", BASE.content["model.bin"], kind="model"),))
    rewritten("renamed", "an artifact renamed", renamed)
    exchanged = again(change={"decisions.json": BASE.content["logs/run.log"], "logs/run.log": BASE.content["decisions.json"]})
    rewritten("exchanged", "the content of two artifacts exchanged", exchanged)
    step = Pack(*(made(f"outputs/{n}", c) for n, c in BASE.content.items()), subject=STEP)
    rewritten("subject-kind", "a run made a step", step)
    bad("s09-rewrite-signed-by-other", "rewritten and signed by another key", BASE.edited("subject.tenant", "evil").plain(), "pin.signature",
        **signed(envelope(statement(BASE.edited("subject.tenant", "evil")), [signature(statement(BASE.edited("subject.tenant", "evil")), OTHER_KEY)])))
    bad("s09-rewrite-bundle", "a bundle rewritten as a whole", bundle(BASE.edited("labels.commit_sha", "4f2b")), "pin.pack_id", expect_pack_id=BASE.id)


# Writing

README = """# Test vectors of runpack/v1

What each directory holds is in [section 13](../runpack-v1.md#13-test-vectors) of the format; a name that starts with `b06` or `s07` shows the case of that number in the threat model. The keys here are for tests: their secrets are public.

    python3 Docs/spec/make_vectors.py                      # write all of this again, the same bytes
    python3 Docs/spec/verify.py --vectors Docs/spec/vectors

Do not edit by hand: expectations are stated in `make_vectors.py`. A checkout must keep bytes and symbolic links as they are.

{summary}

| case | level | verdict and codes | shows |
|---|---|---|---|
"""


def cell(text):
    return "".join(c if " " <= c <= "~" else f"U+{ord(c):04X}" for c in text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def write(root):
    root.mkdir(parents=True, exist_ok=True)
    for old in root.iterdir():
        if (old / "vector.json").is_file():
            shutil.rmtree(old)
    rows = []
    for name, (vector, files) in sorted(CASES.items()):
        files = files | {"vector.json": (json.dumps(vector, indent=1) + "\n").encode()}
        for path, content in files.items():
            where = root / name / path
            where.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                os.symlink(content, where)
            else:
                assert len(content) < 100_000, (name, path, len(content))
                where.write_bytes(content)
        codes = " ".join(f"`{c}`" for c in vector["codes"])
        rows.append(f"| {name} | {vector['level']} | {vector['verdict']} {codes} | {cell(vector['title'])} |")
    failing = sum(vector["verdict"] == "invalid" for vector, _ in CASES.values())
    summary = f"{len(CASES)} cases: {len(CASES) - failing} that pass, {failing} that must fail."
    (root / "README.md").write_text(README.format(summary=summary) + "\n".join(rows) + "\n")
    (root / ".gitattributes").write_text("# Every byte counts: no line endings are converted here.\n* -text\nREADME.md text\n")
    (root / "test-key.public.pem").write_bytes(KEY.public)
    (root / "test-key.private.pem").write_bytes(KEY.private)
    print(summary)


def main():
    for declare in (good_cases, big_cases, schema_cases, json_cases, name_cases, directory_cases, bundle_cases, pin_cases, rewrite_cases):
        declare()
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "vectors")


if __name__ == "__main__":
    main()
