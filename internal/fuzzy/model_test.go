package fuzzy_test

import (
	"bytes"
	"math"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
)

// modelPartialRatio is the rule without any of the ways to be fast about it.
func modelPartialRatio(query, text []rune) float64 {
	shorter, longer := query, text
	if len(shorter) > len(longer) {
		shorter, longer = longer, shorter
	}
	if len(longer) == 0 {
		return 100
	}
	best := modelBest(shorter, longer)
	if len(shorter) == len(longer) {
		best = max(best, modelBest(longer, shorter))
	}
	return best
}

// modelBest tries every stretch of the longer side that is as long as the shorter, or shorter and at an end.
func modelBest(shorter, longer []rune) float64 {
	best := 0.0
	for start := 1 - len(shorter); start < len(longer); start++ {
		stretch := longer[max(start, 0):min(start+len(shorter), len(longer))]
		if total := len(shorter) + len(stretch); total > 0 {
			best = max(best, 100*2*float64(modelCommon(shorter, stretch))/float64(total))
		}
	}
	return best
}

// modelCommon returns the length of the longest common subsequence.
func modelCommon(x, y []rune) int {
	lengths := make([]int, len(y)+1)
	for _, a := range x {
		diagonal := 0
		for j, b := range y {
			above := lengths[j+1]
			if a == b {
				lengths[j+1] = diagonal + 1
			} else {
				lengths[j+1] = max(above, lengths[j])
			}
			diagonal = above
		}
	}
	return lengths[len(y)]
}

// checkAgainstModel scores with several cutoffs. At a cutoff that the score equals rounding decides: TestVectors has those.
func checkAgainstModel(t interface {
	Helper()
	Fatalf(string, ...any)
}, scorer *fuzzy.Scorer, query string, text []byte, cutoffs ...float64) {
	t.Helper()
	want := modelPartialRatio([]rune(query), bytes.Runes(text))
	for _, cutoff := range append(cutoffs, math.Inf(-1), 0, want-1e-6, want+1e-6) {
		expected := want
		if want < cutoff {
			expected = 0
		}
		if math.Abs(want-cutoff) < 1e-7 {
			continue
		}
		if got := scorer.PartialRatio(text, cutoff); math.Abs(got-expected) > 1e-9 {
			t.Fatalf("PartialRatio(%q, %q, %v) = %v, the model has %v", query, text, cutoff, got, expected)
		}
	}
}

// TestModel compares with the model, one Scorer for several texts: what it keeps of one must not show in the next.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		characters := rapid.SampledFrom([][]rune{
			[]rune("ab"), []rune("abcd "), []rune("etaoin shrdlu"), []rune("aäé日本😀😃\u0301"),
		}).Draw(t, "alphabet")
		piece := func(label string) string {
			length := rapid.OneOf(rapid.IntRange(0, 12), rapid.IntRange(0, 140)).Draw(t, label+" length")
			return string(rapid.SliceOfN(rapid.SampledFrom(characters), length, length).Draw(t, label))
		}
		query := piece("query")
		scorer := fuzzy.NewScorer(query)
		for range rapid.IntRange(1, 4).Draw(t, "texts") {
			text := piece("text")
			if rapid.Bool().Draw(t, "contains the query, but for a character") {
				part := []rune(query)
				if len(part) > 0 {
					part[rapid.IntRange(0, len(part)-1).Draw(t, "at")] = 'x'
				}
				text = piece("before") + string(part) + piece("after")
			}
			checkAgainstModel(t, scorer.Clone(), query, []byte(text))
			checkAgainstModel(t, scorer, query, []byte(text), rapid.Float64Range(0, 101).Draw(t, "cutoff"))
		}
	})
}

func FuzzPartialRatio(f *testing.F) {
	f.Add("parser", []byte("the parsr error"), 60.0)
	f.Add("", []byte(""), 100.0)
	f.Add("日本😀", []byte("x\xff日\xf0\x9f本😀"), 50.0)
	f.Add("abababababababababababababababababababababababababababababababababababab", []byte("ba"), 0.0)
	f.Fuzz(func(t *testing.T, query string, text []byte, cutoff float64) {
		scorer := fuzzy.NewScorer(query)
		got := scorer.PartialRatio(text, cutoff)
		if math.IsNaN(cutoff) {
			return
		}
		if got != 0 && (got < cutoff || got > 100) {
			t.Errorf("PartialRatio(%q, %q, %v) = %v", query, text, cutoff, got)
		}
		if again := scorer.PartialRatio(text, cutoff); again != got {
			t.Errorf("PartialRatio(%q, %q, %v) = %v, the second time %v", query, text, cutoff, got, again)
		}
		if length := utf8.RuneCountInString(query); scorer.Len() != length {
			t.Errorf("Len() = %d for %q, want %d", scorer.Len(), query, length)
		}
		if len(query) <= 200 && len(text) <= 200 {
			checkAgainstModel(t, scorer, query, text, cutoff)
		}
	})
}

// TestNoAllocation scores texts in every way: query or text the shorter, equal lengths, one word and several, not ASCII.
func TestNoAllocation(t *testing.T) {
	for _, query := range []string{"parser", "naïve 日本😀", string(bytes.Repeat([]byte("query "), 20)), string(bytes.Repeat([]byte("query "), 40))} {
		scorer := fuzzy.NewScorer(query)
		texts := [][]byte{
			[]byte(query), []byte("x"), []byte("the parsr error: naive 日本😃"), bytes.Repeat([]byte("parser of queries, naïve "), 30),
		}
		score := func() {
			for _, text := range texts {
				for _, cutoff := range []float64{0, 60, 90} {
					scorer.PartialRatio(text, cutoff)
				}
			}
		}
		score() // the scratch memory grows
		if allocations := testing.AllocsPerRun(10, score); allocations != 0 {
			t.Errorf("query %q: %v allocations for texts that are no longer than earlier ones", query, allocations)
		}
	}
}
