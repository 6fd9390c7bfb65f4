"""Writes isoformat.tsv: what Python's datetime makes of times, for comparison with store/clock.go.

Run it with Python 3.11 or later in this directory: python3 isoformat.py
Lines are tab-separated. All instants are microseconds since 1970 in UTC.
  adapt <instant> <isoformat()>          AdaptDatetimeISO
  parse <text>    <instant or refused>   ParseUTCTimestamp
  unix  <text>    <instant or refused>   ConvertDatetime
"""

import random
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
FIRST = (datetime(1, 1, 1, tzinfo=timezone.utc) - EPOCH) // MICROSECOND
LAST = (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc) - EPOCH) // MICROSECOND

rand = random.Random(20250822)
lines = []


def instant(t):
    return str((t - EPOCH) // MICROSECOND)


def parse(text):
    try:
        t = datetime.fromisoformat(text)
        if t.tzinfo is None:
            t = t.replace(tzinfo=timezone.utc)
        result = instant(t.astimezone(timezone.utc))
    except (ValueError, OverflowError):
        result = "refused"
    lines.append(("parse", text, result))


def random_instant():
    kind = rand.randrange(4)
    if kind == 0:
        micros = rand.randint(FIRST, LAST)
    elif kind == 1:
        micros = rand.randint(0, 4_000_000_000) * 1_000_000
    else:
        micros = rand.randint(0, 4_000_000_000_000_000)
    return EPOCH + timedelta(microseconds=micros)


for micros in [FIRST, FIRST + 1, LAST, LAST - 999_999, -1, 0, 1, 10, 999_999, 1_000_000]:
    lines.append(("adapt", str(micros), (EPOCH + timedelta(microseconds=micros)).isoformat()))
for _ in range(90):
    t = random_instant()
    lines.append(("adapt", instant(t), t.isoformat()))

for _ in range(150):
    t = random_instant()
    if rand.random() < 0.6:
        offset = rand.choice([0, 3600, -3600, 5 * 3600 + 1800, -12 * 3600, 14 * 3600, 1057, -86399, 86399])
        try:
            t = t.astimezone(timezone(timedelta(seconds=offset)))
        except OverflowError:
            continue
        text = t.isoformat()
    else:
        text = t.replace(tzinfo=None).isoformat(sep=rand.choice(["T", " "]))
        text += rand.choice(["", "Z", "+00:00", "-00:00", "+0530", "-11"])
    parse(text)
for text in [
    "2025-08-22", "2024-02-29", "2025-02-29", "2000-02-29", "1900-02-29", "2025-04-31", "2025-13-01", "2025-00-10",
    "2025-01-00", "2025-01-32", "0000-01-01", "0001-01-01", "9999-12-31", "2025-08-22T23:48", "2025-08-22 23:48+02:00",
    "2025-08-22T23:48:60", "2025-08-22T23:60:00", "2025-08-22T24:00:01", "2025-08-22T25:00:00", "2025-08-22T23:48:35.1",
    "2025-08-22T23:48:35,123", "2025-08-22T23:48:35.123456Z", "2025-08-22T23:48:35.", "2025-08-22T23:48:35.1x",
    "2025-08-22T23:48:35+24:00", "2025-08-22T23:48:35+", "2025-08-22T23:48:35ZZ", "2025-08-22T23:48:35Z+00:00",
    "2025-08-22T", "2025-8-22", "25-08-22", "", "now", "2025/08/22", "2025-08-22T23:48:35 junk", "2025-08-22T23:4",
    "0001-01-01T00:00:00+00:01", "0001-01-01T00:00:00-00:01", "9999-12-31T23:59:59.999999-00:01",
    "9999-12-31T23:59:59.999999+00:01", "+2025-08-22", "2025-08-22T-1:00:00", "2025-08-22T23:48:35.12345６",
]:
    parse(text)


def unix(text):
    micros = int((Decimal(text) * 1_000_000).to_integral_value(rounding=ROUND_HALF_EVEN))
    lines.append(("unix", text, str(micros) if FIRST <= micros <= LAST else "refused"))


for text in [
    "0", "-0", "1", "-1", "+1", "1755906515", "1755906515.123456", "-1755906515.123456", "1755906515.1234565",
    "1755906515.1234575", "0.0000005", "0.0000015", "-0.0000005", "-0.0000015", "0.00000050000000001", "5.", ".5",
    "1.755906515e9", "1755906515123456E-6", "-6.21355968e10", "-62135596800", "-62135596800.000001", "253402300799",
    "253402300799.999999", "253402300799.9999995", "253402300800", "1e12", "010", "20250822", "1e-3", "1e-300",
]:
    unix(text)
for _ in range(90):
    unix(repr(rand.choice([1, 1, 1, -1]) * rand.uniform(0, 4e9)))

with open("isoformat.tsv", "w", encoding="utf-8", newline="\n") as out:
    for line in lines:
        out.write("\t".join(line) + "\n")
