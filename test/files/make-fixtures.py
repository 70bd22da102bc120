"""Makes the fixtures of this folder with Python's safetensors 0.8.0 and torch.

    python test/files/make-fixtures.py path/to/safetensors_oracle.py

Writes safetensors-oracle.json (crafted files and the reference's verdicts: the oracle's cases, then ours) and
safetensors-written.json (files that the reference wrote).
"""

import json
import pathlib
import struct
import subprocess
import sys

import numpy
import torch
from safetensors import deserialize
from safetensors.numpy import save as save_numpy
from safetensors.torch import save

HERE = pathlib.Path(__file__).parent


def raw(header, data=b""):
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header)) + header + data


def info(dtype='"I32"', shape="[1]", offsets="[0,4]", extra=""):
    return '{"a":{"dtype":%s,"shape":%s,"data_offsets":%s%s}}' % (dtype, shape, offsets, extra)


def our_cases():
    four = b"\0" * 4
    values = (
        '1e400 -1e400 1e-400 1.0e+5 1e 1. - +1 .5 1E5 -0 0.0 00 -01 1e+ "\\ud83d\\ude00" "\\ude00" "\\ud83dx" '
        '"\\ud83d\\u0041" "\\ud83d" "\\/" "\\b\\f\\n\\r\\t" "\\a" "\\u00G0" "\\u00e" "\\u00E9" true tru nullx false [] {} [,] '
        '[1,] [1,2] {"a"} {1:2} {"x":1,} {"x":1,"y":[{}]} [[] [1}'
    ).split() + ['"\t"', '"\x7f"', "\x0c1", "\u00a01", "[1 2]", "1" * 308, "1" * 309, "0." + "0" * 500 + "1", "1e" + "9" * 20, "0e" + "9" * 20]
    for value in values:
        yield "unknown field " + ascii(value)[:40], raw(info(extra=',"z":' + value), four)
    for depth in (125, 126):
        yield f"{depth} arrays in a tensor", raw(info(extra=',"z":' + "[" * depth + "]" * depth), four)
        yield f"{depth} objects in a tensor", raw(info(extra=',"z":' + '{"a":' * depth + "1" + "}" * depth), four)
    for dtype in ('{"I32":null}', '{"I32":1}', '{"I32":null,"x":null}', "{}", "8", "null", '["I32"]', '"I\\u00332"', '""', '"constructor"'):
        yield "dtype " + dtype, raw(info(dtype), four)
    for array in ('["I32",[1]]', '["I32",[1],[0,4],5]', "[]", '[[1],"I32",[0,4]]', '[{"I32":null},[1],[0,4]]'):
        yield "info " + array, raw('{"a":%s}' % array, four)
    for shape in ("null", "{}", "1", "[null]", "[true]", "[[1]]", "[1,]", "[18446744073709551615]", "[1e0]", "[100000000000000000000]"):
        yield "shape " + shape, raw(info(shape=shape), four)
    for offsets in ("null", '{"0":0,"1":4}', "[]", "[0,4.0]", "[-0,4]", "[0,18446744073709551615]", '"0,4"'):
        yield "offsets " + offsets, raw(info(offsets=offsets), four)
    for elements in ("2305843009213693952", "2305843009213693951", "2305843009213693952,8", "0,2305843009213693952,8", "18446744073709551615,0"):
        yield f"U8 [{elements}]", raw(info('"U8"', f"[{elements}]", "[0,0]"))
    bits = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32}
    bits |= {name: 16 for name in ("I16", "U16", "F16", "BF16")}
    bits |= {name: 8 for name in ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ")}
    for name, width in bits.items():
        yield f"{name} x 8", raw(info(f'"{name}"', "[8]", f"[0,{width}]"), b"\0" * width)
        yield f"{name} x 8, a byte short", raw(info(f'"{name}"', "[8]", f"[0,{width - 1}]"), b"\0" * (width - 1))
    yield "F4 scalar", raw(info('"F4"', "[]", "[0,1]"), b"\0")
    yield "F4 empty", raw(info('"F4"', "[0]", "[0,0]"))
    yield "empty tensor before data at 0", raw('{"b":%s,"a":%s}' % (info()[5:-1], info(shape="[0]", offsets="[0,0]")[5:-1]), four)
    yield "metadata null twice", raw('{"__metadata__":null,"__metadata__":{}}')
    yield "metadata value null", raw('{"__metadata__":{"x":null}}')
    yield "metadata by escape", raw('{"__met\\u0061data__":{"x":"y"}}')
    yield "metadata last", raw(info()[:-1] + ',"__metadata__":{"x":"\\u00e9\\n"}}', four)
    for top in ('"x"', "null", "1", "", " ", "{", '{"a', "{,}", "{}{}"):
        yield "top " + ascii(top), raw(top)
    yield "white space", raw('{\n\t\r "a" : ' + info()[5:-1] + " \n}\n", four)
    yield "vertical tab", raw('{\x0b"a":' + info()[5:-1] + "}", four)
    yield "control character in name", raw(info().replace('"a"', '"a\x01"'), four)
    yield "U+2028 and U+FEFF in name", raw(info().replace('"a"', '"\u2028\ufeff"'), four)
    for bad in (b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"):
        yield f"name of bytes {bad.hex()}", raw(b'{"' + bad + b'":' + info()[5:-1].encode() + b"}", four)


def verdict(name, content):
    try:
        deserialize(content)
        return {"name": name, "accept": True, "hex": content.hex()}
    except Exception:
        return {"name": name, "accept": False, "hex": content.hex()}


def main(oracle):
    lines = subprocess.run([sys.executable, oracle, "--hex"], capture_output=True, text=True, check=True).stdout.splitlines()
    cases = [{key: json.loads(line)[key] for key in ("name", "accept", "hex")} for line in lines]
    cases += [verdict(name, content) for name, content in our_cases()]
    rows = ",\n".join(json.dumps(case) for case in cases)
    (HERE / "safetensors-oracle.json").write_text(f"[\n{rows}\n]\n")

    kinds = "bool uint8 int8 int16 uint16 float16 bfloat16 int32 uint32 float32 float64 int64 uint64".split()
    tensors = {}
    for i, kind in enumerate(kinds):
        # Names against the order of types, and two per type against the order of names.
        tensors[f"{99 - i}.{kind}"] = (torch.arange(6).reshape(2, 3) - 1).to(getattr(torch, kind))
        tensors[f"{10 + i}.{kind}"] = torch.ones(3).to(getattr(torch, kind))
    names = ["", "__proto__", "z\uffff", "z\U0001f600", 'quote " back \\ slash / tab \t \x1f \x7f', "é", "h.10.w", "h.2.w"]
    files = {
        "every type": save(tensors, {"format": "pt"}).hex(),
        "hard names": save_numpy({name: numpy.float32([i, -i]) for i, name in enumerate(names)}).hex(),
        "scalar and empty": save({"s": torch.tensor(1.5), "e": torch.zeros(3, 0, 2), "u": torch.tensor([7], dtype=torch.uint8)}).hex(),
        "nothing": save({}).hex(),
        "nothing but metadata": save({}, {"format": "pt"}).hex(),
    }
    (HERE / "safetensors-written.json").write_text(json.dumps(files, indent=1) + "\n")


main(sys.argv[1])
