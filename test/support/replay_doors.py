"""The documented requests of objects and documents, with nothing but the standard library.

    python3 replay_doors.py http://127.0.0.1:8000 objects|documents

Prints how many checks passed, or fails at the first that did not.
"""

import hashlib
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid

BASE, API = sys.argv[1], sys.argv[2]
checks = 0


def check(found, wanted, what):
    global checks
    if found != wanted:
        sys.exit(f"{what}: {found!r} instead of {wanted!r}")
    checks += 1


def ask(method, path, body=None, headers=None):
    request = urllib.request.Request(BASE + path, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def ask_json(method, path, body=None, headers=None):
    status, _, text = ask(method, path, body, headers)
    return status, json.loads(text)


def upload(path, data, field="file", media_type="application/octet-stream"):
    boundary = uuid.uuid4().hex
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{field}"; filename="upload.bin"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return ask_json("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def replay_objects():
    data = bytes(range(256)) * 20
    status, told = upload("/objects/py/data.bin?content_type=image/png", data)
    check((status, told["size"], sorted(told)), (200, len(data), ["message", "size"]), "upload")
    status, headers, body = ask("GET", "/objects/py/data.bin")
    check((status, body), (200, data), "download")
    check(headers["Content-Type"], "image/png", "type")
    check(headers["Content-Disposition"], 'attachment; filename="data.bin"', "file name")
    status, headers, body = ask("GET", "/objects/py/data.bin", headers={"Range": "bytes=-6"})
    check((status, body), (206, data[-6:]), "range")
    status, info = ask_json("GET", "/objects/py/data.bin/info")
    fields = ["checksum", "content_type", "created_at", "key", "size", "updated_at", "version"]
    check((status, sorted(info)), (200, fields), "fields of info")
    found = info["key"], info["size"], info["content_type"], info["version"], info["checksum"]
    sha256 = hashlib.sha256(data).hexdigest()
    check(found, ("py/data.bin", len(data), "image/png", 1, sha256), "info")
    check(ask_json("GET", "/objects?prefix=py/"), (200, {"objects": ["py/data.bin"], "count": 1}), "list")
    check(upload("/objects/py/other", b"x", field="wrong")[0], 422, "a form without the field")
    check(ask_json("POST", "/objects/py/other", b"x")[0], 415, "a body that is no form")
    check(upload("/objects/py/other", bytes(2**20 + 1))[0], 413, "a file too long")
    check(ask_json("GET", "/objects?limit=none")[0], 422, "a bad limit")
    check(ask_json("GET", "/objects?prefix=py/")[1]["count"], 1, "nothing was stored")
    status, told = ask_json("DELETE", "/objects/py/data.bin")
    check((status, list(told)), (200, ["message"]), "delete")
    for method, path in ("GET", ""), ("DELETE", ""), ("GET", "/info"):
        status, told = ask_json(method, f"/objects/py/data.bin{path}")
        check((status, told["detail"]), (404, "Object not found"), f"{method} of what is gone")


def write(query, value, media_type="application/json"):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    path = f"/write?{urllib.parse.urlencode(query)}"
    return ask_json("POST", path, body, {"Content-Type": media_type})


def replay_documents():
    cold = {"text": "gr\u00f6\u00dfe " * 200, "list": [1, 2.5, None, True], "nested": {"a": {}}}
    document = {**cold, "like_count": 1, "battery_level": 90}
    expected = {
        "replication": {"nodes_written"},
        "ec": {"chunks_written", "total_chunks"},
        "field_hybrid": {
            "operation_type",
            "is_pure_hot_update",
            "hot_nodes_written",
            "cold_chunks_written",
        },
    }
    for strategy, fields in expected.items():
        key = f"py {strategy}"
        status, told = write({"key": key, "strategy": strategy}, document)
        check((status, told["status"], told["key"]), (200, "ok", key), "write")
        always = {"status", "key", "strategy", "latency_ms", "partial"}
        check(set(told), always | fields, f"fields of {strategy}")
        path = f"/read/{urllib.parse.quote(key)}"
        check(ask_json("GET", path), (200, document), f"read of {strategy}")
    key = "py field_hybrid"
    status, told = write({"key": key, "hot_only": "true"}, {"like_count": 2})
    check((status, told["is_pure_hot_update"], told["cold_chunks_written"]), (200, True, 0), "hot")
    changed = {**document, "like_count": 2}
    check(ask_json("GET", "/read/py%20field_hybrid"), (200, changed), "read after it")
    check(write({"key": key}, b"{]")[0], 400, "malformed JSON")
    check(write({"key": key}, {}, "text/plain")[0], 415, "not JSON")
    check(write({"key": key, "strategy": "x"}, {})[0], 422, "unknown strategy")
    check(write({}, {})[0], 422, "no key")
    check(ask_json("GET", "/read/py%20field_hybrid"), (200, changed), "nothing was stored")
    for strategy in expected:
        status, told = ask_json("DELETE", f"/delete/py%20{strategy}")
        check((status, told["strategy"]), (200, strategy), "delete")
        status, told = ask_json("GET", f"/read/py%20{strategy}")
        check((status, told["detail"]), (404, f"Key 'py {strategy}' not found"), "read of what is gone")


replay_objects() if API == "objects" else replay_documents()
print(f"{checks} checks passed")
