package fuzzy_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"math"
	"os"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
)

var vectors = flag.String("vectors", "testdata/vectors.jsonl", "pairs with the scores of RapidFuzz; testdata/vectors.py makes more")

// TestVectors compares the scores with those that RapidFuzz gave the same pairs, at several cutoffs each.
func TestVectors(t *testing.T) {
	t.Parallel()
	file, err := os.Open(*vectors)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	pairs, scores, failed := 0, 0, 0
	for lines.Scan() {
		var query, text string
		var results [][2]*float64
		if err := json.Unmarshal(lines.Bytes(), &[]any{&query, &text, &results}); err != nil {
			t.Fatalf("line %d: %v", pairs+1, err)
		}
		pairs++
		scorer := fuzzy.NewScorer(query)
		for _, result := range results {
			cutoff := 0.0
			if result[0] != nil {
				cutoff = *result[0]
			}
			scores++
			if got := scorer.PartialRatio([]byte(text), cutoff); math.Abs(got-*result[1]) > 1e-9 {
				t.Errorf("PartialRatio(%q, %q, %v) = %v, RapidFuzz has %v", query, text, cutoff, got, *result[1])
				failed++
			}
		}
		if failed > 20 {
			t.Fatal("and so on")
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pairs, %d scores", pairs, scores)
	if pairs < 3000 {
		t.Errorf("only %d pairs", pairs)
	}
}
