#!/usr/bin/env python3
"""The second verifier of runpack/v1 packs, written from runpack-v1.md alone.

It shares no code with Runpack and needs nothing but Python 3.11 on a POSIX system,
so that an auditor can read it in one sitting and need not trust the first one.
Section numbers below are those of runpack-v1.md.

    verify.py TARGET [pins] [--level full|deep|presence] [--limits JSON] [--json]
    verify.py --vectors DIR

TARGET is a pack directory, a bundle, or - for a bundle on standard input.
Exit status: valid 0, invalid 1, undecided or misuse 2, consistent 3.

Memory is bounded: content is read in pieces of at most 1 MiB, and only the
manifest (at most its limit) is held whole. No symbolic link in a pack is followed.
"""

import argparse
import base64
import calendar
import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import urllib.parse
import zlib
from dataclasses import dataclass, field

CHUNK = 8 * 1024 * 1024
PIECE = 1024 * 1024
MEMBERS_MAX = 4096
INTEGER_MAX = 2**53 - 1
OCTAL_MAX = 0o77777777777  # what eleven octal digits hold
MANIFEST = "manifest.json"
LEVELS = ("full", "deep", "presence")

LIMITS = {  # section 12
    "manifest_bytes": 64 * 1024**2,
    "json_depth": 16,
    "artifacts": 250_000,
    "artifact_bytes": 16 * 1024**4,
    "pack_bytes": 64 * 1024**4,
    "chunks": 1_000_000,
    "inputs": 1_024,
    "labels": 256,
    "findings": 1_000,
}
ENVELOPE_BYTES_MAX = 1024**2


class Misuse(Exception):
    """The caller's mistake. It is never a verdict."""


class Refused(Exception):
    """One finding that ends the stage or pass in which it is raised."""

    def __init__(self, code, detail):
        super().__init__(code, detail)
        self.code, self.detail = code, detail


@dataclass
class Report:
    """What was found. Findings beyond the limit are counted, their codes are kept."""

    level: str
    limit: int
    pack_id: str | None = None
    pinned: bool = False
    spec_proven: bool = False
    kind: str | None = None
    codes: set = field(default_factory=set)
    findings: list = field(default_factory=list)
    dropped: int = 0

    def add(self, code, detail=""):
        self.codes.add(code)
        if len(self.findings) < self.limit:
            self.findings.append((code, detail))
        else:
            self.dropped += 1

    @property
    def verdict(self):
        unread = {"artifact.unread", "manifest.unread"}
        if self.codes - unread:
            return "invalid"
        if self.codes:
            return "undecided"
        if self.pack_id and self.pinned and self.level in ("full", "deep"):
            return "valid"
        return "consistent" if self.pack_id else "undecided"


# Strict JSON (sections 2, 3)

# A string that never ends runs to the end of the text, which keeps the scan linear.
BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|([\[{])|([\]}])', re.DOTALL)


def parse_strict(data, depth_max, integers_only):
    """Parse one JSON object; ValueError for whatever a lenient parser would let through.

    Where numbers are free (a signed statement's predicate) they come back as 0.0,
    a value that no rule accepts and no rule looks at.
    """
    text = data.decode("utf-8")  # strict: no surrogates, no overlong forms
    depth = 0
    for match in BRACKET.finditer(text):  # before the parser, whose stack has no such bound
        depth += (match[1] is not None) - (match[2] is not None)
        if depth > depth_max:
            raise ValueError("too deep")

    def members(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("duplicate member")
        if integers_only and len(found) > MEMBERS_MAX:
            raise ValueError("an object of too many members")
        return found

    def integer(digits):
        if not integers_only:
            return fraction(digits)
        if len(digits) > 16 or digits[0] == "-" or int(digits) > INTEGER_MAX:
            raise ValueError("not an integer from 0 to 2^53-1")
        return int(digits)

    def fraction(digits):
        if integers_only or math.isinf(float(digits)):
            raise ValueError("number with fraction or exponent, or beyond a double")
        return 0.0

    def constant(name):
        raise ValueError(f"{name} is not JSON")

    value = json.loads(text, object_pairs_hook=members, parse_int=integer,
                       parse_float=fraction, parse_constant=constant)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    canonical(value)  # a lone surrogate has no UTF-8, and fails here
    return value


def canonical(value):
    """RFC 8785 for what section 2 allows: no fractions, and ASCII member names,
    for which Python's order of strings is that of UTF-16 code units."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")


# Grammars (section 2)

def matching(pattern):
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def text_of(bytes_max):
    control = re.compile("[\x00-\x1f\x7f-\x9f]")
    return lambda value: (isinstance(value, str) and 1 <= len(value.encode("utf-8")) <= bytes_max
                          and not control.search(value))


def is_integer(value):
    return type(value) is int  # bool is an int in Python


def is_list_of(check):
    return lambda value: isinstance(value, list) and len(value) > 0 and all(map(check, value))


def is_time(value):
    parts = isinstance(value, str) and re.fullmatch(
        "([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z", value)
    if not parts:
        return False
    year, month, day, hour, minute, second = map(int, parts.groups())
    return (year >= 1970 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]
            and hour <= 23 and minute <= 59 and second <= 59)


is_hex = matching("[0-9a-f]{64}")
is_digest = matching("sha256:[0-9a-f]{64}")
is_id = matching("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
is_ulid = matching("[0-7][0-9A-HJKMNP-TV-Z]{25}")
is_label = matching("[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
is_kind = matching("[a-z0-9][a-z0-9-]{0,63}")
is_media_type = matching("[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


def is_pipeline_tenant(value):
    reserved = value in ("tenant", "v1", "executions", "registry")
    return is_id(value) and not reserved and not re.fullmatch("[0-9]{4}", value)


# Names (section 5)

DEVICE = re.compile("(?i:CON|PRN|AUX|NUL|(?:COM|LPT)[1-9])")
COMPONENT = re.compile(r"(?:[A-Za-z0-9 ._\-+=@,~()]|%[0-9A-F]{2})+")
PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._-+=@,~()")


def escape(original):
    """Rules 1 to 3. Rule 4, the cut, cannot be undone, so no verifier needs it."""
    out = "".join(chr(b) if b in PLAIN else f"%{b:02X}" for b in original)
    if out[0] in " -":
        out = f"%{ord(out[0]):02X}{out[1:]}"
    if out[-1] in " .":
        out = f"{out[:-1]}%{ord(out[-1]):02X}"
    if DEVICE.fullmatch(out.split(".")[0].rstrip(" ")):
        out = f"%{ord(out[0]):02X}{out[1:]}"
    return out


def is_component(value):
    if len(value) > 255 or not COMPONENT.fullmatch(value):
        return False
    original = urllib.parse.unquote_to_bytes(value)
    return (original not in (b".", b"..") and b"/" not in original and b"\0" not in original
            and escape(original) == value)


def is_name(value):
    if not isinstance(value, str) or len(value) > 512:
        return False
    components = value.split("/")
    return all(map(is_component, components)) and components[0].lower() != MANIFEST


# The manifest stage (section 10 step 1)

RUN = dict(kind=is_kind, tenant=is_id, namespace=is_id, scenario=is_id, run_id=is_id, spec_hash=is_digest)
STEP = dict(kind=is_kind, tenant=is_pipeline_tenant, run_id=is_id, step_id=is_id)
PIPELINE = dict(kind=is_kind, tenant=is_pipeline_tenant, run_id=is_id)
EXECUTION = dict(kind=is_kind, execution_id=is_ulid)
SUBJECTS = {  # members, and the names that an artifact may have (section 6)
    "run": (RUN, re.compile(".*")),
    "step": (STEP, re.compile("(?:inputs|outputs)/.*")),
    "pipeline": (PIPELINE, re.compile("definition[.]yaml|(?:plan|metadata)[.]json|events/audit_trail[.]jsonl"
                                      "|steps/[A-Za-z0-9][A-Za-z0-9._-]{0,127}/manifest[.]json")),
    "execution": (EXECUTION, re.compile("metadata[.]json|logs/(?:runner|bench|stdout|stderr)[.]log|artifacts/.*")),
}
RUN_PARTS = {  # the kind of each artifact of a pipeline's run; every run has these four
    "definition.yaml": "pipeline-definition", "plan.json": "pipeline-plan",
    "metadata.json": "pipeline-metadata", "events/audit_trail.jsonl": "audit-trail"}
PRODUCER = dict(name=is_id, version=text_of(128))
INPUT = dict(pack=is_digest, name=is_name, commitment=is_hex)
ARTIFACT = dict(name=is_name, kind=is_kind, media_type=is_media_type, bytes=is_integer)
ARTIFACT_OPTIONAL = dict(
    sha256=is_hex, chunks=is_list_of(is_hex), claimed_sha256=is_hex, title=text_of(1024), step=is_id,
    inputs=is_list_of(lambda value: shape(value, "input", INPUT)))
MEMBERS = dict(
    format=lambda value: True, subject=lambda value: isinstance(value, dict), created_at=is_time,
    producer=lambda value: shape(value, "producer", PRODUCER),
    artifacts=is_list_of(lambda value: shape(value, "artifact", ARTIFACT, ARTIFACT_OPTIONAL)),
    labels=lambda value: isinstance(value, dict) and all(map(is_label, value)) and all(map(text_of(1024), value.values())))


def shape(value, where, required, optional={}):
    """Refuse an object that lacks a member, has an unknown one, or one outside its grammar."""
    if not isinstance(value, dict):
        raise Refused("manifest.schema", f"{where} is not an object")
    for member in required:
        if member not in value:
            raise Refused("manifest.schema", f"{where} without {member}")
    for member, content in value.items():
        check = required.get(member) or optional.get(member)
        if check is None:
            raise Refused("manifest.schema", f"{where} with unknown member {member[:128]}")
        if not check(content):
            raise Refused("manifest.schema", f"{where}: {member} is outside its grammar")
    return True


def check_schema(manifest):
    shape(manifest, "manifest", MEMBERS)
    subject = manifest["subject"]
    if not isinstance(subject.get("kind"), str) or subject["kind"] not in SUBJECTS:
        raise Refused("manifest.schema", "subject of unknown kind")
    members, names = SUBJECTS[subject["kind"]]
    shape(subject, "subject", members)
    for artifact in manifest["artifacts"]:
        name, size, chunks = artifact["name"], artifact["bytes"], artifact.get("chunks", [])
        large = size > CHUNK
        if (("sha256" in artifact) == large or ("chunks" in artifact) != large
                or (large and len(chunks) != -(-size // CHUNK)) or ("claimed_sha256" in artifact and not large)):
            raise Refused("manifest.schema", f"{name}: digests do not fit its size")
        if not names.fullmatch(name):
            raise Refused("manifest.schema", f"{name} is no name in the layout of this subject")
    if subject["kind"] == "pipeline":
        check_run_parts(manifest["artifacts"])


def check_run_parts(artifacts):
    for artifact in artifacts:
        name = artifact["name"]
        kind = RUN_PARTS.get(name, "step-manifest")
        if artifact["kind"] != kind:
            raise Refused("manifest.schema", f"{name} is of the kind {kind}")
        if kind in ("pipeline-definition", "step-manifest") and "sha256" not in artifact:
            raise Refused("manifest.schema", f"{name} is larger than a chunk")
    for name in set(RUN_PARTS) - {artifact["name"] for artifact in artifacts}:
        raise Refused("manifest.schema", f"a pipeline's run without {name}")


def check_limits(manifest, limits):
    artifacts = manifest["artifacts"]
    counts = {
        "artifacts": len(artifacts),
        "artifact_bytes": max(a["bytes"] for a in artifacts),
        "pack_bytes": sum(a["bytes"] for a in artifacts),
        "chunks": sum(len(a.get("chunks", [])) for a in artifacts),
        "inputs": max(len(a.get("inputs", [])) for a in artifacts),
        "labels": len(manifest["labels"]),
    }
    for name, count in counts.items():
        if count > limits[name]:
            raise Refused("manifest.limit", f"{name}: {count} over {limits[name]}")


def check_names(artifacts):
    names = [a["name"] for a in artifacts]
    for one, next_one in zip(names, names[1:]):
        if one >= next_one:
            raise Refused("manifest.order", f"{one} before {next_one}")
    folded = {name.lower() for name in names}
    if len(folded) != len(names):
        raise Refused("manifest.collision", "two names are equal but for letter case")
    for name in folded:
        for directory in directories_of(name):
            if directory in folded:
                raise Refused("manifest.collision", f"{directory} is a name and a directory")


def check_spec(manifest):
    subject = manifest["subject"]
    specs = [a for a in manifest["artifacts"] if a["kind"] == "spec"]
    if specs and (subject["kind"] != "run" or len(specs) > 1
                  or "sha256:" + specs[0].get("sha256", "") != subject["spec_hash"]):
        raise Refused("manifest.spec", "the spec artifact is not the one that the subject allows")
    return bool(specs)


def directories_of(name):
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def commitment(artifact):  # section 4
    if "sha256" in artifact:
        return artifact["sha256"]
    head = b"runpack/chunks/v1\0" + artifact["bytes"].to_bytes(8) + CHUNK.to_bytes(8)
    return hashlib.sha256(head + bytes.fromhex("".join(artifact["chunks"]))).hexdigest()


def judge_manifest(data, limits, report):
    """All checks of step 1 that need only the bytes, in the order of the page."""
    try:
        manifest = parse_strict(data, limits["json_depth"], integers_only=True)
    except (ValueError, RecursionError) as error:  # UnicodeError is a ValueError
        raise Refused("manifest.syntax", str(error)) from None
    if manifest.get("format") != "runpack/v1":
        raise Refused("manifest.format", "format is not runpack/v1")
    check_schema(manifest)
    if canonical(manifest) != data:
        raise Refused("manifest.canonical", "the bytes are not the canonical form of what they say")
    check_limits(manifest, limits)
    check_names(manifest["artifacts"])
    report.spec_proven = check_spec(manifest)
    report.kind = manifest["subject"]["kind"]
    report.pack_id = "sha256:" + hashlib.sha256(data).hexdigest()
    return manifest


# Content (sections 4 and 10 step 3)

class Content:
    """Takes an artifact's bytes in order and says at the end what is wrong with them."""

    def __init__(self, artifact, level):
        self.artifact, self.room, self.digests = artifact, CHUNK, []
        self.chunk = hashlib.sha256()
        self.whole = hashlib.sha256() if level == "deep" and "claimed_sha256" in artifact else None

    def feed(self, piece):
        view = memoryview(piece)
        if self.whole:
            self.whole.update(view)
        while view:
            if self.room == 0:
                self._close_chunk()
            part = view[:self.room]
            self.chunk.update(part)
            self.room -= len(part)
            view = view[len(part):]

    def _close_chunk(self):
        self.digests.append(self.chunk.hexdigest())
        self.chunk, self.room = hashlib.sha256(), CHUNK

    def finish(self, report):
        self._close_chunk()
        name, listed = self.artifact["name"], self.artifact.get("chunks") or [self.artifact["sha256"]]
        damaged = [n for n, pair in enumerate(zip(listed, self.digests)) if pair[0] != pair[1]]
        if damaged:
            report.add("artifact.digest", f"{name}: chunks {damaged[:16]}" if len(listed) > 1 else name)
        elif self.whole and self.whole.hexdigest() != self.artifact["claimed_sha256"]:
            report.add("artifact.claimed", name)


# Pack directory (section 7)

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO put there between the look and the opening would hang an opening that blocks.
OPEN_FILE, OPEN_DIRECTORY = OPEN | os.O_NONBLOCK, OPEN | os.O_DIRECTORY


def open_directory(root, path):
    """Open a directory below root, one component at a time, following no symbolic link."""
    here = os.open(".", OPEN_DIRECTORY, dir_fd=root)
    for component in path.split("/") if path else []:
        above = here
        try:
            here = os.open(component, OPEN_DIRECTORY, dir_fd=above)
        finally:
            os.close(above)
    return here


def open_file(root, path):
    """Open a regular file below root: its descriptor and size, or None if it is of another type."""
    directory, _, last = path.rpartition("/")
    above = open_directory(root, directory)
    try:
        # Look before opening: to open a device can be an act.
        if not stat.S_ISREG(os.stat(last, dir_fd=above, follow_symlinks=False).st_mode):
            return None
        fd = os.open(last, OPEN_FILE, dir_fd=above)
    finally:
        os.close(above)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        return None
    return fd, found.st_size


def read_manifest_file(root, limits):
    try:
        opened = open_file(root, MANIFEST)
        if opened is None:
            raise Refused("manifest.size", "manifest.json is not a regular file")
        with open(opened[0], "rb") as file:
            data = file.read(limits["manifest_bytes"] + 1)
    except OSError as error:
        code = "manifest.missing" if error.errno in NOT_THERE else "manifest.unread"
        raise Refused(code, str(error.strerror)) from None
    if len(data) > limits["manifest_bytes"]:
        raise Refused("manifest.size", f"over {limits['manifest_bytes']} bytes")
    return data


def judge_file(root, path, artifact, report):
    try:
        opened = open_file(root, path)
        if opened is None:
            return report.add("artifact.type", path)
        with open(opened[0], "rb", buffering=0) as file:
            left = artifact["bytes"]
            if opened[1] != left:
                return report.add("artifact.size", path)
            if report.level == "presence":
                return None
            content = Content(artifact, report.level)
            # One byte more than declared is asked for: it shows a file that has grown since.
            while piece := file.read(min(PIECE, left + 1)):
                left -= len(piece)
                if left < 0:
                    break
                content.feed(piece)
            return report.add("artifact.size", path) if left else content.finish(report)
    except OSError as error:
        code = "artifact.missing" if error.errno in NOT_THERE else "artifact.unread"
        return report.add(code, path)


def judge_strangers(root, paths, report):
    """Whatever is not on the way to something that the manifest lists."""
    ways = {directory for path in paths for directory in directories_of(path)}
    known, todo = {MANIFEST, *paths}, [""]
    while todo:
        directory = todo.pop()
        try:
            fd = open_directory(root, directory)
        except OSError:
            report.add("artifact.unread", f"directory {directory or '.'}")
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    path = f"{directory}/{entry.name}" if directory else entry.name
                    if path in ways and entry.is_dir(follow_symlinks=False):
                        todo.append(path)
                    elif path not in known:
                        report.add("container.stranger", path)
        except OSError:
            report.add("artifact.unread", f"directory {directory or '.'}")
        finally:
            os.close(fd)


def verify_directory(path, limits, pins, report):
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the caller's own path: followed
    try:
        manifest = judge_manifest(read_manifest_file(root, limits), limits, report)
        judge_pins(manifest, pins, report)
        artifacts = manifest["artifacts"]
        commitments = {commitment(a) for a in artifacts}
        commitments -= {a["name"].split("/")[0] for a in artifacts}
        with os.scandir(root) as entries:
            keyed = any(entry.name in commitments for entry in entries)
        paths = [f"{commitment(a)}/{a['name']}" if keyed else a["name"] for a in artifacts]
        for artifact, where in zip(artifacts, paths):
            judge_file(root, where, artifact, report)
        judge_strangers(root, paths, report)
    finally:
        os.close(root)


# Bundle (section 8)

class Gunzip:
    """The bytes inside one gzip member, in order and in bounded pieces.

    take() yields every byte that can be had before the stream breaks, then raises.
    """

    def __init__(self, source):
        self.source, self.broken = source, None
        self.inflate = zlib.decompressobj(wbits=-15)
        self.ready = self.tail = b""
        self.crc = self.size = 0
        self.unread = "manifest.unread"  # what a failing read means at this point
        header = self._input(10)
        if len(header) < 10:
            raise Refused("bundle.truncated", "inside the gzip header")
        if header != b"\x1f\x8b\x08\0\0\0\0\0\0\xff":
            raise Refused("bundle.gzip", "gzip header")

    def _input(self, count):
        try:
            return self.source.read(count)
        except OSError as error:
            raise Refused(self.unread, str(error.strerror)) from None

    def _fill(self):
        """Make bytes ready; leave none at the end of the deflate stream."""
        while not self.ready and not self.inflate.eof:
            if self.broken:
                raise self.broken
            data = self.tail or self._input(1 << 16)
            before = self.inflate.copy()
            try:
                self.ready = self.inflate.decompress(data, PIECE)
                self.tail = self.inflate.unconsumed_tail
            except zlib.error:
                self.ready = self._salvage(before, data)
                self.broken = Refused("bundle.gzip", "deflate data")
            self.crc = zlib.crc32(self.ready, self.crc)
            self.size += len(self.ready)
            self.ready = memoryview(self.ready)  # so that taking a little of it copies nothing
            if not self.ready and not data and not self.inflate.eof and not self.broken:
                raise Refused("bundle.truncated", "inside the deflate stream")

    @staticmethod
    def _salvage(inflate, data):
        """What can be decoded before an error. zlib drops the output of a call that fails,
        so the input is given again byte by byte, and the output taken byte by byte.
        (The very last byte is still lost if the error lies in the same byte of input.)"""
        out = bytearray()
        try:
            for n in range(len(data)):
                tail = data[n:n + 1]
                while tail or piece:
                    piece = inflate.decompress(tail, 1)
                    tail = inflate.unconsumed_tail
                    out += piece
        except zlib.error:
            pass
        return bytes(out)

    def take(self, count):
        while count:
            self._fill()
            if not self.ready:
                raise Refused("bundle.truncated", "the deflate stream ends before the archive")
            piece, self.ready = self.ready[:count], self.ready[count:]
            count -= len(piece)
            yield piece

    def expect(self, expected, what):
        """Compare as the bytes come: the first thing wrong, a byte or a break, decides."""
        for piece in self.take(len(expected)):
            if piece != expected[:len(piece)]:
                raise Refused("bundle.tar", what)
            expected = expected[len(piece):]

    def finish(self):
        self._fill()
        if self.ready:
            raise Refused("bundle.trailing", "bytes after the archive")
        rest = self.inflate.unused_data
        rest += self._input(8 - len(rest)) if len(rest) < 8 else b""
        if len(rest) < 8:
            raise Refused("bundle.truncated", "inside the gzip trailer")
        if rest[:8] != self.crc.to_bytes(4, "little") + (self.size % 2**32).to_bytes(4, "little"):
            raise Refused("bundle.gzip", "CRC or size")
        if len(rest) > 8 or self._input(1):
            raise Refused("bundle.trailing", "bytes after the gzip member")


def checksum(header):
    return b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 0x20)


def tar_header(name, size, mtime, typeflag=b"0"):
    header = bytearray(512)
    for at, value in ((0, name.encode()), (100, b"0000644"), (108, b"0000000"), (116, b"0000000"),
                      (124, b"%011o" % size), (136, b"%011o" % mtime), (156, typeflag),
                      (257, b"ustar\x0000"), (329, b"0000000"), (337, b"0000000")):
        header[at:at + len(value)] = value
    header[148:156] = checksum(header)
    return bytes(header)


def padding(size):
    return bytes(-size % 512)


def pax_record(text):
    length = len(text) + 2  # the space and the line feed
    while len(f"{length} {text}\n") != length:
        length += 1
    return f"{length} {text}\n"


def entry_header(name, size, mtime):
    """All that stands before an artifact's content."""
    long_name, long_size = len(name) > 100, size > OCTAL_MAX
    records = (pax_record(f"path={name}") if long_name else "") + (pax_record(f"size={size}") if long_size else "")
    header = tar_header(name[:100], 0 if long_size else size, mtime)
    if not records:
        return header
    return (tar_header("PaxHeader", len(records), mtime, b"x") + records.encode()
            + padding(len(records)) + header)


def read_manifest_entry(stream, limits):
    """The first entry: the only place where a number is taken from the archive."""
    header = b"".join(stream.take(512))
    if (header[:100] != MANIFEST.encode().ljust(100, b"\0") or header[148:156] != checksum(header)
            or not re.fullmatch(rb"[0-7]{11}\0", header[124:136])):
        raise Refused("manifest.missing", "the first entry is not a manifest")
    size = int(header[124:135], 8)
    if size > limits["manifest_bytes"]:
        raise Refused("manifest.size", f"over {limits['manifest_bytes']} bytes")
    return header, b"".join(stream.take(size))


def verify_bundle(source, limits, pins, report):
    stream = Gunzip(source)
    header, data = read_manifest_entry(stream, limits)
    manifest = judge_manifest(data, limits, report)
    judge_pins(manifest, pins, report)
    stream.unread = "artifact.unread"
    time = re.findall("[0-9]+", manifest["created_at"])
    mtime = min(calendar.timegm(tuple(map(int, time))), OCTAL_MAX)
    if header != tar_header(MANIFEST, len(data), mtime):
        raise Refused("bundle.tar", f"header of {MANIFEST}")
    stream.expect(padding(len(data)), f"padding of {MANIFEST}")
    for artifact in manifest["artifacts"]:
        name, size = artifact["name"], artifact["bytes"]
        stream.expect(entry_header(name, size, mtime), f"header of {name}")
        content = Content(artifact, report.level)
        for piece in stream.take(size):
            if report.level != "presence":
                content.feed(piece)
        if report.level != "presence":
            content.finish(report)
        stream.expect(padding(size), f"padding of {name}")
    stream.expect(bytes(1024), "end of the archive")
    stream.finish()


# Pins (sections 9 and 10 step 2)

@dataclass
class Pins:
    """What the caller knows beforehand; key and envelope are bytes."""

    pack_id: str | None = None
    receipt: str | None = None
    identity: dict = field(default_factory=dict)
    key: tuple | None = None
    envelope: bytes | None = None

    def __post_init__(self):
        for pack_id in (self.pack_id, self.receipt):
            if pack_id is not None and not is_digest(pack_id):
                raise Misuse("a pack id is sha256: and 64 lower-case hexadecimal digits")
        if (self.key is None) != (self.envelope is None):
            raise Misuse("a key and a signature go together")


def judge_pins(manifest, pins, report):
    for code, expected in (("pin.pack_id", pins.pack_id), ("pin.receipt", pins.receipt)):
        if expected == report.pack_id:
            report.pinned = True
        elif expected is not None:
            report.add(code, f"expected {expected}")
    if pins.envelope is not None:
        try:
            judge_envelope(pins.envelope, pins.key, report.pack_id)
            report.pinned = True
        except (ValueError, RecursionError) as error:
            report.add("pin.signature", str(error))
    for member, expected in pins.identity.items():
        if manifest["subject"].get(member) != expected:
            report.add("pin.identity", f"{member}: expected {expected}")


def insist(condition, why):
    if not condition:
        raise ValueError(why)


def base64_strict(value):
    insist(isinstance(value, str), "base64 is not a string")
    data = base64.b64decode(value, validate=True)
    insist(base64.b64encode(data) == value.encode(), "base64 in another spelling")
    return data


def judge_envelope(data, key, pack_id):
    """Return if the envelope speaks of this pack under this key, else raise ValueError."""
    insist(len(data) <= ENVELOPE_BYTES_MAX, "envelope over 1 MiB")
    envelope = parse_strict(data, LIMITS["json_depth"], integers_only=False)
    insist(set(envelope) == {"payload", "payloadType", "signatures"}, "envelope members")
    insist(envelope["payloadType"] == "application/vnd.in-toto+json", "payloadType")
    payload = base64_strict(envelope["payload"])

    signatures, seen = envelope["signatures"], set()
    insist(isinstance(signatures, list) and 1 <= len(signatures) <= 16, "not one to sixteen signatures")
    message = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload
    verified = False
    for signature in signatures:
        insist(isinstance(signature, dict) and set(signature) | {"keyid"} == {"keyid", "sig"}, "signature members")
        insist(isinstance(signature.get("keyid", ""), str), "keyid")
        der = base64_strict(signature["sig"])
        insist(der not in seen, "one signature twice")
        seen.add(der)
        verified |= ecdsa_verifies(key, message, *parse_signature(der))
    insist(verified, "no signature under the trusted key")

    statement = parse_strict(payload, LIMITS["json_depth"], integers_only=False)
    insist(set(statement) == {"_type", "subject", "predicateType", "predicate"}, "statement members")
    insist(statement["_type"] == "https://in-toto.io/Statement/v1", "_type")
    predicate_type = statement["predicateType"]
    insist(isinstance(predicate_type, str), "predicateType")
    ours = predicate_type.startswith("urn:runpack:")
    insist(not ours or predicate_type == "urn:runpack:pack:v1", "a statement about something else than the pack")
    subjects = statement["subject"]
    insist(isinstance(subjects, list) and len(subjects) == 1, "not exactly one subject")
    subject = subjects[0]
    insist(isinstance(subject, dict) and set(subject) == {"name", "digest"}, "subject members")
    insist(isinstance(subject["name"], str), "subject name")
    insist(subject["digest"] == {"sha256": pack_id.removeprefix("sha256:")}, "signed for another pack")


# ECDSA P-256 (FIPS 186-5). Only public values are handled, so time may vary with them.

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200" "04")


def add(p, q):
    """The sum of two points; None is the point at infinity."""
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = 3 * (p[0] * p[0] - 1) * pow(2 * p[1], -1, P)  # a is -3
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def multiply(k, point):
    total = None
    for bit in bin(k)[2:]:
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def ecdsa_verifies(key, message, r, s):
    e = int.from_bytes(hashlib.sha256(message).digest())
    w = pow(s, -1, N)
    point = add(multiply(e * w % N, G), multiply(r * w % N, key))
    return point is not None and point[0] % N == r


def parse_signature(der):
    """Strict DER of (r, s): parsed, written again, compared."""
    insist(8 <= len(der) <= 72 and der[3] <= 33 and len(der) > 5 + der[3], "DER")
    r, s = int.from_bytes(der[4:4 + der[3]]), int.from_bytes(der[6 + der[3]:])

    def integer(value):
        body = value.to_bytes(value.bit_length() // 8 + 1)
        return bytes((2, len(body))) + body

    insist(0 < r < N and 0 < s <= N // 2, "r or s out of range")
    body = integer(r) + integer(s)
    insist(der == bytes((0x30, len(body))) + body, "not strict DER")
    return r, s


def parse_key(pem):
    block = re.fullmatch(r"-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*",
                         pem.decode("ascii", "replace"))
    try:
        der = base64_strict(re.sub(r"\s", "", block[1])) if block else b""
    except ValueError:
        der = b""
    x, y = int.from_bytes(der[27:59]), int.from_bytes(der[59:])
    if len(der) != 91 or der[:27] != SPKI or max(x, y) >= P or (y * y - x**3 + 3 * x - B) % P:
        raise Misuse("the trusted key is not an uncompressed P-256 SPKI public key in PEM")
    return x, y


# Entry points

def verify(target, pins, level="full", limits=None):
    limits = LIMITS | (limits or {})
    if level not in LEVELS or set(limits) != set(LIMITS) or not all(is_integer(n) and n >= 0 for n in limits.values()):
        raise Misuse("unknown level or limit")
    report = Report(level, limits["findings"])
    try:
        if target == "-":
            verify_bundle(sys.stdin.buffer, limits, pins, report)
        elif os.path.isdir(target):
            verify_directory(target, limits, pins, report)
        else:
            with open(target, "rb") as file:
                verify_bundle(file, limits, pins, report)
    except Refused as refused:
        report.add(refused.code, refused.detail)
    return report


def load(path):
    with open(path, "rb") as file:
        return file.read(ENVELOPE_BYTES_MAX + 1)


def run_vector(directory):
    """Return what differs from the vector's expectation, or None."""
    fields = parse_strict(load(f"{directory}/vector.json"), 3, integers_only=True)

    def beside(name):
        return load(f"{directory}/{fields.pop(name)}") if name in fields else None

    identity = {m: fields.pop(f"expect_{m}") for m in ("tenant", "namespace", "scenario", "run_id")
                if f"expect_{m}" in fields}
    key = beside("key")
    pins = Pins(fields.pop("expect_pack_id", None), fields.pop("receipt_pack_id", None), identity,
                parse_key(key) if key is not None else None, beside("signature"))
    expected = fields.pop("verdict"), fields.pop("codes")
    report = verify(f"{directory}/{fields.pop('container')}", pins, fields.pop("level"), fields.pop("limits", None))
    fields.pop("title")
    if fields:
        return f"unknown fields {sorted(fields)}"
    got = report.verdict, sorted(report.codes)
    return None if got == expected else f"expected {expected}, got {got}: {report.findings[:4]}"


def run_vectors(directory):
    passed = failed = 0
    for name in sorted(os.listdir(directory)):
        if not os.path.isdir(f"{directory}/{name}"):
            continue
        try:
            mismatch = run_vector(f"{directory}/{name}")
        except Exception as error:  # a crash is a failure of that case, not the end of the run
            mismatch = f"{type(error).__name__}: {error}"
        passed, failed = passed + (not mismatch), failed + bool(mismatch)
        if mismatch:
            print(f"{printable(name)}: {printable(mismatch)}")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def printable(text):
    """ASCII without control characters: a hostile name must not steer a terminal."""
    return text.encode("unicode_escape").decode("ascii")


def show(report, as_json):
    if as_json:
        print(json.dumps({"verdict": report.verdict, "pack_id": report.pack_id, "level": report.level,
                          "spec_proven": report.spec_proven, "codes": sorted(report.codes), "dropped": report.dropped,
                          "findings": [{"code": c, "detail": printable(d)} for c, d in report.findings]}))
        return
    print(f"verdict: {report.verdict}")
    print(f"pack id: {report.pack_id or 'none'}")
    if report.kind == "run" and not report.spec_proven:
        print("note: spec unproven")
    if report.kind == "pipeline":
        print("note: pipeline unproven")
    for code, detail in report.findings:
        print(f"{code}: {printable(detail)}")
    if report.dropped:
        print(f"and {report.dropped} more")


def main():
    parser = argparse.ArgumentParser(description="Verify a runpack/v1 pack.")
    parser.add_argument("target", nargs="?", help="pack directory, bundle, or - for a bundle on standard input")
    parser.add_argument("--vectors", metavar="DIR", help="run every test vector in DIR instead")
    for name in ("pack-id", "tenant", "namespace", "scenario", "run-id"):
        parser.add_argument(f"--expect-{name}")
    parser.add_argument("--receipt-pack-id")
    parser.add_argument("--key", metavar="PUBLIC.pem")
    parser.add_argument("--signature", metavar="FILE")
    parser.add_argument("--level", choices=LEVELS, default="full")
    parser.add_argument("--limits", metavar="JSON", default="{}")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if (args.target is None) == (args.vectors is None):
        parser.error("give a TARGET or --vectors DIR")
    if args.vectors:
        return run_vectors(args.vectors)
    identity = {m: getattr(args, f"expect_{m}") for m in ("tenant", "namespace", "scenario", "run_id")}
    pins = Pins(args.expect_pack_id, args.receipt_pack_id, {m: v for m, v in identity.items() if v is not None},
                parse_key(load(args.key)) if args.key is not None else None,
                load(args.signature) if args.signature is not None else None)
    report = verify(args.target, pins, args.level, parse_strict(args.limits.encode(), 1, integers_only=True))
    show(report, args.json)
    return {"valid": 0, "invalid": 1, "undecided": 2, "consistent": 3}[report.verdict]


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except Exception as error:  # whatever went wrong, it is no verdict
        what = "misuse" if isinstance(error, Misuse) else "undecided"
        print(f"{what}: {printable(str(error) or type(error).__name__)}", file=sys.stderr)
        status = 2
    sys.exit(status)
