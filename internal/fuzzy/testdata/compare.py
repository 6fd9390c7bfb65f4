#!/usr/bin/env python3
"""Times this package beside RapidFuzz on the same texts and queries, and compares the scores of all of them.

    pip install rapidfuzz==3.14.6
    internal/fuzzy/testdata/compare.py [--rounds 50] [--transcript FILE]

Prints the milliseconds in which one query is scored against 1000 texts of 200 characters: the mean over 20 queries of the
shortest time that each took in the rounds, so that other work of the machine does not count. RapidFuzz is process.extract(query, texts, scorer=fuzz.partial_ratio, score_cutoff=…, limit=10);
it has no rising cutoff, and stands with that of 60 in those rows.
"""
import argparse
import json
import pathlib
import re
import subprocess
import tempfile
import time

from rapidfuzz import fuzz, process

PACKAGE = pathlib.Path(__file__).resolve().parent.parent
RESULT = re.compile(r"^BenchmarkPartialRatio/query=(\d+)/cutoff=(\w+)(?:-\d+)?\s.*\s([\d.]+) shortest-ns/op", re.MULTILINE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--transcript", type=pathlib.Path, help="take the texts from this file of messages")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        binary, corpus_file = f"{directory}/fuzzy.test", f"{directory}/corpus.json"
        subprocess.run(["go", "test", "-c", "-o", binary, "."], cwd=PACKAGE, check=True)
        command = [binary]
        if arguments.transcript:
            command += ["-transcript", str(arguments.transcript.resolve())]
        run(command + ["-test.run", "TestCorpus", "-write-corpus", corpus_file])
        corpus = json.loads(pathlib.Path(corpus_file).read_text())
        vectors = f"{directory}/vectors.jsonl"
        write_scores(corpus, vectors)
        run(command + ["-test.run", "TestVectors", "-vectors", vectors])
        bench = ["-test.run", "^$", "-test.bench", "PartialRatio", "-test.benchtime", f"{20 * arguments.rounds}x"]
        go = {(length, cutoff): float(time) / 1e6 for length, cutoff, time in RESULT.findall(run(command + bench))}
    python = {}
    for length, queries in corpus["queries"].items():
        for cutoff in (0, 60):
            times = [shortest(corpus["texts"], query, cutoff, arguments.rounds) for query in queries]
            python[length, str(cutoff)] = sum(times) / len(times) * 1e3
    print("| query | cutoff | RapidFuzz, ms | this package, ms | ratio |")
    print("|---:|---|---:|---:|---:|")
    for (length, cutoff), here in go.items():
        there = python[length, "60" if cutoff == "rising" else cutoff]
        print(f"| {length} | {cutoff} | {there:.3f} | {here:.3f} | {here / there:.2f} |")


def run(command):
    return subprocess.run(command, cwd=PACKAGE, check=True, stdout=subprocess.PIPE, text=True).stdout


def shortest(texts, query, cutoff, rounds):
    """Returns seconds."""

    def seconds():
        start = time.perf_counter()
        process.extract(query, texts, scorer=fuzz.partial_ratio, score_cutoff=cutoff, limit=10)
        return time.perf_counter() - start

    return min(seconds() for _ in range(rounds))


def write_scores(corpus, file):
    with open(file, "w") as out:
        for queries in corpus["queries"].values():
            for query in queries:
                for text in corpus["texts"]:
                    results = [[c, fuzz.partial_ratio(query, text, score_cutoff=c)] for c in (0, 60, 75)]
                    json.dump([query, text, results], out, separators=(",", ":"))
                    out.write("\n")


if __name__ == "__main__":
    main()
