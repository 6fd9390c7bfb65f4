#!/usr/bin/env python3
"""Writes pairs of strings with the scores that RapidFuzz gives them, for TestVectors.

    pip install rapidfuzz==3.14.6
    testdata/vectors.py 3000 > testdata/vectors.jsonl
    testdata/vectors.py 1000000 --seed 2 > /tmp/vectors.jsonl
    go test ./internal/fuzzy -run TestVectors -vectors /tmp/vectors.jsonl

A line is [query, text, [[cutoff, score], ...]]. The first cutoff is null: none.
"""
import argparse
import json
import random
import sys

from rapidfuzz import fuzz

ALPHABETS = [
    "a",
    "ab",
    "abcd",
    "abcdefghijklmnopqrstuvwxyz    ",
    "etaoin shrdlu",
    "0123456789 .,:;-_/#()[]\n\t\x00\x7f",
    "äöüßéàñ abc",
    "日本語の文字 ab",
    "привет мир",
    "😀😃🚀👩\u200d💻🏽 ab",
    "a\u0301e\u0300\ufffd\U0010ffff\u0100\u00ff",
]


def length(r):
    """Short lengths as often as long ones, and those beside a multiple of 64."""
    kind = r.random()
    if kind < 0.4:
        return r.randint(0, 12)
    if kind < 0.7:
        return r.randint(1, 80)
    if kind < 0.8:
        return r.choice([31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 191, 192, 193])
    return r.randint(1, 300)


def word(r, alphabet, n):
    if n and r.random() < 0.1:  # a repeated piece
        piece = word(r, alphabet, r.randint(1, 4))
        return (piece * n)[:n]
    return "".join(r.choice(alphabet) for _ in range(n))


def edit(r, s, alphabet):
    s = list(s)
    for _ in range(r.randint(0, 1 + len(s) // r.choice([3, 5, 10, 20]))):
        kind = r.randint(0, 3)
        at = r.randint(0, len(s))
        if kind == 0:
            s.insert(at, r.choice(alphabet))
        elif at < len(s):
            if kind == 1:
                del s[at]
            elif kind == 2:
                s[at] = r.choice(alphabet)
            else:
                other = r.randrange(len(s))
                s[at], s[other] = s[other], s[at]
    return "".join(s)


def pair(r):
    alphabet = r.choice(ALPHABETS)
    if r.random() < 0.2:
        alphabet += r.choice(ALPHABETS)
    kind = r.random()
    if kind < 0.2:  # two that have nothing to do with each other
        return word(r, alphabet, length(r)), word(r, r.choice([alphabet, r.choice(ALPHABETS)]), length(r))
    if kind < 0.45:  # equal lengths
        a = word(r, alphabet, length(r))
        b = edit(r, a, alphabet) if r.random() < 0.7 else word(r, alphabet, len(a))
        b = b[: len(a)] + word(r, alphabet, len(a) - len(b))
        return a, b
    # a piece of the text, with typos; at its edges it sticks out
    text = word(r, alphabet, length(r))
    n = length(r)
    at = r.randint(-n // 2, max(len(text) - n // 2, 0))
    query = text[max(at, 0) : max(at + n, 0)]
    if at < 0:
        query = word(r, alphabet, -at) + query
    if at + n > len(text):
        query += word(r, alphabet, at + n - len(text))
    query = edit(r, query, alphabet)[:300]
    return (text, query) if r.random() < 0.3 else (query, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    r = random.Random(arguments.seed)
    empty = [("", ""), ("", "a"), ("a", ""), ("", "ab"), ("ab", "")]
    for i in range(arguments.count):
        query, text = empty[i] if i < len(empty) else pair(r)
        score = fuzz.partial_ratio(query, text)
        cutoffs = [60, 80, score, r.choice([0, 100, r.uniform(0, 100), score + 1e-9, score - 1e-9, score + r.uniform(-5, 5)])]
        if i < len(empty):
            cutoffs += [-1, 50, 100.5]
        results = [[None, score]] + [[c, fuzz.partial_ratio(query, text, score_cutoff=c)] for c in cutoffs]
        json.dump([query, text, results], sys.stdout, ensure_ascii=False, separators=(",", ":"))
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
