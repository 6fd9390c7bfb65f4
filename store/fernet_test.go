package store

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The vectors of https://github.com/fernet/spec, all of one key and of one second.
const (
	specKey  = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
	specBlob = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
)

var specInvalid = map[string]string{
	"incorrect mac":          "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==",
	"too short":              "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==",
	"invalid base64":         "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
	"not a multiple of 16":   "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm",
	"padding":                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==",
	"initialization vector":  "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==",
	"very short":             "gAAAAABdnQ1TUKh2OE_ggbyCIxfg",
	"super short":            "gAAA",
	"empty":                  "",
	"no padding of base64":   strings.TrimRight(specBlob, "="),
	"text behind the base64": specBlob + "x",
	"a line break":           specBlob[:10] + "\n" + specBlob[10:],
	"bits behind the base64": strings.TrimSuffix(specBlob, "A==") + "B==",
	"standard base64":        strings.ReplaceAll(specBlob, "_", "/"),
}

func TestFernetSpec(t *testing.T) {
	t.Parallel()
	ring := newKeyring([]Secret{specKey})
	at := time.Date(1985, 10, 26, 8, 20, 0, 0, time.UTC)
	iv := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	if got := string(ring.encryptAt("hello", iv, at)); got != specBlob {
		t.Errorf("got  %s\nwant %s", got, specBlob)
	}
	if message, ok := ring.decrypt([]byte(specBlob)); !ok || message != "hello" {
		t.Errorf("got %q, %v", message, ok)
	}
	for name, blob := range specInvalid {
		if message, ok := ring.decrypt([]byte(blob)); ok {
			t.Errorf("%s: decrypted to %q", name, message)
		}
	}
	if _, ok := ring.decrypt(ring.decoy); ok {
		t.Error("the decoy was opened")
	}
}

// What Python writes is read, and written in the same bytes.
func TestFernetOfPython(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/fernet.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 5 {
			t.Fatalf("%d fields: %q", len(fields), line)
		}
		seconds, timeErr := strconv.ParseInt(fields[1], 10, 64)
		iv, ivErr := hex.DecodeString(fields[2])
		message, messageErr := hex.DecodeString(fields[3])
		if timeErr != nil || ivErr != nil || messageErr != nil {
			t.Fatalf("%q: %v %v %v", line, timeErr, ivErr, messageErr)
		}
		ring := newKeyring([]Secret{Secret(fields[0])})
		got, ok := ring.decrypt([]byte(fields[4]))
		if diff := cmp.Diff(string(message), got); diff != "" || !ok {
			t.Errorf("decrypted: %v (-want +got):\n%s", ok, diff)
		}
		if diff := cmp.Diff(fields[4], string(ring.encryptAt(string(message), [16]byte(iv), time.Unix(seconds, 0)))); diff != "" {
			t.Errorf("encrypted (-want +got):\n%s", diff)
		}
	}
}

// The first key encrypts, all decrypt, and no two encryptions are alike.
func TestKeyring(t *testing.T) {
	t.Parallel()
	before, during, after := newKeyring([]Secret{oldKey}), newKeyring([]Secret{testKey, oldKey}), newKeyring([]Secret{testKey})
	for _, test := range []struct {
		name     string
		from, to *keyring
		want     bool
	}{
		{"old to both", before, during, true},
		{"both to new", during, after, true},
		{"both to old", during, before, false},
		{"old to new", before, after, false},
	} {
		if message, ok := test.to.decrypt(test.from.encrypt("message")); ok != test.want || ok && message != "message" {
			t.Errorf("%s: %q, %v", test.name, message, ok)
		}
	}
	if first, second := after.encrypt("message"), after.encrypt("message"); string(first) == string(second) {
		t.Error("two encryptions of one message are the same")
	}
}

// Every change of a blob is noticed.
func TestFernetChanges(t *testing.T) {
	t.Parallel()
	ring := newKeyring([]Secret{specKey, oldKey})
	for i := range specBlob {
		for bit := range 8 {
			blob := []byte(specBlob)
			blob[i] ^= 1 << bit
			if message, ok := ring.decrypt(blob); ok {
				t.Errorf("byte %d, bit %d: decrypted to %q", i, bit, message)
			}
		}
		if message, ok := ring.decrypt([]byte(specBlob[:i])); ok {
			t.Errorf("%d bytes: decrypted to %q", i, message)
		}
	}
}

// Nothing makes decrypt panic, and what it accepts is exactly what encrypt would have written. With sign the input is the
// blob before it is signed and encoded, so that the code behind the signature has its share.
func FuzzDecryptToken(f *testing.F) {
	for _, blob := range specInvalid {
		f.Add([]byte(blob), false)
	}
	raw, err := fernetEncoding.DecodeString(specBlob)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(specBlob), false)
	f.Add(raw[:len(raw)-fernetMACLen], true)
	for _, length := range []int{0, 1, 9, 20, 25, 41, 57} {
		unsigned := make([]byte, length)
		copy(unsigned, raw)
		f.Add(unsigned, true)
	}
	ring := newKeyring([]Secret{specKey})
	f.Fuzz(func(t *testing.T, blob []byte, sign bool) {
		if sign {
			blob = fernetEncoding.AppendEncode(nil, ring.keys[0].mac(blob[:len(blob):len(blob)], blob))
		}
		message, ok := ring.decrypt(blob)
		if !ok {
			return
		}
		raw, err := fernetEncoding.DecodeString(string(blob))
		if err != nil {
			t.Fatal(err)
		}
		var seconds int64
		for _, b := range raw[fernetTime:fernetIV] {
			seconds = seconds<<8 | int64(b)
		}
		again := ring.encryptAt(message, [16]byte(raw[fernetIV:fernetBody]), time.Unix(seconds, 0))
		if diff := cmp.Diff(string(again), string(blob)); diff != "" {
			t.Errorf("(-encrypted +decrypted):\n%s", diff)
		}
	})
}

// A right signature is not enough: what is behind it must have the form of Fernet too.
func TestFernetSigned(t *testing.T) {
	t.Parallel()
	ring := newKeyring([]Secret{specKey})
	signed := func(version byte, text ...byte) []byte {
		raw := make([]byte, fernetBody, fernetBody+len(text)+fernetMACLen)
		raw[0] = version
		raw = append(raw, text...)
		if len(text)%aes.BlockSize == 0 {
			cipher.NewCBCEncrypter(ring.keys[0].block, raw[fernetIV:fernetBody]).CryptBlocks(raw[fernetBody:], raw[fernetBody:])
		}
		return fernetEncoding.AppendEncode(nil, ring.keys[0].mac(raw, raw))
	}
	block := func(last ...byte) []byte { return append(make([]byte, aes.BlockSize-len(last)), last...) }
	if message, ok := ring.decrypt(signed(fernetVersion, block(3, 3, 3)...)); !ok || message != string(make([]byte, 13)) {
		t.Errorf("what the test makes is not accepted: %q, %v", message, ok)
	}
	for name, blob := range map[string][]byte{
		"another version":      signed(0x81, block(3, 3, 3)...),
		"no text":              signed(fernetVersion),
		"half a block":         signed(fernetVersion, 8, 8, 8, 8, 8, 8, 8, 8),
		"padding of 0":         signed(fernetVersion, block(0)...),
		"padding of 17":        signed(fernetVersion, block(17)...),
		"uneven padding":       signed(fernetVersion, block(3, 2, 3)...),
		"padding of one block": signed(fernetVersion, block(15, 16)...),
	} {
		if message, ok := ring.decrypt(blob); ok {
			t.Errorf("%s: decrypted to %q", name, message)
		}
	}
}
