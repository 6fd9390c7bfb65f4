package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Share is an operation and how often it is called in relation to the others.
type Share struct {
	Operation string `json:"operation"`
	Weight    int    `json:"weight"`
}

// ParseMix reads a mix such as "add=70,page=10". An operation without a weight has the weight 1.
func ParseMix(text string) ([]Share, error) {
	var mix []Share
	for part := range strings.SplitSeq(text, ",") {
		name, number, weighted := strings.Cut(strings.TrimSpace(part), "=")
		weight := 1
		if weighted {
			var err error
			if weight, err = strconv.Atoi(number); err != nil || weight < 1 || weight > 1_000_000 {
				return nil, fmt.Errorf("mix: the weight of %s is %q: it must be a whole number from 1 to 1000000", name, number)
			}
		}
		if operations[name] == nil {
			return nil, fmt.Errorf("mix: unknown operation %q: known are %s", name, strings.Join(Names(), ", "))
		}
		if slices.ContainsFunc(mix, func(s Share) bool { return s.Operation == name }) {
			return nil, fmt.Errorf("mix: %s is named twice", name)
		}
		mix = append(mix, Share{name, weight})
	}
	return mix, nil
}
