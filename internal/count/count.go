// Package count writes numbers of things for a person.
package count

import "strconv"

// Of writes a number with its noun, for instance "1,000 messages".
func Of(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return Group(n) + " " + noun
}

// Group writes a number with commas between its thousands. It must not be negative.
func Group(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
