"""Counts what is so, and ends with what is not."""

import sys

count = 0


def check(what, condition, seen=None):
    global count
    if not condition:
        sys.exit(f"not so: {what}: {seen!r}")
    count += 1
    print(what)


def report():
    print(f"{count} checks")
