package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"slices"
	"sync"
	"time"
)

// This file is Fernet, https://github.com/fernet/spec: AES-128-CBC, then HMAC-SHA256, in url-safe base64. It is written
// on the standard library because the one package for Go has no release, takes what follows the base64 for part of it
// and panics on short blobs with a right signature.

const (
	fernetVersion = 0x80
	fernetTime    = 1              // offset of the time of encryption, in seconds since 1970
	fernetIV      = fernetTime + 8 // offset of the initialization vector
	fernetBody    = fernetIV + 16  // offset of the ciphertext
	fernetKeyLen  = 32             // half of it signs, half of it encrypts
	fernetMACLen  = sha256.Size    // at the end
	fernetMinLen  = fernetBody + aes.BlockSize + fernetMACLen
)

var fernetEncoding = base64.URLEncoding.Strict()

// fernetKey is a key, ready for use.
type fernetKey struct {
	macs  *sync.Pool // of hash.Hash: to make one costs more than to sign with it
	block cipher.Block
}

func newFernetKey(signing, encryption []byte) fernetKey {
	block, _ := aes.NewCipher(encryption) // 16 bytes are a length that it takes
	return fernetKey{macs: &sync.Pool{New: func() any { return hmac.New(sha256.New, signing) }}, block: block}
}

// mac appends the signature of text to dst.
func (k *fernetKey) mac(dst, text []byte) []byte {
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	mac.Write(text)
	return mac.Sum(dst)
}

// keyring holds the keys of the tokens, newest first. It is kept behind a pointer, where fmt does not print it.
type keyring struct {
	keys []fernetKey
	// decoy is a blob that no key opens, as long as one with a JWT of a usual size.
	decoy []byte
}

// newKeyring parses keys that isFernetKey accepts.
func newKeyring(keys []Secret) *keyring {
	ring := &keyring{keys: make([]fernetKey, len(keys))}
	for i, key := range keys {
		raw, _ := base64.URLEncoding.DecodeString(key.Reveal())
		ring.keys[i] = newFernetKey(raw[:fernetKeyLen/2], raw[fernetKeyLen/2:])
	}
	decoy := make([]byte, fernetMinLen+18*aes.BlockSize)
	decoy[0] = fernetVersion
	ring.decoy = fernetEncoding.AppendEncode(nil, decoy)
	return ring
}

// encrypt returns the blob for a message, made with the newest key.
func (r *keyring) encrypt(message string) []byte {
	var iv [aes.BlockSize]byte
	_, _ = rand.Read(iv[:]) // never fails, by its documentation
	return r.encryptAt(message, iv, time.Now())
}

// encryptAt is encrypt with all that is not in the message given.
func (r *keyring) encryptAt(message string, iv [aes.BlockSize]byte, at time.Time) []byte {
	key := &r.keys[0]
	padding := aes.BlockSize - len(message)%aes.BlockSize
	raw := make([]byte, fernetBody, fernetBody+len(message)+padding+fernetMACLen)
	raw[0] = fernetVersion
	binary.BigEndian.PutUint64(raw[fernetTime:], uint64(at.Unix()))
	copy(raw[fernetIV:], iv[:])
	raw = append(raw, message...)
	for range padding {
		raw = append(raw, byte(padding))
	}
	cipher.NewCBCEncrypter(key.block, iv[:]).CryptBlocks(raw[fernetBody:], raw[fernetBody:])
	return fernetEncoding.AppendEncode(nil, key.mac(raw, raw))
}

// decrypt returns the message of a blob that one of the keys made, and whether there is one. The time of encryption is of
// no concern: how long a token lives is in its row.
func (r *keyring) decrypt(blob []byte) (string, bool) {
	raw, err := fernetEncoding.AppendDecode(nil, blob)
	// The decoder skips line breaks, which then make the blob longer than it should be.
	if err != nil || len(blob) != fernetEncoding.EncodedLen(len(raw)) {
		return "", false
	}
	if len(raw) < fernetMinLen || raw[0] != fernetVersion || (len(raw)-fernetMinLen)%aes.BlockSize != 0 {
		return "", false
	}
	signed, mac := raw[:len(raw)-fernetMACLen], raw[len(raw)-fernetMACLen:]
	var sum [fernetMACLen]byte
	at := slices.IndexFunc(r.keys, func(key fernetKey) bool { return hmac.Equal(key.mac(sum[:0], signed), mac) })
	if at < 0 {
		return "", false
	}
	text := signed[fernetBody:]
	cipher.NewCBCDecrypter(r.keys[at].block, signed[fernetIV:fernetBody]).CryptBlocks(text, text)
	padding := int(text[len(text)-1])
	if padding < 1 || padding > aes.BlockSize {
		return "", false
	}
	message := text[:len(text)-padding]
	for _, b := range text[len(message):] {
		if int(b) != padding {
			return "", false
		}
	}
	return string(message), true
}
