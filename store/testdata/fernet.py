"""Writes fernet.tsv: blobs that Python's cryptography makes, for comparison with store/fernet.go.

Run it in this directory, with cryptography installed: python3 fernet.py
Lines are tab-separated: key, time of encryption in seconds since 1970, initialization vector in hexadecimal, message in
hexadecimal, blob.
"""

import random

from cryptography.fernet import Fernet

KEY = b"c2hhcmVkLWNvbnRleHQtdGVzdC1rZXktMzItYnl0ZXM="  # of tests only

rand = random.Random(20250822)
lines = []
for length in [0, 1, 15, 16, 17, 31, 32, 33, 255, 300, 1000]:
    message, iv, time = rand.randbytes(length), rand.randbytes(16), rand.randrange(2**32)
    blob = Fernet(KEY)._encrypt_from_parts(message, time, iv)
    lines.append("\t".join([KEY.decode(), str(time), iv.hex(), message.hex(), blob.decode()]))

with open("fernet.tsv", "w", encoding="ascii") as file:
    file.write("\n".join(lines) + "\n")
