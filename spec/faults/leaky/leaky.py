"""Prints the variables that it is told, and what it reads, in every way a tool may: as they are, encoded, and in dribs.

usage: leaky.py NAME…
"""
import base64
import json
import os
import sys
import urllib.parse


def dribble(fd, data, size):
    for at in range(0, len(data), size):
        os.write(fd, data[at:at + size])


for value in [os.environb[name.encode()] for name in sys.argv[1:]] + [sys.stdin.buffer.read()]:
    text = value.decode()
    for fd in 1, 2:
        dribble(fd, value + b"\n", 1)
        dribble(fd, b"say " + value + b" " + value + value + b"\n", 7)
        for before in b"", b"x", b"xy", b"xyz" * 21:
            for code in base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes:
                os.write(fd, code(before + value + b" and more") + b"\n")
                dribble(fd, code(before + value) + b"\n", 3)
        for shown in (urllib.parse.quote(text), urllib.parse.quote(text, safe=""), urllib.parse.quote_plus(text),
                      json.dumps({"token": text}), json.dumps(text, ensure_ascii=False),
                      json.dumps(text).replace("/", "\\/"), value.hex(), value.hex().upper(), repr(text)):
            os.write(fd, shown.encode() + b"\n")
            dribble(fd, shown.encode() + b"\n", 2)
sys.exit(3)
