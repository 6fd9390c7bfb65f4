package store

import (
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The range of instants that can be read: the years 1 to 9999, which is what the first generation could represent.
const (
	minUnixMicro = -62135596800_000_000
	maxUnixMicro = 253402300799_999_999
)

// UTCNow returns the current time in UTC, cut to the microseconds that PostgreSQL keeps, so that a time which was written
// and read again is still equal. It carries no monotonic clock reading.
func UTCNow() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// UTCTimestamp returns the current time as [AdaptDatetimeISO] writes it.
func UTCTimestamp() string { return AdaptDatetimeISO(UTCNow()) }

// AdaptDatetimeISO writes t in UTC as ISO 8601 with offset, exactly as Python's datetime.isoformat() does and the first
// generation therefore stored it: 2025-08-22T23:48:35.123456+00:00. The fraction has six digits, nanoseconds are cut off,
// and it is left out when it is zero: 2025-08-22T23:48:35+00:00.
//
// Years outside 1 to 9999 are written in Go's way, and [ParseUTCTimestamp] refuses to read them.
func AdaptDatetimeISO(t time.Time) string {
	const whole, fraction = "2006-01-02T15:04:05+00:00", "2006-01-02T15:04:05.000000+00:00"
	t = t.UTC()
	if t.Nanosecond() < int(time.Microsecond) {
		return t.Format(whole)
	}
	return t.Format(fraction)
}

// ParseUTCTimestamp reads an ISO 8601 date, or date and time, and returns it in UTC.
//
// Between date and time stands a T (or t) or one blank. Seconds may be missing; their fraction has 1 to 9 digits after a
// point or comma, all of which are kept, although PostgreSQL rounds to microseconds. The offset is Z (or z), +02, +0200,
// +02:00 or, as for historical local times, +02:00:17, below 24 hours. Without an offset the time is in UTC, and a date
// alone is its midnight in UTC.
//
// Everything else is a [*ValidationError] of the field "timestamp" that shows the beginning of s: white space around it,
// dates that do not exist, the hour 24, leap seconds, and instants outside the years 1 to 9999 in UTC.
func ParseUTCTimestamp(s string) (time.Time, error) {
	t, problem := parseISO8601(s)
	if problem != "" {
		return time.Time{}, timestampError(problem, s)
	}
	return t, nil
}

// ConvertDatetime reads what a text column of the first generation may hold for a time: everything that
// [ParseUTCTimestamp] reads, and a plain number, with sign, fraction or exponent, which is the seconds since 1970 in UTC.
// Such a number is rounded to the nearest microsecond, half to even, from its decimal digits: no floating point is
// involved. Eight digits such as 20250822 are seconds too, not a date.
//
// The errors are those of [ParseUTCTimestamp].
func ConvertDatetime(b []byte) (time.Time, error) {
	s := string(b)
	if !isDecimalNumber(s) {
		return ParseUTCTimestamp(s)
	}
	t, ok := parseUnixSeconds(s)
	if !ok {
		return time.Time{}, timestampError("range", s)
	}
	return t, nil
}

func timestampError(rule, s string) error {
	limit := "an ISO 8601 date or date and time such as 2025-08-22T23:48:35.123456+00:00"
	if rule == "range" {
		limit = "a time that exists, in the years 1 to 9999"
	}
	return &ValidationError{Field: "timestamp", Rule: rule, Limit: limit, Got: quoteBeginning(s)}
}

// quoteBeginning quotes at most the first 40 characters of s.
func quoteBeginning(s string) string {
	end := 0
	for n := 0; n < 40 && end < len(s); n++ {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	if end == len(s) {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:end]) + "…"
}

// parseISO8601 returns the broken rule, "pattern" or "range", or "" when there is none.
func parseISO8601(s string) (t time.Time, problem string) {
	var hour, minute, second, nanosecond, offset int
	year, s, ok := leadingDigits(s, 4)
	month, s, okMonth := digitsAfter(s, "-")
	day, s, okDay := digitsAfter(s, "-")
	if !ok || !okMonth || !okDay {
		return t, "pattern"
	}
	if s != "" {
		if s[0] != 'T' && s[0] != 't' && s[0] != ' ' {
			return t, "pattern"
		}
		if hour, s, ok = leadingDigits(s[1:], 2); !ok {
			return t, "pattern"
		}
		if minute, s, ok = digitsAfter(s, ":"); !ok {
			return t, "pattern"
		}
		if strings.HasPrefix(s, ":") {
			if second, s, ok = digitsAfter(s, ":"); !ok {
				return t, "pattern"
			}
			if nanosecond, s, ok = parseFraction(s); !ok {
				return t, "pattern"
			}
		}
		if offset, problem = parseOffset(s); problem != "" {
			return t, problem
		}
	}
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return t, "range"
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanosecond, time.UTC)
	if t.Day() != day {
		return t, "range" // the month has no such day
	}
	t = t.Add(-time.Duration(offset) * time.Second)
	if year == 0 || t.Year() < 1 || t.Year() > 9999 {
		return t, "range"
	}
	return t, ""
}

// leadingDigits reads exactly n digits.
func leadingDigits(s string, n int) (value int, rest string, ok bool) {
	if len(s) < n {
		return 0, s, false
	}
	for i := range n {
		if !isDigit(s[i]) {
			return 0, s, false
		}
		value = 10*value + int(s[i]-'0')
	}
	return value, s[n:], true
}

// digitsAfter reads a separator and two digits.
func digitsAfter(s, separator string) (value int, rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, separator)
	if !ok {
		return 0, s, false
	}
	return leadingDigits(rest, 2)
}

// parseFraction reads an optional fraction of a second.
func parseFraction(s string) (nanosecond int, rest string, ok bool) {
	if s == "" || s[0] != '.' && s[0] != ',' {
		return 0, s, true
	}
	n := 1
	unit := int(time.Second)
	for n < len(s) && isDigit(s[n]) {
		unit /= 10
		nanosecond += unit * int(s[n]-'0')
		n++
	}
	return nanosecond, s[n:], 2 <= n && n <= 10
}

// parseOffset reads what is left behind the time of day and returns seconds east of UTC.
func parseOffset(s string) (offset int, problem string) {
	if s == "" || s == "Z" || s == "z" {
		return 0, ""
	}
	if s[0] != '+' && s[0] != '-' {
		return 0, "pattern"
	}
	sign := 1
	if s[0] == '-' {
		sign = -1
	}
	var minute, second int
	hour, s, ok := leadingDigits(s[1:], 2)
	separator := ""
	if strings.HasPrefix(s, ":") {
		separator = ":"
	}
	if ok && s != "" {
		minute, s, ok = digitsAfter(s, separator)
	}
	if ok && s != "" {
		second, s, ok = digitsAfter(s, separator)
	}
	if !ok || s != "" {
		return 0, "pattern"
	}
	if hour > 23 || minute > 59 || second > 59 {
		return 0, "range"
	}
	return sign * (3600*hour + 60*minute + second), ""
}

// isDecimalNumber says whether s is a number in decimal digits: no hexadecimal, no infinity, no separators.
func isDecimalNumber(s string) bool {
	mantissa := strings.TrimLeft(s, "+-")
	if len(s)-len(mantissa) > 1 {
		return false
	}
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		exponent := mantissa[i+1:]
		if exponent != "" && (exponent[0] == '+' || exponent[0] == '-') {
			exponent = exponent[1:]
		}
		if exponent == "" || strings.Trim(exponent, "0123456789") != "" {
			return false
		}
		mantissa = mantissa[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	return whole+fraction != "" && strings.Trim(whole, "0123456789") == "" && strings.Trim(fraction, "0123456789") == ""
}

// parseUnixSeconds reads a number that isDecimalNumber accepted.
func parseUnixSeconds(s string) (time.Time, bool) {
	// No instant in range needs more digits or a larger exponent; without bounds, a short text costs seconds.
	if len(s) > 400 {
		return time.Time{}, false
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if exponent, err := strconv.Atoi(s[i+1:]); err != nil || exponent < -400 || exponent > 400 {
			return time.Time{}, false
		}
	}
	seconds, ok := new(big.Rat).SetString(s)
	if !ok {
		return time.Time{}, false
	}
	micros := seconds.Mul(seconds, big.NewRat(1_000_000, 1))
	floor, rest := new(big.Int).DivMod(micros.Num(), micros.Denom(), new(big.Int))
	if half := rest.Lsh(rest, 1).Cmp(micros.Denom()); half > 0 || half == 0 && floor.Bit(0) == 1 {
		floor.Add(floor, big.NewInt(1))
	}
	if !floor.IsInt64() || floor.Int64() < minUnixMicro || floor.Int64() > maxUnixMicro {
		return time.Time{}, false
	}
	return time.UnixMicro(floor.Int64()).UTC(), true
}
