package store

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// appendSearchText appends what the fuzzy search compares to dst: sender, content and the true scalar values of metadata,
// which is a JSON object as PostgreSQL prints it or anything else, joined by spaces, in lower case. The SQL function
// message_search_text gives the same text, but for the case of rare letters.
func appendSearchText(dst, sender, content, metadata []byte) []byte {
	dst = appendLower(dst, sender)
	dst = append(dst, ' ')
	dst = appendLower(dst, content)
	return appendScalars(dst, metadata)
}

// lower is the lower case of a letter. A letter beyond ASCII stays there: the Kelvin sign and the dotted capital I would
// become ASCII letters, which no server agrees on.
func lower(r rune) rune {
	if l := unicode.ToLower(r); l >= utf8.RuneSelf {
		return l
	}
	return r
}

// lowerASCII has the lower case of each ASCII character.
var lowerASCII = func() (table [utf8.RuneSelf]byte) {
	for c := range table {
		table[c] = byte(unicode.ToLower(rune(c)))
	}
	return table
}()

func appendLower(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			dst = append(dst, lowerASCII[c])
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		dst = utf8.AppendRune(dst, lower(r))
		i += size
	}
	return dst
}

// appendScalars appends a space and the value for each non-empty string, each number but 0 and each true at the top level
// of a JSON object.
func appendScalars(dst, object []byte) []byte {
	if len(object) == 0 || object[0] != '{' {
		return dst
	}
	depth := 0
	value := false // whether what comes next at the top level is a value
	for i := 0; i < len(object); {
		switch c := object[i]; c {
		case '{', '[':
			depth++
			value = false
			i++
		case '}', ']':
			depth--
			i++
		case ':', ',':
			value = depth == 1 && c == ':'
			i++
		case '"':
			end := stringEnd(object, i)
			if value && end > i+2 {
				dst = append(dst, ' ')
				dst = appendLowerString(dst, object[i+1:end-1])
			}
			value = false
			i = end
		case ' ', '\t', '\n', '\r':
			i++
		default:
			end := len(object)
			if after := bytes.IndexAny(object[i:], ",}] \t\n\r"); after >= 0 {
				end = i + after
			}
			if value && (c == 't' || bytes.ContainsAny(object[i:end], "123456789")) {
				dst = append(dst, ' ')
				dst = append(dst, object[i:end]...)
			}
			value = false
			i = end
		}
	}
	return dst
}

// stringEnd returns the place behind the JSON string that begins at i.
func stringEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// appendLowerString appends the lower case of what a JSON string stands for.
func appendLowerString(dst, quoted []byte) []byte {
	for len(quoted) > 0 {
		escape := bytes.IndexByte(quoted, '\\')
		if escape < 0 || escape+1 == len(quoted) {
			return appendLower(dst, quoted)
		}
		dst = appendLower(dst, quoted[:escape])
		c := quoted[escape+1]
		quoted = quoted[escape+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, size := escapedRune(quoted)
			dst = utf8.AppendRune(dst, lower(r))
			quoted = quoted[size:]
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// escapedRune returns the character that the digits behind \u stand for, with those of the other half of a surrogate
// pair, and how many bytes that is.
func escapedRune(digits []byte) (r rune, size int) {
	half := func(at int) rune {
		if len(digits) < at+4 {
			return utf8.RuneError
		}
		code, err := strconv.ParseUint(string(digits[at:at+4]), 16, 16)
		if err != nil {
			return utf8.RuneError
		}
		return rune(code)
	}
	r = half(0)
	if utf16.IsSurrogate(r) && bytes.HasPrefix(digits[min(4, len(digits)):], []byte(`\u`)) {
		return utf16.DecodeRune(r, half(6)), min(10, len(digits))
	}
	return r, min(4, len(digits))
}
