package store

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxTimeout is the longest that PostgreSQL's own timeouts can be, 2^31-1 milliseconds.
const maxTimeout = 2147483647 * time.Millisecond

var (
	decimalPattern = regexp.MustCompile(`^([0-9]+(\.[0-9]*)?|\.[0-9]+)$`)
	// postgresDuration is a number with an optional unit: https://www.postgresql.org/docs/current/config-setting.html.
	postgresDuration = regexp.MustCompile(`^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(us|ms|s|min|h|d)?$`)
)

// parseSeconds reads seconds, with a fraction or without, up to maxTimeout.
func parseSeconds(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if !decimalPattern.MatchString(text) {
		return 0, false
	}
	return scaled(text, time.Second)
}

// parsePostgresDuration reads the value of a setting such as statement_timeout; without a unit it counts milliseconds.
func parsePostgresDuration(text string) (time.Duration, bool) {
	m := postgresDuration.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, false
	}
	units := map[string]time.Duration{
		"us": time.Microsecond, "": time.Millisecond, "ms": time.Millisecond, "s": time.Second,
		"min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}
	return scaled(m[1], units[m[2]])
}

func scaled(number string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n*float64(unit) > float64(maxTimeout) {
		return 0, false
	}
	return time.Duration(n * float64(unit)), true
}
