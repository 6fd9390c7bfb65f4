package canonical

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// write writes a value, in the canonical way or with keys and numbers as they came.
func (n *jsonNode) write(b *strings.Builder, canonical bool) {
	switch n.kind {
	case '{':
		order := make([]int, len(n.keys))
		for i := range order {
			order[i] = i
		}
		if canonical {
			slices.SortFunc(order, func(i, j int) int { return strings.Compare(n.keys[i], n.keys[j]) })
		}
		b.WriteByte('{')
		for i, place := range order {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, n.keys[place])
			b.WriteByte(':')
			n.items[place].write(b, canonical)
		}
		b.WriteByte('}')
	case '[':
		b.WriteByte('[')
		for i := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			n.items[i].write(b, canonical)
		}
		b.WriteByte(']')
	case '"':
		writeString(b, n.text)
	case '0':
		if text, ok := decimal(n.text); ok && canonical {
			b.WriteString(text)
			return
		}
		b.WriteString(n.text)
	default:
		b.WriteString(n.text)
	}
}

func writeString(b *strings.Builder, text string) {
	b.WriteByte('"')
	begin := 0
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' || c < ' ' {
			b.WriteString(text[begin:i])
			if c < ' ' {
				fmt.Fprintf(b, `\u%04x`, c)
			} else {
				b.WriteByte('\\')
				b.WriteByte(c)
			}
			begin = i + 1
		}
	}
	b.WriteString(text[begin:])
	b.WriteByte('"')
}

// decimal returns a number of JSON as its significant digits and an exponent, and whether numeric can hold it exactly.
func decimal(token string) (string, bool) {
	mantissa, exponentText, _ := strings.Cut(strings.Replace(token, "E", "e", 1), "e")
	exponent := 0
	if exponentText != "" {
		var err error
		if exponent, err = strconv.Atoi(exponentText); err != nil || exponent < -2*numericWhole || exponent > 2*numericWhole {
			return "", false
		}
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	if -exponent > numericDecimal { // also when the last of these digits are 0: numeric keeps those
		return "", false
	}
	if digits == "" {
		return "0", true
	}
	if len(digits)+exponent > numericWhole {
		return "", false
	}
	significant := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(significant)
	if exponent == 0 {
		return sign + significant, true
	}
	return sign + significant + "e" + strconv.Itoa(exponent), true
}
